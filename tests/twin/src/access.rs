//! May this connection do this? The attached policy documents, with what the broker sees of the registry by now.

use std::sync::Arc;

use crate::cloud::{Cloud, lock};
use crate::policy::{Arns, Context, Decision, Policy, decide};
use crate::registry::{ACCOUNT, REGION};

/// What a connection wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Connect with its client id.
    Connect,
    /// Publish to a topic.
    Publish,
    /// Publish a message that is retained.
    RetainPublish,
    /// Subscribe to a filter.
    Subscribe,
    /// Be sent a message from a topic.
    Receive,
}

impl Action {
    /// AWS's name of it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "iot:Connect",
            Self::Publish => "iot:Publish",
            Self::RetainPublish => "iot:RetainPublish",
            Self::Subscribe => "iot:Subscribe",
            Self::Receive => "iot:Receive",
        }
    }

    fn resource(self, name: &str) -> String {
        let arns = Arns::new(REGION, ACCOUNT);
        match self {
            Self::Connect => arns.client(name),
            Self::Subscribe => arns.topic_filter(name),
            Self::Publish | Self::RetainPublish | Self::Receive => arns.topic(name),
        }
    }
}

/// Says whether the certificate `principal`, connected as `client`, may do `action` on `resource` (a client id, topic
/// or filter). Attachments and policies that are not seen yet do not count.
pub fn allows(cloud: &Cloud, principal: &str, client: &str, action: Action, resource: &str) -> bool {
    let nothing = |_: &str| true;
    let Some((documents, context)) = known(cloud, principal, client, nothing) else { return false };
    let parsed: Vec<Arc<Policy>> = documents.iter().filter_map(|(_, d)| document(cloud, d)).collect();
    // A document that does not parse grants nothing; it could be stopped from denying, so it denies all.
    parsed.len() == documents.len()
        && decide(parsed.iter().map(Arc::as_ref), action.as_str(), &action.resource(resource), &context)
            .is_allowed()
}

/// What TestAuthorization says of one resource (an ARN): the decision, and the policies that it rests on.
pub fn tried(
    cloud: &Cloud,
    principal: &str,
    client: &str,
    action: Action,
    resource: &str,
    add: &[String],
    skip: &[String],
) -> Option<(Decision, Vec<String>)> {
    let wanted = |name: &str| !skip.iter().any(|s| s == name);
    let (mut documents, context) = known(cloud, principal, client, wanted)?;
    for name in add {
        documents.push((
            name.clone(),
            cloud.registry(|r| r.policy(name).ok().map(|p| p.versions.document().to_owned()))?,
        ));
    }
    let parsed: Vec<(String, Arc<Policy>)> =
        documents.into_iter().map(|(name, d)| Some((name, document(cloud, &d)?))).collect::<Option<_>>()?;
    let all = decide(parsed.iter().map(|(_, p)| p.as_ref()), action.as_str(), resource, &context);
    let alone = |p: &Policy| decide([p], action.as_str(), resource, &context) == all;
    let rests = if all == Decision::ImplicitDeny {
        Vec::new()
    } else {
        parsed.iter().filter(|(_, p)| alone(p)).map(|(name, _)| name.clone()).collect()
    };
    Some((all, rests))
}

/// The documents attached to a certificate, by name, and the variables of its connection as `client`.
fn known(
    cloud: &Cloud,
    principal: &str,
    client: &str,
    wanted: impl Fn(&str) -> bool,
) -> Option<(Vec<(String, String)>, Context)> {
    let now_ms = cloud.clock.now_ms();
    cloud.registry(|r| {
        let certificate = r.certificates.get(principal)?;
        let seen = certificate.policies.iter().filter(|(_, from)| **from <= now_ms);
        let document =
            |name: &String| Some((name.clone(), r.policy(name).ok()?.versions.document().to_owned()));
        let documents =
            seen.filter(|(name, _)| wanted(name)).filter_map(|(name, _)| document(name)).collect();
        let mut context = Context::new(client, principal).with_common_name("AWS IoT Certificate");
        if certificate.things.get(client).is_some_and(|from| *from <= now_ms)
            && let Some(thing) = r.things.get(client)
        {
            context = context.with_attached_thing(client, thing.type_name.as_deref(), &thing.attributes);
        }
        Some((documents, context))
    })
}

/// Parses a document once.
fn document(cloud: &Cloud, json: &str) -> Option<Arc<Policy>> {
    let mut parsed = lock(&cloud.parsed_policies);
    if let Some(policy) = parsed.get(json) {
        return Some(policy.clone());
    }
    match Policy::parse(json) {
        Ok(policy) => {
            let policy = Arc::new(policy);
            parsed.insert(json.to_owned(), policy.clone());
            Some(policy)
        }
        Err(error) => {
            tracing::error!(%error, "policy document");
            None
        }
    }
}
