//! The benchmark: size, memory and times of a release build of `certrotd`, against the twin, on this machine.
//!
//! ```text
//! main ─▶ run       one life: fresh device, rotation, restart; times from events of daemon and twin
//!     ├─▶ compare   beside the AWS SDK for Python and certmonger ─▶ certmonger
//!     ├─▶ handover  rotations under messages both ways: silences, lost, doubled
//!     ├─▶ least     beside the floor (`src/floor`, a program of its own)
//!     └─▶ crates    the program's size by crate
//! below them: subject (what is measured), load (messages), silence, steps, stamps (times), proxy (a line with a round
//! trip, bytes), process (what the kernel says: memory, wake-ups, processor time), report (medians, ratios, goals)
//! ```
//! It builds nothing but an unstripped daemon for `crates`: build first with `cargo build --release -p certrotd`. What is
//! compared takes turns, so that a noisy machine disturbs all alike. Only `--check` makes a goal that is missed a failure,
//! and only those of size and memory: times say as much of the machine as of the program.

mod certmonger;
mod compare;
mod crates;
mod handover;
mod least;
mod load;
mod process;
mod proxy;
mod report;
mod run;
mod silence;
mod stamps;
mod steps;
mod subject;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use compare::Programs;
use report::{Column, Goals};
use run::{BenchError, Life};

/// Measures certrotd: size, start, provisioning, rotation, hand-over gap, idle memory and wake-ups.
#[derive(Parser)]
#[command(name = "certrot-bench")]
struct Arguments {
    /// A release build of the daemon; repeat it to compare builds, the first is the measure.
    #[arg(long = "certrotd", value_name = "PATH", default_value = "target/release/certrotd")]
    programs: Vec<PathBuf>,
    /// Lives of each program.
    #[arg(long, default_value_t = 10)]
    runs: usize,
    /// How long the last life of each program stays connected and idle before its memory is read, in seconds.
    #[arg(long, default_value_t = 600)]
    idle: u64,
    /// End with 1 when a goal of size or memory is missed.
    #[arg(long)]
    check: bool,
    #[command(subcommand)]
    part: Option<Part>,
}

/// Without one: lives and idle time of each program.
#[derive(Clone, Copy, Subcommand)]
enum Part {
    /// Everything: lives and idle time, and all the parts.
    All,
    /// Beside a plain client on the AWS SDK for Python, and certmonger.
    Compare(Compare),
    /// Rotations under messages both ways, on loopback and over a line with a round trip.
    HandOver(HandOver),
    /// Beside the least that the same handshakes, packets and fsyncs cost.
    Floor(Floor),
    /// The daemon's size by crate.
    Crates,
}

/// Words of `compare`.
#[derive(Clone, Copy, clap::Args)]
struct Compare {
    /// Lives of each.
    #[arg(long, default_value_t = 5)]
    lives: usize,
}

/// Words of `hand-over`.
#[derive(Clone, Copy, clap::Args)]
struct HandOver {
    /// How many on each line.
    #[arg(long, default_value_t = 100)]
    rotations: usize,
    /// The round trip of the longer line, in milliseconds; 0 leaves it out.
    #[arg(long, default_value_t = TRIP)]
    trip: u64,
}

/// Words of `floor`.
#[derive(Clone, Copy, clap::Args)]
struct Floor {
    /// Lives of each, with five rotations in each.
    #[arg(long, default_value_t = 4)]
    lives: usize,
    /// The round trip of the longer line, in milliseconds; 0 leaves it out.
    #[arg(long, default_value_t = TRIP)]
    trip: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match parts(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) if arguments.check => ExitCode::FAILURE,
        Ok(false) => ExitCode::SUCCESS,
        Err(error) => {
            eprint!("certrot-bench: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(e) = cause {
                eprint!(": {e}");
                cause = e.source();
            }
            eprintln!();
            ExitCode::FAILURE
        }
    }
}

/// Runs what was asked for; says whether every goal was met.
fn parts(arguments: &Arguments) -> Result<bool, BenchError> {
    println!("{}", process::machine());
    let certrotd = arguments.programs.first().map_or(Path::new(""), PathBuf::as_path);
    run::size(certrotd)?;
    let wanted = match arguments.part {
        None => return bench(arguments),
        Some(Part::All) => vec![
            Part::Compare(Compare { lives: 5 }),
            Part::Floor(Floor { lives: 4, trip: TRIP }),
            Part::HandOver(HandOver { rotations: 100, trip: TRIP }),
            Part::Crates,
        ],
        Some(part) => vec![part],
    };
    for part in wanted {
        match part {
            Part::All => {}
            Part::Compare(words) => {
                let programs =
                    Programs { certrotd: certrotd.to_owned(), python: "target/sdk-venv/bin/python".into() };
                compare::compare(&programs, words.lives)?;
            }
            Part::HandOver(words) => {
                for trip in trips(words.trip) {
                    handover::hand_over(certrotd, words.rotations, trip)?;
                }
            }
            Part::Floor(words) => {
                let floor = std::env::current_exe().unwrap_or_default().with_file_name("certrot-floor");
                for trip in trips(words.trip) {
                    least::least(certrotd, &floor, words.lives, trip)?;
                }
            }
            Part::Crates => crates::crates()?,
        }
    }
    if matches!(arguments.part, Some(Part::All)) { bench(arguments) } else { Ok(true) }
}

/// Loopback as it is, and the longer line.
fn trips(longer: u64) -> impl Iterator<Item = Duration> {
    let longer = (longer > 0).then(|| Duration::from_millis(longer));
    std::iter::once(Duration::ZERO).chain(longer)
}

/// Lives and idle time of each program; says whether every goal was met.
fn bench(arguments: &Arguments) -> Result<bool, BenchError> {
    let mut columns: Vec<Column> = Vec::new();
    for program in &arguments.programs {
        let mut column = Column::default();
        let size = run::size(program)?;
        column.put("certrotd, bytes stripped", size);
        if let Ok(size) = run::size(&program.with_file_name("certrotctl")) {
            column.put("certrotctl, bytes stripped", size);
        }
        columns.push(column);
    }
    for life in 0..arguments.runs.max(1) {
        for (program, column) in arguments.programs.iter().zip(&mut columns) {
            Life::live(program, column)?;
            progress(life + 1, arguments.runs, program);
        }
    }
    // Idle side by side: they do nothing, so they disturb each other less than a long wait for each would.
    let idle = Duration::from_secs(arguments.idle);
    eprintln!("idle for {} s", idle.as_secs());
    let lives = arguments.programs.iter().map(|p| Life::quiet(p)).collect::<Result<Vec<_>, _>>()?;
    // What was started for a moment (a thread for names, kept for ten seconds) is gone before the first look.
    std::thread::sleep(SETTLE);
    let before = lives.iter().map(Life::reading).collect::<Result<Vec<_>, _>>()?;
    std::thread::sleep(idle);
    for ((life, before), column) in lives.iter().zip(before).zip(&mut columns) {
        life.reading()?.fill(&before, idle, column);
    }
    drop(lives);
    let goals = Goals { bytes: 3_000_000.0, resident: 5_000_000.0 };
    Ok(report::print(&columns, &goals, arguments.runs, idle))
}

fn progress(life: usize, lives: usize, program: &Path) {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    eprintln!("{name}: life {life} of {lives}");
}

/// How long after its rotation a daemon is left alone before its idle time begins.
const SETTLE: Duration = Duration::from_secs(12);
/// A round trip over a mobile line to another region, in milliseconds.
const TRIP: u64 = 80;
