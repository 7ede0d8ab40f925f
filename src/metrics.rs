//! `/metrics`: what a Prometheus server keeps of this device.
//!
//! Gauges are read off the status at the moment of the scrape; counters are counted off the events as they are sent, so
//! nothing here can disagree with what `certrotctl` shows. Counters begin at 0 with the process. Names, units and types
//! follow Prometheus's rules (base units, `_total`, `_timestamp_seconds`); labels take their values from fixed sets.

mod text;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::control::wire::{
    Event, EventKind, EventResult, HookResult, Level, Mark, Stage, State, Status, Time,
};
use text::{Kind, Seconds, Text};

/// Counts what happens.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Tally>);

#[derive(Debug, Default)]
struct Tally {
    /// How often, by what and by its label.
    counts: BTreeMap<(Counted, String), u64>,
    /// The step that has begun, and when: there is one at a time.
    began: Option<(String, Time)>,
    last_connect: Option<Time>,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    RotationDone,
    /// By the step that failed.
    RotationFailed,
    /// By result.
    Provisioning,
    /// By step.
    Step,
    /// Milliseconds, by step.
    StepTime,
    Issued,
    Adopted,
    Connect,
    /// By cause.
    ConnectFailure,
    /// By cause.
    Loss,
    /// By result.
    Commit,
    /// By result.
    Publish,
    Heard,
    Unheard,
}

impl Metrics {
    /// Counts an event.
    pub fn hear(&self, event: &Event) {
        self.lock().hear(event);
    }

    /// Counts an application's publish: `acknowledged`, `not-acknowledged`, `forbidden` by the cloud, `refused` here.
    pub fn published(&self, result: &str) {
        self.lock().count(Counted::Publish, result);
    }

    /// Counts a message for so many subscribers, and so many that were too slow for it.
    pub fn heard(&self, by: u64, not_by: u64) {
        let mut tally = self.lock();
        tally.add(Counted::Heard, "", by);
        tally.add(Counted::Unheard, "", not_by);
    }

    /// The document for this status, which carries its time.
    pub fn text(&self, status: &Status) -> String {
        let mut text = Text::default();
        of_daemon(&mut text, status);
        of_certificate(&mut text, status);
        of_rotation(&mut text, status);
        self.lock().write(&mut text);
        text.finish()
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        // Nothing in here can panic half-way, so a poisoned lock still guards whole data.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_daemon(text: &mut Text, status: &Status) {
    text.family("certrotd_build_info", Kind::Gauge, "Version of the daemon; always 1.")
        .sample(&[("version", &status.version)], &1);
    text.family("certrotd_state", Kind::Gauge, "What the daemon is at; always 1, with the state as label.")
        .sample(&[("state", &state_word(status.state))], &1);
    let help = "1 while the device's own MQTT session is up.";
    text.gauge("certrotd_connected", help, Some(&u8::from(status.connected)));
    let help = "When the session last came up or went down.";
    time(text, "certrotd_connection_changed_timestamp_seconds", help, status.connection.since);
    let help = "1 while the clock is good enough to judge certificates by.";
    text.gauge("certrotd_clock_trusted", help, Some(&u8::from(status.clock.trusted)));
    let mut alerts = text.family("certrotd_alerts", Kind::Gauge, "Alerts in status, by level.");
    for level in [Level::Error, Level::Warn, Level::Info] {
        let word = level_word(level);
        let count = status.alerts.iter().filter(|alert| alert.level == level).count();
        alerts.sample(&[("level", word)], &count);
    }
    let help = "Each alert in status; always 1, with its word as label.";
    let mut active = text.family("certrotd_alert_active", Kind::Gauge, help);
    let told: BTreeSet<(&str, &str)> =
        status.alerts.iter().map(|alert| (alert.code.as_str(), level_word(alert.level))).collect();
    for (code, level) in told {
        active.sample(&[("code", code), ("level", level)], &1);
    }
    let help = "Hooks after the last switch, by how they ended.";
    let mut hooks = text.family("certrotd_hooks", Kind::Gauge, help);
    let results = &status.hooks.results;
    let count = |of: fn(&HookResult) -> bool| results.iter().filter(|hook| of(hook)).count();
    hooks.sample(&[("result", "ok")], &count(|hook| hook.ok));
    hooks.sample(&[("result", "failed")], &count(HookResult::failed));
    hooks.sample(&[("result", "pending")], &count(|hook| hook.pending));
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
    }
}

fn of_certificate(text: &mut Text, status: &Status) {
    text.gauge("certrotd_generations", "Generations on the disk.", Some(&status.generations.len()));
    let Some(certificate) = &status.certificate else { return };
    text.family("certrotd_certificate_info", Kind::Gauge, "The certificate in use; always 1.")
        .sample(&[("certificate_id", &certificate.id), ("key_type", &certificate.key_type)], &1);
    let help = "Generation of the certificate in use.";
    text.gauge("certrotd_certificate_generation", help, Some(&certificate.generation));
    let help = "Start of validity of the certificate in use.";
    let name = "certrotd_certificate_not_before_timestamp_seconds";
    time(text, name, help, Some(certificate.not_before));
    let help = "End of validity of the certificate in use.";
    time(text, "certrotd_certificate_not_after_timestamp_seconds", help, Some(certificate.not_after));
    let age = between(certificate.not_before, status.now);
    let help = "Age of the certificate in use, by the daemon's clock.";
    text.gauge("certrotd_certificate_age_seconds", help, Some(&Seconds(age)));
}

fn of_rotation(text: &mut Text, status: &Status) {
    let rotation = &status.rotation;
    let help = "1 while the daemon rotates by itself.";
    text.gauge("certrotd_rotation_enabled", help, Some(&u8::from(rotation.enabled)));
    let help = "When the next rotation is due.";
    time(text, "certrotd_rotation_due_timestamp_seconds", help, rotation.due_at);
    let help = "Seconds since a rotation was due; 0 while none is.";
    text.gauge("certrotd_rotation_overdue_seconds", help, Some(&rotation.overdue_seconds));
    let help = "Failed attempts in a row; 0 after a rotation.";
    text.gauge("certrotd_rotation_failures", help, Some(&rotation.failures));
    if let Some(last) = &rotation.last_result {
        let result = if last.ok { "ok" } else { "failed" };
        let help = "When the last rotation ended, with how as label.";
        text.family("certrotd_rotation_last_timestamp_seconds", Kind::Gauge, help)
            .sample(&[("result", result)], &Seconds(last.at.millis()));
    }
    let help = "1 while older certificates are not known to be retired.";
    text.gauge("certrotd_retire_pending", help, Some(&u8::from(status.retire.pending)));
    let help = "Older certificates on the disk that the cloud is not known to have retired.";
    text.gauge("certrotd_retire_backlog", help, Some(&backlog(status)));
    let help = "Commits sent for the certificate in use and not yet accepted.";
    let attempts = if status.retire.pending { status.retire.attempts } else { 0 };
    text.gauge("certrotd_retire_attempts", help, Some(&attempts));
}

/// What carried a session, is older than the certificate in use, and has no mark of the cloud's.
fn backlog(status: &Status) -> usize {
    let Some(current) = &status.certificate else { return 0 };
    if status.retire.mode == "none" {
        return 0;
    }
    let older =
        status.generations.iter().filter(|g| g.number < current.generation && g.certificate_id.is_some());
    older.filter(|g| g.stage == Stage::Proved && g.mark != Mark::Retired).count()
}

impl Tally {
    fn hear(&mut self, event: &Event) {
        let step = event.step.as_deref().unwrap_or_default();
        let cause = event.fields.get("cause").map_or("", String::as_str);
        match (event.kind, event.result) {
            (EventKind::RotationDone, Some(EventResult::Ok)) => self.count(Counted::RotationDone, ""),
            (EventKind::RotationDone, _) => self.count(Counted::RotationFailed, step),
            // The end of a provisioning that went well is the one event of its kind without a step.
            (EventKind::Provision, Some(EventResult::Ok)) if step.is_empty() => {
                self.count(Counted::Provisioning, "ok");
            }
            (EventKind::RotationStep | EventKind::Provision, result) => self.step(step, result, event),
            (EventKind::Session, Some(EventResult::Ok)) => {
                self.count(Counted::Connect, "");
                self.last_connect = Some(event.time);
            }
            (EventKind::Session, Some(EventResult::Retry)) => self.count(Counted::ConnectFailure, cause),
            // Without a cause it was the take-over's doing.
            (EventKind::Session, None) if !cause.is_empty() => self.count(Counted::Loss, cause),
            (EventKind::Retire, Some(EventResult::Ok)) => self.count(Counted::Commit, "ok"),
            (EventKind::Retire, Some(EventResult::Retry)) => self.count(Counted::Commit, "failed"),
            _ => {}
        }
    }

    fn step(&mut self, step: &str, result: Option<EventResult>, event: &Event) {
        if result == Some(EventResult::Started) {
            self.began = Some((step.to_owned(), event.time));
            return;
        }
        // A provisioning that fails says so twice, the second time of itself.
        let Some((_, began)) = self.began.take_if(|(begun, _)| begun == step) else { return };
        let took = u64::try_from(between(began, event.time)).unwrap_or(0);
        self.count(Counted::Step, step);
        self.add(Counted::StepTime, step, took);
        match (step, result) {
            (_, Some(EventResult::Failed)) if event.kind == EventKind::Provision => {
                self.count(Counted::Provisioning, "failed");
            }
            ("issue", Some(EventResult::Ok)) => self.count(Counted::Issued, ""),
            ("switch", Some(EventResult::Ok)) => self.count(Counted::Adopted, ""),
            _ => {}
        }
    }

    fn count(&mut self, what: Counted, label: &str) {
        self.add(what, label, 1);
    }

    fn add(&mut self, what: Counted, label: &str, more: u64) {
        *self.counts.entry((what, label.to_owned())).or_default() += more;
    }

    fn of(&self, what: Counted) -> impl Iterator<Item = (&str, u64)> {
        let counts = self.counts.iter().filter(move |((counted, _), _)| *counted == what);
        counts.map(|((_, label), count)| (label.as_str(), *count))
    }

    fn write(&self, text: &mut Text) {
        let sum = |what| self.of(what).map(|(_, count)| count).sum::<u64>();
        let help = "Rotations that ended, by result, and by the step that failed.";
        let mut family = text.family("certrotd_rotations_total", Kind::Counter, help);
        family.sample(&[("result", "ok"), ("step", "")], &sum(Counted::RotationDone));
        for (step, count) in self.of(Counted::RotationFailed) {
            family.sample(&[("result", "failed"), ("step", step)], &count);
        }
        let help = "What the steps of provisioning and rotation took, failed ones too.";
        let mut family = text.family("certrotd_step_duration_seconds", Kind::Summary, help);
        for ((step, count), (_, millis)) in self.of(Counted::Step).zip(self.of(Counted::StepTime)) {
            let took = Seconds(i64::try_from(millis).unwrap_or(i64::MAX));
            family.suffixed("_sum", &[("step", step)], &took);
            family.suffixed("_count", &[("step", step)], &count);
        }
        for (name, help, what) in [
            ("certrotd_certificates_issued_total", "Certificates issued to this device.", Counted::Issued),
            ("certrotd_certificates_adopted_total", "Certificates that came into use.", Counted::Adopted),
            (
                "certrotd_connects_total",
                "Sessions that came up on the device's certificate.",
                Counted::Connect,
            ),
            (
                "certrotd_messages_delivered_total",
                "Messages handed to subscribers, each by its readers.",
                Counted::Heard,
            ),
            (
                "certrotd_messages_dropped_total",
                "Messages that subscribers were too slow for, each by its readers.",
                Counted::Unheard,
            ),
        ] {
            text.family(name, Kind::Counter, help).sample(&[], &sum(what));
        }
        for (name, help, label, what) in [
            ("certrotd_provisionings_total", "Provisionings by result.", "result", Counted::Provisioning),
            (
                "certrotd_connect_failures_total",
                "Attempts to connect that failed, by cause.",
                "cause",
                Counted::ConnectFailure,
            ),
            (
                "certrotd_session_losses_total",
                "Sessions that were lost, by cause; take-overs are none.",
                "cause",
                Counted::Loss,
            ),
            ("certrotd_commits_total", "Commits by answer.", "result", Counted::Commit),
            ("certrotd_publishes_total", "Publishes of applications by result.", "result", Counted::Publish),
        ] {
            let mut family = text.family(name, Kind::Counter, help);
            for (value, count) in self.of(what) {
                family.sample(&[(label, value)], &count);
            }
        }
        let help = "When a session on the device's own certificate last came up.";
        time(text, "certrotd_last_connect_timestamp_seconds", help, self.last_connect);
    }
}

fn time(text: &mut Text, name: &'static str, help: &str, time: Option<Time>) {
    let seconds = time.map(|time| Seconds(time.millis()));
    text.gauge(name, help, seconds.as_ref().map(|seconds| seconds as &dyn Display));
}

/// Milliseconds; below 0 where `to` is earlier.
fn between(from: Time, to: Time) -> i64 {
    to.millis().saturating_sub(from.millis())
}

/// The word of the wire.
fn state_word(state: State) -> String {
    let word = serde_json::to_value(state).ok();
    word.as_ref().and_then(|word| word.as_str()).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::wire::{Alert, Certificate, Generation, LastResult};

    fn at(seconds: i64) -> Time {
        Time::from_seconds(seconds)
    }

    fn step(seconds: i64, step: &str, result: EventResult) -> Event {
        Event::new(at(seconds), EventKind::RotationStep).step(step, result)
    }

    fn ended(seconds: i64, result: EventResult) -> Event {
        let mut event = Event::new(at(seconds), EventKind::RotationDone);
        event.result = Some(result);
        event
    }

    fn session(result: Option<EventResult>, cause: Option<&str>) -> Event {
        let mut event = Event::new(at(40), EventKind::Session);
        event.result = result;
        if let Some(cause) = cause {
            event = event.field("cause", cause);
        }
        event
    }

    #[test]
    fn what_happened_is_counted_by_result_step_and_cause() {
        let metrics = Metrics::default();
        for event in [
            step(10, "issue", EventResult::Started),
            step(12, "issue", EventResult::Ok),
            step(12, "register", EventResult::Started),
            step(15, "register", EventResult::Failed),
            {
                let mut event = ended(15, EventResult::Failed);
                event.step = Some("register".to_owned());
                event
            },
            step(20, "register", EventResult::Started),
            step(21, "register", EventResult::Ok),
            step(21, "switch", EventResult::Started),
            step(21, "switch", EventResult::Ok),
            ended(22, EventResult::Ok),
            session(Some(EventResult::Ok), None),
            session(Some(EventResult::Retry), Some("dns")),
            session(None, Some("closed")),
            session(None, None),
        ] {
            metrics.hear(&event);
        }
        let text = metrics.text(&Status::default());
        for line in [
            "certrotd_rotations_total{result=\"ok\",step=\"\"} 1",
            "certrotd_rotations_total{result=\"failed\",step=\"register\"} 1",
            "certrotd_step_duration_seconds_sum{step=\"register\"} 4.000",
            "certrotd_step_duration_seconds_count{step=\"register\"} 2",
            "certrotd_certificates_issued_total 1",
            "certrotd_certificates_adopted_total 1",
            "certrotd_connects_total 1",
            "certrotd_connect_failures_total{cause=\"dns\"} 1",
            "certrotd_session_losses_total{cause=\"closed\"} 1",
            "certrotd_last_connect_timestamp_seconds 40.000",
        ] {
            assert!(text.lines().any(|has| has == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn the_gauges_are_those_of_the_status() {
        let mut status =
            Status { now: at(1_000), version: "9.9".to_owned(), connected: true, ..Status::default() };
        status.certificate = Some(Certificate {
            id: "ab".to_owned(),
            not_before: at(400),
            not_after: at(9_000),
            key_type: "ecdsa-p256".to_owned(),
            generation: 3,
        });
        status.rotation.due_at = Some(at(900));
        status.rotation.overdue_seconds = 100;
        status.rotation.last_result = Some(LastResult { ok: false, at: at(950), ..LastResult::default() });
        let contested = Alert { level: Level::Error, code: "contested".to_owned(), ..Alert::default() };
        status.alerts = vec![contested.clone(), contested];
        let waits = HookResult { pending: true, ..HookResult::default() };
        status.hooks.results = vec![HookResult::default(), waits.clone(), waits];
        let old = |number, mark| Generation {
            number,
            stage: Stage::Proved,
            certificate_id: Some("cd".to_owned()),
            mark,
            ..Generation::default()
        };
        status.generations = vec![old(1, Mark::Retired), old(2, Mark::Clear), old(3, Mark::Clear)];
        status.state = State::AwaitingSerial;
        let text = Metrics::default().text(&status);
        for line in [
            "certrotd_state{state=\"awaiting-serial\"} 1",
            "certrotd_build_info{version=\"9.9\"} 1",
            "certrotd_connected 1",
            "certrotd_certificate_info{certificate_id=\"ab\",key_type=\"ecdsa-p256\"} 1",
            "certrotd_certificate_age_seconds 600.000",
            "certrotd_certificate_not_after_timestamp_seconds 9000.000",
            "certrotd_rotation_due_timestamp_seconds 900.000",
            "certrotd_rotation_overdue_seconds 100",
            "certrotd_rotation_last_timestamp_seconds{result=\"failed\"} 950.000",
            "certrotd_alerts{level=\"error\"} 2",
            "certrotd_alert_active{code=\"contested\",level=\"error\"} 1",
            "certrotd_hooks{result=\"ok\"} 0",
            "certrotd_hooks{result=\"failed\"} 1",
            "certrotd_hooks{result=\"pending\"} 2",
            "certrotd_retire_backlog 1",
            "certrotd_alerts{level=\"warn\"} 0",
        ] {
            assert!(text.lines().any(|has| has == line), "{line} is not in\n{text}");
        }
    }
}
