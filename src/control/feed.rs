//! The feed of events: the engine sends, each reader of `/v1/events` follows, and the recent ones are kept.
//!
//! Sending never waits. Keeping, numbering and handing on are one step under one lock, so a reader that joins gets
//! each event once: the kept ones after its last id, then the live ones.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::broadcast;

use super::wire::{Event, Time};

/// The sending and the joining end; clones are the same feed.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Mutex<Inner>>,
}

/// What a reader gets when it joins.
pub struct Joined {
    /// The id to come back with before any event was seen: of the newest so far, or the one
    /// that the reader gave.
    pub start: u64,
    /// Whether events after its last id are not kept any more.
    pub gap: bool,
    /// The kept events after its last id; none where it gave none.
    pub recent: Vec<Arc<Event>>,
    /// Everything from now on; lags when the reader is slower than [`KEPT`] events.
    pub live: broadcast::Receiver<Arc<Event>>,
}

impl Feed {
    /// An empty feed of a daemon that starts at that time: ids go on from there, and a reader that comes back with an
    /// id of an earlier life is told of the gap.
    pub fn new(born: Time) -> Feed {
        Feed::keeping(KEPT, born)
    }

    /// The same, keeping that many events (at least one).
    pub fn keeping(kept: usize, born: Time) -> Feed {
        let kept = kept.max(1);
        let born = u64::try_from(born.millis()).unwrap_or(0);
        let inner = Inner {
            heard: None,
            kept,
            last: born,
            dropped: born,
            recent: VecDeque::new(),
            live: broadcast::Sender::new(kept),
        };
        Feed { inner: Arc::new(Mutex::new(inner)) }
    }

    /// Has every event from now on heard by this ear too, before any reader; it must be quick and must not send.
    pub fn heard_by(&self, ear: impl Fn(&Event) + Send + 'static) {
        self.lock().heard = Some(Box::new(ear));
    }

    /// Numbers the event, keeps it and hands it to every reader; returns its id.
    ///
    /// The id is the event's time in milliseconds, or one more than the last where that is not more: so ids go on
    /// ascending over a restart of the daemon.
    pub fn send(&self, mut event: Event) -> u64 {
        let mut inner = self.lock();
        let id = u64::try_from(event.time.millis()).unwrap_or(0).max(inner.last + 1);
        event.id = id;
        inner.last = id;
        if let Some(ear) = &inner.heard {
            ear(&event);
        }
        let event = Arc::new(event);
        if inner.recent.len() == inner.kept
            && let Some(old) = inner.recent.pop_front()
        {
            inner.dropped = old.id;
        }
        inner.recent.push_back(event.clone());
        let _ = inner.live.send(event); // fails only when nobody reads
        id
    }

    /// Joins after the event with that id. An id that was never given out (another life of the daemon, before its
    /// clock was set back) gets everything that is kept.
    pub fn join(&self, after: Option<u64>) -> Joined {
        let inner = self.lock();
        let live = inner.live.subscribe();
        let Some(after) = after else {
            return Joined { start: inner.last, gap: false, recent: Vec::new(), live };
        };
        let unknown = after > inner.last;
        let recent = inner.recent.iter().filter(|e| unknown || e.id > after).cloned().collect();
        Joined { start: if unknown { 0 } else { after }, gap: unknown || after < inner.dropped, recent, live }
    }

    /// How many read it now.
    pub fn readers(&self) -> usize {
        self.lock().live.receiver_count()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole data.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Ear = Box<dyn Fn(&Event) + Send>;

struct Inner {
    heard: Option<Ear>,
    kept: usize,
    last: u64,
    /// Id of the newest event that is not kept any more; of the beginning while all are.
    dropped: u64,
    recent: VecDeque<Arc<Event>>,
    live: broadcast::Sender<Arc<Event>>,
}

/// Events that are kept for readers that come back: a few rotations' worth, some tens of kilobytes.
pub const KEPT: usize = 128;

#[cfg(test)]
mod tests {
    use super::super::wire::EventKind;
    use super::*;

    fn feed() -> Feed {
        Feed::new(Time::from_seconds(0))
    }

    fn event(at: i64) -> Event {
        Event::new(Time::from_seconds(at), EventKind::State)
    }

    fn ids(events: &[Arc<Event>]) -> Vec<u64> {
        events.iter().map(|e| e.id).collect()
    }

    #[test]
    fn ids_ascend_even_when_the_clock_stands_still_or_goes_back() {
        let feed = feed();
        assert_eq!(
            [feed.send(event(10)), feed.send(event(10)), feed.send(event(3))],
            [10_000, 10_001, 10_002]
        );
        assert_eq!(feed.send(event(-5)), 10_003);
    }

    #[test]
    fn a_reader_that_comes_back_gets_what_it_missed_once_and_then_the_live_ones() {
        let feed = feed();
        let seen = feed.send(event(1));
        let missed = feed.send(event(2));
        let mut joined = feed.join(Some(seen));
        assert_eq!((joined.gap, ids(&joined.recent)), (false, vec![missed]));
        let next = feed.send(event(3));
        assert_eq!(joined.live.try_recv().expect("it was sent after joining").id, next);
        assert!(joined.live.try_recv().is_err(), "nothing comes twice");
    }

    #[test]
    fn a_reader_that_stayed_away_too_long_is_told_of_the_gap() {
        let feed = Feed::keeping(2, Time::from_seconds(0));
        let seen = feed.send(event(1));
        let second = feed.send(event(2));
        feed.send(event(3));
        assert!(!feed.join(Some(seen)).gap, "only what it has seen was dropped");
        feed.send(event(4));
        assert!(feed.join(Some(seen)).gap, "the second one is gone too");
        assert!(!feed.join(Some(second)).gap);
    }

    #[test]
    fn an_id_of_another_life_gets_everything_and_is_told_of_the_gap() {
        let feed = feed();
        let one = feed.send(event(1));
        let joined = feed.join(Some(one + 1_000_000));
        assert!(joined.gap);
        assert_eq!(ids(&joined.recent), [one]);
    }

    #[test]
    fn a_reader_of_an_earlier_life_is_told_of_the_gap_and_one_that_only_waited_is_not() {
        let old = Feed::new(Time::from_seconds(1));
        let seen = [old.join(None).start, old.send(event(2))];
        let new = Feed::new(Time::from_seconds(3));
        let waited = new.join(None).start;
        let first = new.send(event(3));
        for id in seen {
            let joined = new.join(Some(id));
            assert_eq!((joined.gap, ids(&joined.recent)), (true, vec![first]));
        }
        let joined = new.join(Some(waited));
        assert_eq!((joined.gap, ids(&joined.recent)), (false, vec![first]));
    }

    #[test]
    fn a_new_reader_gets_only_what_is_still_to_come() {
        let feed = feed();
        feed.send(event(1));
        assert!(feed.join(None).recent.is_empty());
    }
}
