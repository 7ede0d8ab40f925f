//! Does what the core decides: names every adapter (store, keys, cloud, clock) and joins them, effect by effect.
//!
//! `begin` makes the future of one effect from what it needs (it borrows nothing, so the engine goes on listening);
//! `finish` takes in what it left behind: a new session, unread messages, a detail for people. It decides nothing:
//! which effect comes next is the core's, and no error of an adapter leaves here but as an `Outcome` and a `Detail`.

mod connect;
mod detail;
mod live;
mod request;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::cloud::SessionEvent;
use crate::config::{Config, Serial};
use crate::keys::Today;
use crate::rotation::{Carrier, Current, Effect, Outcome, Record, Wall};
use crate::store::{Finding, Store, StoreError};

pub(crate) use connect::identity;
pub use detail::Detail;
use live::Left;
pub use live::Live;
pub(crate) use request::made_here;

/// One effect under way.
pub type Doing = Pin<Box<dyn Future<Output = Ended>>>;

/// How an effect ended, and what it leaves behind.
pub struct Ended {
    /// For the core.
    pub outcome: Outcome,
    /// For people, where something failed or was said.
    pub detail: Option<Detail>,
    link: LinkChange,
    left: Left,
}

impl Ended {
    fn new(outcome: Outcome) -> Self {
        Ended { outcome, detail: None, link: LinkChange::Keep, left: Left::default() }
    }

    fn failed(outcome: Outcome, detail: Detail) -> Self {
        Ended { detail: Some(detail), ..Ended::new(outcome) }
    }
}

/// What becomes of the session in hand.
enum LinkChange {
    Keep,
    Down,
    Up(Live),
}

/// Who this device is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The serial.
    pub serial: String,
    /// The expected thing name.
    pub thing: String,
}

/// What every effect needs and none changes.
pub struct Tools {
    /// The identity on disk, locked by this process.
    pub store: Store,
    /// The clocks.
    pub clock: Clock,
    /// Wall time that is surely past (rule 26), for TLS; 0 while the clock itself is trusted.
    pub floor: Arc<AtomicI64>,
    /// What the last inspection found beside identities.
    pub findings: RefCell<Vec<Finding>>,
}

impl Tools {
    /// Wall time, never before the floor.
    pub fn wall(&self) -> Wall {
        self.clock.wall().max(self.floor.load(Ordering::Relaxed))
    }

    /// Wall time, and whether it is only a floor.
    pub fn today(&self) -> Today {
        if self.floor.load(Ordering::Relaxed) == 0 {
            Today::Is(self.wall())
        } else {
            Today::AtLeast(self.wall())
        }
    }

    /// The time by which TLS judges the server's certificate.
    pub fn tls_clock(&self) -> crate::cloud::Clock {
        let (clock, floor) = (self.clock, Arc::clone(&self.floor));
        Arc::new(move || u64::try_from(clock.wall().max(floor.load(Ordering::Relaxed))).unwrap_or(0))
    }

    /// A deadline for the network; shorter where a test runs the clock faster.
    pub fn deadline(&self, deadline: Duration) -> Duration {
        self.clock.shortened(deadline)
    }
}

/// The adapters of one device, joined.
pub struct World {
    /// What every effect needs.
    pub tools: Rc<Tools>,
    /// The configuration in force.
    pub config: Rc<Config>,
    /// The session in hand.
    pub live: Option<Live>,
    /// The last certificate id whose key type was read, and that type.
    pub key_type: RefCell<Option<([u8; 32], String)>>,
    left: Left,
    /// What came for applications on a session that is not in hand yet.
    early: (mpsc::UnboundedSender<SessionEvent>, mpsc::UnboundedReceiver<SessionEvent>),
    sessions: u64,
}

impl World {
    /// Joins the adapters.
    pub fn new(tools: Tools, config: Config) -> Self {
        World {
            tools: Rc::new(tools),
            config: Rc::new(config),
            live: None,
            key_type: RefCell::default(),
            left: Left::default(),
            early: mpsc::unbounded_channel(),
            sessions: 0,
        }
    }

    /// Who this device is, from the configuration or from the store; `None` while nobody has said.
    pub fn who(&self) -> Option<Who> {
        who(&self.tools.store, &self.config)
    }

    /// Begins an effect.
    pub fn begin(&mut self, effect: Effect) -> Doing {
        let (tools, config) = (Rc::clone(&self.tools), Rc::clone(&self.config));
        let live = self.live.as_ref().map(|l| (l.carrier, Rc::clone(&l.session)));
        let early = self.early.0.clone();
        match effect {
            Effect::Inspect => ready(inspect(&tools, &config)),
            Effect::Record(record) => ready(local("writing the store", record_to(&tools.store, record))),
            Effect::Switch(n) => {
                let ended = local("switching `current`", tools.store.switch(n));
                look_again(&tools, &config);
                ready(ended)
            }
            Effect::Remove(n) => {
                let ended = local("removing an old generation", tools.store.remove(n));
                look_again(&tools, &config);
                ready(ended)
            }
            Effect::Hangup => {
                let old = self.live.take();
                Box::pin(async move {
                    let left = match old {
                        Some(old) => old.end(GOODBYE).await,
                        None => Left::default(),
                    };
                    Ended { link: LinkChange::Down, left, ..Ended::new(Outcome::Done) }
                })
            }
            Effect::Connect(carrier) => {
                let old = self.live.take();
                Box::pin(connect::connect(tools, config, carrier, old, early))
            }
            Effect::Prove(n) => {
                // A claim's session has another client id: nobody evicts it, and nothing comes over it that is not asked for.
                let evicted = live.filter(|(carrier, _)| *carrier != Carrier::Claim).map(|(_, s)| s);
                Box::pin(connect::prove(tools, config, n, evicted, early))
            }
            Effect::Issue(origin) => match live {
                None => ready(no_session()),
                Some((_, session)) => Box::pin(request::issue(tools, config, origin, session)),
            },
            Effect::Register(n) => match live {
                None => ready(no_session()),
                Some((carrier, session)) => Box::pin(request::register(tools, config, n, carrier, session)),
            },
            Effect::Commit(n) => match live {
                None => ready(no_session()),
                Some((_, session)) => Box::pin(request::commit(tools, config, n, session)),
            },
        }
    }

    /// Takes in what an effect left behind, and gives what the core is told.
    pub fn finish(&mut self, ended: Ended) -> (Outcome, Option<Detail>) {
        match ended.link {
            LinkChange::Keep => {}
            LinkChange::Down => self.replace(None),
            LinkChange::Up(live) => self.replace(Some(live)),
        }
        // Before anything that comes on the session that is in hand from now on.
        while let Ok(event) = self.early.1.try_recv() {
            self.left.unread.push_back(event);
        }
        self.left.append(ended.left);
        (ended.outcome, ended.detail)
    }

    /// Waits for the next thing that happens on the session in hand, after what older ones left unread; then for what came
    /// on one that is being made, for ever where there is neither.
    pub async fn happens(&mut self) -> SessionEvent {
        if let Some(event) = self.left.unread.pop_front() {
            return event;
        }
        tokio::select! {
            biased;
            event = next(&mut self.live) => event,
            // Never closed: this world holds the sender too.
            Some(event) = self.early.1.recv() => event,
        }
    }

    /// Drops the session in hand, whose end has been seen.
    pub fn lost(&mut self) {
        self.replace(None);
    }

    fn replace(&mut self, mut next: Option<Live>) {
        if let Some(live) = &mut next {
            self.sessions += 1;
            live.number = self.sessions;
        }
        if let Some(mut old) = std::mem::replace(&mut self.live, next) {
            self.left.append(old.leave());
        }
    }
}

async fn next(live: &mut Option<Live>) -> SessionEvent {
    match live {
        // A closed channel is a session whose task is gone: the same as its end.
        Some(live) => match live.events.recv().await {
            Some(event) => event,
            None => SessionEvent::Closed(live.session.cause().unwrap_or(crate::cloud::Cause::Closed)),
        },
        None => std::future::pending().await,
    }
}

/// Reads who this device is.
pub fn who(store: &Store, config: &Config) -> Option<Who> {
    let serial = match config.device.serial() {
        Some(serial) => serial.clone(),
        // A lost device.json takes no identity away: the generation in use knows whose it is, and a thing is named
        // after its serial unless the configuration says otherwise.
        None => {
            let kept = store.device().ok().and_then(|d| d.serial);
            Serial::parse(&kept.or_else(|| store.thing_in_use())?).ok()?
        }
    };
    let thing = config.device.expected_thing(&serial);
    Some(Who { serial: serial.as_str().to_owned(), thing: thing.as_str().to_owned() })
}

fn inspect(tools: &Tools, config: &Config) -> Ended {
    match tools.store.inspect(config.device.serial().is_some()) {
        Ok((disk, findings)) => {
            if let Current::Names(n) = disk.current {
                tracing::debug!(generation = n, generations = disk.slots.len(), "store read");
            }
            *tools.findings.borrow_mut() = findings;
            Ended::new(Outcome::Inspected(disk))
        }
        Err(error) => Ended::failed(Outcome::Local, Detail::of_store("reading the store", &error)),
    }
}

/// After what may have healed or removed something damaged: what is told to people is what is there now.
fn look_again(tools: &Tools, config: &Config) {
    if let Ok((_, findings)) = tools.store.inspect(config.device.serial().is_some()) {
        *tools.findings.borrow_mut() = findings;
    }
}

fn record_to(store: &Store, record: Record) -> Result<(), StoreError> {
    store.record(record)
}

fn local(act: &'static str, result: Result<(), StoreError>) -> Ended {
    match result {
        Ok(()) => Ended::new(Outcome::Done),
        Err(error) => Ended::failed(Outcome::Local, Detail::of_store(act, &error)),
    }
}

/// The session ended between the decision and the effect: the core hears of that by itself.
fn no_session() -> Ended {
    let detail =
        Detail::new("closed", "the session ended before the request was sent", "time: tried again by itself");
    Ended::failed(Outcome::Refused(crate::rotation::Verdict::Silence, None), detail)
}

/// What was done at once. Everybody else has a turn before the next effect: a rotation is a row of these, each with its
/// fsyncs, and messages must not wait for all of them.
fn ready(ended: Ended) -> Doing {
    Box::pin(async move {
        // Once for what has come from the network to be read, once for it to be handed on.
        for _ in 0..2 {
            tokio::task::yield_now().await;
        }
        ended
    })
}

/// From name resolution to CONNACK.
const CONNECT: Duration = Duration::from_secs(30);
/// For an answer of fleet provisioning: a hook has five seconds, Lambda may start cold.
pub(crate) const ANSWER: Duration = Duration::from_secs(20);
/// For the retire handler's answer: it makes several calls to AWS for each victim.
const RETIRED: Duration = Duration::from_secs(45);
/// For the end of a session that is no longer wanted.
const GOODBYE: Duration = Duration::from_secs(1);
/// The longest that any effect takes by its own deadlines; a minute more and the watchdog is not fed.
pub const LONGEST_EFFECT: Duration = Duration::from_secs(150);
