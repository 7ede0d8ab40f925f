//! `copyright` (Debian's machine-readable form) and `THIRD-PARTY`: the licence of every crate that is linked in, with
//! the text that the crate ships, each text once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::tree::{Crate, Tree};

/// `/usr/share/doc/PACKAGE/copyright`.
pub fn copyright(package: &str) -> String {
    let (_, text) = LICENCE.split_once("\n\n").unwrap_or(("", LICENCE));
    let holder = LICENCE.lines().find_map(|l| l.strip_prefix("Copyright (c) ")).unwrap_or_default();
    let text = text.split_once("\n\n").map_or(text, |(_, text)| text);
    let mut licence = String::new();
    for line in text.trim_end().lines() {
        let _ = writeln!(licence, " {}", if line.is_empty() { "." } else { line });
    }
    format!(
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: {package}\n\
         Source: {}\n\
         Comment: The programs hold code of other projects, linked in statically. Their names,\n \
         versions and licences are in THIRD-PARTY.gz beside this file, as a bill of materials\n \
         in {package}.cdx.json.gz.\n\
         \n\
         Files: *\n\
         Copyright: {holder}\n\
         License: Expat\n\
         {licence}",
        env!("CARGO_PKG_REPOSITORY")
    )
}

/// `THIRD-PARTY`: a table of crates, then each licence text with the crates that ship it.
pub fn third_party(package: &str, tree: &Tree) -> io::Result<String> {
    let mut table = String::new();
    let mut texts: BTreeMap<String, Vec<&Crate>> = BTreeMap::new();
    let mut without = Vec::new();
    for (which, about) in tree.about.iter().filter(|(_, about)| !about.own) {
        let _ = writeln!(table, "{} {}: {}", which.name, which.version, about.licence);
        let files = files(&about.folder)?;
        if files.is_empty() {
            without.push((which, about));
        }
        for file in files {
            let text = String::from_utf8_lossy(&fs::read(&file)?).replace("\r\n", "\n");
            texts.entry(text.trim_matches('\n').to_owned()).or_default().push(which);
        }
    }
    let mut out = format!(
        "Code of other projects in the programs of {package}\n\n\
         Linked in statically, beside the Rust standard library (MIT OR Apache-2.0, the Rust project's\n\
         contributors). `OR` leaves the choice of the licence; the choice here is MIT where it is offered.\n\n{table}"
    );
    if !without.is_empty() {
        let _ = writeln!(out, "\nThese ship no licence text; their authors and their place are:\n");
        for (which, about) in without {
            let place = about.repository.as_deref().unwrap_or("crates.io");
            let authors = if about.authors.is_empty() {
                "its contributors".to_owned()
            } else {
                about.authors.join(", ")
            };
            let _ = writeln!(out, "{} {}: {authors}; {place}", which.name, which.version);
        }
    }
    let mut texts: Vec<_> = texts.into_iter().collect();
    texts.sort_by(|(a, of_a), (b, of_b)| of_a.cmp(of_b).then_with(|| a.cmp(b)));
    for (text, crates) in texts {
        let names: Vec<_> = crates.iter().map(|c| format!("{} {}", c.name, c.version)).collect();
        let _ = write!(out, "\n{}\n{}\n\n{text}\n", "=".repeat(100), names.join(", "));
    }
    Ok(out)
}

/// The licence files of a crate: in its folder, and in a `licenses` folder of it.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().to_uppercase()).unwrap_or_default();
        if !MARKS.iter().any(|mark| name.starts_with(mark)) || name.ends_with(".RS") {
            continue;
        }
        if path.is_dir() {
            for inner in fs::read_dir(&path)? {
                found.extend(Some(inner?.path()).filter(|path| path.is_file()));
            }
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

const MARKS: [&str; 6] = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
const LICENCE: &str = include_str!("../../../LICENSE");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::About;

    #[test]
    fn every_crate_is_in_the_table_and_a_text_that_two_ship_stands_once() {
        let folder = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let about = |own| About {
            licence: "MIT".to_owned(),
            // Two crates with one folder: this project's root has a LICENSE.
            folder: folder("../.."),
            own,
            ..About::default()
        };
        let named = |name: &str| Crate { name: name.to_owned(), version: "1.0.0".to_owned() };
        let mut tree = Tree { links: BTreeMap::new(), about: BTreeMap::new() };
        tree.about.insert(named("a"), about(false));
        tree.about.insert(named("b"), about(false));
        tree.about.insert(named("ours"), about(true));
        tree.about.insert(named("bare"), About { folder: folder("src"), ..about(false) });
        let text = third_party("x", &tree).unwrap();
        assert!(text.contains("a 1.0.0: MIT\nb 1.0.0: MIT\nbare 1.0.0: MIT\n"), "{text}");
        assert!(text.contains("\na 1.0.0, b 1.0.0\n\nMIT License"), "{text}");
        assert!(text.contains("bare 1.0.0: its contributors; crates.io"), "{text}");
        assert!(!text.contains("ours") && text.matches("MIT License").count() == 1, "{text}");
    }

    #[test]
    fn the_copyright_file_has_the_licence_s_text_and_holder() {
        let text = copyright("certrotd");
        assert!(
            text.contains("Copyright: 2026 the certrotd founders\nLicense: Expat\n Permission is hereby"),
            "{text}"
        );
        assert!(text.contains("\n .\n The above copyright notice"), "{text}");
    }
}
