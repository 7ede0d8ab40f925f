//! What holds at the end of every end-to-end test, whatever the test was about.
//!
//! `current` names a matching pair; no ERROR that the test did not ask for, no panic; no private key and no token in
//! the log; every file of the store 0600, every directory 0700, and nothing else in it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Device, Log};

/// `current` names a generation of ours whose key and certificate belong together, or is not there at all.
pub fn current(device: &Device, wanted: bool) {
    let link = device.store().join("current");
    if !wanted {
        assert!(fs::symlink_metadata(&link).is_err(), "`current` is there, and was to be absent");
        return;
    }
    let target = fs::read_link(&link).unwrap_or_else(|e| panic!("`current`: {e}\n{}", device.log()));
    let generation = device.current_generation().expect("it names a number");
    assert_eq!(target, Path::new(&format!("generations/{generation:04}")), "what `current` says");
    let certificate = CertificateDer::from_pem_file(link.join("device.cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(link.join("device.key.pem")).expect("a key");
    let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a key that can sign");
    let pair = rustls::sign::CertifiedKey::new(vec![certificate], key);
    pair.keys_match().unwrap_or_else(|e| panic!("key and certificate of generation {generation}: {e}"));
}

/// Files 0600, directories 0700, `current` the only link, no file of a half-done write.
pub fn modes(store: &Path) {
    let Ok(entries) = fs::read_dir(store) else { return };
    for entry in entries.map(|e| e.expect("a readable directory")) {
        let path = entry.path();
        let found = fs::symlink_metadata(&path).expect("it was listed");
        let kind = found.file_type();
        let mode = found.mode() & 0o7777;
        if kind.is_symlink() {
            assert_eq!(entry.file_name(), "current", "a link in the store: {}", path.display());
        } else if kind.is_dir() {
            assert_eq!(mode, 0o700, "{}: {mode:o}", path.display());
            modes(&path);
        } else {
            assert_eq!(mode, 0o600, "{}: {mode:o}", path.display());
        }
        assert_eq!(found.uid(), fs::metadata(store).expect("the store").uid(), "{}", path.display());
    }
    assert_eq!(fs::metadata(store).expect("the store").mode() & 0o7777, 0o700, "{}", store.display());
}

/// Every ERROR was asked for, every one that was asked for came, and nothing panicked but what is `foreign`.
pub fn errors(log: &Log, required: &BTreeSet<String>, allowed: &BTreeSet<String>, foreign: &[&str]) {
    for line in log.text().lines().filter(|l| l.contains("panicked at")) {
        assert!(foreign.iter().any(|word| line.contains(word)), "it panicked: {line}\n{log}");
    }
    let lines = log.lines("ERROR");
    for line in &lines {
        let known = required.iter().chain(allowed).any(|word| is_about(line, word));
        assert!(known, "an ERROR that the test did not ask for:\n{line}\n{log}");
    }
    for word in required {
        assert!(lines.iter().any(|l| is_about(l, word)), "no ERROR about {word:?}\n{log}");
    }
}

fn is_about(line: &str, word: &str) -> bool {
    line.contains(&format!("code=\"{word}\"")) || line.contains(word)
}

/// Neither a key nor a token that was ever seen is in the log, nor anything that looks like one.
pub fn secrets(log: &Log, known: &BTreeSet<String>) {
    for secret in known {
        assert!(!log.text().contains(secret.as_str()), "a key or a token is in the log");
    }
    for word in ["PRIVATE KEY", "BEGIN CERTIFICATE", "certificateOwnershipToken"] {
        assert!(!log.text().contains(word), "{word} is in the log\n{log}");
    }
    let coded = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    // The line that says where a panic was names a source file, whose path is as long.
    let lines = log.text().lines().filter(|line| !line.contains("panicked at"));
    let longest = lines.flat_map(|line| line.split(|c| !coded(c))).map(str::len).max().unwrap_or(0);
    assert!(longest < LONGEST_WORD, "a word of {longest} base64 characters is in the log\n{log}");
}

/// Lines of base64 in the key files, and tokens in the state files, of every generation that is there now.
pub fn secrets_on_disk(store: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(store.join("generations")) else { return found };
    for generation in entries.filter_map(Result::ok).map(|e| e.path()) {
        let key = fs::read_to_string(generation.join("device.key.pem")).unwrap_or_default();
        found.extend(key.lines().filter(|l| l.len() >= 40 && !l.starts_with('-')).map(str::to_owned));
        let state = fs::read(generation.join("state.json")).unwrap_or_default();
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap_or_default();
        found.extend(state["token"].as_str().map(str::to_owned));
    }
    found
}

/// A certificate id has 64 characters; nothing else that is logged is as long.
const LONGEST_WORD: usize = 80;
