//! Reads a provisioning template's JSON: what is not in AWS's description of templates is refused, not skipped.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{BODY_LIMIT, Override, Resource, Template, TemplateError};

/// Reads a whole body.
pub(super) fn template(json: &str) -> Result<Template, TemplateError> {
    if json.chars().count() > BODY_LIMIT {
        return Err(TemplateError::TooLong);
    }
    let root: Value = serde_json::from_str(json).map_err(TemplateError::Json)?;
    let root = root.as_object().ok_or_else(|| shape("the body"))?;
    known(
        root,
        &[
            "AWSTemplateFormatVersion",
            "Description",
            "Parameters",
            "Mappings",
            "Resources",
            "DeviceConfiguration",
        ],
    )?;
    let mut template = Template {
        parameters: parameters(&section(root, "Parameters")?)?,
        mappings: section(root, "Mappings")?,
        thing: None,
        certificate: Resource { properties: Map::new(), overrides: BTreeMap::new() },
        policies: Vec::new(),
        device_configuration: section(root, "DeviceConfiguration")?,
    };
    let mut certificates = 0;
    for (name, value) in &section(root, "Resources")? {
        let map = value.as_object().ok_or_else(|| shape(name))?;
        known(map, &["Type", "Properties", "OverrideSettings"])?;
        match map.get("Type").and_then(Value::as_str) {
            Some("AWS::IoT::Thing") if template.thing.is_none() => {
                template.thing = Some(resource(map, &THING, &THING_OVERRIDES)?);
            }
            Some("AWS::IoT::Certificate") if certificates == 0 => {
                template.certificate = resource(map, &CERTIFICATE, &["Status"])?;
                certificates += 1;
            }
            Some("AWS::IoT::Policy") => template.policies.push(resource(map, &POLICY, &[])?),
            _ => return Err(TemplateError::Shape { element: format!("Type of {name}") }),
        }
    }
    if certificates == 0 {
        return Err(shape("a resource AWS::IoT::Certificate"));
    }
    Ok(template)
}

fn parameters(section: &Map<String, Value>) -> Result<BTreeMap<String, Option<String>>, TemplateError> {
    let mut parameters = BTreeMap::new();
    for (name, value) in section {
        let map = value.as_object().ok_or_else(|| shape(name))?;
        known(map, &["Type", "Default"])?;
        if map.get("Type").and_then(Value::as_str) != Some("String") {
            return Err(TemplateError::Shape { element: format!("Type of {name}") });
        }
        let default = match map.get("Default") {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(TemplateError::Shape { element: format!("Default of {name}") }),
        };
        parameters.insert(name.clone(), default);
    }
    Ok(parameters)
}

fn resource(
    map: &Map<String, Value>,
    properties: &[&str],
    settings: &[&str],
) -> Result<Resource, TemplateError> {
    let of_resource = section(map, "Properties")?;
    known(&of_resource, properties)?;
    let mut overrides = BTreeMap::new();
    for (setting, value) in &section(map, "OverrideSettings")? {
        let merges = matches!(setting.as_str(), "AttributePayload" | "ThingGroups");
        let chosen = match value.as_str() {
            Some("DO_NOTHING") => Override::DoNothing,
            Some("REPLACE") => Override::Replace,
            Some("FAIL") => Override::Fail,
            Some("MERGE") if merges => Override::Merge,
            _ => return Err(TemplateError::Override { setting: setting.clone(), value: value.to_string() }),
        };
        if !settings.contains(&setting.as_str()) {
            return Err(TemplateError::Override { setting: setting.clone(), value: value.to_string() });
        }
        overrides.insert(setting.clone(), chosen);
    }
    Ok(Resource { properties: of_resource, overrides })
}

fn section(map: &Map<String, Value>, name: &str) -> Result<Map<String, Value>, TemplateError> {
    match map.get(name) {
        None => Ok(Map::new()),
        Some(Value::Object(section)) => Ok(section.clone()),
        Some(_) => Err(shape(name)),
    }
}

fn known(map: &Map<String, Value>, names: &[&str]) -> Result<(), TemplateError> {
    match map.keys().find(|key| !names.contains(&key.as_str())) {
        Some(stranger) => Err(TemplateError::Element(stranger.clone())),
        None => Ok(()),
    }
}

fn shape(element: &str) -> TemplateError {
    TemplateError::Shape { element: element.to_owned() }
}

const THING: [&str; 4] = ["ThingName", "ThingTypeName", "ThingGroups", "AttributePayload"];
const THING_OVERRIDES: [&str; 3] = ["AttributePayload", "ThingTypeName", "ThingGroups"];
/// Fleet provisioning takes the certificate by id only; a CSR or a PEM in a template is for bulk registration.
const CERTIFICATE: [&str; 2] = ["CertificateId", "Status"];
const POLICY: [&str; 2] = ["PolicyName", "PolicyDocument"];
