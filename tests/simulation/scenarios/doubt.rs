//! What is in doubt: a disk that fails after it has written, a session that ends in between, a clock that steps while
//! something waits. Each of these was once a fault that the walk found.

use certrotd::rotation::{
    Action, Asked, Boot, Carrier, Current, Effect, Happening, Input, Now, Order, Outcome, Policy, Record,
    Rotation, Stage, Why,
};

use super::super::cloud::{Cloud, EPOCH, Status};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, device, live, with_predecessor};

/// Kind time until this effect is about to begin.
fn until(world: &mut World, effect: Effect) {
    let horizon = world.boot + 48 * HOUR;
    live(world, horizon, |_, begins| begins != effect);
    assert_eq!(world.action, Action::Do(effect));
}

#[test]
fn a_switch_that_fails_after_the_rename_is_one_rotation_for_one_order() {
    for doubt in [End::LandsAndFails, End::Changed] {
        let mut world = device(DAY, &policy());
        live(&mut world, HOUR, |_, _| true);
        world.end(End::Ordered);
        until(&mut world, Effect::Switch(2));
        world.end(doubt);
        live(&mut world, 5 * HOUR, |_, _| true);
        assert_eq!((world.rotations, world.unclean()), (1, None), "{doubt:?}");
    }
}

#[test]
fn an_order_of_the_cloud_outlives_a_rotation_that_fails() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    world.end(End::CloudOrdered);
    let mut failed = 0;
    while world.rotations == 0 && world.boot < 3 * HOUR {
        let fails = matches!(world.action, Action::Do(Effect::Issue(_))) && failed < 4;
        failed += u32::from(fails);
        world.end(if fails { End::Denied } else { End::Kind });
    }
    assert_eq!((failed, world.rotations), (4, 1), "the cloud asked once, and it is tried until it is done");
}

#[test]
fn a_step_of_the_clock_neither_takes_nor_gives_time_of_the_retire_delay() {
    for step in [End::Stepped, End::SteppedBack] {
        let policy = Policy { retire_delay: 6 * 3_600, ..policy() };
        let mut world = device(100 * DAY, &policy);
        until(&mut world, Effect::Switch(2));
        let switched = world.boot;
        live(&mut world, HOUR, |_, _| true);
        world.end(step);
        until(&mut world, Effect::Commit(2));
        let waited = (world.boot - switched) / MINUTE;
        assert!((360..=361).contains(&waited), "{step:?}: the commit came after {waited} minutes");
    }
}

#[test]
fn a_pair_that_was_registered_as_another_thing_is_waited_out_in_peace_rule_4() {
    let mut world = World::new(&policy(), nothing(), Cloud::default(), Some(u32::MAX));
    until(&mut world, Effect::Register(1));
    world.end(End::Wrong);
    let mut woken = 0;
    while world.disk.current == Current::Absent {
        if let Action::Wait(wait) = world.action {
            assert_eq!(wait.why, Why::NotProved);
            woken += 1;
        }
        assert_ne!(world.action, Action::Do(Effect::Prove(1)), "it is another thing's");
        world.end(End::Kind);
    }
    assert!(woken < 20, "woken {woken} times in the hour of its token");
    assert_eq!(world.disk.current, Current::Names(2));
}

#[test]
fn a_fallback_that_was_begun_and_given_up_leaves_the_one_in_use_its_commit_rule_10() {
    let mut world = with_predecessor(&policy());
    // The older one had connected, its commit was announced, and the power went before the rename.
    world.disk.pending = Some(1);
    live(&mut world, HOUR, |_, effect| {
        assert_ne!(effect, Effect::Commit(1), "it is not in use");
        true
    });
    assert_eq!(world.unclean(), None, "the older one is retired all the same");
}

/// A device in use, and a half-done successor that is alive and not seen by the broker until then.
fn with_hidden_successor(seen_from: u64) -> World {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    add(&mut disk, &mut cloud, 0, Stage::Issued, Asked::Unanswered, true);
    cloud.certificates[1].seen_from = seen_from;
    World::new(&policy(), disk, cloud, Some(u32::MAX / 2))
}

#[test]
fn a_clock_that_is_stepped_drops_no_pair_of_the_disk_before_its_token_can_have_ended_rule_27() {
    for step in [End::Stepped, End::SteppedBack] {
        for met in [true, false] {
            let mut world = with_hidden_successor(55 * MINUTE);
            if met {
                live(&mut world, 2 * MINUTE, |_, _| true);
            }
            world.end(step);
            live(&mut world, 2 * HOUR, |_, effect| {
                assert_ne!(effect, Effect::Remove(2), "{step:?}: alive, and seen by the broker in a moment");
                true
            });
            assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
        }
    }
}

#[test]
fn a_pair_that_was_noted_by_a_wrong_clock_is_not_dropped_before_its_token_can_have_ended_rule_27() {
    for wrong_by in [-400 * DAY, 400 * DAY] {
        let mut world = with_hidden_successor(55 * MINUTE);
        let slot = &mut world.disk.slots[1];
        slot.issued_at += wrong_by;
        slot.token_ends = Some(slot.issued_at + 3_600);
        live(&mut world, 2 * HOUR, |_, effect| {
            assert_ne!(effect, Effect::Remove(2), "{wrong_by}: alive, and seen by the broker in a moment");
            true
        });
        assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
    }
}

#[test]
fn a_request_whose_session_ends_while_it_is_announced_is_sent_on_the_next_one_first_of_all() {
    let mut world = device(100 * DAY, &policy());
    until(&mut world, Effect::Record(Record::Registering(2)));
    world.end(End::Closed);
    world.end(End::Kind);
    let mut seen = Vec::new();
    live(&mut world, HOUR, |_, effect| {
        seen.push(effect);
        !matches!(effect, Effect::Register(_) | Effect::Prove(_))
    });
    assert_eq!(
        seen,
        [Effect::Connect(Carrier::Generation(1)), Effect::Register(2)],
        "nothing to be proved yet"
    );
}

#[test]
fn a_commit_whose_session_ends_while_it_is_announced_is_not_asked_of_nobody() {
    let mut world = device(100 * DAY, &policy());
    live(&mut world, HOUR, |_, effect| !matches!(effect, Effect::Record(Record::Committing(_))));
    world.end(End::Closed);
    world.end(End::Kind);
    assert!(!matches!(world.action, Action::Do(Effect::Commit(_))), "{:?}", world.action);
    let soon = world.boot + 10_000;
    live(&mut world, soon, |_, _| true);
    assert_eq!(world.unclean(), None, "and no minute is lost to a refusal that nobody spoke");
}

#[test]
fn a_pair_that_landed_although_the_disk_failed_goes_on_at_once_however_often_others_failed() {
    let mut world = device(100 * DAY, &policy());
    for _ in 0..10 {
        live(&mut world, 48 * HOUR, |_, effect| !matches!(effect, Effect::Issue(_)));
        world.end(End::Denied);
    }
    live(&mut world, 48 * HOUR, |_, effect| !matches!(effect, Effect::Issue(_)));
    world.end(End::LandsAndFails);
    let landed = world.boot;
    until(&mut world, Effect::Register(2));
    assert!(world.boot - landed <= 10_000, "{} s of its token's hour gone", (world.boot - landed) / 1_000);
}

#[test]
fn a_device_that_lost_its_pair_while_another_client_had_its_id_goes_on_rule_22() {
    let mut world = device(DAY, &policy());
    while !world.machine.contested() {
        let connected = matches!(world.action, Action::Wait(_)) && world.session.is_some();
        world.end(if connected { End::Closed } else { End::Kind });
    }
    // The store was restored from an old state: the pair is gone, a registered one is there.
    world.disk.slots[0].stage = Stage::Registered;
    world.disk.current = Current::Absent;
    world.end(End::Changed);
    let until = world.boot + HOUR;
    live(&mut world, until, |_, _| true);
    assert_eq!(world.disk.current, Current::Names(1));
}

#[test]
fn provision_beside_the_devices_own_session_is_not_remembered_for_the_day_when_it_ends_rule_20() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    let at = Now { wall: world.wall(), boot: world.boot, synchronised: true, dice: 1 };
    world.action = world.machine.step(at, Input::Order(Order::Provision));
    live(&mut world, 2 * HOUR, |_, _| true);
    world.end(End::Closed);
    live(&mut world, 3 * HOUR, |_, effect| {
        assert_ne!(effect, Effect::Connect(Carrier::Claim));
        true
    });
    assert_eq!(world.unclean(), None);
}

#[test]
fn a_pair_whose_rights_came_late_and_whose_session_closed_just_then_is_proved_again_and_not_left_rule_19() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    world.end(End::Ordered);
    until(&mut world, Effect::Prove(2));
    world.end(End::Unfit);
    live(&mut world, 48 * HOUR, |_, effect| effect != Effect::Prove(2));
    world.end(End::Kind);
    world.end(End::Closed);
    live(&mut world, 48 * HOUR, |_, effect| {
        assert!(!matches!(effect, Effect::Issue(_)), "the pair is good");
        true
    });
    assert_eq!((world.rotations, world.unclean()), (1, None));
}

#[test]
fn what_changes_while_the_disk_is_read_is_read_once_more() {
    let mut machine = Rotation::new(policy());
    let at = Now { wall: EPOCH, boot: 60_000, synchronised: true, dice: 1 };
    assert_eq!(machine.step(at, Input::Woke), Action::Do(Effect::Inspect));
    assert_eq!(machine.step(at, Input::Happened(Happening::Changed)), Action::Keep);
    let read = machine.step(at, Input::Done(Outcome::Inspected(nothing())));
    assert_eq!(read, Action::Do(Effect::Inspect), "what was read may be older than the change");
}

#[test]
fn a_pair_that_is_taken_up_again_has_its_whole_retire_delay_again() {
    let policy = Policy { retire_delay: 6 * 3_600, ..policy() };
    let mut world = with_predecessor(&policy);
    world.commits_refused = true;
    live(&mut world, 7 * HOUR, |_, _| true);
    let (mut switched, mut committed) = (0, 0);
    // The operator takes the newer one away at seven hours, and at nine the older one in its stead.
    for (takes, gives, until) in [(1, None, 9 * HOUR), (0, Some(1), 18 * HOUR)] {
        if let Some(id) = gives {
            world.cloud.certificates[id].status = Status::Active;
        }
        world.cloud.certificates[takes].status = Status::Inactive;
        world.deactivated = Some((takes, Boot::MAX));
        world.pass(1_000);
        while world.boot < until {
            match world.action {
                Action::Do(Effect::Switch(2)) => switched = world.boot,
                Action::Do(Effect::Commit(2)) if switched > 0 && committed == 0 => committed = world.boot,
                _ => {}
            }
            let issues = matches!(world.action, Action::Do(Effect::Issue(_)));
            world.end(if issues { End::Denied } else { End::Kind });
        }
    }
    assert!(switched > 9 * HOUR, "it came back to the newer one");
    assert!(committed >= switched + 6 * HOUR, "committed {} min after", (committed - switched) / MINUTE);
}

#[test]
fn a_session_that_ends_before_the_first_switch_is_not_told_as_a_refusal() {
    let mut world = World::new(&policy(), nothing(), Cloud::default(), Some(u32::MAX));
    until(&mut world, Effect::Record(Record::Proved(1)));
    world.end(End::Closed);
    let horizon = world.boot + HOUR;
    while world.disk.current == Current::Absent && world.boot < horizon {
        assert_ne!(world.machine.last_why(), Some(Why::NothingWorks), "nobody has refused anything");
        world.end(End::Kind);
    }
    assert_eq!(world.disk.current, Current::Names(1));
}

#[test]
fn rights_that_come_late_are_tried_again_soon_also_where_the_disk_changed_during_the_proof() {
    let mut world = World::new(&policy(), nothing(), Cloud::default(), Some(u32::MAX));
    for _ in 0..7 {
        until(&mut world, Effect::Prove(1));
        world.end(End::Refused);
    }
    until(&mut world, Effect::Prove(1));
    world.end(End::Changed);
    world.end(End::Unfit);
    let unfit = world.boot;
    while world.disk.current == Current::Absent && world.boot < unfit + 2 * HOUR {
        world.end(End::Kind);
    }
    let waited = (world.boot - unfit) / MINUTE;
    assert!(waited < 15, "it had to wait {waited} minutes for what a reset would have had in one");
}

#[test]
fn a_request_without_an_answer_is_not_repeated_while_its_proof_could_not_be_tried_rule_2() {
    for restarted in [false, true] {
        let mut world = device(100 * DAY, &policy());
        until(&mut world, Effect::Register(2));
        world.end(End::FaultAfter);
        if restarted {
            world.end(End::CutBefore);
        }
        let (mut tried, horizon) = (0, world.boot + HOUR);
        while world.boot < horizon {
            let proves = world.action == Action::Do(Effect::Prove(2));
            tried += u32::from(proves);
            assert_ne!(world.action, Action::Do(Effect::Register(2)), "nothing has refused the pair");
            world.end(if proves { End::Unreachable } else { End::Kind });
        }
        assert!(tried > 3, "the proof is tried: {tried} times");
        assert_eq!(world.session, Some(Carrier::Generation(1)), "the old pair's session goes on meanwhile");
        live(&mut world, horizon + HOUR, |_, _| true);
        assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
    }
}
