//! The program `certrot-twin serve`: its one line, its signal, its directory.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

struct Program {
    child: Child,
    line: String,
}

impl Program {
    fn serve(dir: &Path, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_certrot-twin"))
            .args(["serve", "--dir"])
            .arg(dir)
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, line }
    }

    fn ports(&self) -> (String, String) {
        let words: Vec<&str> = self.line.split_whitespace().collect();
        assert_eq!((words.len(), words[0]), (3, "ready"), "{}", self.line);
        let port = |word: &str, key: &str| word.strip_prefix(key).unwrap().to_owned();
        (port(words[1], "mqtt=127.0.0.1:"), port(words[2], "api=127.0.0.1:"))
    }

    fn terminate(mut self) -> ExitStatus {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn it_says_where_it_is_serves_until_a_signal_and_comes_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let first = Program::serve(dir.path(), &[]);
    let (port, api) = first.ports();
    let claim = std::fs::read(dir.path().join("claim.cert.pem")).unwrap();
    assert!(first.terminate().success());
    let again = Program::serve(dir.path(), &["--port", &port, "--api-port", &api]);
    assert_eq!(again.ports(), (port, api));
    assert_eq!(std::fs::read(dir.path().join("claim.cert.pem")).unwrap(), claim);
    assert!(again.terminate().success());
}

#[test]
fn a_port_that_is_taken_is_named_and_ends_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_certrot-twin"))
        .args(["serve", "--port", &port, "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&port));
}

#[test]
fn a_damaged_state_file_is_named_and_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("registry.json");
    certrot_twin::files::write(dir.path(), "registry.json", 0o600, b"{").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_certrot-twin"))
        .args(["serve", "--dir"])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("registry.json"));
    assert_eq!(std::fs::read(file).unwrap(), b"{");
}
