//! Rule 26: a clock at 1970 is waited for, ten minutes at most; then the device goes on with the time that is surely
//! past, and says so.

use certrotd::clock::BUILT_AFTER;

use crate::support::{Builder, Device};
use crate::tools::alert;

/// Ten minutes in five seconds.
const RATE: u32 = 120;

/// A device at the epoch, and a cloud this long after the build date.
fn at_the_epoch(cloud_ahead: i64) -> Builder {
    let now = now();
    Device::new()
        .rate(RATE)
        .twin(move |o| o.clock_offset_ms = (BUILT_AFTER + cloud_ahead - now) * 1_000)
        .env("CERTROTD_CLOCK_OFFSET", &(-now).to_string())
}

fn waits_then_provisions(cloud_ahead: i64) {
    let device = at_the_epoch(cloud_ahead).start();
    let waits = device.wait_for("awaiting the clock", |s| s["state"] == "awaiting-clock");
    assert_eq!(waits["clock"]["trusted"], false);
    assert!(waits["why"].as_str().unwrap().contains("clock"), "{waits:#}");
    assert!(waits["until"].is_string(), "{waits:#}");
    assert_eq!(device.twin().event_count(), 0, "nothing is asked before");
    let steady = device.wait_steady(1);
    assert_eq!(steady["clock"]["trusted"], false, "and it says so: {steady:#}");
    assert!(alert(&steady, "certificate-expired").is_none());
    device.finish();
}

#[test]
fn a_clock_at_1970_is_waited_for_and_then_the_floor_is_used_rule_26() {
    waits_then_provisions(3_600);
}

#[test]
fn a_device_whose_program_was_built_months_ago_provisions_without_a_clock_rules_5_and_26() {
    waits_then_provisions(100 * 86_400);
}

#[test]
fn a_rotation_works_without_a_clock_rule_26() {
    let device = at_the_epoch(100 * 86_400).start();
    device.wait_steady(1);
    crate::tools::rotate(&device, 2);
    device.wait_steady(2);
    assert_eq!(device.active().len(), 1, "{}", device.story());
    device.finish();
}

#[test]
fn time_goes_on_without_a_clock_so_a_token_that_ended_makes_room_for_another_rules_1_and_26() {
    // An hour in six seconds: the first certificate is denied for longer than its token lives.
    let now = now();
    let device = Device::new()
        .rate(600)
        .twin(move |o| {
            o.clock_offset_ms = (BUILT_AFTER + 100 * 86_400 - now) * 1_000;
            o.allow_list = Some(Vec::new());
        })
        .env("CERTROTD_CLOCK_OFFSET", &(-now).to_string())
        .start();
    device.wait_until("another certificate", || device.minted() >= 2);
    device.twin().allow(None);
    device.wait_for("an identity", |s| s["state"] == "steady" && s["connected"] == true);
    device.finish();
}

#[test]
fn an_identity_is_used_without_waiting_for_a_clock_that_is_past_its_floor_rule_26() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    assert!(device.terminate().success());
    // Shifted clocks never count as synchronised; this one is past everything that is surely past.
    device.set_env("CERTROTD_CLOCK_OFFSET", "60");
    device.start();
    let steady = device.wait_steady(1);
    assert_eq!(steady["clock"]["trusted"], true, "{steady:#}");
    device.finish();
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
