//! The twin's one clock: real time, moved and stretched at will.
//!
//! Everything that the cloud would date (certificates, tokens, sessions, rule timestamps, propagation) asks this
//! clock, so a test can let an hour pass at once. Sockets and faults that delay keep to real time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time of the twin, shared by all its parts.
#[derive(Debug)]
pub struct Clock {
    anchor: Mutex<Anchor>,
}

impl Clock {
    /// Starts at the real time plus `offset_ms`, running `rate` times as fast.
    pub fn new(offset_ms: i64, rate: f64) -> Self {
        let twin_ms = real_ms().saturating_add(offset_ms);
        Self { anchor: Mutex::new(Anchor { real: Instant::now(), twin_ms, rate: sane(rate) }) }
    }

    /// Milliseconds since the Unix epoch, in twin time.
    pub fn now_ms(&self) -> i64 {
        self.lock().now_ms()
    }

    /// Seconds since the Unix epoch, in twin time.
    pub fn now(&self) -> i64 {
        self.now_ms().div_euclid(1000)
    }

    /// Lets `by` pass at once.
    pub fn advance(&self, by: Duration) {
        let mut anchor = self.lock();
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        *anchor =
            Anchor { real: Instant::now(), twin_ms: anchor.now_ms().saturating_add(by), rate: anchor.rate };
    }

    /// Sets the twin's time.
    pub fn set_ms(&self, twin_ms: i64) {
        let mut anchor = self.lock();
        *anchor = Anchor { real: Instant::now(), twin_ms, rate: anchor.rate };
    }

    /// Runs `rate` times as fast as real time from now on.
    pub fn set_rate(&self, rate: f64) {
        let mut anchor = self.lock();
        *anchor = Anchor { real: Instant::now(), twin_ms: anchor.now_ms(), rate: sane(rate) };
    }

    fn lock(&self) -> MutexGuard<'_, Anchor> {
        self.anchor.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Anchor {
    real: Instant,
    twin_ms: i64,
    rate: f64,
}

impl Anchor {
    fn now_ms(&self) -> i64 {
        let passed = self.real.elapsed().as_secs_f64() * 1000.0 * self.rate;
        self.twin_ms.saturating_add(passed as i64)
    }
}

/// A rate that is no positive number would stop or turn time; 1 stands in for it.
fn sane(rate: f64) -> f64 {
    if rate.is_finite() && rate > 0.0 { rate } else { 1.0 }
}

fn real_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_passes_at_once_when_asked() {
        let clock = Clock::new(0, 1.0);
        let before = clock.now_ms();
        clock.advance(Duration::from_secs(3600));
        assert!(clock.now_ms() - before >= 3_600_000);
    }

    #[test]
    fn a_rate_that_would_stop_time_is_one() {
        assert_eq!(sane(0.0), 1.0);
        assert_eq!(sane(f64::NAN), 1.0);
        assert_eq!(sane(60.0), 60.0);
    }
}
