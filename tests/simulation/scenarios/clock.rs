//! Clocks that are wrong, that step, and what is overdue at start (rules 26 to 28).

use super::super::cloud::{Cloud, EPOCH, wall_of};
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, device, live, now};
use certrotd::rotation::{
    Action, Asked, Carrier, Current, Effect, Input, Outcome, Policy, Record, Rotation, Stage, Why,
};

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
    let Action::Do(Effect::Record(Record::Worked(..))) = held else { panic!("{held:?}") };
    let action = world.machine.step(now(wall, at, true), Input::Done(Outcome::Done));
    let Action::Wait(wait) = action else { panic!("no rotation right after a step of a year: {action:?}") };
    assert_eq!((wait.why, wait.until), (Why::ClockStepped, at + 15 * MINUTE));
    let later = wall + 900;
    let action = world.machine.step(now(later, wait.until, true), Input::Woke);
    assert!(matches!(action, Action::Do(Effect::Issue(_))), "then everything is evaluated anew: {action:?}");
}

#[test]
fn a_time_that_no_kernel_vouched_for_is_no_floor_when_the_clock_is_set_right_rule_26() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    let right = |boot| wall_of(boot);
    // Somebody sets the clock seventy years ahead, the session goes on, a day later somebody sets it right.
    world.vouched = false;
    // One falls due by that clock, and its successor a day later.
    world.reasons += 2;
    world.skew = 70 * 365 * DAY;
    world.feed(Input::Woke);
    live(&mut world, 26 * HOUR, |_, _| true);
    world.skew = 0;
    world.feed(Input::Woke);
    live(&mut world, 27 * HOUR, |_, _| true);
    world.restart();
    let time = world.machine.wall(&now(right(world.boot), world.boot, false));
    assert_eq!(
        time,
        right(world.boot),
        "not seventy years ahead, where every server certificate has expired"
    );
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
    let mut world = World::new(&policy, disk, cloud, Some(u32::MAX / 2));
    let mut at = None;
    live(&mut world, HOUR, |world, effect| {
        if let Effect::Issue(_) = effect {
            at = Some(world.boot);
        }
        at.is_none()
    });
    assert!(at.is_some_and(|at| at < 2 * MINUTE), "an expired one is renewed at once: {at:?}");
}

#[test]
fn what_falls_due_while_the_program_runs_does_not_wait_rule_28() {
    let policy = Policy { splay: DAY, ..policy() };
    let mut world = device(90 * DAY - 7_200, &policy);
    live(&mut world, 12 * HOUR, |_, effect| !matches!(effect, Effect::Issue(_)));
    assert!((2 * HOUR - MINUTE..=2 * HOUR + MINUTE).contains(&world.boot), "{} min", world.boot / MINUTE);
}
