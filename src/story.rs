//! Tells what happens: operations with their steps as events, the log's lines, the history, the last results.
//!
//! It hears of every effect that begins and ends and decides nothing. Levels are promises: INFO, the identity changed;
//! WARN, one attempt failed; DEBUG, each action. ERROR is `status::alerts`' to say, once per cause.

mod in_hand;
mod words;

use std::rc::Rc;

use crate::control::Feed;
use crate::control::wire::{Event, EventKind, EventResult, LastResult, Time};
use crate::rotation::{Carrier, Effect, Mark, Outcome, Record, RetireMode, Rotation, Rule};
use crate::store::HistoryEntry;
use crate::world::{Detail, Tools};
use crate::x509;

pub use in_hand::InHand;
pub use words::{now, rule_word, stage_word};
use words::{opens_operation, step_of, word_of};

/// What has been told so far.
pub struct Story {
    tools: Rc<Tools>,
    feed: Feed,
    operations: u64,
    /// The provisioning or rotation in progress.
    pub operation: Option<InHand>,
    /// How the last rotation ended.
    pub last: Option<LastResult>,
    /// Why the session is down, where it is.
    pub connection: Option<Detail>,
    /// When the session last came up or went down.
    pub connection_since: Option<Time>,
    /// Why the renewal in hand does not go on.
    pub renewal: Option<Detail>,
    /// What the last commit was answered.
    pub commit: Option<Detail>,
    /// What is wrong with the disk.
    pub disk: Option<Detail>,
    /// Failures of the renewal in a row.
    pub failures: u32,
    /// Failed attempts to connect with the claim in a row; a file that cannot be read counts as enough of them.
    pub claim_failures: u32,
    /// Whether an operator has the claim tried although the device's own session worked.
    pub claim_by_order: bool,
    /// The thing, for the journal's THING.
    pub thing: String,
    last_told: Option<(String, String)>,
}

impl Story {
    /// Begins with nothing told.
    pub fn new(tools: Rc<Tools>, feed: Feed) -> Self {
        Story {
            tools,
            feed,
            operations: 0,
            operation: None,
            last: None,
            connection: None,
            connection_since: None,
            renewal: None,
            commit: None,
            disk: None,
            failures: 0,
            claim_failures: 0,
            claim_by_order: false,
            thing: String::new(),
            last_told: None,
        }
    }

    /// Opens an operation, or joins the one in hand; gives its number and whether it was joined.
    pub fn open(&mut self, kind: &'static str, cause: &'static str) -> (u64, bool) {
        match &self.operation {
            Some(operation) if operation.kind == kind && !operation.switched => return (operation.id, true),
            // Of another kind, or over but for its commit: whoever follows it hears its end, not ours.
            Some(operation) => {
                let switched = operation.switched;
                let text =
                    if switched { "in use; the commit goes on by itself" } else { "gives way to another" };
                self.done(switched, text, None);
            }
            None => {}
        }
        self.operations += 1;
        self.operation = Some(InHand {
            id: self.operations,
            kind,
            cause,
            step: "wait",
            started: now(&self.tools.clock),
            generation: None,
            switched: false,
        });
        (self.operations, false)
    }

    /// Hears that an effect begins.
    pub fn begins(&mut self, effect: Effect, machine: &Rotation, due: Option<Rule>) {
        tracing::debug!(effect = ?effect, "begins");
        let Some(step) = step_of(effect) else { return };
        if opens_operation(effect) && self.operation.is_none() {
            let fresh = machine.disk().is_none_or(|d| d.current().is_none());
            let (kind, cause) = if fresh { ("provision", "no-identity") } else { ("rotation", "continued") };
            self.open(kind, due.map_or(cause, rule_word));
        }
        if let Some(operation) = &mut self.operation {
            operation.step = step;
            if let Effect::Register(n) | Effect::Prove(n) | Effect::Switch(n) | Effect::Commit(n) = effect {
                operation.generation = Some(n);
            }
        }
        self.step_event(step, EventResult::Started, None);
    }

    /// Hears that an effect has ended. The machine has taken the outcome in already.
    pub fn ended(&mut self, effect: Effect, outcome: &Outcome, detail: Option<Detail>, machine: &Rotation) {
        tracing::debug!(effect = ?effect, outcome = word_of(outcome), "ended");
        let failed = matches!(outcome, Outcome::Failed(_) | Outcome::Refused(..) | Outcome::Local);
        if *outcome == Outcome::Local {
            if let Some(detail) = &detail {
                tracing::warn!(code = detail.code, remedy = detail.remedy, "{}", detail.text);
            }
            self.disk = detail.clone();
        } else if matches!(effect, Effect::Record(_) | Effect::Switch(_) | Effect::Remove(_)) {
            self.disk = None;
        }
        if effect == Effect::Connect(Carrier::Claim) {
            self.claim_failures = match outcome {
                Outcome::Local => ATTEMPTS_OF_WEATHER,
                _ if failed => self.claim_failures.saturating_add(1),
                _ => 0,
            };
        }
        match effect {
            Effect::Hangup => self.connection_since = Some(now(&self.tools.clock)),
            Effect::Connect(carrier) => self.connected(carrier, failed, detail),
            Effect::Issue(_) | Effect::Register(_) | Effect::Prove(_) | Effect::Switch(_) if failed => {
                self.step_failed(effect, detail);
            }
            Effect::Issue(_) => self.issued(outcome),
            Effect::Register(_) => self.step_event("register", EventResult::Ok, None),
            Effect::Prove(n) => {
                self.renewal = None;
                self.step_event("prove", EventResult::Ok, None);
                self.session_up(Carrier::Generation(n));
            }
            Effect::Switch(n) => self.switched(n, machine),
            Effect::Commit(n) => self.committed(n, failed, detail),
            Effect::Remove(n) => {
                tracing::info!(generation = n, "generation removed from the disk");
            }
            Effect::Record(Record::Marked(n, Mark::Refused)) if !failed => {
                tracing::warn!(generation = n, "generation marked refused: it comes last from now on");
            }
            _ => {}
        }
    }

    /// Hears that the session in hand was closed by the other side.
    pub fn closed(&mut self, detail: Detail, expected: bool) {
        if !expected {
            tracing::warn!(code = detail.code, remedy = detail.remedy, "session closed: {}", detail.text);
        }
        self.connection_since = Some(now(&self.tools.clock));
        if expected {
            let text = "the old session was closed by the take-over";
            return self.event(EventKind::Session, None, None, text, None);
        }
        self.event(EventKind::Session, None, None, &detail.text, Some(&detail));
        self.connection = Some(detail);
    }

    fn connected(&mut self, carrier: Carrier, failed: bool, detail: Option<Detail>) {
        if !failed {
            if carrier == Carrier::Claim {
                tracing::info!("connected with the claim certificate");
                self.step_event("claim", EventResult::Ok, None);
                self.connection = None;
                return;
            }
            if self.operation.as_ref().is_some_and(|o| o.kind == "provision" && !o.switched) {
                self.done(true, "connected with the certificate that is there", None);
            }
            return self.session_up(carrier);
        }
        let Some(detail) = detail else { return };
        let text = match carrier {
            Carrier::Claim => format!("the claim: {}", detail.text),
            Carrier::Generation(n) => format!("generation {n}: {}", detail.text),
        };
        let detail = Detail { text, ..detail };
        self.warn_once("connect", &detail);
        if self.connection.is_none() {
            self.connection_since = Some(now(&self.tools.clock));
        }
        self.event(
            EventKind::Session,
            Some("connect"),
            Some(EventResult::Retry),
            &detail.text,
            Some(&detail),
        );
        self.connection = Some(detail);
    }

    fn session_up(&mut self, carrier: Carrier) {
        self.connection = None;
        self.claim_by_order = false;
        self.last_told = None;
        self.connection_since = Some(now(&self.tools.clock));
        if let Carrier::Generation(n) = carrier {
            tracing::info!(thing = self.thing, generation = n, "session up");
            let text = format!("session up on generation {n}");
            self.event(EventKind::Session, Some("connect"), Some(EventResult::Ok), &text, None);
        }
    }

    fn issued(&mut self, outcome: &Outcome) {
        let Outcome::Issued(slot) = outcome else { return };
        let id = slot.certificate.map(|c| x509::hex(&c.id)).unwrap_or_default();
        let thing = &self.thing;
        tracing::info!(
            thing,
            generation = slot.generation,
            certificate_id = id,
            "certificate issued and stored"
        );
        if let Some(operation) = &mut self.operation {
            operation.generation = Some(slot.generation);
        }
        self.step_event("issue", EventResult::Ok, None);
    }

    fn switched(&mut self, n: u32, machine: &Rotation) {
        let certificate = machine.disk().and_then(|d| d.current()).and_then(|s| s.certificate);
        let id = certificate.map(|c| x509::hex(&c.id)).unwrap_or_default();
        tracing::info!(thing = self.thing, generation = n, certificate_id = id, "current switched");
        self.step_event("switch", EventResult::Ok, None);
        self.renewal = None;
        self.failures = 0;
        let (kind, cause, seconds) = match &mut self.operation {
            Some(operation) => {
                operation.switched = true;
                operation.generation = Some(n);
                let took = now(&self.tools.clock).seconds() - operation.started.seconds();
                (operation.kind, operation.cause, u64::try_from(took).unwrap_or(0))
            }
            None => ("fallback", "refused", 0),
        };
        self.last = Some(LastResult { ok: true, at: now(&self.tools.clock), step: None, text: None });
        self.remember(kind, cause, Some(n), Some(id), "done".to_owned(), seconds);
        let waits = machine.policy().retire == RetireMode::None || machine.policy().retire_delay > 0;
        if waits {
            self.done(true, &format!("generation {n} is in use"), None);
        }
    }

    fn committed(&mut self, n: u32, failed: bool, detail: Option<Detail>) {
        if failed {
            if let Some(detail) = &detail {
                self.warn_once("commit", detail);
            }
            self.event(
                EventKind::Retire,
                Some("retire"),
                Some(EventResult::Retry),
                detail.as_ref().map_or("no answer", |d| &d.text),
                detail.as_ref(),
            );
            let why = detail.as_ref().map_or("", |d| d.text.as_str());
            self.done(
                true,
                &format!("generation {n} is in use; older certificates are retired later: {why}"),
                None,
            );
            self.commit = detail;
            return;
        }
        self.commit = None;
        tracing::info!(
            thing = self.thing,
            generation = n,
            "generation {n} is committed: what is older is retired by the cloud"
        );
        self.event(
            EventKind::Retire,
            Some("retire"),
            Some(EventResult::Ok),
            "committed: what is older is retired by the cloud",
            None,
        );
        self.remember("retire", "commit", Some(n), None, "done".to_owned(), 0);
        self.done(true, &format!("generation {n} is in use and committed: what is older is retired"), None);
    }

    fn step_failed(&mut self, effect: Effect, detail: Option<Detail>) {
        let step = step_of(effect).unwrap_or("step");
        let detail =
            detail.unwrap_or_else(|| Detail::new("unknown", "no reason was given", "time: tried again"));
        self.warn_once(step, &detail);
        self.step_event(step, EventResult::Failed, Some(&detail));
        self.failures = self.failures.saturating_add(1);
        let text = format!("{step}: {}", detail.text);
        self.last = Some(LastResult {
            ok: false,
            at: now(&self.tools.clock),
            step: Some(step.to_owned()),
            text: Some(detail.text.clone()),
        });
        if let Some(operation) = &self.operation {
            let (kind, cause, generation) = (operation.kind, operation.cause, operation.generation);
            // The same failure again and again is one line of history, and one write to the disk.
            let same = self.renewal.as_ref().is_some_and(|before| before.text == detail.text);
            if !same {
                self.remember(kind, cause, generation, None, text.clone(), 0);
            }
        }
        self.done(false, &detail.text, Some(&detail));
        self.renewal = Some(detail);
    }

    fn done(&mut self, ok: bool, text: &str, detail: Option<&Detail>) {
        let Some(operation) = self.operation.take() else { return };
        let kind = if operation.kind == "provision" { EventKind::Provision } else { EventKind::RotationDone };
        let result = if ok { EventResult::Ok } else { EventResult::Failed };
        let mut event = Event::new(now(&self.tools.clock), kind).operation(operation.id).text(text);
        event.result = Some(result);
        event.step = (!ok).then(|| operation.step.to_owned());
        event.remedy = detail.map(|d| d.remedy.clone());
        if let Some(n) = operation.generation {
            event = event.field("generation", n);
        }
        self.feed.send(event);
    }

    fn step_event(&mut self, step: &'static str, result: EventResult, detail: Option<&Detail>) {
        let kind = match &self.operation {
            Some(operation) if operation.kind == "provision" => EventKind::Provision,
            _ => EventKind::RotationStep,
        };
        let text = detail.map_or("", |d| &d.text);
        self.event(kind, Some(step), Some(result), text, detail);
    }

    fn event(
        &mut self,
        kind: EventKind,
        step: Option<&'static str>,
        result: Option<EventResult>,
        text: &str,
        detail: Option<&Detail>,
    ) {
        let mut event = Event::new(now(&self.tools.clock), kind).text(text);
        event.step = step.map(str::to_owned);
        event.result = result;
        event.remedy = detail.map(|d| d.remedy.clone());
        event.operation = self.operation.as_ref().map(|o| o.id);
        if let Some(detail) = detail {
            event = event.field("cause", &detail.code);
        }
        if let Some(n) = self.operation.as_ref().and_then(|o| o.generation) {
            event = event.field("generation", n);
        }
        self.feed.send(event);
    }

    /// The same failure of the same act is one WARN, and DEBUG from then on: a night offline is not ten thousand lines.
    fn warn_once(&mut self, act: &str, detail: &Detail) {
        let told = (act.to_owned(), detail.text.clone());
        if self.last_told.as_ref() == Some(&told) {
            tracing::debug!(act, code = detail.code, "{}", detail.text);
        } else {
            tracing::warn!(act, code = detail.code, remedy = detail.remedy, "{}", detail.text);
            self.last_told = Some(told);
        }
    }

    fn remember(
        &self,
        what: &str,
        cause: &str,
        generation: Option<u32>,
        certificate_id: Option<String>,
        result: String,
        seconds: u64,
    ) {
        let at = self.tools.wall();
        let (what, cause) = (what.to_owned(), cause.to_owned());
        let entry = HistoryEntry { at, what, cause, generation, certificate_id, result, seconds };
        if let Err(error) = self.tools.store.append_history(entry) {
            tracing::warn!(%error, "the history could not be written");
        }
    }
}

/// Failures in a row up to which a refusal is weather (a throttled cloud refuses too), and no case for a person.
pub const ATTEMPTS_OF_WEATHER: u32 = 3;
