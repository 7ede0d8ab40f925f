//! The fleet in virtual time, small: what a device must never come to, and what the quotas must not be asked for.
//!
//! Small fleets get small quotas, so that a quota is scarce to them as AWS's is to a large one.

use certrot_scale::year::bisect::carries;
use certrot_scale::year::quota::Api;
use certrot_scale::year::scenario::{Plan, Scenario, Story};

/// Lives through a story and holds what holds in all of them.
fn live(plan: &Plan) -> Story {
    let story = plan.run().unwrap();
    let text = story.tell(plan);
    println!("{text}");
    assert_eq!((story.lost, story.doubled, story.restless), (0, 0, 0), "{text}");
    story
}

#[test]
fn two_thousand_devices_rotate_for_a_year_and_pass_no_quota() {
    let plan = Plan::new(Scenario::Year, 2_000);
    let story = live(&plan);
    let rotations = story.fleet.seen.late.len();
    assert!((7_900..=8_400).contains(&rotations), "four a year and device: {rotations}");
    assert!(story.latest() < 1_800, "the latest came {} s after its time", story.latest());
    assert!(story.longest_both() < 600, "an old certificate lived {} s too long", story.longest_both());
    for api in Api::ALL {
        let tally = &story.tallies[api as usize];
        assert_eq!(tally.throttled, 0, "{}", api.name());
    }
}

#[test]
fn after_an_outage_of_the_cloud_all_are_back_within_the_hour() {
    let plan = Plan { factor: 0.02, ..Plan::new(Scenario::Outage, 2_000) };
    let story = live(&plan);
    assert!(story.tallies[Api::Connect as usize].seconds_over < 3_600, "throttled for longer than an hour");
}

#[test]
fn a_power_cut_ends_without_a_refused_device_and_within_the_half_hour() {
    let plan = Plan { factor: 0.01, ..Plan::new(Scenario::PowerCut, 5_000) };
    let story = live(&plan);
    let connect = &story.tallies[Api::Connect as usize];
    assert!(connect.throttled > 0, "the quota was not scarce: the test shows nothing");
    assert!(connect.seconds_over < 1_800, "throttled for {} s", connect.seconds_over);
}

#[test]
fn a_site_that_was_off_for_two_years_comes_back_the_expired_half_by_the_claim() {
    let story = live(&Plan::new(Scenario::Site, 5_000));
    assert!(story.fleet.seen.late.len() >= 50);
    assert!(story.latest() < 25 * 3_600, "splay and a little: {} s", story.latest());
}

#[test]
fn a_forced_rotation_within_what_the_quotas_need_passes_none_for_long() {
    let plan = Plan::new(Scenario::Within(1_800), 2_000);
    let story = live(&plan);
    assert!(story.fleet.seen.late.len() >= 2_000);
    let described = &story.tallies[Api::DescribeCertificate as usize];
    assert!(described.seconds_over < 900, "throttled for {} s", described.seconds_over);
    assert!(story.longest_both() < 3_600, "two alive for {} s", story.longest_both());
}

#[test]
fn a_forced_rotation_of_all_at_once_loses_nobody() {
    let story = live(&Plan::new(Scenario::Forced, 3_000));
    assert!(
        story.tallies[Api::Register as usize].throttled > 0,
        "the quota was not scarce: the test shows nothing"
    );
    assert!(story.latest() < 6 * 3_600, "the latest came {} s after the order", story.latest());
}

#[test]
fn first_certificates_by_the_claim_for_all_at_once_loses_nobody() {
    let story = live(&Plan::new(Scenario::First, 2_000));
    assert_eq!(story.fleet.seen.first.len(), 2_000);
}

#[test]
fn a_fleet_issued_on_one_day_is_carried_and_one_ten_times_too_large_is_not() {
    let plan = |devices| Plan { factor: 0.02, ..Plan::new(Scenario::OneDay, devices) };
    assert!(carries(&live(&plan(800))));
    assert!(!carries(&plan(8_000).run().unwrap()));
}
