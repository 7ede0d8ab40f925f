//! Reload, by signal and by order: a good configuration is in force at once, a bad one is refused and the old one
//! stays. A claim key that was taken away after provisioning is a warning.

use std::fs;

use crate::support::Device;
use crate::tools::{provisioned, rotate, words, write};

fn debug_lines(device: &Device) -> usize {
    device.log().lines("DEBUG").len()
}

#[test]
fn a_good_configuration_is_in_force_after_sighup() {
    let mut device = provisioned(Device::new());
    assert!(debug_lines(&device) > 0);
    device.edit_config("[log]\nlevel = \"info\"\n[rotation]\nmax-age = \"20d\"\nsplay = \"0s\"");
    let before = device.status()["rotation"]["dueAt"].clone();
    device.signal("HUP");
    device.wait_for("a due time by the new max-age", |s| s["rotation"]["dueAt"] != before);
    let lines = debug_lines(&device);
    rotate(&device, 2);
    device.wait_steady(2);
    assert_eq!(debug_lines(&device), lines, "the level of the log changed");
    device.finish();
}

#[test]
fn a_good_configuration_is_in_force_after_certrotctl_reload_which_names_what_waits_for_a_restart() {
    let mut device = provisioned(Device::new().toml("[log]\nlevel = \"info\""));
    assert_eq!(debug_lines(&device), 0);
    device.edit_config("[log]\nlevel = \"debug\"\n[device]\nserial = \"SN-0009\"");
    let done = device.ctl(&["reload"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    assert!(
        words(&done).contains("device.serial"),
        "it says what changes with the next restart: {}",
        words(&done)
    );
    rotate(&device, 2);
    device.wait_steady(2);
    assert!(debug_lines(&device) > 0);
    assert_eq!(device.status()["thingName"], "SN-0001", "a serial never changes under a running identity");
    device.edit_config("[device]\nserial = \"SN-0001\"");
    device.finish();
}

#[test]
fn a_bad_configuration_is_refused_whoever_asks_and_the_old_one_stays() {
    let mut device = provisioned(Device::new());
    let good = fs::read(device.config_path()).unwrap();
    let due = device.status()["rotation"]["dueAt"].clone();
    for bad in ["[rotation]\nmax-age = \"soon\"\nmaxage = \"3d\"\n", "not even = toml ["] {
        write(&device.config_path(), bad.as_bytes());
        let refused = device.ctl(&["reload"]);
        assert_eq!(refused.status.code(), Some(78), "{}", words(&refused));
        assert!(words(&refused).contains("old one stays"), "{}", words(&refused));
        let warned = device.log().find("WARN", &["old one stays"]).len();
        device.signal("HUP");
        device.wait_until("a warning", || device.log().find("WARN", &["old one stays"]).len() > warned);
    }
    let status = device.wait_steady(1);
    assert_eq!(status["rotation"]["dueAt"], due);
    assert!(device.is_running());
    write(&device.config_path(), &good);
    assert_eq!(device.ctl(&["reload"]).status.code(), Some(0));
    device.finish();
}

#[test]
fn a_claim_key_that_was_taken_away_after_provisioning_is_a_warning() {
    let mut device = provisioned(Device::new());
    assert!(device.terminate().success());
    fs::remove_file(device.twin().claim_key()).unwrap();
    device.start();
    device.wait_steady(1);
    assert!(!device.log().find("WARN", &["claim.private-key"]).is_empty(), "{}", device.log());
    rotate(&device, 2);
    device.wait_steady(2);
    device.finish();
}
