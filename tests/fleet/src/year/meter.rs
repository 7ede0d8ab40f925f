//! What was asked of each quota, second by second: percentiles for the table, bins for the picture.

use super::quota::{APIS, Api};
use super::wheel::Ms;

/// Counts requests from `begin` on.
#[derive(Default)]
pub struct Meter {
    span: Option<Span>,
    second: u64,
    counts: [[u32; 2]; APIS],
    tallies: Vec<Tally>,
}

#[derive(Clone, Copy)]
struct Span {
    from: u64,
    bin: u64,
}

/// What was asked of one API.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// In how many seconds so many were asked; the index is the number. Seconds in which nothing was asked are not in it.
    seconds: Vec<u64>,
    /// Asked in all.
    pub asked: u64,
    /// Refused in all.
    pub throttled: u64,
    /// Seconds in which something was refused.
    pub seconds_over: u64,
    /// For the picture.
    pub bins: Vec<Bin>,
}

/// One column of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bin {
    /// Asked in all.
    pub asked: u64,
    /// Refused in all.
    pub throttled: u64,
    /// The most in one second.
    pub peak: u32,
}

impl Meter {
    /// Begins to measure at `from`, in bins of so many seconds.
    pub fn begin(&mut self, from: Ms, bin_seconds: u64) {
        self.second = from / 1000;
        self.span = Some(Span { from: from / 1000, bin: bin_seconds.max(1) });
        self.counts = Default::default();
        self.tallies = vec![Tally::default(); APIS];
    }

    pub(super) fn count(&mut self, api: Api, n: u32, granted: bool, now: Ms) {
        if self.span.is_none() {
            return;
        }
        self.advance(now / 1000);
        let count = &mut self.counts[api as usize];
        count[0] += n;
        if !granted {
            count[1] += n;
        }
    }

    /// Ends at `now`, and gives each API's tally.
    pub fn end(&mut self, now: Ms) -> Vec<Tally> {
        self.advance(now / 1000 + 1);
        std::mem::take(&mut self.tallies)
    }

    /// Seconds of a bin.
    pub fn bin_seconds(&self) -> u64 {
        self.span.map_or(1, |s| s.bin)
    }

    fn advance(&mut self, second: u64) {
        let Some(span) = self.span else { return };
        if second <= self.second {
            return;
        }
        let bin = usize::try_from((self.second.saturating_sub(span.from)) / span.bin).unwrap_or(0);
        for (tally, count) in self.tallies.iter_mut().zip(&mut self.counts) {
            let [asked, throttled] = std::mem::take(count);
            if asked == 0 {
                continue;
            }
            let index = usize::try_from(asked).unwrap_or(usize::MAX).min(MOST);
            if tally.seconds.len() <= index {
                tally.seconds.resize(index + 1, 0);
            }
            tally.seconds[index] += 1;
            tally.asked += u64::from(asked);
            tally.throttled += u64::from(throttled);
            tally.seconds_over += u64::from(throttled > 0);
            if tally.bins.len() <= bin {
                tally.bins.resize(bin + 1, Bin::default());
            }
            let column = &mut tally.bins[bin];
            column.asked += u64::from(asked);
            column.throttled += u64::from(throttled);
            column.peak = column.peak.max(asked);
        }
        self.second = second;
    }
}

impl Tally {
    /// Requests in the second that so many of a thousand seconds do not exceed, of `seconds` in all.
    pub fn permille(&self, of_thousand: u64, seconds: u64) -> usize {
        let busy: u64 = self.seconds.iter().sum();
        let mut below = seconds.saturating_sub(busy);
        let wanted = (seconds * of_thousand).div_ceil(1000);
        if below >= wanted {
            return 0;
        }
        for (n, count) in self.seconds.iter().enumerate() {
            below += count;
            if below >= wanted {
                return n;
            }
        }
        self.peak()
    }

    /// The most in one second.
    pub fn peak(&self) -> usize {
        self.seconds.len().saturating_sub(1)
    }
}

/// Seconds with more requests than this are counted as this.
const MOST: usize = 2_000_000;

#[cfg(test)]
mod tests {
    use super::super::quota::Quotas;
    use super::*;

    #[test]
    fn seconds_without_a_request_count_as_seconds() {
        let mut quotas = Quotas::new(1.0);
        quotas.meter.begin(0, 10);
        for _ in 0..30 {
            quotas.take(Api::Register, 1, 5_000);
        }
        quotas.take(Api::Register, 1, 15_000);
        let tally = &quotas.meter.end(100_000)[Api::Register as usize];
        assert_eq!((tally.asked, tally.throttled, tally.seconds_over, tally.peak()), (31, 20, 1, 30));
        assert_eq!(
            (tally.permille(500, 100), tally.permille(990, 100), tally.permille(1000, 100)),
            (0, 1, 30)
        );
        let bin = |asked, throttled, peak| Bin { asked, throttled, peak };
        assert_eq!(tally.bins, [bin(30, 20, 30), bin(1, 0, 1)]);
    }
}
