//! RegisterThing: token, hook, template, and the registry in one change.

use std::sync::Arc;

use certrot_rules::documents::CERTIFICATE_PARAMETER;
use serde_json::Value;

use super::codec::Request;
use super::{Answer, Asker, Rejection, hook};
use crate::cloud::Cloud;
use crate::events::Event;
use crate::registry::{Registry, RegistryError, Status};
use crate::template::{Override, Plan, PolicyPlan, Template, ThingPlan};

/// Registers the certificate of a token; `later_ms` delays what the broker sees of it.
pub async fn register(
    cloud: &Arc<Cloud>,
    asker: &Asker,
    template: &str,
    request: &Request,
    later_ms: i64,
) -> Result<Answer, Rejection> {
    let unknown =
        || Rejection::new(404, "ResourceNotFoundException", format!("template {template} not found"));
    let known = cloud.registry(|r| r.template(template).cloned()).map_err(|_| unknown())?;
    if !known.enabled {
        return Err(Rejection::new(
            400,
            "InvalidRequestException",
            format!("template {template} is disabled"),
        ));
    }
    let certificate_id = owned(cloud, asker, request)?;
    let mut parameters = request.parameters.clone();
    parameters.insert(CERTIFICATE_PARAMETER.to_owned(), certificate_id.clone());
    let answer = hook::ask(cloud, asker, template, &known, &certificate_id, &parameters).await?;
    parameters.extend(answer.parameter_overrides);
    let plan = Template::parse(known.versions.document())
        .and_then(|t| t.execute(&parameters, &certificate_id))
        .map_err(|e| Rejection::new(400, "InvalidParameterValue", e.to_string()))?;
    let now_ms = cloud.clock.now_ms();
    let seen_ms = cloud.seen_ms().saturating_add(later_ms);
    let token = request.token.as_deref().unwrap_or_default();
    // All or nothing: a plan that fails half-way leaves no trace.
    let applied = cloud.change(|r| {
        let thing = plan.thing.as_ref().map(|t| t.name.as_str());
        apply(&mut r.part(&plan.certificate.id, token, thing), &plan, token, now_ms, seen_ms)?;
        apply(r, &plan, token, now_ms, seen_ms)
    });
    applied.map_err(rejection)?;
    let thing = plan.thing.as_ref().map(|t| t.name.clone());
    cloud.log(Event::Registered {
        thing: thing.clone().unwrap_or_default(),
        certificate_id,
        template: template.to_owned(),
        by: asker.principal.clone(),
    });
    let configuration: serde_json::Map<String, Value> =
        plan.device_configuration.into_iter().map(|(k, v)| (k, v.into())).collect();
    let mut map = Answer::new();
    map.insert("deviceConfiguration".into(), configuration.into());
    if let Some(thing) = thing {
        map.insert("thingName".into(), thing.into());
    }
    Ok(map)
}

/// The certificate that the token speaks for.
fn owned(cloud: &Cloud, asker: &Asker, request: &Request) -> Result<String, Rejection> {
    let invalid =
        || Rejection::new(400, "InvalidCertificateOwnershipToken", "the ownership token is not valid");
    let token = request.token.as_deref().ok_or_else(invalid)?;
    let found = cloud.registry(|r| r.tokens.get(token).cloned()).ok_or_else(invalid)?;
    if cloud.options.bind_tokens && found.connection != asker.connection {
        return Err(invalid());
    }
    Ok(found.certificate_id)
}

/// Carries the plan out: certificate, policy, thing; the token is used up by success alone.
fn apply(r: &mut Registry, plan: &Plan, token: &str, now_ms: i64, seen_ms: i64) -> Result<(), RegistryError> {
    let gone = || RegistryError::NotFound("The ownership token".into());
    if r.tokens.get(token).is_none_or(|t| t.certificate_id != plan.certificate.id) {
        return Err(gone());
    }
    let id = plan.certificate.id.as_str();
    let mut policies = Vec::new();
    for policy in &plan.policies {
        match policy {
            PolicyPlan::Named(name) if r.policies.contains_key(name) => policies.push(name.clone()),
            PolicyPlan::Named(name) => return Err(RegistryError::NotFound(format!("Policy {name}"))),
            PolicyPlan::Document(document) => {
                let name = crate::ca::certificate_id(document.as_bytes());
                r.put_policy(&name, document, now_ms);
                policies.push(name);
            }
        }
    }
    if let Some(thing) = &plan.thing {
        make_thing(r, thing)?;
    }
    let status = Status::parse(&plan.certificate.status).unwrap_or(Status::Active);
    let pending = r.certificate(id)?.status == Status::PendingActivation;
    match plan.certificate.on_status {
        _ if pending => r.set_status(id, status, now_ms)?,
        Override::Replace => r.set_status(id, status, now_ms)?,
        Override::DoNothing | Override::Merge => false,
        Override::Fail => return Err(RegistryError::Exists(format!("The certificate {id}"))),
    };
    for policy in policies {
        r.attach_policy(&policy, id, seen_ms)?;
    }
    if let Some(thing) = &plan.thing {
        r.attach_thing(&thing.name, id, seen_ms)?;
    }
    r.tokens.remove(token);
    Ok(())
}

fn make_thing(r: &mut Registry, plan: &ThingPlan) -> Result<(), RegistryError> {
    let exists = r.things.contains_key(&plan.name);
    if !exists {
        r.create_thing(&plan.name, plan.attributes.clone())?;
    } else if !plan.attributes.is_empty() {
        match plan.on_attributes {
            Override::DoNothing => {}
            Override::Replace => r.set_attributes(&plan.name, &plan.attributes, false)?,
            Override::Merge => r.set_attributes(&plan.name, &plan.attributes, true)?,
            Override::Fail => return Err(RegistryError::Exists(format!("Thing {}", plan.name))),
        }
    }
    let different_type = plan.thing_type.is_some() && r.thing(&plan.name)?.type_name != plan.thing_type;
    match plan.on_thing_type {
        _ if !different_type => {}
        _ if !exists => r.set_type(&plan.name, plan.thing_type.as_deref())?,
        Override::Replace => r.set_type(&plan.name, plan.thing_type.as_deref())?,
        Override::DoNothing | Override::Merge => {}
        Override::Fail => return Err(RegistryError::Exists(format!("Thing {}", plan.name))),
    }
    match plan.on_groups {
        _ if plan.groups.is_empty() => {}
        Override::DoNothing if exists => {}
        Override::Fail if exists => return Err(RegistryError::Exists(format!("Thing {}", plan.name))),
        on_groups => {
            if on_groups == Override::Replace {
                r.thing_mut(&plan.name)?.groups.clear();
            }
            for group in &plan.groups {
                r.set_member(group, &plan.name, true)?;
            }
        }
    }
    Ok(())
}

fn rejection(error: RegistryError) -> Rejection {
    match error {
        RegistryError::NotFound(_) => Rejection::new(404, "ResourceNotFoundException", error.to_string()),
        RegistryError::Exists(_)
        | RegistryError::Conflict(_)
        | RegistryError::State(_)
        | RegistryError::Version(_)
        | RegistryError::Versions(_) => Rejection::new(409, "ResourceConflict", error.to_string()),
        RegistryError::Invalid(_) | RegistryError::Limit(_) => {
            Rejection::new(400, "InvalidParameterValue", error.to_string())
        }
    }
}
