//! The retire handler against a registry that keeps AWS's own rules, killed, starved and run over at every call.

use super::*;
use crate::record::Record;

const THING: &str = "SN-1";

/// A registry for one thing; it panics where AWS would refuse for a reason that the handler must avoid.
#[derive(Clone, Debug, Default)]
struct Registry {
    certificates: BTreeMap<String, Entry>,
    thing: Thing,
    calls: Vec<Call>,
    conflicts: u32,
    shared: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    status: Status,
    created: Timestamp,
    attached: bool,
    policies: Vec<String>,
}

impl Registry {
    /// One ACTIVE, attached certificate for each age in hours, named a, b, c …
    fn with(hours: &[i64]) -> Self {
        let mut registry = Registry::default();
        for (n, hour) in hours.iter().enumerate() {
            let entry = Entry {
                status: Status::Active,
                created: hour_of(*hour),
                attached: true,
                policies: vec!["certrot-device".to_owned(), "extra".to_owned()],
            };
            registry.certificates.insert(id(n), entry);
        }
        registry
    }

    fn perform(&mut self, call: Call) -> Outcome {
        self.calls.push(call.clone());
        let alone = !self.shared;
        match call {
            Call::ListThingPrincipals { .. } => {
                let attached = self.certificates.iter().filter(|(_, c)| c.attached);
                Outcome::Ids(attached.map(|(id, _)| id.clone()).collect())
            }
            Call::DescribeCertificate { id } => match self.certificates.get(&id) {
                Some(c) => Outcome::Certificate(Certificate {
                    id,
                    status: c.status,
                    created: c.created,
                    not_after: None,
                }),
                None => Outcome::Gone,
            },
            Call::ListPrincipalThings { id } => match self.certificates.get(&id) {
                Some(c) => Outcome::Names(if c.attached { vec![THING.to_owned()] } else { vec![] }),
                None => Outcome::Gone,
            },
            Call::ListAttachedPolicies { id } => match self.certificates.get(&id) {
                Some(c) => Outcome::Names(c.policies.clone()),
                None => Outcome::Gone,
            },
            Call::UpdateCertificate { id, status } => self.change(&id, |c| {
                assert!(
                    !alone || status != Status::Revoked || c.status == Status::Inactive,
                    "rule 13: INACTIVE comes first"
                );
                c.status = status;
            }),
            Call::DetachPolicy { id, policy } => self.change(&id, |c| {
                assert!(!alone || c.status == Status::Revoked, "rule 13: policies go after REVOKED");
                assert_ne!(c.status, Status::Active);
                c.policies.retain(|p| *p != policy);
            }),
            Call::DetachThingPrincipal { id, .. } => self.change(&id, |c| {
                assert!(
                    !alone || c.status == Status::Revoked && c.policies.is_empty(),
                    "rule 13: the thing comes after"
                );
                c.attached = false;
            }),
            Call::DeleteCertificate { id } => {
                if self.conflicts > 0 {
                    self.conflicts -= 1;
                    return Outcome::Conflict;
                }
                let refused =
                    self.certificates.get(&id).is_some_and(|c| c.attached || c.status == Status::Active);
                assert!(!refused, "AWS refuses to delete what is ACTIVE or attached");
                self.certificates.remove(&id).map_or(Outcome::Gone, |_| Outcome::Done)
            }
            Call::DescribeThing { .. } => Outcome::Thing(self.thing.clone()),
            Call::UpdateThing { attributes, .. } => {
                for (name, value) in attributes {
                    if value.is_empty() {
                        self.thing.attributes.remove(&name);
                    } else {
                        self.thing.attributes.insert(name, value);
                    }
                }
                Outcome::Done
            }
            Call::Pause { .. } | Call::Reply(_) => Outcome::Done,
        }
    }

    fn change(&mut self, id: &str, act: impl FnOnce(&mut Entry)) -> Outcome {
        match self.certificates.get_mut(id) {
            Some(entry) => {
                act(entry);
                Outcome::Done
            }
            None => Outcome::Gone,
        }
    }

    fn status(&self, n: usize) -> Option<Status> {
        self.certificates.get(&id(n)).map(|c| c.status)
    }

    /// Says whether a certificate can still carry a session, or ever again without an operator.
    fn is_dead(&self, n: usize) -> bool {
        self.status(n).is_none_or(Status::is_dead)
    }

    fn has_an_active_certificate(&self) -> bool {
        self.certificates.values().any(|c| c.attached && c.status == Status::Active)
    }
}

fn id(n: usize) -> String {
    ["a", "b", "c", "d", "e"][n].repeat(64)
}

fn hour_of(hour: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + hour * 3600).unwrap()
}

fn now() -> Timestamp {
    hour_of(1000)
}

fn commit(n: usize) -> Commit {
    Commit {
        thing: THING.to_owned(),
        principal: id(n),
        client_id: Some(THING.to_owned()),
        certificate_id: Some(id(n)),
        at: now(),
    }
}

fn handle(registry: &mut Registry, commit: Commit) -> Reply {
    Retire::new(commit, now()).run(|call| registry.perform(call)).unwrap()
}

/// Handles a commit until `calls` were made, then dies.
fn handle_and_die(registry: &mut Registry, commit: Commit, calls: usize) {
    let mut retire = Retire::new(commit, now());
    for _ in 0..calls {
        let Some(call) = retire.next() else { return };
        let outcome = registry.perform(call);
        retire.feed(outcome);
        assert!(registry.has_an_active_certificate());
    }
}

fn rejected(reply: &Reply) -> (Reason, Option<u32>) {
    match reply.verdict {
        Verdict::Rejected { reason, retry_after } => (reason, retry_after),
        Verdict::Accepted => panic!("accepted"),
    }
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

#[test]
fn rule_12_commits_of_three_generations_in_every_order_and_twice_end_with_the_newest_alone() {
    let orders = orders();
    assert_eq!(orders.len(), 90);
    for order in orders {
        let mut registry = Registry::with(&[1, 2, 3]);
        for n in &order {
            let alive = registry.status(*n) == Some(Status::Active);
            let reply = handle(&mut registry, commit(*n));
            assert_eq!(reply.is_accepted(), alive, "{order:?}");
            assert_eq!(registry.status(2), Some(Status::Active), "{order:?}");
        }
        let left: Vec<_> = registry.certificates.keys().cloned().collect();
        assert_eq!(left, [id(2)], "{order:?}");
    }
}

#[test]
fn rule_13_a_handler_killed_after_any_call_is_finished_by_the_next_commit() {
    for order in orders() {
        for dies in 0..order.len() {
            for calls in 0..40 {
                let mut registry = Registry::with(&[1, 2, 3]);
                for (place, n) in order.iter().enumerate() {
                    if place == dies {
                        handle_and_die(&mut registry, commit(*n), calls);
                    } else {
                        handle(&mut registry, commit(*n));
                    }
                    assert_eq!(registry.status(2), Some(Status::Active), "{order:?} {dies} {calls}");
                }
                assert!(handle(&mut registry, commit(2)).is_accepted());
                for (name, entry) in registry.certificates.iter().filter(|(name, _)| **name != id(2)) {
                    // Only a death between detaching and deleting leaves one; it is dead and bare.
                    assert!(
                        entry.status == Status::Revoked && !entry.attached && entry.policies.is_empty(),
                        "{name}"
                    );
                }
            }
        }
    }
}

#[test]
fn rule_13_handlers_that_all_die_early_never_leave_the_thing_without_an_active_certificate() {
    for order in orders() {
        for calls in 0..40 {
            let mut registry = Registry::with(&[1, 2, 3]);
            for n in &order {
                handle_and_die(&mut registry, commit(*n), calls);
            }
            assert_eq!(registry.status(2), Some(Status::Active));
            assert!(handle(&mut registry, commit(2)).is_accepted());
            assert!(registry.is_dead(0) && registry.is_dead(1));
        }
    }
}

#[test]
fn rule_13_two_handlers_at_once_in_any_interleaving_leave_the_newest_and_nothing_older() {
    for pattern in 0..1u32 << 14 {
        // Each may undo REVOKED with its own INACTIVE: dead all the same, but out of the order of one handler alone.
        let mut registry = Registry { shared: true, ..Registry::with(&[1, 2, 3]) };
        let mut both = [Retire::new(commit(1), now()), Retire::new(commit(2), now())];
        let mut turn = 0;
        while both.iter().any(|r| r.next().is_some()) {
            let mut who = (pattern >> (turn % 14) & 1) as usize;
            if both[who].next().is_none() {
                who = 1 - who;
            }
            turn += 1;
            let Some(call) = both[who].next() else { continue };
            let outcome = registry.perform(call);
            both[who].feed(outcome);
            assert_eq!(registry.status(2), Some(Status::Active));
        }
        assert!(both[1].reply().unwrap().is_accepted());
        assert!(registry.is_dead(0) && registry.is_dead(1));
    }
}

#[test]
fn rule_11_a_commit_whose_payload_names_another_touches_nothing_and_is_answered_for_its_sender() {
    for named in [None, Some(id(2)), Some(String::new()), Some(id(1).to_uppercase())] {
        let mut registry = Registry::with(&[1, 2, 3]);
        let reply = handle(&mut registry, Commit { certificate_id: named, ..commit(1) });
        assert_eq!(rejected(&reply), (Reason::NotTheSender, None));
        assert_eq!(reply.certificate_id, id(1));
        assert_eq!(registry.calls.len(), 1, "the reply alone");
    }
}

#[test]
fn rule_11_a_commit_older_than_five_minutes_asks_for_a_new_one() {
    let aged = |seconds| Commit { at: now() - SignedDuration::from_secs(seconds), ..commit(1) };
    let mut registry = Registry::with(&[1, 2]);
    assert_eq!(rejected(&handle(&mut registry, aged(301))), (Reason::Stale, Some(60)));
    assert_eq!(rejected(&handle(&mut registry, aged(-301))), (Reason::Stale, Some(60)));
    assert_eq!(registry.status(0), Some(Status::Active));
    assert!(handle(&mut registry, aged(300)).is_accepted());
}

#[test]
fn a_delayed_commit_of_the_old_certificate_never_touches_the_one_fallen_forward_to() {
    let mut registry = Registry::with(&[1, 2]);
    assert!(handle(&mut registry, commit(0)).is_accepted());
    assert_eq!(registry.status(1), Some(Status::Active));
    assert!(handle(&mut registry, commit(1)).is_accepted());
    assert_eq!(rejected(&handle(&mut registry, commit(0))), (Reason::NotAttached, Some(60)));
}

#[test]
fn rule_12_a_certificate_of_the_same_second_is_never_touched() {
    let mut registry = Registry::with(&[2, 2, 1]);
    assert!(handle(&mut registry, commit(0)).is_accepted());
    assert_eq!(registry.status(1), Some(Status::Active));
    assert_eq!(registry.status(2), None);
    assert!(handle(&mut registry, commit(1)).is_accepted());
    assert_eq!(registry.status(0), Some(Status::Active));
}

#[test]
fn rule_12_only_creation_dates_decide_not_the_order_of_the_list() {
    let mut registry = Registry::with(&[3, 1, 2]);
    assert!(handle(&mut registry, commit(2)).is_accepted());
    assert_eq!(registry.status(0), Some(Status::Active));
    assert_eq!(registry.status(1), None);
}

#[test]
fn rule_12_an_operator_who_deactivates_the_committer_stops_the_handler_before_the_next_victim() {
    for at in 0..40 {
        let mut registry = Registry::with(&[1, 2, 3, 4]);
        let mut retire = Retire::new(commit(3), now());
        let mut blows = 0;
        for turn in 0.. {
            if turn == at {
                registry.certificates.get_mut(&id(3)).unwrap().status = Status::Inactive;
            }
            let Some(call) = retire.next() else { break };
            let strikes = matches!(call, Call::UpdateCertificate { .. });
            blows += usize::from(strikes && turn >= at);
            let outcome = registry.perform(call);
            retire.feed(outcome);
        }
        assert!(blows <= 1, "after call {at} came {blows} more");
        let accepted = retire.reply().unwrap().is_accepted();
        assert!(!accepted || (0..3).all(|n| registry.is_dead(n)), "{at}");
    }
}

#[test]
fn rule_12_an_operator_who_detaches_the_committer_stops_the_handler_before_the_next_victim() {
    for at in 0..40 {
        let mut registry = Registry::with(&[1, 2, 3, 4]);
        let mut retire = Retire::new(commit(3), now());
        let mut blows = 0;
        for turn in 0.. {
            if turn == at {
                registry.certificates.get_mut(&id(3)).unwrap().attached = false;
            }
            let Some(call) = retire.next() else { break };
            blows += usize::from(turn >= at && matches!(call, Call::UpdateCertificate { .. }));
            let outcome = registry.perform(call);
            retire.feed(outcome);
        }
        assert!(blows <= 1, "after call {at} came {blows} more");
    }
}

#[test]
fn rule_12_a_handler_that_stops_clears_nothing_up_either() {
    let mut registry = Registry::with(&[1, 2, 3]);
    registry.certificates.get_mut(&id(0)).unwrap().status = Status::Revoked;
    let reply = Retire::new(commit(2), now()).run(|call| {
        if matches!(call, Call::ListPrincipalThings { .. }) {
            registry.certificates.get_mut(&id(2)).unwrap().status = Status::Inactive;
        }
        registry.perform(call)
    });
    assert_eq!(rejected(&reply.unwrap()).0, Reason::NotActive);
    let left = &registry.certificates[&id(0)];
    assert!(left.attached && left.policies.len() == 2);
    assert_eq!(registry.status(1), Some(Status::Active));
}

#[test]
fn rule_12_a_committer_that_is_not_attached_or_not_active_retires_nobody() {
    let mut registry = Registry::with(&[1, 2]);
    registry.certificates.get_mut(&id(1)).unwrap().attached = false;
    assert_eq!(rejected(&handle(&mut registry, commit(1))), (Reason::NotAttached, Some(60)));
    registry.certificates.get_mut(&id(1)).unwrap().attached = true;
    for (status, retry_after) in
        [(Status::Inactive, None), (Status::Revoked, None), (Status::PendingActivation, Some(60))]
    {
        registry.certificates.get_mut(&id(1)).unwrap().status = status;
        assert_eq!(rejected(&handle(&mut registry, commit(1))), (Reason::NotActive, retry_after));
    }
    assert_eq!(registry.status(0), Some(Status::Active));
}

#[test]
fn a_registry_that_fails_at_any_call_never_yields_accepted_over_a_living_certificate() {
    for at in 0..60 {
        for outcome in [Outcome::Failed, Outcome::Conflict, Outcome::Ids(vec![])] {
            let mut registry = Registry::with(&[1, 2, 3]);
            let mut turn = 0;
            let reply = Retire::new(commit(2), now()).run(|call| {
                turn += 1;
                match call {
                    Call::Reply(_) => Outcome::Done,
                    _ if turn - 1 == at => outcome.clone(),
                    call => registry.perform(call),
                }
            });
            let clean = (0..2).all(|n| registry.is_dead(n));
            assert!(clean || !reply.unwrap().is_accepted(), "{at} {outcome:?}");
            assert_eq!(registry.status(2), Some(Status::Active));
            assert!(handle(&mut registry, commit(2)).is_accepted());
            assert!((0..2).all(|n| registry.is_dead(n)), "{at} {outcome:?}");
        }
    }
}

#[test]
fn rule_13_every_victim_is_inactive_before_the_first_is_revoked_and_accepted_comes_before_the_clearing_up() {
    let mut registry = Registry::with(&[1, 2, 3]);
    handle(&mut registry, commit(2));
    let place = |wanted: &dyn Fn(&Call) -> bool| registry.calls.iter().position(wanted).unwrap();
    let last = |wanted: &dyn Fn(&Call) -> bool| registry.calls.iter().rposition(wanted).unwrap();
    let inactive = last(&|c| matches!(c, Call::UpdateCertificate { status: Status::Inactive, .. }));
    let revoked = place(&|c| matches!(c, Call::UpdateCertificate { status: Status::Revoked, .. }));
    let reply = place(&|c| matches!(c, Call::Reply(_)));
    let policies = place(&|c| matches!(c, Call::DetachPolicy { .. }));
    assert!(inactive < revoked && revoked < reply && reply < policies);
}

#[test]
fn the_first_generation_commits_and_is_accepted_and_recorded() {
    // Rule 10.
    let mut registry = Registry::with(&[1]);
    let reply = handle(&mut registry, commit(0));
    assert_eq!(reply.topic(), "device/SN-1/certrot/commit/accepted");
    assert_eq!(reply.payload(), serde_json::json!({ "certificateId": id(0) }));
    assert!(Record::of(&registry.thing).names(&id(0)));
}

#[test]
fn a_used_reclaim_goes_with_the_commit_of_the_certificate_that_used_it_and_no_other() {
    for (used_by, stays) in [(Some(id(1)), false), (Some(id(0)), true), (None, true)] {
        let mut registry = Registry::with(&[1, 2]);
        let word = Reclaim { given: hour_of(1), used_by, used_at: None };
        registry.thing.attributes.insert(RECLAIM_ATTRIBUTE.to_owned(), word.value());
        assert!(handle(&mut registry, commit(1)).is_accepted());
        assert_eq!(Reclaim::of(&registry.thing).is_some(), stays);
    }
}

#[test]
fn a_thing_whose_record_cannot_be_written_is_accepted_all_the_same() {
    let mut registry = Registry::with(&[1, 2]);
    let reply = Retire::new(commit(1), now()).run(|call| match call {
        Call::UpdateThing { .. } => Outcome::Failed,
        call => registry.perform(call),
    });
    assert!(reply.unwrap().is_accepted());
    assert_eq!(registry.status(0), None);
}

#[test]
fn a_detachment_that_is_not_seen_yet_is_waited_for_and_then_given_up() {
    for (conflicts, left) in [(0, None), (4, None), (5, Some(Status::Revoked))] {
        let mut registry = Registry::with(&[1, 2]);
        registry.conflicts = conflicts;
        assert!(handle(&mut registry, commit(1)).is_accepted());
        assert_eq!(registry.status(0), left);
        let waits: Vec<_> = registry
            .calls
            .iter()
            .filter_map(|c| if let Call::Pause { seconds } = c { Some(*seconds) } else { None })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8][..conflicts.min(4) as usize]);
    }
}

#[test]
fn a_topic_that_names_no_thing_or_another_than_the_client_id_is_refused() {
    for (thing, client) in [("claim-x", "claim-x"), ("+", "+"), ("", ""), ("SN-2", "SN-1")] {
        let mut registry = Registry::with(&[1, 2]);
        let stray = Commit { thing: thing.to_owned(), client_id: Some(client.to_owned()), ..commit(1) };
        assert_eq!(rejected(&handle(&mut registry, stray)).0, Reason::NotTheThing);
        assert_eq!(registry.calls.len(), 1);
    }
}

#[test]
fn rule_15_a_finding_of_the_sweep_is_retired_in_silence() {
    let mut registry = Registry::with(&[1, 2]);
    assert_eq!(Retire::by_record(THING, &id(1), now()).run(|call| registry.perform(call)), None);
    assert_eq!(registry.status(0), None);
    assert!(registry.thing.attributes.is_empty());
}

#[test]
fn events_of_the_rule_engine_are_read_whatever_the_device_wrote() {
    let event = serde_json::json!({
        "certificateId": 7, "principal": id(0), "clientId": "SN-1", "thing": "SN-1",
        "timestamp": 1_700_000_000_123_i64
    });
    let commit = Commit::from_event(&event).unwrap();
    assert_eq!((commit.certificate_id, commit.principal), (None, id(0)));
    assert_eq!(commit.at.as_millisecond(), 1_700_000_000_123);
    assert_eq!(Commit::from_event(&serde_json::json!({ "principal": id(0) })), None);
    for payload in [&b"\xff"[..], b"", b"[]", br#"{"principal":"x"}"#] {
        assert_eq!(Commit::from_publish("SN-1", &id(0), "SN-1", payload, now()).certificate_id, None);
    }
}

#[test]
fn a_thing_of_another_fleet_is_not_touched_and_one_of_this_fleet_is_handled_as_ever() {
    let mut registry = Registry::with(&[1, 2]);
    registry.thing.type_name = Some("other".to_owned());
    let before = registry.certificates.len();
    let reply = Retire::new(commit(1), now()).of_type("certrot").run(|call| registry.perform(call)).unwrap();
    assert_eq!(rejected(&reply), (Reason::NotOfTheFleet, None));
    assert!(registry.calls.iter().all(|c| matches!(c, Call::DescribeThing { .. } | Call::Reply(_))));
    assert_eq!((registry.certificates.len(), registry.status(0)), (before, Some(Status::Active)));

    registry.thing.type_name = None;
    let reply = Retire::new(commit(1), now()).of_type("certrot").run(|call| registry.perform(call)).unwrap();
    assert_eq!(rejected(&reply), (Reason::NotOfTheFleet, None), "a thing without a type is nobody's");

    registry.thing.type_name = Some("certrot".to_owned());
    let reply = Retire::new(commit(1), now()).of_type("certrot").run(|call| registry.perform(call)).unwrap();
    assert!(reply.is_accepted());
    assert!(registry.is_dead(0));
}

#[test]
fn a_thing_whose_fleet_cannot_be_read_is_left_for_later() {
    for (outcome, reason) in [(Outcome::Failed, Reason::Unfinished), (Outcome::Gone, Reason::NotAttached)] {
        let mut retire = Retire::new(commit(1), now()).of_type("certrot");
        retire.feed(outcome);
        let Some(Call::Reply(reply)) = retire.next() else { panic!("no reply") };
        assert_eq!(rejected(&reply).0, reason);
    }
}

#[test]
fn a_commit_that_is_refused_by_itself_asks_nobody_whose_thing_it_is() {
    let stale = Commit { at: hour_of(1), ..commit(1) };
    let retire = Retire::new(stale, now()).of_type("certrot");
    assert!(matches!(retire.next(), Some(Call::Reply(_))));
}
