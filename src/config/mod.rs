//! The configuration: `/etc/certrotd/config.toml` as a type that cannot hold a bad value.
//!
//! ```text
//! text ─▶ raw (keys with their places) ─▶ units, names (values) ─▶ sections (what fits together) ─▶ Config
//!                     │                          │                        │        files (what is on disk)
//!                     └──────── Problem ─────────┴──────── Problem ───────┘
//!                                                  └─▶ one Report, in the order of the lines
//! ```
//! It reads the files that the configuration names, to judge them, and changes nothing. It does not know the store,
//! the cloud or the control socket; `Facts` tells it what it must know of them.

mod defaults;
mod facts;
mod files;
mod names;
mod patch;
mod problem;
mod raw;
mod sections;
mod units;

pub use facts::{Facts, Purpose, identity_directory};
pub use names::{Endpoint, Filter, Serial, Template, ThingName};
pub use patch::RotationPatch;
pub use problem::{Fault, Problem, Report};
pub use units::{
    AbsolutePath, Duration, KeySource, KeyType, LogLevel, MachineChange, RetireMode, User, Users,
};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;

/// Where the configuration is when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/certrotd/config.toml";

/// The whole configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `[device]`: who this device is.
    pub device: Device,
    /// `[aws]`: where the cloud is.
    pub aws: Aws,
    /// `[claim]`: what first provisioning is done with.
    pub claim: Claim,
    /// `[identity]`: where the identity is kept and how keys are made.
    pub identity: Identity,
    /// `[rotation]`: when the certificate is replaced.
    pub rotation: Rotation,
    /// `[retire]`: what becomes of old certificates.
    pub retire: Retire,
    /// `[session]`: the connection.
    pub session: Session,
    /// `[messages]`: what applications may say and hear.
    pub messages: Messages,
    /// `[control]`: who may ask and order.
    pub control: Control,
    /// `[log]`: how much is logged.
    pub log: Log,
}

/// Who this device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where the serial comes from.
    pub serial: SerialSource,
    /// The expected thing name, where it is not the serial.
    pub thing_name: Option<ThingName>,
    /// Further parameters of the templates.
    pub parameters: BTreeMap<String, String>,
}

/// Where the serial comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SerialSource {
    /// From the configuration, or from the file that it names.
    Given(Serial),
    /// From a file that could not be read this time; a warning says why. The store may know it.
    Unread,
    /// From nowhere: the daemon waits for `certrotctl provision SERIAL`, once.
    Open,
}

impl Device {
    /// The serial, where the configuration gives one.
    pub fn serial(&self) -> Option<&Serial> {
        match &self.serial {
            SerialSource::Given(serial) => Some(serial),
            SerialSource::Unread | SerialSource::Open => None,
        }
    }

    /// The thing name that a device of this serial is to get.
    pub fn expected_thing(&self, serial: &Serial) -> ThingName {
        self.thing_name.clone().unwrap_or_else(|| serial.to_thing_name())
    }
}

/// Where the cloud is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The host.
    pub endpoint: Endpoint,
    /// The port; 443 asks for ALPN `x-amzn-mqtt-ca`.
    pub port: u16,
    /// The file of root certificates that the server must be signed by.
    pub root_ca: AbsolutePath,
}

/// What first provisioning is done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where the pair is; `None` where only systemd knows (`${CREDENTIALS_DIRECTORY}` is not set).
    pub files: Option<ClaimFiles>,
    /// The provisioning template.
    pub template: Template,
    /// How long no pair must have worked before the claim is tried again (rule 20).
    pub fallback_after: Duration,
}

/// Where the claim's pair is. It was there when the configuration was read, unless a warning says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimFiles {
    /// The certificate, PEM.
    pub certificate: AbsolutePath,
    /// The private key, PEM.
    pub private_key: AbsolutePath,
}

/// Where the identity is kept and how keys are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The store.
    pub directory: AbsolutePath,
    /// Who makes the key.
    pub key_source: KeySource,
    /// What kind of key the device makes.
    pub key_type: KeyType,
    /// What is done when the store comes from another machine.
    pub machine_change: MachineChange,
}

/// When the certificate is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Whether anything but an operator's order may start one; true in every file, `PATCH /v1/rotation` changes it.
    pub enabled: bool,
    /// The provisioning template.
    pub template: Template,
    /// Due at this age, from notBefore; `None` (`"never"`) only where a short-lived certificate is in use.
    pub max_age: Option<Duration>,
    /// Due this long before notAfter.
    pub renew_before: Duration,
    /// Evaluated at least this often.
    pub check_interval: Duration,
    /// Taken off the due time by a hash of the thing name (rule 28).
    pub splay: Duration,
    /// Least time between rotations that the cloud orders.
    pub min_interval: Duration,
}

/// What becomes of old certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retire {
    /// Who retires them in the cloud.
    pub mode: RetireMode,
    /// Time between the switch and the commit.
    pub delay: Duration,
    /// Proved generations on disk, `current` included: 1 to 16 (rule 18).
    pub keep_generations: u32,
}

/// The connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// MQTT keep-alive.
    pub keep_alive: Duration,
    /// Longest random delay of the first CONNECT after start.
    pub start_jitter: Duration,
}

/// What applications may say and hear through the daemon's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    /// Topics for `publish`.
    pub publish: Vec<Filter>,
    /// Topics for `subscribe`.
    pub subscribe: Vec<Filter>,
    /// Who may, beside the operators.
    pub users: Users,
}

/// Who may ask and order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// The Unix socket; at most 107 bytes of path (`sun_path`, unix(7)).
    pub socket: AbsolutePath,
    /// Who may change things.
    pub operators: Users,
    /// Where metrics are served over TCP.
    pub metrics_listen: Option<SocketAddr>,
}

/// How much is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The least serious level.
    pub level: LogLevel,
}

impl Config {
    /// Reads and judges a file: the configuration with warnings, or everything that is wrong with it.
    pub fn load(file: &Path, facts: &Facts) -> Result<(Self, Vec<Problem>), Report> {
        match std::fs::read_to_string(file) {
            Ok(text) => Self::parse(&text, file, facts),
            Err(error) => {
                let fault = Fault::new(
                    format!("the configuration cannot be read: {}", files::reason(&error)),
                    "put it there (etc/config.toml is a commented one), or name it with --config",
                );
                Err(Report::new(file.to_owned(), vec![Problem::of_file(fault)], Vec::new()))
            }
        }
    }

    /// Judges a text as if it were in `file`.
    pub fn parse(text: &str, file: &Path, facts: &Facts) -> Result<(Self, Vec<Problem>), Report> {
        let mut raw = raw::Raw::parse(text);
        let mut warnings = Vec::new();
        let config = sections::read(&mut raw, facts, &mut warnings);
        match config {
            Some(config) if raw.problems.is_empty() => {
                problem::sort(&mut warnings);
                Ok((config, warnings))
            }
            _ => Err(Report::new(file.to_owned(), raw.problems, warnings)),
        }
    }

    /// Names the keys that differ in `new` and that a reload cannot bring in: they wait for a restart.
    ///
    /// Everything else is taken up in place; what concerns the connection, with the next one.
    pub fn changes_that_need_restart(&self, new: &Self) -> Vec<&'static str> {
        let differs = [
            ("device.serial", self.device.serial() != new.device.serial()),
            ("device.thing-name", self.device.thing_name != new.device.thing_name),
            ("identity.directory", self.identity.directory != new.identity.directory),
            ("control.socket", self.control.socket != new.control.socket),
            ("control.metrics-listen", self.control.metrics_listen != new.control.metrics_listen),
        ];
        differs.into_iter().filter(|(_, differs)| *differs).map(|(key, _)| key).collect()
    }
}
