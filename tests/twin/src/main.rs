//! The program `certrot-twin`: words of the command line, one handle, one signal.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use certrot_twin::demo::{self, Demo};
use certrot_twin::{Options, Twin};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

/// AWS IoT Core for one machine: mTLS MQTT broker, IoT policies, fleet provisioning, registry.
#[derive(Parser)]
#[command(name = "certrot-twin")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until a signal.
    Serve(Serve),
    /// The whole story on one machine, with a real certrotd: provision, rotate, see the old certificate refused.
    Demo(Words),
}

/// Words of `demo`.
#[derive(clap::Args)]
struct Words {
    /// End after the story: 0, or not 0 if a step failed.
    #[arg(long)]
    once: bool,
    /// Where twin and device live, kept afterwards; a temporary directory without it.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// The daemon's program; without it the one beside this program.
    #[arg(long, value_name = "PATH")]
    certrotd: Option<PathBuf>,
}

/// Words of `serve`.
#[derive(clap::Args)]
struct Serve {
    /// Where its CA and its state live; made when missing.
    #[arg(long)]
    dir: PathBuf,
    /// MQTT port; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// REST port; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    api_port: u16,
    /// Life of device certificates in seconds, in place of AWS's 2049.
    #[arg(long)]
    certificate_life: Option<u64>,
    /// How many times as fast as real time the twin's clock runs.
    #[arg(long, default_value_t = 1.0)]
    clock_rate: f64,
    /// Take clients that name no server (SNI); AWS does not.
    #[arg(long)]
    allow_no_sni: bool,
    /// Offer TLS 1.2 only.
    #[arg(long)]
    tls12_only: bool,
    /// A serial that the claim hook lets in; repeat it. Without any, every well-formed serial is let in.
    #[arg(long = "allow")]
    allow: Vec<String>,
    /// A `bootstrap` that both hooks run as, in place of the decisions in this process.
    #[arg(long, value_name = "PATH")]
    hook_lambda: Option<PathBuf>,
    /// A `bootstrap` that commits are handled by, in place of the decisions in this process.
    #[arg(long, value_name = "PATH")]
    retire_lambda: Option<PathBuf>,
    /// A folder with a directory for each function: NAME/bootstrap, and NAME/configuration.json where it needs more.
    #[arg(long, value_name = "DIR")]
    functions: Option<PathBuf>,
    /// Start with an empty account: no policies, templates, rule or claim certificate.
    #[arg(long)]
    empty: bool,
}

fn main() -> ExitCode {
    let filter = std::env::var("CERTROT_TWIN_LOG").ok().and_then(|l| l.parse().ok());
    let level: tracing::Level = filter.unwrap_or(tracing::Level::WARN);
    tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr).init();
    match Arguments::parse().command {
        Command::Serve(words) => serve(words),
        Command::Demo(words) => tell(words),
    }
}

fn tell(words: Words) -> ExitCode {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    std::thread::spawn(move || {
        if let Err(error) = until_signal(|| {}) {
            fail(&error);
        }
        flag.store(true, Ordering::Relaxed);
    });
    let demo = Demo { once: words.once, dir: words.dir, certrotd: words.certrotd };
    match demo::run(&demo, &stop) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn serve(words: Serve) -> ExitCode {
    let mut options = Options::new(words.dir);
    options.port = words.port;
    options.api_port = words.api_port;
    options.certificate_life = words.certificate_life.map(std::time::Duration::from_secs);
    options.clock_rate = words.clock_rate;
    options.require_sni = !words.allow_no_sni;
    options.tls12_only = words.tls12_only;
    options.allow_list = (!words.allow.is_empty()).then_some(words.allow);
    options.empty = words.empty;
    options.hook_lambda = words.hook_lambda;
    options.retire_lambda = words.retire_lambda;
    options.functions = words.functions;
    let twin = match Twin::start(options) {
        Ok(twin) => twin,
        Err(error) => return fail(&error),
    };
    let ended = until_signal(|| {
        println!("ready mqtt=127.0.0.1:{} api=127.0.0.1:{}", twin.port(), twin.api_port());
    });
    twin.stop();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Listens for signals, says so, and waits for one: who reads the ready line may signal at once.
fn until_signal(ready: impl FnOnce()) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        ready();
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        Ok(())
    })
}

/// Prints an error with its causes.
fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprint!("certrot-twin: {error}");
    let mut cause = error.source();
    while let Some(e) = cause {
        eprint!(": {e}");
        cause = e.source();
    }
    eprintln!();
    ExitCode::FAILURE
}
