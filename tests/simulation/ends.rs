//! Every way in which one effect can end, and everything that can come in while it is under way or nothing is.
//!
//! `branches` lists them, the kind one first; `end` takes one. What a disk does is here, what a cloud does is `calls`.

use certrotd::rotation::{
    Action, Boot, Carrier, CloudOrder, Current, Effect, Happening, Input, Link, Order, Outcome, Policy,
    Verdict, Wait,
};

use super::cloud::{EPOCH, Status, wall_of};
use super::world::World;

/// How one effect ends, or what comes in meanwhile; everything but `Kind` costs one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum End {
    Kind,
    /// The disk says no, and nothing has changed.
    DiskFails,
    /// The disk says no after the change has landed (the sync after the rename).
    LandsAndFails,
    CutBefore,
    CutAfter,
    Unreachable,
    Refused,
    /// CONNECT was taken, the CONNACK is lost.
    ConnackLost,
    /// The session is there and a right is missing.
    Unfit,
    /// The request is refused although it is right (throttle, slow hook).
    Denied,
    /// The request is refused as one that cannot succeed (a template that is not there yet).
    Invalid,
    /// A fault of the server's, after the effect.
    FaultAfter,
    RequestLost,
    AnswerLost,
    /// The answer comes just before the deadline.
    AnswerLate,
    /// No answer, and the effect comes later.
    EffectLate,
    /// The answer comes, and the effect once more minutes later.
    Twice,
    /// Accepted, and seen by the broker minutes later.
    SeenLate,
    /// The answer contradicts what was asked: another key, another thing, no words.
    Wrong,
    /// The retire handler dies after its first victim.
    HandlerDies,
    /// The operator deactivates the certificate in use just before; he takes it back 40 minutes later.
    Deactivated,
    /// The same with the one that is being proved.
    NewDeactivated,
    // From here on: what comes in, and leaves what is under way under way.
    /// The other side closes the session in hand.
    Closed,
    /// The configuration or the disk changed under us.
    Changed,
    /// `certrotctl rotate-now`.
    Ordered,
    /// The rotate topic: rotate if the certificate is the one in use.
    CloudOrdered,
    /// `certrotctl provision`.
    Provision,
    /// Another policy.
    Reloaded,
    /// `certrotctl disconnect`, and `connect` ten minutes later.
    Offline,
    /// The device's wall clock jumps two days ahead.
    Stepped,
    /// The device's wall clock jumps two days back.
    SteppedBack,
    /// The device's wall clock jumps seventy years ahead; two hours later it is set right.
    FarAhead,
    /// The machine sleeps for eight hours; its session is long gone when it wakes.
    Slept,
    /// The power goes, and after it the clock stands at 1970; a time service comes 20 minutes later.
    CutClockless,
}

/// How many there are.
pub const ENDS: usize = End::CutClockless as usize + 1;

use End::{
    AnswerLate, AnswerLost, Changed, Closed, CloudOrdered, ConnackLost, CutAfter, CutBefore, CutClockless,
    Deactivated, Denied, DiskFails, EffectLate, FarAhead, FaultAfter, HandlerDies, Invalid, Kind,
    LandsAndFails, NewDeactivated, Offline, Ordered, Provision, Refused, Reloaded, RequestLost, SeenLate,
    Slept, Stepped, SteppedBack, Twice, Unfit, Unreachable, Wrong,
};

const DISK: &[End] = &[Kind, DiskFails, LandsAndFails, CutBefore, CutAfter];
const CONNECT: &[End] = &[
    Kind,
    Unreachable,
    Refused,
    ConnackLost,
    Unfit,
    AnswerLate,
    EffectLate,
    DiskFails,
    CutBefore,
    CutAfter,
    Deactivated,
    NewDeactivated,
];
const ISSUE: &[End] = &[
    Kind,
    DiskFails,
    LandsAndFails,
    CutBefore,
    CutAfter,
    Denied,
    Invalid,
    FaultAfter,
    RequestLost,
    AnswerLost,
    AnswerLate,
    Twice,
    Wrong,
    Deactivated,
];
const REGISTER: &[End] = &[
    Kind,
    DiskFails,
    CutBefore,
    CutAfter,
    Denied,
    Invalid,
    FaultAfter,
    RequestLost,
    AnswerLost,
    AnswerLate,
    EffectLate,
    SeenLate,
    Twice,
    Wrong,
    Deactivated,
];
const COMMIT: &[End] = &[
    Kind,
    DiskFails,
    CutBefore,
    CutAfter,
    Denied,
    RequestLost,
    AnswerLost,
    AnswerLate,
    EffectLate,
    Twice,
    Wrong,
    HandlerDies,
    Deactivated,
];
const WAIT: &[End] = &[Kind, CutBefore, Deactivated];
/// What comes in at any time.
const INPUTS: &[End] = &[Closed, Changed, CloudOrdered, Provision, Reloaded];
/// What only sets a mark in the machine: during an effect of the disk, which takes no time, the same as just after it.
const MARKS: &[End] = &[Ordered, Offline, Stepped, SteppedBack, FarAhead, Slept, CutClockless];

impl World {
    /// The ways in which what is outstanding can end, and what can come in meanwhile.
    pub fn branches(&self) -> impl Iterator<Item = End> + '_ {
        let (ends, marks) = match self.action {
            Action::Wait(_) => (WAIT, MARKS),
            Action::Do(effect) => match effect {
                Effect::Inspect | Effect::Switch(_) | Effect::Record(_) | Effect::Remove(_) => {
                    (DISK, &[][..])
                }
                Effect::Hangup => (&[Kind, CutBefore, CutAfter][..], &[][..]),
                Effect::Connect(_) | Effect::Prove(_) => (CONNECT, MARKS),
                Effect::Issue(_) => (ISSUE, MARKS),
                Effect::Register(_) => (REGISTER, MARKS),
                Effect::Commit(_) => (COMMIT, MARKS),
            },
            Action::Keep => unreachable!("an action is outstanding"),
        };
        ends.iter().chain(INPUTS).chain(marks).copied().filter(|end| self.can(*end))
    }

    /// Whether this means anything now.
    fn can(&self, end: End) -> bool {
        match end {
            Closed => self.session.is_some(),
            CloudOrdered => self.disk.current().is_some(),
            // The daemon refuses it while the device's own session is there.
            Provision => !matches!(self.machine.link(), Link::Up { carrier: Carrier::Generation(_), .. }),
            Offline => self.offline_until.is_none(),
            Deactivated => self.deactivated.is_none() && self.disk.current().is_some(),
            // Not beyond its token's end: then it is dropped (rule 1), and what the operator gives back later is
            // nobody's; the hook says so, and `reclaim` helps.
            NewDeactivated => match self.action {
                Action::Do(Effect::Prove(n)) => {
                    let certificate = &self.cloud.certificates[self.certificate_of(n)];
                    self.deactivated.is_none() && certificate.token_ends > wall_of(self.boot)
                }
                _ => false,
            },
            Stepped | SteppedBack | FarAhead => self.clockless_until.is_none() && self.far_until.is_none(),
            LandsAndFails => self.action != Action::Do(Effect::Inspect),
            _ => true,
        }
    }

    /// Ends what is outstanding this way, or lets this come in.
    pub fn end(&mut self, end: End) {
        match (end, self.action) {
            (Closed, _) => {
                if self.session.take().is_some() {
                    self.feed(Input::Happened(Happening::Closed));
                }
            }
            (Changed, _) => self.feed(Input::Happened(Happening::Changed)),
            (Ordered, _) => {
                self.reasons += 1;
                self.feed(Input::Order(Order::Rotate));
            }
            (CloudOrdered, _) => {
                let certificate = self.disk.current().and_then(|s| s.certificate).map(|c| c.id);
                self.reasons += 1;
                self.feed(Input::Order(Order::Cloud(CloudOrder {
                    certificate,
                    issued_before: None,
                    within: 0,
                })));
            }
            (Provision, _) => {
                self.reasons += 1;
                self.feed(Input::Order(Order::Provision));
            }
            (Reloaded, _) => {
                let policy = self.machine.policy().clone();
                let other = if policy.retire_delay == 0 { (1_200, 1) } else { (0, 2) };
                let (retire_delay, keep_generations) = other;
                self.feed(Input::Reload(Policy { retire_delay, keep_generations, ..policy }));
            }
            (Offline, _) => {
                self.offline_until = Some(self.boot + 10 * 60 * 1000);
                self.feed(Input::Order(Order::Disconnect));
            }
            (Stepped, _) => self.step_clock(2 * 86_400),
            (SteppedBack, _) => self.step_clock(-2 * 86_400),
            (FarAhead, _) => {
                self.far_until = Some(self.boot + 2 * 3_600_000);
                // One certificate may fall due by it; not one after the other.
                self.reasons += 1;
                self.step_clock(70 * 365 * 86_400);
            }
            (Slept, _) => {
                self.pass(8 * 3_600_000);
                if self.session.take().is_some() {
                    self.feed(Input::Happened(Happening::Closed));
                } else if matches!(self.action, Action::Wait(_)) {
                    self.feed(Input::Woke);
                }
            }
            (CutClockless, _) => {
                self.clockless_until = Some(self.boot + 20 * 60 * 1000);
                self.restart();
            }
            (_, Action::Do(effect)) => self.effect(effect, end),
            (CutBefore, Action::Wait(_)) => self.restart(),
            (Deactivated, Action::Wait(_)) => {
                self.deactivate_current();
                self.pass(1_000);
            }
            (_, Action::Wait(wait)) => self.wait(wait),
            (_, Action::Keep) => {}
        }
    }

    fn step_clock(&mut self, by: i64) {
        self.skew += by;
        self.feed(Input::Woke);
    }

    fn deactivate_current(&mut self) {
        if let Some(n) = self.disk.current().map(|s| s.generation) {
            self.deactivate(n);
        }
    }

    fn deactivate(&mut self, n: u32) {
        let id = self.certificate_of(n);
        if self.cloud.certificates[id].status == Status::Active {
            self.cloud.certificates[id].status = Status::Inactive;
            let given_back = self.boot + 40 * 60 * 1000;
            let token_ends =
                Boot::try_from(self.cloud.certificates[id].token_ends - EPOCH).unwrap_or(0) * 1000;
            let in_use = matches!(self.disk.current, Current::Names(c) if c == n);
            self.deactivated = Some((id, if in_use { given_back } else { given_back.min(token_ends) }));
        }
    }

    fn wait(&mut self, wait: Wait) {
        let until = wait.until.max(self.boot + 1).min(self.boot + 12 * 3_600_000);
        // What is late happens on the way, not at the end of a long wait.
        let late = self.cloud.late.iter().map(|(at, _)| *at);
        let step = late.chain(self.awaited()).min();
        let before = self.boot;
        self.pass(step.map_or(until, |at: Boot| at.clamp(before + 1, until)) - before);
        if matches!(self.action, Action::Wait(_)) {
            self.feed(Input::Woke);
        }
    }

    fn effect(&mut self, effect: Effect, end: End) {
        match end {
            CutBefore => return self.restart(),
            DiskFails => {
                match effect {
                    Effect::Issue(_) if self.session.is_some() => {
                        self.mint();
                    }
                    Effect::Connect(_) => self.session = None,
                    _ => {}
                }
                return self.feed(Input::Done(Outcome::Local));
            }
            Deactivated => self.deactivate_current(),
            NewDeactivated => {
                if let Effect::Prove(n) = effect {
                    self.deactivate(n);
                }
            }
            _ => {}
        }
        let connects = matches!(effect, Effect::Connect(_) | Effect::Prove(_));
        if connects {
            // Time passes before the CONNACK: what ends the new session after it, ends a session that we know of.
            self.sends_connect(effect);
            self.pass(if matches!(end, ConnackLost | EffectLate | AnswerLate) { 19_000 } else { 50 });
            if effect != Effect::Connect(Carrier::Claim) {
                // After a slow handshake CONNECT goes out only now.
                self.last_connect = Some(self.boot);
            }
        }
        let outcome = match effect {
            Effect::Inspect => Outcome::Inspected(self.disk.clone()),
            Effect::Record(record) => {
                self.write(record);
                Outcome::Done
            }
            Effect::Remove(n) => {
                assert_ne!(self.disk.current, Current::Names(n), "rule 18: `current` is never removed");
                assert_ne!(self.session, Some(Carrier::Generation(n)), "rule 18: nor is the session's own");
                self.disk.slots.retain(|s| s.generation != n);
                Outcome::Done
            }
            Effect::Switch(n) => {
                self.switch(n);
                Outcome::Done
            }
            Effect::Hangup => {
                self.session = None;
                Outcome::Done
            }
            Effect::Connect(carrier) => self.connect(carrier, end),
            Effect::Prove(n) => self.connect(Carrier::Generation(n), end),
            Effect::Issue(origin) => self.issue(origin, end),
            Effect::Register(n) => self.register(n, end),
            Effect::Commit(n) => self.commit(n, end),
        };
        if end == CutAfter {
            return self.restart();
        }
        if end == LandsAndFails {
            return self.feed(Input::Done(Outcome::Local));
        }
        if !connects {
            let silent = matches!(outcome, Outcome::Refused(Verdict::Silence, _));
            self.pass(if silent || end == AnswerLate { 19_000 } else { 50 });
        }
        self.feed(Input::Done(outcome));
    }
}
