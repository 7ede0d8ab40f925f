//! Single stories of the core, each named after the rule that it proves: what the exhaustive walk cannot reach because
//! it takes days, a second client, or a wrong clock. Here: how a story is begun and lived.

#[path = "scenarios/claim.rs"]
mod claim;
#[path = "scenarios/clock.rs"]
mod clock;
#[path = "scenarios/disks.rs"]
mod disks;
#[path = "scenarios/doubt.rs"]
mod doubt;
#[path = "scenarios/failures.rs"]
mod failures;
#[path = "scenarios/orders.rs"]
mod orders;
#[path = "scenarios/patience.rs"]
mod patience;
#[path = "scenarios/renewal.rs"]
mod renewal;
#[path = "scenarios/session.rs"]
mod session;
#[path = "scenarios/way_back.rs"]
mod way_back;
#[path = "scenarios/words.rs"]
mod words;

use super::cloud::{Cloud, Status, wall_of};
use super::ends::End;
use super::world::World;
use super::{DAY, add, nothing};
use certrotd::rotation::{
    Action, Asked, Boot, CloudOrder, Current, Effect, Input, Now, Order, Policy, Stage, Why,
};

const MINUTE: Boot = 60_000;
const HOUR: Boot = 60 * MINUTE;

/// A device in use, so old, with its cloud.
fn device(age: i64, policy: &Policy) -> World {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    let n = add(&mut disk, &mut cloud, age, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(n);
    cloud.certificates[0].committed = true;
    World::new(policy, disk, cloud, Some(u32::MAX / 2))
}

/// Two generations alive, the newer in use.
fn with_predecessor(policy: &Policy) -> World {
    let (mut disk, mut cloud) = (nothing(), Cloud::default());
    add(&mut disk, &mut cloud, 60 * DAY, Stage::Proved, Asked::Unanswered, true);
    let b = add(&mut disk, &mut cloud, DAY, Stage::Proved, Asked::Unanswered, true);
    disk.current = Current::Names(b);
    World::new(policy, disk, cloud, Some(u32::MAX / 2))
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

fn now(wall: i64, boot: Boot, synchronised: bool) -> Now {
    Now { wall, boot, synchronised, dice: 0 }
}

fn cloud_order(world: &mut World, order: CloudOrder) {
    let at = Now { wall: wall_of(world.boot), boot: world.boot, synchronised: true, dice: u32::MAX / 2 };
    world.reasons += 1;
    world.action = world.machine.step(at, Input::Order(Order::Cloud(order)));
}
