//! `certrotctl check`: the daemon's report with what only this side can see, or a report of its own where no daemon answers.

mod alone;
mod machine;

use std::path::Path;

use serde_json::Value;

use super::{Failure, Output, read, show};
use crate::control::client::{Client, ClientError};
use crate::control::wire::{CheckReport, CheckStep};
use crate::doctor::Step;
use crate::exit::Exit;

/// Asks for a report, shows it, and ends with its worst finding.
pub async fn run(client: Client, out: &Output, config: &Path) -> Result<Exit, Failure> {
    let value = match client.get("/v1/check").await {
        Ok(report) => with_ours(report)?,
        Err(error @ ClientError::Refused(_)) => return Err(error.into()),
        Err(error) => value(&alone::report(unheard(&error), config).await),
    };
    let report: CheckReport = out.answer(&value, |report| show::check(report, out.paint))?;
    Ok(Exit::from(&report))
}

/// The daemon's report as it came (a newer daemon's fields too), with our steps around it.
fn with_ours(mut answer: Value) -> Result<Value, ClientError> {
    let report: CheckReport = read(&answer)?;
    let version = report.version.as_deref();
    let mut answers = Step::begin("daemon").ok("answers on its control socket");
    answers.millis = None;
    if let Some(steps) = answer.get_mut("steps").and_then(Value::as_array_mut) {
        // The machine's own comes before it, the way to the cloud after it.
        let at = steps.iter().position(|step| step["name"] == "dns").unwrap_or(0);
        steps.insert(at, value(&answers));
        steps.extend(machine::steps(version).iter().map(value));
    }
    Ok(answer)
}

/// That no daemon answers, and why.
fn unheard(error: &ClientError) -> CheckStep {
    let cause = if let ClientError::NotPermitted { .. } = error { "not-permitted" } else { "daemon" };
    Step::begin("daemon").fail(cause, error.to_string(), error.remedy())
}

/// Plain data always becomes JSON.
fn value<T: serde::Serialize>(data: &T) -> Value {
    serde_json::to_value(data).unwrap_or_default()
}
