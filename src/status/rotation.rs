//! The part of the status that speaks of rotations: the one to come, the last one, the policy in force.

use crate::control::wire;
use crate::rotation::{Now, Rotation};
use crate::story::{Story, rule_word};
use crate::world::World;

/// The rotation to come, the last one, and the policy in force.
pub(super) fn to_wire(world: &World, machine: &Rotation, story: &Story, at: &Now) -> wire::Rotation {
    let (due, policy) = (machine.due(at), &world.config.rotation);
    wire::Rotation {
        enabled: machine.policy().enabled,
        due_at: due.map(|d| wire::Time::from_seconds(d.at)),
        rule: due.map(|d| rule_word(d.rule).to_owned()),
        overdue_seconds: 0,
        last_result: story.last.clone(),
        failures: story.failures,
        max_age: Some(policy.max_age.map_or_else(|| "never".to_owned(), |age| age.to_string())),
        renew_before: Some(policy.renew_before.to_string()),
        check_interval: Some(policy.check_interval.to_string()),
    }
}
