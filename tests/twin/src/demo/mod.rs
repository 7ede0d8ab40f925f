//! `certrot-twin demo`: the whole story of a device on one machine, with a real `certrotd` and nothing beyond loopback.
//!
//! ```text
//! run ─▶ story ─▶ daemon   the real certrotd: its process, its log, its READY
//!           │ ────▶ control  its control socket: orders, status, events; and the twin's REST
//!           │ ────▶ probe    one TLS and MQTT attempt with a pair of one's own
//!           └─────▶ tell     lines and the table
//! ```
//! It only orders and watches: every line's time is that of an event of the daemon or of the twin (or of the demo's own
//! act, for what it does itself), never of the moment it was printed. `daemon`, `control` and `probe` serve the
//! benchmark too.

pub mod control;
pub mod daemon;
pub mod probe;
mod story;
pub mod tell;

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemon::DaemonError;
use tell::Teller;

use crate::cloud::OpenError;
use crate::{Options, Twin};

/// What a demo is started with.
#[derive(Clone, Debug, Default)]
pub struct Demo {
    /// End after the story.
    pub once: bool,
    /// Where twin and device live, kept afterwards; `None`: a temporary directory, removed at the end.
    pub dir: Option<PathBuf>,
    /// The daemon's program; `None`: the one beside this program.
    pub certrotd: Option<PathBuf>,
}

/// Why the demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// `--dir` is in use.
    #[error("{} is not empty: the demo tells the story of a fresh device, give it a directory of its own", .0.display())]
    InUse(PathBuf),
    /// The directory could not be made.
    #[error("cannot make the demo's directory {}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The twin could not start.
    #[error("the twin did not start")]
    Twin(#[from] OpenError),
    /// The daemon could not be found or started.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// A step did not come in time.
    #[error("“{step}” did not happen within {} s", story::DEADLINE.as_secs())]
    Late {
        /// The step.
        step: &'static str,
    },
    /// Something else was seen than what the step promises.
    #[error("“{step}” went wrong: {what}")]
    Wrong {
        /// The step.
        step: &'static str,
        /// What was seen.
        what: String,
    },
    /// The daemon ended by itself.
    #[error("certrotd ended by itself during “{step}”: {status}")]
    Ended {
        /// The step.
        step: &'static str,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// A signal came.
    #[error("interrupted")]
    Interrupted,
}

/// Tells the story; then, unless it is to be told once, stays until `stop` is set. Whatever happens, the daemon is
/// stopped and a temporary directory removed before this returns.
pub fn run(demo: &Demo, stop: &Arc<AtomicBool>) -> Result<(), DemoError> {
    let mut tell = Teller::to_stdout();
    let certrotd = daemon::find("certrotd", demo.certrotd.as_deref())?;
    let (dir, _temporary) = directory(demo.dir.as_deref())?;
    tell.title(
        "certrotd demo: a device and its cloud on this machine; nothing leaves it, nobody needs to be root",
    );
    let began_ms = crate::clock::Clock::new(0, 1.0).now_ms();
    let twin = Twin::start(Options::new(dir.join("twin")))?;
    let mut stage = story::Stage::new(&twin, &dir, began_ms, stop);
    let told = stage.tell(&certrotd, &mut tell);
    let ended = match told {
        Ok(()) => {
            tell.table(stage.lines());
            tell.note(PACE);
            if demo.once { Ok(()) } else { stage.stay(&certrotd, &mut tell) }
        }
        Err(error) => {
            if !matches!(error, DemoError::Interrupted) {
                tell.failure(&stage.last_words());
            }
            Err(error)
        }
    };
    stage.end();
    twin.stop();
    if demo.dir.is_some() {
        tell.note(&format!("what they wrote is kept in {}", dir.display()));
    }
    ended
}

/// The demo's directory, 0700, and the guard that removes it.
fn directory(asked: Option<&Path>) -> Result<(PathBuf, Option<tempfile::TempDir>), DemoError> {
    match asked {
        None => {
            let failed = |source| DemoError::Directory { path: std::env::temp_dir(), source };
            let made = tempfile::Builder::new().prefix("certrot-demo-").tempdir().map_err(failed)?;
            // Its real name: the store follows no links.
            let path = fs::canonicalize(made.path()).map_err(failed)?;
            Ok((path, Some(made)))
        }
        Some(path) => {
            let failed = |source| DemoError::Directory { path: path.to_owned(), source };
            crate::files::make_dir(path).map_err(|e| failed(io::Error::other(e)))?;
            let path = fs::canonicalize(path).map_err(failed)?;
            if fs::read_dir(&path).map_err(failed)?.next().is_some() {
                return Err(DemoError::InUse(path));
            }
            Ok((path, None))
        }
    }
}

/// A configuration of the real daemon against a twin; everything that is not said is the default.
///
/// `directory` holds the store, the socket and this file; the user who runs it is the operator.
pub fn write_config(twin: &Twin, directory: &Path, serial: &str) -> Result<PathBuf, DemoError> {
    let failed = |source| DemoError::Directory { path: directory.to_owned(), source };
    let uid = fs::metadata(directory).map_err(failed)?.uid();
    let text = format!(
        "# Written by certrot-twin.\n[device]\nserial = {}\n\n[aws]\nendpoint = \"localhost\"\nport = {}\nroot-ca = {}\n\n\
         [claim]\ncertificate = {}\nprivate-key = {}\n\n[identity]\ndirectory = {}\n\n\
         [control]\nsocket = {}\noperators = [\"{uid}\"]\n",
        quoted(Path::new(serial)),
        twin.port(),
        quoted(&twin.ca_pem()),
        quoted(&twin.claim_certificate()),
        quoted(&twin.claim_key()),
        quoted(&directory.join(STORE)),
        quoted(&directory.join(SOCKET)),
    );
    crate::files::write(directory, CONFIG, 0o600, text.as_bytes())
        .map_err(|e| failed(io::Error::other(e)))?;
    Ok(directory.join(CONFIG))
}

/// A string of TOML: JSON's escapes are among its own.
fn quoted(path: &Path) -> String {
    serde_json::Value::from(path.to_string_lossy()).to_string()
}

/// Sleeps shortly while nothing has come; false when `stop` was set.
fn patient(stop: &AtomicBool, pause: Duration) -> bool {
    std::thread::sleep(pause);
    !stop.load(Ordering::Relaxed)
}

/// What the table's one long wait is (AWS IoT quota: CONNECT requests for each client id and second).
const PACE: &str =
    "The wait before the take-over is the daemon's: AWS takes one CONNECT a second from a client id.";
/// The configuration's name in the demo's directory.
pub const CONFIG: &str = "config.toml";
/// The control socket's.
pub const SOCKET: &str = "control.sock";
/// The store's.
pub const STORE: &str = "device";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_holds_something_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = fs::File::create(dir.path().join("mine")).unwrap();
        drop(file);
        assert!(matches!(directory(Some(dir.path())), Err(DemoError::InUse(_))));
        assert!(directory(Some(&dir.path().join("new"))).is_ok());
    }

    #[test]
    fn a_path_with_quotes_stays_one_string_of_toml() {
        assert_eq!(quoted(Path::new("/a\"b\\c")), r#""/a\"b\\c""#);
    }

    #[test]
    fn a_missing_daemon_is_told_with_the_command_that_builds_it() {
        let demo = Demo { certrotd: Some("/nonexistent/certrotd".into()), ..Demo::default() };
        let error = run(&demo, &Arc::default()).unwrap_err();
        assert!(error.to_string().contains("cargo build"), "{error}");
    }
}
