//! Commits: false, foreign, stale, doubled, in every order. Rule 12: only strictly older certificates ever die.

use std::time::Duration;

use certrot_twin::{Effect, Event, Fault, Status};
use serde_json::{Value, json};

use crate::support::{Device, Fresh, Identity, Lab, PATIENCE};
use crate::victim::{ATTACKER, VICTIM, Victim, attacker};

const COMMIT: &str = "device/SN-A/certrot/commit";
const ANSWERS: [&str; 2] = ["device/SN-A/certrot/commit/accepted", "device/SN-A/certrot/commit/rejected"];

/// Rotates on a session without committing.
fn rotate(lab: &Lab, on: &Identity) -> Fresh {
    let mut device = lab.connect(on, ATTACKER).unwrap();
    let fresh = device.create_from_csr().unwrap();
    device.register("certrot-rotate", &fresh.token, ATTACKER).unwrap();
    // Created strictly later than the one before: the registry counts milliseconds.
    lab.twin.clock().advance(Duration::from_secs(1));
    fresh
}

fn listening(lab: &Lab, identity: &Identity) -> Device {
    let mut device = lab.connect(identity, ATTACKER).unwrap();
    device.subscribe(&ANSWERS).unwrap();
    device
}

/// Commits and waits for the answer: true for accepted, and the payload.
fn commit(device: &mut Device, id: &str) -> (bool, Value) {
    assert!(device.publish(COMMIT, json!({ "certificateId": id }).to_string().as_bytes()));
    let told = device.message_on(&ANSWERS, PATIENCE).expect("an answer to the commit");
    (told.topic == ANSWERS[0], told.json())
}

fn alive(lab: &Lab, id: &str) -> bool {
    lab.twin.certificate(id).is_some_and(|c| c.status == Status::Active && c.things.contains_key(ATTACKER))
}

fn orders() -> [[usize; 3]; 6] {
    [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]]
}

#[test]
fn rule_12_commits_of_three_generations_in_every_order_and_twice_kill_only_older_ones() {
    for order in orders() {
        let lab = Lab::new();
        let mut victim = Victim::new(&lab);
        let first = attacker(&lab);
        lab.twin.clock().advance(Duration::from_secs(1));
        let second = rotate(&lab, &first);
        let third = rotate(&lab, &second.identity);
        let pairs = [first, second.identity, third.identity];
        let ids: Vec<String> = pairs.iter().map(Identity::id).collect();
        let mut oldest = 0;
        for generation in order {
            let Ok(mut device) = lab.connect(&pairs[generation], ATTACKER) else {
                assert!(generation < oldest, "{order:?}: only a retired one is refused");
                continue;
            };
            device.subscribe(&ANSWERS).unwrap();
            for _ in 0..2 {
                assert!(commit(&mut device, &ids[generation]).0, "{order:?} {generation}");
            }
            oldest = oldest.max(generation);
            for (n, id) in ids.iter().enumerate() {
                assert_eq!(alive(&lab, id), n >= oldest, "{order:?}: after {generation}, generation {n}");
            }
        }
        assert!(alive(&lab, &ids[2]), "{order:?}: the newest never dies");
        victim.is_untouched(&lab);
    }
}

#[test]
fn rule_11_a_commit_on_the_old_certificate_never_counts_for_the_new_one() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let old = attacker(&lab);
    lab.twin.clock().advance(Duration::from_secs(1));
    let new = rotate(&lab, &old);
    let mut device = listening(&lab, &old);
    let (accepted, why) = commit(&mut device, &new.id);
    assert!(!accepted && why["reason"] == "not-the-sender", "{why}");
    assert_eq!(why["certificateId"], old.id(), "rule 14: the answer names the sender, not what it wrote");
    let (accepted, _) = commit(&mut device, &old.id());
    assert!(accepted, "for itself it may speak");
    assert!(alive(&lab, &old.id()) && alive(&lab, &new.id));
    assert!(lab.connect(&new.identity, ATTACKER).is_ok());
    victim.is_untouched(&lab);
}

#[test]
fn rule_11_a_commit_that_names_the_victims_certificate_is_rejected_whoever_sends_it() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let mut device = listening(&lab, &mine);
    let (accepted, why) = commit(&mut device, &victim.id());
    assert!(!accepted && why["reason"] == "not-the-sender", "{why}");
    victim.is_untouched(&lab);
}

/// The handler holds by itself where a policy was opened wide: the topic's thing must be the client's (rules 11, 12).
#[test]
fn a_commit_on_the_victims_topic_is_rejected_even_where_the_policy_lets_it_through() {
    let lab = Lab::new();
    let victim = Victim::new(&lab);
    lab.twin.clock().advance(Duration::from_secs(1));
    let mine = attacker(&lab);
    let open = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"iot:*","Resource":"*"}]}"#;
    lab.twin.set_policy("certrot-wide-open", open);
    lab.twin.attach_policy("certrot-wide-open", &mine.id()).unwrap();
    lab.twin.detach_policy("certrot-device", &mine.id()).unwrap();
    for (client, payload_id) in
        [(ATTACKER, mine.id()), (ATTACKER, victim.id()), ("anybody", mine.id()), ("anybody", victim.id())]
    {
        let mut device = lab.connect(&mine, client).unwrap();
        let since = lab.twin.event_count();
        let payload = json!({ "certificateId": payload_id }).to_string();
        assert!(device.publish("device/SN-V/certrot/commit", payload.as_bytes()));
        let handled = lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Commit { .. })).unwrap();
        assert!(matches!(handled.event, Event::Commit { accepted: false, .. }), "{client} {handled:?}");
    }
    // The victim heard the rejections, as they go to its topic; it ignores those that do not name its certificate.
    assert_eq!(lab.twin.certificates_of(VICTIM).len(), 1);
    assert_eq!(lab.twin.certificate(&victim.id()).unwrap().status, Status::Active);
    let victims_session = lab.twin.connections().into_iter().find(|c| c.client == VICTIM);
    assert_eq!(victims_session.unwrap().principal, victim.id());
}

#[test]
fn rule_11_a_commit_that_is_handled_more_than_five_minutes_late_retires_nobody() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let old = attacker(&lab);
    lab.twin.clock().advance(Duration::from_secs(1));
    let new = rotate(&lab, &old);
    let mut device = listening(&lab, &new.identity);
    lab.twin.fault(Fault::once("commit", Effect::Delay { ms: 1_500 }));
    let since = lab.twin.event_count();
    assert!(device.publish(COMMIT, json!({ "certificateId": new.id }).to_string().as_bytes()));
    // Only once it has been received: its age counts from there.
    lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Fault { .. })).unwrap();
    lab.twin.clock().advance(Duration::from_secs(301));
    let told = device.message_on(&ANSWERS, PATIENCE).unwrap();
    assert_eq!((told.topic.as_str(), told.json()["reason"].as_str()), (ANSWERS[1], Some("stale")));
    assert!(alive(&lab, &old.id()), "nobody died");
    assert!(commit(&mut device, &new.id).0, "a new one counts");
    assert!(!alive(&lab, &old.id()));
    victim.is_untouched(&lab);
}

#[test]
fn a_delayed_commit_of_an_older_generation_does_not_touch_what_came_after_it() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let first = attacker(&lab);
    lab.twin.clock().advance(Duration::from_secs(1));
    let second = rotate(&lab, &first);
    let mut device = listening(&lab, &second.identity);
    // Doubled on the way and late: the successor is there when they are handled.
    lab.twin.fault(Fault::once("commit", Effect::Delay { ms: 1_500 }).times(2));
    let payload = json!({ "certificateId": second.id }).to_string();
    let since = lab.twin.event_count();
    assert!(device.publish(COMMIT, payload.as_bytes()) && device.publish(COMMIT, payload.as_bytes()));
    let third = rotate(&lab, &second.identity);
    let one = lab.twin.wait(since, PATIENCE, is_commit).unwrap();
    lab.twin.wait(one.seq + 1, PATIENCE, is_commit).unwrap();
    assert!(!alive(&lab, &first.id()) && alive(&lab, &second.id) && alive(&lab, &third.id));
    victim.is_untouched(&lab);
}

fn is_commit(e: &Event) -> bool {
    matches!(e, Event::Commit { .. })
}

#[test]
fn rule_12_a_commit_of_a_certificate_that_lost_active_or_its_thing_meanwhile_retires_nobody() {
    for detach in [false, true] {
        let lab = Lab::new();
        let mut victim = Victim::new(&lab);
        let old = attacker(&lab);
        lab.twin.clock().advance(Duration::from_secs(1));
        let new = rotate(&lab, &old);
        let mut device = listening(&lab, &new.identity);
        lab.twin.fault(Fault::once("commit", Effect::Delay { ms: 1_500 }));
        let since = lab.twin.event_count();
        assert!(device.publish(COMMIT, json!({ "certificateId": new.id }).to_string().as_bytes()));
        if detach {
            lab.twin.detach_thing(ATTACKER, &new.id).unwrap();
        } else {
            lab.twin.set_status(&new.id, Status::Inactive).unwrap();
        }
        let handled = lab.twin.wait(since, PATIENCE, is_commit).unwrap();
        assert!(matches!(handled.event, Event::Commit { accepted: false, .. }), "{handled:?}");
        assert!(alive(&lab, &old.id()), "the only one that still works lives");
        victim.is_untouched(&lab);
    }
}

#[test]
fn a_certificate_of_two_things_retires_only_for_the_thing_in_the_topic() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    lab.twin.clock().advance(Duration::from_secs(1));
    let mine = attacker(&lab);
    // An operator's mistake; rule 12 still holds for each thing by itself.
    lab.twin.create_thing("SN-B").unwrap();
    lab.twin.attach_thing("SN-B", &mine.id()).unwrap();
    let mut device = listening(&lab, &mine);
    assert!(commit(&mut device, &mine.id()).0);
    assert!(alive(&lab, &mine.id()));
    victim.is_untouched(&lab);
}
