//! `certrotctl provision` on a device that is provisioned and connected: it asks, then tries the claim now; the identity in
//! use stays what it is until a new one has carried a session (rules 19 to 24, promise 1).

use std::fs;

use certrot_twin::{Event, Status};
use serde_json::json;

use crate::support::{Device, MOMENT};
use crate::tools::{let_in, provisioned, reclaim, words};

/// How often the claim was let in since then.
fn claims(device: &Device, since: usize) -> usize {
    let claim =
        |e: &Event| matches!(e, Event::Connect { client, refused: None, .. } if client.starts_with("claim-"));
    device.twin().events_since(since).iter().filter(|l| claim(&l.event)).count()
}

#[test]
fn without_a_word_of_confirmation_the_session_stays() {
    let device = provisioned(Device::new());
    let since = device.twin().event_count();
    let (code, problem) = device.request("POST", "/v1/provision", Some(&json!({}))).unwrap();
    assert_eq!((code, &problem["code"]), (409, &json!("provisioned")), "{problem:#}");
    let asked = device.ctl(&["provision"]);
    assert_eq!(asked.status.code(), Some(64), "{}", words(&asked));
    assert!(words(&asked).contains("is provisioned"), "{}", words(&asked));
    std::thread::sleep(MOMENT);
    let closed = device.twin().events_since(since).iter().any(|l| matches!(l.event, Event::Closed { .. }));
    assert!(!closed && claims(&device, since) == 0, "{}", device.story());
    device.finish();
}

#[test]
fn a_claim_that_the_operator_lets_in_makes_a_new_identity_and_retires_the_old_one() {
    let device = provisioned(Device::new().rate(30));
    let old = device.certificate_id();
    // The word must be younger than the certificate, by the seconds of the cloud's clock.
    let made = device.twin().clock().now_ms();
    device.wait_until("another second", || device.twin().clock().now_ms() > made + 2_000);
    reclaim(&device);
    let since = device.twin().event_count();
    let done = device.ctl(&["provision", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    let new = device.wait_steady(2);
    assert_ne!(new["certificate"]["id"], old.as_str());
    assert_eq!(claims(&device, since), 1, "{}", device.story());
    assert_eq!((device.minted(), device.active().len()), (2, 1), "{}", device.story());
    let by_claim = |e: &Event| matches!(e, Event::Registered { template, .. } if template == "certrot-claim");
    assert!(device.twin().events_since(since).iter().any(|l| by_claim(&l.event)), "{}", device.story());
    device.finish();
}

#[test]
fn a_claim_that_the_hook_denies_says_whose_command_helps_and_the_old_identity_is_back_rules_20_and_23() {
    // Tokens count on their own connection only: what the claim was given cannot be registered over the session.
    let device = provisioned(Device::new().rate(10).twin(|options| options.bind_tokens = true));
    let old = device.certificate_id();
    let since = device.twin().event_count();
    let done = device.ctl(&["provision", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    let status = device.wait_for("a refusal", |s| s["rotation"]["lastResult"]["ok"] == false);
    assert_eq!(status["rotation"]["lastResult"]["step"], "register", "{status:#}");
    device.wait_for("the session is back", |s| {
        s["connected"] == true && s["certificate"]["id"] == old.as_str()
    });
    assert!(!device.log().find("WARN", &["certrot-fleet reclaim SN-0001"]).is_empty(), "{}", device.log());
    assert_eq!((claims(&device, since), let_in(&device, since, "SN-0001")), (1, 1), "{}", device.story());
    // Nothing of it ever stood in the way of the identity: it is ACTIVE, the only one, and in use.
    let active: Vec<String> = device.active().into_iter().map(|c| c.id).collect();
    assert_eq!(active, [old.as_str()], "{}", device.story());
    assert_eq!(device.current_generation(), Some(1));
    assert!(device.twin().certificate(&old).is_some_and(|c| c.status == Status::Active));
    device.finish();
}

#[test]
fn a_claim_pair_that_cannot_be_used_is_refused_before_the_session_is_given_up() {
    let device = provisioned(Device::new());
    fs::remove_file(device.twin().claim_key()).unwrap();
    let since = device.twin().event_count();
    let done = device.ctl(&["provision", "--yes"]);
    assert_eq!(done.status.code(), Some(75), "{}", words(&done));
    assert!(words(&done).contains("claim.key.pem"), "{}", words(&done));
    std::thread::sleep(MOMENT);
    let closed = device.twin().events_since(since).iter().any(|l| matches!(l.event, Event::Closed { .. }));
    assert!(!closed, "{}", device.story());
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_power_cut_while_the_claim_is_tried_leaves_the_identity_that_was_in_use() {
    let mut device = provisioned(Device::new());
    let old = device.certificate_id();
    let since = device.twin().event_count();
    device.twin().fault(certrot_twin::Fault::once("create-from-csr", certrot_twin::Effect::Ignore));
    assert_eq!(device.ctl(&["provision", "--yes"]).status.code(), Some(0));
    device.wait_fault(since);
    device.kill9();
    device.start();
    let status = device.wait_steady(1);
    assert_eq!(status["certificate"]["id"], old.as_str());
    assert_eq!((claims(&device, since), device.active().len()), (1, 1), "{}", device.story());
    device.finish();
}
