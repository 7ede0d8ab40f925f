//! The command line of `certrotctl`, as the contract has it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

/// Talks to certrotd, the device's identity daemon.
#[derive(Debug, Parser)]
#[command(name = "certrotctl", version, disable_help_subcommand = true, after_help = EXIT_CODES)]
pub struct Args {
    /// The daemon's control socket
    #[arg(long, global = true, value_name = "PATH", default_value = "/run/certrotd/control.sock")]
    pub socket: PathBuf,
    /// Print the daemon's JSON, one document a line
    #[arg(long, global = true)]
    pub json: bool,
    /// What is to be done
    #[command(subcommand)]
    pub command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Say what the daemon does, since when, why, and what comes next
    Status {
        /// Stay, and show every change
        #[arg(long)]
        watch: bool,
    },
    /// Provision the device with its claim certificate
    Provision {
        /// The serial, where the configuration leaves it open
        serial: Option<String>,
        /// Do not ask on a device that is provisioned already
        #[arg(long)]
        yes: bool,
    },
    /// Rotate the certificate now
    RotateNow {
        /// Follow the steps until the rotation has ended
        #[arg(long)]
        wait: bool,
        /// Only try every step that can be tried without a new certificate
        #[arg(long, conflicts_with = "wait")]
        dry_run: bool,
        /// How long to follow it at most
        #[arg(long, value_name = "D", default_value = "15m", value_parser = duration)]
        timeout: Duration,
    },
    /// Show what has happened to the identity
    History,
    /// Try every step to the cloud and name what is wrong, why, and what clears it
    Check {
        /// The daemon's configuration, for when the daemon does not answer
        #[arg(long, value_name = "FILE", default_value = crate::config::DEFAULT_PATH)]
        config: PathBuf,
    },
    /// Wait until the device is provisioned or connected
    Wait {
        /// What to wait for
        #[arg(long = "for", value_name = "WHAT")]
        what: Goal,
        /// How long at most; for ever without it
        #[arg(long, value_name = "D", value_parser = duration)]
        timeout: Option<Duration>,
    },
    /// Read the configuration again
    Reload,
    /// Connect after `disconnect`, or now instead of later
    Connect,
    /// End the session and stay away until `connect`
    Disconnect,
    /// Accept a store that was copied from another machine
    Adopt,
    /// Serve a page for the browser; API_TOKEN gives its token, else one is made and shown
    Console {
        /// Where to listen; port 0 picks a free one
        #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// A name by which a proxy in front is reached, such as box.example:8443; may be repeated
        #[arg(long, value_name = "NAME")]
        allow_host: Vec<String>,
    },
    /// Run the hooks that have not seen the pair in use (certrotd-rotated.service does)
    #[command(hide = true)]
    Hooks {
        /// The daemon's store
        #[arg(long, value_name = "DIR")]
        store: PathBuf,
        /// The directory of hooks
        #[arg(long, value_name = "DIR")]
        run: PathBuf,
        /// Where their results are kept
        #[arg(long, value_name = "FILE")]
        results: PathBuf,
        /// The daemon's bell, taken down first
        #[arg(long, value_name = "FILE")]
        bell: Option<PathBuf>,
        /// How long one hook may take
        #[arg(long, value_name = "D", default_value = "60s", value_parser = duration)]
        timeout: Duration,
    },
    /// Publish a message through the daemon's session; done when the cloud has acknowledged it
    Publish {
        /// The topic
        topic: String,
        /// The payload; - reads it from standard input, and without it it is empty
        payload: Option<String>,
        /// How long the cloud's acknowledgement is waited for: up to 120s
        #[arg(long, value_name = "D", default_value = "30s", value_parser = duration)]
        timeout: Duration,
    },
    /// Show the messages that come within a filter
    Subscribe {
        /// The filter, such as device/SN-0001/#
        filter: String,
        /// End after so many messages
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
}

/// What `wait` waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// There is a certificate in use
    Provisioned,
    /// The session is up
    Connected,
}

/// Reads a duration as the configuration has them: a whole number and one of s, m, h, d.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "give a whole number and a unit: 30s, 5m, 12h or 1d".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return Err(wrong()),
    };
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(seconds).filter(|s| *s <= LONGEST).map(Duration::from_secs).ok_or_else(wrong)
}

/// A hundred years: no deadline that is added to the present overflows.
const LONGEST: u64 = 100 * 366 * 86400;

const EXIT_CODES: &str = "Exit codes: 0 done, 64 usage, 69 daemon not reachable, 75 try again later, \
                          77 not permitted, 78 configuration.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_whole_number_and_a_unit_and_nothing_else() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in
            ["", "5", "m", "-5m", "+5m", "1.5h", "5 m", "5M", "5m5", "5µ", "99999999999999999999d", "999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn where_the_console_listens_is_an_address_and_a_port() {
        for bad in ["8080", "localhost:8080", "127.0.0.1"] {
            assert!(Args::try_parse_from(["certrotctl", "console", "--listen", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_the_contracts() {
        for line in [
            "status",
            "status --watch",
            "console",
            "console --listen [::1]:0 --allow-host box.example --allow-host box.example:8443",
            "--json status",
            "status --json --socket /tmp/s",
            "provision",
            "provision SN-1",
            "provision SN-1 --yes",
            "rotate-now",
            "rotate-now --wait",
            "rotate-now --dry-run",
            "history",
            "check",
            "check --config /tmp/c.toml",
            "wait --for provisioned",
            "wait --for connected --timeout 30s",
            "reload",
            "connect",
            "disconnect",
            "adopt",
            "publish device/x/a",
            "publish device/x/a hello",
            "publish device/x/a - --timeout 5s",
            "subscribe device/x/#",
            "subscribe device/+/a --count 3",
        ] {
            let words = std::iter::once("certrotctl").chain(line.split(' '));
            assert!(Args::try_parse_from(words).is_ok(), "{line}");
        }
        for line in ["", "wait", "wait --for luck", "rotate-now --wait --dry-run", "status SN-1", "rotate"] {
            let words = std::iter::once("certrotctl").chain(line.split(' '));
            assert!(Args::try_parse_from(words).is_err(), "{line}");
        }
    }
}
