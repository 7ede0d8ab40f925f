//! What a device is started with: the twin's options, and its configuration, laid together from fragments.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;

use certrot_twin::{Options, Twin};

use super::{Device, SERIAL};

/// What a device is started with.
pub struct Builder {
    serial: Option<String>,
    toml: Vec<String>,
    without: Vec<&'static str>,
    rate: u32,
    env: Vec<(String, String)>,
    twin: Box<dyn FnOnce(&mut Options)>,
    required: BTreeSet<String>,
    allowed: BTreeSet<String>,
}

impl Builder {
    /// The defaults: serial [`SERIAL`], clocks at real time.
    pub(super) fn new() -> Self {
        Self {
            serial: Some(SERIAL.to_owned()),
            toml: Vec::new(),
            without: Vec::new(),
            rate: 1,
            env: Vec::new(),
            twin: Box::new(|_| ()),
            required: BTreeSet::new(),
            allowed: BTreeSet::new(),
        }
    }

    /// Another serial than [`SERIAL`].
    pub fn serial(mut self, serial: &str) -> Self {
        self.serial = Some(serial.to_owned());
        self
    }

    /// No serial in the configuration: the daemon waits for `certrotctl provision SERIAL`.
    pub fn without_serial(mut self) -> Self {
        self.serial = None;
        self
    }

    /// Sets the twin's options.
    pub fn twin(mut self, set: impl FnOnce(&mut Options) + 'static) -> Self {
        let before = std::mem::replace(&mut self.twin, Box::new(|_| ()));
        self.twin = Box::new(move |options| {
            before(options);
            set(options);
        });
        self
    }

    /// A fragment of configuration, laid over the harness's own: `[rotation]\nmax-age = "30d"`.
    pub fn toml(mut self, fragment: &str) -> Self {
        self.toml.push(fragment.to_owned());
        self
    }

    /// Takes a key, such as `claim.template`, or a whole section out of the configuration.
    pub fn without(mut self, key: &'static str) -> Self {
        self.without.push(key);
        self
    }

    /// Runs the clocks of both, daemon and twin, this many times as fast.
    pub fn rate(mut self, rate: u32) -> Self {
        self.rate = rate;
        self
    }

    /// A variable in the daemon's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// As [`Device::expect_errors`].
    pub fn expect_errors(mut self, words: &[&str]) -> Self {
        self.required.extend(words.iter().map(|w| (*w).to_owned()));
        self
    }

    /// As [`Device::allow_errors`].
    pub fn allow_errors(mut self, words: &[&str]) -> Self {
        self.allowed.extend(words.iter().map(|w| (*w).to_owned()));
        self
    }

    /// Starts the twin and writes the configuration; the daemon is not started yet.
    pub fn prepare(self) -> Device {
        let dir = tempfile::tempdir().expect("a directory of its own");
        let mut options = Options::new(dir.path().join("twin"));
        options.clock_rate = f64::from(self.rate);
        (self.twin)(&mut options);
        let twin = Twin::start(options.clone()).unwrap_or_else(|e| {
            let port = options.port;
            panic!("the twin does not start: {e:?}; a port below 1024 (here {port}) needs root or CAP_NET_BIND_SERVICE")
        });
        options.port = twin.port();
        options.api_port = twin.api_port();
        let config = configuration(dir.path(), &twin, self.serial.as_deref(), &self.toml, &self.without);
        let device = Device {
            name: self.serial.unwrap_or_else(|| SERIAL.to_owned()),
            twin: Some(twin),
            options,
            config,
            rate: self.rate,
            env: self.env,
            process: None,
            required: RefCell::new(self.required),
            allowed: RefCell::new(self.allowed),
            foreign: &[],
            secrets: RefCell::new(BTreeSet::new()),
            stopped: None,
            finished: false,
            dir,
        };
        device.write_config();
        device
    }

    /// Starts the twin and the daemon; when this returns, the control socket answers.
    pub fn start(self) -> Device {
        let mut device = self.prepare();
        device.start();
        device
    }
}

fn configuration(
    dir: &Path,
    twin: &Twin,
    serial: Option<&str>,
    fragments: &[String],
    without: &[&str],
) -> toml::Table {
    let own = format!(
        r#"
[aws]
endpoint = "localhost"
port = {}
root-ca = "{}"
[claim]
certificate = "{}"
private-key = "{}"
[identity]
directory = "{}"
[control]
socket = "{}"
[log]
level = "debug"
"#,
        twin.port(),
        twin.ca_pem().display(),
        twin.claim_certificate().display(),
        twin.claim_key().display(),
        dir.join("store").display(),
        dir.join("control.sock").display(),
    );
    let mut table = parsed(&own);
    if let Some(serial) = serial {
        lay_over(&mut table, parsed(&format!("[device]\nserial = \"{serial}\"")));
    }
    for fragment in fragments {
        lay_over(&mut table, parsed(fragment));
    }
    for key in without {
        match key.split_once('.') {
            Some((section, key)) => {
                table.get_mut(section).and_then(toml::Value::as_table_mut).and_then(|t| t.remove(key))
            }
            None => table.remove(*key),
        };
    }
    table
}

pub(super) fn parsed(fragment: &str) -> toml::Table {
    fragment.parse().unwrap_or_else(|e| panic!("a test's fragment is no TOML: {e}\n{fragment}"))
}

pub(super) fn lay_over(under: &mut toml::Table, over: toml::Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}
