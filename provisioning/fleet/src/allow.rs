//! The allow-list: which serials may claim. It travels in the claim hook's zip, so that the hook looks nothing up.
//!
//! One serial a line, blanks and `#` comments left out, sorted, so that the same list is the same bytes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use certrot_rules::serial::Serial;

use crate::code;
use crate::error::FleetError;
use crate::files;
use crate::plan::Act;
use crate::setup::{Wishes, Work};

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

/// Takes a serial off the list in the operator's directory, and tells nobody.
pub fn forget(dir: &Path, serial: &str) -> Result<(), FleetError> {
    let path = path(dir);
    let Some(mut list) = read(&path)? else { return Ok(()) };
    if list.remove(serial) {
        files::write_public(&path, text(&list).as_bytes())?;
    }
    Ok(())
}

/// Changes the list in the operator's directory, then the hook; gives how many serials are on it.
pub async fn change(
    work: &mut Work<'_>,
    add: &BTreeSet<String>,
    remove: &BTreeSet<String>,
    lambdas: &Path,
) -> Result<usize, FleetError> {
    let path = path(work.ledger.dir());
    let mut list = read(&path)?.ok_or_else(|| FleetError::NoList(path.clone()))?;
    list.extend(add.iter().cloned());
    list.retain(|s| !remove.contains(s));
    // Before anything is written: a hook that cannot be packed leaves the list as it is.
    code::Zips::pack(lambdas, &work.aws.fleet, Some(text(&list).as_bytes()))?;
    // The file first: if the call fails, the next `setup` or `allow` brings it there.
    files::write_public(&path, text(&list).as_bytes())?;
    let wishes = Wishes { lambdas: lambdas.to_owned(), ..Wishes::default() };
    let wanted = work.wanted(&wishes, true).await?;
    let (plan, _) = work.planned(&wanted, &wishes).await?;
    let hook = work.aws.fleet.claim_hook();
    for step in &plan.steps {
        if matches!(&step.act, Act::Update(id, _) if id.name == hook) {
            work.aws.perform(&step.act, &wanted.desired, &wanted.zips).await?;
        }
    }
    Ok(list.len())
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
