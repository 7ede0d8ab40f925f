//! The search itself: every branch from every start, and the kind time after the last fault.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use super::ends::End;
use super::world::World;

pub struct Walk {
    pub seen: HashSet<u64>,
    hasher: RandomState,
    pub tails: u64,
    pub longest: u64,
}

impl Walk {
    pub fn new() -> Walk {
        Walk { seen: HashSet::new(), hasher: RandomState::new(), tails: 0, longest: 0 }
    }

    /// Takes every branch from here; returns the trace of the first one that breaks a promise.
    pub fn walk(&mut self, start: &str, world: World, faults: u32, bound: u64) {
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
