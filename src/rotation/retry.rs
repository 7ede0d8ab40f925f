//! Backoff: exponential, full jitter, a floor and a cap, for ever.
//!
//! One `Gate` for each concern, so that what fails in one never holds up another (rule 16). A gate is reset only when
//! its concern has nothing left to do; a chain that always fails one step later still backs off.

use super::identity::Boot;
use super::language::Now;

/// The pace of one concern. Seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Never sooner than this after a failure.
    pub floor: u32,
    /// The first failure waits up to this; each one doubles it.
    pub base: u32,
    /// It grows no further.
    pub cap: u32,
}

impl Pace {
    /// CONNECT: AWS takes at most one a second per client id.
    pub const CONNECT: Pace = Pace { floor: 1, base: 1, cap: 300 };
    /// CONNECT while another client has our client id (rule 22): at least ten minutes.
    pub const CONTESTED: Pace = Pace { floor: 600, base: 300, cap: 600 };
    /// A certificate that is refused right after `accepted` is weather (rule 3).
    pub const PROVE: Pace = Pace { floor: 1, base: 4, cap: 900 };
    /// Each such attempt costs the working session (rule 8).
    pub const UNFIT: Pace = Pace { floor: 30, base: 60, cap: 21_600 };
    /// Issue and register (rule 6).
    pub const RENEW: Pace = Pace { floor: 2, base: 15, cap: 3_600 };
    /// Commit (rule 14): one minute, doubling to six hours.
    pub const COMMIT: Pace = Pace { floor: 1, base: 60, cap: 21_600 };
    /// A disk that is full or sick.
    pub const DISK: Pace = Pace { floor: 2, base: 5, cap: 300 };
}

/// When a concern may act again, and how often it has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gate {
    /// Failures since the last reset.
    pub failures: u32,
    /// Closed until then.
    pub opens: Boot,
}

impl Gate {
    /// Says whether the concern may act.
    pub fn is_open(&self, now: &Now) -> bool {
        now.boot >= self.opens
    }

    /// Counts a failure and closes the gate; `at_least` is what the cloud asked for, in seconds.
    pub fn fail(&mut self, pace: Pace, now: &Now, at_least: Option<u32>) {
        let doubled = u64::from(pace.base) << self.failures.min(24);
        let window = doubled.min(u64::from(pace.cap)) * 1000;
        let jitter = window * u64::from(now.dice) / u64::from(u32::MAX);
        let floor = u64::from(pace.floor.max(at_least.unwrap_or(0))) * 1000;
        self.opens = now.boot + floor.max(jitter);
        self.failures = self.failures.saturating_add(1);
    }

    /// Lets the concern act at once; the count stays.
    pub fn open(&mut self) {
        self.opens = 0;
    }

    /// Forgets every failure: nothing is left to do.
    pub fn reset(&mut self) {
        *self = Gate::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot: Boot, dice: u32) -> Now {
        Now { wall: 0, boot, synchronised: true, dice }
    }

    #[test]
    fn a_gate_never_opens_before_its_floor_and_never_after_its_cap() {
        let mut gate = Gate::default();
        for n in 0..60 {
            gate.fail(Pace::CONNECT, &at(0, if n % 2 == 0 { 0 } else { u32::MAX }), None);
            assert!((1_000..=300_000).contains(&gate.opens), "failure {n}: {}", gate.opens);
        }
        assert_eq!(gate.opens, 300_000);
    }

    #[test]
    fn the_window_doubles() {
        let mut gate = Gate::default();
        for expected in [60_000, 120_000, 240_000, 480_000] {
            gate.fail(Pace::COMMIT, &at(0, u32::MAX), None);
            assert_eq!(gate.opens, expected);
        }
    }

    #[test]
    fn a_wait_that_the_cloud_asked_for_is_kept() {
        let mut gate = Gate::default();
        gate.fail(Pace::COMMIT, &at(5, 0), Some(600));
        assert!(!gate.is_open(&at(600_004, 0)));
        assert!(gate.is_open(&at(600_005, 0)));
    }
}
