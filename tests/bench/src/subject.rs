//! What is measured: `certrotd`, the plain client on the AWS SDK, the floor; each provisions when it is started and
//! rotates when it is told to.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use certrot_twin::clock::Clock;
use certrot_twin::demo::control::{DaemonEvent, ask};
use certrot_twin::demo::daemon::Daemon;
use certrot_twin::demo::{SOCKET, write_config};
use certrot_twin::{Twin, files};
use nix::time::{ClockId, clock_gettime};

use crate::run::BenchError;
use crate::steps::Steps;

/// Where a subject's broker is.
pub struct Place<'a> {
    /// The twin.
    pub twin: &'a Twin,
    /// The port to dial: the twin's, or a proxy's before it.
    pub port: u16,
    /// Its own directory, empty.
    pub dir: &'a Path,
    /// Serial and thing name.
    pub serial: &'a str,
}

/// A message that a subject has heard: its number, and when.
pub type Heard = (u64, Instant);

/// A program that is measured.
pub trait Subject {
    /// Its process.
    fn pid(&self) -> u32;
    /// Its steps.
    fn steps(&self) -> &Steps;
    /// When it was started.
    fn started(&self) -> Instant;
    /// Orders a rotation.
    fn rotate(&mut self) -> Result<(), BenchError>;
    /// Ends it in order.
    fn end(&mut self) -> Result<(), BenchError>;
}

/// The daemon.
pub struct Ours {
    daemon: Daemon,
    steps: Arc<Steps>,
    started: Instant,
    socket: PathBuf,
}

impl Ours {
    /// Starts it on an empty store.
    pub fn start(program: &Path, place: &Place<'_>) -> Result<Self, BenchError> {
        let config = write_config(place.twin, place.dir, place.serial)?;
        let machine = |what| move |source| BenchError::Machine { what, source };
        let text = fs::read_to_string(&config).map_err(machine("read the configuration"))?;
        let (own, other) = (format!("port = {}\n", place.twin.port()), format!("port = {}\n", place.port));
        let text = text.replace(&own, &other) + "\n[messages]\nusers = []\n";
        let name = config.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        files::write(place.dir, name, 0o600, text.as_bytes()).map_err(|e| BenchError::Machine {
            what: "write the configuration",
            source: std::io::Error::other(e),
        })?;
        let started = Instant::now();
        let daemon = Daemon::start(program, &config, place.dir, Arc::new(Clock::new(0, 1.0)))?;
        let socket = place.dir.join(SOCKET);
        let steps = Arc::new(Steps::default());
        let stream = reach(&socket, "GET /v1/events HTTP/1.0\r\nHost: x\r\nLast-Event-ID: 1\r\n\r\n")?;
        let heard = Arc::clone(&steps);
        let listen = move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let event =
                    line.strip_prefix("data: ").and_then(|d| serde_json::from_str::<DaemonEvent>(d).ok());
                if let Some(DaemonEvent { step: Some(step), result: Some(result), .. }) = event
                    && result == "ok"
                {
                    heard.push(&step);
                }
            }
        };
        std::thread::Builder::new().name("events".into()).spawn(listen).map_err(machine("start a thread"))?;
        Ok(Self { daemon, steps, started, socket })
    }

    /// Its control socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

/// Sends a request as soon as the socket answers.
pub fn reach(socket: &Path, request: &str) -> Result<UnixStream, BenchError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match UnixStream::connect(socket) {
            Ok(mut stream) => {
                let sent = stream.write_all(request.as_bytes());
                sent.map_err(|source| BenchError::Machine { what: "write to the control socket", source })?;
                return Ok(stream);
            }
            Err(source) if Instant::now() > end => {
                return Err(BenchError::Machine { what: "reach the control socket", source });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

impl Subject for Ours {
    fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    fn steps(&self) -> &Steps {
        &self.steps
    }

    fn started(&self) -> Instant {
        self.started
    }

    fn rotate(&mut self) -> Result<(), BenchError> {
        let asked = ask(&self.socket, "POST", "/v1/rotate", "{}");
        asked.map(drop).map_err(|source| BenchError::Machine { what: "order a rotation", source })
    }

    fn end(&mut self) -> Result<(), BenchError> {
        let ended = self.daemon.terminate();
        ended.map(drop).map_err(|source| BenchError::Machine { what: "stop the daemon", source })
    }
}

/// A program that is told what to do on stdin, a word a line, and says `step NAME` on stdout.
pub struct Worker {
    child: Child,
    words: ChildStdin,
    steps: Arc<Steps>,
    heard: Arc<Mutex<Vec<Heard>>>,
    sent: Arc<AtomicU64>,
    started: Instant,
}

impl Worker {
    /// The plain client in Python.
    pub fn sdk(python: &Path, place: &Place<'_>) -> Result<Self, BenchError> {
        let mut command = Command::new(python);
        command.arg("-B").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk_client.py"));
        Self::start(command, place)
    }

    /// The floor.
    pub fn floor(program: &Path, place: &Place<'_>) -> Result<Self, BenchError> {
        Self::start(Command::new(program), place)
    }

    fn start(mut command: Command, place: &Place<'_>) -> Result<Self, BenchError> {
        let machine = |what| move |source| BenchError::Machine { what, source };
        command
            .arg("--port")
            .arg(place.port.to_string())
            .arg("--dir")
            .arg(place.dir.join("device"))
            .arg("--twin")
            .arg(place.twin.ca_pem().parent().unwrap_or(Path::new("/")))
            .arg("--serial")
            .arg(place.serial);
        let started = Instant::now();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(machine("start the program beside ours"))?;
        let (Some(words), Some(said)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(BenchError::Late { what: "pipes", log: String::new() });
        };
        let (steps, heard) = (Arc::new(Steps::default()), Arc::new(Mutex::new(Vec::new())));
        let sent = Arc::new(AtomicU64::new(0));
        let (into, ears, count) = (Arc::clone(&steps), Arc::clone(&heard), Arc::clone(&sent));
        let listen = move || {
            let (base, at) = (Instant::now(), monotonic());
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                let mut words = line.split(' ');
                match (words.next(), words.next(), words.next()) {
                    (Some("step"), Some(step), _) => into.push(step),
                    (Some("heard"), Some(number), Some(when)) => {
                        let (Ok(number), Ok(when)) = (number.parse(), when.parse()) else { continue };
                        let stamp = base + Duration::from_nanos(when) - at;
                        ears.lock().unwrap_or_else(PoisonError::into_inner).push((number, stamp));
                    }
                    (Some("sent"), Some(number), _) => {
                        count.store(number.parse().unwrap_or(0), Ordering::Relaxed);
                    }
                    _ => {}
                }
            }
        };
        std::thread::Builder::new().name("worker".into()).spawn(listen).map_err(machine("start a thread"))?;
        Ok(Self { child, words, steps, heard, sent, started })
    }

    /// Tells it a word.
    pub fn tell(&mut self, word: &str) -> Result<(), BenchError> {
        let told = writeln!(self.words, "{word}").and_then(|()| self.words.flush());
        told.map_err(|source| BenchError::Machine { what: "tell the program beside ours", source })
    }

    /// How many messages it has sent, as it said when it was told to be quiet.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// What it has heard and told.
    pub fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Subject for Worker {
    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn steps(&self) -> &Steps {
        &self.steps
    }

    fn started(&self) -> Instant {
        self.started
    }

    fn rotate(&mut self) -> Result<(), BenchError> {
        self.tell("rotate")
    }

    fn end(&mut self) -> Result<(), BenchError> {
        let ended = self.child.kill().and_then(|()| self.child.wait());
        ended.map(drop).map_err(|source| BenchError::Machine { what: "end the program beside ours", source })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _already = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What a whole request is answered with; `None` when the connection ended first.
pub fn exchange(stream: &mut UnixStream, request: &str) -> Option<u16> {
    stream.write_all(request.as_bytes()).ok()?;
    let (mut text, mut some) = (Vec::new(), [0; 4096]);
    loop {
        let n = stream.read(&mut some).ok().filter(|n| *n > 0)?;
        text.extend(&some[..n]);
        let said = String::from_utf8_lossy(&text);
        let Some((head, body)) = said.split_once("\r\n\r\n") else { continue };
        let length =
            head.lines().find_map(|l| l.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        if body.len() >= length.unwrap_or(0_usize) {
            return head.split(' ').nth(1)?.parse().ok();
        }
    }
}

/// CLOCK_MONOTONIC, which `Instant` and Python's `monotonic_ns` read too.
fn monotonic() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

/// How long the control socket may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);
