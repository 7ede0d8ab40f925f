//! Faults on demand: each does what it says, as often as it says, and nothing else.

mod support;

use std::time::{Duration, Instant};

use certrot_twin::{Effect, Event, Fault, Status};
use serde_json::json;
use support::{Device, Fresh, Lab, MOMENT, PATIENCE};

const PROVISION: &str = "$aws/provisioning-templates/certrot-claim/provision/json";

/// A twin, a connection on the claim, and a certificate that waits for RegisterThing.
fn pending() -> (Lab, Device, Fresh) {
    let lab = Lab::new();
    let mut claim = lab.connect(&lab.claim(), "claim-a").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    (lab, claim, fresh)
}

fn request(fresh: &Fresh) -> Vec<u8> {
    let request =
        json!({ "certificateOwnershipToken": fresh.token, "parameters": { "SerialNumber": "SN-1" } });
    request.to_string().into_bytes()
}

fn status(lab: &Lab, fresh: &Fresh) -> Status {
    lab.twin.certificate(&fresh.id).unwrap().status
}

fn answer(claim: &mut Device, within: Duration) -> Option<support::Message> {
    claim.message_on(&[&format!("{PROVISION}/accepted"), &format!("{PROVISION}/rejected")], within)
}

#[test]
fn a_dropped_answer_leaves_the_effect_and_an_ignored_request_none() {
    for (effect, left) in [(Effect::Drop, Status::Active), (Effect::Ignore, Status::PendingActivation)] {
        let (lab, mut claim, fresh) = pending();
        lab.twin.fault(Fault::once("register", effect));
        assert!(claim.publish(PROVISION, &request(&fresh)), "the PUBACK comes");
        assert_eq!(answer(&mut claim, MOMENT), None);
        assert_eq!(status(&lab, &fresh), left);
        assert!(lab.twin.faults().is_empty(), "played once");
    }
}

#[test]
fn a_refused_or_throttled_request_has_no_effect_and_the_next_one_has() {
    let refuse = Effect::Refuse { status_code: 503, error_code: "ServiceUnavailable".into() };
    for (effect, code) in [(refuse, 503), (Effect::Throttle, 429)] {
        let (lab, mut claim, fresh) = pending();
        lab.twin.fault(Fault::once("register", effect));
        let told = claim.register("certrot-claim", &fresh.token, "SN-1").unwrap_err();
        assert_eq!(told["statusCode"], code);
        assert_eq!(status(&lab, &fresh), Status::PendingActivation);
        claim.register("certrot-claim", &fresh.token, "SN-1").unwrap();
    }
}

#[test]
fn an_answer_comes_twice_when_asked() {
    let (lab, mut claim, fresh) = pending();
    lab.twin.fault(Fault::once("register", Effect::Twice));
    claim.publish_with(PROVISION, &request(&fresh), true, false);
    assert!(answer(&mut claim, PATIENCE).is_some());
    assert!(answer(&mut claim, PATIENCE).is_some());
    assert_eq!(answer(&mut claim, MOMENT), None);
}

#[test]
fn a_close_comes_before_the_effect_in_place_of_the_answer_or_after_it() {
    for (effect, left, answered) in [
        (Effect::CloseBefore, Status::PendingActivation, false),
        (Effect::CloseUnanswered, Status::Active, false),
        (Effect::CloseAfter, Status::Active, true),
    ] {
        let (lab, mut claim, fresh) = pending();
        lab.twin.fault(Fault::once("register", effect.clone()));
        claim.publish_with(PROVISION, &request(&fresh), true, false);
        assert!(claim.is_closed_within(PATIENCE), "{effect:?}");
        assert_eq!(answer(&mut claim, Duration::ZERO).is_some(), answered, "{effect:?}");
        assert_eq!(status(&lab, &fresh), left, "{effect:?}");
    }
}

#[test]
fn a_delay_holds_the_effect_back_and_a_delayed_answer_does_not() {
    let ms = 400;
    for (effect, at_once) in [(Effect::Delay { ms }, false), (Effect::DelayAnswer { ms }, true)] {
        let (lab, mut claim, fresh) = pending();
        lab.twin.fault(Fault::once("register", effect));
        let (start, since) = (Instant::now(), lab.twin.event_count());
        claim.publish_with(PROVISION, &request(&fresh), true, false);
        let registered = |e: &Event| matches!(e, Event::Registered { .. });
        lab.twin.wait(since, PATIENCE, registered).unwrap();
        assert_eq!(start.elapsed() < Duration::from_millis(ms), at_once);
        assert!(answer(&mut claim, PATIENCE).is_some());
        assert!(start.elapsed() >= Duration::from_millis(ms));
    }
}

#[test]
fn a_lost_puback_loses_nothing_else() {
    let (lab, mut claim, fresh) = pending();
    lab.twin.fault(Fault::once("register", Effect::LosePuback));
    let pid = claim.publish_with(PROVISION, &request(&fresh), true, false);
    assert!(answer(&mut claim, PATIENCE).unwrap().topic.ends_with("/accepted"));
    assert!(!claim.has_answer_to(pid));
}

#[test]
fn an_attachment_that_is_seen_late_refuses_a_connect_first() {
    let (lab, mut claim, fresh) = pending();
    lab.twin.fault(Fault::once("register", Effect::SeenLate { ms: 60_000 }));
    claim.register("certrot-claim", &fresh.token, "SN-1").unwrap();
    assert_eq!(lab.connect(&fresh.identity, "SN-1").err().unwrap(), "connack 5");
    lab.twin.clock().advance(Duration::from_secs(61));
    assert!(lab.connect(&fresh.identity, "SN-1").is_ok());
}

#[test]
fn connects_are_refused_by_client_id_or_certificate_as_often_as_asked() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    let refuse = |code| Effect::Refuse { status_code: code, error_code: String::new() };
    lab.twin.fault(Fault::once("connect", refuse(3)).client("SN-2"));
    lab.twin.fault(Fault::once("connect", refuse(5)).certificate(&identity.id()).times(2));
    lab.twin.fault(Fault::once("connect", Effect::CloseBefore).client("SN-1"));
    assert_eq!(lab.connect(&identity, "SN-1").err().unwrap(), "connack 5");
    assert_eq!(lab.connect(&identity, "SN-1").err().unwrap(), "connack 5");
    assert_eq!(lab.connect(&identity, "SN-1").err().unwrap(), "closed");
    assert!(lab.connect(&identity, "SN-1").is_ok());
    assert_eq!(lab.twin.faults().len(), 1, "the other client's is still there");
}

#[test]
fn faults_on_a_topic_hit_the_publishes_of_clients() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    device.subscribe(&["device/SN-1/echo"]).unwrap();
    lab.twin.fault(Fault::once("device/+/echo", Effect::Ignore));
    assert!(device.publish("device/SN-1/echo", b"lost"));
    assert!(device.publish("device/SN-1/echo", b"kept"));
    assert_eq!(device.message(PATIENCE).unwrap().payload, b"kept");
    lab.twin.fault(Fault::once("device/#", Effect::CloseAfter));
    device.publish_with("device/SN-1/echo", b"last", true, false);
    assert!(device.is_closed_within(PATIENCE));
}

#[test]
fn a_commit_can_lose_its_answer_and_be_repeated() {
    let lab = Lab::new();
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    let topic = "device/SN-1/certrot/commit";
    device.subscribe(&["device/SN-1/certrot/commit/accepted"]).unwrap();
    lab.twin.fault(Fault::once("commit", Effect::Drop));
    let commit = json!({ "certificateId": identity.id() }).to_string();
    assert!(device.publish(topic, commit.as_bytes()));
    assert_eq!(device.message_on(&["device/SN-1/certrot/commit/accepted"], MOMENT), None);
    assert!(device.publish(topic, commit.as_bytes()));
    assert!(device.message_on(&["device/SN-1/certrot/commit/accepted"], PATIENCE).is_some());
}
