//! AWS's limits on a connection, kept with room for the daemon's own (AWS IoT Core message broker quotas): 100 publishes
//! and 512 KiB a second, 100 unacknowledged.

use tokio::time::{Duration, Instant};

/// Two buckets that fill with time.
#[derive(Debug)]
pub struct Pace {
    /// Thousandths of a publish.
    publishes: i64,
    bytes: i64,
    filled: Instant,
}

impl Pace {
    /// Full buckets.
    pub fn new(now: Instant) -> Pace {
        Pace { publishes: BURST * 1000, bytes: BURST_BYTES, filled: now }
    }

    /// Takes one publish of that size, or says when there is room.
    pub fn take(&mut self, now: Instant, size: usize) -> Result<(), Instant> {
        self.fill(now);
        if self.publishes >= 1000 && self.bytes > 0 {
            self.publishes -= 1000;
            // Into debt: a payload is never larger than a second's worth.
            self.bytes -= i64::try_from(size).unwrap_or(i64::MAX / 2) + OVERHEAD;
            return Ok(());
        }
        let wait = |missing: i64, rate: i64| u64::try_from(missing * 1000 / rate + 1).unwrap_or(1);
        let millis =
            wait((1000 - self.publishes).max(0), RATE * 1000).max(wait((1 - self.bytes).max(0), BYTES_RATE));
        Err(now + Duration::from_millis(millis))
    }

    fn fill(&mut self, now: Instant) {
        let millis =
            i64::try_from(now.saturating_duration_since(self.filled).as_millis()).unwrap_or(i64::MAX);
        if millis == 0 {
            return;
        }
        // The rest of a millisecond counts the next time: thrown away at each publish, it would slow a steady stream.
        self.filled += Duration::from_millis(millis.unsigned_abs());
        let millis = millis.min(10_000);
        self.publishes = (self.publishes + millis * RATE).min(BURST * 1000);
        self.bytes = (self.bytes + millis * BYTES_RATE / 1000).min(BURST_BYTES);
    }
}

/// Publishes a second.
const RATE: i64 = 90;
/// At once after a pause: never more than 100 in any second.
const BURST: i64 = 10;
/// Bytes a second.
const BYTES_RATE: i64 = 384 * 1024;
const BURST_BYTES: i64 = 64 * 1024;
/// Topic and headers, roughly.
const OVERHEAD: i64 = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_second_has_more_than_awss_limits() {
        let start = Instant::now();
        for size in [10, 5_000, 128 * 1024] {
            let mut pace = Pace::new(start);
            let mut sent: Vec<Instant> = Vec::new();
            let mut now = start;
            while now < start + Duration::from_secs(5) {
                match pace.take(now, size) {
                    Ok(()) => sent.push(now),
                    Err(at) => {
                        assert!(at > now);
                        now = at;
                    }
                }
            }
            assert!(sent.len() > 10, "it goes on: {size} {}", sent.len());
            for at in &sent {
                let second = sent.iter().filter(|t| **t >= *at && **t < *at + Duration::from_secs(1)).count();
                assert!(second <= 100, "{second} publishes in a second");
                assert!(second == 1 || second * size <= 580 * 1024, "{} bytes in a second", second * size);
            }
        }
    }

    #[test]
    fn a_steady_stream_below_the_rate_is_never_held_up_by_fractions_of_a_millisecond() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for n in 0..10_000 {
            now += Duration::from_micros(11_200);
            assert_eq!(pace.take(now, 20), Ok(()), "the {n}th at 89 a second");
        }
    }
}
