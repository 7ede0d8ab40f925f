//! The session: another client with our client id, and the pace of CONNECT (rule 22).

use super::super::cloud::wall_of;
use super::super::ends::End;
use super::super::{DAY, policy};
use super::{HOUR, MINUTE, device, live};
use certrotd::rotation::{Action, Effect, Happening, Input, Now, Order, Outcome, Rotation, Trouble};

#[test]
fn five_early_closes_in_ten_minutes_are_another_client_and_no_rotation_goes_on_rule_22() {
    let mut world = device(DAY, &policy());
    let mut closes = 0;
    for _ in 0..200 {
        if matches!(world.action, Action::Wait(_)) && world.session.is_some() {
            // Somebody else connects with our client id.
            world.end(End::Closed);
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
    let at = Now { wall: wall_of(began), boot: began, synchronised: true, dice: 0 };
    world.reasons += 1;
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

#[test]
fn a_lost_session_is_connected_again_no_faster_than_once_a_second() {
    let mut world = device(DAY, &policy());
    world.dice = Some(0);
    live(&mut world, HOUR, |_, _| true);
    let mut connects = Vec::new();
    for _ in 0..400 {
        match world.action {
            Action::Do(Effect::Connect(_)) => {
                connects.push(world.boot);
                world.end(End::Refused);
            }
            Action::Wait(_) if world.session.is_some() => world.end(End::Closed),
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
    let at = Now { wall: wall_of(world.boot), boot: world.boot, synchronised: true, dice: 1 };
    let before = world.machine.step(at, Input::Woke);
    assert_eq!(world.machine.step(at, Input::Done(Outcome::Failed(Trouble::Lost))), before);
    let mut fresh = Rotation::new(policy());
    assert_eq!(fresh.step(at, Input::Happened(Happening::Closed)), Action::Do(Effect::Inspect));
}

#[test]
fn a_session_that_a_forbidden_request_or_our_own_take_over_closes_is_no_second_client_rule_22() {
    for closes in [true, false] {
        let mut world = device(100 * DAY, &policy());
        world.dice = Some(0);
        let mut closed = 0;
        while closed < 12 && world.boot < HOUR {
            let asks = match world.action {
                Action::Do(Effect::Issue(_)) => closes,
                Action::Do(Effect::Prove(_)) => !closes,
                _ => false,
            };
            if asks && world.session.is_some() {
                closed += 1;
                world.end(End::Closed);
                world.end(if closes { End::RequestLost } else { End::Refused });
            } else {
                world.end(End::Kind);
            }
            assert!(!world.machine.contested(), "after {closed} closes in {} s", world.boot / 1_000);
        }
        assert!(closed >= 6, "{closed} closes");
    }
}

#[test]
fn closes_that_are_two_minutes_apart_are_another_client_and_three_minutes_apart_are_weather_rule_22() {
    for (apart, stranger) in [(2, true), (3, false)] {
        let mut world = device(DAY, &policy());
        world.dice = Some(0);
        for n in 1..=5 {
            live(&mut world, n * apart * MINUTE, |_, _| true);
            world.end(End::Closed);
        }
        assert_eq!(world.machine.contested(), stranger, "{apart} minutes apart");
    }
}
