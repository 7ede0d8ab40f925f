//! A plain mosquitto over mutual TLS on a free port of the loopback, ended with the test.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::pki::Authority;

/// Which TLS the broker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// 1.2 at most.
    V12,
    /// 1.3 at least.
    V13,
}

/// A running mosquitto.
pub struct Mosquitto {
    child: Child,
    pub port: u16,
    _directory: tempfile::TempDir,
}

impl Mosquitto {
    /// Starts one whose server certificate and clients are of `authority`; `cloud` may do everything, every other
    /// client its own `device/<client id>/…` and, as user `device`, fleet provisioning.
    pub fn start(authority: &Authority, tls: Tls) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let server = authority.server();
        write(&path("ca.pem"), &authority.pem());
        write(&path("server.pem"), &server.certificate_pem);
        write(&path("server.key"), &server.key.serialize_pem());
        write(
            &path("acl"),
            "pattern readwrite device/%c/#\n\
             user cloud\ntopic readwrite device/#\ntopic readwrite $aws/#\n\
             user device\ntopic readwrite device/dev/#\ntopic readwrite $aws/#\n",
        );
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (minimum, maximum) = match tls {
            Tls::V12 => ("tlsv1.2", "TLSv1.2"),
            Tls::V13 => ("tlsv1.3", "TLSv1.3"),
        };
        let name = |file: &str| path(file).display().to_string();
        write(
            &path("mosquitto.conf"),
            &format!(
                "listener {port} 127.0.0.1\ncafile {}\ncertfile {}\nkeyfile {}\nacl_file {}\n\
                 require_certificate true\nuse_identity_as_username true\ntls_version {minimum}\n\
                 set_tcp_nodelay true\nmax_queued_messages 0\nmax_inflight_messages 100\nuser root\n",
                name("ca.pem"),
                name("server.pem"),
                name("server.key"),
                name("acl")
            ),
        );
        // mosquitto sets a minimum only; the maximum is OpenSSL's to set.
        write(
            &path("openssl.cnf"),
            &format!(
                "openssl_conf = init\n[init]\nssl_conf = ssl\n[ssl]\nsystem_default = tls\n[tls]\nMaxProtocol = {maximum}\n"
            ),
        );
        let child = Command::new("mosquitto")
            .env("PATH", format!("{}:/usr/sbin:/usr/local/sbin", std::env::var("PATH").unwrap_or_default()))
            .env("OPENSSL_CONF", path("openssl.cnf"))
            .arg("-c")
            .arg(path("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("these tests need mosquitto (apt install mosquitto): {error}"));
        let mut broker = Self { child, port, _directory: directory };
        broker.await_listening();
        broker
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn await_listening(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("mosquitto ended at its start: {status}");
            }
            assert!(Instant::now() < end, "mosquitto does not listen on port {}", self.port);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
    }
}

fn write(path: &Path, text: &str) {
    use std::io::Write;
    let mut file = fs::File::create(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
