//! The machine: takes one input in, keeps what became known, and hands the turn to `plan`.
//!
//! What it holds of the disk is only what is durable; what it holds of the cloud is only what was seen. A failed disk
//! effect throws the image away (`Inspect` is the one door after doubt); a failed cloud effect closes a gate.

use alloc::vec::Vec;

use super::identity::{Asked, Boot, Current, Disk, Mark, Record, Stage, Wall};
use super::language::{
    Action, Carrier, CloudOrder, Effect, Happening, Input, Now, Order, Outcome, Policy, Trouble, Verdict,
    Wait,
};
use super::plan::cloud_due;
use super::retry::{Gate, Pace};

/// What the machine is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Before the first input.
    New,
    /// One effect is outstanding.
    Working(Effect),
    /// Nothing to do until then.
    Waiting(Wait),
}

/// The connection in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Link {
    /// None.
    Down,
    /// One is there.
    Up {
        /// The identity that carries it.
        carrier: Carrier,
        /// Since when.
        since: Boot,
        /// A request on it had no answer: none of that kind is sent on it again (rule 2).
        silent: bool,
    },
}

/// How often and since when the verified server has refused one generation (rule 19).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Refusals {
    pub of: u32,
    pub count: u32,
    pub first: Boot,
}

/// A rotation that somebody ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Ordered {
    Operator,
    Cloud { order: CloudOrder, from: Boot },
    Fallback,
}

/// One gate for each concern.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Gates {
    pub connect: Gate,
    pub claim: Gate,
    pub renew: Gate,
    pub prove: Gate,
    pub commit: Gate,
    pub disk: Gate,
}

/// What is remembered of the clock (rules 26 and 27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct ClockMemory {
    /// First step of this run.
    pub started: Option<Boot>,
    /// Wall minus boot time at the last step, seconds.
    pub offset: Option<i64>,
    /// No rotation until then.
    pub held_until: Boot,
    /// A rotation that was overdue at start waits until then (rule 28).
    pub overdue_from: Option<Boot>,
}

/// What is remembered of the successor; a restart forgets it, and the rules are safe without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SuccessorMemory {
    /// RegisterThing is allowed again: a proof was refused since the last one (rule 2).
    pub may_register: bool,
    /// The request about to be sent is the only one that was ever without an answer.
    pub sole: bool,
    /// When a proof was last refused, by the wall clock.
    pub refused_at: Option<Wall>,
    /// The last verdict of RegisterThing was that this very request cannot succeed.
    pub invalid: bool,
}

/// The machine of one device.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rotation {
    pub(super) policy: Policy,
    pub(super) state: State,
    pub(super) disk: Option<Disk>,
    pub(super) link: Link,
    pub(super) gates: Gates,
    pub(super) clock: ClockMemory,
    pub(super) successor: SuccessorMemory,
    pub(super) refused: Vec<Refusals>,
    /// Generations tried in this round of the way back; emptied when one connects (rule 20: `current` first in each).
    pub(super) round: Vec<u32>,
    pub(super) claim_now: bool,
    pub(super) last_connect: Option<Boot>,
    pub(super) early_closes: Vec<Boot>,
    pub(super) contested: bool,
    pub(super) order: Option<Ordered>,
    pub(super) offline: bool,
    /// An effect that must follow the one that just ended.
    pub(super) next: Option<Effect>,
}

impl Rotation {
    /// Makes the machine of a device whose disk has not been read yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            state: State::New,
            disk: None,
            link: Link::Down,
            gates: Gates::default(),
            clock: ClockMemory::default(),
            successor: SuccessorMemory::default(),
            refused: Vec::new(),
            round: Vec::new(),
            claim_now: false,
            last_connect: None,
            early_closes: Vec::new(),
            contested: false,
            order: None,
            offline: false,
            next: None,
        }
    }

    /// Takes one input and answers with one action.
    pub fn step(&mut self, now: Now, input: Input) -> Action {
        self.watch_clock(&now);
        match input {
            Input::Woke => {}
            Input::Done(outcome) => {
                if let State::Working(effect) = self.state {
                    self.state = State::New;
                    self.absorb(effect, outcome, &now);
                }
            }
            Input::Happened(happening) => self.happened(happening, &now),
            Input::Order(order) => self.ordered(order, &now),
            Input::Reload(policy) => self.policy = policy,
        }
        if matches!(self.state, State::Working(_)) {
            return Action::Keep;
        }
        let action = match self.next.take() {
            Some(effect) => Action::Do(effect),
            None => self.plan(&now),
        };
        self.state = match action {
            Action::Do(effect) => {
                if let Effect::Connect(Carrier::Generation(_)) | Effect::Prove(_) = effect {
                    self.last_connect = Some(now.boot);
                }
                State::Working(effect)
            }
            Action::Wait(wait) => State::Waiting(wait),
            Action::Keep => self.state,
        };
        action
    }

    /// What it is doing.
    pub fn state(&self) -> State {
        self.state
    }

    /// The connection in hand.
    pub fn link(&self) -> Link {
        self.link
    }

    /// The disk as last read and durably changed; `None` while in doubt.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Whether another client seems to have our client id (rule 22).
    pub fn contested(&self) -> bool {
        self.contested
    }

    /// Whether the operator took the device offline.
    pub fn offline(&self) -> bool {
        self.offline
    }

    /// Failed attempts of the renewal in hand, issue and register and proof together.
    pub fn renew_failures(&self) -> u32 {
        self.gates.renew.failures.saturating_add(self.gates.prove.failures)
    }

    /// Failed attempts to connect since the last session that lasted.
    pub fn connect_failures(&self) -> u32 {
        self.gates.connect.failures
    }

    /// Commits of `current` that were not accepted.
    pub fn commit_failures(&self) -> u32 {
        self.gates.commit.failures
    }

    fn absorb(&mut self, effect: Effect, outcome: Outcome, now: &Now) {
        if outcome == Outcome::Local {
            // One door after doubt. The gate keeps a sick disk from spinning; what needs no disk goes on.
            self.disk = None;
            self.gates.disk.fail(Pace::DISK, now, None);
            match effect {
                Effect::Connect(Carrier::Claim) => self.gates.claim.fail(Pace::RENEW, now, None),
                Effect::Connect(_) => self.gates.connect.fail(Pace::CONNECT, now, None),
                Effect::Prove(_) => self.gates.prove.fail(Pace::PROVE, now, None),
                Effect::Issue(_) => self.renewal_failed(now, None),
                _ => {}
            }
            return;
        }
        match effect {
            Effect::Inspect => self.inspected(outcome),
            Effect::Connect(carrier) => self.connected(carrier, &outcome, now),
            Effect::Hangup => self.link = Link::Down,
            Effect::Issue(_) => self.issued(outcome, now),
            Effect::Record(record) => self.recorded(record),
            Effect::Register(n) => self.registered(n, &outcome, now),
            Effect::Prove(n) => self.proved(n, &outcome, now),
            Effect::Switch(n) => self.switched(n),
            Effect::Commit(n) => match outcome {
                Outcome::Committed => {
                    self.gates.commit.reset();
                    self.next = Some(Effect::Record(Record::Settled(n)));
                }
                Outcome::Refused(_, after) => self.gates.commit.fail(Pace::COMMIT, now, after),
                _ => self.gates.commit.fail(Pace::COMMIT, now, None),
            },
            Effect::Remove(n) => {
                self.gates.disk.reset();
                self.refused.retain(|r| r.of != n);
                if let Some(disk) = &mut self.disk {
                    disk.slots.retain(|s| s.generation != n);
                }
            }
        }
    }

    fn inspected(&mut self, outcome: Outcome) {
        if let Outcome::Inspected(disk) = outcome {
            self.disk = Some(disk);
        }
    }

    fn connected(&mut self, carrier: Carrier, outcome: &Outcome, now: &Now) {
        self.link = Link::Down;
        match (carrier, outcome) {
            (_, Outcome::Done) => self.session_began(carrier, now),
            (Carrier::Claim, Outcome::Failed(trouble)) => {
                self.gates.claim.fail(Pace::RENEW, now, None);
                if *trouble == Trouble::Unreachable {
                    // The network, not the claim: looked at again as soon as any connection would be.
                    self.gates.claim.opens = 0;
                }
                self.gates.connect.fail(self.connect_pace(), now, None);
                self.claim_now = false;
            }
            (Carrier::Generation(n), Outcome::Failed(trouble)) => {
                if *trouble == Trouble::Refused {
                    self.count_refusal(n, now);
                }
                self.gates.connect.fail(self.connect_pace(), now, None);
            }
            _ => self.gates.connect.fail(self.connect_pace(), now, None),
        }
    }

    fn session_began(&mut self, carrier: Carrier, now: &Now) {
        self.link = Link::Up { carrier, since: now.boot, silent: false };
        if let Carrier::Generation(n) = carrier {
            self.refused.retain(|r| r.of != n);
            self.round.clear();
        } else {
            self.claim_now = false;
        }
    }

    fn count_refusal(&mut self, n: u32, now: &Now) {
        if !self.round.contains(&n) {
            self.round.push(n);
        }
        match self.refused.iter_mut().find(|r| r.of == n) {
            Some(r) => r.count = r.count.saturating_add(1),
            None => self.refused.push(Refusals { of: n, count: 1, first: now.boot }),
        }
    }

    fn issued(&mut self, outcome: Outcome, now: &Now) {
        match outcome {
            Outcome::Issued(slot) => {
                self.gates.disk.reset();
                self.gates.renew.open();
                self.gates.prove.reset();
                self.successor = SuccessorMemory::default();
                if let Some(disk) = &mut self.disk {
                    disk.slots.push(slot);
                    disk.slots.sort_by_key(|s| s.generation);
                }
            }
            Outcome::Refused(verdict, after) => {
                if verdict == Verdict::Silence {
                    self.note_silence();
                }
                self.renewal_failed(now, after);
            }
            _ => self.renewal_failed(now, None),
        }
    }

    /// An operator's order is one attempt: `rotate-now --wait` says why it failed, and the schedule goes on.
    fn renewal_failed(&mut self, now: &Now, after: Option<u32>) {
        self.gates.renew.fail(Pace::RENEW, now, after);
        if self.order == Some(Ordered::Operator) {
            self.order = None;
        }
    }

    fn note_silence(&mut self) {
        if let Link::Up { silent, .. } = &mut self.link {
            *silent = true;
        }
    }

    fn recorded(&mut self, record: Record) {
        self.gates.disk.reset();
        if let Some(disk) = &mut self.disk {
            follow(disk, record);
        }
        // What is announced on disk is done at once: between the two lies only a power cut, and both read the same.
        match record {
            Record::Registering(n) => {
                self.successor.sole = true;
                self.next = Some(Effect::Register(n));
            }
            Record::Committing(_) => {
                self.next = self.disk.as_ref().and_then(|d| d.pending).map(Effect::Commit)
            }
            _ => {}
        }
    }

    fn registered(&mut self, n: u32, outcome: &Outcome, now: &Now) {
        let sole = core::mem::take(&mut self.successor.sole);
        self.successor.may_register = false;
        match outcome {
            Outcome::Registered => {
                self.gates.prove.open();
                self.next = Some(Effect::Record(Record::Registered(n)));
                return;
            }
            Outcome::Refused(Verdict::Denied | Verdict::Invalid, _) if sole => {
                self.successor.invalid = matches!(outcome, Outcome::Refused(Verdict::Invalid, _));
                self.next = Some(Effect::Record(Record::Rejected(n)));
            }
            Outcome::Refused(Verdict::Wrong, _) => {
                self.next = Some(Effect::Record(Record::Marked(n, Mark::Refused)));
            }
            Outcome::Refused(Verdict::Silence, _) => {
                self.note_silence();
                self.gates.prove.open();
            }
            _ => self.gates.prove.open(),
        }
        let after = if let Outcome::Refused(_, after) = outcome { *after } else { None };
        self.gates.renew.fail(Pace::RENEW, now, after);
    }

    fn proved(&mut self, n: u32, outcome: &Outcome, now: &Now) {
        match outcome {
            Outcome::Done => {
                self.gates.prove.reset();
                self.session_began(Carrier::Generation(n), now);
            }
            Outcome::Failed(Trouble::Refused) => {
                self.count_refusal(n, now);
                self.successor.may_register = true;
                self.successor.refused_at = Some(self.wall(now));
                self.gates.prove.fail(Pace::PROVE, now, None);
            }
            Outcome::Failed(Trouble::Unfit) => {
                self.link = Link::Down;
                if self.disk.as_ref().and_then(|d| d.slot(n)).is_some_and(|s| s.mark != Mark::Refused) {
                    // The first of its kind: refusals before it say nothing of how long rights take to be seen.
                    self.gates.prove.reset();
                    self.next = Some(Effect::Record(Record::Marked(n, Mark::Refused)));
                }
                self.gates.prove.fail(Pace::UNFIT, now, None);
            }
            Outcome::Failed(Trouble::Lost) => {
                self.link = Link::Down;
                self.gates.prove.fail(Pace::PROVE, now, None);
            }
            _ => {
                self.gates.prove.fail(Pace::PROVE, now, None);
                if self.link == Link::Down {
                    self.gates.connect.fail(self.connect_pace(), now, None);
                }
            }
        }
    }

    fn switched(&mut self, n: u32) {
        self.gates.disk.reset();
        let Some(disk) = &mut self.disk else { return };
        let newest = disk.slots.iter().filter(|s| s.is_whole()).map(|s| s.generation).max();
        let back =
            newest.is_some_and(|newest| newest > n) || matches!(disk.current, Current::Names(c) if c > n);
        disk.current = Current::Names(n);
        self.gates.commit.reset();
        self.gates.renew.reset();
        self.successor = SuccessorMemory::default();
        self.clock.overdue_from = None;
        self.order = back.then_some(Ordered::Fallback);
    }

    fn happened(&mut self, happening: Happening, now: &Now) {
        match happening {
            Happening::Changed => self.disk = None,
            Happening::Closed => {
                let Link::Up { since, carrier, .. } = self.link else { return };
                self.link = Link::Down;
                if let State::Working(Effect::Prove(_) | Effect::Connect(_)) = self.state {
                    // Our own take-over closes the session in hand (rule 8): that is no sign of a stranger.
                    return;
                }
                let lasted = now.boot.saturating_sub(since);
                if lasted >= STABLE {
                    self.gates.connect.reset();
                } else if carrier != Carrier::Claim {
                    self.early_closes.push(now.boot);
                    self.early_closes.retain(|at| now.boot.saturating_sub(*at) <= CONTEST_WINDOW);
                }
                if lasted >= CONTEST_ENDS {
                    self.contested = false;
                } else if self.early_closes.len() >= CONTEST_CLOSES {
                    self.contested = true;
                    self.early_closes.clear();
                }
                self.gates.connect.fail(self.connect_pace(), now, None);
            }
        }
    }

    fn ordered(&mut self, order: Order, now: &Now) {
        match order {
            Order::Rotate => {
                self.order = Some(Ordered::Operator);
                self.gates.renew.open();
                self.gates.prove.open();
            }
            Order::Cloud(order) => {
                // One whose condition is false, such as a retained one that has done its work, is in nobody's way.
                let current = self.disk.as_ref().and_then(|d| d.current()).and_then(|s| s.certificate);
                let waits = match self.order {
                    None => false,
                    Some(Ordered::Cloud { order, .. }) => current.is_some_and(|c| cloud_due(&c, order)),
                    Some(_) => true,
                };
                if !waits {
                    let window = u64::try_from(order.within.max(0)).unwrap_or(0) * 1000;
                    let from = now.boot + window * u64::from(now.dice) / u64::from(u32::MAX);
                    self.order = Some(Ordered::Cloud { order, from });
                }
            }
            Order::Provision => {
                self.claim_now = true;
                self.gates.claim.open();
                self.gates.renew.open();
                self.gates.prove.open();
                self.gates.connect.open();
            }
            Order::Connect => {
                self.offline = false;
                self.gates.connect.open();
            }
            Order::Disconnect => self.offline = true,
        }
    }

    pub(super) fn connect_pace(&self) -> Pace {
        if self.contested { Pace::CONTESTED } else { Pace::CONNECT }
    }
}

/// Follows a durable change in the image of the disk, exactly as the store makes it.
pub fn follow(disk: &mut Disk, record: Record) {
    let slot_of = |disk: &mut Disk, n: u32, change: &dyn Fn(&mut super::identity::Slot)| {
        if let Some(slot) = disk.slot_mut(n) {
            change(slot);
        }
    };
    match record {
        Record::Registering(n) => slot_of(disk, n, &|s| s.asked = Asked::Unanswered),
        Record::Rejected(n) => slot_of(disk, n, &|s| s.asked = Asked::Rejected),
        Record::Registered(n) => slot_of(disk, n, &|s| s.stage = Stage::Registered),
        Record::Proved(n) => slot_of(disk, n, &|s| s.stage = Stage::Proved),
        Record::Marked(n, mark) => slot_of(disk, n, &|s| s.mark = mark),
        Record::Pending(n, since) => {
            disk.pending = Some(n);
            disk.pending_since = Some(since);
        }
        Record::Committing(at) => {
            disk.committed_at = Some(at);
            disk.saved_at = disk.saved_at.max(Some(at));
        }
        Record::Settled(n) => {
            if disk.pending == Some(n) {
                disk.pending = None;
                disk.pending_since = None;
            }
            for slot in disk.slots.iter_mut().filter(|s| s.generation < n && s.stage == Stage::Proved) {
                slot.mark = Mark::Retired;
            }
        }
        Record::Worked(at) => {
            disk.worked_at = Some(at);
            disk.saved_at = disk.saved_at.max(Some(at));
        }
        Record::Adopted => disk.foreign = false,
    }
}

/// A session that lasted this long resets the backoff (rule 22). Milliseconds.
pub(super) const STABLE: Boot = 5 * 60 * 1000;
/// This many early closes …
const CONTEST_CLOSES: usize = 5;
/// … in this time are another client with our client id (rule 22). Milliseconds.
const CONTEST_WINDOW: Boot = 10 * 60 * 1000;
/// A session that outlasts two paces of a contested twin ends the contest. Milliseconds.
pub(super) const CONTEST_ENDS: Boot = 30 * 60 * 1000;
