//! Takes hold of the store: lock, owner, modes, and the sweep of what a power cut left over.
//!
//! Everything here happens before the first `Inspect`. A foreign owner is refused, modes are set right and told, and
//! only temporary files and trash of our own are removed.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, openat};
use nix::sys::stat::{FileStat, Mode};

use super::error::StoreError;
use super::finding::Finding;
use super::machine::Machine;
use super::sys::{Dir, Kind, PRIVATE_DIR, PRIVATE_FILE, TEMPORARY, kind_of};
use super::{
    CERTIFICATE, DEVICE, GENERATIONS, HISTORY, KEY, LOCK, RETIRE, Result, STATE, Store, TRASH, number_of,
};

/// The lock, held until dropped.
pub(super) type Lock = Flock<File>;

impl Store {
    /// Opens the store, making it where it is not there, and holds it for this process. `machine` is the one that
    /// we run on.
    pub fn open(dir: &Path, machine: Machine) -> Result<(Store, Vec<Finding>)> {
        let root = match Dir::root(dir) {
            Err(e) if e.errno() == Some(Errno::ENOENT) => {
                Dir::make_root(dir)?;
                Dir::root(dir)?
            }
            other => other?,
        };
        owned(&root, &root.stat()?, "")?;
        let lock = lock(&root)?;
        let mut findings = Vec::new();
        private(&root, ".", &mut findings)?;
        match root.kind(GENERATIONS)? {
            None => {
                root.mkdir(GENERATIONS)?;
                root.sync()?;
            }
            Some(Kind::Directory) => {}
            Some(_) => return Err(StoreError::NotADirectory { path: root.at(GENERATIONS) }),
        }
        for name in [GENERATIONS, DEVICE, RETIRE, HISTORY, LOCK] {
            private(&root, name, &mut findings)?;
        }
        sweep(&root, &[TEMPORARY, TRASH], &mut findings)?;
        let generations = root.child(GENERATIONS)?;
        sweep(&generations, &[TEMPORARY], &mut findings)?;
        for name in generations.names()? {
            let Some(name) = name.to_str().filter(|n| number_of(n).is_some()) else { continue };
            if generations.kind(name)? != Some(Kind::Directory) {
                continue;
            }
            private(&generations, name, &mut findings)?;
            let generation = generations.child(name)?;
            for file in [CERTIFICATE, KEY, STATE] {
                private(&generation, file, &mut findings)?;
            }
            sweep(&generation, &[TEMPORARY], &mut findings)?;
        }
        Ok((Store { root, machine, _lock: lock }, findings))
    }
}

/// Takes the lock, or names the process that holds it.
fn lock(root: &Dir) -> Result<Lock> {
    let failed = |e| StoreError::io("lock", root.at(LOCK), e);
    let common = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let fd = match openat(root.fd(), LOCK, OFlag::O_RDWR | OFlag::O_CREAT | common, PRIVATE_FILE) {
        // A read-only file system still has one holder at a time.
        Err(Errno::EROFS) => openat(root.fd(), LOCK, OFlag::O_RDONLY | common, Mode::empty()),
        other => other,
    };
    match Flock::lock(File::from(fd.map_err(failed)?), FlockArg::LockExclusiveNonblock) {
        Ok(mut file) => {
            // The lock holds without it; a full disk must not keep the session from its identity.
            let _ = file.set_len(0).and_then(|()| file.rewind());
            let _ = writeln!(file, "{}", std::process::id());
            Ok(file)
        }
        Err((file, Errno::EWOULDBLOCK)) => {
            let mut text = String::new();
            let _ = file.take(32).read_to_string(&mut text);
            Err(StoreError::Busy { path: root.path().to_owned(), pid: text.trim().parse().ok() })
        }
        Err((_, e)) => Err(failed(e)),
    }
}

/// Refuses a foreign owner, and sets right the mode of a file or directory; links and what is missing are left to
/// `Inspect`.
fn private(dir: &Dir, name: &str, findings: &mut Vec<Finding>) -> Result<()> {
    let Some(stat) = dir.stat_at(name)? else { return Ok(()) };
    owned(dir, &stat, name)?;
    let was = stat.st_mode & 0o777;
    let (fine, right) = match kind_of(&stat) {
        Kind::Directory => (was == PRIVATE_DIR.bits(), PRIVATE_DIR),
        Kind::File(_) => (was == PRIVATE_FILE.bits() || was == Mode::S_IRUSR.bits(), PRIVATE_FILE),
        Kind::Link | Kind::Other => (true, PRIVATE_FILE),
    };
    if !fine {
        let path = if name == "." { dir.path().to_owned() } else { dir.at(name) };
        findings.push(match dir.chmod(name, right) {
            Ok(()) => Finding::ModeSet { path, was },
            Err(_) => Finding::ModeLeft { path, was },
        });
    }
    Ok(())
}

/// Refuses what belongs to another user.
fn owned(dir: &Dir, stat: &FileStat, name: &str) -> Result<()> {
    let us = us();
    if stat.st_uid == us {
        return Ok(());
    }
    let path = if name.is_empty() || name == "." { dir.path().to_owned() } else { dir.at(name) };
    Err(StoreError::ForeignOwner { path, owner: stat.st_uid, us })
}

/// Removes what begins like ours and is done with.
fn sweep(dir: &Dir, begins: &[&str], findings: &mut Vec<Finding>) -> Result<()> {
    let ours = |name: &OsString| {
        name.to_str().is_some_and(|n| begins.iter().any(|b| n.starts_with(b) && n.len() > b.len()))
    };
    for name in dir.names()?.into_iter().filter(ours) {
        let path = dir.at(&name);
        findings.push(match dir.discard(&name) {
            Ok(()) => Finding::Swept { path },
            Err(e) => {
                let why = std::error::Error::source(&e).map_or_else(|| e.to_string(), ToString::to_string);
                Finding::NotSwept { path, why }
            }
        });
    }
    Ok(())
}

/// Our effective uid.
fn us() -> u32 {
    nix::unistd::geteuid().as_raw()
}
