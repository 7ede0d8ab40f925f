//! Reads a generation's certificate and key, and says what is wrong with them.
//!
//! It judges bytes only by `x509`; whether the cloud takes the pair is not known here (rule 21).

use zeroize::Zeroizing;

use super::error::StoreError;
use super::finding::Finding;
use super::state::Pair;
use super::sys::{Content, Dir};
use super::{CERTIFICATE, KEY, LIMIT, Result};
use crate::x509::{self, Leaf};

/// Reads the pair of a generation; refuses one that is not whole.
pub(super) fn read(dir: &Dir, generation: u32) -> Result<Pair> {
    let not_whole = |source| StoreError::NotWhole { generation, source };
    let (Content::Bytes(certificate), Content::Bytes(key)) =
        (dir.read(CERTIFICATE, LIMIT)?, dir.read(KEY, LIMIT)?)
    else {
        return Err(not_whole(None));
    };
    x509::pair(&certificate, &key).map_err(|e| not_whole(Some(e)))?;
    let certificate = std::str::from_utf8(&certificate).map_err(|_| not_whole(Some(x509::Error::Pem)))?;
    let key = std::str::from_utf8(&key).map_err(|_| not_whole(Some(x509::Error::Pem)))?;
    Ok(Pair { certificate: certificate.to_owned(), key: Zeroizing::new(key.to_owned()) })
}

/// Reads what decisions need of a pair; `None`, and findings, where it is not whole.
pub(super) fn judge(dir: &Dir, findings: &mut Vec<Finding>) -> Result<Option<Leaf>> {
    let certificate = part(dir, CERTIFICATE, findings, x509::leaf)?;
    let key = part(dir, KEY, findings, x509::public_key)?;
    match (certificate, key) {
        (Some(leaf), Some(key)) if leaf.public_key == key => Ok(Some(leaf)),
        (Some(_), Some(_)) => {
            findings.push(Finding::Mismatch { path: dir.path().to_owned() });
            Ok(None)
        }
        _ => Ok(None),
    }
}

/// Reads and parses one of the two files. Text that is not UTF-8 is garbage here too, as it is for `read`.
fn part<T>(
    dir: &Dir,
    name: &str,
    findings: &mut Vec<Finding>,
    parse: impl Fn(&[u8]) -> std::result::Result<T, x509::Error>,
) -> Result<Option<T>> {
    let path = dir.at(name);
    let finding = match dir.read(name, LIMIT)? {
        Content::Missing => Finding::Missing { path },
        Content::NotAFile => Finding::WrongKind { path },
        Content::TooLong => Finding::Garbage { path, why: x509::Error::Pem },
        Content::Unreadable(errno) => Finding::Unreadable { path, why: errno.desc().to_owned() },
        Content::Bytes(bytes) if bytes.is_empty() => Finding::Empty { path },
        Content::Bytes(bytes) if std::str::from_utf8(&bytes).is_err() => {
            Finding::Garbage { path, why: x509::Error::Pem }
        }
        Content::Bytes(bytes) => match parse(&bytes) {
            Ok(parsed) => return Ok(Some(parsed)),
            Err(why) => Finding::Garbage { path, why },
        },
    };
    findings.push(finding);
    Ok(None)
}
