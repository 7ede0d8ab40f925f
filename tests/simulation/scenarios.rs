//! Single stories of the core, each named after the rule that it proves: what the exhaustive walk cannot reach because
//! it takes days, a second client, or a wrong clock.

use certrotd::rotation::{
    Action, Asked, Boot, Carrier, CloudOrder, Current, Effect, Happening, Input, MachineChange, Mark, Now,
    Order, Outcome, Policy, Record, RetireMode, Rotation, Stage, Trouble, Why,
};

use super::cloud::{Cloud, EPOCH, Status, id_of};
use super::world::{End, World};
use super::{DAY, add, nothing, policy};

const MINUTE: Boot = 60_000;
const HOUR: Boot = 60 * MINUTE;

/// A device in use, so old, with its cloud.
fn device(age: i64, policy: &Policy) -> World {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, age, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    World::new(policy, disk, cloud, u32::MAX / 2)
}

/// Two generations alive, the newer in use.
fn with_predecessor(policy: &Policy) -> World {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 90 * DAY, Stage::Proved, Asked::Unanswered, true);
    let b = add(&mut disk, &mut cloud, DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(b);
    World::new(policy, disk, cloud, u32::MAX / 2)
}

/// Lets kind time pass; every effect that begins is given to `see`, which may end the story.
fn live(world: &mut World, until: Boot, mut see: impl FnMut(&World, Effect) -> bool) {
    for _ in 0..200_000 {
        world.check().unwrap();
        if world.boot >= until {
            return;
        }
        if let Action::Do(effect) = world.action
            && !see(world, effect)
        {
            return;
        }
        match world.action {
            Action::Wait(wait) if wait.until > until => return world.pass(until - world.boot),
            _ => world.end(End::Kind),
        }
    }
    panic!("the story does not come to its end: a loop without waits, {:?}", world.action);
}

/// The operator deactivates a certificate, and takes it back then.
fn deactivate(world: &mut World, id: usize, until: Boot) {
    world.cloud.certificates[id].status = Status::Inactive;
    world.deactivated = Some((id, until));
    world.pass(1_000);
}

fn why(world: &World) -> Option<Why> {
    if let Action::Wait(wait) = world.action { Some(wait.why) } else { None }
}

#[test]
fn commits_that_are_refused_for_ever_do_not_hold_up_a_renewal_rule_16() {
    let mut world = device(0, &policy());
    world.commits_refused = true;
    live(&mut world, 400 * 24 * HOUR, |_, _| true);
    assert!(world.rotations >= 4, "{} rotations in 400 days of 90", world.rotations);
    assert!(world.cloud.alive().count() >= 5, "nothing was retired");
}

#[test]
fn a_cloud_that_issues_nothing_is_asked_at_least_every_hour_for_ever_rule_6() {
    let mut world = device(100 * DAY, &policy());
    let mut asked = Vec::new();
    for _ in 0..100_000 {
        let end = if let Action::Do(Effect::Issue(_)) = world.action {
            asked.push(world.boot);
            End::Denied
        } else {
            End::Kind
        };
        world.end(end);
        if world.boot > 10 * 24 * HOUR {
            break;
        }
    }
    assert!(asked.len() > 10 * 24, "asked {} times in ten days", asked.len());
    assert!(asked.windows(2).all(|w| w[1] - w[0] <= HOUR + MINUTE), "a gap of more than an hour");
    assert!(asked.windows(2).skip(12).all(|w| w[1] - w[0] >= MINUTE), "a storm");
}

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
    let mut again = World::new(&policy, world.disk.clone(), world.cloud.clone(), u32::MAX / 2);
    again.boot = world.boot;
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
fn five_early_closes_in_ten_minutes_are_another_client_and_no_rotation_goes_on_rule_22() {
    let mut world = device(DAY, &policy());
    let mut closes = 0;
    for _ in 0..200 {
        if matches!(world.action, Action::Wait(_)) && world.session.is_some() {
            // Somebody else connects with our client id.
            world.end(End::WaitClosed);
            closes += 1;
        } else {
            world.end(End::Kind);
        }
        if world.machine.contested() {
            break;
        }
    }
    assert!(world.machine.contested() && closes == 5, "{closes} closes");
    let began = world.boot;
    let at = Now { wall: super::cloud::wall_of(began), boot: began, synchronised: true, dice: 0 };
    world.action = world.machine.step(at, Input::Order(Order::Rotate));
    let mut connects = Vec::new();
    live(&mut world, began + 29 * MINUTE, |world, effect| {
        assert!(!matches!(effect, Effect::Issue(_) | Effect::Prove(_)), "no rotation while contested");
        if let Effect::Connect(_) = effect {
            connects.push(world.boot);
        }
        true
    });
    assert!(
        connects.iter().all(|at| at - began >= 10 * MINUTE - 2_000),
        "paced at ten minutes at least: {connects:?}"
    );
    assert!(!connects.is_empty(), "it never stops trying");
    live(&mut world, began + 3 * HOUR, |_, _| true);
    assert_eq!(world.unclean(), None, "the other one is gone, so it goes on by itself");
}

fn now(wall: i64, boot: Boot, synchronised: bool) -> Now {
    Now { wall, boot, synchronised, dice: 0 }
}

#[test]
fn a_clock_at_1970_is_waited_for_ten_minutes_and_then_the_floor_is_used_rule_26() {
    let mut machine = Rotation::new(policy());
    assert_eq!(machine.step(now(60, 60_000, false), Input::Woke), Action::Do(Effect::Inspect));
    let mut action = machine.step(now(60, 60_000, false), Input::Done(Outcome::Inspected(nothing())));
    let mut boot = 60_000;
    while let Action::Wait(wait) = action {
        assert_eq!(wait.why, Why::Clock);
        boot = wait.until;
        assert!(boot <= 60_000 + 10 * MINUTE);
        action = machine.step(now(60, boot, false), Input::Woke);
    }
    assert_eq!(boot, 60_000 + 10 * MINUTE);
    assert_eq!(action, Action::Do(Effect::Connect(Carrier::Claim)));
    let wall = |boot| machine.wall(&now(60, boot, false));
    assert_eq!(wall(boot), policy().built_at + 10 * 60, "the floor and what has passed since, not 1970");
    assert_eq!(wall(boot + HOUR), wall(boot) + 3_600, "time goes on");
}

#[test]
fn a_clock_that_the_kernel_vouches_for_is_not_waited_for_rule_26() {
    let mut machine = Rotation::new(policy());
    machine.step(now(60, 60_000, true), Input::Woke);
    let action = machine.step(now(60, 60_000, true), Input::Done(Outcome::Inspected(nothing())));
    assert_eq!(action, Action::Do(Effect::Connect(Carrier::Claim)));
}

#[test]
fn a_step_of_the_clock_holds_every_rotation_for_a_quarter_of_an_hour_rule_27() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    let at = world.boot;
    let wall = EPOCH + 400 * DAY;
    let held = world.machine.step(now(wall, at, true), Input::Woke);
    let Action::Do(Effect::Record(Record::Worked(_))) = held else { panic!("{held:?}") };
    let action = world.machine.step(now(wall, at, true), Input::Done(Outcome::Done));
    let Action::Wait(wait) = action else { panic!("no rotation right after a step of a year: {action:?}") };
    assert_eq!((wait.why, wait.until), (Why::ClockStepped, at + 15 * MINUTE));
    let later = wall + 900;
    let action = world.machine.step(now(later, wait.until, true), Input::Woke);
    assert!(matches!(action, Action::Do(Effect::Issue(_))), "then everything is evaluated anew: {action:?}");
}

#[test]
fn what_is_overdue_at_start_waits_at_most_the_splay_and_nothing_when_expired_rule_28() {
    let policy = Policy { splay: DAY, ..policy() };
    let first = |age: i64| {
        let mut world = device(age, &policy);
        let mut at = None;
        live(&mut world, 2 * 24 * HOUR, |world, effect| {
            if let Effect::Issue(_) = effect {
                at = Some(world.boot);
            }
            at.is_none()
        });
        at.expect("it is issued")
    };
    let late = first(100 * DAY);
    assert!(
        late > HOUR && late <= 24 * HOUR + MINUTE,
        "half of the splay by the dice: {} min",
        late / MINUTE
    );
    // AWS's end is 2049; this age puts today behind it.
    assert!(first((2_524_607_999 - EPOCH) / DAY * DAY) <= 24 * HOUR + MINUTE);
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    disk.slots[0].certificate.as_mut().unwrap().not_after = EPOCH - DAY;
    let mut world = World::new(&policy, disk, cloud, u32::MAX / 2);
    let mut at = None;
    live(&mut world, HOUR, |world, effect| {
        if let Effect::Issue(_) = effect {
            at = Some(world.boot);
        }
        at.is_none()
    });
    assert!(at.is_some_and(|at| at < 2 * MINUTE), "an expired one is renewed at once: {at:?}");
}

fn cloud_order(world: &mut World, order: CloudOrder) {
    let at = Now {
        wall: super::cloud::wall_of(world.boot),
        boot: world.boot,
        synchronised: true,
        dice: u32::MAX / 2,
    };
    world.action = world.machine.step(at, Input::Order(Order::Cloud(order)));
}

#[test]
fn an_order_of_the_cloud_acts_once_while_its_condition_is_true_and_a_repeated_one_cannot_loop() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    let order = CloudOrder { certificate: Some(id_of(0)), issued_before: None, within: 0 };
    for hour in 2..30 {
        cloud_order(&mut world, order);
        live(&mut world, hour * HOUR, |_, _| true);
    }
    assert_eq!(world.rotations, 1, "the retained message came 28 times");
    let older = CloudOrder { certificate: None, issued_before: Some(EPOCH - 400 * DAY), within: 0 };
    cloud_order(&mut world, older);
    live(&mut world, 40 * HOUR, |_, _| true);
    assert_eq!(world.rotations, 1, "its condition is not true");
    let unconditional = CloudOrder { certificate: None, issued_before: None, within: 0 };
    cloud_order(&mut world, unconditional);
    live(&mut world, 50 * HOUR, |_, _| true);
    assert_eq!(world.rotations, 1, "one without a condition never acts");
}

#[test]
fn orders_of_the_cloud_keep_the_least_interval_and_spread_over_the_time_given() {
    let mut world = device(10, &policy());
    live(&mut world, 2 * MINUTE, |_, _| true);
    cloud_order(&mut world, CloudOrder { certificate: Some(id_of(0)), issued_before: None, within: 0 });
    let mut at = None;
    live(&mut world, 3 * HOUR, |world, effect| {
        if let Effect::Issue(_) = effect {
            at.get_or_insert(world.boot);
        }
        true
    });
    assert!(at.is_some_and(|at| at >= HOUR - MINUTE), "min-interval is an hour: {at:?}");

    let mut world = device(DAY, &policy());
    live(&mut world, 2 * MINUTE, |_, _| true);
    cloud_order(
        &mut world,
        CloudOrder { certificate: Some(id_of(0)), issued_before: None, within: 6 * 3_600 },
    );
    let mut at = None;
    live(&mut world, 7 * HOUR, |world, effect| {
        if let Effect::Issue(_) = effect {
            at.get_or_insert(world.boot);
        }
        true
    });
    assert!(
        at.is_some_and(|at| (2 * HOUR..=4 * HOUR).contains(&at)),
        "half of six hours by the dice: {at:?}"
    );
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
        let mut world = World::new(&policy, disk, cloud, u32::MAX / 2);
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
fn a_device_without_a_serial_waits_and_asks_nobody() {
    let mut disk = nothing();
    disk.serial_known = false;
    let mut world = World::new(&policy(), disk, Cloud::default(), 7);
    live(&mut world, 48 * HOUR, |_, effect| {
        assert_eq!(effect, Effect::Inspect);
        true
    });
    assert_eq!(why(&world), Some(Why::Serial));
}

#[test]
fn an_operator_who_takes_the_device_offline_is_obeyed_until_he_connects_it_again() {
    let mut world = device(100 * DAY, &policy());
    let at =
        |w: &World| Now { wall: super::cloud::wall_of(w.boot), boot: w.boot, synchronised: true, dice: 1 };
    live(&mut world, HOUR, |_, _| true);
    world.action = world.machine.step(at(&world), Input::Order(Order::Disconnect));
    assert_eq!(world.action, Action::Do(Effect::Hangup));
    live(&mut world, 200 * 24 * HOUR, |_, effect| {
        assert!(matches!(effect, Effect::Hangup), "offline means offline: {effect:?}");
        true
    });
    world.action = world.machine.step(at(&world), Input::Order(Order::Connect));
    let began = world.boot;
    live(&mut world, began + HOUR, |_, _| true);
    assert_eq!(world.unclean(), None, "and the rotation that fell due meanwhile is made up for");
}

#[test]
fn the_network_alone_never_leads_to_the_claim_or_to_another_generation_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let mut world = with_predecessor(&policy);
    live(&mut world, HOUR, |_, _| true);
    world.end(End::WaitClosed);
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
fn generations_beyond_those_kept_leave_the_disk_only_when_retired_rule_18() {
    let policy = Policy { keep_generations: 1, ..policy() };
    let mut world = device(100 * DAY, &policy);
    world.commits_refused = true;
    live(&mut world, 24 * HOUR, |_, effect| {
        assert!(!matches!(effect, Effect::Remove(_)), "not before the cloud has retired it");
        true
    });
    assert_eq!(world.disk.slots.len(), 2);
    world.commits_refused = false;
    live(&mut world, 48 * HOUR, |_, _| true);
    assert_eq!(world.disk.slots.len(), 1);
}

#[test]
fn retire_delay_gives_other_holders_their_time_and_survives_a_restart() {
    let policy = Policy { retire_delay: 6 * 3_600, ..policy() };
    let mut world = device(100 * DAY, &policy);
    let mut switched = 0;
    live(&mut world, HOUR, |world, effect| {
        if let Effect::Switch(_) = effect {
            switched = world.boot;
        }
        assert!(!matches!(effect, Effect::Commit(_)));
        true
    });
    world.end(End::WaitCut);
    let mut committed = 0;
    live(&mut world, 8 * HOUR, |world, effect| {
        if let Effect::Commit(_) = effect {
            committed = world.boot;
        }
        true
    });
    assert!(committed - switched >= 6 * HOUR && committed - switched < 7 * HOUR, "{switched} {committed}");
}

#[test]
fn a_lost_session_is_connected_again_no_faster_than_once_a_second() {
    let mut world = device(DAY, &policy());
    world.dice = 0;
    live(&mut world, HOUR, |_, _| true);
    let mut connects = Vec::new();
    for _ in 0..400 {
        match world.action {
            Action::Do(Effect::Connect(_)) => {
                connects.push(world.boot);
                world.end(End::Refused);
            }
            Action::Wait(_) if world.session.is_some() => world.end(End::WaitClosed),
            _ => world.end(End::Kind),
        }
    }
    assert!(connects.len() > 20);
    assert!(
        connects.windows(2).all(|w| w[1] - w[0] >= 1_000),
        "AWS takes one CONNECT a second per client id"
    );
}

#[test]
fn an_outcome_that_nobody_waits_for_and_a_session_that_was_not_there_change_nothing() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    let at = Now { wall: super::cloud::wall_of(world.boot), boot: world.boot, synchronised: true, dice: 1 };
    let before = world.machine.step(at, Input::Woke);
    assert_eq!(world.machine.step(at, Input::Done(Outcome::Failed(Trouble::Lost))), before);
    let mut fresh = Rotation::new(policy());
    assert_eq!(fresh.step(at, Input::Happened(Happening::Closed)), Action::Do(Effect::Inspect));
}

#[test]
fn a_certificate_that_was_accepted_just_before_its_tokens_end_is_not_dropped_while_it_is_not_seen_yet_rule_1()
{
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    add(&mut disk, &mut cloud, 3_500, Stage::Issued, Asked::Unanswered, false);
    let mut world = World::new(&policy(), disk, cloud, u32::MAX / 8);
    while !matches!(world.action, Action::Do(Effect::Register(2))) {
        world.end(End::Kind);
    }
    assert!(world.boot < 100_000, "before the token's end");
    world.end(End::SeenLate);
    let until = world.boot + 2 * HOUR;
    live(&mut world, until, |_, effect| {
        assert_ne!(effect, Effect::Remove(2), "alive, and seen by the broker in a moment");
        true
    });
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(2), None));
}

#[test]
fn an_operators_provision_that_the_devices_own_session_overtakes_is_forgotten_rule_20() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    world.end(End::WaitClosed);
    let at = Now { wall: world.wall(), boot: world.boot, synchronised: true, dice: 1 };
    while !matches!(world.action, Action::Do(Effect::Connect(Carrier::Generation(1)))) {
        world.end(End::Kind);
    }
    // Ordered while the device's own connection is under way, which then succeeds.
    assert_eq!(world.machine.step(at, Input::Order(Order::Provision)), Action::Keep);
    world.end(End::Kind);
    let until = world.boot + HOUR;
    live(&mut world, until, |_, _| true);
    world.end(End::WaitClosed);
    let until = world.boot + HOUR;
    live(&mut world, until, |_, effect| {
        assert_ne!(effect, Effect::Connect(Carrier::Claim), "weeks later nobody wants the claim any more");
        true
    });
    assert_eq!(world.unclean(), None);
}

#[test]
fn a_pair_that_connects_and_lacks_its_rights_for_a_day_is_left_for_the_other_one_rule_19() {
    let policy = Policy { retire: RetireMode::None, ..policy() };
    let mut world = with_predecessor(&policy);
    live(&mut world, HOUR, |_, _| true);
    world.end(End::WaitClosed);
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
fn a_wait_whose_reason_has_passed_is_no_loop_without_pace() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 0, Stage::Issued, Asked::Never, false);
    // A state.json that lost its token: nothing can be asked, and nothing says when that ends but the pair's age.
    disk.slots[0].token_ends = None;
    let mut world = World::new(&policy(), disk, cloud, u32::MAX / 2);
    for _ in 0..20 {
        if let Action::Wait(wait) = world.action {
            assert!(wait.until >= world.boot + 1_000, "{wait:?} at {}", world.boot);
        }
        world.end(End::Kind);
    }
    live(&mut world, 2 * HOUR, |_, _| true);
    assert_eq!(world.unclean(), None, "the pair was dropped and another one issued");
}
