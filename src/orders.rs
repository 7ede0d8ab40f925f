//! Carries out what operators order over the control socket, and says what comes of it.
//!
//! The server has checked that the peer may order. Here it is checked whether the order makes sense now; a refusal
//! names the thing and the remedy.

use serde::Serialize;

use crate::config::{self, Serial};
use crate::control::wire::{Accepted, HistoryEntry, Problem, RotateAccepted, RotationPatch, Time};
use crate::control::{Peer, What};
use crate::engine::Engine;
use crate::rotation::{Carrier, Happening, Input, Link, Order, Record};
use crate::world::Detail;

type Reply = Result<serde_json::Value, Problem>;

/// Carries out one order.
pub(crate) fn carry_out(engine: &mut Engine, what: What, by: Peer) -> Reply {
    match what {
        What::Provision { serial } => provision(engine, serial, by),
        What::Rotate { .. } => rotate(engine, by),
        What::Reload => {
            let waits = engine.reload()?;
            let text = if waits.is_empty() {
                "the configuration is read again and in force".to_owned()
            } else {
                format!("the configuration is read again; {} change with the next restart", waits.join(", "))
            };
            accepted(text)
        }
        What::Connect => {
            engine.turn(Input::Order(Order::Connect));
            accepted("connects again by itself")
        }
        What::Disconnect => {
            tracing::info!(uid = by.uid, "an operator takes the device offline");
            engine.turn(Input::Order(Order::Disconnect));
            accepted("offline until certrotctl connect or a restart; no rotation meanwhile")
        }
        What::Adopt => adopt(engine, by),
        What::Patch(patch) => patched(engine, &patch),
        What::History => history(engine),
        What::Check => {
            Err(Problem::internal("a check came the wrong way", "report this as a fault of certrotd"))
        }
    }
}

/// Writes an answer as JSON.
pub(crate) fn json<T: Serialize>(answer: &T) -> Reply {
    serde_json::to_value(answer).map_err(|_| {
        Problem::internal("the answer could not be written", "report this as a fault of certrotd")
    })
}

fn accepted(text: impl Into<String>) -> Reply {
    json(&Accepted { text: text.into(), operation: None })
}

fn provision(engine: &mut Engine, serial: Option<String>, by: Peer) -> Reply {
    if let Some(text) = serial {
        let serial = Serial::parse(&text).map_err(|fault| {
            Problem::bad_request(format!("{text:?} cannot be a serial: {}", fault.rule), fault.fix)
        })?;
        match engine.world.who() {
            Some(who) if who.serial != serial.as_str() => {
                let detail = format!("this device already has the serial {}", who.serial);
                let remedy = "a serial is given once: remove the store to make it another device, or change [device] serial";
                return Err(Problem::conflict("serial-known", detail, remedy));
            }
            Some(_) => {}
            None => {
                let thing = engine.world.config.device.expected_thing(&serial);
                engine
                    .world
                    .tools
                    .store
                    .set_serial(serial.as_str(), thing.as_str())
                    .map_err(|error| disk(&Detail::of_store("storing the serial", &error)))?;
                tracing::info!(
                    uid = by.uid,
                    serial = serial.as_str(),
                    thing = thing.as_str(),
                    "serial given"
                );
                let policy = crate::policy::of(&engine.world.config, engine.world.who().as_ref());
                engine.turn(Input::Reload(policy));
                engine.turn(Input::Happened(Happening::Changed));
            }
        }
    }
    let Some(who) = engine.world.who() else {
        let remedy = "certrotctl provision SERIAL, or [device] serial in the configuration";
        return Err(Problem::conflict("serial-missing", "no serial is known", remedy));
    };
    if engine.machine.offline() {
        let remedy = "certrotctl connect, then try again";
        return Err(Problem::conflict("offline", "an operator took the device offline", remedy));
    }
    if matches!(engine.machine.link(), Link::Up { carrier: Carrier::Generation(_), .. }) {
        let detail = format!("{} is provisioned and connected", who.thing);
        return Err(Problem::conflict("provisioned", detail, "certrotctl rotate-now for a new certificate"));
    }
    let (operation, _) = engine.story.open("provision", "order");
    engine.turn(Input::Order(Order::Provision));
    json(&Accepted {
        text: format!("provisions {} with the claim now", who.thing),
        operation: Some(operation),
    })
}

fn rotate(engine: &mut Engine, by: Peer) -> Reply {
    let conflict = |code: &str, detail: &str, remedy: &str| Err(Problem::conflict(code, detail, remedy));
    let current = engine.machine.disk().and_then(|d| d.current()).is_some();
    if engine.machine.offline() {
        return conflict(
            "offline",
            "an operator took the device offline",
            "certrotctl connect, then try again",
        );
    }
    if engine.machine.contested() {
        let remedy = "find the other machine first: two clones would retire each other's certificates (certrotctl status)";
        return conflict("contested", "another client connects with our client id", remedy);
    }
    if !current {
        return conflict(
            "not-provisioned",
            "there is no certificate to replace",
            "certrotctl status says what provisioning waits for",
        );
    }
    if !matches!(engine.machine.link(), Link::Up { carrier: Carrier::Generation(_), .. }) {
        return conflict(
            "not-connected",
            "a rotation goes over the device's own session, and there is none now",
            "certrotctl wait --for connected, then try again; certrotctl check says what is wrong",
        );
    }
    tracing::info!(uid = by.uid, "an operator orders a rotation");
    let (operation, joined) = engine.story.open("rotation", "order");
    engine.turn(Input::Order(Order::Rotate));
    let text = if joined { "joins the rotation under way" } else { "rotates now" };
    json(&RotateAccepted { text: text.to_owned(), operation: Some(operation), joined })
}

fn adopt(engine: &mut Engine, by: Peer) -> Reply {
    let foreign = engine.machine.disk().is_some_and(|d| d.foreign);
    if !foreign {
        return accepted("nothing to adopt: the store belongs to this machine");
    }
    let adopted = engine.world.tools.store.record(Record::Adopted);
    adopted.map_err(|error| disk(&Detail::of_store("adopting the store", &error)))?;
    tracing::info!(uid = by.uid, "an operator adopts the store for this machine");
    engine.turn(Input::Happened(Happening::Changed));
    accepted("the store belongs to this machine from now on")
}

fn patched(engine: &mut Engine, patch: &RotationPatch) -> Reply {
    let lifetime = engine
        .machine
        .disk()
        .and_then(|d| d.current())
        .and_then(|s| s.certificate)
        .and_then(|c| u64::try_from(c.not_after - c.not_before).ok())
        .map(config::Duration::from_secs);
    let wanted = config::RotationPatch {
        enabled: patch.enabled,
        check_interval: patch.check_interval.clone(),
        max_age: patch.max_age.clone(),
        renew_before: patch.renew_before.clone(),
    };
    let mut config = (*engine.world.config).clone();
    config.rotation = config.rotation.patched(&wanted, lifetime).map_err(|problems| {
        let detail: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Problem::configuration(detail.join("; "), "correct the values named")
    })?;
    engine.adopt_config(config);
    accepted("in force until the next reload or restart")
}

fn history(engine: &Engine) -> Reply {
    let entries =
        engine.world.tools.store.history().map_err(|e| disk(&Detail::of_store("reading the history", &e)))?;
    let lines: Vec<HistoryEntry> = entries
        .into_iter()
        .map(|entry| {
            let ok = entry.result == "done";
            let kind = match (entry.what.as_str(), ok) {
                ("provision", true) => "provisioned",
                ("provision", false) => "provisioning-failed",
                ("rotation", true) => "rotated",
                ("rotation", false) => "rotation-failed",
                ("retire", _) => "retired",
                (other, _) => other,
            };
            let text = match (ok, entry.seconds) {
                (true, 0) => entry.cause.clone(),
                (true, seconds) => format!("{}, {seconds} s", entry.cause),
                (false, _) => entry.result.clone(),
            };
            HistoryEntry {
                time: Time::from_seconds(entry.at),
                kind: kind.to_owned(),
                generation: entry.generation,
                certificate_id: entry.certificate_id.clone(),
                text,
            }
        })
        .collect();
    json(&lines)
}

fn disk(detail: &Detail) -> Problem {
    Problem::internal(detail.text.clone(), detail.remedy.clone())
}
