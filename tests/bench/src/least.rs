//! Ours beside the floor: the same handshakes, packets, files and fsyncs with nothing between them, in turn on one twin.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use certrot_twin::{Options, Twin};

use crate::compare::{PACE, millis};
use crate::process;
use crate::proxy::Proxy;
use crate::report::{Column, Table};
use crate::run::BenchError;
use crate::subject::{Ours, Place, Subject, Worker};

/// Runs so many lives of each, with so many rotations in each, and prints the table.
pub fn least(certrotd: &Path, floor: &Path, lives: usize, trip: Duration) -> Result<(), BenchError> {
    for program in [certrotd, floor] {
        if !program.is_file() {
            return Err(BenchError::Missing(program.to_owned()));
        }
    }
    let machine = |what| move |source| BenchError::Machine { what, source };
    let made = tempfile::Builder::new().prefix("certrot-bench-").tempdir();
    let dir = made.map_err(machine("make a temporary directory"))?;
    let twin = Arc::new(Twin::start(Options::new(dir.path().join("twin")))?);
    let proxy = (!trip.is_zero())
        .then(|| Proxy::before(twin.port(), trip))
        .transpose()
        .map_err(machine("start the proxy"))?;
    let port = proxy.as_ref().map_or(twin.port(), Proxy::port);
    let mut columns = [Column::default(), Column::default()];
    for life in 0..lives {
        eprintln!("floor: life {} of {lives}", life + 1);
        for (which, column) in columns.iter_mut().enumerate() {
            let serial = format!("{}-{life:04}", ["FLOOR", "OURS"][which]);
            let home: PathBuf = dir.path().join(&serial);
            std::fs::create_dir(&home).map_err(machine("make a device's directory"))?;
            let place = Place { twin: &twin, port, dir: &home, serial: &serial };
            let mut subject: Box<dyn Subject> = match which {
                0 => Box::new(Worker::floor(floor, &place)?),
                _ => Box::new(Ours::start(certrotd, &place)?),
            };
            measure(subject.as_mut(), column)?;
            subject.end()?;
        }
    }
    let title = format!(
        "{lives} lives of each in turn, {ROTATIONS} rotations in each, round trip {} ms; × of the floor",
        trip.as_millis()
    );
    Table { title: &title, columns: &[("floor", &columns[0]), ("certrotd", &columns[1])] }.print();
    Ok(())
}

fn measure(subject: &mut dyn Subject, column: &mut Column) -> Result<(), BenchError> {
    let machine = |source| BenchError::Machine { what: "read /proc", source };
    let first = subject.steps().wait(0, "retire")?;
    let mut before = subject.started();
    for (step, row) in STEPS.iter().zip(FIRST) {
        let at = subject.steps().wait(0, step)?;
        column.put(row, millis(at.saturating_duration_since(before)));
        before = at;
    }
    column.put("first: start to committed, ms", millis(first - subject.started()));
    for _ in 0..ROTATIONS {
        std::thread::sleep(PACE);
        let processor = process::processor(subject.pid()).map_err(machine)?;
        let since = subject.steps().len();
        let ordered = Instant::now();
        subject.rotate()?;
        let retired = subject.steps().wait(since, "retire")?;
        let mut before = ordered;
        for (step, row) in STEPS.iter().zip(LATER) {
            let at = subject.steps().wait(since, step)?;
            column.put(row, millis(at.saturating_duration_since(before)));
            before = at;
        }
        column.put("rotation: order to committed, ms", millis(retired - ordered));
        std::thread::sleep(Duration::from_millis(100));
        let used = process::processor(subject.pid()).map_err(machine)? - processor;
        column.put("rotation: processor, ms", used * 1e3);
    }
    Ok(())
}

const ROTATIONS: usize = 5;
/// Not `prove`: the daemon tells it when it has switched, both in one turn of its loop.
const STEPS: [&str; 4] = ["issue", "register", "switch", "retire"];
const FIRST: [&str; 4] = [
    "first: start to issued, ms",
    "first: … to registered, ms",
    "first: … to proved and switched, ms",
    "first: … to committed, ms",
];
const LATER: [&str; 4] = [
    "rotation: order to issued, ms",
    "rotation: … to registered, ms",
    "rotation: … to proved and switched, ms",
    "rotation: … to committed, ms",
];
