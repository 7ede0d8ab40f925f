//! The benchmark: size, memory and times of a release build of `certrotd`, against the twin, on this machine.
//!
//! ```text
//! main ─▶ run      one life: fresh device, rotation, restart; times from events of daemon and twin
//!     └─▶ process  what the kernel says of the daemon: memory, wake-ups, processor time
//!     └─▶ report   medians, ratios to the first program, goals
//! ```
//! It builds nothing: build first with `cargo build --release -p certrotd`. With more than one `--certrotd` the lives of
//! the programs alternate, so that a noisy machine disturbs all alike. Only `--check` makes a goal that is missed a
//! failure, and only those of size and memory: times say as much of the machine as of the program.

mod process;
mod report;
mod run;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

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
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match bench(&arguments) {
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

/// Runs everything and prints it; says whether every goal was met.
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
    println!("{}", process::machine());
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
