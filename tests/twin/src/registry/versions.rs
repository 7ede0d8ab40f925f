//! Documents with versions: what policies and templates have in common.
//!
//! AWS keeps at most five versions, one of them the default; numbers count up and are never given twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RegistryError;

/// The versions of one document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// By number.
    pub all: BTreeMap<u32, Version>,
    /// The one in force.
    pub default: u32,
    newest: u32,
}

/// One version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// JSON text, as it was given.
    pub document: String,
    /// When it was made, twin milliseconds since the epoch.
    pub created_ms: i64,
}

impl Versions {
    /// The first version, number 1.
    pub fn new(document: &str, now_ms: i64) -> Self {
        let first = Version { document: document.to_owned(), created_ms: now_ms };
        Versions { all: BTreeMap::from([(1, first)]), default: 1, newest: 1 }
    }

    /// The document in force.
    pub fn document(&self) -> &str {
        self.all.get(&self.default).map_or("", |v| v.document.as_str())
    }

    /// Adds a version and gives its number.
    pub fn add(&mut self, document: &str, default: bool, now_ms: i64) -> Result<u32, RegistryError> {
        if self.all.len() >= MOST {
            return Err(RegistryError::Versions(format!("there are {MOST} versions already")));
        }
        self.newest += 1;
        let version = Version { document: document.to_owned(), created_ms: now_ms };
        self.all.insert(self.newest, version);
        if default {
            self.default = self.newest;
        }
        Ok(self.newest)
    }

    /// Finds a version.
    pub fn get(&self, number: u32) -> Result<&Version, RegistryError> {
        self.all.get(&number).ok_or_else(|| RegistryError::NotFound(format!("Version {number}")))
    }

    /// Puts another version in force.
    pub fn set_default(&mut self, number: u32) -> Result<(), RegistryError> {
        self.get(number)?;
        self.default = number;
        Ok(())
    }

    /// Removes a version; the one in force stays.
    pub fn remove(&mut self, number: u32) -> Result<(), RegistryError> {
        self.get(number)?;
        if number == self.default {
            return Err(RegistryError::Conflict("Cannot delete the default version".into()));
        }
        self.all.remove(&number);
        Ok(())
    }

    /// Refuses while there is more than the version in force.
    pub fn check_alone(&self) -> Result<(), RegistryError> {
        if self.all.len() > 1 {
            return Err(RegistryError::Conflict("Delete the versions that are not the default first".into()));
        }
        Ok(())
    }
}

/// AWS IoT quota: versions of a policy, and of a fleet provisioning template.
const MOST: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sixth_version_is_refused_and_a_number_is_never_given_twice() {
        let mut versions = Versions::new("a", 0);
        for n in 2..=5 {
            assert_eq!(versions.add("b", n == 3, 0), Ok(n));
        }
        assert!(matches!(versions.add("b", true, 0), Err(RegistryError::Versions(_))));
        assert!(matches!(versions.remove(3), Err(RegistryError::Conflict(_))));
        versions.remove(5).unwrap();
        assert_eq!(versions.add("c", true, 0), Ok(6));
        assert_eq!(versions.document(), "c");
        assert!(matches!(versions.set_default(5), Err(RegistryError::NotFound(_))));
    }
}
