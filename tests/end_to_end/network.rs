//! What is wrong on the way to the cloud: told apart in `status`, and over by itself when the cause goes.

use std::fs;
use std::net::TcpListener;

use certrot_twin::{Effect, Fault, Options, Twin};

use crate::support::Device;

#[test]
fn a_server_that_another_ca_has_signed_is_named_and_the_right_root_ends_it() {
    let mut device = Device::new().rate(60).prepare();
    let stranger = Twin::start(Options::new(device.dir().join("stranger"))).expect("another twin");
    let root = device.dir().join("root.pem");
    fs::copy(stranger.ca_pem(), &root).expect("a root file");
    device.edit_config(&format!("[aws]\nroot-ca = \"{}\"", root.display()));
    device.start();
    fails_by(&device, "untrusted-server");
    device.wait_for("words that fit", |s| {
        s["why"].as_str().is_some_and(|why| why.contains("reached and not trusted"))
    });
    assert!(device.twin().certificates_of(device.thing()).is_empty());
    fs::copy(device.twin().ca_pem(), &root).expect("a root file");
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_root_file_of_both_cas_trusts_either() {
    let mut device = Device::new().prepare();
    let stranger = Twin::start(Options::new(device.dir().join("stranger"))).expect("another twin");
    let root = device.dir().join("root.pem");
    fs::copy(stranger.ca_pem(), &root).expect("a root file");
    let mut both = fs::read(&root).expect("readable");
    both.extend(fs::read(device.twin().ca_pem()).expect("readable"));
    fs::remove_file(&root).expect("removable");
    let joined = String::from_utf8(both).expect("PEM");
    fs::copy(device.twin().ca_pem(), &root).expect("a root file");
    use std::io::Write;
    fs::File::create(&root).and_then(|mut f| f.write_all(joined.as_bytes())).expect("writable");
    device.edit_config(&format!("[aws]\nroot-ca = \"{}\"", root.display()));
    device.start();
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_cloud_that_is_not_there_is_waited_for_by_a_fresh_device_and_by_a_provisioned_one() {
    let mut device = Device::new().rate(60).prepare();
    device.stop_twin();
    device.start();
    fails_by(&device, "tcp-refused");
    device.start_twin();
    device.wait_steady(1);
    device.stop_twin();
    fails_by(&device, "tcp-refused");
    assert_eq!(device.current_generation(), Some(1));
    device.start_twin();
    device.wait_steady(1);
    assert_eq!(device.active().len(), 1);
    device.finish();
}

#[test]
fn a_port_where_no_tls_is_spoken_is_named_and_a_reload_with_the_right_one_ends_it() {
    let mut device = Device::new().rate(60).prepare();
    let port = device.twin().port();
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
    let wrong = plain.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for stream in plain.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut hello = [0; 512];
            let _some = stream.read(&mut hello);
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    device.edit_config(&format!("[aws]\nport = {wrong}"));
    device.start();
    fails_by(&device, "tls-fault");
    device.edit_config(&format!("[aws]\nport = {port}"));
    let reload = device.ctl(&["reload"]);
    assert!(reload.status.success(), "{reload:?}");
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_name_that_no_resolver_knows_is_named() {
    let mut device = Device::new().rate(60).toml("[aws]\nendpoint = \"iot.nowhere.invalid\"").start();
    // A machine without any resolver takes its time to say so.
    let status = device.wait_for("a failure", |s| s["connection"]["cause"].is_string());
    let cause = status["connection"]["cause"].as_str().unwrap_or_default().to_owned();
    assert!(["dns", "timeout"].contains(&cause.as_str()), "{status:#}");
    assert!(
        status["connection"]["text"]
            .as_str()
            .is_some_and(|t| cause != "dns" || t.contains("iot.nowhere.invalid"))
    );
    device.edit_config("[aws]\nendpoint = \"localhost\"");
    assert!(device.ctl(&["reload"]).status.success());
    device.wait_steady(1);
    device.finish();
}

#[test]
fn a_throttled_connect_is_told_apart_from_a_refused_one_and_waited_for() {
    let device = Device::new().rate(60).start();
    device.wait_steady(1);
    let id = device.certificate_id();
    let refused = Effect::Refuse { status_code: 5, error_code: String::new() };
    for (effect, cause, why) in [
        (Effect::Throttle, "throttled", "puts connections off"),
        (refused, "connack-refused", "refuses the certificate"),
        (Effect::CloseBefore, "closed-before-connack", "refused or throttled"),
    ] {
        device.twin().fault(Fault::once("connect", effect).forever().client(device.thing()));
        device.twin().kick(device.thing());
        fails_by(&device, cause);
        let status = device.wait_for(why, |s| s["why"].as_str().is_some_and(|t| t.contains(why)));
        assert!(status["connection"]["failures"].as_u64() >= Some(1), "{status:#}");
        if cause == "throttled" {
            let tries = |s: &serde_json::Value| s["connection"]["failures"].as_u64().unwrap_or(0);
            let status = device.wait_for("many tries", |s| tries(s) >= 7);
            assert!(status["alerts"].as_array().is_some_and(Vec::is_empty), "{status:#}");
            let text = status["why"].as_str().unwrap_or_default();
            assert!(!text.contains("refuse"), "{text}");
        }
        device.twin().clear_faults();
        device.wait_steady(1);
    }
    assert_eq!((device.certificate_id(), device.minted()), (id, 1), "{}", device.story());
    device.finish();
}

/// The status names the cause, with words and a remedy, and says when it is tried again.
fn fails_by(device: &Device, cause: &str) {
    let status = device.wait_for(cause, |s| s["connection"]["cause"] == cause);
    assert_eq!(status["connected"], false, "{status:#}");
    let link = &status["connection"];
    for key in ["text", "remedy"] {
        assert!(link[key].as_str().is_some_and(|t| !t.is_empty()), "{key}: {status:#}");
    }
    device.wait_for("the next try", |s| s["connection"]["retryAt"].is_string() && s["state"] == "waiting");
    assert!(!device.log().find("WARN", &[cause]).is_empty(), "{}", device.log());
}
