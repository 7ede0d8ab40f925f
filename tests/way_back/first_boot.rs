//! First boot with something in the way: each waits with its reason in `status` and goes on by itself when the reason
//! goes; nothing is minted twice for it.

use certrot_twin::{Event, Options, Status, Twin};
use serde_json::Value;

use crate::support::{Builder, Device};
use crate::tools::{alert, refuse, wait_alert, words};

/// An hour of an ownership token takes two minutes.
const RATE: u32 = 30;

fn why(status: &Value) -> &str {
    status["why"].as_str().unwrap_or_default()
}

/// Gone on by itself, with the one certificate that was minted.
fn goes_on(device: Device) {
    device.wait_steady(1);
    assert_eq!(device.minted(), 1, "{}", device.story());
    device.finish();
}

#[test]
fn without_a_network_it_waits_and_says_why() {
    let mut device = Device::new().rate(RATE).prepare();
    device.stop_twin();
    device.start();
    let waits =
        device.wait_for("unreachable", |s| s["state"] == "waiting" && s["connection"]["failures"] != 0);
    assert_eq!(waits["connection"]["cause"], "tcp-refused", "{waits:#}");
    assert!(!why(&waits).is_empty());
    assert_eq!(waits["certificate"], Value::Null);
    device.start_twin();
    goes_on(device);
}

#[test]
fn an_endpoint_without_a_name_in_dns_is_told_apart() {
    let mut device = Device::new().rate(RATE).toml("[aws]\nendpoint = \"no-such-host.invalid\"").start();
    let waits = device.wait_for("no name", |s| s["connection"]["failures"] != 0);
    assert_eq!(waits["connection"]["cause"], "dns", "{waits:#}");
    device.edit_config("[aws]\nendpoint = \"localhost\"");
    assert_eq!(device.ctl(&["reload"]).status.code(), Some(0));
    goes_on(device);
}

#[test]
fn a_server_that_our_root_does_not_sign_is_told_apart() {
    let other = tempfile::tempdir().unwrap();
    let stranger = Twin::start(Options::new(other.path())).unwrap();
    let root = format!("[aws]\nroot-ca = \"{}\"", stranger.ca_pem().display());
    let mut device = Device::new().rate(RATE).toml(&root).start();
    let waits = device.wait_for("the server", |s| s["connection"]["failures"] != 0);
    assert_eq!(waits["connection"]["cause"], "untrusted-server", "{waits:#}");
    let right = format!("[aws]\nroot-ca = \"{}\"", device.twin().ca_pem().display());
    device.edit_config(&right);
    assert_eq!(device.ctl(&["reload"]).status.code(), Some(0));
    goes_on(device);
}

#[test]
fn a_claim_certificate_that_the_cloud_does_not_know_is_an_error_with_the_fix() {
    let other = tempfile::tempdir().unwrap();
    let stranger = Twin::start(Options::new(other.path())).unwrap();
    let claim = |twin: &Twin| {
        let (certificate, key) = (twin.claim_certificate(), twin.claim_key());
        format!("[claim]\ncertificate = {certificate:?}\nprivate-key = {key:?}")
    };
    let mut device = Device::new().rate(RATE).toml(&claim(&stranger)).start();
    let told = wait_alert(&device, "claim-unusable");
    assert!(alert(&told, "claim-unusable").unwrap()["remedy"].as_str().is_some_and(|r| !r.is_empty()));
    assert_eq!(device.minted(), 0);
    let right = claim(device.twin());
    device.edit_config(&right);
    assert_eq!(device.ctl(&["reload"]).status.code(), Some(0));
    device.expect_errors(&["claim-unusable"]);
    goes_on(device);
}

#[test]
fn a_claim_certificate_that_is_inactive_is_waited_for() {
    let mut device = Device::new().rate(RATE).prepare();
    let id = device.twin().certificates()[0].id.clone();
    device.twin().set_status(&id, Status::Inactive).unwrap();
    device.start();
    wait_alert(&device, "claim-unusable");
    device.twin().set_status(&id, Status::Active).unwrap();
    device.expect_errors(&["claim-unusable"]);
    goes_on(device);
}

fn denied(device: &Device) -> usize {
    device.twin().count(|e| matches!(e, Event::Rejected { operation, .. } if operation == "register"))
}

#[test]
fn a_device_that_is_not_on_the_allow_list_waits_with_the_one_certificate_rules_1_and_6() {
    let device = Device::new().rate(RATE).twin(|o| o.allow_list = Some(Vec::new())).start();
    device.wait_until("the hook has denied twice", || denied(&device) >= 2);
    let waits =
        device.wait_for("the denial in why", |s| s["state"] == "waiting" && s["rotation"]["failures"] != 0);
    assert!(why(&waits).contains("not registered"), "{waits:#}");
    let last = &waits["rotation"]["lastResult"];
    assert_eq!((&last["ok"], &last["step"]), (&Value::from(false), &Value::from("register")), "{waits:#}");
    assert!(words(&device.ctl(&["status"])).contains("not registered"));
    device.twin().allow(Some(vec!["SN-0001".to_owned()]));
    goes_on(device);
}

#[test]
fn a_template_that_is_missing_is_waited_for_rule_1() {
    let device = Device::new().rate(RATE).prepare_with(|d| d.twin().fault(refuse("register", 404).forever()));
    device.wait_until("refused twice", || denied(&device) >= 2);
    let waits =
        device.wait_for("the refusal in why", |s| s["state"] == "waiting" && s["rotation"]["failures"] != 0);
    assert!(why(&waits).contains("not registered"), "{waits:#}");
    device.twin().clear_faults();
    goes_on(device);
}

#[test]
fn a_template_by_another_name_is_told_and_mints_nothing() {
    let mut device = Device::new().rate(RATE).toml("[claim]\ntemplate = \"certrot-nope\"").start();
    let waits =
        device.wait_for("the refusal", |s| s["state"] == "waiting" && s["connection"]["failures"] != 0);
    assert!(!why(&waits).is_empty(), "{waits:#}");
    assert!(!waits["connection"]["remedy"].as_str().unwrap_or_default().is_empty(), "{waits:#}");
    assert_eq!(device.minted(), 0, "{}", device.story());
    device.edit_config("[claim]\ntemplate = \"certrot-claim\"");
    assert_eq!(device.ctl(&["reload"]).status.code(), Some(0));
    device.allow_errors(&["claim-unusable"]);
    goes_on(device);
}

#[test]
fn a_lost_answer_of_the_first_registration_mints_nothing_twice_rules_1_and_2() {
    let lost = certrot_twin::Fault::once("register", certrot_twin::Effect::Drop);
    let device = Device::new().rate(RATE).prepare_with(move |d| d.twin().fault(lost));
    goes_on(device);
}

trait PrepareWith {
    fn prepare_with(self, first: impl FnOnce(&Device)) -> Device;
}

impl PrepareWith for Builder {
    /// Sets the cloud up before the daemon starts.
    fn prepare_with(self, first: impl FnOnce(&Device)) -> Device {
        let mut device = self.prepare();
        first(&device);
        device.start();
        device
    }
}
