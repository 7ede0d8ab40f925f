//! Cleanup: nothing is left, and nothing of anybody else's is touched.

use crate::lab::Lab;

#[test]
fn cleanup_leaves_nothing_behind_and_foreign_resources_alone() {
    let lab = Lab::new();
    lab.twin_http("POST", "/things/somebody", "{}");
    lab.twin_http("POST", "/thing-types/somebodys", "{}");
    let document = r#"{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[]}"}"#;
    lab.twin_http("POST", "/policies/certrot-device-elsewhere", document);
    lab.twin_http("POST", "/policies/certrot-device-0badcafe", document);
    let before = lab.holdings();
    lab.must(&["setup"]);
    lab.must(&["claim", "new", "second"]);
    assert!(lab.holdings().len() > before.len() + 15);
    let ran = lab.run(&["cleanup"]);
    assert_eq!(ran.code(), 64, "nobody is there to say yes: {}", ran.err());
    assert!(ran.err().contains("2 claim certificates"), "{}", ran.err());
    let ran = lab.run(&["cleanup", "--yes"]);
    assert_eq!(ran.code(), 75, "{}{}", ran.out(), ran.err());
    assert!(ran.err().contains("certrot-device-0badcafe (not this fleet's)"), "{}", ran.err());
    assert_eq!(lab.holdings(), before);
    lab.twin_http("DELETE", "/policies/certrot-device-0badcafe", "");
    lab.must(&["cleanup", "--yes"]);
    assert_eq!(lab.files(), []);
    assert!(!lab.path("fleet").exists());
}

#[test]
fn cleanup_of_an_account_without_a_fleet_has_nothing_to_do() {
    let lab = Lab::new();
    lab.must(&["cleanup"]);
    assert_eq!(lab.iot(), Vec::<String>::new());
}

#[test]
fn cleanup_without_the_ledger_finds_everything_by_its_tag() {
    let lab = Lab::new();
    let before = lab.holdings();
    lab.must(&["setup"]);
    std::fs::remove_dir_all(lab.path("fleet")).unwrap();
    lab.must(&["cleanup", "--yes"]);
    assert_eq!(lab.holdings(), before);
}

#[test]
fn cleanup_with_live_devices_leaves_them_and_says_so_and_takes_them_when_told() {
    let lab = Lab::new();
    let before = lab.holdings();
    lab.must(&["setup"]);
    let policy = lab.policy("certrot-device-");
    lab.device("SN-1", &policy, 2);
    lab.device("SN-2", &policy, 1);
    let ran = lab.run(&["cleanup", "--yes"]);
    assert_eq!(ran.code(), 75, "{}", ran.err());
    assert!(ran.err().contains("3 device certificates rest on it"), "{}", ran.err());
    let left = lab.iot();
    assert_eq!(left.iter().filter(|i| i.starts_with("iot certificates")).count(), 3, "{left:?}");
    assert!(left.contains(&format!("iot policies {policy}")));
    lab.must(&["cleanup", "--things", "--yes"]);
    assert_eq!(lab.holdings(), before);
}

#[test]
fn a_cleanup_that_is_killed_in_each_change_is_finished_by_the_next() {
    let lab = Lab::new();
    let before = lab.holdings();
    lab.must(&["setup"]);
    let policy = lab.policy("certrot-device-");
    lab.device("SN-1", &policy, 1);
    let kills = lab.killed_in_each_change(&["cleanup", "--things", "--yes"]);
    assert!(kills > 25, "{kills}");
    assert_eq!(lab.holdings(), before);
}
