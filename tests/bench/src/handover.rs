//! Rotations under messages both ways: the longest silence in each direction, beside the longest in a stretch of the same
//! length without a rotation just before, and what was lost or doubled in all of them together.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certrot_twin::{Options, Twin};

use crate::compare::{DRAIN, INTERVAL, PACE, millis};
use crate::load::{Arrivals, Paced, in_the_cloud, on_the_device};
use crate::proxy::Proxy;
use crate::report::{Column, Table};
use crate::run::BenchError;
use crate::silence::{Fate, Stretch, longest};
use crate::stamps::Stamps;
use crate::subject::{Ours, Place, Subject};

/// Rotates so many times over a line with that round trip; the twin takes one CONNECT a second, as AWS does.
pub fn hand_over(certrotd: &Path, rotations: usize, trip: Duration) -> Result<(), BenchError> {
    let machine = |what| move |source| BenchError::Machine { what, source };
    let made = tempfile::Builder::new().prefix("certrot-bench-").tempdir();
    let dir = made.map_err(machine("make a temporary directory"))?;
    let mut options = Options::new(dir.path().join("twin"));
    options.connect_pace = Duration::from_secs(1);
    let twin = Arc::new(Twin::start(options)?);
    let stamps = Stamps::start(&twin).map_err(machine("start a thread"))?;
    let proxy = (!trip.is_zero())
        .then(|| Proxy::before(twin.port(), trip))
        .transpose()
        .map_err(machine("start the proxy"))?;
    let port = proxy.as_ref().map_or(twin.port(), Proxy::port);
    let home = dir.path().join(SERIAL);
    std::fs::create_dir(&home).map_err(machine("make a device's directory"))?;
    let mut ours = Ours::start(certrotd, &Place { twin: &twin, port, dir: &home, serial: SERIAL })?;
    ours.steps().wait(0, "retire")?;
    let (up, down) = (format!("device/{SERIAL}/up"), format!("device/{SERIAL}/down"));
    let heard = on_the_device(ours.socket(), &down)?;
    let arrived = in_the_cloud(&twin, &up)?;
    let publishing = (Paced::up(ours.socket(), &up, INTERVAL)?, Paced::down(&twin, &down, INTERVAL)?);
    let mut stretches = Vec::new();
    let mut column = Column::default();
    for rotation in 0..rotations {
        std::thread::sleep(PACE);
        let (since, seen) = (ours.steps().len(), twin.event_count());
        let from = Instant::now();
        ours.rotate()?;
        let to = ours.steps().wait(since, "retire")? + trip;
        column.put("order to committed, ms", millis(to - from - trip));
        column.put("without a connection, ms", millis(stamps.gap(&twin, SERIAL, seen)?));
        let before = from - MARGIN - trip;
        stretches.push((Stretch { from: before - (to - from), to: before }, Stretch { from, to }));
        if rotation % 10 == 9 {
            eprintln!("hand-over: rotation {} of {rotations}", rotation + 1);
        }
    }
    std::thread::sleep(PACE);
    let (published, sent) = (publishing.0.stop(), publishing.1.stop());
    std::thread::sleep(DRAIN + trip);
    fill(&mut column, &stretches, &arrived, published, ["silence up", "without a rotation, up"], UP);
    fill(&mut column, &stretches, &heard, sent, ["silence down", "without a rotation, down"], DOWN);
    ours.end()?;
    let title = format!(
        "{rotations} rotations, a message every {:.1} ms each way, round trip {} ms; median (least … most)",
        millis(INTERVAL),
        trip.as_millis()
    );
    Table { title: &title, columns: &[("certrotd", &column)] }.print();
    Ok(())
}

fn fill(
    column: &mut Column,
    stretches: &[(Stretch, Stretch)],
    arrivals: &Arrivals,
    sent: u64,
    rows: [&'static str; 2],
    fates: [&'static str; 3],
) {
    let heard = arrivals.all();
    let at: Vec<Instant> = heard.iter().map(|(_, at)| *at).collect();
    let beyond = |stretch| longest(&at, stretch).map_or(0.0, |s| millis(s) - millis(INTERVAL));
    for (before, during) in stretches {
        column.put(rows[0], beyond(*during));
        column.put(rows[1], beyond(*before));
    }
    let fate = Fate::of(sent, heard.iter().map(|(n, _)| *n));
    for (row, value) in fates.into_iter().zip([fate.sent, fate.lost, fate.doubled]) {
        column.put(row, value as f64);
    }
}

/// No silence of the rotation reaches back so far.
const MARGIN: Duration = Duration::from_millis(40);
const SERIAL: &str = "SN-0001";
const UP: [&str; 3] = ["messages up", "of these lost", "and doubled"];
const DOWN: [&str; 3] = ["messages down", "of these lost ", "and doubled "];
