//! The session in hand, and what it leaves behind when it ends: nothing that the broker was told we have is dropped.
//!
//! A message is acknowledged as soon as it is read from the wire, so one that nobody has taken yet must outlive its
//! session. It decides nothing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::cloud::topics::is_reserved;
use crate::cloud::{Session, SessionEvent};
use crate::rotation::Carrier;

/// A session in hand.
pub struct Live {
    /// Whose identity carries it.
    pub carrier: Carrier,
    /// The connection.
    pub session: Rc<Session>,
    /// Whether the broker still had the session of this client id.
    pub present: bool,
    /// Which session of this process it is, from 1; set when it comes into hand.
    pub number: u64,
    /// What happens on it by itself.
    pub events: mpsc::Receiver<SessionEvent>,
}

/// What sessions that ended leave to the next one.
#[derive(Default)]
pub(super) struct Left {
    /// What came and nobody has taken, oldest first.
    pub unread: VecDeque<SessionEvent>,
}

impl Left {
    /// Adds what a later session leaves.
    pub fn append(&mut self, mut later: Left) {
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
    /// Takes in what comes while something is done on it: a burst at its beginning (what the broker kept while there was
    /// no session) must neither be dropped nor hold up the answers. Applications hear theirs at once (rule 9), the
    /// daemon's own wait until the session is in hand.
    pub(super) async fn meanwhile<T>(
        &mut self,
        left: &mut Left,
        early: &mpsc::UnboundedSender<SessionEvent>,
        doing: impl Future<Output = T>,
    ) -> T {
        let mut doing = std::pin::pin!(doing);
        let mut bytes = 0;
        loop {
            tokio::select! {
                biased;
                done = &mut doing => return done,
                // The end is told again by the channel's own.
                Some(event) = self.events.recv(), if bytes < UNREAD => match event {
                    SessionEvent::Message { ref topic, .. } if !is_reserved(topic) => {
                        // The world lives as long as its effects.
                        let _ = early.send(event);
                    }
                    event => {
                        bytes += size(&event);
                        left.put(event);
                    }
                },
            }
        }
    }

    /// Ends it in order, with DISCONNECT, and takes what it leaves. What was read from the wire comes out first.
    pub(super) async fn end(mut self, deadline: Duration) -> Left {
        let mut left = Left::default();
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
        let mut left = Left::default();
        while let Ok(event) = self.events.try_recv() {
            left.put(event);
        }
        left
    }
}

fn size(event: &SessionEvent) -> usize {
    match event {
        SessionEvent::Message { topic, payload, .. } => topic.len() + payload.len() + EACH,
        _ => EACH,
    }
}

/// Bytes of the daemon's own messages that are kept while a session is made; beyond it a gap is told.
const UNREAD: usize = 1024 * 1024;
/// What an event takes beside its text.
const EACH: usize = 64;
