//! What goes into the retire handler and what comes out of it: the commit, the calls, their outcomes, the reply.
//!
//! One call is one call of AWS's control plane, so that a Lambda maps each to one SDK operation and the twin to one
//! method of its registry.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::registry::{Certificate, Status, Thing};

/// A commit as the rule engine hands it over (`documents::COMMIT_RULE_SQL`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// `topic(2)`: the thing in the topic.
    pub thing: String,
    /// `principal()`: the certificate whose session published it.
    pub principal: String,
    /// `clientid()`, where the caller has it.
    pub client_id: Option<String>,
    /// `certificateId` of the payload: all that the device wrote.
    pub certificate_id: Option<String>,
    /// `timestamp()` of the rule: when the broker took it.
    pub at: Timestamp,
}

impl Commit {
    /// Reads the rule engine's event; `None` where one of the engine's own fields is missing.
    pub fn from_event(event: &Value) -> Option<Self> {
        let text = |field: &str| event.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(Commit {
            thing: text("thing")?,
            principal: text("principal")?,
            client_id: text("clientId"),
            certificate_id: text("certificateId"),
            at: Timestamp::from_millisecond(event.get("timestamp")?.as_i64()?).ok()?,
        })
    }

    /// Makes the event that the rule engine would make of a payload: what the twin's broker calls.
    pub fn from_publish(
        thing: &str,
        principal: &str,
        client_id: &str,
        payload: &[u8],
        at: Timestamp,
    ) -> Self {
        let written: Value = serde_json::from_slice(payload).unwrap_or(Value::Null);
        Commit {
            thing: thing.to_owned(),
            principal: principal.to_owned(),
            client_id: Some(client_id.to_owned()),
            certificate_id: written.get("certificateId").and_then(Value::as_str).map(str::to_owned),
            at,
        }
    }
}

/// One effect that the handler asks for; one is outstanding at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// ListThingPrincipals, every page → [`Outcome::Ids`].
    ListThingPrincipals {
        /// The thing.
        thing: String,
    },
    /// DescribeCertificate → [`Outcome::Certificate`].
    DescribeCertificate {
        /// The certificate.
        id: String,
    },
    /// ListPrincipalThings, every page → [`Outcome::Names`].
    ListPrincipalThings {
        /// The certificate.
        id: String,
    },
    /// UpdateCertificate → [`Outcome::Done`].
    UpdateCertificate {
        /// The certificate.
        id: String,
        /// Its new status.
        status: Status,
    },
    /// ListAttachedPolicies, every page → [`Outcome::Names`].
    ListAttachedPolicies {
        /// The certificate.
        id: String,
    },
    /// DetachPolicy → [`Outcome::Done`].
    DetachPolicy {
        /// The certificate.
        id: String,
        /// The policy.
        policy: String,
    },
    /// DetachThingPrincipal → [`Outcome::Done`].
    DetachThingPrincipal {
        /// The thing.
        thing: String,
        /// The certificate.
        id: String,
    },
    /// DeleteCertificate → [`Outcome::Done`], [`Outcome::Conflict`] while it is still seen attached.
    DeleteCertificate {
        /// The certificate.
        id: String,
    },
    /// DescribeThing → [`Outcome::Thing`].
    DescribeThing {
        /// The thing.
        thing: String,
    },
    /// UpdateThing with `attributePayload.merge`; an empty value takes the attribute away, as AWS has it.
    UpdateThing {
        /// The thing.
        thing: String,
        /// The attributes to merge.
        attributes: BTreeMap<String, String>,
        /// `expectedVersion`.
        expected_version: Option<i64>,
    },
    /// Wait, then feed [`Outcome::Done`]: DetachThingPrincipal takes seconds to be seen. The twin need not wait.
    Pause {
        /// How long.
        seconds: u32,
    },
    /// Publish the reply (QoS 1) → [`Outcome::Done`].
    Reply(Reply),
}

/// What became of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// Ids of certificates.
    Ids(Vec<String>),
    /// Names of things or policies.
    Names(Vec<String>),
    /// A certificate.
    Certificate(Certificate),
    /// A thing.
    Thing(Thing),
    /// ResourceNotFoundException.
    Gone,
    /// DeleteConflictException, CertificateStateException.
    Conflict,
    /// Anything else that is no success: throttling, no answer, no right.
    Failed,
}

/// What the device is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The thing whose topic carried the commit.
    pub thing: String,
    /// The certificate that committed, by `principal()` (rule 14).
    pub certificate_id: String,
    /// What is said.
    pub verdict: Verdict,
}

impl Reply {
    /// The topic of the reply.
    pub fn topic(&self) -> String {
        let suffix = match self.verdict {
            Verdict::Accepted => "accepted",
            Verdict::Rejected { .. } => "rejected",
        };
        format!("device/{}/certrot/commit/{suffix}", self.thing)
    }

    /// The payload: `certificateId`, and of a rejection `reason` and, where waiting helps, `retryAfter` in seconds.
    pub fn payload(&self) -> Value {
        let mut payload = json!({ "certificateId": self.certificate_id });
        if let Verdict::Rejected { reason, retry_after } = self.verdict {
            payload["reason"] = reason.as_str().into();
            if let Some(seconds) = retry_after {
                payload["retryAfter"] = seconds.into();
            }
        }
        payload
    }

    /// Says whether the commit was accepted.
    pub fn is_accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }
}

/// Accepted or rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every older certificate of the thing is dead.
    Accepted,
    /// Something older may be alive.
    Rejected {
        /// Why.
        reason: Reason,
        /// Seconds after which a new commit may fare better; `None` where waiting alone does not help.
        retry_after: Option<u32>,
    },
}

/// Why a commit was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The payload names another certificate than the one that sent it, or none (rule 11).
    NotTheSender,
    /// The topic names no thing, or another than the client id.
    NotTheThing,
    /// The thing is not this fleet's: nothing of it is touched.
    NotOfTheFleet,
    /// It is older than five minutes: send a new one (rule 11).
    Stale,
    /// The certificate is not attached to the thing, or not yet seen so (rule 12).
    NotAttached,
    /// The certificate is not ACTIVE (rule 12).
    NotActive,
    /// The registry did not answer for every certificate: send a new one.
    Unfinished,
}

impl Reason {
    /// The word in the payload.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::NotTheSender => "not-the-sender",
            Reason::NotTheThing => "not-the-thing",
            Reason::NotOfTheFleet => "not-of-the-fleet",
            Reason::Stale => "stale",
            Reason::NotAttached => "not-attached",
            Reason::NotActive => "not-active",
            Reason::Unfinished => "unfinished",
        }
    }
}
