//! One device for the end-to-end tests: the real `certrotd` on a real disk, a twin for its cloud, real TLS between.
//!
//! ```text
//! Device::new() ─▶ Builder {twin, toml, rate, …} ─▶ start() ─▶ Device ─▶ wait_… status ctl kill9 start … ─▶ finish()
//! ```
//! Every test ends with [`Device::finish`], which checks what must hold whatever the test was about: see [`checks`].
//! Nothing here asserts on time: waits are for conditions, with a patience that a busy machine does not exhaust.
#![allow(dead_code, unused_imports, reason = "each test program uses its part")]

mod builder;
mod checks;
mod http;
mod judge;
mod log;
pub mod matrix;
mod process;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use certrot_twin::{Certificate, Event, Options, Status, Twin};
use serde_json::Value;
use tempfile::TempDir;

use builder::{lay_over, parsed};

pub use builder::Builder;
pub use http::request;
pub use judge::nothing_to_do;
pub use log::Log;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a test watches that something does not come.
pub const MOMENT: Duration = Duration::from_millis(400);
/// The serial, and the thing name, of a device that was not told another.
pub const SERIAL: &str = "SN-0001";

/// A device with its cloud.
pub struct Device {
    name: String,
    twin: Option<Twin>,
    options: Options,
    config: toml::Table,
    rate: u32,
    env: Vec<(String, String)>,
    process: Option<Child>,
    required: RefCell<BTreeSet<String>>,
    allowed: RefCell<BTreeSet<String>>,
    foreign: &'static [&'static str],
    secrets: RefCell<BTreeSet<String>>,
    /// The cloud's time when it was stopped, and the moment.
    stopped: Option<(i64, Instant)>,
    finished: bool,
    dir: TempDir,
}

impl Device {
    /// A device with the defaults: serial [`SERIAL`], clocks at real time.
    #[allow(clippy::new_ret_no_self, reason = "a device is built")]
    pub fn new() -> Builder {
        Builder::new()
    }

    // ── where things are ───────────────────────────────────────────────────────────────────────────────────────────

    /// The serial, which is the thing name.
    pub fn thing(&self) -> &str {
        &self.name
    }

    /// The cloud.
    pub fn twin(&self) -> &Twin {
        self.twin.as_ref().expect("the twin was stopped by the test")
    }

    /// Stops the cloud; its port stays free for [`start_twin`](Device::start_twin).
    pub fn stop_twin(&mut self) {
        if let Some(twin) = self.twin.take() {
            self.secrets
                .borrow_mut()
                .extend(twin.cloud().registry(|r| r.tokens.keys().cloned().collect::<Vec<_>>()));
            self.stopped = Some((twin.clock().now_ms(), Instant::now()));
            twin.stop();
        }
    }

    /// Starts the cloud again, on the same ports and from the same directory; its time has gone on.
    pub fn start_twin(&mut self) {
        if let Some((then, stopped)) = self.stopped.take() {
            let gone = i64::try_from(stopped.elapsed().as_millis()).unwrap_or(0) * i64::from(self.rate);
            self.options.clock_offset_ms = then + gone - real_ms();
        }
        let twin =
            Twin::start(self.options.clone()).unwrap_or_else(|e| panic!("the twin does not start: {e}"));
        self.twin = Some(twin);
    }

    /// The directory of this test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The identity's directory.
    pub fn store(&self) -> PathBuf {
        self.dir().join("store")
    }

    /// The directory of a generation.
    pub fn generation_dir(&self, generation: u32) -> PathBuf {
        self.store().join("generations").join(format!("{generation:04}"))
    }

    /// `state.json` of a generation, where there is one.
    pub fn state_json(&self, generation: u32) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.generation_dir(generation).join("state.json")).ok()?).ok()
    }

    /// `retire.json`, where there is one.
    pub fn retire_json(&self) -> Option<Value> {
        serde_json::from_slice(&fs::read(self.store().join("retire.json")).ok()?).ok()
    }

    /// The generations on disk, ascending.
    pub fn generations(&self) -> Vec<u32> {
        let Ok(entries) = fs::read_dir(self.store().join("generations")) else { return Vec::new() };
        let mut numbers: Vec<u32> =
            entries.filter_map(|e| e.ok()?.file_name().to_str()?.parse().ok()).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The generation that `current` names on disk; `None` while there is no such name.
    pub fn current_generation(&self) -> Option<u32> {
        let target = fs::read_link(self.store().join("current")).ok()?;
        target.file_name()?.to_str()?.parse().ok()
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("control.sock")
    }

    /// Everything the daemon has logged, over all its starts.
    pub fn log(&self) -> Log {
        Log::read(&self.log_path())
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("certrotd.log")
    }

    /// The configuration file.
    pub fn config_path(&self) -> PathBuf {
        self.dir().join("config.toml")
    }

    /// Lays a fragment over the configuration and writes it; the daemon sees it on reload or restart.
    pub fn edit_config(&mut self, fragment: &str) {
        lay_over(&mut self.config, parsed(fragment));
        self.write_config();
    }

    fn write_config(&self) {
        let text = toml::to_string(&self.config).expect("a table is TOML");
        write(&self.config_path(), text.as_bytes());
    }

    /// Sets a variable in the daemon's environment, from its next start on.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.env.push((name.to_owned(), value.to_owned()));
    }

    // ── what it says ───────────────────────────────────────────────────────────────────────────────────────────────

    /// Runs `certrotctl` to its end.
    pub fn ctl(&self, words: &[&str]) -> Output {
        self.ctl_command(words).output().expect("certrotctl runs")
    }

    /// `certrotctl`, not started.
    pub fn ctl_command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certrotctl"));
        command.arg("--socket").arg(self.socket()).args(words).stdin(Stdio::null());
        command
    }

    /// A request to the control socket: status code and JSON.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<(u16, Value)> {
        http::request(&self.socket(), method, path, body)
    }

    /// `GET /v1/status`.
    pub fn status(&self) -> Value {
        self.try_status().unwrap_or_else(|| panic!("certrotd does not answer\n{}", self.log()))
    }

    /// The same where the daemon may not answer.
    pub fn try_status(&self) -> Option<Value> {
        let (code, status) = self.request("GET", "/v1/status", None).ok()?;
        assert_eq!(code, 200, "{status}");
        Some(status)
    }

    /// Waits until the status is as wanted, and gives it.
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            self.learn_secrets();
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            if Instant::now() >= end {
                panic!("no status with {what}; the last one:\n{status:#}\n{}{}", self.log(), self.story());
            }
            sleep(TICK);
        }
    }

    /// Waits until a condition outside the status is true.
    pub fn wait_until(&self, what: &str, mut wanted: impl FnMut() -> bool) {
        let end = Instant::now() + PATIENCE;
        while !wanted() {
            self.learn_secrets();
            assert!(Instant::now() < end, "not seen: {what}\n{}{}", self.log(), self.story());
            sleep(TICK);
        }
    }

    /// Waits until that generation is in use, connected, and nothing of older ones is left to retire.
    pub fn wait_steady(&self, generation: u32) -> Value {
        self.wait_for(&format!("generation {generation} steady"), |s| {
            s["state"] == "steady"
                && s["connected"] == true
                && s["certificate"]["generation"] == generation
                && s["retire"]["pending"] == false
        })
    }

    /// Waits for an event of the twin, from event number `since` on.
    pub fn wait_event(&self, since: usize, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        match self.twin().wait(since, PATIENCE, wanted) {
            Some(logged) => logged.event,
            None => panic!("the twin has not seen: {what}\n{}{}", self.log(), self.story()),
        }
    }

    /// Waits until a fault was played.
    pub fn wait_fault(&self, since: usize) {
        self.wait_event(since, "a fault", |e| matches!(e, Event::Fault { .. }));
    }

    /// The certificate id in use, by the daemon's word.
    pub fn certificate_id(&self) -> String {
        self.status()["certificate"]["id"].as_str().expect("it has a certificate").to_owned()
    }

    /// The thing's ACTIVE certificates.
    pub fn active(&self) -> Vec<Certificate> {
        let all = self.twin().certificates_of(self.thing());
        all.into_iter().filter(|c| c.status == Status::Active).collect()
    }

    /// How many certificates were minted.
    pub fn minted(&self) -> usize {
        self.twin().count(|e| matches!(e, Event::Minted { .. }))
    }

    /// What the twin has seen, one event a line.
    pub fn story(&self) -> String {
        let Some(twin) = &self.twin else { return String::new() };
        let lines: Vec<String> =
            twin.events().iter().map(|l| format!("{:4} {} {:?}", l.seq, l.at_ms, l.event)).collect();
        format!("--- the twin's events\n{}\n", lines.join("\n"))
    }

    // ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────

    /// ERROR lines that must be in the log at the end: codes, or words of the line.
    pub fn expect_errors(&self, words: &[&str]) {
        self.required.borrow_mut().extend(words.iter().map(|w| (*w).to_owned()));
    }

    /// ERROR lines that may be in the log at the end.
    pub fn allow_errors(&self, words: &[&str]) {
        self.allowed.borrow_mut().extend(words.iter().map(|w| (*w).to_owned()));
    }

    /// Libraries that may have panicked, by words of their paths.
    pub fn allow_panics_of(&mut self, libraries: &'static [&'static str]) {
        self.foreign = libraries;
    }

    /// Ends the daemon and checks what every test checks; `current` names a whole pair.
    pub fn finish(self) {
        self.end(true);
    }

    /// The same where the device is to have no identity.
    pub fn finish_without_identity(self) {
        self.end(false);
    }

    fn end(mut self, with_identity: bool) {
        self.finished = true;
        if self.is_running() {
            let status = self.terminate();
            assert!(status.success(), "SIGTERM ends it with 0, not with {status}\n{}", self.log());
        }
        self.learn_secrets();
        checks::current(&self, with_identity);
        checks::modes(&self.store());
        checks::errors(&self.log(), &self.required.borrow(), &self.allowed.borrow(), self.foreign);
        checks::secrets(&self.log(), &self.secrets.borrow());
    }

    /// What `current` names at this moment is a whole pair, where there is such a name.
    pub fn current_is_whole(&self) {
        checks::current(self, self.current_generation().is_some());
    }

    /// Notes keys and tokens while they are there, to look for them in the log at the end.
    fn learn_secrets(&self) {
        let mut known = self.secrets.borrow_mut();
        known.extend(checks::secrets_on_disk(&self.store()));
        if let Some(twin) = &self.twin {
            known.extend(twin.cloud().registry(|r| r.tokens.keys().cloned().collect::<Vec<_>>()));
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _gone = child.kill();
            let _status = child.wait();
        }
        if !self.finished && !std::thread::panicking() {
            panic!("the test did not call finish()");
        }
    }
}

/// The certificate id of the claim.
pub fn claim_id(twin: &Twin) -> String {
    use rustls::pki_types::pem::PemObject;
    let der = rustls::pki_types::CertificateDer::from_pem_file(twin.claim_certificate());
    certrot_twin::ca::certificate_id(&der.expect("a claim certificate"))
}

/// Milliseconds since the epoch by the machine's clock.
#[allow(clippy::disallowed_methods, reason = "the clock of the machine, not of the program under test")]
fn real_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

fn write(path: &Path, bytes: &[u8]) {
    use std::io::Write;
    File::create(path)
        .and_then(|mut f| f.write_all(bytes))
        .unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// How often a condition is looked at.
const TICK: Duration = Duration::from_millis(25);
