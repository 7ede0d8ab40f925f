//! Keys of claim certificates and of the policy check: made here, P-256, and told apart by their public halves.

use std::time::Duration;

use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PublicKeyData, date_time_ymd};
use thiserror::Error;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

/// A key pair; the private half leaves only as a file's content.
pub struct Key(KeyPair);

impl Key {
    /// Makes one.
    pub fn new() -> Result<Self, KeyError> {
        KeyPair::generate().map(Key).map_err(KeyError::Crypto)
    }

    /// Reads one.
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        KeyPair::from_pem(pem).map(Key).map_err(KeyError::Crypto)
    }

    /// The private key's PEM, for a file of mode 0600 and nothing else.
    pub fn pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.serialize_pem())
    }

    /// A certificate signing request (PEM).
    pub fn csr(&self, name: &str) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serialize_request(&self.0).and_then(|r| r.pem()).map_err(KeyError::Crypto)
    }

    /// A certificate (PEM) that the key signs for itself, from one time to another.
    pub fn self_signed(&self, name: &str, from: Timestamp, to: Timestamp) -> Result<String, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let at = |t: Timestamp| {
            date_time_ymd(1970, 1, 1) + Duration::from_secs(u64::try_from(t.as_second()).unwrap_or_default())
        };
        (params.not_before, params.not_after) = (at(from), at(to));
        params.self_signed(&self.0).map(|c| c.pem()).map_err(KeyError::Crypto)
    }

    /// Hex SHA-256 of the public key.
    pub fn public_hash(&self) -> String {
        sha256(&self.0.subject_public_key_info())
    }
}

/// Hex SHA-256 of the public key in a certificate (PEM); `None` where it is no certificate.
pub fn public_hash_of(certificate: &str) -> Option<String> {
    let (_, pem) = parse_x509_pem(certificate.as_bytes()).ok()?;
    Some(sha256(pem.parse_x509().ok()?.public_key().raw))
}

/// AWS's id of a certificate (PEM): hex SHA-256 of the DER.
pub fn id_of(certificate: &str) -> Option<String> {
    let (_, pem) = parse_x509_pem(certificate.as_bytes()).ok()?;
    Some(sha256(&pem.contents))
}

/// A key that could not be made or read. It names no content.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The library's words.
    #[error("cannot work with the key")]
    Crypto(#[source] rcgen::Error),
}

fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_known_by_the_public_key_in_it() {
        let key = Key::new().unwrap();
        let certificate = CertificateParams::default().self_signed(&key.0).unwrap().pem();
        assert_eq!(public_hash_of(&certificate), Some(key.public_hash()));
        assert_ne!(public_hash_of(&certificate), Some(Key::new().unwrap().public_hash()));
        assert_eq!(id_of(&certificate).map(|i| i.len()), Some(64));
        assert_eq!(Key::from_pem(&key.pem()).unwrap().public_hash(), key.public_hash());
    }
}
