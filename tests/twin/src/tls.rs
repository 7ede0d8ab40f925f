//! The server's side of mTLS: any client certificate whose key the client holds, known by its SHA-256.
//!
//! As on AWS no authority vouches for a device certificate: the registry does. rustls still checks the handshake's
//! signature, so a certificate without its key is worth nothing. Tickets are issued as usual; on a resumed session the
//! principal is the one of the session.

use std::sync::{Arc, Weak};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, ServerConfig, SignatureScheme, version,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::ca::{Ca, certificate_id};
use crate::cloud::Cloud;
use crate::options::{Options, Refusal};

/// ALPN name of MQTT with client certificates on port 443 (AWS IoT protocols).
pub const ALPN: &[u8] = b"x-amzn-mqtt-ca";

/// Builds the server's configuration; `cloud` is asked about certificates when `Refusal::Alert` is set.
pub fn server_config(ca: &Ca, options: &Options, cloud: Weak<Cloud>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let (chain, key) = ca.server();
    let shown = Arc::new(CertifiedKey::from_der(chain, key, &provider)?);
    let versions: &[_] = if options.tls12_only { &[&version::TLS12] } else { rustls::ALL_VERSIONS };
    let verifier = Verifier {
        algorithms: provider.signature_verification_algorithms,
        cloud: (options.certificate_refusal == Refusal::Alert).then_some(cloud),
    };
    let mut config = builder(provider, versions)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(Resolver { shown, require_sni: options.require_sni }));
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(config)
}

fn builder(
    provider: Arc<CryptoProvider>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier>, Error> {
    ServerConfig::builder_with_provider(provider).with_protocol_versions(versions)
}

/// Shows the one certificate, but to nobody who names no server where SNI is required.
#[derive(Debug)]
struct Resolver {
    shown: Arc<CertifiedKey>,
    require_sni: bool,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (!self.require_sni || hello.server_name().is_some()).then(|| self.shown.clone())
    }
}

/// Takes any certificate, or (with a cloud to ask) any that the registry would let in.
struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    cloud: Option<Weak<Cloud>>,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier")
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let refused = self.cloud.as_ref().and_then(Weak::upgrade).and_then(|cloud| {
            let principal = certificate_id(end_entity);
            let why = cloud.refuses_certificate(&principal)?;
            cloud.log(crate::events::Event::TlsFailed { why: format!("certificate {principal}: {why}") });
            Some(())
        });
        match refused {
            None => Ok(ClientCertVerified::assertion()),
            Some(()) => Err(Error::InvalidCertificate(CertificateError::UnknownIssuer)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
