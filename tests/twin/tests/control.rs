//! What is made over REST is what RegisterThing and the commit topic obey: templates, hooks, groups, types, rules.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use certrot_rules::documents::{COMMIT_RULE_SQL, ROTATION_TEMPLATE};
use certrot_twin::{Event, Status};
use serde_json::{Value, json};
use support::{Lab, MOMENT, PATIENCE};

/// One request; its answer, with the error's name in the place of a refused one's body.
fn call(lab: &Lab, method: &str, path: &str, body: &Value) -> Result<Value, String> {
    let mut socket = TcpStream::connect(("127.0.0.1", lab.twin.api_port())).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = body.to_string();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    match head.lines().find_map(|l| l.strip_prefix("x-amzn-errortype: ")) {
        Some(error) => Err(error.to_owned()),
        None => Ok(serde_json::from_str(body).unwrap()),
    }
}

/// A template that gives its things a group, a type and a configuration.
fn body() -> String {
    json!({
        "Parameters": {
            "SerialNumber": { "Type": "String" },
            "AWS::IoT::Certificate::Id": { "Type": "String" },
        },
        "Resources": {
            "certificate": {
                "Type": "AWS::IoT::Certificate",
                "Properties": { "CertificateId": { "Ref": "AWS::IoT::Certificate::Id" }, "Status": "Active" },
            },
            "policy": { "Type": "AWS::IoT::Policy", "Properties": { "PolicyName": "certrot-device" } },
            "thing": {
                "Type": "AWS::IoT::Thing",
                "Properties": {
                    "ThingName": { "Ref": "SerialNumber" },
                    "ThingTypeName": "lab",
                    "ThingGroups": ["lab"],
                },
            },
        },
        "DeviceConfiguration": { "made": "over REST" },
    })
    .to_string()
}

fn make_template(lab: &Lab, hook: Option<&str>) {
    let mut template = json!({
        "templateName": "certrot-claim",
        "templateBody": body(),
        "enabled": true,
        "provisioningRoleArn": "arn:aws:iam::123456789012:role/r",
    });
    if let Some(hook) = hook {
        let arn = format!("arn:aws:lambda:eu-west-1:123456789012:function:{hook}");
        template["preProvisioningHook"] = json!({ "targetArn": arn });
    }
    call(lab, "DELETE", "/provisioning-templates/certrot-claim", &json!({})).unwrap();
    call(lab, "POST", "/provisioning-templates", &template).unwrap();
}

/// Claims as a device would; what it is told.
fn claim(lab: &Lab, serial: &str) -> Result<Value, u64> {
    let mut claim = lab.connect(&lab.claim(), "claim-lab").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    claim.register("certrot-claim", &fresh.token, serial).map_err(|e| e["statusCode"].as_u64().unwrap())
}

#[test]
fn register_thing_executes_the_template_that_was_made() {
    let lab = Lab::new();
    make_template(&lab, Some("lab-claim-hook"));
    assert_eq!(claim(&lab, "SN-1"), Err(404), "its thing type is not there");
    call(&lab, "POST", "/thing-types/lab", &json!({})).unwrap();
    assert_eq!(claim(&lab, "SN-1"), Err(404), "its thing group is not there");
    assert!(lab.twin.thing("SN-1").is_none(), "a plan that fails leaves no trace");
    call(&lab, "POST", "/thing-groups/lab", &json!({})).unwrap();
    let told = claim(&lab, "SN-1").unwrap();
    assert_eq!(told["deviceConfiguration"], json!({ "made": "over REST" }));
    let thing = lab.twin.thing("SN-1").unwrap();
    assert_eq!((thing.type_name.as_deref(), thing.groups.len()), (Some("lab"), 1));
    assert_eq!(claim(&lab, "SN-1"), Err(403), "the hook is asked");
    call(&lab, "PATCH", "/provisioning-templates/certrot-claim", &json!({ "enabled": false })).unwrap();
    assert_eq!(claim(&lab, "SN-2"), Err(400), "it is disabled");
}

#[test]
fn a_template_without_a_hook_lets_everybody_in_and_one_whose_hook_is_missing_nobody() {
    let lab = Lab::new();
    for path in ["/thing-types/lab", "/thing-groups/lab"] {
        call(&lab, "POST", path, &json!({})).unwrap();
    }
    make_template(&lab, None);
    assert!(claim(&lab, "SN-1").is_ok());
    assert!(claim(&lab, "SN-1").is_ok(), "that is why a template has a hook");
    make_template(&lab, Some("nothing-of-this-name"));
    assert_eq!(claim(&lab, "SN-2"), Err(403));
    make_template(&lab, Some("lab-retire"));
    assert_eq!(claim(&lab, "SN-2"), Err(403), "the retire handler is no hook");
}

#[test]
fn a_version_in_force_is_executed_and_the_one_before_it_again_after_a_rollback() {
    let lab = Lab::new();
    let versions = format!("/provisioning-templates/{ROTATION_TEMPLATE}/versions");
    let path = format!("/provisioning-templates/{ROTATION_TEMPLATE}");
    for path in ["/thing-types/lab", "/thing-groups/lab"] {
        call(&lab, "POST", path, &json!({})).unwrap();
    }
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    let mut rotate = || {
        let fresh = device.create_from_csr().unwrap();
        device.register(ROTATION_TEMPLATE, &fresh.token, "SN-1").unwrap()["deviceConfiguration"].clone()
    };
    assert_eq!(rotate(), json!({}));
    // The thing has another type by now: what is there stays only where the template says so.
    let changed = body().replace("\"ThingTypeName\":\"lab\",", "").replace("\"ThingGroups\":[\"lab\"],", "");
    let version =
        call(&lab, "POST", &format!("{versions}?setAsDefault=true"), &json!({ "templateBody": changed }));
    assert_eq!(version.unwrap()["versionId"], 2);
    assert_eq!(rotate(), json!({ "made": "over REST" }));
    call(&lab, "PATCH", &path, &json!({ "defaultVersionId": 1 })).unwrap();
    assert_eq!(rotate(), json!({}));
}

#[test]
fn commits_are_handled_by_the_rule_that_is_there_and_by_none_when_it_is_off_or_gone() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    device.subscribe(&["device/SN-1/certrot/commit/accepted"]).unwrap();
    let payload = json!({ "certificateId": identity.id() }).to_string();
    let mut heard = |within: Duration| {
        device.publish("device/SN-1/certrot/commit", payload.as_bytes());
        device.message(within).is_some()
    };
    assert!(heard(PATIENCE));
    call(&lab, "POST", "/rules/certrot_retire/disable", &json!({})).unwrap();
    assert!(!heard(MOMENT));
    call(&lab, "DELETE", "/rules/certrot_retire", &json!({})).unwrap();
    assert!(!heard(MOMENT));
    let function = "arn:aws:lambda:eu-west-1:123456789012:function:certrot-retire";
    let actions = json!([{ "lambda": { "functionArn": function } }]);
    let rule = json!({ "sql": COMMIT_RULE_SQL, "awsIotSqlVersion": "2016-03-23", "actions": actions });
    call(&lab, "POST", "/rules/mine", &rule).unwrap();
    assert!(heard(PATIENCE));
    assert_eq!(lab.twin.count(|e| matches!(e, Event::Commit { accepted: true, .. })), 2);
}

#[test]
fn an_empty_account_has_nothing_and_is_filled_over_rest() {
    let lab = Lab::with(|o| o.empty = true);
    assert!(!lab.twin.claim_certificate().exists());
    for (path, list) in [("/policies", "policies"), ("/rules", "rules"), ("/certificates", "certificates")] {
        assert_eq!(call(&lab, "GET", path, &json!({})).unwrap()[list], json!([]));
    }
    assert_eq!(call(&lab, "GET", "/rules/certrot_retire", &json!({})), Err("UnauthorizedException".into()));
}

#[test]
fn thousands_of_things_and_certificates_come_in_pages_of_at_most_250() {
    let lab = Lab::new();
    lab.twin.cloud().change(|r| {
        let one = r.certificates.values().next().unwrap().clone();
        for n in 0..3000 {
            r.create_thing(&format!("T{n:04}"), Default::default()).unwrap();
            let id = format!("{n:064x}");
            let certificate =
                certrot_twin::Certificate { id: id.clone(), status: Status::Inactive, ..one.clone() };
            r.certificates.insert(id, certificate);
        }
    });
    for (path, list, token, query) in [
        ("/things", "things", "nextToken", "maxResults=250&nextToken"),
        ("/certificates", "certificates", "nextMarker", "pageSize=250&marker"),
    ] {
        let (mut seen, mut pages, mut next) = (0, 0, "0".to_owned());
        loop {
            let page = call(&lab, "GET", &format!("{path}?{query}={next}"), &json!({})).unwrap();
            seen += page[list].as_array().unwrap().len();
            pages += 1;
            match page[token].as_str() {
                Some(token) => token.clone_into(&mut next),
                None => break,
            }
        }
        assert!(seen >= 3000 && pages >= 12, "{path} {seen} {pages}");
    }
}
