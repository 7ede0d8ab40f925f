//! The pre-provisioning hook of a template: which function, and what it is asked. Silence and failure are denials.

use std::collections::BTreeMap;
use std::sync::Arc;

use certrot_rules::hook::{self, Answer, Denial, Event, Facts, Listing};
use certrot_rules::serial::Serial;
use serde_json::json;
use tokio::time::sleep;

use super::{Asker, Rejection};
use crate::cloud::{Cloud, lock};
use crate::faults::Effect;
use crate::lambda::{self, Function};
use crate::policy::Arns;
use crate::registry::control::Template;
use crate::registry::{ACCOUNT, REGION};
use crate::retire::{described, described_thing, timestamp};

/// Asks the hook; a template without one lets everybody in as they are. Any denial is `ACCESS_DENIED`, as on AWS.
pub async fn ask(
    cloud: &Arc<Cloud>,
    asker: &Asker,
    name: &str,
    template: &Template,
    certificate_id: &str,
    parameters: &BTreeMap<String, String>,
) -> Result<Answer, Rejection> {
    let Some(hook) = &template.hook else {
        return Ok(Answer { allow_provisioning: true, parameter_overrides: BTreeMap::new() });
    };
    let event = Event {
        claim_certificate_id: Some(asker.principal.clone()),
        certificate_id: certificate_id.to_owned(),
        certificate_pem: cloud.registry(|r| r.certificate(certificate_id).ok().map(|c| c.pem.clone())),
        template_arn: Some(Arns::new(REGION, ACCOUNT).template(name)),
        client_id: Some(asker.client.clone()),
        parameters: parameters.clone(),
    };
    let fault = cloud.fault("hook", &asker.client, &asker.principal, |_| true);
    match fault {
        Some(Effect::Delay { ms }) => sleep(std::time::Duration::from_millis(ms)).await,
        Some(Effect::Ignore) => {
            sleep(cloud.options.hook_limit).await;
            return Err(denied());
        }
        Some(_) => return Err(denied()),
        None => {}
    }
    let answer = match lambda::find(cloud, &hook.target_arn) {
        Function::ClaimHook => claim(cloud, &event).map_err(|denial| denial.to_string()),
        Function::RotateHook => hook::rotate(&event).map_err(|denial| denial.to_string()),
        Function::Program(program) => {
            let limit = cloud.options.hook_limit;
            let ran = lambda::run(cloud, &hook.target_arn, &program, &json!(event), limit).await;
            ran.map_err(|e| e.to_string())
                .and_then(|answer| serde_json::from_value(answer).map_err(|e| e.to_string()))
        }
        Function::Retire { .. } | Function::Unknown => Err(format!("{} is no hook", hook.target_arn)),
    };
    match answer {
        Ok(answer) if answer.allow_provisioning => Ok(answer),
        Ok(_) => Err(denied()),
        Err(why) => {
            tracing::info!(why, template = name, "hook denies");
            Err(denied())
        }
    }
}

/// The claim hook (rule 23) with the facts of this registry.
fn claim(cloud: &Cloud, event: &Event) -> Result<Answer, Denial> {
    let subject = hook::subject(event)?;
    let now = timestamp(cloud.clock.now_ms());
    let facts = Facts { listing: listing(cloud, &subject), ..facts(cloud, subject.as_str()) };
    let grant = hook::decide(event, &subject, &facts, now)?;
    if let Some(write) = grant.write {
        let attributes = BTreeMap::from([(write.attribute.to_owned(), write.value)]);
        let written =
            cloud.change(|r| r.update_thing(subject.as_str(), &attributes, true, write.expected_version));
        // If the word cannot be used up, it is not used.
        if let Err(error) = written {
            tracing::warn!(%error, "reclaim not written");
            return Ok(Answer::deny());
        }
    }
    Ok(grant.answer)
}

fn facts(cloud: &Cloud, thing: &str) -> Facts {
    cloud.registry(|r| Facts {
        listing: Listing::NoList,
        thing: r.things.get(thing).map(described_thing),
        held: r.principals(thing).into_iter().map(described).collect(),
    })
}

fn listing(cloud: &Cloud, serial: &Serial) -> Listing {
    match lock(&cloud.allow_list).as_ref() {
        None => Listing::NoList,
        Some(list) if list.iter().any(|s| s == serial.as_str()) => Listing::Listed,
        Some(_) => Listing::NotListed,
    }
}

fn denied() -> Rejection {
    Rejection::new(403, "ACCESS_DENIED", "Access denied")
}
