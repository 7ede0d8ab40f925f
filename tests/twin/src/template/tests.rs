//! Templates executed: the two that are shipped, each function, each override setting, and what is refused.

use certrot_rules::documents::{self, Values};
use serde_json::json;

use super::*;

const ID: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn given(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// A template whose thing name is worked out by `expression`.
fn naming(expression: Value) -> Template {
    Template::parse(&body(expression).to_string()).unwrap()
}

fn body(expression: Value) -> Value {
    json!({
        "Parameters": { "A": { "Type": "String" }, "B": { "Type": "String", "Default": "b" } },
        "Mappings": { "Sites": { "oslo": { "name": "no-1" } } },
        "Resources": {
            "cert": {
                "Type": "AWS::IoT::Certificate",
                "Properties": { "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" } }
            },
            "thing": { "Type": "AWS::IoT::Thing", "Properties": { "ThingName": expression } }
        }
    })
}

fn name(expression: Value, a: &str) -> Result<String, TemplateError> {
    Ok(naming(expression).execute(&given(&[("A", a)]), ID)?.thing.unwrap().name)
}

#[test]
fn the_shipped_templates_name_the_thing_by_serial_and_leave_an_existing_thing_as_it_is() {
    let values = Values::new("eu-west-1", "123456789012");
    for text in [documents::claim_template(&values), documents::rotation_template(&values)] {
        let template = Template::parse(&text).unwrap();
        let plan = template.execute(&given(&[("SerialNumber", "SN-1")]), ID).unwrap();
        let thing = plan.thing.unwrap();
        assert_eq!(thing.name, "SN-1");
        assert_eq!(thing.on_attributes, Override::DoNothing);
        assert_eq!(thing.on_groups, Override::DoNothing);
        assert_eq!(thing.on_thing_type, Override::DoNothing);
        assert!(thing.attributes.is_empty());
        assert_eq!(thing.groups, ["certrot"]);
        assert_eq!(thing.thing_type.as_deref(), Some("certrot"));
        let certificate = CertificatePlan {
            id: ID.to_owned(),
            status: "ACTIVE".to_owned(),
            on_status: Override::DoNothing,
        };
        assert_eq!(plan.certificate, certificate);
        assert_eq!(plan.policies, [PolicyPlan::Named("certrot-device".to_owned())]);
    }
}

#[test]
fn a_shipped_template_takes_nothing_from_a_device_but_the_serial() {
    let values = Values::new("eu-west-1", "123456789012");
    let template = Template::parse(&documents::rotation_template(&values)).unwrap();
    let other = "f".repeat(64);
    let written = given(&[
        ("SerialNumber", "SN-1"),
        ("AWS::IoT::Certificate::Id", &other),
        ("ThingName", "victim"),
        ("PolicyName", "admin"),
    ]);
    let plan = template.execute(&written, ID).unwrap();
    assert_eq!(plan.ignored, ["PolicyName", "ThingName"]);
    let plain = template.execute(&given(&[("SerialNumber", "SN-1")]), ID).unwrap();
    assert_eq!(Plan { ignored: Vec::new(), ..plan }, plain);
}

#[test]
fn a_declared_parameter_without_a_default_must_be_given() {
    let template = naming(json!({ "Ref": "A" }));
    let missing = template.execute(&BTreeMap::new(), ID);
    assert!(matches!(missing, Err(TemplateError::MissingParameter(p)) if p == "A"));
    assert_eq!(name(json!({ "Ref": "B" }), "x").unwrap(), "b");
}

#[test]
fn each_function_is_worked_out() {
    let a = json!({ "Ref": "A" });
    assert_eq!(name(json!({ "Fn::Join": ["-", [a, "x", { "Ref": "B" }]] }), "q").unwrap(), "q-x-b");
    assert_eq!(name(json!({ "Fn::Select": [1, ["p", a]] }), "q").unwrap(), "q");
    assert_eq!(name(json!({ "Fn::Select": ["0", { "Fn::Split": ["|", a] }] }), "l|r").unwrap(), "l");
    assert_eq!(name(json!({ "Fn::FindInMap": ["Sites", a, "name"] }), "oslo").unwrap(), "no-1");
    assert_eq!(name(json!({ "Fn::Sub": "t-${A}-${B}" }), "q").unwrap(), "t-q-b");
    assert_eq!(name(json!({ "Fn::Sub": ["${Own}-${A}", { "Own": { "Ref": "B" } }] }), "q").unwrap(), "b-q");
    assert_eq!(name(json!({ "Fn::Join": ["", [{ "Fn::Split": ["/", a] }, "x"]] }), "l").ok(), None);
}

#[test]
fn what_a_device_wrote_is_never_read_as_an_expression() {
    let wrote = name(json!({ "Fn::Sub": "${A}" }), "${B}");
    assert!(matches!(wrote, Err(TemplateError::ThingName(n)) if n == "${B}"));
}

#[test]
fn functions_refuse_what_they_cannot_take() {
    assert!(matches!(name(json!({ "Fn::GetAtt": [] }), "q"), Err(TemplateError::UnknownFunction(_))));
    assert!(matches!(name(json!({ "Fn::Select": [9, ["p"]] }), "q"), Err(TemplateError::OutOfRange)));
    assert!(matches!(name(json!({ "Fn::Join": ["-"] }), "q"), Err(TemplateError::Arguments { .. })));
    assert!(matches!(name(json!({ "Fn::Sub": "${A" }), "q"), Err(TemplateError::Arguments { .. })));
    assert!(matches!(name(json!({ "Ref": "C" }), "q"), Err(TemplateError::UnknownParameter(_))));
    let lost = name(json!({ "Fn::FindInMap": ["Sites", "rome", "name"] }), "q");
    assert!(matches!(lost, Err(TemplateError::NotInMap { .. })));
}

#[test]
fn a_thing_name_outside_the_alphabet_is_refused() {
    for word in ["", "a/b", "+", "#", "a b", &"x".repeat(129)] {
        assert!(matches!(name(json!({ "Ref": "A" }), word), Err(TemplateError::ThingName(_))), "{word}");
    }
}

#[test]
fn override_settings_are_read_and_merge_only_where_aws_has_it() {
    for (word, setting) in
        [("DO_NOTHING", Override::DoNothing), ("REPLACE", Override::Replace), ("FAIL", Override::Fail)]
    {
        let mut body = body(json!("t"));
        body["Resources"]["thing"]["OverrideSettings"] = json!({ "ThingTypeName": word });
        let plan = Template::parse(&body.to_string()).unwrap().execute(&given(&[("A", "a")]), ID).unwrap();
        assert_eq!(plan.thing.unwrap().on_thing_type, setting);
    }
    let mut merging = body(json!("t"));
    merging["Resources"]["thing"]["OverrideSettings"] = json!({ "AttributePayload": "MERGE" });
    let plan = Template::parse(&merging.to_string()).unwrap().execute(&given(&[("A", "a")]), ID).unwrap();
    assert_eq!(plan.thing.unwrap().on_attributes, Override::Merge);
    for bad in [json!({ "ThingTypeName": "MERGE" }), json!({ "Colour": "FAIL" }), json!({ "ThingGroups": 1 })]
    {
        merging["Resources"]["thing"]["OverrideSettings"] = bad;
        assert!(matches!(Template::parse(&merging.to_string()), Err(TemplateError::Override { .. })));
    }
}

#[test]
fn attributes_keep_to_the_limits_of_a_thing_without_a_type() {
    let mut body = body(json!("t"));
    body["Resources"]["thing"]["Properties"]["AttributePayload"] =
        json!({ "a": { "Ref": "A" }, "b": "2", "c": "3" });
    let run = |body: &Value, a: &str| Template::parse(&body.to_string())?.execute(&given(&[("A", a)]), ID);
    assert_eq!(run(&body, "x").unwrap().thing.unwrap().attributes.len(), 3);
    assert!(matches!(run(&body, "not ok"), Err(TemplateError::Attribute(a)) if a == "a"));
    body["Resources"]["thing"]["Properties"]["AttributePayload"]["d"] = json!("4");
    assert!(matches!(run(&body, "x"), Err(TemplateError::Attribute(_))));
}

#[test]
fn the_certificate_is_the_requests_own_and_nothing_else() {
    let mut other = body(json!("t"));
    other["Resources"]["cert"]["Properties"]["CertificateId"] = json!("f".repeat(64));
    let run = Template::parse(&other.to_string()).unwrap().execute(&given(&[("A", "a")]), ID);
    assert!(matches!(run, Err(TemplateError::Certificate)));
    other["Resources"]["cert"]["Properties"] = json!({ "CertificateSigningRequest": { "Ref": "A" } });
    assert!(matches!(Template::parse(&other.to_string()), Err(TemplateError::Element(_))));
}

#[test]
fn a_policy_may_be_a_document_and_device_configuration_is_text() {
    let mut body = body(json!("t"));
    body["Resources"]["policy"] = json!({
        "Type": "AWS::IoT::Policy",
        "Properties": { "PolicyDocument": { "Version": "2012-10-17", "Statement": [] } }
    });
    body["DeviceConfiguration"] = json!({ "Site": { "Fn::FindInMap": ["Sites", "oslo", "name"] } });
    let plan = Template::parse(&body.to_string()).unwrap().execute(&given(&[("A", "a")]), ID).unwrap();
    assert_eq!(
        plan.policies,
        [PolicyPlan::Document(r#"{"Statement":[],"Version":"2012-10-17"}"#.to_owned())]
    );
    assert_eq!(plan.device_configuration, given(&[("Site", "no-1")]));
}

#[test]
fn a_body_that_is_no_template_is_refused() {
    assert!(matches!(Template::parse("{"), Err(TemplateError::Json(_))));
    assert!(matches!(Template::parse("[]"), Err(TemplateError::Shape { .. })));
    assert!(matches!(Template::parse("{}"), Err(TemplateError::Shape { .. })));
    assert!(matches!(Template::parse(r#"{"Hooks":{}}"#), Err(TemplateError::Element(_))));
    assert!(matches!(Template::parse(&" ".repeat(10_241)), Err(TemplateError::TooLong)));
    let mut typed = body(json!("t"));
    typed["Parameters"]["A"]["Type"] = json!("Number");
    assert!(matches!(Template::parse(&typed.to_string()), Err(TemplateError::Shape { .. })));
}
