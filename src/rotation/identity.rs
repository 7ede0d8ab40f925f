//! What the core knows of identities: generations on disk, the name `current`, and what is still to be retired.
//!
//! Plain data, made by the store from the disk (`Inspect`) and changed here only after the same change is durable.
//! No bytes of keys, certificates or tokens come this far: the core decides by number, stage and time.

use alloc::vec::Vec;

/// Seconds since the Unix epoch, by the wall clock.
pub type Wall = i64;

/// Milliseconds since boot, suspend included (`CLOCK_BOOTTIME`).
pub type Boot = u64;

/// How far a generation has come; each step is durable before the next is asked of the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Key, certificate and ownership token are on disk.
    Issued,
    /// RegisterThing was answered `accepted`.
    Registered,
    /// A session was carried and every right that is tried was there.
    Proved,
}

/// Which template a generation was issued for; RegisterThing must name the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// First provisioning, or the way back, over the claim certificate.
    Claim,
    /// Rotation, over the device's own certificate.
    Rotation,
}

/// What is known of the RegisterThing requests of a generation (rule 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Asked {
    /// None was ever sent: the certificate cannot be alive.
    Never,
    /// Every one that was sent was answered `rejected`.
    Rejected,
    /// At least one has no answer, or was accepted: the certificate may be alive. It never goes back from here.
    Unanswered,
}

/// A verdict on a whole generation that outlives a restart (rule 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// None.
    Clear,
    /// The cloud kept refusing it, or its proof failed after CONNACK: it comes last, not never.
    Refused,
    /// A commit of a successor was accepted: the cloud has retired it.
    Retired,
}

/// The certificate of a whole pair, as far as decisions need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Certificate {
    /// SHA-256 of the DER: AWS's certificate id.
    pub id: [u8; 32],
    /// Start of validity.
    pub not_before: Wall,
    /// End of validity.
    pub not_after: Wall,
}

/// One numbered directory below `generations/`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Its number; never used twice.
    pub generation: u32,
    /// How far it came.
    pub stage: Stage,
    /// Which template it was made for.
    pub origin: Origin,
    /// The certificate, where key and certificate are there, parse and match; `None` where the pair is broken.
    pub certificate: Option<Certificate>,
    /// What was asked of RegisterThing.
    pub asked: Asked,
    /// End of the ownership token, where one is saved.
    pub token_ends: Option<Wall>,
    /// When it was issued.
    pub issued_at: Wall,
    /// The verdict on it, from `retire.json`.
    pub mark: Mark,
}

impl Slot {
    /// Says whether key and certificate are there and match.
    pub fn is_whole(&self) -> bool {
        self.certificate.is_some()
    }
}

/// What the name `current` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Current {
    /// There is no such name: a fresh device.
    Absent,
    /// It names a generation whose directory exists (the pair in it may still be broken).
    Names(u32),
    /// It is there and leads nowhere that could be an identity (dangling, not a link, outside `generations/`).
    Astray,
}

/// The whole store, read at once: the answer to `Inspect`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Disk {
    /// Every generation, ascending by number.
    pub slots: Vec<Slot>,
    /// The one name that switches.
    pub current: Current,
    /// The generation whose commit is still to be accepted (`retire.json`).
    pub pending: Option<u32>,
    /// Since when it is pending, by the wall clock: `retire.delay` counts from here.
    pub pending_since: Option<Wall>,
    /// When the last commit was sent, by the wall clock, saved before it is sent.
    pub committed_at: Option<Wall>,
    /// When a pair last carried a session, as last saved (rule 20).
    pub worked_at: Option<Wall>,
    /// The same by a clock that the kernel vouched for (rule 26).
    pub saved_at: Option<Wall>,
    /// Whether a serial is known, from the configuration or from `device.json`.
    pub serial_known: bool,
    /// Whether `device.json` was written on another machine (`machine-change`).
    pub foreign: bool,
}

impl Disk {
    /// Finds a generation by number.
    pub fn slot(&self, generation: u32) -> Option<&Slot> {
        self.slots.iter().find(|s| s.generation == generation)
    }

    /// Finds a generation by number, to follow a durable change.
    pub fn slot_mut(&mut self, generation: u32) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|s| s.generation == generation)
    }

    /// The generation that `current` names, where its pair is whole.
    pub fn current(&self) -> Option<&Slot> {
        match self.current {
            Current::Names(n) => self.slot(n).filter(|s| s.is_whole()),
            Current::Absent | Current::Astray => None,
        }
    }
}

/// A durable change of what is on disk; the store writes it, the core follows once it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Record {
    /// `state.json`: a RegisterThing is about to be sent; until it is answered the certificate may be alive.
    Registering(u32),
    /// `state.json`: the only outstanding RegisterThing was answered `rejected`.
    Rejected(u32),
    /// `state.json`: RegisterThing was answered `accepted` with the expected thing.
    Registered(u32),
    /// `state.json`: it carried a session with every right that is tried.
    Proved(u32),
    /// `retire.json`: a verdict on a generation.
    Marked(u32, Mark),
    /// `retire.json`: this generation's commit is to be accepted, since this wall time.
    Pending(u32, Wall),
    /// `retire.json`: a commit is about to be sent at this wall time.
    Committing(Wall),
    /// `retire.json`: the commit of this generation was accepted: older ones are marked retired, nothing is pending.
    Settled(u32),
    /// `device.json`: a pair carries a session at this wall time, and whether the kernel vouches for that.
    Worked(Wall, bool),
    /// `device.json`: this machine is the one that the store belongs to.
    Adopted,
}
