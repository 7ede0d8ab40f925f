//! The template is resolved as CloudFormation would, read back into the model, and held against `Desired`.

use std::collections::BTreeSet;

use super::*;
use crate::desired::STATEMENT;
use crate::desired::tests::{fleet, place};

/// Does what CloudFormation does with `Fn::Sub` and `Ref`.
fn resolved(value: &Value, place: &Place) -> Value {
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("Fn::Sub") => {
            let text = fields["Fn::Sub"].as_str().unwrap();
            let text = text
                .replace("${AWS::Partition}", &place.partition)
                .replace("${AWS::Region}", &place.region)
                .replace("${AWS::AccountId}", &place.account);
            assert!(!text.contains("${AWS"), "{text}");
            text.replace("${!", "${").into()
        }
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("Ref") => {
            format!("ref:{}", fields["Ref"].as_str().unwrap()).into()
        }
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(k, v)| (k.clone(), resolved(v, place))).collect())
        }
        Value::Array(items) => items.iter().map(|v| resolved(v, place)).collect(),
        other => other.clone(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}

fn optional(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// One resource as the model has it.
fn read(resource: &Value, all: &Value, place: &Place) -> (Id, Body) {
    let p = &resource["Properties"];
    let number = |v: &Value| i32::try_from(v.as_i64().unwrap()).unwrap();
    let (kind, name, body) = match resource["Type"].as_str().unwrap() {
        "AWS::IoT::ThingType" => {
            (Kind::ThingType, text(&p["ThingTypeName"]), Body::ThingType { deprecated: false })
        }
        "AWS::IoT::ThingGroup" => (Kind::ThingGroup, text(&p["ThingGroupName"]), Body::ThingGroup {}),
        "AWS::IAM::Role" => {
            let managed: BTreeSet<String> =
                p["ManagedPolicyArns"].as_array().into_iter().flatten().map(text).collect();
            let inline = p["Policies"].get(0);
            if let Some(inline) = inline {
                assert_eq!(inline["PolicyName"], INLINE);
            }
            let inline = inline.map(|i| i["PolicyDocument"].clone());
            let trust = p["AssumeRolePolicyDocument"].clone();
            (Kind::Role, text(&p["RoleName"]), Body::Role { trust, managed, inline })
        }
        "AWS::SQS::Queue" => {
            let retention = u32::try_from(p["MessageRetentionPeriod"].as_i64().unwrap()).unwrap();
            (Kind::Queue, text(&p["QueueName"]), Body::Queue { retention })
        }
        "AWS::Logs::LogGroup" => {
            let body = Body::LogGroup { retention: Some(number(&p["RetentionInDays"])) };
            (Kind::LogGroup, text(&p["LogGroupName"]), body)
        }
        "AWS::Lambda::Function" => {
            assert_eq!(p["Runtime"], "provided.al2023");
            let body = Body::Function {
                role: text(&p["Role"]),
                architecture: text(&p["Architectures"][0]).replace("ref:", ""),
                code: String::new(),
                environment: serde_json::from_value(p["Environment"]["Variables"].clone()).unwrap(),
                memory: number(&p["MemorySize"]),
                timeout: number(&p["Timeout"]),
                concurrency: p["ReservedConcurrentExecutions"].as_i64().map(|n| i32::try_from(n).unwrap()),
                dead_letters: optional(&p["DeadLetterConfig"]["TargetArn"]),
            };
            (Kind::Function, text(&p["FunctionName"]), body)
        }
        "AWS::Lambda::Permission" => {
            assert_eq!(
                (&p["Action"], &p["Principal"]),
                (&"lambda:InvokeFunction".into(), &"iot.amazonaws.com".into())
            );
            let function = text(&p["FunctionName"]).replace("ref:", "");
            let name = text(&resolved(&all[&function]["Properties"]["FunctionName"], place));
            let body =
                Body::Permission { source: text(&p["SourceArn"]), source_account: text(&p["SourceAccount"]) };
            (Kind::Permission, name, body)
        }
        "AWS::IoT::Policy" => {
            (Kind::Policy, text(&p["PolicyName"]), Body::Policy { document: p["PolicyDocument"].clone() })
        }
        "AWS::IoT::ProvisioningTemplate" => {
            let body = Body::Template {
                body: serde_json::from_str(p["TemplateBody"].as_str().unwrap()).unwrap(),
                role: text(&p["ProvisioningRoleArn"]),
                hook: optional(&p["PreProvisioningHook"]["TargetArn"]),
                enabled: p["Enabled"].as_bool().unwrap(),
            };
            (Kind::Template, text(&p["TemplateName"]), body)
        }
        "AWS::IoT::TopicRule" => {
            let payload = &p["TopicRulePayload"];
            let body = Body::Rule {
                sql: text(&payload["Sql"]),
                version: text(&payload["AwsIotSqlVersion"]),
                function: optional(&payload["Actions"][0]["Lambda"]["FunctionArn"]),
                enabled: !payload["RuleDisabled"].as_bool().unwrap(),
            };
            (Kind::Rule, text(&p["RuleName"]), body)
        }
        other => panic!("{other} is not read back"),
    };
    if kind.has_tags() {
        assert_eq!(p["Tags"][0]["Key"], TAG, "{name}");
    }
    (Id::new(kind, name), body)
}

fn back(fleet: &Fleet, place: &Place) -> BTreeMap<Id, Body> {
    let template = template(fleet);
    let all = &template["Resources"];
    all.as_object().unwrap().values().map(|r| read(&resolved(r, place), all, place)).collect()
}

#[test]
fn the_template_and_setup_never_differ() {
    for name in ["certrot", "lab_2-x"] {
        let fleet = Fleet::parse(name).unwrap();
        let mut place = place();
        (place.partition, place.region) = ("aws-cn".to_owned(), "cn-north-1".to_owned());
        let code = Code { architecture: ARCHITECTURE.to_owned(), hashes: BTreeMap::new() };
        let wanted = Desired::new(&fleet, &place, &Settings::default(), &code);
        assert_eq!(back(&fleet, &place), wanted.resources);
    }
}

#[test]
fn variables_of_aws_iot_are_not_cloudformations() {
    let text = template(&fleet()).to_string();
    assert!(text.contains("client/${!iot:Connection.Thing.ThingName}"));
    assert!(!text.contains("client/${iot:"));
    assert!(!text.contains(STATEMENT), "a statement id is CloudFormation's own business");
}

#[test]
fn the_template_in_the_repository_is_this_one() {
    let here = serde_json::to_string_pretty(&template(&fleet())).unwrap() + "\n";
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../cloudformation/certrot.json");
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        here == there,
        "out of date: certrot-fleet cloudformation > provisioning/cloudformation/certrot.json"
    );
}

#[test]
fn every_resource_that_is_needed_first_is_in_the_template() {
    let template = template(&fleet());
    let all = template["Resources"].as_object().unwrap();
    for (name, resource) in all {
        for need in resource["DependsOn"].as_array().into_iter().flatten() {
            assert!(all.contains_key(need.as_str().unwrap()), "{name} needs {need}");
        }
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "{name}");
    }
}
