//! What is done next: one pass over what is known, in the order of what matters most.
//!
//! Each concern either has something to do now, or says until when it waits and why. The first that can act, acts; if
//! none can, the machine waits for the earliest, and says why for the most important. Nothing here remembers.

use super::identity::{Boot, Current, Mark, Origin, Record, Slot, Stage, Wall};
use super::language::{Action, Carrier, Effect, MachineChange, Now, Wait, Why};
use super::machine::{CONTEST_ENDS, Link, Rotation};

/// The reasons to wait that one pass has met.
pub(super) struct Later {
    pub until: Boot,
    now: Boot,
    told: Option<(Why, Boot)>,
}

impl Later {
    pub(super) fn hold(&mut self, until: Boot, why: Why) {
        self.until = self.until.min(until);
        self.told.get_or_insert((why, until));
    }

    pub(super) fn wait(self) -> Action {
        let (why, ends) = self.told.unwrap_or((Why::NotDue, self.until));
        // A reason that has passed already and that nothing acted on must not become a loop without pace.
        let until = if self.until > self.now { self.until } else { self.now + SECOND };
        Action::Wait(Wait { until, why, ends: ends.max(until) })
    }
}

impl Rotation {
    pub(super) fn plan(&mut self, now: &Now) -> Action {
        let horizon = now.boot + millis(self.policy.check_interval.max(1));
        let mut later = Later { until: horizon, now: now.boot, told: None };
        if self.disk.is_none() {
            // A first read is free; after a failed one the disk sets the pace.
            if !self.gates.disk.is_open(now) {
                later.hold(self.gates.disk.opens, Why::Disk);
                return later.wait();
            }
            return Action::Do(Effect::Inspect);
        }
        match self.pass(now, &mut later) {
            Some(effect) => Action::Do(effect),
            None => later.wait(),
        }
    }

    pub(super) fn pass(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        if let Some(until) = self.untrusted_clock(now) {
            later.hold(until.min(now.boot + CLOCK_LOOK), Why::Clock);
            return None;
        }
        let foreign = self.disk.as_ref().is_some_and(|d| d.foreign);
        let held = foreign && self.policy.machine_change == MachineChange::Hold;
        if self.offline || held {
            later.hold(later.until, if self.offline { Why::Offline } else { Why::Foreign });
            return (self.link != Link::Down).then_some(Effect::Hangup);
        }
        if let Some(successor) = self.successor() {
            self.meet(&successor, now);
        }
        match self.link {
            Link::Up { carrier: Carrier::Generation(n), since, .. } if self.is_current(n) => {
                self.on_session(n, since, now, later)
            }
            Link::Up { carrier: Carrier::Generation(n), .. } => self.take_up(n, now, later),
            Link::Up { carrier: Carrier::Claim, .. } => self.on_claim(now, later),
            Link::Down => self.on_nothing(now, later),
        }
    }

    pub(super) fn on_session(&mut self, n: u32, since: Boot, now: &Now, later: &mut Later) -> Option<Effect> {
        let wall = self.wall(now);
        if self.contested && now.boot.saturating_sub(since) >= CONTEST_ENDS {
            self.contested = false;
        }
        if let Some(effect) = self.remember_that_it_works(wall, now, later) {
            return Some(effect);
        }
        if self.contested {
            // Rule 22: two clones would retire each other.
            later.hold(since + CONTEST_ENDS, Why::Contested);
        } else if let Some(successor) = self.successor()
            && let Some(effect) = self.progress(&successor, now, later)
        {
            return Some(effect);
        }
        if let Some(effect) = self.notice_unretired(n, wall, now, later) {
            return Some(effect);
        }
        let commit = self.commit(n, wall, now, later);
        if commit.is_some() {
            return commit;
        }
        let sweep = self.sweep(n, now, later);
        if sweep.is_some() {
            return sweep;
        }
        if self.contested || self.successor().is_some() { None } else { self.renew(now, later) }
    }

    pub(super) fn remember_that_it_works(&self, wall: Wall, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        // Absolute difference: a time saved under a wrong clock must not silence this for years.
        let stale = |saved: Option<Wall>| saved.is_none_or(|at| (wall - at).abs() >= WORKED_EVERY);
        if stale(disk.worked_at) || now.synchronised && stale(disk.saved_at) {
            return self.to_disk(Effect::Record(Record::Worked(wall, now.synchronised)), now, later);
        }
        None
    }

    pub(super) fn connect(&self, carrier: Carrier, why: Why, now: &Now, later: &mut Later) -> Option<Effect> {
        let opens = self.gates.connect.opens.max(self.paced(now));
        if now.boot >= opens {
            return Some(Effect::Connect(carrier));
        }
        later.hold(opens, why);
        None
    }

    /// AWS takes at most one CONNECT a second per client id.
    pub(super) fn paced(&self, _now: &Now) -> Boot {
        self.last_connect.map_or(0, |at| at + CONNECT_SPACING)
    }

    pub(super) fn issue(&self, origin: Origin, now: &Now, later: &mut Later) -> Option<Effect> {
        self.to_disk(Effect::Issue(origin), now, later)
    }

    /// Effects that write wait for a sick disk; what needs no disk goes on.
    pub(super) fn to_disk(&self, effect: Effect, now: &Now, later: &mut Later) -> Option<Effect> {
        if self.gates.disk.is_open(now) {
            return Some(effect);
        }
        later.hold(self.gates.disk.opens, Why::Disk);
        None
    }

    pub(super) fn is_current(&self, n: u32) -> bool {
        self.disk.as_ref().is_some_and(|d| d.current == Current::Names(n))
    }

    /// The pair that is on its way to become `current`: the newest one that is unproved, or proved and not switched.
    pub(super) fn successor(&self) -> Option<Slot> {
        let disk = self.disk.as_ref()?;
        let current = if let Current::Names(n) = disk.current { Some(n) } else { None };
        // On a copied store only what was begun here, with the claim, is ours to bring forward.
        let copied = disk.foreign && self.policy.machine_change == MachineChange::Provision;
        let whole = || {
            disk.slots.iter().rev().filter(move |s| {
                s.is_whole() && Some(s.generation) != current && (!copied || s.origin == Origin::Claim)
            })
        };
        // Older than `current`, it was another machine's: what is ours is minted after, and never brought back.
        let newer = |s: &&Slot| current.is_none_or(|c| s.generation > c);
        let unproved = whole().filter(newer).find(|s| s.stage != Stage::Proved);
        let unswitched = || {
            whole().find(|s| {
                s.stage == Stage::Proved && s.mark == Mark::Clear && current.is_some_and(|c| s.generation > c)
            })
        };
        unproved.or_else(unswitched).cloned()
    }
}

pub(super) fn millis(seconds: i64) -> Boot {
    u64::try_from(seconds.max(0)).unwrap_or(0).saturating_mul(1000)
}

/// A random part of a window, in the window's unit.
pub(super) fn share(window: Boot, dice: u32) -> Boot {
    let part = u128::from(window) * u128::from(dice) / u128::from(u32::MAX);
    Boot::try_from(part).unwrap_or(Boot::MAX)
}

pub(super) fn seconds(millis: Boot) -> i64 {
    i64::try_from(millis / 1000).unwrap_or(i64::MAX)
}

/// How often an untrusted clock is looked at. Milliseconds.
const CLOCK_LOOK: Boot = 5_000;
/// How often the disk is told that a pair works. Seconds.
const WORKED_EVERY: i64 = 6 * 3_600;
/// AWS: CONNECT at most once a second per client id. Milliseconds.
pub(super) const CONNECT_SPACING: Boot = 1_000;
/// The shortest wait. Milliseconds.
const SECOND: Boot = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_has_passed_and_that_nothing_acted_on_is_looked_at_with_a_pace() {
        let mut later = Later { until: 90_000, now: 10_000, told: None };
        later.hold(5_000, Why::NotProved);
        let until = 10_000 + SECOND;
        assert_eq!(later.wait(), Action::Wait(Wait { until, why: Why::NotProved, ends: until }));
    }
}
