//! The daemon's side of hooks: it rings when `current` names a certificate that they have not seen, and reads what they
//! said.
//!
//! ```text
//! certrotd (sandbox, its own user)                certrotd-rotated.service (root, no sandbox)
//!   `current` moves ──▶ RUNTIME_DIRECTORY/rotated ──.path──▶ takes the bell down, reads `current`, runs hooks.d/*
//!   GET /v1/status ◀── results of /var/lib/certrotd-rotated ◀── writes what each said (run)
//! ```
//! 1. The bell is a level, not an edge: as long as the file is there systemd starts the runner, so a switch that falls
//!    into a run is seen after it.
//! 2. What hooks have seen is on disk and root's. The daemon compares at each start, so a switch that fell into a crash
//!    or a reboot rings then.
//! 3. Neither writes where the other owns: the runner changes nothing of the store, the daemon nothing of the results.

pub mod run;

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::control::wire;

/// Where the bell and the results are; under no manager there are none, and no hooks.
#[derive(Debug, Default)]
pub struct Hooks {
    bell: Option<PathBuf>,
    results: Option<PathBuf>,
    rung_for: Option<String>,
}

impl Hooks {
    /// As the unit says: `RUNTIME_DIRECTORY` (systemd.exec(5)) and `CERTROTD_HOOK_RESULTS`.
    pub fn from_environment() -> Hooks {
        let path = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let results = path(RESULTS_VARIABLE);
        let bell = results.as_ref().and_then(|_| path("RUNTIME_DIRECTORY")).map(|d| d.join(BELL));
        Hooks { bell, results, rung_for: None }
    }

    /// What the hooks said last; nothing where they never ran.
    pub fn said(&self) -> wire::Hooks {
        self.results.as_deref().and_then(read).unwrap_or_default()
    }

    /// Hears which certificate is in use, and rings once for each that the hooks have not all seen.
    pub fn see(&mut self, certificate: &wire::Certificate) {
        let Some(bell) = &self.bell else { return };
        if self.rung_for.as_ref() == Some(&certificate.id) {
            return;
        }
        self.rung_for = Some(certificate.id.clone());
        let said = self.said();
        if said.certificate_id.as_ref() == Some(&certificate.id) && said.results.iter().all(|r| r.ok) {
            return;
        }
        match File::create(bell) {
            Ok(_) => tracing::debug!(generation = certificate.generation, "hooks are to run"),
            Err(error) => tracing::warn!(
                %error,
                remedy = "systemctl start certrotd-rotated runs the hooks",
                "{} cannot be made, so no hook runs for generation {}",
                bell.display(),
                certificate.generation
            ),
        }
    }
}

/// Reads a file of results; `None` where there is none that can be read.
fn read(path: &Path) -> Option<wire::Hooks> {
    let mut text = String::new();
    File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Set by the unit: the file of results.
pub const RESULTS_VARIABLE: &str = "CERTROTD_HOOK_RESULTS";
/// The bell's name in the daemon's runtime directory.
const BELL: &str = "rotated";
/// Of a file of results, bytes.
const LONGEST: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(id: &str, generation: u32) -> wire::Certificate {
        wire::Certificate { id: id.to_owned(), generation, ..wire::Certificate::default() }
    }

    /// What the hooks said of a certificate, as the runner writes it.
    fn say(path: &Path, id: &str, ok: bool) {
        use std::io::Write as _;
        let said = wire::Hooks {
            generation: Some(1),
            certificate_id: Some(id.to_owned()),
            results: vec![wire::HookResult { name: "10-a".into(), ok, ..Default::default() }],
            ..wire::Hooks::default()
        };
        File::create(path).unwrap().write_all(&serde_json::to_vec(&said).unwrap()).unwrap();
    }

    #[test]
    fn it_rings_once_for_each_certificate_and_at_each_start_until_every_hook_has_seen_it() {
        let dir = tempfile::tempdir().unwrap();
        let (bell, results) = (dir.path().join("rotated"), dir.path().join("results.json"));
        let start = || Hooks { bell: Some(bell.clone()), results: Some(results.clone()), ..Hooks::default() };
        let rings = |hooks: &mut Hooks, id: &str| {
            hooks.see(&certificate(id, 1));
            std::fs::remove_file(&bell).is_ok()
        };

        let mut hooks = start();
        assert!(rings(&mut hooks, "a"));
        assert!(!rings(&mut hooks, "a"), "told already");
        assert!(rings(&mut hooks, "b"), "switched");
        assert!(rings(&mut hooks, "a"), "and back");

        assert!(rings(&mut start(), "a"), "nobody saw it before the restart");
        say(&results, "a", false);
        assert!(rings(&mut start(), "a"), "one of them failed");
        say(&results, "a", true);
        assert!(!rings(&mut start(), "a"), "all have seen it");
        assert!(rings(&mut start(), "b"));
    }

    #[test]
    fn without_a_unit_there_are_no_hooks_and_damaged_results_are_none() {
        let mut hooks = Hooks::default();
        hooks.see(&certificate("a", 1));
        assert_eq!(hooks.said(), wire::Hooks::default());
        let dir = tempfile::tempdir().unwrap();
        let results = dir.path().join("results.json");
        File::create(&results).unwrap();
        let hooks = Hooks { results: Some(results), ..Hooks::default() };
        assert_eq!(hooks.said(), wire::Hooks::default());
    }
}
