//! TLS session resumption must not carry the old certificate over to the new one.

use std::sync::Arc;
use std::time::Duration;

use certrotd::cloud::{Target, probe_tls};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::fake::Server;
use crate::pki::{Authority, Pair, identity};

const VERSIONS: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

#[tokio::test]
async fn after_a_rotation_the_server_sees_the_new_certificate_in_a_full_handshake() {
    for version in VERSIONS {
        let authority = Authority::new("ca");
        let (old, new) = (authority.device("dev"), authority.device("dev"));
        let mut server = Server::start(&authority, &authority, &[version]).await;
        let target = Target::new("localhost", server.port);
        let (first, second) = (identity(&authority, &old), identity(&authority, &new));
        // The old one twice, so that the server has given it tickets.
        for (client, expected) in [(&first, &old), (&first, &old), (&second, &new)] {
            let probe = probe_tls(&target, client, Duration::from_secs(5));
            let (facts, connection) = tokio::join!(probe, server.next());
            facts.unwrap();
            assert_eq!(connection.kind, HandshakeKind::Full, "{version:?}");
            assert_eq!(connection.client, expected.certificate.to_vec(), "{version:?}");
        }
    }
}

/// The control: the same server does let a client with the library's defaults resume, and sees the certificate of the
/// resumed session. Without it the test above could not fail.
#[tokio::test]
async fn a_client_with_resumption_would_be_resumed_by_the_same_server() {
    for version in VERSIONS {
        let authority = Authority::new("ca");
        let pair = authority.device("dev");
        let mut server = Server::start(&authority, &authority, &[version]).await;
        let config = careless(&authority, &pair);
        assert_eq!(connect(&config, &mut server).await, HandshakeKind::Full, "{version:?}");
        assert_eq!(connect(&config, &mut server).await, HandshakeKind::Resumed, "{version:?}");
    }
}

async fn connect(config: &ClientConfig, server: &mut Server) -> HandshakeKind {
    let connector = TlsConnector::from(Arc::new(config.clone()));
    let client = async {
        let tcp = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        connector.connect(ServerName::try_from("localhost").unwrap(), tcp).await.unwrap()
    };
    let mut stream = client.await;
    let mut connection = server.next().await;
    connection.send(b"x").await;
    stream.read_exact(&mut [0]).await.unwrap();
    connection.kind
}

fn careless(authority: &Authority, pair: &Pair) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der()).unwrap();
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![pair.certificate.clone()], pair.key_der())
        .unwrap()
}
