//! What systemd hears: READY, STATUS in words on each change, the watchdog while the loop turns, RELOADING, STOPPING.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use crate::support::{Device, PATIENCE};
use crate::tools::{words, write};

/// The manager's end of the line, with everything heard so far.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    /// Hears until a line is as wanted, from line number `since` on; gives its number.
    fn hears(&mut self, since: usize, what: &str, wanted: impl Fn(&str) -> bool) -> usize {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.heard.iter().skip(since).position(|l| wanted(l)) {
                return since + at;
            }
            assert!(Instant::now() < end, "{what} was not heard: {:#?}", self.heard);
            let mut buffer = [0; 4096];
            if let Ok(n) = self.socket.recv(&mut buffer) {
                self.heard.extend(String::from_utf8_lossy(&buffer[..n]).lines().map(str::to_owned));
            }
        }
    }
}

fn managed() -> (Device, Manager) {
    let mut device = Device::new().prepare();
    let path = device.dir().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_millis(200))).unwrap();
    device.set_env("NOTIFY_SOCKET", path.to_str().unwrap());
    device.set_env("WATCHDOG_USEC", "600000");
    (device, Manager { socket, heard: Vec::new() })
}

#[test]
fn a_manager_hears_each_turn_of_a_life() {
    let (mut device, mut manager) = managed();
    device.launch();
    let ready = manager.hears(0, "READY", |l| l == "READY=1");
    assert_eq!(device.ctl(&["status"]).status.code(), Some(0), "the control socket is up at READY");
    let up = manager.hears(ready, "connected", |l| l.starts_with("STATUS=SN-0001: connected; nothing to do"));
    let status: Vec<_> = manager.heard[..=up].iter().filter(|l| l.starts_with("STATUS=")).collect();
    assert!(status.len() >= 3, "one for each change: {status:#?}");
    assert!(status.windows(2).all(|w| w[0] != w[1]), "none twice: {status:#?}");
    manager.hears(up, "the watchdog", |l| l == "WATCHDOG=1");

    for by in ["HUP", "reload"] {
        let since = manager.heard.len();
        if by == "HUP" {
            device.signal("HUP");
        } else {
            let done = device.ctl(&["reload"]);
            assert_eq!(done.status.code(), Some(0), "{}", words(&done));
        }
        let reloading = manager.hears(since, "RELOADING", |l| l == "RELOADING=1");
        let time = manager.hears(reloading, "its time", |l| l.starts_with("MONOTONIC_USEC="));
        manager.hears(time, "READY again", |l| l == "READY=1");
    }
    // A bad configuration ends the reload too: the manager must not wait for ever.
    let good = std::fs::read(device.config_path()).unwrap();
    write(&device.config_path(), b"bad = ");
    let since = manager.heard.len();
    device.signal("HUP");
    let reloading = manager.hears(since, "RELOADING", |l| l == "RELOADING=1");
    manager.hears(reloading, "READY again", |l| l == "READY=1");
    write(&device.config_path(), &good);

    let since = manager.heard.len();
    assert!(device.terminate().success());
    manager.hears(since, "STOPPING", |l| l == "STOPPING=1");
    device.finish();
}

#[test]
fn waiting_for_a_network_never_starves_the_watchdog() {
    let (mut device, mut manager) = managed();
    device.stop_twin();
    device.launch();
    let waits =
        manager.hears(0, "why it waits", |l| l.starts_with("STATUS=") && l.contains("cannot be reached"));
    let mut at = waits;
    for _ in 0..4 {
        at = manager.hears(at + 1, "the watchdog", |l| l == "WATCHDOG=1");
    }
    assert!(device.terminate().success());
    device.finish_without_identity();
}

#[test]
fn a_loop_that_does_not_turn_is_not_fed_for() {
    let (mut device, mut manager) = managed();
    device.launch();
    let up = manager.hears(0, "connected", |l| l.starts_with("STATUS=SN-0001: connected; nothing to do"));
    manager.hears(up, "the watchdog", |l| l == "WATCHDOG=1");
    device.signal("STOP");
    // What was sent before is heard; then nothing for twice the watchdog's time.
    let mut silent = Instant::now();
    let end = Instant::now() + PATIENCE;
    let mut buffer = [0; 4096];
    while silent.elapsed().as_millis() < 1_200 {
        assert!(Instant::now() < end, "a stopped process goes on sending");
        if manager.socket.recv(&mut buffer).is_ok() {
            silent = Instant::now();
        }
    }
    device.signal("CONT");
    let since = manager.heard.len();
    manager.hears(since, "the watchdog again", |l| l == "WATCHDOG=1");
    device.finish();
}
