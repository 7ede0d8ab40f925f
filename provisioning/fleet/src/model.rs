//! What a resource is, whether it is wanted or was seen: one shape for both, so that they can be compared.
//!
//! Plain data. Documents are JSON values, so blanks and the order of keys never make a difference. `aws/` reads and
//! writes these; `plan.rs` compares them; `cloudformation.rs` writes them down as a template.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The kinds of resources, in the order in which they are made; they are taken away in the opposite order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// IoT: by it a fleet knows its things.
    ThingType,
    /// IoT: for jobs and for the console.
    ThingGroup,
    /// IAM.
    Role,
    /// SQS: commits that the retire handler could not take.
    Queue,
    /// CloudWatch Logs of one function.
    LogGroup,
    /// Lambda.
    Function,
    /// Lambda: who may invoke a function, and for which source.
    Permission,
    /// IoT.
    Policy,
    /// IoT: a provisioning template.
    Template,
    /// IoT: the rule on the commit topic.
    Rule,
}

impl Kind {
    /// The kind in words.
    pub fn words(self) -> &'static str {
        match self {
            Kind::ThingType => "thing type",
            Kind::ThingGroup => "thing group",
            Kind::Role => "role",
            Kind::Queue => "queue",
            Kind::LogGroup => "log group",
            Kind::Function => "function",
            Kind::Permission => "invoke permission of",
            Kind::Policy => "policy",
            Kind::Template => "provisioning template",
            Kind::Rule => "topic rule",
        }
    }

    /// Says whether AWS lets this kind carry tags; a permission is part of its function.
    pub fn has_tags(self) -> bool {
        self != Kind::Permission
    }
}

/// One resource's name in the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Id {
    /// What it is.
    pub kind: Kind,
    /// What it is called; a permission by its function.
    pub name: String,
}

impl Id {
    /// Names a resource.
    pub fn new(kind: Kind, name: impl Into<String>) -> Self {
        Id { kind, name: name.into() }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.words(), self.name)
    }
}

/// All that is compared of a resource.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// A thing type.
    ThingType {
        /// Whether no thing may take it any more.
        deprecated: bool,
    },
    /// A thing group: its name is all.
    ThingGroup {},
    /// A role.
    #[serde(rename_all = "camelCase")]
    Role {
        /// Who may assume it.
        trust: Value,
        /// ARNs of managed policies.
        managed: BTreeSet<String>,
        /// What it may, where that is written here.
        inline: Option<Value>,
    },
    /// A queue.
    #[serde(rename_all = "camelCase")]
    Queue {
        /// How long a message stays, in seconds.
        retention: u32,
    },
    /// A log group.
    #[serde(rename_all = "camelCase")]
    LogGroup {
        /// How long a line stays, in days; `None` is for ever.
        retention: Option<i32>,
    },
    /// A function on `provided.al2023`.
    #[serde(rename_all = "camelCase")]
    Function {
        /// ARN of its role.
        role: String,
        /// `x86_64` or `arm64`.
        architecture: String,
        /// Base64 of the SHA-256 of its zip.
        code: String,
        /// Environment.
        environment: BTreeMap<String, String>,
        /// In megabytes.
        memory: i32,
        /// In seconds.
        timeout: i32,
        /// Reserved concurrency.
        concurrency: Option<i32>,
        /// ARN of the queue for events that failed.
        dead_letters: Option<String>,
    },
    /// AWS IoT may invoke a function: for one source, in one account.
    #[serde(rename_all = "camelCase")]
    Permission {
        /// ARN of the template or rule.
        source: String,
        /// The account.
        source_account: String,
    },
    /// An IoT policy's default version.
    Policy {
        /// The document.
        document: Value,
    },
    /// A provisioning template's default version.
    #[serde(rename_all = "camelCase")]
    Template {
        /// The body.
        body: Value,
        /// ARN of the role that AWS IoT provisions with.
        role: String,
        /// ARN of the hook.
        hook: Option<String>,
        /// Whether it is in use.
        enabled: bool,
    },
    /// A topic rule with one Lambda action.
    #[serde(rename_all = "camelCase")]
    Rule {
        /// The SQL.
        sql: String,
        /// The SQL's version.
        version: String,
        /// ARN of the function; `None` where the actions are others.
        function: Option<String>,
        /// Whether it is in use.
        enabled: bool,
    },
}

impl Body {
    /// The names of the fields in which two bodies differ; all of them for two kinds.
    pub fn differences(&self, other: &Body) -> Vec<String> {
        // Plain data with text keys always becomes JSON.
        let (a, b) = (serde_json::to_value(self), serde_json::to_value(other));
        let (Ok(Value::Object(a)), Ok(Value::Object(b))) = (a, b) else { return vec!["all".to_owned()] };
        let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
        keys.into_iter().filter(|k| a.get(*k) != b.get(*k)).cloned().collect()
    }
}

/// What the account has under one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its default version.
    pub body: Body,
    /// Whether it carries the fleet's tag; of a permission: whether its function does.
    pub tagged: bool,
    /// Versions of a policy or template, by number.
    pub versions: Vec<Version>,
    /// Of a policy: ids of the certificates, and ARNs of what else, that it is attached to.
    pub targets: Vec<String>,
}

impl Seen {
    /// Something tagged, without versions or targets.
    pub fn plain(body: Body, tagged: bool) -> Self {
        Seen { body, tagged, versions: Vec::new(), targets: Vec::new() }
    }
}

/// One version of a policy or template.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    /// Its number.
    pub number: i32,
    /// Whether it is the one in force.
    pub default: bool,
    /// Its document.
    pub document: Value,
}

/// The account, as far as a fleet's names and tags reach.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What is there.
    pub resources: BTreeMap<Id, Seen>,
}
