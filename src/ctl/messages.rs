//! `publish` and `subscribe`: applications' messages from a shell.
//!
//! A payload is printed as it is in a pipe, and without anything that could steer a terminal on one; what is no text
//! is base64 and says so. What may be missing is told on standard error.

use std::io::Read as _;
use std::time::Duration;

use serde_json::Value;
use tokio::time::sleep;

use super::words::clean;
use super::{Failure, Output, complain};
use crate::control::client::{Client, ClientError};
use crate::control::wire::{Heard, Message, PublishRequest, Published};
use crate::exit::Exit;

/// Publishes, and waits for the cloud's acknowledgement.
pub(super) async fn publish(
    client: Client,
    out: &Output,
    topic: String,
    payload: Option<String>,
    timeout: Duration,
) -> Result<Exit, Failure> {
    let payload = match payload {
        None => Vec::new(),
        Some(payload) if payload == "-" => {
            let mut bytes = Vec::new();
            // One byte more than AWS takes: the daemon says what is wrong with it.
            let read = std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes);
            if let Err(error) = read {
                complain(
                    &format!("reading standard input failed: {error}"),
                    "give the payload as an argument",
                );
                return Ok(Exit::Usage);
            }
            bytes
        }
        Some(payload) => payload.into_bytes(),
    };
    let request =
        PublishRequest { timeout_seconds: Some(timeout.as_secs()), ..PublishRequest::new(topic, payload) };
    // A request of strings and numbers always becomes JSON.
    let body = serde_json::to_value(request).unwrap_or_default();
    let client = client.with_patience(timeout + MORE);
    let value = client.post("/v1/publish", &body).await?;
    out.answer(&value, |done: &Published| {
        let topic = clean(&done.topic);
        format!("acknowledged by the cloud: {} bytes on {topic}, {} ms\n", done.bytes, done.millis)
    })?;
    Ok(Exit::Done)
}

/// Prints messages until it is ended, or has printed as many as were asked for.
pub(super) async fn subscribe(
    client: &Client,
    out: &Output,
    filter: &str,
    count: Option<u64>,
) -> Result<Exit, Failure> {
    let mut state = Following { left: count, joined: false, lost: false };
    loop {
        match follow(client, out, filter, &mut state).await {
            Ok(exit) => return Ok(exit),
            Err(Failure::Client(error)) if error.may_pass() && state.joined => {
                if !std::mem::replace(&mut state.lost, true) {
                    complain(&format!("gap: {error}"), "waiting for it; what comes meanwhile is missed");
                }
                sleep(AGAIN).await;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// How far it is.
struct Following {
    left: Option<u64>,
    /// Whether the subscription has stood.
    joined: bool,
    /// Whether the stream broke off since.
    lost: bool,
}

/// Follows one stream to its end.
async fn follow(client: &Client, out: &Output, filter: &str, state: &mut Following) -> Result<Exit, Failure> {
    let mut stream = client.messages(filter).await?;
    loop {
        let (value, heard) = stream.heard().await?;
        if out.json && !matches!(heard, Heard::Message(_)) {
            out.text(&format!("{value}\n"))?;
        }
        match heard {
            Heard::Message(message) => {
                out.text(&line(out, &value, message)?)?;
                state.left = state.left.map(|left| left - 1);
                if state.left == Some(0) {
                    return Ok(Exit::Done);
                }
            }
            Heard::Ended(problem) if problem.status == 503 => {
                return Err(ClientError::Refused(Box::new(problem)).into());
            }
            Heard::Ended(problem) => {
                complain(&problem.to_string(), &problem.remedy);
                return Ok(Exit::from(&problem));
            }
            Heard::Subscribed { filter } => {
                state.joined = true;
                let again = std::mem::take(&mut state.lost);
                note(&format!("subscribed to {filter}{}", if again { " again" } else { "" }));
            }
            Heard::Gap(gap) => note(&format!("gap: {}", gap.text)),
            Heard::Unknown => {}
        }
    }
}

/// A message as one line: its topic and its payload.
fn line(out: &Output, value: &Value, message: Message) -> Result<String, Failure> {
    if out.json {
        return Ok(format!("{value}\n"));
    }
    let topic = clean(&message.topic);
    let payload = match (&message.payload, &message.payload_base64) {
        (Some(text), _) if out.terminal => clean(text),
        (Some(text), _) => text.clone(),
        (None, _) => {
            let wrong = |_| ClientError::Malformed { what: "a payload that is not base64" };
            match String::from_utf8(message.clone().into_bytes().map_err(wrong)?) {
                Ok(text) if out.terminal => clean(&text),
                Ok(text) => text,
                Err(_) => format!("base64:{}", message.payload_base64.unwrap_or_default()),
            }
        }
    };
    Ok(format!("{topic} {payload}\n"))
}

/// Says beside the messages how it stands.
fn note(text: &str) {
    eprintln!("certrotctl: {}", clean(text));
}

/// AWS's largest payload (AWS IoT Core message broker quotas).
const LARGEST: u64 = 128 * 1024;
/// Beyond the daemon's own deadline for a publish.
const MORE: Duration = Duration::from_secs(15);
/// Between attempts to reach a daemon that is away.
const AGAIN: Duration = Duration::from_millis(500);
