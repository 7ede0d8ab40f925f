//! The retire handler: the Lambda's own step machine (`certrot_rules`) on this cloud's registry, call by call.
//!
//! As it is set up by `certrot-fleet`: five at a time, a minute each, calls that are throttled tried again with full jitter
//! from 200 ms to 4 s as the Lambda's shell does. Commits that find no worker wait in the order in which they came; AWS's
//! own queue of asynchronous invocations would let some wait longer.

use std::collections::{BTreeMap, VecDeque};

use certrot_rules::documents::THING_TYPE;
use certrot_rules::record::{COMMIT_ATTRIBUTE, Record};
use certrot_rules::registry as rules;
use certrot_rules::retire::{Call, Commit, Outcome, Retire, Verdict};
use jiff::Timestamp;

use super::fleet::{Fleet, thing_name, timestamp};
use super::quota::Api;
use super::thing::{Status, hex_of, serial_of_hex};
use super::wheel::{Event, Kind, Ms};

/// A commit that waits.
pub(super) struct Job {
    device: u32,
    serial: u32,
    sent: Ms,
}

/// The workers and what waits for them.
pub struct Handler {
    /// A commit that has waited longer is dropped unseen (Lambda's MaximumEventAgeInSeconds).
    pub event_age: Ms,
    /// How many were dropped.
    pub dropped: u64,
    queue: VecDeque<Job>,
    workers: [Option<Work>; WORKERS],
    /// The longest that the queue was.
    pub longest: usize,
    /// Commits accepted.
    pub accepted: u64,
    /// Commits rejected, by reason.
    pub rejected: BTreeMap<&'static str, u64>,
}

struct Work {
    device: u32,
    retire: Retire,
    until: Ms,
    wait: Ms,
}

impl Default for Handler {
    fn default() -> Self {
        Handler {
            event_age: EVENT_AGE,
            dropped: 0,
            queue: VecDeque::new(),
            workers: Default::default(),
            longest: 0,
            accepted: 0,
            rejected: BTreeMap::new(),
        }
    }
}

impl Handler {
    /// Says whether nothing is in hand.
    pub fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.workers.iter().all(Option::is_none)
    }
}

impl Fleet {
    /// A commit reaches the rule.
    pub(super) fn commit_sent(&mut self, device: u32, serial: u32) {
        self.handler.queue.push_back(Job { device, serial, sent: self.now });
        self.handler.longest = self.handler.longest.max(self.handler.queue.len());
        if let Some(free) = self.handler.workers.iter().position(Option::is_none) {
            self.take_job(free);
        }
    }

    fn take_job(&mut self, worker: usize) {
        let job = loop {
            let Some(job) = self.handler.queue.pop_front() else { return };
            if self.now <= job.sent + self.handler.event_age {
                break job;
            }
            self.handler.dropped += 1;
        };
        let id = hex_of(job.device, job.serial);
        let commit = Commit {
            thing: thing_name(job.device),
            principal: id.clone(),
            client_id: None,
            certificate_id: Some(id),
            at: timestamp(job.sent),
        };
        let retire = Retire::new(commit, timestamp(self.now)).of_type(THING_TYPE);
        let work = Work { device: job.device, retire, until: self.now + BUDGET, wait: FIRST_WAIT };
        self.handler.workers[worker] = Some(work);
        self.worker_in(worker, START);
    }

    fn worker_in(&mut self, worker: usize, pause: Ms) {
        let device = u32::try_from(worker).unwrap_or(0);
        self.wheel.push(Event { at: self.now + pause, device, number: 0, kind: Kind::Worker });
    }

    /// A worker makes its next call.
    pub(super) fn worker(&mut self, worker: usize) {
        let Some(mut work) = self.handler.workers.get_mut(worker).and_then(Option::take) else { return };
        let Some(call) = work.retire.next() else { return self.take_job(worker) };
        let mut pause = CALL;
        if let Call::Pause { seconds } = call {
            pause = (u64::from(seconds) * 1000).min(work.until.saturating_sub(self.now));
            work.retire.feed(Outcome::Done);
        } else if let Some(api) = api_of(&call)
            && !self.quotas.take(api, 1, self.now)
        {
            pause = self.rng.u64(..=work.wait);
            if self.now + pause < work.until {
                work.wait = (work.wait * 2).min(LONGEST_WAIT);
            } else {
                pause = 0;
                work.wait = FIRST_WAIT;
                work.retire.feed(Outcome::Failed);
            }
        } else {
            work.wait = FIRST_WAIT;
            let outcome = self.perform(work.device, call);
            work.retire.feed(outcome);
        }
        self.handler.workers[worker] = Some(work);
        self.worker_in(worker, pause);
    }

    fn perform(&mut self, device: u32, call: Call) -> Outcome {
        let now = self.now;
        let thing = &mut self.devices[device as usize].thing;
        let found = |id: &str| serial_of_hex(id);
        match call {
            Call::ListThingPrincipals { .. } => Outcome::Ids(
                // What was detached a moment ago is still listed.
                thing
                    .certificates
                    .iter()
                    .filter(|c| c.status != Status::Pending && now < c.detached.saturating_add(SEEN))
                    .map(|c| hex_of(device, c.serial))
                    .collect(),
            ),
            Call::DescribeCertificate { id } => {
                found(&id).and_then(|s| thing.find(s)).map_or(Outcome::Gone, |c| {
                    Outcome::Certificate(rules::Certificate {
                        id,
                        status: match c.status {
                            Status::Pending => rules::Status::PendingActivation,
                            Status::Active => rules::Status::Active,
                            Status::Inactive => rules::Status::Inactive,
                            Status::Revoked => rules::Status::Revoked,
                        },
                        created: timestamp(c.created),
                        not_after: Timestamp::from_second(c.not_after).ok(),
                    })
                })
            }
            Call::ListPrincipalThings { id } => {
                found(&id).and_then(|s| thing.find(s)).map_or(Outcome::Gone, |c| {
                    Outcome::Names(c.is_attached().then(|| thing_name(device)).into_iter().collect())
                })
            }
            Call::UpdateCertificate { id, status } => self.change_status(device, &id, status),
            Call::ListAttachedPolicies { id } => {
                found(&id).and_then(|s| thing.find(s)).map_or(Outcome::Gone, |c| {
                    Outcome::Names(c.policy.then(|| "device".to_owned()).into_iter().collect())
                })
            }
            Call::DetachPolicy { id, .. } => {
                found(&id).and_then(|s| thing.find_mut(s)).map_or(Outcome::Gone, |c| {
                    c.policy = false;
                    Outcome::Done
                })
            }
            Call::DetachThingPrincipal { id, .. } => {
                found(&id).and_then(|s| thing.find_mut(s)).map_or(Outcome::Gone, |c| {
                    c.detached = c.detached.min(now);
                    Outcome::Done
                })
            }
            Call::DeleteCertificate { id } => {
                match found(&id).and_then(|s| thing.find(s)).map(|c| (c.status, c.detached)) {
                    None => Outcome::Gone,
                    // AWS refuses it while it is ACTIVE, or still seen attached.
                    Some((Status::Active, _)) => Outcome::Conflict,
                    Some((_, detached)) if now < detached.saturating_add(SEEN) => Outcome::Conflict,
                    Some(_) => {
                        thing.certificates.retain(|c| Some(c.serial) != found(&id));
                        Outcome::Done
                    }
                }
            }
            Call::DescribeThing { .. } => {
                let committed = thing.certificates.iter().rev().find(|c| c.committed).map(|c| c.serial);
                let record =
                    committed.map(|s| Record::default().with(&hex_of(device, s), timestamp(now)).value());
                Outcome::Thing(rules::Thing {
                    version: Some(1),
                    type_name: Some(THING_TYPE.to_owned()),
                    attributes: record
                        .map(|value| (COMMIT_ATTRIBUTE.to_owned(), value))
                        .into_iter()
                        .collect(),
                })
            }
            Call::UpdateThing { .. } | Call::Pause { .. } => Outcome::Done,
            Call::Reply(reply) => {
                let serial = serial_of_hex(&reply.certificate_id);
                let after = match reply.verdict {
                    Verdict::Accepted => {
                        self.handler.accepted += 1;
                        if let Some(c) = serial.and_then(|s| thing.find_mut(s)) {
                            c.committed = true;
                        }
                        None
                    }
                    Verdict::Rejected { reason, retry_after } => {
                        *self.handler.rejected.entry(reason.as_str()).or_default() += 1;
                        Some(retry_after)
                    }
                };
                self.replied(device, serial, after);
                Outcome::Done
            }
        }
    }

    fn change_status(&mut self, device: u32, id: &str, status: rules::Status) -> Outcome {
        let d = &mut self.devices[device as usize];
        let Some(c) = serial_of_hex(id).and_then(|s| d.thing.find_mut(s)) else { return Outcome::Gone };
        c.status = if status == rules::Status::Revoked { Status::Revoked } else { Status::Inactive };
        Outcome::Done
    }
}

fn api_of(call: &Call) -> Option<Api> {
    Some(match call {
        Call::ListThingPrincipals { .. } => Api::ListThingPrincipals,
        Call::DescribeCertificate { .. } => Api::DescribeCertificate,
        Call::ListPrincipalThings { .. } => Api::ListPrincipalThings,
        Call::UpdateCertificate { .. } => Api::UpdateCertificate,
        Call::ListAttachedPolicies { .. } => Api::ListAttachedPolicies,
        Call::DetachPolicy { .. } => Api::DetachPolicy,
        Call::DetachThingPrincipal { .. } => Api::DetachThingPrincipal,
        Call::DeleteCertificate { .. } => Api::DeleteCertificate,
        Call::DescribeThing { .. } => Api::DescribeThing,
        Call::UpdateThing { .. } => Api::UpdateThing,
        Call::Pause { .. } | Call::Reply(_) => return None,
    })
}

/// Reserved concurrency of the retire handler (`certrot-fleet`'s default).
const WORKERS: usize = 5;
/// Lambda's default of MaximumEventAgeInSeconds: six hours.
pub const EVENT_AGE: Ms = 6 * 3_600_000;
/// Its time-out of 60 s, less the 3 s that it keeps for telling the device.
const BUDGET: Ms = 57_000;
/// From the publish to the handler's first call, when a worker is free.
const START: Ms = 100;
/// One call to AWS's control plane.
const CALL: Ms = 60;
/// The shell's first wait after a throttled call, and its longest.
const FIRST_WAIT: Ms = 200;
const LONGEST_WAIT: Ms = 4_000;
/// Until a detachment is seen (facts: seconds).
const SEEN: Ms = 3_000;
