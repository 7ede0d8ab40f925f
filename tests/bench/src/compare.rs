//! Ours beside a plain client on the official AWS SDK for Python, on one twin, life by life in turn; and certmonger beside
//! both for a local renewal.
//!
//! A life is a first provisioning, a quiet rotation and a rotation under messages. A rotation waits until a second has
//! passed since the last CONNECT, as AWS wants it of both. Bytes are counted by a proxy in one more life of each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use certrot_twin::demo::STORE;
use certrot_twin::{Options, Twin};
use tempfile::TempDir;

use crate::certmonger;
use crate::load::{Arrivals, Paced, in_the_cloud, on_the_device};
use crate::process::{self, Reading};
use crate::proxy::Proxy;
use crate::report::{Column, Table};
use crate::run::BenchError;
use crate::silence::{Fate, Stretch, longest};
use crate::stamps::Stamps;
use crate::subject::{Heard, Ours, Place, Subject, Worker};

/// Where the programs are.
pub struct Programs {
    /// The daemon.
    pub certrotd: PathBuf,
    /// The Python that has the AWS SDK.
    pub python: PathBuf,
}

/// Runs so many lives of each and prints the table.
pub fn compare(programs: &Programs, lives: usize) -> Result<(), BenchError> {
    if !programs.python.is_file() {
        let remedy = "tests/sdk/run makes it (target/sdk-venv), or name another with --python";
        return Err(BenchError::Needed { what: "Python with the AWS SDK", remedy });
    }
    let lab = Lab::new(Options::new)?;
    let (mut ours, mut theirs, mut local) = (Column::default(), Column::default(), Column::default());
    for life in 0..lives {
        eprintln!("compare: life {} of {lives}", life + 1);
        lab.ours(programs, &format!("OUR-{life:04}"), &mut ours)?;
        lab.sdk(programs, &format!("SDK-{life:04}"), &mut theirs)?;
        certmonger::life(&mut local)?;
    }
    lab.bytes(programs, &mut ours, &mut theirs)?;
    ours.put(INSTALLED, process::disk(&programs.certrotd));
    let packages = programs.python.parent().and_then(Path::parent).map(|venv| venv.join("lib"));
    theirs.put(INSTALLED, packages.map_or(0.0, |lib| sdk_size(&lib)));
    let title = format!("{lives} lives of each in turn; median (least … most); × of certrotd");
    Table {
        title: &title,
        columns: &[("certrotd", &ours), ("AWS SDK for Python", &theirs), ("certmonger", &local)],
    }
    .print();
    Ok(())
}

/// A twin, and who watches it.
struct Lab {
    stamps: Stamps,
    twin: Arc<Twin>,
    dir: TempDir,
}

impl Lab {
    fn new(options: impl FnOnce(PathBuf) -> Options) -> Result<Self, BenchError> {
        let machine = |what| move |source| BenchError::Machine { what, source };
        let made = tempfile::Builder::new().prefix("certrot-bench-").tempdir();
        let dir = made.map_err(machine("make a temporary directory"))?;
        let twin = Arc::new(Twin::start(options(dir.path().join("twin")))?);
        let stamps = Stamps::start(&twin).map_err(machine("start a thread"))?;
        Ok(Self { stamps, twin, dir })
    }

    fn place<'a>(&'a self, dir: &'a Path, port: u16, serial: &'a str) -> Result<Place<'a>, BenchError> {
        let made = std::fs::create_dir(dir);
        made.map_err(|source| BenchError::Machine { what: "make a device's directory", source })?;
        Ok(Place { twin: &self.twin, port, dir, serial })
    }

    fn ours(&self, programs: &Programs, serial: &str, column: &mut Column) -> Result<(), BenchError> {
        let dir = self.dir.path().join(serial);
        let mut ours = Ours::start(&programs.certrotd, &self.place(&dir, self.twin.port(), serial)?)?;
        self.quiet(&mut ours, serial, column)?;
        column.put(KEPT, process::disk(&dir.join(STORE)));
        let (up, down) = (format!("device/{serial}/up"), format!("device/{serial}/down"));
        let heard = on_the_device(ours.socket(), &down)?;
        let arrived = in_the_cloud(&self.twin, &up)?;
        let publishing = Paced::up(ours.socket(), &up, INTERVAL)?;
        let (rotation, sent) = self.under_messages(&mut ours, serial, &down, column)?;
        let published = publishing.stop();
        std::thread::sleep(DRAIN);
        let lines = Lines { up: &arrived, published, down: heard.all(), sent };
        lines.fill(rotation, column);
        ours.end()
    }

    fn sdk(&self, programs: &Programs, serial: &str, column: &mut Column) -> Result<(), BenchError> {
        let dir = self.dir.path().join(serial);
        let mut sdk = Worker::sdk(&programs.python, &self.place(&dir, self.twin.port(), serial)?)?;
        self.quiet(&mut sdk, serial, column)?;
        column.put(KEPT, process::disk(&dir.join("device")));
        let (up, down) = (format!("device/{serial}/up"), format!("device/{serial}/down"));
        let arrived = in_the_cloud(&self.twin, &up)?;
        sdk.tell(&format!("load {}", INTERVAL.as_secs_f64() * 1e3))?;
        let (rotation, sent) = self.under_messages(&mut sdk, serial, &down, column)?;
        let since = sdk.steps().len();
        sdk.tell("quiet")?;
        sdk.steps().wait(since, "quiet")?;
        std::thread::sleep(DRAIN);
        sdk.tell("heard")?;
        sdk.steps().wait(since, "heard")?;
        let lines = Lines { up: &arrived, published: sdk.sent(), down: sdk.heard(), sent };
        lines.fill(rotation, column);
        sdk.end()
    }

    /// Provisioning and a rotation without messages: the times of the steps, memory, processor and disk.
    fn quiet(&self, subject: &mut dyn Subject, serial: &str, column: &mut Column) -> Result<(), BenchError> {
        let machine = |source| BenchError::Machine { what: "read /proc", source };
        let started = subject.started();
        let step = |name| subject.steps().wait(0, name).map(|at| millis(at - started));
        column.put("first: start to issued, ms", step("issue")?);
        column.put("first: start to registered, ms", step("register")?);
        column.put("first: start to connected on it, ms", step("prove")?);
        column.put("first: start to committed, ms", step("retire")?);
        std::thread::sleep(PACE);
        let pid = subject.pid();
        column.put("first: processor, ms", process::processor(pid).map_err(machine)? * 1e3);
        let processor = process::processor(pid).map_err(machine)?;
        let written = process::written(pid).map_err(machine)?;
        let (since, seen) = (subject.steps().len(), self.twin.event_count());
        let ordered = Instant::now();
        subject.rotate()?;
        let retired = subject.steps().wait(since, "retire")?;
        let step = |name| subject.steps().wait(since, name).map(|at| millis(at - ordered));
        column.put("rotation: order to issued, ms", step("issue")?);
        column.put("rotation: order to registered, ms", step("register")?);
        column.put("rotation: order to connected on it, ms", step("prove")?);
        column.put(TOTAL, millis(retired - ordered));
        column.put(GAP, millis(self.stamps.gap(&self.twin, serial, seen)?));
        std::thread::sleep(DRAIN);
        column.put("rotation: processor, ms", (process::processor(pid).map_err(machine)? - processor) * 1e3);
        column.put("rotation: written to disk, bytes", process::written(pid).map_err(machine)? - written);
        let reading = Reading::of(pid).map_err(machine)?;
        column.put(RESIDENT, reading.resident());
        column.put(PROPORTIONAL, reading.proportional());
        Ok(())
    }

    /// A rotation while the cloud publishes: the stretch, and how many were sent.
    fn under_messages(
        &self,
        subject: &mut dyn Subject,
        serial: &str,
        down: &str,
        column: &mut Column,
    ) -> Result<(Stretch, u64), BenchError> {
        let publishing = Paced::down(&self.twin, down, INTERVAL)?;
        std::thread::sleep(PACE);
        let (since, seen) = (subject.steps().len(), self.twin.event_count());
        let from = Instant::now();
        subject.rotate()?;
        let to = subject.steps().wait(since, "retire")?;
        column.put("under messages: order to committed, ms", millis(to - from));
        column.put(
            "under messages: without a connection, ms",
            millis(self.stamps.gap(&self.twin, serial, seen)?),
        );
        std::thread::sleep(PACE);
        Ok((Stretch { from, to }, publishing.stop()))
    }

    /// Each once more, through a proxy that counts.
    fn bytes(&self, programs: &Programs, ours: &mut Column, theirs: &mut Column) -> Result<(), BenchError> {
        let machine = |source| BenchError::Machine { what: "start the proxy", source };
        for (serial, column) in [("OUR-BYTES", ours), ("SDK-BYTES", theirs)] {
            let proxy = Proxy::before(self.twin.port(), Duration::ZERO).map_err(machine)?;
            let dir = self.dir.path().join(serial);
            let place = self.place(&dir, proxy.port(), serial)?;
            let mut subject: Box<dyn Subject> = match serial {
                "OUR-BYTES" => Box::new(Ours::start(&programs.certrotd, &place)?),
                _ => Box::new(Worker::sdk(&programs.python, &place)?),
            };
            subject.steps().wait(0, "retire")?;
            std::thread::sleep(PACE);
            let first = total(&proxy);
            column.put("first: bytes on the wire, above TCP", first);
            let since = subject.steps().len();
            subject.rotate()?;
            subject.steps().wait(since, "retire")?;
            std::thread::sleep(DRAIN);
            column.put("rotation: bytes on the wire, above TCP", total(&proxy) - first);
            subject.end()?;
        }
        Ok(())
    }
}

/// What went both ways during a rotation.
struct Lines<'a> {
    up: &'a Arrivals,
    published: u64,
    down: Vec<Heard>,
    sent: u64,
}

impl Lines<'_> {
    fn fill(&self, rotation: Stretch, column: &mut Column) {
        let up = self.up.all();
        for (way, heard, sent) in [(0, &up, self.published), (1, &self.down, self.sent)] {
            let at: Vec<Instant> = heard.iter().map(|(_, at)| *at).collect();
            let silence = longest(&at, rotation).unwrap_or_default().saturating_sub(INTERVAL);
            column.put(SILENCES[way], millis(silence));
            let fate = Fate::of(sent, heard.iter().map(|(n, _)| *n));
            column.put(LOST[way], fate.lost as f64);
            column.put(DOUBLED[way], fate.doubled as f64);
        }
    }
}

fn total(proxy: &Proxy) -> f64 {
    let (up, down) = proxy.bytes();
    (up + down) as f64
}

/// The packages that a device needs of the SDK's; not those that only other tests want.
fn sdk_size(lib: &Path) -> f64 {
    let wanted = ["awscrt", "_awscrt.abi3.so", "awsiot", "cryptography", "cffi", "_cffi_backend"];
    let versions = std::fs::read_dir(lib).into_iter().flatten().flatten();
    let packages = versions
        .flat_map(|v| std::fs::read_dir(v.path().join("site-packages")).into_iter().flatten().flatten());
    let ours = packages.filter(|p| {
        let name = p.file_name().to_string_lossy().into_owned();
        wanted.iter().any(|w| name == *w || (w.starts_with("_cffi") && name.starts_with(w)))
    });
    ours.map(|p| process::disk(&p.path())).sum()
}

/// A duration in milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Between messages: under the daemon's own cap of 90 a second, which is AWS's 100 with room for its own.
pub const INTERVAL: Duration = Duration::from_micros(11_200);
/// More than the second that AWS wants between two CONNECTs of a client.
pub const PACE: Duration = Duration::from_millis(1_200);
/// For what is still on its way.
pub const DRAIN: Duration = Duration::from_millis(500);
/// From the order to the end of the old certificate.
pub const TOTAL: &str = "rotation: order to committed, ms";
/// Resident memory.
pub const RESIDENT: &str = "resident (VmRSS) after a rotation, bytes";
/// Proportional memory.
pub const PROPORTIONAL: &str = "proportional (Pss) after a rotation, bytes";
const GAP: &str = "rotation: without a connection, ms";
const KEPT: &str = "kept on disk, bytes";
const INSTALLED: &str = "installed program and libraries, bytes";
const SILENCES: [&str; 2] =
    ["under messages: silence up beyond interval, ms", "under messages: silence down beyond interval, ms"];
const LOST: [&str; 2] = ["under messages: lost up", "under messages: lost down"];
const DOUBLED: [&str; 2] = ["under messages: doubled up", "under messages: doubled down"];
