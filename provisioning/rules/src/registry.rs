//! The registry's words: what AWS IoT says of certificates and things, as far as the decisions need it.
//!
//! Names and JSON are those of AWS IoT's control plane. Plain data; who fetches it is the caller's business.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The status of a certificate in the registry (`CertificateStatus` in AWS's service model).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// It may connect.
    Active,
    /// It may not connect; an operator can undo it.
    Inactive,
    /// It may not connect, for good.
    Revoked,
    /// It is on its way to another account.
    PendingTransfer,
    /// Deprecated by AWS; still in the model.
    RegisterInactive,
    /// Issued, and not yet registered with its ownership token.
    PendingActivation,
    /// A word that was not in AWS's model when this was written: never treated as dead.
    #[serde(other)]
    Unknown,
}

impl Status {
    /// Says whether a certificate in this status can carry no session until somebody changes it.
    pub fn is_dead(self) -> bool {
        matches!(self, Status::Inactive | Status::Revoked)
    }

    /// The word that AWS uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Active => "ACTIVE",
            Status::Inactive => "INACTIVE",
            Status::Revoked => "REVOKED",
            Status::PendingTransfer => "PENDING_TRANSFER",
            Status::RegisterInactive => "REGISTER_INACTIVE",
            Status::PendingActivation => "PENDING_ACTIVATION",
            Status::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A certificate as DescribeCertificate shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// `certificateId`: lower-case hex SHA-256 of the DER.
    pub id: String,
    /// `status`.
    pub status: Status,
    /// `creationDate`: the only clock by which certificates are older and newer (rule 12).
    pub created: Timestamp,
    /// `validity.notAfter`, where it is known.
    pub not_after: Option<Timestamp>,
}

/// A thing as DescribeThing shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thing {
    /// `version`, for an UpdateThing that must not run over another's.
    pub version: Option<i64>,
    /// `thingTypeName`: by it a fleet knows its things.
    pub type_name: Option<String>,
    /// `attributes`.
    pub attributes: BTreeMap<String, String>,
}
