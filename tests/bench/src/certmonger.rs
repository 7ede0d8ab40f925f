//! certmonger renewing key and certificate with its own local authority: no network at all, so the least that a renewal
//! by it can cost. It has a message bus of its own, as in `tests/syscalls`.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use certrot_twin::files;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::compare::{DRAIN, PROPORTIONAL, RESIDENT, TOTAL, millis};
use crate::process::{self, Reading};
use crate::report::Column;
use crate::run::BenchError;

/// A first certificate, and a renewal of key and certificate, measured.
pub fn life(column: &mut Column) -> Result<(), BenchError> {
    let machine = |what| move |source| BenchError::Machine { what, source };
    let made = tempfile::Builder::new().prefix("certrot-bench-").tempdir();
    let home = made.map_err(machine("make a temporary directory"))?;
    let dir = home.path();
    for name in ["requests", "cas", "local", "config", "tmp", "home"] {
        fs::create_dir(dir.join(name)).map_err(machine("make certmonger's directories"))?;
    }
    let running = Running::start(dir)?;
    let (key, certificate) = (dir.join("key.pem"), dir.join("cert.pem"));
    let ordered = Instant::now();
    let mut request =
        getcert(dir, &["request", "-s", "-c", "local", "-N", "CN=device", "-G", "ec", "-g", "256"]);
    request.arg("-k").arg(&key).arg("-f").arg(&certificate);
    finish(request)?;
    let first = until(|| fs::read(&certificate).ok().filter(|text| text.ends_with(b"-----\n")))?;
    column.put("first: start to committed, ms", millis(ordered.elapsed()));
    sleep(SETTLE);
    let pid = running.certmonger()?;
    let processor = process::processor_with_children(pid).map_err(machine("read /proc"))?;
    let ordered = Instant::now();
    let mut rekey = getcert(dir, &["rekey", "-s", "-f"]);
    rekey.arg(&certificate);
    finish(rekey)?;
    until(|| fs::read(&certificate).ok().filter(|text| *text != first && text.ends_with(b"-----\n")))?;
    column.put(TOTAL, millis(ordered.elapsed()));
    sleep(SETTLE + DRAIN);
    let after = process::processor_with_children(pid).map_err(machine("read /proc"))?;
    column.put("rotation: processor, ms", (after - processor) * 1e3);
    let reading = Reading::of(pid).map_err(machine("read /proc"))?;
    column.put(RESIDENT, reading.resident());
    column.put(PROPORTIONAL, reading.proportional());
    Ok(())
}

/// A message bus and certmonger on it, each in a process group of its own.
struct Running {
    processes: Vec<Child>,
}

impl Running {
    fn start(dir: &Path) -> Result<Self, BenchError> {
        let bus = dir.join("bus");
        let text = CONFIGURATION.replace("BUS", &bus.to_string_lossy());
        files::write(dir, "bus.conf", 0o600, text.as_bytes()).map_err(|e| BenchError::Machine {
            what: "write the bus's configuration",
            source: std::io::Error::other(e),
        })?;
        let mut daemon = Command::new("dbus-daemon");
        daemon.args(["--nofork", "--nopidfile", "--nosyslog", "--config-file"]).arg(dir.join("bus.conf"));
        let mut running = Self { processes: vec![launch(dir, daemon)?] };
        until(|| bus.exists().then_some(()))?;
        let mut certmonger = Command::new("certmonger");
        certmonger.args(["-s", "-n", "-d", "0"]);
        running.processes.push(launch(dir, certmonger)?);
        until(|| getcert(dir, &["list", "-s"]).status().is_ok_and(|s| s.success()).then_some(()))?;
        Ok(running)
    }

    fn certmonger(&self) -> Result<u32, BenchError> {
        let last = self.processes.last().map(Child::id);
        last.ok_or(BenchError::Needed { what: "certmonger", remedy: REMEDY })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for mut process in self.processes.drain(..).rev() {
            if let Ok(group) = i32::try_from(process.id()) {
                let _gone = killpg(Pid::from_raw(group), Signal::SIGKILL);
            }
            let _status = process.wait();
        }
    }
}

fn launch(dir: &Path, mut command: Command) -> Result<Child, BenchError> {
    environment(&mut command, dir);
    command.process_group(0);
    command.spawn().map_err(|_| BenchError::Needed { what: "certmonger with a message bus", remedy: REMEDY })
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
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
}

fn getcert(dir: &Path, words: &[&str]) -> Command {
    let mut command = Command::new("getcert");
    command.args(words);
    environment(&mut command, dir);
    command
}

fn finish(mut command: Command) -> Result<(), BenchError> {
    let done = command.status().is_ok_and(|s| s.success());
    if done { Ok(()) } else { Err(BenchError::Late { what: "getcert", log: format!("{command:?}") }) }
}

fn until<T>(mut wanted: impl FnMut() -> Option<T>) -> Result<T, BenchError> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = wanted() {
            return Ok(found);
        }
        if Instant::now() > end {
            return Err(BenchError::Late { what: "certmonger", log: String::new() });
        }
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
const REMEDY: &str = "apt-get install certmonger dbus-daemon";
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(1);
/// It works on after the file is there.
const SETTLE: Duration = Duration::from_secs(1);
