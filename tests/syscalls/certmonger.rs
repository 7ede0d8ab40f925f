//! The same kills for certmonger (Debian's package), at each call on its two files while it renews key and certificate with
//! its own local authority: how often the two are no pair, at the cut and after its next start. Nothing is asked of it; it
//! is measured.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;

use crate::trace::{Calls, Point, strace};

/// How a case came out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// The call came.
    pub injected: bool,
    /// Key and certificate did not belong together, or one was not there, when everything had stopped.
    pub broken_at_the_cut: bool,
    /// The same ten seconds after the next start.
    pub broken_for_good: bool,
}

/// Its version, as the package says.
pub fn version() -> String {
    let said = Command::new("certmonger").arg("-v").output();
    let said = said.expect("certmonger is needed: apt-get install certmonger dbus-daemon");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

/// A first certificate, made once and copied for each case.
pub struct Before(TempDir);

impl Before {
    /// Asks for it.
    pub fn make() -> Before {
        let dir = tempfile::Builder::new().prefix(PREFIX).rand_bytes(8).tempdir().unwrap();
        for name in ["requests", "cas", "local", "config", "tmp", "home"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mut running = Running::start(dir.path(), None);
        let asked = getcert(dir.path(), &["request", "-s", "-c", "local", "-N", "CN=device", "-w"], true)
            .output()
            .unwrap();
        assert!(asked.status.success(), "certmonger gives no certificate: {asked:?}");
        running.stop();
        assert!(is_pair(dir.path()), "certmonger's first pair");
        Before(dir)
    }

    fn copy(&self) -> TempDir {
        let dir = tempfile::Builder::new().prefix(PREFIX).rand_bytes(8).tempdir().unwrap();
        let done =
            Command::new("cp").arg("-a").arg(self.0.path().join(".")).arg(dir.path()).status().unwrap();
        assert!(done.success());
        // The requests name the files by path; both paths have one length.
        let (old, new) = (self.0.path().to_str().unwrap(), dir.path().to_str().unwrap());
        for sub in ["requests", "cas"] {
            for entry in fs::read_dir(dir.path().join(sub)).unwrap().map(Result::unwrap) {
                let text = fs::read_to_string(entry.path()).unwrap();
                fs::write(entry.path(), text.replace(old, new)).unwrap();
            }
        }
        dir
    }

    /// The calls of a start and a renewal in which nothing happens.
    pub fn calls(&self) -> Calls {
        let dir = self.copy();
        let trace = dir.path().join("strace.txt");
        let mut running = Running::start(dir.path(), Some(tracer(dir.path(), None)));
        assert!(rekey(dir.path()).status().unwrap().success(), "certmonger renews");
        running.stop();
        assert!(is_pair(dir.path()), "certmonger's second pair");
        let key = |dir: &Path| fs::read(dir.join("key.pem")).unwrap();
        assert_ne!(key(dir.path()), key(self.0.path()), "it is another one");
        Calls::parse(&fs::read_to_string(&trace).unwrap())
    }

    /// One case.
    pub fn kill_at(&self, point: &Point) -> Found {
        let dir = self.copy();
        let trace = dir.path().join("strace.txt");
        let injection = format!("{}:signal=SIGKILL:when={}", point.call, point.nth);
        let mut running = Running::start(dir.path(), Some(tracer(dir.path(), Some(injection))));
        let killed = || fs::read_to_string(&trace).is_ok_and(|t| t.contains("+++ killed by SIGKILL +++"));
        let mut asking = rekey(dir.path()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while !killed() && asking.try_wait().unwrap().is_none() && Instant::now() < end {
            sleep(LOOK);
        }
        let injected = killed();
        running.stop();
        let _gone = asking.kill();
        let _status = asking.wait();
        let mut found = Found { injected, broken_at_the_cut: !is_pair(dir.path()), broken_for_good: false };
        if found.broken_at_the_cut {
            let mut again = Running::start(dir.path(), None);
            let end = Instant::now() + PATIENCE;
            while !is_pair(dir.path()) && Instant::now() < end {
                sleep(LOOK);
            }
            found.broken_for_good = !is_pair(dir.path());
            again.stop();
        }
        found
    }
}

/// Only the calls on the two files: certmonger is many processes, strace counts in each, and the one that saves makes
/// fewer calls than others, so that a count over all calls would never stop there.
fn tracer(dir: &Path, injection: Option<String>) -> Command {
    let mut command = strace(&dir.join("strace.txt"), injection);
    command.arg("-P").arg(dir.join("key.pem")).arg("-P").arg(dir.join("cert.pem"));
    command
}

/// A message bus and certmonger on it, each in a process group of its own.
struct Running {
    processes: Vec<Child>,
}

impl Running {
    fn start(dir: &Path, tracer: Option<Command>) -> Running {
        let bus = dir.join("bus");
        let _none = fs::remove_file(&bus);
        // A bus that starts no service by itself: `getcert` would wake another certmonger.
        let file = dir.join("bus.conf");
        fs::write(&file, CONFIGURATION.replace("BUS", bus.to_str().unwrap())).unwrap();
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--nofork", "--nopidfile", "--nosyslog", "--config-file"]).arg(&file);
        let mut processes = vec![launch(dir, daemon)];
        until(|| bus.exists());
        let mut command = tracer.unwrap_or_else(|| Command::new("env"));
        command.args(["certmonger", "-s", "-n", "-d", "0"]);
        processes.push(launch(dir, command));
        // It may be killed before it answers.
        let end = Instant::now() + PATIENCE;
        let running = |p: &mut Child| p.try_wait().unwrap().is_none();
        while !getcert(dir, &["list", "-s"], false).status().unwrap().success()
            && processes.last_mut().is_some_and(running)
            && Instant::now() < end
        {
            sleep(LOOK);
        }
        Running { processes }
    }

    /// Everything at once, as when the power goes.
    fn stop(&mut self) {
        for mut process in self.processes.drain(..).rev() {
            let group = Pid::from_raw(i32::try_from(process.id()).unwrap());
            let _gone = killpg(group, Signal::SIGKILL);
            let _status = process.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

fn launch(dir: &Path, mut command: Command) -> Child {
    environment(&mut command, dir);
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|e| panic!("{command:?}: {e}; apt-get install certmonger dbus-daemon strace"))
}

fn environment(command: &mut Command, dir: &Path) {
    command.env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", dir.join("bus").display()));
    command.env("HOME", dir.join("home"));
    for (name, sub) in [
        ("CERTMONGER_REQUESTS_DIR", "requests"),
        ("CERTMONGER_CAS_DIR", "cas"),
        ("CERTMONGER_LOCAL_CA_DIR", "local"),
        ("CERTMONGER_CONFIG_DIR", "config"),
        ("CERTMONGER_TMPDIR", "tmp"),
    ] {
        command.env(name, dir.join(sub));
    }
}

fn getcert(dir: &Path, words: &[&str], key: bool) -> Command {
    let mut command = Command::new("getcert");
    command.args(words);
    if key {
        command.arg("-k").arg(dir.join("key.pem")).arg("-f").arg(dir.join("cert.pem"));
    }
    environment(&mut command, dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn rekey(dir: &Path) -> Command {
    let mut command = getcert(dir, &["rekey", "-s", "-w", "-f"], false);
    command.arg(dir.join("cert.pem"));
    command
}

fn is_pair(dir: &Path) -> bool {
    let read = |name: &str| -> PathBuf { dir.join(name) };
    let Ok(certificate) = CertificateDer::from_pem_file(read("cert.pem")) else { return false };
    let Ok(key) = PrivateKeyDer::from_pem_file(read("key.pem")) else { return false };
    let Ok(key) = rustls::crypto::ring::sign::any_supported_type(&key) else { return false };
    rustls::sign::CertifiedKey::new(vec![certificate], key).keys_match().is_ok()
}

fn until(wanted: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !wanted() && Instant::now() < end {
        sleep(LOOK);
    }
}

const CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=BUS</listen>
  <auth>EXTERNAL</auth>
  <policy context="default"><allow send_destination="*"/><allow receive_sender="*"/><allow own="*"/></policy>
</busconfig>
"#;
/// Both paths of a copy have one length.
const PREFIX: &str = "certrot-certmonger-";
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(30);
