//! Arrivals of numbered messages: the longest silence in a stretch of time, and what was lost or came twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// Its beginning.
    pub from: Instant,
    /// Its end.
    pub to: Instant,
}

/// The longest time without an arrival that touches the stretch; arrivals in the order of time.
pub fn longest(arrivals: &[Instant], stretch: Stretch) -> Option<Duration> {
    let pairs = arrivals.windows(2).map(|pair| (pair[0], pair[1]));
    pairs
        .filter(|(before, after)| *after >= stretch.from && *before <= stretch.to)
        .map(|(before, after)| after.saturating_duration_since(before))
        .max()
}

/// What became of the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// How many were sent.
    pub sent: u64,
    /// How many of these never came.
    pub lost: u64,
    /// How often one came that had come before.
    pub doubled: u64,
}

impl Fate {
    /// Of the numbers from 0 to below `sent`.
    pub fn of(sent: u64, arrived: impl Iterator<Item = u64>) -> Self {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for number in arrived {
            *counts.entry(number).or_default() += 1;
        }
        let distinct = counts.keys().filter(|n| **n < sent).count() as u64;
        let doubled = counts.values().map(|n| n - 1).sum();
        Self { sent, lost: sent - distinct, doubled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_counts_where_it_touches_the_stretch() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let arrivals = [at(0), at(10), at(90), at(100), at(300)];
        let within = |from, to| longest(&arrivals, Stretch { from: at(from), to: at(to) });
        assert_eq!(within(20, 95), Some(Duration::from_millis(80)));
        assert_eq!(within(0, 5), Some(Duration::from_millis(10)));
        assert_eq!(within(95, 99), Some(Duration::from_millis(10)));
        assert_eq!(within(100, 150), Some(Duration::from_millis(200)));
        assert_eq!(longest(&arrivals[..1], Stretch { from: at(0), to: at(9) }), None);
    }

    #[test]
    fn lost_and_doubled_are_counted_by_number() {
        let fate = Fate::of(5, [0, 1, 1, 3, 1].into_iter());
        assert_eq!(fate, Fate { sent: 5, lost: 2, doubled: 2 });
    }
}
