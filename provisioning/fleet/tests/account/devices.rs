//! Claims, things and their certificates; a device policy that changes; thousands of things.

use serde_json::Value;

use crate::lab::{Lab, Ran};

#[test]
fn claim_certificates_are_made_and_ended_by_batch() {
    let lab = Lab::new();
    lab.must(&["setup", "--no-claim"]);
    lab.must(&["claim", "new", "spring"]);
    let key = std::fs::read_to_string(lab.path("fleet/claims/spring/claim.key")).unwrap();
    let out = lab.must(&["claim", "new", "spring"]);
    assert!(out.contains("batch spring is there"), "{out}");
    assert_eq!(std::fs::read_to_string(lab.path("fleet/claims/spring/claim.key")).unwrap(), key);
    let before = lab.iot();
    assert_eq!(lab.run(&["claim", "revoke", "spring"]).code(), 64, "nobody said yes");
    assert_eq!(lab.iot(), before);
    lab.must(&["claim", "revoke", "spring", "--yes"]);
    assert!(!lab.iot().iter().any(|i| i.contains("certificates")));
    assert!(!lab.path("fleet/claims/spring").exists());
    assert_eq!(lab.run(&["claim", "revoke", "spring", "--yes"]).code(), 64, "there is none any more");
    assert_eq!(lab.run(&["claim", "new", "../x"]).code(), 64);
    lab.must(&["claim", "new", "spring"]);
    assert_ne!(
        std::fs::read_to_string(lab.path("fleet/claims/spring/claim.key")).unwrap(),
        key,
        "a key is used once"
    );
}

#[test]
fn a_claim_that_is_killed_in_each_change_leaves_one_certificate() {
    let lab = Lab::new();
    lab.must(&["setup", "--no-claim"]);
    assert!(lab.killed_in_each_change(&["claim", "new", "spring"]) >= 3);
    assert_eq!(lab.iot().iter().filter(|i| i.contains("certificates")).count(), 1);
}

#[test]
fn quarantine_reclaim_retire_and_sweep_do_what_their_rules_say() {
    let lab = Lab::new();
    lab.must(&["setup", "--no-claim"]);
    let policy = lab.policy("certrot-device-");
    let two = lab.device("SN-2", &policy, 2);
    let three = lab.device("SN-3", &policy, 3);
    lab.twin_http("POST", "/things/foreign", "{}");

    // Nothing committed: the sweep reports and touches nothing (rule 15).
    let out = lab.must(&["sweep"]);
    assert!(out.contains("the thing never committed") && out.contains("0 retired"), "{out}");
    assert_eq!(lab.status_of(&two[0]), "ACTIVE");

    lab.must(&["retire", "--thing", "SN-2", "--keep", &two[1]]);
    assert!(!lab.iot().iter().any(|i| i.contains(&two[0])), "the older one is gone");
    assert_eq!(lab.status_of(&two[1]), "ACTIVE");
    assert_eq!(lab.run(&["retire", "--thing", "SN-3", "--keep", &two[1]]).code(), 64, "it is not attached");

    // With a commit of the newest on record the sweep may finish.
    let commit = format!(
        r#"{{"attributePayload":{{"attributes":{{"certrot-commit":"{}@2026-01-01T00:00:00Z"}},"merge":true}}}}"#,
        three[2]
    );
    lab.twin_http("PATCH", "/things/SN-3", &commit);
    let out = lab.must(&["sweep", "--dry-run"]);
    assert!(out.contains("2 retired"), "{out}");
    assert_eq!(lab.status_of(&three[0]), "ACTIVE", "a dry run changes nothing");
    lab.must(&["sweep"]);
    assert!(!lab.iot().iter().any(|i| i.contains(&three[0]) || i.contains(&three[1])));
    assert_eq!(lab.status_of(&three[2]), "ACTIVE");

    lab.must(&["quarantine", "SN-3"]);
    assert_eq!(lab.status_of(&three[2]), "INACTIVE");
    lab.must(&["reclaim", "SN-3"]);
    assert!(lab.twin_http("GET", "/things/SN-3", "").contains("certrot-reclaim"));
    for order in ["quarantine", "reclaim"] {
        let ran = lab.run(&[order, "foreign"]);
        assert_eq!(ran.code(), 64);
        assert!(ran.err().contains("not this fleet's"), "{}", ran.err());
    }
}

#[test]
fn what_a_killed_retiring_left_with_nothing_is_seen_and_ended_and_a_foreign_one_is_not() {
    let lab = Lab::new();
    lab.must(&["setup", "--no-claim"]);
    let policy = lab.policy("certrot-device-");
    let ids = lab.device("SN-7", &policy, 2);
    let foreign = lab.device("SN-8", &policy, 1).remove(0);
    let commits = format!(
        r#"{{"attributePayload":{{"attributes":{{"certrot-commit":"{}@2026-02-01T00:00:00Z,{}@2026-01-01T00:00:00Z"}},"merge":true}}}}"#,
        ids[1], ids[0]
    );
    lab.twin_http("PATCH", "/things/SN-7", &commits);
    // As a retiring leaves it that is killed before the last of its calls; no record names the foreign one.
    for (thing, id) in [("SN-7", &ids[0]), ("SN-8", &foreign)] {
        lab.strip(thing, id, &policy);
    }
    let view: Value = serde_json::from_str(&lab.must(&["status", "--json"])).unwrap();
    let bare: Vec<&Value> =
        view["findings"].as_array().unwrap().iter().filter(|f| f["kind"] == "bare").collect();
    assert_eq!(bare.len(), 1, "{view}");
    assert_eq!(bare[0]["thing"], "SN-7");
    let out = lab.must(&["sweep", "--dry-run"]);
    assert!(out.contains("would be deleted") && out.contains("1 retired"), "{out}");
    assert_eq!(lab.status_of(&ids[0]), "REVOKED");
    lab.must(&["sweep"]);
    let left = lab.iot();
    assert!(!left.iter().any(|i| i.contains(&ids[0])), "{left:?}");
    assert!(left.iter().any(|i| i.contains(&foreign)), "{left:?}");
    assert_eq!(lab.status_of(&ids[1]), "ACTIVE");

    // cleanup --things takes such a one too.
    let two = lab.device("SN-9", &policy, 1).remove(0);
    let commit = format!(
        r#"{{"attributePayload":{{"attributes":{{"certrot-commit":"{two}@2026-01-01T00:00:00Z"}},"merge":true}}}}"#
    );
    lab.twin_http("PATCH", "/things/SN-9", &commit);
    lab.strip("SN-9", &two, &policy);
    lab.must(&["cleanup", "--things", "--yes"]);
    let left = lab.iot();
    assert_eq!(left, [format!("iot certificates {foreign}")]);
}

#[test]
fn status_shows_what_wants_a_person() {
    let lab = Lab::new();
    lab.must(&["setup"]);
    let policy = lab.policy("certrot-device-");
    lab.device("SN-1", &policy, 1);
    lab.device("SN-3", &policy, 3);
    lab.device("SN-0", &policy, 0);
    let ids = lab.device("SN-2", &policy, 2);
    let commits = format!(
        r#"{{"attributePayload":{{"attributes":{{"certrot-commit":"{}@2026-01-01T00:20:00Z,{}@2026-01-01T00:00:00Z"}},"merge":true}}}}"#,
        ids[1], ids[0]
    );
    lab.twin_http("PATCH", "/things/SN-2", &commits);
    let view: Value = serde_json::from_str(&lab.must(&["status", "--json"])).unwrap();
    assert_eq!(view["things"], 4);
    assert_eq!(view["certificates"]["ACTIVE"], 6);
    assert_eq!(view["claims"][0]["batch"], "first");
    assert_eq!(view["missing"].as_array().unwrap().len(), 0);
    let found: Vec<(String, String)> = view["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["kind"].as_str().unwrap().to_owned(), f["thing"].as_str().unwrap().to_owned()))
        .collect();
    let pair = |kind: &str, thing: &str| (kind.to_owned(), thing.to_owned());
    assert_eq!(
        found,
        [pair("second-commit", "SN-2"), pair("many-alive", "SN-3"), pair("none-alive", "SN-0")]
    );
    let words = lab.must(&["status"]);
    assert!(words.contains("certrot-fleet quarantine SN-2"), "{words}");
}

#[test]
fn thousands_of_things_are_listed_in_pages_and_cost_few_calls() {
    let lab = Lab::new();
    lab.must(&["setup", "--no-claim"]);
    lab.twin_registry(2600);
    lab.gateway.calls();
    let view: Value = serde_json::from_str(&lab.must(&["status", "--json"])).unwrap();
    assert_eq!(view["things"], 2600);
    let calls = lab.gateway.calls().len();
    assert!(calls < 150, "{calls} calls for 2600 things");
}

#[test]
fn a_changed_device_policy_reaches_devices_as_they_rotate_and_rollback_goes_back() {
    let lab = Lab::new();
    lab.must(&["setup", "--no-claim"]);
    let new = lab.policy("certrot-device-");
    // The account as an earlier release left it: its own device policy, and the templates that name it.
    let old = "certrot-device-00000000";
    let document = lab.twin_http("GET", &format!("/policies/{new}"), "");
    let document: Value = serde_json::from_str(&document).unwrap();
    let mut earlier: Value = serde_json::from_str(document["policyDocument"].as_str().unwrap()).unwrap();
    earlier["Statement"][0]["Sid"] = "Earlier".into();
    let make = serde_json::json!({
        "policyDocument": earlier.to_string(), "tags": [{ "Key": "certrot-fleet", "Value": "certrot" }],
    });
    lab.twin_http("POST", &format!("/policies/{old}"), &make.to_string());
    for template in ["certrot-claim", "certrot-rotate"] {
        let body = lab.twin_http("GET", &format!("/provisioning-templates/{template}"), "");
        let body: Value = serde_json::from_str(&body).unwrap();
        let body = body["templateBody"].as_str().unwrap().replace(&new, old);
        let version = serde_json::json!({ "templateBody": body });
        lab.twin_http(
            "POST",
            &format!("/provisioning-templates/{template}/versions?setAsDefault=true"),
            &version.to_string(),
        );
        lab.twin_http("DELETE", &format!("/provisioning-templates/{template}/versions/1"), "");
    }
    lab.twin_http("DELETE", &format!("/policies/{new}"), "");
    std::fs::remove_dir_all(lab.path("fleet")).unwrap();
    let device = lab.device("SN-1", old, 1);

    let out = lab.must(&["setup", "--no-claim"]);
    assert!(out.contains(&format!("try policy {new}")), "{out}");
    let body = lab.twin_http("GET", "/provisioning-templates/certrot-rotate", "");
    assert!(body.contains(&new));
    let kept = lab.twin_http("GET", &format!("/policies/{old}"), "");
    assert!(kept.contains("Earlier"), "what live certificates rest on is not edited: {kept}");
    assert_eq!(lab.planned(), Vec::<String>::new());

    lab.must(&["setup", "--rollback"]);
    assert!(lab.twin_http("GET", "/provisioning-templates/certrot-rotate", "").contains(old));
    lab.must(&["setup", "--no-claim", "--in-place"]);
    let kept = lab.twin_http("GET", &format!("/policies/{old}"), "");
    assert!(!kept.contains("Earlier"), "--in-place reaches it: {kept}");
    assert_eq!(lab.status_of(&device[0]), "ACTIVE");
}

#[test]
fn the_template_for_cloudformation_is_valid_by_cfn_lint() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../cloudformation/certrot.json");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/account/emulators");
    let ran = Ran(std::process::Command::new(script).args(["lint", file]).output().unwrap());
    assert_eq!(ran.code(), 0, "{}{}", ran.out(), ran.err());
}
