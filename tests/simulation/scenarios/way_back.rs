//! The way back: other generations, the claim, a copied store (rules 19 and 20).

use super::super::cloud::{Cloud, Status};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, deactivate, device, live, why, with_predecessor};
use certrotd::rotation::{
    Action, Asked, Boot, Carrier, Current, Effect, MachineChange, Mark, Policy, Record, RetireMode, Stage,
    Why,
};

#[test]
fn a_device_whose_every_pair_is_refused_keeps_trying_and_comes_back_when_the_operator_relents_rule_19() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    deactivate(&mut world, 0, 60 * 24 * HOUR);
    let mut attempts = 0;
    live(&mut world, 59 * 24 * HOUR, |_, effect| {
        attempts += u32::from(matches!(effect, Effect::Connect(Carrier::Generation(1))));
        true
    });
    assert!(attempts > 59 * 24 * 6, "tried {attempts} times in 59 days: not at least every ten minutes");
    live(&mut world, 60 * 24 * HOUR + HOUR, |_, _| true);
    assert_eq!(world.unclean(), None);
}

#[test]
fn the_claim_is_turned_to_after_a_day_at_most_every_three_hours_and_current_comes_first_rule_20() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    deactivate(&mut world, 0, Boot::MAX);
    let mut order = Vec::new();
    live(&mut world, 5 * 24 * HOUR, |world, effect| {
        if let Effect::Connect(carrier) = effect {
            order.push((world.boot, carrier));
        }
        true
    });
    let claims: Vec<Boot> = order.iter().filter(|(_, c)| *c == Carrier::Claim).map(|(at, _)| *at).collect();
    assert!(claims[0] >= 24 * HOUR, "the first after {} hours", claims[0] / HOUR);
    assert!(
        claims.windows(2).all(|w| w[1] - w[0] >= 3 * HOUR),
        "half of six hours is the least, with jitter"
    );
    assert!(claims.len() >= 8, "{} in four days", claims.len());
    for (n, (_, carrier)) in order.iter().enumerate() {
        if *carrier == Carrier::Claim {
            assert_eq!(order[n - 1].1, Carrier::Generation(1), "`current` comes first in each round");
        }
    }
    // The hook denies it while the thing holds a certificate; the operator's word lets it in.
    world.cloud.reclaim = true;
    live(&mut world, 7 * 24 * HOUR, |_, _| true);
    assert!(matches!(world.disk.current, Current::Names(n) if n > 1), "a new identity by the claim");
}

#[test]
fn a_refused_certificate_leads_back_to_the_older_one_and_a_rotation_is_due_at_once_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let mut world = with_predecessor(&policy);
    live(&mut world, HOUR, |_, _| true);
    deactivate(&mut world, 1, Boot::MAX);
    let refused_at = world.boot;
    let mut marked = None;
    live(&mut world, 2 * HOUR, |world, effect| {
        if effect == Effect::Record(Record::Marked(2, Mark::Refused)) {
            marked = Some(world.boot);
        }
        !matches!(effect, Effect::Switch(1))
    });
    let marked = marked.expect("the one left is marked before the rename");
    assert!(marked - refused_at >= 15 * MINUTE, "only after three refusals over fifteen minutes");
    world.end(End::Kind);
    assert_eq!(world.disk.current, Current::Names(1));
    // A power cut now: Inspect must not switch forward again.
    world.action = Action::Keep;
    let mut again = World::new(&policy, world.disk.clone(), world.cloud.clone(), Some(u32::MAX / 2));
    again.boot = world.boot;
    again.reasons = world.reasons;
    again.deactivated = world.deactivated;
    live(&mut again, world.boot + HOUR, |_, effect| {
        assert!(
            !matches!(effect, Effect::Switch(2) | Effect::Prove(2)),
            "the refused one is not taken up again"
        );
        true
    });
    assert!(
        matches!(again.disk.current, Current::Names(3)),
        "a rotation was due at once: {:?}",
        again.disk.current
    );
}

#[test]
fn the_network_alone_never_leads_to_the_claim_or_to_another_generation_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let mut world = with_predecessor(&policy);
    live(&mut world, HOUR, |_, _| true);
    world.end(End::Closed);
    for _ in 0..2_000 {
        match world.action {
            Action::Do(Effect::Connect(Carrier::Generation(2))) => world.end(End::Unreachable),
            Action::Do(effect) => panic!("{effect:?} although only the network is gone"),
            _ => world.end(End::Kind),
        }
    }
    assert!(world.boot > 24 * HOUR, "a day without a network: {} h", world.boot / HOUR);
}

#[test]
fn a_pair_that_connects_and_lacks_its_rights_for_a_day_is_left_for_the_other_one_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let mut world = with_predecessor(&policy);
    live(&mut world, HOUR, |_, _| true);
    world.end(End::Closed);
    let began = world.boot;
    for _ in 0..20_000 {
        match world.action {
            Action::Do(Effect::Connect(Carrier::Generation(2))) => world.end(End::Unfit),
            Action::Do(Effect::Connect(Carrier::Generation(1))) => break,
            _ => world.end(End::Kind),
        }
    }
    assert_eq!(world.action, Action::Do(Effect::Connect(Carrier::Generation(1))));
    assert!(world.boot - began >= 24 * HOUR, "not before a whole day: {} h", (world.boot - began) / HOUR);
}

#[test]
fn a_store_of_another_machine_is_held_reported_or_provisioned_anew_as_the_operator_says() {
    let start = |change| {
        let policy = Policy { machine_change: change, ..policy() };
        let (mut disk, mut cloud) = (nothing(), Cloud::default());
        let n = add(&mut disk, &mut cloud, DAY, Stage::Proved, Asked::Unanswered, true);
        disk.current = Current::Names(n);
        disk.foreign = true;
        cloud.reclaim = true;
        let mut world = World::new(&policy, disk, cloud, Some(u32::MAX / 2));
        live(&mut world, 2 * HOUR, |_, _| true);
        world
    };
    let held = start(MachineChange::Hold);
    assert_eq!((why(&held), held.session), (Some(Why::Foreign), None));
    let reported = start(MachineChange::Report);
    assert_eq!(reported.session, Some(Carrier::Generation(1)));
    assert!(reported.disk.foreign, "only `adopt` settles it");
    let provisioned = start(MachineChange::Provision);
    assert_eq!(provisioned.disk.current, Current::Names(2));
    assert!(!provisioned.disk.foreign);
}

#[test]
fn two_refusals_are_no_verdict_however_far_apart_and_the_third_is_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let mut world = with_predecessor(&policy);
    live(&mut world, HOUR, |_, _| true);
    world.end(End::Closed);
    let began = world.boot;
    for refusal in [0, 20 * MINUTE, 40 * MINUTE] {
        while !(world.boot >= began + refusal && matches!(world.action, Action::Do(Effect::Connect(_)))) {
            match world.action {
                Action::Do(Effect::Connect(carrier)) => {
                    assert_eq!(
                        carrier,
                        Carrier::Generation(2),
                        "before the refusal at {} min",
                        refusal / MINUTE
                    );
                    world.end(End::Unreachable);
                }
                _ => world.end(End::Kind),
            }
        }
        assert_eq!(world.action, Action::Do(Effect::Connect(Carrier::Generation(2))));
        world.end(End::Refused);
    }
    let until = world.boot + HOUR;
    live(&mut world, until, |_, effect| !matches!(effect, Effect::Connect(_)));
    assert_eq!(world.action, Action::Do(Effect::Connect(Carrier::Generation(1))));
}

#[test]
fn a_pair_that_was_marked_comes_last_and_not_never_rule_19() {
    for mark in [Mark::Retired, Mark::Refused] {
        let policy = Policy { retire: RetireMode::None, ..policy() };
        let mut world = with_predecessor(&policy);
        world.disk.slots[0].mark = mark;
        world.cloud.certificates[1].status = Status::Inactive;
        world.deactivated = Some((1, Boot::MAX));
        live(&mut world, 3 * HOUR, |_, effect| effect != Effect::Connect(Carrier::Generation(1)));
        assert_eq!(world.action, Action::Do(Effect::Connect(Carrier::Generation(1))), "{mark:?}");
    }
}
