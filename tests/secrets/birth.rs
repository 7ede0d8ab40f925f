//! Key files are 0600 from their creation: the system calls of the daemon, by strace(1).

use std::fs;
use std::process::{Child, Command, Stdio};

use crate::support::{Device, SERIAL};

#[test]
fn every_file_of_the_store_is_created_0600_and_no_mode_is_set_afterwards() {
    let device = Device::new().without_serial().allow_errors(&["serial-missing"]).start();
    let trace = device.dir().join("strace.txt");
    let strace = Command::new("strace")
        .args([
            "-f",
            "-qq",
            "-y",
            "-e",
            "trace=open,openat,openat2,creat,mkdir,mkdirat,chmod,fchmod,fchmodat",
        ])
        .arg("-o")
        .arg(&trace)
        .arg("-p")
        .arg(device.pid().to_string())
        .stdin(Stdio::null())
        .spawn();
    let mut strace = strace.expect("strace(1) is needed for this test: apt-get install strace");
    device.wait_until("strace has attached", || {
        let status = fs::read_to_string(format!("/proc/{}/status", device.pid())).unwrap_or_default();
        let tracer =
            status.lines().find_map(|l| l.strip_prefix("TracerPid:")).unwrap_or("0").trim().to_owned();
        if let Some(ended) = strace.try_wait().unwrap() {
            panic!("strace ended at once ({ended}): may this user trace its own processes?");
        }
        tracer != "0"
    });
    assert_eq!(device.ctl(&["provision", SERIAL]).status.code(), Some(0));
    device.wait_steady(1);
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(0), "{}", device.log());
    device.wait_steady(2);
    strace_ends(&mut strace);
    let text = fs::read_to_string(&trace).unwrap();
    let calls: Vec<&str> = text.lines().collect();
    let created: Vec<_> = calls.iter().filter(|l| l.contains("O_CREAT") && l.contains("/store")).collect();
    let keys = created.iter().filter(|l| l.contains("device.key.pem")).count();
    assert_eq!(keys, 2, "two keys were made:\n{text}");
    for call in &created {
        assert!(call.contains(", 0600)"), "created with another mode: {call}");
    }
    for call in calls.iter().filter(|l| l.contains("mkdir") && l.contains("/store")) {
        assert!(call.contains(", 0700)"), "made with another mode: {call}");
    }
    for call in calls.iter().filter(|l| l.contains("chmod")) {
        assert!(!call.contains("/store"), "a mode was set afterwards: {call}");
    }
    device.finish();
}

/// Detaches it; what it saw is written then.
fn strace_ends(strace: &mut Child) {
    let told = Command::new("kill").arg("-INT").arg(strace.id().to_string()).status();
    assert!(told.expect("kill(1)").success());
    strace.wait().unwrap();
}
