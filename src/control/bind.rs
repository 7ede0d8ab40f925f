//! The socket file: appears whole, with its final mode, and never takes the place of one that somebody serves.
//!
//! Bound under a name of its own beside the final one, given its mode, then renamed: no moment at which a stranger
//! could connect by the umask's leave. What is there already is replaced only when it is a socket and nobody listens.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// A bound control socket; its file goes when it is dropped, unless another has taken its place.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    file: SocketFile,
}

impl Socket {
    /// Binds the socket with that mode (such as `0o660`: who may connect). Its directory must be there.
    pub async fn bind(path: &Path, mode: u32) -> Result<Socket, BindError> {
        let name = path.file_name().ok_or_else(|| BindError::NoName { path: path.to_owned() })?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}", std::process::id()));
        let temporary = path.with_file_name(temporary);
        if temporary.as_os_str().len() >= LONGEST {
            return Err(BindError::TooLong { path: path.to_owned() });
        }

        make_way(path).await?;
        let failed = |source| BindError::Bind { path: path.to_owned(), source };
        match fs::remove_file(&temporary) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            Ok(()) | Err(_) => {}
        }
        let listener = UnixListener::bind(&temporary).map_err(failed)?;
        let mut file = SocketFile { id: identity(&temporary).map_err(failed)?, path: temporary };
        fs::set_permissions(&file.path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        fs::rename(&file.path, path).map_err(failed)?;
        file.path = path.to_owned();
        Ok(Socket { listener, file })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

/// Why the socket could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The path has no file name.
    #[error("control socket {}: the path names no file", path.display())]
    NoName {
        /// The socket.
        path: PathBuf,
    },
    /// Longer than a socket's address can be.
    #[error("control socket {}: the path is longer than a socket's may be", path.display())]
    TooLong {
        /// The socket.
        path: PathBuf,
    },
    /// Another process serves it.
    #[error("control socket {}: another process is listening", path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// Something that is no socket is there.
    #[error("control socket {}: something that is not a socket is there", path.display())]
    NotASocket {
        /// The socket.
        path: PathBuf,
    },
    /// The system refused.
    #[error("binding the control socket {}", path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl BindError {
    /// What clears it.
    pub fn remedy(&self) -> &'static str {
        match self {
            BindError::NoName { .. } => "give control.socket as an absolute path to a file",
            BindError::TooLong { .. } => {
                "give a shorter control.socket (a Unix socket's path ends at 107 bytes)"
            }
            BindError::InUse { .. } => "stop the other certrotd, or give this one its own control.socket",
            BindError::NotASocket { .. } => "move that file away, or give another control.socket",
            BindError::Bind { .. } => {
                "see that the socket's directory exists and that certrotd's user may write to it"
            }
        }
    }
}

/// Makes sure that the path is free, or that nobody listens at the socket that is there.
async fn make_way(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Bind { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => Ok(()),
        // Somebody listens whose queue is full.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(BindError::InUse { path: path.to_owned() }),
        Err(e) => Err(failed(e)),
        Ok(_) => Err(BindError::InUse { path: path.to_owned() }),
    }
}

/// The file of the socket, by name and by identity.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    id: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|id| id == self.id) {
            let _ = fs::remove_file(&self.path); // a stale one is replaced at the next start
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|m| (m.dev(), m.ino()))
}

/// `sun_path` of unix(7) holds 108 bytes, the closing zero included.
const LONGEST: usize = 108;
