//! Rule 22: another client has our client id and certificate, as a copied disk has. It is told, the pace is slow, and
//! nothing is rotated meanwhile: two clones would retire each other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use certrot_twin::{Effect, Event, Fault};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::support::{Device, PATIENCE};
use crate::tools::{provisioned, wait_no_alert, words};

/// Ten minutes in six seconds.
const RATE: u32 = 100;

#[test]
fn a_clone_that_takes_over_again_and_again_is_told_and_nothing_rotates_meanwhile_rule_22() {
    let device = provisioned(Device::new().rate(RATE));
    let clone = contest(&device);
    let status = device.status();
    let told = crate::tools::alert(&status, "contested").expect("an alert");
    assert_eq!(told["level"], "error");

    let refused = device.ctl(&["rotate-now"]);
    assert_eq!(refused.status.code(), Some(75), "{}", words(&refused));
    assert!(words(&refused).contains("clone"), "{}", words(&refused));
    assert_eq!(device.minted(), 1, "{}", device.story());

    // The clone is found and gone: ten minutes later the daemon is back, and half an hour on it is its old self.
    drop(clone);
    device.wait_for("the session is back", |s| s["connected"] == true);
    assert_eq!(device.status()["state"], "contested", "one good minute proves nothing");
    wait_no_alert(&device, "contested");
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    device.wait_steady(2);
    device.expect_errors(&["contested"]);
    device.finish();
}

/// A close while a request is outstanding does not count: a policy that forbids the request closes the session too (the
/// wire tells the two apart only in MQTT 5). It hides no clone: between the requests, which back off, its closes count.
#[test]
fn a_clone_is_found_out_although_a_request_is_outstanding_in_each_session_rule_22() {
    // No commit is ever answered, so each session begins with one as soon as its pace allows.
    let device = Device::new().rate(RATE).prepare();
    device.twin().fault(Fault::once("commit", Effect::Ignore).forever());
    let mut device = device;
    device.start();
    device.wait_for("the first session", |s| s["connected"] == true);
    let clone = contest(&device);
    assert_eq!(device.minted(), 1, "{}", device.story());
    drop(clone);
    device.expect_errors(&["contested"]);
    device.finish();
}

#[test]
fn a_policy_that_closes_the_session_on_each_request_is_no_contest_rule_22() {
    let device = provisioned(Device::new().rate(RATE).toml("[rotation]\nsplay = \"0s\"\n"));
    let since = device.twin().event_count();
    device.twin().fault(Fault::once("create-from-csr", Effect::CloseBefore).forever().client(device.thing()));
    for attempt in 1..=7 {
        device.wait_for("the session", |s| s["connected"] == true);
        let done = device.ctl(&["rotate-now", "--wait"]);
        assert_eq!(done.status.code(), Some(75), "{attempt}: {}", words(&done));
        let status = device.status();
        assert!(crate::tools::alert(&status, "contested").is_none(), "{attempt}: {status:#}");
    }
    let closed = |e: &Event| matches!(e, Event::Closed { client, .. } if client == "SN-0001");
    let closes = device.twin().events_since(since).iter().filter(|l| closed(&l.event)).count();
    assert!(closes >= 7, "{closes} closes\n{}", device.story());
    device.twin().clear_faults();
    device.wait_for("the session", |s| s["connected"] == true);
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    device.wait_steady(2);
    device.finish();
}

/// Takes the session away again and again until the daemon says that it is contested; the last clone holds it.
fn contest(device: &Device) -> Option<Clone> {
    let end = Instant::now() + PATIENCE;
    let mut seen = 0;
    let mut clone = None;
    while device.status()["state"] != "contested" {
        assert!(Instant::now() < end, "never contested\n{}{}", device.log(), device.story());
        // As soon as the daemon is in, the clone takes the session away.
        let ours = connects(device);
        if ours > seen && device.status()["connected"] == true {
            drop(clone.take());
            clone = Some(Clone::connect(device));
            seen = connects(device);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    clone
}

fn connects(device: &Device) -> usize {
    device.twin().count(|e| matches!(e, Event::Connect { client, refused: None, .. } if client == "SN-0001"))
}

/// A connected client with the device's own pair and client id; the connection lasts as long as it does.
struct Clone {
    _tls: StreamOwned<ClientConnection, TcpStream>,
}

impl Clone {
    fn connect(device: &Device) -> Self {
        let pair = device.store().join("current");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(device.twin().ca_pem()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(pair.join("device.cert.pem")).unwrap()],
                PrivateKeyDer::from_pem_file(pair.join("device.key.pem")).unwrap(),
            )
            .unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let socket = TcpStream::connect(("127.0.0.1", device.twin().port())).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::new(config), name).unwrap(), socket);
        // MQTT 3.1.1 CONNECT: protocol "MQTT", level 4, clean session, keep-alive 600 s, client id (3.1).
        let id = b"SN-0001";
        let mut packet = vec![0x10, u8::try_from(10 + 2 + id.len()).unwrap()];
        packet.extend([0, 4, b'M', b'Q', b'T', b'T', 4, 0b10, 2, 88, 0, u8::try_from(id.len()).unwrap()]);
        packet.extend(id);
        tls.write_all(&packet).unwrap();
        let mut connack = [0; 4];
        tls.read_exact(&mut connack).unwrap();
        assert_eq!(connack[3], 0, "the clone is let in");
        Self { _tls: tls }
    }
}
