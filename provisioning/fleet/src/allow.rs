//! The allow-list: which serials may claim. It travels in the claim hook's zip, so that the hook looks nothing up.
//!
//! One serial a line, blanks and `#` comments left out, sorted, so that the same list is the same bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use certrot_rules::serial::Serial;

use crate::error::FleetError;
use crate::files;

/// The list as it lies in the operator's directory.
pub fn path(dir: &Path) -> PathBuf {
    dir.join(crate::desired::ALLOW_LIST)
}

/// Reads a list.
pub fn parse(text: &str) -> Result<BTreeSet<String>, FleetError> {
    let mut serials = BTreeSet::new();
    for (number, line) in text.lines().enumerate() {
        let word = line.split('#').next().unwrap_or_default().trim();
        if word.is_empty() {
            continue;
        }
        let serial = Serial::parse(word).map_err(|source| FleetError::Serial {
            line: number + 1,
            word: word.chars().take(60).collect(),
            source,
        })?;
        serials.insert(serial.as_str().to_owned());
    }
    Ok(serials)
}

/// Writes a list down.
pub fn text(serials: &BTreeSet<String>) -> String {
    serials.iter().flat_map(|s| [s.as_str(), "\n"]).collect()
}

/// Reads a list from a file; `None` when there is none.
pub fn read(path: &Path) -> Result<Option<BTreeSet<String>>, FleetError> {
    files::read(path)?.map(|bytes| parse(&String::from_utf8_lossy(&bytes))).transpose()
}

/// How long a change takes to count: a warm hook ends with its old zip within this many seconds of the update.
pub const COUNTS_AFTER: &str = "a minute";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_sorted_and_a_line_that_is_no_serial_is_named() {
        let list = parse("SN-2 # bench\n\nSN-1\nSN-2\n").unwrap();
        assert_eq!(text(&list), "SN-1\nSN-2\n");
        let refused = parse("SN-1\nclaim-x\n").unwrap_err();
        assert!(refused.to_string().contains("line 2"), "{refused}");
    }
}
