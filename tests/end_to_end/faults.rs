//! One fault at each step, in first provisioning and in rotation; each case ends well.
//!
//! Ends well: exactly one ACTIVE certificate besides the claim, `current` is it, the commit is accepted, and no more
//! certificates were minted than lost answers make unavoidable. The clocks of both run sixty times as fast.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::Duration;

use certrot_twin::{Effect, Fault, Status};
use serde_json::json;

use crate::support::{Device, claim_id};

/// One thing that goes wrong, once.
struct Case {
    /// Where, as the twin names it.
    on: &'static str,
    /// How many fitting ones pass first.
    skip: u32,
    /// What.
    effect: Effect,
    /// Certificates that are lost with it: their answer never came.
    lost: usize,
}

impl Case {
    fn new(on: &'static str, effect: Effect) -> Self {
        Case { on, skip: 0, effect, lost: 0 }
    }

    fn skip(self, skip: u32) -> Self {
        Case { skip, ..self }
    }

    fn loses_one(self) -> Self {
        Case { lost: 1, ..self }
    }
}

fn refuse(status_code: u16, error_code: &str) -> Effect {
    Effect::Refuse { status_code, error_code: error_code.to_owned() }
}

/// Shorter than every deadline.
const LATE: Effect = Effect::Delay { ms: 700 };
const ANSWERED_LATE: Effect = Effect::DelayAnswer { ms: 700 };
/// Longer than the deadline of an answer at this rate (three seconds).
const TOO_LATE: Effect = Effect::DelayAnswer { ms: 4_000 };

fn at_connecting() -> Vec<Case> {
    vec![
        Case::new("tls", refuse(0, "")),
        Case::new("tls", LATE),
        Case::new("tls", Effect::CloseBefore),
        Case::new("connect", refuse(5, "")),
        Case::new("connect", refuse(3, "")),
        Case::new("connect", LATE),
        Case::new("connect", Effect::Throttle),
        Case::new("connect", Effect::Ignore),
        Case::new("connect", Effect::CloseBefore),
    ]
}

fn at_subscribing() -> Vec<Case> {
    vec![
        Case::new("subscribe", refuse(128, "")),
        Case::new("subscribe", LATE),
        Case::new("subscribe", Effect::Ignore),
        Case::new("subscribe", Effect::CloseBefore),
        Case::new("subscribe", Effect::CloseAfter),
    ]
}

fn at_issuing() -> Vec<Case> {
    let on = "create-from-csr";
    vec![
        Case::new(on, refuse(401, "ACCESS_DENIED")),
        Case::new(on, refuse(400, "InvalidPayload")),
        Case::new(on, refuse(500, "InternalFailure")),
        Case::new(on, LATE),
        Case::new(on, ANSWERED_LATE),
        Case::new(on, TOO_LATE).loses_one(),
        Case::new(on, Effect::Drop).loses_one(),
        Case::new(on, Effect::Ignore),
        Case::new(on, Effect::Twice),
        Case::new(on, Effect::CloseBefore),
        Case::new(on, Effect::CloseUnanswered).loses_one(),
        Case::new(on, Effect::CloseAfter),
        Case::new(on, Effect::Throttle),
        Case::new(on, Effect::LosePuback),
    ]
}

/// The second question of each renewal is the proof's: not a CSR, to be rejected (rule 7).
fn at_the_proofs_question() -> Vec<Case> {
    let on = "create-from-csr";
    [
        LATE,
        Effect::Drop,
        Effect::Ignore,
        Effect::Twice,
        Effect::CloseBefore,
        Effect::CloseAfter,
        Effect::Throttle,
    ]
    .into_iter()
    .map(|effect| Case::new(on, effect).skip(1))
    .collect()
}

fn at_registering() -> Vec<Case> {
    let on = "register";
    vec![
        Case::new(on, refuse(403, "ACCESS_DENIED")),
        Case::new(on, refuse(400, "InvalidCertificateOwnershipToken")),
        Case::new(on, refuse(500, "InternalFailure")),
        Case::new(on, LATE),
        Case::new(on, ANSWERED_LATE),
        Case::new(on, TOO_LATE),
        Case::new(on, Effect::Drop),
        Case::new(on, Effect::Ignore),
        Case::new(on, Effect::Twice),
        Case::new(on, Effect::CloseBefore),
        Case::new(on, Effect::CloseUnanswered),
        Case::new(on, Effect::CloseAfter),
        Case::new(on, Effect::Throttle),
        Case::new(on, Effect::LosePuback),
        // Two minutes of the cloud's time until the attachment is seen (rule 3).
        Case::new(on, Effect::SeenLate { ms: 120_000 }),
    ]
}

fn at_committing() -> Vec<Case> {
    let topic = "device/+/certrot/commit";
    vec![
        Case::new("commit", refuse(500, "")),
        Case::new("commit", LATE),
        Case::new("commit", ANSWERED_LATE),
        Case::new("commit", TOO_LATE),
        Case::new("commit", Effect::Drop),
        Case::new("commit", Effect::Ignore),
        Case::new("commit", Effect::Twice),
        Case::new("commit", Effect::Throttle),
        Case::new("commit", Effect::LosePuback),
        Case::new(topic, Effect::Ignore),
        Case::new(topic, Effect::CloseBefore),
        Case::new(topic, Effect::CloseAfter),
    ]
}

#[test]
fn first_provisioning_survives_each_fault_at_connecting() {
    each(at_connecting(), provisions);
}

#[test]
fn first_provisioning_survives_each_fault_at_connecting_with_the_new_certificate() {
    each(at_connecting().into_iter().map(|c| c.skip(1)).collect(), provisions);
}

#[test]
fn first_provisioning_survives_each_fault_at_subscribing() {
    each(at_subscribing(), provisions);
}

#[test]
fn first_provisioning_survives_each_fault_at_issuing() {
    each(at_issuing(), provisions);
}

#[test]
fn first_provisioning_survives_each_fault_at_the_proofs_question() {
    each(at_the_proofs_question(), provisions);
}

#[test]
fn first_provisioning_survives_each_fault_at_registering() {
    each(at_registering(), provisions);
}

#[test]
fn first_provisioning_survives_each_fault_at_committing() {
    each(at_committing(), provisions);
}

#[test]
fn a_rotation_survives_each_fault_at_connecting() {
    each(at_connecting(), rotates);
}

#[test]
fn a_rotation_survives_each_fault_at_subscribing() {
    each(at_subscribing(), rotates);
}

#[test]
fn a_rotation_survives_each_fault_at_issuing() {
    each(at_issuing(), rotates);
}

#[test]
fn a_rotation_survives_each_fault_at_the_proofs_question() {
    each(at_the_proofs_question(), rotates);
}

#[test]
fn a_rotation_survives_each_fault_at_registering() {
    each(at_registering(), rotates);
}

#[test]
fn a_rotation_survives_each_fault_at_committing() {
    each(at_committing(), rotates);
}

/// A fresh device, and the fault is there before it starts.
fn provisions(case: &Case) {
    let mut device = Device::new().rate(RATE).toml(CALM).prepare();
    device.twin().fault(Fault::once(case.on, case.effect.clone()).skip(case.skip));
    device.start();
    ends_well(&device, case, 0, 1);
    device.finish();
}

/// A steady device becomes due by `max-age`, and the fault is there before it does.
fn rotates(case: &Case) {
    let mut device = Device::new().rate(RATE).toml(CALM).start();
    device.wait_steady(1);
    device.ages(Duration::from_secs(20 * DAY + 3_600));
    device.wait_steady(1);
    device.twin().fault(Fault::once(case.on, case.effect.clone()).skip(case.skip));
    let (code, answer) =
        device.request("PATCH", "/v1/rotation", Some(&json!({"maxAge": "20d"}))).expect("an answer");
    assert_eq!(code, 200, "{answer}");
    ends_well(&device, case, 1, 2);
    device.finish();
}

fn ends_well(device: &Device, case: &Case, older: u64, minted: usize) {
    let status = device.wait_for("the story at its end", |s| {
        s["state"] == "steady"
            && s["connected"] == true
            && s["certificate"]["generation"].as_u64() > Some(older)
            && s["retire"]["pending"] == false
    });
    assert!(device.twin().faults().is_empty(), "the fault was not played\n{}", device.story());
    let claim = claim_id(device.twin());
    let alive: Vec<String> = device
        .twin()
        .certificates()
        .into_iter()
        .filter(|c| c.status == Status::Active && c.id != claim)
        .map(|c| c.id)
        .collect();
    let current = status["certificate"]["id"].as_str().expect("a certificate");
    assert_eq!(alive, [current], "what is alive\n{}{}", device.log(), device.story());
    assert_eq!(
        device.minted(),
        minted + case.lost,
        "certificates minted\n{}{}",
        device.log(),
        device.story()
    );
    assert_eq!(status["rotation"]["failures"], 0, "{status:#}");
}

/// Plays every case, some at a time, and names those that failed.
fn each(cases: Vec<Case>, play: fn(&Case)) {
    let failed = Mutex::new(Vec::new());
    let next = Mutex::new(cases.iter());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                while let Some(case) = { next.lock().expect("no panic").next() } {
                    if catch_unwind(AssertUnwindSafe(|| play(case))).is_err() {
                        let name = format!("{:?} at {} after {}", case.effect, case.on, case.skip);
                        failed.lock().expect("no panic").push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "{} of {} cases: {failed:#?}", failed.len(), cases.len());
}

/// Both clocks: a minute of the protocol is a second here.
const RATE: u32 = 60;
const DAY: u64 = 86_400;
/// Cases played at a time: each waits more than it works.
const AT_A_TIME: usize = 4;
/// Nothing random is waited for.
const CALM: &str = "[rotation]\nsplay = \"0s\"\n";
