//! Files of the twin's directory: whole or not there, keys 0600 from birth.
//!
//! Atomic by rename; not synced to the disk, since a twin that loses power loses only a test.

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A file of the twin's directory could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Reading failed.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The JSON in it is not what this version writes.
    #[error("{path} is not a state file of this twin; remove the directory to start anew")]
    Shape {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// Makes the directory, 0700, where it is missing.
pub fn make_dir(dir: &Path) -> Result<(), FileError> {
    let made = || -> io::Result<()> {
        if !dir.is_dir() {
            fs::create_dir_all(dir)?;
            fs::set_permissions(dir, Permissions::from_mode(0o700))?;
        }
        Ok(())
    };
    made().map_err(|source| FileError::Write { path: dir.to_owned(), source })
}

/// Writes `bytes` to `dir/name` with `mode`, by a temporary file of that mode and a rename.
pub fn write(dir: &Path, name: &str, mode: u32, bytes: &[u8]) -> Result<(), FileError> {
    let path = dir.join(name);
    let put = || -> io::Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix(".twin-")
            .permissions(Permissions::from_mode(mode))
            .tempfile_in(dir)?;
        file.write_all(bytes)?;
        file.persist(&path).map_err(|e| e.error)?;
        Ok(())
    };
    put().map_err(|source| FileError::Write { path: path.clone(), source })
}

/// Reads `dir/name` as text; `None` where it is missing.
pub fn read(dir: &Path, name: &str) -> Result<Option<String>, FileError> {
    let path = dir.join(name);
    match fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Read { path, source }),
    }
}

/// Writes a value as JSON, 0600.
pub fn write_json<T: Serialize>(dir: &Path, name: &str, value: &T) -> Result<(), FileError> {
    let bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| FileError::Shape { path: dir.join(name), source })?;
    write(dir, name, 0o600, &bytes)
}

/// Reads a value from JSON; `None` where the file is missing.
pub fn read_json<T: DeserializeOwned>(dir: &Path, name: &str) -> Result<Option<T>, FileError> {
    match read(dir, name)? {
        None => Ok(None),
        Some(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|source| FileError::Shape { path: dir.join(name), source }),
    }
}
