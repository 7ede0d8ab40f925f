//! What one rotation costs in calls of AWS's, per API, and what today's quotas allow; how long a cold start takes.

use std::collections::BTreeMap;
use std::time::Duration;

use certrot_twin::Event;
use serde_json::json;

use crate::lab::{calls, programs};
use crate::support::{Lab, PATIENCE};

/// Calls of the control and data plane for each API, with AWS's default quota a second for an account and region.
/// Source: Service Quotas' defaults for AWS IoT Core (AWS General Reference, “AWS IoT Core endpoints and quotas”); `None`
/// where no number was found that is for this API alone, or where it is far above the others (Publish).
const ROTATION: [(&str, usize, Option<u32>); 13] = [
    ("CreateCertificateFromCsr (MQTT)", 1, Some(200)),
    ("DeleteCertificate", 1, Some(10)),
    ("DescribeCertificate", 4, Some(10)),
    ("DescribeThing", 2, Some(350)),
    ("DetachPolicy", 1, Some(15)),
    ("DetachThingPrincipal", 1, Some(100)),
    ("ListAttachedPolicies", 1, None),
    ("ListPrincipalThings", 2, Some(10)),
    ("ListThingPrincipals", 1, Some(10)),
    ("Publish", 1, None),
    ("RegisterThing (MQTT)", 1, Some(10)),
    ("UpdateCertificate", 2, Some(10)),
    ("UpdateThing", 1, Some(100)),
];

/// One rotation with the programs: its calls, by API.
fn rotate(lab: &Lab) -> BTreeMap<String, usize> {
    let identity = lab.provision("SN-1");
    let mut device = lab.connect(&identity, "SN-1").unwrap();
    let topic = |what: &str| format!("device/SN-1/certrot/commit{what}");
    device.subscribe(&[&topic("/accepted")]).unwrap();
    device.publish(&topic(""), json!({ "certificateId": identity.id() }).to_string().as_bytes());
    device.message(PATIENCE).unwrap();
    let retired = |e: &Event| matches!(e, Event::Invoked { function, .. } if function == "certrot-retire");
    lab.twin.wait(0, PATIENCE, retired).unwrap();
    lab.twin.clock().advance(Duration::from_secs(60));

    let since = lab.twin.event_count();
    let fresh = device.create_from_csr().unwrap();
    device.register("certrot-rotate", &fresh.token, "SN-1").unwrap();
    let mut successor = lab.connect(&fresh.identity, "SN-1").unwrap();
    successor.subscribe(&[&topic("/accepted")]).unwrap();
    successor.publish(&topic(""), json!({ "certificateId": fresh.identity.id() }).to_string().as_bytes());
    successor.message(PATIENCE).unwrap();
    lab.twin.wait(since, PATIENCE, retired).unwrap();
    assert!(lab.twin.certificate(&identity.id()).is_none());

    let mut counts = BTreeMap::new();
    for (name, error) in calls(lab, since) {
        assert_eq!(error, None, "{name}");
        *counts.entry(name).or_default() += 1;
    }
    let events = lab.twin.events_since(since);
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|l| wanted(&l.event)).count();
    let minted = count(|e| matches!(e, Event::Minted { .. }));
    let registered = count(|e| matches!(e, Event::Registered { .. }));
    counts.insert("CreateCertificateFromCsr (MQTT)".into(), minted);
    counts.insert("RegisterThing (MQTT)".into(), registered);
    counts
}

#[test]
fn what_one_rotation_costs_is_what_is_written_down() {
    let counts = rotate(&programs());
    println!("\none rotation, by API (calls, quota a second, rotations a second):");
    let mut slowest = (f64::INFINITY, "");
    for (name, calls, quota) in ROTATION {
        let rate = quota.map(|q| f64::from(q) / calls as f64);
        let word = |n: Option<String>| n.unwrap_or_else(|| "-".to_owned());
        let quota = word(quota.map(|q| q.to_string()));
        println!("  {name:<34} {calls:>2}  {quota:>4}  {:>6}", word(rate.map(|r| format!("{r:.1}"))));
        if let Some(rate) = rate.filter(|r| *r < slowest.0) {
            slowest = (rate, name);
        }
    }
    println!("sustained: {:.1} rotations a second, by {}", slowest.0, slowest.1);
    println!("a fleet of 10,000: {:.0} minutes at least\n", 10_000.0 / slowest.0 / 60.0);
    let expected: BTreeMap<String, usize> = ROTATION.iter().map(|(n, c, _)| ((*n).to_owned(), *c)).collect();
    assert_eq!(counts, expected);
}

#[test]
fn cold_starts_are_measured_from_spawn_to_the_first_answer() {
    let lab = programs();
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for n in 0..5 {
        lab.twin.cool_functions();
        for (serial, times) in [(format!("SN-{n}-a"), &mut cold), (format!("SN-{n}-b"), &mut warm)] {
            let since = lab.twin.event_count();
            lab.provision(&serial);
            let ran = lab.twin.wait(since, PATIENCE, |e| matches!(e, Event::Invoked { .. })).unwrap();
            if let Event::Invoked { ms, .. } = ran.event {
                times.push(ms);
            }
        }
    }
    cold.sort_unstable();
    warm.sort_unstable();
    println!("claim hook, ms from spawn to answer: cold {cold:?}, warm {warm:?}");
    assert_eq!((cold.len(), warm.len()), (5, 5));
}
