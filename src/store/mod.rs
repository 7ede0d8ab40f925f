//! The identity on disk: generations, the one name `current`, and the books beside them.
//!
//! ```text
//! generations/0007/{device.cert.pem,device.key.pem,state.json}    built under a temporary name, renamed whole
//! current -> generations/0007                                     switched by one rename
//! device.json  retire.json  history.json                          replaced whole, damaged ones moved aside
//! lock                                                            flock, holds the pid
//! trash-7  .tmp-…                                                 swept at start, under the lock
//! ```
//! 1. What was there before a call is there after a failure or a power cut in it, or the new is: never a mixture.
//! 2. `Ok` means durable: file, directory, and the directory above.
//! 3. No link is followed below the store's own directory.
//! 4. A generation that `current` names is neither written nor removed.
//! 5. Damage is told (`Finding`), never deleted, and never a reason to fail.
//!
//! The store decides nothing about when: it writes the core's `Record`s and answers `Inspect`. It keeps nothing in
//! memory but the lock, reads no clock, and imports no other adapter.

mod change;
mod error;
mod finding;
mod in_use;
mod inspect;
mod ledger;
mod machine;
mod open;
mod pair;
mod state;
mod sys;

#[cfg(test)]
mod power;
#[cfg(test)]
mod tests;

use std::path::Path;

pub use error::StoreError;
pub use finding::{Astray, Finding};
pub use in_use::InUse;
pub use ledger::{Device, HISTORY_LENGTH, HistoryEntry};
pub use machine::Machine;
pub use state::{NewGeneration, Pair, Requests, State, Token};

use sys::{Content, Dir};

/// What the store's functions return.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The store, held by this process until dropped.
#[derive(Debug)]
pub struct Store {
    root: Dir,
    machine: Machine,
    _lock: open::Lock,
}

/// Room on the store's file system, after a file was written there and removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes that are free for us.
    pub free_bytes: u64,
    /// Files that may still be made; `None` where the file system does not count them.
    pub free_files: Option<u64>,
}

impl Space {
    /// Says whether a rotation fits in.
    pub fn is_enough(&self) -> bool {
        self.free_bytes >= NEEDED_BYTES && self.free_files.is_none_or(|n| n >= NEEDED_FILES)
    }
}

impl Store {
    /// Says, without the lock and without changing anything, whether a directory holds an identity: a whole pair
    /// that `current` names or that has carried a session. What cannot be read holds none.
    pub fn peek(dir: &Path) -> bool {
        Dir::root(dir).and_then(|root| inspect::holds_identity(&root)).unwrap_or(false)
    }

    /// Reads certificate and key of a generation; refuses a pair that is not whole.
    pub fn pair(&self, generation: u32) -> Result<Pair> {
        pair::read(&self.generation(generation)?, generation)
    }

    /// Reads `state.json` of a generation.
    pub fn state(&self, generation: u32) -> Result<State> {
        let dir = self.generation(generation)?;
        match dir.read(STATE, LIMIT)? {
            Content::Bytes(bytes) => State::parse(&bytes),
            _ => None,
        }
        .ok_or_else(|| StoreError::StateDamaged { path: dir.at(STATE) })
    }

    /// Reads who this device is; a missing or damaged `device.json` says nothing.
    pub fn device(&self) -> Result<Device> {
        self.load_device(&mut Vec::new())
    }

    /// The thing of the generation that `current` names, by its state.json.
    pub fn thing_in_use(&self) -> Option<String> {
        let inspect::Named::Generation(n) = inspect::named(&self.root).ok()? else { return None };
        self.state(n).ok().map(|s| s.thing).filter(|thing| !thing.is_empty())
    }

    /// Reads the last rotations, oldest first.
    pub fn history(&self) -> Result<Vec<HistoryEntry>> {
        Ok(self.load_history(&mut Vec::new())?.entries)
    }

    /// Tries whether a rotation could be stored: asks for the room, writes a private file, syncs it, removes it.
    pub fn probe_space(&self) -> Result<Space> {
        let stat = nix::sys::statvfs::fstatvfs(self.root.fd())
            .map_err(|e| StoreError::io("ask for free space on", self.root.path(), e))?;
        self.root.discard(PROBE)?;
        let written = self.root.create(PROBE, &[0; PROBE_BYTES]);
        // Whatever of it was written is to go; it holds zeros, so nothing need be overwritten.
        let removed = self.root.forget(PROBE);
        written.and(removed)?;
        Ok(Space {
            free_bytes: stat.blocks_available().saturating_mul(stat.fragment_size()),
            free_files: (stat.files() != 0).then(|| stat.files_available()),
        })
    }

    /// Opens `generations/`.
    fn generations(&self) -> Result<Dir> {
        self.root.child(GENERATIONS)
    }

    /// Opens the directory of a generation.
    fn generation(&self, generation: u32) -> Result<Dir> {
        let generations = self.generations()?;
        let name = name_of(generation);
        match generations.kind(&name)? {
            None => Err(StoreError::NoSuchGeneration { generation }),
            Some(_) => generations.child(&name),
        }
    }
}

/// The directory name of a generation.
fn name_of(generation: u32) -> String {
    format!("{generation:04}")
}

/// Reads the directory name of a generation; only the one that we would write counts.
fn number_of(name: &str) -> Option<u32> {
    let number: u32 = name.parse().ok()?;
    (number > 0 && name == name_of(number)).then_some(number)
}

/// Names of the contract.
const GENERATIONS: &str = "generations";
/// Names of the contract.
const CURRENT: &str = "current";
/// Names of the contract.
const CERTIFICATE: &str = "device.cert.pem";
/// Names of the contract.
const KEY: &str = "device.key.pem";
/// Names of the contract.
const STATE: &str = "state.json";
/// Names of the contract.
const DEVICE: &str = "device.json";
/// Names of the contract.
const RETIRE: &str = "retire.json";
/// Begins the name of a removed generation.
const TRASH: &str = "trash-";
/// The last rotations.
const HISTORY: &str = "history.json";
/// The lock's file.
const LOCK: &str = "lock";
/// Stands in the name of what was damaged and moved aside, before a number.
const DAMAGED: &str = ".damaged-";
/// The file that tries whether there is room; begins like every temporary one.
const PROBE: &str = ".tmp-probe";

/// The longest file that is read, bytes: a certificate chain, a key, or a book with its 50 entries.
const LIMIT: usize = 64 << 10;
/// A generation takes three files of one block each; twice that, with directory blocks to spare.
const NEEDED_BYTES: u64 = 64 << 10;
/// A generation takes a directory and three files, and a temporary name beside.
const NEEDED_FILES: u64 = 8;
/// How much is written to see whether writing works, bytes.
const PROBE_BYTES: usize = 16 << 10;
