//! The commands that stay: `status --watch`, `rotate-now --wait`, `wait`.
//!
//! They follow the events and come back when the stream breaks off (a lagging reader, a daemon that restarts), each
//! until its own deadline; the status is asked again after each event, so a lost event costs time and no truth.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::args::Goal;
use super::follow::{Follow, Outcome, Turn};
use super::words::{clean, span};
use super::{Failure, Output, complain, read, show};
use crate::control::client::{Client, ClientError, Events};
use crate::control::wire::{EventKind, RotateAccepted, Status};
use crate::exit::Exit;

/// Shows the status at every change, for ever.
pub(super) async fn status(client: &Client, out: &Output) -> Result<Exit, Failure> {
    let mut shown = None;
    let mut lost = false;
    loop {
        match watch_once(client, out, &mut shown).await {
            Err(Failure::Client(error)) if error.may_pass() && shown.is_some() => {
                if !lost {
                    complain(&error.to_string(), "waiting for it to come back");
                }
                lost = true;
                sleep(AGAIN).await;
            }
            Err(failure) => return Err(failure),
            Ok(()) => lost = false,
        }
    }
}

/// Shows one status where it is another than the one shown, then waits until there may be another.
async fn watch_once(client: &Client, out: &Output, shown: &mut Option<Value>) -> Result<(), Failure> {
    let mut events = client.events(None).await?;
    loop {
        let value = client.get("/v1/status").await?;
        let status: Status = read(&value)?;
        let changed = without_the_present(&value);
        if out.json {
            if shown.as_ref() != Some(&changed) {
                out.text(&format!("{value}\n"))?;
            }
        } else if out.terminal {
            out.text(&format!("{CLEAR}{}", show::status(&status, show::Screen::standard(out.paint))))?;
        } else if shown.as_ref() != Some(&changed) {
            out.text(&format!("{}\n", show::status(&status, show::Screen::standard(out.paint))))?;
        }
        *shown = Some(changed);
        if let Ok(event) = timeout(LOOK, events.next()).await {
            event?;
        }
    }
}

/// The status without what changes by itself.
fn without_the_present(status: &Value) -> Value {
    let mut status = status.clone();
    if let Some(fields) = status.as_object_mut() {
        fields.remove("now");
        if let Some(rotation) = fields.get_mut("rotation").and_then(Value::as_object_mut) {
            rotation.remove("overdueSeconds");
        }
    }
    status
}

/// Orders a rotation and follows it to its end; joins the events first, so that none of them is missed.
pub(super) async fn rotation(client: &Client, out: &Output, limit: Duration) -> Result<Exit, Failure> {
    let deadline = Instant::now() + limit;
    let mut events = client.events(None).await?;
    let accepted: RotateAccepted = read(&client.post("/v1/rotate", &json!({})).await?)?;
    let mut follow = Follow::new(accepted.operation);
    if !out.json && !accepted.text.is_empty() {
        tell(out, &format!("{}\n", clean(&accepted.text)));
    }
    let outcome = loop {
        let Ok(next) = timeout_at(deadline, events.next()).await else { break None };
        match next {
            Ok((value, event)) if event.kind == EventKind::Gap => {
                if out.json {
                    tell(out, &format!("{value}\n"));
                }
                match after_gap(client, &mut follow, deadline).await? {
                    Some(outcome) => break Some(outcome),
                    None => continue,
                }
            }
            Ok((value, event)) => {
                let turn = follow.take(&event);
                if turn != Turn::Other {
                    let line = show::event(&event, follow.began(), out.paint);
                    tell(out, &if out.json { format!("{value}\n") } else { line + "\n" });
                }
                if let Turn::Ended(outcome) = turn {
                    break Some(outcome);
                }
            }
            Err(error) if error.may_pass() => {
                match rejoin(client, events.last_id(), deadline, error).await? {
                    Some(again) => events = again,
                    None => break None,
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    Ok(conclude(out, outcome, limit))
}

/// Says how it goes. That nobody reads it any more changes nothing of the exit code: that one is the answer.
fn tell(out: &Output, text: &str) {
    let _ = out.text(text);
}

/// Asks the status what the lost events would have said.
async fn after_gap(
    client: &Client,
    follow: &mut Follow,
    deadline: Instant,
) -> Result<Option<Outcome>, Failure> {
    match timeout_at(deadline, client.get("/v1/status")).await {
        Ok(Ok(value)) => Ok(follow.after_gap(&read(&value)?)),
        Ok(Err(error)) if error.may_pass() => Ok(None), // the stream will break off as well
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Comes back to the events after the last one that was seen; `None` at the deadline.
async fn rejoin(
    client: &Client,
    last: Option<u64>,
    deadline: Instant,
    mut error: ClientError,
) -> Result<Option<Events>, Failure> {
    let patience = deadline.min(Instant::now() + RESTART);
    loop {
        if Instant::now() >= deadline {
            return Ok(None);
        }
        if Instant::now() >= patience {
            return Err(error.into());
        }
        match client.events(last).await {
            Ok(events) => return Ok(Some(events)),
            Err(e) if e.may_pass() => error = e,
            Err(e) => return Err(e.into()),
        }
        sleep(AGAIN).await;
    }
}

fn conclude(out: &Output, outcome: Option<Outcome>, limit: Duration) -> Exit {
    let Some(outcome) = outcome else {
        let waited = span(limit.as_secs().try_into().unwrap_or(i64::MAX));
        complain(
            &format!("the rotation has not ended after {waited}; it goes on"),
            "follow it with certrotctl status --watch",
        );
        return Exit::TryAgain;
    };
    let text = clean(&outcome.text);
    if outcome.ok {
        if !out.json {
            let text = if text.is_empty() { String::new() } else { format!(": {text}") };
            tell(out, &format!("rotated{text}\n"));
        }
        return Exit::Done;
    }
    let at = outcome.step.map(|step| format!(" at {}", clean(&step))).unwrap_or_default();
    let text = if text.is_empty() { String::new() } else { format!(": {text}") };
    let remedy =
        outcome.remedy.unwrap_or_else(|| "it is tried again by itself; see certrotctl status".to_owned());
    complain(&format!("the rotation failed{at}{text}"), &remedy);
    Exit::TryAgain
}

/// Waits until the goal is reached; for a daemon that is not up yet too.
pub(super) async fn goal(
    client: &Client,
    out: &Output,
    goal: Goal,
    limit: Option<Duration>,
) -> Result<Exit, Failure> {
    let mut last = Err(ClientError::BrokenOff);
    let reached = reach(client, goal, &mut last);
    let reached = match limit {
        Some(limit) => timeout(limit, reached).await,
        None => Ok(reached.await),
    };
    if let Ok(reached) = reached {
        let value = reached?;
        let status: Status = read(&value)?;
        let name = clean(status.thing_name.as_deref().unwrap_or("the device"));
        let words = match goal {
            Goal::Provisioned => format!("{name} is provisioned\n"),
            Goal::Connected => format!("{name} is connected\n"),
        };
        out.text(&if out.json { format!("{value}\n") } else { words })?;
        return Ok(Exit::Done);
    }
    let status = last?;
    let what = match goal {
        Goal::Provisioned => "provisioned",
        Goal::Connected => "connected",
    };
    complain(&format!("not {what} yet: {}", status.why), "see certrotctl status, then certrotctl check");
    Ok(Exit::TryAgain)
}

/// Asks until the goal is reached; leaves in `last` what was seen last.
async fn reach(
    client: &Client,
    goal: Goal,
    last: &mut Result<Status, ClientError>,
) -> Result<Value, Failure> {
    loop {
        match reach_once(client, goal, last).await {
            Ok(value) => return Ok(value),
            Err(Failure::Client(error)) if error.may_pass() => {
                // Busy is not away: keep what its status said.
                if last.is_err() || !matches!(error, ClientError::Refused(_)) {
                    *last = Err(error);
                }
            }
            Err(failure) => return Err(failure),
        }
        sleep(AGAIN).await;
    }
}

async fn reach_once(
    client: &Client,
    goal: Goal,
    last: &mut Result<Status, ClientError>,
) -> Result<Value, Failure> {
    let mut events = None;
    loop {
        let value = client.get("/v1/status").await?;
        let status: Status = read(&value)?;
        let reached = match goal {
            Goal::Provisioned => status.certificate.is_some(),
            Goal::Connected => status.connected,
        };
        *last = Ok(status);
        if reached {
            return Ok(value);
        }
        match &mut events {
            // Joined only now, so the status is asked once more before the first wait.
            None => events = Some(client.events(None).await?),
            Some(events) => {
                if let Ok(event) = timeout(LOOK, events.next()).await {
                    event?;
                }
            }
        }
    }
}

/// Between looks when nothing is heard.
const LOOK: Duration = Duration::from_secs(5);
/// Between attempts to reach a daemon that is away.
const AGAIN: Duration = Duration::from_millis(300);
/// For a daemon that restarts while it is followed.
const RESTART: Duration = Duration::from_secs(60);
/// Home, then clear the screen (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";
