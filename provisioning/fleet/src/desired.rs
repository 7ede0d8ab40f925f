//! What an account must have for a fleet, made from the documents under `provisioning/`.
//!
//! Nothing else says what is wanted: `plan.rs` compares it with what is there, `cloudformation.rs` writes it as a
//! template, the tests hold it against AWS's limits. Policies are named by their content; templates keep their names,
//! which stand in the configuration of devices in the field, and get versions.

use std::collections::{BTreeMap, BTreeSet};

use certrot_rules::documents;
use serde_json::Value;

use crate::model::{Body, Id, Kind};
use crate::names::{Fleet, Place};

/// What an operator can set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Reserved concurrency of the retire handler; `None` leaves it to the account.
    pub retire_concurrency: Option<i32>,
    /// How long logs stay, in days.
    pub log_days: i32,
    /// Whether the claim hook's zip holds an allow-list.
    pub allow_list: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { retire_concurrency: Some(RETIRE_CONCURRENCY), log_days: LOG_DAYS, allow_list: false }
    }
}

/// What the functions are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Code {
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// Base64 of the SHA-256 of each function's zip, by the function's name.
    pub hashes: BTreeMap<String, String>,
}

/// The resources of a fleet.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// By id: in the order of making.
    pub resources: BTreeMap<Id, Body>,
    /// The policy of new device certificates.
    pub device_policy: String,
    /// The policy of claim certificates.
    pub claim_policy: String,
}

impl Desired {
    /// Works out what a fleet needs.
    pub fn new(fleet: &Fleet, place: &Place, settings: &Settings, code: &Code) -> Self {
        let device_policy = device_policy_name(fleet);
        let claim_policy = claim_policy_name(fleet);
        let values = place.values(fleet, &device_policy);
        let words = Words::new(fleet, place);
        let function = |name: &str| place.arn("lambda", &format!("function:{name}"));
        let role = |what: &str| place.role_arn(&fleet.role(&place.region, what));
        let mut resources = BTreeMap::new();
        let mut add = |kind, name: &str, body| resources.insert(Id::new(kind, name), body);

        add(Kind::ThingType, fleet.as_str(), Body::ThingType { deprecated: false });
        add(Kind::ThingGroup, fleet.as_str(), Body::ThingGroup {});
        add(
            Kind::Role,
            &fleet.role(&place.region, PROVISIONING),
            Body::Role {
                trust: words.filled(TRUST_IOT),
                managed: BTreeSet::from([format!("arn:{}:iam::aws:policy/{REGISTRATION}", place.partition)]),
                inline: None,
            },
        );
        for (what, document) in [(CLAIM, CLAIM_ROLE), (ROTATE, ROTATE_ROLE), (RETIRE, RETIRE_ROLE)] {
            let body = Body::Role {
                trust: words.filled(TRUST_LAMBDA),
                managed: BTreeSet::new(),
                inline: Some(words.filled(document)),
            };
            add(Kind::Role, &fleet.role(&place.region, what), body);
        }
        add(Kind::Queue, &fleet.dead_letters(), Body::Queue { retention: DEAD_LETTERS_STAY });

        let dead_letters = Some(place.arn("sqs", &fleet.dead_letters()));
        let mut listed = BTreeMap::from([("CERTROT_HOOK".to_owned(), "claim".to_owned())]);
        if settings.allow_list {
            listed.insert(ALLOW_LIST_VARIABLE.to_owned(), ALLOW_LIST.to_owned());
        }
        let rotates = BTreeMap::from([("CERTROT_HOOK".to_owned(), "rotate".to_owned())]);
        let retires = BTreeMap::from([("CERTROT_THING_TYPE".to_owned(), fleet.as_str().to_owned())]);
        for (name, what, environment, timeout, concurrency, dead_letters) in [
            (fleet.claim_hook(), CLAIM, listed, HOOK_TIMEOUT, None, None),
            (fleet.rotate_hook(), ROTATE, rotates, HOOK_TIMEOUT, None, None),
            (fleet.retire(), RETIRE, retires, RETIRE_TIMEOUT, settings.retire_concurrency, dead_letters),
        ] {
            add(
                Kind::LogGroup,
                &Fleet::log_group(&name),
                Body::LogGroup { retention: Some(settings.log_days) },
            );
            let body = Body::Function {
                role: role(what),
                architecture: code.architecture.clone(),
                code: code.hashes.get(&name).cloned().unwrap_or_default(),
                environment,
                memory: MEMORY,
                timeout,
                concurrency,
                dead_letters,
            };
            add(Kind::Function, &name, body);
        }

        let template = |name: &str| place.arn("iot", &format!("provisioningtemplate/{name}"));
        for (name, source) in [
            (fleet.claim_hook(), template(&fleet.claim_template())),
            (fleet.rotate_hook(), template(&fleet.rotation_template())),
            (fleet.retire(), place.arn("iot", &format!("rule/{}", fleet.rule()))),
        ] {
            add(Kind::Permission, &name, Body::Permission { source, source_account: place.account.clone() });
        }
        add(
            Kind::Policy,
            &device_policy,
            Body::Policy { document: parsed(&documents::device_policy(&values)) },
        );
        add(
            Kind::Policy,
            &claim_policy,
            Body::Policy { document: parsed(&documents::claim_policy(&values)) },
        );
        for (name, hook, body) in [
            (fleet.claim_template(), fleet.claim_hook(), documents::claim_template(&values)),
            (fleet.rotation_template(), fleet.rotate_hook(), documents::rotation_template(&values)),
        ] {
            let body = Body::Template {
                body: parsed(&body),
                role: role(PROVISIONING),
                hook: Some(function(&hook)),
                enabled: true,
            };
            add(Kind::Template, &name, body);
        }
        let rule = Body::Rule {
            sql: documents::COMMIT_RULE_SQL.to_owned(),
            version: SQL_VERSION.to_owned(),
            function: Some(function(&fleet.retire())),
            enabled: true,
        };
        add(Kind::Rule, &fleet.rule(), rule);
        Desired { resources, device_policy, claim_policy }
    }

    /// Names of the functions and the program that each is made of.
    pub fn functions(fleet: &Fleet) -> [(String, Program); 3] {
        [
            (fleet.claim_hook(), Program::Hook),
            (fleet.rotate_hook(), Program::Hook),
            (fleet.retire(), Program::Retire),
        ]
    }

    /// The document of a policy that is wanted.
    pub fn policy(&self, name: &str) -> Option<&Value> {
        match self.resources.get(&Id::new(Kind::Policy, name)) {
            Some(Body::Policy { document }) => Some(document),
            _ => None,
        }
    }
}

/// The two programs that functions run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Both hooks.
    Hook,
    /// The handler of commits.
    Retire,
}

/// The file of the allow-list in the claim hook's zip.
pub const ALLOW_LIST: &str = "allow-list.txt";

/// The claim hook's variable that names it; without it the fleet is open.
pub const ALLOW_LIST_VARIABLE: &str = "CERTROT_ALLOW_LIST";

/// The name of the inline policy of a role.
pub const INLINE: &str = "certrot";

/// The id of the one statement that lets AWS IoT invoke a function.
pub const STATEMENT: &str = "certrot-iot";

fn device_policy_name(fleet: &Fleet) -> String {
    let values = Place::symbolic().values(fleet, "");
    format!("{}{}", fleet.device_policy_prefix(), short_hash(&documents::device_policy(&values)))
}

/// The name of the claim policy as its document is now.
pub fn claim_policy_name(fleet: &Fleet) -> String {
    let values = Place::symbolic().values(fleet, "");
    format!("{}{}", fleet.claim_policy_prefix(), short_hash(&documents::claim_policy(&values)))
}

/// Eight hex digits of a document's SHA-256: enough to tell the handful of documents that one fleet ever has.
pub fn short_hash(document: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, document.as_bytes());
    digest.as_ref().iter().take(4).map(|b| format!("{b:02x}")).collect()
}

/// The words for the role documents.
struct Words<'a> {
    place: &'a Place,
    claim_hook: String,
    rotate_hook: String,
    retire: String,
    dead_letters: String,
}

impl<'a> Words<'a> {
    fn new(fleet: &Fleet, place: &'a Place) -> Self {
        Words {
            place,
            claim_hook: fleet.claim_hook(),
            rotate_hook: fleet.rotate_hook(),
            retire: fleet.retire(),
            dead_letters: fleet.dead_letters(),
        }
    }

    fn filled(&self, source: &str) -> Value {
        let mut document = parsed(source);
        documents::fill(
            &mut document,
            &[
                ("{partition}", &self.place.partition),
                ("{region}", &self.place.region),
                ("{account}", &self.place.account),
                ("{claim-hook}", &self.claim_hook),
                ("{rotate-hook}", &self.rotate_hook),
                ("{retire}", &self.retire),
                ("{dead-letters}", &self.dead_letters),
            ],
        );
        document
    }
}

fn parsed(document: &str) -> Value {
    // The documents are compiled in and a test fills in each: this cannot fail in the field.
    serde_json::from_str(document).expect("a document of this crate parses")
}

const TRUST_IOT: &str = include_str!("../../roles/trust-iot.json");
const TRUST_LAMBDA: &str = include_str!("../../roles/trust-lambda.json");
const CLAIM_ROLE: &str = include_str!("../../roles/claim-hook.json");
const ROTATE_ROLE: &str = include_str!("../../roles/rotate-hook.json");
const RETIRE_ROLE: &str = include_str!("../../roles/retire.json");

/// AWS's managed policy for the provisioning role (developer guide, "Provisioning by claim").
const REGISTRATION: &str = "service-role/AWSIoTThingsRegistration";

const PROVISIONING: &str = "provisioning";
const CLAIM: &str = "claim-hook";
const ROTATE: &str = "rotate-hook";
const RETIRE: &str = "retire";

/// The version of the rule's SQL (`documents::COMMIT_RULE_SQL`).
const SQL_VERSION: &str = "2016-03-23";

/// AWS IoT waits 5 s for a hook and no longer (facts); a hook that is at work then answers nobody.
const HOOK_TIMEOUT: i32 = 5;
/// A commit with a handful of older certificates and the pauses of rule 13 takes seconds.
const RETIRE_TIMEOUT: i32 = 60;
/// The processor's share grows with it; 256 MB start a static binary in tens of milliseconds.
const MEMORY: i32 = 256;
/// AWS IoT's quotas of 10 calls a second for each API feed no more handlers than this.
const RETIRE_CONCURRENCY: i32 = 5;
const LOG_DAYS: i32 = 30;
/// SQS's longest.
const DEAD_LETTERS_STAY: u32 = 14 * 24 * 3600;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use certrot_rules::documents::{POLICY_LIMIT, TEMPLATE_LIMIT};

    pub(crate) fn place() -> Place {
        let word = |w: &str| w.to_owned();
        Place { partition: word("aws"), region: word("eu-west-1"), account: word("123456789012") }
    }

    pub(crate) fn fleet() -> Fleet {
        Fleet::parse("certrot").unwrap()
    }

    pub(crate) fn desired() -> Desired {
        let code = Code { architecture: "x86_64".to_owned(), hashes: BTreeMap::new() };
        Desired::new(&fleet(), &place(), &Settings::default(), &code)
    }

    #[test]
    fn documents_keep_within_the_limits_of_aws_with_the_longest_names() {
        let fleet = Fleet::parse(&"x".repeat(29)).unwrap();
        let mut place = place();
        place.region = "ap-southeast-2".to_owned();
        let code = Code { architecture: "arm64".to_owned(), hashes: BTreeMap::new() };
        for (id, body) in Desired::new(&fleet, &place, &Settings::default(), &code).resources {
            match body {
                Body::Policy { document } => {
                    assert!(document.to_string().chars().count() <= POLICY_LIMIT, "{id}");
                    assert!(id.name.len() <= 128);
                }
                Body::Template { body, .. } => {
                    assert!(body.to_string().chars().count() <= TEMPLATE_LIMIT, "{id}");
                    assert!(id.name.len() <= 36, "{id}");
                }
                // IAM: 10,240 characters of inline policies a role, 2048 of trust; names of 64.
                Body::Role { trust, inline, .. } => {
                    assert!(trust.to_string().len() <= 2048, "{id}");
                    assert!(inline.map_or(0, |i| i.to_string().len()) <= 10_240, "{id}");
                    assert!(id.name.len() <= 64, "{id}");
                }
                Body::Function { .. } => assert!(id.name.len() <= 64, "{id}"),
                _ => {}
            }
        }
    }

    #[test]
    fn no_placeholder_is_left_in_any_resource() {
        let text = format!("{:?}", desired().resources);
        for word in
            ["{partition}", "{region}", "{account}", "-hook}", "{retire}", "{dead-", "{thing-", "-policy}"]
        {
            assert!(!text.contains(word), "{word}");
        }
    }

    #[test]
    fn a_policy_has_one_name_in_every_account_and_another_when_its_document_changes() {
        let here = desired();
        let mut other = place();
        other.account = "999999999999".to_owned();
        let code = Code { architecture: "x86_64".to_owned(), hashes: BTreeMap::new() };
        let there = Desired::new(&fleet(), &other, &Settings::default(), &code);
        assert_eq!(here.device_policy, there.device_policy);
        assert_ne!(here.policy(&here.device_policy), there.policy(&there.device_policy));
        assert_ne!(short_hash("a"), short_hash("b"));
    }

    #[test]
    fn every_function_may_be_invoked_by_one_source_of_this_account_only() {
        let desired = desired();
        for (name, _) in Desired::functions(&fleet()) {
            let Some(Body::Permission { source, source_account }) =
                desired.resources.get(&Id::new(Kind::Permission, name.clone()))
            else {
                panic!("{name} has no permission");
            };
            assert_eq!(source_account, "123456789012");
            assert!(
                source.starts_with("arn:aws:iot:eu-west-1:123456789012:") && !source.contains('*'),
                "{source}"
            );
        }
    }

    #[test]
    fn the_rotation_hook_may_call_nothing_and_no_role_has_a_wildcard_action() {
        for document in [CLAIM_ROLE, ROTATE_ROLE, RETIRE_ROLE] {
            for statement in parsed(document)["Statement"].as_array().unwrap() {
                let actions = statement["Action"].to_string();
                assert!(!actions.contains('*'), "{actions}");
            }
        }
        assert!(!ROTATE_ROLE.contains("iot:"));
    }
}
