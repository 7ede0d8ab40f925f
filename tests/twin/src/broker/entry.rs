//! The way in: who showed which certificate, and whether its CONNECT is accepted.
//!
//! A refused CONNECT evicts nobody: attaching to the session comes last.

use std::time::{Duration, Instant};

use rustls::{HandshakeKind, ProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use super::connection::{PATIENCE, Peer};
use super::packets::{Connect, Incoming};
use super::sessions::{Arrival, Out};
use super::topic;
use crate::access::Action;
use crate::ca::certificate_id;
use crate::cloud::{Cloud, lock, millis};
use crate::events::Event;
use crate::faults::Effect;
use crate::options::Refusal;

impl Peer {
    /// Reads CONNECT and answers it; what came behind it in the same read is handed on.
    pub(super) async fn enter(
        &mut self,
        refused: Option<String>,
    ) -> Option<(UnboundedReceiver<Out>, Vec<Incoming>)> {
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
            self.close().await;
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
            && !(topic::is_publishable(&will.topic)
                && self.may(Action::Publish, &will.topic)
                // AWS, “Retained message policy examples”: a retained will needs it like any retained message.
                && (!will.retain || self.may(Action::RetainPublish, &will.topic)))
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
pub(super) async fn greet(cloud: &Cloud, stream: &TlsStream<TcpStream>) -> Option<(String, Option<String>)> {
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

pub(super) fn tls_failed(cloud: &Cloud, error: &std::io::Error) {
    let by_verifier = error
        .get_ref()
        .and_then(|e| e.downcast_ref::<rustls::Error>())
        .is_some_and(|e| matches!(e, rustls::Error::InvalidCertificate(_)));
    // The verifier has logged it, with the certificate's id.
    if !by_verifier {
        cloud.log(Event::TlsFailed { why: error.to_string() });
    }
}
