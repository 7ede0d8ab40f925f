//! What operators ask for and what they are answered.

use serde::{Deserialize, Serialize};

use super::Time;

/// `POST /v1/provision`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ProvisionRequest {
    /// The serial, where the configuration leaves it open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Said after a question: on a device that is provisioned and connected, the session may be given up for the claim.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub confirmed: bool,
}

/// `POST /v1/rotate`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RotateRequest {
    /// Try every step that can be tried without minting a certificate, and answer with a [`CheckReport`].
    pub dry_run: bool,
}

/// `PATCH /v1/rotation`: what is there changes until the next reload. Durations as in the configuration (`"90d"`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RotationPatch {
    /// Whether the daemon rotates by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// `rotation.check-interval`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<String>,
    /// `rotation.max-age`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// `rotation.renew-before`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
}

/// The answer to an order that was taken: what will be done, in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Accepted {
    /// What will be done.
    pub text: String,
    /// The operation whose events tell how it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
}

/// The answer to a rotation that was taken.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RotateAccepted {
    /// What will be done.
    pub text: String,
    /// The operation whose events tell how it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<u64>,
    /// Whether it was under way already.
    pub joined: bool,
}

/// One line of `GET /v1/history` (a JSON array of these, the oldest first).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HistoryEntry {
    /// When it happened.
    pub time: Time,
    /// One kebab-case word: `provisioned`, `rotated`, `rotation-failed`, `retired`, `fallback`, `adopted` …
    pub kind: String,
    /// The generation it speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// Its certificate id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<String>,
    /// The same in words.
    pub text: String,
}

/// The answer to `GET /v1/check` and to a dry run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckReport {
    /// When it was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Time>,
    /// How old it is: a check is made at most once a minute, and readers in between get the last report.
    pub age_seconds: u64,
    /// Version of the daemon; nothing where `certrotctl` made the report alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Every step, in the order in which things happen.
    pub steps: Vec<CheckStep>,
}

/// One step of a check.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CheckStep {
    /// Its name, such as `dns`, `tcp`, `tls`.
    pub name: String,
    /// How it ended.
    pub result: CheckResult,
    /// What was seen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// Why it failed: one kebab-case word; `configuration` makes `certrotctl check` end with 78.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What clears it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The statement that the device's policy seems to lack, as AWS writes it; `ACCOUNT` stands for the account's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statement: Option<serde_json::Value>,
    /// How long it took, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub millis: Option<u64>,
}

/// How a step of a check ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckResult {
    /// As it should be.
    Ok,
    /// It works, and something should be known.
    Warn,
    /// It does not work.
    Fail,
    /// Not tried, for the reason in the detail.
    #[default]
    #[serde(other)]
    Skipped,
}
