//! Walks the core through every way in which its effects can end, in a cloud that is kind and in one that is not.
//!
//! From each start (fresh, steady, due, half-done at each stage, unretired predecessor) every effect ends in every way
//! (`ends::End`), up to a number of faults for one walk; states met before are not walked again. At every point the
//! invariants of `World::check` hold, and after the last fault everything is clean within the longest pause, an hour, and
//! five minutes (two hours where a dead token has to run out first). `CERTROT_WALK_FAULTS=3` walks deeper (the long version; use `--release`).

#[path = "simulation/calls.rs"]
mod calls;
#[path = "simulation/cloud.rs"]
mod cloud;
#[path = "simulation/count.rs"]
mod count;
#[path = "simulation/disk.rs"]
mod disk;
#[path = "simulation/ends.rs"]
mod ends;
#[path = "simulation/scenarios.rs"]
mod scenarios;
#[path = "simulation/walk.rs"]
mod walk;
#[path = "simulation/world.rs"]
mod world;

use certrotd::rotation::{
    Asked, Certificate, Current, Disk, MachineChange, Mark, Origin, Policy, RetireMode, Slot, Stage,
};
use cloud::{Cloud, EPOCH, Status, id_of};
use count::Counts;
use walk::Walk;
use world::World;

const DAY: i64 = 86_400;

fn policy() -> Policy {
    Policy {
        max_age: Some(90 * DAY),
        renew_before: 30 * DAY,
        check_interval: DAY / 2,
        splay: 0,
        spread: 0,
        min_interval: 3_600,
        fallback_after: DAY,
        retire_delay: 0,
        retire: RetireMode::CommitTopic,
        keep_generations: 2,
        start_jitter: 0,
        machine_change: MachineChange::Report,
        built_at: EPOCH - 100 * DAY,
        enabled: true,
    }
}

fn nothing() -> Disk {
    Disk {
        slots: Vec::new(),
        current: Current::Absent,
        pending: None,
        pending_since: None,
        committed_at: None,
        worked_at: None,
        saved_at: None,
        serial_known: true,
        foreign: false,
    }
}

/// Adds a generation and its certificate, so old.
fn add(disk: &mut Disk, cloud: &mut Cloud, age: i64, stage: Stage, asked: Asked, alive: bool) -> u32 {
    let index = cloud.issue(EPOCH - age, 0);
    let generation = u32::try_from(disk.slots.len()).unwrap() + 1;
    if alive {
        cloud.certificates[index].status = Status::Active;
        cloud.certificates[index].token_used = true;
    }
    disk.slots.push(Slot {
        generation,
        stage,
        origin: Origin::Rotation,
        certificate: Some(Certificate {
            id: id_of(index),
            not_before: EPOCH - age,
            not_after: 2_524_607_999,
        }),
        asked,
        token_ends: (stage == Stage::Issued).then_some(EPOCH - age + 3_600),
        issued_at: EPOCH - age,
        mark: Mark::Clear,
    });
    generation
}

/// Every start, named.
fn starts() -> Vec<(&'static str, Disk, Cloud)> {
    let mut starts = vec![("fresh", nothing(), Cloud::default())];
    let mut start = |name, age, more: &dyn Fn(&mut Disk, &mut Cloud)| {
        let (mut disk, mut cloud) = (nothing(), Cloud::default());
        let n = add(&mut disk, &mut cloud, age, Stage::Proved, Asked::Unanswered, true);
        disk.current = Current::Names(n);
        cloud.certificates[0].committed = true;
        more(&mut disk, &mut cloud);
        starts.push((name, disk, cloud));
    };
    start("steady", DAY, &|_, _| {});
    start("due", 100 * DAY, &|_, _| {});
    start("issued", 100 * DAY, &|d, c| {
        add(d, c, 0, Stage::Issued, Asked::Never, false);
    });
    start("asked, nothing came of it", 100 * DAY, &|d, c| {
        add(d, c, 0, Stage::Issued, Asked::Unanswered, false);
    });
    start("asked, answer lost", 100 * DAY, &|d, c| {
        add(d, c, 0, Stage::Issued, Asked::Unanswered, true);
    });
    start("asked, nothing came of it, token nearly over", 100 * DAY, &|d, c| {
        add(d, c, 3_400, Stage::Issued, Asked::Unanswered, false);
    });
    start("asked, answer lost, token nearly over", 100 * DAY, &|d, c| {
        add(d, c, 3_400, Stage::Issued, Asked::Unanswered, true);
    });
    start("asked, answer lost, long ago", 100 * DAY, &|d, c| {
        add(d, c, 3 * DAY, Stage::Issued, Asked::Unanswered, true);
    });
    start("registered, long ago", 100 * DAY, &|d, c| {
        add(d, c, 3 * DAY, Stage::Registered, Asked::Unanswered, true);
    });
    start("asked, refused", 100 * DAY, &|d, c| {
        add(d, c, 600, Stage::Issued, Asked::Rejected, false);
    });
    start("registered", 100 * DAY, &|d, c| {
        add(d, c, 0, Stage::Registered, Asked::Unanswered, true);
    });
    start("proved", 100 * DAY, &|d, c| {
        add(d, c, 0, Stage::Proved, Asked::Unanswered, true);
    });
    start("proved, its commit announced", 100 * DAY, &|d, c| {
        d.pending = Some(add(d, c, 0, Stage::Proved, Asked::Unanswered, true));
    });
    start("retired in the cloud, not yet on disk", 100 * DAY, &|d, c| {
        let n = add(d, c, 0, Stage::Proved, Asked::Unanswered, true);
        d.current = Current::Names(n);
        d.pending = Some(n);
        d.committed_at = Some(EPOCH);
        c.certificates[0].status = Status::Dead;
    });
    start("unretired predecessor", 100 * DAY, &|d, c| {
        let n = add(d, c, 0, Stage::Proved, Asked::Unanswered, true);
        d.current = Current::Names(n);
        d.pending = Some(n);
    });
    start("unretired predecessor, and due", 200 * DAY, &|d, c| {
        let n = add(d, c, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
        d.current = Current::Names(n);
        d.pending = Some(n);
    });
    let mut first = |name, age, stage, asked, alive| {
        let (mut disk, mut cloud) = (nothing(), Cloud::default());
        add(&mut disk, &mut cloud, age, stage, asked, alive);
        starts.push((name, disk, cloud));
    };
    first("first: registered, long ago", 3 * DAY, Stage::Registered, Asked::Unanswered, true);
    first("first: issued", 0, Stage::Issued, Asked::Never, false);
    first("first: answer lost", 0, Stage::Issued, Asked::Unanswered, true);
    first("first: nothing came of it", 0, Stage::Issued, Asked::Unanswered, false);
    first("first: refused", 0, Stage::Issued, Asked::Rejected, false);
    first("first: registered", 0, Stage::Registered, Asked::Unanswered, true);
    first("first: proved", 0, Stage::Proved, Asked::Unanswered, true);
    starts
}

fn faults() -> u32 {
    std::env::var("CERTROT_WALK_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

fn walk_all(bound_tokens: bool, minutes: u64) {
    let mut counts = Counts::new();
    for dice in [Some(u32::MAX / 8), Some(u32::MAX), None] {
        let mut walk = Walk::new();
        for (name, disk, mut cloud) in starts() {
            cloud.bound = bound_tokens;
            walk.walk(name, World::new(&policy(), disk, cloud, dice), faults(), minutes * 60_000);
        }
        println!(
            "dice {dice:?}: {} states, {} transitions, {} ends, slowest clean after {} s ({} s where a dead token had to run out)",
            walk.states(),
            walk.transitions,
            walk.tails,
            walk.longest / 1000,
            walk.longest_dead / 1000,
        );
        assert!(faults() < 2 || walk.tails > 100_000, "the walk must reach somewhere: {}", walk.tails);
        counts.add(&walk.counts);
    }
    println!("taken:\n{}", counts.tell());
    assert_eq!(counts.missing(), Vec::<String>::new(), "what must be taken and was not");
}

#[test]
fn no_walk_with_free_tokens_loses_a_device_rules_1_to_22() {
    walk_all(false, 65);
}

#[test]
fn no_walk_with_tokens_bound_to_their_connection_loses_a_device_rules_1_to_22() {
    walk_all(true, 120);
}
