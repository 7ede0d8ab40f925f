//! The store's tests: what they share, and the plain course of things. Crashes, damage and intruders have files of
//! their own.

mod course;
mod crash;
mod damage;
mod guard;
mod reading;

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;
use crate::rotation::identity::{Disk, Origin, Record, Wall};

const ISSUED: Wall = 1_800_000_000;
const TOKEN: &str = "token-that-must-not-leak";
const HERE: Machine = Machine { system: Some([1; 32]), board: Some([2; 32]) };

/// One of four fixed pairs: certificate and key in PEM.
fn pem(n: usize) -> &'static (String, String) {
    static PAIRS: OnceLock<Vec<(String, String)>> = OnceLock::new();
    let pairs = PAIRS.get_or_init(|| {
        (0..4)
            .map(|_| {
                let key = rcgen::KeyPair::generate().unwrap();
                let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
                (certificate.pem(), key.serialize_pem())
            })
            .collect()
    });
    &pairs[n]
}

fn new(n: usize) -> NewGeneration {
    let (certificate, key) = pem(n).clone();
    NewGeneration {
        pair: Pair { certificate, key: Zeroizing::new(key) },
        origin: if n == 0 { Origin::Claim } else { Origin::Rotation },
        thing: "SN-0001".to_owned(),
        template: "certrot-rotate".to_owned(),
        endpoint: "localhost".to_owned(),
        token: Token::new(TOKEN),
        token_ends: ISSUED + 3600,
        issued_at: ISSUED + Wall::try_from(n).unwrap(),
    }
}

fn fresh() -> (TempDir, PathBuf) {
    let above = tempfile::tempdir().unwrap();
    let dir = above.path().join("store");
    (above, dir)
}

fn open(dir: &Path) -> Store {
    Store::open(dir, HERE).unwrap().0
}

/// Adds a generation and brings it as far as a session and the switch.
fn in_use(store: &Store, n: usize) -> u32 {
    let number = proved(store, n);
    store.record(Record::Pending(number, 1_800_000_000)).unwrap();
    store.switch(number).unwrap();
    number
}

fn proved(store: &Store, n: usize) -> u32 {
    let number = store.add(new(n)).unwrap();
    store.record(Record::Registering(number)).unwrap();
    store.record(Record::Registered(number)).unwrap();
    store.record(Record::Proved(number)).unwrap();
    number
}

fn disk(store: &Store) -> Disk {
    store.inspect(false).unwrap().0
}

fn findings(store: &Store) -> Vec<Finding> {
    store.inspect(false).unwrap().1
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Writes a file as an intruder or a bad disk would.
fn scribble(path: &Path, bytes: &[u8]) {
    use std::io::Write as _;
    std::fs::File::create(path).unwrap().write_all(bytes).unwrap();
}

fn entry(n: u32) -> HistoryEntry {
    HistoryEntry {
        at: ISSUED + i64::from(n),
        what: "rotation".to_owned(),
        cause: "max-age".to_owned(),
        generation: Some(n),
        certificate_id: None,
        result: "done".to_owned(),
        seconds: 2,
    }
}
