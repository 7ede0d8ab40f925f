//! Publishes of applications until the broker has acknowledged them.
//!
//! What a connection leaves unacknowledged can be carried to its successor and is sent again there (rules 8 and 9),
//! in order; whoever waits for the acknowledgement goes on waiting. Requests and commits never come in here, so that
//! no later session can replay them (rule 10).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;

/// Publishes that a connection left unacknowledged, for its successor. Dropped, they count as failed.
#[derive(Default)]
pub struct Carried {
    pub(super) letters: Vec<Letter>,
}

impl Carried {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.letters.len()
    }

    /// Says whether there is none.
    pub fn is_empty(&self) -> bool {
        self.letters.is_empty()
    }

    /// Appends those of a later connection.
    pub fn append(&mut self, mut later: Carried) {
        self.letters.append(&mut later.letters);
    }
}

impl fmt::Debug for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carried({})", self.len())
    }
}

/// One publish of an application.
pub(super) struct Letter {
    pub topic: String,
    pub payload: Bytes,
    done: oneshot::Sender<()>,
}

/// The unacknowledged publishes of one connection.
#[derive(Default)]
pub(super) struct Outbox {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    letters: BTreeMap<u64, Letter>,
    last: u64,
    taken: bool,
}

/// Why the outbox takes no letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// Too many are unacknowledged.
    Full,
    /// It was handed to a successor.
    Taken,
}

impl Outbox {
    /// Takes a letter in; the receiver hears of its acknowledgement, on this connection or a successor.
    pub fn put(
        self: &Arc<Self>,
        topic: &str,
        payload: &Bytes,
    ) -> Result<(Place, oneshot::Receiver<()>), NoRoom> {
        let (done, receiver) = oneshot::channel();
        let place = self.put_letter(Letter { topic: topic.to_owned(), payload: payload.clone(), done })?;
        Ok((place, receiver))
    }

    /// Takes a letter over from a predecessor.
    pub fn put_letter(self: &Arc<Self>, letter: Letter) -> Result<Place, NoRoom> {
        let mut inner = self.lock();
        if inner.taken {
            return Err(NoRoom::Taken);
        }
        if inner.letters.len() >= ROOM {
            return Err(NoRoom::Full);
        }
        inner.last += 1;
        let id = inner.last;
        inner.letters.insert(id, letter);
        Ok(Place { outbox: Arc::clone(self), id, keep: false })
    }

    /// Notes that the broker acknowledged it.
    pub fn acknowledged(&self, id: u64) {
        if let Some(letter) = self.lock().letters.remove(&id) {
            // Nobody need be waiting any more.
            let _ = letter.done.send(());
        }
    }

    /// Empties it for a successor and closes it.
    pub fn take(&self) -> Carried {
        let mut inner = self.lock();
        inner.taken = true;
        Carried { letters: std::mem::take(&mut inner.letters).into_values().collect() }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A letter's place; dropped before it is kept, the letter is withdrawn.
pub(super) struct Place {
    outbox: Arc<Outbox>,
    pub id: u64,
    keep: bool,
}

impl Place {
    /// Leaves the letter in the outbox until it is acknowledged or taken.
    pub fn keep(mut self) {
        self.keep = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.keep {
            self.outbox.lock().letters.remove(&self.id);
        }
    }
}

/// Most unacknowledged publishes; AWS itself takes 100 unacknowledged at once.
const ROOM: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Bytes {
        Bytes::from_static(b"x")
    }

    #[test]
    fn what_is_unacknowledged_is_carried_in_order_and_its_waiter_hears_of_it_on_the_successor_rule_9() {
        let (old, new) = (Arc::new(Outbox::default()), Arc::new(Outbox::default()));
        let (first, mut first_done) = old.put("a", &body()).unwrap();
        let (second, _) = old.put("b", &body()).unwrap();
        let (third, mut third_done) = old.put("c", &body()).unwrap();
        let acknowledged = second.id;
        for place in [first, second, third] {
            place.keep();
        }
        old.acknowledged(acknowledged);
        let carried = old.take();
        assert_eq!(carried.letters.iter().map(|l| l.topic.as_str()).collect::<Vec<_>>(), ["a", "c"]);
        for letter in carried.letters {
            let place = new.put_letter(letter).unwrap();
            new.acknowledged(place.id);
            place.keep();
        }
        assert!(first_done.try_recv().is_ok() && third_done.try_recv().is_ok());
    }

    #[test]
    fn nothing_goes_into_an_outbox_that_was_handed_over_or_is_full() {
        let outbox = Arc::new(Outbox::default());
        for _ in 0..ROOM {
            outbox.put("a", &body()).unwrap().0.keep();
        }
        assert_eq!(outbox.put("a", &body()).err(), Some(NoRoom::Full));
        assert_eq!(outbox.take().len(), ROOM);
        assert_eq!(outbox.put("a", &body()).err(), Some(NoRoom::Taken));
    }

    #[test]
    fn a_publish_that_was_given_up_before_it_was_queued_is_never_carried() {
        let outbox = Arc::new(Outbox::default());
        drop(outbox.put("a", &body()).unwrap());
        assert!(outbox.take().is_empty());
    }
}
