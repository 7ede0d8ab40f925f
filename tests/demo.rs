//! `certrot-twin demo` with the real daemon: the story told once, what it leaves behind, and how it fails.
//!
//! `certrot-twin` is another package's program, so cargo names no path for it here: it is found beside `certrotd`, where
//! `cargo test` of the whole workspace, or `cargo build -p certrot-twin`, has put it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn told_once_every_step_happens_and_the_old_certificate_is_refused_on_the_wire() {
    let home = tempfile::tempdir().unwrap();
    let output = demo(home.path(), &["--once", "--certrotd", CERTROTD]).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("  ok  ")).collect();
    let told: Vec<&str> =
        lines.iter().map(|l| l.split("  ok  ").nth(1).unwrap().split("  ").next().unwrap()).collect();
    assert_eq!(told, STEPS, "{text}");
    let line = |step: &str| *lines.iter().find(|l| l.contains(step)).unwrap();
    assert!(line("old certificate refused").contains("TLS alert"), "{text}");
    assert!(line("gone from registry").contains("ACTIVE → INACTIVE → REVOKED → deleted"), "{text}");
    assert!(line("a live pair").contains("CONNACK 0"), "{text}");
    assert!(line("new certificate in use").contains("generation 2"), "{text}");
    assert!(line("session taken over").contains("hand-over gap"), "{text}");
    assert!(text.contains(&format!("all {} steps done", STEPS.len())), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours in a pipe: {text}");
    assert_eq!(left_in(home.path()), Vec::<PathBuf>::new(), "its directory is removed");
}

#[test]
fn a_directory_that_is_named_is_kept_with_an_identity_that_is_whole_and_a_log_without_errors() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("kept");
    let words = ["--once", "--certrotd", CERTROTD, "--dir", dir.to_str().unwrap()];
    let output = demo(home.path(), &words).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let log = std::fs::read_to_string(dir.join("certrotd.log")).unwrap();
    assert!(!log.contains("ERROR") && log.contains("stopped"), "{log}");
    let store = dir.join("device");
    assert_eq!(std::fs::read_link(store.join("current")).unwrap(), Path::new("generations/0002"));
    let key = std::fs::read_to_string(store.join("current/device.key.pem")).unwrap();
    let secret = key.lines().nth(1).unwrap();
    assert!(!log.contains(secret) && !said(&output).contains(secret));
    let again = demo(home.path(), &words).output().unwrap();
    assert!(!again.status.success() && said(&again).contains("not empty"), "{}", said(&again));
}

#[test]
fn ctrl_c_ends_the_device_that_stayed_up_and_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let mut child = demo(home.path(), &["--certrotd", CERTROTD])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut text = String::new();
    while !text.contains("Ctrl-C") {
        assert!(out.read_line(&mut text).unwrap() > 0, "it ended early: {text}");
    }
    for word in [
        "rotate-now --wait",
        "check",
        "control.sock console",
        "history",
        "curl --unix-socket",
        "newStatus=INACTIVE",
    ] {
        assert!(text.contains(word), "{word}: {text}");
    }
    let pid = daemon_of(&text);
    assert!(alive(pid));
    kill(Pid::from_raw(i32::try_from(child.id()).unwrap()), Signal::SIGINT).unwrap();
    out.read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    assert!(!alive(pid), "the daemon is stopped");
    assert_eq!(left_in(home.path()), Vec::<PathBuf>::new());
}

#[test]
fn a_daemon_that_is_missing_or_ends_at_once_fails_the_demo_with_the_reason() {
    let home = tempfile::tempdir().unwrap();
    let missing = demo(home.path(), &["--once", "--certrotd", "/nonexistent/certrotd"]).output().unwrap();
    assert!(!missing.status.success() && said(&missing).contains("cargo build"), "{}", said(&missing));
    let began = Instant::now();
    let ended = demo(home.path(), &["--once", "--certrotd", "/bin/false"]).output().unwrap();
    assert!(!ended.status.success(), "{}", said(&ended));
    assert!(said(&ended).contains("certrotd ended by itself during “certrotd ready”"), "{}", said(&ended));
    assert!(began.elapsed() < Duration::from_secs(25), "it does not wait for what cannot come");
    assert_eq!(left_in(home.path()), Vec::<PathBuf>::new());
}

fn demo(home: &Path, words: &[&str]) -> Command {
    let program = Path::new(CERTROTD).with_file_name("certrot-twin");
    assert!(
        program.is_file(),
        "{} is missing: build it first with `cargo build -p certrot-twin`",
        program.display()
    );
    let mut command = Command::new(program);
    command.arg("demo").args(words).env("TMPDIR", home).stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn left_in(home: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(home).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn daemon_of(text: &str) -> i32 {
    text.split_once("pid ").unwrap().1.split(',').next().unwrap().parse().unwrap()
}

fn alive(pid: i32) -> bool {
    kill(Pid::from_raw(pid), None).is_ok()
}

const CERTROTD: &str = env!("CARGO_BIN_EXE_certrotd");

const STEPS: [&str; 21] = [
    "CA and claim made",
    "certrotd started",
    "certrotd ready",
    "claim connected",
    "key made, certificate issued",
    "registered",
    "session up",
    "proved by a real session",
    "current switched",
    "first commit accepted",
    "rotation ordered",
    "successor issued",
    "successor registered",
    "session taken over",
    "successor proved",
    "current switched to the successor",
    "old certificate retired",
    "new certificate in use",
    "old certificate gone from registry",
    "a live pair gets in this way",
    "old certificate refused",
];
