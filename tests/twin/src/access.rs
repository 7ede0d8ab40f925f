//! May this connection do this? The attached policy documents, with what the broker sees of the registry by now.

use std::sync::Arc;

use crate::cloud::{Cloud, lock};
use crate::policy::{Arns, Context, Policy, decide};
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
    let now_ms = cloud.clock.now_ms();
    let known = cloud.registry(|r| {
        let certificate = r.certificates.get(principal)?;
        let seen = certificate.policies.iter().filter(|(_, from)| **from <= now_ms);
        let documents: Vec<String> = seen.filter_map(|(name, _)| r.policies.get(name).cloned()).collect();
        let mut context = Context::new(client, principal).with_common_name("AWS IoT Certificate");
        if certificate.things.get(client).is_some_and(|from| *from <= now_ms)
            && let Some(thing) = r.things.get(client)
        {
            context = context.with_attached_thing(client, thing.type_name.as_deref(), &thing.attributes);
        }
        Some((documents, context))
    });
    let Some((documents, context)) = known else { return false };
    let parsed: Vec<Arc<Policy>> = documents.iter().filter_map(|d| document(cloud, d)).collect();
    // A document that does not parse grants nothing; it could be stopped from denying, so it denies all.
    parsed.len() == documents.len()
        && decide(parsed.iter().map(Arc::as_ref), action.as_str(), &action.resource(resource), &context)
            .is_allowed()
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
