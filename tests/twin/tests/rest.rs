//! The REST side on the wire: AWS's paths, JSON and errors, and the `/twin/` paths.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use certrot_twin::Status;
use serde_json::{Value, json};
use support::{Lab, PATIENCE};

/// One request over a connection of its own; status, the error's name, the body.
fn call(lab: &Lab, method: &str, path: &str, principal: Option<&str>, body: &str) -> (u16, String, Value) {
    let mut socket = TcpStream::connect(("127.0.0.1", lab.twin.api_port())).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let principal = principal.map(|p| format!("x-amzn-principal: {p}\r\n")).unwrap_or_default();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{principal}\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let error =
        head.lines().find_map(|l| l.strip_prefix("x-amzn-errortype: ")).unwrap_or_default().to_owned();
    (status, error, serde_json::from_str(body).unwrap_or(Value::Null))
}

fn get(lab: &Lab, path: &str) -> Value {
    let (status, _, body) = call(lab, "GET", path, None, "");
    assert_eq!(status, 200, "{path} {body}");
    body
}

#[test]
fn what_is_missing_is_a_resource_not_found_exception() {
    let lab = Lab::new();
    for (method, path) in [
        ("GET", "/certificates/00"),
        ("GET", "/things/none"),
        ("GET", "/things/none/principals"),
        ("PUT", "/certificates/00?newStatus=INACTIVE"),
        ("DELETE", "/certificates/00"),
        ("GET", "/policies/none"),
    ] {
        let (status, error, body) = call(&lab, method, path, None, "");
        assert_eq!((status, error.as_str()), (404, "ResourceNotFoundException"), "{method} {path}");
        assert!(body["message"].is_string());
    }
    assert_eq!(call(&lab, "GET", "/nothing", None, "").0, 404);
}

#[test]
fn a_certificate_is_described_and_switched_off_and_its_session_closed() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    let id = identity.id();
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    let path = format!("/certificates/{id}");
    let described = &get(&lab, &path)["certificateDescription"];
    assert_eq!((&described["status"], &described["certificateId"]), (&json!("ACTIVE"), &json!(id)));
    assert_eq!(described["validity"]["notAfter"], 2_524_607_999_i64);
    assert_eq!(described["certificatePem"], identity.certificate);
    assert_eq!(call(&lab, "DELETE", &path, None, "").1, "CertificateStateException");
    assert_eq!(call(&lab, "PUT", &format!("{path}?newStatus=PENDING_ACTIVATION"), None, "").0, 400);
    assert_eq!(call(&lab, "PUT", &format!("{path}?newStatus=REVOKED"), None, "").0, 200);
    assert!(device.is_closed_within(PATIENCE));
    assert_eq!(lab.twin.certificate(&id).unwrap().status, Status::Revoked);
    assert_eq!(call(&lab, "DELETE", &path, None, "").1, "DeleteConflictException");
}

#[test]
fn principals_and_things_name_each_other_until_detached() {
    let lab = Lab::new();
    let id = lab.provision("SN-1").id();
    let arn = format!("arn:aws:iot:eu-west-1:123456789012:cert/{id}");
    assert_eq!(get(&lab, "/things/SN-1/principals")["principals"], json!([arn]));
    let things = call(&lab, "GET", "/principals/things", Some(&arn), "").2;
    assert_eq!(things["things"], json!(["SN-1"]));
    assert_eq!(call(&lab, "DELETE", "/things/SN-1/principals", Some(&arn), "").0, 200);
    assert_eq!(get(&lab, "/things/SN-1/principals")["principals"], json!([]));
    assert_eq!(call(&lab, "GET", "/principals/things", None, "").1, "InvalidRequestException");
}

#[test]
fn an_update_with_the_wrong_version_changes_nothing() {
    let lab = Lab::new();
    lab.twin.create_thing("T").unwrap();
    let update = |version: i64| {
        let payload = json!({ "attributes": { "a": "b" }, "merge": true });
        json!({ "attributePayload": payload, "expectedVersion": version }).to_string()
    };
    assert_eq!(call(&lab, "PATCH", "/things/T", None, &update(7)).1, "VersionConflictException");
    assert_eq!(get(&lab, "/things/T")["attributes"], json!({}));
    assert_eq!(call(&lab, "PATCH", "/things/T", None, &update(1)).0, 200);
    assert_eq!(get(&lab, "/things/T")["attributes"]["a"], "b");
}

#[test]
fn lists_come_in_pages() {
    let lab = Lab::new();
    for n in 0..3 {
        lab.twin.create_thing(&format!("T{n}")).unwrap();
    }
    let first = get(&lab, "/things?maxResults=2");
    assert_eq!(first["things"].as_array().unwrap().len(), 2);
    let rest = get(&lab, &format!("/things?maxResults=2&nextToken={}", first["nextToken"].as_str().unwrap()));
    assert_eq!((rest["things"][0]["thingName"].as_str(), &rest["nextToken"]), (Some("T2"), &Value::Null));
}

#[test]
fn faults_time_and_validity_are_ordered_over_rest() {
    let lab = Lab::new();
    let fault = json!({ "on": "api:DescribeThing", "effect": "throttle", "times": 1 });
    assert_eq!(call(&lab, "POST", "/twin/faults", None, &fault.to_string()).0, 200);
    assert_eq!(call(&lab, "GET", "/things/T", None, "").1, "ThrottlingException");
    assert_eq!(call(&lab, "GET", "/things/T", None, "").1, "ResourceNotFoundException");
    assert_eq!(call(&lab, "POST", "/twin/faults", None, r#"{"on":"x","effect":"nonsense"}"#).0, 400);
    let before = get(&lab, "/twin/time")["nowMs"].as_i64().unwrap();
    call(&lab, "POST", "/twin/time", None, r#"{"advanceMs":3600000}"#);
    assert!(get(&lab, "/twin/time")["nowMs"].as_i64().unwrap() >= before + 3_600_000);
    let validity = r#"{"backdateSeconds":60,"lifeSeconds":600}"#;
    assert_eq!(call(&lab, "PUT", "/twin/validity", None, validity).0, 200);
    let issued = lab.twin.certificate(&lab.twin.issue("T").unwrap().id).unwrap();
    assert_eq!(issued.not_after - issued.not_before, 660);
    call(&lab, "PUT", "/twin/allow-list", None, r#"["SN-9"]"#);
    let mut claim = lab.connect(&lab.claim(), "claim-a").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    assert_eq!(claim.register("certrot-claim", &fresh.token, "SN-1").unwrap_err()["statusCode"], 403);
    assert!(claim.register("certrot-claim", &fresh.token, "SN-9").is_ok());
    let kinds: Vec<Value> =
        get(&lab, "/twin/events").as_array().unwrap().iter().map(|e| e["kind"].clone()).collect();
    assert!(kinds.contains(&json!("registered")) && kinds.contains(&json!("fault")), "{kinds:?}");
}

#[test]
fn a_message_over_rest_reaches_the_device() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    device.subscribe(&["device/SN-1/certrot/rotate"]).unwrap();
    let path = "/topics/device%2FSN-1%2Fcertrot%2Frotate?qos=1";
    assert_eq!(call(&lab, "POST", path, None, "{}").0, 200);
    assert_eq!(device.message(PATIENCE).unwrap().payload, b"{}");
}
