//! The retire handler: a commit by certificate X, and the older certificates of its thing die (rules 10 to 15).
//!
//! ```text
//! (Whose ─▶) List ─▶ Committer ─▶ Others… ─▶ ┌ Guard X ─▶ INACTIVE ┐ each ─▶ ┌ Guard X ─▶ REVOKED ┐ each
//!                                 └─────────◀───────────┘        └─────────◀──────────┘
//!   ─▶ Thing ─▶ Record ─▶ accepted ─▶ each: policies ─▶ from the thing ─▶ delete ─▶ End
//! ```
//! A step machine without I/O: [`Retire::next`] names one call, [`Retire::feed`] takes its outcome. The list is taken
//! once; X is read again immediately before each victim is made INACTIVE and REVOKED, and the handler stops unless X is
//! ACTIVE and attached to the thing (rule 12). What is REVOKED is dead whatever becomes of X, so the clearing up that
//! follows is not guarded. Nothing is kept between commits: a handler that dies after any call is finished by the next
//! commit, which finds what is left by ListThingPrincipals.

mod steps;
mod words;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

pub use words::{Call, Commit, Outcome, Reason, Reply, Verdict};

use crate::record::{COMMIT_ATTRIBUTE, RECLAIM_ATTRIBUTE, Reclaim, Record};
use crate::registry::{Certificate, Status, Thing};
use crate::serial::Serial;
use steps::{Blow, Read, Step, Then, Victim};

/// One handling of one commit, or of one finding of the sweep.
#[derive(Clone, Debug)]
pub struct Retire {
    thing: String,
    by: String,
    now: Timestamp,
    replies: bool,
    created: Option<Timestamp>,
    victims: Vec<Victim>,
    unfinished: bool,
    reply: Option<Reply>,
    step: Step,
}

impl Retire {
    /// Takes up a commit; `now` is when it is handled (rule 11).
    pub fn new(commit: Commit, now: Timestamp) -> Self {
        let refusal = refusal(&commit, now);
        let mut retire = Retire::start(commit.thing, commit.principal, now, true);
        if let Some((reason, retry_after)) = refusal {
            retire.reject(reason, retry_after);
        }
        retire
    }

    /// Leaves things of another type alone: they are another fleet's.
    #[must_use]
    pub fn of_type(mut self, thing_type: &str) -> Self {
        if matches!(self.step, Step::List) {
            self.step = Step::Whose { thing_type: thing_type.to_owned() };
        }
        self
    }

    /// Takes up a finding of the sweep (rule 15): `by` has an accepted commit on record. Nobody is told.
    pub fn by_record(thing: &str, by: &str, now: Timestamp) -> Self {
        Retire::start(thing.to_owned(), by.to_owned(), now, false)
    }

    fn start(thing: String, by: String, now: Timestamp, replies: bool) -> Self {
        Retire {
            thing,
            by,
            now,
            replies,
            created: None,
            victims: Vec::new(),
            unfinished: false,
            reply: None,
            step: Step::List,
        }
    }

    /// The call that is outstanding; `None` at the end.
    pub fn next(&self) -> Option<Call> {
        let victim = |i: usize| self.victims.get(i).map(|v| v.id.clone()).unwrap_or_default();
        let (thing, by) = (self.thing.clone(), self.by.clone());
        Some(match &self.step {
            Step::Whose { .. } => Call::DescribeThing { thing },
            Step::List => Call::ListThingPrincipals { thing },
            Step::Committer => Call::DescribeCertificate { id: by },
            Step::Others { left, .. } => Call::DescribeCertificate { id: left.last()?.clone() },
            Step::Guard { read: Read::Status, .. } => Call::DescribeCertificate { id: by },
            Step::Guard { read: Read::Things, .. } => Call::ListPrincipalThings { id: by },
            Step::Kill { blow, victim: i } => {
                Call::UpdateCertificate { id: victim(*i), status: blow.status() }
            }
            Step::Thing => Call::DescribeThing { thing },
            Step::Record { attributes, version } => {
                Call::UpdateThing { thing, attributes: attributes.clone(), expected_version: *version }
            }
            Step::Reply { reply, .. } => Call::Reply(reply.clone()),
            Step::Policies { victim: i } => Call::ListAttachedPolicies { id: victim(*i) },
            Step::Policy { victim: i, left } => {
                Call::DetachPolicy { id: victim(*i), policy: left.last()?.clone() }
            }
            Step::FromThing { victim: i } => Call::DetachThingPrincipal { thing, id: victim(*i) },
            Step::Delete { victim: i, .. } => Call::DeleteCertificate { id: victim(*i) },
            Step::Pause { tries, .. } => Call::Pause { seconds: 1 << tries },
            Step::End => return None,
        })
    }

    /// Takes the outcome of the outstanding call.
    pub fn feed(&mut self, outcome: Outcome) {
        let step = std::mem::replace(&mut self.step, Step::End);
        match (step, outcome) {
            (Step::Whose { thing_type }, Outcome::Thing(thing)) => {
                if thing.type_name == Some(thing_type) {
                    self.step = Step::List;
                } else {
                    self.reject(Reason::NotOfTheFleet, None);
                }
            }
            (Step::List, Outcome::Ids(ids)) => self.listed(ids),
            (Step::Whose { .. } | Step::List, Outcome::Gone) => self.reject(Reason::NotAttached, Some(SOON)),
            (Step::Committer, Outcome::Certificate(x)) if x.status == Status::Active => self.found(&x),
            (Step::Committer, Outcome::Certificate(x)) => self.reject_status(x.status),
            (Step::Whose { .. } | Step::List | Step::Committer, _) => {
                self.reject(Reason::Unfinished, Some(LATER))
            }
            (Step::Others { left }, outcome) => self.described(left, outcome),
            (Step::Guard { blow, victim, read }, outcome) => self.guarded(blow, victim, read, outcome),
            (Step::Kill { blow, victim }, outcome) => {
                let next = self.struck(blow, victim, outcome);
                self.kill_from(blow, next);
            }
            (Step::Thing, Outcome::Thing(thing)) => self.record(&thing),
            // The record serves the sweep alone: without it the sweep reports and does nothing. It holds up no one.
            (Step::Thing | Step::Record { .. }, _) => self.accept(),
            (Step::Reply { reply, then }, _) => {
                self.reply = Some(reply);
                if then == Then::Clear {
                    self.clear_from(0);
                }
            }
            (Step::Policies { victim }, Outcome::Names(left)) => self.policies(victim, left),
            (Step::Policy { victim, mut left }, Outcome::Done | Outcome::Gone) => {
                left.pop();
                self.policies(victim, left);
            }
            (Step::FromThing { victim }, Outcome::Done | Outcome::Gone) => {
                self.step = Step::Delete { victim, tries: 0 };
            }
            (Step::Delete { victim, tries }, Outcome::Conflict) if tries < TRIES => {
                self.step = Step::Pause { victim, tries };
            }
            (Step::Pause { victim, tries }, _) => self.step = Step::Delete { victim, tries: tries + 1 },
            // Whatever failed here is dead already; the next commit or the sweep takes it up where it stands.
            (Step::Policies { victim } | Step::Policy { victim, .. } | Step::FromThing { victim }, _)
            | (Step::Delete { victim, .. }, _) => self.clear_from(victim + 1),
            (Step::End, _) => {}
        }
    }

    /// Runs to the end with a caller that answers at once; gives the reply that was published, if any.
    pub fn run(mut self, mut perform: impl FnMut(Call) -> Outcome) -> Option<Reply> {
        while let Some(call) = self.next() {
            self.feed(perform(call));
        }
        self.reply
    }

    /// The reply, once it was published.
    pub fn reply(&self) -> Option<&Reply> {
        self.reply.as_ref()
    }

    fn listed(&mut self, mut ids: Vec<String>) {
        if !ids.contains(&self.by) {
            return self.reject(Reason::NotAttached, Some(SOON));
        }
        ids.retain(|id| *id != self.by);
        ids.sort();
        ids.dedup();
        self.victims = ids.into_iter().map(Victim::unread).collect();
        self.step = Step::Committer;
    }

    fn found(&mut self, committer: &Certificate) {
        self.created = Some(committer.created);
        let left = std::mem::take(&mut self.victims).into_iter().map(|v| v.id).collect();
        self.describe(left);
    }

    fn describe(&mut self, left: Vec<String>) {
        if left.is_empty() {
            self.kill_from(Blow::Inactive, 0);
        } else {
            self.step = Step::Others { left };
        }
    }

    /// Rule 12: strictly earlier by `creationDate`; equal or later ones are never touched.
    fn described(&mut self, mut left: Vec<String>, outcome: Outcome) {
        let id = left.pop();
        match outcome {
            Outcome::Certificate(c) if Some(&c.id) == id.as_ref() => {
                if self.created.is_some_and(|x| c.created < x) {
                    self.victims.push(Victim { id: c.id, status: c.status });
                }
            }
            Outcome::Gone => {}
            _ => self.unfinished = true,
        }
        self.describe(left);
    }

    /// Goes to the next victim from `from` on that this blow is for, then to the next blow (rule 13).
    fn kill_from(&mut self, blow: Blow, from: usize) {
        let due = |v: &Victim| match blow {
            Blow::Inactive => !v.status.is_dead(),
            Blow::Revoked => v.status == Status::Inactive,
        };
        let next = self.victims.iter().enumerate().skip(from).find(|(_, v)| due(v)).map(|(i, _)| i);
        match (next, blow) {
            (Some(victim), _) => self.step = Step::Guard { blow, victim, read: Read::Things },
            (None, Blow::Inactive) => self.kill_from(Blow::Revoked, 0),
            (None, Blow::Revoked) => self.settle(),
        }
    }

    /// Rule 12: X is ACTIVE and attached to the thing in the topic, or the handler stops.
    fn guarded(&mut self, blow: Blow, victim: usize, read: Read, outcome: Outcome) {
        match (read, outcome) {
            (Read::Things, Outcome::Names(things)) if things.contains(&self.thing) => {
                self.step = Step::Guard { blow, victim, read: Read::Status };
            }
            (Read::Things, Outcome::Names(_) | Outcome::Gone) => self.reject(Reason::NotAttached, Some(SOON)),
            (Read::Status, Outcome::Certificate(x)) if x.status == Status::Active => {
                self.step = Step::Kill { blow, victim };
            }
            (Read::Status, Outcome::Certificate(x)) => self.reject_status(x.status),
            (Read::Status, Outcome::Gone) => self.reject(Reason::NotActive, None),
            _ => self.reject(Reason::Unfinished, Some(LATER)),
        }
    }

    /// Gives the place from which to look for the next victim.
    fn struck(&mut self, blow: Blow, victim: usize, outcome: Outcome) -> usize {
        match outcome {
            Outcome::Done => self.victims[victim].status = blow.status(),
            // As dead as can be, and nothing is left to clear up.
            Outcome::Gone => {
                self.victims.remove(victim);
                return victim;
            }
            _ => self.unfinished = true,
        }
        victim + 1
    }

    fn settle(&mut self) {
        match (self.replies, self.unfinished) {
            (false, _) => self.clear_from(0),
            (true, true) => {
                let verdict = Verdict::Rejected { reason: Reason::Unfinished, retry_after: Some(LATER) };
                self.step = Step::Reply { reply: self.say(verdict), then: Then::Clear };
            }
            (true, false) => self.step = Step::Thing,
        }
    }

    /// Writes the accepted commit on the thing, and takes away a `reclaim` that this certificate has used.
    fn record(&mut self, thing: &Thing) {
        let record = Record::of(thing);
        let mut attributes = BTreeMap::new();
        if !record.names(&self.by) {
            attributes.insert(COMMIT_ATTRIBUTE.to_owned(), record.with(&self.by, self.now).value());
        }
        if Reclaim::of(thing).is_some_and(|word| word.used_by.as_deref() == Some(self.by.as_str())) {
            attributes.insert(RECLAIM_ATTRIBUTE.to_owned(), String::new());
        }
        if attributes.is_empty() {
            self.accept();
        } else {
            self.step = Step::Record { attributes, version: thing.version };
        }
    }

    fn accept(&mut self) {
        self.step = Step::Reply { reply: self.say(Verdict::Accepted), then: Then::Clear };
    }

    fn reject_status(&mut self, status: Status) {
        // A status that an operator set does not change by waiting; the others settle by themselves.
        self.reject(Reason::NotActive, (!status.is_dead()).then_some(SOON));
    }

    /// Says no and stops: nothing more is touched.
    fn reject(&mut self, reason: Reason, retry_after: Option<u32>) {
        let reply = self.say(Verdict::Rejected { reason, retry_after });
        self.step = if self.replies { Step::Reply { reply, then: Then::Stop } } else { Step::End };
    }

    fn say(&self, verdict: Verdict) -> Reply {
        Reply { thing: self.thing.clone(), certificate_id: self.by.clone(), verdict }
    }

    /// Goes to the next victim that is REVOKED: only those are taken apart.
    fn clear_from(&mut self, from: usize) {
        let next = self.victims.iter().enumerate().skip(from).find(|(_, v)| v.status == Status::Revoked);
        self.step = next.map_or(Step::End, |(victim, _)| Step::Policies { victim });
    }

    fn policies(&mut self, victim: usize, left: Vec<String>) {
        self.step = if left.is_empty() { Step::FromThing { victim } } else { Step::Policy { victim, left } };
    }
}

/// What is wrong with a commit by itself, before the registry is asked (rule 11).
fn refusal(commit: &Commit, now: Timestamp) -> Option<(Reason, Option<u32>)> {
    let stray = commit.client_id.as_ref().is_some_and(|client| *client != commit.thing);
    if stray || Serial::thing_name(&commit.thing).is_err() {
        return Some((Reason::NotTheThing, None));
    }
    if commit.certificate_id.as_deref() != Some(commit.principal.as_str()) {
        return Some((Reason::NotTheSender, None));
    }
    let age = now.duration_since(commit.at);
    (age.abs() > MAX_AGE).then_some((Reason::Stale, Some(SOON)))
}

/// How old a commit may be when it is handled (rule 11).
pub const MAX_AGE: SignedDuration = SignedDuration::from_mins(5);

/// Seconds after which attachments and statuses are likely to be seen (rule 3).
const SOON: u32 = 60;

/// Seconds for a registry that failed: its quotas are a few calls a second for the whole fleet.
const LATER: u32 = 300;

/// How often DeleteCertificate is tried again while the detachment is not seen: 1 + 2 + 4 + 8 seconds.
const TRIES: u32 = 4;

#[cfg(test)]
mod tests;
