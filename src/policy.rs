//! From the configuration to what the core decides by; and who the operators and the users of messages are.
//!
//! Plain translation, no judgement: every value has been checked by `config`.

use std::collections::BTreeSet;

use crate::clock::BUILT_AFTER;
use crate::config::{self, Config, Duration};
use crate::rotation::{MachineChange, Policy, RetireMode, schedule};
use crate::world::Who;

/// The policy that a configuration asks for.
pub fn of(config: &Config, who: Option<&Who>) -> Policy {
    let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap_or(i64::MAX / 4);
    let rotation = &config.rotation;
    Policy {
        max_age: rotation.max_age.map(seconds),
        renew_before: seconds(rotation.renew_before),
        check_interval: seconds(rotation.check_interval),
        splay: seconds(rotation.splay),
        spread: who.map_or(0, |w| schedule::spread_of(&w.thing)),
        min_interval: seconds(rotation.min_interval),
        fallback_after: seconds(config.claim.fallback_after),
        retire_delay: seconds(config.retire.delay),
        retire: match config.retire.mode {
            config::RetireMode::CommitTopic => RetireMode::CommitTopic,
            config::RetireMode::None => RetireMode::None,
        },
        keep_generations: config.retire.keep_generations,
        start_jitter: seconds(config.session.start_jitter),
        machine_change: match config.identity.machine_change {
            config::MachineChange::Report => MachineChange::Report,
            config::MachineChange::Hold => MachineChange::Hold,
            config::MachineChange::Provision => MachineChange::Provision,
        },
        built_at: BUILT_AFTER,
        enabled: rotation.enabled,
    }
}

/// The users who may change things, by number.
pub fn operators(config: &Config) -> BTreeSet<u32> {
    known(&config.control.operators, "control.operators")
}

/// The users who may publish and subscribe: those of `[messages]`, and the operators.
pub fn users(config: &Config) -> BTreeSet<u32> {
    let mut uids: BTreeSet<u32> = config.control.operators.iter().filter_map(config::User::uid).collect();
    uids.extend(known(&config.messages.users, "messages.users"));
    uids
}

fn known(users: &config::Users, key: &str) -> BTreeSet<u32> {
    let mut uids: BTreeSet<u32> = BTreeSet::new();
    for user in users.iter() {
        match user.uid() {
            Some(uid) => {
                uids.insert(uid);
            }
            None => tracing::warn!(%user, "no such user: it is in {key} and lets nobody in"),
        }
    }
    uids
}
