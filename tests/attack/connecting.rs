//! Who may connect, and as whom: client ids, strangers' certificates, certificates out of force, wills.

use std::time::Duration;

use certrot_twin::{Event, Options, Refusal, Status};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SerialNumber};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::raw::{Raw, Will, connect, no_certificate};
use crate::support::{Connect, Device, Identity, Lab, MOMENT, PATIENCE};
use crate::victim::{ATTACKER, VICTIM, Victim, attacker};

/// Client ids that hide a wildcard, a variable, or another's name.
const DISGUISES: [&str; 16] = [
    "SN-V",
    "sn-v",
    "SN-1",
    "SN-",
    "SN-VV",
    " SN-V",
    "SN-V ",
    "+",
    "#",
    "*",
    "?",
    "$",
    "SN-V/#",
    "SN-?",
    "${iot:Connection.Thing.ThingName}",
    "${iot:ClientId}",
];

fn refused_everywhere(lab: &Lab, identity: &Identity, client: &str) {
    for v5 in [false, true] {
        for clean in [true, false] {
            if client.is_empty() && !clean && !v5 {
                continue; // MQTT 3.1.1 has no such CONNECT
            }
            let how = Connect { v5, clean, ..Connect::default() };
            assert!(lab.connect_as(identity, client, &how).is_err(), "{client:?} v5={v5} clean={clean}");
        }
    }
}

#[test]
fn a_claim_holder_cannot_connect_as_a_device_or_with_any_client_id_but_claims() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let claim = lab.claim();
    for client in
        DISGUISES.iter().chain(&["", "claim", "Claim-1", "CLAIM-1", "xclaim-1", "claim_1", "SN-V-claim-1"])
    {
        refused_everywhere(&lab, &claim, client);
    }
    victim.is_untouched(&lab);
}

#[test]
fn a_device_cannot_connect_as_another_thing_as_a_claim_or_as_a_wildcard() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    for client in
        DISGUISES.iter().chain(&["", "claim-x", "claim-SN-A", "claim-SN-V", "SN-A-2", "sn-a", "SN-A/x"])
    {
        refused_everywhere(&lab, &mine, client);
    }
    victim.is_untouched(&lab);
    assert!(lab.connect(&mine, ATTACKER).is_ok(), "its own it still is");
}

/// A device certificate whose policy was opened wide by mistake must not become a claim (rule 23).
#[test]
fn a_thing_called_claim_x_that_exists_by_mistake_neither_claims_nor_rotates() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let issued = lab.twin.issue("claim-x").unwrap();
    let mine = Identity { certificate: issued.certificate_pem, key: issued.key_pem };
    let mut device = lab.connect(&mine, "claim-x").unwrap();
    let fresh = device.create_from_csr().unwrap();
    let denied = device.register("certrot-rotate", &fresh.token, VICTIM).unwrap_err();
    assert_eq!(denied["statusCode"], 403);
    device.publish_with("$aws/provisioning-templates/certrot-claim/provision/json", b"{}", true, false);
    assert!(device.is_closed_within(PATIENCE));
    assert!(lab.connect(&lab.claim(), "claim-x").is_ok(), "the name is the claim's");
    victim.is_untouched(&lab);
}

#[test]
fn a_client_id_over_128_bytes_is_refused_for_everyone() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let (claim, mine) = (lab.claim(), attacker(&lab));
    for length in [129, 1_000, 65_535] {
        let name = "claim-".to_owned() + &"x".repeat(length - 6);
        assert!(lab.connect(&claim, &name).is_err(), "{length}");
        assert!(lab.connect(&mine, &"A".repeat(length)).is_err(), "{length}");
    }
    let longest = "claim-".to_owned() + &"x".repeat(122);
    assert!(lab.connect(&claim, &longest).is_ok(), "128 bytes are allowed");
    victim.is_untouched(&lab);
}

#[test]
fn nobody_connects_without_a_certificate() {
    for certificate_refusal in [Refusal::Alert, Refusal::Close, Refusal::Connack] {
        let lab = Lab::with(|o: &mut Options| o.certificate_refusal = certificate_refusal);
        let mut victim = Victim::new(&lab);
        for client in [VICTIM, "claim-x", ""] {
            let answer = Raw::open(&lab.twin, &no_certificate(&lab.twin)).exchange(&connect(client, None));
            assert!(answer.is_empty(), "{client:?} {certificate_refusal:?}: {answer:?}");
        }
        assert_eq!(lab.twin.count(|e| matches!(e, Event::Connect { client, .. } if client == "claim-x")), 0);
        victim.is_untouched(&lab);
    }
}

#[test]
fn a_forged_certificate_is_nobodys_whatever_its_subject_issuer_and_serial_number_say() {
    for certificate_refusal in [Refusal::Alert, Refusal::Close, Refusal::Connack] {
        let lab = Lab::with(|o: &mut Options| o.certificate_refusal = certificate_refusal);
        let mut victim = Victim::new(&lab);
        for forged in [self_signed(&victim.identity), signed_by_a_stranger(&victim.identity)] {
            assert_ne!(forged.id(), victim.id());
            refused_everywhere(&lab, &forged, VICTIM);
            refused_everywhere(&lab, &forged, "claim-x");
        }
        victim.is_untouched(&lab);
    }
}

#[test]
fn the_victims_own_certificate_without_its_key_is_worth_nothing() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let thief = Identity {
        certificate: victim.identity.certificate.clone(),
        key: KeyPair::generate().unwrap().serialize_pem(),
    };
    let config = thief.config_of_unmatched_pair(&lab.twin);
    let tried = Device::connect(&lab.twin, &config, VICTIM, &Connect::default());
    assert!(tried.is_err());
    victim.is_untouched(&lab);
}

/// The same name, issuer and serial number as the victim's; everything but the key and the signature.
fn look_alike(of: &Identity) -> CertificateParams {
    use rustls_pki_types::{CertificateDer, pem::PemObject};
    let der = CertificateDer::from_pem_slice(of.certificate.as_bytes()).unwrap();
    let (_, real) = X509Certificate::from_der(&der).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    for name in real.subject().iter_common_name() {
        params.distinguished_name.push(DnType::CommonName, name.as_str().unwrap());
    }
    params.serial_number = Some(SerialNumber::from_slice(&real.tbs_certificate.serial.to_bytes_be()));
    params
}

fn self_signed(of: &Identity) -> Identity {
    let key = KeyPair::generate().unwrap();
    let certificate = look_alike(of).self_signed(&key).unwrap();
    Identity { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn signed_by_a_stranger(of: &Identity) -> Identity {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let unit = "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US";
    authority.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = look_alike(of).signed_by(&key, &issuer).unwrap();
    Identity { certificate: certificate.pem(), key: key.serialize_pem() }
}

#[test]
fn a_certificate_that_is_pending_inactive_revoked_detached_deleted_or_expired_opens_no_session() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let id = mine.id();
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    let pending = device.create_from_csr().unwrap();
    for client in [ATTACKER, VICTIM, "claim-x"] {
        assert!(lab.connect(&pending.identity, client).is_err(), "pending as {client}");
    }
    for status in [Status::Inactive, Status::Revoked] {
        lab.twin.set_status(&id, status).unwrap();
        assert!(device.is_closed_within(PATIENCE));
        assert!(lab.connect(&mine, ATTACKER).is_err(), "{status:?}");
        lab.twin.set_status(&id, Status::Active).unwrap();
        device = lab.connect(&mine, ATTACKER).unwrap();
    }
    lab.twin.detach_thing(ATTACKER, &id).unwrap();
    assert!(lab.connect(&mine, ATTACKER).is_err(), "detached");
    lab.twin.attach_thing(ATTACKER, &id).unwrap();
    lab.twin.detach_policy("certrot-device", &id).unwrap();
    assert!(lab.connect(&mine, ATTACKER).is_err(), "without a policy");
    lab.twin.attach_policy("certrot-device", &id).unwrap();
    assert!(lab.connect(&mine, ATTACKER).is_ok(), "all is back");
    lab.twin.delete_certificate(&id);
    assert!(lab.connect(&mine, ATTACKER).is_err(), "deleted");
    lab.twin.set_validity(Duration::from_secs(60), Some(Duration::from_secs(600)));
    let short = lab.twin.issue("SN-B").unwrap();
    let short = Identity { certificate: short.certificate_pem, key: short.key_pem };
    assert!(lab.connect(&short, "SN-B").is_ok());
    lab.twin.clock().advance(Duration::from_secs(601));
    assert!(lab.connect(&short, "SN-B").is_err(), "expired");
    victim.is_untouched(&lab);
}

#[test]
fn a_flood_of_refused_connects_with_the_victims_client_id_evicts_nobody() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let (claim, mine) = (lab.claim(), attacker(&lab));
    for _ in 0..20 {
        assert!(lab.connect(&claim, VICTIM).is_err());
        assert!(lab.connect(&mine, VICTIM).is_err());
    }
    victim.is_untouched(&lab);
}

#[test]
fn a_will_reaches_no_topic_that_its_client_may_not_publish_to_and_is_never_retained() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let order = format!(r#"{{"ifCertificateId":"{}"}}"#, victim.id());
    let own = format!(r#"{{"certificateId":"{}"}}"#, mine.id());
    for (topic, payload, retain) in [
        ("device/SN-V/certrot/rotate", &order, false),
        ("device/SN-V/certrot/commit", &own, false),
        ("device/SN-V/x", &own, false),
        ("device/SN-A/certrot/commit/accepted", &own, false),
        ("device/SN-A/certrot/rotate", &order, false),
        ("$aws/certificates/create/json/accepted", &own, false),
        ("device/SN-A/certrot/commit", &own, true),
        ("device/SN-A/x", &own, true),
    ] {
        let will = Will { topic, payload: payload.as_bytes(), retain };
        let mut raw = Raw::open(&lab.twin, &mine.config(&lab.twin));
        let answer = raw.exchange(&connect(ATTACKER, Some(will)));
        assert_eq!(answer, [0x20, 2, 0, 5], "{topic} retain={retain}");
        raw.vanish();
    }
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    device.subscribe(&["device/SN-A/#"]).unwrap();
    assert_eq!(device.message(MOMENT), None, "nothing was kept");
    victim.is_untouched(&lab);
}

/// A will on one's own commit topic is a commit like any other: it may retire one's own older certificates, no others.
#[test]
fn a_will_on_the_commit_topic_hurts_nobody_but_its_sender() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let claims_to_be = format!(r#"{{"certificateId":"{}"}}"#, victim.id());
    let will = Will { topic: "device/SN-A/certrot/commit", payload: claims_to_be.as_bytes(), retain: false };
    let mut raw = Raw::open(&lab.twin, &mine.config(&lab.twin));
    let since = lab.twin.event_count();
    assert_eq!(raw.exchange(&connect(ATTACKER, Some(will))), [0x20, 2, 0, 0]);
    raw.vanish();
    lab.twin
        .wait(since, PATIENCE, |e| matches!(e, Event::Closed { client, .. } if client == ATTACKER))
        .unwrap();
    let handled = lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Commit { .. })).unwrap();
    assert!(
        matches!(&handled.event, Event::Commit { accepted: false, why, .. } if why == "not-the-sender"),
        "{handled:?}"
    );
    victim.is_untouched(&lab);
}
