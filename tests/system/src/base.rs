//! The base systems: made once by debootstrap, kept below `target/system`, never written to again.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use clap::ValueEnum;

/// A Debian release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Release {
    /// Debian 12, systemd 252.
    Bookworm,
    /// Debian 13, systemd 257.
    Trixie,
}

impl Release {
    fn name(self) -> &'static str {
        match self {
            Release::Bookworm => "bookworm",
            Release::Trixie => "trixie",
        }
    }

    /// Where its base system is.
    pub fn dir(self) -> PathBuf {
        cache().join(self.name())
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where base systems and runs are; ignored by git with the rest of `target`.
pub fn cache() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/system")
}

/// What must be there, each with its fix.
pub fn preconditions() -> Result<(), String> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    if !root {
        return Err(
            "booting containers needs root: run tests/run as root. Nothing was tested here.".to_owned()
        );
    }
    for (tool, package) in
        [("debootstrap", "debootstrap"), ("systemd-nspawn", "systemd-container"), ("ip", "iproute2")]
    {
        if Command::new(tool).arg("--help").output().is_err() {
            return Err(format!("{tool} is missing: apt-get install {package}"));
        }
    }
    Ok(())
}

/// Makes a base system where it is not there yet.
pub fn make(release: Release) -> Result<(), String> {
    let dir = release.dir();
    if dir.join(DONE).exists() {
        return Ok(());
    }
    let begun = Instant::now();
    println!("{release}: debootstrap, once");
    let part = cache().join(format!("{release}.part"));
    let _ = fs::remove_dir_all(&part);
    fs::create_dir_all(&part).map_err(|e| format!("{}: {e}", part.display()))?;
    let made = Command::new("debootstrap")
        .args(["--variant=minbase", &format!("--include={PACKAGES}"), release.name()])
        .arg(&part)
        .args(mirror())
        .output()
        .map_err(|e| format!("debootstrap: {e}"))?;
    if !made.status.success() {
        let said = String::from_utf8_lossy(&made.stdout);
        let last: Vec<&str> = said.lines().rev().take(12).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        return Err(format!("debootstrap {release} failed:\n{}", last.join("\n")));
    }
    for needless in ["var/cache/apt/archives", "usr/share/doc", "usr/share/locale", "var/lib/apt/lists"] {
        let _ = fs::remove_dir_all(part.join(needless));
    }
    fs::create_dir_all(part.join("var/cache/apt/archives/partial")).map_err(|e| e.to_string())?;
    fs::File::create(part.join(DONE)).map_err(|e| e.to_string())?;
    let _ = fs::remove_dir_all(&dir);
    fs::rename(&part, &dir).map_err(|e| e.to_string())?;
    println!("{release}: made in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The mirror that this machine's own apt uses; without one debootstrap takes Debian's.
fn mirror() -> Option<String> {
    let text = Command::new("sh")
        .args(["-c", "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null"])
        .output()
        .map(|o| String::from_utf8_lossy(&o.stdout).into_owned())
        .unwrap_or_default();
    text.split_whitespace()
        .find(|word| word.starts_with("http") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
}

/// Beside minbase: what boots, and what the tests look with.
const PACKAGES: &str = "systemd,systemd-sysv,dbus";
/// Says that a base system is whole.
const DONE: &str = ".certrot-base";
