//! Rules 10 to 16: the program retires as the decision in process does, in every order, and killed after every call.

use std::time::{Duration, Instant};

use certrot_rules::documents::DEVICE_POLICY;
use certrot_twin::{Effect, Event, Fault, Status};
use serde_json::json;

use crate::lab::{calls, commit, event, invoked, programs};
use crate::support::{Lab, PATIENCE};

/// Three generations on one thing, a second apart; their ids, oldest first.
fn generations(lab: &Lab, thing: &str) -> Vec<String> {
    let one = |_| {
        lab.twin.clock().advance(Duration::from_secs(1));
        lab.twin.issue(thing).unwrap().id
    };
    (0..3).map(one).collect()
}

/// How each generation ends: `-` for deleted.
fn state(lab: &Lab, thing: &str, ids: &[String]) -> Vec<String> {
    let one = |id: &String| match lab.twin.certificate(id) {
        None => "-".to_owned(),
        Some(c) => {
            let (attached, policy) = (c.things.contains_key(thing), c.policies.contains_key(DEVICE_POLICY));
            format!("{} {attached} {policy}", c.status.as_str())
        }
    };
    ids.iter().map(one).collect()
}

/// Commits over MQTT as a device whose session is on certificate `id`; the reply's verdict.
fn tell(lab: &Lab, thing: &str, id: &str) -> Option<(bool, String)> {
    let since = lab.twin.event_count();
    let cloud = lab.twin.cloud().clone();
    let payload = json!({ "certificateId": id }).to_string();
    let topic = format!("device/{thing}/certrot/commit");
    let message = certrot_twin::broker::message::Message::new(&topic, payload.as_bytes(), 1, false);
    let stamp_ms = jiff::Timestamp::now().as_millisecond();
    lab.twin.block_on(async { certrot_twin::retire::apply_rules(&cloud, thing, id, &message, stamp_ms) });
    let verdict =
        lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Commit { thing: t, .. } if t == thing));
    if lab.twin.cloud().options.retire_lambda.is_some() {
        lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Invoked { .. })).unwrap();
    }
    match verdict?.event {
        Event::Commit { accepted, why, .. } => Some((accepted, why)),
        _ => None,
    }
}

/// Waits until everything older than `newest` is gone: it is cleared up after the device was told.
fn until_cleared(lab: &Lab, older: &[String]) {
    let end = Instant::now() + PATIENCE;
    while older.iter().any(|id| lab.twin.certificate(id).is_some()) {
        assert!(Instant::now() < end, "not cleared up");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Forgets a thing and what it had, so that one lab serves many.
fn forget(lab: &Lab, thing: &str, ids: &[String]) {
    lab.twin.cloud().change(|r| {
        r.things.remove(thing);
        ids.iter().for_each(|id| drop(r.certificates.remove(id)));
    });
}

/// Every order in which three commits can come, each twice.
fn orders() -> Vec<Vec<usize>> {
    fn grow(left: [usize; 3], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left == [0; 3] {
            all.push(order.clone());
        }
        for n in 0..3 {
            if left[n] > 0 {
                let mut rest = left;
                rest[n] -= 1;
                order.push(n);
                grow(rest, order, all);
                order.pop();
            }
        }
    }
    let mut all = Vec::new();
    grow([2; 3], &mut Vec::new(), &mut all);
    all
}

/// Three commits in every order, and the same order again.
fn permutations() -> Vec<Vec<usize>> {
    let once = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    once.iter().map(|order| [*order, *order].concat()).collect()
}

#[test]
fn rule_12_ninety_orders_of_three_generations_end_alike_in_process_and_as_a_program() {
    let (decided, ran) = (Lab::new(), programs());
    for (n, order) in orders().iter().enumerate() {
        let thing = format!("SN-{n}");
        let mut seen = Vec::new();
        for lab in [&decided, &ran] {
            let ids = generations(lab, &thing);
            let mut verdicts = Vec::new();
            for g in order {
                let verdict = tell(lab, &thing, &ids[*g]).unwrap();
                if verdict.0 {
                    until_cleared(lab, &ids[..*g]);
                }
                verdicts.push(verdict);
            }
            let record = lab.twin.thing(&thing).unwrap().attributes.len();
            seen.push((verdicts, state(lab, &thing, &ids), record));
            forget(lab, &thing, &ids);
        }
        assert_eq!(seen[0], seen[1], "{order:?}");
        assert_eq!(seen[0].1, ["-", "-", "ACTIVE true true"], "{order:?}");
    }
    assert!(invoked(&ran, 0).iter().all(|(_, _, error)| error.is_none()));
}

#[test]
fn rule_13_a_program_killed_after_any_call_is_finished_by_the_next_commit() {
    let mut kills = 0;
    for (n, order) in permutations().iter().enumerate() {
        let lab = programs();
        for call in 0.. {
            let thing = format!("SN-{n}-{call}");
            let ids = generations(&lab, &thing);
            let since = lab.twin.event_count();
            lab.twin.fault(Fault::once("api:*", Effect::Kill).skip(call));
            for generation in order {
                let _killed = commit(&lab, &event(&thing, &ids[*generation]));
                assert_eq!(state(&lab, &thing, &ids)[2], "ACTIVE true true", "{order:?} {call}");
            }
            let killed = lab.twin.faults().is_empty();
            lab.twin.clear_faults();
            let last = commit(&lab, &event(&thing, &ids[2])).unwrap();
            assert_eq!(last["accepted"], true);
            // Only a death between detaching and deleting leaves one; it is dead and bare.
            let left = state(&lab, &thing, &ids);
            assert!(
                left[..2].iter().all(|s| s == "-" || s == "REVOKED false false"),
                "{left:?} {order:?} {call}"
            );
            if !killed {
                break;
            }
            kills += 1;
            let died = invoked(&lab, since).iter().filter(|(_, _, e)| e.as_deref() == Some("killed")).count();
            assert_eq!(died, 1, "{order:?} {call}");
        }
    }
    println!("killed {kills} times, once after each call");
    assert!(kills > 6 * 20, "{kills}");
}

#[test]
fn rule_11_an_attackers_events_change_nothing() {
    let lab = programs();
    let ids = generations(&lab, "SN-1");
    let other = lab.twin.issue("SN-2").unwrap().id;
    let honest = event("SN-1", &ids[2]);
    let before = state(&lab, "SN-1", &ids);
    let mut attacks = vec![
        ("not-the-sender", "principal", json!(other)),
        ("not-the-sender", "certificateId", json!(ids[1])),
        ("not-the-thing", "clientId", json!("SN-2")),
        ("not-the-thing", "thing", json!("SN-2")),
        ("stale", "timestamp", json!(jiff::Timestamp::now().as_millisecond() - 301_000)),
        ("stale", "timestamp", json!(jiff::Timestamp::now().as_millisecond() + 301_000)),
    ];
    for (why, field, value) in attacks.drain(..) {
        let since = lab.twin.event_count();
        let mut event = honest.clone();
        event[field] = value;
        assert_eq!(commit(&lab, &event).unwrap()["accepted"], false, "{event}");
        assert_eq!(calls(&lab, since), [("Publish".to_owned(), None)], "{event}");
        let told = lab
            .twin
            .events_since(since)
            .into_iter()
            .any(|l| matches!(&l.event, Event::Commit { accepted: false, why: told, .. } if told == why));
        assert!(told, "{why} {event}");
    }
    // A certificate of one thing that commits for another, with everything else in order.
    let mut event = event("SN-1", &other);
    assert_eq!(commit(&lab, &event).unwrap()["accepted"], false);
    // What the rule's SQL never makes is an error: Lambda tries again, then the dead-letter queue has it.
    for field in ["thing", "principal", "timestamp"] {
        let mut broken = honest.clone();
        broken.as_object_mut().unwrap().remove(field);
        assert!(commit(&lab, &broken).is_err(), "{field}");
    }
    event["thing"] = json!(["SN-1"]);
    assert!(commit(&lab, &event).is_err());
    assert_eq!(state(&lab, "SN-1", &ids), before);
}

#[test]
fn a_thing_of_another_fleet_and_its_certificates_are_not_touched() {
    let lab = programs();
    let ids = generations(&lab, "SN-1");
    lab.twin.cloud().change(|r| {
        r.create_type("other", None, vec![], 0).unwrap();
        r.set_type("SN-1", Some("other")).unwrap();
    });
    let (before, since) = (state(&lab, "SN-1", &ids), lab.twin.event_count());
    assert_eq!(commit(&lab, &event("SN-1", &ids[2])).unwrap()["accepted"], false);
    let names: Vec<String> = calls(&lab, since).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["DescribeThing", "Publish"]);
    assert_eq!(state(&lab, "SN-1", &ids), before);
    assert_eq!(tell(&Lab::new(), "SN-1", &ids[2]), Some((false, "not-attached".into())));
}

#[test]
fn a_device_hears_of_its_commit_by_way_of_the_rule_the_program_and_the_data_plane() {
    let lab = programs();
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    device
        .subscribe(&["device/SN-1/certrot/commit/accepted", "device/SN-1/certrot/commit/rejected"])
        .unwrap();
    let payload = json!({ "certificateId": identity.id() }).to_string();
    device.publish("device/SN-1/certrot/commit", payload.as_bytes());
    let reply = device.message(PATIENCE).unwrap();
    assert_eq!(reply.topic, "device/SN-1/certrot/commit/accepted");
    assert_eq!(reply.json()["certificateId"], identity.id());
    assert_eq!(lab.twin.certificate(&identity.id()).unwrap().status, Status::Active);
}
