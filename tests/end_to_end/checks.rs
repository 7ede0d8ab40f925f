//! `certrotctl check` and `rotate-now --dry-run`: what they try of a rotation, what they leave, and that nothing comes of it
//! (rule 7).

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use certrot_twin::{Effect, Event, Fault};
use serde_json::Value;

use crate::support::Device;

#[test]
fn a_check_has_every_step_in_order_and_asks_on_the_live_session_alone() {
    let device = Device::new().start();
    device.wait_steady(1);
    let since = device.twin().event_count();
    let done = device.ctl(&["check", "--json"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    let steps = report["steps"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().filter_map(|s| s["name"].as_str()).collect();
    let expected = "config serial root-ca claim store modes pair certificate machine disk inodes request clock daemon dns tcp \
                    tls server accepted connect subscribe publish provisioning register commit rotation retire hooks log \
                    service alerts unit units journal versions";
    assert_eq!(names, expected.split_whitespace().collect::<Vec<_>>());
    for step in steps {
        let bad = ["warn", "fail"].contains(&step["result"].as_str().unwrap());
        assert!(!bad || (step["cause"].is_string() && step["remedy"].is_string()), "{step}");
        assert!(step["detail"].as_str().is_some_and(|d| !d.is_empty()), "{step}");
    }
    for name in ["connect", "subscribe", "publish", "provisioning", "register", "commit"] {
        assert!(line(&device.ctl(&["check"]), name).starts_with("ok"), "{name}: {report:#}");
    }
    harmless(&device, since);
    assert_eq!(device.active().len(), 1, "nothing was retired");
    device.finish();
}

#[test]
fn checks_in_between_get_the_last_report_with_its_age_and_the_scarce_rights_are_tried_once_an_hour_rule_7() {
    // A minute is ten seconds.
    let device = Device::new().rate(6).start();
    device.wait_steady(1);
    let since = device.twin().event_count();
    let dry = device.ctl(&["rotate-now", "--dry-run"]);
    assert!(line(&dry, "register").contains("2 steps, to commit"), "{}", words(&dry));
    assert_eq!(asked(&device, since), 0);
    let since = device.twin().event_count();
    let first = device.ctl(&["check"]);
    assert_eq!(first.status.code(), Some(0), "{}", words(&first));
    assert!(line(&first, "register").contains("certrot-rotate"), "{}", words(&first));
    assert_eq!((asked(&device, since), probed(&device, since)), (1, 1), "{}", device.story());
    let handshakes = probed(&device, since);
    device.wait_until("a report of some age", || words(&device.ctl(&["check"])).contains("report of "));
    assert_eq!(
        probed(&device, since),
        handshakes,
        "within the minute nobody is asked again: {}",
        device.story()
    );
    device.wait_until("a new report", || {
        let done = device.ctl(&["check"]);
        line(&done, "register").contains("min ago")
    });
    let later = device.ctl(&["check"]);
    assert!(
        line(&later, "register").starts_with("ok") && line(&later, "commit").starts_with("ok"),
        "{}",
        words(&later)
    );
    assert_eq!(asked(&device, since), 1, "the scarcest quota: {}", device.story());
    assert!(probed(&device, since) >= 2, "{}", device.story());
    harmless(&device, since);
    device.finish();
}

#[test]
fn a_right_that_is_missing_is_named_with_its_statement_and_costs_the_session_once() {
    let device = Device::new().rate(10).start();
    device.wait_steady(1);
    let certificate = device.certificate_id();
    // The cloud's operator takes the right to ask for a certificate away.
    device.twin().set_policy("certrot-device", WITHOUT_CSR);
    let since = device.twin().event_count();
    let done = device.ctl(&["check"]);
    assert_eq!(done.status.code(), Some(75), "{}", words(&done));
    assert!(line(&done, "publish").starts_with("FAIL"), "{}", words(&done));
    let statement = r#"{"Action":["iot:Publish"],"Effect":"Allow","Resource":["arn:aws:iot:REGION:ACCOUNT:topic/$aws/certificates/create-from-csr/json"]}"#;
    assert!(words(&done).contains(statement), "{}", words(&done));
    assert!(line(&done, "register").contains("the session ended under publish"), "{}", words(&done));
    // It comes back by itself, and later checks leave it alone.
    device.wait_until("the session is back", || device.status()["connected"] == true);
    let closed = |since| {
        let closed = |e: &Event| matches!(e, Event::Closed { .. });
        device.twin().events_since(since).iter().filter(|l| closed(&l.event)).count()
    };
    assert_eq!(closed(since), 1, "{}", device.story());
    for _ in 0..2 {
        device.wait_until("another report", || {
            let done = device.ctl(&["check"]);
            !words(&done).contains("report of ")
        });
        let again = device.ctl(&["check"]);
        assert!(line(&again, "publish").starts_with("FAIL"), "{}", words(&again));
        assert!(line(&again, "publish").contains("not tried again for"), "{}", words(&again));
        assert!(line(&again, "register").contains("cost the session"), "{}", words(&again));
    }
    assert_eq!(closed(since), 1, "once is enough: {}", device.story());
    assert_eq!(device.certificate_id(), certificate);
    device.finish();
}

#[test]
fn a_certificate_that_the_cloud_does_not_take_a_wrong_root_and_a_broken_file_each_are_told_at_their_step() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    // Another root than the one that signed the server.
    let other = rcgen::generate_simple_self_signed(vec!["elsewhere".to_owned()]).unwrap().cert.pem();
    let path = device.dir().join("other-root.pem");
    write(&path, other.as_bytes());
    device.edit_config(&format!("[aws]\nroot-ca = {path:?}"));
    let done = device.ctl(&["check"]);
    assert!(line(&done, "config").starts_with("warn"), "{}", words(&done));
    assert!(words(&done).contains("aws.root-ca"), "{}", words(&done));
    device.terminate();
    device.start();
    device.wait_for("it is not trusted", |s| s["connection"]["cause"] == "untrusted-server");
    let done = device.ctl(&["check"]);
    assert_eq!(done.status.code(), Some(75), "{}", words(&done));
    assert!(
        line(&done, "tls").starts_with("ok") && line(&done, "server").starts_with("FAIL"),
        "{}",
        words(&done)
    );
    assert!(line(&done, "server").contains("signed by"), "it says who: {}", words(&done));
    assert!(line(&done, "accepted").starts_with("skip"), "{}", words(&done));
    // A file that does not load any more stops nothing now, and the next start.
    write(&device.config_path(), b"nonsense");
    let done = device.ctl(&["reload"]);
    assert_eq!(done.status.code(), Some(78), "{}", words(&done));
    device.wait_until("a report that has seen it", || device.ctl(&["check"]).status.code() == Some(78));
    device.terminate();
    device.finish();
}

#[test]
fn without_the_daemon_everything_is_looked_at_from_outside_and_nothing_is_touched() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    device.terminate();
    let since = device.twin().event_count();
    let config = device.config_path();
    let check = ["check", "--config", config.to_str().unwrap()];
    let done = device.ctl(&check);
    assert_eq!(done.status.code(), Some(69), "{}", words(&done));
    assert!(line(&done, "daemon").starts_with("FAIL"), "{}", words(&done));
    for name in "config serial root-ca claim store modes pair certificate disk inodes dns tcp tls server accepted versions"
        .split_whitespace()
    {
        assert!(line(&done, name).starts_with("ok"), "{name}: {}", words(&done));
    }
    assert!(line(&done, "connect").contains("6 steps, to commit"), "{}", words(&done));
    harmless(&device, since);
    // A key that is gone, a mode that is open, a file that does not load: each at its step.
    let key = device.generation_dir(1).join("device.key.pem");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    fs::set_permissions(device.store().join("generations"), fs::Permissions::from_mode(0o755)).unwrap();
    let done = device.ctl(&check);
    assert!(
        line(&done, "pair").starts_with("FAIL") && line(&done, "pair").contains("device.key.pem"),
        "{}",
        words(&done)
    );
    assert!(
        line(&done, "modes").starts_with("warn") && line(&done, "modes").contains("0755"),
        "{}",
        words(&done)
    );
    write(&key, &kept);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(device.store().join("generations"), fs::Permissions::from_mode(0o700)).unwrap();
    write(&config, b"[aws]\nendpoint = 7\n");
    let done = device.ctl(&check);
    assert_eq!(done.status.code(), Some(78), "{}", words(&done));
    assert!(line(&done, "config").starts_with("FAIL"), "{}", words(&done));
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
fn a_rotation_that_begins_during_a_check_goes_first_and_the_check_is_answered_beside_it() {
    let device = Device::new().rate(60).toml("[rotation]\nsplay = \"0s\"\n").start();
    device.wait_steady(1);
    let since = device.twin().event_count();
    device.twin().fault(Fault::once("register", Effect::Ignore));
    let check = device.ctl_command(&["check"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    device.wait_until("the check waits for an answer", || {
        device.twin().events_since(since).iter().any(|l| matches!(l.event, Event::Fault { .. }))
    });
    // Its first attempt may end at once, for the question that is still open (rule 2); it goes on by itself.
    let done = device.ctl(&["rotate-now"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    let report = check.wait_with_output().unwrap();
    assert!(words(&report).contains("not beside a rotation"), "{}", words(&report));
    assert!(line(&report, "store").starts_with("ok"), "the rest of it is looked at: {}", words(&report));
    // What was left out is asked as soon as the rotation has ended, not when a minute is over.
    device.wait_steady(2);
    let report = device.ctl(&["check"]);
    assert!(line(&report, "register").starts_with("ok"), "{}", words(&report));
    device.finish();
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
    // A broker that does not let it listen is found out before a rotation needs it, though it once did.
    device
        .twin()
        .fault(Fault::once("subscribe", Effect::Refuse { status_code: 128, error_code: String::new() }));
    let done = device.ctl(&["rotate-now", "--dry-run"]);
    assert_eq!(done.status.code(), Some(75), "{}", words(&done));
    assert!(line(&done, "subscribe").starts_with("FAIL"), "{}", words(&done));
    assert!(words(&done).contains("iot:Receive"), "{}", words(&done));
    device.finish();
}

/// Everything but what asks for a certificate.
const WITHOUT_CSR: &str = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"},
    {"Effect":"Deny","Action":"iot:Publish","Resource":"arn:aws:iot:*:*:topic/$aws/certificates/create-from-csr/json"}]}"#;

fn write(path: &Path, bytes: &[u8]) {
    File::create(path).and_then(|mut f| f.write_all(bytes)).unwrap();
}

/// How often somebody shook hands since then.
fn probed(device: &Device, since: usize) -> usize {
    device.twin().events_since(since).iter().filter(|l| matches!(l.event, Event::Tls { .. })).count()
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
