//! Replays the corpora and, from each of their files, a fixed number of mutations by a fixed seed: what a fuzzer has found
//! stays found, and a parser that panics on a changed byte is seen on each commit. The fuzzer itself is beside this
//! (`Cargo.toml`, not part of the workspace): it needs a nightly's flags and hours.
//!
//! `CERTROT_FUZZ_ROUNDS=100000 cargo test --release --test fuzz` goes on for longer.

mod targets;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use targets::{TARGETS, Target};

#[test]
fn what_comes_from_outside_is_read_or_refused_whatever_it_is() {
    let rounds: usize =
        std::env::var("CERTROT_FUZZ_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROUNDS);
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        assert!(corpus.len() > 1, "the corpus of {name} is empty");
        for (n, (path, bytes)) in corpus.iter().enumerate() {
            run(*target, bytes, &format!("{}", path.display()));
            let mut chance = fastrand::Rng::with_seed(n as u64);
            let mut input = bytes.clone();
            for round in 0..rounds {
                // From the file itself, and further and further from it.
                if round % 8 == 0 {
                    input.clone_from(bytes);
                }
                mutate(&mut input, &corpus[chance.usize(..corpus.len())].1, &mut chance);
                run(*target, &input, &format!("{} mutated {round} times", path.display()));
            }
        }
    }
}

/// A corpus that nobody fuzzes is dead weight, a target without one is not replayed.
#[test]
fn every_target_has_a_corpus_and_a_fuzzer_and_every_corpus_a_target() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let names = |folder: &str| {
        let mut names: Vec<String> = fs::read_dir(root.join(folder))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    };
    let targets: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names("corpus"), targets);
    assert_eq!(names("fuzz_targets"), targets);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for name in targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is no target of cargo fuzz");
    }
}

fn run(target: Target, bytes: &[u8], what: &str) {
    if catch_unwind(AssertUnwindSafe(|| target(bytes))).is_err() {
        panic!("{what}: \"{}\"", bytes.escape_ascii());
    }
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// One small change: a bit, a byte, a piece gone, doubled or from elsewhere, a number at its edge.
fn mutate(input: &mut Vec<u8>, other: &[u8], chance: &mut fastrand::Rng) {
    if input.is_empty() {
        input.push(chance.u8(..));
        return;
    }
    let at = chance.usize(..input.len());
    let end = at + 1 + chance.usize(..(input.len() - at).min(32));
    match chance.u8(..8) {
        0 => input[at] ^= 1 << chance.u8(..8),
        1 => input[at] = chance.u8(..),
        2 => input.insert(at, chance.u8(..)),
        3 => drop(input.drain(at..end)),
        4 if input.len() < LONGEST => {
            let piece = input[at..end].to_vec();
            drop(input.splice(at..at, piece));
        }
        5 if !other.is_empty() && input.len() < LONGEST => {
            let from = chance.usize(..other.len());
            let to = (from + 1 + chance.usize(..64)).min(other.len());
            drop(input.splice(at..end, other[from..to].iter().copied()));
        }
        6 => input.truncate(at),
        _ => drop(input.splice(at..end, EDGES[chance.usize(..EDGES.len())].bytes())),
    }
}

/// Mutations of each file on each commit.
const ROUNDS: usize = 400;
const LONGEST: usize = 16 * 1024;
const EDGES: &[&str] = &[
    "0",
    "-1",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "\"\"",
    "null",
    "[]",
    "{}",
    "\\u0000",
    "\u{fffd}",
    "${}",
    "*",
    "?",
    "#",
    "+",
    "/",
    "\r\n",
    "=",
    "\0",
    "\u{7f}",
    "-----BEGIN CERTIFICATE-----",
    "claim-",
    "$aws/",
];
