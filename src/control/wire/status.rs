//! `GET /v1/status`: everything the daemon says about itself, made by `status` in the daemon, read by `certrotctl`.

use serde::{Deserialize, Serialize};

use super::{Configuration, Time};

/// The whole status document.
///
/// [`now`](Status::now) and [`Rotation::overdue_seconds`] are stamped as it is asked for ([`Status::at`]); whoever
/// publishes a status leaves both at their default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// When this answer was given, by the daemon's clock.
    pub now: Time,
    /// Version of the daemon.
    pub version: String,
    /// What the daemon is at.
    pub state: State,
    /// Since when it is in that state.
    pub since: Time,
    /// Why it is in that state, in words; also what it waits for.
    pub why: String,
    /// When that state ends by itself at the latest, where it has an end.
    pub until: Option<Time>,
    /// The thing's name, once it is known.
    pub thing_name: Option<String>,
    /// The serial, once it is known.
    pub serial: Option<String>,
    /// Whether the device's own MQTT session is up.
    pub connected: bool,
    /// More about that session.
    pub connection: Connection,
    /// The certificate that `current` names, where the pair is whole.
    pub certificate: Option<Certificate>,
    /// The rotation to come and the last one.
    pub rotation: Rotation,
    /// What of the old certificates is still to be retired.
    pub retire: Retire,
    /// What the hooks said after the last switch.
    pub hooks: Hooks,
    /// The clock's standing.
    pub clock: Clock,
    /// What the last reload brought.
    pub configuration: Configuration,
    /// Every generation on disk, ascending.
    pub generations: Vec<Generation>,
    /// What somebody should know, the worst first.
    pub alerts: Vec<Alert>,
    /// The provisioning or rotation in progress.
    pub operation: Option<Operation>,
}

impl Status {
    /// The same as it is at this moment.
    pub fn at(&self, now: Time) -> Status {
        let mut status = self.clone();
        status.now = now;
        status.rotation.overdue_seconds = match status.rotation.due_at {
            Some(due) => u64::try_from(now.seconds().saturating_sub(due.seconds())).unwrap_or(0),
            None => 0,
        };
        status
    }
}

/// What the daemon is at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// The clock is not to be trusted yet (rule 26).
    AwaitingClock,
    /// No serial is known: somebody must give it with `certrotctl provision SERIAL`.
    AwaitingSerial,
    /// Reads the disk, then decides.
    Inspecting,
    /// Connects with the claim certificate.
    Claiming,
    /// Makes a key and asks for its certificate.
    Issuing,
    /// Asks RegisterThing.
    Registering,
    /// Connects on the new certificate and tries its rights (rules 7 to 9).
    Proving,
    /// Moves `current`.
    Switching,
    /// Commits, so that the cloud retires older certificates (rules 10 to 14).
    Retiring,
    /// Nothing is left to do until the next rotation.
    Steady,
    /// Waits until a time, for the reason in `why`.
    Waiting,
    /// Another client uses our client id (rule 22).
    Contested,
    /// An operator ended the session with `certrotctl disconnect`.
    Disconnected,
    /// The store was copied from another machine and `machine-change = "hold"`.
    Held,
    /// Finishes the effect in hand and ends.
    Stopping,
    /// A word of a newer daemon, or none yet.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The MQTT session with the device certificate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Connection {
    /// Since when it is up, or since when it is down.
    pub since: Option<Time>,
    /// Why it is down: one kebab-case word such as `dns`, `tcp`, `server-certificate`, `refused`, `contested`.
    pub cause: Option<String>,
    /// The same in words.
    pub text: Option<String>,
    /// Attempts that failed since it was last up.
    pub failures: u32,
    /// What clears the cause.
    pub remedy: Option<String>,
    /// When it is tried next.
    pub retry_at: Option<Time>,
}

/// The certificate in use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    /// AWS's certificate id: lower-case hex SHA-256 of the DER.
    pub id: String,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// Kind of the key, such as `ecdsa-p256`.
    pub key_type: String,
    /// Number of its generation.
    pub generation: u32,
}

/// The rotation to come and the last one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rotation {
    /// Whether the daemon rotates by itself.
    pub enabled: bool,
    /// When the next is due, splay taken off.
    pub due_at: Option<Time>,
    /// What makes it due: `max-age`, `renew-before`, `order`, `cloud`, `fallback`.
    pub rule: Option<String>,
    /// Seconds since it was due; 0 while it is not.
    pub overdue_seconds: u64,
    /// How the last one ended.
    pub last_result: Option<LastResult>,
    /// Failures in a row.
    pub failures: u32,
    /// `rotation.max-age` in force, such as `90d`, or `never`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<String>,
    /// `rotation.renew-before` in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<String>,
    /// `rotation.check-interval` in force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_interval: Option<String>,
}

/// How the last rotation ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LastResult {
    /// Whether the new certificate is in use.
    pub ok: bool,
    /// When it ended.
    pub at: Time,
    /// The step that failed.
    pub step: Option<String>,
    /// Why it failed, or nothing.
    pub text: Option<String>,
}

/// What of the old certificates is still to be retired.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retire {
    /// Whether a commit is still without its `accepted`.
    pub pending: bool,
    /// `retire.mode`.
    pub mode: String,
    /// The generation whose commit it is.
    pub generation: Option<u32>,
    /// Commits that were sent for it.
    pub attempts: u32,
    /// When the next is sent.
    pub retry_at: Option<Time>,
    /// What the last `rejected` said.
    pub text: Option<String>,
}

/// What the hooks said after the last switch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hooks {
    /// The generation they last ran for.
    pub generation: Option<u32>,
    /// Its certificate id; another one than the certificate's in use says that they are still to run for that.
    pub certificate_id: Option<String>,
    /// When the last of them ended.
    pub at: Option<Time>,
    /// Each of them, in the order they ran.
    pub results: Vec<HookResult>,
}

/// One hook's end.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HookResult {
    /// File name in `hooks.d`.
    pub name: String,
    /// Whether it ended with 0 in time.
    pub ok: bool,
    /// Whether its turn is still to come for this certificate.
    pub pending: bool,
    /// How it ended otherwise.
    pub text: Option<String>,
}

impl HookResult {
    /// Whether it had its turn and did not end well.
    pub fn failed(&self) -> bool {
        !self.ok && !self.pending
    }
}

/// The clock's standing (rules 26 and 27).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Clock {
    /// Whether it is past the floor or the kernel calls it synchronised.
    pub trusted: bool,
    /// Why it is not.
    pub text: Option<String>,
}

/// One generation on disk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Generation {
    /// Its number.
    pub number: u32,
    /// How far it came.
    pub stage: Stage,
    /// Certificate id, where the pair is whole.
    pub certificate_id: Option<String>,
    /// Start of validity, where the pair is whole.
    pub not_before: Option<Time>,
    /// The verdict on it.
    pub mark: Mark,
    /// Whether `current` names it.
    pub current: bool,
}

/// How far a generation came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Key, certificate and token are on disk.
    Issued,
    /// RegisterThing was accepted.
    Registered,
    /// It carried a session.
    Proved,
    /// A word of a newer daemon.
    #[default]
    #[serde(other)]
    Unknown,
}

/// The verdict on a generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// None.
    #[default]
    Clear,
    /// The cloud refused it.
    Refused,
    /// The cloud retired it.
    Retired,
    /// A word of a newer daemon.
    #[serde(other)]
    Unknown,
}

/// Something somebody should know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Alert {
    /// How bad it is.
    pub level: Level,
    /// One stable kebab-case word.
    pub code: String,
    /// What is wrong, in words.
    pub text: String,
    /// What clears it.
    pub remedy: Option<String>,
}

/// How bad an alert is; the same promises as the log's levels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The identity will be lost unless someone acts.
    Error,
    /// One attempt failed.
    #[default]
    Warn,
    /// Worth knowing.
    #[serde(other)]
    Info,
}

/// The provisioning or rotation in progress.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Its number, the same as in its events.
    pub id: u64,
    /// `provision` or `rotation`.
    pub kind: String,
    /// The step in hand, such as `issue`, `register`, `prove`, `switch`, `retire`.
    pub step: String,
    /// When it began.
    pub started: Time,
}
