//! Tries a new policy before anything uses it: TestAuthorization for each action that the daemon needs, and for some
//! that it must never have.
//!
//! A throw-away thing with a throw-away certificate (its key is never written) stands for the device, since thing
//! variables resolve for an attached certificate only. It is in the ledger before it is in the account, and goes
//! whatever the answer is.

use aws_sdk_iot::types::{ActionType, AuthDecision, AuthInfo};
use certrot_rules::registry::Status;

use crate::aws::Aws;
use crate::aws::error::Refusal;
use crate::calls;
use crate::claim;
use crate::error::FleetError;
use crate::keys::Key;
use crate::ledger::Ledger;

/// One question to TestAuthorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// `CONNECT`, `PUBLISH`, `SUBSCRIBE` or `RECEIVE`.
    pub action: &'static str,
    /// The resource in an ARN of `iot`.
    pub resource: String,
    /// Whether it must be allowed.
    pub allowed: bool,
}

/// What the daemon does on a device certificate, and what nobody may do there.
pub fn device_questions(thing: &str, rotation: &str, claim: &str) -> Vec<Question> {
    let mut questions = daemons(rotation);
    let own = format!("device/{thing}");
    let mut ask = |action, resource: String, allowed| questions.push(Question { action, resource, allowed });
    ask("CONNECT", format!("client/{thing}"), true);
    ask("PUBLISH", format!("topic/{own}/certrot/commit"), true);
    ask("PUBLISH", format!("topic/{own}/state"), true);
    for topic in ["certrot/commit/accepted", "certrot/commit/rejected", "certrot/rotate", "orders"] {
        ask("SUBSCRIBE", format!("topicfilter/{own}/{topic}"), true);
        ask("RECEIVE", format!("topic/{own}/{topic}"), true);
    }
    ask("CONNECT", "client/another-thing".to_owned(), false);
    ask("CONNECT", "client/claim-x".to_owned(), false);
    ask("PUBLISH", "topic/device/another-thing/state".to_owned(), false);
    ask("PUBLISH", format!("topic/{own}/certrot/commit/accepted"), false);
    ask("PUBLISH", format!("topic/{own}/certrot/rotate"), false);
    ask("PUBLISH", format!("topic/$aws/provisioning-templates/{claim}/provision/json"), false);
    ask("SUBSCRIBE", "topicfilter/device/another-thing/orders".to_owned(), false);
    ask("SUBSCRIBE", "topicfilter/#".to_owned(), false);
    questions
}

/// What the daemon does on a claim certificate, and what nobody may do there.
pub fn claim_questions(client: &str, claim: &str, rotation: &str) -> Vec<Question> {
    let mut questions = daemons(claim);
    let mut ask = |action, resource: String, allowed| questions.push(Question { action, resource, allowed });
    ask("CONNECT", format!("client/{client}"), true);
    ask("CONNECT", "client/another-thing".to_owned(), false);
    ask("PUBLISH", "topic/device/another-thing/state".to_owned(), false);
    ask("PUBLISH", format!("topic/$aws/provisioning-templates/{rotation}/provision/json"), false);
    ask("SUBSCRIBE", "topicfilter/device/#".to_owned(), false);
    questions
}

/// The three requests of fleet provisioning, by one template.
fn daemons(template: &str) -> Vec<Question> {
    let mut questions = Vec::new();
    for request in [
        "$aws/certificates/create/json".to_owned(),
        "$aws/certificates/create-from-csr/json".to_owned(),
        format!("$aws/provisioning-templates/{template}/provision/json"),
    ] {
        questions.push(Question { action: "PUBLISH", resource: format!("topic/{request}"), allowed: true });
        for answer in ["accepted", "rejected"] {
            let resource = format!("topicfilter/{request}/{answer}");
            questions.push(Question { action: "SUBSCRIBE", resource, allowed: true });
            let resource = format!("topic/{request}/{answer}");
            questions.push(Question { action: "RECEIVE", resource, allowed: true });
        }
    }
    questions
}

/// What came out of a try.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Against the need.
    pub wrong: Vec<String>,
    /// What AWS could not tell without a live connection.
    pub open: Vec<String>,
}

/// Tries both policies; the throw-away device is gone afterwards.
pub async fn check(
    aws: &Aws,
    ledger: &mut Ledger,
    device: &str,
    claim: &str,
) -> Result<Findings, FleetError> {
    let thing = aws.fleet.probe();
    let mut findings = Findings::default();
    if !ledger.is_checked(device) {
        // What an earlier run began is used, so that every run gets further than the one before.
        let begun = match ledger.begun(PURPOSE).cloned() {
            Some(begun) => claim::by_public_key(aws, &begun).await?,
            None => None,
        };
        let begun = begun.filter(|(_, status, _)| *status == Status::Inactive || *status == Status::Active);
        let id = match begun {
            Some((id, ..)) => id,
            None => claim::certificate(aws, ledger, PURPOSE, &Key::new()?).await?.0,
        };
        match tried(aws, &thing, &id, device, claim).await {
            Ok(found) => findings = found,
            Err(error) => {
                // What was made goes now if it can; if not, the next run takes it up.
                clear(aws, ledger).await?;
                return Err(error);
            }
        }
        if findings.wrong.is_empty() {
            ledger.checked(device)?;
        }
    }
    clear(aws, ledger).await?;
    Ok(findings)
}

async fn tried(aws: &Aws, thing: &str, id: &str, device: &str, claim: &str) -> Result<Findings, FleetError> {
    match aws.thing(thing).await? {
        Some((_, kind)) => owned(aws, thing, kind.as_deref())?,
        None => aws.make_thing(thing).await?,
    }
    if !aws.principals(thing).await?.iter().any(|p| p == id) {
        aws.attach_thing(thing, id).await?;
    }
    // ACTIVE: nobody has its key, and no policy is attached to it.
    claim::activate(aws, id).await?;
    let (by_claim, by_rotation) = (aws.fleet.claim_template(), aws.fleet.rotation_template());
    let client = format!("{}x", certrot_rules::serial::CLAIM_PREFIX);
    let mut findings = Findings::default();
    for (policy, client, questions) in [
        (device, thing, device_questions(thing, &by_rotation, &by_claim)),
        (claim, client.as_str(), claim_questions(&client, &by_claim, &by_rotation)),
    ] {
        for ten in questions.chunks(MOST) {
            ask(aws, id, policy, client, ten, &mut findings).await?;
        }
    }
    Ok(findings)
}

async fn ask(
    aws: &Aws,
    id: &str,
    policy: &str,
    client: &str,
    questions: &[Question],
    findings: &mut Findings,
) -> Result<(), FleetError> {
    let arn = |q: &Question| aws.place.arn("iot", &q.resource);
    let infos: Vec<AuthInfo> = questions
        .iter()
        .filter_map(|q| {
            AuthInfo::builder().action_type(ActionType::from(q.action)).resources(arn(q)).build().ok()
        })
        .collect();
    let principal = aws.certificate_arn(id);
    let answer = aws
        .call(&calls::TEST_AUTHORIZATION, policy, || {
            let test = aws.iot.test_authorization().principal(&principal).client_id(client);
            test.set_auth_infos(Some(infos.clone())).policy_names_to_add(policy).send()
        })
        .await?;
    for question in questions {
        let about = |info: &AuthInfo| {
            info.action_type().map(ActionType::as_str) == Some(question.action)
                && info.resources().contains(&arn(question))
        };
        let result = answer.auth_results().iter().find(|r| r.auth_info().is_some_and(about));
        let words = format!("{} {} by {policy}", question.action, question.resource);
        let Some(result) = result else {
            findings.open.push(format!("{words}: no answer"));
            continue;
        };
        let allowed = result.auth_decision() == Some(&AuthDecision::Allowed);
        match (allowed, question.allowed) {
            (true, false) => findings.wrong.push(format!("{words} is allowed")),
            // A variable that only a live connection has: AWS says so, and it is no verdict.
            (false, true) if !result.missing_context_values().is_empty() => {
                let missing = result.missing_context_values().join(", ");
                findings.open.push(format!("{words}: AWS has no value for {missing} here"));
            }
            (false, true) => findings.wrong.push(format!("{words} is denied")),
            _ => {}
        }
    }
    Ok(())
}

/// Takes the throw-away device away, this run's or an earlier one's.
pub async fn clear(aws: &Aws, ledger: &mut Ledger) -> Result<(), FleetError> {
    let thing = aws.fleet.probe();
    let begun = ledger.begun(PURPOSE).cloned();
    let there = aws.thing(&thing).await?;
    if let Some((_, kind)) = &there {
        owned(aws, &thing, kind.as_deref())?;
        let principals = match aws.principals(&thing).await {
            Err(error) if error.refusal == Refusal::Gone => Vec::new(),
            other => other?,
        };
        for id in principals {
            claim::end(aws, &id).await?;
        }
    }
    if let Some(begun) = begun
        && let Some((id, ..)) = claim::by_public_key(aws, &begun).await?
    {
        claim::end(aws, &id).await?;
    }
    if there.is_some() {
        crate::cleanup::patiently(|| aws.delete_thing(&thing)).await?;
    }
    Ok(ledger.finish(PURPOSE)?)
}

fn owned(aws: &Aws, thing: &str, kind: Option<&str>) -> Result<(), FleetError> {
    if kind == Some(aws.fleet.as_str()) {
        return Ok(());
    }
    let why = "it is another's, and this tool needs the name for its policy check".to_owned();
    Err(FleetError::NotOurs { what: "thing", name: thing.to_owned(), why })
}

const PURPOSE: &str = "policy check";

/// AWS takes ten questions at once (API reference, TestAuthorization).
const MOST: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_topic_of_the_daemon_is_asked_about_and_so_are_the_ways_to_be_somebody_else() {
        let questions = device_questions("SN-1", "certrot-rotate", "certrot-claim");
        let has = |action, resource: &str, allowed| {
            questions.contains(&Question { action, resource: resource.to_owned(), allowed })
        };
        assert!(has("CONNECT", "client/SN-1", true));
        assert!(has("CONNECT", "client/another-thing", false));
        assert!(has("PUBLISH", "topic/device/SN-1/certrot/commit", true));
        assert!(has("PUBLISH", "topic/device/SN-1/certrot/commit/accepted", false));
        assert!(has("SUBSCRIBE", "topicfilter/device/SN-1/certrot/rotate", true));
        assert!(has("PUBLISH", "topic/$aws/provisioning-templates/certrot-rotate/provision/json", true));
        assert!(has("PUBLISH", "topic/$aws/provisioning-templates/certrot-claim/provision/json", false));
    }
}
