//! What comes next: events in the order of virtual time, for millions of them.
//!
//! A heap for the second in hand, a ring of seconds for the hour or so in hand, and a map of such rings for the rest of
//! the years: most events are far away and are moved twice, not sorted twenty times.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

/// Virtual time in milliseconds since the start.
pub type Ms = u64;

/// One thing that will happen; ordered by time, then by device, so that a run is the same each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When.
    pub at: Ms,
    /// Whose; a worker's number for [`Kind::Worker`].
    pub device: u32,
    /// Which turn or session it belongs to; it is stale when that has passed.
    pub number: u32,
    /// What.
    pub kind: Kind,
}

/// What can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The core's wait is over.
    Wake,
    /// An effect on the cloud ends.
    Finish,
    /// A commit has had no answer in time.
    Silence,
    /// The broker or the network closes a session.
    Close,
    /// The device gets power.
    PowerOn,
    /// The device loses power.
    PowerOff,
    /// The cloud's order to rotate arrives.
    Deliver,
    /// A worker of the retire handler goes on.
    Worker,
    /// The weather changes for all.
    Weather,
}

/// The queue.
#[derive(Default)]
pub struct Wheel {
    current: BinaryHeap<Reverse<Event>>,
    second: u64,
    ring: Vec<Vec<Event>>,
    far: BTreeMap<u64, Vec<Event>>,
    len: usize,
}

impl Wheel {
    /// An empty queue.
    pub fn new() -> Self {
        Wheel { ring: (0..RING).map(|_| Vec::new()).collect(), ..Wheel::default() }
    }

    /// Adds an event; one in the past comes next.
    pub fn push(&mut self, event: Event) {
        self.len += 1;
        let second = event.at / 1000;
        if second <= self.second {
            self.current.push(Reverse(event));
        } else if second / RING == self.second / RING {
            self.ring[slot(second)].push(event);
        } else {
            self.far.entry(second / RING).or_default().push(event);
        }
    }

    /// Takes the next event before `until`.
    pub fn pop(&mut self, until: Ms) -> Option<Event> {
        loop {
            if let Some(Reverse(next)) = self.current.peek() {
                if next.at >= until {
                    return None;
                }
                self.len -= 1;
                return self.current.pop().map(|Reverse(event)| event);
            }
            if self.len == 0 || (self.second + 1) * 1000 > until.max(1000) + 1000 {
                return None;
            }
            self.turn();
        }
    }

    /// How many events there are, stale ones too.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Goes to the next second.
    fn turn(&mut self) {
        self.second += 1;
        if self.second.is_multiple_of(RING) {
            for event in self.far.remove(&(self.second / RING)).unwrap_or_default() {
                self.ring[slot(event.at / 1000)].push(event);
            }
        }
        self.current.extend(self.ring[slot(self.second)].drain(..).map(Reverse));
    }
}

fn slot(second: u64) -> usize {
    usize::try_from(second % RING).unwrap_or(0)
}

/// Seconds of a ring.
const RING: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_in_the_order_of_time_whenever_they_were_added() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut wheel = Wheel::new();
        let event = |at| Event { at, device: 0, number: 0, kind: Kind::Wake };
        for _ in 0..2_000 {
            wheel.push(event(rng.u64(..40_000_000)));
        }
        let (mut last, mut count) = (0, 0);
        while let Some(next) = wheel.pop(Ms::MAX / 2) {
            assert!(next.at >= last);
            last = next.at;
            count += 1;
            if count < 3_000 {
                wheel.push(event(last + rng.u64(..9_000_000)));
            }
        }
        assert_eq!((count, wheel.len()), (2_000 + 2_999, 0));
    }

    #[test]
    fn nothing_comes_before_its_time_is_asked_for() {
        let mut wheel = Wheel::new();
        wheel.push(Event { at: 5_000_500, device: 0, number: 0, kind: Kind::Wake });
        assert_eq!(wheel.pop(5_000_500), None);
        assert!(wheel.pop(5_000_501).is_some());
    }
}
