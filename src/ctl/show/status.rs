//! `certrotctl status`: one screen that says in words what the daemon does, since when, why, and what comes next.

use crate::control::wire::{ConfigChange, Level, Mark, Operation, Stage, State, Status, Time};
use crate::ctl::words::{Paint, Tone, clean, date, day, distance, span, wrap, wrap_to};

/// The screen that the text must fit.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Characters of a line.
    pub width: usize,
    /// Lines, one of which is the prompt's.
    pub height: usize,
    /// Colour or not.
    pub paint: Paint,
}

impl Screen {
    /// The smallest screen that everybody has: 80 by 24.
    pub fn standard(paint: Paint) -> Screen {
        Screen { width: 80, height: 24, paint }
    }
}

/// The whole screen.
pub fn status(status: &Status, screen: Screen) -> String {
    let mut lines = vec![title(status), String::new()];
    let (tone, headline) = headline(status);
    let headline = wrap(&headline, screen.width);
    lines.extend(headline.iter().map(|line| screen.paint.tone(tone, line)));
    let since = format!("{} ({})", date(status.since), span(status.now.seconds() - status.since.seconds()));
    lines.extend(labelled("  since", &since, 1, screen));
    if !status.why.is_empty() {
        lines.extend(labelled("  why", &clean(&status.why), 3, screen));
    }
    if let Some(next) = next(status) {
        lines.extend(labelled("  next", &next, 2, screen));
    }
    lines.push(String::new());
    let room = screen.height.saturating_sub(1 + lines.len());
    let for_alerts = if status.alerts.is_empty() { 0 } else { FOR_ALERTS };
    let mut rest = rows(status, screen, usize::MAX);
    if rest.len() + for_alerts > room {
        rest = rows(status, screen, 1);
    }
    let room = room.saturating_sub(rest.len());
    lines.extend(rest);
    lines.extend(alerts(status, screen, room));
    lines.join("\n") + "\n"
}

fn title(status: &Status) -> String {
    let mut title = format!("certrotd {}", clean(&status.version));
    if let Some(thing) = &status.thing_name {
        title += &format!(" · thing {}", clean(thing));
    }
    if let Some(serial) = status.serial.as_ref().filter(|serial| status.thing_name.as_ref() != Some(serial)) {
        title += &format!(" · serial {}", clean(serial));
    }
    title
}

/// What the daemon does, in one sentence.
fn headline(status: &Status) -> (Tone, String) {
    let (tone, words) = match status.state {
        State::AwaitingClock => (Tone::Warn, "Waiting for a clock that can be trusted".to_owned()),
        State::AwaitingSerial => {
            (Tone::Warn, "Waiting for its serial: certrotctl provision SERIAL".to_owned())
        }
        State::Inspecting => (Tone::Good, "Reading its store".to_owned()),
        State::Claiming => (Tone::Good, "Provisioning: connecting with the claim certificate".to_owned()),
        State::Issuing => (Tone::Good, doing(status, "asking for a certificate on a new key")),
        State::Registering => (Tone::Good, doing(status, "registering the new certificate")),
        State::Proving => (Tone::Good, doing(status, "proving the new certificate in a session")),
        State::Switching => (Tone::Good, doing(status, "putting the new certificate into use")),
        State::Retiring => (Tone::Good, "Retiring older certificates in the cloud".to_owned()),
        State::Steady if status.connected => (Tone::Good, "Steady: provisioned and connected".to_owned()),
        State::Steady => (Tone::Warn, "Steady, but not connected".to_owned()),
        State::Waiting if status.connected => (Tone::Warn, "Connected, and waiting".to_owned()),
        State::Waiting if status.certificate.is_some() => {
            (Tone::Warn, "Not connected, and waiting".to_owned())
        }
        State::Waiting => (Tone::Warn, "Not provisioned yet, and waiting".to_owned()),
        State::Contested => (Tone::Bad, "Contested: another client uses this device's client id".to_owned()),
        State::Disconnected => (Tone::Warn, "Disconnected by an operator: certrotctl connect".to_owned()),
        State::Held => (Tone::Bad, "Held: the store came from another machine: certrotctl adopt".to_owned()),
        State::Stopping => (Tone::Warn, "Stopping".to_owned()),
        State::Unknown => (Tone::Warn, "In a state that this certrotctl does not know".to_owned()),
    };
    let expired = status.certificate.as_ref().is_some_and(|c| c.not_after <= status.now);
    if expired { (Tone::Bad, format!("EXPIRED certificate. {words}")) } else { (tone, words) }
}

fn doing(status: &Status, step: &str) -> String {
    match &status.operation {
        Some(Operation { kind, .. }) if kind == "rotation" => format!("Rotating: {step}"),
        Some(_) => format!("Provisioning: {step}"),
        None if status.certificate.is_some() => format!("Rotating: {step}"),
        None => format!("Provisioning: {step}"),
    }
}

/// The next thing that happens by itself: the earliest that is still to come, or else the rotation that is overdue.
fn next(status: &Status) -> Option<String> {
    let mut coming: Vec<(Time, &str)> = Vec::new();
    if let Some(until) = status.until {
        let what = match status.state {
            State::Waiting | State::Contested | State::AwaitingClock | State::Retiring => "goes on",
            State::Steady => ROTATES,
            _ => "gives this step up",
        };
        coming.push((until, what));
    }
    coming.extend(status.connection.retry_at.filter(|_| !status.connected).map(|at| (at, "connects again")));
    coming.extend(status.retire.retry_at.filter(|_| status.retire.pending).map(|at| (at, "commits again")));
    coming.extend(status.rotation.due_at.filter(|_| status.rotation.enabled).map(|at| (at, ROTATES)));
    coming.sort_by_key(|(at, _)| *at);

    let (at, what) = coming.iter().find(|(at, _)| *at >= status.now).or(coming.first())?;
    let when = format!("{} ({})", date(*at), distance(*at, status.now));
    let rule = status.rotation.rule.as_deref().filter(|_| *what == ROTATES);
    let rule = rule.map(|rule| format!(", by {}", clean(rule))).unwrap_or_default();
    if *what == ROTATES && *at < status.now {
        return Some(format!("rotation is overdue since {when}{rule}"));
    }
    Some(format!("{what} at {when}{rule}"))
}

const ROTATES: &str = "rotates";

/// What is known, a row for each; none takes more than `at_most` lines.
fn rows(status: &Status, screen: Screen, at_most: usize) -> Vec<String> {
    let mut rows = Vec::new();
    let mut row = |label: &str, text: String, most: usize| {
        rows.extend(labelled(label, &text, most.min(at_most), screen))
    };
    row("session", session(status), 3);
    if let Some(remedy) = status.connection.remedy.as_ref().filter(|_| !status.connected) {
        row("", format!("→ {}", clean(remedy)), 2);
    }
    match &status.certificate {
        Some(c) => {
            let key = clean(&c.key_type);
            let ends = if c.not_after <= status.now { "EXPIRED since" } else { "valid until" };
            let age = distance(c.not_before, status.now);
            row(
                "certificate",
                format!("generation {}, {key}, issued {} ({age})", c.generation, day(c.not_before)),
                1,
            );
            row("", clean(&c.id), 1);
            row("", format!("{ends} {} ({})", date(c.not_after), distance(c.not_after, status.now)), 1);
        }
        None => row("certificate", "none in use".to_owned(), 1),
    }
    row("rotation", rotation(status), 2);
    row("retire", retire(status), 2);
    if status.hooks.generation.is_some() || !status.hooks.results.is_empty() {
        row("hooks", hooks(status), 2);
    }
    if !status.generations.is_empty() {
        row("on disk", generations(status), 2);
    }
    if !status.configuration.waiting.is_empty() {
        let told = |c: &ConfigChange| format!("{} {}", clean(&c.key), c.acts.words());
        let all: Vec<String> = status.configuration.waiting.iter().map(told).collect();
        row("reloaded", all.join("; "), 2);
    }
    if !status.clock.trusted {
        let why = status.clock.text.as_deref().map(|t| format!(": {}", clean(t))).unwrap_or_default();
        row("clock", format!("not trusted{why}"), 2);
    }
    rows
}

fn session(status: &Status) -> String {
    let connection = &status.connection;
    let since = match connection.since {
        Some(at) => format!(" since {} ({})", date(at), span(status.now.seconds() - at.seconds())),
        None => String::new(),
    };
    if status.connected {
        return format!("connected{since}");
    }
    let cause = match (&connection.text, &connection.cause) {
        (Some(text), _) => format!(": {}", clean(text)),
        (None, Some(cause)) => format!(": {}", clean(cause)),
        (None, None) => String::new(),
    };
    let failures = match connection.failures {
        0 => String::new(),
        1 => ", 1 failure".to_owned(),
        n => format!(", {n} failures"),
    };
    format!("not connected{since}{failures}{cause}")
}

fn rotation(status: &Status) -> String {
    let rotation = &status.rotation;
    let mut words = match (rotation.enabled, rotation.due_at) {
        (false, _) => "switched off".to_owned(),
        (true, Some(at)) if at < status.now => format!("overdue since {}", day(at)),
        (true, Some(at)) => format!("due {}", day(at)),
        (true, None) => "on".to_owned(),
    };
    match &rotation.last_result {
        Some(last) if last.ok => {
            words += &format!(", last done {} ({})", day(last.at), distance(last.at, status.now))
        }
        Some(last) => {
            let step = last.step.as_deref().map(|s| format!(" at {}", clean(s))).unwrap_or_default();
            let text = last.text.as_deref().map(|t| format!(": {}", clean(t))).unwrap_or_default();
            words += &format!(", last failed{step} {}{text}", distance(last.at, status.now));
        }
        None => words += ", none so far",
    }
    if rotation.failures > 0 {
        words += &format!(", {} in a row failed", rotation.failures);
    }
    words
}

fn retire(status: &Status) -> String {
    let retire = &status.retire;
    if retire.mode == "none" {
        return "left to the operator: certrot-fleet retire".to_owned();
    }
    if !retire.pending {
        return "nothing pending".to_owned();
    }
    let of = retire.generation.map(|g| format!(" of generation {g}")).unwrap_or_default();
    let sent = if retire.attempts > 0 { format!(", sent {} times", retire.attempts) } else { String::new() };
    let text = retire.text.as_deref().map(|t| format!(": {}", clean(t))).unwrap_or_default();
    format!("the commit{of} is not accepted yet{sent}{text}")
}

fn hooks(status: &Status) -> String {
    let seen = status.hooks.certificate_id.as_ref();
    let behind = status.certificate.as_ref().filter(|c| seen.is_some_and(|id| *id != c.id));
    let due = behind.map(|c| format!("still to run for generation {}; ", c.generation)).unwrap_or_default();
    let of = due + &status.hooks.generation.map(|g| format!("generation {g}: ")).unwrap_or_default();
    if status.hooks.results.is_empty() {
        return format!("{of}none");
    }
    let each = status.hooks.results.iter().map(|hook| {
        let why = hook.text.as_deref().map(|t| format!(" ({})", clean(t))).unwrap_or_default();
        let end = match (hook.ok, hook.pending) {
            (true, _) => "ok",
            (false, true) => "still to run",
            (false, false) => "FAILED",
        };
        format!("{} {end}{why}", clean(&hook.name))
    });
    of + &each.collect::<Vec<_>>().join(", ")
}

fn generations(status: &Status) -> String {
    let each = status.generations.iter().map(|generation| {
        let stage = match generation.stage {
            Stage::Issued => "issued",
            Stage::Registered => "registered",
            Stage::Proved => "proved",
            Stage::Unknown => "?",
        };
        let broken = if generation.certificate_id.is_none() { ", BROKEN" } else { "" };
        let mark = match generation.mark {
            Mark::Clear | Mark::Unknown => "",
            Mark::Refused => ", refused",
            Mark::Retired => ", retired",
        };
        let current = if generation.current { ", in use" } else { "" };
        format!("{} ({stage}{broken}{mark}{current})", generation.number)
    });
    each.collect::<Vec<_>>().join(", ")
}

/// The alerts that fit, the worst first, then how many do not.
fn alerts(status: &Status, screen: Screen, room: usize) -> Vec<String> {
    let mut sorted: Vec<_> = status.alerts.iter().collect();
    sorted.sort_by_key(|alert| alert.level);
    let mut lines = Vec::new();
    for (n, alert) in sorted.iter().enumerate() {
        let (tone, word) = match alert.level {
            Level::Error => (Tone::Bad, "ERROR"),
            Level::Warn => (Tone::Warn, "WARN"),
            Level::Info => (Tone::Dim, "INFO"),
        };
        let text = wrap_to(&clean(&alert.text), screen.width - INDENT, 2);
        let word = screen.paint.tone(tone, &format!("{word:INDENT$}"));
        let blank_start = format!("{:INDENT$}", "");
        let starts = std::iter::once(word).chain(std::iter::repeat(blank_start));
        let mut block: Vec<String> = starts.zip(text).map(|(start, line)| start + &line).collect();
        if let Some(remedy) = &alert.remedy {
            block.extend(labelled("", &format!("→ {}", clean(remedy)), 2, screen));
        }
        let blank = usize::from(n == 0);
        let last = usize::from(n + 1 < sorted.len()); // a line for those that are left
        if lines.len() + blank + block.len() + last > room {
            if lines.len() + blank < room {
                lines.extend((n == 0).then(String::new));
                lines.push(format!("{} more in: certrotctl --json status", counted(sorted.len() - n)));
            }
            return lines;
        }
        lines.extend((n == 0).then(String::new));
        lines.extend(block);
    }
    lines
}

fn counted(n: usize) -> String {
    if n == 1 { "1 alert".to_owned() } else { format!("{n} alerts") }
}

fn labelled(label: &str, text: &str, most: usize, screen: Screen) -> Vec<String> {
    let lines = wrap_to(text, screen.width - INDENT, most);
    let padded = format!("{label:INDENT$}");
    let first = if label.is_empty() { padded } else { screen.paint.tone(Tone::Dim, &padded) };
    let starts = std::iter::once(first).chain(std::iter::repeat(format!("{:INDENT$}", "")));
    starts.zip(lines).map(|(start, line)| start + &line).collect()
}

/// Lines that alerts get when the rows would take them all.
const FOR_ALERTS: usize = 5;
/// Width of the labels' column.
const INDENT: usize = 13;
