//! The whole story against the twin: claim, identity, session, rotation, commit; and who is refused.

mod support;

use certrot_twin::{Event, Status};
use serde_json::{Value, json};
use support::{Connect, Lab, MOMENT, PATIENCE};

fn commit(thing: &str) -> String {
    format!("device/{thing}/certrot/commit")
}

#[test]
fn a_device_claims_rotates_and_commits_and_its_old_certificate_is_dead() {
    let lab = Lab::new();
    let first = lab.provision("SN-1");
    let mut on_first = lab.connect(&first, "SN-1").unwrap();
    let fresh = on_first.create_from_csr().unwrap();
    assert_eq!(lab.twin.certificate(&fresh.id).unwrap().status, Status::PendingActivation);
    assert!(lab.connect(&fresh.identity, "SN-1").is_err(), "a pending certificate connects nowhere");
    let answer = on_first.register("certrot-rotate", &fresh.token, "SN-1").unwrap();
    assert_eq!(answer["thingName"], "SN-1");

    let mut on_second = lab.connect(&fresh.identity, "SN-1").unwrap();
    assert!(on_first.is_closed_within(PATIENCE), "the take-over closes the old session");
    let accepted = format!("{}/accepted", commit("SN-1"));
    on_second.subscribe(&[&accepted]).unwrap();
    assert!(on_second.publish(&commit("SN-1"), json!({ "certificateId": fresh.id }).to_string().as_bytes()));
    let told = on_second.message_on(&[&accepted], PATIENCE).unwrap();
    assert_eq!(told.json()["certificateId"], fresh.id);
    assert!(lab.connect(&first, "SN-1").is_err(), "the old certificate is dead");
    lab.twin.wait(0, PATIENCE, |e| matches!(e, Event::Deleted { .. })).unwrap();
    assert_eq!(lab.twin.certificates_of("SN-1").len(), 1);
}

#[test]
fn rule_11_a_commit_on_the_old_certificate_or_for_another_retires_nobody() {
    let lab = Lab::new();
    let first = lab.provision("SN-1");
    let mut device = lab.connect(&first, "SN-1").unwrap();
    let fresh = device.create_from_csr().unwrap();
    device.register("certrot-rotate", &fresh.token, "SN-1").unwrap();
    let rejected = format!("{}/rejected", commit("SN-1"));
    device.subscribe(&[&rejected]).unwrap();
    device.publish(&commit("SN-1"), json!({ "certificateId": fresh.id }).to_string().as_bytes());
    let told = device.message_on(&[&rejected], PATIENCE).unwrap();
    assert_eq!(told.json()["reason"], "not-the-sender");
    assert!(lab.twin.certificates_of("SN-1").iter().all(|c| c.status == Status::Active));
}

#[test]
fn the_claim_reaches_only_its_template_and_its_client_ids() {
    let lab = Lab::new();
    let claim = lab.claim();
    assert_eq!(lab.connect(&claim, "SN-1").err().unwrap(), "connack 5");
    let mut device = lab.connect(&claim, "claim-SN-1-x").unwrap();
    let fresh = device.create_from_csr().unwrap();
    device.publish_with("$aws/provisioning-templates/certrot-rotate/provision/json", b"{}", true, false);
    assert!(device.is_closed_within(PATIENCE));
    let mut device = lab.connect(&claim, "claim-SN-1-x").unwrap();
    device.register("certrot-claim", &fresh.token, "SN-1").unwrap();
    // Rule 23: the thing now holds a certificate.
    let again = device.create_from_csr().unwrap();
    let denied = device.register("certrot-claim", &again.token, "SN-1").unwrap_err();
    assert_eq!((&denied["statusCode"], &denied["errorCode"]), (&json!(403), &json!("ACCESS_DENIED")));
}

#[test]
fn rule_24_a_device_that_names_another_serial_gets_its_own_thing() {
    let lab = Lab::new();
    let _victim = lab.provision("SN-2");
    let mine = lab.provision("SN-1");
    let mut device = lab.connect(&mine, "SN-1").unwrap();
    let fresh = device.create_from_csr().unwrap();
    let answer = device.register("certrot-rotate", &fresh.token, "SN-2").unwrap();
    assert_eq!(answer["thingName"], "SN-1");
    assert_eq!(lab.twin.certificates_of("SN-2").len(), 1);
}

#[test]
fn a_token_counts_once_and_for_an_hour() {
    let lab = Lab::new();
    let mut claim = lab.connect(&lab.claim(), "claim-a").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    claim.register("certrot-claim", &fresh.token, "SN-1").unwrap();
    let replayed = claim.register("certrot-claim", &fresh.token, "SN-1").unwrap_err();
    assert_eq!(replayed["statusCode"], 400);
    let late = claim.create_from_csr().unwrap();
    lab.twin.clock().advance(std::time::Duration::from_secs(3600));
    let refused = claim.register("certrot-claim", &late.token, "SN-3").unwrap_err();
    assert_eq!(refused["errorCode"], "InvalidCertificateOwnershipToken");
    assert!(lab.twin.certificate(&late.id).is_none(), "it went with its token");
}

#[test]
fn a_token_is_bound_to_its_connection_only_when_set() {
    for bound in [false, true] {
        let lab = Lab::with(|o| o.bind_tokens = bound);
        let fresh = lab.connect(&lab.claim(), "claim-a").unwrap().create_from_csr().unwrap();
        let mut other = lab.connect(&lab.claim(), "claim-b").unwrap();
        assert_eq!(other.register("certrot-claim", &fresh.token, "SN-1").is_err(), bound);
    }
}

#[test]
fn answers_reach_the_asker_alone_and_without_a_subscription() {
    let lab = Lab::new();
    let mut asker = lab.connect(&lab.claim(), "claim-a").unwrap();
    let mut other = lab.connect(&lab.claim(), "claim-b").unwrap();
    other.subscribe(&["$aws/certificates/create-from-csr/json/accepted"]).unwrap();
    asker.create_from_csr().unwrap();
    assert_eq!(other.message(MOMENT), None);
}

#[test]
fn garbage_for_a_csr_is_rejected_and_mints_nothing() {
    let lab = Lab::new();
    let mut claim = lab.connect(&lab.claim(), "claim-a").unwrap();
    let before = lab.twin.certificates().len();
    let topic = "$aws/certificates/create-from-csr/json";
    for csr in [json!("x"), json!("y".repeat(5000)), Value::Null, json!(7)] {
        let refused = claim.ask_json(topic, json!({ "certificateSigningRequest": csr })).unwrap_err();
        assert_eq!(refused["statusCode"], 400, "{csr}");
    }
    let refused = claim.ask(topic, b"not json").unwrap();
    assert!(refused.topic.ends_with("/rejected"));
    assert_eq!(lab.twin.certificates().len(), before);
}

#[test]
fn cbor_carries_the_same_story() {
    use ciborium::Value as Cbor;
    let lab = Lab::new();
    let mut claim = lab.connect(&lab.claim(), "claim-a").unwrap();
    let encode = |value: Cbor| {
        let mut bytes = Vec::new();
        ciborium::into_writer(&value, &mut bytes).unwrap();
        bytes
    };
    let field = |payload: &[u8], name: &str| -> Cbor {
        let map: Cbor = ciborium::from_reader(payload).unwrap();
        let found = map.as_map().unwrap().iter().find(|(k, _)| k.as_text() == Some(name));
        found.unwrap().1.clone()
    };
    let text = |t: &str| Cbor::Text(t.to_owned());
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let request = encode(Cbor::Map(vec![(text("certificateSigningRequest"), text(&csr))]));
    let answer = claim.ask("$aws/certificates/create-from-csr/cbor", &request).unwrap();
    assert!(answer.topic.ends_with("/accepted"));
    let token = field(&answer.payload, "certificateOwnershipToken");
    let serial = Cbor::Map(vec![(text("SerialNumber"), text("SN-1"))]);
    let request =
        encode(Cbor::Map(vec![(text("certificateOwnershipToken"), token), (text("parameters"), serial)]));
    let topic = "$aws/provisioning-templates/certrot-claim/provision/cbor";
    let answer = claim.ask(topic, &request).unwrap();
    assert_eq!(field(&answer.payload, "thingName"), text("SN-1"));
    let refused = claim.ask(topic, &request).unwrap();
    assert_eq!(field(&refused.payload, "statusCode").as_integer(), Some(400.into()));
}

#[test]
fn keys_made_in_the_cloud_connect_over_both_tls_versions() {
    let lab = Lab::new();
    let mut claim = lab.connect(&lab.claim(), "claim-a").unwrap();
    let answer = claim.ask_json("$aws/certificates/create/json", json!({})).unwrap();
    let text = |name: &str| answer[name].as_str().unwrap().to_owned();
    assert!(text("privateKey").starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    claim.register("certrot-claim", &text("certificateOwnershipToken"), "SN-1").unwrap();
    let identity = support::Identity { certificate: text("certificatePem"), key: text("privateKey") };
    for (version, name) in [(&rustls::version::TLS12, "1.2"), (&rustls::version::TLS13, "1.3")] {
        let config = identity.config_with(&lab.twin, &[version], &[b"x-amzn-mqtt-ca"]);
        support::Device::connect(&lab.twin, &config, "SN-1", &Connect::default()).unwrap();
        let seen = |e: &Event| {
            matches!(e, Event::Tls { version, alpn: Some(a), sni: Some(s), refused: None, .. }
                if version == name && a == "x-amzn-mqtt-ca" && s == "localhost")
        };
        assert_eq!(lab.twin.count(seen), 1);
    }
}

#[test]
fn a_certificate_that_leaves_active_loses_its_session_and_is_refused() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    lab.twin.set_status(&identity.id(), Status::Inactive).unwrap();
    assert!(device.is_closed_within(PATIENCE));
    assert!(lab.connect(&identity, "SN-1").is_err());
    lab.twin.set_status(&identity.id(), Status::Active).unwrap();
    assert!(lab.connect(&identity, "SN-1").is_ok(), "INACTIVE can be undone");
}

#[test]
fn a_device_reaches_no_topics_but_its_own() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    for filter in ["#", "device/#", "device/+/x", "device/SN-2/x", "$aws/#"] {
        let mut device = lab.connect(&identity, "SN-1").unwrap();
        assert_eq!(device.subscribe(&[filter]), None, "{filter}");
    }
    for topic in ["device/SN-2/x", "device/SN-1/certrot/commit/accepted", "x"] {
        let mut device = lab.connect(&identity, "SN-1").unwrap();
        assert!(!device.publish(topic, b""), "{topic}");
    }
    for client in ["SN-2", "+", "#", "claim-SN-1", ""] {
        assert!(lab.connect(&identity, client).is_err(), "{client}");
    }
}
