//! certrotd as a service, on systems that systemd really boots: Debian 12 (252) and Debian 13 (257) in containers.
//!
//! ```text
//! this process ── a network namespace of its own, loopback only ── systemd-nspawn: PID 1 is systemd
//!   └ the twin on 127.0.0.1 ◀───────────── mTLS ─────────────────── certrotd.service, certrotd-rotated.service, …
//! ```
//! Needs root, debootstrap and systemd-nspawn; without them it ends with an error, never with a pass. The base systems
//! are made once and kept below `target/system`; each run works on an overlay that goes with it.
//! The container shares this machine's kernel: its clock (a wrong one is libfaketime's, for the daemon alone) and its
//! page cache (a power cut kills every process at once, but what was written and not synced is still there; the store's
//! own tests drop that).

mod base;
mod container;
mod lab;
mod measure;
mod story;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use base::Release;

/// Boots Debian in containers and tries certrotd there as a service.
#[derive(Debug, Parser)]
#[command(name = "certrot-system")]
struct Arguments {
    /// Debian releases
    #[arg(value_enum, default_values_t = [Release::Bookworm, Release::Trixie])]
    releases: Vec<Release>,
    /// Where certrotd and certrotctl are
    #[arg(long, value_name = "DIR", default_value = "target/debug")]
    programs: PathBuf,
    /// The package to install, upgrade, remove and purge; without it, the commands of packaging/INSTALL
    #[arg(long, value_name = "FILE")]
    deb: Option<PathBuf>,
    /// Only make the base systems
    #[arg(long)]
    prepare: bool,
    /// Only the steps with this word in their names, and the first ones, that the others need
    #[arg(long, value_name = "WORD")]
    only: Option<String>,
    /// Only as far as the first certificate
    #[arg(long)]
    first: bool,
    /// In place of the tests: how often the idle daemon wakes and how much memory it holds, over so many minutes
    #[arg(long, value_name = "MINUTES")]
    idle: Option<u64>,
    /// With --idle: the session's keep-alive, to tell its wake-ups from the others; at `20m` only the others are left
    #[arg(long, value_name = "DURATION", default_value = "60s")]
    keep_alive: String,
    /// In place of the tests: the table of `systemd-analyze security`
    #[arg(long)]
    score: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("certrot-system: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    base::preconditions()?;
    for release in &arguments.releases {
        base::make(*release)?;
    }
    if arguments.prepare {
        return Ok(());
    }
    // Before there are threads: the network is the whole process's.
    lab::own_network()?;
    for release in &arguments.releases {
        let begun = Instant::now();
        let lab = lab::Lab::new(*release, &arguments.programs, arguments.deb.as_deref())?;
        if let Some(minutes) = arguments.idle {
            measure::idle(lab, minutes, &arguments.keep_alive)?;
        } else if arguments.score {
            measure::score(lab)?;
        } else {
            let steps = story::tell(lab, arguments.only.as_deref(), arguments.first)?;
            let by = if arguments.deb.is_some() { "from the package" } else { "by hand" };
            println!(
                "{release}, installed {by}: {steps} steps passed in {:.0} s",
                begun.elapsed().as_secs_f64()
            );
        }
    }
    Ok(())
}
