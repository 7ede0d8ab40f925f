//! The search itself: every branch from every start, and the kind time after the last fault.

use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::rc::Rc;

use certrotd::rotation::{Action, Link};

use super::count::Counts;
use super::ends::End;
use super::world::World;

/// One step of a trace, and what was before it.
struct Step {
    at: u64,
    action: Action,
    end: End,
    before: Trace,
}

type Trace = Option<Rc<Step>>;

/// What a kind stretch has gone round in since the last fault: the same disk, link and action again and again, such as
/// the proofs of a certificate that is not seen yet.
#[derive(Clone, Default)]
struct Rounds {
    met: Vec<(u64, u32)>,
    /// How often it has waited while everything was clean.
    quiet: u32,
}

impl Rounds {
    /// How often this was met, now included.
    fn met(&mut self, world: &World) -> u32 {
        let mut what = DefaultHasher::new();
        let up = matches!(world.machine.link(), Link::Up { .. });
        (&world.disk.slots, world.disk.current, world.disk.pending, world.session, up).hash(&mut what);
        match world.action {
            Action::Wait(wait) => wait.why.hash(&mut what),
            action => action.hash(&mut what),
        }
        let what = what.finish();
        match self.met.iter_mut().find(|(w, _)| *w == what) {
            Some((_, times)) => {
                *times += 1;
                *times
            }
            None => {
                self.met.push((what, 1));
                1
            }
        }
    }
}

/// In which rounds something is broken: the first four, and then ever more rarely.
fn breaks(round: u32) -> bool {
    round <= 4 || round.is_power_of_two()
}

/// A walk and what it has met.
pub struct Walk {
    /// Each state, and with how many faults left it was met at most.
    seen: HashMap<u64, u32>,
    hasher: RandomState,
    pub counts: Counts,
    pub transitions: u64,
    pub tails: u64,
    /// The longest time from the last fault to everything clean, milliseconds.
    pub longest: u64,
    /// The same where a dead pair had to be waited out first: until its token has ended, and a quarter of an hour.
    pub longest_dead: u64,
}

impl Walk {
    pub fn new() -> Walk {
        Walk {
            seen: HashMap::new(),
            hasher: RandomState::new(),
            counts: Counts::new(),
            transitions: 0,
            tails: 0,
            longest: 0,
            longest_dead: 0,
        }
    }

    /// How many different states were met.
    pub fn states(&self) -> usize {
        self.seen.len()
    }

    /// Takes every branch from here; panics with the trace of the first one that breaks a promise.
    pub fn walk(&mut self, start: &str, world: World, faults: u32, bound: u64) {
        let mut open = vec![(world, faults, None, Rounds::default())];
        while let Some((world, faults, trace, mut rounds)) = open.pop() {
            if let Err(broken) = world.check() {
                panic!("from “{start}”: {broken}\n{}\n{:#?}", tell(&trace), world.disk);
            }
            let met = self.seen.entry(self.hasher.hash_one(&world)).or_insert(u32::MAX);
            if *met != u32::MAX && *met >= faults {
                continue;
            }
            *met = faults;
            if faults == 0 {
                self.tails += 1;
                self.tail(start, world.clone(), &trace, bound);
                if self.tails.is_multiple_of(SAMPLED) {
                    self.unkind_tail(start, world, &trace);
                }
                continue;
            }
            let round = rounds.met(&world);
            // A walk that has been clean for three waits has nothing new to break.
            let waiting = matches!(world.action, Action::Wait(_));
            rounds.quiet = if world.unclean().is_some() { 0 } else { rounds.quiet + u32::from(waiting) };
            for end in world.branches() {
                if end == End::Kind && rounds.quiet > 2 || end != End::Kind && !breaks(round) {
                    continue;
                }
                self.transitions += 1;
                self.counts.took(world.action, end);
                let step = Step { at: world.boot / 1000, action: world.action, end, before: trace.clone() };
                let mut next = world.clone();
                next.end(end);
                let left = if end == End::Kind { faults } else { faults - 1 };
                let rounds = if end == End::Kind { rounds.clone() } else { Rounds::default() };
                open.push((next, left, Some(Rc::new(step)), rounds));
            }
        }
    }

    /// The kind time after the last fault: everything is clean within `bound` milliseconds.
    fn tail(&mut self, start: &str, mut world: World, trace: &Trace, bound: u64) {
        let began = world.settles();
        let (mut told, mut runs_out) = (None, false);
        for _ in 0..LONGEST_TAIL {
            runs_out |= world.misnamed() || world.has_dead_pair();
            if let Err(broken) = world.check() {
                panic!("from “{start}”, in kind time: {broken}\n{}", tell(&told) + &tell(trace));
            }
            if world.boot >= began && world.unclean().is_none() && world.cloud.late.is_empty() {
                let took = world.boot.saturating_sub(began);
                let longest = if runs_out { &mut self.longest_dead } else { &mut self.longest };
                *longest = took.max(*longest);
                return;
            }
            let delay = u64::try_from(world.machine.policy().retire_delay).unwrap() * 1000;
            let bound = bound + delay + if runs_out { TOKEN } else { 0 };
            if world.boot > began + bound || world.cloud.certificates.len() > 20 {
                break;
            }
            self.transitions += 1;
            told = go_on(&mut world, told);
        }
        panic!(
            "from “{start}”: not clean after {} kind minutes: {:?}\n{}── kind from here\n{}",
            (world.boot.saturating_sub(began)) / 60_000,
            world.unclean(),
            tell(trace),
            tell(&told),
        );
    }

    /// A cloud that is kind but for commits, which it refuses for ever: what is due is renewed all the same (rule 16).
    fn unkind_tail(&mut self, start: &str, mut world: World, trace: &Trace) {
        world.commits_refused = true;
        let until = world.settles() + 3 * TOKEN;
        let mut told = None;
        for _ in 0..LONGEST_TAIL {
            if let Err(broken) = world.check() {
                panic!("from “{start}”, with commits refused: {broken}\n{}", tell(trace) + &tell(&told));
            }
            if world.unrenewed().is_none() {
                return;
            }
            if world.boot > until {
                break;
            }
            told = go_on(&mut world, told);
        }
        panic!(
            "from “{start}”: a commit that is refused holds up {:?} (rule 16)\n{}── commits refused from here\n{}",
            world.unrenewed(),
            tell(trace),
            tell(&told)
        );
    }
}

/// One kind step, told.
fn go_on(world: &mut World, told: Trace) -> Trace {
    let step = Step { at: world.boot / 1000, action: world.action, end: End::Kind, before: told };
    world.end(End::Kind);
    Some(Rc::new(step))
}

fn tell(trace: &Trace) -> String {
    let mut lines = Vec::new();
    let mut at = trace.as_ref();
    while let Some(step) = at {
        lines.push(format!("  {:>7}s {:?} ⇒ {:?}\n", step.at, step.action, step.end));
        at = step.before.as_ref();
    }
    lines.truncate(120);
    lines.into_iter().rev().collect()
}

/// More steps than any kind hour takes: a loop without waits.
const LONGEST_TAIL: u32 = 3_000;
/// One in so many ends is lived with commits refused for ever too.
const SAMPLED: u64 = 8;
/// Life of an ownership token, and the time to find out. Milliseconds.
const TOKEN: u64 = 75 * 60 * 1000;
