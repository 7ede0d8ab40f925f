//! Log, answers of the control socket, events and disk: no key outside its own file, no token once it is used up.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certrot_twin::{Effect, Fault};

use crate::secret::{Secret, holds};
use crate::support::Device;

#[test]
fn neither_key_nor_token_is_in_log_status_history_events_or_on_disk_outside_its_own_file() {
    // Registration takes a while, so that the token is seen while it is worth something.
    let mut device = Device::new().toml("[retire]\nkeep-generations = 1\n[log]\nlevel = \"trace\"").prepare();
    device.twin().fault(Fault::once("register", Effect::Delay { ms: 800 }).times(2));
    device.start();
    let events = listen(&device);
    let first_token = token(&device, 1);
    device.wait_steady(1);
    let mut secrets = vec![Secret::read(&device.generation_dir(1))];
    let rotating = device.ctl_command(&["rotate-now", "--wait"]).output();
    let second_token = device.twin().events();
    assert!(!second_token.is_empty());
    let rotated = rotating.expect("certrotctl runs");
    assert_eq!(rotated.status.code(), Some(0), "{}", device.log());
    device.wait_steady(2);
    device.wait_until("the old generation is removed", || device.generations() == [2]);
    secrets.push(Secret::read(&device.generation_dir(2)));

    let mut places: Vec<(String, Vec<u8>)> = vec![
        ("the log".to_owned(), device.log().text().as_bytes().to_vec()),
        ("rotate-now --wait".to_owned(), [rotated.stdout, rotated.stderr].concat()),
        ("the events".to_owned(), events.lock().unwrap().clone()),
    ];
    assert!(
        holds(&places[2].1, b"rotation-step") || holds(&places[2].1, b"register"),
        "no events were heard"
    );
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["history"],
        &["history", "--json"],
        &["check"],
        &["check", "--json"],
    ] {
        let out = device.ctl(words);
        places.push((words.join(" "), [out.stdout, out.stderr].concat()));
    }
    places.push(("metrics".to_owned(), get(&device, "/metrics")));
    let own = device.generation_dir(2).join("device.key.pem");
    for path in
        files(device.dir()).into_iter().filter(|p| !p.starts_with(device.dir().join("twin")) && *p != own)
    {
        places.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
    }
    assert!(places.len() > 12, "the store's files are among them");
    for (place, bytes) in &places {
        for (n, secret) in secrets.iter().enumerate() {
            for (form, needle) in secret.forms() {
                assert!(!holds(bytes, &needle), "{place} holds the key of generation {} as {form}", n + 1);
            }
        }
        assert!(!holds(bytes, first_token.as_bytes()), "{place} holds a token that is used up");
    }
    assert!(device.state_json(2).unwrap().get("token").is_none(), "the token goes with the registration");
    device.finish();
}

#[test]
fn no_core_is_dumped() {
    let device = Device::new().start();
    device.wait_steady(1);
    let limits = fs::read_to_string(format!("/proc/{}/limits", device.pid())).unwrap();
    let core = limits.lines().find(|l| l.starts_with("Max core file size")).unwrap();
    let words: Vec<_> = core.split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "a core file would hold the key in use: {core}");
    device.finish();
}

/// The ownership token of a generation, while it is on disk.
fn token(device: &Device, generation: u32) -> String {
    let mut token = None;
    device.wait_until("a token on disk", || {
        token = device.state_json(generation).and_then(|s| Some(s["token"].as_str()?.to_owned()));
        token.is_some()
    });
    token.unwrap()
}

/// Collects the events of the control socket from now on.
fn listen(device: &Device) -> Arc<Mutex<Vec<u8>>> {
    let mut stream = UnixStream::connect(device.socket()).unwrap();
    write!(stream, "GET /v1/events HTTP/1.1\r\nHost: certrotd\r\n\r\n").unwrap();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let collected = Arc::clone(&heard);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = stream.read(&mut buffer) {
            collected.lock().unwrap().extend(&buffer[..n]);
        }
    });
    heard
}

fn get(device: &Device, path: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(device.socket()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: certrotd\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}
