//! What lies on this machine, looked at without changing it: roots, claim, modes, pair, dates, room.
//!
//! Works on paths and bytes alone, so that `certrotctl` can look where no daemon answers.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::step::Step;
use crate::config::Config;
use crate::control::wire::{CheckStep, Time};
use crate::x509::{self, Leaf};

/// The roots that the server must be signed by.
pub fn root_ca(config: &Config, now: i64) -> CheckStep {
    let step = Step::begin("root-ca");
    let path = config.aws.root_ca.as_path();
    let fix = format!("put the server's root there in PEM (AmazonRootCA1.pem for AWS): {}", path.display());
    let pem = match fs::read(path) {
        Ok(pem) => pem,
        Err(error) => return step.fail("root-ca", reading(path, &error), fix),
    };
    let named: Result<Vec<_>, _> =
        x509::certificates(&pem).and_then(|all| all.iter().map(|der| x509::names_of(der)).collect());
    match named {
        Err(error) => step.fail("root-ca", format!("{}: {error}", path.display()), fix),
        Ok(roots) => {
            let words: Vec<String> =
                roots.iter().map(|r| format!("{} (until {})", r.subject, day(r.not_after))).collect();
            let words = words.join(", ");
            if roots.iter().all(|root| root.not_after < now) {
                step.fail("root-ca", format!("every root has ended: {words}"), fix)
            } else {
                step.ok(words)
            }
        }
    }
}

/// The claim pair; a device that is provisioned can live without it for now.
pub fn claim(config: &Config, now: i64, provisioned: bool) -> CheckStep {
    let step = Step::begin("claim");
    let Some(files) = &config.claim.files else {
        let words = "the claim pair is handed over by systemd (LoadCredential=), and this process was not started by it";
        return if provisioned {
            step.ok(format!("{words}; not needed while the identity works"))
        } else {
            step.fail("claim", words, "start certrotd by its unit, or name the files in [claim]")
        };
    };
    let (certificate, key) = (files.certificate.as_path(), files.private_key.as_path());
    let read = |path: &Path| fs::read(path).map(Zeroizing::new).map_err(|error| reading(path, &error));
    let leaf = read(certificate).and_then(|certificate| {
        let key = read(key)?;
        x509::pair(&certificate, &key).map_err(|error| format!("the claim pair: {error}"))
    });
    match leaf {
        Ok(leaf) if leaf.not_after < now => {
            bad_claim(step, provisioned, format!("the claim certificate ended on {}", day(leaf.not_after)))
        }
        Ok(leaf) => step.ok(format!(
            "{}, key and certificate belong together, until {}",
            leaf.public_key.key_type,
            day(leaf.not_after)
        )),
        Err(words) => bad_claim(step, provisioned, words),
    }
}

fn bad_claim(step: Step, provisioned: bool, words: String) -> CheckStep {
    let fix = "put the claim's certificate and key where [claim] names them, readable for certrotd";
    if provisioned {
        let words = format!("{words}; not needed while the identity works, but there would be no way back");
        step.warn("claim", words, fix)
    } else {
        step.fail("claim", words, fix)
    }
}

/// Every file of the store is its owner's alone: 0600, directories 0700.
pub fn modes(store: &Path) -> CheckStep {
    let step = Step::begin("modes");
    let mut found = Modes { owner: None, files: 0, wrong: Vec::new(), failed: None };
    found.look(store, 0);
    if let Some(words) = found.failed {
        return step.fail("modes", words, "look as root, or as certrotd's own user");
    }
    if found.wrong.is_empty() {
        return step.ok(format!("all {} files and directories are their owner's alone", found.files));
    }
    let more = found.wrong.len().saturating_sub(3);
    let mut words = found.wrong.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    if more > 0 {
        words = format!("{words}; and {more} more");
    }
    let fix =
        format!("chmod -R u=rwX,go= {}; if others could read a key: certrotctl rotate-now", store.display());
    step.warn("modes", words, fix)
}

struct Modes {
    owner: Option<u32>,
    files: usize,
    wrong: Vec<String>,
    failed: Option<String>,
}

impl Modes {
    fn look(&mut self, path: &Path, depth: u32) {
        let found = match fs::symlink_metadata(path) {
            Ok(found) => found,
            // It went away meanwhile: generations come and go.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && depth > 0 => return,
            Err(error) => return self.failed = Some(reading(path, &error)),
        };
        if found.is_symlink() {
            return;
        }
        self.files += 1;
        self.judge(path, &found);
        if found.is_dir() && depth < DEEPEST {
            let entries = match fs::read_dir(path) {
                Ok(entries) => entries,
                Err(error) => return self.failed = Some(reading(path, &error)),
            };
            for entry in entries.filter_map(Result::ok) {
                self.look(&entry.path(), depth + 1);
            }
        }
    }

    fn judge(&mut self, path: &Path, found: &Metadata) {
        let mode = found.mode() & 0o7777;
        let right = if found.is_dir() { mode == 0o700 } else { mode == 0o600 || mode == 0o400 };
        if !right {
            self.wrong.push(format!("{} has mode {mode:04o}", path.display()));
        }
        // A temporary directory of a tool may be root's; what is within the store is one user's.
        let owner = *self.owner.get_or_insert(found.uid());
        if found.uid() != owner {
            self.wrong.push(format!("{} belongs to user id {}", path.display(), found.uid()));
        }
    }
}

/// That the key belongs to the certificate.
pub fn pair(generation: u32, read: Result<Leaf, String>) -> CheckStep {
    let step = Step::begin("pair");
    match read {
        Ok(leaf) => step.ok(format!(
            "generation {generation}: {}, key and certificate belong together, id {}",
            leaf.public_key.key_type,
            leaf.id_hex()
        )),
        Err(words) => step.fail(
            "pair",
            format!("generation {generation}: {words}"),
            "heals by itself when another generation, or the claim, connects; check the storage",
        ),
    }
}

/// When the certificate begins and ends, by this clock.
pub fn certificate(not_before: i64, not_after: i64, now: i64) -> CheckStep {
    let step = Step::begin("certificate");
    let dates = format!("from {} until {}", day(not_before), day(not_after));
    if now > not_after {
        let fix = "a new one is asked for by itself while the cloud still takes this one; else certrot-fleet reclaim with the thing's name";
        step.fail("certificate-expired", format!("past its end by this clock: {dates}"), fix)
    } else if now < not_before {
        let fix = "see to the clock: time synchronisation (systemd-timesyncd, chrony)";
        step.warn("clock", format!("not yet valid by this clock: {dates}"), fix)
    } else {
        step.ok(format!("{dates}, {} days old", (now - not_before) / 86_400))
    }
}

/// Bytes and files that are left on the store's file system; what a rotation needs is far below the warnings.
pub fn room(store: &Path, free_bytes: u64, free_files: Option<u64>) -> [CheckStep; 2] {
    let fix = make_room(store);
    let (disk, inodes) = (Step::begin("disk"), Step::begin("inodes"));
    let words = format!("{} MB free", free_bytes >> 20);
    let disk = match free_bytes {
        0..NEEDED => {
            disk.fail("disk-full", format!("{free_bytes} bytes left: too few for a new pair"), fix.clone())
        }
        NEEDED..LOW => disk.warn("disk-low", words, fix.clone()),
        _ => disk.ok(words),
    };
    let inodes = match free_files {
        None => inodes.ok("the file system does not count files"),
        Some(n @ 0..NEEDED_FILES) => {
            inodes.fail("disk-full", format!("{n} files can still be made: too few for a new pair"), fix)
        }
        Some(n @ NEEDED_FILES..LOW_FILES) => {
            inodes.warn("disk-low", format!("{n} files can still be made"), fix)
        }
        Some(n) => inodes.ok(format!("{n} files can still be made")),
    };
    [disk, inodes]
}

/// What clears a full file system.
pub fn make_room(store: &Path) -> String {
    format!(
        "make room on the file system of {}: a rotation needs {} kB and {NEEDED_FILES} files",
        store.display(),
        NEEDED >> 10
    )
}

/// Whether the clock can be believed (rule 26).
pub fn clock(trusted: bool, synchronised: bool, now: i64) -> CheckStep {
    let step = Step::begin("clock");
    let words = Time::from_seconds(now).0.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let fix = "enable time synchronisation (systemd-timesyncd, chrony)";
    match (trusted, synchronised) {
        (false, _) => {
            let words = format!("{words} is before a time that is surely past; that time is used instead");
            step.warn("clock", words, fix)
        }
        (true, false) => step.warn("clock-alone", format!("{words}; no time service keeps it"), fix),
        (true, true) => step.ok(format!("{words}, kept by a time service")),
    }
}

/// Why a file was not read, in words.
pub fn reading(path: &Path, error: &std::io::Error) -> String {
    format!("reading {}: {error}", path.display())
}

/// A day, in UTC.
pub fn day(seconds: i64) -> String {
    Time::from_seconds(seconds).0.strftime("%Y-%m-%d").to_string()
}

/// Levels below the store: generations, a generation, a file.
const DEEPEST: u32 = 4;
/// What a rotation needs at least, as the store judges it.
const NEEDED: u64 = 64 << 10;
const LOW: u64 = 16 << 20;
const NEEDED_FILES: u64 = 8;
const LOW_FILES: u64 = 256;
