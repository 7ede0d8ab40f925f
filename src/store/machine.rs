//! Which machine a store was written on, as hashes: a store that turns up on another one says so (`machine-change`).
//!
//! The board's own id is the better witness and decides where both sides know it: a copied disk carries
//! `/etc/machine-id` along, and an image may make a new one at each boot. The ids themselves are never kept or shown.

use std::path::Path;

use crate::x509::sha256;

/// Hashes of the machine's ids, as far as they could be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Of `/etc/machine-id`.
    pub system: Option<[u8; 32]>,
    /// Of the DMI product UUID, or of the device tree's serial number.
    pub board: Option<[u8; 32]>,
}

impl Machine {
    /// Reads this machine's ids. What cannot be read is unknown, which is no error (the product UUID is root's).
    pub fn read() -> Machine {
        Machine::read_below(Path::new("/"))
    }

    /// Reads the ids of a system whose files are below `root`.
    pub fn read_below(root: &Path) -> Machine {
        let id = |salt, file| std::fs::read(root.join(file)).ok().and_then(|bytes| digest(salt, &bytes));
        Machine {
            system: id("machine-id", "etc/machine-id"),
            board: id("board", "sys/class/dmi/id/product_uuid")
                .or_else(|| id("board", "sys/firmware/devicetree/base/serial-number")),
        }
    }

    /// Says whether the two are known to be different machines.
    pub fn differs(&self, other: &Machine) -> bool {
        match (self.board, other.board, self.system, other.system) {
            (Some(ours), Some(theirs), _, _) => ours != theirs,
            (_, _, Some(ours), Some(theirs)) => ours != theirs,
            _ => false,
        }
    }

    /// Says whether nothing is known of it.
    pub fn is_unknown(&self) -> bool {
        self.system.is_none() && self.board.is_none()
    }
}

/// Hashes an id under a name of its own, so that it cannot be matched with other programs' hashes. What firmware
/// writes when nobody set an id (all zeros or all ones) and systemd's `uninitialized` are no ids.
fn digest(salt: &str, bytes: &[u8]) -> Option<[u8; 32]> {
    let text =
        String::from_utf8_lossy(bytes).trim_matches(['\0', ' ', '\n', '\t', '\r']).to_ascii_lowercase();
    let blank = |c: char| text.chars().all(|x| x == c || x == '-');
    if text.is_empty() || text == "uninitialized" || blank('0') || blank('f') {
        return None;
    }
    Some(sha256(format!("certrotd {salt} {text}").as_bytes()))
}
