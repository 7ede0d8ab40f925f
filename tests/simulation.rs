//! Walks the core through every way in which its effects can end, in a cloud that is kind and in one that is not.
//!
//! From each start (fresh, steady, due, half-done at each stage, unretired predecessor) every effect ends in every way
//! (`world::End`), up to a number of faults for one walk; states met before are not walked again. At every point the
//! invariants of `World::check` hold, and after the last fault everything is clean within one kind hour (two where a
//! dead token has to run out first). `CERTROT_WALK_FAULTS=3` walks deeper (the long version; use `--release`).

#[path = "simulation/cloud.rs"]
mod cloud;
#[path = "simulation/scenarios.rs"]
mod scenarios;
#[path = "simulation/world.rs"]
mod world;

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use certrotd::rotation::{
    Asked, Certificate, Current, Disk, MachineChange, Mark, Origin, Policy, RetireMode, Slot, Stage,
};
use cloud::{Cloud, EPOCH, Status, id_of};
use world::{End, World};

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
        saved_at: None,
        worked_at: None,
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
    start("registered", 100 * DAY, &|d, c| {
        add(d, c, 0, Stage::Registered, Asked::Unanswered, true);
    });
    start("proved", 100 * DAY, &|d, c| {
        add(d, c, 0, Stage::Proved, Asked::Unanswered, true);
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
    let mut first = |name, stage, asked, alive| {
        let (mut disk, mut cloud) = (nothing(), Cloud::default());
        add(&mut disk, &mut cloud, 0, stage, asked, alive);
        starts.push((name, disk, cloud));
    };
    first("first: issued", Stage::Issued, Asked::Never, false);
    first("first: answer lost", Stage::Issued, Asked::Unanswered, true);
    first("first: nothing came of it", Stage::Issued, Asked::Unanswered, false);
    first("first: registered", Stage::Registered, Asked::Unanswered, true);
    first("first: proved", Stage::Proved, Asked::Unanswered, true);
    starts
}

struct Walk {
    seen: HashSet<u64>,
    hasher: RandomState,
    tails: u64,
    longest: u64,
}

impl Walk {
    fn new() -> Walk {
        Walk { seen: HashSet::new(), hasher: RandomState::new(), tails: 0, longest: 0 }
    }

    /// Takes every branch from here; returns the trace of the first one that breaks a promise.
    fn walk(&mut self, start: &str, world: World, faults: u32, bound: u64) {
        let mut open = vec![(world, faults, Vec::<(String, End)>::new(), 0_u32)];
        while let Some((world, faults, trace, quiet)) = open.pop() {
            if let Err(broken) = world.check() {
                panic!("from “{start}”: {broken}\n{}\n{world:#?}", tell(&trace));
            }
            if !self.seen.insert(self.hasher.hash_one((&world, faults))) {
                continue;
            }
            if faults == 0 {
                self.tail(start, world, &trace, bound);
                continue;
            }
            // A walk that has been clean for three waits has nothing new to break.
            let waiting = matches!(world.action, certrotd::rotation::Action::Wait(_));
            let quiet = if world.unclean().is_some() { 0 } else { quiet + u32::from(waiting) };
            for end in world.branches() {
                if end == End::Kind && quiet > 2 {
                    continue;
                }
                let mut next = world.clone();
                let what = format!("{:>7}s {:?}", next.boot / 1000, next.action);
                next.end(end);
                let mut trace = trace.clone();
                trace.push((what, end));
                let left = if end == End::Kind { faults } else { faults - 1 };
                open.push((next, left, trace, quiet));
            }
        }
    }

    /// The kind time after the last fault: everything is clean within `bound` milliseconds, and stays so.
    fn tail(&mut self, start: &str, mut world: World, trace: &[(String, End)], bound: u64) {
        self.tails += 1;
        let began = world.boot.max(world.deactivated.map_or(0, |d| d.1));
        let mut told = Vec::new();
        for _ in 0..3_000 {
            if let Err(broken) = world.check() {
                panic!("from “{start}”, in kind time: {broken}\n{}{}", tell(trace), tell(&told));
            }
            if world.boot >= began && world.unclean().is_none() && world.cloud.late.is_empty() {
                self.longest = self.longest.max(world.boot.saturating_sub(began));
                return;
            }
            if world.boot > began + bound || world.cloud.certificates.len() > 20 {
                break;
            }
            told.push((format!("{:>7}s {:?}", world.boot / 1000, world.action), End::Kind));
            world.end(End::Kind);
        }
        panic!(
            "from “{start}”: not clean after {} kind minutes: {:?}\n{}── kind from here\n{}\n{:#?}",
            (world.boot.saturating_sub(began)) / 60_000,
            world.unclean(),
            tell(trace),
            tell(&told[told.len().saturating_sub(40)..]),
            world.disk,
        );
    }
}

fn tell(trace: &[(String, End)]) -> String {
    trace.iter().map(|(what, end)| format!("  {what} ⇒ {end:?}\n")).collect()
}

fn faults() -> u32 {
    std::env::var("CERTROT_WALK_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

fn walk_all(bound_tokens: bool, minutes: u64) {
    for dice in [u32::MAX / 8, u32::MAX] {
        let mut walk = Walk::new();
        for (name, disk, mut cloud) in starts() {
            cloud.bound = bound_tokens;
            walk.walk(name, World::new(&policy(), disk, cloud, dice), faults(), minutes * 60_000);
        }
        println!(
            "dice {dice}: {} states, {} ends, slowest clean after {} s",
            walk.seen.len(),
            walk.tails,
            walk.longest / 1000
        );
        assert!(walk.tails > 10_000, "the walk must reach somewhere: {}", walk.tails);
    }
}

#[test]
fn no_walk_with_free_tokens_loses_a_device_rules_1_to_22() {
    walk_all(false, 60);
}

#[test]
fn no_walk_with_tokens_bound_to_their_connection_loses_a_device_rules_1_to_22() {
    walk_all(true, 120);
}
