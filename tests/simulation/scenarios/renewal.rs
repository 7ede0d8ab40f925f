//! Renewal and retirement where something keeps failing (rules 1, 6, 16 and 18).

use super::super::cloud::Cloud;
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, device, live};
use certrotd::rotation::{Action, Asked, Current, Effect, Policy, Stage};

#[test]
fn commits_that_are_refused_for_ever_do_not_hold_up_a_renewal_rule_16() {
    let mut world = device(0, &policy());
    world.commits_refused = true;
    live(&mut world, 400 * 24 * HOUR, |_, _| true);
    assert!(world.rotations >= 4, "{} rotations in 400 days of 90", world.rotations);
    assert!(world.cloud.alive().count() >= 5, "nothing was retired");
}

#[test]
fn a_cloud_that_issues_nothing_is_asked_at_least_every_hour_for_ever_rule_6() {
    let mut world = device(100 * DAY, &policy());
    let mut asked = Vec::new();
    for _ in 0..100_000 {
        let end = if let Action::Do(Effect::Issue(_)) = world.action {
            asked.push(world.boot);
            End::Denied
        } else {
            End::Kind
        };
        world.end(end);
        if world.boot > 10 * 24 * HOUR {
            break;
        }
    }
    assert!(asked.len() > 10 * 24, "asked {} times in ten days", asked.len());
    assert!(asked.windows(2).all(|w| w[1] - w[0] <= HOUR + MINUTE), "a gap of more than an hour");
    assert!(asked.windows(2).skip(12).all(|w| w[1] - w[0] >= MINUTE), "a storm");
}

#[test]
fn a_certificate_that_was_accepted_just_before_its_tokens_end_is_not_dropped_while_it_is_not_seen_yet_rule_1()
{
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    add(&mut disk, &mut cloud, 3_500, Stage::Issued, Asked::Unanswered, false);
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 8));
    while !matches!(world.action, Action::Do(Effect::Register(2))) {
        world.end(End::Kind);
    }
    assert!(world.boot < 100_000, "before the token's end");
    world.end(End::SeenLate);
    let until = world.boot + 2 * HOUR;
    live(&mut world, until, |_, effect| {
        assert_ne!(effect, Effect::Remove(2), "alive, and seen by the broker in a moment");
        true
    });
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
}

#[test]
fn a_wait_whose_reason_has_passed_is_no_loop_without_pace() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 0, Stage::Issued, Asked::Never, false);
    // A state.json that lost its token: nothing can be asked, and nothing says when that ends but the pair's age.
    disk.slots[0].token_ends = None;
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 2));
    for _ in 0..20 {
        if let Action::Wait(wait) = world.action {
            assert!(wait.until >= world.boot + 1_000, "{wait:?} at {}", world.boot);
        }
        world.end(End::Kind);
    }
    live(&mut world, 2 * HOUR, |_, _| true);
    assert_eq!(world.unclean(), None, "the pair was dropped and another one issued");
}

#[test]
fn generations_beyond_those_kept_leave_the_disk_only_when_retired_rule_18() {
    let policy = Policy { keep_generations: 1, ..policy() };
    let mut world = device(100 * DAY, &policy);
    world.commits_refused = true;
    live(&mut world, 24 * HOUR, |_, effect| {
        assert!(!matches!(effect, Effect::Remove(_)), "not before the cloud has retired it");
        true
    });
    assert_eq!(world.disk.slots.len(), 2);
    world.commits_refused = false;
    live(&mut world, 48 * HOUR, |_, _| true);
    assert_eq!(world.disk.slots.len(), 1);
}

#[test]
fn retire_delay_gives_other_holders_their_time_and_survives_a_restart() {
    let policy = Policy { retire_delay: 6 * 3_600, ..policy() };
    let mut world = device(100 * DAY, &policy);
    let mut switched = 0;
    live(&mut world, HOUR, |world, effect| {
        if let Effect::Switch(_) = effect {
            switched = world.boot;
        }
        assert!(!matches!(effect, Effect::Commit(_)));
        true
    });
    world.end(End::CutBefore);
    let mut committed = 0;
    live(&mut world, 8 * HOUR, |world, effect| {
        if let Effect::Commit(_) = effect {
            committed = world.boot;
        }
        true
    });
    // The wall clock counts whole seconds.
    let later = committed - switched + 1_000;
    assert!((6 * HOUR..7 * HOUR).contains(&later), "{switched} {committed}");
}
