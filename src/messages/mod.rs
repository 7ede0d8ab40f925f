//! Applications' messages: what they publish until the cloud has acknowledged it, and who hears what comes.
//!
//! ```text
//! control ─Publish──▶ letters ──┐                         ┌──▶ PUBACK, SUBACK, messages, the end
//! control ─Subscribe▶ hearers ──┴─▶ work() ─Command─▶ session ─┘   (the engine carries both ways)
//! ```
//! It outlives every session: a letter is sent again on the next one until it is acknowledged or its time is over, a
//! filter is subscribed to again, and who may have missed something is told (rule 9). It knows the time only as an
//! argument, and touches no socket. Rules that keep applications from costing the identity anything:
//!
//! 1. What breaks a limit of AWS, or is not open to applications, is never sent: it would cost the session.
//! 2. AWS closes the session on what the policy forbids. What was on its way just before a close is a *suspect*: each
//!    is sent alone on the next session; one that is closed on again while alone is *convicted*, told why and not sent
//!    any more; a user to whom that happens again and again is shut out (`faults`).
//! 3. Before the daemon asks or proves something, everything on its way is waited for, and nothing is sent meanwhile
//!    ([`Post::hold`]): no suspect can cost a rotation its request or its proof. Publishes on topics that the cloud has
//!    taken since it last closed a session go on all the same, or a rotation would be a silence: what was allowed a moment
//!    ago costs nothing, and where a policy has just been changed, one attempt.
//! 4. Everything is bounded: letters and bytes of a user and in all, subscribers, what waits for a reader, what is on
//!    its way (less than AWS's 100 unacknowledged, so that the daemon's own always fit), and the pace.
//! 5. Topics of the daemon's own are heard by nobody, whatever the filter.

mod faults;
mod filters;
mod hearers;
mod language;
mod letters;
mod pace;
mod rules;
mod words;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::cloud::topics;
use crate::control::messages::{Publish, Subscribe};
use crate::control::wire::{Message, Problem};
use crate::metrics::Metrics;
use faults::{Act, Faults};
use hearers::Hearers;
pub use language::{Blame, Command, End};
use letters::Letters;
pub use rules::Rules;
use rules::allowed;

/// Everything that applications have under way.
pub struct Post {
    letters: Letters,
    hearers: Hearers,
    faults: Faults,
    metrics: Arc<Metrics>,
    /// Whether there is a session of the device's own.
    up: bool,
    /// Nothing is sent until then: the daemon's own comes first.
    held_until: Option<Instant>,
    /// The connection took no more: not again before then.
    full_until: Option<Instant>,
    /// Ends that were put down to applications and have not led to a conviction.
    excused: Vec<Instant>,
    last: u64,
    idle: watch::Sender<bool>,
}

impl Post {
    /// Nothing under way, no session.
    pub fn new(now: Instant, metrics: Arc<Metrics>) -> Post {
        Post {
            letters: Letters::new(now),
            hearers: Hearers::default(),
            faults: Faults::default(),
            metrics,
            up: false,
            held_until: None,
            full_until: None,
            excused: Vec::new(),
            last: 0,
            idle: watch::Sender::new(true),
        }
    }

    /// Takes a publish in, or answers it with why not.
    pub fn publish(&mut self, now: Instant, publish: Publish, rules: &Rules) {
        let taken = self.may(now, Act::Publish, &publish.topic, publish.by.uid, rules).and_then(|()| {
            topics::check_payload(&publish.payload)
                .map_err(|error| words::unfit(Act::Publish, &publish.topic, &error))?;
            self.letters.room(publish.by.uid, publish.payload.len())
        });
        match taken {
            Ok(()) => {
                let id = self.next();
                self.letters.put(now, id, publish);
            }
            Err(problem) => {
                self.metrics.published("refused");
                // Whoever asked may have gone.
                let _ = publish.reply.send(Err(problem));
            }
        }
    }

    /// Takes a subscriber in, or answers it with why not.
    pub fn subscribe(&mut self, now: Instant, subscribe: Subscribe, rules: &Rules) {
        let taken = self
            .may(now, Act::Subscribe, &subscribe.filter, subscribe.by.uid, rules)
            .and_then(|()| self.hearers.room());
        let stays = taken.is_ok();
        if subscribe.reply.send(taken).is_ok() && stays {
            let id = self.next();
            self.hearers.put(id, subscribe.filter, subscribe.by.uid, subscribe.inbox);
        }
    }

    /// Ends what another configuration does not allow any more, and gives what was forbidden another chance.
    pub fn judge(&mut self, rules: &Rules) {
        self.faults.forget();
        self.letters.doubt();
        self.letters.judge(|topic, user| allowed(Act::Publish, topic, user, rules));
        self.hearers.judge(|filter, user| allowed(Act::Subscribe, filter, user, rules));
        self.note();
    }

    /// Hands a message to whoever asked for it; never one of the daemon's own topics.
    pub fn message(&mut self, message: Message, size: usize) {
        if topics::is_reserved(&message.topic) {
            return;
        }
        let (given, dropped) = self.hearers.hear(message, size);
        self.metrics.heard(given, dropped);
    }

    /// Messages were dropped before anybody had them.
    pub fn gap(&mut self, lost: u64) {
        self.hearers.gap(lost);
    }

    /// A session of the device's own is there; `present` where the broker still had the old one.
    pub fn up(&mut self, present: bool) {
        self.requeue();
        self.up = true;
        self.hearers.up(present);
        self.note();
    }

    /// The session is gone.
    pub fn down(&mut self, now: Instant, end: End) -> Blame {
        let was_up = std::mem::take(&mut self.up);
        let (letters, filters) = match end {
            End::Closed if was_up => (self.letters.on_its_way(now), self.hearers.on_its_way(now)),
            _ => (Vec::new(), Vec::new()),
        };
        if end == End::Closed {
            self.letters.doubt();
        }
        self.requeue();
        let alone = letters.len() + filters.len() == 1;
        let mut convicted = None;
        for id in &letters {
            if self.letters.suspect(*id) && alone {
                convicted = self.convict_letter(now, *id);
            }
        }
        for filter in &filters {
            if self.hearers.suspect(filter) && alone {
                self.convict_filter(now, filter);
                convicted = Some(filter.clone());
            }
        }
        self.note();
        match convicted {
            Some(name) => Blame::Convicted(name),
            None if letters.is_empty() && filters.is_empty() => Blame::None,
            None => Blame::Suspected,
        }
    }

    /// Whether such an end is no sign of another client with our client id (rule 22): a conviction always; a suspicion
    /// only so often, since a twin of ours too closes the session while something is on its way.
    pub fn excuses(&mut self, now: Instant, blame: &Blame) -> bool {
        self.excused.retain(|at| *at + EXCUSED_FOR > now);
        match blame {
            Blame::None => false,
            Blame::Convicted(_) => {
                self.excused.pop();
                true
            }
            Blame::Suspected => {
                let excused = self.excused.len() < EXCUSES;
                if excused {
                    self.excused.push(now);
                }
                excused
            }
        }
    }

    /// A publish was acknowledged, on this session or an earlier one.
    pub fn acknowledged(&mut self, now: Instant, id: u64) {
        if self.letters.acknowledged(now, id) {
            self.metrics.published("acknowledged");
        }
        self.note();
    }

    /// A SUBSCRIBE was answered.
    pub fn answered(&mut self, now: Instant, id: u64, refused: &[String]) {
        self.hearers.answered(id, refused);
        for filter in refused {
            self.convict_filter(now, filter);
        }
        self.note();
    }

    /// The connection took a command not: it is tried again soon, or the end of the session is about to be told.
    pub fn not_taken(&mut self, now: Instant, command: &Command) {
        match command {
            Command::Publish { id, .. } => self.letters.not_taken(*id),
            Command::Subscribe { id, .. } => self.hearers.not_taken(*id),
            Command::Unsubscribe { filters } => self.hearers.still_held(filters),
        }
        self.full_until = Some(now + FULL);
        self.note();
    }

    /// Sends only what is known to be taken, for a while: the daemon is about to ask or prove something (see
    /// [`Post::idle`]).
    pub fn hold(&mut self, now: Instant) {
        self.held_until = Some(now + HOLD);
    }

    /// Sends again.
    pub fn release(&mut self) {
        self.held_until = None;
    }

    /// Whether nothing is on its way that could close the session: what the daemon waits for, a moment, before it asks.
    pub fn idle(&self) -> watch::Receiver<bool> {
        self.idle.subscribe()
    }

    /// What is to be done on the session now; ends what has had its time.
    pub fn work(&mut self, now: Instant) -> Vec<Command> {
        for _ in 0..self.letters.expire(now, self.up) {
            self.metrics.published("not-acknowledged");
        }
        self.hearers.sweep(now);
        let mut commands = Vec::new();
        let waits = |until: Option<Instant>| until.is_some_and(|until| until > now);
        if self.up && !waits(self.full_until) {
            self.full_until = None;
            if waits(self.held_until) {
                self.send_known(now, &mut commands);
            } else {
                self.held_until = None;
                self.send(now, &mut commands);
            }
        }
        self.note();
        commands
    }

    /// While the daemon's own comes first.
    fn send_known(&mut self, now: Instant, commands: &mut Vec<Command>) {
        while let Some(id) = self.letters.next_to_send(now, true) {
            commands.extend(self.letters.send(now, id));
        }
    }

    fn send(&mut self, now: Instant, commands: &mut Vec<Command>) {
        let busy = self.letters.are_on_their_way() || self.hearers.are_on_their_way();
        if self.letters.suspects_on_their_way() || self.hearers.suspects_on_their_way() {
            return;
        }
        let suspected = self.letters.suspected();
        if let Some(filter) = self.hearers.suspected() {
            if !busy {
                commands.push(self.ask(now, vec![filter]));
            }
            return;
        }
        if let Some(id) = suspected {
            if !busy {
                commands.extend(self.letters.send(now, id));
            }
            return;
        }
        loop {
            let filters = self.hearers.wanted();
            if filters.is_empty() {
                break;
            }
            if let Err(at) = self.letters.pace(now) {
                // Readers that come and go are paced as publishes are.
                self.full_until = Some(at);
                return;
            }
            commands.push(self.ask(now, filters));
        }
        while let Some(filters) = self.hearers.unwanted() {
            commands.push(Command::Unsubscribe { filters });
        }
        while let Some(id) = self.letters.next_to_send(now, false) {
            commands.extend(self.letters.send(now, id));
        }
    }

    fn ask(&mut self, now: Instant, filters: Vec<String>) -> Command {
        let id = self.next();
        self.hearers.asked(now, id, filters.clone());
        Command::Subscribe { id, filters }
    }

    /// When there is something to do although nothing happens.
    pub fn wakes_at(&self) -> Option<Instant> {
        let sends = self.letters.wakes_at().filter(|_| self.up);
        let held = self.held_until.filter(|_| !self.letters.known_wait());
        let gates = [held, self.full_until].into_iter().flatten().max();
        let gates = gates.filter(|_| self.up && (self.letters.wait() || self.hearers.wait()));
        [self.letters.ends_at(), self.hearers.wakes_at(), sends.max(gates)].into_iter().flatten().min()
    }

    /// Says to everybody that nothing more comes; gives what is to be unsubscribed from before the session ends, so
    /// that the broker does not keep for nobody.
    pub fn end(&mut self) -> Vec<Command> {
        self.letters.end(&words::stopping());
        let held = self.hearers.end(&words::stopping());
        let packets = held.chunks(crate::cloud::FILTERS_A_PACKET);
        packets.map(|filters| Command::Unsubscribe { filters: filters.to_vec() }).collect()
    }

    fn may(&self, now: Instant, act: Act, name: &str, user: u32, rules: &Rules) -> Result<(), Problem> {
        allowed(act, name, user, rules)?;
        if let Some(until) = self.faults.shut_out(now, user) {
            return Err(words::shut_out(now, until));
        }
        if self.faults.is_forbidden(now, act, name) { Err(words::forbidden(act, name)) } else { Ok(()) }
    }

    fn convict_letter(&mut self, now: Instant, id: u64) -> Option<String> {
        let (topic, user) = self.letters.convict(id)?;
        self.faults.forbid(now, Act::Publish, &topic, [user].into_iter());
        self.letters.refuse(&topic, &words::forbidden(Act::Publish, &topic));
        self.metrics.published("forbidden");
        tracing::warn!(
            user,
            topic,
            "a publish that the cloud's policy forbids cost the session: it is not sent any more"
        );
        Some(topic)
    }

    fn convict_filter(&mut self, now: Instant, filter: &str) {
        let users = self.hearers.refuse(filter, &words::forbidden(Act::Subscribe, filter));
        self.faults.forbid(now, Act::Subscribe, filter, users.iter().copied());
        tracing::warn!(
            ?users,
            filter,
            "a subscription that the cloud's policy forbids: it is not asked for any more"
        );
    }

    fn requeue(&mut self) {
        self.letters.requeue();
        self.hearers.requeue();
        self.full_until = None;
    }

    fn note(&self) {
        let idle = !self.letters.unknown_are_on_their_way() && !self.hearers.are_on_their_way();
        self.idle.send_if_modified(|known| std::mem::replace(known, idle) != idle);
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

/// How long sending stops at most for the daemon's own: its longest wait for an answer of fleet provisioning.
const HOLD: Duration = Duration::from_secs(20);
/// Suspicions that count for applications …
const EXCUSES: usize = 2;
/// … within this time, which is rule 22's.
const EXCUSED_FOR: Duration = Duration::from_secs(600);
/// After the connection took no more.
const FULL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
