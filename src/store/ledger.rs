//! The store's three small books: `retire.json`, `device.json` and `history.json`, as data.
//!
//! Damaged ones are never fatal: the store moves them aside and goes on with what `Default` says. It opens no file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::machine::Machine;
use crate::rotation::identity::{Mark, Wall};
use crate::x509;

/// `retire.json`: what is still to be retired, what was, and the verdicts on generations (rule 19).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Retire {
    /// The highest number that was ever given: none is given twice.
    pub last_generation: u32,
    /// Whose commit is still to be accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending: Option<u32>,
    /// Since when it is pending, Unix seconds (`retire.delay` counts from here).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_since: Option<Wall>,
    /// Whose commit was accepted last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled: Option<u32>,
    /// When a commit was sent last, Unix seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub committed_at: Option<Wall>,
    /// Verdicts, for generations that are there.
    pub marks: BTreeMap<u32, WireMark>,
}

impl Retire {
    /// The verdict on a generation.
    pub fn mark(&self, generation: u32) -> Mark {
        match self.marks.get(&generation) {
            None => Mark::Clear,
            Some(WireMark::Refused) => Mark::Refused,
            Some(WireMark::Retired) => Mark::Retired,
        }
    }

    /// Sets or clears the verdict on a generation.
    pub fn set_mark(&mut self, generation: u32, mark: Mark) {
        match mark {
            Mark::Clear => self.marks.remove(&generation),
            Mark::Refused => self.marks.insert(generation, WireMark::Refused),
            Mark::Retired => self.marks.insert(generation, WireMark::Retired),
        };
    }
}

/// A verdict in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum WireMark {
    /// The cloud kept refusing it.
    Refused,
    /// The cloud has retired it.
    Retired,
}

/// `device.json`: who this device is, and on which machine the store was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// The serial that was given by `certrotctl provision SERIAL`, or was last used.
    pub serial: Option<String>,
    /// The thing name that goes with it.
    pub thing: Option<String>,
    /// The machine that it was written on.
    pub machine: Machine,
    /// When a pair last carried a session, Unix seconds (rule 20).
    pub worked_at: Option<Wall>,
    /// The same by a clock that the kernel vouched for (rule 26).
    pub saved_at: Option<Wall>,
}

impl Device {
    /// Reads `device.json`; `None` where it is not one.
    pub(super) fn parse(bytes: &[u8]) -> Option<Device> {
        let wire: WireDevice = serde_json::from_slice(bytes).ok()?;
        let hash = |text: Option<String>| text.and_then(|t| x509::unhex(&t));
        Some(Device {
            serial: wire.serial,
            thing: wire.thing,
            machine: Machine { system: hash(wire.machine_id_hash), board: hash(wire.board_id_hash) },
            worked_at: wire.worked_at,
            saved_at: wire.saved_at,
        })
    }

    /// Writes `device.json`.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let wire = WireDevice {
            serial: self.serial.clone(),
            thing: self.thing.clone(),
            machine_id_hash: self.machine.system.as_ref().map(x509::hex),
            board_id_hash: self.machine.board.as_ref().map(x509::hex),
            worked_at: self.worked_at,
            saved_at: self.saved_at,
        };
        super::state::encode(&wire).to_vec()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDevice {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    serial: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thing: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    machine_id_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    board_id_hash: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worked_at: Option<Wall>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saved_at: Option<Wall>,
}

/// One line of `certrotctl history`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// When it ended, Unix seconds.
    pub at: Wall,
    /// What it was: `provision`, `rotation`, `fallback`, `retire` …
    pub what: String,
    /// What set it off: `max-age`, `renew-before`, `operator`, `cloud` …
    pub cause: String,
    /// The generation that it was about, where it got that far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u32>,
    /// The certificate that it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_id: Option<String>,
    /// How it ended: `done`, or the step that failed and why, in words.
    pub result: String,
    /// How long it took, seconds.
    #[serde(default)]
    pub seconds: u64,
}

/// `history.json`: the last ones, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct History {
    /// At most [`HISTORY_LENGTH`].
    pub entries: Vec<HistoryEntry>,
}

/// How many entries the history keeps.
pub const HISTORY_LENGTH: usize = 50;
