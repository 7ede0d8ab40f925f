//! What AWS refuses: each permission in turn, throttling, a policy that does not do, no credentials, no network.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use certrot_fleet::calls::{ALL, On};

use crate::gateway::Fate;
use crate::lab::Lab;

#[test]
fn each_permission_that_is_missing_is_named_with_the_statement_that_grants_it_and_setup_goes_on_later() {
    let lab = Lab::new();
    let seen: Arc<Mutex<BTreeSet<(String, String)>>> = Arc::default();
    let mut named = BTreeSet::new();
    for _ in 0..120 {
        let seen = Arc::clone(&seen);
        let mut denied = false;
        // In each run the first call of a kind that was not refused before is refused.
        lab.gateway.each(move |call| {
            let path = call.operation.split('/').take(2).collect::<Vec<_>>().join("/");
            if denied || !seen.lock().unwrap().insert((call.service.clone(), path)) {
                return Fate::Pass;
            }
            denied = true;
            Fate::Deny
        });
        let ran = lab.run(&["setup"]);
        if ran.code() == 0 {
            break;
        }
        assert_eq!(ran.code(), 77, "{}{}", ran.out(), ran.err());
        let error = ran.err();
        let call = ALL.iter().find(|c| error.starts_with(&format!("error {} on", c.name)));
        let call = call.unwrap_or_else(|| panic!("no call is named: {error}"));
        for action in call.actions() {
            assert!(error.contains(action), "{action}: {error}");
        }
        if call.on != On::Free {
            assert!(error.contains("\"Effect\":\"Allow\""), "{error}");
        }
        named.insert(call.name);
    }
    lab.gateway.pass();
    assert!(named.len() > 30, "{named:?}");
    assert_eq!(lab.planned(), Vec::<String>::new());
}

#[test]
fn throttling_is_waited_for_and_told_when_it_does_not_end() {
    let lab = Lab::new();
    let mut number = 0;
    lab.gateway.each(move |_| {
        number += 1;
        if number % 3 == 0 { Fate::Throttle } else { Fate::Pass }
    });
    lab.must(&["setup"]);
    lab.gateway.each(|call| if call.service == "iot" { Fate::Throttle } else { Fate::Pass });
    let mut command = lab.command(&["plan"]);
    command.args(["--json"]);
    let started = std::time::Instant::now();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(75));
    assert!(started.elapsed().as_secs() >= 5, "it gave up at once");
    assert!(String::from_utf8_lossy(&output.stderr).contains("later"), "{output:?}");
}

#[test]
fn a_policy_that_does_not_do_is_found_before_anything_uses_it() {
    let lab = Lab::new();
    // TestAuthorization sees a policy that somebody swapped right after it was made.
    let open = r#"{"policyDocument":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iot:Connect\",\"Resource\":\"*\"}]}"}"#;
    let twin = lab.twin_address();
    let mut swapped = false;
    lab.gateway.each(move |call| {
        if !swapped && call.operation.starts_with("POST /test-authorization") {
            swapped = true;
            let policies = crate::holdings::http(&twin, "GET", "/policies", "");
            let name = policies.split('"').find(|w| w.starts_with("certrot-device-")).unwrap().to_owned();
            crate::holdings::http(
                &twin,
                "POST",
                &format!("/policies/{name}/version?setAsDefault=true"),
                open,
            );
        }
        Fate::Pass
    });
    let ran = lab.run(&["setup"]);
    lab.gateway.pass();
    assert_eq!(ran.code(), 78, "{}{}", ran.out(), ran.err());
    let error = ran.err();
    assert!(error.contains("CONNECT client/another-thing by certrot-device-"), "{error}");
    assert!(error.contains("PUBLISH topic/device/certrot-policy-check/certrot/commit"), "{error}");
    let left = lab.iot();
    assert!(!left.iter().any(|i| i.contains("iot things") || i.contains("iot certificates")), "{left:?}");
    assert!(!left.iter().any(|i| i.contains("templates")), "no template uses it: {left:?}");
    lab.must(&["setup"]);
}

#[test]
fn no_region_no_network_and_a_bad_name_have_their_exit_codes() {
    let lab = Lab::new();
    let code = |command: &mut std::process::Command| command.output().unwrap().status.code();
    assert_eq!(code(lab.command(&["status"]).env_remove("AWS_REGION")), Some(78));
    assert_eq!(code(&mut lab.command(&["status", "--name", "7up"])), Some(64));
    let mut nowhere = lab.command(&["status"]);
    nowhere.env("AWS_ENDPOINT_URL", "http://127.0.0.1:9").args(["--region", "eu-west-1"]);
    let patience: Vec<_> = nowhere.get_args().map(|a| a.to_owned()).collect();
    assert!(patience.iter().any(|a| a == "20s"));
    let mut quick = std::process::Command::new(env!("CARGO_BIN_EXE_certrot-fleet"));
    quick.args(["status", "--patience", "1s", "--region", "eu-west-1"]).env_clear();
    quick.envs(nowhere.get_envs().filter_map(|(k, v)| Some((k, v?))));
    assert_eq!(code(&mut quick), Some(69));
    let mut without = std::process::Command::new(env!("CARGO_BIN_EXE_certrot-fleet"));
    without.args(["status", "--patience", "1s"]).env_clear();
    without.envs(lab.command(&[]).get_envs().filter_map(|(k, v)| Some((k, v?))));
    without.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    assert_eq!(code(&mut without), Some(77));
    assert_eq!(code(&mut lab.command(&["operator-policy"])), Some(0));
    assert_eq!(code(&mut lab.command(&["no-such-thing"])), Some(64));
}
