//! First provisioning: claim, identity, session, commit; with each kind of key, over each version of TLS.

use std::path::Path;

use certrot_twin::{Effect, Event, Fault};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Device, claim_id};

#[test]
fn a_fresh_device_provisions_itself_with_one_certificate_and_commits_it_rule_10() {
    let device = Device::new().start();
    let status = device.wait_steady(1);
    assert_eq!(status["thingName"], device.thing());
    assert_eq!(status["certificate"]["keyType"], "ecdsa-p256");
    let active = device.active();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].id, device.certificate_id());
    assert_eq!(device.current_generation(), Some(1));
    assert_eq!(device.minted(), 1);
    assert_eq!(device.twin().count(|e| matches!(e, Event::Commit { accepted: true, .. })), 1);
    assert_eq!(device.ctl(&["wait", "--for", "connected", "--timeout", "10s"]).status.code(), Some(0));
    device.finish();
}

#[test]
fn the_claim_goes_by_a_client_id_of_its_own_and_asks_and_registers_on_one_connection() {
    let device = Device::new().start();
    device.wait_steady(1);
    let claim = claim_id(device.twin());
    let mut connects = Vec::new();
    for logged in device.twin().events() {
        match logged.event {
            Event::Connect { client, principal, refused: None, .. } => connects.push((client, principal)),
            Event::Minted { by, .. } | Event::Registered { by, .. } => {
                assert_eq!(by, claim);
                assert_eq!(connects.len(), 1, "{}", device.story());
            }
            _ => {}
        }
    }
    let [(first, by), (second, with)] = connects.as_slice() else { panic!("{}", device.story()) };
    assert!(first.starts_with("claim-SN-0001-") && *by == claim, "{first}");
    assert_eq!((second.as_str(), with.as_str()), (device.thing(), device.certificate_id().as_str()));
    device.finish();
}

#[test]
fn a_key_on_p384_serves_provisioning_and_rotation() {
    provisions_and_rotates("[identity]\nkey-type = \"ecdsa-p384\"", "ecdsa-p384", false);
}

#[test]
fn keys_that_the_cloud_makes_serve_provisioning_and_rotation() {
    provisions_and_rotates("[identity]\nkey-source = \"cloud\"", "rsa-2048", true);
}

fn provisions_and_rotates(toml: &str, key_type: &str, in_cloud: bool) {
    let device = Device::new().toml(toml).start();
    assert_eq!(device.wait_steady(1)["certificate"]["keyType"], key_type);
    rotate_now(&device);
    assert_eq!(device.wait_steady(2)["certificate"]["keyType"], key_type);
    assert_eq!(
        device.twin().count(|e| matches!(e, Event::Minted { cloud_key, .. } if *cloud_key == in_cloud)),
        2
    );
    assert_eq!(device.minted(), 2);
    assert_eq!(device.active().len(), 1);
    device.finish();
}

#[test]
fn a_cloud_with_tls_1_2_alone_serves_provisioning_and_rotation() {
    let device = Device::new().twin(|o| o.tls12_only = true).start();
    device.wait_steady(1);
    rotate_now(&device);
    device.wait_steady(2);
    let mut seen = 0;
    for logged in device.twin().events() {
        if let Event::Tls { version, sni, resumed, .. } = logged.event {
            assert_eq!((version.as_str(), sni.as_deref(), resumed), ("1.2", Some("localhost"), false));
            seen += 1;
        }
    }
    assert!(seen >= 3, "claim, first identity, second: {}", device.story());
    device.finish();
}

fn rotate_now(device: &Device) {
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert!(done.status.success(), "{done:?}\n{}", device.log());
}

#[test]
fn without_a_serial_the_daemon_waits_and_an_operator_gives_it_once() {
    let mut device = Device::new().without_serial().expect_errors(&["serial-missing"]).start();
    let status = device.wait_for("a wait for the serial", |s| s["state"] == "awaiting-serial");
    assert!(status["why"].as_str().is_some_and(|w| w.contains("certrotctl provision SERIAL")), "{status:#}");
    assert_eq!(status["connection"]["retryAt"], serde_json::Value::Null, "it ends by a person: {status:#}");
    assert_eq!(device.twin().event_count(), 0, "the cloud was asked for nobody\n{}", device.story());
    let bad = device.ctl(&["provision", "a/b"]);
    assert_eq!(bad.status.code(), Some(64), "{bad:?}");
    let given = device.ctl(&["provision", "SN-0001"]);
    assert!(given.status.success(), "{given:?}");
    assert_eq!(device.wait_steady(1)["serial"], "SN-0001");
    let other = device.ctl(&["provision", "SN-0002", "--yes"]);
    assert_eq!(other.status.code(), Some(75), "{other:?}");
    assert!(String::from_utf8_lossy(&other.stderr).contains("SN-0001"), "{other:?}");
    device.kill9();
    device.start();
    assert_eq!(device.wait_steady(1)["serial"], "SN-0001");
    assert_eq!(device.minted(), 1);
    device.finish();
}

#[test]
fn the_new_pair_its_thing_and_its_token_are_on_disk_before_registerthing_is_sent_rules_1_and_4() {
    let mut device = Device::new().prepare();
    device.twin().fault(Fault::once("register", Effect::Ignore).forever());
    device.start();
    // The request has reached the cloud: what is on disk now was there before it was sent.
    device.wait_fault(0);
    device.kill9();
    let state = device.state_json(1).expect("state.json");
    assert_eq!((&state["stage"], &state["requests"]), (&"issued".into(), &"outstanding".into()));
    assert_eq!((&state["thing"], &state["template"]), (&"SN-0001".into(), &"certrot-claim".into()));
    assert_eq!(state["token"].as_str().map(str::len), Some(464), "the token");
    assert_eq!(state["tokenEnds"].as_i64(), state["issuedAt"].as_i64().map(|t| t + 3_600));
    is_a_pair(&device.generation_dir(1));
    assert_eq!(device.current_generation(), None, "not proved, so nobody uses it");

    device.twin().clear_faults();
    device.start();
    device.wait_steady(1);
    assert_eq!(device.minted(), 1, "{}", device.story());
    let state = device.state_json(1).expect("state.json");
    assert_eq!(state["stage"], "proved");
    assert!(state["token"].is_null(), "the token is of no use any more");
    device.finish();
}

fn is_a_pair(dir: &Path) {
    let certificate = CertificateDer::from_pem_file(dir.join("device.cert.pem")).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(dir.join("device.key.pem")).expect("a key");
    let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a key that can sign");
    let pair = rustls::sign::CertifiedKey::new(vec![certificate], key);
    assert!(pair.keys_match().is_ok(), "{}", dir.display());
}

#[test]
fn a_device_that_is_not_on_the_allow_list_waits_with_its_one_certificate_until_it_is_rules_1_6_and_23() {
    let device = Device::new().rate(60).twin(|o| o.allow_list = Some(vec!["OTHER".into()])).start();
    device.wait_event(0, "a denial", |e| matches!(e, Event::Rejected { status_code: 403 | 401, .. }));
    let again = device.twin().event_count();
    device.wait_event(again, "another try", |e| matches!(e, Event::Rejected { .. }));
    let status = device.status();
    assert_eq!(status["rotation"]["lastResult"]["step"], "register", "{status:#}");
    assert_eq!(device.minted(), 1, "{}", device.story());
    device.twin().allow(None);
    device.wait_steady(1);
    assert_eq!(device.minted(), 1, "{}", device.story());
    device.finish();
}

#[test]
fn port_443_is_asked_for_by_alpn() {
    let device = Device::new().twin(|o| o.port = 443).start();
    device.wait_steady(1);
    rotate_now(&device);
    device.wait_steady(2);
    for logged in device.twin().events() {
        if let Event::Tls { alpn, .. } = logged.event {
            assert_eq!(alpn.as_deref(), Some("x-amzn-mqtt-ca"));
        }
    }
    device.finish();
}

#[test]
#[should_panic(expected = "644")]
fn the_checks_see_a_file_that_others_may_read() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    assert!(device.terminate().success());
    let key = device.generation_dir(1).join("device.key.pem");
    std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("chmod");
    device.finish();
}

#[test]
#[should_panic(expected = "in the log")]
fn the_checks_see_a_key_in_the_log() {
    use std::io::Write;
    let mut device = Device::new().start();
    device.wait_steady(1);
    assert!(device.terminate().success());
    let key = std::fs::read(device.generation_dir(1).join("device.key.pem")).expect("a key");
    let log = std::fs::OpenOptions::new().append(true).open(device.dir().join("certrotd.log"));
    log.and_then(|mut l| l.write_all(&key)).expect("writable");
    device.finish();
}
