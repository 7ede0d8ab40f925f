//! What fails in one place and must be counted there and nowhere else; most were mutants that no other story saw.

use certrotd::rotation::{
    Action, Asked, Carrier, Current, Effect, Input, Mark, Now, Origin, Outcome, Policy, Record, RetireMode,
    Stage, Verdict, Why,
};

use super::super::cloud::{Cloud, Status};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, deactivate, device, live, why, with_predecessor};

#[test]
fn a_pair_that_leaves_the_disk_takes_only_its_own_refusals_along_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 60 * DAY, Stage::Proved, Asked::Unanswered, true);
    let b = add(&mut disk, &mut cloud, DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(b);
    // One that was refused and whose token ends 600 s after boot.
    add(&mut disk, &mut cloud, 3_000, Stage::Issued, Asked::Rejected, false);
    cloud.certificates[1].status = Status::Inactive;
    let mut world = World::new(&policy, disk, cloud, Some(u32::MAX / 2));
    world.deactivated = Some((1, u64::MAX));
    let mut removed = 0;
    live(&mut world, HOUR, |world, effect| {
        if effect == Effect::Remove(3) {
            removed = world.boot;
        }
        effect != Effect::Connect(Carrier::Generation(1))
    });
    assert!(removed > 0, "the dead one was dropped");
    assert!(world.boot < 24 * MINUTE, "refused for a quarter of an hour by {} s", world.boot / 1_000);
}

#[test]
fn a_session_forgets_what_was_refused_before_it_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let mut world = with_predecessor(&policy);
    live(&mut world, HOUR, |_, _| true);
    let back = world.boot + 10 * MINUTE;
    deactivate(&mut world, 1, back);
    live(&mut world, 3 * HOUR, |_, _| true);
    assert_eq!(world.session, Some(Carrier::Generation(2)));
    let back = world.boot + 5 * MINUTE;
    deactivate(&mut world, 1, back);
    live(&mut world, 4 * HOUR, |_, effect| {
        assert_ne!(
            effect,
            Effect::Connect(Carrier::Generation(1)),
            "two spells of ten minutes are no quarter"
        );
        true
    });
    assert_eq!(world.session, Some(Carrier::Generation(2)));
}

#[test]
fn a_claim_whose_file_cannot_be_read_is_tried_at_the_claims_pace_and_a_pair_at_its_own() {
    let mut world = World::new(&policy(), nothing(), Cloud::default(), Some(u32::MAX));
    let mut tried = 0;
    while world.boot < 24 * HOUR {
        let claims = world.action == Action::Do(Effect::Connect(Carrier::Claim));
        tried += u32::from(claims);
        world.end(if claims { End::DiskFails } else { End::Kind });
    }
    assert!((20..=60).contains(&tried), "{tried} times in a day");

    let mut world = device(DAY, &policy());
    world.dice = Some(u32::MAX);
    let mut tried = 0;
    while world.boot < 24 * HOUR {
        let connects = world.action == Action::Do(Effect::Connect(Carrier::Generation(1)));
        tried += u32::from(connects);
        world.end(if connects { End::DiskFails } else { End::Kind });
    }
    assert!((280..=400).contains(&tried), "{tried} times in a day");
    assert_eq!(world.cloud.certificates.len(), 1, "nothing has refused it");
}

#[test]
fn a_pair_whose_file_cannot_be_read_waits_for_its_proof_and_not_for_the_disk() {
    let mut world = device(100 * DAY, &policy());
    live(&mut world, HOUR, |_, effect| effect != Effect::Prove(2));
    world.end(End::DiskFails);
    assert_eq!(world.action, Action::Do(Effect::Inspect), "the disk is read at once");
    world.end(End::Kind);
    assert_eq!((why(&world), world.session), (Some(Why::NotProved), Some(Carrier::Generation(1))));
}

#[test]
fn an_operators_order_that_the_disk_fails_is_one_attempt_too() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    world.end(End::Ordered);
    live(&mut world, 2 * HOUR, |_, effect| !matches!(effect, Effect::Issue(_)));
    world.end(End::DiskFails);
    live(&mut world, 48 * HOUR, |_, effect| {
        assert!(!matches!(effect, Effect::Issue(_)), "`rotate-now --wait` has told him that it failed");
        true
    });
}

#[test]
fn a_request_that_fails_here_may_have_been_sent_rule_1() {
    let mut world = device(100 * DAY, &policy());
    live(&mut world, HOUR, |_, effect| effect != Effect::Register(2));
    world.end(End::LandsAndFails);
    live(&mut world, 3 * HOUR, |_, effect| {
        assert_ne!(effect, Effect::Remove(2), "it is alive");
        true
    });
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
}

#[test]
fn what_the_cloud_asks_for_is_waited_for_and_a_silent_connection_is_not_asked_again_rules_2_and_6() {
    let mut world = device(100 * DAY, &policy());
    world.dice = Some(0);
    live(&mut world, HOUR, |_, effect| !matches!(effect, Effect::Issue(_)));
    let at = Now { wall: world.wall(), boot: world.boot, synchronised: true, dice: 0 };
    let mut throttled = world.machine.clone();
    let rejected = Outcome::Refused(Verdict::Denied, Some(600));
    let Action::Wait(wait) = throttled.step(at, Input::Done(rejected)) else { panic!("it waits") };
    assert_eq!((wait.until, wait.why), (world.boot + 10 * MINUTE, Why::IssueRefused));

    world.end(End::RequestLost);
    let mut seen = Vec::new();
    live(&mut world, 2 * HOUR, |_, effect| {
        seen.push(effect);
        !matches!(effect, Effect::Issue(_))
    });
    assert!(seen.contains(&Effect::Connect(Carrier::Generation(1))), "a fresh connection: {seen:?}");
}

#[test]
fn what_register_thing_said_is_on_disk_before_anything_else_is_done_rule_1() {
    let begin = || {
        let mut world = device(100 * DAY, &policy());
        live(&mut world, HOUR, |_, effect| effect != Effect::Register(2));
        world
    };
    for (end, record) in [
        (End::Kind, Record::Registered(2)),
        (End::Denied, Record::Rejected(2)),
        (End::Invalid, Record::Rejected(2)),
        (End::Wrong, Record::Marked(2, Mark::Refused)),
    ] {
        let mut world = begin();
        world.end(end);
        assert_eq!(world.action, Action::Do(Effect::Record(record)), "{end:?}");
    }
    // A CONNACK shows that it is registered, whatever was answered; and one that lacks its rights is marked.
    let mut world = begin();
    world.end(End::AnswerLost);
    live(&mut world, 2 * HOUR, |_, effect| effect != Effect::Prove(2));
    world.end(End::Unfit);
    assert_eq!(world.action, Action::Do(Effect::Record(Record::Registered(2))));
    live(&mut world, 3 * HOUR, |_, effect| effect != Effect::Prove(2));
    world.end(End::Unfit);
    assert_eq!(world.action, Action::Do(Effect::Record(Record::Marked(2, Mark::Refused))));
}

#[test]
fn a_request_without_an_answer_is_repeated_on_a_fresh_connection_and_a_lost_proof_ends_the_old_one_rules_2_and_8()
 {
    for (begins, end) in [(Effect::Register(2), End::RequestLost), (Effect::Prove(2), End::ConnackLost)] {
        let mut world = device(100 * DAY, &policy());
        live(&mut world, HOUR, |_, effect| effect != begins);
        world.end(end);
        // The cloud's model fails on a second request on one connection, and on a session that is only believed in.
        live(&mut world, 2 * HOUR, |_, _| true);
        assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None), "{end:?}");
    }
}

#[test]
fn a_proof_that_finds_no_network_does_not_slow_the_way_back_to_the_session_in_hand() {
    let mut world = device(100 * DAY, &policy());
    world.dice = Some(0);
    live(&mut world, HOUR, |_, effect| effect != Effect::Prove(2));
    let began = world.boot;
    world.dice = Some(u32::MAX);
    while world.boot < began + 4 * MINUTE {
        world.end(if world.action == Action::Do(Effect::Prove(2)) { End::Unreachable } else { End::Kind });
    }
    assert_eq!(world.session, Some(Carrier::Generation(1)));
    world.end(End::Closed);
    let closed = world.boot;
    live(&mut world, closed + HOUR, |_, effect| !matches!(effect, Effect::Connect(_) | Effect::Prove(_)));
    assert!(world.boot - closed <= 2_000, "{} s", (world.boot - closed) / 1_000);
}

#[test]
fn a_change_on_disk_that_comes_while_a_request_is_announced_is_read_all_the_same() {
    let mut world = device(100 * DAY, &policy());
    let announced = Effect::Record(Record::Registering(2));
    live(&mut world, HOUR, |_, effect| effect != announced);
    world.end(End::Changed);
    let mut seen = Vec::new();
    live(&mut world, 2 * HOUR, |_, effect| {
        seen.push(effect);
        true
    });
    assert!(seen.contains(&Effect::Inspect), "{seen:?}");
    assert_eq!(world.unclean(), None);
}

#[test]
fn a_disk_that_failed_has_its_pause_although_it_was_read_again_meanwhile() {
    let mut world = device(DAY, &policy());
    world.dice = Some(u32::MAX);
    assert_eq!(world.action, Action::Do(Effect::Inspect));
    world.end(End::Changed);
    world.end(End::DiskFails);
    assert_eq!(world.action, Action::Do(Effect::Inspect), "what has changed is read once more");
    world.end(End::Kind);
    live(&mut world, HOUR, |_, effect| !matches!(effect, Effect::Connect(_)));
    world.end(End::Kind);
    for _ in 0..2 {
        assert_eq!(why(&world), Some(Why::Disk), "{:?}", world.action);
        world.feed(Input::Woke);
    }
}

#[test]
fn an_operators_provision_turns_to_the_claim_at_once_where_no_session_is_rule_20() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    deactivate(&mut world, 0, u64::MAX);
    live(&mut world, 2 * HOUR, |_, _| true);
    world.end(End::Provision);
    let began = world.boot;
    live(&mut world, began + HOUR, |_, effect| effect != Effect::Connect(Carrier::Claim));
    assert!(world.boot - began <= 2_000, "{} s", (world.boot - began) / 1_000);
}

#[test]
fn a_step_of_an_hour_is_none_and_of_more_holds_every_rotation_for_a_quarter_of_one_rule_27() {
    for (step, held) in [(3_600, false), (3_601, true), (-3_600, false), (-3_601, true)] {
        let mut world = device(DAY, &policy());
        live(&mut world, HOUR, |_, _| true);
        world.skew = step;
        world.feed(Input::Woke);
        world.end(End::Ordered);
        let issues = matches!(world.action, Action::Do(Effect::Issue(_)));
        assert_eq!((issues, why(&world) == Some(Why::ClockStepped)), (!held, held), "{step} s");
        if let Action::Wait(wait) = world.action {
            assert_eq!(wait.ends, world.boot + 15 * MINUTE);
        }
    }
}

#[test]
fn failures_are_told_by_their_concern() {
    let mut world = device(100 * DAY, &policy());
    let counts =
        |w: &World| (w.machine.renew_failures(), w.machine.connect_failures(), w.machine.commit_failures());
    for (effect, end, expected) in [
        (Effect::Connect(Carrier::Generation(1)), End::Unreachable, (0, 1, 0)),
        (Effect::Connect(Carrier::Generation(1)), End::Unreachable, (0, 2, 0)),
        (Effect::Issue(Origin::Rotation), End::Denied, (1, 2, 0)),
        (Effect::Issue(Origin::Rotation), End::Denied, (2, 2, 0)),
        (Effect::Prove(2), End::Refused, (3, 2, 0)),
        (Effect::Commit(2), End::Denied, (0, 2, 1)),
        (Effect::Commit(2), End::Denied, (0, 2, 2)),
    ] {
        live(&mut world, HOUR, |_, begins| begins != effect);
        assert_eq!(world.action, Action::Do(effect));
        world.end(end);
        assert_eq!(counts(&world), expected, "after {effect:?}");
    }
    assert_eq!(world.machine.last_why(), Some(Why::CommitRefused));
    assert!(!world.machine.offline());
    world.end(End::Offline);
    assert!(world.machine.offline());
    world.end(End::Kind);
    assert_eq!(world.machine.last_why(), Some(Why::Offline));
    assert!(world.machine.disk().is_some_and(|d| *d == world.disk));
}
