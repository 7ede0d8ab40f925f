//! What the wall clock is worth (rules 26 and 27).
//!
//! Reads no clock: `Now` brings both times in. Expiry by the local clock alone abandons nothing, anywhere.

use super::identity::{Boot, Wall};
use super::language::Now;
use super::machine::Rotation;

impl Rotation {
    /// Rule 27: a step of more than an hour holds every rotation for a quarter of one.
    pub(super) fn watch_clock(&mut self, now: &Now) {
        self.clock.started.get_or_insert(now.boot);
        let offset = now.wall - i64::try_from(now.boot / 1000).unwrap_or(i64::MAX);
        if let Some(before) = self.clock.offset.replace(offset)
            && (offset - before).abs() > STEP
        {
            self.clock.held_until = now.boot + STEP_HOLD;
            self.clock.overdue_from = None;
        }
        let floor = self.floor();
        let trusted = self.clock_is_trusted(now);
        let kept = self.clock.floor_since.filter(|since| gone_on(*since, now) >= floor);
        self.clock.floor_since = (!trusted).then_some(kept.unwrap_or((floor, now.boot)));
    }

    /// Rule 26: until when an untrusted clock is waited for; `None` when time may be used.
    pub(super) fn untrusted_clock(&self, now: &Now) -> Option<Boot> {
        if now.synchronised || now.wall >= self.floor() {
            return None;
        }
        let patience = self.clock.started.unwrap_or(now.boot) + CLOCK_PATIENCE;
        (now.boot < patience).then_some(patience)
    }

    /// Whether the wall clock itself is used, or the floor in its place.
    pub fn clock_is_trusted(&self, now: &Now) -> bool {
        now.synchronised || now.wall >= self.floor()
    }

    /// The wall time that decisions rest on: the clock where it is trusted, otherwise the floor and what has passed
    /// since. A floor that stood still would let no token end and no certificate come due.
    pub fn wall(&self, now: &Now) -> Wall {
        if self.clock_is_trusted(now) {
            return now.wall;
        }
        let floor = self.floor();
        self.clock.floor_since.map_or(floor, |since| gone_on(since, now).max(floor))
    }

    /// The latest time that is surely past: build date, last time saved, notBefore of `current`. Only a time that the
    /// kernel vouched for is saved for this: a clock that was wrong by years for a moment would be wrong for ever, and the
    /// server's certificate expired by it.
    pub fn floor(&self) -> Wall {
        let disk = self.disk.as_ref();
        let saved = disk.and_then(|d| d.saved_at).unwrap_or(0);
        let born = disk.and_then(|d| d.current()).and_then(|s| s.certificate).map_or(0, |c| c.not_before);
        self.policy.built_at.max(saved).max(born)
    }
}

/// A time, and what has passed since that moment.
fn gone_on((wall, since): (Wall, Boot), now: &Now) -> Wall {
    wall.saturating_add(i64::try_from(now.boot.saturating_sub(since) / 1000).unwrap_or(i64::MAX))
}

/// A step of the clock. Seconds.
const STEP: i64 = 3_600;
/// No rotation for this long after one. Milliseconds.
const STEP_HOLD: Boot = 15 * 60 * 1000;
/// An untrusted clock is waited for this long. Milliseconds.
const CLOCK_PATIENCE: Boot = 10 * 60 * 1000;
