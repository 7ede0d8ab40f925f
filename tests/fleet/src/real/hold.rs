//! A process that is the twin. `count` judges its registry: every thing must hold exactly one ACTIVE certificate, and be
//! connected with it.

use std::io::{BufRead, Write};
use std::path::Path;

use certrot_twin::{Options, Status, Twin};

use super::{RealError, io, raise_limit};

/// Serves lines until standard input ends or says `stop`.
pub fn serve(dir: &Path, port: u16) -> Result<(), RealError> {
    raise_limit();
    let mut options = Options::new(dir);
    options.port = port;
    let twin = Twin::start(options)?;
    answer(&format!("ready port={}", twin.port()))?;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        match line.as_str() {
            "count" => answer(&count(&twin))?,
            "stop" => break,
            _ => answer("?")?,
        }
    }
    twin.stop();
    answer("stopped")
}

fn answer(text: &str) -> Result<(), RealError> {
    println!("{text}");
    std::io::stdout().flush().map_err(io("answering"))
}

fn count(twin: &Twin) -> String {
    let connected = twin.connections();
    let certificates = twin.certificates();
    let active = certificates.iter().filter(|c| c.status == Status::Active && !c.things.is_empty());
    let active = active.count();
    let things: Vec<String> = twin.cloud().registry(|r| r.things.keys().cloned().collect());
    let (mut lost, mut doubled, mut away) = (0, 0, 0);
    let mut carried = std::collections::BTreeMap::new();
    for connection in &connected {
        carried.insert(connection.client.as_str(), connection.principal.as_str());
    }
    for thing in &things {
        let alive: Vec<String> = twin
            .certificates_of(thing)
            .into_iter()
            .filter(|c| c.status == Status::Active)
            .map(|c| c.id)
            .collect();
        lost += usize::from(alive.is_empty());
        doubled += usize::from(alive.len() > 1);
        let with = carried.get(thing.as_str());
        away += usize::from(!with.is_some_and(|id| alive.iter().any(|a| a == id)));
    }
    format!(
        "count things={} connected={} certificates={} active={active} lost={lost} doubled={doubled} away={away} events={}",
        things.len(),
        connected.len(),
        certificates.len(),
        twin.event_count(),
    )
}
