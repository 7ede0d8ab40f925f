//! Why a publish or a subscription is refused, in words; each a problem document with what clears it.

use tokio::time::{Duration, Instant};

use super::faults::Act;
use crate::cloud::TopicError;
use crate::control::wire::Problem;

/// The topic or payload breaks a limit of MQTT or AWS.
pub fn unfit(act: Act, name: &str, error: &TopicError) -> Problem {
    let (status, code, title) = match (error, act) {
        (TopicError::PayloadTooLarge(_), _) => (413, "payload-too-large", "The payload is too large"),
        (_, Act::Publish) => (400, "bad-topic", "The topic cannot be one"),
        (_, Act::Subscribe) => (400, "bad-filter", "The filter cannot be one"),
    };
    Problem::new(status, code, title, format!("{}: {error}", shown(name)), error.remedy())
}

/// Not within `[messages]`, or the daemon's own.
pub fn closed(act: Act, name: &str, own: bool, open: &[String]) -> Problem {
    let (code, title, key) = match act {
        Act::Publish => ("topic-not-allowed", "The topic is not open to applications", "messages.publish"),
        Act::Subscribe => {
            ("filter-not-allowed", "The filter is not open to applications", "messages.subscribe")
        }
    };
    let name = shown(name);
    if own {
        let detail = format!(
            "{name} is the daemon's own or AWS's: $\u{2026} and device/\u{2026}/certrot/\u{2026} always are"
        );
        return Problem::new(403, code, title, detail, "use another topic; no configuration opens these");
    }
    let open = if open.is_empty() { "nothing".to_owned() } else { open.join(", ") };
    let detail = format!("{name} is not within {key}, which opens {open}");
    Problem::new(403, code, title, detail, format!("use a topic within it, or add to {key} and reload"))
}

/// The cloud closes the connection on it.
pub fn forbidden(act: Act, name: &str) -> Problem {
    let (what, right) = match act {
        Act::Publish => ("publishing on", "iot:Publish"),
        Act::Subscribe => ("subscribing to", "iot:Subscribe (and iot:Receive)"),
    };
    let name = shown(name);
    let detail = format!(
        "the cloud does not allow {what} {name}: it closed the session on it, or refused it; it is not tried again for ten minutes"
    );
    let remedy = format!("give the device's policy {right} for {name}, then certrotctl reload");
    Problem::new(403, "forbidden-by-policy", "The cloud's policy forbids it", detail, remedy)
}

/// A user whose messages were forbidden too often.
pub fn shut_out(now: Instant, until: Instant) -> Problem {
    let minutes = until.saturating_duration_since(now).as_secs() / 60 + 1;
    let detail = format!(
        "messages of this user were forbidden by the cloud's policy too often, and each cost the session: none is taken for {minutes} min"
    );
    too_many(detail, "mend its topics or the device's policy, then certrotctl reload, or wait")
}

/// Too much is waiting.
pub fn too_many(detail: impl Into<String>, remedy: &str) -> Problem {
    Problem::new(429, "too-many", "Too many at once", detail, remedy)
}

/// No acknowledgement in time.
pub fn not_acknowledged(topic: &str, sent: bool, connected: bool, patience: Duration) -> Problem {
    let how = match (sent, connected) {
        (true, _) => "it was sent and may have arrived, and is not sent again",
        (false, true) => "it was not sent: others were before it",
        (false, false) => "it was not sent: there is no session",
    };
    let detail = format!("no acknowledgement for {} within {} s: {how}", shown(topic), patience.as_secs());
    let remedy =
        "publish it again (it may then arrive twice); certrotctl status says how the connection stands";
    Problem::new(504, "not-acknowledged", "The cloud has not acknowledged it", detail, remedy)
}

/// The daemon ends.
pub fn stopping() -> Problem {
    let remedy = "try again when it is up: systemctl status certrotd";
    Problem::new(
        503,
        "stopping",
        "The daemon is stopping",
        "it takes no more messages; what was sent and not acknowledged may have arrived",
        remedy,
    )
}

/// What somebody sent, in quotes and not without end.
fn shown(name: &str) -> String {
    let start: String = name.chars().take(SHOWN).collect();
    if start.len() < name.len() { format!("{start:?}\u{2026}") } else { format!("{start:?}") }
}

/// Longest part of a topic that is told: AWS's longest topic fits.
const SHOWN: usize = 256;
