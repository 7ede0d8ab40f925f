//! Asking on one topic and waiting for the answer on two others.
//!
//! AWS's answers carry no correlation id. So there is at most one outstanding request of an operation on a connection,
//! and one that was left without an answer spends the operation on that connection: a late answer could otherwise be
//! taken for the next request's (rule 2). It waits for `accepted` or `rejected`, never for the PUBACK: AWS's own
//! client found that waiting for the PUBACK of RegisterThing freezes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;
use zeroize::Zeroizing;

use super::cause::Cause;
use super::error::SubscribeError;
use super::topics::{Operation, TopicError};

/// The answer to a request.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it came on the accepted topic.
    pub accepted: bool,
    /// Its body; wiped when dropped, since it can hold a private key or a token.
    pub body: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Answer {{ accepted: {}, {} bytes }}", self.accepted, self.body.len())
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Topic or payload break a limit of AWS.
    #[error("asking on {topic}")]
    Unfit {
        /// The request topic.
        topic: String,
        /// The limit.
        #[source]
        source: TopicError,
    },
    /// The same operation is outstanding on this connection.
    #[error("asking on {topic}: the same is already being asked on this connection")]
    Busy {
        /// The request topic.
        topic: String,
    },
    /// An earlier request of this operation had no answer on this connection (rule 2).
    #[error("asking on {topic}: an earlier request had no answer on this connection")]
    Spent {
        /// The request topic.
        topic: String,
    },
    /// Its answers could not be subscribed to; it was not sent.
    #[error("asking on {topic}: its answers cannot be heard")]
    Deaf {
        /// The request topic.
        topic: String,
        /// Why not.
        #[source]
        source: SubscribeError,
    },
    /// It could not be handed to the connection in time; it was not sent.
    #[error("asking on {topic}: the connection took no more requests in time")]
    NotSent {
        /// The request topic.
        topic: String,
    },
    /// No answer in time; the request may have arrived.
    #[error("asking on {topic}: no answer in time")]
    NoAnswer {
        /// The request topic.
        topic: String,
    },
    /// The connection ended.
    #[error("asking on {topic}: {cause}")]
    Closed {
        /// The request topic.
        topic: String,
        /// Why it ended.
        #[source]
        cause: Cause,
        /// Whether the request may have been sent before.
        sent: bool,
    },
}

impl RequestError {
    /// Rule 2: whether the cloud may have carried the request out although no answer is known.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            RequestError::NoAnswer { .. } => true,
            RequestError::Closed { sent, .. } => *sent,
            RequestError::Unfit { .. }
            | RequestError::Deaf { .. }
            | RequestError::Busy { .. }
            | RequestError::Spent { .. }
            | RequestError::NotSent { .. } => false,
        }
    }

    /// Says who can clear it.
    pub fn remedy(&self) -> &'static str {
        match self {
            RequestError::Unfit { .. } => "shorten the names or parameters in the configuration",
            RequestError::Deaf { source, .. } => source.remedy(),
            RequestError::Busy { .. } => "wait for the answer that is outstanding",
            RequestError::Spent { .. } | RequestError::NoAnswer { .. } | RequestError::NotSent { .. } => {
                "time: the whole sequence again on a new connection"
            }
            RequestError::Closed { .. } => {
                "time, or the policy: AWS closes the connection on what it does not allow"
            }
        }
    }
}

/// The requests of one connection.
#[derive(Default)]
pub(super) struct Desk {
    slots: Mutex<Vec<Slot>>,
}

struct Slot {
    operation: Operation,
    state: State,
}

enum State {
    Waiting(oneshot::Sender<Answer>),
    Spent,
}

impl Desk {
    /// Opens a request; the ticket must live as long as the answer is waited for.
    pub fn open(
        self: &Arc<Self>,
        operation: &Operation,
    ) -> Result<(Ticket, oneshot::Receiver<Answer>), RequestError> {
        let topic = || operation.request().to_owned();
        let mut slots = self.lock();
        match slots.iter().find(|slot| slot.operation == *operation).map(|slot| &slot.state) {
            Some(State::Waiting(_)) => return Err(RequestError::Busy { topic: topic() }),
            Some(State::Spent) => return Err(RequestError::Spent { topic: topic() }),
            None => {}
        }
        let (sender, receiver) = oneshot::channel();
        slots.push(Slot { operation: operation.clone(), state: State::Waiting(sender) });
        Ok((Ticket { desk: Arc::clone(self), operation: operation.clone(), sent: false }, receiver))
    }

    /// Hands an answer to the one who waits for it; `false` where nobody does.
    pub fn answer(&self, topic: &str, body: &[u8]) -> bool {
        let mut slots = self.lock();
        let waiting = slots.iter().position(|slot| {
            matches!(slot.state, State::Waiting(_)) && slot.operation.verdict(topic).is_some()
        });
        let Some(index) = waiting else { return false };
        let slot = slots.remove(index);
        let accepted = slot.operation.verdict(topic) == Some(true);
        match slot.state {
            State::Waiting(sender) => {
                sender.send(Answer { accepted, body: Zeroizing::new(body.to_vec()) }).is_ok()
            }
            State::Spent => false,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open request; dropped without an answer, it spends the operation, unless nothing was sent.
pub(super) struct Ticket {
    desk: Arc<Desk>,
    operation: Operation,
    /// Whether the request may have been sent.
    pub sent: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut slots = self.desk.lock();
        // Answered requests have left the desk; a waiting one of this operation can only be ours.
        if let Some(index) =
            slots.iter().position(|s| s.operation == self.operation && matches!(s.state, State::Waiting(_)))
        {
            if self.sent && self.operation.answers_are_anonymous() {
                slots[index].state = State::Spent;
            } else {
                slots.remove(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reaches_the_request_that_waits_and_nobody_else() {
        let desk = Arc::new(Desk::default());
        let (register, create) = (Operation::register("t").unwrap(), Operation::create_from_csr());
        let (_one, mut registered) = desk.open(&register).unwrap();
        let (_two, mut created) = desk.open(&create).unwrap();
        assert!(!desk.answer("device/x", b"x"));
        assert!(!desk.answer(register.request(), b"x"));
        assert!(desk.answer(create.rejected(), b"no"));
        assert_eq!(created.try_recv().unwrap(), Answer { accepted: false, body: b"no".to_vec().into() });
        assert!(registered.try_recv().is_err());
        assert!(!desk.answer(create.rejected(), b"twice"), "a doubled answer is nobody's");
    }

    #[test]
    fn the_same_operation_cannot_be_asked_twice_at_once() {
        let desk = Arc::new(Desk::default());
        let operation = Operation::create_keys();
        let _first = desk.open(&operation).unwrap();
        assert!(matches!(desk.open(&operation), Err(RequestError::Busy { .. })));
    }

    #[test]
    fn a_request_without_an_answer_spends_the_operation_on_this_connection_rule_2() {
        let desk = Arc::new(Desk::default());
        let operation = Operation::register("t").unwrap();
        let (mut ticket, _receiver) = desk.open(&operation).unwrap();
        ticket.sent = true;
        drop(ticket);
        assert!(matches!(desk.open(&operation), Err(RequestError::Spent { .. })));
        assert!(!desk.answer(operation.accepted(), b"late"), "a late answer is nobody's");
        assert!(desk.open(&Operation::register("other").unwrap()).is_ok());
    }

    #[test]
    fn a_commit_without_an_answer_may_be_made_anew_on_this_connection_rule_14() {
        let desk = Arc::new(Desk::default());
        let operation = Operation::commit("SN-1").unwrap();
        let (mut ticket, _receiver) = desk.open(&operation).unwrap();
        ticket.sent = true;
        drop(ticket);
        assert!(desk.open(&operation).is_ok(), "its answers carry the certificate's id");
    }

    #[test]
    fn a_request_that_was_never_sent_or_was_answered_spends_nothing() {
        let desk = Arc::new(Desk::default());
        let operation = Operation::register("t").unwrap();
        drop(desk.open(&operation).unwrap());
        let (mut ticket, _receiver) = desk.open(&operation).unwrap();
        ticket.sent = true;
        assert!(desk.answer(operation.rejected(), b""));
        drop(ticket);
        assert!(desk.open(&operation).is_ok());
    }

    #[test]
    fn an_answer_is_not_shown_by_debug() {
        let answer = Answer { accepted: true, body: b"secret".to_vec().into() };
        assert!(!format!("{answer:?}").contains("secret"));
    }
}
