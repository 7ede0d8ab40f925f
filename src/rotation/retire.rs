//! The commit that lets the cloud retire older certificates, and what may leave the disk (rules 10 to 18).

use super::identity::{Mark, Record, Slot, Stage, Wall};
use super::language::{Effect, Now, RetireMode, Why};
use super::machine::Rotation;
use super::plan::{Later, millis};

impl Rotation {
    /// Rules 10 to 16: the commit is made new on the session of `current`, and never holds up a renewal.
    pub(super) fn commit(&self, n: u32, wall: Wall, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        if self.policy.retire == RetireMode::None || disk.pending != Some(n) {
            return None;
        }
        let since = disk.pending_since.unwrap_or(wall).min(wall);
        let ready = since + self.policy.retire_delay;
        if wall < ready {
            later.hold(now.boot + millis(ready - wall), Why::RetireDelay);
            return None;
        }
        if !self.gates.commit.is_open(now) {
            later.hold(self.gates.commit.opens, Why::CommitRefused);
            return None;
        }
        // Saved before it is sent, so that a fallback after a crash still counts from it (rule 19).
        self.to_disk(Effect::Record(Record::Committing(wall)), now, later)
    }

    /// Rule 10 after `retire.mode` was changed to the commit topic: what is older and not known to be retired wants a
    /// commit.
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
            && disk.pending.is_none()
            && disk.slots.iter().any(unretired);
        if wanted { self.to_disk(Effect::Record(Record::Pending(n, wall)), now, later) } else { None }
    }

    /// Rules 17 and 18: what may leave the disk.
    pub(super) fn sweep(&self, n: u32, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        let mut kept = 1;
        let gone = disk.slots.iter().rev().find(|s| {
            if s.generation == n || s.stage != Stage::Proved {
                return false;
            }
            let free = s.mark == Mark::Retired || self.policy.retire == RetireMode::None && s.generation < n;
            if free && kept >= self.policy.keep_generations.max(1) {
                return true;
            }
            kept += 1;
            false
        })?;
        self.to_disk(Effect::Remove(gone.generation), now, later)
    }
}
