//! Sessions, subscriptions, retained messages, and who is connected: everything that routes a message.
//!
//! Plain data under one lock. It writes to no socket: each connection has a channel, and its task sends. Whether the
//! client may receive is judged there too, at the moment of delivery. Ordered maps only.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use tokio::sync::mpsc::UnboundedSender;

use super::index::Index;
use super::message::Message;
use super::packets::{Filter, Retained};
use super::topic;

/// Word to a connection's task.
#[derive(Debug)]
pub enum Out {
    /// Send this message.
    Publish {
        /// The packet id, for QoS 1.
        pid: Option<u16>,
        /// The message.
        message: Message,
        /// The retain flag towards this client.
        retain: bool,
        /// Whether it was sent before.
        dup: bool,
    },
    /// Close.
    Close(Close),
}

/// Why a connection is closed from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Close {
    /// Another connection has the client id now.
    TakenOver,
    /// Its certificate is no longer ACTIVE, or is gone.
    Certificate,
    /// A fault, or an order from a test.
    Order,
    /// The twin stops.
    Stopping,
}

/// What a new connection needs to be attached.
pub struct Arrival {
    /// The connection's number.
    pub number: u64,
    /// The client id.
    pub client: String,
    /// The certificate id.
    pub principal: String,
    /// Where its task listens.
    pub tx: UnboundedSender<Out>,
    /// Forget the session that was kept.
    pub clean: bool,
    /// How long the session is kept without a connection, in milliseconds; `None`: it ends with the connection.
    pub life_ms: Option<i64>,
    /// How many unacknowledged QoS 1 messages the client takes.
    pub window: usize,
}

/// A connection that is there, for tests.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connected {
    /// The client id.
    pub client: String,
    /// The certificate id.
    pub principal: String,
    /// Its filters.
    pub filters: Vec<String>,
    /// Messages sent and not acknowledged.
    pub in_flight: usize,
}

/// Every session, and what is retained.
#[derive(Default, Serialize, Deserialize)]
pub struct Sessions {
    sessions: BTreeMap<String, Session>,
    retained: BTreeMap<String, Message>,
    /// Follows `sessions`; made anew by [`Sessions::indexed`].
    #[serde(skip)]
    index: Index,
}

impl Sessions {
    /// Finds its way in what was read from a file. A session that had a connection when the twin was killed is gone.
    #[must_use]
    pub fn indexed(mut self) -> Self {
        self.index = Index::default();
        self.sessions.retain(|_, s| s.ends_ms.is_some());
        for (client, session) in &self.sessions {
            session.subscriptions.keys().for_each(|filter| self.index.subscribed(client, filter));
            self.index.ends(client, session.ends_ms);
        }
        self
    }

    /// Attaches a connection; closes the one that has its client id. Answers whether a session was found, and queues
    /// what is to be sent again.
    pub fn attach(&mut self, arrival: Arrival, now_ms: i64) -> bool {
        self.sweep(now_ms);
        if let Some(old) = self.sessions.get_mut(&arrival.client) {
            if let Some(live) = old.live.take() {
                let _gone = live.tx.send(Out::Close(Close::TakenOver));
                self.index.parted(&arrival.client, &live);
                old.forget_private();
            }
            // A session that ends with its connection has just ended.
            if old.life_ms.is_none() || arrival.clean {
                self.remove(&arrival.client);
            }
        }
        let present = self.sessions.contains_key(&arrival.client);
        let live = Live {
            number: arrival.number,
            principal: arrival.principal,
            tx: arrival.tx,
            window: arrival.window.max(1),
        };
        self.index.arrived(&arrival.client, &live);
        let session = self.sessions.entry(arrival.client).or_default();
        session.life_ms = arrival.life_ms;
        session.ends_ms = None;
        for flight in &session.in_flight {
            let _gone = live.tx.send(flight.out(true));
        }
        session.live = Some(live);
        session.fill();
        present
    }

    /// Takes note that a connection ended; its session stays as long as it may.
    pub fn detach(&mut self, client: &str, number: u64, now_ms: i64) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        let Some(live) = session.live.take_if(|l| l.number == number) else { return };
        self.index.parted(client, &live);
        session.forget_private();
        match session.life_ms {
            Some(life) => {
                session.ends_ms = Some(now_ms.saturating_add(life));
                self.index.ends(client, session.ends_ms);
            }
            None => self.remove(client),
        }
    }

    /// Adds a subscription and queues the retained messages it asks for; `None` when there are too many.
    pub fn subscribe(&mut self, client: &str, filter: &Filter) -> Option<u8> {
        let session = self.sessions.get_mut(client)?;
        let qos = filter.qos.min(1);
        let new = !session.subscriptions.contains_key(&filter.filter);
        // AWS IoT quota: subscriptions of a connection.
        if new && session.subscriptions.len() >= 50 {
            return None;
        }
        let subscription = Subscription { qos, no_local: filter.no_local, as_published: filter.as_published };
        session.subscriptions.insert(filter.filter.clone(), subscription);
        self.index.subscribed(client, &filter.filter);
        let wanted = match filter.retained {
            Retained::Always => true,
            Retained::IfNew => new,
            Retained::Never => false,
        };
        if wanted && topic::is_plain(&filter.filter) {
            if let Some(message) = self.retained.get(&filter.filter) {
                session.deliver(message.clone(), qos.min(message.qos), true, false);
            }
        } else if wanted {
            for (topic, message) in &self.retained {
                if topic::matches(&filter.filter, topic) {
                    session.deliver(message.clone(), qos.min(message.qos), true, false);
                }
            }
        }
        Some(qos)
    }

    /// Removes a subscription; answers whether it was there.
    pub fn unsubscribe(&mut self, client: &str, filter: &str) -> bool {
        let existed = self.sessions.get_mut(client).is_some_and(|s| s.subscriptions.remove(filter).is_some());
        let wild = |s: &Session| s.subscriptions.keys().any(|f| !topic::is_plain(f));
        let still_wild = self.sessions.get(client).is_some_and(wild);
        self.index.unsubscribed(client, filter, still_wild);
        existed
    }

    /// Sends a message to everyone who subscribed, and retains it where it says so.
    pub fn route(&mut self, from: &str, message: Message) {
        if message.retain {
            if message.payload.is_empty() {
                self.retained.remove(&message.topic);
            } else {
                self.retained.insert(message.topic.clone(), message.clone());
            }
        }
        for client in self.index.candidates(&message.topic) {
            let Some(session) = self.sessions.get_mut(client) else { continue };
            let Some((qos, as_published)) = session.wants(&message.topic, from == client) else { continue };
            session.deliver(message.clone(), qos.min(message.qos), as_published && message.retain, false);
        }
    }

    /// Answers one connection alone, subscribed or not; false when it is gone.
    pub fn answer(&mut self, number: u64, message: Message) -> bool {
        let client = self.index.client(number);
        let Some(session) = client.and_then(|c| self.sessions.get_mut(c)) else { return false };
        let qos = session.wants(&message.topic, false).map_or(0, |(qos, _)| qos);
        session.deliver(message, qos, false, true);
        true
    }

    /// Takes a PUBACK; sends what waited for room.
    pub fn acknowledged(&mut self, client: &str, number: u64, pid: u16) {
        let Some(session) = self.sessions.get_mut(client) else { return };
        if session.live.as_ref().is_some_and(|l| l.number == number) {
            session.in_flight.retain(|f| f.pid != pid);
            session.fill();
        }
    }

    /// Tells the connection of a client id to close.
    pub fn close_client(&self, why: &Close, client: &str) {
        if let Some(live) = self.sessions.get(client).and_then(|s| s.live.as_ref()) {
            let _gone = live.tx.send(Out::Close(why.clone()));
        }
    }

    /// Tells one connection to close.
    pub fn close_connection(&self, why: &Close, number: u64) {
        if let Some(client) = self.index.client(number) {
            self.close_client(why, client);
        }
    }

    /// Tells every connection of a certificate to close.
    pub fn close_principal(&self, why: &Close, principal: &str) {
        self.index.clients_of(principal).for_each(|client| self.close_client(why, client));
    }

    /// Tells every connection to close.
    pub fn close_all(&self, why: &Close) {
        self.sessions.keys().for_each(|client| self.close_client(why, client));
    }

    /// Who is connected.
    pub fn connected(&self) -> Vec<Connected> {
        let all = self.sessions.iter().filter_map(|(client, s)| s.live.as_ref().map(|l| (client, s, l)));
        all.map(|(client, session, live)| Connected {
            client: client.clone(),
            principal: live.principal.clone(),
            filters: session.subscriptions.keys().cloned().collect(),
            in_flight: session.in_flight.len(),
        })
        .collect()
    }

    /// Forgets every session without a connection.
    pub fn forget(&mut self, client: &str) {
        if self.sessions.get(client).is_some_and(|s| s.live.is_none()) {
            self.remove(client);
        }
    }

    fn sweep(&mut self, now_ms: i64) {
        while let Some((end, client)) = self.index.first_end().filter(|(end, _)| *end <= now_ms) {
            let over = |s: &Session| s.live.is_none() && s.ends_ms.is_some_and(|ends| ends <= now_ms);
            if self.sessions.get(&client).is_some_and(over) {
                self.remove(&client);
            }
            self.index.ended(end, &client);
        }
    }

    fn remove(&mut self, client: &str) {
        let Some(session) = self.sessions.remove(client) else { return };
        session.subscriptions.keys().for_each(|filter| self.index.unsubscribed(client, filter, false));
        if let Some(live) = &session.live {
            self.index.parted(client, live);
        }
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Session {
    subscriptions: BTreeMap<String, Subscription>,
    in_flight: VecDeque<Flight>,
    queue: VecDeque<(Message, bool)>,
    last_pid: u16,
    life_ms: Option<i64>,
    ends_ms: Option<i64>,
    #[serde(skip)]
    live: Option<Live>,
}

impl Session {
    /// The best QoS among the filters that match, and retain-as-published.
    fn wants(&self, topic: &str, own: bool) -> Option<(u8, bool)> {
        let fitting =
            self.subscriptions.iter().filter(|(f, s)| !(own && s.no_local) && topic::matches(f, topic));
        fitting.map(|(_, s)| (s.qos, s.as_published)).max()
    }

    fn deliver(&mut self, message: Message, qos: u8, retain: bool, private: bool) {
        match (&self.live, qos) {
            (Some(live), 0) => {
                let _gone = live.tx.send(Out::Publish { pid: None, message, retain, dup: false });
            }
            // A private answer belongs to this connection; it is never queued for the next.
            (Some(live), _) if private || (self.queue.is_empty() && self.in_flight.len() < live.window) => {
                let flight = Flight { pid: self.free_pid(), message, retain, private };
                if let Some(live) = &self.live {
                    let _gone = live.tx.send(flight.out(false));
                }
                self.in_flight.push_back(flight);
            }
            (Some(_), _) => self.queue.push_back((message, retain)),
            (None, 0) => {}
            (None, _) => self.queue.push_back((message, retain)),
        }
    }

    fn fill(&mut self) {
        while let Some(window) = self.live.as_ref().map(|l| l.window) {
            if self.in_flight.len() >= window {
                return;
            }
            let Some((message, retain)) = self.queue.pop_front() else { return };
            let flight = Flight { pid: self.free_pid(), message, retain, private: false };
            if let Some(live) = &self.live {
                let _gone = live.tx.send(flight.out(false));
            }
            self.in_flight.push_back(flight);
        }
    }

    fn forget_private(&mut self) {
        self.in_flight.retain(|f| !f.private);
    }

    fn free_pid(&mut self) -> u16 {
        loop {
            self.last_pid = self.last_pid.checked_add(1).unwrap_or(1);
            if !self.in_flight.iter().any(|f| f.pid == self.last_pid) {
                return self.last_pid;
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Subscription {
    qos: u8,
    no_local: bool,
    as_published: bool,
}

#[derive(Serialize, Deserialize)]
struct Flight {
    pid: u16,
    message: Message,
    retain: bool,
    private: bool,
}

impl Flight {
    fn out(&self, dup: bool) -> Out {
        Out::Publish { pid: Some(self.pid), message: self.message.clone(), retain: self.retain, dup }
    }
}

pub(super) struct Live {
    pub number: u64,
    pub principal: String,
    tx: UnboundedSender<Out>,
    window: usize,
}
