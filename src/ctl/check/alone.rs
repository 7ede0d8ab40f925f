//! A report without the daemon: everything that can be looked at from outside, and nothing that would change a file of the
//! store or take the device's client id.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::machine;
use crate::clock::{BUILT_AFTER, Clock};
use crate::cloud::{ClientIdentity, Target};
use crate::config::{Config, Facts, Purpose, Serial, identity_directory};
use crate::control::wire::{CheckReport, CheckResult, CheckStep, Status, Time};
use crate::doctor::{self, PROBE, Step, files, network, standing};
use crate::x509::{self, Leaf};

/// Goes through the steps, in the daemon's order and by its names; `daemon` says why it is alone.
pub async fn report(daemon: CheckStep, path: &Path) -> CheckReport {
    let clock = Clock::start();
    let now = clock.wall();
    let loaded = Config::load(path, &Facts::gather(path, Purpose::Check));
    let store = identity_directory(path).map(|directory| directory.as_path().to_owned());
    let pair = store.as_deref().map(Pair::read);
    let mut steps = Vec::new();
    let config = match loaded {
        Ok((config, mut warnings)) => {
            // What only systemd can show is no fault of the file's.
            warnings.retain(|problem| !problem.rule.starts_with("not checkable"));
            steps.push(doctor::file(&Ok((warnings, Vec::new())), "the file loads", ""));
            Some(config)
        }
        Err(report) => {
            steps.push(doctor::file(&Err(Arc::new(report)), "", ", so certrotd does not start with it"));
            None
        }
    };
    let provisioned = pair.as_ref().is_some_and(|pair| pair.generation.is_some());
    steps.extend(configured(config.as_ref(), store.as_deref(), provisioned, now));
    steps.extend(stored(store.as_deref(), pair.as_ref(), now));
    let begun = pair.as_ref().and_then(|p| p.leaf.as_ref().ok()).map_or(0, |leaf| leaf.not_before);
    steps.push(files::clock(now >= BUILT_AFTER.max(begun), clock.is_synchronised(), now));
    steps.push(daemon);
    match &config {
        Some(config) => steps.extend(way(config, pair.as_ref(), clock).await),
        None => steps.extend(skipped(&network::NAMES, "the configuration was not read")),
    }
    let why = "only the daemon connects with the device's client id";
    steps.extend(skipped(&["connect", "subscribe", "publish", "provisioning", "register", "commit"], why));
    steps.extend(machine::steps(None));
    if !nix::unistd::geteuid().is_root() {
        steps.iter_mut().for_each(blind);
    }
    CheckReport { at: Some(Time::from_seconds(now)), age_seconds: 0, version: None, steps }
}

/// What this user may not read says nothing of what the daemon may.
fn blind(step: &mut CheckStep) {
    if step.result == CheckResult::Fail && step.detail.to_ascii_lowercase().contains("permission denied") {
        let detail = format!("not to be judged by this user, run it as root: {}", step.detail);
        *step = CheckStep { name: std::mem::take(&mut step.name), detail, ..CheckStep::default() };
    }
}

/// What the configuration names.
fn configured(config: Option<&Config>, store: Option<&Path>, provisioned: bool, now: i64) -> Vec<CheckStep> {
    let Some(config) = config else {
        return skipped(&["serial", "root-ca", "claim"], "the configuration was not read");
    };
    let claim = match &config.claim.files {
        Some(_) => files::claim(config, now, provisioned),
        None => Step::begin("claim").skip("systemd hands it to the service (LoadCredential=)"),
    };
    vec![serial(config, store), files::root_ca(config, now), claim]
}

/// The serial, from the configuration or as it was given once.
fn serial(config: &Config, store: Option<&Path>) -> CheckStep {
    let given = || {
        let path = store?.join("device.json");
        match fs::read(path) {
            Ok(text) => {
                let device: serde_json::Value = serde_json::from_slice(&text).ok()?;
                Serial::parse(device.get("serial")?.as_str()?).ok()
            }
            Err(_) => None,
        }
    };
    let serial = config.device.serial().cloned().or_else(given);
    let thing = serial.as_ref().map(|serial| config.device.expected_thing(serial).as_str().to_owned());
    let serial = serial.map(|serial| serial.as_str().to_owned());
    standing::serial(&Status { serial, thing_name: thing, ..Status::default() })
}

/// What the store holds.
fn stored(store: Option<&Path>, pair: Option<&Pair>, now: i64) -> Vec<CheckStep> {
    let (Some(store), Some(pair)) = (store, pair) else {
        let names = ["store", "modes", "pair", "certificate", "disk", "inodes"];
        return skipped(&names, "[identity] directory cannot be read from the configuration");
    };
    let step = Step::begin("store");
    let first = match (&pair.unread, pair.generation) {
        (Some(words), _) => step.skip(words.as_str()),
        (None, Some(n)) => step.ok(format!("generation {n} in use")),
        (None, None) if store.is_dir() => step.skip("no identity yet"),
        (None, None) => step.skip(format!("there is no {} yet", store.display())),
    };
    let mut steps = vec![first];
    if pair.unread.is_some() || !store.exists() {
        let why =
            if pair.unread.is_some() { "the store cannot be looked into" } else { "there is no store yet" };
        steps.extend(skipped(&["modes", "pair", "certificate"], why));
    } else {
        steps.push(files::modes(store));
        match (pair.generation, &pair.leaf) {
            (None, _) => steps.extend(skipped(&["pair", "certificate"], "there is no identity yet")),
            (Some(n), leaf) => {
                steps.push(files::pair(n, leaf.clone()));
                steps.push(match leaf {
                    Ok(leaf) => files::certificate(leaf.not_before, leaf.not_after, now),
                    Err(_) => Step::begin("certificate").skip("the pair is not whole"),
                });
            }
        }
    }
    // The nearest directory that is there: the store's file system even before there is a store.
    let there = store.ancestors().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    match nix::sys::statvfs::statvfs(there) {
        Ok(stat) => {
            let free = stat.blocks_available().saturating_mul(stat.fragment_size());
            let inodes = (stat.files() > 0).then(|| stat.files_available());
            steps.extend(files::room(store, free, inodes));
        }
        Err(error) => {
            let words = format!("asking for the room on {}: {error}", there.display());
            steps.extend(skipped(&["disk", "inodes"], &words));
        }
    }
    steps
}

/// The pair in use, as far as this user may read it.
struct Pair {
    generation: Option<u32>,
    leaf: Result<Leaf, String>,
    /// Why the store itself could not be looked into.
    unread: Option<String>,
    directory: PathBuf,
}

impl Pair {
    fn read(store: &Path) -> Pair {
        let directory = store.join("current");
        let none = |unread| Pair {
            generation: None,
            leaf: Err("there is no pair".to_owned()),
            unread,
            directory: directory.clone(),
        };
        let target = match fs::read_link(&directory) {
            Ok(target) => target,
            Err(error) if error.kind() == ErrorKind::NotFound => return none(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return none(Some(format!("{} is certrotd's alone: run this as root", store.display())));
            }
            Err(error) => return none(Some(files::reading(&directory, &error))),
        };
        let generation = target.file_name().and_then(|name| name.to_str()?.parse().ok());
        let read = |name| {
            let path = directory.join(name);
            fs::read(&path).map(Zeroizing::new).map_err(|error| files::reading(&path, &error))
        };
        let leaf = read(CERTIFICATE).and_then(|certificate| {
            let key = read(KEY)?;
            x509::pair(&certificate, &key).map_err(|error| error.to_string())
        });
        Pair { generation, leaf, unread: None, directory }
    }
}

/// The way to the endpoint, with the pair in use or the claim's.
async fn way(config: &Config, pair: Option<&Pair>, clock: Clock) -> Vec<CheckStep> {
    let target = Target::new(config.aws.endpoint.as_str(), config.aws.port);
    let own = pair.filter(|pair| pair.leaf.is_ok());
    let paths = match (own, &config.claim.files) {
        (Some(pair), _) => Some((pair.directory.join(CERTIFICATE), pair.directory.join(KEY))),
        (None, Some(claim)) => {
            Some((claim.certificate.as_path().to_owned(), claim.private_key.as_path().to_owned()))
        }
        (None, None) => None,
    };
    let identity = paths
        .ok_or_else(|| "there is no pair to show that this user can read".to_owned())
        .and_then(|(certificate, key)| identity(config, &certificate, &key, clock));
    network::way(&target, identity.as_ref().map_err(Clone::clone), PROBE, clock.wall()).await
}

fn identity(config: &Config, certificate: &Path, key: &Path, clock: Clock) -> Result<ClientIdentity, String> {
    let read = |path: &Path| fs::read(path).map(Zeroizing::new).map_err(|error| files::reading(path, &error));
    let root = read(config.aws.root_ca.as_path())?;
    let chain = x509::certificates(&read(certificate)?).map_err(|error| error.to_string())?;
    let key = x509::private_key(&read(key)?).map_err(|error| error.to_string())?;
    let time = Arc::new(move || u64::try_from(clock.wall().max(BUILT_AFTER)).unwrap_or(0));
    ClientIdentity::new(&root, chain, &key, time).map_err(|error| error.to_string())
}

fn skipped(names: &[&'static str], why: &str) -> Vec<CheckStep> {
    names.iter().map(|name| Step::begin(name).skip(why)).collect()
}

/// Names of the contract.
const CERTIFICATE: &str = "device.cert.pem";
/// Names of the contract.
const KEY: &str = "device.key.pem";
