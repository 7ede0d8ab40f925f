//! What is due and when to the second, and what a wait says of its reason.

use certrotd::rotation::schedule::{self, Rule};
use certrotd::rotation::{
    Action, Asked, Carrier, Certificate, CloudOrder, Current, Effect, Input, Mark, Policy, Record,
    RetireMode, Stage, Why,
};

use super::super::cloud::{Cloud, EPOCH, Status};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, cloud_order, deactivate, device, live, why, with_predecessor};

#[test]
fn a_device_that_cannot_connect_says_why() {
    for (end, wanted) in
        [(End::Unreachable, Why::Unreachable), (End::Unfit, Why::Unfit), (End::Refused, Why::Refused)]
    {
        let mut world = device(DAY, &policy());
        live(&mut world, HOUR, |_, effect| effect != Effect::Connect(Carrier::Generation(1)));
        world.end(end);
        assert_eq!(why(&world), Some(wanted));
    }
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    deactivate(&mut world, 0, u64::MAX);
    live(&mut world, 2 * HOUR, |_, _| true);
    for minute in 0..60 {
        live(&mut world, (120 + minute) * MINUTE, |_, _| true);
        world.feed(Input::Woke);
        if let Some(why) = why(&world) {
            assert_eq!(why, Why::NothingWorks, "after {minute} minutes");
        }
    }
}

#[test]
fn pairs_that_were_left_are_tried_after_those_that_were_not_rule_19() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    for age in [3, 2, 1] {
        let n = add(&mut disk, &mut cloud, age * DAY, Stage::Proved, Asked::Unanswered, true);
        disk.current = Current::Names(n);
    }
    disk.slots[1].mark = Mark::Refused;
    let mut world = World::new(
        &Policy { retire: RetireMode::None, keep_generations: 5, ..policy() },
        disk,
        cloud,
        Some(7),
    );
    deactivate(&mut world, 2, u64::MAX);
    live(&mut world, 2 * HOUR, |_, effect| !matches!(effect, Effect::Connect(Carrier::Generation(1 | 2))));
    assert_eq!(world.action, Action::Do(Effect::Connect(Carrier::Generation(1))));
}

#[test]
fn one_that_was_marked_as_left_and_never_was_is_in_use_as_ever() {
    let mut world = with_predecessor(&policy());
    world.disk.slots[1].mark = Mark::Refused;
    live(&mut world, 2 * HOUR, |_, effect| {
        assert!(!matches!(effect, Effect::Issue(_)), "nothing is due");
        true
    });
}

#[test]
fn what_is_overdue_at_start_waits_no_longer_than_a_quarter_of_what_is_left_rule_28() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 40 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    disk.slots[0].certificate.as_mut().unwrap().not_after = EPOCH + 4_060;
    let policy = Policy { max_age: None, splay: DAY, ..policy() };
    let mut world = World::new(&policy, disk, cloud, Some(u32::MAX));
    world.reasons += 1;
    live(&mut world, HOUR, |_, effect| !matches!(effect, Effect::Issue(_)));
    assert!((1_055..=1_065).contains(&(world.boot / 1_000)), "after {} s", world.boot / 1_000);
}

#[test]
fn an_order_for_certificates_issued_before_a_moment_does_not_mean_that_very_moment() {
    for (later, acts) in [(0, false), (1, true)] {
        let mut world = device(DAY, &policy());
        live(&mut world, HOUR, |_, _| true);
        let issued_before = Some(world.disk.slots[0].certificate.unwrap().not_before + later);
        cloud_order(&mut world, CloudOrder { certificate: None, issued_before, within: 0 });
        live(&mut world, 2 * HOUR, |_, _| true);
        assert_eq!(world.rotations, u32::from(acts));
    }
}

#[test]
fn a_commit_comes_when_its_delay_is_over_and_counts_it_for_its_own_generation() {
    let policy = Policy { retire_delay: 5 * 3_600, ..policy() };
    let mut world = device(100 * DAY, &policy);
    live(&mut world, HOUR, |_, _| true);
    let Action::Wait(wait) = world.action else { panic!("{:?}", world.action) };
    assert_eq!(wait.why, Why::RetireDelay);
    world.pass(wait.until - world.boot);
    world.feed(Input::Woke);
    assert!(matches!(world.action, Action::Do(Effect::Record(Record::Committing(_)))), "{:?}", world.action);

    // The next generation's commit is announced, and the disk fails once it is: its delay is its own.
    world.commits_refused = true;
    live(&mut world, 12 * HOUR, |_, _| true);
    world.end(End::Ordered);
    live(&mut world, 13 * HOUR, |_, effect| !matches!(effect, Effect::Record(Record::Pending(3, _))));
    let announced = world.boot;
    world.end(End::LandsAndFails);
    live(&mut world, 24 * HOUR, |_, effect| effect != Effect::Commit(3));
    assert!(world.boot - announced >= 5 * HOUR, "{} minutes", (world.boot - announced) / MINUTE);
}

#[test]
fn a_request_that_cannot_succeed_gives_the_pair_up_after_a_quarter_of_an_hour_rule_1() {
    let mut world = device(100 * DAY, &policy());
    let mut issued = 0;
    while world.action != Action::Do(Effect::Remove(2)) {
        match world.action {
            Action::Do(Effect::Register(_)) => world.end(End::Invalid),
            Action::Do(Effect::Issue(_)) => {
                issued = world.boot;
                world.end(End::Kind);
            }
            _ => world.end(End::Kind),
        }
    }
    assert!(
        (15..=25).contains(&((world.boot - issued) / MINUTE)),
        "{} minutes",
        (world.boot - issued) / MINUTE
    );
}

#[test]
fn one_whose_answer_was_lost_at_its_tokens_end_is_not_dropped_while_it_is_not_seen_yet_rule_1() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    add(&mut disk, &mut cloud, 3_500, Stage::Issued, Asked::Unanswered, true);
    cloud.certificates[1].seen_from = 10 * MINUTE;
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 8));
    live(&mut world, 2 * HOUR, |_, effect| {
        assert_ne!(effect, Effect::Remove(2), "alive, and seen by the broker in a moment");
        true
    });
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
}

#[test]
fn a_registered_pair_that_is_refused_for_good_is_given_up_soon_where_another_one_works_rule_1() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    add(&mut disk, &mut cloud, 0, Stage::Registered, Asked::Unanswered, false);
    cloud.certificates[1].status = Status::Dead;
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 2));
    live(&mut world, 20 * HOUR, |_, effect| effect != Effect::Remove(2));
    assert!((75..=120).contains(&(world.boot / MINUTE)), "after {} minutes", world.boot / MINUTE);
}

#[test]
fn a_dead_pair_that_was_noted_by_a_clock_far_ahead_is_given_up_all_the_same_rule_27() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    add(&mut disk, &mut cloud, 0, Stage::Issued, Asked::Unanswered, false);
    cloud.certificates[1].status = Status::Dead;
    disk.slots[1].issued_at += 400 * DAY;
    disk.slots[1].token_ends = Some(disk.slots[1].issued_at + 3_600);
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 2));
    live(&mut world, 4 * HOUR, |_, _| true);
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(3), None));
}

#[test]
fn without_retirement_older_pairs_leave_the_disk_newer_and_half_done_ones_do_not_rules_17_and_18() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 5 * DAY, Stage::Registered, Asked::Unanswered, false);
    for age in [4, 3, 2, 1] {
        add(&mut disk, &mut cloud, age * DAY, Stage::Proved, Asked::Unanswered, true);
    }
    for operator_has_retired in [1, 2] {
        cloud.certificates[operator_has_retired].status = Status::Dead;
    }
    disk.current = Current::Names(4);
    disk.slots[4].mark = Mark::Refused;
    let policy = Policy { retire: RetireMode::None, enabled: false, ..policy() };
    let mut world = World::new(&policy, disk, cloud, Some(7));
    let mut removed = Vec::new();
    // The fallback makes a rotation due, which is not this story's.
    live(&mut world, HOUR, |_, effect| {
        if let Effect::Remove(n) = effect {
            removed.push(n);
        }
        !matches!(effect, Effect::Issue(_))
    });
    assert_eq!(removed, [3, 2, 1]);
}

#[test]
fn a_certificate_without_an_end_is_never_due_before_one() {
    let policy = Policy { max_age: None, ..policy() };
    // 9999-12-31T23:59:59Z: RFC 5280's “no end”.
    let until = |not_after| Certificate { id: [0; 32], not_before: EPOCH, not_after };
    assert_eq!(schedule::due(&until(253_402_300_799), &policy), None);
    let due = schedule::due(&until(253_402_300_798), &policy).unwrap();
    assert_eq!((due.at, due.rule), (253_402_300_798 - 30 * DAY, Rule::RenewBefore));
}

#[test]
fn a_devices_share_of_the_splay_is_the_same_in_every_version_rule_28() {
    let shares = ["", "SN-0001", "thing:a_B"].map(schedule::spread_of);
    assert_eq!(shares, [1_572_119_809, 1_645_744_255, 2_652_328_920]);
}
