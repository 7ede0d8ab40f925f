//! The shape of the source, checked on its text: imports run one way, files are short, each begins by saying what it
//! is for, and one file reads the wall clock.
//!
//! A module may import what stands before it in `ORDER`; adapters do not import each other at all, so that one file
//! (`world`) joins them. What breaks a rule is named by file, line and rule.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What a module is, for the rule it obeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Pure: parsing, wire types, decisions.
    Pure,
    /// The edge to one part of the system.
    Adapter,
    /// Joins what is before it.
    Joint,
}

/// Every module, the lowest first. A deeper path is a module of its own: `cloud::topics` is pure, `cloud` is not.
const ORDER: &[(&str, Kind)] = &[
    ("x509", Kind::Pure),
    ("exit", Kind::Pure),
    ("resident", Kind::Pure),
    ("wipe", Kind::Pure),
    ("rotation", Kind::Pure),
    ("cloud::topics", Kind::Pure),
    ("cloud::payload", Kind::Pure),
    ("control::wire", Kind::Pure),
    ("clock", Kind::Adapter),
    ("log", Kind::Adapter),
    ("notify", Kind::Adapter),
    ("hooks", Kind::Adapter),
    ("config", Kind::Adapter),
    ("keys", Kind::Adapter),
    ("store", Kind::Adapter),
    ("cloud", Kind::Adapter),
    ("control", Kind::Adapter),
    ("hooks::run", Kind::Joint),
    ("world", Kind::Joint),
    ("policy", Kind::Joint),
    ("story", Kind::Joint),
    ("status", Kind::Joint),
    ("metrics", Kind::Joint),
    ("messages", Kind::Joint),
    ("doctor", Kind::Joint),
    ("engine", Kind::Joint),
    ("orders", Kind::Joint),
    ("arguments", Kind::Joint),
    ("daemon", Kind::Joint),
    ("ctl", Kind::Joint),
    ("bin", Kind::Joint),
];

/// Imports that break the order and may, each with its reason. One that is not needed any more fails.
const ALLOWED: &[(&str, &str, &str)] = &[(
    "engine",
    "orders",
    "orders is the engine's other half (what an operator may ask of it), in a file of its own for its length",
)];

/// Production lines of a file, at most.
const LONGEST: usize = 400;

#[test]
fn imports_run_one_way() {
    let mut faults = Vec::new();
    let mut used = Vec::new();
    for file in files() {
        let Some(from) = module_of(&file.path) else { continue };
        let Some(own) = place(&from) else {
            faults.push(format!("{}: {from} is not in ORDER: give it a place", file.path.display()));
            continue;
        };
        for import in imports(&file, &from) {
            let at = format!("{}:{}", file.path.display(), import.line);
            let Some(target) = place(&import.path) else {
                faults.push(format!("{at}: {} is not in ORDER: give it a place", import.path));
                continue;
            };
            let ((own_name, own_kind), (name, kind)) = (ORDER[own], ORDER[target]);
            let fault = if target == own {
                None
            } else if own_kind == Kind::Adapter && kind == Kind::Adapter {
                Some(format!("the adapter {own_name} imports the adapter {name}: only world joins them"))
            } else if target > own {
                Some(format!("{own_name} imports {name}, which is above it"))
            } else {
                None
            };
            let Some(fault) = fault else { continue };
            match ALLOWED.iter().position(|(a, b, _)| (*a, *b) == (own_name, name)) {
                Some(allowed) => used.push(allowed),
                None => faults.push(format!("{at}: {fault} (`{}`)", import.path)),
            }
        }
    }
    for (n, (from, to, _)) in ALLOWED.iter().enumerate() {
        if !used.contains(&n) {
            faults
                .push(format!("tests/layering.rs: ALLOWED has {from} -> {to}, which nothing needs any more"));
        }
    }
    complain("imports run one way: pure, adapters, world, engine, daemon and ctl, bin", &faults);
}

#[test]
fn no_file_has_more_than_400_production_lines() {
    let faults: Vec<_> = files()
        .iter()
        .filter(|f| !is_test(&f.path))
        .filter_map(|f| {
            let lines = production(&f.text).lines().count();
            (lines > LONGEST).then(|| format!("{}: {lines} production lines", f.path.display()))
        })
        .collect();
    complain("a file has at most 400 production lines: split it where it has two subjects", &faults);
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let faults: Vec<_> = files()
        .iter()
        .filter(|f| {
            f.text
                .lines()
                .next()
                .is_none_or(|l| l.trim_start_matches("//!").trim().is_empty() || !l.starts_with("//!"))
        })
        .map(|f| format!("{}:1: no //! header", f.path.display()))
        .collect();
    complain("every file begins with //!: what it is for, what it must not do, how it fits", &faults);
}

#[test]
fn only_the_clock_reads_the_wall_clock() {
    let mut faults = Vec::new();
    for file in files().iter().filter(|f| !f.path.ends_with("src/clock.rs") && !is_test(&f.path)) {
        for (n, line) in blank_comments(production(&file.text)).lines().enumerate() {
            for reader in ["SystemTime::now", "Timestamp::now", "Zoned::now", "CLOCK_REALTIME"] {
                if line.contains(reader) {
                    faults.push(format!("{}:{}: {reader}", file.path.display(), n + 1));
                }
            }
        }
    }
    complain("time is an argument; src/clock.rs alone reads the wall clock", &faults);
}

#[test]
fn an_import_that_points_up_would_be_found() {
    let file = |path: &str, text: &str| File { path: path.into(), text: text.into() };
    let found = |path: &str, text: &str| {
        let file = file(path, text);
        let from = module_of(&file.path).unwrap();
        imports(&file, &from).into_iter().map(|i| (i.line, i.path)).collect::<Vec<_>>()
    };
    let one = |line, path: &str| vec![(line, path.to_owned())];
    assert_eq!(found("src/store/open.rs", "//! x\nuse crate::world::Who;\n"), one(2, "world::Who"));
    assert_eq!(found("src/store/open.rs", "fn f() { crate::engine::g() }"), one(1, "engine::g"));
    assert_eq!(
        found("src/cloud/topics.rs", "use super::session::Session;"),
        one(1, "cloud::session::Session")
    );
    assert_eq!(found("src/log.rs", "use super::world;"), one(1, "world"));
    assert_eq!(found("src/log.rs", "// crate::world is above\n/// `crate::world`\n"), []);
    let group = found("src/log.rs", "use crate::{\n    engine::{A, B},\n    x509,\n};");
    assert_eq!(group, [(2, "engine::".to_owned()), (3, "x509".to_owned())]);
    assert_eq!(found("src/log.rs", "\n#[cfg(test)]\nmod tests {\n use super::super::world;\n}\n"), []);
    assert_eq!(place("cloud::topics::Operation"), place("cloud::topics"));
    assert_ne!(place("cloud::session"), place("cloud::topics"));
    assert_eq!(place("worldly"), None);
}

struct File {
    path: PathBuf,
    text: String,
}

struct Import {
    line: usize,
    path: String,
}

/// Every file below `src/`, by path.
fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut dirs = vec![root.join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(File { path: path.strip_prefix(root).unwrap().to_owned(), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 60, "only {} files: is this the right folder?", found.len());
    found
}

/// The module of a file, as a path below `crate`; `None` for lib.rs, which only lists the modules.
fn module_of(path: &Path) -> Option<String> {
    let inner = path.strip_prefix("src").ok()?.with_extension("");
    let parts: Vec<_> = inner.iter().filter_map(|p| p.to_str()).filter(|p| *p != "mod").collect();
    (parts != ["lib"]).then(|| parts.join("::"))
}

/// The place in `ORDER` of the longest entry that a path lies in.
fn place(path: &str) -> Option<usize> {
    let inside =
        |name: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
    (0..ORDER.len()).filter(|n| inside(ORDER[*n].0)).max_by_key(|n| ORDER[*n].0.len())
}

/// Every path that a file names from the crate's root or by `super`; of its tests, only those from the root.
fn imports(file: &File, from: &str) -> Vec<Import> {
    let text = blank_comments(&file.text);
    let production = if is_test(&file.path) { 0 } else { production(&text).len() };
    let mut found = Vec::new();
    for root in ["crate::", "certrotd::"] {
        if root == "certrotd::" && place(from).is_none_or(|n| ORDER[n].0 != "bin") {
            continue;
        }
        for (at, _) in text.match_indices(root).filter(|(at, _)| begins_a_path(&text, *at)) {
            collect(&text, at + root.len(), &mut found);
        }
    }
    for (at, _) in text[..production].match_indices("super::").filter(|(at, _)| begins_a_path(&text, *at)) {
        let rest = &text[at..];
        let ups = rest.split("super::").take_while(|part| part.is_empty()).count();
        let depth = from.split("::").count();
        let name = name_at(&rest[ups * "super::".len()..]);
        let base: Vec<_> = from.split("::").take(depth.saturating_sub(ups)).chain([name]).collect();
        found.push(Import { line: line_of(&text, at), path: base.join("::") });
    }
    found
}

/// Takes the path at an offset, or each of a braced group.
fn collect(text: &str, at: usize, found: &mut Vec<Import>) {
    let Some(group) = text[at..].strip_prefix('{') else {
        return found.push(Import { line: line_of(text, at), path: name_at(&text[at..]).to_owned() });
    };
    let (mut depth, mut fresh) = (1, true);
    for (offset, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && depth == 1 && !c.is_whitespace() => {
                fresh = false;
                let at = at + 1 + offset;
                found.push(Import { line: line_of(text, at), path: name_at(&text[at..]).to_owned() });
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
}

fn begins_a_path(text: &str, at: usize) -> bool {
    !text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':')
}

fn name_at(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    &text[..end]
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The text before the tests in it, which stand at the end.
fn production(text: &str) -> &str {
    text.find("#[cfg(test)]\nmod ").map_or(text, |at| &text[..at])
}

fn is_test(path: &Path) -> bool {
    path.iter().any(|p| p.to_str().is_some_and(|p| p.starts_with("tests") || p.ends_with("tests.rs")))
}

/// The same text with comments blanked, so that offsets and lines stay.
fn blank_comments(text: &str) -> String {
    text.split_inclusive('\n')
        .map(|line| match line.find("//") {
            // "https://" in a string is no comment; a path after it on the line would be rare and is still seen.
            Some(at) if !line[..at].ends_with(':') => format!("{}{}", &line[..at], blank(&line[at..])),
            _ => line.to_owned(),
        })
        .collect()
}

fn blank(text: &str) -> String {
    text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect()
}

fn complain(rule: &str, faults: &[String]) {
    let mut text = String::new();
    for fault in faults {
        let _ = writeln!(text, "  {fault}");
    }
    assert!(faults.is_empty(), "\n{rule}\n{text}");
}
