//! Setup, again, after being killed, after drift; and cleanup.

use crate::lab::Lab;

#[test]
fn a_setup_makes_everything_and_the_second_changes_nothing() {
    let lab = Lab::new();
    lab.must(&["setup"]);
    assert_eq!(lab.planned(), Vec::<String>::new());
    lab.gateway.calls();
    let out = lab.must(&["setup"]);
    assert!(out.contains("nothing to do"), "{out}");
    let changes: Vec<_> = lab.gateway.calls().into_iter().filter(|c| c.changes).collect();
    assert_eq!(changes, []);
    let private: Vec<_> =
        lab.files().into_iter().filter(|(_, mode)| *mode == 0o600).map(|(f, _)| f).collect();
    assert_eq!(private, ["claims/first/claim.key", "ledger.json"]);
}

#[test]
fn a_setup_that_is_killed_in_each_change_is_finished_by_the_next() {
    let lab = Lab::new();
    let kills = lab.killed_in_each_change(&["setup"]);
    assert!(kills > 25, "{kills}");
    assert_eq!(lab.planned(), Vec::<String>::new());
    let certificates = lab.iot().into_iter().filter(|i| i.starts_with("iot certificates")).count();
    assert_eq!(certificates, 1, "one claim certificate, and no orphan: {:?}", lab.iot());
}

#[test]
fn drift_is_mended_and_told() {
    let lab = Lab::new();
    lab.must(&["setup"]);
    // Somebody: takes the hook off the rotation template, edits the claim policy, stops the rule, takes a tag away.
    let hookless = r#"{"removePreProvisioningHook":true,"enabled":false}"#;
    lab.twin_http("PATCH", "/provisioning-templates/certrot-rotate", hookless);
    let claim = lab.policy("certrot-claim-");
    let open = r#"{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iot:*\",\"Resource\":\"*\"}]}"}"#;
    lab.twin_http("POST", &format!("/policies/{claim}/version?setAsDefault=true"), open);
    lab.twin_http("POST", "/rules/certrot_retire/disable", "");
    let group = "arn:aws:iot:eu-west-1:123456789012:thinggroup/certrot";
    lab.twin_http("POST", "/untag", &format!(r#"{{"resourceArn":"{group}","tagKeys":["certrot-fleet"]}}"#));
    let planned = lab.planned();
    for words in [
        "tag thing group certrot".to_owned(),
        format!("put version 1 of policy {claim} in force again"),
        "set enabled, hook of provisioning template certrot-rotate".to_owned(),
        "set enabled of topic rule certrot_retire".to_owned(),
    ] {
        assert!(planned.contains(&words), "{words} in {planned:?}");
    }
    assert_eq!(planned.len(), 4, "{planned:?}");
    assert_eq!(lab.run(&["plan", "--check"]).code(), 1);
    lab.must(&["setup"]);
    assert_eq!(lab.planned(), Vec::<String>::new());
    assert_eq!(lab.run(&["plan", "--check"]).code(), 0);
}

#[test]
fn new_code_and_an_allow_list_change_the_functions_that_they_are_for() {
    let lab = Lab::new();
    lab.must(&["setup", "--open"]);
    lab.programs("two");
    let planned = lab.planned();
    assert_eq!(planned.iter().filter(|s| s.starts_with("set code of function")).count(), 3, "{planned:?}");
    lab.must(&["setup"]);
    let list = lab.path("list");
    std::fs::write(&list, "SN-2\nSN-1 # bench\n").unwrap();
    let out = lab.must(&["setup", "--allow-list", list.to_str().unwrap()]);
    assert!(out.contains("set code, environment of function certrot-claim-hook"), "{out}");
    assert!(!out.contains("rotate-hook"), "{out}");
    lab.must(&["allow", "add", "SN-3", "--lambdas", lab.path("lambdas").to_str().unwrap()]);
    assert_eq!(lab.must(&["allow", "list"]), "SN-1\nSN-2\nSN-3\n");
    assert_eq!(lab.planned(), Vec::<String>::new(), "the list is in the hook already");
    // On another machine nobody opens the fleet by accident.
    std::fs::remove_file(lab.path("fleet/allow-list.txt")).unwrap();
    let ran = lab.run(&["setup"]);
    assert_eq!(ran.code(), 78);
    assert!(ran.err().contains("--allow-list"), "{}", ran.err());
    let ran = lab.run(&["allow", "add", "claim-x", "--lambdas", "."]);
    assert_eq!(ran.code(), 78, "{}", ran.err());
}

#[test]
fn what_somebody_else_has_under_the_fleets_names_stops_everything_before_anything_is_made() {
    let lab = Lab::new();
    lab.twin_http("POST", "/thing-types/certrot", "{}");
    let before = lab.holdings();
    let ran = lab.run(&["setup"]);
    assert_eq!(ran.code(), 78, "{}", ran.err());
    assert!(ran.err().contains("thing type certrot") && ran.err().contains("--adopt"), "{}", ran.err());
    assert_eq!(lab.holdings(), before);
    lab.must(&["setup", "--adopt"]);
    assert_eq!(lab.planned(), Vec::<String>::new());
}

#[test]
fn two_fleets_share_an_account() {
    let lab = Lab::new();
    lab.must(&["setup"]);
    let other = lab.path("other");
    let mut command = lab.command(&["setup", "--name", "lab"]);
    command.args(["--dir", other.to_str().unwrap()]);
    assert_eq!(command.output().unwrap().status.code(), Some(64), "--dir twice is a mistake");
    lab.must_in("other", &["setup", "--name", "lab"]);
    lab.must_in("other", &["cleanup", "--name", "lab", "--yes"]);
    assert_eq!(lab.planned(), Vec::<String>::new(), "the other fleet is as it was");
    let left = lab.holdings();
    assert!(!left.iter().any(|i| i.contains("lab-") || i.contains("lab_")), "{left:?}");
}
