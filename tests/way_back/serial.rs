//! A device without a serial in its configuration: it is up, says so, and waits for `certrotctl provision SERIAL`,
//! once; what was given stays in the store.

use crate::support::{Device, SERIAL};
use crate::tools::{wait_alert, words};

#[test]
fn a_serial_is_given_once_and_kept() {
    let mut device = Device::new().without_serial().start();
    wait_alert(&device, "serial-missing");
    let waits = device.wait_for("awaiting a serial", |s| s["state"] == "awaiting-serial");
    assert!(waits["why"].as_str().unwrap().contains("certrotctl provision SERIAL"), "{waits:#}");
    let none = device.ctl(&["provision"]);
    assert_eq!(none.status.code(), Some(75), "{}", words(&none));
    for bad in ["claim-1", "a/b", "#", "To Be Filled By O.E.M.", ""] {
        let refused = device.ctl(&["provision", bad]);
        assert_eq!(refused.status.code(), Some(64), "{bad:?}: {}", words(&refused));
    }
    assert_eq!(device.twin().event_count(), 0, "nothing was asked of the cloud");

    let given = device.ctl(&["provision", SERIAL]);
    assert_eq!(given.status.code(), Some(0), "{}", words(&given));
    let steady = device.wait_steady(1);
    assert_eq!((steady["serial"].as_str(), steady["thingName"].as_str()), (Some(SERIAL), Some(SERIAL)));

    let second = device.ctl(&["provision", "SN-0002", "--yes"]);
    assert_eq!(second.status.code(), Some(75), "{}", words(&second));
    assert!(words(&second).contains("already has the serial SN-0001"), "{}", words(&second));

    assert!(device.terminate().success());
    device.start();
    let again = device.wait_steady(1);
    assert_eq!(again["serial"], SERIAL);
    assert_eq!(device.minted(), 1);
    device.expect_errors(&["serial-missing"]);
    device.finish();
}

#[test]
fn a_device_json_that_is_lost_takes_no_identity_off_the_network_rule_21() {
    let mut device = Device::new().without_serial().start();
    let given = device.ctl(&["provision", SERIAL]);
    assert_eq!(given.status.code(), Some(0), "{}", words(&given));
    device.wait_steady(1);
    device.kill9();
    std::fs::remove_file(device.store().join("device.json")).unwrap();
    device.start();
    let again = device.wait_steady(1);
    assert_eq!((again["connected"].as_bool(), again["thingName"].as_str()), (Some(true), Some(SERIAL)));
    assert_eq!(device.minted(), 1);
    device.allow_errors(&["serial-missing"]);
    device.finish();
}

#[test]
fn a_serial_that_was_given_outlives_a_power_cut_before_any_certificate() {
    let mut device = Device::new().without_serial().prepare();
    device.stop_twin();
    device.start();
    let given = device.ctl(&["provision", SERIAL]);
    assert_eq!(given.status.code(), Some(0), "{}", words(&given));
    device.kill9();
    device.start_twin();
    device.start();
    device.wait_steady(1);
    device.expect_errors(&["serial-missing"]);
    device.finish();
}
