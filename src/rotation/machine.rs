//! The machine: takes one input in, keeps what became known, and hands the turn to `plan`.
//!
//! What it holds of the disk is only what is durable; what it holds of the cloud is only what was seen. A failed disk
//! effect throws the image away (`Inspect` is the one door after doubt); a failed cloud effect closes a gate.

use alloc::vec::Vec;

use super::identity::{Boot, Disk, Wall};
use super::language::{
    Action, Carrier, CloudOrder, Effect, Happening, Input, Now, Order, Policy, Trouble, Wait, Why,
};
use super::plan::share;
use super::renewal::cloud_due;
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
    pub last: Boot,
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
    /// Whether due times were looked at before in this run.
    pub looked: bool,
    /// While the clock is not trusted: the floor, and when it was last raised; time goes on from there (rule 26).
    pub floor_since: Option<(Wall, Boot)>,
}

/// What is remembered of the successor; a restart forgets it, and the rules are safe without it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct SuccessorMemory {
    /// The unproved generation that this is about.
    pub of: Option<u32>,
    /// When its token ends, by the time since boot in milliseconds, below zero where that was before boot: a clock that
    /// is stepped in this run neither ends a token nor lengthens it.
    pub token_ends: i64,
    /// RegisterThing is allowed again: a proof was refused since the last one (rule 2).
    pub may_register: bool,
    /// The request about to be sent is the only one that was ever without an answer.
    pub sole: bool,
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
    /// How the last connection with a generation failed.
    pub(super) trouble: Option<Trouble>,
    /// Why it last waited, until a session is there.
    pub(super) told: Option<Why>,
    /// When a device session last ended in this run.
    pub(super) session_ended: Option<Boot>,
    pub(super) last_connect: Option<Boot>,
    pub(super) early_closes: Vec<Boot>,
    pub(super) contested: bool,
    pub(super) order: Option<Ordered>,
    pub(super) offline: bool,
    /// The generation whose commit is pending: when this run first saw it, and how long it had been pending then, in
    /// seconds.
    pub(super) pending_seen: Option<(u32, Boot, i64)>,
    /// A switch whose end is in doubt until the disk has been read again.
    pub(super) switching: Option<u32>,
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
            trouble: None,
            told: None,
            session_ended: None,
            last_connect: None,
            early_closes: Vec::new(),
            contested: false,
            order: None,
            offline: false,
            pending_seen: None,
            switching: None,
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
                    if let Effect::Connect(Carrier::Generation(_)) | Effect::Prove(_) = effect {
                        // From its end: with a slow handshake CONNECT goes out long after the beginning.
                        self.last_connect = Some(now.boot);
                    }
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
            Action::Do(effect) => State::Working(effect),
            Action::Wait(wait) => {
                self.told = Some(wait.why);
                if self.disk.is_some() && self.gates.disk.is_open(&now) {
                    // Nothing is left that wants the disk: only now is it well again.
                    self.gates.disk.reset();
                }
                State::Waiting(wait)
            }
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

    /// Why it last waited; stays through attempts to connect, until a session is there.
    pub fn last_why(&self) -> Option<Why> {
        self.told
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

    fn happened(&mut self, happening: Happening, now: &Now) {
        match happening {
            // What is being read may be older than the change: it is read once more.
            Happening::Changed if self.state == State::Working(Effect::Inspect) => {
                self.next = Some(Effect::Inspect)
            }
            Happening::Changed => self.disk = None,
            Happening::Closed => {
                let Link::Up { since, carrier, .. } = self.link else { return };
                self.link = Link::Down;
                if carrier != Carrier::Claim {
                    self.session_ended = Some(now.boot);
                }
                if let State::Working(Effect::Prove(_) | Effect::Connect(_)) = self.state {
                    // Our own take-over closes the session in hand (rule 8): that is no sign of a stranger.
                    return;
                }
                let lasted = now.boot.saturating_sub(since);
                if lasted >= STABLE {
                    self.gates.connect.reset();
                } else if carrier != Carrier::Claim && !self.asks() {
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
                    let from = now.boot + share(window, now.dice);
                    self.order = Some(Ordered::Cloud { order, from });
                }
            }
            Order::Provision => {
                // Not beside a session of the device's own that stays: weeks later, when it ends, nobody wants the claim
                // any more.
                let stays =
                    matches!(self.link, Link::Up { carrier: Carrier::Generation(_), .. }) && !self.offline;
                self.claim_now = !stays;
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

    /// Whether a request is outstanding: a policy that forbids it closes the session too, and is no second client.
    fn asks(&self) -> bool {
        matches!(self.state, State::Working(Effect::Issue(_) | Effect::Register(_) | Effect::Commit(_)))
    }

    pub(super) fn connect_pace(&self) -> Pace {
        if self.contested { Pace::CONTESTED } else { Pace::CONNECT }
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
