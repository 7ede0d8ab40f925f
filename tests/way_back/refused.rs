//! Rules 19 and 27: the cloud refuses the certificate in use. No refusal is final; the device says so and goes on by
//! itself when the operator heals it.

use std::time::Duration;

use certrot_twin::{Options, Refusal, Status};

use crate::support::Device;
use crate::tools::{RATE, alert, let_in, provisioned, refusals, wait_alert};

/// The whole course of one way to be refused.
fn is_said_and_goes_on(
    builder: crate::support::Builder,
    hurt: impl Fn(&Device, &str),
    heal: impl Fn(&Device, &str),
) {
    let device = provisioned(builder.rate(RATE));
    let id = device.certificate_id();
    let since = device.twin().event_count();
    hurt(&device, &id);

    let first =
        device.wait_for("the refusal", |s| s["connected"] == false && s["connection"]["failures"] != 0);
    assert!(first["connection"]["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{first:#}");
    assert!(
        alert(&first, "certificate-refused").is_none(),
        "three refusals over 15 minutes come first: {first:#}"
    );

    let said = wait_alert(&device, "certificate-refused");
    assert!(refusals(&device, since, &id) >= 3, "{}", device.story());
    let told = alert(&said, "certificate-refused").unwrap();
    assert_eq!(told["level"], "error");
    assert!(told["remedy"].as_str().unwrap().contains("certrot-fleet reclaim SN-0001"), "{told}");
    let said = device.wait_for("the operator's command in why", |s| {
        s["why"].as_str().is_some_and(|w| w.contains("certrot-fleet reclaim SN-0001"))
    });
    assert_eq!(said["connected"], false);
    assert_eq!(device.minted(), 1, "nothing was minted for it\n{}", device.story());
    assert_eq!(let_in(&device, since, "SN-0001"), 0, "{}", device.story());

    heal(&device, &id);
    let healed = device.wait_steady(1);
    assert!(alert(&healed, "certificate-refused").is_none(), "{healed:#}");
    assert_eq!(device.certificate_id(), id);
    device.expect_errors(&["certificate-refused"]);
    device.finish();
}

#[test]
fn an_inactive_certificate_goes_on_when_the_operator_activates_it_rule_19() {
    is_said_and_goes_on(
        Device::new(),
        |d, id| d.twin().set_status(id, Status::Inactive).unwrap(),
        |d, id| d.twin().set_status(id, Status::Active).unwrap(),
    );
}

#[test]
fn a_revoked_certificate_that_is_closed_without_a_word_is_refused_all_the_same_rule_19() {
    is_said_and_goes_on(
        Device::new().twin(|o: &mut Options| o.certificate_refusal = Refusal::Close),
        |d, id| d.twin().set_status(id, Status::Revoked).unwrap(),
        |d, id| d.twin().set_status(id, Status::Active).unwrap(),
    );
}

#[test]
fn a_certificate_that_was_detached_from_its_thing_goes_on_when_it_is_attached_rule_19() {
    is_said_and_goes_on(
        Device::new(),
        |d, id| {
            d.twin().detach_thing("SN-0001", id).unwrap();
            d.twin().kick("SN-0001");
        },
        |d, id| d.twin().attach_thing("SN-0001", id).unwrap(),
    );
}

#[test]
fn a_certificate_without_its_policy_goes_on_when_it_has_it_again_rule_19() {
    let policy =
        |d: &Device, id: &str| d.twin().certificate(id).unwrap().policies.keys().next().unwrap().clone();
    let name = std::cell::RefCell::new(String::new());
    is_said_and_goes_on(
        Device::new().twin(|o: &mut Options| o.connect_refusal = Refusal::Close),
        |d, id| {
            *name.borrow_mut() = policy(d, id);
            d.twin().detach_policy(&name.borrow(), id).unwrap();
            d.twin().kick("SN-0001");
        },
        |d, id| d.twin().attach_policy(&name.borrow(), id).unwrap(),
    );
}

#[test]
fn an_expired_certificate_gives_way_to_the_claim_without_anybody_rules_20_and_23() {
    let life = Duration::from_secs(30 * 86_400);
    let mut device = provisioned(Device::new().rate(RATE).twin(move |o| o.certificate_life = Some(life)));
    let old = device.certificate_id();
    // Switched off for longer than the certificate lived.
    assert!(device.terminate().success());
    device.twin().clock().advance(life + Duration::from_secs(86_400));
    device.start();
    wait_alert(&device, "certificate-expired");
    let new = device.wait_steady(2);
    assert_ne!(new["certificate"]["id"], old.as_str());
    assert_eq!(device.minted(), 2, "{}", device.story());
    assert_eq!(device.active().len(), 1, "the commit retired the expired one\n{}", device.story());
    device.expect_errors(&["certificate-expired", "back-to-claim"]);
    // The claim is turned to in the same round: nothing has worked for a month.
    device.allow_errors(&["certificate-refused"]);
    device.finish();
}

#[test]
fn expiry_by_the_local_clock_alone_abandons_nothing_rule_27() {
    let life = Duration::from_secs(30 * 86_400);
    let mut device = provisioned(Device::new().twin(move |o| o.certificate_life = Some(life)));
    assert!(device.terminate().success());
    // The device's clock is wrong by forty days, the cloud's is right.
    device.set_env("CERTROTD_CLOCK_OFFSET", &(40 * 86_400).to_string());
    device.start();
    let status = device.wait_for("the session, with the certificate past its end", |s| {
        s["connected"] == true && alert(s, "certificate-expired").is_some()
    });
    assert_eq!(status["certificate"]["generation"], 1);
    device.expect_errors(&["certificate-expired"]);
    device.finish();
}
