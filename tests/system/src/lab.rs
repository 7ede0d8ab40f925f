//! A container with certrotd installed as `packaging/INSTALL` says, and its cloud.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use certrot_twin::{Effect, Event, Fault, Options, Status, Twin};
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use crate::base::{Release, cache};
use crate::container::{Container, PATIENCE, command};

/// Takes this process and all it starts into a network of its own, where nothing but loopback is.
pub fn own_network() -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|e| format!("a network namespace: {e}"))?;
    network(true)
}

/// Switches the network, which is loopback, on or off.
pub fn network(on: bool) -> Result<(), String> {
    // Without an address, so that connecting fails at once and is not a packet that nobody answers.
    let script = if on {
        "ip link set lo up; ip address replace 127.0.0.1/8 dev lo"
    } else {
        "ip address flush dev lo; ip link set lo down"
    };
    command(Command::new("sh").args(["-ec", script])).map(|_| ())
}

/// One device with its cloud.
pub struct Lab {
    /// The machine.
    pub container: Container,
    /// Its cloud.
    pub twin: Twin,
    /// Its Debian.
    pub release: Release,
    /// The package that is tried; without one, what INSTALL says.
    pub deb: Option<PathBuf>,
    programs: PathBuf,
    cloud: PathBuf,
}

impl Lab {
    /// A container that is not booted yet, with nothing of ours in it.
    pub fn new(release: Release, programs: &Path, deb: Option<&Path>) -> Result<Lab, String> {
        let cloud = cache().join(format!("runs/{release}-cloud-{}", std::process::id()));
        fs::create_dir_all(&cloud).map_err(|e| format!("{}: {e}", cloud.display()))?;
        let twin = Twin::start(Options::new(cloud.clone())).map_err(|e| format!("the twin: {e:?}"))?;
        let container = Container::new(release, "device")?;
        container.write("/etc/hosts", "127.0.0.1 localhost\n");
        container.write("/etc/hostname", "device\n");
        Ok(Lab {
            container,
            twin,
            release,
            deb: deb.map(Path::to_owned),
            programs: stripped(programs)?,
            cloud,
        })
    }

    /// Installs by the commands of `packaging/INSTALL`, as they stand there.
    pub fn install_by_hand(&self) {
        let text = fs::read_to_string(source("packaging/INSTALL")).expect("packaging/INSTALL");
        let mut lines = text.lines().skip_while(|l| !l.starts_with("    install"));
        let commands: Vec<&str> = lines.by_ref().take_while(|l| l.starts_with("    ")).collect();
        assert!(commands.len() > 8, "packaging/INSTALL begins with the commands: {commands:?}");
        let script = commands.join("\n").replace("target/release", &self.programs.display().to_string());
        command(
            Command::new("bash")
                .args(["-euc", &script])
                .env("DESTDIR", self.container.root())
                .current_dir(source("")),
        )
        .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Edits the configuration as a person would, and puts the claim pair where INSTALL says.
    pub fn configure(&self) {
        let at = |path: &str| self.container.at(path);
        let copy = |from: PathBuf, to: &str, mode: u32| {
            fs::copy(&from, at(to)).unwrap_or_else(|e| panic!("{to}: {e}"));
            fs::set_permissions(at(to), fs::Permissions::from_mode(mode)).expect("its mode");
        };
        copy(self.twin.ca_pem(), "/etc/certrotd/certs/twin.pem", 0o644);
        copy(self.twin.claim_certificate(), "/etc/certrotd/certs/claim.cert.pem", 0o644);
        copy(self.twin.claim_key(), "/etc/certrotd/certs/claim.key", 0o600);
        let port = self.twin.port();
        self.edit(&format!(
            "s|^endpoint = .*|endpoint = \"localhost\"|; s|^# port = .*|port = {port}|; \
             s|^# root-ca = .*|root-ca = \"/etc/certrotd/certs/twin.pem\"|; s|^# serial = .*|serial = \"{SERIAL}\"|"
        ));
    }

    /// Edits the configuration by a sed script.
    pub fn edit(&self, script: &str) {
        command(Command::new("sed").args(["-i", script]).arg(self.container.at("/etc/certrotd/config.toml")))
            .unwrap_or_else(|e| panic!("{e}"));
    }

    /// Puts a drop-in for a unit in force.
    pub fn drop_in(&self, unit: &str, name: &str, text: &str) {
        self.container.write(&format!("/etc/systemd/system/{unit}.d/{name}.conf"), text);
        self.container.sh("systemctl daemon-reload");
    }

    /// Takes one away again.
    pub fn undo_drop_in(&self, unit: &str, name: &str) {
        let _ = fs::remove_file(self.container.at(&format!("/etc/systemd/system/{unit}.d/{name}.conf")));
        self.container.sh("systemctl daemon-reload");
    }

    /// After a step that failed: nothing of it stands in the way of the next.
    pub fn recover(&mut self) {
        let _ = network(true);
        self.twin.clear_faults();
        if !self.container.is("true") {
            self.container.cut();
            self.container.boot();
        }
        self.edit("s|^endpoimt = |endpoint = |; s|^level = .*|# level = \"info\"|");
        self.container.ran(
            "rm -rf /etc/systemd/system/certrotd*.d; systemctl daemon-reload; systemctl restart certrotd certrotd-rotated.path",
        );
    }

    /// `certrotctl --json status`; nothing while the daemon is away.
    pub fn try_status(&self) -> Option<Value> {
        let (code, text) = self.container.ran("certrotctl --json status 2>/dev/null");
        (code == Some(0)).then(|| serde_json::from_str(text.trim()).ok()).flatten()
    }

    /// Waits for a status as wanted.
    pub fn wait(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        let mut last = None;
        loop {
            if let Some(status) = self.try_status() {
                if wanted(&status) {
                    return status;
                }
                last = Some(status);
            }
            if Instant::now() > end {
                let journal = self.container.ran("journalctl -u certrotd --no-pager -n 30").1;
                panic!("{what} did not come about: {}\n{journal}", last.unwrap_or_default());
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Waits until that generation is in use, connected, and nothing is left to do; exactly one certificate is alive.
    pub fn steady(&self, generation: u64) -> Value {
        let status = self.wait(&format!("steady on generation {generation}"), |s| {
            s["certificate"]["generation"] == generation
                && s["state"] == "steady"
                && s["connected"] == true
                && s["retire"]["pending"] == false
        });
        let alive = self.alive();
        assert_eq!(
            alive,
            [status["certificate"]["id"].as_str().unwrap_or_default()],
            "one certificate is alive"
        );
        status
    }

    /// Generation in use.
    pub fn generation(&self) -> u64 {
        self.wait("a generation", |s| s["certificate"]["generation"].is_u64())["certificate"]["generation"]
            .as_u64()
            .unwrap_or_default()
    }

    /// Every ACTIVE certificate of the device.
    pub fn alive(&self) -> Vec<String> {
        let all = self.twin.certificates_of(SERIAL).into_iter();
        all.filter(|c| c.status == Status::Active).map(|c| c.id).collect()
    }

    /// Rotates and waits for the end.
    pub fn rotate(&self) {
        self.container.sh("certrotctl rotate-now --wait --timeout 40s");
    }

    /// Orders a rotation and waits until it hangs at a fault of the cloud; `clear_faults` lets it go on.
    pub fn rotate_until(&self, on: &str, effect: Effect) {
        let since = self.twin.event_count();
        let mut fault = Fault::once(on, effect).forever();
        if on == "connect" || on == "subscribe" {
            fault = fault.client(SERIAL);
        }
        self.twin.fault(fault);
        self.container.sh("certrotctl rotate-now");
        let seen = self.twin.wait(since, PATIENCE, |e| matches!(e, Event::Fault { .. }));
        assert!(seen.is_some(), "the rotation came to no {on}");
    }

    /// Cloud operator's view of how often the device connected since an event.
    pub fn connects_since(&self, since: usize) -> usize {
        let events = self.twin.events_since(since);
        events.iter().filter(|e| matches!(e.event, Event::Connect { .. })).count()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.cloud);
    }
}

/// The device's serial and thing.
pub const SERIAL: &str = "SN-SYSTEM";

/// A file of the source tree.
pub fn source(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// The two programs without what only a debugger reads, which would be most of what a container copies.
fn stripped(programs: &Path) -> Result<PathBuf, String> {
    let to = cache().join("programs");
    fs::create_dir_all(&to).map_err(|e| e.to_string())?;
    let to = fs::canonicalize(to).map_err(|e| e.to_string())?;
    for name in ["certrotd", "certrotctl"] {
        command(
            Command::new("strip").arg("-o").arg(to.join(name)).arg(source("").join(programs).join(name)),
        )?;
    }
    Ok(to)
}
