//! The session in hand, and what it leaves behind when it ends: nothing that the broker was told we have is dropped.
//!
//! A message is acknowledged as soon as it is read from the wire, so one that nobody has taken yet must outlive its
//! session; a publish without acknowledgement goes over to the next one (rule 9). It decides nothing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cloud::{Carried, Session, SessionEvent};
use crate::rotation::Carrier;

/// A session in hand.
pub struct Live {
    /// Whose identity carries it.
    pub carrier: Carrier,
    /// The connection.
    pub session: Rc<Session>,
    /// What happens on it by itself.
    pub events: mpsc::Receiver<SessionEvent>,
}

/// What sessions that ended leave to the next one.
#[derive(Default)]
pub(super) struct Left {
    /// What applications published and no broker acknowledged.
    pub letters: Carried,
    /// What came and nobody has taken, oldest first.
    pub unread: VecDeque<SessionEvent>,
}

impl Left {
    /// Adds what a later session leaves.
    pub fn append(&mut self, mut later: Left) {
        self.letters.append(later.letters);
        self.unread.append(&mut later.unread);
    }

    /// Takes in an event of a session that is no longer in hand; its end is known already.
    fn put(&mut self, event: SessionEvent) {
        if !matches!(event, SessionEvent::Closed(_)) {
            self.unread.push_back(event);
        }
    }
}

impl Live {
    /// Ends it in order, with DISCONNECT, and takes what it leaves. What was read from the wire comes out first.
    pub(super) async fn end(mut self, deadline: Duration) -> Left {
        let mut left = Left { letters: self.session.take_unacknowledged(), ..Left::default() };
        {
            let mut goodbye = std::pin::pin!(self.session.disconnect(deadline));
            loop {
                tokio::select! {
                    biased;
                    Some(event) = self.events.recv() => left.put(event),
                    () = &mut goodbye => break,
                }
            }
        }
        left.append(self.leave());
        left
    }

    /// Takes what a session that has ended leaves.
    pub(super) fn leave(&mut self) -> Left {
        let mut left = Left { letters: self.session.take_unacknowledged(), ..Left::default() };
        while let Ok(event) = self.events.try_recv() {
            left.put(event);
        }
        left
    }
}
