//! The planner without a network: each test is an account in some state, and what is done about it.

use super::*;
use crate::desired::tests::{desired, fleet};
use crate::model::Version;

/// The account right after a setup.
fn settled(desired: &Desired) -> Observed {
    let resources = desired
        .resources
        .iter()
        .map(|(id, body)| {
            let mut seen = Seen::plain(body.clone(), true);
            let document = match body {
                Body::Policy { document } => Some(document),
                Body::Template { body, .. } => Some(body),
                _ => None,
            };
            seen.versions = document
                .map(|d| Version { number: 1, default: true, document: d.clone() })
                .into_iter()
                .collect();
            (id.clone(), seen)
        })
        .collect();
    Observed { resources }
}

fn planned(desired: &Desired, observed: &Observed) -> Plan {
    plan(&fleet(), desired, observed, &BTreeSet::new(), Mode::AsTheyRotate).unwrap()
}

/// The fleet as it was before its device policy changed: the old policy, and templates that name it.
fn before_a_change(desired: &Desired, targets: usize) -> Observed {
    let mut observed = settled(desired);
    let new = Id::new(Kind::Policy, desired.device_policy.clone());
    let mut old = observed.resources.remove(&new).unwrap();
    old.targets = (0..targets).map(|n| format!("{n:064x}")).collect();
    old.body = Body::Policy { document: serde_json::json!({ "old": true }) };
    old.versions[0].document = serde_json::json!({ "old": true });
    observed.resources.insert(Id::new(Kind::Policy, "certrot-device-00000000"), old);
    for (id, seen) in &mut observed.resources {
        if id.kind == Kind::Template {
            let Body::Template { body, .. } = &mut seen.body else { unreachable!() };
            body["Resources"]["policy"]["Properties"]["PolicyName"] = "certrot-device-00000000".into();
            seen.versions[0].document = body.clone();
        }
    }
    observed
}

#[test]
fn an_empty_account_gets_everything_in_the_order_in_which_one_needs_the_other() {
    let desired = desired();
    let steps = planned(&desired, &Observed::default()).steps;
    let created: Vec<&Id> = steps
        .iter()
        .filter_map(|s| match &s.act {
            Act::Create(id) => Some(id),
            _ => None,
        })
        .collect();
    assert_eq!(created, desired.resources.keys().collect::<Vec<_>>());
    let at = |wanted: &Act| steps.iter().position(|s| s.act == *wanted).unwrap();
    let check = at(&Act::CheckPolicy(desired.device_policy.clone()));
    assert!(check > at(&Act::Create(Id::new(Kind::Policy, desired.device_policy.clone()))));
    assert!(check < at(&Act::Create(Id::new(Kind::Template, "certrot-claim"))));
}

#[test]
fn a_second_setup_has_nothing_to_do() {
    let desired = desired();
    assert_eq!(planned(&desired, &settled(&desired)), Plan::default());
}

#[test]
fn a_name_that_is_taken_by_somebody_else_stops_everything() {
    let desired = desired();
    let mut observed = Observed::default();
    let id = Id::new(Kind::Rule, "certrot_retire");
    observed.resources.insert(id.clone(), Seen::plain(Body::ThingGroup {}, false));
    let refused = plan(&fleet(), &desired, &observed, &BTreeSet::new(), Mode::AsTheyRotate);
    assert_eq!(refused, Err(PlanError::Foreign(vec![id.clone()])));
    let known = BTreeSet::from([id.clone()]);
    let mended = plan(&fleet(), &desired, &observed, &known, Mode::AsTheyRotate).unwrap();
    assert!(mended.steps.iter().any(|s| s.act == Act::Tag(id.clone())));
}

#[test]
fn drift_is_mended_field_by_field() {
    let desired = desired();
    let mut observed = settled(&desired);
    let id = Id::new(Kind::Function, "certrot-retire");
    let Body::Function { timeout, memory, .. } = &mut observed.resources.get_mut(&id).unwrap().body else {
        unreachable!()
    };
    (*timeout, *memory) = (3, 128);
    let steps = planned(&desired, &observed).steps;
    assert_eq!(steps.len(), 1);
    assert_eq!(steps[0].act, Act::Update(id, vec!["memory".to_owned(), "timeout".to_owned()]));
}

#[test]
fn a_changed_device_policy_is_a_new_one_that_is_tried_and_reaches_devices_as_they_rotate() {
    let desired = desired();
    let observed = before_a_change(&desired, 3);
    let plan = planned(&desired, &observed);
    let acts: Vec<&Act> = plan.steps.iter().map(|s| &s.act).collect();
    let new = &desired.device_policy;
    assert_eq!(acts[0], &Act::Create(Id::new(Kind::Policy, new.clone())));
    assert_eq!(acts[1], &Act::CheckPolicy(new.clone()));
    assert!(matches!(acts[2], Act::CreateVersion(id, _) if id.name == "certrot-claim"));
    assert!(matches!(acts[3], Act::CreateVersion(id, _) if id.name == "certrot-rotate"));
    assert_eq!(acts.len(), 4, "the old policy is neither edited nor removed: {acts:?}");
    assert!(plan.notes[0].contains("3 certificates rest on it"), "{:?}", plan.notes);
}

#[test]
fn in_place_gives_the_new_document_to_the_policies_in_use_too() {
    let desired = desired();
    let observed = before_a_change(&desired, 1);
    let plan = plan(&fleet(), &desired, &observed, &BTreeSet::new(), Mode::InPlace).unwrap();
    let old = Id::new(Kind::Policy, "certrot-device-00000000");
    assert!(plan.steps.iter().any(|s| matches!(&s.act, Act::CreateVersion(id, _) if *id == old)));
}

#[test]
fn a_fifth_version_is_never_left_and_the_one_in_force_is_never_the_one_that_goes() {
    let desired = desired();
    let mut observed = settled(&desired);
    let id = Id::new(Kind::Policy, desired.claim_policy.clone());
    let seen = observed.resources.get_mut(&id).unwrap();
    let other = |n: i32| serde_json::json!({ "n": n });
    seen.versions = [(1, true), (2, false), (3, false), (4, false), (5, false)]
        .map(|(number, default)| Version { number, default, document: other(number) })
        .into();
    seen.body = Body::Policy { document: other(1) };
    let acts: Vec<Act> = planned(&desired, &observed).steps.into_iter().map(|s| s.act).collect();
    assert_eq!(acts[0], Act::DeleteVersion(id.clone(), 2));
    assert_eq!(acts[1], Act::DeleteVersion(id.clone(), 3));
    assert!(matches!(&acts[2], Act::CreateVersion(i, _) if *i == id));
}

#[test]
fn a_document_that_an_older_version_has_is_put_in_force_without_a_new_one() {
    let desired = desired();
    let mut observed = settled(&desired);
    let id = Id::new(Kind::Policy, desired.claim_policy.clone());
    let seen = observed.resources.get_mut(&id).unwrap();
    seen.body = Body::Policy { document: serde_json::json!({}) };
    seen.versions[0].default = false;
    seen.versions.push(Version { number: 2, default: true, document: serde_json::json!({}) });
    let acts: Vec<Act> = planned(&desired, &observed).steps.into_iter().map(|s| s.act).collect();
    assert_eq!(acts, [Act::UseVersion(id, 1)]);
}

#[test]
fn claim_certificates_move_to_a_new_claim_policy_before_the_old_one_goes() {
    let desired = desired();
    let mut observed = settled(&desired);
    let old = Id::new(Kind::Policy, "certrot-claim-00000000");
    let mut seen = Seen::plain(Body::Policy { document: serde_json::json!({}) }, true);
    seen.targets = vec!["a".repeat(64)];
    observed.resources.insert(old.clone(), seen);
    let acts: Vec<Act> = planned(&desired, &observed).steps.into_iter().map(|s| s.act).collect();
    assert!(matches!(&acts[0], Act::MoveClaim { from, .. } if *from == old.name));
    assert_eq!(acts[1], Act::Delete(old));
}

#[test]
fn an_older_policy_stays_while_a_version_of_a_template_names_it_and_rollback_goes_back_to_it() {
    let desired = desired();
    let mut observed = before_a_change(&desired, 0);
    let old: Vec<(Id, Value)> = observed
        .resources
        .iter()
        .filter(|(id, _)| id.kind == Kind::Template)
        .map(|(id, s)| (id.clone(), s.versions[0].document.clone()))
        .collect();
    let mut now = settled(&desired);
    for (id, document) in old {
        let seen = now.resources.get_mut(&id).unwrap();
        seen.versions[0].number = 2;
        seen.versions.insert(0, Version { number: 1, default: false, document });
    }
    let id = Id::new(Kind::Policy, "certrot-device-00000000");
    now.resources.insert(id.clone(), observed.resources.remove(&id).unwrap());
    let calm = planned(&desired, &now);
    assert!(calm.steps.is_empty(), "{:?}", calm.steps);
    assert!(calm.notes[0].contains("--rollback"));
    let back = plan(&fleet(), &desired, &now, &BTreeSet::new(), Mode::Rollback).unwrap();
    assert!(back.steps.iter().all(|s| matches!(s.act, Act::UseVersion(_, 1))) && back.steps.len() == 2);
    now.resources.remove(&id);
    let gone = plan(&fleet(), &desired, &now, &BTreeSet::new(), Mode::Rollback);
    assert!(matches!(gone, Err(PlanError::PolicyGone(..))));
}

#[test]
fn rollback_of_a_first_setup_says_that_there_is_nothing_to_go_back_to() {
    let desired = desired();
    let refused = plan(&fleet(), &desired, &settled(&desired), &BTreeSet::new(), Mode::Rollback);
    assert!(matches!(refused, Err(PlanError::NoEarlier(_))));
}
