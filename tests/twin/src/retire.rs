//! The commit topic: the rule that hands a commit on, and the retire handler of `certrot-rules` on this registry.
//!
//! As on AWS the handler runs beside the broker: the publisher has its PUBACK long before. What is decided is decided
//! in `certrot-rules`; this file only performs its calls.

use std::sync::Arc;
use std::time::Duration;

use certrot_rules::registry as rules;
use certrot_rules::retire::{self as rule, Call, Outcome, Reply, Retire, Verdict};
use jiff::Timestamp;
use serde_json::Value;
use tokio::time::sleep;

use crate::broker::message::Message;
use crate::cloud::Cloud;
use crate::events::Event;
use crate::faults::Effect;
use crate::lambda::{self, Function};
use crate::registry::{Certificate, RegistryError, Status, Thing};
use crate::sql::{self, Sql};

/// Hands a message to the functions of every topic rule that matches it; each runs beside the broker.
pub fn apply_rules(cloud: &Arc<Cloud>, client: &str, principal: &str, message: &Message, stamp_ms: i64) {
    let wanted: Vec<(Sql, Vec<String>)> = cloud.registry(|r| {
        let enabled = r.rules.values().filter(|rule| !rule.is_disabled());
        let matching = enabled.filter_map(|rule| {
            let sql = Sql::parse(rule.sql()).ok().filter(|sql| sql.matches(&message.topic))?;
            Some((sql, rule.functions().into_iter().map(str::to_owned).collect()))
        });
        matching.collect()
    });
    for (sql, functions) in wanted {
        let event = sql.select(&sql::Message {
            topic: &message.topic,
            client,
            principal,
            stamp_ms,
            payload: &message.payload,
        });
        for function in functions {
            let (client, principal) = (client.to_owned(), principal.to_owned());
            let commit = Commit { function, client, principal, event: event.clone() };
            tokio::spawn(handle(cloud.clone(), commit));
        }
    }
}

/// A commit as a rule's action has it.
struct Commit {
    /// The function's ARN.
    function: String,
    client: String,
    principal: String,
    /// What the SQL made of it.
    event: Value,
}

/// The thing of a commit topic.
pub fn thing_of(topic: &str) -> Option<&str> {
    topic
        .strip_prefix("device/")?
        .strip_suffix("/certrot/commit")
        .filter(|t| !t.is_empty() && !t.contains('/'))
}

/// Handles one commit to its end, with the faults that were ordered for `commit`.
async fn handle(cloud: Arc<Cloud>, commit: Commit) {
    let Some(taken) = rule::Commit::from_event(&commit.event) else {
        return tracing::warn!(function = commit.function, "the rule's event is no commit");
    };
    let fault = cloud.fault("commit", &commit.client, &commit.principal, |e| *e != Effect::LosePuback);
    match &fault {
        Some(Effect::Ignore | Effect::CloseBefore) => return,
        Some(Effect::Delay { ms }) => sleep(Duration::from_millis(*ms)).await,
        _ => {}
    }
    if let Some(Effect::Refuse { .. } | Effect::Throttle) = fault {
        let seconds = 1;
        let reply = Reply {
            thing: taken.thing.clone(),
            certificate_id: commit.principal.clone(),
            verdict: Verdict::Rejected { reason: rule::Reason::Unfinished, retry_after: Some(seconds) },
        };
        return tell(&cloud, &reply);
    }
    match lambda::find(&cloud, &commit.function) {
        Function::Retire { thing_type } => decide(&cloud, taken, &thing_type, fault.as_ref()).await,
        Function::Program(program) => {
            let (limit, event) = (program.timeout, &commit.event);
            if let Err(error) = lambda::run(&cloud, &commit.function, &program, event, limit).await {
                tracing::warn!(%error, function = commit.function, "commit not handled");
            }
        }
        Function::ClaimHook | Function::RotateHook | Function::Unknown => {
            tracing::warn!(function = commit.function, "the rule's function takes no commits");
        }
    }
}

/// The handler of `certrot-rules` in this process.
async fn decide(cloud: &Arc<Cloud>, commit: rule::Commit, thing_type: &str, fault: Option<&Effect>) {
    let now = timestamp(cloud.clock.now_ms());
    let mut retire = Retire::new(commit, now).of_type(thing_type);
    while let Some(call) = retire.next() {
        let outcome = match call {
            Call::Reply(reply) => {
                answer(cloud, &reply, fault).await;
                Outcome::Done
            }
            call => perform(cloud, call),
        };
        retire.feed(outcome);
    }
}

async fn answer(cloud: &Cloud, reply: &Reply, fault: Option<&Effect>) {
    match fault {
        Some(Effect::Drop | Effect::CloseUnanswered) => return,
        Some(Effect::DelayAnswer { ms }) => sleep(Duration::from_millis(*ms)).await,
        Some(Effect::Twice) => tell(cloud, reply),
        _ => {}
    }
    tell(cloud, reply);
}

fn tell(cloud: &Cloud, reply: &Reply) {
    let why = match reply.verdict {
        Verdict::Accepted => "",
        Verdict::Rejected { reason, .. } => reason.as_str(),
    };
    cloud.log(Event::Commit {
        thing: reply.thing.clone(),
        principal: reply.certificate_id.clone(),
        accepted: reply.is_accepted(),
        why: why.to_owned(),
    });
    cloud.publish(&reply.topic(), reply.payload().to_string().as_bytes(), false);
}

/// Notes what a function's program tells a device, as `tell` does of the handler in this process.
pub fn told(cloud: &Cloud, topic: &str, payload: &[u8]) {
    let Some((commit, verdict)) = topic.rsplit_once('/') else { return };
    let Some(thing) = thing_of(commit) else { return };
    let payload: Value = serde_json::from_slice(payload).unwrap_or_default();
    let text = |field: &str| payload.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    cloud.log(Event::Commit {
        thing: thing.to_owned(),
        principal: text("certificateId"),
        accepted: verdict == "accepted",
        why: text("reason"),
    });
}

/// Performs one call of the handler on the registry.
fn perform(cloud: &Cloud, call: Call) -> Outcome {
    let now_ms = cloud.clock.now_ms();
    match call {
        Call::ListThingPrincipals { thing } => cloud.registry(|r| match r.thing(&thing) {
            Ok(_) => Outcome::Ids(r.principals(&thing).iter().map(|c| c.id.clone()).collect()),
            Err(error) => failed(&error),
        }),
        Call::DescribeCertificate { id } => cloud.registry(|r| match r.certificate(&id) {
            Ok(certificate) => Outcome::Certificate(described(certificate)),
            Err(error) => failed(&error),
        }),
        Call::ListPrincipalThings { id } => cloud.registry(|r| match r.certificate(&id) {
            Ok(certificate) => Outcome::Names(certificate.things.keys().cloned().collect()),
            Err(error) => failed(&error),
        }),
        Call::UpdateCertificate { id, status } => match Status::parse(status.as_str()) {
            Some(status) => done(cloud.change(|r| r.set_status(&id, status, now_ms))),
            None => Outcome::Failed,
        },
        Call::ListAttachedPolicies { id } => cloud.registry(|r| match r.certificate(&id) {
            Ok(certificate) => Outcome::Names(certificate.policies.keys().cloned().collect()),
            Err(error) => failed(&error),
        }),
        Call::DetachPolicy { id, policy } => done(cloud.change(|r| r.detach_policy(&policy, &id))),
        Call::DetachThingPrincipal { thing, id } => done(cloud.change(|r| r.detach_thing(&thing, &id))),
        Call::DeleteCertificate { id } => done(cloud.change(|r| r.delete_certificate(&id, false))),
        Call::DescribeThing { thing } => cloud.registry(|r| match r.thing(&thing) {
            Ok(thing) => Outcome::Thing(described_thing(thing)),
            Err(error) => failed(&error),
        }),
        Call::UpdateThing { thing, attributes, expected_version } => {
            done(cloud.change(|r| r.update_thing(&thing, &attributes, true, expected_version)))
        }
        // Detaching is seen at once here.
        Call::Pause { .. } => Outcome::Done,
        // `handle` takes it before it comes here.
        Call::Reply(_) => Outcome::Failed,
    }
}

/// A certificate in the words of the rules.
pub fn described(certificate: &Certificate) -> rules::Certificate {
    rules::Certificate {
        id: certificate.id.clone(),
        status: match certificate.status {
            Status::Active => rules::Status::Active,
            Status::Inactive => rules::Status::Inactive,
            Status::Revoked => rules::Status::Revoked,
            Status::PendingActivation => rules::Status::PendingActivation,
            Status::PendingTransfer => rules::Status::PendingTransfer,
        },
        created: timestamp(certificate.created_ms),
        not_after: Timestamp::from_second(certificate.not_after).ok(),
    }
}

/// A thing in the words of the rules.
pub fn described_thing(thing: &Thing) -> rules::Thing {
    rules::Thing {
        version: i64::try_from(thing.version).ok(),
        type_name: thing.type_name.clone(),
        attributes: thing.attributes.clone(),
    }
}

/// Milliseconds as a timestamp; what no calendar has is the epoch.
pub fn timestamp(ms: i64) -> Timestamp {
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn done<T>(result: Result<T, RegistryError>) -> Outcome {
    match result {
        Ok(_) => Outcome::Done,
        Err(error) => failed(&error),
    }
}

fn failed(error: &RegistryError) -> Outcome {
    match error {
        RegistryError::NotFound(_) => Outcome::Gone,
        RegistryError::State(_) | RegistryError::Conflict(_) => Outcome::Conflict,
        RegistryError::Exists(_)
        | RegistryError::Invalid(_)
        | RegistryError::Version(_)
        | RegistryError::Versions(_)
        | RegistryError::Limit(_) => Outcome::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_commit_topic_of_one_thing_is_a_commit() {
        assert_eq!(thing_of("device/a/certrot/commit"), Some("a"));
        for topic in
            ["device//certrot/commit", "device/a/b/certrot/commit", "device/a/certrot/commit/accepted", "x"]
        {
            assert_eq!(thing_of(topic), None, "{topic}");
        }
    }
}
