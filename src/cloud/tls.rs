//! One TLS client per identity: its certificate and key, the root CA, and nothing that another identity could inherit.
//!
//! Session resumption is off: a resumed session would show the server the certificate of the connection it resumes,
//! that is the *old* one after a rotation. Each `ClientIdentity` makes its own `ClientConfig`; nothing is shared.
//! Only the given root CA is trusted, never the system's. It reads no file and no clock.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};
use rustls::time_provider::TimeProvider;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Gives the time in seconds since the Unix epoch; the caller may put a floor under it (rule 26).
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The ALPN protocol that AWS wants for MQTT with client certificates on port 443.
pub const ALPN_MQTT_CA: &[u8] = b"x-amzn-mqtt-ca";

/// Everything that TLS needs to speak as one identity; made anew for each pair.
#[derive(Clone)]
pub struct ClientIdentity {
    config: Arc<ClientConfig>,
    verifier: Arc<dyn ServerCertVerifier>,
    floor_only: bool,
}

/// Why a TLS client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The root CA's PEM cannot be read.
    #[error("reading the root CA's PEM")]
    RootPem(#[source] rustls::pki_types::pem::Error),
    /// The root CA's PEM holds no usable certificate.
    #[error("the root CA's PEM holds no certificate that can be used as a root")]
    NoRoot,
    /// The verifier cannot be built.
    #[error("building the check of the server's certificate")]
    Verifier(#[source] rustls::client::VerifierBuilderError),
    /// There is no certificate in the chain.
    #[error("the client certificate chain is empty")]
    EmptyChain,
    /// The private key cannot be used.
    #[error("loading the client's private key")]
    Key(#[source] rustls::Error),
    /// Certificate and key do not belong together, or the protocol versions do not fit.
    #[error("building the TLS client")]
    Client(#[source] rustls::Error),
}

impl TlsError {
    /// Says who can clear it and how.
    pub fn remedy(&self) -> &'static str {
        match self {
            TlsError::RootPem(_) | TlsError::NoRoot | TlsError::Verifier(_) => {
                "point [aws] root-ca to a PEM file with the server's root, AmazonRootCA1.pem for AWS"
            }
            TlsError::EmptyChain | TlsError::Key(_) | TlsError::Client(_) => {
                "the pair is damaged: another generation, or a new certificate"
            }
        }
    }
}

impl ClientIdentity {
    /// Makes the TLS client of one pair from a private key in DER.
    ///
    /// `chain` is the leaf first; `root_pem` may hold several certificates. A key that ring cannot use, or that does
    /// not belong to the leaf, is an error.
    pub fn new(
        root_pem: &[u8],
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'_>,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        let key = ring::sign::any_supported_type(key).map_err(TlsError::Key)?;
        Self::with_signer(root_pem, chain, key, clock)
    }

    /// Makes the TLS client of one pair whose key signs elsewhere (a TPM, PKCS#11).
    pub fn with_signer(
        root_pem: &[u8],
        chain: Vec<CertificateDer<'static>>,
        key: Arc<dyn SigningKey>,
        clock: Clock,
    ) -> Result<Self, TlsError> {
        if chain.is_empty() {
            return Err(TlsError::EmptyChain);
        }
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            // A key that signs elsewhere need not tell its public half.
            Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {}
            Err(error) => return Err(TlsError::Client(error)),
        }
        let provider = Arc::new(ring::default_provider());
        let verifier = verifier(root_pem, &provider)?;
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(GivenTime(clock)))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Client)?
            .dangerous() // the standard verifier, kept at hand for `observed`
            .with_custom_certificate_verifier(Arc::clone(&verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
        config.resumption = Resumption::disabled();
        config.enable_sni = true;
        Ok(Self { config: Arc::new(config), verifier, floor_only: false })
    }

    /// Says that the clock only gives a time that is surely past (rule 26). A server's certificate that begins later
    /// is then judged as of its own beginning: the build date of this program says nothing against it, and a device
    /// without a clock would otherwise never connect. All else is checked as ever.
    pub fn with_floor_only(mut self, floor_only: bool) -> Self {
        self.floor_only = floor_only;
        self
    }

    /// The configuration for one dial to `port`, and what will have been seen of the server in it.
    pub(super) fn for_one_dial(&self, port: u16) -> (Arc<ClientConfig>, Arc<Seen>) {
        let seen = Arc::new(Seen::default());
        let mut config = ClientConfig::clone(&self.config);
        if port == 443 {
            config.alpn_protocols = vec![ALPN_MQTT_CA.to_vec()];
        }
        let observed = Observed {
            inner: Arc::clone(&self.verifier),
            seen: Arc::clone(&seen),
            floor_only: self.floor_only,
        };
        config.dangerous().set_certificate_verifier(Arc::new(observed));
        (Arc::new(config), seen)
    }
}

/// What one dial has seen of the server.
#[derive(Debug, Default)]
pub(super) struct Seen {
    verified: AtomicBool,
    refused: OnceLock<Vec<u8>>,
}

impl Seen {
    /// Whether certificate and signature were good.
    pub fn is_verified(&self) -> bool {
        self.verified.load(Ordering::Acquire)
    }

    /// The certificate that was not trusted, DER; for people.
    pub fn refused(&self) -> Option<Vec<u8>> {
        self.refused.get().cloned()
    }
}

impl fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientIdentity")
    }
}

fn verifier(pem: &[u8], provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    let certificates =
        CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>().map_err(TlsError::RootPem)?;
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() {
        return Err(TlsError::NoRoot);
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(TlsError::Verifier)?;
    Ok(verifier)
}

/// Time as the caller sees it.
struct GivenTime(Clock);

impl TimeProvider for GivenTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs((self.0)())))
    }
}

impl fmt::Debug for GivenTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenTime")
    }
}

/// The standard check, which remembers that both the certificate and the signature by its key were good (rule 19).
#[derive(Debug)]
struct Observed {
    inner: Arc<dyn ServerCertVerifier>,
    seen: Arc<Seen>,
    floor_only: bool,
}

impl Observed {
    fn note(&self, result: &Result<HandshakeSignatureValid, rustls::Error>) {
        // The signature comes after the certificate in every handshake: this is the last check of the server.
        if result.is_ok() {
            self.seen.verified.store(true, Ordering::Release);
        }
    }
}

impl ServerCertVerifier for Observed {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let check =
            |at| self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, at);
        let result = match check(now) {
            Err(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                not_before,
                ..
            })) if self.floor_only => check(not_before),
            result => result,
        };
        if result.is_err() {
            let _ = self.seen.refused.set(end_entity.to_vec()); // the first one, where it is asked twice
        }
        result
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let result = self.inner.verify_tls12_signature(message, cert, dss);
        self.note(&result);
        result
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let result = self.inner.verify_tls13_signature(message, cert, dss);
        self.note(&result);
        result
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn pair() -> (String, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
        (certificate.pem(), vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
    }

    fn clock() -> Clock {
        Arc::new(|| 0)
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let ((pem, chain, _), (_, _, other)) = (pair(), pair());
        assert!(matches!(
            ClientIdentity::new(pem.as_bytes(), chain, &other, clock()),
            Err(TlsError::Client(_))
        ));
    }

    #[test]
    fn a_root_file_without_a_certificate_is_refused_and_the_systems_roots_do_not_help() {
        let (_, chain, key) = pair();
        assert!(matches!(ClientIdentity::new(b"", chain.clone(), &key, clock()), Err(TlsError::NoRoot)));
        let key_only = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(ClientIdentity::new(key_only, chain, &key, clock()), Err(TlsError::NoRoot)));
    }

    #[test]
    fn a_pair_without_a_certificate_is_refused() {
        let (pem, _, key) = pair();
        assert!(matches!(
            ClientIdentity::new(pem.as_bytes(), Vec::new(), &key, clock()),
            Err(TlsError::EmptyChain)
        ));
    }

    #[test]
    fn port_443_asks_for_mqtt_by_alpn_and_8883_does_not() {
        let (pem, chain, key) = pair();
        let identity = ClientIdentity::new(pem.as_bytes(), chain, &key, clock()).unwrap();
        assert_eq!(identity.for_one_dial(443).0.alpn_protocols, [b"x-amzn-mqtt-ca".to_vec()]);
        assert!(identity.for_one_dial(8883).0.alpn_protocols.is_empty());
        assert!(identity.for_one_dial(8883).0.enable_sni);
    }

    /// The second guard (rustls resumes only where verifier and certificate are the same objects) is rustls's; what a
    /// server sees of both is shown against one in `tests/mosquitto/resumption.rs`.
    #[test]
    fn no_session_is_kept_for_resumption() {
        let (pem, chain, key) = pair();
        let identity = ClientIdentity::new(pem.as_bytes(), chain, &key, clock()).unwrap();
        let kept = format!("{:?}", identity.for_one_dial(8883).0.resumption);
        assert!(kept.contains("NoClientSessionStorage"), "{kept}");
    }

    #[test]
    fn the_flag_of_one_dial_is_not_the_flag_of_another() {
        let (pem, chain, key) = pair();
        let identity = ClientIdentity::new(pem.as_bytes(), chain, &key, clock()).unwrap();
        let (_, first) = identity.for_one_dial(8883);
        first.verified.store(true, Ordering::Release);
        assert!(!identity.for_one_dial(8883).1.is_verified());
    }
}
