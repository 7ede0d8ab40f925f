//! How long something is waited for: what is dropped and when, what a failure count remembers, and what it forgets.

use certrotd::rotation::{Action, Asked, Boot, Carrier, Current, Effect, Outcome, Record, Stage};
use certrotd::rotation::{Input, Now, Verdict};

use super::super::cloud::{Cloud, Status};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, device, live};

#[test]
fn one_that_was_refused_long_and_is_accepted_at_the_last_moment_has_its_quarter_of_an_hour_rule_1() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    // Its token ends 1,100 s after boot.
    add(&mut disk, &mut cloud, 2_500, Stage::Issued, Asked::Unanswered, false);
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 16));
    let mut accepted = false;
    while !accepted {
        let registers = matches!(world.action, Action::Do(Effect::Register(2)));
        accepted = registers && world.boot > 950_000;
        world.end(if registers && !accepted { End::Denied } else { End::Kind });
    }
    assert!(world.boot < 1_100_000, "before the token's end");
    world.cloud.certificates[1].seen_from = world.boot + 12 * MINUTE;
    let until = world.boot + 2 * HOUR;
    live(&mut world, until, |_, effect| {
        assert_ne!(effect, Effect::Remove(2), "alive, and seen by the broker in a moment");
        true
    });
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
}

#[test]
fn one_that_an_operator_held_until_its_tokens_end_is_not_dropped_for_what_was_refused_before_it_rule_1() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    // Its token ends 1,100 s after boot; it is registered, and the answer was lost.
    add(&mut disk, &mut cloud, 2_500, Stage::Issued, Asked::Unanswered, true);
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX));
    super::deactivate(&mut world, 1, 1_100_000);
    // Then the connection that works is lost, and two more are refused: weather.
    let mut weather = [End::ConnackLost, End::Refused, End::Refused].into_iter();
    while world.boot < 3 * HOUR {
        assert_ne!(world.action, Action::Do(Effect::Remove(2)), "alive, and dropped");
        let proves = world.action == Action::Do(Effect::Prove(2)) && world.boot >= 1_100_000;
        let end = if proves { weather.next().unwrap_or(End::Kind) } else { End::Kind };
        world.end(end);
    }
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
}

#[test]
fn the_only_pair_of_a_device_is_kept_until_the_claim_would_be_turned_to_rules_1_and_20() {
    let first = |hidden: Boot| {
        let (mut disk, mut cloud) = (nothing(), Cloud::default());
        add(&mut disk, &mut cloud, 0, Stage::Registered, Asked::Unanswered, true);
        cloud.certificates[0].seen_from = hidden;
        World::new(&policy(), disk, cloud, Some(u32::MAX / 2))
    };
    let mut world = first(20 * HOUR);
    live(&mut world, 21 * HOUR, |_, effect| {
        assert!(
            !matches!(effect, Effect::Remove(_) | Effect::Issue(_)),
            "{effect:?}: a second claim is denied"
        );
        true
    });
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(1), None));
    let mut world = first(0);
    // The operator keeps it away for good, and lets the claim in again.
    world.cloud.certificates[0].status = Status::Inactive;
    world.cloud.reclaim = true;
    live(&mut world, 27 * HOUR, |_, _| true);
    assert_eq!(world.disk.current, Current::Names(2), "and not for ever");
}

/// Sessions of this length, one after another: how long after each close the next CONNECT comes.
fn gaps(lasts: Boot) -> Vec<Boot> {
    let mut world = device(DAY, &policy());
    world.dice = Some(u32::MAX);
    let mut gaps = Vec::new();
    while gaps.len() < 10 {
        let until = world.boot + lasts;
        live(&mut world, until, |_, _| true);
        assert_eq!(world.session, Some(Carrier::Generation(1)));
        world.end(End::Closed);
        let closed = world.boot;
        live(&mut world, closed + HOUR, |_, effect| !matches!(effect, Effect::Connect(_)));
        gaps.push(world.boot - closed);
        world.end(End::Kind);
    }
    gaps
}

#[test]
fn sessions_that_do_not_last_are_sought_ever_more_slowly_and_one_that_lasts_is_found_at_once_rule_22() {
    let short = gaps(3 * MINUTE);
    assert!(short[9] > MINUTE, "not counted: {short:?}");
    assert!(short.windows(2).all(|w| w[0] <= w[1]), "it grows: {short:?}");
    let long = gaps(10 * MINUTE);
    assert!(long.iter().all(|gap| *gap <= 2_000), "forgotten after five minutes: {long:?}");
}

#[test]
fn a_disk_that_fails_once_a_day_is_not_thought_ever_sicker() {
    let mut world = device(DAY, &policy());
    world.dice = Some(u32::MAX);
    for day in 1..20 {
        live(&mut world, day * 24 * HOUR, |_, effect| !matches!(effect, Effect::Record(Record::Worked(..))));
        world.end(End::DiskFails);
        let failed = world.boot;
        live(&mut world, failed + HOUR, |_, effect| effect != Effect::Inspect);
        assert!(world.boot - failed <= 6_000, "day {day}: {} s", (world.boot - failed) / 1_000);
        live(&mut world, failed + 2 * HOUR, |_, _| true);
    }
}

#[test]
fn a_disk_that_fails_at_settled_makes_no_storm_of_commits() {
    let mut world = device(100 * DAY, &policy());
    let mut commits = Vec::new();
    while world.boot < 6 * HOUR {
        if let Action::Do(Effect::Commit(_)) = world.action {
            commits.push(world.boot);
        }
        let settles = matches!(world.action, Action::Do(Effect::Record(Record::Settled(_))));
        world.end(if settles { End::DiskFails } else { End::Kind });
    }
    assert!((5..=12).contains(&commits.len()), "{} commits in six hours", commits.len());
}

#[test]
fn what_the_retire_handler_asks_for_is_waited_for_rule_14() {
    let mut world = device(100 * DAY, &policy());
    world.dice = Some(0);
    live(&mut world, HOUR, |_, effect| !matches!(effect, Effect::Commit(_)));
    let at = Now { wall: world.wall(), boot: world.boot, synchronised: true, dice: 0 };
    let rejected = Outcome::Refused(Verdict::Denied, Some(600));
    let Action::Wait(wait) = world.machine.step(at, Input::Done(rejected)) else { panic!("it waits") };
    assert_eq!(wait.until, world.boot + 10 * MINUTE);
}

#[test]
fn a_chain_that_fails_at_its_second_step_each_time_backs_off_all_the_same_rule_6() {
    let mut world = device(100 * DAY, &policy());
    world.dice = Some(u32::MAX);
    let mut issued = 0;
    while world.boot < 24 * HOUR {
        let end = match world.action {
            Action::Do(Effect::Issue(_)) => {
                issued += 1;
                End::Kind
            }
            Action::Do(Effect::Register(_)) => End::Invalid,
            _ => End::Kind,
        };
        world.end(end);
        world.check().unwrap();
    }
    assert!((2..=30).contains(&issued), "{issued} certificates in a day for nothing");
}

#[test]
fn a_claim_that_is_refused_is_tried_ever_more_slowly_and_for_ever() {
    let mut world = World::new(&policy(), nothing(), Cloud::default(), Some(u32::MAX));
    let mut tried = Vec::new();
    while world.boot < 48 * HOUR {
        let claims = world.action == Action::Do(Effect::Connect(Carrier::Claim));
        if claims {
            tried.push(world.boot);
        }
        world.end(if claims { End::Refused } else { End::Kind });
    }
    let gaps: Vec<Boot> = tried.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|gap| *gap <= HOUR + MINUTE), "it never stops: {gaps:?}");
    assert!(
        gaps[12..].iter().all(|gap| *gap >= 10 * MINUTE),
        "a fleet without a claim is no storm: {gaps:?}"
    );
}

#[test]
fn an_operators_order_is_one_attempt_and_does_not_come_back_by_itself() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    world.end(End::Ordered);
    live(&mut world, 2 * HOUR, |_, effect| !matches!(effect, Effect::Issue(_)));
    world.end(End::Denied);
    live(&mut world, 48 * HOUR, |_, effect| {
        assert!(!matches!(effect, Effect::Issue(_)), "`rotate-now --wait` has told him that it failed");
        true
    });
}
