//! What is in use, for readers who are not the daemon: the pair that `current` names, read once, without the lock.
//!
//! The hook runner is root and reads the directory of an unprivileged daemon: no link below the store is followed, and
//! a file counts only when it has one name and the store's own owner. Nothing is changed.

use std::path::Path;

use super::inspect::{self, Named};
use super::sys::{Content, Dir};
use super::{CERTIFICATE, GENERATIONS, KEY, LIMIT, Pair, Result, STATE, State, StoreError, name_of, pair};
use crate::x509;

/// The pair in use, with what is known of it.
#[derive(Debug)]
pub struct InUse {
    /// Number of its generation.
    pub generation: u32,
    /// AWS's certificate id: lower-case hex SHA-256 of the DER.
    pub certificate_id: String,
    /// The thing that it was issued for; empty where state.json does not say.
    pub thing: String,
    /// Certificate and key.
    pub pair: Pair,
}

impl InUse {
    /// Reads it; `None` where `current` names nothing.
    pub fn read(store: &Path) -> Result<Option<InUse>> {
        let mut last = None;
        // A generation may be removed between reading the name and reading the pair: then the name says another.
        for _ in 0..TRIES {
            let root = Dir::root(store)?;
            let Named::Generation(generation) = inspect::named(&root)? else { return Ok(None) };
            match read(&root, generation) {
                Ok(found) => return Ok(Some(found)),
                Err(error) => last = Some(error),
            }
        }
        last.map_or(Ok(None), Err)
    }
}

fn read(root: &Dir, generation: u32) -> Result<InUse> {
    let owner = root.stat()?.st_uid;
    let dir = root.child(GENERATIONS)?.child(&name_of(generation))?;
    for name in [CERTIFICATE, KEY] {
        match dir.stat_at(name)? {
            Some(file) if file.st_uid != owner || file.st_nlink != 1 => {
                return Err(StoreError::NotWhole { generation, source: None });
            }
            Some(_) | None => {}
        }
    }
    let pair = pair::read(&dir, generation)?;
    let leaf = x509::leaf(pair.certificate.as_bytes())
        .map_err(|e| StoreError::NotWhole { generation, source: Some(e) })?;
    let state = match dir.read(STATE, LIMIT)? {
        Content::Bytes(bytes) => State::parse(&bytes),
        _ => None,
    };
    let thing = state.map(|s| s.thing).unwrap_or_default();
    Ok(InUse { generation, certificate_id: leaf.id_hex(), thing, pair })
}

/// How often the name is read again.
const TRIES: u32 = 3;
