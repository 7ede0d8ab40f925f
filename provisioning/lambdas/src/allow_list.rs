//! The allow-list: a file of serials in the function's own zip, so that the hook looks nothing up.
//!
//! One serial a line; blanks and `#` comments do not count. It is read anew for each claim (a few milliseconds for
//! ten thousand lines), so nothing that was once allowed stays so. A list that was promised and cannot be read is a
//! list with nobody on it: the caller denies.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use certrot_rules::hook::Listing;

/// Who may claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowList {
    /// Every well-formed serial.
    Open,
    /// The serials in this file.
    File(PathBuf),
}

impl AllowList {
    /// Reads the two variables: the file's name, and Lambda's `LAMBDA_TASK_ROOT`, in which it lies.
    pub fn from_environment(file: Option<String>, root: Option<String>) -> Self {
        match file {
            None => AllowList::Open,
            Some(file) => AllowList::File(PathBuf::from(root.unwrap_or_else(|| ".".to_owned())).join(file)),
        }
    }

    /// Says what the list has of a serial.
    pub fn listing(&self, serial: &str) -> std::io::Result<Listing> {
        let AllowList::File(path) = self else { return Ok(Listing::NoList) };
        for line in BufReader::new(std::fs::File::open(path)?).lines() {
            if line?.split('#').next().map(str::trim) == Some(serial) {
                return Ok(Listing::Listed);
            }
        }
        Ok(Listing::NotListed)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn who_is_on_the_list_is_listed_and_nobody_else() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"# bench\nSN-1\n  SN-2 # spare\n\nSN-30\n").unwrap();
        let list = AllowList::from_environment(Some(file.path().to_str().unwrap().into()), Some("/x".into()));
        for (serial, listed) in [
            ("SN-1", Listing::Listed),
            ("SN-2", Listing::Listed),
            ("SN-3", Listing::NotListed),
            ("spare", Listing::NotListed),
            ("sn-1", Listing::NotListed),
        ] {
            assert_eq!(list.listing(serial).unwrap(), listed, "{serial}");
        }
        assert_eq!(AllowList::from_environment(None, None).listing("SN-3").unwrap(), Listing::NoList);
    }

    #[test]
    fn a_list_that_cannot_be_read_is_an_error_and_never_open() {
        for file in ["", "no-such-file", "."] {
            let list = AllowList::from_environment(Some(file.into()), None);
            assert!(list.listing("SN-1").is_err(), "{file:?}");
        }
    }
}
