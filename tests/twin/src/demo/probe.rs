//! One attempt to connect with a pair of one's own: TLS with the client certificate, then CONNECT; and what came of it.
//!
//! Nothing is tried twice, nothing is sent beyond CONNECT, and the connection is closed at once.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{GenericPacketTrait, Packet, v3_1_1};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

/// A certificate and its key, as PEM. Never printed.
pub struct Pair {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Pair {
    /// Reads both files.
    pub fn read(certificate: &Path, key: &Path) -> io::Result<Self> {
        Ok(Self { certificate: std::fs::read(certificate)?, key: std::fs::read(key)? })
    }

    /// The certificate id: the lower-case hex SHA-256 of the DER.
    pub fn id(&self) -> io::Result<String> {
        let der = CertificateDer::from_pem_slice(&self.certificate).map_err(io::Error::other)?;
        Ok(crate::ca::certificate_id(&der))
    }
}

/// What the server did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// CONNACK 0: the session was there.
    Accepted,
    /// A TLS alert, in rustls's name of it.
    Alert(String),
    /// CONNACK with this return code.
    Connack(u8),
    /// It closed without a word.
    Closed,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Accepted => f.write_str("CONNACK 0, accepted"),
            Self::Alert(name) => write!(f, "TLS alert {name}"),
            Self::Connack(code) => write!(f, "CONNACK {code}, refused"),
            Self::Closed => f.write_str("closed without a word"),
        }
    }
}

/// Tries the pair once on the broker at `port` of this machine, trusting `ca` alone.
pub fn attempt(pair: &Pair, ca: &Path, port: u16, client_id: &str) -> io::Result<Verdict> {
    let config = client(pair, ca)?;
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let tls = ClientConnection::new(config, name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(tls, socket);
    match connect(&mut stream, client_id) {
        Ok(verdict) => Ok(verdict),
        Err(error) => refusal(error),
    }
}

fn connect(stream: &mut StreamOwned<ClientConnection, TcpStream>, client_id: &str) -> io::Result<Verdict> {
    let mut codec = Connection::<role::Client>::new(Version::V3_1_1);
    let wrong = |e| io::Error::other(format!("CONNECT: {e:?}"));
    let packet = v3_1_1::Connect::builder()
        .client_id(client_id)
        .map_err(wrong)?
        .clean_session(true)
        .keep_alive(60)
        .build()
        .map_err(wrong)?;
    for event in codec.send(packet.into()) {
        if let Event::RequestSendPacket { packet, .. } = event {
            // In TLS 1.3 the server judges the certificate after our side of the handshake has ended, so writing may
            // meet its closed socket before its alert is read.
            let _read_below = stream.write_all(&packet.to_continuous_buffer()).and_then(|()| stream.flush());
        }
    }
    let until = Instant::now() + PATIENCE;
    let mut buffer = [0; 1024];
    while Instant::now() < until {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(Verdict::Closed);
        }
        let mut cursor = Cursor::new(&buffer[..n]);
        while (cursor.position() as usize) < n {
            for event in codec.recv(&mut cursor) {
                match event {
                    Event::NotifyPacketReceived(Packet::V3_1_1Connack(p)) => {
                        return Ok(match p.return_code() as u8 {
                            0 => Verdict::Accepted,
                            code => Verdict::Connack(code),
                        });
                    }
                    Event::NotifyError(e) => return Err(io::Error::other(format!("the answer: {e}"))),
                    _ => {}
                }
            }
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

/// An error that is the server's answer becomes a verdict; any other (its certificate, a time-out) stays one.
fn refusal(error: io::Error) -> io::Result<Verdict> {
    let alert = error.get_ref().and_then(|e| e.downcast_ref::<rustls::Error>()).and_then(|e| match e {
        rustls::Error::AlertReceived(alert) => Some(format!("{alert:?}")),
        _ => None,
    });
    match (alert, error.kind()) {
        (Some(alert), _) => Ok(Verdict::Alert(alert)),
        (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            Ok(Verdict::Closed)
        }
        (None, _) => Err(error),
    }
}

fn client(pair: &Pair, ca: &Path) -> io::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).map_err(io::Error::other)?).map_err(io::Error::other)?;
    let chain = CertificateDer::pem_slice_iter(&pair.certificate)
        .collect::<Result<Vec<_>, _>>()
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_slice(&pair.key).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(io::Error::other)?;
    Ok(Arc::new(config))
}

/// How long the server may take.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Status, Twin};

    fn claim(twin: &Twin) -> Pair {
        Pair::read(&twin.claim_certificate(), &twin.claim_key()).unwrap()
    }

    #[test]
    fn a_live_pair_gets_in_and_a_wrong_client_id_is_told_by_connack() {
        let dir = tempfile::tempdir().unwrap();
        let twin = Twin::start(Options::new(dir.path())).unwrap();
        let pair = claim(&twin);
        let tried = |id: &str| attempt(&pair, &twin.ca_pem(), twin.port(), id).unwrap();
        assert_eq!(tried("claim-x"), Verdict::Accepted);
        assert_eq!(tried("SN-1"), Verdict::Connack(5));
    }

    #[test]
    fn a_certificate_that_left_active_is_refused_by_an_alert() {
        let dir = tempfile::tempdir().unwrap();
        let twin = Twin::start(Options::new(dir.path())).unwrap();
        let pair = claim(&twin);
        twin.set_status(&pair.id().unwrap(), Status::Inactive).unwrap();
        let verdict = attempt(&pair, &twin.ca_pem(), twin.port(), "claim-x").unwrap();
        assert!(matches!(verdict, Verdict::Alert(_)), "{verdict}");
    }
}
