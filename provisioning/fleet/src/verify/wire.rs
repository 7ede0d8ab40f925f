//! How `verify` connects and asks: with the daemon's own TLS, MQTT and payloads, one connection at a time.
//!
//! AWS takes one CONNECT a second of a client id and lets a throttled one look like a refused one; so each client id is
//! paced here, and what is no clear refusal is tried again before anything is said about it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use certrot_rules::documents::SERIAL_PARAMETER;
use certrotd::cloud::payload::{
    self, CommitAnswer, PayloadError, Registered, Rejected, Secret, parse_commit, parse_issued,
    parse_registered, parse_rejected,
};
use certrotd::cloud::{
    Cause, ClientIdentity, ConnectFailure, Operation, Options, ProofFailure, RequestError, Session,
    SessionEvent, SubscribeError, Target, TlsError, TopicError, connect,
};
use certrotd::x509;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::claim::now;
use crate::keys::{Key, KeyError};

/// An endpoint, its root, and when each client id was last used there.
pub struct Wire {
    target: Target,
    root: Vec<u8>,
    last: RefCell<BTreeMap<String, Instant>>,
}

/// A certificate with its key, ready to connect.
#[derive(Clone)]
pub struct Pair {
    /// Its id.
    pub id: String,
    identity: ClientIdentity,
}

/// A certificate as the cloud issued it, not registered yet.
pub struct Issued {
    /// The pair.
    pub pair: Pair,
    /// What RegisterThing wants to see.
    pub token: Secret,
}

/// A connection, and whether the broker still had a session of its client id.
pub struct Line {
    /// The connection.
    pub session: Session,
    /// `sessionPresent` of CONNACK.
    pub present: bool,
    events: Mutex<mpsc::Receiver<SessionEvent>>,
}

/// What became of something that must be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// It was refused; how.
    Refused(String),
    /// It was let through; how far.
    Through(String),
    /// The wire does not say.
    Unclear(String),
}

impl Wire {
    /// An endpoint of devices and its root certificates (PEM).
    pub fn new(host: &str, port: u16, root: Vec<u8>) -> Self {
        Wire { target: Target::new(host, port), root, last: RefCell::default() }
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.target.to_string()
    }

    /// Puts a certificate (PEM) and its key together.
    pub fn pair(&self, certificate: &str, key: &Key) -> Result<Pair, WireError> {
        let chain = x509::certificates(certificate.as_bytes()).map_err(WireError::Certificate)?;
        let leaf = x509::leaf(certificate.as_bytes()).map_err(WireError::Certificate)?;
        let key = x509::private_key(key.pem().as_bytes()).map_err(WireError::Certificate)?;
        let clock = Arc::new(|| u64::try_from(now().as_second()).unwrap_or_default());
        let identity = ClientIdentity::new(&self.root, chain, &key, clock)?;
        Ok(Pair { id: leaf.id_hex(), identity })
    }

    /// Connects once, no sooner than AWS takes it.
    pub async fn connect(&self, pair: &Pair, client: &str, clean: bool) -> Result<Line, ConnectFailure> {
        let due = self.last.borrow().get(client).map(|last| *last + PACE);
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let options = Options {
            target: self.target.clone(),
            identity: pair.identity.clone(),
            client_id: client.to_owned(),
            clean_session: clean,
            keep_alive: Duration::from_secs(60),
            connect_timeout: CONNECT,
        };
        let (told, events) = mpsc::channel(EVENTS);
        let connected = connect(&options, told).await;
        self.last.borrow_mut().insert(client.to_owned(), Instant::now());
        connected.map(|(session, connack)| Line {
            session,
            present: connack.session_present,
            events: Mutex::new(events),
        })
    }

    /// Connects, again and again until the broker has seen what the certificate may (rule 3).
    pub async fn until_accepted(
        &self,
        pair: &Pair,
        client: &str,
        clean: bool,
    ) -> Result<(Line, Duration), ConnectFailure> {
        let began = Instant::now();
        let mut wait = Duration::from_millis(500);
        let mut lost = 0;
        loop {
            match self.connect(pair, client, clean).await {
                Ok(line) => return Ok((line, began.elapsed())),
                Err(failure) if began.elapsed() + wait > SEEN => return Err(failure),
                // Not the certificate but the way there: that is not waited for as a policy is.
                Err(failure) if !failure.is_refusal() => {
                    lost += 1;
                    if lost == TRIES {
                        return Err(failure);
                    }
                }
                Err(_) => {}
            }
            sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(10));
        }
    }

    /// Connects, again and again until the broker refuses it; `Err` says how long it did not.
    pub async fn until_refused(
        &self,
        pair: &Pair,
        client: &str,
    ) -> Result<(ConnectFailure, Duration), Duration> {
        let began = Instant::now();
        let mut wait = Duration::from_millis(500);
        loop {
            match self.connect(pair, client, true).await {
                Err(failure) if failure.is_refusal() => return Ok((failure, began.elapsed())),
                _ if began.elapsed() + wait > DEAD => return Err(began.elapsed()),
                _ => sleep(wait).await,
            }
            wait = (wait * 2).min(Duration::from_secs(10));
        }
    }

    /// A CONNECT that must be refused.
    pub async fn connects(&self, pair: &Pair, client: &str) -> Tried {
        let mut seen = String::new();
        for _ in 0..TRIES {
            match self.connect(pair, client, true).await {
                Ok(_) => return Tried::Through("CONNECT was accepted".to_owned()),
                Err(failure) if failure.is_refusal() => return Tried::Refused(failure.cause.to_string()),
                Err(failure) => seen = failure.cause.to_string(),
            }
            sleep(PACE * 3).await;
        }
        Tried::Unclear(seen)
    }
}

impl Line {
    /// A SUBSCRIBE that must be refused.
    pub async fn subscribes(&self, filter: &str) -> Tried {
        match self.session.subscribe(&[filter.to_owned()], ANSWER).await {
            Ok(()) => Tried::Through("SUBACK granted it".to_owned()),
            Err(SubscribeError::Refused { .. }) => Tried::Refused("SUBACK says failure".to_owned()),
            Err(SubscribeError::Closed { cause, .. }) => Tried::Refused(cause.to_string()),
            Err(error) => Tried::Unclear(error.to_string()),
        }
    }

    /// A PUBLISH that must be refused; AWS says no by closing.
    pub async fn publishes(&self, topic: &str, payload: &[u8]) -> Tried {
        match self.publish(topic, payload).await {
            Ok(None) => Tried::Through("PUBACK came".to_owned()),
            Ok(Some(cause)) => Tried::Refused(cause.to_string()),
            Err(unclear) => Tried::Unclear(unclear),
        }
    }

    /// Publishes with QoS 1: nothing once PUBACK came, or why the connection ended before it.
    pub async fn publish(&self, topic: &str, payload: &[u8]) -> Result<Option<Cause>, String> {
        let letter = Bytes::copy_from_slice(payload);
        self.session.hand_over(LETTER, topic, letter).map_err(|error| error.to_string())?;
        let mut events = self.events.lock().await;
        let told = timeout(ANSWER, async {
            loop {
                match events.recv().await {
                    Some(SessionEvent::Acknowledged(_)) => break None,
                    Some(SessionEvent::Closed(cause)) => break Some(cause),
                    None => break Some(self.session.closed().await),
                    // Answers and messages are nothing to a publish.
                    Some(_) => {}
                }
            }
        });
        told.await.map_err(|_| "neither PUBACK nor the end of the connection came".to_owned())
    }

    /// Has a certificate issued for a new key: CreateCertificateFromCsr.
    pub async fn issue(&self, wire: &Wire) -> Result<Issued, WireError> {
        let key = Key::new()?;
        let csr = payload::create_from_csr(&key.csr("certrot verify")?)?;
        let answer = self.session.request(&Operation::create_from_csr(), csr, ANSWER).await?;
        if !answer.accepted {
            return Err(WireError::Rejected("CreateCertificateFromCsr", parse_rejected(&answer.body)));
        }
        let issued = parse_issued(&answer.body)?;
        Ok(Issued { pair: wire.pair(&issued.certificate_pem, &key)?, token: issued.token })
    }

    /// RegisterThing: the token's certificate for a serial; `Ok(Err(…))` is the cloud's no.
    pub async fn register(
        &self,
        template: &str,
        token: &Secret,
        serial: &str,
    ) -> Result<Result<Registered, Rejected>, WireError> {
        let parameters = BTreeMap::from([(SERIAL_PARAMETER.to_owned(), serial.to_owned())]);
        let body = payload::register(token, &parameters)?;
        let answer = self.session.request(&Operation::register(template)?, body, REGISTER).await?;
        Ok(if answer.accepted {
            Ok(parse_registered(&answer.body)?)
        } else {
            Err(parse_rejected(&answer.body))
        })
    }

    /// A commit on this connection that names a certificate; a repeat may be told from the first by nobody, so it is
    /// sent again while nothing answers (rule 14).
    pub async fn commit(&self, thing: &str, certificate: &str) -> Result<CommitAnswer, WireError> {
        let operation = Operation::commit(thing)?;
        for _ in 1..TRIES {
            match self.session.request(&operation, payload::commit(certificate)?, COMMIT).await {
                Ok(answer) => return Ok(parse_commit(answer.accepted, &answer.body)?),
                Err(RequestError::NoAnswer { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let answer = self.session.request(&operation, payload::commit(certificate)?, COMMIT).await?;
        Ok(parse_commit(answer.accepted, &answer.body)?)
    }
}

/// Something that an honest device does and that did not come about.
#[derive(Debug, Error)]
pub enum WireError {
    /// A certificate or key that cannot be read.
    #[error("the pair that was issued cannot be read")]
    Certificate(#[source] x509::Error),
    /// TLS cannot be set up with it.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A key of its own.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A connection.
    #[error(transparent)]
    Connect(#[from] ConnectFailure),
    /// A request.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A request that was answered with no.
    #[error("{0} was refused")]
    Rejected(&'static str, #[source] Rejected),
    /// An answer that is none.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// A name that gives no topic.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// A right that is missing.
    #[error(transparent)]
    Proof(#[from] ProofFailure),
    /// A subscription.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
    /// What the cloud did not do in time.
    #[error("{0}")]
    Late(String),
}

impl WireError {
    /// Who can clear it, and how.
    pub fn remedy(&self) -> &'static str {
        match self {
            WireError::Certificate(_) => {
                "what answers is not AWS as this program knows it: check the endpoint"
            }
            WireError::Tls(error) => error.remedy(),
            WireError::Key(_) => "run it again",
            WireError::Connect(failure) if failure.is_refusal() => {
                "`plan` shows what differs in the account; the policies decide who may connect"
            }
            WireError::Connect(_) => {
                "check the endpoint, --port, --root-ca and the way through firewalls; then run it again"
            }
            WireError::Request(error) => error.remedy(),
            WireError::Rejected(..) => {
                "`plan` shows what differs in the account; the hook's log says why it denies"
            }
            WireError::Payload(error) => error.remedy(),
            WireError::Topic(error) => error.remedy(),
            WireError::Proof(error) => error.remedy(),
            WireError::Subscribe(error) => error.remedy(),
            WireError::Late(_) => "run it again; if it stays so, the retire handler's log says why",
        }
    }
}

/// What may wait unread on a connection; only a publish reads.
const EVENTS: usize = 256;

/// The number of a publish: there is one at a time.
const LETTER: u64 = 1;

/// Between two CONNECTs of one client id: AWS takes one a second (AWS IoT Core message broker quotas).
const PACE: Duration = Duration::from_millis(1100);

/// From name resolution to CONNACK.
const CONNECT: Duration = Duration::from_secs(15);

/// For SUBACK, PUBACK and the answer to a CSR.
pub const ANSWER: Duration = Duration::from_secs(15);

/// For RegisterThing, whose hook alone may take five seconds.
const REGISTER: Duration = Duration::from_secs(30);

/// For a commit: the handler may start cold and is throttled by AWS's quotas.
const COMMIT: Duration = Duration::from_secs(60);

/// How long attachments and policies may take to be seen (rule 3).
const SEEN: Duration = Duration::from_secs(5 * 60);

/// How long a certificate that is not ACTIVE may still be let in: AWS says “within a few minutes”.
pub const DEAD: Duration = Duration::from_secs(10 * 60);

/// The ways in which AWS has been seen to refuse a CONNECT.
pub fn is_known(cause: &Cause) -> bool {
    matches!(cause, Cause::TlsAlert { .. } | Cause::ConnackRefused(5 | 7) | Cause::ClosedBeforeConnack)
}

/// How often what is not clear is tried.
const TRIES: u32 = 3;
