//! The real daemon as the victim: its session, its certificates and its store while others try.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use certrot_twin::{Effect, Event, Fault, Options};
use serde_json::{Value, json};

use crate::support::{Identity, Lab, PATIENCE};
use crate::victim::{ATTACKER, VICTIM, attacker};

/// How long a test waits for the daemon on a busy machine.
const LONG: Duration = Duration::from_secs(30);
const ROTATE: &str = "device/SN-V/certrot/rotate";
/// Times as fast as real time, for the twin and the daemon alike.
const FAST: u32 = 60;

/// A running `certrotd`, ended with the test.
pub struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn start(lab: &Lab, device: &str, more: &str, rate: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let text = format!(
            "[device]\n{device}\n[aws]\nendpoint = \"localhost\"\nport = {}\nroot-ca = {:?}\n\
             [claim]\ncertificate = {:?}\nprivate-key = {:?}\n[identity]\ndirectory = {:?}\n\
             [control]\nsocket = {:?}\n[log]\nlevel = \"debug\"\n{more}\n",
            lab.twin.port(),
            lab.twin.ca_pem(),
            lab.twin.claim_certificate(),
            lab.twin.claim_key(),
            dir.path().join("store"),
            dir.path().join("control.sock"),
        );
        put(&config, &text);
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_certrotd"))
            .arg("--config")
            .arg(&config)
            .env("CERTROTD_CLOCK_RATE", rate.to_string())
            .env_remove("JOURNAL_STREAM")
            .env_remove("NOTIFY_SOCKET")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, dir }
    }

    /// Provisioned, connected, nothing left to retire.
    pub fn settled(lab: &Lab, more: &str, rate: u32) -> Self {
        let daemon = Self::start(lab, &format!("serial = \"{VICTIM}\""), more, rate);
        daemon.until("settled", |s| {
            s["connected"] == true && s["state"] == "steady" && s["retire"]["pending"] == false
        });
        daemon
    }

    pub fn ctl(&self, words: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_certrotctl"))
            .arg("--socket")
            .arg(self.dir.path().join("control.sock"))
            .arg("--json")
            .args(words)
            .output()
            .unwrap()
    }

    pub fn status(&self) -> Value {
        serde_json::from_slice(&self.ctl(&["status"]).stdout).unwrap_or(Value::Null)
    }

    pub fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        loop {
            let status = self.status();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < end, "never {what}: {status}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn until_logged(&self, words: &str) {
        let end = Instant::now() + LONG;
        while !self.log().contains(words) {
            assert!(Instant::now() < end, "never logged {words:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The exit code, once it has ended by itself.
    fn ended(&mut self) -> Option<i32> {
        let end = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it goes on:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    pub fn certificate(&self) -> String {
        self.status()["certificate"]["id"].as_str().unwrap_or_default().to_owned()
    }

    /// The pair that `current` names, as a thief would copy it.
    fn pair(&self) -> Identity {
        let current = self.dir.path().join("store/current");
        Identity::read(&current.join("device.cert.pem"), &current.join("device.key.pem"))
    }

    /// Every file of the store with its bytes, mode and inode.
    pub fn store(&self) -> BTreeMap<PathBuf, (Vec<u8>, u32, u64)> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![self.dir.path().join("store")];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).unwrap() {
                let path = entry.unwrap().path();
                let about = path.symlink_metadata().unwrap();
                if about.is_dir() {
                    dirs.push(path);
                } else if about.is_symlink() {
                    let to = fs::read_link(&path).unwrap();
                    files.insert(path, (to.to_str().unwrap().as_bytes().to_vec(), 0, 0));
                } else {
                    files.insert(path.clone(), (fs::read(&path).unwrap(), about.mode(), about.ino()));
                }
            }
        }
        files
    }

    /// What must hold at the end of every test with a daemon.
    pub fn is_sound(&self, lab: &Lab, asked_for_errors: bool) {
        let log = self.log();
        assert!(asked_for_errors || !log.contains("ERROR"), "{log}");
        assert!(!log.contains("PRIVATE KEY") && !log.contains("CERTIFICATE REQUEST"), "{log}");
        let tokens: Vec<String> = lab.twin.cloud().registry(|r| r.tokens.keys().cloned().collect());
        assert!(!tokens.iter().any(|t| log.contains(t.as_str())));
        for (path, (_, mode, _)) in self.store() {
            assert!(mode == 0 || mode & 0o777 == 0o600, "{} {mode:o}", path.display());
        }
        if self.dir.path().join("store/current").exists() {
            let pair = self.pair();
            let key: String = pair.key.lines().filter(|l| !l.starts_with('-')).collect();
            assert!(!log.contains(&key[key.len() / 2..]));
            assert_eq!(pair.id(), self.certificate());
            // A pair that matches builds a TLS client; one that does not is refused by rustls.
            pair.config(&lab.twin);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn put(path: &Path, text: &str) {
    use std::io::Write;
    fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn fast() -> Lab {
    Lab::with(|o: &mut Options| o.clock_rate = f64::from(FAST))
}

pub fn rotations(lab: &Lab) -> usize {
    lab.twin.count(|e| matches!(e, Event::Registered { template, .. } if template == "certrot-rotate"))
}

pub fn sessions(lab: &Lab) -> usize {
    lab.twin.count(|e| matches!(e, Event::Connect { client, refused: None, .. } if client == VICTIM))
}

/// Lets so much of the twin's time pass by itself (the daemon's runs beside it).
fn let_pass(lab: &Lab, by: Duration) {
    let end = lab.twin.clock().now_ms() + i64::try_from(by.as_millis()).unwrap();
    while lab.twin.clock().now_ms() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn another_device_and_a_claim_holder_do_not_touch_a_daemons_session_certificates_or_store() {
    let lab = Lab::new();
    let daemon = Daemon::settled(&lab, "", 1);
    let (id, store, certificates) = (daemon.certificate(), daemon.store(), lab.twin.certificates_of(VICTIM));
    let (sessions_before, thing) = (sessions(&lab), lab.twin.thing(VICTIM));
    let (claim, mine) = (lab.claim(), attacker(&lab));
    for identity in [&claim, &mine] {
        assert!(lab.connect(identity, VICTIM).is_err());
    }
    let own = |identity: &Identity| if identity.id() == mine.id() { ATTACKER } else { "claim-x" };
    for identity in [&claim, &mine] {
        for (topic, payload) in [
            ("device/SN-V/certrot/commit", json!({ "certificateId": id })),
            ("device/SN-V/certrot/commit/accepted", json!({ "certificateId": id })),
            ("device/SN-V/certrot/commit/rejected", json!({ "certificateId": id, "retryAfter": 1 })),
            (ROTATE, json!({ "ifCertificateId": id })),
        ] {
            let mut device = lab.connect(identity, own(identity)).unwrap();
            device.publish_with(topic, payload.to_string().as_bytes(), true, false);
            assert!(device.is_closed_within(PATIENCE), "{topic}");
        }
        let mut device = lab.connect(identity, own(identity)).unwrap();
        let fresh = device.create_from_csr().unwrap();
        let template = if own(identity) == ATTACKER { "certrot-rotate" } else { "certrot-claim" };
        match device.register(template, &fresh.token, VICTIM) {
            Ok(answer) => assert_eq!(answer["thingName"], ATTACKER),
            Err(denied) => assert_eq!(denied["statusCode"], 403),
        }
    }
    // The order that the cloud itself gives is heard: the daemon was listening all the time.
    lab.twin.publish(ROTATE, b"{}", false);
    daemon.until_logged("rotate message refused");
    assert_eq!(lab.twin.certificates_of(VICTIM), certificates);
    assert_eq!(lab.twin.thing(VICTIM), thing);
    assert_eq!(
        (sessions(&lab), rotations(&lab)),
        (sessions_before, 1),
        "the one rotation is the attacker's own"
    );
    assert_eq!(daemon.store(), store);
    daemon.is_sound(&lab, false);
}

#[test]
fn a_retained_rotate_message_rotates_once_and_cannot_loop() {
    let lab = fast();
    let daemon = Daemon::settled(&lab, "[rotation]\nmin-interval = \"1m\"\n", FAST);
    let first = daemon.certificate();
    let order = json!({ "ifCertificateId": first }).to_string();
    lab.twin.publish(ROTATE, order.as_bytes(), true);
    daemon.until("rotated", |s| {
        s["certificate"]["id"] != first.as_str() && s["connected"] == true && s["retire"]["pending"] == false
    });
    assert_eq!(rotations(&lab), 1);
    // It comes again with every subscription.
    let since = lab.twin.event_count();
    lab.twin.kick(VICTIM);
    lab.twin.wait(
        since,
        LONG,
        |e| matches!(e, Event::Connect { client, refused: None, .. } if client == VICTIM),
    );
    daemon.until("connected again", |s| s["connected"] == true);
    let_pass(&lab, Duration::from_secs(150));
    assert_eq!(rotations(&lab), 1, "its condition is false now");
    let next = json!({ "ifCertificateId": daemon.certificate() }).to_string();
    lab.twin.publish(ROTATE, next.as_bytes(), false);
    let second = daemon.certificate();
    daemon.until("rotated by a true one", |s| {
        s["certificate"]["id"] != second.as_str() && s["connected"] == true
    });
    assert_eq!(rotations(&lab), 2);
    daemon.is_sound(&lab, false);
}

#[test]
fn retained_rotate_messages_whose_condition_would_never_end_are_refused() {
    let lab = fast();
    let daemon = Daemon::settled(&lab, "[rotation]\nmin-interval = \"1m\"\n", FAST);
    let id = daemon.certificate();
    for (payload, why) in [
        ("{}".to_owned(), "no condition"),
        (json!({ "issuedBefore": "2099-01-01T00:00:00Z" }).to_string(), "future"),
        (
            json!({ "ifCertificateId": id, "issuedBefore": "2099-01-01T00:00:00Z" }).to_string(),
            "two conditions",
        ),
        (json!({ "ifCertificateId": "*" }).to_string(), "64 lower-case"),
        ("[".repeat(100_000), "not a small JSON object"),
    ] {
        lab.twin.publish(ROTATE, payload.as_bytes(), true);
        daemon.until_logged(why);
    }
    let_pass(&lab, Duration::from_secs(150));
    assert_eq!(rotations(&lab), 0);
    assert_eq!(daemon.certificate(), id);
    daemon.is_sound(&lab, false);
}

/// The same certificate in a second program: the broker ends the daemon's session; the daemon comes back, and a commit
/// by the certificate in use retires nothing that is in use.
#[test]
fn an_application_that_commits_on_a_copy_of_the_pair_costs_a_reconnect_and_no_certificate() {
    let lab = Lab::new();
    let daemon = Daemon::settled(&lab, "", 1);
    let (id, pair, store) = (daemon.certificate(), daemon.pair(), daemon.store());
    let since = lab.twin.event_count();
    let mut application = lab.connect(&pair, VICTIM).unwrap();
    let answers = ["device/SN-V/certrot/commit/accepted", "device/SN-V/certrot/commit/rejected"];
    application.subscribe(&answers).unwrap();
    for payload in [json!({ "certificateId": id }), json!({ "certificateId": "0".repeat(64) }), json!({})] {
        // The daemon may take its session back in between, which is its right.
        application.publish_with("device/SN-V/certrot/commit", payload.to_string().as_bytes(), true, false);
    }
    lab.twin.wait(since, LONG, |e| matches!(e, Event::Commit { .. })).unwrap();
    drop(application);
    daemon.until("back", |s| s["connected"] == true);
    assert_eq!(daemon.certificate(), id);
    let held = lab.twin.certificates_of(VICTIM);
    assert_eq!(
        held.iter().map(|c| (c.id.as_str(), c.status)).collect::<Vec<_>>(),
        [(id.as_str(), certrot_twin::Status::Active)]
    );
    assert_eq!(daemon.pair().key, pair.key);
    let names = |s: &BTreeMap<PathBuf, (Vec<u8>, u32, u64)>| s.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&daemon.store()), names(&store));
    daemon.is_sound(&lab, false);
}

#[test]
fn a_pair_that_was_copied_before_a_rotation_is_worth_nothing_after_it() {
    let lab = Lab::new();
    let daemon = Daemon::settled(&lab, "", 1);
    let (stolen, first) = (daemon.pair(), daemon.certificate());
    assert!(daemon.ctl(&["rotate-now"]).status.success());
    daemon.until("rotated and retired", |s| {
        s["certificate"]["id"] != first.as_str() && s["connected"] == true && s["retire"]["pending"] == false
    });
    let sessions_before = sessions(&lab);
    for client in [VICTIM, ATTACKER, "claim-x"] {
        assert!(lab.connect(&stolen, client).is_err(), "{client}");
    }
    assert_eq!(sessions(&lab), sessions_before);
    daemon.is_sound(&lab, false);
}

#[test]
fn rule_14_an_accepted_that_names_another_certificate_retires_nothing_on_the_device() {
    let lab = fast();
    lab.twin.fault(Fault::once("commit", Effect::Ignore).forever());
    let daemon = Daemon::start(&lab, &format!("serial = \"{VICTIM}\""), "", FAST);
    daemon.until("connected", |s| s["connected"] == true && s["retire"]["pending"] == true);
    let accepted = "device/SN-V/certrot/commit/accepted";
    for payload in [json!({ "certificateId": "0".repeat(64) }), json!({}), json!({ "certificateId": null })] {
        lab.twin.publish(accepted, payload.to_string().as_bytes(), false);
    }
    lab.twin.publish(accepted, b"accepted", false);
    lab.twin.publish(ROTATE, b"{}", false);
    daemon.until_logged("rotate message refused");
    assert_eq!(daemon.status()["retire"]["pending"], true, "its own has not come");
    lab.twin.clear_faults();
    daemon.until("retired by its own", |s| s["retire"]["pending"] == false);
    daemon.is_sound(&lab, false);
}

#[test]
fn rule_23_no_daemon_starts_with_a_serial_or_thing_that_is_a_claims() {
    let lab = Lab::new();
    for device in
        ["serial = \"claim-x\"", "serial = \"Claim-x\"", "serial = \"SN-1\"\nthing-name = \"claim-x\""]
    {
        let mut daemon = Daemon::start(&lab, device, "", 1);
        assert_eq!(daemon.ended(), Some(78), "{device}: {}", daemon.log());
        assert!(daemon.log().contains("claim-"), "{}", daemon.log());
    }
    let daemon = Daemon::start(&lab, "", "", 1);
    daemon.until("waiting for a serial", |s| s["state"] == "awaiting-serial");
    for serial in ["claim-x", "CLAIM-x", "a/b", "+", "#", ""] {
        let refused = daemon.ctl(&["provision", serial]);
        assert!(!refused.status.success(), "{serial}: {refused:?}");
    }
    assert_eq!(daemon.status()["state"], "awaiting-serial");
    assert_eq!(lab.twin.count(|e| matches!(e, Event::Connect { .. })), 0);
    daemon.is_sound(&lab, true);
}
