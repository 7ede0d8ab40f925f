//! The real `certrotd` as a process of its own: found, started with a socket for READY, watched, stopped.
//!
//! Its log goes to a file, so that the last lines can be shown when something fails. It is never killed while it can
//! still end by itself: SIGTERM first, and only after `GRACE` SIGKILL.

use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock::Clock;

/// A running daemon; dropping it stops it.
pub struct Daemon {
    child: Child,
    log: PathBuf,
    started_ms: i64,
    ready: Arc<Mutex<Option<i64>>>,
}

/// Why the daemon could not be started.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The program is not there.
    #[error("{} is missing; build it with `cargo build -p certrotd`, or name it with --certrotd PATH", .0.display())]
    Missing(PathBuf),
    /// It did not start.
    #[error("cannot start {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Finds a program: the one that is named, or else the one beside the program that runs.
pub fn find(name: &str, named: Option<&Path>) -> Result<PathBuf, DaemonError> {
    let path = match named {
        Some(path) => path.to_owned(),
        None => std::env::current_exe().unwrap_or_default().with_file_name(name),
    };
    if path.is_file() { Ok(path) } else { Err(DaemonError::Missing(path)) }
}

impl Daemon {
    /// Starts it with its log in `directory`; `clock` dates start and READY.
    pub fn start(
        program: &Path,
        config: &Path,
        directory: &Path,
        clock: Arc<Clock>,
    ) -> Result<Self, DaemonError> {
        let failed = |source| DaemonError::Start { program: program.to_owned(), source };
        let log = directory.join(LOG);
        let out = File::options().create(true).append(true).open(&log).map_err(failed)?;
        let ready = Arc::new(Mutex::new(None));
        let notify = directory.join(NOTIFY);
        let _none_there = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).map_err(failed)?;
        let started_ms = clock.now_ms();
        let mut command = Command::new(program);
        command
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(out.try_clone().map_err(failed)?)
            .stderr(out)
            .env("NOTIFY_SOCKET", &notify)
            // Ctrl-C on the terminal is for the one who started it, who then stops it in order.
            .process_group(0);
        for name in FOREIGN {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(failed)?;
        let seen = ready.clone();
        let listen = move || listen(&socket, &clock, &seen);
        std::thread::Builder::new().name("notify".into()).spawn(listen).map_err(failed)?;
        Ok(Self { child, log, started_ms, ready })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it was started, in milliseconds since the epoch.
    pub fn started_ms(&self) -> i64 {
        self.started_ms
    }

    /// When it said READY=1, in milliseconds since the epoch; `None` while it has not.
    pub fn ready_ms(&self) -> Option<i64> {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it ended; `None` while it runs.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Where its log is.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log.
    pub fn last_lines(&self, count: usize) -> Vec<String> {
        let text = fs::read(&self.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].iter().map(|l| (*l).to_owned()).collect()
    }

    /// Stops it and waits for its end.
    pub fn stop(mut self) -> Option<ExitStatus> {
        self.finish()
    }

    fn finish(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.ended() {
            return Some(status);
        }
        // Still a child of ours that was not waited for, so the number is still its own.
        if let Ok(pid) = i32::try_from(self.child.id()) {
            let _gone = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let until = Instant::now() + GRACE;
        while Instant::now() < until {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _gone = self.child.kill();
        self.child.wait().ok()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Notes when READY=1 comes; ends with the first of it, or when the daemon's directory is gone.
fn listen(socket: &UnixDatagram, clock: &Clock, ready: &Mutex<Option<i64>>) {
    let mut buffer = [0; 4096];
    let _always = socket.set_read_timeout(Some(Duration::from_secs(60)));
    while let Ok(n) = socket.recv(&mut buffer) {
        let now_ms = clock.now_ms();
        if buffer[..n].split(|b| *b == b'\n').any(|line| line == b"READY=1") {
            *ready.lock().unwrap_or_else(PoisonError::into_inner) = Some(now_ms);
            return;
        }
    }
}

/// The log's name.
pub const LOG: &str = "certrotd.log";
/// The notify socket's name.
const NOTIFY: &str = "notify.sock";
/// How long it may take to end by itself.
const GRACE: Duration = Duration::from_secs(15);
/// What a service manager or a test has in the environment and this daemon must not see.
const FOREIGN: [&str; 6] = [
    "JOURNAL_STREAM",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "CREDENTIALS_DIRECTORY",
    "CERTROTD_CLOCK_RATE",
    "CERTROTD_CLOCK_OFFSET",
];
