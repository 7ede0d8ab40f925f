//! Keys of every shape, certificate requests that verify, and rule 5.

use rcgen::CertificateParams;
use ring::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey,
    VerificationAlgorithm,
};
use x509_parser::prelude::{FromDer as _, X509CertificationRequest};

use super::samples::{P521, RSA_1024, RSA_PKCS1, RSA_PKCS8, SEC1};
use super::*;

/// 2026-01-01 and 2027-01-01, Unix seconds.
const FROM: i64 = 1_767_225_600;
const TO: i64 = 1_798_761_600;

fn load(pem: &str) -> Result<SoftKey, KeyError> {
    SoftKey::from_pem(Zeroizing::new(pem.to_owned()))
}

/// A certificate for a key, valid through 2026.
fn certificate(key: &dyn Key) -> String {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2027, 1, 1);
    params.self_signed(&Signer(key)).unwrap().pem()
}

fn id(certificate: &str) -> String {
    x509::leaf(certificate.as_bytes()).unwrap().id_hex()
}

fn verifies(key: &SoftKey, message: &[u8], signature: &[u8]) -> bool {
    let algorithm: &dyn VerificationAlgorithm = match key.public_key().key_type {
        KeyType::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
        KeyType::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
        KeyType::Rsa(_) => &RSA_PKCS1_2048_8192_SHA256,
    };
    UnparsedPublicKey::new(algorithm, &key.public_key().bits).verify(message, signature).is_ok()
}

#[test]
fn keys_of_every_shape_load_and_sign_for_their_public_half() {
    let made = [MadeType::EcdsaP256, MadeType::EcdsaP384].map(|t| SoftKey::generate(t).unwrap());
    let loaded = [RSA_PKCS1, RSA_PKCS8, SEC1].map(|pem| load(pem).unwrap());
    let keys: Vec<_> = made.into_iter().chain(loaded).collect();
    let types: Vec<_> = keys.iter().map(|k| k.public_key().key_type.to_string()).collect();
    assert_eq!(types, ["ecdsa-p256", "ecdsa-p384", "rsa-2048", "rsa-2048", "ecdsa-p256"]);
    for key in &keys {
        let signature = key.sign(b"message").unwrap();
        assert!(verifies(key, b"message", &signature) && !verifies(key, b"massage", &signature), "{key:?}");
        let pem = certificate(key);
        assert!(x509::pair(pem.as_bytes(), key.pem().as_bytes()).is_ok(), "{key:?}");
    }
    assert_eq!(keys[2].public_key(), keys[3].public_key());
}

#[test]
fn two_keys_are_never_the_same_and_do_not_pass_for_each_other() {
    let (a, b) =
        (SoftKey::generate(MadeType::EcdsaP256).unwrap(), SoftKey::generate(MadeType::EcdsaP256).unwrap());
    assert_ne!(a.public_key(), b.public_key());
    let pem = certificate(&a);
    assert_eq!(x509::pair(pem.as_bytes(), b.pem().as_bytes()), Err(x509::Error::Mismatch));
}

#[test]
fn kinds_that_are_not_used_are_refused_when_loaded() {
    let ed25519 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    for pem in [P521, RSA_1024, &ed25519, "", "words", &certificate(&load(SEC1).unwrap())] {
        let refused = load(pem).err().unwrap();
        assert!(matches!(refused, KeyError::Load(_)), "{refused}");
        assert!(refused.remedy().contains("new certificate"));
    }
}

#[test]
fn a_request_is_signed_by_its_key_and_fits_what_aws_takes() {
    let keys = [
        SoftKey::generate(MadeType::EcdsaP256).unwrap(),
        SoftKey::generate(MadeType::EcdsaP384).unwrap(),
        load(RSA_PKCS1).unwrap(),
    ];
    for key in &keys {
        let pem = certificate_request(key).unwrap();
        // AWS takes at most 4096 characters.
        assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----") && pem.len() <= 4096);
        let (_, der) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).unwrap();
        let (_, request) = X509CertificationRequest::from_der(&der.contents).unwrap();
        let info = &request.certification_request_info;
        assert_eq!(info.subject.to_string(), "CN=certrotd");
        assert_eq!(x509::public_key_of(info.subject_pki.raw).unwrap(), *key.public_key());
        assert!(verifies(key, info.raw, &request.signature_value.data));
    }
}

#[test]
fn a_key_shows_nothing_of_itself() {
    let key = SoftKey::generate(MadeType::EcdsaP256).unwrap();
    assert_eq!(format!("{key:?}"), "SoftKey(ecdsa-p256, ..)");
    assert!(key.pem().starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn rule_5_a_certificate_for_our_key_with_its_own_id_is_taken() {
    let key = load(RSA_PKCS1).unwrap();
    let pem = certificate(&key);
    let leaf = check_issued(&pem, &id(&pem), &key, Today::Is(FROM + 10)).unwrap();
    assert_eq!((leaf.not_before, leaf.not_after, leaf.public_key.key_type), (FROM, TO, KeyType::Rsa(2048)));
}

#[test]
fn rule_5_another_key_another_id_and_garbage_are_refused() {
    let (ours, other) = (load(SEC1).unwrap(), SoftKey::generate(MadeType::EcdsaP256).unwrap());
    let (pem, others) = (certificate(&ours), certificate(&other));
    let now = Today::Is(FROM + 10);
    assert_eq!(check_issued(&others, &id(&others), &ours, now), Err(IssueError::OtherKey));
    for wrong in [id(&others).as_str(), "", "zz", &id(&pem)[1..], &format!("{}0", id(&pem))] {
        assert_eq!(check_issued(&pem, wrong, &ours, now), Err(IssueError::OtherId), "{wrong}");
    }
    for garbage in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &pem[..200]] {
        assert!(matches!(check_issued(garbage, &id(&pem), &ours, now), Err(IssueError::Unreadable(_))));
    }
}

#[test]
fn rule_5_validity_may_begin_a_day_ahead_of_our_clock_and_must_not_be_over() {
    let key = load(SEC1).unwrap();
    let pem = certificate(&key);
    let at = |now| check_issued(&pem, &id(&pem), &key, Today::Is(now));
    const DAY: i64 = 86_400;
    assert!(at(FROM - DAY).is_ok());
    assert_eq!(at(FROM - DAY - 1), Err(IssueError::NotYet { ahead: DAY + 1 }));
    assert!(at(TO - 1).is_ok());
    assert_eq!(at(TO), Err(IssueError::Expired { ago: 0 }));
    assert_eq!(at(i64::MAX), Err(IssueError::Expired { ago: i64::MAX - TO }));
    assert!(at(i64::MIN).is_err());
}

#[test]
fn rule_5_a_floor_of_long_ago_refuses_no_certificate_of_today_and_still_one_that_is_over() {
    let key = load(SEC1).unwrap();
    let pem = certificate(&key);
    let at = |floor| check_issued(&pem, &id(&pem), &key, Today::AtLeast(floor));
    assert!(at(FROM - 400 * 86_400).is_ok());
    assert_eq!(at(TO), Err(IssueError::Expired { ago: 0 }));
}

#[test]
fn every_refusal_says_who_can_clear_it() {
    let refusals = [
        IssueError::Unreadable(x509::Error::Pem),
        IssueError::OtherKey,
        IssueError::OtherId,
        IssueError::NotYet { ahead: 90_000 },
        IssueError::Expired { ago: 3 },
    ];
    for refusal in refusals {
        assert!(
            ["a person", "a new certificate"].iter().any(|who| refusal.remedy().starts_with(who)),
            "{refusal}"
        );
    }
}
