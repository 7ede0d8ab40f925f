//! The broker as AWS's: take-over, sessions that outlive connections, limits, TLS, keep-alive, restart, other clients.

mod support;

use std::process::Command;
use std::time::{Duration, Instant};

use certrot_twin::{Event, Options, Refusal, Status, Twin};
use rumqttc::{AsyncClient, Event as Mqtt, Incoming, MqttOptions, QoS, TlsConfiguration, Transport};
use support::{Connect, Device, Identity, Lab, MOMENT, PATIENCE};

const KEPT: Connect = Connect { v5: false, clean: false, keep_alive: 60, name: "localhost" };
const V5: Connect = Connect { v5: true, clean: false, keep_alive: 60, name: "localhost" };

fn issued(lab: &Lab, thing: &str) -> Identity {
    let issued = lab.twin.issue(thing).unwrap();
    Identity { certificate: issued.certificate_pem, key: issued.key_pem }
}

#[test]
fn a_take_over_keeps_the_session_and_what_was_not_acknowledged() {
    for how in [KEPT, V5] {
        let lab = Lab::new();
        let (first, second) = (issued(&lab, "a"), issued(&lab, "a"));
        let mut old = lab.connect_as(&first, "a", &how).unwrap();
        assert!(!old.session_present);
        old.subscribe(&["device/a/in"]).unwrap();
        old.withhold_acknowledgements();
        lab.twin.publish("device/a/in", b"1", false);
        assert_eq!(old.message(PATIENCE).unwrap().payload, b"1");
        let mut new = lab.connect_as(&second, "a", &how).unwrap();
        assert!(new.session_present);
        let again = new.message(PATIENCE).unwrap();
        assert_eq!((again.payload.as_slice(), again.dup), (&b"1"[..], true));
        assert!(old.is_closed_within(PATIENCE));
        let told = |e: &Event| matches!(e, Event::Closed { why, .. } if why == "DUPLICATE_CLIENTID");
        lab.twin.wait(0, PATIENCE, told).expect("the old one is told why");
        assert_eq!(old.was_told_to_go() == Some(0x8e), how.v5, "MQTT 5 says 0x8E");
        lab.twin.publish("device/a/in", b"2", false);
        assert_eq!(new.message(PATIENCE).unwrap().payload, b"2");
        assert_eq!(lab.twin.connections().len(), 1);
    }
}

#[test]
fn a_refused_connect_evicts_nobody() {
    let lab = Lab::new();
    let (mine, other) = (issued(&lab, "a"), issued(&lab, "b"));
    let mut device = lab.connect(&mine, "a").unwrap();
    assert_eq!(lab.connect(&other, "a").err().unwrap(), "connack 5");
    assert!(!device.is_closed_within(MOMENT));
}

#[test]
fn messages_for_a_client_that_is_away_wait_for_it_and_end_with_its_session() {
    let lab = Lab::new();
    let identity = issued(&lab, "a");
    let mut device = lab.connect_as(&identity, "a", &KEPT).unwrap();
    device.subscribe(&["device/a/in"]).unwrap();
    device.vanish();
    lab.twin.wait(0, PATIENCE, |e| matches!(e, Event::Closed { .. })).unwrap();
    lab.twin.publish("device/a/in", b"waits", false);
    let mut back = lab.connect_as(&identity, "a", &KEPT).unwrap();
    assert!(back.session_present);
    assert_eq!(back.message(PATIENCE).unwrap().payload, b"waits");
    let since = lab.twin.event_count();
    back.vanish();
    lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Closed { .. })).unwrap();
    lab.twin.clock().advance(Duration::from_secs(3600));
    assert!(!lab.connect_as(&identity, "a", &KEPT).unwrap().session_present, "an hour is over");
    assert!(!lab.connect(&identity, "a").unwrap().session_present, "a clean one has none");
}

#[test]
fn retained_messages_come_after_suback_and_go_when_emptied() {
    let lab = Lab::new();
    let identity = issued(&lab, "a");
    lab.twin.publish("device/a/certrot/rotate", b"{}", true);
    let mut device = lab.connect(&identity, "a").unwrap();
    device.subscribe(&["device/a/certrot/rotate"]).unwrap();
    assert!(device.message(PATIENCE).unwrap().retain);
    lab.twin.publish("device/a/certrot/rotate", b"", true);
    let emptied = device.message(PATIENCE).unwrap();
    assert!(emptied.payload.is_empty() && !emptied.retain);
    let mut later = lab.connect(&identity, "a").unwrap();
    later.subscribe(&["device/a/certrot/rotate"]).unwrap();
    assert_eq!(later.message(MOMENT), None);
    // The device's policy has no iot:RetainPublish.
    later.publish_with("device/a/x", b"", true, true);
    assert!(later.is_closed_within(PATIENCE));
}

#[test]
fn a_delivery_without_iot_receive_is_withheld_and_holds_up_nothing() {
    let lab = Lab::new();
    let identity = issued(&lab, "a");
    lab.twin.set_policy(
        "most",
        r#"{"Version":"2012-10-17","Statement":[
            {"Effect":"Allow","Action":["iot:Connect","iot:Subscribe"],"Resource":"*"},
            {"Effect":"Allow","Action":"iot:Receive","Resource":"arn:aws:iot:eu-west-1:123456789012:topic/open"}]}"#,
    );
    lab.twin.attach_policy("most", &identity.id()).unwrap();
    lab.twin.detach_policy("certrot-device", &identity.id()).unwrap();
    let mut device = lab.connect(&identity, "a").unwrap();
    device.subscribe(&["shut", "open"]).unwrap();
    lab.twin.publish("shut", b"secret", false);
    lab.twin.publish("open", b"public", false);
    assert_eq!(device.message(PATIENCE).unwrap().payload, b"public");
    assert_eq!(device.message(MOMENT), None);
    let withheld = |e: &Event| matches!(e, Event::Denied { action, resource, .. } if action == "iot:Receive" && resource == "shut");
    assert_eq!(lab.twin.count(withheld), 1);
}

#[test]
fn limits_close_the_connection() {
    let lab = Lab::new();
    let identity = issued(&lab, "a");
    let filters: Vec<String> = (0..9).map(|n| format!("device/a/{n}")).collect();
    let filters: Vec<&str> = filters.iter().map(String::as_str).collect();
    let mut device = lab.connect(&identity, "a").unwrap();
    assert!(device.subscribe(&filters[..8]).is_some());
    assert!(device.subscribe(&filters).is_none());
    let mut device = lab.connect(&identity, "a").unwrap();
    assert!(device.publish("device/a/x", &vec![0; 128 * 1024]));
    assert!(!device.publish("device/a/x", &vec![0; 128 * 1024 + 1]));
    let mut device = lab.connect(&identity, "a").unwrap();
    assert!(!device.publish("device/a/3/4/5/6/7/8/9", b""));
}

#[test]
fn the_fifty_first_subscription_is_not_granted() {
    let lab = Lab::new();
    let mut device = lab.connect(&issued(&lab, "a"), "a").unwrap();
    for n in 0..50 {
        assert_eq!(device.subscribe(&[&format!("device/a/{n}")]), Some(vec![1]));
    }
    assert_eq!(device.subscribe(&["device/a/50"]), Some(vec![0x80]));
}

#[test]
fn silence_is_cut_at_one_and_a_half_keep_alives_though_messages_flow() {
    let lab = Lab::new();
    let identity = issued(&lab, "a");
    let how = Connect { keep_alive: 1, ..Connect::default() };
    let mut device = lab.connect_as(&identity, "a", &how).unwrap();
    device.subscribe(&["device/a/in"]).unwrap();
    device.withhold_acknowledgements();
    let start = Instant::now();
    while start.elapsed() < PATIENCE && !device.closed {
        lab.twin.publish("device/a/in", b"x", false);
        device.is_closed_within(Duration::from_millis(100));
    }
    let lived = start.elapsed();
    assert!(lived > Duration::from_millis(1300) && lived < Duration::from_secs(4), "{lived:?}");
}

#[test]
fn a_stranger_and_one_without_its_key_are_refused_in_tls() {
    let lab = Lab::new();
    let mine = issued(&lab, "a");
    let key = rcgen::KeyPair::generate().unwrap();
    let foreign = rcgen::CertificateParams::new(vec!["a".into()]).unwrap().self_signed(&key).unwrap().pem();
    let stranger = Identity { certificate: foreign, key: key.serialize_pem() };
    assert!(lab.connect(&stranger, "a").is_err());
    lab.twin
        .wait(0, PATIENCE, |e| matches!(e, Event::TlsFailed { why } if why.contains("unknown certificate")))
        .unwrap();
    let thief = Identity { certificate: mine.certificate.clone(), key: key.serialize_pem() };
    let config = thief.config_of_unmatched_pair(&lab.twin);
    assert!(Device::connect(&lab.twin, &config, "a", &Connect::default()).is_err());
    assert_eq!(lab.twin.count(|e| matches!(e, Event::Connect { .. })), 0);
}

#[test]
fn each_way_of_refusing_a_certificate_is_seen_by_the_client() {
    for (refusal, told) in
        [(Refusal::Alert, "closed"), (Refusal::Close, "closed"), (Refusal::Connack, "connack 5")]
    {
        let lab = Lab::with(|o| o.certificate_refusal = refusal);
        let identity = issued(&lab, "a");
        lab.twin.set_status(&identity.id(), Status::Revoked).unwrap();
        assert_eq!(lab.connect(&identity, "a").err().unwrap(), told, "{refusal:?}");
    }
}

#[test]
fn a_certificate_past_its_end_is_refused_unless_set_otherwise() {
    for (refuse, expected) in [(true, false), (false, true)] {
        let lab = Lab::with(|o| {
            o.certificate_life = Some(Duration::from_secs(600));
            o.refuse_expired = refuse;
        });
        let identity = issued(&lab, "a");
        assert!(lab.connect(&identity, "a").is_ok());
        lab.twin.clock().advance(Duration::from_secs(602));
        assert_eq!(lab.connect(&identity, "a").is_ok(), expected);
    }
}

#[test]
fn a_client_that_names_no_server_is_refused_unless_set_otherwise() {
    let how = Connect { name: "127.0.0.1", ..Connect::default() };
    let strict = Lab::new();
    assert!(strict.connect_as(&issued(&strict, "a"), "a", &how).is_err());
    let lax = Lab::with(|o| o.require_sni = false);
    assert!(lax.connect_as(&issued(&lax, "a"), "a", &how).is_ok());
}

#[test]
fn a_resumed_tls_session_carries_the_old_identity_and_is_seen_to() {
    let lab = Lab::new();
    let identity = issued(&lab, "a");
    let config = identity.config(&lab.twin);
    let mut first = Device::connect(&lab.twin, &config, "a", &Connect::default()).unwrap();
    first.subscribe(&["device/a/x"]).unwrap();
    Device::connect(&lab.twin, &config, "a", &Connect::default()).unwrap();
    let resumed = |e: &Event| matches!(e, Event::Tls { resumed: true, .. });
    assert_eq!(lab.twin.count(resumed), 1, "the second handshake was resumed");
    lab.twin.set_status(&identity.id(), Status::Revoked).unwrap();
    assert!(
        Device::connect(&lab.twin, &config, "a", &Connect::default()).is_err(),
        "resuming does not revive it"
    );
}

#[test]
fn a_policy_that_is_not_seen_yet_refuses_and_later_lets_in() {
    let lab = Lab::with(|o| o.propagation = Duration::from_secs(120));
    let identity = lab.provision("SN-1");
    assert_eq!(lab.connect(&identity, "SN-1").err().unwrap(), "connack 5");
    lab.twin.clock().advance(Duration::from_secs(121));
    assert!(lab.connect(&identity, "SN-1").is_ok());
}

#[test]
fn connects_of_one_client_id_are_paced_when_set() {
    let lab = Lab::with(|o| o.connect_pace = Duration::from_secs(60));
    let identity = issued(&lab, "a");
    assert!(lab.connect(&identity, "a").is_ok());
    assert_eq!(lab.connect(&identity, "a").err().unwrap(), "closed");
}

#[test]
fn everything_is_there_after_a_restart_on_the_same_ports() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    let twin = Twin::start(options.clone()).unwrap();
    (options.port, options.api_port) = (twin.port(), twin.api_port());
    let lab = Lab { twin, dir };
    let identity = lab.provision("SN-1");
    let mut device = lab.connect_as(&identity, "SN-1", &KEPT).unwrap();
    device.subscribe(&["device/SN-1/in"]).unwrap();
    let ca = std::fs::read(lab.twin.ca_pem()).unwrap();
    let Lab { twin, dir } = lab;
    twin.stop();
    assert!(device.is_closed_within(PATIENCE));
    let lab = Lab { twin: Twin::start(options).unwrap(), dir };
    assert_eq!(std::fs::read(lab.twin.ca_pem()).unwrap(), ca);
    lab.twin.publish("device/SN-1/in", b"after", false);
    let mut back = lab.connect_as(&identity, "SN-1", &KEPT).unwrap();
    assert!(back.session_present);
    assert_eq!(back.message(PATIENCE).unwrap().payload, b"after");
}

#[test]
fn keys_are_private_from_birth() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    for entry in std::fs::read_dir(lab.dir.path()).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        if name.contains("key") || name.ends_with(".json") {
            assert_eq!(mode, 0o600, "{name}");
        }
    }
}

#[test]
fn mosquitto_passes_traffic_in_both_versions() {
    let lab = Lab::new();
    let identity = issued(&lab, "a");
    let dir = lab.dir.path();
    certrot_twin::files::write(dir, "a.pem", 0o600, identity.certificate.as_bytes()).unwrap();
    certrot_twin::files::write(dir, "a.key", 0o600, identity.key.as_bytes()).unwrap();
    let mosquitto = |program: &str, version: &str, topic: &str| {
        let mut command = Command::new(program);
        command.args([
            "-h",
            "localhost",
            "-p",
            &lab.twin.port().to_string(),
            "-V",
            version,
            "-i",
            "a",
            "-q",
            "1",
        ]);
        command.args(["-t", topic]);
        for (flag, file) in [("--cafile", "ca.pem"), ("--cert", "a.pem"), ("--key", "a.key")] {
            command.arg(flag).arg(dir.join(file));
        }
        command
    };
    for version in ["mqttv311", "mqttv5"] {
        let since = lab.twin.event_count();
        let mut receives = mosquitto("mosquitto_sub", version, "device/a/#");
        receives.args(["-C", "1", "-W", "10"]).stdout(std::process::Stdio::piped());
        let child = receives.spawn().expect("mosquitto-clients is installed");
        lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Subscribe { refused: None, .. })).unwrap();
        lab.twin.publish("device/a/in", b"to mosquitto", false);
        assert_eq!(child.wait_with_output().unwrap().stdout, b"to mosquitto\n", "{version}");
        let mut sends = mosquitto("mosquitto_pub", version, "device/a/out");
        assert!(sends.args(["-m", "from mosquitto"]).status().unwrap().success());
        let sent = |e: &Event| matches!(e, Event::Publish { topic, size: 14, .. } if topic == "device/a/out");
        lab.twin.wait(since, PATIENCE, sent).unwrap();
        // What it exits with differs between versions; what the broker did does not.
        let _exit = mosquitto("mosquitto_sub", version, "#").args(["-C", "1", "-W", "1"]).status().unwrap();
        let refused =
            |e: &Event| matches!(e, Event::Subscribe { filter, refused: Some(_), .. } if filter == "#");
        assert!(lab.twin.events_since(since).iter().any(|l| refused(&l.event)), "{version}");
    }
}

#[tokio::test]
async fn rumqttc_carries_traffic_over_a_take_over_without_loss() {
    let lab = Lab::new();
    let (first, second) = (issued(&lab, "a"), issued(&lab, "a"));
    let client = |identity: &Identity| {
        let mut options = MqttOptions::new("a", ("localhost", lab.twin.port()));
        options.set_clean_session(false);
        options.set_transport(Transport::Tls(TlsConfiguration::Rustls(identity.config(&lab.twin))));
        AsyncClient::builder(options).capacity(10).build()
    };
    let mut seen = Vec::new();
    let (old, mut old_loop) = client(&first);
    old.subscribe("device/a/in", QoS::AtLeastOnce).await.unwrap();
    while !matches!(old_loop.poll().await.unwrap(), Mqtt::Incoming(Incoming::SubAck(_))) {}
    for n in 0..20 {
        lab.twin.publish("device/a/in", format!("{n}").as_bytes(), false);
    }
    while seen.len() < 10 {
        if let Mqtt::Incoming(Incoming::Publish(p)) = old_loop.poll().await.unwrap() {
            seen.push(p.payload.to_vec());
        }
    }
    let (_new, mut new_loop) = client(&second);
    let connected = new_loop.poll().await.unwrap();
    assert!(matches!(connected, Mqtt::Incoming(Incoming::ConnAck(c)) if c.session_present));
    // What the old loop has acknowledged and not yet handed out is still in it, up to the broker's close.
    while let Ok(event) = old_loop.poll().await {
        if let Mqtt::Incoming(Incoming::Publish(p)) = event {
            seen.push(p.payload.to_vec());
        }
    }
    while (0..20).any(|n| !seen.contains(&format!("{n}").into_bytes())) {
        let event = tokio::time::timeout(PATIENCE, new_loop.poll()).await.expect("the rest comes").unwrap();
        if let Mqtt::Incoming(Incoming::Publish(p)) = event {
            seen.push(p.payload.to_vec());
        }
    }
}
