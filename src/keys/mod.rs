//! Keys: makes them, signs certificate requests with them, and judges what was issued for them (rule 5).
//!
//! Everything above this file reaches a key by the trait [`Key`] (public half, sign), so that a PKCS#11 token or a
//! TPM can stand behind it later. Private bytes leave only as [`SoftKey::pem`], for the store, and are wiped when
//! dropped. It reads no file and no clock; it knows nothing of the store.

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rcgen::{CertificateParams, DistinguishedName, DnType, PublicKeyData, SignatureAlgorithm};
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::sign::SigningKey;
use zeroize::{Zeroize, Zeroizing};

use crate::x509::{self, KeyType, Leaf, PublicKey};

/// A private key, wherever it lives: its public half, and signatures with it.
pub trait Key: Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// Signs a message with the digest that goes with the key: SHA-256 for P-256 and RSA (PKCS#1 v1.5), SHA-384 for
    /// P-384; ECDSA signatures are DER.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError>;
}

/// The kinds of key that are made on the device (`identity.key-type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MadeType {
    /// ECDSA on NIST P-256, the default.
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
}

/// A key in memory, made here or loaded from PEM.
pub struct SoftKey {
    public: PublicKey,
    pem: Zeroizing<String>,
    signer: Arc<dyn SigningKey>,
}

impl SoftKey {
    /// Makes a key by the system's random numbers.
    pub fn generate(kind: MadeType) -> Result<Self, KeyError> {
        let algorithm = match kind {
            MadeType::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            MadeType::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
        };
        let mut pair = rcgen::KeyPair::generate_for(algorithm).map_err(KeyError::Generate)?;
        let pem = Zeroizing::new(pair.serialize_pem());
        pair.zeroize();
        Self::from_pem(pem)
    }

    /// Loads a key: PKCS#8, SEC1 or PKCS#1; ECDSA P-256, P-384 or RSA.
    pub fn from_pem(pem: Zeroizing<String>) -> Result<Self, KeyError> {
        let mut der = x509::private_key(pem.as_bytes()).map_err(KeyError::Load)?;
        let signer = any_supported_type(&der);
        der.zeroize();
        let signer = signer.map_err(|_| KeyError::Load(x509::Error::PrivateKey))?;
        let spki = signer.public_key().ok_or(KeyError::Load(x509::Error::PrivateKey))?;
        let public = x509::public_key_of(&spki).map_err(KeyError::Load)?;
        Ok(SoftKey { public, pem, signer })
    }

    /// The private key as PEM, for the store and for nobody else.
    pub fn pem(&self) -> &Zeroizing<String> {
        &self.pem
    }
}

impl Key for SoftKey {
    fn public_key(&self) -> &PublicKey {
        &self.public
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let scheme = match self.public.key_type {
            KeyType::EcdsaP256 => SignatureScheme::ECDSA_NISTP256_SHA256,
            KeyType::EcdsaP384 => SignatureScheme::ECDSA_NISTP384_SHA384,
            KeyType::Rsa(_) => SignatureScheme::RSA_PKCS1_SHA256,
        };
        let signer = self.signer.choose_scheme(&[scheme]).ok_or(KeyError::Sign)?;
        signer.sign(message).map_err(|_| KeyError::Sign)
    }
}

/// Shows the kind only.
impl std::fmt::Debug for SoftKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SoftKey({}, ..)", self.public.key_type)
    }
}

/// Why a key was not made, loaded or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key was made.
    #[error("cannot make a key")]
    Generate(#[source] rcgen::Error),
    /// The key's PEM was not taken.
    #[error("cannot load the private key")]
    Load(#[source] x509::Error),
    /// A signature was not made.
    #[error("cannot sign with the private key")]
    Sign,
    /// A certificate request was not made.
    #[error("cannot make a certificate request")]
    Request(#[source] rcgen::Error),
}

impl KeyError {
    /// Says who can clear it, and how.
    pub fn remedy(&self) -> &'static str {
        match self {
            KeyError::Generate(_) => "time: the next attempt makes another key; see that /dev/urandom works",
            KeyError::Load(_) => {
                "a new certificate: this key is lost, another generation or the claim takes over"
            }
            KeyError::Sign => "time: tried again with the next attempt; a person if it stays (report it)",
            KeyError::Request(_) => "a person: report it, no setting leads here",
        }
    }
}

/// Makes a PKCS#10 certificate request in PEM. Its subject is a fixed name: AWS writes its own, and RegisterThing
/// names the thing.
pub fn certificate_request(key: &dyn Key) -> Result<String, KeyError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, SUBJECT);
    let request = params.serialize_request(&Signer(key)).map_err(KeyError::Request)?;
    request.pem().map_err(KeyError::Request)
}

/// Why a certificate that was just issued is not taken (rule 5).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// It does not parse.
    #[error("the issued certificate cannot be read")]
    Unreadable(#[source] x509::Error),
    /// It speaks for another key.
    #[error("the issued certificate is for another key than the one that asked")]
    OtherKey,
    /// `certificateId` is not the SHA-256 of the certificate.
    #[error("the issued certificate is not the one that its certificateId names")]
    OtherId,
    /// notBefore is too far ahead of our clock (Unix seconds).
    #[error("the issued certificate begins {ahead} seconds ahead of the local clock, more than a day")]
    NotYet {
        /// How far ahead, seconds.
        ahead: i64,
    },
    /// notAfter is not ahead of our clock.
    #[error("the issued certificate ended {ago} seconds ago by the local clock")]
    Expired {
        /// How long ago, seconds.
        ago: i64,
    },
}

impl IssueError {
    /// Says who can clear it, and how.
    pub fn remedy(&self) -> &'static str {
        match self {
            IssueError::Unreadable(_) | IssueError::OtherKey | IssueError::OtherId => {
                "a new certificate: this one is dropped before it can come alive and another is asked for"
            }
            IssueError::NotYet { .. } => {
                "a person, or time: set the clock (is time synchronisation running?)"
            }
            IssueError::Expired { .. } => {
                "a person: set the clock, or raise the validity that the certificate provider gives"
            }
        }
    }
}

/// Judges a certificate that was just issued: rule 5.
///
/// Only for new ones: a stored certificate past its notAfter by the local clock is not abandoned for it (rule 27).
pub fn check_issued(
    certificate_pem: &str,
    id: &str,
    key: &dyn Key,
    today: Today,
) -> Result<Leaf, IssueError> {
    let leaf = x509::leaf(certificate_pem.as_bytes()).map_err(IssueError::Unreadable)?;
    if leaf.public_key != *key.public_key() {
        return Err(IssueError::OtherKey);
    }
    if x509::unhex(id) != Some(leaf.id) {
        return Err(IssueError::OtherId);
    }
    let now = match today {
        Today::Is(now) => {
            let ahead = leaf.not_before.saturating_sub(now);
            if ahead > AHEAD_AT_MOST {
                return Err(IssueError::NotYet { ahead });
            }
            now
        }
        // What is issued today starts long after a build date of months ago: the floor cannot judge it.
        Today::AtLeast(floor) => floor,
    };
    let ago = now.saturating_sub(leaf.not_after);
    if ago >= 0 { Err(IssueError::Expired { ago }) } else { Ok(leaf) }
}

/// Wall time as far as it is known (rule 26). Unix seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Today {
    /// By a clock that is trusted.
    Is(i64),
    /// By the latest time that is surely past: it may be much later.
    AtLeast(i64),
}

/// Lends a [`Key`] to rcgen.
struct Signer<'a>(&'a dyn Key);

impl PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        &self.0.public_key().bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        match self.0.public_key().key_type {
            KeyType::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyType::EcdsaP384 => &rcgen::PKCS_ECDSA_P384_SHA384,
            KeyType::Rsa(_) => &rcgen::PKCS_RSA_SHA256,
        }
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// The subject of every request.
const SUBJECT: &str = "certrotd";

/// How far ahead of our clock notBefore may lie, seconds (rule 5).
const AHEAD_AT_MOST: i64 = 24 * 3600;
