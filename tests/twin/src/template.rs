//! Provisioning templates: executes a template's JSON and gives a plan of what the registry must do.
//!
//! Pure: nothing is looked up or changed here; the plan is the caller's to carry out, in the order certificate, policy,
//! thing. Where AWS's words leave room: a parameter that the template does not declare is kept out of the plan (hooks
//! may need it) and named in [`Plan::ignored`]; one that is declared, has no default and is not given is refused; a
//! device's own `AWS::…` parameter never stands (built-in values win).

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use thiserror::Error;

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
    pub fn parse(_json: &str) -> Result<Self, TemplateError> {
        Err(TemplateError::Shape { element: "Resources".to_owned() })
    }

    /// Executes the template with the parameters that the hook let stand.
    pub fn execute(
        &self,
        _parameters: &BTreeMap<String, String>,
        _certificate_id: &str,
    ) -> Result<Plan, TemplateError> {
        Err(TemplateError::Shape { element: "Resources".to_owned() })
    }
}

/// Why a template cannot be read or executed.
#[derive(Debug, Error)]
pub enum TemplateError {
    /// An element is missing or has the wrong JSON type.
    #[error("{element} of the template is missing or has the wrong type")]
    Shape {
        /// Which.
        element: String,
    },
}

#[derive(Clone, Debug, PartialEq)]
struct Resource {
    properties: Map<String, Value>,
    overrides: BTreeMap<String, Override>,
}
