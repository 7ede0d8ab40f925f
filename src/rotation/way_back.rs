//! Getting and keeping a session: `current`, the way back to other generations, and the claim (rules 19 to 21).

use alloc::vec::Vec;

use super::identity::Boot;
use super::identity::{Mark, Origin, Record, Slot, Stage};
use super::language::{Carrier, Effect, MachineChange, Now, RetireMode, Trouble, Why};
use super::machine::{Link, Refusals, Rotation};
use super::plan::{Later, millis, seconds, share};

impl Rotation {
    /// The switch, step by step: every mark and the pending commit are durable before the rename.
    pub(super) fn take_up(&self, n: u32, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        let slot = disk.slot(n)?;
        let left = |s: &&Slot| s.generation > n && s.stage == Stage::Proved && s.mark == Mark::Clear;
        let record = if slot.stage != Stage::Proved && slot.mark != Mark::Clear {
            // First, so that what happens in between leaves a pair that is proved again, not one that was left.
            Record::Marked(n, Mark::Clear)
        } else if slot.stage != Stage::Proved {
            Record::Proved(n)
        } else if let Some(newer) = disk.slots.iter().find(left) {
            Record::Marked(newer.generation, Mark::Refused)
        } else if slot.mark != Mark::Clear {
            Record::Marked(n, Mark::Clear)
        } else if self.policy.retire == RetireMode::CommitTopic && disk.pending != Some(n) {
            Record::Pending(n, self.wall(now))
        } else if disk.foreign && self.policy.machine_change == MachineChange::Provision {
            Record::Adopted
        } else {
            return self.to_disk(Effect::Switch(n), now, later);
        };
        self.to_disk(Effect::Record(record), now, later)
    }

    pub(super) fn on_claim(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        let effect = match self.successor() {
            Some(s) => self.progress(&s, now, later),
            None if self.gates.renew.is_open(now) => self.issue(Origin::Claim, now, later),
            None => {
                later.hold(self.gates.renew.opens, Why::IssueRefused);
                None
            }
        };
        // A shared claim connection is not held over a long wait, nor while other pairs could be tried.
        let long = later.until.saturating_sub(now.boot) > CLAIM_IDLE
            || self.link_is_silent()
            || !self.pairs().is_empty();
        if effect.is_none() && long { Some(Effect::Hangup) } else { effect }
    }

    pub(super) fn link_is_silent(&self) -> bool {
        matches!(self.link, Link::Up { silent: true, .. })
    }

    pub(super) fn on_nothing(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        if let Some(started) = self.clock.started
            && self.last_connect.is_none()
            && self.gates.connect.opens == 0
        {
            self.gates.connect.opens = started + share(millis(self.policy.start_jitter), now.dice);
        }
        let successor = self.successor();
        // Two clones would retire each other (rule 22); one that has no identity yet has nothing to lose.
        let contested = self.contested && !self.pairs().is_empty();
        if let Some(s) = &successor
            && (self.is_dead(s, now) || self.gates.connect.is_open(now) && !contested)
            && let Some(effect) = self.progress(s, now, later)
        {
            return Some(effect);
        }
        if self.claim_now && self.gates.connect.is_open(now) && self.gates.claim.is_open(now) {
            // An operator's `provision` is tried now, not after the refusals of rule 19.
            return Some(Effect::Connect(Carrier::Claim));
        }
        let pairs = self.pairs();
        let Some(first) = pairs.first().copied() else {
            return self.claim_first(successor.as_ref(), now, later);
        };
        // Not only refusals: a pair that has carried no session in a whole day of this run is left too, where the
        // cloud has answered at all in this round.
        let stuck = !self.round.is_empty() && self.idle_run(now) >= self.policy.fallback_after;
        let open = !self.is_current(first) || self.has_been_refused_long(first) || stuck;
        let target = if open { pairs.iter().copied().find(|n| !self.round.contains(n)) } else { Some(first) };
        if let Some(n) = target {
            // Before anything was refused, there is only a session to make.
            let refused = !self.round.is_empty() || !self.refused.is_empty();
            let why = if open && refused { Why::NothingWorks } else { self.connect_why(n) };
            return self.connect(Carrier::Generation(n), why, now, later);
        }
        // Every pair was refused in this round (rule 20).
        if self.claim_is_open(now) {
            self.round.clear();
            self.gates.claim.opens = now.boot + CLAIM_EVERY / 2 + share(CLAIM_EVERY / 2, now.dice);
            return Some(Effect::Connect(Carrier::Claim));
        }
        self.round.clear();
        self.connect(Carrier::Generation(first), Why::NothingWorks, now, later)
    }

    /// No whole pair at all: the claim, at once (rule 20).
    pub(super) fn claim_first(
        &self,
        successor: Option<&Slot>,
        now: &Now,
        later: &mut Later,
    ) -> Option<Effect> {
        if !self.disk.as_ref()?.serial_known {
            later.hold(later.until, Why::Serial);
            return None;
        }
        match successor {
            Some(s) if !self.wants_registering(s, now) => {
                // Where the gate of the connection is open, `progress` has said what it waits for.
                if !self.gates.connect.is_open(now) {
                    later.hold(self.gates.connect.opens, Why::NotProved);
                }
                return None;
            }
            Some(_) if !self.gates.renew.is_open(now) => {
                later.hold(self.gates.renew.opens, Why::RegisterRefused);
                return None;
            }
            None if !self.gates.renew.is_open(now) => {
                later.hold(self.gates.renew.opens, Why::IssueRefused);
                return None;
            }
            _ => {}
        }
        if !self.gates.claim.is_open(now) {
            later.hold(self.gates.claim.opens, Why::ClaimRefused);
            return None;
        }
        if !self.gates.connect.is_open(now) {
            let why = if self.gates.connect.failures == 0 { Why::StartJitter } else { Why::Unreachable };
            later.hold(self.gates.connect.opens, why);
            return None;
        }
        Some(Effect::Connect(Carrier::Claim))
    }

    /// Rule 19: three refusals over fifteen minutes. A session forgets those before it, so all of them lie behind the last
    /// one and behind its commit: that is no longer in flight, and cannot kill the one fallen back to.
    pub(super) fn has_been_refused_long(&self, n: u32) -> bool {
        self.refusals(n)
            .is_some_and(|r| r.count >= REFUSED_TIMES && r.last.saturating_sub(r.first) >= REFUSED_FOR)
    }

    pub(super) fn refusals(&self, n: u32) -> Option<&Refusals> {
        self.refused.iter().find(|r| r.of == n)
    }

    pub(super) fn claim_is_open(&self, now: &Now) -> bool {
        if self.claim_now {
            return true;
        }
        self.idle(now) >= self.policy.fallback_after
            && self.gates.claim.is_open(now)
            && self.gates.renew.is_open(now)
    }

    /// How long no pair has carried a session, in seconds: by the disk, and no longer than this run knows of.
    fn idle(&self, now: &Now) -> i64 {
        let (wall, run) = (self.wall(now), self.idle_run(now));
        let worked = self.disk.as_ref().and_then(|d| d.worked_at).filter(|at| *at <= wall);
        let told = worked.map_or(run, |at| wall - at);
        if self.session_ended.is_some() { told.min(run) } else { told }
    }

    /// The same by this run alone.
    fn idle_run(&self, now: &Now) -> i64 {
        let since = self.session_ended.or(self.clock.started).unwrap_or(now.boot);
        seconds(now.boot.saturating_sub(since))
    }

    pub(super) fn connect_why(&self, n: u32) -> Why {
        if self.contested {
            Why::Contested
        } else if self.refusals(n).is_some() {
            Why::Refused
        } else if self.gates.connect.failures == 0 {
            Why::StartJitter
        } else if self.trouble == Some(Trouble::Unfit) {
            Why::Unfit
        } else {
            Why::Unreachable
        }
    }

    /// The proved pairs that may be connected with, `current` first, marked ones last (rule 19: last, not never).
    pub(super) fn pairs(&self) -> Vec<u32> {
        let Some(disk) = &self.disk else { return Vec::new() };
        if disk.foreign && self.policy.machine_change == MachineChange::Provision {
            return Vec::new();
        }
        let mut pairs: Vec<&Slot> = disk
            .slots
            .iter()
            .rev()
            .filter(|s| s.is_whole() && (s.stage == Stage::Proved || self.is_current(s.generation)))
            .collect();
        pairs.sort_by_key(|s| {
            (!self.is_current(s.generation), s.mark != Mark::Clear, core::cmp::Reverse(s.generation))
        });
        pairs.iter().map(|s| s.generation).collect()
    }
}

/// Rule 19: this many refusals …
const REFUSED_TIMES: u32 = 3;
/// … over this long. Milliseconds.
const REFUSED_FOR: Boot = 15 * 60 * 1000;
/// Rule 20: the claim at most this often. Milliseconds.
const CLAIM_EVERY: Boot = 6 * 3_600 * 1000;
/// An idle claim connection is closed when nothing comes within this. Milliseconds.
const CLAIM_IDLE: Boot = 30_000;
