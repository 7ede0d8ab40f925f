//! What this tool has made and has begun, in the operator's directory.
//!
//! Resources carry a tag; the ledger is for what cannot (certificates) and for a tag that was lost. It is written
//! before a call and after it, so that a tool that is killed in between finds its way. It holds no secret.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::files::{self, FileError};
use crate::model::Id;
use crate::names::{Fleet, Place};

/// The ledger of one fleet in one region of one account; it is held by one process at a time.
#[derive(Debug)]
pub struct Ledger {
    dir: PathBuf,
    page: Page,
    _lock: File,
}

/// What is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    fleet: String,
    account: String,
    region: String,
    /// Resources that were made, or whose making was begun.
    #[serde(default)]
    made: BTreeSet<Id>,
    /// Certificates that were asked for and not yet put in place, by what they are for.
    #[serde(default)]
    begun: BTreeMap<String, Begun>,
    /// Claim certificates by batch.
    #[serde(default)]
    claims: BTreeMap<String, String>,
    /// Certificates that are being taken apart: half-way, nothing in the account says whose they were.
    #[serde(default)]
    ending: BTreeSet<String>,
    /// Device policies that were tried and do what they are for.
    #[serde(default)]
    checked: BTreeSet<String>,
    /// The throw-away devices of a `verify` that is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trial: Option<Trial>,
}

/// What a `verify` made and has not taken away yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// The word that its things and its claim batch are called by.
    pub word: String,
    /// Whether its serial stands on the fleet's allow-list.
    #[serde(default)]
    pub listed: bool,
    /// Certificates that it was issued.
    #[serde(default)]
    pub certificates: BTreeSet<String>,
}

/// A certificate that was asked for; its answer may have been lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Begun {
    /// Hex SHA-256 of the public key (SubjectPublicKeyInfo).
    pub public_key: String,
    /// When it was asked for, by this machine's clock.
    #[serde(with = "rfc3339")]
    pub since: Timestamp,
}

/// Times as text, without the library's own serde feature, which would grow the daemon too.
mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(at)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(D::Error::custom)
    }
}

impl Ledger {
    /// Opens the ledger in a directory, which is made where it is missing, and holds it.
    pub fn open(dir: &Path, fleet: &Fleet, place: &Place) -> Result<Self, LedgerError> {
        files::make_dir(dir)?;
        let lock = dir.join(".lock");
        let file = File::create(&lock).map_err(|e| FileError::new("open", &lock, e))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LedgerError::Held(dir.to_owned())),
            Err(TryLockError::Error(e)) => return Err(FileError::new("lock", &lock, e).into()),
        }
        let path = dir.join(FILE);
        let page = match files::read(&path)? {
            Some(bytes) => serde_json::from_slice(&bytes)
                .map_err(|source| LedgerError::Damaged { path: path.clone(), source })?,
            None => Page {
                fleet: fleet.as_str().to_owned(),
                account: place.account.clone(),
                region: place.region.clone(),
                ..Page::default()
            },
        };
        let ours = (fleet.as_str(), place.account.as_str(), place.region.as_str());
        if (page.fleet.as_str(), page.account.as_str(), page.region.as_str()) != ours {
            return Err(LedgerError::Another {
                path,
                fleet: page.fleet,
                account: page.account,
                region: page.region,
            });
        }
        Ok(Ledger { dir: dir.to_owned(), page, _lock: file })
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What was made.
    pub fn made(&self) -> &BTreeSet<Id> {
        &self.page.made
    }

    /// Writes down that something is about to be made.
    pub fn making(&mut self, id: &Id) -> Result<(), LedgerError> {
        if self.page.made.insert(id.clone()) { self.save() } else { Ok(()) }
    }

    /// Writes down that something is gone.
    pub fn removed(&mut self, id: &Id) -> Result<(), LedgerError> {
        let tried = self.page.checked.remove(&id.name);
        if self.page.made.remove(id) || tried { self.save() } else { Ok(()) }
    }

    /// What was begun for this purpose and not finished.
    pub fn begun(&self, purpose: &str) -> Option<&Begun> {
        self.page.begun.get(purpose)
    }

    /// Purposes of what was begun and not finished.
    pub fn unfinished(&self) -> Vec<String> {
        self.page.begun.keys().cloned().collect()
    }

    /// Writes down that a certificate is about to be asked for.
    pub fn begin(&mut self, purpose: &str, begun: Begun) -> Result<(), LedgerError> {
        self.page.begun.insert(purpose.to_owned(), begun);
        self.save()
    }

    /// Writes down that nothing is open for this purpose any more.
    pub fn finish(&mut self, purpose: &str) -> Result<(), LedgerError> {
        if self.page.begun.remove(purpose).is_some() { self.save() } else { Ok(()) }
    }

    /// Says whether a device policy was tried with success.
    pub fn is_checked(&self, policy: &str) -> bool {
        self.page.checked.contains(policy)
    }

    /// Writes down that a device policy was tried with success.
    pub fn checked(&mut self, policy: &str) -> Result<(), LedgerError> {
        if self.page.checked.insert(policy.to_owned()) { self.save() } else { Ok(()) }
    }

    /// Claim certificates by batch.
    pub fn claims(&self) -> &BTreeMap<String, String> {
        &self.page.claims
    }

    /// Writes down a batch's certificate, or that it has none.
    pub fn claim(&mut self, batch: &str, certificate: Option<&str>) -> Result<(), LedgerError> {
        match certificate {
            Some(id) => self.page.claims.insert(batch.to_owned(), id.to_owned()),
            None => self.page.claims.remove(batch),
        };
        self.save()
    }

    /// Certificates that are being taken apart.
    pub fn ending(&self) -> &BTreeSet<String> {
        &self.page.ending
    }

    /// Writes down that a certificate is about to be taken apart.
    pub fn end(&mut self, certificate: &str) -> Result<(), LedgerError> {
        if self.page.ending.insert(certificate.to_owned()) { self.save() } else { Ok(()) }
    }

    /// Writes down that a certificate is gone.
    pub fn ended(&mut self, certificate: &str) -> Result<(), LedgerError> {
        if self.page.ending.remove(certificate) { self.save() } else { Ok(()) }
    }

    /// What a `verify` left, or is at.
    pub fn trial(&self) -> Option<&Trial> {
        self.page.trial.as_ref()
    }

    /// Writes down what a `verify` makes, before it makes it; `None` when all of it is gone.
    pub fn set_trial(&mut self, trial: Option<Trial>) -> Result<(), LedgerError> {
        if self.page.trial == trial {
            return Ok(());
        }
        self.page.trial = trial;
        self.save()
    }

    /// Forgets everything: the account has nothing of the fleet any more.
    pub fn clear(&mut self) -> Result<(), LedgerError> {
        self.page.made.clear();
        self.page.begun.clear();
        self.page.claims.clear();
        self.page.checked.clear();
        self.page.ending.clear();
        self.page.trial = None;
        self.save()
    }

    /// Removes the ledger where nothing is left that it speaks of, and the directory where nothing else is in it.
    pub fn close_if_empty(self) -> Result<(), LedgerError> {
        if !(self.page.made.is_empty()
            && self.page.begun.is_empty()
            && self.page.claims.is_empty()
            && self.page.ending.is_empty()
            && self.page.trial.is_none())
        {
            return Ok(());
        }
        files::remove(&self.dir.join(FILE))?;
        files::remove(&self.dir.join(".lock"))?;
        if self.dir.read_dir().is_ok_and(|mut d| d.next().is_none()) {
            files::remove(&self.dir)?;
        }
        Ok(())
    }

    fn save(&self) -> Result<(), LedgerError> {
        // Plain data with text keys always becomes JSON.
        let text = serde_json::to_vec_pretty(&self.page).unwrap_or_default();
        Ok(files::write_private(&self.dir.join(FILE), &text)?)
    }
}

/// The ledger cannot be used.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// It does not parse.
    #[error("{} is not a ledger", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// It is of another fleet.
    #[error("{} is the ledger of fleet {fleet} in account {account}, region {region}", path.display())]
    Another {
        /// The file.
        path: PathBuf,
        /// Its fleet.
        fleet: String,
        /// Its account.
        account: String,
        /// Its region.
        region: String,
    },
    /// Another process has it.
    #[error("another certrot-fleet works in {}", .0.display())]
    Held(PathBuf),
}

const FILE: &str = "ledger.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::desired::tests::{fleet, place};
    use crate::model::Kind;

    #[test]
    fn what_was_begun_is_there_after_the_process_has_gone() {
        let dir = tempfile::tempdir().unwrap();
        let begun = Begun { public_key: "ab".to_owned(), since: Timestamp::UNIX_EPOCH };
        let id = Id::new(Kind::Rule, "certrot_retire");
        {
            let mut ledger = Ledger::open(dir.path(), &fleet(), &place()).unwrap();
            ledger.making(&id).unwrap();
            ledger.begin("claim first", begun.clone()).unwrap();
        }
        let ledger = Ledger::open(dir.path(), &fleet(), &place()).unwrap();
        assert!(ledger.made().contains(&id));
        assert_eq!(ledger.begun("claim first"), Some(&begun));
    }

    #[test]
    fn the_ledger_of_another_account_or_one_that_is_held_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::open(dir.path(), &fleet(), &place()).unwrap();
        ledger.claim("first", Some("x")).unwrap();
        assert!(matches!(Ledger::open(dir.path(), &fleet(), &place()), Err(LedgerError::Held(_))));
        drop(ledger);
        let mut other = place();
        other.account = "999999999999".to_owned();
        assert!(matches!(Ledger::open(dir.path(), &fleet(), &other), Err(LedgerError::Another { .. })));
    }
}
