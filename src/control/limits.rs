//! How much a peer may take: sizes, times and places; nobody keeps an operator out by connecting often.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The bounds of the server.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Of these, connections of one uid.
    pub per_uid: usize,
    /// Of these, places that only operators get.
    pub reserved: usize,
    /// Readers of `/v1/events` of one uid: fewer than its connections, so that orders still get through.
    pub streams_per_uid: usize,
    /// Readers of `/v1/subscribe` of one uid.
    pub subscribers_per_uid: usize,
    /// Bytes of a request's line and headers.
    pub header_bytes: usize,
    /// Bytes of a request's body: a payload of AWS's 128 KB in base64 and its wrapping.
    pub body_bytes: usize,
    /// For the headers, and for an idle connection.
    pub header_time: Duration,
    /// For the body.
    pub body_time: Duration,
    /// For a peer that does not read, while something is to be written.
    pub write_time: Duration,
    /// For the engine's answer to an order.
    pub reply_time: Duration,
    /// For the engine's answer to a check or a dry run.
    pub check_time: Duration,
    /// Between comments on a quiet stream of events.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 40,
            per_uid: 20,
            reserved: 4,
            streams_per_uid: 4,
            subscribers_per_uid: 8,
            header_bytes: 16 * 1024,
            body_bytes: 192 * 1024,
            header_time: Duration::from_secs(5),
            body_time: Duration::from_secs(5),
            write_time: Duration::from_secs(10),
            reply_time: Duration::from_secs(10),
            check_time: Duration::from_secs(90),
            keep_alive: Duration::from_secs(15),
        }
    }
}

/// Who holds how many places.
#[derive(Clone)]
pub(super) struct Places {
    held: Arc<Mutex<Held>>,
}

impl Places {
    pub(super) fn new() -> Places {
        Places { held: Arc::new(Mutex::new(Held::default())) }
    }

    /// A place for a connection, or `None` when this peer can have none.
    pub(super) fn connection(&self, uid: u32, operator: bool, limits: &Limits) -> Option<Place> {
        let mut held = self.lock();
        let open =
            if operator { limits.connections } else { limits.connections.saturating_sub(limits.reserved) };
        let of_uid = held.connections.get(&uid).copied().unwrap_or(0);
        let all: usize = held.connections.values().sum();
        if all >= open || of_uid >= limits.per_uid {
            return None;
        }
        held.connections.insert(uid, of_uid + 1);
        Some(Place { places: self.clone(), uid, kind: Kind::Connection })
    }

    /// A place for a reader of events.
    pub(super) fn stream(&self, uid: u32, limits: &Limits) -> Option<Place> {
        self.reader(uid, Kind::Stream, limits.streams_per_uid)
    }

    /// A place for a subscriber.
    pub(super) fn subscriber(&self, uid: u32, limits: &Limits) -> Option<Place> {
        self.reader(uid, Kind::Subscriber, limits.subscribers_per_uid)
    }

    fn reader(&self, uid: u32, kind: Kind, most: usize) -> Option<Place> {
        let mut held = self.lock();
        let of_uid = held.of(kind).entry(uid).or_default();
        if *of_uid >= most {
            return None;
        }
        *of_uid += 1;
        Some(Place { places: self.clone(), uid, kind })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole data.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place that is held; free again when dropped.
pub(super) struct Place {
    places: Places,
    uid: u32,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    Connection,
    Stream,
    Subscriber,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.places.lock();
        let of_kind = held.of(self.kind);
        match of_kind.get_mut(&self.uid) {
            Some(n) if *n > 1 => *n -= 1,
            Some(_) => {
                of_kind.remove(&self.uid);
            }
            None => {}
        }
    }
}

#[derive(Default)]
struct Held {
    connections: BTreeMap<u32, usize>,
    streams: BTreeMap<u32, usize>,
    subscribers: BTreeMap<u32, usize>,
}

impl Held {
    fn of(&mut self, kind: Kind) -> &mut BTreeMap<u32, usize> {
        match kind {
            Kind::Connection => &mut self.connections,
            Kind::Stream => &mut self.streams,
            Kind::Subscriber => &mut self.subscribers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tight() -> Limits {
        Limits { connections: 6, per_uid: 3, reserved: 2, streams_per_uid: 1, ..Limits::default() }
    }

    #[test]
    fn one_uid_cannot_take_more_than_its_share() {
        let (places, limits) = (Places::new(), tight());
        let held: Vec<_> = (0..3).map(|_| places.connection(7, false, &limits).expect("a share")).collect();
        assert!(places.connection(7, false, &limits).is_none());
        assert!(places.connection(8, false, &limits).is_some(), "others are not held up");
        drop(held);
        assert!(places.connection(7, false, &limits).is_some(), "places come back");
    }

    #[test]
    fn strangers_together_leave_the_reserved_places_to_operators() {
        let (places, limits) = (Places::new(), tight());
        let held: Vec<_> = [10, 10, 11, 11].map(|uid| places.connection(uid, false, &limits)).into();
        assert!(held.iter().all(Option::is_some));
        assert!(places.connection(12, false, &limits).is_none());
        let one = places.connection(0, true, &limits);
        let two = places.connection(0, true, &limits);
        assert!(one.is_some() && two.is_some());
        assert!(places.connection(0, true, &limits).is_none(), "six is six");
    }

    #[test]
    fn readers_of_events_are_counted_apart() {
        let (places, limits) = (Places::new(), tight());
        let reader = places.stream(0, &limits);
        assert!(reader.is_some() && places.stream(0, &limits).is_none());
        drop(reader);
        assert!(places.stream(0, &limits).is_some());
    }
}
