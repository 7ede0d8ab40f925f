//! The rotation's connection is the new session (rules 7 to 9): seen from the cloud's side, event by event.

use std::sync::atomic::{AtomicBool, Ordering};

use certrot_twin::{Effect, Event, Fault};
use serde_json::json;

use crate::support::{Device, MOMENT};

#[test]
fn the_new_certificate_takes_over_before_the_old_session_ends_and_the_old_one_never_comes_back_rule_8() {
    let device = Device::new().start();
    device.wait_steady(1);
    let old = device.certificate_id();
    let since = device.twin().event_count();
    let crowd = AtomicBool::new(false);
    let over = AtomicBool::new(false);
    let (twin, thing) = (device.twin(), device.thing());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let sessions = twin.connections().into_iter().filter(|c| c.client == thing).count();
                crowd.fetch_or(sessions > 1, Ordering::Relaxed);
                std::thread::yield_now();
            }
        });
        let done = device.ctl(&["rotate-now", "--wait"]);
        over.store(true, Ordering::Relaxed);
        assert!(done.status.success(), "{done:?}");
    });
    assert!(!crowd.load(Ordering::Relaxed), "two sessions of one thing at a time");
    device.wait_steady(2);
    let new = device.certificate_id();
    let events = device.twin().events_since(since);
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(|l| wanted(&l.event));
    let came = at(&|e| matches!(e, Event::Tls { principal, refused: None, .. } if *principal == new));
    let went = at(&|e| matches!(e, Event::Closed { principal, .. } if *principal == old));
    let (came, went) = (came.expect("it came"), went.expect("the old session ended"));
    assert!(came < went, "the old session ended before its successor was there\n{}", device.story());
    // Only the broker says this, and only when it accepts the successor's CONNECT. (The two tasks that log the
    // acceptance and the end do so in either order.)
    let Event::Closed { why, .. } = &events[went].event else { unreachable!("found as one") };
    assert!(why.contains("DUPLICATE_CLIENTID"), "ended by take-over, not by itself: {why}");
    let connects = events.iter().filter(|l| matches!(l.event, Event::Connect { .. })).count();
    assert_eq!(connects, 1, "one CONNECT, the successor's own\n{}", device.story());
    let resumed = events.iter().any(|l| matches!(l.event, Event::Tls { resumed: true, .. }));
    assert!(!resumed, "the old certificate's TLS session was carried over");
    device.finish();
}

#[test]
fn messages_that_come_during_the_take_over_all_arrive_rule_9() {
    let device = Device::new().start();
    device.wait_steady(1);
    let topic = format!("device/{}/certrot/rotate", device.thing());
    // Each says something that is not true, and is counted where it arrives.
    let message = json!({"ifCertificateId": "0".repeat(64)}).to_string();
    let over = AtomicBool::new(false);
    let twin = device.twin();
    let sent = std::thread::scope(|scope| {
        let publisher = scope.spawn(|| {
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                twin.publish(&topic, message.as_bytes(), false);
                sent += 1;
                std::thread::sleep(std::time::Duration::from_millis(2));
            }
            sent
        });
        for _ in 0..3 {
            let done = device.ctl(&["rotate-now", "--wait"]);
            assert!(done.status.success(), "{done:?}\n{}", device.log());
        }
        over.store(true, Ordering::Relaxed);
        publisher.join().expect("no panic")
    });
    device.wait_steady(4);
    let heard = || device.log().find("INFO", &["the cloud orders a rotation"]).len();
    device.wait_until(&format!("{sent} messages, of which some are missing"), || heard() >= sent);
    device.finish();
}

#[test]
fn a_new_certificate_that_is_refused_at_connect_leaves_the_old_session_untouched_and_comes_in_later() {
    for refusal in
        [Effect::Refuse { status_code: 5, error_code: String::new() }, Effect::CloseBefore, Effect::Throttle]
    {
        let device = Device::new().rate(30).start();
        device.wait_steady(1);
        let old = device.certificate_id();
        let since = device.twin().event_count();
        device.twin().fault(Fault::once("connect", refusal.clone()).times(3).client(device.thing()));
        let done = device.ctl(&["rotate-now", "--wait"]);
        assert_eq!(done.status.code(), Some(75), "{refusal:?}: {done:?}\n{}", device.log());
        let status = device.status();
        assert_eq!(status["connected"], true, "{status:#}");
        assert_eq!(status["certificate"]["id"], old.as_str());
        assert_eq!(
            (&status["rotation"]["lastResult"]["ok"], &status["rotation"]["lastResult"]["step"]),
            (&json!(false), &json!("prove"))
        );
        device.wait_steady(2);
        assert_eq!(device.minted(), 2, "{refusal:?}: the same pair came in\n{}", device.story());
        let new = device.certificate_id();
        let mut refused = 0;
        for logged in device.twin().events_since(since) {
            match logged.event {
                Event::Connect { principal, refused: Some(_), .. } => {
                    assert_eq!(principal, new, "{}", device.story());
                    refused += 1;
                }
                Event::Connect { principal, refused: None, .. } => {
                    assert_eq!(principal, new, "{}", device.story());
                    break;
                }
                Event::Closed { principal, why, .. } if principal == old => {
                    // By the acceptance of its successor, not before.
                    assert_eq!((why.as_str(), refused), ("DUPLICATE_CLIENTID", 3), "{}", device.story());
                }
                _ => {}
            }
        }
        assert_eq!(refused, 3, "{refusal:?}\n{}", device.story());
        device.finish();
    }
}

#[test]
fn a_new_certificate_that_lacks_a_right_is_not_switched_to_and_the_old_one_comes_back_rule_8() {
    let device = Device::new().rate(60).start();
    device.wait_steady(1);
    let old = device.certificate_id();
    let since = device.twin().event_count();
    let refusal = Effect::Refuse { status_code: 128, error_code: String::new() };
    device.twin().fault(Fault::once("subscribe", refusal).client(device.thing()));
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert_eq!(done.status.code(), Some(75), "{done:?}\n{}", device.log());
    device.wait_event(
        since,
        "the old one's return",
        |e| matches!(e, Event::Connect { principal, refused: None, .. } if *principal == old),
    );
    assert_eq!(device.current_generation(), Some(1));
    let committed = device.twin().events_since(since).iter().any(|l| matches!(l.event, Event::Commit { .. }));
    assert!(!committed, "{}", device.story());
    device.wait_steady(2);
    assert_eq!((device.minted(), device.active().len()), (2, 1), "{}", device.story());
    device.finish();
}

#[test]
fn after_the_commit_the_old_certificate_is_dead_on_the_wire_and_gone_from_the_registry_rules_12_and_13() {
    let device = Device::new().start();
    device.wait_steady(1);
    let old = device.certificate_id();
    assert!(device.ctl(&["rotate-now", "--wait"]).status.success());
    device.wait_steady(2);
    device.wait_event(
        0,
        "its deletion",
        |e| matches!(e, Event::Deleted { certificate_id } if *certificate_id == old),
    );
    assert!(device.twin().certificate(&old).is_none(), "{}", device.story());
    assert_eq!(device.active().len(), 1);
    std::thread::sleep(MOMENT);
    let back = device
        .twin()
        .count(|e| matches!(e, Event::Tls { principal, refused: Some(_), .. } if *principal == old));
    assert_eq!(back, 0, "nobody tried it again");
    // It stays on disk as the way back until the generation after the next (rule 18), marked as what it is.
    assert_eq!(device.generations(), [1, 2]);
    let marks: Vec<_> = device.status()["generations"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|g| g["mark"].clone())
        .collect();
    assert_eq!(marks, ["retired", "clear"]);
    assert!(device.ctl(&["rotate-now", "--wait"]).status.success());
    device.wait_steady(3);
    device.wait_until("the first generation gone from the disk", || device.generations() == [2, 3]);
    device.finish();
}
