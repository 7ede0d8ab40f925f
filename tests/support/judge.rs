//! The verdict after something was done to a device: it came back by itself, and nothing was lost or left over.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use certrot_twin::{Event, Status};
use serde_json::Value;

use super::Device;

impl Device {
    /// One certificate, in use, and nothing left of what was cut off; then the [`finish`](Device::finish) of every test.
    pub fn recovers(self) {
        let status = self.wait_for("an identity in use and nothing left to do", nothing_to_do);
        let generation = status["certificate"]["generation"].as_u64().unwrap_or_default();
        assert!(generation >= 1, "{status:#}");
        let certificate = self.certificate_id();
        let active: Vec<String> = self.active().into_iter().map(|c| c.id).collect();
        assert_eq!(
            active,
            [certificate],
            "exactly one is ACTIVE, the one in use\n{}{}",
            self.log(),
            self.story()
        );
        accounted(&self);
        tidy(&self);
        self.finish();
    }
}

/// Whether a status says that an identity is in use and that no work is left.
pub fn nothing_to_do(status: &Value) -> bool {
    status["state"] == "steady" && status["connected"] == true && status["retire"]["pending"] == false
}

/// Every certificate that was minted was adopted and is in use or retired, or dies with its token.
fn accounted(device: &Device) {
    let minted: BTreeSet<String> = device
        .twin()
        .events()
        .into_iter()
        .filter_map(|l| match l.event {
            Event::Minted { certificate_id, .. } => Some(certificate_id),
            _ => None,
        })
        .collect();
    let waiting: BTreeSet<String> =
        device.twin().cloud().registry(|r| r.tokens.values().map(|t| t.certificate_id.clone()).collect());
    for certificate in device.twin().certificates() {
        let known = match certificate.status {
            Status::Active | Status::Inactive | Status::Revoked => true,
            Status::PendingActivation => waiting.contains(&certificate.id),
            Status::PendingTransfer => false,
        };
        let ours = minted.contains(&certificate.id);
        assert!(known || !ours, "nobody's: {} {:?}\n{}", certificate.id, certificate.status, device.story());
    }
}

/// No half-written file, no key of a generation that is none.
fn tidy(device: &Device) {
    let mut known: BTreeSet<u32> = device.generations().into_iter().collect();
    for entry in walk(&device.store()) {
        let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(
            !name.starts_with(".tmp") && !name.starts_with("trash"),
            "left: {}\n{}",
            entry.display(),
            device.log()
        );
    }
    known.retain(|n| device.generation_dir(*n).join("device.key.pem").exists());
    assert!(known.len() <= 2, "keys of {known:?} are on the disk\n{}", device.log());
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(walk(&entry.path()));
        }
    }
    found
}
