//! Others on the same machine: a second daemon on the store, and a stranger at the control socket.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Output};

use crate::support::Device;
use crate::tools::{provisioned, words};

#[test]
fn a_second_daemon_on_the_store_ends_and_names_the_first() {
    let mut device = provisioned(Device::new());
    let since = device.twin().event_count();
    let second = device.command().output().unwrap();
    assert_eq!(second.status.code(), Some(75), "{}", words(&second));
    let pid = device.pid().to_string();
    assert!(
        words(&second).split(|c: char| !c.is_ascii_digit()).any(|w| w == pid),
        "{pid}: {}",
        words(&second)
    );
    assert!(device.is_running());
    assert_eq!(device.wait_steady(1)["connected"], true);
    assert_eq!(
        device.twin().event_count(),
        since,
        "the second asked nothing of the cloud\n{}",
        device.story()
    );
    device.finish();
}

#[test]
fn a_lock_left_by_a_dead_daemon_holds_nobody_up() {
    let mut device = provisioned(Device::new());
    device.kill9();
    device.start();
    device.wait_steady(1);
    device.finish();
}

/// Where tests are root's, the stranger is `nobody`; elsewhere it is the user itself, and only root is an operator.
#[test]
fn a_stranger_may_look_where_the_sockets_mode_lets_him_and_change_nothing() {
    let root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let device = provisioned(Device::new());
    // The program is copied to where everybody can run it.
    let ctl = device.dir().join("certrotctl");
    fs::copy(env!("CARGO_BIN_EXE_certrotctl"), &ctl).unwrap();
    let mode =
        |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    mode(&ctl, 0o755);
    mode(device.dir(), 0o755);
    let stranger = |words: &[&str]| -> Output {
        let mut command = if root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&ctl);
            command
        } else {
            Command::new(&ctl)
        };
        command.arg("--socket").arg(device.socket()).args(words).output().expect("setpriv(1) of util-linux")
    };
    if root {
        assert_eq!(fs::metadata(device.socket()).unwrap().mode() & 0o777, 0o660);
        let out = stranger(&["status"]);
        assert_eq!(out.status.code(), Some(77), "the socket's mode keeps him out: {}", words(&out));
        mode(&device.socket(), 0o666);
    }
    let out = stranger(&["status"]);
    assert_eq!(out.status.code(), Some(0), "{}", words(&out));
    let minted = device.minted();
    for order in [
        &["rotate-now"][..],
        &["rotate-now", "--dry-run"],
        &["provision", "--yes"],
        &["reload"],
        &["disconnect"],
        &["connect"],
        &["adopt"],
    ] {
        let out = stranger(order);
        assert_eq!(out.status.code(), Some(77), "{order:?}: {}", words(&out));
    }
    let status = device.wait_steady(1);
    assert_eq!(status["connected"], true);
    assert_eq!(device.minted(), minted);
    device.finish();
}
