//! What is linked into a package's programs: `cargo tree`'s own answer for exactly these members, without what only
//! builds or tests need, and without macros, which leave no code of theirs in a program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

/// A crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// What is known of a crate beside its name.
#[derive(Clone, Debug, Default)]
pub struct About {
    /// The SPDX expression.
    pub licence: String,
    /// The authors, where they are named.
    pub authors: Vec<String>,
    /// Where its source is kept.
    pub repository: Option<String>,
    /// The folder of its source, here.
    pub folder: PathBuf,
    /// Whether it is this project's own.
    pub own: bool,
}

/// The crates and who links whom.
pub struct Tree {
    /// Each crate, and which it links.
    pub links: BTreeMap<Crate, BTreeSet<Crate>>,
    /// What is known of each.
    pub about: BTreeMap<Crate, About>,
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Cargo did not answer.
    #[error("cargo {what}: {told}")]
    Cargo { what: &'static str, told: String },
    /// Cargo answered with something else than expected.
    #[error("cargo {what}: cannot make sense of {line:?}")]
    Answer { what: &'static str, line: String },
}

/// The tree of these members' programs.
pub fn linked(members: &[String]) -> Result<Tree, TreeError> {
    let mut arguments = vec!["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "depth"];
    arguments.extend(["--target", TARGET, "--format", " {p}"]);
    arguments.extend(members.iter().flat_map(|member| ["--package", member]));
    let links = read(&run("tree", &arguments)?)?;
    let known =
        run("metadata", &["metadata", "--locked", "--format-version", "1", "--filter-platform", TARGET])?;
    let known: Value = serde_json::from_str(&known)
        .map_err(|e| TreeError::Answer { what: "metadata", line: e.to_string() })?;
    let mut about = BTreeMap::new();
    for package in known["packages"].as_array().into_iter().flatten() {
        let text = |key: &str| package[key].as_str().map(str::to_owned);
        let (Some(name), Some(version), Some(manifest)) =
            (text("name"), text("version"), text("manifest_path"))
        else {
            continue;
        };
        let which = Crate { name, version };
        if links.contains_key(&which) {
            let authors = package["authors"].as_array().into_iter().flatten();
            about.insert(
                which,
                About {
                    licence: text("license").unwrap_or_default().replace('/', " OR "),
                    authors: authors.filter_map(Value::as_str).map(str::to_owned).collect(),
                    repository: text("repository"),
                    folder: PathBuf::from(manifest).parent().map(PathBuf::from).unwrap_or_default(),
                    own: package["source"].is_null(),
                },
            );
        }
    }
    match links.keys().find(|which| about.get(which).is_none_or(|a| a.licence.is_empty())) {
        Some(which) => {
            Err(TreeError::Answer { what: "metadata", line: format!("{which:?} without a licence") })
        }
        None => Ok(Tree { links, about }),
    }
}

/// Lines `2 name v1.2.3 (/path) (*)`, each below the last one of a smaller depth.
fn read(text: &str) -> Result<BTreeMap<Crate, BTreeSet<Crate>>, TreeError> {
    let mut links: BTreeMap<Crate, BTreeSet<Crate>> = BTreeMap::new();
    let mut above: Vec<Crate> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let wrong = || TreeError::Answer { what: "tree", line: line.to_owned() };
        let mut words = line.split_whitespace();
        let depth: usize = words.next().and_then(|word| word.parse().ok()).ok_or_else(wrong)?;
        let name = words.next().ok_or_else(wrong)?.to_owned();
        let version = words.next().and_then(|word| word.strip_prefix('v')).ok_or_else(wrong)?.to_owned();
        let which = Crate { name, version };
        if depth > above.len() {
            return Err(wrong());
        }
        above.truncate(depth);
        links.entry(which.clone()).or_default();
        if let Some(parent) = above.last() {
            links.entry(parent.clone()).or_default().insert(which.clone());
        }
        above.push(which);
    }
    Ok(links)
}

fn run(what: &'static str, arguments: &[&str]) -> Result<String, TreeError> {
    let failed = |told: String| TreeError::Cargo { what, told };
    let output = Command::new(crate::cargo()).args(arguments).output().map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The packages' architectures differ in no crate; this one is asked for.
const TARGET: &str = "x86_64-unknown-linux-gnu";

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Crate {
        Crate { name: name.to_owned(), version: "1.0.0".to_owned() }
    }

    #[test]
    fn who_links_whom_is_read_off_the_depths() {
        let links =
            read("0 a v1.0.0 (/x)\n1 b v1.0.0\n2 c v1.0.0\n1 c v1.0.0 (*)\n0 d v1.0.0\n1 b v1.0.0 (*)\n")
                .unwrap();
        let of = |name: &str| links[&named(name)].iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
        assert_eq!((of("a"), of("b"), of("c"), of("d")), (vec!["b", "c"], vec!["c"], vec![], vec!["b"]));
    }

    #[test]
    fn a_line_that_is_none_is_refused() {
        for text in ["a v1", "0 a", "0 a 1.0.0", "1 a v1.0.0"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_daemon_links_rustls_and_neither_tests_nor_macros() {
        let tree = linked(&["certrotd".to_owned()]).unwrap();
        let has = |name: &str| tree.links.keys().any(|which| which.name == name);
        assert!(has("rustls") && has("tokio") && has("ring"));
        assert!(!has("serde_derive") && !has("certrot-twin") && !has("aws-lc-rs") && !has("cc"));
    }
}
