//! Garbage on every topic that parses: answered with a refusal or cut off, never minted from, and nobody else notices.

use certrot_twin::Event;

use crate::raw::{Raw, connect, packet, publish};
use crate::support::{Lab, PATIENCE};
use crate::victim::{ATTACKER, Victim, attacker};

/// AWS IoT quota: payload of a publish, in bytes.
const MAX_PAYLOAD: usize = 128 * 1024;

fn operations(template: &str) -> Vec<String> {
    let mut topics = Vec::new();
    for format in ["json", "cbor"] {
        topics.push(format!("$aws/certificates/create/{format}"));
        topics.push(format!("$aws/certificates/create-from-csr/{format}"));
        topics.push(format!("$aws/provisioning-templates/{template}/provision/{format}"));
    }
    topics
}

/// Payloads that no operation takes, in either format.
fn garbage() -> Vec<(&'static str, Vec<u8>)> {
    let nested = |open: &[u8], close: &[u8], n: usize| [open.repeat(n), close.repeat(n)].concat();
    vec![
        ("text", b"not a request".to_vec()),
        ("a nul", vec![0]),
        ("no utf-8", vec![0xff, 0xfe, 0x80]),
        ("half an object", br#"{"certificateSigningRequest":"#.to_vec()),
        ("an array", b"[]".to_vec()),
        ("deep json", nested(b"[", b"]", 50_000)),
        ("deep json objects", nested(br#"{"a":"#, b"}", 20_000)),
        ("a huge number", [b"{\"a\":".to_vec(), b"9".repeat(100_000), b"}".to_vec()].concat()),
        (
            "wrong types",
            br#"{"certificateSigningRequest":7,"certificateOwnershipToken":7,"parameters":7}"#.to_vec(),
        ),
        (
            "wrong parameters",
            br#"{"certificateSigningRequest":[],"parameters":{"SerialNumber":{}}}"#.to_vec(),
        ),
        ("cbor break", vec![0xff]),
        ("cbor endless map", vec![0xbf]),
        ("cbor map of a thousand billion", vec![0xbb, 0, 0, 0xe8, 0xd4, 0xa5, 0x10, 0, 0]),
        (
            "cbor text of all memory",
            vec![0xa1, 0x61, b'a', 0x7b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        (
            "cbor bytes of all memory",
            vec![0xa1, 0x61, b'a', 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        ),
        ("cbor array of all memory", vec![0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("cbor deep", vec![0x81; 100_000]),
        ("cbor deep endless", vec![0x9f; 100_000]),
        ("cbor deep tags", vec![0xc1; 100_000]),
        ("cbor number key", vec![0xa1, 0x01, 0x61, b'a']),
        ("as much as AWS takes", vec![b'{'; MAX_PAYLOAD]),
    ]
}

#[test]
fn garbage_on_every_provisioning_topic_is_rejected_and_mints_nothing() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    for (identity, client, template) in
        [(lab.claim(), "claim-x", "certrot-claim"), (mine, ATTACKER, "certrot-rotate")]
    {
        let mut device = lab.connect(&identity, client).unwrap();
        let before = lab.twin.certificates();
        for topic in operations(template) {
            for (what, payload) in garbage() {
                // A map that the operation has no use for is an empty request to `create`: it would mint.
                if topic.contains("/create/") && what.starts_with("wrong") {
                    continue;
                }
                let answer =
                    device.ask(&topic, &payload).unwrap_or_else(|| panic!("{topic}, {what}: no answer"));
                assert!(answer.topic.ends_with("/rejected"), "{topic}, {what}");
                let since = lab.twin.event_count();
                assert!(lab.twin.events_since(since).is_empty());
            }
        }
        assert_eq!(lab.twin.certificates(), before);
        assert_eq!(lab.twin.count(|e| matches!(e, Event::Denied { .. })), 0, "nothing closed it");
        assert!(device.create_from_csr().is_ok(), "the connection goes on");
    }
    victim.is_untouched(&lab);
}

#[test]
fn csrs_of_weak_keys_bad_signatures_and_great_length_are_rejected() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let before = lab.twin.certificates().len();
    let key = rcgen::KeyPair::generate().unwrap();
    let good = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let padded = format!("{}{good}", "\n".repeat(4097));
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let edwards = rcgen::CertificateParams::default().serialize_request(&ed25519).unwrap().pem().unwrap();
    let twisted = {
        // The last byte of the signature, inside the last full line of base64.
        let lines: Vec<&str> = good.lines().collect();
        let at = lines.len() - 2;
        let last = lines[at];
        let turned: String =
            last.chars().map(|c| if c.is_ascii_lowercase() { c.to_ascii_uppercase() } else { c }).collect();
        good.replace(last, &turned)
    };
    let headless = good.replace("CERTIFICATE REQUEST", "CERTIFICATE");
    for (what, csr) in [
        ("empty", ""),
        ("too long", padded.as_str()),
        ("Ed25519", &edwards),
        ("a broken signature", &twisted),
        ("another label", &headless),
        ("a certificate", &victim.identity.certificate.clone()),
    ] {
        let request = serde_json::json!({ "certificateSigningRequest": csr });
        let refused = claim.ask_json("$aws/certificates/create-from-csr/json", request);
        assert_eq!(refused.expect_err(what)["statusCode"], 400, "{what}");
    }
    assert_eq!(lab.twin.certificates().len(), before);
    victim.is_untouched(&lab);
}

#[test]
fn a_payload_over_the_limit_closes_its_senders_connection_alone() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let (claim, mine) = (lab.claim(), attacker(&lab));
    for (identity, client, topic) in [
        (&claim, "claim-x", "$aws/certificates/create-from-csr/json"),
        (&mine, ATTACKER, "device/SN-A/x"),
        (&mine, ATTACKER, "device/SN-A/certrot/commit"),
    ] {
        let mut device = lab.connect(identity, client).unwrap();
        device.publish_with(topic, &vec![b'x'; MAX_PAYLOAD + 1], true, false);
        assert!(device.is_closed_within(PATIENCE), "{topic}");
    }
    assert_eq!(lab.twin.count(|e| matches!(e, Event::Commit { .. })), 0);
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    assert!(device.publish("device/SN-A/x", &vec![b'x'; MAX_PAYLOAD]), "the limit itself is allowed");
    victim.is_untouched(&lab);
}

#[test]
fn packets_that_are_no_mqtt_close_their_own_connection_alone() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let hello = connect(ATTACKER, None);
    let open = || Raw::open(&lab.twin, &mine.config(&lab.twin));
    for (what, bytes) in [
        // Read as MQTT it announces 69 bytes, so it is as long.
        ("http", [b"GET / HTTP/1.1\r\nUser-Agent: ".to_vec(), b"x".repeat(200)].concat()),
        ("a publish before connect", publish(b"device/SN-A/x", b"x")),
        ("an endless length", vec![0x10, 0xff, 0xff, 0xff, 0xff, 0xff]),
        ("another protocol", packet(0x10, b"\0\x04MQTX\x04\x02\0\x3c\0\x01a")),
        ("a version from the future", packet(0x10, b"\0\x04MQTT\x09\x02\0\x3c\0\x01a")),
        ("a client id that is no text", packet(0x10, b"\0\x04MQTT\x04\x02\0\x3c\0\x02\xff\xfe")),
        ("a reserved packet", vec![0x00, 0]),
    ] {
        assert!(open().is_closed_after(&bytes), "{what}");
    }
    for (what, bytes) in [
        ("a second connect", hello.clone()),
        ("QoS 3", packet(0x36, b"\0\x0ddevice/SN-A/x\0\x01x")),
        ("QoS 2", packet(0x34, b"\0\x0ddevice/SN-A/x\0\x01x")),
        ("packet id 0", packet(0x32, b"\0\x0ddevice/SN-A/x\0\0x")),
        ("a topic with a nul", publish(b"device/SN-A/\0", b"x")),
        ("a subscribe without filters", packet(0x82, &[0, 1])),
        ("a length over everything", vec![0x30, 0xff, 0xff, 0xff, 0x7f]),
    ] {
        let mut raw = open();
        assert_eq!(raw.exchange(&hello), [0x20, 2, 0, 0]);
        assert!(raw.is_closed_after(&bytes), "{what}");
    }
    victim.is_untouched(&lab);
}

#[test]
fn garbage_on_the_commit_topic_is_rejected_and_retires_nobody() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    let fresh = device.create_from_csr().unwrap();
    device.register("certrot-rotate", &fresh.token, ATTACKER).unwrap();
    let mut device = lab.connect(&fresh.identity, ATTACKER).unwrap();
    let rejected = "device/SN-A/certrot/commit/rejected";
    device.subscribe(&[rejected, "device/SN-A/certrot/commit/accepted"]).unwrap();
    let id = &fresh.id;
    for payload in [
        Vec::new(),
        b"{}".to_vec(),
        b"null".to_vec(),
        vec![b'['; 100_000],
        vec![0xff; 10],
        format!(r#"{{"certificateId":["{id}"]}}"#).into_bytes(),
        format!(r#"{{"certificateid":"{id}"}}"#).into_bytes(),
        format!(r#"{{"certificateId":"{}"}}"#, id.to_uppercase()).into_bytes(),
        format!(r#"{{"certificateId":"{id} "}}"#).into_bytes(),
        format!(r#"{{"certificateId":"arn:aws:iot:eu-west-1:123456789012:cert/{id}"}}"#).into_bytes(),
        format!(r#"{{"certificateId":"{id}","certificateId":"{}"}}"#, mine.id()).into_bytes(),
    ] {
        assert!(device.publish("device/SN-A/certrot/commit", &payload));
        let told = device.message(PATIENCE).unwrap();
        assert_eq!(told.topic, rejected, "{:?}", String::from_utf8_lossy(&payload));
    }
    assert_eq!(lab.twin.certificates_of(ATTACKER).len(), 2);
    victim.is_untouched(&lab);
}
