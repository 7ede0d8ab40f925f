//! The words between the core and the world: time, policy, inputs, effects, outcomes, and why something waits.
//!
//! Only data. What the world knows in more detail (which DNS name, which TLS alert) stays there; the core is told the
//! class, because that is all a decision may rest on.

use super::identity::{Boot, Disk, Origin, Record, Slot, Wall};

/// Time and chance at one step, read by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Wall clock, seconds since the Unix epoch.
    pub wall: Wall,
    /// Milliseconds since boot, suspend included.
    pub boot: Boot,
    /// Whether the kernel says that the wall clock is synchronised.
    pub synchronised: bool,
    /// A fresh random number, for jitter.
    pub dice: u32,
}

/// What is done with a store that was written on another machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MachineChange {
    /// Say so and go on.
    Report,
    /// Do not use the identity until `adopt`.
    Hold,
    /// Provision a new identity with the claim.
    Provision,
}

/// Who retires old certificates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RetireMode {
    /// The cloud, told by a commit on the new certificate.
    CommitTopic,
    /// The operator (rule 17).
    None,
}

/// The configuration, as far as decisions rest on it. Durations in seconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Policy {
    /// Age, from notBefore, at which a certificate is due; `None`: age never fires.
    pub max_age: Option<i64>,
    /// This long before notAfter it is due.
    pub renew_before: i64,
    /// Due times are evaluated at least this often.
    pub check_interval: i64,
    /// Taken off the due time (rule 28).
    pub splay: i64,
    /// A hash of the thing name: which part of `splay` is this device's.
    pub spread: u32,
    /// Between rotations that the cloud orders.
    pub min_interval: i64,
    /// The claim is turned to after this long without a pair that works (rule 20).
    pub fallback_after: i64,
    /// Between the switch and the commit.
    pub retire_delay: i64,
    /// Who retires.
    pub retire: RetireMode,
    /// Proved generations that stay on disk, `current` included.
    pub keep_generations: u32,
    /// Spread of the first CONNECT after start.
    pub start_jitter: i64,
    /// What a copied store means.
    pub machine_change: MachineChange,
    /// The build date: no true clock is before it (rule 26).
    pub built_at: Wall,
    /// Whether rotation by schedule is on.
    pub enabled: bool,
}

/// Which identity a connection is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Carrier {
    /// The shared claim certificate.
    Claim,
    /// A generation of the device's own.
    Generation(u32),
}

/// One thing that the world is asked to do; it ends in one `Outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Read the whole store.
    Inspect,
    /// Make a new connection; the one in hand is closed first.
    Connect(Carrier),
    /// Close the connection in hand.
    Hangup,
    /// Over the session in hand: new key, new certificate, checked (rule 5) and durable as a new generation.
    Issue(Origin),
    /// Make one small change durable.
    Record(Record),
    /// Over the session in hand: RegisterThing with the saved token.
    Register(u32),
    /// Connect with this generation beside the session in hand, and prove it (rules 7 and 8).
    Prove(u32),
    /// Rename `current`.
    Switch(u32),
    /// On this generation's session: “retire my older certificates”, and wait for its own answer.
    Commit(u32),
    /// Remove a generation from the disk.
    Remove(u32),
}

/// Why a connection could not be made or proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// DNS, TCP, an unverified server, a time-out before CONNECT: the cloud has said nothing, nothing was evicted.
    Unreachable,
    /// The verified server refused: alert, CONNACK code or bare close. Nothing was evicted (rule 8).
    Refused,
    /// CONNECT was sent and has no answer: the session in hand may be gone.
    Lost,
    /// The session was there and a right was missing: the session in hand was evicted.
    Unfit,
}

/// What the cloud said to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// `rejected`, and asking later may help: denied, throttled (rule 6).
    Denied,
    /// `rejected`: this very request will not succeed.
    Invalid,
    /// `rejected` by a fault of the server's: it may have happened all the same.
    Fault,
    /// No answer in time: it may have happened.
    Silence,
    /// The answer contradicts what was asked (another thing, another key).
    Wrong,
}

/// How an effect ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// `Inspect`.
    Inspected(Disk),
    /// `Record`, `Switch`, `Remove`, `Hangup`: done and durable. `Connect`, `Prove`: the session is there.
    Done,
    /// `Issue`: the new generation is durable.
    Issued(Slot),
    /// `Register`: accepted, and the thing is the expected one.
    Registered,
    /// `Commit`: accepted for this generation.
    Committed,
    /// `Connect` or `Prove` failed.
    Failed(Trouble),
    /// `Issue`, `Register` or `Commit` was refused or not answered; wait at least this many seconds, where it was said.
    Refused(Verdict, Option<u32>),
    /// The disk or this machine failed: what is there must be read again.
    Local,
}

/// Something that happened by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happening {
    /// The session in hand was closed by the other side or by the network.
    Closed,
    /// The configuration or the disk changed under us (serial given, `adopt`): read it again.
    Changed,
}

/// An order by the cloud, on the rotate topic; it acts only while its condition is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CloudOrder {
    /// `ifCertificateId`.
    pub certificate: Option<[u8; 32]>,
    /// `issuedBefore`.
    pub issued_before: Option<Wall>,
    /// `within`, seconds.
    pub within: i64,
}

/// What somebody orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// `certrotctl rotate-now`.
    Rotate,
    /// The rotate topic.
    Cloud(CloudOrder),
    /// `certrotctl provision` on a device that waits: try the claim now.
    Provision,
    /// `certrotctl connect`.
    Connect,
    /// `certrotctl disconnect`: stay offline until `connect` or a restart.
    Disconnect,
}

/// What comes in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The wait is over, or somebody wants a fresh look.
    Woke,
    /// The outstanding effect ended.
    Done(Outcome),
    /// Something happened by itself.
    Happened(Happening),
    /// An order.
    Order(Order),
    /// A new policy.
    Reload(Policy),
}

/// What goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Begin this effect; nothing else is outstanding.
    Do(Effect),
    /// The outstanding effect goes on.
    Keep,
    /// Nothing to do until then, or until an input.
    Wait(Wait),
}

/// A wait that says why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    /// When to look again.
    pub until: Boot,
    /// The reason that matters most, for status and log.
    pub why: Why,
    /// When that reason ends; it may be later than the next look.
    pub ends: Boot,
}

/// Why nothing is done right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The certificate is good and its time has not come.
    NotDue,
    /// The clock cannot be trusted yet (rule 26).
    Clock,
    /// The clock was stepped; no rotation for a while (rule 27).
    ClockStepped,
    /// No serial is known.
    Serial,
    /// The operator took the device offline.
    Offline,
    /// The store belongs to another machine.
    Foreign,
    /// Spread after start.
    StartJitter,
    /// The endpoint cannot be reached.
    Unreachable,
    /// The cloud refuses `current`.
    Refused,
    /// The cloud refuses every pair; the claim comes later (rule 20).
    NothingWorks,
    /// Another client has our client id (rule 22).
    Contested,
    /// The cloud refuses the claim certificate.
    ClaimRefused,
    /// The cloud will not issue a certificate.
    IssueRefused,
    /// The cloud will not register the new certificate (rule 6).
    RegisterRefused,
    /// The new certificate does not carry a session yet (rule 3).
    NotProved,
    /// The new certificate carries a session without the rights it needs.
    Unfit,
    /// Other holders of the old pair are given time.
    RetireDelay,
    /// The cloud has not accepted the commit (rule 14).
    CommitRefused,
    /// The disk refuses to be read or written.
    Disk,
}
