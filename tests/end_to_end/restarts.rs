//! A power cut at each stage, and an orderly end in the middle: the next start continues where the disk stands.

use std::time::Duration;

use certrot_twin::{Effect, Event, Fault, Status};
use serde_json::json;

use crate::support::{Device, claim_id};

/// Where the story is held while the power is cut.
#[derive(Clone, Copy, Debug)]
enum Held {
    /// The CSR is on its way.
    Issuing,
    /// The pair is on disk, and the session over which RegisterThing would go is gone.
    Issued,
    /// RegisterThing was sent and did not happen.
    Registering,
    /// RegisterThing happened and its answer is lost.
    RegisteredUnheard,
    /// Its `accepted` is on disk.
    Registered,
    /// CONNACK for the new certificate is there, SUBACK is not.
    Proving,
    /// `current` has moved, the commit was sent and did not happen.
    Committing,
    /// The commit happened and its answer is lost.
    CommittedUnheard,
}

const EVERY_STAGE: [Held; 8] = [
    Held::Issuing,
    Held::Issued,
    Held::Registering,
    Held::RegisteredUnheard,
    Held::Registered,
    Held::Proving,
    Held::Committing,
    Held::CommittedUnheard,
];

#[test]
fn first_provisioning_goes_on_after_a_power_cut_at_each_stage() {
    for held in EVERY_STAGE {
        let mut device = Device::new().rate(60).toml(CALM).prepare();
        hold(&device, held, true);
        device.start();
        cut_the_power(&mut device, held, 1);
        device.start();
        ends_with(&device, held, 1, 1);
        device.finish();
    }
}

#[test]
fn a_rotation_goes_on_after_a_power_cut_at_each_stage() {
    for held in EVERY_STAGE {
        let mut device = due_device();
        hold(&device, held, false);
        make_due(&device);
        cut_the_power(&mut device, held, 2);
        assert_eq!(device.current_generation(), Some(if switched(held) { 2 } else { 1 }), "{held:?}");
        device.start();
        // Before its commit is accepted the old one lives; what was due by the patched policy is so no more.
        if matches!(held, Held::Issuing) {
            device.wait_steady(1);
            assert_eq!(device.minted(), 1, "{held:?}: nothing had been minted\n{}", device.story());
            make_due(&device);
        }
        ends_with(&device, held, 2, 2);
        device.finish();
    }
}

/// Cuts wherever it happens to be, again and again; whatever the disk holds then is a device that works.
#[test]
fn power_cuts_at_random_moments_of_a_rotation_never_cost_the_identity() {
    let mut device = due_device();
    make_due(&device);
    for _ in 0..12 {
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..120)));
        device.kill9();
        let current = device.current_generation().expect("current");
        let pair = device.generation_dir(current);
        assert!(pair.join("device.cert.pem").exists() && pair.join("device.key.pem").exists());
        device.start();
        device.wait_for("a session", |s| s["connected"] == true);
        let (code, answer) =
            device.request("PATCH", "/v1/rotation", Some(&json!({"maxAge": "20d"}))).expect("an answer");
        assert_eq!(code, 200, "{answer}");
    }
    let status = device.wait_for("the story at its end", |s| {
        s["state"] == "steady"
            && s["connected"] == true
            && s["retire"]["pending"] == false
            && s["certificate"]["generation"].as_u64() >= Some(2)
    });
    assert_eq!(alive(&device), [status["certificate"]["id"].as_str().expect("an id")], "{}", device.story());
    device.finish();
}

#[test]
fn sigterm_finishes_the_effect_in_hand_and_begins_no_other() {
    let mut device = due_device();
    device.twin().fault(Fault::once("register", Effect::DelayAnswer { ms: 1_500 }));
    let since = device.twin().event_count();
    make_due(&device);
    device.wait_event(since, "RegisterThing", |e| matches!(e, Event::Registered { .. }));
    let status = device.terminate();
    assert!(status.success(), "{status}");
    let state = device.state_json(2).expect("state.json");
    assert_eq!(state["stage"], "registered", "what was answered is on disk");
    let more = device
        .twin()
        .events_since(since)
        .iter()
        .filter(|l| matches!(l.event, Event::Connect { .. } | Event::Commit { .. }))
        .count();
    assert_eq!(more, 0, "it went on\n{}", device.story());
    device.start();
    ends_with(&device, Held::Registered, 2, 2);
    device.finish();
}

#[test]
fn sigterm_ends_a_steady_device_with_an_mqtt_disconnect_and_a_restart_comes_back_with_the_same_identity() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    let id = device.certificate_id();
    let since = device.twin().event_count();
    assert!(device.terminate().success());
    let closed = device.wait_event(since, "the end of its session", |e| matches!(e, Event::Closed { .. }));
    let Event::Closed { why, .. } = closed else { unreachable!("waited for it") };
    assert!(why.to_lowercase().contains("disconnect"), "{why}");
    device.start();
    device.wait_steady(1);
    assert_eq!((device.certificate_id(), device.minted()), (id, 1));
    device.finish();
}

/// Orders the faults that hold the story at a stage.
fn hold(device: &Device, held: Held, first: bool) {
    let twin = device.twin();
    let forever = |on, effect| Fault::once(on, effect).forever();
    match held {
        Held::Issuing => twin.fault(forever("create-from-csr", Effect::Ignore)),
        Held::Issued => {
            // The session ends with the answer, and no other comes about.
            let connects = u32::from(first);
            twin.fault(Fault::once("create-from-csr", Effect::CloseAfter));
            twin.fault(forever("connect", Effect::CloseBefore).skip(connects));
        }
        Held::Registering => twin.fault(forever("register", Effect::Ignore)),
        Held::RegisteredUnheard => twin.fault(forever("register", Effect::Drop)),
        Held::Registered => twin.fault(forever("connect", Effect::Ignore).client(device.thing())),
        Held::Proving => {
            // The session that was there asks for both answers of both requests first.
            let asked = if first { 0 } else { 4 };
            twin.fault(forever("subscribe", Effect::Ignore).client(device.thing()).skip(asked));
        }
        Held::Committing => twin.fault(forever("commit", Effect::Ignore)),
        Held::CommittedUnheard => twin.fault(forever("commit", Effect::Drop)),
    }
}

fn cut_the_power(device: &mut Device, held: Held, generation: u32) {
    let since = 0;
    match held {
        Held::Issued => device.wait_until("the pair on disk", || device.state_json(generation).is_some()),
        _ => device.wait_fault(since),
    }
    if matches!(held, Held::CommittedUnheard) && generation > 1 {
        device.wait_event(since, "the old one's end", |e| matches!(e, Event::Deleted { .. }));
    }
    device.kill9();
    device.twin().clear_faults();
    let state = device.state_json(generation);
    let stage = state.as_ref().map_or("none", |s| s["stage"].as_str().unwrap_or("?"));
    let requests = state.as_ref().map_or("none", |s| s["requests"].as_str().unwrap_or("?"));
    let expected = match held {
        Held::Issuing => ("none", "none"),
        Held::Issued => ("issued", requests),
        Held::Registering | Held::RegisteredUnheard => ("issued", "outstanding"),
        Held::Registered | Held::Proving => ("registered", requests),
        Held::Committing | Held::CommittedUnheard => ("proved", requests),
    };
    assert_eq!((stage, requests), expected, "{held:?}: where it was held\n{}", device.log());
    if matches!(held, Held::Committing | Held::CommittedUnheard) {
        assert_eq!(device.retire_json().expect("retire.json")["pending"], json!(generation), "{held:?}");
    }
}

fn ends_with(device: &Device, held: Held, generation: u32, minted: usize) {
    let status = device.wait_steady(generation);
    assert_eq!(device.minted(), minted, "{held:?}\n{}", device.story());
    let current = status["certificate"]["id"].as_str().expect("an id");
    assert_eq!(alive(device), [current], "{held:?}\n{}", device.story());
}

fn alive(device: &Device) -> Vec<String> {
    let claim = claim_id(device.twin());
    let all = device.twin().certificates().into_iter();
    all.filter(|c| c.status == Status::Active && c.id != claim).map(|c| c.id).collect()
}

fn switched(held: Held) -> bool {
    matches!(held, Held::Committing | Held::CommittedUnheard)
}

/// A steady device whose certificate is due by `max-age` once the policy says twenty days.
fn due_device() -> Device {
    let mut device = Device::new().rate(60).toml(CALM).start();
    device.wait_steady(1);
    device.ages(Duration::from_secs(20 * 86_400 + 3_600));
    device.wait_steady(1);
    device
}

fn make_due(device: &Device) {
    let (code, answer) =
        device.request("PATCH", "/v1/rotation", Some(&json!({"maxAge": "20d"}))).expect("an answer");
    assert_eq!(code, 200, "{answer}");
}

/// Nothing random is waited for.
const CALM: &str = "[rotation]\nsplay = \"0s\"\n";

#[test]
fn while_it_stops_the_step_in_hand_is_finished_and_orders_are_refused() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    let since = device.twin().event_count();
    device.twin().fault(Fault::once("register", Effect::DelayAnswer { ms: 3_000 }));
    assert!(device.ctl(&["rotate-now"]).status.success());
    device.wait_fault(since);
    device.signal("TERM");
    device.wait_for("stopping", |s| s["state"] == "stopping");
    for (method, path) in
        [("POST", "/v1/rotate"), ("POST", "/v1/reload"), ("POST", "/v1/disconnect"), ("GET", "/v1/check")]
    {
        let (code, problem) = device.request(method, path, None).expect("it still answers");
        assert_eq!((code, &problem["code"]), (503, &json!("stopping")), "{path}: {problem:#}");
        assert!(problem["remedy"].as_str().is_some_and(|r| !r.is_empty()), "{problem:#}");
    }
    assert_eq!(device.ctl(&["rotate-now"]).status.code(), Some(75));
    assert!(device.wait_exit().success());
    // What was answered is on disk: nothing is minted again.
    let state = device.state_json(2).expect("its state");
    assert_eq!(state["stage"], "registered", "{state:#}");
    device.start();
    device.wait_steady(2);
    assert_eq!((device.minted(), device.active().len()), (2, 1), "{}", device.story());
    device.finish();
}
