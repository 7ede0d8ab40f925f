//! Provisioning templates: executes a template's JSON and gives a plan of what the registry must do.
//!
//! Pure: nothing is looked up or changed here; the plan is the caller's to carry out, in the order certificate, policy,
//! thing. Where AWS's words leave room: a parameter that the template does not declare is kept out of the plan (hooks
//! may need it) and named in [`Plan::ignored`], because AWS's documents leave open whether it refuses it; one that is
//! declared, has no default and is not given is refused; a device's own `AWS::…` parameter never stands.
//!
//! `template/parse.rs` reads the JSON, `template/expression.rs` works out `Ref` and the `Fn::…` functions.

mod expression;
mod parse;

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;

use expression::Scope;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// Declared parameters with their defaults.
    parameters: BTreeMap<String, Option<String>>,
    mappings: Map<String, Value>,
    thing: Option<Resource>,
    certificate: Resource,
    policies: Vec<Resource>,
    device_configuration: Map<String, Value>,
}

/// What the registry must do for one RegisterThing.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The thing to make or keep; a template may do without.
    pub thing: Option<ThingPlan>,
    /// The certificate to register.
    pub certificate: CertificatePlan,
    /// The policies to attach to the certificate.
    pub policies: Vec<PolicyPlan>,
    /// What the device is told.
    pub device_configuration: BTreeMap<String, String>,
    /// Names of parameters that the device gave and the template does not declare.
    pub ignored: Vec<String>,
}

/// A thing, with what to do where it exists already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThingPlan {
    /// `ThingName`.
    pub name: String,
    /// `ThingTypeName`.
    pub thing_type: Option<String>,
    /// `ThingGroups`.
    pub groups: Vec<String>,
    /// `AttributePayload`.
    pub attributes: BTreeMap<String, String>,
    /// For an existing thing's attributes.
    pub on_attributes: Override,
    /// For an existing thing's type.
    pub on_thing_type: Override,
    /// For an existing thing's groups.
    pub on_groups: Override,
}

/// The certificate of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePlan {
    /// `CertificateId`.
    pub id: String,
    /// `Status`, in AWS's upper case; ACTIVE where the template says nothing.
    pub status: String,
    /// For an existing certificate's status.
    pub on_status: Override,
}

/// A policy to attach.
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyPlan {
    /// One that exists, by `PolicyName`.
    Named(String),
    /// One to make from `PolicyDocument`, as JSON text.
    Document(String),
}

/// What `OverrideSettings` says of a resource that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Override {
    /// It stays as it is.
    DoNothing,
    /// It becomes what the template says.
    Replace,
    /// The request fails with a conflict.
    Fail,
    /// What the template says is added (`AttributePayload` and `ThingGroups` only).
    Merge,
}

impl Template {
    /// Reads a template body as CreateProvisioningTemplate would take it.
    pub fn parse(json: &str) -> Result<Self, TemplateError> {
        parse::template(json)
    }

    /// Executes the template with the parameters that the hook let stand.
    pub fn execute(
        &self,
        parameters: &BTreeMap<String, String>,
        certificate_id: &str,
    ) -> Result<Plan, TemplateError> {
        let scope = self.scope(parameters, certificate_id)?;
        let certificate = self.certificate_plan(&scope, certificate_id)?;
        let policies = self.policies.iter().map(|p| policy_plan(p, &scope)).collect::<Result<_, _>>()?;
        let thing = self.thing.as_ref().map(|t| thing_plan(t, &scope)).transpose()?;
        let mut device_configuration = BTreeMap::new();
        for (name, value) in &self.device_configuration {
            device_configuration.insert(name.clone(), scope.text(value)?);
        }
        let undeclared = |name: &&String| !self.parameters.contains_key(*name) && !name.starts_with(BUILT_IN);
        let ignored = parameters.keys().filter(undeclared).cloned().collect();
        Ok(Plan { thing, certificate, policies, device_configuration, ignored })
    }

    /// The values that `Ref` and `Fn::Sub` see: declared parameters, and AWS's own above everything.
    fn scope(
        &self,
        given: &BTreeMap<String, String>,
        certificate_id: &str,
    ) -> Result<Scope<'_>, TemplateError> {
        let mut values = BTreeMap::new();
        for (name, default) in self.parameters.iter().filter(|(name, _)| !name.starts_with(BUILT_IN)) {
            let value = given.get(name).or(default.as_ref());
            let value = value.ok_or_else(|| TemplateError::MissingParameter(name.clone()))?;
            values.insert(name.clone(), value.clone());
        }
        values.insert(CERTIFICATE_ID.to_owned(), certificate_id.to_owned());
        Ok(Scope::new(values, &self.mappings))
    }

    fn certificate_plan(
        &self,
        scope: &Scope<'_>,
        certificate_id: &str,
    ) -> Result<CertificatePlan, TemplateError> {
        let id = self.certificate.text(scope, "CertificateId")?;
        if id.as_deref() != Some(certificate_id) {
            return Err(TemplateError::Certificate);
        }
        let status = self.certificate.text(scope, "Status")?.unwrap_or_else(|| "ACTIVE".to_owned());
        let status = status.to_ascii_uppercase();
        if !matches!(status.as_str(), "ACTIVE" | "INACTIVE") {
            return Err(TemplateError::Status(status));
        }
        let on_status = self.certificate.on("Status");
        Ok(CertificatePlan { id: certificate_id.to_owned(), status, on_status })
    }
}

/// Why a template cannot be read or executed.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// The body is not JSON.
    #[error("the template is not JSON")]
    Json(#[source] serde_json::Error),
    /// The body is longer than AWS takes.
    #[error("the template has more than {BODY_LIMIT} characters")]
    TooLong,
    /// An element is missing or has the wrong JSON type.
    #[error("{element} of the template is missing or has the wrong type")]
    Shape {
        /// Which.
        element: String,
    },
    /// An element that provisioning templates do not have.
    #[error("the template has an element {0:?} that provisioning templates do not have")]
    Element(String),
    /// An override setting that the resource does not have.
    #[error("{setting} cannot be {value:?} in OverrideSettings")]
    Override {
        /// Which setting.
        setting: String,
        /// What it says.
        value: String,
    },
    /// A function that templates do not have.
    #[error("the template calls {0:?}, which templates do not have")]
    UnknownFunction(String),
    /// A function has arguments that it cannot take.
    #[error("{function} of the template cannot take its arguments")]
    Arguments {
        /// Which.
        function: &'static str,
    },
    /// `Ref` or `Fn::Sub` names a parameter that is not declared.
    #[error("the template refers to a parameter {0:?} that it does not declare")]
    UnknownParameter(String),
    /// A declared parameter without a default was not given.
    #[error("the parameter {0:?} is missing")]
    MissingParameter(String),
    /// `Fn::FindInMap` finds nothing.
    #[error("the template's Mappings have no {map:?} {key:?} {name:?}")]
    NotInMap {
        /// The mapping.
        map: String,
        /// The first key.
        key: String,
        /// The second key.
        name: String,
    },
    /// `Fn::Select` points outside its list.
    #[error("Fn::Select of the template points outside its list")]
    OutOfRange,
    /// The certificate is not the one of the request.
    #[error("the template's certificate is not AWS::IoT::Certificate::Id")]
    Certificate,
    /// A status that a template cannot give.
    #[error("the template gives the certificate a status {0:?}")]
    Status(String),
    /// The thing's name is outside AWS's alphabet.
    #[error("{0:?} cannot be a thing's name")]
    ThingName(String),
    /// An attribute is outside AWS's alphabet or over its limits.
    #[error("the thing's attribute {0:?} is outside AWS's alphabet or limits")]
    Attribute(String),
}

/// A resource of the template, not yet worked out.
#[derive(Clone, Debug, PartialEq)]
struct Resource {
    properties: Map<String, Value>,
    overrides: BTreeMap<String, Override>,
}

impl Resource {
    fn text(&self, scope: &Scope<'_>, property: &str) -> Result<Option<String>, TemplateError> {
        self.properties.get(property).map(|value| scope.text(value)).transpose()
    }

    /// What its settings say of a property; AWS leaves an existing resource alone where they say nothing.
    fn on(&self, property: &str) -> Override {
        self.overrides.get(property).copied().unwrap_or(Override::DoNothing)
    }
}

fn thing_plan(thing: &Resource, scope: &Scope<'_>) -> Result<ThingPlan, TemplateError> {
    let shape = |element: &str| TemplateError::Shape { element: element.to_owned() };
    let name = thing.text(scope, "ThingName")?.ok_or_else(|| shape("ThingName"))?;
    if !is_name(&name, ":_-", 128) {
        return Err(TemplateError::ThingName(name));
    }
    let thing_type = thing.text(scope, "ThingTypeName")?;
    let groups = match thing.properties.get("ThingGroups") {
        None => Vec::new(),
        Some(value) => scope.list(value)?,
    };
    let mut attributes = BTreeMap::new();
    let payload = match thing.properties.get("AttributePayload") {
        None => &Map::new(),
        Some(Value::Object(payload)) => payload,
        Some(_) => return Err(shape("AttributePayload")),
    };
    for (attribute, value) in payload {
        let value = scope.text(value)?;
        if !is_name(attribute, "_.,@/:#-", 128) || !is_name(&value, "_.,@/:#-", 800) {
            return Err(TemplateError::Attribute(attribute.clone()));
        }
        attributes.insert(attribute.clone(), value);
    }
    if thing_type.is_none() && attributes.len() > UNTYPED_ATTRIBUTES {
        return Err(TemplateError::Attribute(attributes.into_keys().next_back().unwrap_or_default()));
    }
    let (on_attributes, on_groups) = (thing.on("AttributePayload"), thing.on("ThingGroups"));
    let on_thing_type = thing.on("ThingTypeName");
    Ok(ThingPlan { name, thing_type, groups, attributes, on_attributes, on_thing_type, on_groups })
}

fn policy_plan(policy: &Resource, scope: &Scope<'_>) -> Result<PolicyPlan, TemplateError> {
    if let Some(name) = policy.text(scope, "PolicyName")? {
        return Ok(PolicyPlan::Named(name));
    }
    match policy.properties.get("PolicyDocument") {
        Some(document) => match scope.evaluate(document)? {
            Value::String(text) => Ok(PolicyPlan::Document(text)),
            shaped => Ok(PolicyPlan::Document(shaped.to_string())),
        },
        None => Err(TemplateError::Shape { element: "PolicyName".to_owned() }),
    }
}

/// Letters, digits and some marks, at least one and at most `limit`.
fn is_name(text: &str, marks: &str, limit: usize) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || marks.contains(c);
    !text.is_empty() && text.len() <= limit && text.chars().all(fits)
}

/// Longest body, in characters (AWS IoT quotas).
pub const BODY_LIMIT: usize = 10_240;

/// Attributes that a thing without a type may have (AWS IoT quotas).
const UNTYPED_ATTRIBUTES: usize = 3;

/// What the names of AWS's own parameters begin with.
const BUILT_IN: &str = "AWS::";

/// The one built-in parameter of fleet provisioning.
const CERTIFICATE_ID: &str = "AWS::IoT::Certificate::Id";

#[cfg(test)]
mod tests;
