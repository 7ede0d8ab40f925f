//! What makes a rotation due: age, expiry, an operator, a message of the cloud, a change of the policy.

use std::time::Duration;

use certrot_twin::{Effect, Event, Fault};
use serde_json::{Value, json};

use crate::support::{Device, MOMENT};

#[test]
fn a_certificate_that_has_reached_max_age_is_replaced() {
    let mut device = Device::new().rate(60).toml(CALM).start();
    let status = device.wait_steady(1);
    assert_eq!(status["rotation"]["rule"], "max-age");
    device.ages(Duration::from_secs(91 * DAY));
    device.wait_steady(2);
    assert_eq!(device.minted(), 2);
    assert_eq!(device.active().len(), 1);
    let history = history(&device);
    assert!(history.iter().any(|e| e["kind"] == "rotated" && says(&e["text"], "max-age")), "{history:#?}");
    device.finish();
}

#[test]
fn a_short_lived_certificate_is_replaced_before_it_ends() {
    // Ten minutes of life are ten seconds here; it is due when two thirds have passed.
    let life = Duration::from_secs(600);
    let device = Device::new().rate(60).toml(CALM).twin(move |o| o.certificate_life = Some(life)).start();
    let status = device.wait_steady(1);
    assert_eq!(status["rotation"]["rule"], "renew-before", "{status:#}");
    device.twin().set_validity(Duration::from_secs(120), None);
    device.wait_steady(2);
    assert_eq!(device.minted(), 2);
    let refused = device.twin().count(|e| matches!(e, Event::Tls { refused: Some(_), .. }));
    assert_eq!(refused, 0, "{}", device.story());
    device.finish();
}

#[test]
fn rotate_now_waits_for_the_end_and_ends_with_0() {
    let device = Device::new().start();
    device.wait_steady(1);
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let told = format!("{}{}", text(&done.stdout), text(&done.stderr));
    for step in ["issue", "register", "prove", "switch"] {
        assert!(told.contains(step), "{step} is not told of:\n{told}");
    }
    device.wait_steady(2);
    assert_eq!(device.active().len(), 1);
    device.finish();
}

#[test]
fn rotate_now_names_the_step_that_was_refused_and_ends_with_75() {
    for (on, step) in [("create-from-csr", "issue"), ("register", "register"), ("connect", "prove")] {
        let device = Device::new().rate(60).start();
        device.wait_steady(1);
        let refusal = Effect::Refuse {
            status_code: if on == "connect" { 5 } else { 403 },
            error_code: "ACCESS_DENIED".into(),
        };
        device.twin().fault(Fault::once(on, refusal));
        let done = device.ctl(&["rotate-now", "--wait"]);
        assert_eq!(done.status.code(), Some(75), "{on}: {done:?}\n{}", device.log());
        let told = format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(told.contains(step), "{step} is not named:\n{told}");
        assert_eq!(device.status()["connected"], true);
        if on == "create-from-csr" {
            // The order was one attempt; nothing is due by itself.
            device.wait_steady(1);
            assert_eq!(device.minted(), 1);
        } else {
            // What was minted is brought to its end.
            device.wait_steady(2);
            assert_eq!(device.minted(), 2);
        }
        device.finish();
    }
}

#[test]
fn rotate_now_on_a_device_without_an_identity_is_75_and_says_what_is_missing() {
    let device = Device::new().without_serial().expect_errors(&["serial-missing"]).start();
    device.wait_for("a wait for the serial", |s| s["state"] == "awaiting-serial");
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(75), "{done:?}");
    assert!(text(&done.stderr).contains("no certificate"), "{done:?}");
    device.finish_without_identity();
}

#[test]
fn a_dry_run_mints_nothing_and_leaves_the_session_alone() {
    let device = Device::new().start();
    device.wait_steady(1);
    let before = device.twin().event_count();
    let done = device.ctl(&["rotate-now", "--dry-run"]);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    for logged in device.twin().events_since(before) {
        let harm =
            matches!(logged.event, Event::Minted { .. } | Event::Connect { .. } | Event::Closed { .. });
        assert!(!harm, "{}", device.story());
    }
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_message_that_names_the_certificate_in_use_rotates_it_once_even_when_retained() {
    let device = Device::new().rate(60).toml(OBEDIENT).start();
    device.wait_steady(1);
    let order = json!({"ifCertificateId": device.certificate_id()}).to_string();
    device.twin().publish(&rotate_topic(&device), order.as_bytes(), true);
    device.wait_steady(2);
    // The retained message comes again with each new session.
    for _ in 0..2 {
        let since = device.twin().event_count();
        device.twin().kick(device.thing());
        device.wait_event(since, "its coming back", |e| {
            matches!(e, Event::Subscribe { filter, refused: None, .. } if filter.ends_with("/certrot/rotate"))
        });
        device.wait_steady(2);
    }
    std::thread::sleep(MOMENT);
    assert_eq!(device.minted(), 2, "{}", device.story());
    let history = history(&device);
    assert!(history.iter().any(|e| e["kind"] == "rotated" && says(&e["text"], "cloud")), "{history:#?}");
    device.finish();
}

#[test]
fn an_order_of_the_cloud_that_waits_is_what_status_names() {
    let device = Device::new().start(); // a rotation an hour at most
    device.wait_steady(1);
    let order = json!({"ifCertificateId": device.certificate_id()}).to_string();
    device.twin().publish(&rotate_topic(&device), order.as_bytes(), false);
    let status = device.wait_for("the order", |s| s["rotation"]["rule"] == "cloud");
    assert!(says(&status["why"], "cloud"), "one rule in both places: {status:#}");
    device.finish();
}

#[test]
fn a_message_for_another_certificate_does_nothing_and_does_not_shut_out_the_next_one() {
    let device = Device::new().rate(60).toml(OBEDIENT).start();
    device.wait_steady(1);
    let foreign = json!({"ifCertificateId": "0".repeat(64)}).to_string();
    device.twin().publish(&rotate_topic(&device), foreign.as_bytes(), true);
    device.wait_until("the foreign order in the log", || orders_heard(&device) >= 1);
    std::thread::sleep(MOMENT);
    assert_eq!(device.minted(), 1);
    let own = json!({"ifCertificateId": device.certificate_id()}).to_string();
    device.twin().publish(&rotate_topic(&device), own.as_bytes(), false);
    device.wait_steady(2);
    assert_eq!(device.minted(), 2);
    device.finish();
}

#[test]
fn a_message_about_what_was_issued_before_a_time_rotates_only_what_is_older() {
    let device = Device::new().rate(60).toml(OBEDIENT).start();
    let status = device.wait_steady(1);
    let born: jiff::Timestamp =
        status["certificate"]["notBefore"].as_str().expect("a time").parse().expect("RFC 3339");
    let order = |at: jiff::Timestamp| json!({"issuedBefore": at.to_string(), "within": "1s"}).to_string();
    device.twin().publish(&rotate_topic(&device), order(born).as_bytes(), false);
    device.wait_until("the order in the log", || orders_heard(&device) >= 1);
    std::thread::sleep(MOMENT);
    assert_eq!(device.minted(), 1, "it was not issued before that");
    let later = born + jiff::SignedDuration::from_secs(1);
    device.twin().publish(&rotate_topic(&device), order(later).as_bytes(), true);
    device.wait_steady(2);
    std::thread::sleep(MOMENT);
    assert_eq!(device.minted(), 2, "{}", device.story());
    device.finish();
}

#[test]
fn a_message_without_a_condition_is_refused_with_a_warning_that_shows_a_right_one() {
    let device = Device::new().start();
    device.wait_steady(1);
    for body in ["{}", "rotate!", r#"{"within":"6h"}"#] {
        device.twin().publish(&rotate_topic(&device), body.as_bytes(), false);
    }
    device.wait_until("three warnings", || {
        device.log().find("WARN", &["ifCertificateId", "issuedBefore", "refused"]).len() == 3
    });
    assert_eq!(device.minted(), 1);
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_patched_policy_holds_at_once_and_until_the_next_reload() {
    let mut device = Device::new().rate(60).toml(CALM).start();
    device.wait_steady(1);
    device.ages(Duration::from_secs(20 * DAY));
    device.wait_steady(1);
    patch(&device, json!({"enabled": false, "maxAge": "10d"}));
    assert_eq!(device.status()["rotation"]["enabled"], false);
    std::thread::sleep(MOMENT);
    assert_eq!(device.minted(), 1, "rotation is off");
    let (code, problem) =
        device.request("PATCH", "/v1/rotation", Some(&json!({"maxAge": "soon"}))).expect("an answer");
    assert!((400..500).contains(&code) && says(&problem["detail"], "maxAge"), "{code} {problem}");
    assert!(problem["remedy"].is_string(), "{problem}");
    patch(&device, json!({"enabled": true}));
    device.wait_steady(2);
    assert_eq!(device.minted(), 2);
    let due = |s: &Value| s["rotation"]["dueAt"].as_str().map(str::to_owned);
    let patched = due(&device.status());
    assert!(device.ctl(&["reload"]).status.success());
    device.wait_for("the file's policy", |s| due(s) != patched);
    device.finish();
}

fn patch(device: &Device, body: Value) {
    let (code, answer) = device.request("PATCH", "/v1/rotation", Some(&body)).expect("an answer");
    assert_eq!(code, 200, "{answer}");
}

fn rotate_topic(device: &Device) -> String {
    format!("device/{}/certrot/rotate", device.thing())
}

fn orders_heard(device: &Device) -> usize {
    device.log().find("INFO", &["the cloud orders a rotation"]).len()
}

fn history(device: &Device) -> Vec<Value> {
    let (code, history) = device.request("GET", "/v1/history", None).expect("an answer");
    assert_eq!(code, 200);
    history.as_array().expect("a list").clone()
}

fn says(value: &Value, word: &str) -> bool {
    value.as_str().is_some_and(|t| t.contains(word))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

const DAY: u64 = 86_400;
/// Nothing random is waited for.
const CALM: &str = "[rotation]\nsplay = \"0s\"\n";
/// Nor is there more than a second (a minute of theirs) between rotations that the cloud orders.
const OBEDIENT: &str = "[rotation]\nsplay = \"0s\"\nmin-interval = \"1m\"\n";
