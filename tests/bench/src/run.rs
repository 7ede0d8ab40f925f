//! One life of a device: first provisioning, a rotation, a restart; each time is the distance of two events.
//!
//! Times are milliseconds, as far as the events of daemon and twin tell them; the hand-over gap is finer, by a thread
//! that stamps the twin's events as they come.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use certrot_twin::clock::Clock;
use certrot_twin::demo::control::{Feed, ask};
use certrot_twin::demo::daemon::{Daemon, DaemonError};
use certrot_twin::demo::{DemoError, SOCKET, write_config};
use certrot_twin::{Event, Logged, OpenError, Options, Twin};
use tempfile::TempDir;

use crate::process::Reading;
use crate::report::Column;
use crate::stamps::Stamps;

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The program cannot be read.
    #[error("{} is missing; build it with `cargo build --release -p certrotd`", .0.display())]
    Missing(PathBuf),
    /// Another program that is measured is not here.
    #[error("{what} is missing: {remedy}")]
    Needed {
        /// The program.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A directory, a socket or /proc.
    #[error("cannot {what}")]
    Machine {
        /// The act.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The twin did not start.
    #[error("the twin did not start")]
    Twin(#[from] OpenError),
    /// The configuration could not be written.
    #[error("the device could not be prepared")]
    Prepare(#[from] DemoError),
    /// The daemon did not start.
    #[error("the daemon did not start")]
    Daemon(#[from] DaemonError),
    /// Something did not happen.
    #[error("“{what}” did not happen within {} s; the daemon's last lines:\n{log}", PATIENCE.as_secs())]
    Late {
        /// What.
        what: &'static str,
        /// What the daemon said.
        log: String,
    },
}

/// Size of a program in bytes.
pub fn size(program: &Path) -> Result<f64, BenchError> {
    fs::metadata(program).map(|m| m.len() as f64).map_err(|_| BenchError::Missing(program.to_owned()))
}

/// A device and its twin.
pub struct Life {
    daemon: Daemon,
    feed: Feed,
    stamps: Stamps,
    twin: Arc<Twin>,
    clock: Arc<Clock>,
    dir: TempDir,
    config: PathBuf,
}

impl Life {
    /// A whole life, measured.
    pub fn live(program: &Path, column: &mut Column) -> Result<(), BenchError> {
        let mut life = Self::begin(program)?;
        life.provision(column)?;
        life.rotate(column)?;
        life.restart(program, column)
    }

    /// A device that was provisioned, has rotated and is left alone: nobody reads its events, which would wake it.
    pub fn quiet(program: &Path) -> Result<Self, BenchError> {
        let life = Self::begin(program)?;
        let mut unwanted = Column::default();
        life.provision(&mut unwanted)?;
        life.rotate(&mut unwanted)?;
        life.feed.close();
        Ok(life)
    }

    /// What the kernel says of the daemon.
    pub fn reading(&self) -> Result<Reading, BenchError> {
        Reading::of(self.daemon.pid()).map_err(|source| BenchError::Machine { what: "read /proc", source })
    }

    fn begin(program: &Path) -> Result<Self, BenchError> {
        let machine = |what| move |source| BenchError::Machine { what, source };
        let dir = tempfile::Builder::new()
            .prefix("certrot-bench-")
            .tempdir()
            .map_err(machine("make a temporary directory"))?;
        let twin = Arc::new(Twin::start(Options::new(dir.path().join("twin")))?);
        let stamps = Stamps::start(&twin).map_err(machine("start a thread"))?;
        let clock = Arc::new(Clock::new(0, 1.0));
        let config = write_config(&twin, dir.path(), SERIAL)?;
        let (daemon, feed) = start(program, &config, dir.path(), &clock)?;
        Ok(Self { daemon, feed, stamps, twin, clock, dir, config })
    }

    fn provision(&self, column: &mut Column) -> Result<(), BenchError> {
        let started = self.daemon.started_ms();
        self.ready(column, "fresh: start to READY, ms")?;
        let switched = self.heard("switch", 0)?;
        let committed = self.heard("retire", 0)?;
        column.put("fresh: start to current switched, ms", ms(switched - started));
        column.put("fresh: start to first commit accepted, ms", ms(committed - started));
        Ok(())
    }

    fn rotate(&self, column: &mut Column) -> Result<(), BenchError> {
        // AWS takes one CONNECT a second from a client id; a rotation that comes later does not wait for it.
        std::thread::sleep(Duration::from_millis(1200));
        let (seen, heard) = (self.twin.event_count(), self.feed.len());
        let ordered = self.clock.now_ms();
        ask(&self.dir.path().join(SOCKET), "POST", "/v1/rotate", "{}")
            .map_err(|source| BenchError::Machine { what: "order a rotation", source })?;
        let issued = self.heard("issue", heard)?;
        let registered = self.heard("register", heard)?;
        let proved = self.heard("prove", heard)?;
        let switched = self.heard("switch", heard)?;
        let retired = self.heard("retire", heard)?;
        column.put("rotation: order to issued, ms", ms(issued - ordered));
        column.put("rotation: issued to registered, ms", ms(registered - issued));
        column.put("rotation: registered to proved, ms", ms(proved - registered));
        column.put("rotation: proved to switched, ms", ms(switched - proved));
        column.put("rotation: switched to retired, ms", ms(retired - switched));
        column.put("rotation: order to retired, ms", ms(retired - ordered));
        let tls = self.seen("take-over", seen, |e| matches!(e, Event::Tls { .. }))?;
        let up = self.seen("take-over", seen, is_session)?;
        let down = self.seen("end of the old session", seen, is_end)?;
        let (tls, up, down) = (self.stamps.of(&tls), self.stamps.of(&up), self.stamps.of(&down));
        column.put("take-over: TLS up to CONNACK, ms", millis(up.saturating_duration_since(tls)));
        column.put("take-over: hand-over gap, ms", millis(up.saturating_duration_since(down)));
        Ok(())
    }

    fn restart(&mut self, program: &Path, column: &mut Column) -> Result<(), BenchError> {
        let machine = |source| BenchError::Machine { what: "stop the daemon", source };
        self.daemon.terminate().map_err(machine)?;
        let seen = self.twin.event_count();
        (self.daemon, self.feed) = start(program, &self.config, self.dir.path(), &self.clock)?;
        self.ready(column, "provisioned: start to READY, ms")?;
        let up = self.seen("connected", seen, is_session)?;
        column.put("provisioned: start to connected, ms", ms(up.at_ms - self.daemon.started_ms()));
        std::thread::sleep(Duration::from_millis(500));
        column.put("provisioned: resident after 0.5 s, bytes", self.reading()?.resident());
        Ok(())
    }

    fn ready(&self, column: &mut Column, row: &'static str) -> Result<(), BenchError> {
        let ready = self.until("READY", || self.daemon.ready_ms())?;
        column.put(row, ms(ready - self.daemon.started_ms()));
        Ok(())
    }

    fn heard(&self, step: &'static str, since: usize) -> Result<i64, BenchError> {
        self.until(step, || self.feed.find(since, |e| e.is(step, "ok"))).map(|e| e.at_ms())
    }

    fn seen(
        &self,
        what: &'static str,
        since: usize,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Logged, BenchError> {
        self.until(what, || self.twin.events_since(since).into_iter().find(|l| wanted(&l.event)))
    }

    fn until<T>(&self, what: &'static str, mut look: impl FnMut() -> Option<T>) -> Result<T, BenchError> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(found) = look() {
                return Ok(found);
            }
            // Only how soon it is noticed: the times are the events'.
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(BenchError::Late { what, log: self.daemon.last_lines(15).join("\n") })
    }
}

fn start(
    program: &Path,
    config: &Path,
    dir: &Path,
    clock: &Arc<Clock>,
) -> Result<(Daemon, Feed), BenchError> {
    let daemon = Daemon::start(program, config, dir, clock.clone())?;
    let end = Instant::now() + PATIENCE;
    loop {
        match Feed::open(&dir.join(SOCKET)) {
            Ok(feed) => return Ok((daemon, feed)),
            Err(source) if Instant::now() > end => {
                return Err(BenchError::Machine { what: "reach the control socket", source });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

fn is_session(event: &Event) -> bool {
    matches!(event, Event::Connect { client, refused: None, .. } if client == SERIAL)
}

fn is_end(event: &Event) -> bool {
    matches!(event, Event::Closed { client, .. } if client == SERIAL)
}

fn ms(difference: i64) -> f64 {
    difference.max(0) as f64
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

const SERIAL: &str = "SN-0001";
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);
