//! What a disk can hold when it is read first, however it came there, and what is made of it.

use certrotd::rotation::{
    Action, Asked, Carrier, Current, Disk, Effect, Input, MachineChange, Mark, Outcome, Policy, Record,
    RetireMode, Rotation, Stage, Why, follow,
};

use super::super::cloud::{Cloud, EPOCH, Status};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, deactivate, device, live, now};

/// What is done first with this disk, by a clock that is right.
fn first(policy: &Policy, disk: Disk) -> Action {
    let mut machine = Rotation::new(policy.clone());
    let at = now(EPOCH, 60_000, true);
    assert_eq!(machine.step(at, Input::Woke), Action::Do(Effect::Inspect));
    machine.step(at, Input::Done(Outcome::Inspected(disk)))
}

/// A device in use with its predecessor's pair.
fn two() -> (Disk, Cloud) {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 60 * DAY, Stage::Proved, Asked::Unanswered, true);
    let b = add(&mut disk, &mut cloud, DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(b);
    (disk, cloud)
}

#[test]
fn a_broken_pair_is_neither_connected_with_nor_brought_forward() {
    let (mut disk, _) = two();
    disk.slots[1].certificate = None;
    assert_eq!(first(&policy(), disk), Action::Do(Effect::Connect(Carrier::Generation(1))));
    let (mut disk, mut cloud) = two();
    let n = add(&mut disk, &mut cloud, 0, Stage::Issued, Asked::Unanswered, false);
    disk.slots[2].certificate = None;
    assert_eq!(n, 3);
    assert_eq!(first(&policy(), disk), Action::Do(Effect::Connect(Carrier::Generation(2))));
}

#[test]
fn the_one_in_use_is_no_successor_of_itself_whatever_its_stage() {
    for stage in [Stage::Issued, Stage::Registered, Stage::Proved] {
        let (mut disk, _) = two();
        disk.slots[1].stage = stage;
        assert_eq!(
            first(&policy(), disk.clone()),
            Action::Do(Effect::Connect(Carrier::Generation(2))),
            "{stage:?}"
        );
        // Nor does it leave the disk under its own session (rule 18).
        let mut machine = Rotation::new(policy());
        let at = now(EPOCH, 60_000, true);
        machine.step(at, Input::Woke);
        let mut action = machine.step(at, Input::Done(Outcome::Inspected(disk)));
        while let Action::Do(effect) = action {
            assert_ne!(effect, Effect::Remove(2), "{stage:?}");
            let kind = if let Effect::Commit(_) = effect { Outcome::Committed } else { Outcome::Done };
            action = machine.step(at, Input::Done(kind));
        }
    }
}

#[test]
fn one_that_was_proved_and_not_switched_to_is_taken_up_and_no_other_one_issued() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    add(&mut disk, &mut cloud, 60, Stage::Proved, Asked::Unanswered, true);
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 2));
    live(&mut world, HOUR, |_, _| true);
    assert_eq!((world.disk.current, world.cloud.certificates.len()), (Current::Names(2), 2));
}

#[test]
fn only_a_copied_store_that_is_to_be_provisioned_anew_leaves_a_successor_of_a_rotation_alone() {
    for (foreign, machine_change) in [(true, MachineChange::Report), (false, MachineChange::Provision)] {
        let policy = Policy { machine_change, ..policy() };
        let mut world = device(100 * DAY, &policy);
        world.disk.foreign = foreign;
        live(&mut world, HOUR, |_, _| true);
        assert_eq!((world.rotations, world.unclean()), (1, None), "{machine_change:?}");
    }
    let policy = Policy { machine_change: MachineChange::Provision, ..policy() };
    let (mut disk, mut cloud) = two();
    add(&mut disk, &mut cloud, 0, Stage::Registered, Asked::Unanswered, true);
    disk.foreign = true;
    assert_eq!(first(&policy, disk), Action::Do(Effect::Connect(Carrier::Claim)));
}

#[test]
fn a_rotation_is_due_at_once_where_the_newer_pairs_are_retired_and_current_is_lost_rule_19() {
    let (mut disk, mut cloud) = two();
    disk.current = Current::Absent;
    disk.slots[1].mark = Mark::Retired;
    cloud.certificates[1].status = Status::Dead;
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 2));
    world.newest = 2;
    live(&mut world, HOUR, |_, _| true);
    assert_eq!((world.disk.current, world.rotations, world.unclean()), (Current::Names(3), 1, None));
}

#[test]
fn a_commit_that_is_settled_retires_older_proved_ones_and_nothing_else() {
    let (mut disk, mut cloud) = two();
    add(&mut disk, &mut cloud, 0, Stage::Proved, Asked::Unanswered, true);
    disk.slots[0].stage = Stage::Registered;
    disk.pending = Some(3);
    follow(&mut disk, Record::Settled(2));
    assert_eq!(disk.pending, Some(3), "another's commit is still to come");
    assert!(disk.slots.iter().all(|s| s.mark == Mark::Clear), "neither unproved, nor itself, nor newer");
    disk.slots[0].stage = Stage::Proved;
    follow(&mut disk, Record::Settled(3));
    assert_eq!(
        disk.slots.iter().map(|s| s.mark).collect::<Vec<_>>(),
        [Mark::Retired, Mark::Retired, Mark::Clear]
    );
}

#[test]
fn a_clock_that_the_kernel_vouches_for_counts_although_the_disk_was_written_by_one_that_was_ahead_rule_26() {
    let mut world = device(DAY, &policy());
    follow(&mut world.disk, Record::Worked(EPOCH + 400 * DAY, true));
    live(&mut world, 2 * HOUR, |_, effect| {
        assert!(!matches!(effect, Effect::Issue(_)), "it is a day old");
        true
    });
}

#[test]
fn a_clock_that_is_not_trusted_is_looked_at_every_five_seconds_rule_26() {
    let (disk, _) = two();
    let mut machine = Rotation::new(policy());
    let at = now(1_000, 60_000, false);
    machine.step(at, Input::Woke);
    let Action::Wait(wait) = machine.step(at, Input::Done(Outcome::Inspected(disk))) else {
        panic!("it waits")
    };
    assert_eq!((wait.until, wait.why, wait.ends), (65_000, Why::Clock, 65_000));
}

#[test]
fn a_commit_that_is_pending_anew_gives_other_holders_their_time_anew() {
    let policy = Policy { retire_delay: 6 * 3_600, ..policy() };
    let (mut disk, cloud) = two();
    disk.pending = Some(2);
    disk.pending_since = Some(EPOCH);
    let mut world = World::new(&policy, disk, cloud, Some(u32::MAX / 2));
    live(&mut world, 5 * HOUR, |_, _| true);
    deactivate(&mut world, 1, 6 * HOUR);
    live(&mut world, 6 * HOUR, |_, effect| !matches!(effect, Effect::Record(Record::Pending(1, _))));
    // The older one's session ends before the switch, and the newer one comes back.
    world.end(End::Closed);
    world.cloud.certificates[1].status = Status::Active;
    world.deactivated = None;
    let mut anew = None;
    live(&mut world, 30 * HOUR, |world, effect| {
        if let Effect::Record(Record::Pending(2, _)) = effect {
            anew = Some(world.boot);
        }
        effect != Effect::Commit(2)
    });
    let waited = world.boot - anew.expect("it is pending anew");
    assert!(waited >= 6 * HOUR, "{} minutes", waited / MINUTE);
}

#[test]
fn policies_and_counts_are_told_as_they_are() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let machine = Rotation::new(policy.clone());
    assert_eq!(
        (machine.policy(), machine.disk(), machine.offline(), machine.last_why()),
        (&policy, None, false, None)
    );
    assert_eq!((machine.renew_failures(), machine.connect_failures(), machine.commit_failures()), (0, 0, 0));
}
