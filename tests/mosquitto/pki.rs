//! Certificates for the tests: two authorities, servers and devices, made in memory.

use std::sync::Arc;

use certrotd::cloud::{ClientIdentity, Clock};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// An authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key.
pub struct Pair {
    pub certificate: CertificateDer<'static>,
    pub certificate_pem: String,
    pub key: KeyPair,
}

impl Pair {
    pub fn key_der(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.serialize_der().into())
    }
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    /// A server's certificate for `localhost` (and nothing else).
    pub fn server(&self) -> Pair {
        self.sign(CertificateParams::new(vec!["localhost".to_owned()]).unwrap(), "server")
    }

    /// A device's certificate; the common name is its user name on mosquitto.
    pub fn device(&self, name: &str) -> Pair {
        self.sign(CertificateParams::new(Vec::new()).unwrap(), name)
    }

    fn sign(&self, mut params: CertificateParams, name: &str) -> Pair {
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.der().clone(), certificate_pem: certificate.pem(), key }
    }
}

/// The TLS client of a pair that trusts `root`, at a time at which the test's certificates are valid.
pub fn identity(root: &Authority, pair: &Pair) -> ClientIdentity {
    identity_at(root, pair, Arc::new(|| 1_780_000_000))
}

pub fn identity_at(root: &Authority, pair: &Pair, clock: Clock) -> ClientIdentity {
    ClientIdentity::new(root.pem().as_bytes(), vec![pair.certificate.clone()], &pair.key_der(), clock)
        .unwrap()
}
