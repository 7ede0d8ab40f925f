//! The retire handler's shell: performs the calls that `certrot_rules::retire` asks for, one at a time.
//!
//! Nothing is kept: a handler that dies after any call is finished by the next commit. While AWS throttles, calls back
//! off within the invocation's time; what is then not done is told the device, which comes again. An invocation fails
//! (and is tried again by Lambda, and ends in the dead-letter queue) only when the device could not be told.

use std::time::Duration;

use certrot_rules::retire::{Call, Commit, Outcome, Reply, Retire, Verdict};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::failure::{Failure, Kind};
use crate::log::{Level, tell};
use crate::registry::Registry;

/// Why an invocation failed.
#[derive(Debug)]
pub enum RetireError {
    /// The event lacks what the rule's SQL puts into it: somebody invokes the function by another way.
    Event,
    /// The device was not told.
    Reply(Failure),
}

impl std::fmt::Display for RetireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RetireError::Event => f.write_str("the event is not the commit rule's"),
            RetireError::Reply(failure) => write!(f, "the device could not be told: {failure}"),
        }
    }
}

impl std::error::Error for RetireError {}

/// Handles one commit; `end` is when the invocation must be over.
pub async fn handle(
    event: &Value,
    thing_type: Option<&str>,
    registry: &Registry,
    now: Timestamp,
    end: Instant,
) -> Result<Reply, RetireError> {
    let commit = Commit::from_event(event).ok_or(RetireError::Event)?;
    let mut retire = Retire::new(commit, now);
    if let Some(thing_type) = thing_type {
        retire = retire.of_type(thing_type);
    }
    let until = end.checked_sub(FOR_THE_REPLY).unwrap_or(end);
    let mut told = Ok(());
    while let Some(call) = retire.next() {
        let outcome = match call {
            Call::Reply(reply) => {
                told = registry.reply(&reply, end).await;
                outcome(told.clone())
            }
            call => perform(registry, call, until).await,
        };
        retire.feed(outcome);
    }
    told.map_err(RetireError::Reply)?;
    let reply = retire.reply().cloned().ok_or(RetireError::Event)?;
    report(&reply);
    Ok(reply)
}

async fn perform(registry: &Registry, call: Call, until: Instant) -> Outcome {
    match call {
        Call::ListThingPrincipals { thing } => {
            registry.certificates_of(&thing, until).await.map_or_else(failed, Outcome::Ids)
        }
        Call::DescribeCertificate { id } => {
            registry.certificate(&id, until).await.map_or_else(failed, Outcome::Certificate)
        }
        Call::ListPrincipalThings { id } => {
            registry.things_of(&id, until).await.map_or_else(failed, Outcome::Names)
        }
        Call::UpdateCertificate { id, status } => {
            let done = registry.update_certificate(&id, status, until).await;
            if done.is_ok() {
                tell(Level::Info, "status", &[("certificate", &id), ("status", &status)]);
            }
            outcome(done)
        }
        Call::ListAttachedPolicies { id } => {
            registry.policies_of(&id, until).await.map_or_else(failed, Outcome::Names)
        }
        Call::DetachPolicy { id, policy } => outcome(registry.detach_policy(&id, &policy, until).await),
        Call::DetachThingPrincipal { thing, id } => outcome(registry.detach_thing(&thing, &id, until).await),
        Call::DeleteCertificate { id } => outcome(registry.delete_certificate(&id, until).await),
        Call::DescribeThing { thing } => {
            registry.thing(&thing, until).await.map_or_else(failed, Outcome::Thing)
        }
        Call::UpdateThing { thing, attributes, expected_version } => {
            outcome(registry.update_thing(&thing, &attributes, expected_version, until).await)
        }
        Call::Pause { seconds } => {
            let left = until.saturating_duration_since(Instant::now());
            sleep(Duration::from_secs(seconds.into()).min(left)).await;
            Outcome::Done
        }
        // `handle` takes it before it comes here.
        Call::Reply(_) => Outcome::Failed,
    }
}

fn outcome(done: Result<(), Failure>) -> Outcome {
    done.map_or_else(failed, |()| Outcome::Done)
}

fn failed(failure: Failure) -> Outcome {
    match failure.kind {
        Kind::Gone => Outcome::Gone,
        Kind::Conflict => Outcome::Conflict,
        Kind::Busy | Kind::Refused => Outcome::Failed,
    }
}

fn report(reply: &Reply) {
    let (thing, id) = (&reply.thing, &reply.certificate_id);
    match reply.verdict {
        Verdict::Accepted => tell(Level::Info, "accepted", &[("thing", thing), ("certificate", id)]),
        Verdict::Rejected { reason, .. } => {
            tell(
                Level::Warn,
                "rejected",
                &[("thing", thing), ("certificate", id), ("reason", &reason.as_str())],
            );
        }
    }
}

/// What is kept of an invocation's time for telling the device.
const FOR_THE_REPLY: Duration = Duration::from_secs(3);

/// How long one request may take before it is tried again.
pub const ATTEMPT: Duration = Duration::from_secs(5);
