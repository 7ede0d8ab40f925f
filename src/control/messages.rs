//! Applications' messages: `POST /v1/publish` and `GET /v1/subscribe`, from the request to the engine's channel, and a
//! subscriber's stream.
//!
//! The channel is not the orders': however much applications send, an operator's order finds its way. Which topics are
//! open, and what the cloud takes, is the engine's to say. A stream is bounded by number and bytes ([`Inbox`]): a
//! reader that is slower than its messages is told how many it missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::Response;
use hyper::body::Incoming;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::Peer;
use super::content::Content;
use super::limits::Place;
use super::routes::{self, Shared};
use super::server::is_operator;
use super::sse;
use super::wire::{Gap, GapReason, Heard, Message, Problem, PublishRequest, Published};

/// What applications ask of the engine.
#[derive(Debug)]
pub enum Application {
    /// `POST /v1/publish`.
    Publish(Publish),
    /// `GET /v1/subscribe`.
    Subscribe(Subscribe),
    /// A subscriber has gone; its inbox is closed.
    Left,
}

/// One publish of one peer; it is to be answered once. Dropping it unanswered is answered 503.
#[derive(Debug)]
pub struct Publish {
    /// The topic, as it was sent.
    pub topic: String,
    /// The payload.
    pub payload: Bytes,
    /// How long its acknowledgement is waited for.
    pub patience: Duration,
    /// Who asked.
    pub by: Peer,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<Published, Problem>>,
}

/// One subscription of one peer.
#[derive(Debug)]
pub struct Subscribe {
    /// The filter, as it was sent.
    pub filter: String,
    /// Who asked.
    pub by: Peer,
    /// Whether it is taken: the stream begins then.
    pub reply: oneshot::Sender<Result<(), Problem>>,
    /// Where its messages go.
    pub inbox: Inbox,
}

/// The engine's end of a subscriber's stream: never waited for.
#[derive(Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Letter>,
    waiting: Arc<AtomicUsize>,
    lost: u64,
}

/// The reader's end.
#[derive(Debug)]
pub struct Outlet {
    receiver: mpsc::Receiver<Letter>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug)]
enum Letter {
    Message(Arc<Message>, usize),
    Word(Heard),
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// It waits for the reader.
    Taken,
    /// There is no room: the reader is told how many were dropped.
    Dropped,
    /// The reader has gone.
    Gone,
}

/// Both ends of a stream.
pub fn inbox() -> (Inbox, Outlet) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Inbox { sender, waiting: Arc::clone(&waiting), lost: 0 }, Outlet { receiver, waiting })
}

impl Inbox {
    /// Offers a message of this size.
    pub fn offer(&mut self, message: &Arc<Message>, size: usize) -> Offered {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let room = waiting == 0 || waiting + size <= WAITING_BYTES;
        if self.lost > 0 && room && self.word(Heard::Gap(slow(self.lost))) == Offered::Taken {
            self.lost = 0;
        }
        if self.lost > 0 || !room {
            return self.drop_one();
        }
        match self.sender.try_send(Letter::Message(Arc::clone(message), size)) {
            Ok(()) => {
                self.waiting.fetch_add(size, Ordering::Relaxed);
                Offered::Taken
            }
            Err(TrySendError::Full(_)) => self.drop_one(),
            Err(TrySendError::Closed(_)) => Offered::Gone,
        }
    }

    /// Says something else than a message; a reader that has no room for it is too slow for everything.
    pub fn word(&self, heard: Heard) -> Offered {
        match self.sender.try_send(Letter::Word(heard)) {
            Ok(()) => Offered::Taken,
            Err(TrySendError::Full(_)) => Offered::Dropped,
            Err(TrySendError::Closed(_)) => Offered::Gone,
        }
    }

    /// Whether the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    fn drop_one(&mut self) -> Offered {
        if self.sender.is_closed() {
            return Offered::Gone;
        }
        self.lost += 1;
        Offered::Dropped
    }
}

impl Outlet {
    /// The next thing to be told; `None` when nothing more comes.
    pub async fn next(&mut self) -> Option<Heard> {
        Some(match self.receiver.recv().await? {
            Letter::Word(heard) => heard,
            Letter::Message(message, size) => {
                self.waiting.fetch_sub(size, Ordering::Relaxed);
                Heard::Message(Arc::unwrap_or_clone(message))
            }
        })
    }
}

fn slow(lost: u64) -> Gap {
    Gap {
        reason: GapReason::SlowReader,
        lost: Some(lost),
        text: format!("{lost} messages were dropped: this reader was slower than they came"),
    }
}

/// Both paths are for operators and the users of `[messages]`.
pub(super) fn permitted(shared: &Shared, peer: Peer, path: &str) -> Result<(), Problem> {
    if is_operator(&shared.backend.operators, peer.uid) || is_operator(&shared.backend.users, peer.uid) {
        return Ok(());
    }
    tracing::warn!(uid = peer.uid, pid = peer.pid, path, "messages of a stranger refused");
    Err(Problem::forbidden(
        format!("user id {} may not use this device's messages", peer.uid),
        "add this user to messages.users (or control.operators) in the configuration, and reload",
    ))
}

pub(super) async fn publish(shared: &Shared, by: Peer, body: Incoming) -> Result<Response<Content>, Problem> {
    let request: PublishRequest = routes::read(&shared.limits, body).await?;
    let seconds = request.timeout_seconds.unwrap_or(PATIENCE);
    if !(1..=LONGEST_PATIENCE).contains(&seconds) {
        let detail = format!("timeoutSeconds is {seconds}: it is 1 to {LONGEST_PATIENCE}");
        return Err(Problem::bad_request(detail, "give another, or none"));
    }
    let patience = Duration::from_secs(seconds);
    let topic = request.topic.clone();
    let payload = request
        .into_bytes()
        .map_err(|error| Problem::bad_request(error.to_string(), "give payload as text or payloadBase64"))?;
    let (reply, answer) = oneshot::channel();
    let publish = Publish { topic, payload: Bytes::from(payload), patience, by, reply };
    hand_on(shared, Application::Publish(publish))?;
    // The engine's own deadline comes first, and says more.
    match timeout(patience + shared.limits.reply_time, answer).await {
        Ok(Ok(answer)) => answer.map(|published| routes::json(&published)),
        Ok(Err(_)) => Err(routes::gone()),
        Err(_) => Err(Problem::busy("the daemon did not answer", "try again in a moment")),
    }
}

pub(super) async fn subscribe(
    shared: Shared,
    by: Peer,
    query: Option<&str>,
) -> Result<Response<Content>, Problem> {
    let filter = filter_of(query.unwrap_or_default())?;
    let place = shared.places.subscriber(by.uid, &shared.limits).ok_or_else(|| {
        let most = shared.limits.subscribers_per_uid;
        Problem::new(
            429,
            "too-many",
            "Too many at once",
            format!("user id {} subscribes {most} times already", by.uid),
            "end one of its streams; one filter may stand for several",
        )
    })?;
    let (inbox, outlet) = inbox();
    let (reply, answer) = oneshot::channel();
    hand_on(&shared, Application::Subscribe(Subscribe { filter, by, reply, inbox }))?;
    match timeout(shared.limits.reply_time, answer).await {
        Ok(Ok(taken)) => taken?,
        Ok(Err(_)) => return Err(routes::gone()),
        Err(_) => return Err(Problem::busy("the daemon did not answer", "try again in a moment")),
    }
    let (frames, stream) = mpsc::channel(1);
    tokio::spawn(pump(shared, outlet, frames, place));
    Ok(Content::stream("text/event-stream", stream))
}

fn hand_on(shared: &Shared, what: Application) -> Result<(), Problem> {
    shared.backend.messages.try_send(what).map_err(|refused| match refused {
        TrySendError::Full(_) => Problem::busy("too many messages are waiting", "try again in a moment"),
        TrySendError::Closed(_) => routes::gone(),
    })
}

/// Writes a subscriber's stream until its reader goes, the engine has said the last word, or the server closes.
async fn pump(mut shared: Shared, mut outlet: Outlet, frames: mpsc::Sender<String>, _place: Place) {
    loop {
        let next = tokio::select! {
            next = timeout(shared.limits.keep_alive, outlet.next()) => next,
            () = frames.closed() => break,
            _ = shared.closed.wait_for(|closed| *closed) => Ok(Some(Heard::Ended(routes::gone()))),
        };
        let last = matches!(next, Ok(None | Some(Heard::Ended(_))));
        let frame = match next {
            Ok(Some(heard)) => sse::heard(&heard),
            Ok(None) => break,
            Err(_) => sse::comment("alive"),
        };
        if !routes::give(&frames, frame, shared.limits.write_time).await || last {
            break;
        }
    }
    drop(outlet);
    // Where the channel is full, the engine sees it with what is in there.
    let _ = shared.backend.messages.try_send(Application::Left);
}

/// The one filter of a query. A `+` is a wildcard of MQTT and never a space.
fn filter_of(query: &str) -> Result<String, Problem> {
    let wanted = || {
        Problem::bad_request(
            "the query is not one filter",
            "GET /v1/subscribe?filter=device%2FSN-1%2F%23 (# is written %23)",
        )
    };
    let mut found = None;
    for (name, value) in
        query.split('&').filter(|part| !part.is_empty()).map(|p| p.split_once('=').unwrap_or((p, "")))
    {
        if name != "filter" || found.replace(value).is_some() {
            return Err(wanted());
        }
    }
    found.and_then(decoded).filter(|filter| !filter.is_empty()).ok_or_else(wanted)
}

/// Undoes percent-encoding (RFC 3986, section 2.1).
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let byte = match (first, after) {
            (b'%', [high, low, after @ ..]) => {
                rest = after;
                let digit = |b: &u8| char::from(*b).to_digit(16);
                u8::try_from(digit(high)? * 16 + digit(low)?).ok()?
            }
            (b'%', _) => return None,
            (byte, after) => {
                rest = after;
                *byte
            }
        };
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

/// Messages that may wait for a reader …
const WAITING: usize = 64;
/// … and bytes of them; one message may always wait.
const WAITING_BYTES: usize = 256 * 1024;
/// Seconds that an acknowledgement is waited for.
const PATIENCE: u64 = 30;
/// The same at most.
const LONGEST_PATIENCE: u64 = 120;

#[cfg(test)]
mod tests {
    use super::*;

    fn message(n: u64) -> Arc<Message> {
        Arc::new(Message { topic: n.to_string(), ..Message::default() })
    }

    #[tokio::test]
    async fn a_reader_that_does_not_keep_up_is_told_how_many_it_missed_and_where() {
        let (mut inbox, mut outlet) = inbox();
        let offered: Vec<_> = (0..100).map(|n| inbox.offer(&message(n), 10)).collect();
        assert_eq!(offered.iter().filter(|o| **o == Offered::Dropped).count(), 100 - WAITING);
        for n in 0..WAITING {
            assert!(matches!(outlet.next().await, Some(Heard::Message(m)) if m.topic == n.to_string()));
        }
        assert_eq!(inbox.offer(&message(100), 10), Offered::Taken);
        let Some(Heard::Gap(gap)) = outlet.next().await else { panic!("no gap") };
        assert_eq!((gap.reason, gap.lost), (GapReason::SlowReader, Some(36)));
        assert!(matches!(outlet.next().await, Some(Heard::Message(m)) if m.topic == "100"));
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_bytes_too_and_one_message_may_always_wait() {
        let (mut inbox, mut outlet) = inbox();
        assert_eq!(inbox.offer(&message(0), WAITING_BYTES * 2), Offered::Taken);
        assert_eq!(inbox.offer(&message(1), 1), Offered::Dropped);
        assert!(outlet.next().await.is_some());
        assert_eq!(inbox.offer(&message(2), WAITING_BYTES / 2), Offered::Taken);
        assert_eq!(inbox.offer(&message(3), WAITING_BYTES / 2), Offered::Taken);
        assert_eq!(inbox.offer(&message(4), 1), Offered::Dropped);
        drop(outlet);
        assert_eq!(inbox.offer(&message(5), 1), Offered::Gone);
    }

    #[test]
    fn a_query_is_one_filter_and_a_plus_in_it_is_a_plus() {
        for (query, filter) in [
            ("filter=device%2FSN-1%2F%23", "device/SN-1/#"),
            ("filter=device/+/x", "device/+/x"),
            ("filter=device/%2b/x", "device/+/x"),
            ("filter=%C3%A9", "\u{e9}"),
        ] {
            assert_eq!(filter_of(query).expect("one"), filter);
        }
        for bad in [
            "",
            "filter",
            "filter=",
            "filter=a&filter=b",
            "filter=a&x=b",
            "x=a",
            "filter=%2",
            "filter=%zz",
            "filter=%ff",
            "filter=%+1",
        ] {
            assert_eq!(filter_of(bad).expect_err(bad).status, 400);
        }
    }
}
