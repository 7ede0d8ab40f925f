//! The doctor: tries every step that can be tried without minting a certificate, and names what it found.
//!
//! Serves `certrotctl check` and `rotate-now --dry-run`. It never takes the live session's client id: a second
//! connection ends after TLS. It changes nothing but a file that it writes and removes in the store.
//!
//! What it asks on the live session cannot succeed and is rejected. A policy that does not even allow to ask closes the
//! session, as it would in a rotation; the daemon comes back by itself.

use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::cloud::{Session, Target, Times, probe_tls};
use crate::config::{Config, KeySource};
use crate::control::wire::{CheckReport, CheckResult, CheckStep};
use crate::rotation::{Carrier, Disk};
use crate::world::{Detail, Tools, ask_in_vain, identity, listen_for_keys, made_here, register_in_vain};

/// What an examination looks at; made from the daemon's state when it is ordered.
pub struct Patient {
    /// Store and clocks.
    pub tools: Rc<Tools>,
    /// The configuration in force.
    pub config: Rc<Config>,
    /// The session in hand, where one carries the device.
    pub session: Option<Rc<Session>>,
    /// The disk as the core knows it.
    pub disk: Option<Disk>,
    /// Whether the clock is trusted.
    pub clock_trusted: bool,
    /// Whether RegisterThing's own right is tried, or why not.
    pub registering: Registering,
}

/// Whether RegisterThing's own right is tried (rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registering {
    /// With a token that is none.
    Try,
    /// Not now, for this reason.
    Leave(&'static str),
}

/// Goes through every step, in the order in which a rotation needs them.
pub async fn examine(patient: Patient) -> CheckReport {
    let mut steps = vec![configuration(&patient), clock(&patient), store(&patient), space(&patient)];
    steps.extend(network(&patient).await);
    steps.push(session(&patient));
    steps.push(answers(&patient).await);
    steps.extend(cloud_key(&patient).await);
    steps.push(registering(&patient).await);
    steps.push(request(&patient));
    CheckReport { steps }
}

fn configuration(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    let claim = patient.config.claim.files.is_some();
    let provisioned = patient.disk.as_ref().is_some_and(|d| d.current().is_some());
    if claim || provisioned {
        let detail =
            if claim { "in force" } else { "in force; the claim pair is not at hand, and not needed now" };
        return done("configuration", CheckResult::Ok, detail, since);
    }
    failed(
        "configuration",
        &Detail::new(
            "configuration",
            "the claim pair is not at hand, and there is no identity yet",
            "give the claim key by LoadCredential= or by [claim] private-key",
        ),
        since,
    )
}

fn clock(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    if patient.clock_trusted {
        return done("clock", CheckResult::Ok, "trusted", since);
    }
    let remedy = "enable time synchronisation (systemd-timesyncd, chrony)";
    CheckStep {
        remedy: Some(remedy.to_owned()),
        ..done(
            "clock",
            CheckResult::Warn,
            "before a time that is surely past; that time is used instead",
            since,
        )
    }
}

fn store(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    match patient.tools.store.inspect(true) {
        Err(error) => failed("store", &Detail::of_store("reading the store", &error), since),
        Ok((disk, findings)) => {
            let damage = findings.iter().find(|f| f.is_damage());
            match (damage, disk.current()) {
                (Some(finding), _) => {
                    failed("store", &Detail::new("store", finding.to_string(), finding.fix()), since)
                }
                (None, slot) => {
                    let words = slot.map_or("no identity yet".to_owned(), |s| {
                        format!("{} generations, generation {} in use", disk.slots.len(), s.generation)
                    });
                    match findings.first() {
                        None => done("store", CheckResult::Ok, &words, since),
                        // Nothing is wrong with it, and somebody should know: a foreign file, a mode.
                        Some(first) => {
                            let told: Vec<String> = findings.iter().map(ToString::to_string).collect();
                            let words = format!("{words}; {}", told.join("; "));
                            let remedy = Some(first.fix().to_owned());
                            CheckStep { remedy, ..done("store", CheckResult::Warn, &words, since) }
                        }
                    }
                }
            }
        }
    }
}

fn space(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    match patient.tools.store.probe_space() {
        Err(error) => failed("space", &Detail::of_store("writing a file into the store", &error), since),
        Ok(space) if !space.is_enough() => {
            let text = format!("{} bytes left: too few for a new pair", space.free_bytes);
            failed("space", &Detail::new("disk-full", text, "make room on the store's file system"), since)
        }
        Ok(space) => done(
            "space",
            CheckResult::Ok,
            &format!("a file was written and synced; {} MB left", space.free_bytes >> 20),
            since,
        ),
    }
}

/// DNS, TCP and TLS to the endpoint, with the certificate in use (or the claim's), ending before CONNECT.
async fn network(patient: &Patient) -> Vec<CheckStep> {
    let (tools, config) = (&patient.tools, &patient.config);
    let carrier = match patient.disk.as_ref().and_then(|d| d.current()) {
        Some(slot) => Carrier::Generation(slot.generation),
        None => Carrier::Claim,
    };
    let since = Instant::now();
    let identity = match identity(tools, config, carrier) {
        Ok(identity) => identity,
        Err(detail) => return vec![failed("tls", &detail, since)],
    };
    let target = Target::new(config.aws.endpoint.as_str(), config.aws.port);
    match probe_tls(&target, &identity, tools.deadline(PROBE)).await {
        Ok(facts) => {
            let Times { dns, tcp, tls } = facts.times;
            let ok = |name, detail: String, took: Duration| CheckStep {
                millis: u64::try_from(took.as_millis()).ok(),
                ..done(name, CheckResult::Ok, &detail, since)
            };
            vec![
                ok("dns", format!("{} is {}", config.aws.endpoint.as_str(), facts.address.ip()), dns),
                ok("tcp", format!("port {} answers", facts.address.port()), tcp),
                ok("tls", format!("{}, the server is signed by root-ca", facts.tls), tls),
            ]
        }
        Err(failure) => {
            let detail = Detail::of_cause(&failure);
            let at = match detail.code.as_str() {
                "dns" => 0,
                "tcp-refused" | "unreachable" => 1,
                _ => 2,
            };
            let names = ["dns", "tcp", "tls"];
            let before = names
                .iter()
                .take(at)
                .map(|name| CheckStep { millis: None, ..done(name, CheckResult::Ok, "", since) });
            let after = names.iter().skip(at + 1).map(|name| skipped(name, "the step before it failed"));
            before.chain([failed(names[at], &detail, since)]).chain(after).collect()
        }
    }
}

fn session(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    match &patient.session {
        Some(session) if session.is_alive() => done("session", CheckResult::Ok, "up", since),
        _ => {
            let remedy = "certrotctl status says why; it is tried again by itself";
            failed(
                "session",
                &Detail::new("not-connected", "no session with the device's certificate", remedy),
                since,
            )
        }
    }
}

/// A request that is no CSR, on the live session: the answer topics work and nothing is minted.
async fn answers(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    let Some(session) = &patient.session else { return skipped("answers", "there is no session to ask on") };
    match ask_in_vain(session, &patient.tools).await {
        Ok(()) => {
            done("answers", CheckResult::Ok, "a request that is no CSR was rejected, as it should be", since)
        }
        Err(detail) => failed("answers", &detail, since),
    }
}

/// What can be tried of `key-source = "cloud"`: each request would mint, so only its answers are listened for.
async fn cloud_key(patient: &Patient) -> Option<CheckStep> {
    let since = Instant::now();
    if patient.config.identity.key_source == KeySource::Device {
        return None;
    }
    let Some(session) = &patient.session else {
        return Some(skipped("cloud-key", "there is no session to listen on"));
    };
    Some(match listen_for_keys(session, &patient.tools).await {
        Ok(()) => {
            let words = "the answers of CreateKeysAndCertificate can be heard; asking would mint, so whether the policy \
                         allows it is not tried";
            done("cloud-key", CheckResult::Ok, words, since)
        }
        Err(detail) => failed("cloud-key", &detail, since),
    })
}

/// RegisterThing with a token that is none, on the live session (rule 7): it costs the fleet's scarcest quota, so it is
/// part of `check` alone, and not of each.
async fn registering(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    let session = match (patient.registering, &patient.session) {
        (Registering::Leave(why), _) => return skipped("register", why),
        (_, None) => return skipped("register", "there is no session to ask on"),
        (Registering::Try, Some(session)) => session,
    };
    let template = patient.config.rotation.template.as_str();
    match register_in_vain(session, &patient.tools, template).await {
        Ok(said) => {
            let words = format!("{template}: a token that is none was rejected, as it should be ({said})");
            done("register", CheckResult::Ok, &words, since)
        }
        Err(detail) => failed("register", &detail, since),
    }
}

/// A key of the configured type and a CSR are made and thrown away.
fn request(patient: &Patient) -> CheckStep {
    let since = Instant::now();
    let identity = &patient.config.identity;
    if identity.key_source == KeySource::Cloud {
        return skipped("request", "no key is made here: key-source = \"cloud\"");
    }
    match made_here(&patient.config) {
        Ok(_) => {
            let words = format!("a key ({}) and a CSR were made", identity.key_type.as_str());
            done("request", CheckResult::Ok, &words, since)
        }
        Err(detail) => failed("request", &detail, since),
    }
}

fn done(name: &str, result: CheckResult, detail: &str, since: Instant) -> CheckStep {
    CheckStep {
        name: name.to_owned(),
        result,
        detail: detail.to_owned(),
        cause: None,
        remedy: None,
        millis: u64::try_from(since.elapsed().as_millis()).ok(),
    }
}

fn failed(name: &str, detail: &Detail, since: Instant) -> CheckStep {
    CheckStep {
        cause: Some(detail.code.clone()),
        remedy: Some(detail.remedy.clone()),
        ..done(name, CheckResult::Fail, &detail.text, since)
    }
}

fn skipped(name: &str, why: &str) -> CheckStep {
    CheckStep { millis: None, ..done(name, CheckResult::Skipped, why, Instant::now()) }
}

/// For DNS, TCP and TLS together.
const PROBE: Duration = Duration::from_secs(15);
