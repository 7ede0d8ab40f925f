//! What applications have published and the cloud has not acknowledged, in the order in which it came.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Duration, Instant};

use super::pace::Pace;
use super::{Command, words};
use crate::control::messages::Publish;
use crate::control::wire::{Problem, Published};

/// The letters.
#[derive(Debug)]
pub struct Letters {
    all: BTreeMap<u64, Letter>,
    /// What this session has not answered, of letters that are gone too: the library counts them until its end.
    unanswered: BTreeSet<u64>,
    pace: Pace,
    /// The pace lets the next one go then.
    paced: Option<Instant>,
    /// Topics that the cloud has taken since it last closed a session: they go on while the daemon's own is asked.
    known: BTreeSet<String>,
}

#[derive(Debug)]
struct Letter {
    topic: String,
    payload: Bytes,
    user: u32,
    since: Instant,
    patience: Duration,
    reply: oneshot::Sender<Result<Published, Problem>>,
    /// When it was sent on this session.
    sent: Option<Instant>,
    /// Whether it was ever sent.
    ever: bool,
    /// Sessions that were closed right after it.
    closes: u32,
}

impl Letter {
    fn is_suspect(&self) -> bool {
        self.closes > 0
    }
}

impl Letters {
    pub fn new(now: Instant) -> Letters {
        Letters {
            all: BTreeMap::new(),
            unanswered: BTreeSet::new(),
            pace: Pace::new(now),
            paced: None,
            known: BTreeSet::new(),
        }
    }

    /// Whether there is room for one more of this user.
    pub fn room(&self, user: u32, size: usize) -> Result<(), Problem> {
        let sum = |letters: &mut dyn Iterator<Item = &Letter>| {
            letters.fold((1, size), |(n, bytes), letter| (n + 1, bytes + letter.payload.len()))
        };
        let (n, bytes) = sum(&mut self.all.values().filter(|letter| letter.user == user));
        let (all, all_bytes) = sum(&mut self.all.values());
        if n > OF_USER || bytes > BYTES_OF_USER || all > MOST || all_bytes > MOST_BYTES {
            let whose = if n > OF_USER || bytes > BYTES_OF_USER { "of this user" } else { "of all users" };
            let detail = format!("too many publishes {whose} wait for the cloud's acknowledgement");
            return Err(words::too_many(detail, "wait for acknowledgements: AWS takes 100 a second"));
        }
        Ok(())
    }

    pub fn put(&mut self, now: Instant, id: u64, publish: Publish) {
        let Publish { topic, payload, patience, by, reply } = publish;
        let letter = Letter {
            topic,
            payload,
            user: by.uid,
            since: now,
            patience,
            reply,
            sent: None,
            ever: false,
            closes: 0,
        };
        self.all.insert(id, letter);
    }

    /// The next one that may go now, where the window and the pace have room; of those on known topics alone where the
    /// daemon's own comes first.
    pub fn next_to_send(&mut self, now: Instant, held: bool) -> Option<u64> {
        self.paced = None;
        let on_their_way = self.all.values().filter(|letter| letter.sent.is_some());
        let (n, bytes) =
            on_their_way.fold((0, 0), |(n, bytes), letter| (n + 1, bytes + letter.payload.len()));
        if n >= WINDOW || bytes >= WINDOW_BYTES || self.unanswered.len() >= UNANSWERED {
            return None;
        }
        let may = |letter: &Letter| letter.sent.is_none() && (!held || self.known.contains(&letter.topic));
        let (id, letter) = self.all.iter().find(|(_, letter)| may(letter))?;
        let (id, size) = (*id, letter.payload.len() + letter.topic.len());
        match self.pace.take(now, size) {
            Ok(()) => Some(id),
            Err(at) => {
                self.paced = Some(at);
                None
            }
        }
    }

    /// Takes a place in the pace for something else than a letter.
    pub fn pace(&mut self, now: Instant) -> Result<(), Instant> {
        self.pace.take(now, 0)
    }

    pub fn send(&mut self, now: Instant, id: u64) -> Option<Command> {
        let letter = self.all.get_mut(&id)?;
        (letter.sent, letter.ever) = (Some(now), true);
        self.unanswered.insert(id);
        Some(Command::Publish { id, topic: letter.topic.clone(), payload: letter.payload.clone() })
    }

    pub fn not_taken(&mut self, id: u64) {
        self.unanswered.remove(&id);
        if let Some(letter) = self.all.get_mut(&id) {
            letter.sent = None;
        }
    }

    /// Answers whoever waits; `false` where nobody does any more.
    pub fn acknowledged(&mut self, now: Instant, id: u64) -> bool {
        self.unanswered.remove(&id);
        let Some(letter) = self.all.remove(&id) else { return false };
        if self.known.len() < KNOWN && !self.known.contains(&letter.topic) {
            self.known.insert(letter.topic.clone());
        }
        let took = now.saturating_duration_since(letter.since).as_millis();
        let published = Published {
            topic: letter.topic,
            bytes: letter.payload.len(),
            millis: u64::try_from(took).unwrap_or(u64::MAX),
        };
        let _ = letter.reply.send(Ok(published));
        true
    }

    /// Ends those whose time is over, and those that nobody waits for and that were never sent; gives how many were
    /// not acknowledged in time.
    pub fn expire(&mut self, now: Instant, connected: bool) -> usize {
        let over = |letter: &Letter| letter.since + letter.patience <= now;
        let gone = |letter: &Letter| !letter.ever && letter.reply.is_closed();
        let ended: Vec<u64> =
            self.all.iter().filter(|(_, letter)| over(letter) || gone(letter)).map(|(id, _)| *id).collect();
        let mut expired = 0;
        for letter in ended.into_iter().filter_map(|id| self.all.remove(&id)) {
            expired += usize::from(over(&letter));
            let problem = words::not_acknowledged(&letter.topic, letter.ever, connected, letter.patience);
            let _ = letter.reply.send(Err(problem));
        }
        expired
    }

    /// Those that were sent just before now.
    pub fn on_its_way(&self, now: Instant) -> Vec<u64> {
        let fresh =
            |letter: &Letter| letter.sent.is_some_and(|at| now.saturating_duration_since(at) <= RIGHT_AFTER);
        self.all.iter().filter(|(_, letter)| fresh(letter)).map(|(id, _)| *id).collect()
    }

    /// Notes that a session was closed right after it; whether it is not the first time.
    pub fn suspect(&mut self, id: u64) -> bool {
        let Some(letter) = self.all.get_mut(&id) else { return false };
        letter.closes += 1;
        letter.closes > 1
    }

    pub fn convict(&self, id: u64) -> Option<(String, u32)> {
        self.all.get(&id).map(|letter| (letter.topic.clone(), letter.user))
    }

    /// Answers every letter on that topic with the problem.
    pub fn refuse(&mut self, topic: &str, problem: &Problem) {
        self.end_where(|letter| (letter.topic == topic).then(|| problem.clone()));
    }

    /// The cloud has closed a session, or may think otherwise now: no topic is known to be taken.
    pub fn doubt(&mut self) {
        self.known.clear();
    }

    /// Ends what is not allowed any more.
    pub fn judge(&mut self, allowed: impl Fn(&str, u32) -> Result<(), Problem>) {
        self.end_where(|letter| allowed(&letter.topic, letter.user).err());
    }

    pub fn end(&mut self, problem: &Problem) {
        self.end_where(|_| Some(problem.clone()));
    }

    fn end_where(&mut self, why: impl Fn(&Letter) -> Option<Problem>) {
        let ended: Vec<_> = self.all.iter().filter_map(|(id, letter)| Some((*id, why(letter)?))).collect();
        for (id, problem) in ended {
            if let Some(letter) = self.all.remove(&id) {
                let _ = letter.reply.send(Err(problem));
            }
        }
    }

    /// The session is gone: everything is to be sent again.
    pub fn requeue(&mut self) {
        self.unanswered.clear();
        for letter in self.all.values_mut() {
            letter.sent = None;
        }
    }

    /// The first suspect that is not on its way.
    pub fn suspected(&self) -> Option<u64> {
        self.all.iter().find(|(_, letter)| letter.is_suspect() && letter.sent.is_none()).map(|(id, _)| *id)
    }

    pub fn suspects_on_their_way(&self) -> bool {
        self.all.values().any(|letter| letter.is_suspect() && letter.sent.is_some())
    }

    pub fn are_on_their_way(&self) -> bool {
        self.all.values().any(|letter| letter.sent.is_some())
    }

    /// Whether any is that nobody knows of whether the cloud takes it.
    pub fn unknown_are_on_their_way(&self) -> bool {
        self.all.values().any(|letter| letter.sent.is_some() && !self.known.contains(&letter.topic))
    }

    /// Whether any waits to be sent.
    pub fn wait(&self) -> bool {
        self.all.values().any(|letter| letter.sent.is_none())
    }

    /// Whether any waits that goes on while the daemon's own is asked.
    pub fn known_wait(&self) -> bool {
        self.all.values().any(|letter| letter.sent.is_none() && self.known.contains(&letter.topic))
    }

    /// When the pace has room, where something waits for it.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.paced.filter(|_| self.wait())
    }

    /// When the first one's time is over.
    pub fn ends_at(&self) -> Option<Instant> {
        self.all.values().map(|letter| letter.since + letter.patience).min()
    }
}

/// A close within this long after a publish may be for it: AWS closes at once, a slow line takes a while.
pub const RIGHT_AFTER: Duration = Duration::from_secs(5);
/// Publishes on their way; with [`UNANSWERED`] far below AWS's 100, the library's limit too.
const WINDOW: usize = 32;
/// No more is sent while so many bytes are: the daemon's own requests stand in line behind them.
const WINDOW_BYTES: usize = 64 * 1024;
/// Those on this session without an answer, given up ones included.
const UNANSWERED: usize = 64;
/// Letters of one user …
const OF_USER: usize = 32;
/// … and in all.
const MOST: usize = 96;
/// Bytes of one user's letters …
const BYTES_OF_USER: usize = 512 * 1024;
/// … and of all.
const MOST_BYTES: usize = 1024 * 1024;
/// Topics that are known to be taken; what is on others waits for the daemon's own.
const KNOWN: usize = 64;
