//! IoT policy documents: may this principal do this to this resource?
//!
//! The rules are AWS's (developer guide, “AWS IoT Core policies”): default deny, an explicit Deny wins, `*` crosses
//! `/`, `?` is one character, `+` and `#` are literal text. Where AWS's words leave room this engine refuses:
//! - an element, operator or effect that it does not know fails the whole document at [`Policy::parse`];
//! - a variable without a value makes an Allow statement grant nothing, and a Deny statement deny: in its resource it
//!   stands for anything, in its condition it counts as met.
//!
//! `policy/pattern.rs` matches, `policy/condition.rs` holds conditions, `policy/parse.rs` reads.
//!
//! The *value* of a variable is always literal text. A client id `*` matches the one resource that ends in `*`.

mod condition;
mod parse;
mod pattern;

use std::collections::BTreeMap;

use serde_json::Value;
use thiserror::Error;

use condition::Condition;
use parse::{known, statement};
use pattern::{Pattern, Undefined};

/// One policy document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    statements: Vec<Statement>,
}

impl Policy {
    /// Reads a document as CreatePolicy would take it.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let root: Value = serde_json::from_str(json).map_err(PolicyError::Json)?;
        let root = root.as_object().ok_or(PolicyError::Shape { element: "the document" })?;
        known(root, &["Version", "Id", "Statement"])?;
        match root.get("Version").and_then(Value::as_str) {
            Some("2012-10-17" | "2008-10-17") => {}
            _ => return Err(PolicyError::Version),
        }
        let statements = match root.get("Statement") {
            Some(Value::Array(list)) => list.iter().map(statement).collect::<Result<Vec<_>, _>>()?,
            Some(one @ Value::Object(_)) => vec![statement(one)?],
            _ => return Err(PolicyError::Shape { element: "Statement" }),
        };
        Ok(Policy { statements })
    }
}

/// Decides one action on one resource by every document that is attached to the principal.
pub fn decide<'a>(
    documents: impl IntoIterator<Item = &'a Policy>,
    action: &str,
    resource: &str,
    context: &Context,
) -> Decision {
    let mut decision = Decision::ImplicitDeny;
    for statement in documents.into_iter().flat_map(|d| &d.statements) {
        if !statement.applies(action, resource, context) {
            continue;
        }
        match statement.effect {
            Effect::Deny => return Decision::ExplicitDeny,
            Effect::Allow => decision = Decision::Allow,
        }
    }
    decision
}

/// The answer to one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A statement allows it and none denies it.
    Allow,
    /// A Deny statement applies.
    ExplicitDeny,
    /// No statement applies.
    ImplicitDeny,
}

impl Decision {
    /// Says whether it may go on.
    pub fn is_allowed(self) -> bool {
        self == Decision::Allow
    }
}

/// The variables of one connection; what is not there is undefined.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    variables: BTreeMap<String, String>,
}

impl Context {
    /// The variables of a connection before anything of its thing is known.
    pub fn new(client_id: &str, certificate_id: &str) -> Self {
        // AWS: false unless the client id names a thing that the certificate is attached to.
        Context::default()
            .with("iot:ClientId", client_id)
            .with("iot:CertificateId", certificate_id)
            .with("iot:Connection.Thing.IsAttached", "false")
    }

    /// Sets one variable, `iot:…` or `aws:…`.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Adds the thing variables. Call it only where the client id equals the thing's name *and* the certificate is
    /// attached to it: AWS resolves them in no other case.
    #[must_use]
    pub fn with_attached_thing(
        self,
        name: &str,
        thing_type: Option<&str>,
        attributes: &BTreeMap<String, String>,
    ) -> Self {
        let mut context =
            self.with("iot:Connection.Thing.ThingName", name).with("iot:Connection.Thing.IsAttached", "true");
        if let Some(thing_type) = thing_type {
            context = context.with("iot:Connection.Thing.ThingTypeName", thing_type);
        }
        for (name, value) in attributes {
            context = context.with(&format!("iot:Connection.Thing.Attributes[{name}]"), value);
        }
        context
    }

    /// Adds `iot:Certificate.Subject.CommonName`.
    #[must_use]
    pub fn with_common_name(self, name: &str) -> Self {
        self.with("iot:Certificate.Subject.CommonName", name)
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Values in lower case; names stay.
    fn lower(&self) -> Self {
        let variables = self.variables.iter().map(|(k, v)| (k.clone(), v.to_lowercase())).collect();
        Context { variables }
    }
}

/// Makes resource ARNs for one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arns {
    prefix: String,
}

impl Arns {
    /// For a region and an account of the partition `aws`.
    pub fn new(region: &str, account: &str) -> Self {
        Arns { prefix: format!("arn:aws:iot:{region}:{account}:") }
    }

    /// The resource of `iot:Connect`.
    pub fn client(&self, client_id: &str) -> String {
        self.arn("client", client_id)
    }

    /// The resource of `iot:Publish`, `iot:Receive` and `iot:RetainPublish`.
    pub fn topic(&self, topic: &str) -> String {
        self.arn("topic", topic)
    }

    /// The resource of `iot:Subscribe`.
    pub fn topic_filter(&self, filter: &str) -> String {
        self.arn("topicfilter", filter)
    }

    /// A thing.
    pub fn thing(&self, name: &str) -> String {
        self.arn("thing", name)
    }

    /// A certificate.
    pub fn certificate(&self, id: &str) -> String {
        self.arn("cert", id)
    }

    /// A policy.
    pub fn policy(&self, name: &str) -> String {
        self.arn("policy", name)
    }

    /// A provisioning template.
    pub fn template(&self, name: &str) -> String {
        self.arn("provisioningtemplate", name)
    }

    fn arn(&self, kind: &str, name: &str) -> String {
        format!("{}{kind}/{name}", self.prefix)
    }
}

/// Why a text is no policy document.
#[derive(Debug, Error)]
pub enum PolicyError {
    /// It is not JSON.
    #[error("the policy document is not JSON")]
    Json(#[source] serde_json::Error),
    /// `Version` is not one of AWS's.
    #[error("the policy document has no Version 2012-10-17")]
    Version,
    /// An element has the wrong JSON type or is missing.
    #[error("{element} of the policy document is missing or has the wrong type")]
    Shape {
        /// Which.
        element: &'static str,
    },
    /// An element that IoT policies do not have.
    #[error("the policy document has an element {0:?} that IoT policies do not have")]
    Element(String),
    /// An effect that is neither Allow nor Deny.
    #[error("the policy document has an Effect that is neither Allow nor Deny")]
    Effect,
    /// A condition operator that this engine does not know.
    #[error("the policy document has a condition operator {0:?} that is not known here")]
    Operator(String),
    /// A `${` without its end.
    #[error("the policy document has an unfinished variable in {0:?}")]
    Variable(String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statement {
    effect: Effect,
    actions: Vec<Pattern>,
    resources: Vec<Pattern>,
    conditions: Vec<Condition>,
}

impl Statement {
    fn applies(&self, action: &str, resource: &str, context: &Context) -> bool {
        let undefined = match self.effect {
            Effect::Allow => Undefined::MatchesNothing,
            Effect::Deny => Undefined::MatchesAnything,
        };
        let action = action.to_ascii_lowercase();
        self.actions.iter().any(|p| p.matches(&action, context, undefined))
            && self.resources.iter().any(|p| p.matches(resource, context, undefined))
            && self.conditions.iter().all(|c| c.holds(context, undefined))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[cfg(test)]
mod tests;
