//! What the cloud does with a call of the device, by how the call ends.

use certrotd::rotation::{
    Asked, Boot, Carrier, Certificate, Current, Effect, Origin, Outcome, Slot, Stage, Trouble, Verdict,
};

use super::cloud::{Answer, CLEAR, Late, id_of, wall_of};
use super::ends::End;
use super::world::World;

impl World {
    /// A connection begins: the one in hand ends, unless the new one is proved beside it.
    pub fn sends_connect(&mut self, effect: Effect) {
        if !matches!(effect, Effect::Prove(_)) {
            self.session = None;
        }
        if effect != Effect::Connect(Carrier::Claim) {
            let last = self.last_connect;
            assert!(last.is_none_or(|at| self.boot >= at + 1_000), "one CONNECT a second per client id");
        }
    }

    pub fn connect(&mut self, carrier: Carrier, end: End) -> Outcome {
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
            End::EffectLate => {
                // The broker takes the CONNECT when we have long gone elsewhere, and closes what is there then.
                self.session = None;
                self.cloud.late.push((self.boot + MINUTE, Late::TakeOver));
                Outcome::Failed(Trouble::Lost)
            }
            End::Unfit => {
                self.session = None;
                Outcome::Failed(Trouble::Unfit)
            }
            _ => {
                self.session = Some(carrier);
                self.last_session = Some(carrier);
                Outcome::Done
            }
        }
    }

    /// The cloud issues a certificate on the connection in hand.
    pub fn mint(&mut self) -> usize {
        self.cloud.issue(wall_of(self.boot), self.connection)
    }

    pub fn issue(&mut self, origin: Origin, end: End) -> Outcome {
        assert!(
            !self.disk.slots.iter().any(|s| s.is_whole() && s.stage != Stage::Proved),
            "rule 1: at most one unproved pair exists"
        );
        let Some(carrier) = self.session else { return NO_SESSION };
        assert_eq!(carrier == Carrier::Claim, origin == Origin::Claim);
        match end {
            End::Denied => return Outcome::Refused(Verdict::Denied, None),
            End::Invalid => return Outcome::Refused(Verdict::Invalid, None),
            End::RequestLost => return Outcome::Refused(Verdict::Silence, None),
            End::AnswerLost | End::FaultAfter | End::Wrong => {
                self.mint();
                let verdict = match end {
                    End::AnswerLost => Verdict::Silence,
                    End::FaultAfter => Verdict::Fault,
                    _ => Verdict::Wrong,
                };
                return Outcome::Refused(verdict, None);
            }
            End::Twice => {
                self.mint();
            }
            _ => {}
        }
        let index = self.mint();
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
            token_ends: Some(self.noted() + 3_600),
            issued_at: self.noted(),
            mark: CLEAR,
        };
        self.disk.slots.push(slot.clone());
        Outcome::Issued(slot)
    }

    pub fn register(&mut self, n: u32, end: End) -> Outcome {
        assert_eq!(
            self.disk.slot(n).unwrap().asked,
            Asked::Unanswered,
            "announced on disk before it is sent (rule 1)"
        );
        let Some(carrier) = self.session else { return NO_SESSION };
        assert_ne!(self.silent_on, Some(self.connection), "rule 2: never another on the same connection");
        let id = self.certificate_of(n);
        let (claim, connection, boot) = (carrier == Carrier::Claim, self.connection, self.boot);
        let mut ask = |hidden| self.cloud.register(id, claim, connection, boot, hidden);
        let silence = Outcome::Refused(Verdict::Silence, None);
        let outcome = match end {
            End::Denied => Outcome::Refused(Verdict::Denied, None),
            End::Invalid => Outcome::Refused(Verdict::Invalid, None),
            End::RequestLost => silence,
            End::EffectLate => {
                self.cloud.late.push((boot + 10 * MINUTE, Late::Register(id, claim)));
                silence
            }
            End::AnswerLost => {
                ask(0);
                silence
            }
            End::FaultAfter => {
                ask(0);
                Outcome::Refused(Verdict::Fault, None)
            }
            _ => match ask(if end == End::SeenLate { 4 * MINUTE } else { 0 }) {
                Answer::Accepted if end == End::Wrong => {
                    self.cloud.misname(id);
                    Outcome::Refused(Verdict::Wrong, None)
                }
                Answer::Accepted => {
                    if end == End::Twice {
                        self.cloud.late.push((boot + 4 * MINUTE, Late::Register(id, claim)));
                    }
                    Outcome::Registered
                }
                Answer::Denied => Outcome::Refused(Verdict::Denied, None),
                Answer::Invalid => Outcome::Refused(Verdict::Invalid, None),
            },
        };
        if let Outcome::Refused(Verdict::Silence, _) = outcome {
            self.silent_on = Some(self.connection);
        }
        outcome
    }

    pub fn commit(&mut self, n: u32, end: End) -> Outcome {
        assert_eq!(self.disk.current, Current::Names(n), "rule 10: only after the switch is durable");
        let Some(carrier) = self.session else { return NO_SESSION };
        assert_eq!(carrier, Carrier::Generation(n), "rule 10: a commit speaks for the session's certificate");
        let id = self.certificate_of(n);
        let boot = self.boot;
        if self.commits_refused {
            return Outcome::Refused(Verdict::Denied, None);
        }
        // The answer to an earlier one of this session, which was thought lost, may come to this one.
        let earlier = self.cloud.unheard.take() == Some((self.connection, id));
        let silence = Outcome::Refused(Verdict::Silence, None);
        match end {
            End::Denied | End::RequestLost if earlier => Outcome::Committed,
            End::Denied => Outcome::Refused(Verdict::Denied, Some(60)),
            End::RequestLost => silence,
            End::AnswerLost => {
                if self.cloud.commit(id, boot, boot, None) {
                    self.cloud.unheard = Some((self.connection, id));
                }
                silence
            }
            End::Wrong => {
                self.cloud.commit(id, boot, boot, None);
                Outcome::Refused(Verdict::Wrong, None)
            }
            End::EffectLate => {
                self.cloud.late.push((boot + 4 * MINUTE, Late::Commit(id, boot)));
                silence
            }
            End::HandlerDies => {
                self.cloud.commit(id, boot, boot, Some(1));
                silence
            }
            _ => {
                if end == End::Twice {
                    self.cloud.late.push((boot + 4 * MINUTE, Late::Commit(id, boot)));
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

/// The session ended before the request was sent; the device cannot tell.
const NO_SESSION: Outcome = Outcome::Refused(Verdict::Silence, None);
const MINUTE: Boot = 60_000;
