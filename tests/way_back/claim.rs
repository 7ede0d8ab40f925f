//! Rules 20 and 23: no pair works at all; the claim is turned to, the hook denies it while the thing holds a
//! certificate, and the operator's word lets it in once.

use certrot_twin::{Event, Status};

use crate::support::Device;
use crate::tools::{alert, provisioned, reclaim, wait_alert, words};

/// Three to six hours between two claims (rule 20) in seconds; the network's deadlines stay at three real ones.
const FAST: u32 = 2_000;

fn denied(device: &Device) -> usize {
    device.twin().count(|e| matches!(e, Event::Rejected { operation, .. } if operation == "register"))
}

#[test]
fn when_nothing_works_the_claim_is_denied_until_the_operator_gives_the_word_rules_20_and_23() {
    let device = provisioned(Device::new().rate(FAST).toml("[claim]\nfallback-after = \"15m\""));
    let old = device.certificate_id();
    device.twin().set_status(&old, Status::Inactive).unwrap();
    device.wait_until("the hook has denied the claim", || denied(&device) > 0);
    let said = device
        .wait_for("why", |s| s["why"].as_str().is_some_and(|w| w.contains("certrot-fleet reclaim SN-0001")));
    assert_eq!(said["certificate"]["id"], old.as_str(), "the identity in use stays until another is proved");
    assert_eq!(device.current_generation(), Some(1));

    reclaim(&device);
    // The certificate of the denied attempt may have waited too long for its token: then it is another's turn.
    let new = device.wait_for("a new identity", |s| {
        s["state"] == "steady" && s["connected"] == true && s["certificate"]["generation"] != 1
    });
    assert_ne!(new["certificate"]["id"], old.as_str());
    assert!(alert(&new, "certificate-refused").is_none(), "{new:#}");
    let status = device.twin().certificate(&old).map(|c| c.status);
    assert_ne!(status, Some(Status::Active), "a quarantine that was ended by reclaim stays ended");
    device.expect_errors(&["certificate-refused", "back-to-claim"]);
    device.finish();
}

#[test]
fn an_operators_provision_tries_the_claim_at_once_on_a_device_whose_certificate_is_refused_rule_20() {
    // Fifteen minutes take half a minute here, and the claim would come after a day.
    let device = provisioned(Device::new().rate(30));
    device.twin().set_status(&device.certificate_id(), Status::Inactive).unwrap();
    device.wait_for("the refusal", |s| s["connected"] == false && s["connection"]["failures"] != 0);
    reclaim(&device);
    let asked = device.ctl(&["provision"]);
    assert_eq!(asked.status.code(), Some(64), "without a terminal it wants --yes: {}", words(&asked));
    let done = device.ctl(&["provision", "--yes"]);
    assert_eq!(done.status.code(), Some(0), "{}", words(&done));
    device.wait_steady(2);
    device.expect_errors(&["back-to-claim"]);
    device.finish();
}

#[test]
fn without_any_whole_pair_the_claim_comes_at_once_rule_20() {
    let mut device = provisioned(Device::new().rate(30));
    assert!(device.terminate().success());
    std::fs::remove_file(device.generation_dir(1).join("device.key.pem")).unwrap();
    reclaim(&device);
    device.start();
    device.wait_steady(2);
    assert!(device.generation_dir(1).join("device.cert.pem").exists(), "nothing is deleted on doubt");
    device.allow_errors(&["store-damaged"]);
    device.finish();
}

#[test]
fn a_lost_identity_waits_for_the_operator_and_mints_nothing_twice_rules_1_and_20() {
    let mut device = provisioned(Device::new().rate(30));
    assert!(device.terminate().success());
    std::fs::remove_file(device.generation_dir(1).join("device.key.pem")).unwrap();
    device.start();
    wait_alert(&device, "store-damaged");
    device.wait_until("the hook has denied the claim twice", || denied(&device) >= 2);
    assert_eq!(device.minted(), 2, "the one in use, and one for all these tries\n{}", device.story());
    reclaim(&device);
    device.wait_steady(2);
    assert_eq!(device.minted(), 2, "{}", device.story());
    device.expect_errors(&["store-damaged"]);
    device.finish();
}
