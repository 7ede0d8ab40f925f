//! The commit that lets the cloud retire older certificates, and what may leave the disk (rules 10 to 18).

use core::cmp::Ordering;

use super::identity::{Mark, Record, Slot, Stage, Wall};
use super::language::{Effect, Now, RetireMode, Why};
use super::machine::Rotation;
use super::plan::{Later, millis};

impl Rotation {
    /// Rules 10 to 16: the commit is made new on the session of `current`, and never holds up a renewal.
    pub(super) fn commit(&mut self, n: u32, wall: Wall, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        if self.policy.retire == RetireMode::None || disk.pending != Some(n) {
            return None;
        }
        // What had passed when this run first saw it, by the disk; from then on by the time since boot: a step of the
        // clock neither takes other holders' time nor gives the old certificate more.
        let passed = wall.saturating_sub(disk.pending_since.unwrap_or(wall)).max(0);
        let (_, seen, passed) = match self.pending_seen {
            Some(seen) if seen.0 == n => seen,
            _ => *self.pending_seen.insert((n, now.boot, passed)),
        };
        let ready = seen + millis(self.policy.retire_delay.saturating_sub(passed));
        if now.boot < ready {
            later.hold(ready, Why::RetireDelay);
            return None;
        }
        if !self.gates.commit.is_open(now) {
            later.hold(self.gates.commit.opens, Why::CommitRefused);
            return None;
        }
        // Saved before it is sent, so that a fallback after a crash still counts from it (rule 19).
        self.to_disk(Effect::Record(Record::Committing(wall)), now, later)
    }

    /// Rule 10 after `retire.mode` was changed to the commit topic, and after a switch that was begun and given up (its
    /// commit is pending, and it is not in use): what is older and not known to be retired wants a commit.
    pub(super) fn notice_unretired(
        &self,
        n: u32,
        wall: Wall,
        now: &Now,
        later: &mut Later,
    ) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        let unretired = |s: &Slot| s.generation < n && s.stage == Stage::Proved && s.mark != Mark::Retired;
        let wanted = self.policy.retire == RetireMode::CommitTopic
            && disk.pending != Some(n)
            && disk.slots.iter().any(unretired);
        if wanted { self.to_disk(Effect::Record(Record::Pending(n, wall)), now, later) } else { None }
    }

    /// Rules 17 and 18: what may leave the disk.
    pub(super) fn sweep(&self, n: u32, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        let mut kept = 1;
        let gone = disk.slots.iter().rev().find(|s| {
            if s.stage != Stage::Proved {
                // One that is older than `current` came with a copied store, and can never be ours.
                return s.generation < n && disk.pending.is_none();
            }
            let older = match s.generation.cmp(&n) {
                Ordering::Equal => return false,
                order => order == Ordering::Less,
            };
            let free = s.mark == Mark::Retired || self.policy.retire == RetireMode::None && older;
            if free && kept >= self.policy.keep_generations.max(1) {
                return true;
            }
            kept += 1;
            false
        })?;
        self.to_disk(Effect::Remove(gone.generation), now, later)
    }
}
