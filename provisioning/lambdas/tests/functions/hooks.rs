//! Rules 23 and 24: the program and the decision in process answer alike, and nothing is remembered.

use certrot_rules::record::{RECLAIM_ATTRIBUTE, Reclaim};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::lab::{Folder, calls, hook, invoked, logs, programs, programs_with};
use crate::support::{Identity, Lab};

/// Claims an identity; the thing's name, or the status code of the refusal.
fn claim(lab: &Lab, serial: &str) -> Result<(String, Identity), u64> {
    let mut claim = lab.connect(&lab.claim(), "claim-lab").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    match claim.register("certrot-claim", &fresh.token, serial) {
        Ok(answer) => Ok((answer["thingName"].as_str().unwrap().to_owned(), fresh.identity)),
        Err(answer) => Err(answer["statusCode"].as_u64().unwrap()),
    }
}

fn told(claimed: &Result<(String, Identity), u64>) -> Value {
    match claimed {
        Ok((thing, _)) => json!(thing),
        Err(code) => json!(code),
    }
}

/// One long story of claims and rotations; each step's outcome.
fn story(lab: &Lab) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut note = |what: &str, outcome: Value| all.push((what.to_owned(), outcome));
    let first = claim(lab, "SN-1");
    note("a new serial", told(&first));
    note("its thing holds a certificate", told(&claim(lab, "SN-1")));
    for serial in ["claim-x", "a b", "", "To Be Filled By O.E.M.", &"x".repeat(101)] {
        note(serial, told(&claim(lab, serial)));
    }

    let (_, identity) = first.unwrap();
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    let fresh = device.create_from_csr().unwrap();
    let rotated = device.register("certrot-rotate", &fresh.token, "SN-VICTIM").unwrap();
    note("a rotation under another's name", rotated["thingName"].clone());
    note("the other thing was not made", json!(lab.twin.thing("SN-VICTIM").is_none()));

    // Two seconds ahead: what was made within the word's own second would count as let in by it.
    let word = Reclaim::given(Timestamp::now() + SignedDuration::from_secs(2)).value();
    lab.twin.set_attributes("SN-1", &[(RECLAIM_ATTRIBUTE, &word)]).unwrap();
    note("reclaimed", told(&claim(lab, "SN-1")));
    note("the word is used up", told(&claim(lab, "SN-1")));
    let used = lab.twin.thing("SN-1").unwrap().attributes[RECLAIM_ATTRIBUTE].contains('@');
    note("the word names who used it", json!(used));
    let over = Reclaim::given("2020-01-01T00:00:00Z".parse().unwrap()).value();
    lab.twin.set_attributes("SN-1", &[(RECLAIM_ATTRIBUTE, &over)]).unwrap();
    note("a word that is over", told(&claim(lab, "SN-1")));

    lab.twin.allow(Some(vec!["SN-2".into()]));
    note("not on the list", told(&claim(lab, "SN-3")));
    note("on the list", told(&claim(lab, "SN-2")));
    lab.twin.allow(Some(vec![]));
    note("an empty list", told(&claim(lab, "SN-4")));
    lab.twin.allow(None);
    note("no list again", told(&claim(lab, "SN-4")));

    let (_, held) = claim(lab, "SN-5").unwrap();
    lab.twin.set_status(&held.id(), certrot_twin::Status::Inactive).unwrap();
    note("under quarantine", told(&claim(lab, "SN-5")));
    all
}

#[test]
fn rules_23_and_24_the_program_and_the_decision_in_process_tell_the_same_story() {
    let (decided, ran) = (Lab::new(), programs());
    let (expected, seen) = (story(&decided), story(&ran));
    assert_eq!(expected, seen);
    let word = |what: &str| seen.iter().find(|(w, _)| w == what).unwrap().1.clone();
    assert_eq!(word("a new serial"), "SN-1");
    assert_eq!(word("its thing holds a certificate"), 403);
    assert_eq!(word("a rotation under another's name"), "SN-1");
    assert_eq!(word("reclaimed"), "SN-1");
    assert_eq!(word("the word is used up"), 403);
    assert_eq!(word("not on the list"), 403);
    assert_eq!(word("on the list"), "SN-2");
    assert_eq!(word("under quarantine"), 403);
    assert!(invoked(&decided, 0).is_empty() && invoked(&ran, 0).len() > 10);
    assert!(invoked(&ran, 0).iter().all(|(_, _, error)| error.is_none()));
    let logs = logs(&ran);
    assert!(logs.contains("is not on the allow-list"), "{logs}");
    // Ids only: nothing of what the device wrote, nor the certificate itself.
    assert!(
        !logs.contains("BEGIN CERTIFICATE")
            && !logs.contains("certificatePem")
            && !logs.contains("parameters")
    );
}

#[test]
fn rule_24_the_rotation_hook_calls_nothing_of_aws() {
    let lab = programs();
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    let fresh = device.create_from_csr().unwrap();
    let since = lab.twin.event_count();
    device.register("certrot-rotate", &fresh.token, "SN-1").unwrap();
    assert_eq!(calls(&lab, since), []);
    assert_eq!(invoked(&lab, since), [("certrot-rotate-hook".to_owned(), true, None)]);
}

#[test]
fn one_warm_program_denies_after_it_allowed_and_allows_after_it_denied() {
    let lab = programs();
    lab.twin.allow(Some(vec!["SN-1".into(), "SN-2".into()]));
    let since = lab.twin.event_count();
    let outcomes: Vec<bool> =
        ["SN-1", "SN-9", "SN-1", "SN-2", "SN-9"].iter().map(|s| claim(&lab, s).is_ok()).collect();
    assert_eq!(outcomes, [true, false, false, true, false]);
    let cold: Vec<bool> = invoked(&lab, since).iter().map(|(_, cold, _)| *cold).collect();
    assert_eq!(cold, [true, false, false, false, false], "one program answered all");
}

#[test]
fn who_is_not_on_the_list_costs_the_account_no_call() {
    let lab = programs();
    lab.twin.allow(Some(vec!["SN-1".into()]));
    let since = lab.twin.event_count();
    assert!(claim(&lab, "SN-9").is_err());
    assert_eq!(calls(&lab, since), []);
}

#[test]
fn a_list_that_was_promised_and_is_not_there_lets_nobody_in() {
    let folder = Folder::new();
    let lab = programs_with(|o| o.functions = Some(folder.path().into()));
    let environment = json!({ "CERTROT_HOOK": "claim", "CERTROT_ALLOW_LIST": "allow-list.txt" });
    let configuration = json!({ "environment": environment, "timeout": 20 });
    let root = folder.put("certrot-claim-hook", &hook(), &configuration);
    assert_eq!(claim(&lab, "SN-1").err(), Some(403));
    assert!(logs(&lab).contains("the allow-list cannot be read"));
    crate::lab::write(&root.join("allow-list.txt"), "SN-1\n");
    assert!(claim(&lab, "SN-1").is_ok());
    crate::lab::write(&root.join("allow-list.txt"), "SN-7\n");
    assert_eq!(claim(&lab, "SN-2").err(), Some(403), "nothing is remembered");
}
