//! One MQTT connection, from CONNECT to its end; it never reconnects by itself.
//!
//! The library's event loop lives in a task of its own (a `poll` that is dropped while it connects loses the CONNACK)
//! and is dropped at its first error, with everything that was still queued in it: so no session can replay what
//! another queued (rule 10), and an old session cannot take the client id back from its successor (rule 8). The socket
//! is made by `dial`, handed over once, and there is no second one.
//!
//! ```text
//! hand_over ─▶ library ─▶ broker ─▶ PUBACK ─▶ event       request ─▶ library ─▶ broker
//!                                                            ▲───── accepted/rejected ┘
//! ```
//! What applications publish and subscribe to goes over it in `messages`; it keeps none of that.
//!
//! What the library keeps: a request's payload is wiped when the library drops its last reference, but a copy stays in
//! its write buffer and in TLS's until they are used again; of an incoming one the read buffer, likewise.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, NetworkOptions, Packet, PublishOptions, QoS};
use rumqttc::{SubAck, SubscribeFilter, SubscribeNoticeError, SubscribeReasonCode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use zeroize::Zeroizing;

use super::cause::{self, Cause, ConnectFailure, Step};
use super::dial::{DialFailure, Dialled, Listening, Target, dial};
use super::error::SubscribeError;
use super::pump::{SessionEvent, Shared, run};
use super::request::{Answer, RequestError};
use super::tls::ClientIdentity;
use super::topics::{self, Operation};

/// What a connection is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to.
    pub target: Target,
    /// As whom; one for each pair, never shared.
    pub identity: ClientIdentity,
    /// The MQTT client id: the thing's name, or `claim-<serial>-<random>`.
    pub client_id: String,
    /// Whether the broker forgets the session at the end.
    pub clean_session: bool,
    /// Keep-alive; AWS takes 30 to 1200 s and cuts at one and a half times.
    pub keep_alive: Duration,
    /// For the whole way from name resolution to CONNACK.
    pub connect_timeout: Duration,
}

/// What CONNACK says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connack {
    /// Whether the broker still had a session; where not, subscribe again.
    pub session_present: bool,
}

/// Connects once.
///
/// Events (messages, the end) go to `events` in order; its capacity is what a slow receiver may lag behind. A future
/// that is dropped takes the whole attempt with it.
pub async fn connect(
    options: &Options,
    events: mpsc::Sender<SessionEvent>,
) -> Result<(Session, Connack), ConnectFailure> {
    let until = Instant::now() + options.connect_timeout;
    let Dialled { stream, .. } = dial(&options.target, &options.identity, until).await.map_err(
        |DialFailure { cause, server_verified, .. }| failed(options, cause, false, server_verified),
    )?;
    connect_over(Listening(stream), options, until, events).await
}

/// The same over a stream that is there already; whoever gives it has verified the server.
#[doc(hidden)]
pub async fn connect_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
    options: &Options,
    until: Instant,
    events: mpsc::Sender<SessionEvent>,
) -> Result<(Session, Connack), ConnectFailure> {
    let failed = |cause, connect_sent| failed(options, cause, connect_sent, true);
    let (client, mut eventloop) = library(options, stream).map_err(|cause| failed(cause, false))?;
    // Dropping this poll drops the whole loop and its only socket: it can never be polled again.
    let connack = match timeout_at(until, eventloop.poll()).await {
        Ok(Ok(Event::Incoming(Packet::ConnAck(connack)))) => connack,
        Ok(Ok(_)) => return Err(failed(Cause::Protocol { detail: "no CONNACK".to_owned() }, true)),
        Ok(Err(error)) => return Err(failed(cause::of_library(&error, false), true)),
        Err(_) => return Err(failed(Cause::Timeout(Step::Connack), true)),
    };
    let shared = Arc::new(Shared::default());
    let answers = events.downgrade();
    let task = tokio::spawn(run(eventloop, Arc::clone(&shared), events));
    Ok((Session { client, shared, answers, task }, Connack { session_present: connack.session_present }))
}

fn failed(options: &Options, cause: Cause, connect_sent: bool, server_verified: bool) -> ConnectFailure {
    ConnectFailure {
        target: options.target.to_string(),
        client_id: options.client_id.clone(),
        cause,
        connect_sent,
        server_verified,
    }
}

/// An established connection. Dropped, it ends at once, without DISCONNECT and without an event.
pub struct Session {
    pub(super) client: AsyncClient,
    shared: Arc<Shared>,
    /// Where answers to applications' messages go, while the connection lasts.
    pub(super) answers: mpsc::WeakSender<SessionEvent>,
    task: JoinHandle<()>,
}

impl Session {
    /// Subscribes with QoS 1, eight filters a packet (AWS's limit); the packets go out together, so that however many
    /// they are they cost one round trip.
    pub async fn subscribe(&self, filters: &[String], deadline: Duration) -> Result<(), SubscribeError> {
        for filter in filters {
            topics::check_filter(filter)
                .map_err(|source| SubscribeError::Unfit { filter: filter.clone(), source })?;
        }
        let until = Instant::now() + deadline;
        let late = |packet: &[String]| SubscribeError::NoAnswer { filters: packet.to_vec() };
        let mut asked = Vec::new();
        for packet in filters.chunks(FILTERS_A_PACKET) {
            let wanted = packet.iter().map(|filter| SubscribeFilter::new(filter.clone(), QoS::AtLeastOnce));
            let queued = timeout_at(until, self.client.subscribe_many_tracked(wanted)).await;
            asked.push((packet, queued.map_err(|_| late(packet))?));
        }
        for (packet, queued) in asked {
            let answer = match queued {
                Ok(notice) => timeout_at(until, notice.wait_async()).await.map_err(|_| late(packet))?,
                Err(_) => Err(SubscribeNoticeError::Recv),
            };
            self.answered(packet, answer).await?;
        }
        Ok(())
    }

    async fn answered(
        &self,
        filters: &[String],
        answer: Result<SubAck, SubscribeNoticeError>,
    ) -> Result<(), SubscribeError> {
        let codes = match answer {
            Ok(suback) => suback.return_codes,
            Err(SubscribeNoticeError::V4SubAckFailure(codes)) => codes,
            Err(_) => {
                let cause = self.ended().await;
                return Err(SubscribeError::Closed { filters: filters.to_vec(), cause });
            }
        };
        let refused: Vec<String> = filters
            .iter()
            .zip(&codes)
            .filter(|(_, code)| **code == SubscribeReasonCode::Failure)
            .map(|(filter, _)| filter.clone())
            .collect();
        let granted = filters.iter().filter(|filter| !refused.contains(filter)).cloned();
        self.heard().extend(granted);
        if refused.is_empty() { Ok(()) } else { Err(SubscribeError::Refused { filters: refused }) }
    }

    /// How many filters the broker has granted on this connection.
    pub fn granted(&self) -> usize {
        self.heard().len()
    }

    fn heard(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole data.
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks and waits for the answer. The answer topics are subscribed to first, where they are not yet: only by whoever
    /// asks, so that a right to ask that is missing costs the question and not every session.
    pub async fn request(
        &self,
        operation: &Operation,
        payload: Zeroizing<Vec<u8>>,
        deadline: Duration,
    ) -> Result<Answer, RequestError> {
        let topic = || operation.request().to_owned();
        let unfit = |source| RequestError::Unfit { topic: topic(), source };
        topics::check_topic(operation.request())
            .and_then(|()| topics::check_payload(&payload))
            .map_err(unfit)?;
        if let Some(cause) = self.cause() {
            return Err(RequestError::Closed { topic: topic(), cause, sent: false });
        }
        let until = Instant::now() + deadline;
        let (mut ticket, answer) = self.shared.desk.open(operation)?;
        let mut answers = Vec::from(operation.answers());
        answers.retain(|filter| !self.heard().contains(filter));
        self.subscribe(&answers, deadline)
            .await
            .map_err(|source| RequestError::Deaf { topic: topic(), source })?;
        let payload = Bytes::from_owner(payload);
        let queued = self.client.publish(operation.request(), payload, PublishOptions::at_least_once());
        match timeout_at(until, queued).await {
            Ok(Ok(())) => ticket.sent = true,
            Ok(Err(_)) => {
                let cause = self.ended().await;
                return Err(RequestError::Closed { topic: topic(), cause, sent: false });
            }
            Err(_) => return Err(RequestError::NotSent { topic: topic() }),
        }
        tokio::select! {
            biased;
            Ok(answer) = answer => Ok(answer),
            cause = self.closed() => Err(RequestError::Closed { topic: topic(), cause, sent: true }),
            () = tokio::time::sleep_until(until) => Err(RequestError::NoAnswer { topic: topic() }),
        }
    }

    /// Sends DISCONNECT, after what is being sent has been acknowledged or half of `deadline` has passed, and waits
    /// for the end.
    pub async fn disconnect(&self, deadline: Duration) {
        self.shared.ending.store(true, Ordering::Release);
        // A full queue or a connection that has already ended: it ends below all the same.
        let _ = self.client.try_disconnect_with_timeout(deadline / 2);
        if timeout(deadline, self.closed()).await.is_err() {
            self.task.abort();
        }
    }

    /// Says whether the connection has not ended yet, as far as is known.
    pub fn is_alive(&self) -> bool {
        self.cause().is_none()
    }

    /// Why it has ended, where it has.
    pub fn cause(&self) -> Option<Cause> {
        self.shared.closed.borrow().clone()
    }

    /// Waits for the end.
    pub async fn closed(&self) -> Cause {
        let mut closed = self.shared.closed.subscribe();
        match closed.wait_for(Option::is_some).await {
            Ok(cause) => cause.clone().unwrap_or(Cause::Ended),
            Err(_) => Cause::Ended,
        }
    }

    /// The cause, after the library has shown that the connection has ended.
    async fn ended(&self) -> Cause {
        timeout(Duration::from_secs(1), self.closed()).await.unwrap_or(Cause::Closed)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session {{ alive: {} }}", self.is_alive())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The library's client over a socket that already speaks TLS.
fn library(
    options: &Options,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static,
) -> Result<(AsyncClient, EventLoop), Cause> {
    let unfit = |detail: &str| Cause::Protocol { detail: detail.to_owned() };
    let mut mqtt =
        MqttOptions::new(options.client_id.clone(), (options.target.host.clone(), options.target.port));
    mqtt.set_keep_alive(u16::try_from(options.keep_alive.as_secs()).unwrap_or(u16::MAX));
    mqtt.try_set_clean_session(options.clean_session).map_err(|_| unfit("the client id is empty"))?;
    mqtt.set_max_packet_size(MAX_PACKET, MAX_PACKET);
    mqtt.set_request_channel_capacity(QUEUE);
    let socket = Arc::new(Mutex::new(Some(stream)));
    mqtt.set_socket_connector(move |_, _| {
        let socket = socket.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move { socket.ok_or_else(|| io::Error::other("this session has had its one connection")) }
    });
    let (client, mut eventloop) =
        AsyncClient::builder(mqtt).try_build().map_err(|_| unfit("the MQTT library refused the options"))?;
    let mut network = NetworkOptions::new();
    // Whole seconds; our own deadline comes first. Later it bounds each write.
    network.set_connection_timeout(options.connect_timeout.as_secs().saturating_add(1));
    eventloop.network_options = network;
    Ok((client, eventloop))
}

/// Largest packet either way: AWS's 128 KB payload and its headers.
const MAX_PACKET: usize = 160 * 1024;

/// Requests that wait for the event loop.
const QUEUE: usize = 64;

/// Filters a SUBSCRIBE (AWS IoT Core message broker quotas).
pub const FILTERS_A_PACKET: usize = 8;
