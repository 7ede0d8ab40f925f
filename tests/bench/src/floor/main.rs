//! `certrot-floor`: the least that a first provisioning and a rotation can cost on this machine.
//!
//! It does the handshakes, packets, round trips, files and fsyncs of `certrotd` in its order, over blocking sockets, and
//! nothing else: no decisions, no checks, no way back, no events, nobody to tell. Whoever changes the order in the daemon
//! changes it here. It provisions at once, then rotates for each line `rotate` on stdin, and says `step NAME` at each of
//! the steps that the daemon tells: `issue`, `register`, `prove`, `switch`, `retire`.

mod disk;
mod mqtt;
mod steps;

use std::io::BufRead as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use steps::{Device, Places};

/// The least that provisioning and rotating can cost.
#[derive(Parser)]
#[command(name = "certrot-floor")]
struct Arguments {
    /// The twin's MQTT port on loopback.
    #[arg(long)]
    port: u16,
    /// Where the device's files are made.
    #[arg(long)]
    dir: PathBuf,
    /// The directory that the twin keeps its CA and the claim pair in.
    #[arg(long)]
    twin: PathBuf,
    /// The serial, and the thing's name.
    #[arg(long)]
    serial: String,
}

/// Why it stopped.
#[derive(Debug, thiserror::Error)]
enum FloorError {
    /// A file or a socket.
    #[error("cannot {what}")]
    Io {
        /// The act.
        what: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// TLS.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// A PEM file.
    #[error("cannot read a PEM file")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// Key or CSR.
    #[error("cannot make a key and its request")]
    Key(#[from] rcgen::Error),
    /// The twin said something else than it should.
    #[error("expected {0}")]
    Unexpected(&'static str),
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> FloorError {
    move |source| FloorError::Io { what, source }
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("certrot-floor: {error}: {:?}", std::error::Error::source(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), FloorError> {
    let places = Places { port: arguments.port, twin: arguments.twin, serial: arguments.serial };
    let mut device = Device::provision(places, &arguments.dir)?;
    for line in std::io::stdin().lock().lines() {
        if line.map_err(io("read stdin"))? == "rotate" {
            device.rotate()?;
        }
    }
    Ok(())
}
