//! The twin's two authorities: one signs the server (`ca.pem`, what AmazonRootCA1 is to AWS), one signs devices.
//!
//! A device certificate does not chain to `ca.pem`, as on AWS: the broker knows it by its SHA-256 alone. Made once in
//! the directory; keys 0600 from birth.

use std::path::Path;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, SubjectPublicKeyInfo,
};
use rsa::pkcs1::EncodeRsaPrivateKey;
use rsa::pkcs8::EncodePublicKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::files::{self, FileError};

/// The authorities could not be made or read, or would not sign.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// A file of the directory.
    #[error(transparent)]
    File(#[from] FileError),
    /// Making or reading a key or certificate.
    #[error("cannot make or read {what}")]
    Crypto {
        /// Which one.
        what: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request is not one that AWS would sign.
    #[error("the certificate signing request is not acceptable: {0}")]
    Request(&'static str),
}

/// The server's certificate chain and key, and the device authority.
pub struct Ca {
    server_chain: Vec<CertificateDer<'static>>,
    server_key: PrivateKeyDer<'static>,
    devices: Issuer<'static, KeyPair>,
    root_pem: String,
}

/// A certificate as it was just made.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Lower-case hex SHA-256 of the DER.
    pub id: String,
    /// PEM.
    pub pem: String,
    /// Start of validity, seconds since the epoch.
    pub not_before: i64,
    /// End of validity, seconds since the epoch.
    pub not_after: i64,
}

impl Ca {
    /// Reads the authorities of `dir`, or makes them.
    pub fn open(dir: &Path) -> Result<Self, CaError> {
        let root_key = key(dir, "ca.key.pem")?;
        let root_params = authority("certrot-twin server root", None);
        let root_pem = match files::read(dir, "ca.pem")? {
            Some(pem) => pem,
            None => {
                let pem = root_params.self_signed(&root_key).map_err(crypto("ca.pem"))?.pem();
                files::write(dir, "ca.pem", 0o644, pem.as_bytes())?;
                pem
            }
        };
        let server_key = key(dir, "server.key.pem")?;
        let server_pem = match files::read(dir, "server.cert.pem")? {
            Some(pem) => pem,
            None => {
                let issuer = Issuer::new(root_params, root_key);
                let pem = server_params()?
                    .signed_by(&server_key, &issuer)
                    .map_err(crypto("server.cert.pem"))?
                    .pem();
                files::write(dir, "server.cert.pem", 0o644, pem.as_bytes())?;
                pem
            }
        };
        let devices = Issuer::new(authority("", Some(AWS_ISSUER)), key(dir, "devices.key.pem")?);
        Ok(Self {
            server_chain: vec![
                CertificateDer::from_pem_slice(server_pem.as_bytes()).map_err(crypto("server.cert.pem"))?,
            ],
            server_key: PrivateKeyDer::from_pem_slice(server_key.serialize_pem().as_bytes())
                .map_err(crypto("server.key.pem"))?,
            devices,
            root_pem,
        })
    }

    /// The certificate that clients trust, as PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What the server shows.
    pub fn server(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        (self.server_chain.clone(), self.server_key.clone_key())
    }

    /// Signs a public key as AWS does: fixed subject, end in 2049 unless `life` says otherwise.
    pub fn sign(
        &self,
        key: &impl PublicKeyData,
        now: i64,
        back: Duration,
        life: Option<Duration>,
    ) -> Result<Minted, CaError> {
        let not_before = now - secs(back);
        let not_after = life.map_or(AWS_END, |l| (now + secs(l)).max(not_before + 1));
        let mut params = CertificateParams::default();
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "AWS IoT Certificate");
        params.distinguished_name = name;
        set_validity(&mut params, not_before, not_after);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        // Two certificates for one key must differ: the id is their hash.
        let serial: Vec<u8> = std::iter::once(1).chain((0..15).map(|_| fastrand::u8(..))).collect();
        params.serial_number = Some(serial.into());
        let certificate = params.signed_by(key, &self.devices).map_err(crypto("the device certificate"))?;
        Ok(Minted { id: certificate_id(certificate.der()), pem: certificate.pem(), not_before, not_after })
    }
}

/// AWS's name of a certificate: the lower-case hex SHA-256 of its DER.
pub fn certificate_id(der: &[u8]) -> String {
    hex(&Sha256::digest(der))
}

/// Bytes as lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Makes a 2048-bit RSA key as CreateKeysAndCertificate does; takes seconds in a build that is not optimised.
pub fn rsa_key() -> Result<RsaKey, CaError> {
    let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 2048).map_err(crypto("an RSA key"))?;
    let pem = key.to_pkcs1_pem(rsa::pkcs1::LineEnding::LF).map_err(crypto("an RSA key"))?;
    let public = key.to_public_key();
    let public_pem = public.to_public_key_pem(rsa::pkcs8::LineEnding::LF).map_err(crypto("an RSA key"))?;
    let public = public.to_public_key_der().map_err(crypto("an RSA key"))?;
    let public = SubjectPublicKeyInfo::from_der(public.as_bytes()).map_err(crypto("an RSA key"))?;
    Ok(RsaKey { private_pem: pem.to_string(), public_pem, public })
}

/// A key pair made by the cloud.
pub struct RsaKey {
    /// PKCS#1 PEM, as AWS sends it.
    pub private_pem: String,
    /// SubjectPublicKeyInfo PEM.
    pub public_pem: String,
    /// The public key, for a certificate.
    pub public: SubjectPublicKeyInfo,
}

/// Checks a certificate signing request as AWS documents it and returns its public key.
///
/// P-521, which AWS takes, is refused here: ring cannot verify it.
pub fn check_request(pem: &str) -> Result<SubjectPublicKeyInfo, CaError> {
    if pem.len() > 4096 {
        return Err(CaError::Request("more than 4096 characters"));
    }
    let (_, block) =
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|_| CaError::Request("not PEM"))?;
    if !matches!(block.label.as_str(), "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST") {
        return Err(CaError::Request("not a certificate request"));
    }
    let (rest, request) = X509CertificationRequest::from_der(&block.contents)
        .map_err(|_| CaError::Request("not a PKCS#10 request"))?;
    if !rest.is_empty() {
        return Err(CaError::Request("trailing bytes"));
    }
    let signed_by = request.signature_algorithm.algorithm.to_id_string();
    if SHA1_SIGNATURES.contains(&signed_by.as_str()) {
        return Err(CaError::Request("signed with SHA-1"));
    }
    let spki = &request.certification_request_info.subject_pki;
    match spki.parsed().map_err(|_| CaError::Request("unreadable public key"))? {
        PublicKey::RSA(key) if key.key_size() >= 2048 => {}
        PublicKey::RSA(_) => return Err(CaError::Request("RSA key shorter than 2048 bits")),
        PublicKey::EC(_) => {}
        _ => return Err(CaError::Request("neither RSA nor EC")),
    }
    request.verify_signature().map_err(|_| CaError::Request("its signature does not verify"))?;
    SubjectPublicKeyInfo::from_der(spki.raw).map_err(|_| CaError::Request("unsupported curve"))
}

/// The bytes of the first certificate in a PEM.
pub fn der_of(pem: &str) -> Result<CertificateDer<'static>, CaError> {
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(crypto("a certificate"))
}

/// The one OU of AWS's issuer, commas and all.
const AWS_ISSUER: &str = "Amazon Web Services O=Amazon.com Inc. L=Seattle ST=Washington C=US";
/// 2049-12-31T23:59:59Z.
const AWS_END: i64 = 2_524_607_999;
/// Start and end of the server's certificates: far enough for any clock a test sets.
const SERVER_VALID: (i64, i64) = (946_684_800, 4_102_444_799);
const SHA1_SIGNATURES: [&str; 3] = ["1.2.840.113549.1.1.5", "1.3.14.3.2.29", "1.2.840.10045.4.1"];

fn authority(common_name: &str, unit: Option<&str>) -> CertificateParams {
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    match unit {
        Some(unit) => name.push(DnType::OrganizationalUnitName, unit),
        None => name.push(DnType::CommonName, common_name),
    }
    params.distinguished_name = name;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, SERVER_VALID.0, SERVER_VALID.1);
    params
}

fn server_params() -> Result<CertificateParams, CaError> {
    let names =
        ["localhost", "twin-ats.iot.local", "twin-ats.iot.eu-west-1.amazonaws.com"].map(str::to_owned);
    let mut params = CertificateParams::new(names).map_err(crypto("server.cert.pem"))?;
    params.subject_alt_names.push(SanType::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()));
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, "twin-ats.iot.local");
    params.distinguished_name = name;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    set_validity(&mut params, SERVER_VALID.0, SERVER_VALID.1);
    Ok(params)
}

/// Reads an ECDSA P-256 key of the directory, or makes it.
fn key(dir: &Path, name: &str) -> Result<KeyPair, CaError> {
    match files::read(dir, name)? {
        Some(pem) => KeyPair::from_pem(&pem).map_err(crypto("a key of the twin")),
        None => {
            let key = KeyPair::generate().map_err(crypto("a key of the twin"))?;
            files::write(dir, name, 0o600, key.serialize_pem().as_bytes())?;
            Ok(key)
        }
    }
}

fn secs(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

/// Sets the validity from seconds since the epoch; before the epoch is the epoch.
fn set_validity(params: &mut CertificateParams, not_before: i64, not_after: i64) {
    let since_epoch = |secs: i64| Duration::from_secs(u64::try_from(secs).unwrap_or(0));
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(not_before);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + since_epoch(not_after);
}

fn crypto<E: std::error::Error + Send + Sync + 'static>(what: &'static str) -> impl Fn(E) -> CaError {
    move |e| CaError::Crypto { what, source: Box::new(e) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls_pki_types::CertificateSigningRequestDer;
    use x509_parser::prelude::X509Certificate;

    fn request(key: &KeyPair) -> rcgen::CertificateSigningRequest {
        CertificateParams::default().serialize_request(key).unwrap()
    }

    fn pem(der: &CertificateSigningRequestDer<'_>) -> String {
        let body = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der.as_ref());
        format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
    }

    fn rsa(bits: usize) -> KeyPair {
        use rsa::pkcs8::EncodePrivateKey;
        let key = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, bits).unwrap();
        let der = rustls_pki_types::PrivatePkcs8KeyDer::from(key.to_pkcs8_der().unwrap().as_bytes().to_vec());
        KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_RSA_SHA256).unwrap()
    }

    #[test]
    fn requests_on_both_curves_and_rsa_are_taken() {
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        for key in [KeyPair::generate().unwrap(), p384, rsa(2048)] {
            let public = check_request(&request(&key).pem().unwrap()).unwrap();
            assert_eq!(public.der_bytes(), key.public_key_raw());
        }
    }

    #[test]
    fn a_request_whose_signature_does_not_verify_is_refused() {
        let mut der = request(&KeyPair::generate().unwrap()).der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        let refused = check_request(&pem(&der.into())).unwrap_err();
        assert!(matches!(refused, CaError::Request("its signature does not verify")), "{refused}");
    }

    #[test]
    fn what_is_no_request_or_a_weak_one_is_refused() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let long = format!("{}{}", request(&key).pem().unwrap(), "\n".repeat(4096));
        let refused = check_request(RSA_1024).unwrap_err();
        assert!(matches!(refused, CaError::Request("RSA key shorter than 2048 bits")), "{refused}");
        for text in [String::new(), "x".into(), certificate, request(&ed25519).pem().unwrap(), long] {
            assert!(matches!(check_request(&text), Err(CaError::Request(_))));
        }
    }

    #[test]
    fn a_device_certificate_looks_like_one_of_aws() {
        let dir = tempfile::tempdir().unwrap();
        let ca = Ca::open(dir.path()).unwrap();
        let key = KeyPair::generate().unwrap();
        let minted = ca.sign(&key, 1_800_000_000, Duration::from_secs(120), None).unwrap();
        let der = der_of(&minted.pem).unwrap();
        assert_eq!(minted.id, certificate_id(&der));
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=AWS IoT Certificate");
        let units: Vec<_> = certificate.issuer().iter_attributes().collect();
        assert_eq!(units.len(), 1, "one OU and nothing else");
        assert_eq!(units[0].as_str().unwrap(), AWS_ISSUER);
        assert_eq!(certificate.validity().not_before.timestamp(), 1_800_000_000 - 120);
        assert_eq!(certificate.validity().not_after.timestamp(), AWS_END);
        let again = ca.sign(&key, 1_800_000_000, Duration::from_secs(120), None).unwrap();
        assert_ne!(again.id, minted.id, "the same request twice gives two certificates");
        let reopened = Ca::open(dir.path()).unwrap();
        assert_eq!(reopened.root_pem(), ca.root_pem());
    }

    /// Made once with OpenSSL; the key was thrown away.
    const RSA_1024: &str = "-----BEGIN CERTIFICATE REQUEST-----
MIIBSzCBtQIBADAMMQowCAYDVQQDDAF4MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB
iQKBgQDXIJbR+f8BqDQ5rqk+/PDOdf79iibpdi+yc+Wrdns+k16LYZJjG9+OMouN
y9DfKzIbJfwMNtpf/wEd6xvnS11adlaFAKKIwDu2MffZYFqLvtPK/UDoDhk+bGSV
BpbH5caPNAEk0x0b0BBMoqsX/lO5jE1RRvHU9nIdKhfKZgq0MwIDAQABoAAwDQYJ
KoZIhvcNAQELBQADgYEAHtEeDx4e7oWTku5JVr6peHtEqOvo0QZB3o1kbpb4QZdK
sh5Cmo7dpa1jEIJ8z0M/Ze0Vb0uSp6DH6okXQD9j4vd1/tY4u33ZEFN2/sO0TZFT
dgsiWc1BXbRIri/LxUXPnfynKYzwHObXYniQmxbv+mAFJo7KIja+Kxhieat6Bxw=
-----END CERTIFICATE REQUEST-----";
}
