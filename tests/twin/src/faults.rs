//! Faults on demand: what goes wrong, where, and how often.
//!
//! A fault is taken at the moment it is played, so `times` counts effects that were seen. The first one put that
//! fits is the one played; one with `times: None` stays until `clear`.

use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::broker::topic;

/// One thing that is to go wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// Where: an operation (`tls`, `connect`, `subscribe`, `create`, `create-from-csr`, `register`, `hook`, `commit`,
    /// `api:<Operation>`, `api:*`) or an MQTT topic filter for publishes of clients (anything with a `/`).
    pub on: String,
    /// What.
    pub effect: Effect,
    /// How many times; `None` for ever.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many fitting ones are let through first.
    #[serde(default)]
    pub skip: u32,
    /// Only for this client id.
    #[serde(default)]
    pub client: Option<String>,
    /// Only for this certificate id.
    #[serde(default)]
    pub certificate: Option<String>,
}

impl Fault {
    /// A fault that is played once.
    pub fn once(on: &str, effect: Effect) -> Self {
        Self { on: on.to_owned(), effect, times: Some(1), skip: 0, client: None, certificate: None }
    }

    /// Plays it `times` times.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// Plays it until it is cleared.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.times = None;
        self
    }

    /// Lets the first `skip` through.
    #[must_use]
    pub fn skip(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Only for this client id.
    #[must_use]
    pub fn client(mut self, client: &str) -> Self {
        self.client = Some(client.to_owned());
        self
    }

    /// Only for this certificate id.
    #[must_use]
    pub fn certificate(mut self, id: &str) -> Self {
        self.certificate = Some(id.to_owned());
        self
    }

    fn fits(&self, on: &str, client: &str, certificate: &str) -> bool {
        let place = self.on == on
            || (self.on == "api:*" && on.starts_with("api:"))
            || (self.on.contains('/') && on.contains('/') && topic::matches(&self.on, on));
        place
            && self.client.as_deref().is_none_or(|c| c == client)
            && self.certificate.as_deref().is_none_or(|c| c == certificate)
    }
}

/// What goes wrong. For publishes only `delay`, `ignore`, `closeBefore`, `closeAfter` and `losePuback` mean something;
/// for `tls` and `connect` only `delay`, `refuse` and `closeBefore`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Effect {
    /// No effect, and `rejected` with this status; at `connect` a CONNACK (`status_code` is its return code: MQTT 5
    /// gets 0x87 for anything but 3), at `tls` and `subscribe` a refusal.
    Refuse {
        /// The status code, or the CONNACK return code.
        status_code: u16,
        /// The error code.
        error_code: String,
    },
    /// Effect and answer come this much later, in real milliseconds.
    Delay {
        /// How much later.
        ms: u64,
    },
    /// The effect comes at once, only the answer this much later, in real milliseconds.
    DelayAnswer {
        /// How much later.
        ms: u64,
    },
    /// The effect happens, the answer is lost.
    Drop,
    /// Nothing happens, nothing is answered.
    Ignore,
    /// The answer comes twice.
    Twice,
    /// The connection is closed; nothing happened.
    CloseBefore,
    /// The effect happens, the connection is closed in place of the answer.
    CloseUnanswered,
    /// The effect happens and is answered, then the connection is closed.
    CloseAfter,
    /// `rejected` with 429.
    Throttle,
    /// At `api:…`: it is done, and the function that may have asked is killed before it hears of it.
    Kill,
    /// The PUBACK of the request is lost; effect and answer happen.
    LosePuback,
    /// At `register`: the attachment and the policies are seen by the broker this much later, in twin milliseconds.
    SeenLate {
        /// How much later.
        ms: u64,
    },
}

/// The faults that are still to be played.
#[derive(Debug, Default)]
pub struct Faults {
    list: Mutex<Vec<Fault>>,
}

impl Faults {
    /// Adds one, after those that are there.
    pub fn put(&self, fault: Fault) {
        self.with(|list| list.push(fault));
    }

    /// Removes all.
    pub fn clear(&self) {
        self.with(Vec::clear);
    }

    /// What is still to be played.
    pub fn list(&self) -> Vec<Fault> {
        self.with(|list| list.clone())
    }

    /// Takes the first fault that fits and whose effect `accepts`; counts it.
    pub fn take(
        &self,
        on: &str,
        client: &str,
        certificate: &str,
        accepts: impl Fn(&Effect) -> bool,
    ) -> Option<Effect> {
        self.with(|list| {
            let at = list.iter_mut().position(|f| {
                if !f.fits(on, client, certificate) || !accepts(&f.effect) {
                    return false;
                }
                let skipped = f.skip > 0;
                f.skip = f.skip.saturating_sub(1);
                !skipped
            })?;
            let effect = list[at].effect.clone();
            if let Some(left) = list[at].times.as_mut() {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    list.remove(at);
                }
            }
            Some(effect)
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Vec<Fault>) -> T) -> T {
        f(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_played_as_often_as_asked_and_only_where_it_fits() {
        let faults = Faults::default();
        faults.put(Fault::once("register", Effect::Drop).times(2).client("a"));
        assert_eq!(faults.take("register", "b", "", |_| true), None);
        assert_eq!(faults.take("create", "a", "", |_| true), None);
        assert_eq!(faults.take("register", "a", "", |_| true), Some(Effect::Drop));
        assert_eq!(faults.take("register", "a", "", |_| true), Some(Effect::Drop));
        assert_eq!(faults.take("register", "a", "", |_| true), None);
    }

    #[test]
    fn skipped_ones_are_let_through_first() {
        let faults = Faults::default();
        faults.put(Fault::once("connect", Effect::CloseBefore).skip(1));
        assert_eq!(faults.take("connect", "a", "", |_| true), None);
        assert_eq!(faults.take("connect", "a", "", |_| true), Some(Effect::CloseBefore));
    }

    #[test]
    fn a_topic_filter_hits_the_topics_it_matches() {
        let faults = Faults::default();
        faults.put(Fault::once("device/+/x", Effect::LosePuback).forever());
        assert_eq!(faults.take("device/a/y", "a", "", |_| true), None);
        assert!(faults.take("device/a/x", "a", "", |_| true).is_some());
        assert!(faults.take("device/b/x", "b", "", |_| true).is_some());
    }
}
