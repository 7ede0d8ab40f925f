//! Templates, serials and ownership tokens in the wrong hands.

use std::time::Duration;

use certrot_twin::{Effect, Event, Fault, Options, Status};
use serde_json::{Value, json};

use crate::support::{Device, Identity, Lab, MOMENT, PATIENCE};
use crate::victim::{ATTACKER, VICTIM, Victim, attacker};

const CLAIM: &str = "certrot-claim";
const ROTATE: &str = "certrot-rotate";
/// A policy that somebody opened wide: the hooks must hold by themselves.
const WIDE_OPEN: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;

fn provision_topic(template: &str) -> String {
    format!("$aws/provisioning-templates/{template}/provision/json")
}

fn status_of(refused: &Value) -> i64 {
    refused["statusCode"].as_i64().unwrap()
}

#[test]
fn rule_24_a_device_that_names_another_serial_gets_a_certificate_for_itself_alone() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    let parameters = [
        json!({ "SerialNumber": VICTIM }),
        json!({ "SerialNumber": VICTIM, "ThingName": VICTIM, "thingName": VICTIM }),
        json!({ "SerialNumber": VICTIM, "AWS::IoT::Certificate::Id": victim.id() }),
        json!({ "SerialNumber": "" }),
        json!({ "SerialNumber": "${iot:ClientId}" }),
        json!({ "SerialNumber": "SN-NEW" }),
        json!({}),
    ];
    for (n, parameters) in parameters.into_iter().enumerate() {
        let fresh = device.create_from_csr().unwrap();
        let request = json!({ "certificateOwnershipToken": fresh.token, "parameters": parameters });
        let answer = device.ask_json(&provision_topic(ROTATE), request).unwrap();
        assert_eq!(answer["thingName"], ATTACKER, "{n}");
        assert!(lab.twin.certificate(&fresh.id).unwrap().things.keys().eq([ATTACKER]), "{n}");
    }
    // The same name twice: which of the two counts is the parser's affair, and neither may.
    let fresh = device.create_from_csr().unwrap();
    let request = format!(
        r#"{{"certificateOwnershipToken":"{}","parameters":{{"SerialNumber":"{ATTACKER}","SerialNumber":"{VICTIM}"}}}}"#,
        fresh.token
    );
    let answer = device.ask(&provision_topic(ROTATE), request.as_bytes()).unwrap();
    assert_eq!(answer.json()["thingName"], ATTACKER);
    assert!(lab.twin.thing("SN-NEW").is_none());
    victim.is_untouched(&lab);
}

#[test]
fn a_device_cannot_use_the_claim_template_even_where_its_policy_was_opened_wide() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    let fresh = device.create_from_csr().unwrap();
    device.publish_with(&provision_topic(CLAIM), b"{}", true, false);
    assert!(device.is_closed_within(PATIENCE), "the policy");
    lab.twin.set_policy("certrot-device", WIDE_OPEN);
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    for serial in [VICTIM, "SN-NEW", ATTACKER] {
        let denied = device.register(CLAIM, &fresh.token, serial).unwrap_err();
        assert_eq!(status_of(&denied), 403, "the hook, {serial}");
    }
    assert_eq!(lab.twin.certificate(&fresh.id).unwrap().status, Status::PendingActivation);
    victim.is_untouched(&lab);
}

#[test]
fn a_claim_holder_cannot_use_the_rotation_template_even_where_its_policy_was_opened_wide() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    lab.twin.set_policy("certrot-claim", WIDE_OPEN);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    for serial in [VICTIM, "SN-NEW", "claim-x"] {
        let denied = claim.register(ROTATE, &fresh.token, serial).unwrap_err();
        assert_eq!(status_of(&denied), 403, "{serial}");
    }
    assert!(lab.twin.thing("claim-x").is_none() && lab.twin.thing("SN-NEW").is_none());
    victim.is_untouched(&lab);
}

#[test]
fn rule_23_a_claim_holder_gets_no_certificate_for_a_thing_that_has_one() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    for parameters in [
        json!({ "SerialNumber": VICTIM }),
        json!({ "SerialNumber": VICTIM, "AWS::IoT::Certificate::Id": victim.id() }),
        json!({ "SerialNumber": VICTIM, "certrot-reclaim": "2026-11-24T00:00:00Z" }),
    ] {
        let fresh = claim.create_from_csr().unwrap();
        let request = json!({ "certificateOwnershipToken": fresh.token, "parameters": parameters });
        let denied = claim.ask_json(&provision_topic(CLAIM), request).unwrap_err();
        assert_eq!((status_of(&denied), denied["errorCode"].as_str()), (403, Some("ACCESS_DENIED")));
        assert!(lab.connect(&fresh.identity, VICTIM).is_err());
    }
    victim.is_untouched(&lab);
}

#[test]
fn rule_23_no_serial_makes_a_thing_whose_name_is_a_claims_a_topics_or_a_placeholder() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    let long = "A1".repeat(50) + "x";
    let bad = [
        "claim-x",
        "claim-",
        "Claim-x",
        "CLAIM-x",
        "",
        " ",
        "SN V",
        "SN-V ",
        "SN-V/x",
        "+",
        "#",
        "*",
        "SN-?",
        "a.b",
        "SN-V\u{0}",
        "SN\u{2010}V",
        "${iot:ClientId}",
        "Default_string",
        "To-Be-Filled-By-OEM",
        "00000000",
        "None",
        &long,
    ];
    let things = lab.twin.cloud().registry(|r| r.things.len());
    for serial in bad {
        let denied = claim.register(CLAIM, &fresh.token, serial).unwrap_err();
        assert_eq!(status_of(&denied), 403, "{serial:?}");
    }
    for odd in [json!(7), json!(null), json!(["SN-W"]), json!({ "a": "SN-W" })] {
        let request =
            json!({ "certificateOwnershipToken": fresh.token, "parameters": { "SerialNumber": odd } });
        let denied = claim.ask_json(&provision_topic(CLAIM), request).unwrap_err();
        assert!((400..500).contains(&status_of(&denied)), "{denied}");
    }
    assert_eq!(lab.twin.cloud().registry(|r| r.things.len()), things, "no thing was made");
    // The token was not used up by refusals; a good serial still works, so it was the serials that were refused.
    assert!(claim.register(CLAIM, &fresh.token, "SN-W").is_ok());
    victim.is_untouched(&lab);
}

#[test]
fn a_serial_that_is_not_on_the_allow_list_is_denied() {
    let lab = Lab::with(|o: &mut Options| o.allow_list = Some(vec![VICTIM.into(), "SN-1".into()]));
    let mut victim = Victim::new(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    for serial in ["SN-2", "SN-1x", "sn-1", "SN-", VICTIM] {
        assert_eq!(status_of(&claim.register(CLAIM, &fresh.token, serial).unwrap_err()), 403, "{serial}");
    }
    assert!(claim.register(CLAIM, &fresh.token, "SN-1").is_ok());
    victim.is_untouched(&lab);
}

#[test]
fn a_used_token_is_worth_nothing_to_anybody_on_any_connection() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    claim.register(CLAIM, &fresh.token, "SN-W").unwrap();
    let made = lab.twin.certificate(&fresh.id).unwrap();
    let mut other = lab.connect(&lab.claim(), "claim-y").unwrap();
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    let replay = |device: &mut Device, template: &str, serial: &str| {
        let refused = device.register(template, &fresh.token, serial).unwrap_err();
        assert!((400..500).contains(&status_of(&refused)), "{refused}");
    };
    replay(&mut claim, CLAIM, "SN-W");
    replay(&mut claim, CLAIM, "SN-X");
    replay(&mut other, CLAIM, "SN-X");
    replay(&mut other, CLAIM, VICTIM);
    replay(&mut device, ROTATE, ATTACKER);
    assert!(lab.twin.thing("SN-X").is_none());
    assert_eq!(lab.twin.certificate(&fresh.id).unwrap(), made, "the registered certificate is as it was");
    victim.is_untouched(&lab);
}

#[test]
fn a_token_that_is_guessed_cut_stretched_or_too_old_is_refused() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    let token = &fresh.token;
    let flipped = format!("{}{}", if token.starts_with('A') { 'B' } else { 'A' }, &token[1..]);
    for bad in ["", "x", &token[..token.len() - 1], &format!("{token}A"), &flipped, &"A".repeat(4096)] {
        let refused = claim.register(CLAIM, bad, "SN-W").unwrap_err();
        assert_eq!(status_of(&refused), 400);
    }
    lab.twin.clock().advance(Duration::from_secs(3601));
    assert_eq!(status_of(&claim.register(CLAIM, token, "SN-W").unwrap_err()), 400);
    assert!(lab.twin.certificate(&fresh.id).is_none() && lab.twin.thing("SN-W").is_none());
    victim.is_untouched(&lab);
}

/// Tokens are taken for bearer secrets here (facts: whether AWS binds them is not known). A stolen one that is not used
/// yet gives the thief a certificate whose key the thief has not, and costs its owner one more request.
#[test]
fn a_stolen_unused_token_costs_the_victim_a_retry_and_gives_the_thief_no_key() {
    let lab = Lab::new();
    let identity = lab.provision(VICTIM);
    let mut victim = lab.connect(&identity, VICTIM).unwrap();
    let before = lab.twin.certificates_of(VICTIM);
    let stolen = victim.create_from_csr().unwrap();
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    assert_eq!(status_of(&claim.register(CLAIM, &stolen.token, VICTIM).unwrap_err()), 403);
    claim.register(CLAIM, &stolen.token, "SN-W").unwrap();
    assert_eq!(lab.twin.certificates_of(VICTIM), before);
    assert!(lab.connect(&stolen.identity, VICTIM).is_err(), "it is not the victim's any more");
    assert_eq!(status_of(&victim.register(ROTATE, &stolen.token, VICTIM).unwrap_err()), 400);
    let again = victim.create_from_csr().unwrap();
    victim.register(ROTATE, &again.token, VICTIM).unwrap();
    assert!(lab.connect(&again.identity, VICTIM).is_ok(), "the next one works");
}

#[test]
fn a_token_bound_to_its_connection_is_worth_nothing_on_another() {
    let lab = Lab::with(|o: &mut Options| o.bind_tokens = true);
    let mut victim = Victim::new(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    let mut other = lab.connect(&lab.claim(), "claim-y").unwrap();
    assert_eq!(status_of(&other.register(CLAIM, &fresh.token, "SN-W").unwrap_err()), 400);
    assert!(claim.register(CLAIM, &fresh.token, "SN-W").is_ok());
    victim.is_untouched(&lab);
}

#[test]
fn an_answer_on_its_way_is_not_delivered_to_who_takes_the_client_id_over() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let claim = lab.claim();
    let mut asker = lab.connect(&claim, "claim-1").unwrap();
    lab.twin.fault(Fault::once("create-from-csr", Effect::DelayAnswer { ms: 400 }));
    let key = rcgen::KeyPair::generate().unwrap();
    let csr = rcgen::CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    let request = json!({ "certificateSigningRequest": csr }).to_string();
    let since = lab.twin.event_count();
    asker.publish_with("$aws/certificates/create-from-csr/json", request.as_bytes(), true, false);
    lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Minted { .. })).unwrap();
    let mut thief = lab.connect(&claim, "claim-1").unwrap();
    thief.subscribe(&["$aws/certificates/create-from-csr/json/accepted"]).unwrap();
    assert_eq!(thief.message(MOMENT * 4), None, "the token is in that answer");
    assert!(
        asker.is_closed_within(PATIENCE),
        "claim client ids can be taken over by any holder of the claim"
    );
    victim.is_untouched(&lab);
}

#[test]
fn a_csr_for_the_victims_public_key_or_subject_makes_no_certificate_of_the_victims() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    // The subject and the alternative names of a request are not taken over; only the key is.
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![VICTIM.to_owned(), "localhost".to_owned()]).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, VICTIM);
    let csr = params.serialize_request(&key).unwrap().pem().unwrap();
    let answer = claim
        .ask_json("$aws/certificates/create-from-csr/json", json!({ "certificateSigningRequest": csr }))
        .unwrap();
    let pem = answer["certificatePem"].as_str().unwrap();
    let der = {
        use rustls_pki_types::{CertificateDer, pem::PemObject};
        CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
    };
    assert!(!der.windows(VICTIM.len()).any(|w| w == VICTIM.as_bytes()), "AWS writes its own subject");
    claim.register(CLAIM, answer["certificateOwnershipToken"].as_str().unwrap(), "SN-W").unwrap();
    let identity = Identity { certificate: pem.to_owned(), key: key.serialize_pem() };
    assert!(lab.connect(&identity, VICTIM).is_err());
    assert!(lab.connect(&identity, "SN-W").is_ok());
    victim.is_untouched(&lab);
}
