//! A TLS connection without a codec: bytes as the attacker likes them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use certrot_twin::Twin;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::support::PATIENCE;

/// A connection that has gone through TLS, as far as the client can tell.
pub struct Raw(StreamOwned<ClientConnection, TcpStream>);

impl Raw {
    pub fn open(twin: &Twin, config: &Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(("127.0.0.1", twin.port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let name = "localhost".try_into().unwrap();
        Self(StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket))
    }

    /// Sends bytes and gives what came first: empty where the other side closed, by an alert or without a word.
    pub fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut buffer = [0; 4096];
        let sent = self.0.write_all(bytes).and_then(|()| self.0.flush());
        match sent.and_then(|()| self.0.read(&mut buffer)) {
            Ok(n) => buffer[..n].to_vec(),
            Err(e) => {
                assert!(!is_patience(&e), "neither an answer nor a close");
                Vec::new()
            }
        }
    }

    /// Sends bytes and says whether the other side then closes, whatever it says before.
    pub fn is_closed_after(&mut self, bytes: &[u8]) -> bool {
        if self.exchange(bytes).is_empty() {
            return true;
        }
        self.0.sock.set_read_timeout(Some(PATIENCE)).unwrap();
        match self.0.read(&mut [0; 64]) {
            Ok(n) => n == 0,
            Err(e) => !is_patience(&e),
        }
    }

    /// Leaves without DISCONNECT, so that a will is due.
    pub fn vanish(self) {
        let _gone = self.0.sock.shutdown(std::net::Shutdown::Both);
    }
}

fn is_patience(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

/// A client that shows no certificate.
pub fn no_certificate(twin: &Twin) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(twin.ca_pem()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    Arc::new(config)
}

/// A will, as CONNECT carries it.
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    pub retain: bool,
}

/// CONNECT of MQTT 3.1.1 (3.1), clean session, keep-alive of a minute.
pub fn connect(client: &str, will: Option<Will<'_>>) -> Vec<u8> {
    let flags = match &will {
        None => 0x02,
        Some(will) => 0x02 | 0x04 | 0x08 | if will.retain { 0x20 } else { 0 },
    };
    let mut body = text(b"MQTT");
    body.extend([4, flags, 0, 60]);
    body.extend(text(client.as_bytes()));
    if let Some(will) = will {
        body.extend(text(will.topic.as_bytes()));
        body.extend(text(will.payload));
    }
    packet(0x10, &body)
}

/// PUBLISH of MQTT 3.1.1 at QoS 0.
pub fn publish(topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(payload);
    packet(0x30, &body)
}

/// SUBSCRIBE of MQTT 3.1.1 at QoS 1, packet id 1.
pub fn subscribe(filter: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 1];
    body.extend(text(filter));
    body.push(1);
    packet(0x82, &body)
}

/// A fixed header with its length, and a body.
pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut left = body.len();
    loop {
        let digit = u8::try_from(left % 128).unwrap();
        left /= 128;
        packet.push(if left > 0 { digit | 0x80 } else { digit });
        if left == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

fn text(bytes: &[u8]) -> Vec<u8> {
    let mut text = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    text.extend(bytes);
    text
}
