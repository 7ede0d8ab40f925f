//! Every way in which one effect can end, and what each does to the device, its disk and its cloud.

use certrotd::rotation::follow;
use certrotd::rotation::{
    Action, Asked, Carrier, Certificate, Current, Effect, Happening, Input, Origin, Outcome, Record, Slot,
    Stage, Trouble, Verdict,
};

use super::cloud::{Answer, CLEAR, Late, Status, id_of, wall_of};
use super::world::World;

/// How one effect ends; everything but `Kind` costs one fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    Kind,
    /// The disk says no.
    DiskFails,
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
    /// A fault of the server's, after the effect.
    FaultAfter,
    RequestLost,
    AnswerLost,
    /// No answer, and the effect comes minutes later.
    EffectLate,
    /// The answer comes, and the effect once more minutes later.
    Twice,
    /// Accepted, and seen by the broker minutes later.
    SeenLate,
    /// The retire handler dies after its first victim.
    HandlerDies,
    /// While waiting: the device's wall clock jumps two days ahead.
    WaitStepped,
    /// The other side closes the session in hand during the effect.
    Closes,
    /// While waiting: power cut, session lost, operator deactivates, orders a rotation.
    WaitCut,
    WaitClosed,
    WaitDeactivated,
    WaitOrdered,
}
impl World {
    /// The ways in which what is outstanding can end.
    pub fn branches(&self) -> Vec<End> {
        use End::*;
        match self.action {
            Action::Wait(_) => vec![Kind, WaitCut, WaitClosed, WaitDeactivated, WaitOrdered, WaitStepped],
            Action::Do(effect) => match effect {
                Effect::Inspect | Effect::Switch(_) | Effect::Record(_) | Effect::Remove(_) => {
                    vec![Kind, DiskFails, CutBefore, CutAfter]
                }
                Effect::Hangup => vec![Kind, CutBefore],
                Effect::Connect(_) => {
                    vec![Kind, Unreachable, Refused, ConnackLost, Unfit, DiskFails, CutBefore, CutAfter]
                }
                Effect::Prove(_) => {
                    vec![
                        Kind,
                        Unreachable,
                        Refused,
                        ConnackLost,
                        Unfit,
                        DiskFails,
                        CutBefore,
                        CutAfter,
                        Closes,
                    ]
                }
                Effect::Issue(_) => {
                    vec![Kind, DiskFails, CutBefore, CutAfter, Denied, RequestLost, AnswerLost, Closes, Twice]
                }
                Effect::Register(_) => vec![
                    Kind,
                    DiskFails,
                    CutBefore,
                    CutAfter,
                    Denied,
                    FaultAfter,
                    RequestLost,
                    AnswerLost,
                    EffectLate,
                    SeenLate,
                    Closes,
                    Twice,
                ],
                Effect::Commit(_) => vec![
                    Kind,
                    DiskFails,
                    CutBefore,
                    CutAfter,
                    Denied,
                    RequestLost,
                    AnswerLost,
                    EffectLate,
                    Twice,
                    HandlerDies,
                    Closes,
                ],
            },
            Action::Keep => unreachable!("an action is outstanding"),
        }
    }

    /// Ends what is outstanding this way.
    pub fn end(&mut self, end: End) {
        match self.action {
            Action::Do(effect) => self.effect(effect, end),
            Action::Wait(wait) => match end {
                End::WaitCut => self.restart(),
                End::WaitClosed => {
                    if self.session.take().is_some() {
                        self.feed(Input::Happened(Happening::Closed));
                    }
                }
                End::WaitStepped => {
                    self.skew += 2 * 86_400;
                    self.feed(Input::Woke);
                }
                End::WaitOrdered => self.feed(Input::Order(certrotd::rotation::Order::Rotate)),
                End::WaitDeactivated => {
                    if let Some(n) = self.disk.current().map(|s| s.generation) {
                        let id = self.certificate_of(n);
                        self.cloud.certificates[id].status = Status::Inactive;
                        self.deactivated = Some((id, self.boot + 40 * 60 * 1000));
                        self.pass(1_000);
                    }
                }
                _ => {
                    let until = wait.until.max(self.boot + 1).min(self.boot + 12 * 3_600_000);
                    // What is late happens on the way, not at the end of a long wait.
                    let step =
                        self.cloud.late.iter().map(|(at, _)| *at).chain(self.deactivated.map(|d| d.1)).min();
                    self.pass(step.map_or(until, |at| at.clamp(self.boot + 1, until)) - self.boot);
                    if matches!(self.action, Action::Wait(_)) {
                        self.feed(Input::Woke);
                    }
                }
            },
            Action::Keep => {}
        }
    }

    fn effect(&mut self, effect: Effect, end: End) {
        if end == End::CutBefore {
            return self.restart();
        }
        if end == End::DiskFails {
            match effect {
                Effect::Issue(_) => {
                    self.connection_issue();
                }
                Effect::Connect(_) => self.session = None,
                _ => {}
            }
            return self.feed(Input::Done(Outcome::Local));
        }
        if end == End::Closes {
            self.session = None;
            self.feed(Input::Happened(Happening::Closed));
            let outcome = match effect {
                Effect::Prove(_) => Outcome::Failed(Trouble::Refused),
                _ => Outcome::Refused(Verdict::Silence, None),
            };
            self.pass(1_000);
            return self.feed(Input::Done(outcome));
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
                let slot = self.disk.slot(n).expect("only what is there is switched to");
                assert!(
                    slot.is_whole() && slot.stage == Stage::Proved,
                    "`current` names a pair that carried a session"
                );
                assert_eq!(
                    self.session,
                    Some(Carrier::Generation(n)),
                    "rule 21: a candidate that has just connected"
                );
                self.disk.current = Current::Names(n);
                self.rotations += 1;
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
        if end == End::CutAfter {
            return self.restart();
        }
        let silent =
            matches!(outcome, Outcome::Refused(Verdict::Silence, _) | Outcome::Failed(Trouble::Lost));
        self.pass(if silent { 15_000 } else { 50 });
        self.feed(Input::Done(outcome));
    }

    fn write(&mut self, record: Record) {
        let current = if let Current::Names(n) = self.disk.current { Some(n) } else { None };
        if let Record::Registering(n) | Record::Rejected(n) | Record::Registered(n) | Record::Proved(n) =
            record
        {
            assert_ne!(Some(n), current, "the slot in use is never written: {record:?}");
        }
        follow(&mut self.disk, record);
    }

    fn connect(&mut self, carrier: Carrier, end: End) -> Outcome {
        let beside = matches!(self.action, Action::Do(Effect::Prove(_)));
        if !beside {
            self.session = None;
        }
        if end == End::Unreachable {
            return Outcome::Failed(Trouble::Unreachable);
        }
        let admitted = match carrier {
            Carrier::Claim => true,
            Carrier::Generation(n) => self.cloud.admits(self.certificate_of(n), self.boot),
        };
        if end == End::Refused || !admitted {
            return Outcome::Failed(Trouble::Refused);
        }
        self.connection += 1;
        match end {
            End::ConnackLost => {
                // The broker has closed the old session for the new one, and we have neither.
                self.session = None;
                Outcome::Failed(Trouble::Lost)
            }
            End::Unfit => {
                self.session = None;
                Outcome::Failed(Trouble::Unfit)
            }
            _ => {
                self.session = Some(carrier);
                Outcome::Done
            }
        }
    }

    fn connection_issue(&mut self) -> usize {
        self.cloud.issue(wall_of(self.boot), self.connection)
    }

    fn issue(&mut self, origin: Origin, end: End) -> Outcome {
        let carrier = self.session.expect("a request needs a session");
        assert_eq!(carrier == Carrier::Claim, origin == Origin::Claim);
        assert!(
            !self.disk.slots.iter().any(|s| s.is_whole() && s.stage != Stage::Proved),
            "rule 1: at most one unproved pair exists"
        );
        match end {
            End::Denied => return Outcome::Refused(Verdict::Denied, None),
            End::RequestLost => return Outcome::Refused(Verdict::Silence, None),
            End::AnswerLost => {
                self.connection_issue();
                return Outcome::Refused(Verdict::Silence, None);
            }
            End::Twice => {
                self.connection_issue();
            }
            _ => {}
        }
        let index = self.connection_issue();
        let c = &self.cloud.certificates[index];
        self.number += 1;
        let slot = Slot {
            generation: self.number,
            stage: Stage::Issued,
            origin,
            certificate: Some(Certificate {
                id: id_of(index),
                not_before: c.not_before,
                not_after: 2_524_607_999,
            }),
            asked: Asked::Never,
            token_ends: Some(self.wall() + 3_600),
            issued_at: self.wall(),
            mark: CLEAR,
        };
        self.disk.slots.push(slot.clone());
        Outcome::Issued(slot)
    }

    fn register(&mut self, n: u32, end: End) -> Outcome {
        let carrier = self.session.expect("a request needs a session");
        assert_eq!(
            self.disk.slot(n).unwrap().asked,
            Asked::Unanswered,
            "announced on disk before it is sent (rule 1)"
        );
        let id = self.certificate_of(n);
        let (claim, connection, boot) = (carrier == Carrier::Claim, self.connection, self.boot);
        let mut ask = |hidden| self.cloud.register(id, claim, connection, boot, hidden);
        match end {
            End::Denied => Outcome::Refused(Verdict::Denied, None),
            End::RequestLost => Outcome::Refused(Verdict::Silence, None),
            End::EffectLate => {
                self.cloud.late.push((self.boot + 10 * 60 * 1000, Late::Register(id)));
                Outcome::Refused(Verdict::Silence, None)
            }
            End::AnswerLost => {
                ask(0);
                Outcome::Refused(Verdict::Silence, None)
            }
            End::FaultAfter => {
                ask(0);
                Outcome::Refused(Verdict::Fault, None)
            }
            _ => match ask(if end == End::SeenLate { 4 * 60 * 1000 } else { 0 }) {
                Answer::Accepted => Outcome::Registered,
                Answer::Denied => Outcome::Refused(Verdict::Denied, None),
                Answer::Invalid => Outcome::Refused(Verdict::Invalid, None),
            },
        }
    }

    fn commit(&mut self, n: u32, end: End) -> Outcome {
        assert_eq!(
            self.session,
            Some(Carrier::Generation(n)),
            "rule 10: a commit speaks for the session's certificate"
        );
        assert_eq!(self.disk.current, Current::Names(n), "rule 10: only after the switch is durable");
        let id = self.certificate_of(n);
        let boot = self.boot;
        if self.commits_refused {
            return Outcome::Refused(Verdict::Denied, None);
        }
        match end {
            End::Denied => Outcome::Refused(Verdict::Denied, Some(60)),
            End::RequestLost => Outcome::Refused(Verdict::Silence, None),
            End::AnswerLost => {
                self.cloud.commit(id, boot, boot, None);
                Outcome::Refused(Verdict::Silence, None)
            }
            End::EffectLate => {
                self.cloud.late.push((boot + 4 * 60 * 1000, Late::Commit(id, boot)));
                Outcome::Refused(Verdict::Silence, None)
            }
            End::HandlerDies => {
                self.cloud.commit(id, boot, boot, Some(1));
                Outcome::Refused(Verdict::Silence, None)
            }
            _ => {
                if end == End::Twice {
                    self.cloud.late.push((boot + 4 * 60 * 1000, Late::Commit(id, boot)));
                }
                if self.cloud.commit(id, boot, boot, None) {
                    Outcome::Committed
                } else {
                    Outcome::Refused(Verdict::Denied, None)
                }
            }
        }
    }
}
