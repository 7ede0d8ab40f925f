//! The renewal: when it is due, and how the one unproved pair is brought forward (rules 1 to 6, 27, 28).

use super::identity::{Asked, Boot, Certificate, Mark, Origin, Record, Slot, Stage};
use super::language::{CloudOrder, Effect, Now, Why};
use super::machine::{Link, Ordered, Rotation, SuccessorMemory};
use super::plan::{CONNECT_SPACING, Later, millis, seconds, share};
use super::schedule::{self, Due, Rule};

impl Rotation {
    /// Brings the one unproved (or proved and not yet switched) pair forward (rules 1 to 3).
    pub(super) fn progress(&self, s: &Slot, now: &Now, later: &mut Later) -> Option<Effect> {
        if self.is_dead(s, now) {
            return self.to_disk(Effect::Remove(s.generation), now, later);
        }
        if s.stage == Stage::Proved && self.has_been_refused_long(s.generation) {
            // It worked once and does not any more: rotation goes on without it, and the next commit retires it.
            return self.to_disk(Effect::Record(Record::Marked(s.generation, Mark::Refused)), now, later);
        }
        if self.wants_registering(s, now) {
            match self.link {
                Link::Up { carrier, silent: true, .. } => {
                    if let Some(effect) = self.connect(carrier, Why::RegisterRefused, now, later) {
                        return Some(effect);
                    }
                }
                Link::Up { silent: false, .. } if self.gates.renew.is_open(now) => {
                    return match s.asked {
                        Asked::Unanswered => Some(Effect::Register(s.generation)),
                        Asked::Never | Asked::Rejected => {
                            self.to_disk(Effect::Record(Record::Registering(s.generation)), now, later)
                        }
                    };
                }
                Link::Up { .. } => later.hold(self.gates.renew.opens, Why::RegisterRefused),
                Link::Down => {}
            }
        }
        // Rule 4: one that was registered as another thing is never proved.
        let misnamed = s.stage == Stage::Issued && s.mark == Mark::Refused;
        if self.may_be_alive(s) && !misnamed {
            // Without a session the pair in use has the first turn: a proof that is refused again and again keeps nobody
            // off the network.
            let turn = if self.link == Link::Down { CONNECT_SPACING } else { 0 };
            let opens = self.gates.prove.opens.max(self.paced(now) + turn);
            if now.boot >= opens {
                return Some(Effect::Prove(s.generation));
            }
            later.hold(opens, if s.mark == Mark::Refused { Why::Unfit } else { Why::NotProved });
        } else {
            // Nothing more can be asked for it: it goes when its token has ended.
            later.hold(Boot::try_from(self.successor.token_ends).unwrap_or(0), Why::NotProved);
        }
        None
    }

    /// First sight of an unproved pair in this run: from here on its token runs by the time since boot.
    pub(super) fn meet(&mut self, s: &Slot, now: &Now) {
        if s.stage == Stage::Proved || self.successor.of == Some(s.generation) {
            return;
        }
        let wall = self.wall(now);
        // What was noted may come from a clock that was behind; notBefore comes from the cloud's.
        let born = s.certificate.map_or(0, |c| c.not_before).max(s.issued_at);
        let ends = s.token_ends.unwrap_or(0).max(born.saturating_add(TOKEN_LIFE));
        // One from the future was saved under a wrong clock: when it ends is not known, but no later than this.
        // Nor does a clock that has just been stepped say (rule 27).
        let unknown = wall < born || now.boot < self.clock.held_until;
        let left = if unknown { TOKEN_LIFE } else { ends.saturating_sub(wall) };
        let token_ends = boot_of(now.boot).saturating_add(left.saturating_mul(1_000));
        self.successor = SuccessorMemory { of: Some(s.generation), token_ends, ..SuccessorMemory::default() };
        if s.asked == Asked::Never {
            // The first RegisterThing of a pair does not wait for what failed with another one, and its token runs.
            self.gates.renew.open();
            self.gates.prove.reset();
        }
    }

    pub(super) fn wants_registering(&self, s: &Slot, now: &Now) -> bool {
        s.stage == Stage::Issued
            && s.mark != Mark::Refused
            && s.token_ends.is_some()
            && !self.token_has_ended(s, now)
            && (s.asked != Asked::Unanswered || self.successor.may_register)
    }

    /// Says whether, at that time since boot, so many seconds had passed since the end of the token.
    fn token_had_ended(&self, s: &Slot, boot: Boot, since: i64) -> bool {
        self.successor.token_had_ended(s.generation, boot, since)
    }

    fn token_has_ended(&self, s: &Slot, now: &Now) -> bool {
        self.token_had_ended(s, now.boot, 0)
    }

    /// Says whether the cloud may hold this pair alive (rule 1): not where its only request was announced and never sent.
    fn may_be_alive(&self, s: &Slot) -> bool {
        let unsent = self.successor.of == Some(s.generation) && self.successor.sole;
        s.stage != Stage::Issued || s.asked == Asked::Unanswered && !unsent
    }

    /// Rule 1: says whether an unproved pair cannot come alive any more.
    pub(super) fn is_dead(&self, s: &Slot, now: &Now) -> bool {
        if s.stage == Stage::Proved {
            return false;
        }
        if !self.may_be_alive(s) {
            let futile =
                self.successor.invalid && self.token_had_ended(s, now.boot, INVALID_PATIENCE - TOKEN_LIFE);
            return self.token_has_ended(s, now) || futile && s.asked == Asked::Rejected;
        }
        if s.stage == Stage::Issued && s.mark == Mark::Refused {
            return self.token_has_ended(s, now);
        }
        // A registered one that is all we have is only given up when the claim would be turned to (rule 20).
        let alone = s.stage == Stage::Registered && self.pairs().is_empty();
        let patience = if alone { self.policy.fallback_after.max(SEEN_WITHIN) } else { SEEN_WITHIN };
        // Not at the token's end itself: a RegisterThing that was accepted just before it is seen minutes later
        // (rule 3), and the walk shows two certificates alive if this one is dropped in between. Nor after one
        // refusal, which is weather: three over a quarter of an hour must lie behind that end, all of them. (One that
        // an operator held inactive until then was refused often before, and is alive: `count_refusal` begins anew.)
        self.has_been_refused_long(s.generation)
            && self.refusals(s.generation).is_some_and(|r| self.token_had_ended(s, r.last, patience))
    }

    pub(super) fn renew(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        if now.boot < self.clock.held_until {
            later.hold(self.clock.held_until, Why::ClockStepped);
            return None;
        }
        let wall = self.wall(now);
        let Due { at, rule } = self.due(now)?;
        if wall < at {
            self.clock.looked = true;
            let opens = now.boot + millis(at - wall);
            later.hold(opens, Why::NotDue);
            return None;
        }
        let opens = match rule {
            Rule::MaxAge | Rule::RenewBefore => self.overdue_from(now),
            Rule::Operator | Rule::Cloud | Rule::Fallback => 0,
        };
        if now.boot < opens {
            later.hold(opens, Why::StartJitter);
            return None;
        }
        if !self.gates.renew.is_open(now) {
            later.hold(self.gates.renew.opens, Why::IssueRefused);
            return None;
        }
        match self.link {
            Link::Up { carrier, silent: true, .. } => self.connect(carrier, Why::IssueRefused, now, later),
            _ => self.issue(Origin::Rotation, now, later),
        }
    }

    /// When the certificate in use is due, and by which rule; the earliest wins.
    pub fn due(&self, now: &Now) -> Option<Due> {
        let disk = self.disk.as_ref()?;
        let slot = disk.current()?;
        let certificate = slot.certificate.as_ref()?;
        let wall = self.wall(now);
        let scheduled = if self.policy.enabled { schedule::due(certificate, &self.policy) } else { None };
        let scheduled =
            scheduled.map(|due| schedule::not_at_birth(due, certificate, &self.policy, slot.issued_at, wall));
        let ordered = match self.order {
            Some(Ordered::Operator) => Some(Due { at: wall, rule: Rule::Operator }),
            Some(Ordered::Fallback) => Some(Due { at: wall, rule: Rule::Fallback }),
            Some(Ordered::Cloud { order, from }) if cloud_due(certificate, order) => {
                let spaced = slot.issued_at.saturating_add(self.policy.min_interval);
                let spread = wall + seconds(from.saturating_sub(now.boot));
                Some(Due { at: spaced.max(spread), rule: Rule::Cloud })
            }
            // Derived from the disk, so that a restart does not forget it (rule 19).
            Some(Ordered::Cloud { .. }) | None => disk
                .slots
                .iter()
                .any(|s| {
                    s.generation > slot.generation && s.stage == Stage::Proved && s.mark == Mark::Refused
                })
                .then_some(Due { at: wall, rule: Rule::Fallback }),
        };
        [scheduled, ordered].into_iter().flatten().min()
    }

    /// Rule 28: what is overdue when the program starts waits a random while.
    pub(super) fn overdue_from(&mut self, now: &Now) -> Boot {
        if let Some(from) = self.clock.overdue_from {
            return from;
        }
        let wall = self.wall(now);
        let left = self
            .disk
            .as_ref()
            .and_then(|d| d.current())
            .and_then(|s| s.certificate)
            .map_or(0, |c| (c.not_after - wall).max(0));
        // The first look of this run (or after a step of the clock): the whole fleet may have come back together.
        let first_look = !core::mem::replace(&mut self.clock.looked, true);
        let window = if first_look { self.policy.splay.min(left / 4).max(0) } else { 0 };
        let from = now.boot + share(millis(window), now.dice);
        self.clock.overdue_from = Some(from);
        from
    }
}

impl SuccessorMemory {
    fn token_had_ended(&self, of: u32, boot: Boot, since: i64) -> bool {
        self.of == Some(of) && boot_of(boot) >= self.token_ends.saturating_add(since.saturating_mul(1_000))
    }

    /// Says whether the token of that pair ended after the one moment and by the other.
    pub(super) fn token_ends_between(&self, of: u32, after: Boot, by: Boot) -> bool {
        !self.token_had_ended(of, after, 0) && self.token_had_ended(of, by, 0)
    }
}

fn boot_of(boot: Boot) -> i64 {
    i64::try_from(boot).unwrap_or(i64::MAX)
}

/// Says whether the condition of the cloud's order is true of the certificate in use.
pub(super) fn cloud_due(certificate: &Certificate, order: CloudOrder) -> bool {
    let named = order.certificate.is_none_or(|id| id == certificate.id);
    let older = order.issued_before.is_none_or(|at| certificate.not_before < at);
    (order.certificate.is_some() || order.issued_before.is_some()) && named && older
}

/// Life of an ownership token; AWS deletes the certificate after it. Seconds.
const TOKEN_LIFE: i64 = 3_600;
/// What was accepted is seen by the broker within this. AWS says minutes. Seconds.
const SEEN_WITHIN: i64 = 900;
/// A request that cannot succeed is tried this long, in case a template is on its way. Seconds.
const INVALID_PATIENCE: i64 = 900;
