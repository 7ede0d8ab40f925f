//! The main loop: one input to the core, one action to the world, and everybody told.
//!
//! The only file that names both the machine and the world. It owns the turn: whatever happens (an effect ends, a
//! message comes, somebody orders, a signal, a timer) becomes one `Input`, and the answer is begun or waited for. It
//! never blocks on one effect: the loop goes on listening, so status and orders are served at any time, and the
//! watchdog is fed while the loop turns and no effect is past its own deadline.

mod anew;
mod examine;
mod messages;
mod reload;
mod waits;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_core::Stream;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::cloud::SessionEvent;
use crate::cloud::payload::{Condition, parse_rotate};
use crate::cloud::topics;
use crate::control::wire::{Configuration, Problem, Status, Time};
use crate::control::{self, Application, Feed};
use crate::doctor::Memory;
use crate::hooks::Hooks;
use crate::log::Log;
use crate::messages::{Post, Rules};
use crate::metrics::Metrics;
use crate::notify::Notify;
use crate::orders;
use crate::policy;
use crate::resident;
use crate::rotation::{Action, CloudOrder, Effect, Input, Now, Order, Outcome, Rotation, State};
use crate::status;
use crate::story::{Story, now};
use crate::world::{Detail, Doing, LONGEST_EFFECT, World};
use crate::x509;

use examine::Examination;
use waits::{Silence, done, examined, pause, pulse, sleep};

/// What the engine is made with.
pub struct Parts {
    /// The adapters, joined.
    pub world: World,
    /// Where the configuration came from, for reload.
    pub config_path: PathBuf,
    /// The log, whose level a reload may change.
    pub log: Log,
    /// systemd.
    pub notify: Notify,
    /// Who is told of each switch.
    pub hooks: Hooks,
    /// Orders from the control socket.
    pub orders: mpsc::Receiver<control::Order>,
    /// Applications' messages from the control socket.
    pub messages: mpsc::Receiver<Application>,
    /// Where applications' messages are counted.
    pub metrics: Arc<Metrics>,
    /// Events to the control socket.
    pub feed: Feed,
    /// Status to the control socket.
    pub status: watch::Sender<Arc<Status>>,
    /// Who may change things, to the control socket.
    pub operators: watch::Sender<Arc<BTreeSet<u32>>>,
    /// Who may publish and subscribe, to the control socket.
    pub users: watch::Sender<Arc<BTreeSet<u32>>>,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Read the configuration again.
    Reload,
    /// Finish the effect in hand and end.
    Stop,
}

/// The daemon's main loop.
pub struct Engine {
    pub(crate) world: World,
    pub(crate) machine: Rotation,
    pub(crate) story: Story,
    config_path: PathBuf,
    log: Log,
    notify: Notify,
    hooks: Hooks,
    orders: mpsc::Receiver<control::Order>,
    status: watch::Sender<Arc<Status>>,
    operators: watch::Sender<Arc<BTreeSet<u32>>>,
    users: watch::Sender<Arc<BTreeSet<u32>>>,
    messages: mpsc::Receiver<Application>,
    post: Post,
    rules: Rules,
    /// The session that the post office knows of.
    tended: Option<u64>,
    doing: Option<(Effect, Doing, Instant)>,
    examining: Option<Examination>,
    memory: Rc<RefCell<Memory>>,
    configuration: Configuration,
    anew: bool,
    since: Time,
    line: String,
    told: BTreeSet<String>,
    stopping: bool,
}

type Reply = Result<serde_json::Value, Problem>;

impl Engine {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let machine = Rotation::new(policy::of(&parts.world.config, parts.world.who().as_ref()));
        let story = Story::new(Rc::clone(&parts.world.tools), parts.feed);
        let since = now(&parts.world.tools.clock);
        Engine {
            world: parts.world,
            machine,
            story,
            config_path: parts.config_path,
            log: parts.log,
            notify: parts.notify,
            hooks: parts.hooks,
            orders: parts.orders,
            status: parts.status,
            operators: parts.operators,
            users: parts.users,
            messages: parts.messages,
            post: Post::new(Instant::now(), parts.metrics),
            rules: Rules::default(),
            tended: None,
            doing: None,
            examining: None,
            memory: Rc::default(),
            configuration: Configuration::default(),
            anew: false,
            since,
            line: String::new(),
            told: BTreeSet::new(),
            stopping: false,
        }
    }

    /// Runs until a signal says stop and the effect in hand has ended.
    pub async fn run(mut self, signals: impl Stream<Item = Signal>) {
        let mut signals = std::pin::pin!(signals);
        let clock = self.world.tools.clock;
        let watch_steps =
            move || -> Pin<Box<dyn Future<Output = ()>>> { Box::pin(async move { clock.stepped().await }) };
        let mut stepped = watch_steps();
        let interval = self.notify.watchdog_interval();
        let next_pulse = || -> Pin<Box<dyn Future<Output = ()>>> { Box::pin(pulse(clock, interval)) };
        let mut pulse_is_due = next_pulse();
        let mut silence = Silence::new(clock);
        self.notify.watchdog();
        self.turn(Input::Woke);
        loop {
            if self.stopping && self.may_end() {
                break;
            }
            self.tend();
            if self.doing.is_some() || self.examining.is_some() {
                silence.is_broken();
            }
            let delivers = self.post.wakes_at();
            let wake = if let State::Waiting(wait) = self.machine.state() { Some(wait.until) } else { None };
            tokio::select! {
                // What happened is heard before what was asked has ended: a session that is closed in the middle of a
                // request ends both, and only in this order does the core see the two together (rule 22).
                biased;
                Some(signal) = std::future::poll_fn(|cx| signals.as_mut().poll_next(cx)) => self.signal(signal),
                event = self.world.happens() => self.happens(event),
                outcome = done(&mut self.doing), if self.doing.is_some() => {
                    let Some((effect, _, _)) = self.doing.take() else { continue };
                    let (outcome, detail) = self.world.finish(outcome);
                    self.finished(effect, outcome, detail);
                }
                Some(order) = self.orders.recv() => self.order(order),
                report = examined(&mut self.examining), if self.examining.is_some() => examine::finish(&mut self, &report),
                () = sleep(clock, wake), if wake.is_some() && !self.stopping => self.turn(Input::Woke),
                () = &mut stepped => {
                    stepped = watch_steps();
                    self.turn(Input::Woke);
                }
                () = &mut pulse_is_due => {
                    if self.is_healthy() {
                        self.notify.watchdog();
                    }
                    pulse_is_due = next_pulse();
                }
                // The last: however much applications send, nothing above waits for it.
                Some(what) = self.messages.recv() => self.application(what),
                () = pause(delivers), if delivers.is_some() => {}
                () = silence.comes() => resident::give_back_code(),
            }
        }
        self.notify.status("stopping");
        self.close_the_post();
        if let Some(live) = self.world.live.take() {
            live.session.disconnect(std::time::Duration::from_secs(1)).await;
        }
        tracing::info!("stopped");
    }

    /// Time and chance of this moment.
    pub(crate) fn now(&self) -> Now {
        let clock = &self.world.tools.clock;
        Now {
            wall: clock.wall(),
            boot: clock.boot(),
            synchronised: clock.is_synchronised(),
            dice: clock.random(),
        }
    }

    /// The same, with the floor set by which TLS judges certificates while the clock is not trusted.
    fn trusted_now(&self) -> Now {
        let at = self.now();
        let floor = if self.machine.clock_is_trusted(&at) { 0 } else { self.machine.wall(&at) };
        self.world.tools.floor.store(floor, Ordering::Relaxed);
        at
    }

    /// One input in, one action out, begun.
    pub(crate) fn turn(&mut self, input: Input) {
        let at = self.trusted_now();
        let action = self.machine.step(at, input);
        self.begin(action, &at);
    }

    /// Begins what the core decided. Once stopping, only what makes the last answer durable: the next start goes on.
    fn begin(&mut self, action: Action, at: &Now) {
        if let Action::Do(effect) = action
            && (!self.stopping || matches!(effect, Effect::Record(_)))
        {
            let due = self.machine.due(at).filter(|d| d.at <= self.machine.wall(at)).map(|d| d.rule);
            self.story.thing = self.world.who().map(|w| w.thing).unwrap_or_default();
            let interrupted = examine::give_way(self, effect);
            self.story.begins(effect, &self.machine, due);
            let doing = self.world.begin(effect);
            let doing = self.make_way(action, doing);
            self.doing = Some((effect, doing, Instant::now()));
            examine::go_on(self, interrupted);
        } else if matches!(action, Action::Wait(_)) {
            self.post.release();
        }
        self.publish();
    }

    fn finished(&mut self, effect: Effect, outcome: Outcome, detail: Option<Detail>) {
        let at = self.trusted_now();
        let action = self.machine.step(at, Input::Done(outcome.clone()));
        // The story hears of the end before the next effect begins, and of the machine after it took the end in.
        self.story.ended(effect, &outcome, detail, &self.machine);
        self.acted(effect, &outcome);
        self.begin(action, &at);
        self.anew_if_idle();
    }

    fn happens(&mut self, event: SessionEvent) {
        match event {
            SessionEvent::Closed(cause) => self.closed(&cause),
            SessionEvent::Message { topic, payload, .. } if topics::is_reserved(&topic) => {
                self.message(&topic, &payload);
            }
            SessionEvent::Message { topic, payload, retain, dup } => {
                self.deliver(topic, &payload, retain, dup)
            }
            SessionEvent::Acknowledged(id) => self.post.acknowledged(Instant::now(), id),
            SessionEvent::Answered { id, refused } => self.post.answered(Instant::now(), id, &refused),
            SessionEvent::Gap { lost } => {
                tracing::warn!(lost, "messages were dropped: too many at once");
                self.post.gap(lost);
            }
        }
    }

    fn message(&mut self, topic: &str, payload: &[u8]) {
        let Some(who) = self.world.who() else { return };
        if topics::rotate(&who.thing).ok().as_deref() != Some(topic) {
            tracing::debug!(topic, "message that nobody waits for");
            return;
        }
        let wall = self.machine.wall(&self.now());
        match parse_rotate(payload).and_then(|order| order.at(wall)) {
            Ok(order) => {
                let (certificate, issued_before) = match order.condition {
                    Condition::IfCertificateId(id) => (x509::unhex(&id), None),
                    Condition::IssuedBefore(at) => (None, Some(at)),
                };
                let within = order.within.map_or(0, |d| i64::try_from(d.as_secs()).unwrap_or(i64::MAX));
                tracing::info!("the cloud orders a rotation, where its condition holds");
                self.turn(Input::Order(Order::Cloud(CloudOrder { certificate, issued_before, within })));
            }
            Err(error) => tracing::warn!(topic, "{error}"),
        }
    }

    fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Stop => {
                self.stopping = true;
                self.notify.stopping();
                self.publish();
            }
            Signal::Reload => {
                let _ = self.reload(); // what is wrong is in the log
            }
        }
    }

    fn order(&mut self, order: control::Order) {
        if self.stopping {
            let detail = "the step in hand is finished, and the daemon takes no more orders";
            let remedy = "try again when it is up: systemctl status certrotd";
            let stopping = Problem::new(503, "stopping", "The daemon is stopping", detail, remedy);
            let _ = order.reply.send(Err(stopping));
            return;
        }
        tracing::debug!(what = ?order.what, uid = order.by.uid, pid = order.by.pid, "ordered");
        match &order.what {
            what @ (control::What::Check | control::What::Rotate { dry_run: true }) => {
                examine::begin(self, what, order.reply);
            }
            what => {
                let answer = orders::carry_out(self, what.clone(), order.by);
                let _ = order.reply.send(answer);
            }
        }
    }

    /// Tells everybody how it stands.
    pub(crate) fn publish(&mut self) {
        let at = self.now();
        let before = self.status.borrow().state;
        let mut status =
            status::status(&self.world, &self.machine, &self.story, &at, self.since, self.stopping);
        status.configuration = self.configuration.clone();
        if status.state != before {
            self.since = now(&self.world.tools.clock);
            status.since = self.since;
        }
        let line = status::line(&status);
        if line != self.line {
            self.notify.status(&line);
            self.line = line;
        }
        self.tell_alerts(&at);
        if let Some(certificate) = &status.certificate {
            self.hooks.see(certificate);
        }
        self.status.send_replace(Arc::new(status));
    }

    /// Each alert is one line at its level when it comes, and none while it stays.
    fn tell_alerts(&mut self, at: &Now) {
        let alerts = status::alerts(&self.world, &self.machine, &self.story, at);
        let now: BTreeSet<String> = alerts.iter().map(|t| t.alert.code.clone()).collect();
        for told in alerts.iter().filter(|t| !self.told.contains(&t.alert.code)) {
            let remedy = told.alert.remedy.as_deref().unwrap_or_default();
            tracing::error!(
                message_id = told.message_id,
                code = told.alert.code,
                remedy,
                "{}",
                told.alert.text
            );
        }
        self.told = now;
    }

    /// Whether stopping need not wait: nothing is in hand that must be finished.
    fn may_end(&self) -> bool {
        match &self.doing {
            None => true,
            Some((Effect::Connect(_) | Effect::Inspect | Effect::Hangup, _, _)) => true,
            Some((_, _, since)) => since.elapsed() > STOP_PATIENCE,
        }
    }

    /// Waiting for a cloud or a network is health; an effect that is past its own deadline by a minute is not.
    fn is_healthy(&self) -> bool {
        let limit = LONGEST_EFFECT + std::time::Duration::from_secs(60);
        self.doing.as_ref().is_none_or(|(_, _, since)| since.elapsed() < limit)
    }
}

/// How long stopping waits for the effect in hand; systemd kills after 90 s by default.
const STOP_PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
