//! The task that keeps one connection going: it polls the library, hands answers to who asked and messages on.
//!
//! It ends at the first error and drops the library's loop with all that was queued in it. It never waits long for a
//! slow receiver: pings and answers come first, and what cannot be handed on is marked by a gap.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::{Event, EventLoop, Packet};
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use super::cause::{self, Cause};
use super::request::Desk;

/// What happens on a connection by itself.
#[derive(Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// A message that is not the answer to an outstanding request.
    Message {
        /// Its topic.
        topic: String,
        /// Its payload; wiped when dropped, since a late answer can hold a secret.
        payload: Zeroizing<Vec<u8>>,
        /// Whether the broker had kept it for new subscribers.
        retain: bool,
        /// Whether the broker may have sent it before.
        dup: bool,
    },
    /// So many messages were dropped here, because nobody took them in time.
    Gap {
        /// How many.
        lost: u64,
    },
    /// The broker has acknowledged what was handed over under this number; it may come after the end.
    Acknowledged(u64),
    /// The broker has answered the subscriptions that were asked for under this number; it may come after the end.
    Answered {
        /// The number.
        id: u64,
        /// The filters that it refused.
        refused: Vec<String>,
    },
    /// The connection has ended; the last event of its own.
    Closed(Cause),
}

impl fmt::Debug for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SessionEvent::Message { topic, payload, .. } => {
                write!(f, "Message {{ {topic:?}, {} bytes }}", payload.len())
            }
            SessionEvent::Gap { lost } => write!(f, "Gap {{ lost: {lost} }}"),
            SessionEvent::Acknowledged(id) => write!(f, "Acknowledged({id})"),
            SessionEvent::Answered { id, refused } => write!(f, "Answered {{ {id}, refused: {refused:?} }}"),
            SessionEvent::Closed(cause) => write!(f, "Closed({cause:?})"),
        }
    }
}

/// What the session's handle and its task share.
pub(super) struct Shared {
    pub desk: Arc<Desk>,
    /// The filters that the broker has granted on this connection.
    pub heard: Mutex<BTreeSet<String>>,
    /// Why the connection has ended.
    pub closed: watch::Sender<Option<Cause>>,
    /// Whether the daemon itself asked for the end.
    pub ending: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            desk: Arc::default(),
            heard: Mutex::default(),
            closed: watch::channel(None).0,
            ending: AtomicBool::new(false),
        }
    }
}

/// Polls until the first error, then ends for good.
pub(super) async fn run(mut eventloop: EventLoop, shared: Arc<Shared>, events: mpsc::Sender<SessionEvent>) {
    let mut delivery = Delivery { events, lost: 0 };
    let error = loop {
        match eventloop.poll().await {
            Ok(event) => shared.handle(event, &mut delivery).await,
            Err(error) => break error,
        }
    };
    // What came in the same read as the end is still in the library's hands.
    for event in std::mem::take(&mut eventloop.state.events) {
        shared.handle(event, &mut delivery).await;
    }
    let cause =
        if shared.ending.load(Ordering::Acquire) { Cause::Ended } else { cause::of_library(&error, true) };
    drop(eventloop); // with everything that was still queued (rule 10)
    // What was acknowledged in the same read is told first: its tasks have been woken. Before whoever waits for the end
    // hears of it: the end's event and the end of a request must come together (rule 22).
    tokio::task::yield_now().await;
    shared.closed.send_replace(Some(cause.clone()));
    delivery.close(cause).await;
}

impl Shared {
    async fn handle(&self, event: Event, delivery: &mut Delivery) {
        delivery.mark_gap();
        let Event::Incoming(Packet::Publish(publish)) = event else { return };
        // MQTT wants UTF-8 topics and the library has checked it.
        let topic = String::from_utf8_lossy(&publish.topic).into_owned();
        if !self.desk.answer(&topic, &publish.payload) {
            let payload = Zeroizing::new(publish.payload.to_vec());
            let (retain, dup) = (publish.retain, publish.dup);
            delivery.message(SessionEvent::Message { topic, payload, retain, dup }).await;
        }
    }
}

/// Hands events on without ever stopping the connection for long: it must answer pings and take answers.
struct Delivery {
    events: mpsc::Sender<SessionEvent>,
    lost: u64,
}

impl Delivery {
    async fn message(&mut self, event: SessionEvent) {
        // While a gap is not even marked, nobody takes anything: no more waiting.
        if self.lost > 0 || self.events.send_timeout(event, PATIENCE).await.is_err() {
            self.lost += 1;
        }
    }

    /// Marks a gap as soon as there is room, at the latest with the next keep-alive.
    fn mark_gap(&mut self) {
        if self.lost > 0 && self.events.try_send(SessionEvent::Gap { lost: self.lost }).is_ok() {
            self.lost = 0;
        }
    }

    async fn close(self, cause: Cause) {
        if self.lost > 0 && self.events.send(SessionEvent::Gap { lost: self.lost }).await.is_err() {
            return;
        }
        // Nobody listens any more: nobody need know.
        let _ = self.events.send(SessionEvent::Closed(cause)).await;
    }
}

/// How long a full channel may hold the connection up, far below any keep-alive.
const PATIENCE: Duration = Duration::from_secs(1);
