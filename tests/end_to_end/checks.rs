//! `certrotctl check` and `rotate-now --dry-run`: what they try of a rotation, what they leave, and that nothing comes of it
//! (rule 7).

use std::process::Output;

use certrot_twin::{Effect, Event, Fault};

use crate::support::Device;

#[test]
fn a_check_tries_registerthings_own_right_seldom_and_a_dry_run_never_rule_7() {
    let device = Device::new().start();
    device.wait_steady(1);
    let since = device.twin().event_count();
    let dry = device.ctl(&["rotate-now", "--dry-run"]);
    assert!(line(&dry, "register").starts_with("skip"), "{}", words(&dry));
    assert_eq!(asked(&device, since), 0);
    let first = device.ctl(&["check"]);
    assert_eq!(first.status.code(), Some(0), "{}", words(&first));
    assert!(line(&first, "register").starts_with("ok"), "{}", words(&first));
    assert!(line(&first, "register").contains("certrot-rotate"), "{}", words(&first));
    assert_eq!(asked(&device, since), 1, "{}", device.story());
    let second = device.ctl(&["check"]);
    assert_eq!(second.status.code(), Some(0), "{}", words(&second));
    assert!(line(&second, "register").starts_with("skip"), "the scarcest quota: {}", words(&second));
    assert_eq!(asked(&device, since), 1, "{}", device.story());
    harmless(&device, since);
    device.finish();
}

#[test]
fn a_check_names_a_rotation_template_that_the_cloud_does_not_know() {
    let device = Device::new().start();
    device.wait_steady(1);
    let unknown = Effect::Refuse { status_code: 404, error_code: "ResourceNotFoundException".to_owned() };
    device.twin().fault(Fault::once("register", unknown));
    let done = device.ctl(&["check"]);
    assert_eq!(done.status.code(), Some(75), "{}", words(&done));
    assert!(line(&done, "register").starts_with("FAIL"), "{}", words(&done));
    assert!(words(&done).contains("[rotation] template"), "{}", words(&done));
    device.finish();
}

#[test]
fn a_check_that_had_no_answer_is_in_no_rotations_way_rule_2() {
    for on in ["register", "create-from-csr"] {
        let device = Device::new().rate(60).toml("[rotation]\nsplay = \"0s\"\n").start();
        device.wait_steady(1);
        device.twin().fault(Fault::once(on, Effect::Ignore));
        let done = device.ctl(&["check"]);
        assert_eq!(done.status.code(), Some(75), "{on}: {}", words(&done));
        assert!(words(&done).contains("no answer in time"), "{on}: {}", words(&done));
        let done = device.ctl(&["rotate-now", "--wait"]);
        if on == "create-from-csr" && !done.status.success() {
            // An order is one attempt; it was told to come back on the new connection.
            assert_eq!(done.status.code(), Some(75), "{}", words(&done));
            let done = device.ctl(&["rotate-now", "--wait"]);
            assert_eq!(done.status.code(), Some(0), "{}\n{}", words(&done), device.log());
        }
        device.wait_steady(2);
        assert_eq!(device.minted(), 2, "{on}: {}", device.story());
        device.finish();
    }
}

#[test]
fn a_dry_run_makes_the_kind_of_key_that_a_rotation_would_make() {
    for kind in ["ecdsa-p256", "ecdsa-p384"] {
        let device = Device::new().toml(&format!("[identity]\nkey-type = \"{kind}\"\n")).start();
        device.wait_steady(1);
        let done = device.ctl(&["rotate-now", "--dry-run"]);
        assert_eq!(done.status.code(), Some(0), "{}", words(&done));
        assert!(line(&done, "request").contains(kind), "{}", words(&done));
        assert!(!words(&done).contains("cloud-key"), "{}", words(&done));
        device.finish();
    }
}

#[test]
fn a_dry_run_for_keys_of_the_cloud_listens_for_them_mints_none_and_says_what_it_leaves() {
    let device = Device::new().toml("[identity]\nkey-source = \"cloud\"\n").start();
    device.wait_steady(1);
    let since = device.twin().event_count();
    let done = device.ctl(&["rotate-now", "--dry-run"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    assert!(line(&done, "cloud-key").starts_with("ok"), "{}", words(&done));
    assert!(line(&done, "cloud-key").contains("asking would mint"), "{}", words(&done));
    assert!(line(&done, "request").starts_with("skip"), "{}", words(&done));
    harmless(&device, since);
    let heard = device.twin().events_since(since).into_iter().any(
        |l| matches!(l.event, Event::Subscribe { filter, refused: None, .. } if filter == "$aws/certificates/create/json/accepted"),
    );
    assert!(heard, "{}", device.story());
    // A broker that does not let it listen is found out before a rotation needs it.
    device
        .twin()
        .fault(Fault::once("subscribe", Effect::Refuse { status_code: 128, error_code: String::new() }));
    let done = device.ctl(&["rotate-now", "--dry-run"]);
    assert_eq!(done.status.code(), Some(75), "{}", words(&done));
    assert!(line(&done, "cloud-key").starts_with("FAIL"), "{}", words(&done));
    device.finish();
}

/// Nothing was minted or registered, and the session was left alone.
fn harmless(device: &Device, since: usize) {
    for logged in device.twin().events_since(since) {
        let harm = matches!(
            logged.event,
            Event::Minted { .. } | Event::Registered { .. } | Event::Connect { .. } | Event::Closed { .. }
        );
        assert!(!harm, "{}", device.story());
    }
}

/// How often RegisterThing was refused since then.
fn asked(device: &Device, since: usize) -> usize {
    let refused = |e: &Event| matches!(e, Event::Rejected { operation, .. } if operation == "register");
    device.twin().events_since(since).iter().filter(|l| refused(&l.event)).count()
}

/// The line of a step.
fn line(output: &Output, step: &str) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().find(|l| l.split_whitespace().nth(1) == Some(step)).map(str::to_owned);
    found.unwrap_or_else(|| panic!("no step {step}:\n{text}"))
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
