//! An operator's quarantine holds, and the operator's word `reclaim` opens once, for one, for a day (rules 23, 25).

use std::time::Duration;

use certrot_twin::{Status, Thing};
use jiff::Timestamp;

use crate::support::{Device, Fresh, Identity, Lab, PATIENCE};
use crate::victim::{ATTACKER, VICTIM, Victim, attacker};

const CLAIM: &str = "certrot-claim";
const RECLAIM: &str = "certrot-reclaim";
const DAY: Duration = Duration::from_secs(24 * 3600);

fn now(lab: &Lab) -> String {
    Timestamp::from_second(lab.twin.clock().now()).unwrap().to_string()
}

fn claims(lab: &Lab, serial: &str) -> Result<Fresh, i64> {
    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let fresh = claim.create_from_csr().unwrap();
    match claim.register(CLAIM, &fresh.token, serial) {
        Ok(_) => Ok(fresh),
        Err(denied) => Err(denied["statusCode"].as_i64().unwrap()),
    }
}

fn attributes(lab: &Lab, thing: &str) -> Thing {
    lab.twin.thing(thing).unwrap()
}

#[test]
fn rule_23_a_quarantined_or_revoked_thing_is_not_let_in_by_the_claim() {
    for status in [Status::Inactive, Status::Revoked] {
        let lab = Lab::new();
        let mut victim = Victim::new(&lab);
        let caught = attacker(&lab);
        lab.twin.set_status(&caught.id(), status).unwrap();
        let before = (lab.twin.certificates_of(ATTACKER), attributes(&lab, ATTACKER));
        assert_eq!(claims(&lab, ATTACKER).err(), Some(403), "{status:?}");
        assert_eq!((lab.twin.certificates_of(ATTACKER), attributes(&lab, ATTACKER)), before);
        assert!(lab.connect(&caught, ATTACKER).is_err());
        victim.is_untouched(&lab);
    }
}

#[test]
fn rule_23_a_thing_whose_only_certificate_has_expired_may_claim_again_and_another_may_not() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    lab.twin.set_validity(Duration::from_secs(60), Some(Duration::from_secs(600)));
    lab.provision("SN-W");
    assert_eq!(claims(&lab, "SN-W").err(), Some(403), "not while it is valid");
    lab.twin.clock().advance(Duration::from_secs(601));
    assert!(claims(&lab, "SN-W").is_ok());
    assert_eq!(claims(&lab, VICTIM).err(), Some(403));
    victim.is_untouched(&lab);
}

/// A token that was got before the quarantine must not wake anything after it.
#[test]
fn a_token_kept_from_before_the_quarantine_brings_no_certificate_of_the_thing_to_life() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let caught = attacker(&lab);
    let mut device = lab.connect(&caught, ATTACKER).unwrap();
    let (kept, switched_off) = (device.create_from_csr().unwrap(), device.create_from_csr().unwrap());
    lab.twin.set_status(&caught.id(), Status::Inactive).unwrap();
    lab.twin.set_status(&switched_off.id, Status::Inactive).unwrap();
    assert!(device.is_closed_within(PATIENCE), "no more rotation on the old session");

    let mut claim = lab.connect(&lab.claim(), "claim-x").unwrap();
    let mut tries = |token: &str, serial: &str| {
        claim.register(CLAIM, token, serial).map_err(|d| d["statusCode"].as_i64())
    };
    assert_eq!(tries(&kept.token, ATTACKER), Err(Some(403)));
    assert_eq!(tries(&switched_off.token, ATTACKER), Err(Some(403)));
    // For a thing that is free the claim may register it, but an operator's INACTIVE stays.
    let _either_way = tries(&switched_off.token, "SN-W");
    assert_eq!(lab.twin.certificate(&switched_off.id).unwrap().status, Status::Inactive);
    assert!(lab.connect(&switched_off.identity, "SN-W").is_err());
    assert!(lab.connect(&switched_off.identity, ATTACKER).is_err());
    assert!(lab.twin.certificates_of(ATTACKER).iter().all(|c| c.status == Status::Inactive));
    victim.is_untouched(&lab);
}

#[test]
fn rule_23_reclaim_works_once() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let lost = attacker(&lab);
    lab.twin.clock().advance(Duration::from_secs(60));
    lab.twin.set_status(&lost.id(), Status::Inactive).unwrap();
    lab.twin.set_attributes(ATTACKER, &[(RECLAIM, &now(&lab))]).unwrap();
    lab.twin.clock().advance(Duration::from_secs(60));
    let back = claims(&lab, ATTACKER).expect("the word lets one in");
    assert_eq!(claims(&lab, ATTACKER).err(), Some(403), "and no second");
    assert_eq!(claims(&lab, VICTIM).err(), Some(403), "and no other thing");
    // Also not after the one that was let in is gone from the thing.
    let device: Device = lab.connect(&back.identity, ATTACKER).unwrap();
    drop(device);
    lab.twin.set_status(&back.id, Status::Revoked).unwrap();
    assert_eq!(claims(&lab, ATTACKER).err(), Some(403));
    victim.is_untouched(&lab);
}

#[test]
fn rule_23_reclaim_ends_after_a_day_and_a_word_from_the_future_is_none() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let lost = attacker(&lab);
    lab.twin.set_status(&lost.id(), Status::Inactive).unwrap();
    lab.twin.clock().advance(Duration::from_secs(60));
    lab.twin.set_attributes(ATTACKER, &[(RECLAIM, &now(&lab))]).unwrap();
    lab.twin.clock().advance(DAY);
    assert_eq!(claims(&lab, ATTACKER).err(), Some(403), "a day later");
    let tomorrow = Timestamp::from_second(lab.twin.clock().now() + 86_400).unwrap().to_string();
    for word in [tomorrow.as_str(), "yes", "2026-01-01", "@"] {
        lab.twin.set_attributes(ATTACKER, &[(RECLAIM, word)]).unwrap();
        assert_eq!(claims(&lab, ATTACKER).err(), Some(403), "{word}");
    }
    lab.twin.set_attributes(ATTACKER, &[(RECLAIM, &now(&lab))]).unwrap();
    assert!(claims(&lab, ATTACKER).is_ok(), "a fresh word works");
    victim.is_untouched(&lab);
}

#[test]
fn rule_23_of_many_claims_at_once_on_one_word_one_is_let_in() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let lost = attacker(&lab);
    lab.twin.set_status(&lost.id(), Status::Inactive).unwrap();
    lab.twin.clock().advance(Duration::from_secs(60));
    lab.twin.set_attributes(ATTACKER, &[(RECLAIM, &now(&lab))]).unwrap();
    let racers: Vec<(Device, Fresh)> = (0..6)
        .map(|n| {
            let mut claim = lab.connect(&lab.claim(), &format!("claim-{n}")).unwrap();
            let fresh = claim.create_from_csr().unwrap();
            (claim, fresh)
        })
        .collect();
    let start = std::sync::Barrier::new(racers.len());
    let won: Vec<Identity> = std::thread::scope(|scope| {
        let running: Vec<_> = racers
            .into_iter()
            .map(|(mut claim, fresh)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    claim.register(CLAIM, &fresh.token, ATTACKER).ok().map(|_| fresh.identity)
                })
            })
            .collect();
        running.into_iter().filter_map(|r| r.join().unwrap()).collect()
    });
    assert_eq!(won.len(), 1, "let in on one word");
    let active =
        |lab: &Lab| lab.twin.certificates_of(ATTACKER).iter().filter(|c| c.status == Status::Active).count();
    assert_eq!(active(&lab), 1);
    victim.is_untouched(&lab);
}

#[test]
fn no_device_can_write_its_own_reclaim_or_commit_record() {
    let lab = Lab::new();
    let mut victim = Victim::new(&lab);
    let mine = attacker(&lab);
    let mut device = lab.connect(&mine, ATTACKER).unwrap();
    let before = attributes(&lab, ATTACKER).attributes;
    let fresh = device.create_from_csr().unwrap();
    let word = now(&lab);
    let request = serde_json::json!({
        "certificateOwnershipToken": fresh.token,
        "parameters": { "SerialNumber": ATTACKER, RECLAIM: word, "certrot-commit": word, "AttributePayload": word },
    });
    device.ask_json("$aws/provisioning-templates/certrot-rotate/provision/json", request).unwrap();
    assert_eq!(attributes(&lab, ATTACKER).attributes, before);
    for topic in ["$aws/things/SN-A/shadow/update", "$aws/things/SN-A/jobs/start-next"] {
        let mut device = lab.connect(&mine, ATTACKER).unwrap();
        device.publish_with(topic, b"{}", true, false);
        assert!(device.is_closed_within(PATIENCE), "{topic}");
    }
    victim.is_untouched(&lab);
}
