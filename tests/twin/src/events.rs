//! What happened in the twin, in order, for tests to look at; no payloads, keys or tokens.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// A TLS handshake ended well; `refused` says why the connection was closed all the same.
    Tls {
        /// The certificate id.
        principal: String,
        /// `1.2` or `1.3`.
        version: String,
        /// The server name that the client asked for.
        sni: Option<String>,
        /// The protocol agreed by ALPN.
        alpn: Option<String>,
        /// Whether the session was resumed, so that the principal is the old session's.
        resumed: bool,
        /// Why it was closed at once.
        refused: Option<String>,
    },
    /// A TLS handshake failed.
    TlsFailed {
        /// What rustls said.
        why: String,
    },
    /// A CONNECT was answered or cut.
    Connect {
        /// The client id.
        client: String,
        /// The certificate id.
        principal: String,
        /// Whether a kept session was found.
        session_present: bool,
        /// 4 for MQTT 3.1.1, 5 for MQTT 5.
        protocol: u8,
        /// Why it was refused; `None` when accepted.
        refused: Option<String>,
    },
    /// A session ended.
    Closed {
        /// The client id.
        client: String,
        /// The certificate id.
        principal: String,
        /// Why.
        why: String,
    },
    /// A client published.
    Publish {
        /// The client id; empty for the cloud itself.
        client: String,
        /// The certificate id; empty for the cloud itself.
        principal: String,
        /// The topic.
        topic: String,
        /// 0 or 1.
        qos: u8,
        /// The retain flag.
        retain: bool,
        /// The DUP flag.
        dup: bool,
        /// Size of the payload in bytes.
        size: usize,
    },
    /// A client subscribed; a refusal closes its connection, unless it is the quota's.
    Subscribe {
        /// The client id.
        client: String,
        /// The certificate id.
        principal: String,
        /// The filter.
        filter: String,
        /// Why it was refused.
        refused: Option<String>,
    },
    /// A policy or a limit was violated and the connection closed, or a delivery was withheld.
    Denied {
        /// The client id.
        client: String,
        /// The certificate id.
        principal: String,
        /// The IoT action.
        action: String,
        /// The topic or filter.
        resource: String,
    },
    /// A certificate was made.
    Minted {
        /// Its id.
        certificate_id: String,
        /// The certificate id of the connection that asked.
        by: String,
        /// Whether the key was made by the cloud.
        cloud_key: bool,
    },
    /// A provisioning request was answered `rejected`, or would have been.
    Rejected {
        /// `create`, `create-from-csr` or `register`.
        operation: String,
        /// The certificate id of the connection that asked.
        by: String,
        /// The status code.
        status_code: u16,
        /// The error code.
        error_code: String,
    },
    /// RegisterThing took effect.
    Registered {
        /// The thing.
        thing: String,
        /// The certificate that is now ACTIVE and attached.
        certificate_id: String,
        /// The template.
        template: String,
        /// The certificate id of the connection that asked.
        by: String,
    },
    /// A commit was handled.
    Commit {
        /// The thing of the topic.
        thing: String,
        /// `principal()` of the publisher.
        principal: String,
        /// Whether it was accepted.
        accepted: bool,
        /// The reason of a rejection; empty otherwise.
        why: String,
    },
    /// A certificate's status changed.
    Status {
        /// Its id.
        certificate_id: String,
        /// The new status.
        status: String,
    },
    /// A certificate was deleted.
    Deleted {
        /// Its id.
        certificate_id: String,
    },
    /// A call of the control plane was answered.
    Api {
        /// AWS's name of it.
        operation: String,
        /// The HTTP status.
        status: u16,
        /// The error's name; `None` when it was done.
        error: Option<String>,
    },
    /// A function's program was invoked.
    Invoked {
        /// The function.
        function: String,
        /// Whether its program was started for this.
        cold: bool,
        /// How long it took in real milliseconds, the start included.
        ms: u64,
        /// Why there was no answer.
        error: Option<String>,
    },
    /// A fault was played.
    Fault {
        /// The operation, topic or client it hit.
        on: String,
        /// The effect in words.
        effect: String,
    },
}

/// An event with its place in the order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Logged {
    /// Counts up from 0.
    pub seq: usize,
    /// Twin time in milliseconds since the epoch.
    pub at_ms: i64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// The log, kept whole.
#[derive(Debug, Default)]
pub struct Events {
    log: Mutex<Vec<Logged>>,
    more: Condvar,
}

impl Events {
    /// Adds an event.
    pub fn push(&self, at_ms: i64, event: Event) {
        tracing::debug!(?event, "event");
        let mut log = self.lock();
        let seq = log.len();
        log.push(Logged { seq, at_ms, event });
        self.more.notify_all();
    }

    /// Everything from number `since` on.
    pub fn since(&self, since: usize) -> Vec<Logged> {
        self.lock().get(since..).map(<[Logged]>::to_vec).unwrap_or_default()
    }

    /// How many there are: the number of the next one.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Says whether nothing has happened yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits for the first event from number `since` on that `wanted` accepts; `None` after `within`.
    pub fn wait(&self, since: usize, within: Duration, wanted: impl Fn(&Event) -> bool) -> Option<Logged> {
        let end = Instant::now() + within;
        let mut log = self.lock();
        loop {
            if let Some(found) = log.iter().skip(since).find(|l| wanted(&l.event)) {
                return Some(found.clone());
            }
            let left = end.checked_duration_since(Instant::now())?;
            log = self.more.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Logged>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
