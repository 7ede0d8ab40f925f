//! `certrot-scale`: see the library.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use certrot_scale::real::run::Run;
use certrot_scale::real::shard::{self, Place, Shard};
use certrot_scale::year::bisect;
use certrot_scale::year::fleet::RETIRED;
use certrot_scale::year::handler::EVENT_AGE;
use certrot_scale::year::picture::draw;
use certrot_scale::year::scenario::{Plan, SCARCEST, Scenario};
use clap::{Args, Parser, Subcommand};

/// A fleet of certrotd in virtual time, and a real one against the twin.
#[derive(Parser)]
#[command(name = "certrot-scale")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Virtual time: stories of a fleet under AWS's quotas.
    Year {
        /// How many devices.
        #[arg(long, default_value_t = 1_000_000)]
        devices: u32,
        /// year, outage, power-cut, site, forced, forced-within, first or one-day; all of them when none is named.
        #[arg(long = "story")]
        stories: Vec<String>,
        /// `within` of forced-within, in hours; what the scarcest quota takes for all when it is not given.
        #[arg(long)]
        within: Option<i64>,
        /// Where pictures go.
        #[arg(long)]
        pictures: Option<PathBuf>,
        #[command(flatten)]
        what: What,
    },
    /// Real devices against the twin, on this machine.
    Real {
        /// How many devices.
        #[arg(long, default_value_t = 10_000)]
        devices: u32,
        /// In how many processes.
        #[arg(long, default_value_t = 2)]
        shards: u32,
        /// How many devices of a process are on their way at a time.
        #[arg(long, default_value_t = 32)]
        lanes: u32,
        /// Where stores are made for the time of the run.
        #[arg(long, default_value = "/dev/shm")]
        directory: PathBuf,
    },
    /// The process that holds the twin in `real`.
    #[command(hide = true)]
    Hold {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        port: u16,
    },
    /// A process of devices in `real`.
    #[command(hide = true)]
    Shard {
        #[arg(long)]
        twin: PathBuf,
        #[arg(long)]
        port: u16,
        #[arg(long)]
        stores: PathBuf,
        #[arg(long)]
        first: u32,
        #[arg(long)]
        count: u32,
    },
    /// Virtual time: the largest fleet issued on one day that a configuration carries.
    Largest {
        /// No more than this is tried.
        #[arg(long, default_value_t = 2_000_000)]
        most: u32,
        #[command(flatten)]
        what: What,
    },
}

/// What is not as it is by default.
#[derive(Args)]
struct What {
    /// Lines of configuration beside the defaults, such as `rotation.splay = "7d"`.
    #[arg(long, default_value = "")]
    set: String,
    /// Quotas, as a multiple of AWS's defaults.
    #[arg(long, default_value_t = 1.0)]
    factor: f64,
    /// How long a device waits for the answer to a commit, in seconds.
    #[arg(long, default_value_t = RETIRED / 1000)]
    patience: u64,
    /// How long a commit may wait for the retire handler before Lambda drops it, in seconds.
    #[arg(long, default_value_t = EVENT_AGE / 1000)]
    event_age: u64,
}

impl What {
    fn plan(&self, scenario: Scenario, devices: u32) -> Plan {
        Plan {
            set: self.set.clone(),
            factor: self.factor,
            patience: self.patience * 1000,
            event_age: self.event_age * 1000,
            ..Plan::new(scenario, devices)
        }
    }
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("certrot-scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<bool, Box<dyn std::error::Error>> {
    match command {
        Command::Year { devices, stories, within, pictures, what } => {
            let mut kept = true;
            for scenario in scenarios(&stories, devices, within, what.factor)? {
                let plan = what.plan(scenario, devices);
                let began = Instant::now();
                let story = plan.run()?;
                print!("{}", story.tell(&plan));
                println!("  ({:.0} s of this machine)\n", began.elapsed().as_secs_f64());
                kept &= story.lost == 0 && story.doubled == 0 && story.restless == 0;
                if let Some(directory) = &pictures {
                    std::fs::create_dir_all(directory)?;
                    let file = directory.join(format!("{}.svg", scenario.name()));
                    let picture = draw(&plan, &story);
                    std::io::Write::write_all(&mut std::fs::File::create(file)?, picture.as_bytes())?;
                }
            }
            Ok(kept)
        }
        Command::Real { devices, shards, lanes, directory } => {
            let run = Run { program: std::env::current_exe()?, devices, shards, lanes, directory };
            let measured = run.run(|line| println!("{line}"))?;
            let [connected, known, device] = measured.each(devices);
            println!("the twin, resident bytes: {:?}", measured.twin);
            println!(
                "bytes each: {connected} connected in the twin, {known} in its registry, {device} a device"
            );
            Ok(measured.kept(devices))
        }
        Command::Hold { dir, port } => {
            certrot_scale::real::hold::serve(&dir, port)?;
            Ok(true)
        }
        Command::Shard { twin, port, stores, first, count } => {
            shard::serve(Shard { place: Place { twin, port, stores }, first, count })?;
            Ok(true)
        }
        Command::Largest { most, what } => {
            let plan = what.plan(Scenario::OneDay, most);
            let largest = bisect::largest(&plan, most, |devices, story| {
                let verdict = if bisect::carries(story) { "carried" } else { "not carried" };
                let (late, both) = (story.latest(), story.longest_both());
                println!("{devices}: {verdict}, latest {late} s after due, longest with two {both} s");
            })?;
            println!("largest fleet issued on one day: {largest}");
            Ok(true)
        }
    }
}

fn scenarios(
    names: &[String],
    devices: u32,
    within: Option<i64>,
    factor: f64,
) -> Result<Vec<Scenario>, Box<dyn std::error::Error>> {
    #[expect(clippy::cast_possible_truncation, reason = "hours")]
    let needed = (f64::from(devices) / (SCARCEST * 0.8 * factor) / 3_600.0).ceil() as i64;
    let all = [
        Scenario::Year,
        Scenario::Outage,
        Scenario::PowerCut,
        Scenario::Site,
        Scenario::Forced,
        Scenario::Within(within.unwrap_or(needed) * 3_600),
        Scenario::First,
        Scenario::OneDay,
    ];
    if names.is_empty() {
        return Ok(all.to_vec());
    }
    let find = |name: &String| {
        all.into_iter().find(|s| s.name() == *name).ok_or_else(|| format!("no story is called {name}").into())
    };
    names.iter().map(find).collect()
}
