//! What a reload has brought, and what of it does not act yet.

use serde::{Deserialize, Serialize};

use super::Time;

/// The configuration since the start, as far as it is not all in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Configuration {
    /// When it was last read again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_at: Option<Time>,
    /// What changed and does not act yet.
    pub waiting: Vec<ConfigChange>,
}

/// A key of the configuration that a reload has changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigChange {
    /// The key, as the file has it.
    pub key: String,
    /// When it acts.
    pub acts: Acts,
}

/// When a changed key acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Acts {
    /// It is in force.
    Now,
    /// On the next connection, which is made at once.
    Reconnect,
    /// In the next rotation.
    Rotation,
    /// When the claim is next used.
    Claim,
    /// After a restart.
    Restart,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

impl Acts {
    /// The same in words, after the keys.
    pub fn words(self) -> &'static str {
        match self {
            Acts::Now => "in force now",
            Acts::Reconnect => "by a new connection, which is made now",
            Acts::Rotation => "with the next rotation",
            Acts::Claim => "when the claim is next used",
            Acts::Restart => "with the next restart",
            Acts::Unknown => "later",
        }
    }
}
