//! What is done next: one pass over what is known, in the order of what matters most.
//!
//! Each concern either has something to do now, or says until when it waits and why. The first that can act, acts; if
//! none can, the machine waits for the earliest, and says why for the most important. Nothing here remembers.

use alloc::vec::Vec;

use super::identity::{Asked, Boot, Certificate, Current, Mark, Origin, Record, Slot, Stage, Wall};
use super::language::{Action, Carrier, Effect, MachineChange, Now, RetireMode, Wait, Why};
use super::machine::{CONTEST_ENDS, Link, Ordered, Rotation};
use super::schedule::{self, Due, Rule};

/// The reasons to wait that one pass has met.
struct Later {
    until: Boot,
    told: Option<(Why, Boot)>,
}

impl Later {
    fn hold(&mut self, until: Boot, why: Why) {
        self.until = self.until.min(until);
        self.told.get_or_insert((why, until));
    }

    fn wait(self) -> Action {
        let (why, ends) = self.told.unwrap_or((Why::NotDue, self.until));
        Action::Wait(Wait { until: self.until, why, ends })
    }
}

impl Rotation {
    pub(super) fn plan(&mut self, now: &Now) -> Action {
        let horizon = now.boot + millis(self.policy.check_interval.max(1));
        let mut later = Later { until: horizon, told: None };
        if self.disk.is_none() {
            // A first read is free; after a failed one the disk sets the pace.
            if !self.gates.disk.is_open(now) {
                later.hold(self.gates.disk.opens, Why::Disk);
                return later.wait();
            }
            return Action::Do(Effect::Inspect);
        }
        match self.pass(now, &mut later) {
            Some(effect) => Action::Do(effect),
            None => later.wait(),
        }
    }

    fn pass(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        if let Some(until) = self.untrusted_clock(now) {
            later.hold(until.min(now.boot + CLOCK_LOOK), Why::Clock);
            return None;
        }
        let foreign = self.disk.as_ref().is_some_and(|d| d.foreign);
        let held = foreign && self.policy.machine_change == MachineChange::Hold;
        if self.offline || held {
            later.hold(later.until, if self.offline { Why::Offline } else { Why::Foreign });
            return (self.link != Link::Down).then_some(Effect::Hangup);
        }
        match self.link {
            Link::Up { carrier: Carrier::Generation(n), since, .. } if self.is_current(n) => {
                self.on_session(n, since, now, later)
            }
            Link::Up { carrier: Carrier::Generation(n), .. } => self.take_up(n, now, later),
            Link::Up { carrier: Carrier::Claim, .. } => self.on_claim(now, later),
            Link::Down => self.on_nothing(now, later),
        }
    }

    // ── on the session of `current` ────────────────────────────────────────────────────────────────────────────────

    fn on_session(&mut self, n: u32, since: Boot, now: &Now, later: &mut Later) -> Option<Effect> {
        let wall = self.wall(now);
        if self.contested && now.boot.saturating_sub(since) >= CONTEST_ENDS {
            self.contested = false;
        }
        if let Some(effect) = self.remember_that_it_works(wall, now, later) {
            return Some(effect);
        }
        if self.contested {
            // Rule 22: two clones would retire each other.
            later.hold(since + CONTEST_ENDS, Why::Contested);
        } else if let Some(successor) = self.successor() {
            if let Some(effect) = self.progress(&successor, now, later) {
                return Some(effect);
            }
        }
        let commit = self.commit(n, wall, now, later);
        if commit.is_some() {
            return commit;
        }
        let sweep = self.sweep(n, now, later);
        if sweep.is_some() {
            return sweep;
        }
        if self.contested || self.successor().is_some() { None } else { self.renew(now, later) }
    }

    fn remember_that_it_works(&self, wall: Wall, now: &Now, later: &mut Later) -> Option<Effect> {
        let worked = self.disk.as_ref()?.worked_at;
        // Absolute difference: a time saved under a wrong clock must not silence this for years.
        let stale = worked.is_none_or(|at| (wall - at).abs() >= WORKED_EVERY);
        if !stale {
            return None;
        }
        self.to_disk(Effect::Record(Record::Worked(wall)), now, later)
    }

    /// Brings the one unproved (or proved and not yet switched) pair forward (rules 1 to 3).
    fn progress(&self, s: &Slot, now: &Now, later: &mut Later) -> Option<Effect> {
        if self.is_dead(s, now) {
            return self.to_disk(Effect::Remove(s.generation), now, later);
        }
        if s.stage == Stage::Proved && self.has_been_refused_long(s.generation, now) {
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
        if may_be_alive(s) {
            let opens = self.gates.prove.opens.max(self.paced(now));
            if now.boot >= opens {
                return Some(Effect::Prove(s.generation));
            }
            later.hold(opens, if s.mark == Mark::Refused { Why::Unfit } else { Why::NotProved });
        }
        None
    }

    fn wants_registering(&self, s: &Slot, now: &Now) -> bool {
        s.stage == Stage::Issued
            && s.mark != Mark::Refused
            && s.token_ends.is_some_and(|ends| self.wall(now) < ends)
            && (s.asked != Asked::Unanswered || self.successor.may_register)
    }

    /// Rule 1: says whether an unproved pair cannot come alive any more.
    fn is_dead(&self, s: &Slot, now: &Now) -> bool {
        if s.stage == Stage::Proved {
            return false;
        }
        let wall = self.wall(now);
        let ends = s.token_ends.unwrap_or(s.issued_at + TOKEN_LIFE);
        if !may_be_alive(s) {
            let futile = self.successor.invalid && wall >= s.issued_at + INVALID_PATIENCE;
            return wall >= ends || futile && s.asked == Asked::Rejected;
        }
        // Not at the token's end itself: a RegisterThing that was accepted just before it is seen minutes later
        // (rule 3), and the walk shows two certificates alive if this one is dropped in between.
        self.successor.refused_at.is_some_and(|at| at >= ends.max(s.issued_at + TOKEN_LIFE) + SEEN_WITHIN)
    }

    /// Rules 10 to 16: the commit is made new on the session of `current`, and never holds up a renewal.
    fn commit(&self, n: u32, wall: Wall, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        if self.policy.retire == RetireMode::None || disk.pending != Some(n) {
            return None;
        }
        let since = disk.pending_since.unwrap_or(wall).min(wall);
        let ready = since + self.policy.retire_delay;
        if wall < ready {
            later.hold(now.boot + millis(ready - wall), Why::RetireDelay);
            return None;
        }
        if !self.gates.commit.is_open(now) {
            later.hold(self.gates.commit.opens, Why::CommitRefused);
            return None;
        }
        // Saved before it is sent, so that a fallback after a crash still counts from it (rule 19).
        self.to_disk(Effect::Record(Record::Committing(wall)), now, later)
    }

    /// Rules 17 and 18: what may leave the disk.
    fn sweep(&self, n: u32, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        let mut kept = 1;
        let gone = disk.slots.iter().rev().find(|s| {
            if s.generation == n || s.stage != Stage::Proved {
                return false;
            }
            let free = s.mark == Mark::Retired
                || self.policy.retire == RetireMode::None && s.generation < n && disk.pending.is_none();
            if free && kept >= self.policy.keep_generations.max(1) {
                return true;
            }
            kept += 1;
            false
        })?;
        self.to_disk(Effect::Remove(gone.generation), now, later)
    }

    fn renew(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        if now.boot < self.clock.held_until {
            later.hold(self.clock.held_until, Why::ClockStepped);
            return None;
        }
        let wall = self.wall(now);
        let Due { at, rule } = self.due(now)?;
        if wall < at {
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
        let ordered = match self.order {
            Some(Ordered::Operator) => Some(Due { at: wall, rule: Rule::Operator }),
            Some(Ordered::Fallback) => Some(Due { at: wall, rule: Rule::Fallback }),
            Some(Ordered::Cloud { order, from }) => cloud_due(certificate, order).then(|| {
                let spaced = slot.issued_at.saturating_add(self.policy.min_interval);
                let spread = wall + seconds(from.saturating_sub(now.boot));
                Due { at: spaced.max(spread), rule: Rule::Cloud }
            }),
            // Derived from the disk, so that a restart does not forget it (rule 19).
            None => disk
                .slots
                .iter()
                .any(|s| {
                    s.generation > slot.generation && s.stage == Stage::Proved && s.mark == Mark::Refused
                })
                .then_some(Due { at: wall, rule: Rule::Fallback }),
        };
        [scheduled, ordered].into_iter().flatten().min()
    }

    /// Which rule comes next, in the words of the configuration; `None` where nothing is scheduled.
    pub fn due_rule(&self) -> Option<&'static str> {
        let certificate = self.disk.as_ref()?.current()?.certificate?;
        let due = self.policy.enabled.then(|| schedule::due(&certificate, &self.policy)).flatten()?;
        Some(match due.rule {
            Rule::MaxAge => "max-age",
            _ => "renew-before",
        })
    }

    /// Rule 28: what is overdue when the program starts waits a random while.
    fn overdue_from(&mut self, now: &Now) -> Boot {
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
        let just_started = self.clock.started.is_some_and(|at| now.boot.saturating_sub(at) < JUST_STARTED);
        let window = if just_started { self.policy.splay.min(left / 4).max(0) } else { 0 };
        let from = now.boot + millis(window) * u64::from(now.dice) / u64::from(u32::MAX);
        self.clock.overdue_from = Some(from);
        from
    }

    // ── a generation that carries the session and is not `current` ───────────────────────────────────────────────────

    /// The switch, step by step: every mark and the pending commit are durable before the rename.
    fn take_up(&self, n: u32, now: &Now, later: &mut Later) -> Option<Effect> {
        let disk = self.disk.as_ref()?;
        let slot = disk.slot(n)?;
        let left = |s: &&Slot| s.generation > n && s.stage == Stage::Proved && s.mark == Mark::Clear;
        let record = if slot.stage != Stage::Proved {
            Record::Proved(n)
        } else if let Some(newer) = disk.slots.iter().find(left) {
            Record::Marked(newer.generation, Mark::Refused)
        } else if slot.mark != Mark::Clear {
            Record::Marked(n, Mark::Clear)
        } else if self.policy.retire == RetireMode::CommitTopic && disk.pending != Some(n) {
            Record::Pending(n, self.wall(now))
        } else if disk.foreign && self.policy.machine_change == MachineChange::Provision {
            Record::Adopted
        } else {
            return self.to_disk(Effect::Switch(n), now, later);
        };
        self.to_disk(Effect::Record(record), now, later)
    }

    // ── on the claim ───────────────────────────────────────────────────────────────────────────────────────────────

    fn on_claim(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        let effect = match self.successor() {
            Some(s) => self.progress(&s, now, later),
            None if self.gates.renew.is_open(now) => self.issue(Origin::Claim, now, later),
            None => {
                later.hold(self.gates.renew.opens, Why::IssueRefused);
                None
            }
        };
        // A shared claim connection is not held over a long wait, nor while other pairs could be tried.
        let long = later.until.saturating_sub(now.boot) > CLAIM_IDLE
            || self.link_is_silent()
            || !self.pairs().is_empty();
        if effect.is_none() && long { Some(Effect::Hangup) } else { effect }
    }

    fn link_is_silent(&self) -> bool {
        matches!(self.link, Link::Up { silent: true, .. })
    }

    // ── without any connection ─────────────────────────────────────────────────────────────────────────────────────

    fn on_nothing(&mut self, now: &Now, later: &mut Later) -> Option<Effect> {
        if let Some(started) = self.clock.started {
            let spread = millis(self.policy.start_jitter);
            if spread > 0 && self.last_connect.is_none() && self.gates.connect.opens == 0 {
                self.gates.connect.opens = started + spread * u64::from(now.dice) / u64::from(u32::MAX);
            }
        }
        let successor = self.successor();
        if let Some(s) = &successor {
            if self.is_dead(s, now) || self.gates.connect.is_open(now) && !self.contested {
                if let Some(effect) = self.progress(s, now, later) {
                    return Some(effect);
                }
            }
        }
        let pairs = self.pairs();
        let Some(first) = pairs.first().copied() else {
            return self.claim_first(successor.as_ref(), now, later);
        };
        let open = !self.is_current(first) || self.way_back_is_open(first, now);
        let target = if open { pairs.iter().copied().find(|n| !self.round.contains(n)) } else { Some(first) };
        if let Some(n) = target {
            let why = if open { Why::NothingWorks } else { self.connect_why(n) };
            return self.connect(Carrier::Generation(n), why, now, later);
        }
        // Every pair was refused in this round (rule 20).
        if self.claim_is_open(now) {
            self.round.clear();
            self.gates.claim.opens =
                now.boot + CLAIM_EVERY / 2 + CLAIM_EVERY / 2 * u64::from(now.dice) / u64::from(u32::MAX);
            return Some(Effect::Connect(Carrier::Claim));
        }
        self.round.clear();
        self.connect(Carrier::Generation(first), Why::NothingWorks, now, later)
    }

    /// No whole pair at all: the claim, at once (rule 20).
    fn claim_first(&self, successor: Option<&Slot>, now: &Now, later: &mut Later) -> Option<Effect> {
        if !self.disk.as_ref()?.serial_known {
            later.hold(later.until, Why::Serial);
            return None;
        }
        match successor {
            Some(s) if !self.wants_registering(s, now) => {
                later.hold(self.gates.prove.opens.max(self.gates.connect.opens), Why::NotProved);
                return None;
            }
            Some(_) if !self.gates.renew.is_open(now) => {
                later.hold(self.gates.renew.opens, Why::RegisterRefused);
                return None;
            }
            None if !self.gates.renew.is_open(now) => {
                later.hold(self.gates.renew.opens, Why::IssueRefused);
                return None;
            }
            _ => {}
        }
        if !self.gates.claim.is_open(now) {
            later.hold(self.gates.claim.opens, Why::ClaimRefused);
            return None;
        }
        if !self.gates.connect.is_open(now) {
            let why = if self.gates.connect.failures == 0 { Why::StartJitter } else { Why::Unreachable };
            later.hold(self.gates.connect.opens, why);
            return None;
        }
        Some(Effect::Connect(Carrier::Claim))
    }

    /// Rule 19: three refusals over fifteen minutes, and no commit in flight that could kill the one fallen back to.
    fn way_back_is_open(&self, current: u32, now: &Now) -> bool {
        let wall = self.wall(now);
        let in_flight = self
            .disk
            .as_ref()
            .and_then(|d| d.committed_at)
            .is_some_and(|at| at <= wall && wall - at < REFUSED_FOR / 1000);
        self.has_been_refused_long(current, now) && !in_flight
    }

    fn has_been_refused_long(&self, n: u32, now: &Now) -> bool {
        self.refused.iter().any(|r| {
            r.of == n
                && r.count >= REFUSED_TIMES
                && seconds(now.boot.saturating_sub(r.first)) * 1000 >= REFUSED_FOR
        })
    }

    fn claim_is_open(&self, now: &Now) -> bool {
        if self.claim_now {
            return true;
        }
        let wall = self.wall(now);
        let run = seconds(now.boot.saturating_sub(self.clock.started.unwrap_or(now.boot)));
        let idle = self.disk.as_ref().and_then(|d| d.worked_at).map_or(run, |at| (wall - at).max(0));
        idle >= self.policy.fallback_after && self.gates.claim.is_open(now) && self.gates.renew.is_open(now)
    }

    fn connect_why(&self, n: u32) -> Why {
        if self.contested {
            Why::Contested
        } else if self.refused.iter().any(|r| r.of == n) {
            Why::Refused
        } else if self.gates.connect.failures == 0 {
            Why::StartJitter
        } else {
            Why::Unreachable
        }
    }

    fn connect(&self, carrier: Carrier, why: Why, now: &Now, later: &mut Later) -> Option<Effect> {
        let opens = self.gates.connect.opens.max(self.paced(now));
        if now.boot >= opens {
            return Some(Effect::Connect(carrier));
        }
        later.hold(opens, why);
        None
    }

    // ── what several concerns ask ──────────────────────────────────────────────────────────────────────────────────

    /// AWS takes at most one CONNECT a second per client id.
    fn paced(&self, _now: &Now) -> Boot {
        self.last_connect.map_or(0, |at| at + CONNECT_SPACING)
    }

    fn issue(&self, origin: Origin, now: &Now, later: &mut Later) -> Option<Effect> {
        self.to_disk(Effect::Issue(origin), now, later)
    }

    /// Effects that write wait for a sick disk; what needs no disk goes on.
    fn to_disk(&self, effect: Effect, now: &Now, later: &mut Later) -> Option<Effect> {
        if self.gates.disk.is_open(now) {
            return Some(effect);
        }
        later.hold(self.gates.disk.opens, Why::Disk);
        None
    }

    fn is_current(&self, n: u32) -> bool {
        self.disk.as_ref().is_some_and(|d| d.current == Current::Names(n))
    }

    /// The pair that is on its way to become `current`: the newest one that is unproved, or proved and not switched.
    fn successor(&self) -> Option<Slot> {
        let disk = self.disk.as_ref()?;
        let current = if let Current::Names(n) = disk.current { Some(n) } else { None };
        let whole = || disk.slots.iter().rev().filter(|s| s.is_whole() && Some(s.generation) != current);
        let unproved = whole().find(|s| s.stage != Stage::Proved);
        let unswitched = || {
            whole().find(|s| {
                s.stage == Stage::Proved && s.mark == Mark::Clear && current.is_some_and(|c| s.generation > c)
            })
        };
        unproved.or_else(unswitched).cloned()
    }

    /// The proved pairs that may be connected with, `current` first, marked ones last (rule 19: last, not never).
    fn pairs(&self) -> Vec<u32> {
        let Some(disk) = &self.disk else { return Vec::new() };
        if disk.foreign && self.policy.machine_change == MachineChange::Provision {
            return Vec::new();
        }
        let mut pairs: Vec<&Slot> = disk
            .slots
            .iter()
            .rev()
            .filter(|s| s.is_whole() && (s.stage == Stage::Proved || self.is_current(s.generation)))
            .collect();
        pairs.sort_by_key(|s| {
            (!self.is_current(s.generation), s.mark != Mark::Clear, core::cmp::Reverse(s.generation))
        });
        pairs.iter().map(|s| s.generation).collect()
    }
}

/// Says whether the cloud may hold this pair alive (rule 1).
fn may_be_alive(s: &Slot) -> bool {
    s.stage != Stage::Issued || s.asked == Asked::Unanswered
}

/// Says whether the condition of the cloud's order is true of the certificate in use.
pub(super) fn cloud_due(certificate: &Certificate, order: super::language::CloudOrder) -> bool {
    let named = order.certificate.is_none_or(|id| id == certificate.id);
    let older = order.issued_before.is_none_or(|at| certificate.not_before < at);
    (order.certificate.is_some() || order.issued_before.is_some()) && named && older
}

pub(super) fn millis(seconds: i64) -> Boot {
    u64::try_from(seconds.max(0)).unwrap_or(0).saturating_mul(1000)
}

fn seconds(millis: Boot) -> i64 {
    i64::try_from(millis / 1000).unwrap_or(i64::MAX)
}

/// How often an untrusted clock is looked at. Milliseconds.
const CLOCK_LOOK: Boot = 5_000;
/// Life of an ownership token; AWS deletes the certificate after it. Seconds.
const TOKEN_LIFE: i64 = 3_600;
/// What was accepted is seen by the broker within this. AWS says minutes. Seconds.
const SEEN_WITHIN: i64 = 900;
/// A request that cannot succeed is tried this long, in case a template is on its way. Seconds.
const INVALID_PATIENCE: i64 = 900;
/// How often the disk is told that a pair works. Seconds.
const WORKED_EVERY: i64 = 6 * 3_600;
/// Rule 19: this many refusals …
const REFUSED_TIMES: u32 = 3;
/// … over this long. Milliseconds.
const REFUSED_FOR: i64 = 15 * 60 * 1000;
/// Rule 20: the claim at most this often. Milliseconds.
const CLAIM_EVERY: Boot = 6 * 3_600 * 1000;
/// An idle claim connection is closed when nothing comes within this. Milliseconds.
const CLAIM_IDLE: Boot = 30_000;
/// AWS: CONNECT at most once a second per client id. Milliseconds.
const CONNECT_SPACING: Boot = 1_000;
/// “Overdue at start” is what is overdue this soon after start. Milliseconds.
const JUST_STARTED: Boot = 60_000;
