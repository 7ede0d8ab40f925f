//! The planner: what is wanted, what is there, and the steps between. Pure.
//!
//! ```text
//! desired ─┐
//!          ├─▶ plan ─▶ steps, each with its act, its words and its reason ─▶ printed, or done one by one
//! observed ┘
//! ```
//! Rules that it keeps:
//! - what carries the fleet's names but not its tag is somebody else's: nothing is planned at all;
//! - a policy that live certificates rest on is not edited: a changed document has another name. What somebody else
//!   edited in place is set back. `Mode::InPlace` is the exception, for an emergency;
//! - a new device policy is tried (`Act::CheckPolicy`) before a template names it;
//! - AWS keeps five versions of a policy or template: the oldest goes before a fifth is made;
//! - an older policy goes when nothing is attached to it and no kept version of a template names it.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::desired::Desired;
use crate::model::{Body, Id, Kind, Observed, Seen};
use crate::names::Fleet;

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Step {
    /// What is done.
    pub act: Act,
    /// The same in words.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What a step does. What it needs to know beyond this is in `Desired`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// Make it, tagged.
    Create(Id),
    /// Give it the tag back.
    Tag(Id),
    /// Set these fields to what is wanted.
    Update(Id, Vec<String>),
    /// Make a version with this document and put it in force.
    CreateVersion(Id, Value),
    /// Put an older version in force.
    UseVersion(Id, i32),
    /// Remove a version that is not in force.
    DeleteVersion(Id, i32),
    /// Try a device policy with TestAuthorization before anything uses it.
    CheckPolicy(String),
    /// Give a claim certificate the new claim policy, then take the old one away.
    MoveClaim {
        /// The certificate.
        certificate: String,
        /// The policy that it has.
        from: String,
        /// The policy that it gets.
        to: String,
    },
    /// Remove it.
    Delete(Id),
}

/// How a changed policy reaches devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// As they rotate.
    #[default]
    AsTheyRotate,
    /// At once: older policies in use get the new document as well.
    InPlace,
    /// Back: the templates use the version before the one in force.
    Rollback,
}

/// What is planned.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Plan {
    /// In this order.
    pub steps: Vec<Step>,
    /// What is left as it is and may surprise.
    pub notes: Vec<String>,
}

/// Why nothing is planned.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Somebody else's resources have the fleet's names.
    #[error("not this fleet's, for want of its tag: {}", list(.0))]
    Foreign(Vec<Id>),
    /// There is no version to go back to.
    #[error("{0} has no earlier version to go back to")]
    NoEarlier(Id),
    /// The policy that the earlier version names is gone.
    #[error("the earlier version of {0} names the policy {1}, which is not there any more")]
    PolicyGone(Id, String),
}

impl PlanError {
    /// Who can clear it, and how.
    pub fn remedy(&self) -> &'static str {
        match self {
            PlanError::Foreign(_) => {
                "choose another --name; or, if they are yours from before, say --adopt, which tags them and sets them right"
            }
            PlanError::NoEarlier(_) | PlanError::PolicyGone(..) => {
                "check out the release that you want back and run its setup; with --in-place if devices must have it at once"
            }
        }
    }
}

/// Works out the steps. `known` are the ids that the ledger says this tool made: a lost tag on one is mended.
pub fn plan(
    fleet: &Fleet,
    desired: &Desired,
    observed: &Observed,
    known: &BTreeSet<Id>,
    mode: Mode,
) -> Result<Plan, PlanError> {
    let foreign: Vec<Id> = desired
        .resources
        .keys()
        .filter(|id| observed.resources.get(id).is_some_and(|s| !s.tagged) && !known.contains(id))
        .filter(|id| id.kind != Kind::Permission)
        .cloned()
        .collect();
    if !foreign.is_empty() {
        return Err(PlanError::Foreign(foreign));
    }
    let mut plan = Plan::default();
    if mode == Mode::Rollback {
        return back(fleet, observed).map(|steps| Plan { steps, notes: Vec::new() });
    }
    for (id, body) in &desired.resources {
        if id.kind == Kind::Template && id.name == fleet.claim_template() {
            policies_first(fleet, desired, observed, mode, &mut plan);
        }
        match observed.resources.get(id) {
            None => plan.steps.push(step(Act::Create(id.clone()), format!("make {id}"), "it is not there")),
            Some(seen) => mend(id, body, seen, &mut plan.steps),
        }
    }
    leftovers(fleet, desired, observed, &mut plan);
    Ok(plan)
}

/// What is to be done between the policies and the templates that name them.
fn policies_first(fleet: &Fleet, desired: &Desired, observed: &Observed, mode: Mode, plan: &mut Plan) {
    let in_use = |name: &str| {
        observed
            .resources
            .iter()
            .filter(|(id, _)| id.kind == Kind::Template)
            .any(|(_, seen)| names(seen, name))
    };
    if !in_use(&desired.device_policy) {
        plan.steps.push(step(
            Act::CheckPolicy(desired.device_policy.clone()),
            format!("try policy {} with TestAuthorization", desired.device_policy),
            "no template names it yet",
        ));
    }
    for (id, seen) in older(observed, &fleet.device_policy_prefix(), &desired.device_policy) {
        if mode == Mode::InPlace && !seen.targets.is_empty() {
            let Some(document) = desired.policy(&desired.device_policy) else { continue };
            let why = format!("--in-place: {} rest on it", count(seen.targets.len(), "certificate"));
            version(id, document, seen, &why, &mut plan.steps);
        }
    }
    for (id, seen) in older(observed, &fleet.claim_policy_prefix(), &desired.claim_policy) {
        for certificate in &seen.targets {
            plan.steps.push(step(
                Act::MoveClaim {
                    certificate: certificate.clone(),
                    from: id.name.clone(),
                    to: desired.claim_policy.clone(),
                },
                format!("move claim certificate {} to policy {}", short(certificate), desired.claim_policy),
                "its policy is an older one, and nothing else can renew it",
            ));
        }
    }
}

fn mend(id: &Id, want: &Body, seen: &Seen, steps: &mut Vec<Step>) {
    if !seen.tagged && id.kind.has_tags() {
        steps.push(step(Act::Tag(id.clone()), format!("tag {id}"), "it lost the fleet's tag"));
    }
    let mut fields = want.differences(&seen.body);
    let document = match want {
        Body::Policy { document } => Some((document, "document")),
        Body::Template { body, .. } => Some((body, "body")),
        _ => None,
    };
    if let Some((document, field)) = document
        && fields.iter().any(|f| f == field)
    {
        fields.retain(|f| f != field);
        let why = match id.kind {
            Kind::Policy => "it was edited in place by somebody else",
            _ => "its document changed",
        };
        version(id, document, seen, why, steps);
    }
    if !fields.is_empty() {
        let words = fields.join(", ");
        let why = format!("differs in {words}");
        steps.push(step(Act::Update(id.clone(), fields), format!("set {words} of {id}"), &why));
    }
}

/// Puts a document in force: by a version that has it already, or by a new one, with room made for it.
fn version(id: &Id, document: &Value, seen: &Seen, why: &str, steps: &mut Vec<Step>) {
    if let Some(v) = seen.versions.iter().find(|v| v.document == *document) {
        if !v.default {
            let what = format!("put version {} of {id} in force again", v.number);
            steps.push(step(Act::UseVersion(id.clone(), v.number), what, why));
        }
        return;
    }
    let mut spare: Vec<i32> = seen.versions.iter().filter(|v| !v.default).map(|v| v.number).collect();
    spare.sort_unstable();
    let excess = (seen.versions.len() + 1).saturating_sub(VERSIONS_KEPT);
    for number in spare.into_iter().take(excess) {
        let what = format!("remove version {number} of {id}");
        steps.push(step(
            Act::DeleteVersion(id.clone(), number),
            what,
            "AWS keeps five, and a new one needs room",
        ));
    }
    let what = format!("make a version of {id} and put it in force");
    steps.push(step(Act::CreateVersion(id.clone(), document.clone()), what, why));
}

/// Older policies: gone when nothing needs them, told otherwise.
fn leftovers(fleet: &Fleet, desired: &Desired, observed: &Observed, plan: &mut Plan) {
    for (id, seen) in older(observed, &fleet.device_policy_prefix(), &desired.device_policy) {
        if !seen.targets.is_empty() {
            plan.notes.push(format!(
                "{id} stays: {} rest on it and leave it as they rotate",
                count(seen.targets.len(), "certificate")
            ));
        } else if kept_by_a_template(observed, &id.name) {
            plan.notes.push(format!("{id} stays: an earlier version of a template names it, for --rollback"));
        } else {
            let why = "an older policy that nothing is attached to";
            plan.steps.push(step(Act::Delete(id.clone()), format!("remove {id}"), why));
        }
    }
    for (id, _) in older(observed, &fleet.claim_policy_prefix(), &desired.claim_policy) {
        let why = "an older claim policy, and its certificates have the new one";
        plan.steps.push(step(Act::Delete(id.clone()), format!("remove {id}"), why));
    }
}

/// Steps of `--rollback`: each template goes to the highest version below the one in force.
fn back(fleet: &Fleet, observed: &Observed) -> Result<Vec<Step>, PlanError> {
    let mut steps = Vec::new();
    for name in [fleet.claim_template(), fleet.rotation_template()] {
        let id = Id::new(Kind::Template, name);
        let versions = observed.resources.get(&id).map_or(&[][..], |s| &s.versions);
        let current = versions.iter().find(|v| v.default).map_or(0, |v| v.number);
        let earlier = versions.iter().filter(|v| v.number < current).max_by_key(|v| v.number);
        let earlier = earlier.ok_or_else(|| PlanError::NoEarlier(id.clone()))?;
        if let Some(policy) = policy_of(&earlier.document)
            && !observed.resources.contains_key(&Id::new(Kind::Policy, policy))
        {
            return Err(PlanError::PolicyGone(id, policy.to_owned()));
        }
        let what = format!("put version {} of {id} in force again", earlier.number);
        steps.push(step(Act::UseVersion(id, earlier.number), what, "--rollback"));
    }
    Ok(steps)
}

/// The fleet's own policies with this prefix and another name than the wanted one.
fn older<'a>(
    observed: &'a Observed,
    prefix: &'a str,
    wanted: &'a str,
) -> impl Iterator<Item = (&'a Id, &'a Seen)> {
    observed.resources.iter().filter(move |(id, seen)| {
        id.kind == Kind::Policy && seen.tagged && id.name.starts_with(prefix) && id.name != wanted
    })
}

/// Says whether the version of a template that is in force names a policy.
fn names(seen: &Seen, policy: &str) -> bool {
    matches!(&seen.body, Body::Template { body, .. } if policy_of(body) == Some(policy))
}

/// Says whether any version from the one that `--rollback` would use on names a policy.
fn kept_by_a_template(observed: &Observed, policy: &str) -> bool {
    let templates = observed.resources.iter().filter(|(id, _)| id.kind == Kind::Template);
    templates.flat_map(|(_, seen)| &seen.versions).any(|v| policy_of(&v.document) == Some(policy))
}

fn policy_of(template: &Value) -> Option<&str> {
    template.pointer("/Resources/policy/Properties/PolicyName")?.as_str()
}

fn step(act: Act, what: String, why: &str) -> Step {
    Step { act, what, why: why.to_owned() }
}

fn list(ids: &[Id]) -> String {
    ids.iter().map(Id::to_string).collect::<Vec<_>>().join(", ")
}

/// The first digits of a certificate id, enough to find it by.
pub fn short(certificate: &str) -> String {
    certificate.chars().take(12).collect()
}

/// A number and its noun.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// How many versions of a policy or template are left by this tool; AWS refuses a sixth.
const VERSIONS_KEPT: usize = 4;

#[cfg(test)]
mod tests;
