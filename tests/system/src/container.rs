//! One container: an overlay on a base system, systemd as its PID 1, and ways to act in it and on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::base::{Release, cache};

/// A container, running or not. What it wrote goes when it is dropped.
pub struct Container {
    place: PathBuf,
    nspawn: Option<Child>,
    leader: Option<i32>,
    dropped: bool,
}

impl Container {
    /// Lays an overlay on the base system; nothing runs yet.
    pub fn new(release: Release, name: &str) -> Result<Container, String> {
        let base = fs::canonicalize(release.dir()).map_err(|e| format!("{release}: {e}"))?;
        let runs = cache().join("runs");
        fs::create_dir_all(&runs).map_err(|e| e.to_string())?;
        let place = fs::canonicalize(runs)
            .map_err(|e| e.to_string())?
            .join(format!("{release}-{name}-{}", std::process::id()));
        for dir in ["upper", "work", "root"] {
            fs::create_dir_all(place.join(dir)).map_err(|e| e.to_string())?;
        }
        let container = Container { place, nspawn: None, leader: None, dropped: false };
        container.mount(&base)?;
        Ok(container)
    }

    /// A copy of another one's disk, as `dd` would make: for the same identity on two machines.
    pub fn copy_of(other: &Container, release: Release, name: &str) -> Result<Container, String> {
        let copy = Container::new(release, name)?;
        command(Command::new("umount").arg(copy.root()))?;
        command(
            Command::new("cp")
                .args(["-a", "--"])
                .arg(other.place.join("upper/."))
                .arg(copy.place.join("upper")),
        )?;
        copy.mount(&fs::canonicalize(release.dir()).map_err(|e| e.to_string())?)?;
        Ok(copy)
    }

    fn mount(&self, base: &Path) -> Result<(), String> {
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            base.display(),
            self.place.join("upper").display(),
            self.place.join("work").display()
        );
        command(Command::new("mount").args(["-t", "overlay", "overlay", "-o", &options]).arg(self.root()))
            .map(|_| ())
    }

    /// Its root directory, seen from here.
    pub fn root(&self) -> PathBuf {
        self.place.join("root")
    }

    /// A file of it, seen from here.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// Writes a file of it.
    pub fn write(&self, path: &str, text: &str) {
        use std::io::Write as _;
        let path = self.at(path);
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
        }
        let mut file = fs::File::create(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.write_all(text.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    }

    /// Boots it and waits until systemd has no job left.
    pub fn boot(&mut self) {
        self.begin_boot();
        self.booted();
    }

    /// Boots it and waits until systemd answers, with jobs that may never end.
    pub fn boot_in_the_middle(&mut self) {
        self.begin_boot();
        self.wait("a system that answers", Duration::from_secs(60), |it| {
            it.leader = it.find_leader();
            it.leader.is_some() && it.is("systemctl list-jobs")
        });
    }

    fn begin_boot(&mut self) {
        let log = fs::File::create(self.place.join("console")).expect("a log");
        let child = Command::new("systemd-nspawn")
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"])
            .arg("--network-namespace-path=/proc/self/ns/net")
            .arg("-D")
            .arg(self.root())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("systemd-nspawn starts");
        self.nspawn = Some(child);
    }

    /// Waits until it is up, after a boot or a reboot.
    fn booted(&mut self) {
        self.wait("a booted system", Duration::from_secs(60), |it| {
            it.leader = it.find_leader();
            it.leader.is_some()
                && it.try_sh("systemctl is-system-running").is_ok_and(|o| {
                    matches!(String::from_utf8_lossy(&o.stdout).trim(), "running" | "degraded")
                })
        });
    }

    /// The container's PID 1: the child of nspawn.
    fn find_leader(&self) -> Option<i32> {
        let nspawn = self.nspawn.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{nspawn}/task/{nspawn}/children")).ok()?;
        children.split_whitespace().last()?.parse().ok()
    }

    /// Runs a script in it as root; panics unless it ends with 0.
    pub fn sh(&self, script: &str) -> String {
        let output = self.try_sh(script).expect("nsenter");
        assert!(
            output.status.success(),
            "`{script}` ended with {:?}:\n{}{}",
            output.status.code(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a script in it as root: code, and both outputs.
    pub fn ran(&self, script: &str) -> (Option<i32>, String) {
        let output = self.try_sh(script).expect("nsenter");
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    }

    fn try_sh(&self, script: &str) -> Result<Output, String> {
        let leader = self.leader.ok_or("it is not running")?.to_string();
        Command::new("nsenter")
            .args(["-t", &leader, "-m", "-u", "-i", "-p", "-C", "--", "/usr/bin/env", "-i"])
            .args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "sh", "-c", script])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())
    }

    /// Whether a script in it ends with 0.
    pub fn is(&self, script: &str) -> bool {
        self.try_sh(script).is_ok_and(|o| o.status.success())
    }

    /// Waits until a script in it ends with 0.
    pub fn until(&mut self, script: &str) {
        self.until_within(script, PATIENCE);
    }

    /// The same with another patience.
    pub fn until_within(&mut self, script: &str, patience: Duration) {
        self.wait(script, patience, |it| it.is(script));
    }

    fn wait(&mut self, what: &str, patience: Duration, mut done: impl FnMut(&mut Container) -> bool) {
        let end = Instant::now() + patience;
        while !done(self) {
            if Instant::now() > end {
                let console = fs::read_to_string(self.place.join("console")).unwrap_or_default();
                panic!("it did not come about in {} s: {what}\n{console}", patience.as_secs());
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Reboots it in an orderly way.
    pub fn reboot(&mut self) {
        self.shut_down();
        self.boot();
    }

    /// The same, with jobs that may not end soon.
    pub fn reboot_to_the_middle(&mut self) {
        self.shut_down();
        self.boot_in_the_middle();
    }

    fn shut_down(&mut self) {
        self.sh("systemctl --no-block reboot");
        let mut ended = None;
        self.wait("the end of systemd", Duration::from_secs(100), |it| {
            ended = it.nspawn.as_mut().and_then(|n| n.try_wait().ok().flatten());
            ended.is_some()
        });
        // So says nspawn that it was a reboot, to whoever keeps its unit.
        assert_eq!(ended.and_then(|e| e.code()), Some(133), "a reboot");
    }

    /// Cuts the power: every process in it ends at once, PID 1 first.
    pub fn cut(&mut self) {
        if let Some(leader) = self.leader.take() {
            let _ = kill(Pid::from_raw(leader), Signal::SIGKILL);
        }
        if let Some(mut nspawn) = self.nspawn.take() {
            let _ = nspawn.wait();
        }
    }

    /// Shuts it down in an orderly way.
    pub fn off(&mut self) {
        if self.leader.is_some() {
            let _ = self.try_sh("systemctl --no-block poweroff");
            let end = Instant::now() + Duration::from_secs(30);
            while let Some(nspawn) = &mut self.nspawn {
                if nspawn.try_wait().ok().flatten().is_some() {
                    self.nspawn = None;
                    self.leader = None;
                } else if Instant::now() > end {
                    self.cut();
                } else {
                    sleep(Duration::from_millis(50));
                }
            }
        }
    }

    /// The number by which this machine knows a service's main process.
    pub fn main_pid(&self, unit: &str) -> i32 {
        let inner = self.sh(&format!("systemctl show -P MainPID {unit}"));
        let inner = inner.trim();
        assert_ne!(inner, "0", "{unit} does not run");
        // NSpid of each process: our number first, the container's last.
        for entry in fs::read_dir("/proc").expect("/proc").flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let numbers = status.lines().find_map(|l| l.strip_prefix("NSpid:")).unwrap_or_default();
            let numbers: Vec<&str> = numbers.split_whitespace().collect();
            let leader = self.leader.unwrap_or(0);
            let same = |ns| {
                fs::read_link(format!("/proc/{pid}/ns/{ns}")).ok()
                    == fs::read_link(format!("/proc/{leader}/ns/{ns}")).ok()
            };
            if numbers.len() == 2 && numbers[1] == inner && same("pid") {
                return pid;
            }
        }
        panic!("{unit}'s process {inner} is not found from here");
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.dropped {
            self.dropped = true;
            self.cut();
            let _ = command(Command::new("umount").arg(self.root()));
            if std::env::var_os("CERTROT_SYSTEM_KEEP").is_none() {
                let _ = fs::remove_dir_all(&self.place);
            }
        }
    }
}

/// Runs a command of this machine.
pub fn command(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(40);
