//! The doctor: goes through everything in the order in which it happens, and names what it found.
//!
//! ```text
//! configuration ─▶ files ─▶ clock ─▶ network (ends after TLS) ─▶ questions on the live session ─▶ what the status says
//! ```
//! Serves `GET /v1/check` and `rotate-now --dry-run`. It never takes the live session's client id: a second connection ends
//! after TLS. It changes nothing but a file that it writes and removes in the store. What it asks on the live session
//! cannot succeed and is rejected; what that may cost, and how it is bounded, is in [`asking`] and [`Memory`]. Files,
//! network and standing know nothing of the daemon: `certrotctl` uses them alone where none answers.

mod asking;
pub mod files;
mod memory;
pub mod network;
pub mod standing;
pub mod statement;
mod step;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use memory::Memory;
pub use step::{Step, lacking, took};

use crate::cloud::{Session, Target};
use crate::config::{Config, KeySource, Problem, Report};
use crate::control::wire::{CheckReport, CheckStep, ConfigChange, Status};
use crate::log::Destination;
use crate::rotation::{Carrier, Disk};
use crate::store::Finding;
use crate::world::{Detail, Tools, identity, made_here};
use crate::x509;

/// What an examination looks at; made from the daemon's state when it is ordered.
pub struct Patient {
    /// Store and clocks.
    pub tools: Rc<Tools>,
    /// The configuration in force.
    pub config: Rc<Config>,
    /// What the configuration's file says now.
    pub file: File,
    /// The status of this moment.
    pub status: Status,
    /// The session in hand, where one carries the device.
    pub session: Option<Rc<Session>>,
    /// The disk as the core knows it.
    pub disk: Option<Disk>,
    /// Why nothing may be asked on the session now.
    pub quiet: Option<&'static str>,
    /// Why what is scarce in the cloud may not be tried now (rule 7).
    pub sparing: Option<&'static str>,
    /// What earlier examinations have shown.
    pub memory: Rc<RefCell<Memory>>,
    /// Where the log goes.
    pub log: Destination,
    /// systemd's watchdog, where there is one.
    pub watchdog: Option<Duration>,
}

/// A configuration's file as it is now, beside what is in force: its warnings and what differs, or why it does not load.
pub type File = Result<(Vec<Problem>, Vec<ConfigChange>), Arc<Report>>;

/// Goes through every step, in the order in which things happen.
pub async fn examine(patient: Patient) -> CheckReport {
    let now = patient.tools.wall();
    let provisioned = patient.disk.as_ref().is_some_and(|d| d.current().is_some());
    let mut steps = vec![
        configuration(&patient),
        standing::serial(&patient.status),
        files::root_ca(&patient.config, now),
        files::claim(&patient.config, now, provisioned),
        store(&patient),
        files::modes(patient.config.identity.directory.as_path()),
    ];
    steps.extend(generation(&patient));
    steps.push(machine(&patient));
    steps.extend(room(&patient));
    steps.push(request(&patient));
    let clock = &patient.tools.clock;
    steps.push(files::clock(patient.status.clock.trusted, clock.is_synchronised(), clock.wall()));
    steps.extend(network(&patient).await);
    steps.extend(asking::questions(&patient).await);
    steps.push(standing::rotation(&patient.status));
    steps.push(standing::retire(&patient.status));
    steps.push(standing::hooks(&patient.status));
    steps.push(log(&patient));
    steps.push(service(&patient));
    steps.push(standing::alerts(&patient.status));
    CheckReport {
        at: Some(patient.status.now),
        age_seconds: 0,
        version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        steps,
    }
}

/// The file as it is now: the daemon runs on, but its next start reads the file.
fn configuration(patient: &Patient) -> CheckStep {
    file(
        &patient.file,
        "in force as the file has it",
        "; the daemon goes on with what it has until it is started again",
    )
}

/// What is said of a configuration's file: `well` where nothing is wrong, `meanwhile` after what does not load.
pub fn file(file: &File, well: &str, meanwhile: &str) -> CheckStep {
    let step = Step::begin("config");
    match file {
        Err(report) => {
            let words = report.problems.first().map_or_else(String::new, told);
            let more = match report.problems.len() {
                0 | 1 => String::new(),
                n => format!(" (and {} more)", n - 1),
            };
            let words = format!("{} does not load: {words}{more}{meanwhile}", report.file.display());
            let fix = report.problems.first().map_or_else(String::new, |p| p.fix.clone());
            step.fail("configuration", words, format!("{fix}; certrotd --check-config shows all"))
        }
        Ok((_, changes)) if !changes.is_empty() => {
            let keys: Vec<&str> = changes.iter().map(|c| c.key.as_str()).collect();
            let words = format!("in force, and other than the file by now: {}", keys.join(", "));
            step.warn(
                "configuration-changed",
                words,
                "certrotctl reload, or restart what it says waits for that",
            )
        }
        Ok((warnings, _)) => match warnings.first() {
            None => step.ok(well),
            Some(first) => {
                let words: Vec<String> = warnings.iter().map(told).collect();
                step.warn("configuration-warning", words.join("; "), first.fix.clone())
            }
        },
    }
}

fn told(problem: &Problem) -> String {
    match problem.line {
        Some(line) => format!("line {line}, {}: {}", problem.key, problem.rule),
        None if problem.key.is_empty() => problem.rule.clone(),
        None => format!("{}: {}", problem.key, problem.rule),
    }
}

fn store(patient: &Patient) -> CheckStep {
    let step = Step::begin("store");
    match patient.tools.store.inspect(true) {
        Err(error) => step.failed(&Detail::of_store("reading the store", &error)),
        Ok((disk, findings)) => {
            let damage = findings.iter().find(|f| f.is_damage());
            if let Some(finding) = damage {
                return step.fail("store-damaged", finding.to_string(), finding.fix());
            }
            let words = disk.current().map_or("no identity yet".to_owned(), |s| {
                let n = disk.slots.len();
                format!(
                    "{n} generation{} on disk, generation {} in use",
                    if n == 1 { "" } else { "s" },
                    s.generation
                )
            });
            match findings.first() {
                None => step.ok(words),
                // Nothing is wrong with it, and somebody should know: a foreign file, a mode.
                Some(first) => {
                    let told: Vec<String> = findings.iter().map(Finding::to_string).collect();
                    step.warn("store-untidy", format!("{words}; {}", told.join("; ")), first.fix())
                }
            }
        }
    }
}

/// Pair and dates of the generation in use.
fn generation(patient: &Patient) -> [CheckStep; 2] {
    let (pair, certificate) = (Step::begin("pair"), Step::begin("certificate"));
    let Some(slot) = patient.disk.as_ref().and_then(|d| d.current()) else {
        return [pair, certificate].map(|step| step.skip("there is no identity yet"));
    };
    let read = patient
        .tools
        .store
        .pair(slot.generation)
        .map_err(|error| Detail::of_store("reading the pair", &error).text)
        .and_then(|pair| {
            x509::pair(pair.certificate.as_bytes(), pair.key.as_bytes()).map_err(|e| e.to_string())
        });
    let dates = slot.certificate.map(|c| files::certificate(c.not_before, c.not_after, patient.tools.wall()));
    [files::pair(slot.generation, read), dates.unwrap_or_else(|| certificate.skip("it cannot be read"))]
}

fn machine(patient: &Patient) -> CheckStep {
    let step = Step::begin("machine");
    if patient.disk.as_ref().is_some_and(|d| d.foreign) {
        let words = "the store was written on another machine: a copied disk, or a changed board";
        let fix = "certrotctl adopt if this machine is meant to be the device; otherwise remove the store and provision anew";
        return step.warn("machine-changed", words, fix);
    }
    step.ok("the store was written on this machine")
}

fn room(patient: &Patient) -> [CheckStep; 2] {
    match patient.tools.store.probe_space() {
        Err(error) => {
            let (disk, inodes) = (Step::begin("disk"), Step::begin("inodes"));
            let detail = Detail::of_store("writing a file into the store", &error);
            let store = patient.config.identity.directory.as_path();
            let disk = match error.is_full() {
                true => disk.fail(&detail.code, detail.text, files::make_room(store)),
                false => disk.failed(&detail),
            };
            [disk, inodes.skip("nothing can be written")]
        }
        Ok(space) => {
            let store = patient.config.identity.directory.as_path();
            files::room(store, space.free_bytes, space.free_files)
        }
    }
}

/// A key of the configured type and a CSR are made and thrown away.
fn request(patient: &Patient) -> CheckStep {
    let step = Step::begin("request");
    let identity = &patient.config.identity;
    if identity.key_source == KeySource::Cloud {
        return step.skip("no key is made here: key-source = \"cloud\"");
    }
    match made_here(&patient.config) {
        Ok(_) => step.ok(format!("a key ({}) and a CSR were made", identity.key_type.as_str())),
        Err(detail) => step.failed(&detail),
    }
}

/// DNS, TCP and TLS to the endpoint, with the certificate in use (or the claim's), ending before CONNECT.
async fn network(patient: &Patient) -> Vec<CheckStep> {
    let (tools, config) = (&patient.tools, &patient.config);
    let carrier = match patient.disk.as_ref().and_then(|d| d.current()) {
        Some(slot) => Carrier::Generation(slot.generation),
        None => Carrier::Claim,
    };
    let identity =
        identity(tools, config, carrier).map_err(|detail| format!("no pair to show: {}", detail.text));
    let target = Target::new(config.aws.endpoint.as_str(), config.aws.port);
    network::way(&target, identity.as_ref().map_err(Clone::clone), tools.deadline(PROBE), tools.wall()).await
}

fn log(patient: &Patient) -> CheckStep {
    let level = patient.config.log.level.as_str();
    Step::begin("log").ok(match patient.log {
        Destination::Journal => format!("level {level}, to the journal: journalctl -u certrotd"),
        Destination::Stderr => format!("level {level}, to standard error"),
    })
}

fn service(patient: &Patient) -> CheckStep {
    let step = Step::begin("service");
    match patient.watchdog {
        Some(interval) => step.ok(format!("under systemd, which hears of it every {} s", interval.as_secs())),
        None => step.skip("not started by systemd with a watchdog: nothing starts it again when it hangs"),
    }
}

/// For DNS, TCP and TLS together.
pub const PROBE: Duration = Duration::from_secs(15);
