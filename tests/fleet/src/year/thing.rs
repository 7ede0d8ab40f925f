//! What the cloud holds of one device: its thing's certificates, as small as a million of them ask for.

use super::wheel::Ms;
use certrotd::rotation::Wall;

/// A certificate's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Made, and waiting for RegisterThing.
    Pending,
    /// In use.
    Active,
    /// Switched off by the retire handler.
    Inactive,
    /// Switched off for good.
    Revoked,
}

/// A certificate of the thing.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Its number among the thing's; with the device's number it is the id.
    pub serial: u32,
    /// Its status.
    pub status: Status,
    /// `creationDate`.
    pub created: Ms,
    /// Start of validity.
    pub not_before: Wall,
    /// End of validity.
    pub not_after: Wall,
    /// The ownership token's end; 0 once it was used.
    pub token_ends: Ms,
    /// From when the broker sees what RegisterThing attached.
    pub seen_from: Ms,
    /// Whether the device policy is attached.
    pub policy: bool,
    /// When it was detached from the thing; [`Ms::MAX`] while it is attached.
    pub detached: Ms,
    /// Whether a commit of it was accepted.
    pub committed: bool,
}

impl Certificate {
    /// Says whether CONNECT with it is accepted, quotas apart. (Whether AWS looks at notAfter is not settled; assumed.)
    pub fn admits(&self, now: Ms, wall: Wall) -> bool {
        self.status == Status::Active && now >= self.seen_from && wall <= self.not_after
    }

    /// Says whether it is attached to the thing.
    pub fn is_attached(&self) -> bool {
        self.status != Status::Pending && self.detached == Ms::MAX
    }
}

/// The certificates of one thing.
#[derive(Clone, Debug, Default)]
pub struct Thing {
    /// Oldest first.
    pub certificates: Vec<Certificate>,
    /// Whether RegisterThing made it already.
    pub exists: bool,
    made: u32,
}

impl Thing {
    /// Issues one, PENDING with a token for an hour. What waited for a token that has ended goes.
    pub fn issue(&mut self, now: Ms, wall: Wall, life: Option<Wall>) -> &Certificate {
        self.certificates.retain(|c| c.status != Status::Pending || c.token_ends > now);
        self.made += 1;
        // Start of validity is shortly before issue; the end is AWS's own unless a certificate provider signs.
        let not_before = wall - BACKDATE;
        self.certificates.push(Certificate {
            serial: self.made,
            status: Status::Pending,
            created: now,
            not_before,
            not_after: life.map_or(AWS_END, |life| not_before + life),
            token_ends: now + TOKEN,
            seen_from: 0,
            policy: false,
            detached: Ms::MAX,
            committed: false,
        });
        let last = self.certificates.len() - 1;
        &self.certificates[last]
    }

    /// Finds one.
    pub fn find(&self, serial: u32) -> Option<&Certificate> {
        self.certificates.iter().find(|c| c.serial == serial)
    }

    /// Finds one, to change it.
    pub fn find_mut(&mut self, serial: u32) -> Option<&mut Certificate> {
        self.certificates.iter_mut().find(|c| c.serial == serial)
    }

    /// How many are ACTIVE.
    pub fn active(&self) -> usize {
        self.certificates.iter().filter(|c| c.status == Status::Active).count()
    }

    /// Rule 23: says whether the thing holds a certificate that keeps the claim out. Not one past its end.
    pub fn holds(&self, wall: Wall) -> bool {
        self.certificates.iter().any(|c| c.is_attached() && wall <= c.not_after)
    }
}

/// The id of a device's certificate, as the disk has it.
pub fn id_of(device: u32, serial: u32) -> [u8; 32] {
    let mut id = [0; 32];
    id[..4].copy_from_slice(&device.to_be_bytes());
    id[4..8].copy_from_slice(&serial.to_be_bytes());
    id
}

/// Which of the device's certificates an id names.
pub fn serial_of(id: &[u8; 32]) -> u32 {
    u32::from_be_bytes([id[4], id[5], id[6], id[7]])
}

/// The id as AWS writes it.
pub fn hex_of(device: u32, serial: u32) -> String {
    format!("{device:08x}{serial:08x}{:048}", 0)
}

/// Which of the device's certificates an id in AWS's writing names.
pub fn serial_of_hex(id: &str) -> Option<u32> {
    u32::from_str_radix(id.get(8..16)?, 16).ok()
}

/// Life of an ownership token.
const TOKEN: Ms = 3_600_000;
/// How long before its issue a certificate begins. Seconds.
const BACKDATE: Wall = 120;
/// The end of every certificate that AWS issues: 2049-12-31T23:59:59Z.
pub const AWS_END: Wall = 2_524_607_999;
