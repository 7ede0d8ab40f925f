//! Policies, provisioning templates and topic rules: the documents of the control plane.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::versions::Versions;
use super::{Registry, RegistryError, arn};

/// An IoT policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its documents.
    pub versions: Versions,
    /// When it was made, twin milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was last changed.
    pub modified_ms: i64,
}

/// A provisioning template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// Its bodies.
    pub versions: Versions,
    /// Words of its maker.
    pub description: String,
    /// Whether RegisterThing takes it.
    pub enabled: bool,
    /// The role that AWS IoT provisions with.
    pub role: String,
    /// The pre-provisioning hook.
    pub hook: Option<Hook>,
    /// `FLEET_PROVISIONING` or `JITP`.
    pub kind: String,
    /// When it was made, twin milliseconds since the epoch.
    pub created_ms: i64,
    /// When it was last changed.
    pub modified_ms: i64,
}

/// A pre-provisioning hook, in AWS's JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hook {
    /// `2020-04-01`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_version: Option<String>,
    /// The function's ARN.
    pub target_arn: String,
}

/// A topic rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// `topicRulePayload` as it was given.
    pub payload: Value,
    /// When it was made, twin milliseconds since the epoch.
    pub created_ms: i64,
}

impl Rule {
    /// The SQL.
    pub fn sql(&self) -> &str {
        self.payload.get("sql").and_then(Value::as_str).unwrap_or_default()
    }

    /// Says whether it is switched off.
    pub fn is_disabled(&self) -> bool {
        self.payload.get("ruleDisabled").and_then(Value::as_bool).unwrap_or_default()
    }

    /// ARNs of the functions that it invokes.
    pub fn functions(&self) -> Vec<&str> {
        let actions = self.payload.get("actions").and_then(Value::as_array);
        actions.into_iter().flatten().filter_map(|a| a.get("lambda")?.get("functionArn")?.as_str()).collect()
    }
}

impl Registry {
    /// Finds a policy.
    pub fn policy(&self, name: &str) -> Result<&Policy, RegistryError> {
        self.policies.get(name).ok_or_else(|| missing_policy(name))
    }

    /// Finds a policy, to change it.
    pub fn policy_mut(&mut self, name: &str) -> Result<&mut Policy, RegistryError> {
        self.policies.get_mut(name).ok_or_else(|| missing_policy(name))
    }

    /// Makes a policy, or puts another document in the place of the one in force.
    pub fn put_policy(&mut self, name: &str, document: &str, now_ms: i64) {
        let made =
            Policy { versions: Versions::new(document, now_ms), created_ms: now_ms, modified_ms: now_ms };
        let policy = self.policies.entry(name.to_owned()).or_insert(made);
        if let Some(version) = policy.versions.all.get_mut(&policy.versions.default) {
            document.clone_into(&mut version.document);
        }
    }

    /// Ids of the certificates that a policy is attached to.
    pub fn targets(&self, policy: &str) -> Vec<String> {
        self.certificates.values().filter(|c| c.policies.contains_key(policy)).map(|c| c.id.clone()).collect()
    }

    /// DeletePolicy: refused while it is attached or has other versions, as on AWS.
    pub fn delete_policy(&mut self, name: &str) -> Result<(), RegistryError> {
        self.policy(name)?.versions.check_alone()?;
        if !self.targets(name).is_empty() {
            let attached =
                format!("The policy cannot be deleted as the policy is attached to principals (name={name})");
            return Err(RegistryError::Conflict(attached));
        }
        self.policies.remove(name);
        self.tags.remove(&arn(&format!("policy/{name}")));
        Ok(())
    }

    /// Finds a template.
    pub fn template(&self, name: &str) -> Result<&Template, RegistryError> {
        self.templates.get(name).ok_or_else(|| missing_template(name))
    }

    /// Finds a template, to change it.
    pub fn template_mut(&mut self, name: &str) -> Result<&mut Template, RegistryError> {
        self.templates.get_mut(name).ok_or_else(|| missing_template(name))
    }

    /// DeleteProvisioningTemplate: the twin wants the other versions gone first; AWS's words leave it open.
    pub fn delete_template(&mut self, name: &str) -> Result<(), RegistryError> {
        self.template(name)?.versions.check_alone()?;
        self.templates.remove(name);
        self.tags.remove(&arn(&format!("provisioningtemplate/{name}")));
        Ok(())
    }
}

fn missing_policy(name: &str) -> RegistryError {
    RegistryError::NotFound(format!("Policy {name}"))
}

fn missing_template(name: &str) -> RegistryError {
    RegistryError::NotFound(format!("Provisioning template {name}"))
}
