//! What several of these tests do.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Output;

use certrot_twin::{Effect, Event, Fault};
use serde_json::Value;

use crate::support::{Builder, Device};

/// Fifteen minutes in five seconds, the paces of a connect far below one.
pub const RATE: u32 = 180;

/// A device with its first certificate, connected, with nothing left to do.
pub fn provisioned(builder: Builder) -> Device {
    let device = builder.start();
    device.wait_steady(1);
    device
}

/// A device with two certificates that are alive, the second in use: the cloud accepts no commit.
pub fn two_alive(builder: Builder) -> Device {
    let device = provisioned(builder);
    refuse_commits(&device);
    rotate(&device, 2);
    assert_eq!(device.active().len(), 2, "{}", device.story());
    device
}

/// From now on the cloud rejects every commit.
pub fn refuse_commits(device: &Device) {
    device.twin().fault(refuse("commit", 429).forever());
}

/// A fault that rejects.
pub fn refuse(on: &str, status_code: u16) -> Fault {
    Fault::once(on, Effect::Refuse { status_code, error_code: "Refused".to_owned() })
}

/// Rotates by order, and waits until that generation is in use.
pub fn rotate(device: &Device, generation: u32) {
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(0), "{}\n{}", words(&done), device.log());
    wait_in_use(device, generation);
}

/// Waits until that generation carries the session.
pub fn wait_in_use(device: &Device, generation: u32) -> Value {
    device.wait_for(&format!("generation {generation} in use"), |s| {
        s["connected"] == true && s["certificate"]["generation"] == generation
    })
}

/// Waits for an alert in the status.
pub fn wait_alert(device: &Device, code: &str) -> Value {
    device.wait_for(&format!("the alert {code}"), |s| alert(s, code).is_some())
}

/// Waits until an alert is no longer in the status.
pub fn wait_no_alert(device: &Device, code: &str) -> Value {
    device.wait_for(&format!("no alert {code}"), |s| alert(s, code).is_none())
}

/// An alert of the status.
pub fn alert<'a>(status: &'a Value, code: &str) -> Option<&'a Value> {
    status["alerts"].as_array()?.iter().find(|a| a["code"] == code)
}

/// The mark of a generation in the status: `clear`, `refused`, `retired`; nothing where it is not on disk.
pub fn mark(status: &Value, generation: u32) -> Option<&str> {
    let all = status["generations"].as_array()?;
    all.iter().find(|g| g["number"] == generation)?["mark"].as_str()
}

/// The certificate id of a generation in the status.
pub fn id_of(status: &Value, generation: u32) -> String {
    let all = status["generations"].as_array().expect("generations");
    let slot = all.iter().find(|g| g["number"] == generation).expect("that generation");
    slot["certificateId"].as_str().expect("a whole pair").to_owned()
}

/// How often a certificate was refused, in the handshake (where the twin cannot tell whose it was) or at CONNECT, from
/// event number `since` on.
pub fn refusals(device: &Device, since: usize, id: &str) -> usize {
    let refused = |e: &Event| match e {
        Event::TlsFailed { .. } => true,
        Event::Tls { principal, refused, .. } => principal == id && refused.is_some(),
        Event::Connect { principal, refused, .. } => principal == id && refused.is_some(),
        _ => false,
    };
    device.twin().events_since(since).iter().filter(|l| refused(&l.event)).count()
}

/// How often a client id was let in, from event number `since` on.
pub fn let_in(device: &Device, since: usize, client: &str) -> usize {
    let accepted = |e: &Event| matches!(e, Event::Connect { client: c, refused: None, .. } if c == client);
    device.twin().events_since(since).iter().filter(|l| accepted(&l.event)).count()
}

/// What a program wrote, both ways.
pub fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Gives the operator's word that the claim may be used once more (`certrot-fleet reclaim THING`).
pub fn reclaim(device: &Device) {
    let now = jiff::Timestamp::from_millisecond(device.twin().clock().now_ms()).expect("a time");
    let word = certrot_rules::record::Reclaim::given(now).value();
    let attributes = [(certrot_rules::record::RECLAIM_ATTRIBUTE, word.as_str())];
    device.twin().set_attributes(device.thing(), &attributes).expect("a thing");
}

/// Writes a file as the store would leave it, 0600.
pub fn write(path: &Path, bytes: &[u8]) {
    let mut open = OpenOptions::new();
    let file = open.create(true).write(true).truncate(true).mode(0o600).open(path);
    file.and_then(|mut f| f.write_all(bytes)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}
