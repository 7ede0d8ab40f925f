//! What the end of an effect makes known: follows the disk, closes gates, and says what must come next.
//!
//! A failed disk effect throws the image of the disk away; a failed cloud effect closes a gate; nothing is concluded
//! here that `plan` could derive from what is known.

use super::follow::follow;
use super::identity::{Current, Mark, Record, Stage};
use super::language::{Carrier, Effect, Now, Outcome, Trouble, Verdict};
use super::machine::{Link, Ordered, Refusals, Rotation, SuccessorMemory};
use super::retry::Pace;

impl Rotation {
    pub(super) fn absorb(&mut self, effect: Effect, outcome: Outcome, now: &Now) {
        if outcome == Outcome::Local {
            self.failed_here(effect, now);
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
                // The gate is reset when it is on disk: a disk that fails here must not make a storm of commits.
                Outcome::Committed => self.next = Some(Effect::Record(Record::Settled(n))),
                Outcome::Refused(_, after) => self.gates.commit.fail(Pace::COMMIT, now, after),
                _ => self.gates.commit.fail(Pace::COMMIT, now, None),
            },
            Effect::Remove(n) => {
                self.refused.retain(|r| r.of != n);
                if let Some(disk) = &mut self.disk {
                    disk.slots.retain(|s| s.generation != n);
                }
            }
        }
    }

    /// One door after doubt. The gates keep a sick disk from spinning; what needs no disk goes on.
    fn failed_here(&mut self, effect: Effect, now: &Now) {
        self.disk = None;
        match effect {
            // A file that cannot be read (root CA, claim, pair): the connection sets the pace, not the store's disk.
            Effect::Connect(carrier) => {
                self.link = Link::Down;
                self.claim_now = false;
                self.gates.connect.fail(Pace::CONNECT, now, None);
                if carrier == Carrier::Claim {
                    self.gates.claim.fail(Pace::RENEW, now, None);
                }
                return;
            }
            Effect::Prove(_) => return self.gates.prove.fail(Pace::PROVE, now, None),
            Effect::Issue(_) => self.renewal_failed(now, None),
            Effect::Switch(n) => self.switching = Some(n),
            // Whether it was sent is not known, so it may have been.
            Effect::Register(_) => self.successor.sole = false,
            Effect::Commit(_) | Effect::Record(Record::Committing(_) | Record::Settled(_)) => {
                self.gates.commit.fail(Pace::COMMIT, now, None);
            }
            _ => {}
        }
        self.gates.disk.fail(Pace::DISK, now, None);
    }

    fn inspected(&mut self, outcome: Outcome) {
        let Outcome::Inspected(disk) = outcome else { return };
        let landed = self.switching.take().filter(|n| disk.current == Current::Names(*n));
        self.disk = Some(disk);
        if let Some(n) = landed {
            // It failed after the rename, or the image was in doubt when it ended: what ordered it is done all the same.
            self.switched(n);
        }
    }

    fn connected(&mut self, carrier: Carrier, outcome: &Outcome, now: &Now) {
        self.link = Link::Down;
        match (carrier, outcome) {
            (_, Outcome::Done) => self.session_began(carrier, now),
            (Carrier::Claim, Outcome::Failed(trouble)) => {
                // The network says nothing of the claim; and a pace of hours that was set before is kept (rule 20).
                if *trouble != Trouble::Unreachable {
                    let before = self.gates.claim.opens;
                    self.gates.claim.fail(Pace::RENEW, now, None);
                    self.gates.claim.opens = self.gates.claim.opens.max(before);
                }
                self.gates.connect.fail(self.connect_pace(), now, None);
                self.claim_now = false;
            }
            (Carrier::Generation(n), Outcome::Failed(trouble)) => {
                self.trouble = Some(*trouble);
                match trouble {
                    Trouble::Refused => self.count_refusal(n, now),
                    // No refusal, and no reason to stay with it for ever in this round.
                    Trouble::Unfit | Trouble::Lost => self.had_its_turn(n),
                    Trouble::Unreachable => {}
                }
                self.gates.connect.fail(self.connect_pace(), now, None);
            }
            _ => self.gates.connect.fail(self.connect_pace(), now, None),
        }
    }

    fn session_began(&mut self, carrier: Carrier, now: &Now) {
        self.link = Link::Up { carrier, since: now.boot, silent: false };
        self.claim_now = false;
        self.trouble = None;
        self.told = None;
        if let Carrier::Generation(n) = carrier {
            self.refused.retain(|r| r.of != n);
            self.round.clear();
        } else {
            self.gates.claim.failures = 0;
        }
    }

    fn had_its_turn(&mut self, n: u32) {
        if !self.round.contains(&n) {
            self.round.push(n);
        }
    }

    fn count_refusal(&mut self, n: u32, now: &Now) {
        self.had_its_turn(n);
        match self.refused.iter_mut().find(|r| r.of == n) {
            // What was refused while its token ran says nothing of a time when it cannot come alive any more (rule 1).
            Some(r) if self.successor.token_ends_between(n, r.first, now.boot) => {
                *r = Refusals { of: n, count: 1, first: now.boot, last: now.boot };
            }
            Some(r) => (r.count, r.last) = (r.count.saturating_add(1), now.boot),
            None => self.refused.push(Refusals { of: n, count: 1, first: now.boot, last: now.boot }),
        }
    }

    fn issued(&mut self, outcome: Outcome, now: &Now) {
        match outcome {
            Outcome::Issued(slot) => {
                self.meet(&slot, now);
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
        if let Some(disk) = &mut self.disk {
            follow(disk, record);
        }
        if let Record::Settled(_) = record {
            self.gates.commit.reset();
        }
        // What is announced on disk is done at once: between the two lies only a power cut, and both read the same.
        match record {
            Record::Registering(n) => {
                self.successor.sole = true;
                if self.link == Link::Down {
                    // The session ended meanwhile: nothing was sent, so nothing has to be proved before it is.
                    self.successor.may_register = true;
                } else {
                    self.next = Some(Effect::Register(n));
                }
            }
            Record::Committing(_) => {
                let pending = self.disk.as_ref().and_then(|d| d.pending);
                self.next = pending.filter(|n| self.carries(*n)).map(Effect::Commit);
            }
            // It is pending anew, as after a fallback: its delay begins anew.
            Record::Pending(..) => self.pending_seen = None,
            _ => {}
        }
    }

    fn carries(&self, n: u32) -> bool {
        matches!(self.link, Link::Up { carrier: Carrier::Generation(c), .. } if c == n)
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
                self.gates.prove.fail(Pace::PROVE, now, None);
            }
            Outcome::Failed(Trouble::Unfit) => {
                self.link = Link::Down;
                let slot = self.disk.as_ref().and_then(|d| d.slot(n));
                // A CONNACK shows that it is registered, whatever was answered.
                let record = match slot.map(|s| (s.stage, s.mark)) {
                    Some((Stage::Issued, _)) => Some(Record::Registered(n)),
                    Some((_, Mark::Clear | Mark::Retired)) => Some(Record::Marked(n, Mark::Refused)),
                    _ => None,
                };
                if record.is_some() || slot.is_none() {
                    // The first of its kind, as far as is known while the disk is read again: refusals before it say
                    // nothing of how long rights take to be seen.
                    self.gates.prove.reset();
                }
                self.next = record.map(Effect::Record);
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
        let Some(disk) = &mut self.disk else {
            self.switching = Some(n);
            return;
        };
        let newer = disk.slots.iter().any(|s| s.generation > n && s.stage == Stage::Proved);
        let back = newer || matches!(disk.current, Current::Names(c) if c > n);
        disk.current = Current::Names(n);
        self.gates.commit.reset();
        self.gates.renew.reset();
        self.successor = SuccessorMemory::default();
        self.clock.overdue_from = None;
        self.order = back.then_some(Ordered::Fallback);
    }
}
