//! Which topics an attacker reaches: none of another's, and none of the cloud's words.

use certrot_twin::Event;
use serde_json::json;

use crate::raw::{Raw, connect, publish, subscribe};
use crate::support::{Connect, Identity, Lab, MOMENT, PATIENCE};
use crate::victim::{ATTACKER, Victim, attacker};

/// Filters that reach another's topics, or the broker's own.
const NOSY: [&str; 27] = [
    "#",
    "+",
    "+/#",
    "+/+/#",
    "/#",
    "device/#",
    "device/+",
    "device/+/#",
    "device/+/x",
    "device/+/certrot/#",
    "device/+/certrot/commit",
    "device/+/certrot/commit/accepted",
    "device/SN-V/#",
    "device/SN-V/+",
    "device/SN-V/certrot/commit",
    "device/SN-V/certrot/rotate",
    "device//#",
    "$aws/#",
    "$aws/+/+/+/+",
    "$aws/certificates/#",
    "$aws/provisioning-templates/#",
    "$aws/events/#",
    "$aws/things/SN-V/#",
    "$aws/rules/#",
    "$SYS/#",
    "$share/g/#",
    "$share/g/device/SN-V/#",
];

fn cannot_subscribe(lab: &Lab, identity: &Identity, client: &str, filter: &str) {
    for v5 in [false, true] {
        let how = Connect { v5, ..Connect::default() };
        let mut device = lab.connect_as(identity, client, &how).unwrap();
        assert_eq!(device.subscribe(&[filter]), None, "{filter} v5={v5}");
        assert!(device.is_closed_within(PATIENCE), "{filter} v5={v5}: AWS closes on it");
    }
}

fn cannot_publish(lab: &Lab, identity: &Identity, client: &str, topic: &str, payload: &[u8]) {
    for v5 in [false, true] {
        for qos1 in [true, false] {
            let how = Connect { v5, ..Connect::default() };
            let mut device = lab.connect_as(identity, client, &how).unwrap();
            let since = lab.twin.event_count();
            device.publish_with(topic, payload, qos1, false);
            assert!(device.is_closed_within(PATIENCE), "{topic} v5={v5} qos1={qos1}");
            let took =
                lab.twin.events_since(since).into_iter().any(|l| matches!(l.event, Event::Publish { .. }));
            assert!(!took, "{topic} v5={v5} qos1={qos1}");
        }
    }
}

#[test]
fn a_device_cannot_listen_to_another_by_any_filter() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let own = ["device/SN-A", "device/SN-A*/x", "device/SN-AB/#", "device/SN/#"];
    for filter in NOSY.iter().chain(&own) {
        cannot_subscribe(&lab, &mine, ATTACKER, filter);
    }
    victim.is_untouched(&lab);
}

#[test]
fn a_claim_holder_cannot_listen_to_a_device_or_to_the_rotation_template() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let claim = lab.claim();
    let more = ["device/claim-x/#", "$aws/provisioning-templates/certrot-rotate/provision/json/accepted"];
    for client in ["claim-x", "claim-+", "claim-#", "claim-*"] {
        for filter in NOSY.iter().chain(&more).step_by(if client == "claim-x" { 1 } else { 4 }) {
            cannot_subscribe(&lab, &claim, client, filter);
        }
    }
    victim.is_untouched(&lab);
}

/// One filter that may not be, among some that may, grants none of them.
#[test]
fn a_forbidden_filter_hidden_among_allowed_ones_grants_nothing() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    assert_eq!(device.subscribe(&["device/SN-A/a", "device/SN-V/#", "device/SN-A/b"]), None);
    assert!(device.is_closed_within(PATIENCE));
    victim.is_untouched(&lab);
}

#[test]
fn a_device_cannot_speak_for_another_or_with_the_clouds_words() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let commit = json!({ "certificateId": victim.id() }).to_string();
    for topic in [
        "device/SN-V/x",
        "device/SN-V/certrot/commit",
        "device/SN-V/certrot/commit/accepted",
        "device/SN-V/certrot/commit/rejected",
        "device/SN-V/certrot/rotate",
        "device/SN-A/certrot/commit/accepted",
        "device/SN-A/certrot/commit/rejected",
        "device/SN-A/certrot/commit/x",
        "device/SN-A/certrot/rotate",
        "device/SN-A",
        "device//certrot/commit",
        "device/SN-AB/certrot/commit",
        "/device/SN-V/certrot/commit",
        "x",
        "$aws/certificates/create/json/accepted",
        "$aws/certificates/create-from-csr/json/rejected",
        "$aws/provisioning-templates/certrot-rotate/provision/json/accepted",
        "$aws/provisioning-templates/certrot-claim/provision/json",
        "$aws/provisioning-templates/certrot-claim/provision/cbor",
        "$aws/provisioning-templates/other/provision/json",
        "$aws/things/SN-V/shadow/update",
        "$aws/rules/x",
        "$aws/events/x",
    ] {
        cannot_publish(&lab, &mine, ATTACKER, topic, commit.as_bytes());
    }
    assert_eq!(lab.twin.count(|e| matches!(e, Event::Commit { .. })), 0);
    victim.is_untouched(&lab);
}

#[test]
fn a_claim_holder_cannot_speak_as_a_device_nor_use_the_rotation_template() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let claim = lab.claim();
    let commit = json!({ "certificateId": victim.id() }).to_string();
    for topic in [
        "device/SN-V/x",
        "device/SN-V/certrot/commit",
        "device/SN-V/certrot/rotate",
        "device/claim-x/certrot/commit",
        "$aws/provisioning-templates/certrot-rotate/provision/json",
        "$aws/provisioning-templates/certrot-rotate/provision/cbor",
        "$aws/provisioning-templates/certrot-claim/provision/json/accepted",
        "$aws/certificates/create/json/accepted",
    ] {
        cannot_publish(&lab, &claim, "claim-x", topic, commit.as_bytes());
    }
    victim.is_untouched(&lab);
}

#[test]
fn nobody_but_the_cloud_leaves_a_retained_message_behind() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let (claim, mine) = (lab.claim(), attacker(&lab));
    for (identity, client, topic) in [
        (&mine, ATTACKER, "device/SN-A/x"),
        (&mine, ATTACKER, "device/SN-A/certrot/commit"),
        (&mine, ATTACKER, "$aws/certificates/create-from-csr/json"),
        (&claim, "claim-x", "$aws/certificates/create-from-csr/json"),
    ] {
        for qos1 in [true, false] {
            let mut device = lab.connect(identity, client).unwrap();
            device.publish_with(topic, b"{}", qos1, true);
            assert!(device.is_closed_within(PATIENCE), "{topic}");
        }
    }
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    device.subscribe(&["device/SN-A/#"]).unwrap();
    assert_eq!(device.message(MOMENT), None);
    victim.is_untouched(&lab);
}

#[test]
fn topics_too_deep_too_long_or_not_text_close_the_connection_and_nothing_else() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let deep = "device/SN-A/1/2/3/4/5/6/7";
    assert_eq!(deep.matches('/').count(), 8);
    let long = format!("device/SN-A/{}", "x".repeat(245));
    for topic in [deep, &long, "device/SN-A/+", "device/SN-A/#", ""] {
        let mut raw = Raw::open(&lab.twin, &mine.config(&lab.twin));
        assert_eq!(raw.exchange(&connect(ATTACKER, None)), [0x20, 2, 0, 0]);
        assert!(raw.is_closed_after(&publish(topic.as_bytes(), b"x")), "publish {topic:?}");
    }
    let deeper = "device/SN-A/+/+/+/+/+/+/#";
    for filter in [deeper.as_bytes(), long.as_bytes(), b"device/SN-A/\xff\xfe", b"device/SN-A/x#", b""] {
        let mut raw = Raw::open(&lab.twin, &mine.config(&lab.twin));
        assert_eq!(raw.exchange(&connect(ATTACKER, None)), [0x20, 2, 0, 0]);
        assert!(raw.is_closed_after(&subscribe(filter)), "subscribe {:?}", String::from_utf8_lossy(filter));
    }
    victim.is_untouched(&lab);
}

#[test]
fn the_clouds_answers_reach_their_asker_alone_whatever_others_subscribe_to() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let claim = lab.claim();
    let mut spy = lab.connect(&claim, "claim-spy").unwrap();
    let filters = [
        "$aws/certificates/create/json/accepted",
        "$aws/certificates/create-from-csr/json/accepted",
        "$aws/certificates/create-from-csr/json/rejected",
        "$aws/certificates/create-from-csr/+/accepted",
        "$aws/provisioning-templates/certrot-claim/provision/json/accepted",
        "$aws/provisioning-templates/certrot-claim/provision/+/rejected",
    ];
    assert!(spy.subscribe(&filters).is_some(), "the filters are the claim's own");
    let mut device_spy = lab.connect(&attacker(&lab), ATTACKER).unwrap();
    assert!(device_spy.subscribe(&["$aws/certificates/create-from-csr/json/accepted"]).is_some());
    lab.provision("SN-1");
    let mut asker = lab.connect(&claim, "claim-1").unwrap();
    assert!(asker.create_from_csr().is_ok());
    assert!(asker.register("certrot-claim", "x", "SN-2").is_err());
    assert_eq!(spy.message(MOMENT), None);
    assert_eq!(device_spy.message(MOMENT), None);
    victim.is_untouched(&lab);
}
