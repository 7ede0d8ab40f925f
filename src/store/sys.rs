//! Files and directories by descriptor: every name is resolved below an open directory and no link is followed.
//!
//! This is the only file of the store that calls the system, so each call that changes something passes `step`: tests
//! cut the power there. A write that must survive is `replace` or `create` (0600 from creation, fsync) followed by
//! `sync` of the directory; nothing here decides what is written.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{self, AtFlags, OFlag};
use nix::sys::stat::{self, FileStat, Mode, SFlag};
use nix::unistd::{self, UnlinkatFlags};
use tempfile::TempPath;
use zeroize::Zeroizing;

use super::error::StoreError;

type Result<T> = std::result::Result<T, StoreError>;

/// An open directory; the path is for messages, and for the last resort of `clear`.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

/// What a name in a directory is, without following it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A regular file of so many bytes.
    File(u64),
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Other,
}

/// What reading a file gave, short of a failure of the system.
pub(super) enum Content {
    /// There is no such name.
    Missing,
    /// It is a link, a directory or a device: not followed, not read.
    NotAFile,
    /// It is longer than anything the store writes.
    TooLong,
    /// The storage cannot give it back (EIO and its kin): damage, not a verdict on the whole store.
    Unreadable(Errno),
    /// Its bytes, wiped when dropped.
    Bytes(Zeroizing<Vec<u8>>),
}

impl Dir {
    /// Opens the store's own directory; here a link is followed (systemd's DynamicUser has one on the way).
    pub(super) fn root(path: &Path) -> Result<Dir> {
        let fd = fcntl::open(path, OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())
            .map_err(|e| StoreError::io("open the store", path, e))?;
        Ok(Dir { fd, path: path.to_owned() })
    }

    /// Makes the store's own directory, 0700, and syncs the one above it.
    pub(super) fn make_root(path: &Path) -> Result<()> {
        let failed = |e| StoreError::io("make the store", path, e);
        step("mkdir", path).map_err(failed)?;
        unistd::mkdir(path, PRIVATE_DIR).map_err(failed)?;
        let above = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Dir::root(above)?.sync()
    }

    /// Opens a directory below; a link in its place is an error.
    pub(super) fn child(&self, name: &str) -> Result<Dir> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let path = self.path.join(name);
        match fcntl::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Dir { fd, path }),
            Err(Errno::ELOOP | Errno::ENOTDIR) => Err(StoreError::NotADirectory { path }),
            Err(e) => Err(StoreError::io("open the directory", path, e)),
        }
    }

    /// The path of a name in it, for messages.
    pub(super) fn at(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// The path that it was opened by, for messages.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The descriptor.
    pub(super) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// What the directory itself is like.
    pub(super) fn stat(&self) -> Result<FileStat> {
        stat::fstat(&self.fd).map_err(|e| StoreError::io("look at", &self.path, e))
    }

    /// What a name is like, without following it.
    pub(super) fn stat_at(&self, name: impl AsRef<OsStr>) -> Result<Option<FileStat>> {
        let name = name.as_ref();
        match stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(StoreError::io("look at", self.at(name), e)),
        }
    }

    /// What a name is, without following it.
    pub(super) fn kind(&self, name: impl AsRef<OsStr>) -> Result<Option<Kind>> {
        Ok(self.stat_at(name)?.map(|s| kind_of(&s)))
    }

    /// Every name in it, sorted.
    pub(super) fn names(&self) -> Result<Vec<OsString>> {
        let failed = |e| StoreError::io("list", &self.path, e);
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        let mut dir = nix::dir::Dir::openat(&self.fd, ".", flags, Mode::empty()).map_err(failed)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry.map_err(failed)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Reads a regular file of at most `limit` bytes; everything else that a name may be is told, not followed.
    pub(super) fn read(&self, name: &str, limit: usize) -> Result<Content> {
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let failed = |e: Errno| match e {
            Errno::EIO | Errno::EBADMSG | Errno::EUCLEAN => Ok(Content::Unreadable(e)),
            e => Err(StoreError::io("read", self.at(name), e)),
        };
        if let Err(e) = reading(name) {
            return failed(e);
        }
        match self.kind(name)? {
            None => return Ok(Content::Missing),
            Some(Kind::File(length)) if length > limit as u64 => return Ok(Content::TooLong),
            Some(Kind::File(_)) => {}
            Some(_) => return Ok(Content::NotAFile),
        }
        let fd = match fcntl::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(Content::Missing),
            Err(Errno::ELOOP) => return Ok(Content::NotAFile),
            Err(e) => return failed(e),
        };
        // Looked at again by descriptor: the name may have changed hands since.
        match stat::fstat(&fd).map(|s| kind_of(&s)) {
            Ok(Kind::File(_)) => {}
            Ok(_) => return Ok(Content::NotAFile),
            Err(e) => return failed(e),
        }
        // Whole from the start, so that no half copy is left behind by growing.
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 1));
        match File::from(fd).take(limit as u64 + 1).read_to_end(&mut bytes) {
            Ok(n) if n > limit => Ok(Content::TooLong),
            Ok(_) => Ok(Content::Bytes(bytes)),
            Err(e) => failed(errno_of(&e)),
        }
    }

    /// Reads where a link points, without following it; `None` where the name is no link.
    pub(super) fn link_target(&self, name: &str) -> Result<Option<OsString>> {
        match fcntl::readlinkat(&self.fd, name) {
            Ok(target) => Ok(Some(target)),
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(None),
            Err(e) => Err(StoreError::io("read the link", self.at(name), e)),
        }
    }

    /// Makes a file that was not there: 0600 from its creation, written, synced. The directory is not synced.
    pub(super) fn create(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let failed = |e| StoreError::io("write", self.at(name), e);
        step("create", name).map_err(failed)?;
        let fd = fcntl::openat(&self.fd, name, FRESH, PRIVATE_FILE).map_err(failed)?;
        self.fill(File::from(fd), name, bytes)
    }

    /// Puts a whole new file in the place of an old one: temporary file, fsync, rename, fsync of the directory.
    /// With `wipe_old` the old bytes are overwritten once they have no name any more (best effort).
    pub(super) fn replace(&self, name: &str, bytes: &[u8], wipe_old: bool) -> Result<()> {
        let label = format!("{TEMPORARY}{name}");
        let old = if wipe_old { self.writable(name) } else { None };
        let failed = |e| StoreError::io("write", self.at(&label), errno_of(&e));
        // The name is tempfile's, unique in the directory; the file is made by descriptor, so that no link is followed.
        // Its own clean-up goes by path and comes last, for what ours by descriptor (which wipes) has left.
        let temporary = tempfile::Builder::new()
            .prefix(&format!("{label}-"))
            .make_in(&self.path, |path| {
                step("create", &label)?;
                Ok(File::from(fcntl::openat(&self.fd, last_of(path), FRESH, PRIVATE_FILE)?))
            })
            .map_err(failed)?;
        let (file, path) = temporary.into_parts();
        let done = self.fill(file, &label, bytes).and_then(|()| self.rename(last_of(&path), self, name));
        if let Err(e) = done {
            self.clear(path);
            return Err(e);
        }
        // Nothing has that name any more: nothing is left to clean up. On Unix this cannot fail.
        let _ = path.keep();
        self.sync()?;
        if let Some(old) = old {
            overwrite(old);
        }
        Ok(())
    }

    /// Removes a temporary file after a failure: by descriptor, wiped; where that fails too, in tempfile's way.
    fn clear(&self, temporary: TempPath) {
        let name = last_of(&temporary).to_owned();
        if self.discard(&name).is_ok() || step("unlink", &name).is_err() {
            let _ = temporary.keep();
        }
    }

    /// Writes a new file and syncs it.
    fn fill(&self, mut file: File, name: &str, bytes: &[u8]) -> Result<()> {
        let failed = |e| StoreError::io("write", self.at(name), e);
        if let Err(e) = step("write", name) {
            // The power goes while it is being written: half of it is there.
            let _ = file.write_all(bytes.get(..bytes.len() / 2).unwrap_or_default());
            return Err(failed(e));
        }
        file.write_all(bytes).map_err(|e| failed(errno_of(&e)))?;
        step("fsync", name).map_err(failed)?;
        unistd::fsync(&file).map_err(failed)
    }

    /// Renames; the directories are not synced.
    pub(super) fn rename(&self, from: impl AsRef<OsStr>, to_dir: &Dir, to: &str) -> Result<()> {
        let from = from.as_ref();
        step("rename", to)
            .and_then(|()| fcntl::renameat(&self.fd, from, &to_dir.fd, to))
            .map_err(|e| StoreError::io("rename to", to_dir.at(to), e))
    }

    /// Makes a symbolic link; the directory is not synced.
    pub(super) fn link(&self, target: &str, name: &str) -> Result<()> {
        step("symlink", name)
            .and_then(|()| unistd::symlinkat(target, &self.fd, name))
            .map_err(|e| StoreError::io("make the link", self.at(name), e))
    }

    /// Makes a directory, 0700; the one above is not synced.
    pub(super) fn mkdir(&self, name: &str) -> Result<()> {
        step("mkdir", name)
            .and_then(|()| stat::mkdirat(&self.fd, name, PRIVATE_DIR))
            .map_err(|e| StoreError::io("make the directory", self.at(name), e))
    }

    /// Makes what was done in it durable.
    pub(super) fn sync(&self) -> Result<()> {
        step("fsync-dir", &self.path)
            .and_then(|()| unistd::fsync(&self.fd))
            .map_err(|e| StoreError::io("sync", &self.path, e))
    }

    /// Tightens the mode of a name that is a regular file or a directory.
    pub(super) fn chmod(&self, name: impl AsRef<OsStr>, mode: Mode) -> Result<()> {
        let name = name.as_ref();
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        step("chmod", name)
            .and_then(|()| fcntl::openat(&self.fd, name, flags, Mode::empty()))
            .and_then(|fd| stat::fchmod(fd.as_fd(), mode))
            .map_err(|e| StoreError::io("set the mode of", self.at(name), e))
    }

    /// Removes a name and all below it, keys overwritten first; what is not there is removed already. Links go, what
    /// they point to stays.
    pub(super) fn discard(&self, name: impl AsRef<OsStr>) -> Result<()> {
        self.discard_to(name.as_ref(), DEEPEST)
    }

    fn discard_to(&self, name: &OsStr, depth: u32) -> Result<()> {
        let Some(kind) = self.kind(name)? else { return Ok(()) };
        if kind == Kind::Directory {
            let text = name.to_str().filter(|_| depth > 0);
            let below = text.map(|n| self.child(n)).transpose()?;
            for inner in below.iter().map(Dir::names).collect::<Result<Vec<_>>>()?.concat() {
                if let Some(below) = &below {
                    below.discard_to(&inner, depth - 1)?;
                }
            }
        } else if let Some(old) = self.writable(name) {
            overwrite(old);
        }
        let flag = match kind {
            Kind::Directory => UnlinkatFlags::RemoveDir,
            Kind::File(_) | Kind::Link | Kind::Other => UnlinkatFlags::NoRemoveDir,
        };
        self.unlink(name, flag)
    }

    /// Removes a file that never held a secret.
    pub(super) fn forget(&self, name: &str) -> Result<()> {
        self.unlink(OsStr::new(name), UnlinkatFlags::NoRemoveDir)
    }

    fn unlink(&self, name: &OsStr, flag: UnlinkatFlags) -> Result<()> {
        step("unlink", name)
            .and_then(|()| unistd::unlinkat(&self.fd, name, flag))
            .map_err(|e| StoreError::io("remove", self.at(name), e))
    }

    /// Opens a regular file that has no second name, to overwrite it; `None` is a file that is left as it is.
    fn writable(&self, name: impl AsRef<OsStr>) -> Option<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let stat = self.stat_at(name.as_ref()).ok()??;
        if !matches!(kind_of(&stat), Kind::File(_)) || stat.st_nlink != 1 {
            return None;
        }
        fcntl::openat(&self.fd, name.as_ref(), flags, Mode::empty()).ok().map(File::from)
    }
}

/// Overwrites a file in place, best effort: no promise on flash, none on copy-on-write file systems.
fn overwrite(mut file: File) {
    let Ok(length) = stat::fstat(&file).map(|s| usize::try_from(s.st_size).unwrap_or(0)) else { return };
    if step("overwrite", "").is_ok() {
        let _ = file.write_all(&vec![0; length.min(LONGEST)]);
        let _ = unistd::fsync(&file);
    }
}

/// The name of a path in its directory.
fn last_of(path: &Path) -> &OsStr {
    path.file_name().unwrap_or_default()
}

/// What the system said.
fn errno_of(error: &std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// What a stat says the thing is.
pub(super) fn kind_of(stat: &FileStat) -> Kind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        f if f == SFlag::S_IFREG => Kind::File(u64::try_from(stat.st_size).unwrap_or(0)),
        f if f == SFlag::S_IFDIR => Kind::Directory,
        f if f == SFlag::S_IFLNK => Kind::Link,
        _ => Kind::Other,
    }
}

/// Passes every call that changes something; outside tests it is nothing.
#[cfg(not(test))]
fn step(_what: &'static str, _name: impl AsRef<OsStr>) -> nix::Result<()> {
    Ok(())
}

/// Passes every read of a file; outside tests it is nothing.
#[cfg(not(test))]
fn reading(_name: &str) -> nix::Result<()> {
    Ok(())
}

#[cfg(test)]
use super::power::{reading, step};

/// How a file is made: it was not there, and nothing is followed.
const FRESH: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Begins every name that goes at start.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Modes of the contract.
pub(super) const PRIVATE_DIR: Mode = Mode::S_IRWXU;
/// Modes of the contract.
pub(super) const PRIVATE_FILE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// The longest file that the store reads or overwrites, bytes; the longest it writes is a fiftieth of it.
pub(super) const LONGEST: usize = 1 << 20;

/// How many directories deep a removed generation may be.
const DEEPEST: u32 = 8;
