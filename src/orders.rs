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
use crate::world::{Detail, identity};

type Reply = Result<serde_json::Value, Problem>;

/// Carries out one order.
pub(crate) fn carry_out(engine: &mut Engine, what: What, by: Peer) -> Reply {
    match what {
        What::Provision { serial, confirmed } => provision(engine, serial, confirmed, by),
        What::Rotate { .. } => rotate(engine, by),
        What::Reload => accepted(engine.reload()?),
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

fn provision(engine: &mut Engine, serial: Option<String>, confirmed: bool, by: Peer) -> Reply {
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
    let connected = matches!(engine.machine.link(), Link::Up { carrier: Carrier::Generation(_), .. });
    if connected {
        may_give_the_session_up(engine, &who.thing, confirmed)?;
        tracing::warn!(uid = by.uid, "an operator has the claim tried in the place of the session in hand");
    }
    let (operation, _) = engine.story.open("provision", "order");
    if connected {
        engine.story.claim_by_order = true;
        engine.claim_anew();
    } else {
        engine.turn(Input::Order(Order::Provision));
    }
    json(&Accepted {
        text: format!("provisions {} with the claim now", who.thing),
        operation: Some(operation),
    })
}

/// A session that works is given up for the claim only where somebody has said so, and where the claim could be used at
/// all; the pair in use stays what it is until a new one has carried a session (rules 10 and 20).
fn may_give_the_session_up(engine: &Engine, thing: &str, confirmed: bool) -> Result<(), Problem> {
    if !confirmed {
        let detail = format!("{thing} is provisioned and connected");
        let remedy = "certrotctl rotate-now for a new certificate; certrotctl provision asks, and then tries the claim all the same";
        return Err(Problem::conflict("provisioned", detail, remedy));
    }
    if engine.machine.contested() {
        let remedy = "find the other machine first: two clones would retire each other's certificates (certrotctl status)";
        return Err(Problem::conflict("contested", "another client connects with our client id", remedy));
    }
    if !engine.is_idle() {
        return Err(Problem::busy(
            "a step is in hand, and its answer is waited for",
            "try again in a moment",
        ));
    }
    identity(&engine.world.tools, &engine.world.config, Carrier::Claim)
        .map(drop)
        .map_err(|detail| Problem::conflict("claim-unusable", detail.text, detail.remedy))
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
