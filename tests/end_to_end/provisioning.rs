//! First provisioning: claim, identity, session, commit.

use certrot_twin::Event;

use crate::support::Device;

#[test]
fn a_fresh_device_provisions_itself_with_one_certificate_and_commits_it_rule_10() {
    let device = Device::new().start();
    let status = device.wait_steady(1);
    assert_eq!(status["thingName"], device.thing());
    let active = device.active();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0].id, device.certificate_id());
    assert_eq!(device.current_generation(), Some(1));
    assert_eq!(device.minted(), 1);
    assert_eq!(device.twin().count(|e| matches!(e, Event::Commit { accepted: true, .. })), 1);
    device.finish();
}
