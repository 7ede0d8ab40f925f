//! Who hears what: subscribers with their filters, and which filters the broker has been asked for on their behalf.
//!
//! Filters that lie within each other are asked for once; one that nobody needs any more is given up, after what it
//! covered for others stands by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::{Duration, Instant};

use super::filters::{covers, fewest};
use super::letters::RIGHT_AFTER;
use super::words;
use crate::cloud::FILTERS_A_PACKET;
use crate::cloud::topics::matches;
use crate::control::messages::{Inbox, Offered};
use crate::control::wire::{Gap, GapReason, Heard, Message, Problem};

/// Subscribers, and the filters at the broker.
#[derive(Debug, Default)]
pub struct Hearers {
    all: BTreeMap<u64, Hearer>,
    filters: BTreeMap<String, Upstream>,
    asked: BTreeMap<u64, Asked>,
}

#[derive(Debug)]
struct Hearer {
    filter: String,
    user: u32,
    inbox: Inbox,
    /// Whether it has been told that its subscription stands.
    told: bool,
    /// Whether it may have missed something since.
    missed: bool,
}

/// A filter at the broker.
#[derive(Debug, Default)]
struct Upstream {
    /// Granted on this session.
    granted: bool,
    /// The broker may have it, from this session or an earlier one.
    held: bool,
    /// Sessions that were closed right after it was asked for.
    closes: u32,
}

/// A SUBSCRIBE on its way.
#[derive(Debug)]
struct Asked {
    filters: Vec<String>,
    at: Instant,
}

impl Hearers {
    pub fn room(&self) -> Result<(), Problem> {
        if self.all.len() < MOST {
            return Ok(());
        }
        let detail = format!("there are {MOST} subscribers already, which is the most");
        Err(words::too_many(
            detail,
            "end one; AWS takes 50 subscriptions a connection, the daemon's own included",
        ))
    }

    pub fn put(&mut self, id: u64, filter: String, user: u32, inbox: Inbox) {
        let mut hearer = Hearer { filter, user, inbox, told: false, missed: false };
        let stands =
            |(name, upstream): (&String, &Upstream)| upstream.granted && covers(name, &hearer.filter);
        if self.filters.iter().any(stands) {
            hearer.stands();
        }
        self.all.insert(id, hearer);
    }

    /// Hands a message on; gives how many readers got it and how many could not take it.
    pub fn hear(&mut self, message: Message, size: usize) -> (u64, u64) {
        let message = Arc::new(message);
        let (mut given, mut dropped) = (0, 0);
        for hearer in self.all.values_mut().filter(|hearer| matches(&hearer.filter, &message.topic)) {
            match hearer.inbox.offer(&message, size) {
                Offered::Taken => given += 1,
                Offered::Dropped => dropped += 1,
                Offered::Gone => {}
            }
        }
        (given, dropped)
    }

    pub fn gap(&mut self, lost: u64) {
        let text = format!("{lost} messages were dropped: more came at once than the daemon takes in");
        let gap = Gap { reason: GapReason::Dropped, lost: Some(lost), text };
        for hearer in self.all.values_mut() {
            hearer.inbox.word(Heard::Gap(gap.clone()));
        }
    }

    /// A new session: everything is asked for again, whatever the broker still had.
    pub fn up(&mut self, present: bool) {
        for upstream in self.filters.values_mut() {
            upstream.held &= present;
        }
        for hearer in self.all.values_mut().filter(|hearer| hearer.told && !present) {
            hearer.missed = true;
        }
    }

    /// The session is gone, and what it had granted with it.
    pub fn requeue(&mut self) {
        self.asked.clear();
        for upstream in self.filters.values_mut() {
            upstream.granted = false;
        }
    }

    /// The next packet's worth of filters that are to be asked for.
    pub fn wanted(&self) -> Vec<String> {
        let open = self.fewest().into_iter().filter(|filter| {
            self.filters.get(*filter).is_none_or(|upstream| !upstream.granted) && !self.is_asked(filter)
        });
        open.take(FILTERS_A_PACKET).map(str::to_owned).collect()
    }

    pub fn asked(&mut self, now: Instant, id: u64, filters: Vec<String>) {
        for filter in &filters {
            self.filters.entry(filter.clone()).or_default().held = true;
        }
        self.asked.insert(id, Asked { filters, at: now });
    }

    pub fn not_taken(&mut self, id: u64) {
        self.asked.remove(&id);
    }

    /// A SUBSCRIBE was answered: what it granted stands.
    pub fn answered(&mut self, id: u64, refused: &[String]) {
        let Some(asked) = self.asked.remove(&id) else { return };
        for filter in asked.filters.iter().filter(|filter| !refused.contains(filter)) {
            let upstream = self.filters.entry(filter.clone()).or_default();
            (upstream.granted, upstream.closes) = (true, 0);
            for hearer in self.all.values_mut().filter(|hearer| covers(filter, &hearer.filter)) {
                hearer.stands();
            }
        }
    }

    /// The filters that nobody needs any more, a packet's worth; not before everything that is needed stands.
    pub fn unwanted(&mut self) -> Option<Vec<String>> {
        if self.are_on_their_way() || !self.wanted().is_empty() {
            return None;
        }
        let needed: BTreeSet<String> = self.fewest().into_iter().map(str::to_owned).collect();
        self.filters.retain(|filter, upstream| upstream.held || needed.contains(filter));
        let unwanted = self.filters.keys().filter(|filter| !needed.contains(*filter));
        let unwanted: Vec<String> = unwanted.take(FILTERS_A_PACKET).cloned().collect();
        for filter in &unwanted {
            self.filters.remove(filter);
        }
        (!unwanted.is_empty()).then_some(unwanted)
    }

    /// They could not be given up.
    pub fn still_held(&mut self, filters: &[String]) {
        for filter in filters {
            self.filters.entry(filter.clone()).or_default().held = true;
        }
    }

    /// The filters that were asked for just before now.
    pub fn on_its_way(&self, now: Instant) -> Vec<String> {
        let fresh =
            self.asked.values().filter(|asked| now.saturating_duration_since(asked.at) <= RIGHT_AFTER);
        fresh.flat_map(|asked| asked.filters.iter().cloned()).collect()
    }

    /// Notes that a session was closed right after it was asked for; whether it is not the first time.
    pub fn suspect(&mut self, filter: &str) -> bool {
        let Some(upstream) = self.filters.get_mut(filter) else { return false };
        upstream.closes += 1;
        upstream.closes > 1
    }

    /// The first suspect that is needed and not on its way.
    pub fn suspected(&self) -> Option<String> {
        let open = |filter: &&str| {
            self.filters.get(*filter).is_some_and(|upstream| upstream.closes > 0 && !upstream.granted)
                && !self.is_asked(filter)
        };
        self.fewest().into_iter().find(open).map(str::to_owned)
    }

    pub fn suspects_on_their_way(&self) -> bool {
        let suspect = |filter: &String| self.filters.get(filter).is_some_and(|upstream| upstream.closes > 0);
        self.asked.values().any(|asked| asked.filters.iter().any(suspect))
    }

    pub fn are_on_their_way(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Whether anything waits to be asked for or given up.
    pub fn wait(&self) -> bool {
        !self.wanted().is_empty() || self.filters.len() > self.fewest().len()
    }

    /// Ends the subscribers of exactly that filter, and gives whose they were. Others that it covered go on by
    /// themselves.
    pub fn refuse(&mut self, filter: &str, problem: &Problem) -> BTreeSet<u32> {
        self.filters.remove(filter);
        self.end_where(|hearer| (hearer.filter == filter).then(|| problem.clone()))
    }

    /// Ends what is not allowed any more.
    pub fn judge(&mut self, allowed: impl Fn(&str, u32) -> Result<(), Problem>) {
        self.end_where(|hearer| allowed(&hearer.filter, hearer.user).err());
    }

    /// Ends all, and gives the filters that the broker may have.
    pub fn end(&mut self, problem: &Problem) -> Vec<String> {
        self.end_where(|_| Some(problem.clone()));
        self.filters.iter().filter(|(_, upstream)| upstream.held).map(|(filter, _)| filter.clone()).collect()
    }

    fn end_where(&mut self, why: impl Fn(&Hearer) -> Option<Problem>) -> BTreeSet<u32> {
        let mut users = BTreeSet::new();
        self.all.retain(|_, hearer| match why(hearer) {
            None => true,
            Some(problem) => {
                users.insert(hearer.user);
                hearer.inbox.word(Heard::Ended(problem));
                false
            }
        });
        users
    }

    /// Forgets who has gone, and a SUBSCRIBE that had no answer: it is sent again.
    pub fn sweep(&mut self, now: Instant) {
        self.all.retain(|_, hearer| !hearer.inbox.is_closed());
        self.asked.retain(|_, asked| asked.at + NO_ANSWER > now);
    }

    /// When a SUBSCRIBE has waited long enough.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.asked.values().map(|asked| asked.at + NO_ANSWER).min()
    }

    fn is_asked(&self, filter: &str) -> bool {
        self.asked.values().any(|asked| asked.filters.iter().any(|f| f == filter))
    }

    fn fewest(&self) -> Vec<&str> {
        fewest(self.all.values().map(|hearer| hearer.filter.as_str()))
    }
}

impl Hearer {
    /// Tells that the subscription stands, or stands again after something may have been missed.
    fn stands(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.inbox.word(Heard::Subscribed { filter: self.filter.clone() });
        } else if std::mem::take(&mut self.missed) {
            let text = "messages may be missing: the cloud had forgotten the session".to_owned();
            self.inbox.word(Heard::Gap(Gap { reason: GapReason::SessionLost, lost: None, text }));
        }
    }
}

/// Subscribers in all: with the daemon's own at most nine subscriptions, far below AWS's 50 a connection.
const MOST: usize = 24;
/// How long a SUBACK is waited for.
const NO_ANSWER: Duration = Duration::from_secs(30);
