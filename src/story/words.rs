//! The words for rules, stages, steps and outcomes, as status, history, events and log have them. Plain tables.

use crate::clock::Clock;
use crate::control::wire::{Stage as WireStage, Time};
use crate::rotation::{Carrier, Effect, Outcome, Rule, Stage};

/// The wall time of an event.
pub fn now(clock: &Clock) -> Time {
    Time(jiff::Timestamp::from_millisecond(clock.wall_millis()).unwrap_or_default())
}

/// The word of a rule, as status and history have it.
pub fn rule_word(rule: Rule) -> &'static str {
    match rule {
        Rule::MaxAge => "max-age",
        Rule::RenewBefore => "renew-before",
        Rule::Operator => "order",
        Rule::Cloud => "cloud",
        Rule::Fallback => "fallback",
    }
}

/// The stage of a generation, as the status has it.
pub fn stage_word(stage: Stage) -> WireStage {
    match stage {
        Stage::Issued => WireStage::Issued,
        Stage::Registered => WireStage::Registered,
        Stage::Proved => WireStage::Proved,
    }
}

/// Whether an effect opens an operation by itself.
pub(super) fn opens_operation(effect: Effect) -> bool {
    matches!(
        effect,
        Effect::Connect(Carrier::Claim) | Effect::Issue(_) | Effect::Register(_) | Effect::Prove(_)
    )
}

/// The step of an operation that an effect is, where it is one.
pub(super) fn step_of(effect: Effect) -> Option<&'static str> {
    match effect {
        Effect::Connect(Carrier::Claim) => Some("claim"),
        Effect::Issue(_) => Some("issue"),
        Effect::Register(_) => Some("register"),
        Effect::Prove(_) => Some("prove"),
        Effect::Switch(_) => Some("switch"),
        Effect::Commit(_) => Some("retire"),
        _ => None,
    }
}

/// The word of an outcome, for DEBUG lines.
pub(super) fn word_of(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Inspected(_) => "inspected",
        Outcome::Done => "done",
        Outcome::Issued(_) => "issued",
        Outcome::Registered => "registered",
        Outcome::Committed => "committed",
        Outcome::Failed(_) => "failed",
        Outcome::Refused(..) => "refused",
        Outcome::Local => "local failure",
    }
}
