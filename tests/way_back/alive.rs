//! Rules 16 to 18: a commit that is refused holds up no renewal, pile-ups are told, `mode = "none"` leaves the cloud to
//! the operator, and `keep-generations` counts proved ones.

use certrot_twin::Event;

use crate::support::Device;
use crate::tools::{RATE, alert, provisioned, refuse_commits, rotate, wait_alert, wait_no_alert};

#[test]
fn commits_that_are_refused_hold_up_no_renewal_and_three_alive_are_an_error_rule_16() {
    let device = provisioned(Device::new().rate(RATE));
    refuse_commits(&device);
    rotate(&device, 2);
    let two = device.status();
    assert!(alert(&two, "certificates-pile-up").is_none(), "{two:#}");
    assert_eq!(two["retire"]["pending"], true);
    rotate(&device, 3);
    let three = wait_alert(&device, "certificates-pile-up");
    let told = alert(&three, "certificates-pile-up").unwrap();
    assert_eq!(told["level"], "error");
    assert!(told["remedy"].as_str().unwrap().contains("certrot-fleet"), "{told}");
    assert_eq!(device.active().len(), 3);
    assert_eq!(device.generations(), [1, 2, 3], "what is alive stays on disk");

    device.twin().clear_faults();
    device.wait_steady(3);
    wait_no_alert(&device, "certificates-pile-up");
    device.wait_until("one is alive", || device.active().len() == 1);
    device.wait_until("two are on disk", || device.generations() == [2, 3]);
    device.expect_errors(&["certificates-pile-up"]);
    device.finish();
}

#[test]
fn with_mode_none_nothing_is_committed_and_the_disk_is_cleared_after_proof_rule_17() {
    let device = provisioned(Device::new().toml("[retire]\nmode = \"none\""));
    rotate(&device, 2);
    rotate(&device, 3);
    let status = device.wait_steady(3);
    assert_eq!(status["retire"]["mode"], "none");
    device.wait_until("two are on disk", || device.generations() == [2, 3]);
    assert_eq!(device.active().len(), 3, "the cloud side is the operator's");
    let commits =
        device.twin().count(|e| matches!(e, Event::Publish { topic, .. } if topic.ends_with("/commit")));
    assert_eq!(commits, 0, "{}", device.story());
    let words = crate::tools::words(&device.ctl(&["status"]));
    assert!(words.contains("certrot-fleet retire"), "status says whose the cloud side is:\n{words}");
    device.finish();
}

#[test]
fn one_kept_generation_is_the_one_in_use_rule_18() {
    let device = provisioned(Device::new().toml("[retire]\nkeep-generations = 1"));
    rotate(&device, 2);
    device.wait_steady(2);
    device.wait_until("one is on disk", || device.generations() == [2]);
    device.finish();
}

#[test]
fn three_kept_generations_are_kept_though_retired_rule_18() {
    let device = provisioned(Device::new().toml("[retire]\nkeep-generations = 3"));
    for generation in 2..=4 {
        rotate(&device, generation);
        device.wait_steady(generation);
    }
    device.wait_until("three are on disk", || device.generations() == [2, 3, 4]);
    assert_eq!(device.active().len(), 1);
    device.finish();
}
