//! Orders of the cloud and of operators, and a serial that nobody has given.

use super::super::cloud::{Cloud, EPOCH, id_of, wall_of};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, nothing, policy};
use super::{HOUR, MINUTE, cloud_order, device, live, why};
use certrotd::rotation::{Action, Carrier, CloudOrder, Effect, Input, Now, Order, Why};

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
fn a_device_without_a_serial_waits_and_asks_nobody() {
    let mut disk = nothing();
    disk.serial_known = false;
    let mut world = World::new(&policy(), disk, Cloud::default(), Some(7));
    live(&mut world, 48 * HOUR, |_, effect| {
        assert_eq!(effect, Effect::Inspect);
        true
    });
    assert_eq!(why(&world), Some(Why::Serial));
}

#[test]
fn an_operator_who_takes_the_device_offline_is_obeyed_until_he_connects_it_again() {
    let mut world = device(100 * DAY, &policy());
    let at = |w: &World| Now { wall: wall_of(w.boot), boot: w.boot, synchronised: true, dice: 1 };
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
fn an_operators_provision_that_the_devices_own_session_overtakes_is_forgotten_rule_20() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    world.end(End::Closed);
    let at = Now { wall: world.wall(), boot: world.boot, synchronised: true, dice: 1 };
    while !matches!(world.action, Action::Do(Effect::Connect(Carrier::Generation(1)))) {
        world.end(End::Kind);
    }
    // Ordered while the device's own connection is under way, which then succeeds.
    assert_eq!(world.machine.step(at, Input::Order(Order::Provision)), Action::Keep);
    world.end(End::Kind);
    let until = world.boot + HOUR;
    live(&mut world, until, |_, _| true);
    world.end(End::Closed);
    let until = world.boot + HOUR;
    live(&mut world, until, |_, effect| {
        assert_ne!(effect, Effect::Connect(Carrier::Claim), "weeks later nobody wants the claim any more");
        true
    });
    assert_eq!(world.unclean(), None);
}
