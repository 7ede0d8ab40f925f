//! The claim's connection: shared with a whole fleet, so not held, not sought and not used more than is needed.

use certrotd::rotation::{
    Action, Asked, Boot, Carrier, Current, Effect, Input, Link, Now, Origin, Outcome, Policy, Stage, Verdict,
    Why,
};

use super::super::cloud::{Cloud, Status};
use super::super::ends::End;
use super::super::world::World;
use super::super::{DAY, add, nothing, policy};
use super::{HOUR, MINUTE, device, live, why};

/// A device without an identity that is about to ask for a certificate, with dice that show the least.
fn asking() -> World {
    let mut world = World::new(&policy(), nothing(), Cloud::default(), Some(0));
    live(&mut world, HOUR, |_, effect| effect != Effect::Issue(Origin::Claim));
    assert_eq!(world.session, Some(Carrier::Claim));
    world
}

/// What is done after this answer to what is outstanding.
fn after(world: &mut World, outcome: Outcome) -> Action {
    let at = Now { wall: world.wall(), boot: world.boot, synchronised: true, dice: 0 };
    world.machine.step(at, Input::Done(outcome))
}

#[test]
fn a_claim_connection_is_kept_over_half_a_minute_and_not_over_more() {
    for (seconds, kept) in [(None, true), (Some(30), true), (Some(31), false), (Some(600), false)] {
        let mut world = asking();
        let action = after(&mut world, Outcome::Refused(Verdict::Denied, seconds));
        let waits = matches!(action, Action::Wait(wait) if wait.why == Why::IssueRefused);
        assert_eq!((waits, action == Action::Do(Effect::Hangup)), (kept, !kept), "{seconds:?}: {action:?}");
    }
    let mut world = asking();
    let action = after(&mut world, Outcome::Refused(Verdict::Silence, None));
    assert_eq!(action, Action::Do(Effect::Hangup), "nothing more is asked on a silent one (rule 2)");
}

#[test]
fn a_claim_connection_is_not_kept_while_a_pair_could_be_tried_rule_20() {
    let mut world = device(DAY, &policy());
    live(&mut world, HOUR, |_, _| true);
    super::deactivate(&mut world, 0, Boot::MAX);
    world.dice = Some(0);
    live(&mut world, 40 * HOUR, |_, effect| effect != Effect::Issue(Origin::Claim));
    let action = after(&mut world, Outcome::Refused(Verdict::Denied, None));
    assert_eq!(action, Action::Do(Effect::Hangup));
}

#[test]
fn a_claim_that_is_denied_is_asked_at_its_pace_and_not_connected_for_nothing() {
    for registers in [false, true] {
        let mut world = World::new(&policy(), nothing(), Cloud::default(), Some(u32::MAX));
        let (mut asked, mut connected) = (Vec::new(), 0);
        while world.boot < HOUR {
            let asks = match world.action {
                Action::Do(Effect::Issue(_)) => !registers,
                Action::Do(Effect::Register(_)) => registers,
                _ => false,
            };
            if asks {
                asked.push(world.boot);
            }
            connected += u32::from(world.action == Action::Do(Effect::Connect(Carrier::Claim)));
            world.end(if asks { End::Denied } else { End::Kind });
        }
        assert!((4..=10).contains(&asked.len()), "asked at {asked:?}");
        assert!(asked.windows(2).all(|w| w[1] - w[0] >= 2_000), "asked at {asked:?}");
        let asked = u32::try_from(asked.len()).unwrap();
        assert!(connected <= asked + 1, "{connected} connections to ask {asked} times");
    }
}

#[test]
fn a_first_pair_that_was_never_registered_is_registered_with_the_claim_at_once() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 0, Stage::Issued, Asked::Never, false);
    disk.slots[0].origin = Origin::Claim;
    let mut world = World::new(&policy(), disk, cloud, Some(u32::MAX / 2));
    live(&mut world, 5 * MINUTE, |_, _| true);
    assert_eq!((world.disk.current, world.unclean()), (Current::Names(1), None));
}

#[test]
fn after_a_day_without_a_pair_that_works_the_claim_comes_every_three_to_six_hours_rule_20() {
    for (dice, least, most) in [(u32::MAX / 16, 190, 200), (u32::MAX, 360, 375)] {
        let mut world = device(DAY, &policy());
        live(&mut world, HOUR, |_, _| true);
        super::deactivate(&mut world, 0, Boot::MAX);
        let mut claims: Vec<Boot> = Vec::new();
        world.dice = Some(dice);
        live(&mut world, 72 * HOUR, |world, effect| {
            if effect == Effect::Connect(Carrier::Claim) {
                claims.push(world.boot / MINUTE);
            }
            true
        });
        assert!(claims.len() > 5, "{claims:?}");
        assert!(claims.windows(2).all(|w| (least..=most).contains(&(w[1] - w[0]))), "{dice}: {claims:?}");
    }
}

#[test]
fn the_day_after_which_the_claim_comes_began_before_this_run_where_the_disk_says_so_rule_20() {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    let mut world = World::new(&policy(), disk.clone(), cloud.clone(), Some(u32::MAX / 2));
    disk.worked_at = Some(world.wall() - 20 * 3_600);
    cloud.certificates[0].status = Status::Inactive;
    world = World::new(&policy(), disk, cloud, Some(u32::MAX / 2));
    world.deactivated = Some((0, Boot::MAX));
    live(&mut world, 30 * HOUR, |_, effect| effect != Effect::Connect(Carrier::Claim));
    assert!((239..=255).contains(&(world.boot / MINUTE)), "after {} minutes", world.boot / MINUTE);
}

#[test]
fn the_first_connect_after_start_is_spread_by_one_throw_of_the_dice() {
    let policy = Policy { start_jitter: 600, ..policy() };
    for (fresh, half_done) in [(true, false), (false, false), (false, true)] {
        let (mut disk, mut cloud) = (nothing(), Cloud::default());
        if !fresh {
            let n = add(&mut disk, &mut cloud, 100 * DAY, Stage::Proved, Asked::Unanswered, true);
            disk.current = Current::Names(n);
        }
        if half_done {
            add(&mut disk, &mut cloud, 0, Stage::Issued, Asked::Unanswered, false);
        }
        let mut world = World::new(&policy, disk, cloud, Some(u32::MAX / 2));
        let began = world.boot;
        world.end(End::Kind);
        let Action::Wait(wait) = world.action else { panic!("{:?} at once", world.action) };
        assert_eq!(wait.why, Why::StartJitter);
        world.dice = Some(u32::MAX);
        for _ in 0..3 {
            world.pass(50_000);
            world.feed(Input::Woke);
            assert!(matches!(world.action, Action::Wait(_)), "{:?}", world.action);
        }
        live(&mut world, HOUR, |_, effect| !matches!(effect, Effect::Connect(_) | Effect::Prove(_)));
        assert!((299_000..=301_000).contains(&(world.boot - began)), "after {} ms", world.boot - began);
        // Afterwards it is the network that is waited for.
        world.end(End::Unreachable);
        assert_eq!((why(&world), world.machine.link()), (Some(Why::Unreachable), Link::Down));
    }
}
