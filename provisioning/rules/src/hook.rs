//! The pre-provisioning hooks: who may have an identity (rules 23 and 24).
//!
//! ```text
//! claim:   event ─▶ subject(event)? ─▶ look up that thing ─▶ decide(event, subject, facts, now)? ─▶ write, answer
//! rotate:  event ─▶ rotate(event)? ─▶ answer                                   (no look-up, rule 24)
//! ```
//! Every refusal is a [`Denial`], and its answer is [`Answer::deny`]: a caller that loses its way denies. Each answer
//! is made afresh from one event; nothing here has a memory.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::documents::SERIAL_PARAMETER;
use crate::record::{RECLAIM_ATTRIBUTE, Reclaim};
use crate::registry::{Certificate, Status, Thing};
use crate::serial::{CLAIM_PREFIX, Serial, SerialError};

/// What AWS IoT hands to a pre-provisioning hook.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The certificate of the connection that asked; on a rotation it may be the device's. Nothing rests on it.
    #[serde(default)]
    pub claim_certificate_id: Option<String>,
    /// The certificate that is to be registered.
    pub certificate_id: String,
    /// The same in PEM.
    #[serde(default)]
    pub certificate_pem: Option<String>,
    /// The template in use.
    #[serde(default)]
    pub template_arn: Option<String>,
    /// The authenticated client id of the connection that asked.
    #[serde(default)]
    pub client_id: Option<String>,
    /// What the device wrote, with AWS's own parameters.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("certificate_id", &self.certificate_id)
            .field("client_id", &self.client_id)
            .field("template_arn", &self.template_arn)
            .finish_non_exhaustive()
    }
}

/// What a hook answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// Whether RegisterThing goes on.
    pub allow_provisioning: bool,
    /// Parameters that stand over the device's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameter_overrides: BTreeMap<String, String>,
}

impl Answer {
    /// The default (rule 24): no.
    pub fn deny() -> Self {
        Answer::default()
    }

    /// Yes, for the thing of this name, whatever the device wrote.
    fn allow(thing: &Serial) -> Self {
        Answer {
            allow_provisioning: true,
            parameter_overrides: [(SERIAL_PARAMETER.to_owned(), thing.as_str().to_owned())].into(),
        }
    }
}

/// What the registry and the operator know of the thing that a claim names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Whether the serial is on the allow-list.
    pub listing: Listing,
    /// The thing, where it exists.
    pub thing: Option<Thing>,
    /// Every certificate attached to the thing, whatever its status, the event's own included.
    pub held: Vec<Certificate>,
}

/// What the allow-list says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listing {
    /// The fleet keeps no list: any well-formed serial may claim.
    #[default]
    NoList,
    /// The serial is on it.
    Listed,
    /// The serial is not on it.
    NotListed,
}

/// A claim that may go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// What to answer, once `write` is done.
    pub answer: Answer,
    /// The attribute to write on the thing first; if that fails, deny.
    pub write: Option<Write>,
}

/// One attribute to be merged into a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Its name.
    pub attribute: &'static str,
    /// Its value.
    pub value: String,
    /// UpdateThing's `expectedVersion`: of two claims on one word, one fails.
    pub expected_version: Option<i64>,
}

/// Why a hook says no. It goes to the operator's log; the device only ever sees `ACCESS_DENIED`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Denial {
    /// The connection's client id is missing or not of the kind that this template is for.
    #[error("client id {0:?} is not one that may use this template")]
    Client(String),
    /// The device named no thing.
    #[error("the parameter {SERIAL_PARAMETER} is missing")]
    NoSerial,
    /// The name is no serial.
    #[error("{word:?} cannot name a thing")]
    Serial {
        /// What was written, shortened.
        word: String,
        /// What is wrong with it.
        source: SerialError,
    },
    /// The fleet's list does not have it.
    #[error("serial {0} is not on the allow-list")]
    NotListed(String),
    /// The certificate that is to be registered is under quarantine or retired.
    #[error("certificate {id} of thing {thing} is {status} and stays so")]
    Quarantined {
        /// The thing.
        thing: String,
        /// The certificate in the event.
        id: String,
        /// Its status.
        status: Status,
    },
    /// The thing has a certificate already.
    #[error("thing {thing} holds certificate {id} ({status}){}", word.as_str())]
    Held {
        /// The thing.
        thing: String,
        /// The first certificate found.
        id: String,
        /// Its status.
        status: Status,
        /// What became of the operator's word, if there was one.
        word: Word,
    },
}

/// What became of the operator's word `reclaim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// There was none.
    None,
    /// It is older than 24 hours.
    Over,
    /// Another certificate was let in on it.
    Used,
}

impl Word {
    fn as_str(self) -> &'static str {
        match self {
            Word::None => "; reclaim it if that one is lost",
            Word::Over => "; the reclaim given for it is over",
            Word::Used => "; the reclaim given for it is used up",
        }
    }
}

/// First phase of the claim hook: which thing the event is about, so that the caller can look it up.
pub fn subject(event: &Event) -> Result<Serial, Denial> {
    let client = event.client_id.as_deref().unwrap_or_default();
    if !client.starts_with(CLAIM_PREFIX) {
        return Err(Denial::Client(shortened(client)));
    }
    let word = event.parameters.get(SERIAL_PARAMETER).ok_or(Denial::NoSerial)?;
    Serial::parse(word).map_err(|source| Denial::Serial { word: shortened(word), source })
}

/// Second phase of the claim hook (rule 23), by what was looked up for [`subject`].
pub fn decide(event: &Event, subject: &Serial, facts: &Facts, now: Timestamp) -> Result<Grant, Denial> {
    let thing = subject.as_str();
    if facts.listing == Listing::NotListed {
        return Err(Denial::NotListed(thing.to_owned()));
    }
    // A registration that is tried again may set its certificate ACTIVE: an operator's quarantine must outlive that.
    let own = facts.held.iter().find(|c| c.id == event.certificate_id);
    if let Some(own) = own.filter(|c| c.status.is_dead()) {
        let (id, status) = (own.id.clone(), own.status);
        return Err(Denial::Quarantined { thing: thing.to_owned(), id, status });
    }
    let others: Vec<_> =
        facts.held.iter().filter(|c| c.id != event.certificate_id && holds(c, now)).collect();
    let Some(first) = others.first() else {
        return Ok(Grant { answer: Answer::allow(subject), write: None });
    };
    let held = |word| {
        let (id, status) = (first.id.clone(), first.status);
        Denial::Held { thing: thing.to_owned(), id, status, word }
    };
    let record = facts.thing.as_ref().ok_or_else(|| held(Word::None))?;
    let word = Reclaim::of(record).ok_or_else(|| held(Word::None))?;
    if word.is_over(now) {
        return Err(held(Word::Over));
    }
    if is_used_up(&word, event, &facts.held, now) {
        return Err(held(Word::Used));
    }
    let write = (word.used_by.as_deref() != Some(event.certificate_id.as_str())).then(|| Write {
        attribute: RECLAIM_ATTRIBUTE,
        value: word.clone().used(&event.certificate_id, now).value(),
        expected_version: record.version,
    });
    Ok(Grant { answer: Answer::allow(subject), write })
}

/// The rotation hook (rule 24): the thing is the authenticated client id. No look-up.
pub fn rotate(event: &Event) -> Result<Answer, Denial> {
    let client = event.client_id.as_deref().unwrap_or_default();
    let thing = Serial::thing_name(client).map_err(|_| Denial::Client(shortened(client)))?;
    Ok(Answer::allow(&thing))
}

/// Says whether a certificate speaks for its thing: any attached one does, until its notAfter (rule 23).
fn holds(certificate: &Certificate, now: Timestamp) -> bool {
    certificate.not_after.is_none_or(|end| now <= end)
}

/// One success uses the word up: the certificate that was let in on it, or any other that came after it, is held. While
/// the one that was let in may still come to be attached, nobody else is: of two claims at once, the second would
/// find the word written and its certificate not yet there.
fn is_used_up(word: &Reclaim, event: &Event, held: &[Certificate], now: Timestamp) -> bool {
    let anothers = word.used_by.as_deref().is_some_and(|id| id != event.certificate_id);
    let held = held
        .iter()
        .filter(|c| c.id != event.certificate_id)
        .any(|c| word.used_by.as_deref() == Some(c.id.as_str()) || c.created >= word.given);
    held || (anothers && word.is_in_use(now))
}

/// What a device wrote, short enough for a log.
fn shortened(word: &str) -> String {
    word.chars().take(40).collect()
}

#[cfg(test)]
mod tests;
