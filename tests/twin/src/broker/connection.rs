//! One connection from TLS to its end: the only place that sends to its socket.
//!
//! ```text
//! TLS ─▶ certificate ─▶ CONNECT ─▶ pace, faults, policy ─▶ attach (take-over) ─▶ CONNACK ─▶ turn … ─▶ detach, will
//! ```
//! A refused CONNECT evicts nobody: attaching comes last. Receive is judged here, at each delivery.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::message::Message;
use super::sessions::{Arrival, Close, Out};
use super::topic;
use super::wire::{Connect, Filter, Incoming, Step, Wire};
use crate::access::{self, Action};
use crate::ca::certificate_id;
use crate::cloud::{Cloud, lock, millis};
use crate::events::Event;
use crate::faults::Effect;
use crate::options::Refusal;
use crate::provision::{self, Asker};
use crate::retire;

/// Carries one connection to its end.
pub async fn run(cloud: Arc<Cloud>, socket: TcpStream, tls: TlsAcceptor) {
    let stream = match timeout(PATIENCE, tls.accept(socket)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tls_failed(&cloud, &error),
        Err(_) => return cloud.log(Event::TlsFailed { why: "no handshake in time".into() }),
    };
    let Some((principal, refused)) = greet(&cloud, &stream).await else { return };
    let mut peer = Peer {
        number: cloud.next_connection(),
        cloud,
        stream,
        wire: Wire::new(),
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
const PATIENCE: Duration = Duration::from_secs(20);
/// AWS IoT quota: payload of a publish, in bytes.
const MAX_PAYLOAD: usize = 128 * 1024;
/// AWS IoT quota: longest keep-alive, in milliseconds, also for a client that asks for none.
const MAX_KEEP_ALIVE: u64 = 1_200_000 * 3 / 2;

/// Why a connection ends; `None` from a step means that it goes on.
type End = Option<String>;

struct Peer {
    cloud: Arc<Cloud>,
    stream: TlsStream<TcpStream>,
    wire: Wire,
    number: u64,
    principal: String,
    client: String,
    keep_alive: Duration,
    heard: Instant,
    will: Option<Message>,
}

impl Peer {
    /// Reads CONNECT and answers it; what came behind it in the same read is handed on.
    async fn enter(&mut self, refused: Option<String>) -> Option<(UnboundedReceiver<Out>, Vec<Incoming>)> {
        let mut step = timeout(PATIENCE, self.read()).await.ok()??;
        while step.incoming.is_empty() && step.close.is_none() {
            step = timeout(PATIENCE, self.read()).await.ok()??;
        }
        self.take(&step);
        let mut incoming = step.incoming.into_iter();
        let Some(Incoming::Connect(connect)) = incoming.next() else {
            let _best_effort = self.stream.write_all(&step.bytes).await;
            return None;
        };
        self.client = connect.client.clone();
        if let Some((why, refusal, code)) = self.refuses(&connect, refused).await {
            self.connected(&connect, false, Some(why));
            if refusal == Refusal::Connack {
                let answer = self.wire.connack(false, false, code);
                let _best_effort = self.stream.write_all(&answer.bytes).await;
            }
            let _best_effort = self.stream.shutdown().await;
            return None;
        }
        let (tx, rx) = unbounded_channel();
        let arrival = Arrival {
            number: self.number,
            client: self.client.clone(),
            principal: self.principal.clone(),
            tx,
            clean: connect.clean,
            life_ms: self.session_life(&connect),
            window: connect.window,
        };
        let now_ms = self.cloud.clock.now_ms();
        let present = self.cloud.sessions(|s| s.attach(arrival, now_ms));
        self.connected(&connect, present, None);
        self.will = connect.will;
        let answer = self.wire.connack(true, present, 0);
        // A certificate may have left ACTIVE between the look at it and the attaching.
        let late = self.cloud.refuses_certificate(&self.principal).map(str::to_owned);
        let end = match late {
            Some(why) => Some(why),
            None => self.send(answer).await,
        };
        if let Some(why) = end {
            self.leave(why).await;
            return None;
        }
        Some((rx, incoming.collect()))
    }

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
    async fn leave(&mut self, why: String) {
        let now_ms = self.cloud.clock.now_ms();
        self.cloud.sessions(|s| s.detach(&self.client, self.number, now_ms));
        if let Some(will) = self.will.take() {
            self.cloud.sessions(|s| s.route(&self.client, will));
        }
        self.cloud.log(Event::Closed { client: self.client.clone(), principal: self.principal.clone(), why });
        let _best_effort = timeout(Duration::from_secs(1), self.stream.shutdown()).await;
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
        let operation = provision::operation(&message.topic);
        let mut places = vec![message.topic.as_str()];
        places.extend(operation.as_ref().map(provision::Operation::name));
        places.extend(retire::thing_of(&message.topic).map(|_| "commit"));
        match self.fault(&places, |e| matches!(e, Effect::Delay { .. }) && operation.is_none()) {
            Some(Effect::Delay { ms }) => sleep(Duration::from_millis(ms)).await,
            _ => {}
        }
        let topics = &places[..1];
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
            self.pass_on(operation, message);
        }
        closed_after.then(|| "fault: closed after".to_owned())
    }

    /// The effect of a publish that was allowed.
    fn pass_on(&self, operation: Option<provision::Operation>, message: Message) {
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
        if let Some(thing) = retire::thing_of(&message.topic) {
            // The rule stamps the message when it reaches the broker, not when it is handled (rule 11).
            let stamp_ms = self.cloud.clock.now_ms();
            let commit = retire::Commit {
                thing: thing.to_owned(),
                client: self.client.clone(),
                principal: self.principal.clone(),
                payload: message.payload.clone(),
                stamp_ms,
            };
            tokio::spawn(retire::handle(self.cloud.clone(), commit));
        }
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

    /// Why a CONNECT is refused, how, and with which return code.
    async fn refuses(&mut self, connect: &Connect, refused: Option<String>) -> Option<(String, Refusal, u8)> {
        if let Some(why) = refused {
            return Some((why, self.cloud.options.certificate_refusal, 5));
        }
        if self.paced() {
            return Some(("more than one CONNECT in the pace".into(), Refusal::Close, 5));
        }
        match self.fault(&["connect"], |_| true) {
            Some(Effect::Refuse { status_code, .. }) => {
                return Some(("fault".into(), Refusal::Connack, u8::try_from(status_code).unwrap_or(5)));
            }
            Some(Effect::Throttle) => return Some(("fault: throttled".into(), Refusal::Connack, 3)),
            Some(Effect::Delay { ms } | Effect::DelayAnswer { ms }) => sleep(Duration::from_millis(ms)).await,
            Some(Effect::Ignore) => {
                // Neither CONNACK nor a close: the client's patience ends it.
                self.connected(connect, false, Some("fault: no answer".into()));
                let mut rest = Vec::new();
                let _until_closed = timeout(PATIENCE * 6, self.stream.read_to_end(&mut rest)).await;
                return Some(("fault: no answer".into(), Refusal::Close, 5));
            }
            Some(_) => return Some(("fault".into(), Refusal::Close, 5)),
            None => {}
        }
        let refusal = self.cloud.options.connect_refusal;
        // AWS IoT quota: client id of at most 128 bytes.
        if connect.client.is_empty() || connect.client.len() > 128 {
            return Some(("client id".into(), refusal, 2));
        }
        if !self.may(Action::Connect, &connect.client) {
            return Some(("not authorised".into(), refusal, 5));
        }
        if let Some(will) = &connect.will
            && !(topic::is_publishable(&will.topic) && self.may(Action::Publish, &will.topic))
        {
            return Some(("not authorised to publish the will".into(), refusal, 5));
        }
        None
    }

    fn paced(&self) -> bool {
        let pace = self.cloud.options.connect_pace;
        if pace.is_zero() {
            return false;
        }
        let mut last = lock(&self.cloud.paces);
        let now = Instant::now();
        let early = last.get(&self.client).is_some_and(|t| now.duration_since(*t) < pace);
        if !early {
            last.insert(self.client.clone(), now);
        }
        early
    }

    fn session_life(&self, connect: &Connect) -> Option<i64> {
        let most = millis(self.cloud.options.session_life);
        match connect.expiry {
            None if connect.clean => None,
            None => Some(most),
            Some(0) => None,
            // AWS IoT quota: a session of MQTT 5 expires after 7 days at the latest.
            Some(secs) => Some(i64::from(secs).min(7 * 86_400) * 1000),
        }
    }

    /// Reads once; `None` at the end of the stream.
    async fn read(&mut self) -> Option<Step> {
        let mut buffer = [0; 16 * 1024];
        match self.stream.read(&mut buffer).await {
            Ok(0) | Err(_) => None,
            Ok(n) => {
                self.heard = Instant::now();
                Some(self.wire.receive(&buffer[..n]))
            }
        }
    }

    fn take(&mut self, step: &Step) {
        if let Some(ms) = step.timer_ms {
            self.keep_alive = Duration::from_millis(ms.min(MAX_KEEP_ALIVE));
        }
    }

    async fn send(&mut self, step: Step) -> End {
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

    fn may(&self, action: Action, resource: &str) -> bool {
        access::allows(&self.cloud, &self.principal, &self.client, action, resource)
    }

    fn fault(&self, places: &[&str], accepts: impl Fn(&Effect) -> bool + Copy) -> Option<Effect> {
        places.iter().find_map(|place| self.cloud.fault(place, &self.client, &self.principal, accepts))
    }

    fn connected(&self, connect: &Connect, session_present: bool, refused: Option<String>) {
        self.cloud.log(Event::Connect {
            client: connect.client.clone(),
            principal: self.principal.clone(),
            session_present,
            protocol: connect.protocol,
            refused,
        });
    }
}

/// Looks at who came; `None` where the connection is closed at once, else the principal and a refusal to be told in
/// CONNACK.
async fn greet(cloud: &Cloud, stream: &TlsStream<TcpStream>) -> Option<(String, Option<String>)> {
    let (_, tls) = stream.get_ref();
    let principal = certificate_id(tls.peer_certificates()?.first()?);
    let fault = cloud.fault("tls", "", &principal, |_| true);
    if let Some(Effect::Delay { ms } | Effect::DelayAnswer { ms }) = &fault {
        sleep(Duration::from_millis(*ms)).await;
    }
    let by_fault =
        matches!(fault, Some(Effect::Refuse { .. } | Effect::CloseBefore)).then(|| "fault".to_owned());
    let by_registry = cloud.refuses_certificate(&principal).map(str::to_owned);
    let later = cloud.options.certificate_refusal == Refusal::Connack && by_fault.is_none();
    let refused = by_fault.or(by_registry);
    cloud.log(Event::Tls {
        principal: principal.clone(),
        version: match tls.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "1.2".into(),
            _ => "1.3".into(),
        },
        sni: tls.server_name().map(str::to_owned),
        alpn: tls.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned()),
        resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        refused: refused.clone(),
    });
    match refused {
        Some(_) if !later => None,
        other => Some((principal, other)),
    }
}

fn tls_failed(cloud: &Cloud, error: &std::io::Error) {
    let by_verifier = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>())
        .is_some_and(|e| matches!(e, rustls::Error::InvalidCertificate(_)));
    // The verifier has logged it, with the certificate's id.
    if !by_verifier {
        cloud.log(Event::TlsFailed { why: error.to_string() });
    }
}
