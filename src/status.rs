//! Says in words what the daemon does: builds the status document, and the alerts that go to the log at ERROR.
//!
//! Reads the machine, the world and the story; changes nothing. The same words go to `status`, to systemd's STATUS and
//! to the journal.

mod rotation;

use std::sync::Arc;

use crate::config::{MachineChange, RetireMode};
use crate::control::wire::{
    Alert, Certificate, Clock as WireClock, Configuration, Connection, Generation, Hooks, Level,
    Mark as WireMark, Retire, State as WireState, Status, Time,
};
use crate::log::id;
use crate::rotation::{
    Carrier, Current, Effect, Link, Mark, Now, Origin, Rotation, Rule, Stage, State, Wait, Why,
};
use crate::story::{ATTEMPTS_OF_WEATHER, Story, now, rule_word, stage_word};
use crate::world::World;
use crate::x509;

/// An alert with the message id that its line in the journal carries.
pub struct Told {
    /// As the status shows it.
    pub alert: Alert,
    /// For `journalctl MESSAGE_ID=…`.
    pub message_id: &'static str,
}

/// Builds the whole document.
pub fn status(
    world: &World,
    machine: &Rotation,
    story: &Story,
    at: &Now,
    since: Time,
    stopping: bool,
) -> Status {
    let who = world.who();
    let (state, why, until) = words(world, machine, story, at);
    let state = if stopping { WireState::Stopping } else { state };
    let disk = machine.disk();
    let current = disk.and_then(|d| d.current());
    let certificate = current.and_then(|slot| {
        let c = slot.certificate?;
        Some(Certificate {
            id: x509::hex(&c.id),
            not_before: Time::from_seconds(c.not_before),
            not_after: Time::from_seconds(c.not_after),
            key_type: key_type(world, slot, c.id),
            generation: slot.generation,
        })
    });
    let connected = matches!(machine.link(), Link::Up { carrier: Carrier::Generation(_), .. });
    let pending = disk.and_then(|d| d.pending);
    Status {
        now: Time::default(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        state,
        since,
        why,
        until,
        thing_name: who.as_ref().map(|w| w.thing.clone()),
        serial: who.map(|w| w.serial),
        connected,
        connection: Connection {
            since: story.connection_since,
            cause: story.connection.as_ref().map(|d| d.code.clone()),
            text: story.connection.as_ref().map(|d| d.text.clone()),
            failures: if connected { 0 } else { machine.connect_failures() },
            remedy: story.connection.as_ref().map(|d| d.remedy.clone()),
            retry_at: match machine.state() {
                State::Waiting(wait) if !connected && !is_endless(wait.why) => Some(wall_of(wait.until, at)),
                _ => None,
            },
        },
        certificate,
        rotation: rotation::to_wire(world, machine, story, at),
        retire: Retire {
            pending: pending.is_some() && world.config.retire.mode == RetireMode::CommitTopic,
            mode: world.config.retire.mode.as_str().to_owned(),
            generation: pending,
            attempts: machine.commit_failures(),
            retry_at: match machine.state() {
                State::Waiting(Wait { why: Why::CommitRefused, ends, .. }) => Some(wall_of(ends, at)),
                _ => None,
            },
            text: story.commit.as_ref().map(|d| d.text.clone()),
        },
        hooks: Hooks::default(),
        clock: WireClock {
            trusted: machine.clock_is_trusted(at),
            text: (!machine.clock_is_trusted(at)).then(|| {
                "the clock is before a time that is surely past; that time is used instead".to_owned()
            }),
        },
        configuration: Configuration::default(),
        generations: disk
            .map(|d| d.slots.iter().map(|s| generation(s, d.current)).collect())
            .unwrap_or_default(),
        alerts: alerts(world, machine, story, at).into_iter().map(|t| t.alert).collect(),
        operation: story.operation.as_ref().map(|o| o.to_wire()),
    }
}

/// One line for systemd's STATUS.
pub fn line(status: &Status) -> String {
    let thing = status.thing_name.as_deref().unwrap_or("no thing yet");
    let link = if status.connected { "connected" } else { "not connected" };
    format!("{thing}: {link}; {}", status.why)
}

/// The alerts of now, the worst first. Each ERROR is something that only a person clears.
pub fn alerts(world: &World, machine: &Rotation, story: &Story, at: &Now) -> Vec<Told> {
    let mut told = Vec::new();
    let mut tell = |level, code: &str, text: String, remedy: &str, message_id| {
        let alert = Alert { level, code: code.to_owned(), text, remedy: Some(remedy.to_owned()) };
        told.push(Told { alert, message_id });
    };
    // What it last waited for holds through the attempts in between, until a session is there.
    let why = machine.last_why();
    if machine.contested() {
        tell(
            Level::Error,
            "contested",
            "another client connects with our client id: a copied disk or a second agent".to_owned(),
            "find the other machine (its address is in the cloud's connection logs); one of the two needs an identity of its own",
            id::CONTESTED,
        );
    }
    if let Some(disk) = machine.disk() {
        let alive = disk
            .slots
            .iter()
            // A newer one is on its way to be `current`, or was refused and left.
            .filter(|s| matches!(disk.current, Current::Names(c) if s.generation <= c))
            .filter(|s| s.stage == Stage::Proved && s.mark != Mark::Retired && s.is_whole())
            .count();
        // Not while the commit that retires them is on its way: an ERROR asks for a person (rule 16).
        let overdue = disk.pending.is_none() || machine.commit_failures() > 0;
        if alive >= 3 && overdue && world.config.retire.mode == RetireMode::CommitTopic {
            let text =
                format!("{alive} certificates of this thing are alive: the cloud does not retire old ones");
            let remedy =
                "check the retire Lambda and its topic rule: certrot-fleet status, certrot-fleet sweep";
            tell(Level::Error, "certificates-pile-up", text, remedy, id::CERTIFICATES_PILE_UP);
        }
        if disk.foreign && world.config.identity.machine_change != MachineChange::Provision {
            tell(
                Level::Error,
                "machine-changed",
                "the store was written on another machine: a copied disk, or a changed board".to_owned(),
                "certrotctl adopt if this machine is meant to be the device; otherwise remove the store and provision anew",
                id::MACHINE_CHANGED,
            );
        }
        if !disk.serial_known && disk.current().is_none() {
            tell(
                Level::Error,
                "serial-missing",
                "no serial is known, neither from the configuration nor from an operator".to_owned(),
                "certrotctl provision SERIAL, or [device] serial in the configuration",
                id::SERIAL_MISSING,
            );
        }
        if let Some(c) = disk.current().and_then(|s| s.certificate) {
            let wall = machine.wall(at);
            let due = machine.due(at).map_or(i64::MAX, |d| d.at);
            let left = c.not_after - wall;
            let late = wall.saturating_sub(due);
            if left <= 0 {
                let text = "the certificate in use is past its end by the local clock".to_owned();
                tell(Level::Error, "certificate-expired", text, OVERDUE_REMEDY, id::ROTATION_OVERDUE);
            } else if late > OVERDUE && story.failures >= ATTEMPTS_OF_WEATHER {
                let text = format!("rotation is overdue by {} hours and does not succeed", late / 3600);
                tell(Level::Error, "rotation-overdue", text, OVERDUE_REMEDY, id::ROTATION_OVERDUE);
            }
        }
    }
    if let Some(disk) = machine.disk()
        && let Current::Names(n) = disk.current
    {
        let anew = disk.foreign && world.config.identity.machine_change == MachineChange::Provision;
        let meant = anew || story.claim_by_order;
        let claims = matches!(machine.link(), Link::Up { carrier: Carrier::Claim, .. });
        if claims && disk.current().is_some() && !meant {
            let text = "no certificate of this device works: the claim is tried".to_owned();
            let remedy =
                "certrot-fleet status says what the cloud holds; certrot-fleet reclaim lets the claim in";
            tell(Level::Error, "back-to-claim", text, remedy, id::BACK_TO_CLAIM);
        }
        let left = |s: &&crate::rotation::Slot| {
            let carries = matches!(machine.link(), Link::Up { carrier: Carrier::Generation(c), .. } if c == s.generation);
            s.generation > n && s.stage == Stage::Proved && s.mark == Mark::Refused && !carries
        };
        if let Some(left) = disk.slots.iter().rev().find(left) {
            let text = format!(
                "generation {} was left, refused or damaged; generation {n} is in use again",
                left.generation
            );
            let remedy =
                "a new certificate is asked for by itself; find out what happened to the one that was left";
            tell(Level::Error, "fallen-back", text, remedy, id::CERTIFICATE_REFUSED);
        }
    }
    match why {
        Some(Why::NothingWorks) => {
            let thing = world.who().map_or_else(|| "THING".to_owned(), |w| w.thing);
            let remedy = format!(
                "certrot-fleet status {thing}; certrot-fleet reclaim {thing} lets the claim in again"
            );
            let text = "the cloud refuses every certificate of this device".to_owned();
            tell(Level::Error, "certificate-refused", text, &remedy, id::CERTIFICATE_REFUSED);
        }
        Some(Why::ClaimRefused) if story.claim_failures >= ATTEMPTS_OF_WEATHER => {
            let text = "the claim certificate cannot be used".to_owned();
            let remedy =
                story.connection.as_ref().map_or("check [claim] in the configuration", |d| d.remedy.as_str());
            tell(Level::Error, "claim-unusable", text, remedy, id::CLAIM_UNUSABLE);
        }
        _ => {}
    }
    for finding in world.tools.findings.borrow().iter().filter(|f| f.is_damage()) {
        tell(Level::Error, "store-damaged", finding.to_string(), finding.fix(), id::STORE_DAMAGED);
    }
    if let Some(detail) = &story.disk {
        tell(Level::Error, "disk", detail.text.clone(), &detail.remedy, id::STORE_DAMAGED);
    }
    told
}

fn generation(slot: &crate::rotation::Slot, current: Current) -> Generation {
    Generation {
        number: slot.generation,
        stage: stage_word(slot.stage),
        certificate_id: slot.certificate.map(|c| x509::hex(&c.id)),
        not_before: slot.certificate.map(|c| Time::from_seconds(c.not_before)),
        mark: match slot.mark {
            Mark::Clear => WireMark::Clear,
            Mark::Refused => WireMark::Refused,
            Mark::Retired => WireMark::Retired,
        },
        current: current == Current::Names(slot.generation),
    }
}

/// Read from the disk once for a certificate: a status is made at every turn of the loop, and the private key lies beside.
fn key_type(world: &World, slot: &crate::rotation::Slot, id: [u8; 32]) -> String {
    if let Some((_, known)) = world.key_type.borrow().as_ref().filter(|(of, _)| *of == id) {
        return known.clone();
    }
    let pair = world.tools.store.pair(slot.generation).ok();
    let leaf = pair.and_then(|pair| x509::leaf(pair.certificate.as_bytes()).ok());
    let Some(leaf) = leaf.filter(|leaf| leaf.id == id) else { return String::new() };
    let found = leaf.public_key.key_type.to_string();
    *world.key_type.borrow_mut() = Some((id, found.clone()));
    found
}

/// What it does, why, and until when.
fn words(world: &World, machine: &Rotation, story: &Story, at: &Now) -> (WireState, String, Option<Time>) {
    let thing = world.who().map_or_else(|| "this device".to_owned(), |w| w.thing);
    match machine.state() {
        State::New => (WireState::Inspecting, "starting".to_owned(), None),
        State::Working(effect) => working(effect, &thing),
        State::Waiting(wait) => {
            let due = machine.due(at).map(|due| due.rule);
            let (state, why) = waiting(wait, due, story, &thing);
            (state, why, (!is_endless(wait.why)).then(|| wall_of(wait.ends, at)))
        }
    }
}

/// What ends by a person, not by time.
fn is_endless(why: Why) -> bool {
    matches!(why, Why::Offline | Why::Foreign | Why::Serial)
}

fn working(effect: Effect, thing: &str) -> (WireState, String, Option<Time>) {
    let (state, words) = match effect {
        Effect::Inspect => (WireState::Inspecting, "reads the store".to_owned()),
        Effect::Connect(Carrier::Claim) => {
            (WireState::Claiming, "connects with the claim certificate".to_owned())
        }
        Effect::Connect(Carrier::Generation(n)) => {
            (WireState::Waiting, format!("connects as {thing} with generation {n}"))
        }
        Effect::Hangup => (WireState::Waiting, "closes the session".to_owned()),
        Effect::Issue(Origin::Claim) => (WireState::Issuing, "asks for its first certificate".to_owned()),
        Effect::Issue(Origin::Rotation) => (WireState::Issuing, "asks for a new certificate".to_owned()),
        Effect::Record(_) | Effect::Remove(_) => (WireState::Switching, "writes the store".to_owned()),
        Effect::Register(n) => (WireState::Registering, format!("registers generation {n}")),
        Effect::Prove(n) => (WireState::Proving, format!("proves generation {n} by a session of its own")),
        Effect::Switch(n) => (WireState::Switching, format!("switches `current` to generation {n}")),
        Effect::Commit(n) => {
            (WireState::Retiring, format!("asks the cloud to retire what is older than generation {n}"))
        }
    };
    (state, words, None)
}

fn waiting(wait: Wait, due: Option<Rule>, story: &Story, thing: &str) -> (WireState, String) {
    let text = |detail: &Option<crate::world::Detail>| {
        detail.as_ref().map_or_else(String::new, |d| format!(": {}", d.text))
    };
    let connection = text(&story.connection);
    let renewal = text(&story.renewal);
    match wait.why {
        Why::NotDue => match due {
            Some(rule) => {
                let words = format!("nothing to do until the next rotation ({})", rule_word(rule));
                (WireState::Steady, words)
            }
            None => (WireState::Steady, "nothing to do; no rotation is scheduled".to_owned()),
        },
        Why::Clock => (
            WireState::AwaitingClock,
            "waits for a clock that can be trusted, ten minutes at most".to_owned(),
        ),
        Why::ClockStepped => {
            (WireState::Waiting, "the clock was stepped; no rotation for a quarter of an hour".to_owned())
        }
        Why::Serial => {
            (WireState::AwaitingSerial, "waits for a serial: certrotctl provision SERIAL".to_owned())
        }
        Why::Offline => {
            (WireState::Disconnected, "an operator took it offline: certrotctl connect".to_owned())
        }
        Why::Foreign => (
            WireState::Held,
            "the store belongs to another machine (machine-change = \"hold\"): certrotctl adopt".to_owned(),
        ),
        Why::StartJitter => {
            (WireState::Waiting, "waits a random while, so that a fleet does not come at once".to_owned())
        }
        Why::Unreachable if story.connection.as_ref().is_some_and(|d| d.code == "throttled") => {
            (WireState::Waiting, format!("the cloud puts connections off{connection}"))
        }
        Why::Unreachable if story.connection.as_ref().is_some_and(|d| d.code == "untrusted-server") => {
            (WireState::Waiting, format!("the endpoint is reached and not trusted{connection}"))
        }
        Why::Unreachable => (WireState::Waiting, format!("the endpoint cannot be reached{connection}")),
        Why::Refused => (WireState::Waiting, format!("the cloud refuses the certificate in use{connection}")),
        Why::NothingWorks => (
            WireState::Waiting,
            format!(
                "the cloud refuses every certificate; the operator's command is certrot-fleet reclaim {thing}{connection}"
            ),
        ),
        Why::Contested => {
            (WireState::Contested, "another client has our client id; connects every ten minutes".to_owned())
        }
        Why::ClaimRefused => (WireState::Waiting, format!("the claim certificate is refused{connection}")),
        Why::IssueRefused => (WireState::Waiting, format!("no certificate was issued{renewal}")),
        Why::RegisterRefused => {
            (WireState::Waiting, format!("the new certificate was not registered{renewal}"))
        }
        Why::NotProved => {
            (WireState::Waiting, format!("the new certificate does not carry a session yet{renewal}"))
        }
        Why::Unfit => {
            (WireState::Waiting, format!("the new certificate lacks rights that it needs{renewal}"))
        }
        Why::RetireDelay => {
            (WireState::Steady, "gives other holders of the old certificate time (retire.delay)".to_owned())
        }
        Why::CommitRefused => (
            WireState::Retiring,
            format!("the cloud has not retired the old certificate yet{}", text(&story.commit)),
        ),
        Why::Disk => (WireState::Waiting, format!("the disk refuses{}", text(&story.disk))),
    }
}

/// The wall time of a moment since boot.
fn wall_of(boot: u64, at: &Now) -> Time {
    let ahead = i64::try_from(boot.saturating_sub(at.boot) / 1000).unwrap_or(0);
    Time::from_seconds(at.wall.saturating_add(ahead))
}

/// A status behind an `Arc`, as it is published.
pub fn published(status: Status) -> Arc<Status> {
    Arc::new(status)
}

/// The wall time of now, for `since`.
pub fn since(world: &World) -> Time {
    now(&world.tools.clock)
}

/// A rotation that is late by less than this and fails is a WARN. Seconds.
const OVERDUE: i64 = 86_400;
const OVERDUE_REMEDY: &str = "certrotctl check says which step fails and who can clear it";
