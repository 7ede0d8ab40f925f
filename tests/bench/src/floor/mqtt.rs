//! As much of MQTT 3.1.1 over TLS as a rotation needs, blocking; each request is answered before the next is sent.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::{FloorError, io};

/// A connection that CONNACK has accepted.
pub struct Mqtt {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
    next_id: u16,
}

/// Certificate and key as PEM.
pub struct Pair<'a> {
    /// The certificate.
    pub certificate: &'a [u8],
    /// The key.
    pub key: &'a [u8],
}

impl Mqtt {
    /// TCP, TLS with the pair, CONNECT, CONNACK.
    pub fn connect(
        port: u16,
        root: &Path,
        pair: &Pair<'_>,
        client: &str,
        clean: bool,
    ) -> Result<Self, FloorError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(CertificateDer::pem_file_iter(root)?.collect::<Result<Vec<_>, _>>()?);
        let chain = CertificateDer::pem_slice_iter(pair.certificate).collect::<Result<Vec<_>, _>>()?;
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(pair.key)?)?;
        config.resumption = Resumption::disabled();
        let name = ServerName::try_from("localhost").map_err(|_| FloorError::Unexpected("a name"))?;
        let tls = ClientConnection::new(Arc::new(config), name)?;
        let socket = TcpStream::connect(("127.0.0.1", port)).map_err(io("connect"))?;
        socket.set_nodelay(true).map_err(io("set TCP_NODELAY"))?;
        let mut mqtt = Self { stream: StreamOwned::new(tls, socket), read: Vec::new(), next_id: 0 };
        let flags = if clean { 2 } else { 0 };
        let mut body = vec![0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60];
        put(&mut body, client.as_bytes());
        mqtt.send(0x10, &body)?;
        match mqtt.receive()? {
            (0x20, body) if body.get(1) == Some(&0) => Ok(mqtt),
            _ => Err(FloorError::Unexpected("CONNACK")),
        }
    }

    /// SUBSCRIBE with QoS 1, eight filters a packet; all packets at once, then their SUBACKs.
    pub fn subscribe(&mut self, filters: &[String]) -> Result<(), FloorError> {
        let packets = filters.chunks(8);
        let asked = packets.len();
        for packet in packets {
            let mut body = self.id().to_vec();
            for filter in packet {
                put(&mut body, filter.as_bytes());
                body.push(1);
            }
            self.send(0x82, &body)?;
        }
        for _ in 0..asked {
            match self.receive()? {
                (0x90, body) if body.iter().skip(2).all(|code| *code < 0x80) => {}
                _ => return Err(FloorError::Unexpected("SUBACK")),
            }
        }
        Ok(())
    }

    /// PUBLISH with QoS 1, its PUBACK, and the answer that comes by itself.
    pub fn ask(&mut self, topic: &str, payload: &[u8]) -> Result<(String, Vec<u8>), FloorError> {
        let mut body = Vec::new();
        put(&mut body, topic.as_bytes());
        body.extend(self.id());
        body.extend(payload);
        self.send(0x32, &body)?;
        loop {
            let (kind, body) = self.receive()?;
            if kind & 0xf0 != 0x30 {
                continue;
            }
            let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
            let topic = String::from_utf8_lossy(&body[2..2 + length]).into_owned();
            let mut rest = 2 + length;
            if kind & 0x06 != 0 {
                self.send(0x40, &body[rest..rest + 2])?;
                rest += 2;
            }
            return Ok((topic, body[rest..].to_vec()));
        }
    }

    fn id(&mut self) -> [u8; 2] {
        self.next_id += 1;
        self.next_id.to_be_bytes()
    }

    fn send(&mut self, kind: u8, body: &[u8]) -> Result<(), FloorError> {
        let mut packet = vec![kind];
        let mut left = body.len();
        loop {
            let low = (left % 128) as u8;
            left /= 128;
            packet.push(if left > 0 { low | 0x80 } else { low });
            if left == 0 {
                break;
            }
        }
        packet.extend(body);
        self.stream.write_all(&packet).map_err(io("send"))?;
        self.stream.flush().map_err(io("send"))
    }

    fn receive(&mut self) -> Result<(u8, Vec<u8>), FloorError> {
        loop {
            if let Some((kind, start, end)) = whole(&self.read) {
                let body = self.read[start..end].to_vec();
                self.read.drain(..end);
                return Ok((kind, body));
            }
            let mut some = [0; 4096];
            match self.stream.read(&mut some).map_err(io("receive"))? {
                0 => return Err(FloorError::Unexpected("more bytes")),
                n => self.read.extend(&some[..n]),
            }
        }
    }
}

/// Kind, start and end of the first packet, where it is whole.
fn whole(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (kind, mut length, mut at) = (*bytes.first()?, 0, 1);
    loop {
        let byte = usize::from(*bytes.get(at)?);
        length += (byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    (bytes.len() >= at + length).then_some((kind, at, at + length))
}

fn put(body: &mut Vec<u8>, text: &[u8]) {
    body.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_whole_when_its_last_byte_is_there() {
        assert_eq!(whole(&[0x40, 2, 0]), None);
        assert_eq!(whole(&[0x40, 2, 0, 1, 9]), Some((0x40, 2, 4)));
        let mut long = vec![0x30, 0x80, 0x01];
        long.extend([0; 128]);
        assert_eq!(whole(&long), Some((0x30, 3, 131)));
    }
}
