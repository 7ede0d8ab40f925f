//! What the store refuses or cannot do, in the words of the operator who has to clear it.
//!
//! One enum; messages name the act and the path, the cause stays in `source`, `remedy()` says who can clear it. None
//! of them carries bytes of a file.

use std::io;
use std::path::PathBuf;

use nix::errno::Errno;

use crate::x509;

/// Why something in the store was not done. What was there before is still there.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused.
    #[error("cannot {act} {}", path.display())]
    Io {
        /// What was tried, as a verb.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Another process holds the store.
    #[error("the store {} is held by another process{}", path.display(), named(*pid))]
    Busy {
        /// The store.
        path: PathBuf,
        /// The process that holds it, where it could be read.
        pid: Option<u32>,
    },
    /// Something in the store belongs to another user.
    #[error("{} belongs to user {owner}, not to user {us} that runs this program", path.display())]
    ForeignOwner {
        /// What.
        path: PathBuf,
        /// Its owner's uid.
        owner: u32,
        /// Our effective uid.
        us: u32,
    },
    /// A directory of the store is something else, such as a symbolic link.
    #[error("{} is not a directory; links are not followed inside the store", path.display())]
    NotADirectory {
        /// What.
        path: PathBuf,
    },
    /// There is no such generation.
    #[error("there is no generation {generation} in the store")]
    NoSuchGeneration {
        /// The number that was asked for.
        generation: u32,
    },
    /// Key and certificate of a generation are not both there and matching.
    #[error("generation {generation} has no whole pair")]
    NotWhole {
        /// The generation.
        generation: u32,
        /// What is wrong with it, where the bytes were read.
        #[source]
        source: Option<x509::Error>,
    },
    /// A new pair does not match.
    #[error("the new key and certificate were not taken into the store")]
    BadPair(#[source] x509::Error),
    /// A generation that has carried no session may not become `current`.
    #[error("generation {generation} has not carried a session yet, so it may not become current")]
    NotProved {
        /// The generation.
        generation: u32,
    },
    /// `current` names the generation: it is neither written nor removed.
    #[error("generation {generation} is in use: current names it")]
    InUse {
        /// The generation.
        generation: u32,
    },
    /// A generation's state.json is missing or says nothing usable.
    #[error("{} is missing or damaged", path.display())]
    StateDamaged {
        /// The file.
        path: PathBuf,
    },
    /// All numbers are used.
    #[error("there is no generation number left")]
    Exhausted,
}

impl StoreError {
    /// Says who can clear it, and how.
    pub fn remedy(&self) -> String {
        match self {
            StoreError::Io { path, source, .. } => io_remedy(path, source),
            StoreError::Busy { pid: Some(pid), .. } => {
                format!("a person: one certrotd at a time; stop process {pid}, or this one")
            }
            StoreError::Busy { pid: None, path } => {
                format!("a person: one certrotd at a time; `fuser {}/lock` names the other", path.display())
            }
            StoreError::ForeignOwner { path, us, .. } => format!(
                "a person: if the store is this device's own, `chown -R {us} {}`; otherwise find out who put it there",
                path.display()
            ),
            StoreError::NotADirectory { path } => format!(
                "a person: look at what {} is, move it away, and put the directory itself in its place",
                path.display()
            ),
            StoreError::NoSuchGeneration { .. } | StoreError::NotWhole { .. } => {
                "a new certificate: another generation or the claim takes over by itself".to_owned()
            }
            StoreError::BadPair(_) => {
                "a new certificate: this one is dropped and another asked for".to_owned()
            }
            StoreError::NotProved { .. } => "time: it is proved first, by a session".to_owned(),
            StoreError::InUse { .. } => "time: it can go once current names another".to_owned(),
            StoreError::StateDamaged { .. } => {
                "time: the generation is kept and proved again by a session".to_owned()
            }
            StoreError::Exhausted => "a person: report it; no device gets here by rotating".to_owned(),
        }
    }

    /// Says whether the system refused for want of space.
    pub fn is_full(&self) -> bool {
        match self {
            StoreError::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// Wraps a system error with what was tried and on what.
    pub(super) fn io(act: &'static str, path: impl Into<PathBuf>, errno: Errno) -> Self {
        StoreError::Io { act, path: path.into(), source: errno.into() }
    }

    /// The system's number for the refusal, where it was one.
    pub(super) fn errno(&self) -> Option<Errno> {
        match self {
            StoreError::Io { source, .. } => source.raw_os_error().map(Errno::from_raw),
            _ => None,
        }
    }
}

/// What helps against a refusal by the system.
fn io_remedy(path: &std::path::Path, source: &io::Error) -> String {
    let path = path.display();
    match source.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC | Errno::EDQUOT) => {
            format!(
                "a person: free space or inodes on the file system of {path}; it is tried again until then"
            )
        }
        Some(Errno::EROFS) => format!(
            "a person: the file system of {path} is read-only; mount it writable (under systemd: StateDirectory=certrotd)"
        ),
        Some(Errno::EACCES | Errno::EPERM) => {
            format!("a person: the daemon's user must own {path}, directories 0700, files 0600")
        }
        Some(Errno::EIO | Errno::EBADMSG | Errno::EUCLEAN) => {
            format!(
                "a person: the storage below {path} reports faults; check it (dmesg, fsck), replace it if they stay"
            )
        }
        Some(Errno::ENOENT | Errno::ENOTDIR) => {
            format!("a person: make the directory above {path} (under systemd: StateDirectory=certrotd)")
        }
        _ => format!("time: it is tried again; a person if it stays: see what holds {path}"),
    }
}

fn named(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}
