//! A broker of a few lines over TLS that does what a test tells it to, byte by byte.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::server::WebPkiClientVerifier;
use rustls::{HandshakeKind, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::pki::Authority;

/// Packet types (MQTT 3.1.1, table 2.1).
pub const CONNECT: u8 = 1;
pub const PUBLISH: u8 = 3;
pub const SUBSCRIBE: u8 = 8;
pub const DISCONNECT: u8 = 14;

/// A server that hands each connection, after TLS, to the test.
pub struct Server {
    pub port: u16,
    /// TCP connections that came.
    pub accepted: Arc<AtomicUsize>,
    connections: mpsc::UnboundedReceiver<Connection>,
}

/// One connection after TLS.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    ahead: VecDeque<u8>,
    /// The client's certificate, DER.
    pub client: Vec<u8>,
    /// Whether the handshake was a full one or resumed another.
    pub kind: HandshakeKind,
}

/// One packet as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub kind: u8,
    pub flags: u8,
    pub body: Vec<u8>,
}

impl Server {
    /// Listens with a certificate of `authority`, for clients of `clients`.
    pub async fn start(
        authority: &Authority,
        clients: &Authority,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(clients.der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .unwrap();
        let server = authority.server();
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![server.certificate.clone()], server.key_der())
            .unwrap();
        config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&accepted);
        let (sender, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    tcp.set_nodelay(true).unwrap();
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        let (_, tls) = stream.get_ref();
                        let client = tls.peer_certificates().unwrap()[0].to_vec();
                        let kind = tls.handshake_kind().unwrap();
                        let _ = sender.send(Connection { stream, ahead: VecDeque::new(), client, kind });
                    }
                });
            }
        });
        Self { port, accepted, connections }
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// The next connection that has come through TLS.
    pub async fn next(&mut self) -> Connection {
        self.connections.recv().await.unwrap()
    }

    /// The next connection, with CONNECT read and answered.
    pub async fn next_connected(&mut self, session_present: bool) -> Connection {
        let mut connection = self.next().await;
        assert_eq!(connection.packet().await.unwrap().kind, CONNECT);
        connection.send(&[0x20, 2, u8::from(session_present), 0]).await;
        connection
    }
}

impl Connection {
    /// Reads one packet; `None` at the end.
    pub async fn packet(&mut self) -> Option<Packet> {
        let first = self.byte().await?;
        let (mut length, mut shift) = (0usize, 0);
        loop {
            let byte = self.byte().await?;
            length |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = Vec::new();
        for _ in 0..length {
            body.push(self.byte().await?);
        }
        Some(Packet { kind: first >> 4, flags: first & 0x0f, body })
    }

    async fn byte(&mut self) -> Option<u8> {
        while self.ahead.is_empty() {
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.ahead.extend(&buffer[..n]),
            }
        }
        self.ahead.pop_front()
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // The client may have gone: the test sees it by the client.
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next PUBLISH; grants what is subscribed to before it, as whoever asks does with its answers.
    pub async fn asked(&mut self) -> Packet {
        loop {
            let packet = self.packet().await.unwrap();
            if packet.kind == PUBLISH {
                return packet;
            }
            self.suback(&packet, &vec![1; filters(&packet)]).await;
        }
    }

    /// Answers a SUBSCRIBE with these return codes.
    pub async fn suback(&mut self, subscribe: &Packet, codes: &[u8]) {
        assert_eq!(subscribe.kind, SUBSCRIBE);
        let mut bytes = vec![0x90, 2 + codes.len() as u8, subscribe.body[0], subscribe.body[1]];
        bytes.extend_from_slice(codes);
        self.send(&bytes).await;
    }

    pub async fn puback(&mut self, publish: &Packet) {
        let at = 2 + topic(publish).len();
        self.send(&[0x40, 2, publish.body[at], publish.body[at + 1]]).await;
    }
}

/// The topic of a PUBLISH.
pub fn topic(publish: &Packet) -> String {
    assert_eq!(publish.kind, PUBLISH);
    let length = usize::from(publish.body[0]) << 8 | usize::from(publish.body[1]);
    String::from_utf8(publish.body[2..2 + length].to_vec()).unwrap()
}

/// How many filters a SUBSCRIBE holds.
pub fn filters(subscribe: &Packet) -> usize {
    let (mut at, mut count) = (2, 0);
    while at < subscribe.body.len() {
        at += 2 + (usize::from(subscribe.body[at]) << 8 | usize::from(subscribe.body[at + 1])) + 1;
        count += 1;
    }
    count
}

/// The bytes of a QoS 0 PUBLISH.
pub fn publish(topic: &str, payload: &[u8]) -> Vec<u8> {
    let length = 2 + topic.len() + payload.len();
    let mut bytes = vec![0x30];
    if length < 128 {
        bytes.push(length as u8);
    } else {
        bytes.extend([(length % 128) as u8 | 0x80, (length / 128) as u8]);
    }
    bytes.extend([(topic.len() >> 8) as u8, topic.len() as u8]);
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(payload);
    bytes
}
