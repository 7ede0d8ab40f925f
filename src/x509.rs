//! Reads PEM and DER: certificates, private keys and their public halves, and says whether two belong together.
//!
//! Pure parsing: no file, no clock, no network, so every layer above the core may use it. It verifies no signature
//! and trusts nobody: AWS's device certificates do not chain to a root we hold, what counts is the key in them.
//! `rustls-pemfile` is called in one function here and nowhere else. No error shows the bytes that it judged.

use rustls::crypto::ring::sign::any_supported_type;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::oid_registry;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate, X509Name};
use x509_parser::public_key::PublicKey as ParsedKey;
use zeroize::Zeroize;

/// The kind and size of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// ECDSA on NIST P-256.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// RSA with a modulus of so many bits (keys that the cloud made have 2048).
    Rsa(usize),
}

impl std::fmt::Display for KeyType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyType::EcdsaP256 => f.write_str("ecdsa-p256"),
            KeyType::EcdsaP384 => f.write_str("ecdsa-p384"),
            KeyType::Rsa(bits) => write!(f, "rsa-{bits}"),
        }
    }
}

/// A public key: its kind, its whole SubjectPublicKeyInfo, and the bits that two copies of one key share.
#[derive(Clone, Debug)]
pub struct PublicKey {
    /// Kind and size.
    pub key_type: KeyType,
    /// SubjectPublicKeyInfo, DER.
    pub spki: Vec<u8>,
    /// The contents of its BIT STRING (EC point, or RSAPublicKey DER).
    pub bits: Vec<u8>,
}

/// Two encodings of one key are equal: the optional NULL of RSA parameters does not count.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.key_type == other.key_type && self.bits == other.bits
    }
}

impl Eq for PublicKey {}

/// What is read from a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// SHA-256 of the DER: AWS's certificate id.
    pub id: [u8; 32],
    /// Start of validity, Unix seconds.
    pub not_before: i64,
    /// End of validity, Unix seconds.
    pub not_after: i64,
    /// The key that it speaks for.
    pub public_key: PublicKey,
}

impl Leaf {
    /// Writes the certificate id as AWS does: 64 lower-case hexadecimal digits.
    pub fn id_hex(&self) -> String {
        hex(&self.id)
    }
}

/// What a certificate says of itself, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Whose it is.
    pub subject: String,
    /// Who signed it, by its own word.
    pub issuer: String,
    /// Start of validity, Unix seconds.
    pub not_before: i64,
    /// End of validity, Unix seconds.
    pub not_after: i64,
}

/// Why bytes were not taken for what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The PEM frame or its base64 is damaged.
    #[error("the PEM text is damaged")]
    Pem,
    /// There is no such section in the PEM text.
    #[error("there is no {0} in the PEM text")]
    Absent(&'static str),
    /// The certificate's DER does not parse.
    #[error("the certificate does not parse")]
    Certificate,
    /// The private key does not parse, or is of a kind that is not supported.
    #[error("the private key does not parse, or is not ECDSA P-256, P-384 or RSA of 2048 bits and more")]
    PrivateKey,
    /// The public key is of a kind that is not supported.
    #[error("the public key is not ECDSA P-256, P-384 or RSA")]
    PublicKey,
    /// Both parse, and they do not belong together.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
}

/// Reads every certificate of a PEM text, in order; none at all is an error.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    let mut found = Vec::new();
    sections(pem, |item| match item {
        rustls_pemfile::Item::X509Certificate(der) => found.push(der),
        other => wipe(other),
    })?;
    if found.is_empty() { Err(Error::Absent("certificate")) } else { Ok(found) }
}

/// Reads the first private key of a PEM text: PKCS#8, SEC1 or PKCS#1. The caller wipes it when done.
pub fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    let mut found: Option<PrivateKeyDer<'static>> = None;
    let read = sections(pem, |item| match (item, &found) {
        (rustls_pemfile::Item::Pkcs8Key(der), None) => found = Some(PrivateKeyDer::Pkcs8(der)),
        (rustls_pemfile::Item::Sec1Key(der), None) => found = Some(PrivateKeyDer::Sec1(der)),
        (rustls_pemfile::Item::Pkcs1Key(der), None) => found = Some(PrivateKeyDer::Pkcs1(der)),
        (other, _) => wipe(other),
    });
    if read.is_err()
        && let Some(key) = found.as_mut()
    {
        key.zeroize();
    }
    read?;
    found.ok_or(Error::Absent("private key"))
}

/// Reads the first certificate of a PEM text.
pub fn leaf(pem: &[u8]) -> Result<Leaf, Error> {
    let all = certificates(pem)?;
    let first = all.first().ok_or(Error::Absent("certificate"))?;
    leaf_of(first)
}

/// Reads one certificate from DER.
pub fn leaf_of(der: &[u8]) -> Result<Leaf, Error> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|_| Error::Certificate)?;
    if !rest.is_empty() {
        return Err(Error::Certificate);
    }
    let validity = certificate.validity();
    Ok(Leaf {
        id: sha256(der),
        not_before: validity.not_before.timestamp(),
        not_after: validity.not_after.timestamp(),
        public_key: known(certificate.public_key())?,
    })
}

/// Reads whose a certificate is and who signed it. What others wrote into it is made fit for one line.
pub fn names_of(der: &[u8]) -> Result<Names, Error> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| Error::Certificate)?;
    Ok(Names {
        subject: name(certificate.subject()),
        issuer: name(certificate.issuer()),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
    })
}

/// Common name, or else organisation, or else its unit: AWS's own certificates have one of them each.
fn name(name: &X509Name<'_>) -> String {
    let mut parts = name
        .iter_common_name()
        .chain(name.iter_organization())
        .chain(name.iter_organizational_unit())
        .filter_map(|part| part.as_str().ok());
    let found = parts.next().unwrap_or("nameless");
    found.chars().map(|c| if c.is_control() { ' ' } else { c }).take(64).collect()
}

/// Reads the public half of a private key in PEM.
pub fn public_key(key_pem: &[u8]) -> Result<PublicKey, Error> {
    let mut der = private_key(key_pem)?;
    let key = any_supported_type(&der);
    der.zeroize();
    let key = key.map_err(|_| Error::PrivateKey)?;
    let spki = key.public_key().ok_or(Error::PrivateKey)?;
    public_key_of(&spki)
}

/// Reads a SubjectPublicKeyInfo from DER.
pub fn public_key_of(spki: &[u8]) -> Result<PublicKey, Error> {
    let (rest, parsed) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| Error::PublicKey)?;
    if rest.is_empty() { known(&parsed) } else { Err(Error::PublicKey) }
}

/// Reads a certificate and a private key, and refuses them unless they belong together.
pub fn pair(certificate_pem: &[u8], key_pem: &[u8]) -> Result<Leaf, Error> {
    let leaf = leaf(certificate_pem)?;
    if public_key(key_pem)? == leaf.public_key { Ok(leaf) } else { Err(Error::Mismatch) }
}

/// The SHA-256 of bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    for (to, from) in out.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    out
}

/// Writes 32 bytes as 64 lower-case hexadecimal digits.
pub fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().flat_map(|b| [b >> 4, b & 15]).filter_map(|n| char::from_digit(n.into(), 16)).collect()
}

/// Reads 64 hexadecimal digits of either case; anything else is `None`.
pub fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 {
        return None;
    }
    let mut out = [0; 32];
    for (to, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = char::from(*pair.first()?).to_digit(16)?;
        let low = char::from(*pair.get(1)?).to_digit(16)?;
        *to = u8::try_from(high * 16 + low).ok()?;
    }
    Some(out)
}

/// Hands every section that is known to `take`: the one place that calls the archived `rustls-pemfile`.
fn sections(pem: &[u8], mut take: impl FnMut(rustls_pemfile::Item)) -> Result<(), Error> {
    let mut rest = pem;
    while let Some((item, after)) = rustls_pemfile::read_one_from_slice(rest).map_err(|_| Error::Pem)? {
        take(item);
        rest = after;
    }
    Ok(())
}

/// Overwrites a private key that nobody asked for.
fn wipe(item: rustls_pemfile::Item) {
    match item {
        rustls_pemfile::Item::Pkcs1Key(mut key) => key.zeroize(),
        rustls_pemfile::Item::Pkcs8Key(mut key) => key.zeroize(),
        rustls_pemfile::Item::Sec1Key(mut key) => key.zeroize(),
        _ => {}
    }
}

/// Sorts a parsed key into the kinds that are used here.
fn known(spki: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, Error> {
    let key_type = match spki.parsed().map_err(|_| Error::PublicKey)? {
        ParsedKey::RSA(rsa) => KeyType::Rsa(rsa.key_size()),
        ParsedKey::EC(_) => {
            let parameters = spki.algorithm.parameters.as_ref().ok_or(Error::PublicKey)?;
            let curve = parameters.as_oid().map_err(|_| Error::PublicKey)?;
            if curve == oid_registry::OID_EC_P256 {
                KeyType::EcdsaP256
            } else if curve == oid_registry::OID_NIST_EC_P384 {
                KeyType::EcdsaP384
            } else {
                return Err(Error::PublicKey);
            }
        }
        _ => return Err(Error::PublicKey),
    };
    Ok(PublicKey { key_type, spki: spki.raw.to_vec(), bits: spki.subject_public_key.data.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        (rcgen::CertificateParams::default().self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn the_id_is_the_sha_256_of_the_der_in_lower_case() {
        let (certificate, _) = made();
        let der = certificates(certificate.as_bytes()).unwrap().remove(0);
        let leaf = leaf(certificate.as_bytes()).unwrap();
        assert_eq!(leaf.id, sha256(&der));
        assert_eq!(unhex(&leaf.id_hex()), Some(leaf.id));
        // FIPS 180-2, appendix B.1.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hex(&sha256(b"abc")), abc);
        assert_eq!(unhex(&abc.to_uppercase()), Some(sha256(b"abc")));
    }

    #[test]
    fn what_is_not_64_hexadecimal_digits_is_no_id() {
        let good = "0f".repeat(32);
        assert!(unhex(&good).is_some());
        for bad in
            ["", &good[1..], &format!("{good}0"), &good.replacen('f', "g", 1), &good.replacen("0f", "é", 1)]
        {
            assert_eq!(unhex(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_first_certificate_of_a_text_counts_and_all_are_read() {
        let ((a, key), (b, _)) = (made(), made());
        let text = format!("words before\n{key}{a}between\n{b}");
        assert_eq!(certificates(text.as_bytes()).unwrap().len(), 2);
        assert_eq!(leaf(text.as_bytes()), leaf(a.as_bytes()));
        assert!(pair(text.as_bytes(), key.as_bytes()).is_ok());
        assert_eq!(pair(b.as_bytes(), key.as_bytes()), Err(Error::Mismatch));
    }

    #[test]
    fn texts_without_the_section_and_damaged_ones_are_told_apart() {
        let (certificate, key) = made();
        assert_eq!(leaf(key.as_bytes()), Err(Error::Absent("certificate")));
        assert_eq!(private_key(certificate.as_bytes()).err(), Some(Error::Absent("private key")));
        assert_eq!(leaf(&certificate.as_bytes()[..certificate.len() / 2]), Err(Error::Pem));
        assert_eq!(public_key(&key.as_bytes()[..key.len() / 2]), Err(Error::Pem));
        assert_eq!(leaf(b"\xff\x00"), Err(Error::Absent("certificate")));
    }

    #[test]
    fn a_damaged_or_padded_der_is_no_certificate() {
        let (certificate, _) = made();
        let der = certificates(certificate.as_bytes()).unwrap().remove(0);
        assert!(leaf_of(&der).is_ok());
        for length in 0..der.len() {
            assert_eq!(leaf_of(&der[..length]), Err(Error::Certificate), "{length}");
        }
        let padded = [&der[..], b"\0"].concat();
        assert_eq!(leaf_of(&padded), Err(Error::Certificate));
    }

    #[test]
    fn no_error_shows_bytes_of_a_key() {
        let (_, key) = made();
        let body = key.lines().nth(1).unwrap();
        let damaged = key.replacen("MIG", "!!!", 1);
        let error = public_key(damaged.as_bytes()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&body[8..20]));
    }
}
