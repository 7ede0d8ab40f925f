//! A device for the twin's tests: blocking socket, rustls, one codec; every packet in the test's own hand.
#![allow(dead_code, reason = "each test file uses its part")]

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certrot_twin::{Options, Twin};
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::packet::{
    GenericPacketTrait, Packet, Property, Qos, SessionExpiryInterval, SubEntry, SubOpts, v3_1_1, v5_0,
};
use mqtt_protocol_core::mqtt::{Connection, Version, role};
use rcgen::{CertificateParams, KeyPair};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// How long a test waits for what must not come.
pub const MOMENT: Duration = Duration::from_millis(300);

/// A twin in a directory of its own.
pub struct Lab {
    pub twin: Twin,
    pub dir: TempDir,
}

impl Lab {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(set: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::new(dir.path());
        set(&mut options);
        Self { twin: Twin::start(options).unwrap(), dir }
    }

    pub fn claim(&self) -> Identity {
        Identity::read(&self.twin.claim_certificate(), &self.twin.claim_key())
    }

    /// Provisions a thing over the claim; its new identity.
    pub fn provision(&self, serial: &str) -> Identity {
        let mut claim = self.connect(&self.claim(), &format!("claim-{serial}-1")).unwrap();
        let fresh = claim.create_from_csr().unwrap();
        claim.register("certrot-claim", &fresh.token, serial).unwrap();
        fresh.identity
    }

    pub fn connect(&self, identity: &Identity, client: &str) -> Result<Device, String> {
        Device::connect(&self.twin, &identity.config(&self.twin), client, &Connect::default())
    }

    pub fn connect_as(&self, identity: &Identity, client: &str, how: &Connect) -> Result<Device, String> {
        Device::connect(&self.twin, &identity.config(&self.twin), client, how)
    }
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

impl Identity {
    pub fn read(certificate: &Path, key: &Path) -> Self {
        let read = |p: &Path| std::fs::read_to_string(p).unwrap();
        Self { certificate: read(certificate), key: read(key) }
    }

    pub fn id(&self) -> String {
        let der = CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap();
        certrot_twin::ca::certificate_id(&der)
    }

    pub fn config(&self, twin: &Twin) -> Arc<ClientConfig> {
        self.config_with(twin, rustls::ALL_VERSIONS, &[])
    }

    /// A client that shows the certificate without having its key.
    pub fn config_of_unmatched_pair(&self, twin: &Twin) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(twin.ca_pem()).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let key = rustls::crypto::ring::sign::any_supported_type(&key).unwrap();
        let shown = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Unmatched(shown)));
        Arc::new(config)
    }

    pub fn config_with(
        &self,
        twin: &Twin,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(twin.ca_pem()).unwrap()).unwrap();
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        Arc::new(config)
    }
}

/// Shows a certificate and signs with whatever key it was given.
#[derive(Debug)]
struct Unmatched(Arc<rustls::sign::CertifiedKey>);

impl rustls::client::ResolvesClientCert for Unmatched {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// What CreateCertificateFromCsr gave.
pub struct Fresh {
    pub identity: Identity,
    pub id: String,
    pub token: String,
}

/// How to connect.
pub struct Connect {
    pub v5: bool,
    pub clean: bool,
    pub keep_alive: u16,
    pub name: &'static str,
}

impl Default for Connect {
    fn default() -> Self {
        Self { v5: false, clean: true, keep_alive: 60, name: "localhost" }
    }
}

/// A message that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: String,
    pub payload: Vec<u8>,
    pub qos: u8,
    pub dup: bool,
    pub retain: bool,
}

impl Message {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap()
    }
}

/// A connected device.
pub struct Device {
    tls: StreamOwned<ClientConnection, TcpStream>,
    codec: Connection<role::Client>,
    v5: bool,
    inbox: VecDeque<Message>,
    packets: VecDeque<Packet>,
    pub session_present: bool,
    pub closed: bool,
}

impl Device {
    /// Connects; the error says where it ended: `tls…`, `connack N`, `closed`.
    pub fn connect(
        twin: &Twin,
        config: &Arc<ClientConfig>,
        client: &str,
        how: &Connect,
    ) -> Result<Self, String> {
        let socket = TcpStream::connect(("127.0.0.1", twin.port())).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let name = ServerName::try_from(how.name).unwrap();
        let mut tls = StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), socket);
        let until = Instant::now() + PATIENCE;
        while tls.conn.is_handshaking() {
            assert!(Instant::now() < until, "no handshake");
            match tls.conn.complete_io(&mut tls.sock) {
                Ok(_) => {}
                Err(e) if is_patience(&e) => {}
                Err(e) => return Err(format!("tls: {e}")),
            }
        }
        let version = if how.v5 { Version::V5_0 } else { Version::V3_1_1 };
        let mut codec = Connection::<role::Client>::new(version);
        codec.set_auto_pub_response(true);
        let mut device = Self {
            tls,
            codec,
            v5: how.v5,
            inbox: VecDeque::new(),
            packets: VecDeque::new(),
            session_present: false,
            closed: false,
        };
        let packet: Packet = if how.v5 {
            let expiry = Property::SessionExpiryInterval(SessionExpiryInterval::new(3600).unwrap());
            let props = if how.clean { vec![] } else { vec![expiry] };
            v5_0::Connect::builder()
                .client_id(client)
                .unwrap()
                .clean_start(how.clean)
                .keep_alive(how.keep_alive)
                .props(props)
                .build()
                .unwrap()
                .into()
        } else {
            v3_1_1::Connect::builder()
                .client_id(client)
                .unwrap()
                .clean_session(how.clean)
                .keep_alive(how.keep_alive)
                .build()
                .unwrap()
                .into()
        };
        device.send(packet);
        match device.packet(PATIENCE) {
            Some(Packet::V3_1_1Connack(p)) => {
                device.session_present = p.session_present();
                match p.return_code() as u8 {
                    0 => Ok(device),
                    code => Err(format!("connack {code}")),
                }
            }
            Some(Packet::V5_0Connack(p)) => {
                device.session_present = p.session_present();
                match p.reason_code() as u8 {
                    0 => Ok(device),
                    code => Err(format!("connack {code}")),
                }
            }
            _ => Err("closed".into()),
        }
    }

    /// Subscribes at QoS 1; the granted codes, or `None` when the connection was closed.
    pub fn subscribe(&mut self, filters: &[&str]) -> Option<Vec<u8>> {
        let options = SubOpts::new().set_qos(Qos::AtLeastOnce);
        let entries: Vec<_> = filters.iter().map(|f| SubEntry::new(*f, options).unwrap()).collect();
        let pid = self.fresh_pid();
        let packet: Packet = if self.v5 {
            v5_0::Subscribe::builder().packet_id(pid).entries(entries).build().unwrap().into()
        } else {
            v3_1_1::Subscribe::builder().packet_id(pid).entries(entries).build().unwrap().into()
        };
        self.send(packet);
        match self.answer_to(pid)? {
            Packet::V3_1_1Suback(p) => Some(p.return_codes().iter().map(|c| *c as u8).collect()),
            Packet::V5_0Suback(p) => Some(p.reason_codes().iter().map(|c| *c as u8).collect()),
            other => panic!("{other}"),
        }
    }

    /// Publishes at QoS 1; true when the PUBACK came.
    pub fn publish(&mut self, topic: &str, payload: &[u8]) -> bool {
        let pid = self.publish_with(topic, payload, true, false);
        self.answer_to(pid).is_some()
    }

    /// Publishes and waits for nothing; the packet id.
    pub fn publish_with(&mut self, topic: &str, payload: &[u8], qos1: bool, retain: bool) -> u16 {
        let pid = if qos1 { self.fresh_pid() } else { 0 };
        let qos = if qos1 { Qos::AtLeastOnce } else { Qos::AtMostOnce };
        let packet: Packet = if self.v5 {
            let b =
                v5_0::Publish::builder().topic_name(topic).unwrap().qos(qos).retain(retain).payload(payload);
            match qos1 {
                true => b.packet_id(pid).build().unwrap().into(),
                false => b.build().unwrap().into(),
            }
        } else {
            let b = v3_1_1::Publish::builder()
                .topic_name(topic)
                .unwrap()
                .qos(qos)
                .retain(retain)
                .payload(payload);
            match qos1 {
                true => b.packet_id(pid).build().unwrap().into(),
                false => b.build().unwrap().into(),
            }
        };
        self.send(packet);
        pid
    }

    /// Publishes a request and waits for its answer; `None` when it does not come.
    pub fn ask(&mut self, topic: &str, payload: &[u8]) -> Option<Message> {
        self.publish_with(topic, payload, true, false);
        self.message_on(&[&format!("{topic}/accepted"), &format!("{topic}/rejected")], PATIENCE)
    }

    pub fn ask_json(&mut self, topic: &str, request: Value) -> Result<Value, Value> {
        let answer = self.ask(topic, request.to_string().as_bytes()).expect("an answer");
        if answer.topic.ends_with("/accepted") { Ok(answer.json()) } else { Err(answer.json()) }
    }

    pub fn create_from_csr(&mut self) -> Result<Fresh, Value> {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
        let request = json!({ "certificateSigningRequest": csr });
        let answer = self.ask_json("$aws/certificates/create-from-csr/json", request)?;
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        Ok(Fresh {
            identity: Identity { certificate: text("certificatePem"), key: key.serialize_pem() },
            id: text("certificateId"),
            token: text("certificateOwnershipToken"),
        })
    }

    pub fn register(&mut self, template: &str, token: &str, serial: &str) -> Result<Value, Value> {
        let request = json!({ "certificateOwnershipToken": token, "parameters": { "SerialNumber": serial } });
        self.ask_json(&format!("$aws/provisioning-templates/{template}/provision/json"), request)
    }

    /// The next message on one of these topics.
    pub fn message_on(&mut self, topics: &[&str], within: Duration) -> Option<Message> {
        let until = Instant::now() + within;
        loop {
            if let Some(at) = self.inbox.iter().position(|m| topics.contains(&m.topic.as_str())) {
                return self.inbox.remove(at);
            }
            if Instant::now() >= until || self.closed {
                return None;
            }
            self.pump();
        }
    }

    /// The next message.
    pub fn message(&mut self, within: Duration) -> Option<Message> {
        let until = Instant::now() + within;
        loop {
            if let Some(message) = self.inbox.pop_front() {
                return Some(message);
            }
            if Instant::now() >= until || self.closed {
                return None;
            }
            self.pump();
        }
    }

    /// Says whether the server closes within the time.
    pub fn is_closed_within(&mut self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while !self.closed && Instant::now() < until {
            self.pump();
        }
        self.closed
    }

    /// SUBACK or PUBACK for a packet id; `None` when the connection was closed or patience ended.
    pub fn answer_to(&mut self, pid: u16) -> Option<Packet> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.packets.iter().position(|p| answers(p, pid)) {
                return self.packets.remove(at);
            }
            if Instant::now() >= until || self.closed {
                return None;
            }
            self.pump();
        }
    }

    /// Says whether SUBACK or PUBACK for a packet id came and was not taken.
    pub fn has_answer_to(&self, pid: u16) -> bool {
        self.packets.iter().any(|p| answers(p, pid))
    }

    /// The next packet that is no message.
    pub fn packet(&mut self, within: Duration) -> Option<Packet> {
        let until = Instant::now() + within;
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Some(packet);
            }
            if Instant::now() >= until || self.closed {
                return None;
            }
            self.pump();
        }
    }

    /// The reason of a DISCONNECT that came.
    pub fn was_told_to_go(&self) -> Option<u8> {
        self.packets.iter().find_map(|p| match p {
            Packet::V5_0Disconnect(p) => p.reason_code().map(|r| r as u8),
            _ => None,
        })
    }

    /// Acknowledges nothing from here on.
    pub fn withhold_acknowledgements(&mut self) {
        self.codec.set_auto_pub_response(false);
    }

    /// Leaves without DISCONNECT.
    pub fn vanish(self) {
        let _gone = self.tls.sock.shutdown(std::net::Shutdown::Both);
    }

    /// A free packet id; an answer to an earlier use of it that nobody took is forgotten.
    fn fresh_pid(&mut self) -> u16 {
        let pid = self.codec.acquire_packet_id().unwrap();
        self.packets.retain(|p| !answers(p, pid));
        pid
    }

    fn send(&mut self, packet: Packet) {
        let events = self.codec.send(packet);
        self.react(events);
    }

    fn pump(&mut self) {
        let mut buffer = [0; 16 * 1024];
        match self.tls.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(n) => {
                let mut cursor = Cursor::new(&buffer[..n]);
                while (cursor.position() as usize) < n {
                    let events = self.codec.recv(&mut cursor);
                    self.react(events);
                }
            }
            Err(e) if is_patience(&e) => {}
            Err(_) => self.closed = true,
        }
    }

    fn react(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::RequestSendPacket { packet, .. } => {
                    let sent = self.tls.write_all(&packet.to_continuous_buffer());
                    if sent.and_then(|()| self.tls.flush()).is_err() {
                        self.pump();
                    }
                }
                Event::NotifyPacketReceived(packet) => self.received(packet),
                Event::NotifyError(e) => panic!("client codec: {e}"),
                _ => {}
            }
        }
    }

    fn received(&mut self, packet: Packet) {
        let message = match &packet {
            Packet::V3_1_1Publish(p) => Some((p.topic_name(), p.payload(), p.qos(), p.dup(), p.retain())),
            Packet::V5_0Publish(p) => Some((p.topic_name(), p.payload(), p.qos(), p.dup(), p.retain())),
            _ => None,
        };
        match message {
            Some((topic, payload, qos, dup, retain)) => self.inbox.push_back(Message {
                topic: topic.to_owned(),
                payload: payload.as_slice().to_vec(),
                qos: qos as u8,
                dup,
                retain,
            }),
            None => self.packets.push_back(packet),
        }
    }
}

fn answers(packet: &Packet, pid: u16) -> bool {
    match packet {
        Packet::V3_1_1Suback(p) => p.packet_id() == pid,
        Packet::V5_0Suback(p) => p.packet_id() == pid,
        Packet::V3_1_1Puback(p) => p.packet_id() == pid,
        Packet::V5_0Puback(p) => p.packet_id() == pid,
        _ => false,
    }
}

fn is_patience(e: &std::io::Error) -> bool {
    matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}
