//! `verify`: what is promised, tried on a live account by a throw-away device, and the facts that no document settles.
//!
//! ```text
//! trial (ledger first) ─▶ claim batch, serial on the list ─▶ story: provision, rotate, commit, quarantine, reclaim
//!                                                              ├▶ attacks: with the claim's and the device's rights
//!                                                              └▶ facts: what AWS's documents leave open
//! report ◀─ a row for each ─┘          whatever happens ─▶ trial::clear ─▶ what is left
//! ```
//! It is a device like any other: `wire` is the daemon's own code, the hooks and the retire handler are the deployed
//! ones. It touches nothing but what carries its random word, and the allow-list for as long as it runs.

mod attacks;
mod endings;
mod facts;
pub mod report;
mod story;
mod trial;
pub mod wire;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use crate::config::ROOT_CA;
use crate::error::FleetError;
use crate::files::{self, FileError};
use crate::ledger::Trial;
use crate::setup::{CONFIG, ROOT, Work};
use report::{Report, Row};
pub use trial::{Gone, clear};
use wire::Wire;

/// What `verify` is told.
#[derive(Clone, Debug)]
pub struct Order {
    /// Where the hook's program lies, for the allow-list.
    pub lambdas: PathBuf,
    /// The port that devices use; `None` is the generated configuration's.
    pub port: Option<u16>,
    /// The root certificate; `None` is the one beside the ledger, or Amazon's.
    pub root_ca: Option<PathBuf>,
    /// Life of the certificate that is to end; zero leaves that out.
    pub short_life: Duration,
}

/// A run: the account, the wire, what was made, what was found.
struct Run<'r, 'w> {
    work: &'r mut Work<'w>,
    wire: Wire,
    trial: Trial,
    report: &'r mut Report,
    order: &'r Order,
}

/// Tries everything; an error is why it ended before its end. What was made is taken away in any case.
pub async fn verify(work: &mut Work<'_>, order: &Order) -> (Report, Option<FleetError>) {
    let began = Instant::now();
    let mut report = Report {
        fleet: work.aws.fleet.as_str().to_owned(),
        account: work.aws.place.account.clone(),
        region: work.aws.place.region.clone(),
        ..Report::default()
    };
    let mut ended = tokio::select! {
        ended = run(work, order, &mut report) => ended,
        () = interrupted() => Err(FleetError::Interrupted),
    };
    work.tell.live("takes away what it made");
    let gone = tokio::select! {
        gone = clear(work, Some(&order.lambdas)) => gone,
        () = interrupted() => Err(FleetError::Interrupted),
    };
    match gone {
        Ok(gone) => {
            report.left = gone.left;
            report.notes = gone.notes;
        }
        Err(error) => {
            report
                .left
                .push("what the ledger names: the next `verify`, or `cleanup`, takes it away".to_owned());
            ended = ended.and(Err(error));
        }
    }
    report.seconds = began.elapsed().as_secs_f32();
    report.stopped = ended.as_ref().err().map(|error| trial::told(error));
    (report, ended.err())
}

async fn run(work: &mut Work<'_>, order: &Order, report: &mut Report) -> Result<(), FleetError> {
    if work.ledger.trial().is_some() {
        work.tell.line("takes away what an earlier verify left");
        let gone = clear(work, Some(&order.lambdas)).await?;
        if !gone.left.is_empty() {
            return Err(FleetError::Left(gone.left.join(", ")));
        }
    }
    let wire = wire(work, order).await?;
    let trial = Trial::new();
    report.endpoint = wire.address();
    report.thing = trial.thing();
    work.tell.line(&format!("endpoint {} · throw-away thing {}", wire.address(), trial.thing()));
    work.ledger.set_trial(Some(trial.clone()))?;
    Run { work, wire, trial, report, order }.all().await
}

impl Run<'_, '_> {
    /// Says what is tried now.
    fn trying(&self, what: &str) {
        self.work.tell.live(what);
    }

    fn row(&mut self, row: Row) {
        self.report.row(self.work.tell, row);
    }

    /// Writes down a certificate that was issued, before anything is done with it.
    fn issued(&mut self, id: &str) -> Result<(), FleetError> {
        self.trial.certificates.insert(id.to_owned());
        Ok(self.work.ledger.set_trial(Some(self.trial.clone()))?)
    }
}

/// Where devices connect to, and what they trust.
async fn wire(work: &Work<'_>, order: &Order) -> Result<Wire, FleetError> {
    let address = work.aws.endpoint().await?;
    // AWS's has no port; an emulator's may.
    let (host, port) = match address.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
        Some((host, Ok(port))) => (host.to_owned(), Some(port)),
        _ => (address, None),
    };
    let configured = files::read(&work.ledger.dir().join(CONFIG))?.and_then(|text| port_of(&text));
    let port = order.port.or(port).or(configured).unwrap_or(8883);
    let root = match &order.root_ca {
        Some(path) => files::read(path)?.ok_or_else(|| {
            FileError::new("read", path, std::io::Error::from(std::io::ErrorKind::NotFound))
        })?,
        None => files::read(&work.ledger.dir().join(ROOT))?.unwrap_or_else(|| ROOT_CA.as_bytes().to_vec()),
    };
    Ok(Wire::new(&host, port, root))
}

/// `port` of `[aws]` in the devices' configuration.
fn port_of(config: &[u8]) -> Option<u16> {
    let table: toml::Table = toml::from_str(std::str::from_utf8(config).ok()?).ok()?;
    u16::try_from(table.get("aws")?.get("port")?.as_integer()?).ok()
}

/// Ends with the first SIGINT or SIGTERM from now on.
async fn interrupted() {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_one_that_devices_are_told() {
        assert_eq!(port_of(b"[aws]\nendpoint = \"x\"\nport = 443\n"), Some(443));
        assert_eq!(port_of(b"[aws]\nendpoint = \"x\"\n# port = 8883\n"), None);
        assert_eq!(port_of(b"[aws]\nport = 70000\n"), None);
        assert_eq!(port_of(b"no toml ["), None);
    }
}
