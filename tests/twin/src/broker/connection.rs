//! One connection from TLS to its end: the only place that sends to its socket.
//!
//! ```text
//! TLS ─▶ certificate ─▶ CONNECT ─▶ pace, faults, policy ─▶ attach (take-over) ─▶ CONNACK ─▶ turn … ─▶ detach, will
//! ```
//! `entry.rs` is the way in up to CONNACK. Receive is judged here, at each delivery.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;

use super::entry;
use super::message::Message;
use super::packets::{Filter, Incoming};
use super::sessions::{Close, Out};
use super::topic;
use super::wire::{Step, Wire};
use crate::access::{self, Action};
use crate::cloud::Cloud;
use crate::events::Event;
use crate::faults::Effect;
use crate::provision::{self, Asker};
use crate::retire;

/// Carries one connection to its end.
pub async fn run(cloud: Arc<Cloud>, socket: TcpStream, tls: TlsAcceptor) {
    let stream = match timeout(PATIENCE, tls.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return entry::tls_failed(&cloud, &error),
        Err(_) => return cloud.log(Event::TlsFailed { why: "no handshake in time".into() }),
    };
    let Some((principal, refused)) = entry::greet(&cloud, &stream).await else { return };
    run_over(cloud, Box::new(stream), principal, refused).await;
}

/// The same over a stream whose other end has shown this principal's certificate.
#[doc(hidden)]
pub async fn run_over(
    cloud: Arc<Cloud>,
    stream: Box<dyn Stream>,
    principal: String,
    refused: Option<String>,
) {
    let mut peer = Peer {
        number: cloud.next_connection(),
        cloud,
        stream,
        wire: Wire::default(),
        principal,
        client: String::new(),
        keep_alive: Duration::from_millis(MAX_KEEP_ALIVE),
        heard: Instant::now(),
        will: None,
    };
    let Some((mut rx, backlog)) = peer.enter(refused).await else { return };
    let why = peer.turn(&mut rx, backlog).await;
    peer.leave(why).await;
}

/// How long a handshake and the first packet may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// AWS IoT quota: payload of a publish, in bytes.
const MAX_PAYLOAD: usize = 128 * 1024;
/// AWS IoT quota: longest keep-alive, in milliseconds, also for a client that asks for none.
const MAX_KEEP_ALIVE: u64 = 1_200_000 * 3 / 2;

/// Why a connection ends; `None` from a step means that it goes on.
pub(super) type End = Option<String>;

/// What a connection is carried by.
#[doc(hidden)]
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub(super) struct Peer {
    pub(super) cloud: Arc<Cloud>,
    pub(super) stream: Box<dyn Stream>,
    pub(super) wire: Wire,
    pub(super) number: u64,
    pub(super) principal: String,
    pub(super) client: String,
    keep_alive: Duration,
    heard: Instant,
    pub(super) will: Option<Message>,
}

impl Peer {
    /// Reads, writes and waits until something ends the connection; answers what.
    async fn turn(&mut self, rx: &mut UnboundedReceiver<Out>, backlog: Vec<Incoming>) -> String {
        for packet in backlog {
            if let Some(why) = self.handle(packet).await {
                return why;
            }
        }
        loop {
            // What is sent to the client does not prolong its time.
            let until = self.heard + self.keep_alive;
            let end = tokio::select! {
                step = timeout_at(until.into(), self.read()) => match step {
                    Err(_) => self.part(DisconnectReasonCode::KeepAliveTimeout, "keep-alive").await,
                    Ok(None) => Some("closed by the client".to_owned()),
                    Ok(Some(step)) => self.work(step).await,
                },
                out = rx.recv() => match out {
                    Some(out) => self.deliver(out).await,
                    None => Some("session is gone".to_owned()),
                },
            };
            if let Some(why) = end {
                return why;
            }
        }
    }

    /// Detaches, publishes the will unless it was withdrawn, closes.
    pub(super) async fn leave(&mut self, why: String) {
        let now_ms = self.cloud.clock.now_ms();
        self.cloud.sessions(|s| s.detach(&self.client, self.number, now_ms));
        if let Some(will) = self.will.take() {
            // A rule sees a will like any other message; fleet provisioning has nobody left to answer.
            self.pass_on(None, will, self.cloud.clock.now_ms());
        }
        self.cloud.log(Event::Closed { client: self.client.clone(), principal: self.principal.clone(), why });
        self.close().await;
    }

    /// Closes so that what was said last is read: a reset, which unread bytes would bring, could overtake it.
    pub(super) async fn close(&mut self) {
        let _best_effort = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
        let mut rest = [0; 1024];
        let drained = async { while self.stream.read(&mut rest).await.is_ok_and(|n| n > 0) {} };
        let _best_effort = timeout(Duration::from_millis(500), drained).await;
    }

    async fn work(&mut self, step: Step) -> End {
        self.take(&step);
        if !step.bytes.is_empty() && self.write(&step.bytes).await.is_err() {
            return Some("closed by the client".into());
        }
        for packet in step.incoming {
            if let Some(why) = self.handle(packet).await {
                return Some(why);
            }
        }
        step.close
    }

    async fn handle(&mut self, packet: Incoming) -> End {
        match packet {
            Incoming::Publish { pid, dup, message } => self.published(pid, dup, message).await,
            Incoming::Puback(pid) => {
                self.cloud.sessions(|s| s.acknowledged(&self.client, self.number, pid));
                None
            }
            Incoming::Subscribe { pid, filters } => self.subscribed(pid, &filters).await,
            Incoming::Unsubscribe { pid, filters } => {
                let client = &self.client;
                let existed: Vec<bool> =
                    self.cloud.sessions(|s| filters.iter().map(|f| s.unsubscribe(client, f)).collect());
                let answer = self.wire.unsuback(pid, &existed);
                self.send(answer).await
            }
            Incoming::Ping => {
                let answer = self.wire.pong();
                self.send(answer).await
            }
            Incoming::Disconnect(with_will) => {
                if !with_will {
                    self.will = None;
                }
                Some("DISCONNECT".into())
            }
            Incoming::Connect(_) => Some("a second CONNECT".into()),
            Incoming::Unsupported(what) => {
                let why = format!("{what} is not supported");
                self.part(DisconnectReasonCode::ImplementationSpecificError, &why).await
            }
        }
    }

    async fn published(&mut self, pid: Option<u16>, dup: bool, message: Message) -> End {
        if message.payload.len() > MAX_PAYLOAD {
            return self.part(DisconnectReasonCode::PacketTooLarge, "payload over 128 KB").await;
        }
        if !topic::is_publishable(&message.topic) {
            return self.denied("topic", &message.topic).await;
        }
        if !self.may(Action::Publish, &message.topic) {
            return self.denied("iot:Publish", &message.topic).await;
        }
        if message.retain && !self.may(Action::RetainPublish, &message.topic) {
            return self.denied("iot:RetainPublish", &message.topic).await;
        }
        self.cloud.log(Event::Publish {
            client: self.client.clone(),
            principal: self.principal.clone(),
            topic: message.topic.clone(),
            qos: message.qos,
            retain: message.retain,
            dup,
            size: message.payload.len(),
        });
        // The rules stamp the message when it reaches the broker, before anybody hears of it (rule 11).
        let stamp_ms = self.cloud.clock.now_ms();
        let operation = provision::operation(&message.topic);
        let mut places = vec![message.topic.as_str()];
        places.extend(operation.as_ref().map(provision::Operation::name));
        places.extend(retire::thing_of(&message.topic).map(|_| "commit"));
        let topics = &places[..1];
        if let Some(Effect::Delay { ms }) = self.fault(topics, |e| matches!(e, Effect::Delay { .. })) {
            sleep(Duration::from_millis(ms)).await;
        }
        if self.fault(topics, |e| *e == Effect::CloseBefore).is_some() {
            return Some("fault: closed before".into());
        }
        let ignored = self.fault(topics, |e| *e == Effect::Ignore).is_some();
        let closed_after = self.fault(topics, |e| *e == Effect::CloseAfter).is_some();
        let lost = self.fault(&places, |e| *e == Effect::LosePuback).is_some();
        if let (Some(pid), false) = (pid, lost) {
            let answer = self.wire.puback(pid);
            if let Some(why) = self.send(answer).await {
                return Some(why);
            }
        }
        if !ignored {
            self.pass_on(operation, message, stamp_ms);
        }
        closed_after.then(|| "fault: closed after".to_owned())
    }

    /// The effect of a publish that was allowed.
    fn pass_on(&self, operation: Option<provision::Operation>, message: Message, stamp_ms: i64) {
        if let Some(operation) = operation {
            let asker = Asker {
                connection: self.number,
                client: self.client.clone(),
                principal: self.principal.clone(),
            };
            tokio::spawn(provision::handle(self.cloud.clone(), asker, operation, message));
            return;
        }
        if message.topic.starts_with("$aws/") {
            return;
        }
        retire::apply_rules(&self.cloud, &self.client, &self.principal, &message, stamp_ms);
        self.cloud.sessions(|s| s.route(&self.client, message));
    }

    async fn subscribed(&mut self, pid: u16, filters: &[Filter]) -> End {
        // AWS IoT quota: filters in a SUBSCRIBE.
        if filters.len() > 8 {
            return self.part(DisconnectReasonCode::QuotaExceeded, "more than 8 filters").await;
        }
        for filter in filters {
            let fault = self.fault(&["subscribe"], |_| true);
            let refused = match fault {
                Some(Effect::CloseBefore | Effect::Refuse { .. }) => Some("fault"),
                Some(Effect::Ignore) => return None,
                Some(Effect::Delay { ms } | Effect::DelayAnswer { ms }) => {
                    sleep(Duration::from_millis(ms)).await;
                    None
                }
                _ => None,
            };
            let refused = refused.or_else(|| (!topic::is_subscribable(&filter.filter)).then_some("filter"));
            let refused = refused
                .or_else(|| (!self.may(Action::Subscribe, &filter.filter)).then_some("not authorised"));
            if let Some(why) = refused {
                self.log_subscribe(filter, Some(why));
                return self.denied("iot:Subscribe", &filter.filter).await;
            }
        }
        let client = self.client.clone();
        // The retained messages are in the channel before SUBACK is written, and sent after it.
        let granted: Vec<_> =
            self.cloud.sessions(|s| filters.iter().map(|f| s.subscribe(&client, f)).collect());
        // Logged once it holds: a test that has seen it may publish.
        for (filter, granted) in filters.iter().zip(&granted) {
            self.log_subscribe(filter, granted.is_none().then_some("quota"));
        }
        let answer = self.wire.suback(pid, &granted);
        self.send(answer).await
    }

    async fn deliver(&mut self, out: Out) -> End {
        match out {
            Out::Publish { pid, message, retain, dup } => {
                if !self.may(Action::Receive, &message.topic) {
                    self.log_denied("iot:Receive", &message.topic);
                    if let Some(pid) = pid {
                        self.cloud.sessions(|s| s.acknowledged(&self.client, self.number, pid));
                    }
                    return None;
                }
                let packet = self.wire.publish(pid, &message, retain, dup);
                self.send(packet).await
            }
            Out::Close(Close::TakenOver) => {
                self.part(DisconnectReasonCode::SessionTakenOver, "DUPLICATE_CLIENTID").await
            }
            Out::Close(Close::Certificate) => {
                self.part(DisconnectReasonCode::NotAuthorized, "certificate is not ACTIVE").await
            }
            Out::Close(Close::Order) => Some("closed by order".into()),
            Out::Close(Close::Stopping) => {
                self.part(DisconnectReasonCode::ServerShuttingDown, "the twin stops").await
            }
        }
    }

    /// Reads once; `None` at the end of the stream.
    pub(super) async fn read(&mut self) -> Option<Step> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.heard = Instant::now();
                Some(self.wire.receive(&buffer[..n]))
            }
        }
    }

    pub(super) fn take(&mut self, step: &Step) {
        if let Some(ms) = step.timer_ms {
            self.keep_alive = Duration::from_millis(ms.min(MAX_KEEP_ALIVE));
        }
    }

    pub(super) async fn send(&mut self, step: Step) -> End {
        self.take(&step);
        match timeout(PATIENCE, self.write(&step.bytes)).await {
            Ok(Ok(())) => step.close,
            Ok(Err(_)) => Some("closed by the client".into()),
            Err(_) => Some("the client does not read".into()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Says good-bye where the version can, and ends.
    async fn part(&mut self, reason: DisconnectReasonCode, why: &str) -> End {
        let packet = self.wire.disconnect(reason);
        let _best_effort = timeout(Duration::from_secs(1), self.write(&packet.bytes)).await;
        Some(why.to_owned())
    }

    /// A violation closes the connection, as on AWS.
    async fn denied(&mut self, action: &str, resource: &str) -> End {
        self.log_denied(action, resource);
        let why = format!("{action} denied on {resource}");
        self.part(DisconnectReasonCode::NotAuthorized, &why).await
    }

    fn log_subscribe(&self, filter: &Filter, refused: Option<&str>) {
        self.cloud.log(Event::Subscribe {
            client: self.client.clone(),
            principal: self.principal.clone(),
            filter: filter.filter.clone(),
            refused: refused.map(str::to_owned),
        });
    }

    fn log_denied(&self, action: &str, resource: &str) {
        self.cloud.log(Event::Denied {
            client: self.client.clone(),
            principal: self.principal.clone(),
            action: action.to_owned(),
            resource: resource.to_owned(),
        });
    }

    pub(super) fn may(&self, action: Action, resource: &str) -> bool {
        access::allows(&self.cloud, &self.principal, &self.client, action, resource)
    }

    pub(super) fn fault(&self, places: &[&str], accepts: impl Fn(&Effect) -> bool + Copy) -> Option<Effect> {
        places.iter().find_map(|place| self.cloud.fault(place, &self.client, &self.principal, accepts))
    }
}
