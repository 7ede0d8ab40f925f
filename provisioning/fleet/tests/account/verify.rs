//! `verify` against the twin and moto, with the deployed functions as programs: what it finds, and what it leaves. That
//! its table is green on a fleet as `setup` makes it is shown by `provisioning/try`, which `tests/run` runs.

use std::fs;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::gateway::Fate;
use crate::lab::{Lab, Ran};
use crate::story::real_programs;

/// A fleet with an allow-list, as `setup` makes it.
fn fleet() -> Lab {
    let lab = Lab::with(1.0);
    real_programs(&lab);
    let list = lab.path("list");
    fs::write(&list, "SN-0001\n").unwrap();
    let (port, root) = (lab.twin.port().to_string(), lab.path("twin/ca.pem"));
    let (root, list) = (root.to_str().unwrap(), list.to_str().unwrap());
    lab.must(&["setup", "--port", &port, "--root-ca", root, "--allow-list", list]);
    lab
}

fn words(lab: &Lab) -> [String; 6] {
    let lambdas = lab.path("lambdas").to_str().unwrap().to_owned();
    ["verify", "--short-life", "0s", "--json", "--lambdas", &lambdas].map(str::to_owned)
}

#[test]
fn a_fleet_with_holes_is_found_out_and_nothing_is_left_of_the_attacks_that_succeeded() {
    let lab = fleet();
    let before = lab.holdings();
    // Two holes of the old demo: no hook before rotations, and a claim that may connect as anybody.
    let hookless = r#"{"removePreProvisioningHook":true}"#;
    lab.twin_http("PATCH", "/provisioning-templates/certrot-rotate", hookless);
    let claim = lab.policy("certrot-claim-");
    let document: Value =
        serde_json::from_str(&lab.twin_http("GET", &format!("/policies/{claim}"), "")).unwrap();
    let open = document["policyDocument"].as_str().unwrap().replace("client/claim-*", "client/*");
    let body = serde_json::json!({ "policyDocument": open }).to_string();
    lab.twin_http("POST", &format!("/policies/{claim}/version?setAsDefault=true"), &body);

    let words = words(&lab);
    let ran = lab.run(&words.each_ref().map(String::as_str));
    assert_eq!(ran.code(), 1, "{}{}", ran.out(), ran.err());
    let report: Value = serde_json::from_str(&ran.out()).unwrap();
    let rows = report["rows"].as_array().unwrap();
    let broken: Vec<&str> =
        rows.iter().filter(|r| r["verdict"] == "broken").map(|r| r["what"].as_str().unwrap()).collect();
    assert_eq!(
        broken,
        [
            "a claim certificate connects as THING",
            "a claim certificate connects as anything",
            "a claim certificate connects as +",
            "a claim certificate connects as #",
            "the device's session meanwhile",
            "a device that names another thing in its rotation",
        ],
        "{}",
        ran.out()
    );
    // All else was tried all the same, and is as promised.
    for what in [
        "the old certificate after the commit",
        "a claim after reclaim",
        "CONNECT with a certificate in quarantine",
    ] {
        assert!(rows.iter().any(|r| r["what"] == what && r["verdict"] == "ok"), "{what}: {}", ran.out());
    }
    assert_eq!((&report["left"], &report["stopped"]), (&serde_json::json!([]), &Value::Null));
    assert_eq!(lab.holdings(), before);
    assert_eq!(fs::read_to_string(lab.path("fleet/allow-list.txt")).unwrap(), "SN-0001\n");
}

#[test]
fn a_verify_that_is_interrupted_leaves_nothing_and_what_a_killed_one_left_goes_with_cleanup() {
    let lab = fleet();
    let before = lab.holdings();
    let words = words(&lab);
    let words = words.each_ref().map(String::as_str);

    let running = lab.start(&words);
    until_provisioned(&lab);
    let sent = Command::new("kill").args(["-INT", &running.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ran = Ran(running.wait_with_output().unwrap());
    assert_eq!(ran.code(), 75, "{}{}", ran.out(), ran.err());
    assert!(ran.err().contains("ended by a signal"), "{}", ran.err());
    assert_eq!(lab.holdings(), before);

    let mut running: Child = lab.start(&words);
    until_provisioned(&lab);
    running.kill().unwrap();
    running.wait().unwrap();
    assert_ne!(lab.holdings(), before, "a killed program takes nothing away");
    let listed = fs::read_to_string(lab.path("fleet/allow-list.txt")).unwrap();
    assert!(listed.contains("verify-"), "{listed}");

    // The next one begins with what is left; here it gets no further, for the certificates cannot be taken apart.
    lab.gateway.each(|call| {
        if call.operation.starts_with("DELETE /certificates") { Fate::Deny } else { Fate::Pass }
    });
    let ran = lab.run(&words);
    assert_eq!(ran.code(), 75, "{}{}", ran.out(), ran.err());
    assert!(ran.err().contains("certificate ") && ran.err().contains("DeleteCertificate"), "{}", ran.err());
    lab.gateway.pass();

    // Without --things: the throw-away devices are nobody's.
    lab.twin.clock().set_rate(400.0);
    lab.must(&["cleanup", "--yes"]);
    assert_eq!(lab.holdings(), Vec::<String>::new());
}

/// Waits until the throw-away thing has its first certificate.
fn until_provisioned(lab: &Lab) {
    let end = Instant::now() + Duration::from_secs(60);
    let thing = |i: &String| i.starts_with("iot things verify-") && !i.ends_with("-other");
    while !lab.iot().iter().any(thing) {
        assert!(Instant::now() < end, "never provisioned");
        std::thread::sleep(Duration::from_millis(50));
    }
}
