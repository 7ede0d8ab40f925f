//! One real device: the daemon's core and world in a loop as small as its engine's, without its sockets and its log.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use certrotd::clock::Clock;
use certrotd::cloud::SessionEvent;
use certrotd::config::{Config, Facts, Purpose};
use certrotd::policy;
use certrotd::rotation::{
    Action, Carrier, Current, Happening, Input, Link, Now, Order, Outcome, Rotation, State,
};
use certrotd::store::{Machine, Store};
use certrotd::world::{Doing, Tools, World};
use tokio::sync::{mpsc, watch};

use super::RealError;
use super::shard::Place;

/// What is seen of a device from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The generation in use, and 0 while there is none.
    pub generation: u32,
    /// Whether it is connected with it, and nothing is left to retire.
    pub rests: bool,
    /// Attempts that failed.
    pub failures: u32,
}

/// A device.
pub struct Device {
    world: World,
    machine: Rotation,
    doing: Option<Doing>,
    orders: mpsc::Receiver<Order>,
    seen: watch::Sender<Seen>,
    failures: u32,
}

impl Device {
    /// Opens a device's store, making it where there is none.
    pub fn open(
        thing: &str,
        place: &Place,
        orders: mpsc::Receiver<Order>,
        seen: watch::Sender<Seen>,
    ) -> Result<Self, RealError> {
        let directory = place.stores.join(thing);
        let text = format!(
            "[device]\nserial = \"{thing}\"\n[aws]\nendpoint = \"localhost\"\nport = {}\nroot-ca = \"{}\"\n[claim]\ncertificate = \"{}\"\nprivate-key = \"{}\"\n[identity]\ndirectory = \"{}\"\n",
            place.port,
            place.twin.join("ca.pem").display(),
            place.twin.join("claim.cert.pem").display(),
            place.twin.join("claim.key.pem").display(),
            directory.display(),
        );
        let facts = Facts {
            identity_present: false,
            certificate_lifetime: None,
            credentials_directory: None,
            purpose: Purpose::Run,
        };
        let (config, _) = Config::parse(&text, &place.stores.join("config.toml"), &facts)
            .map_err(|report| RealError::Configuration { thing: thing.into(), report: report.to_string() })?;
        let (store, _) = Store::open(&directory, Machine::default())
            .map_err(|source| RealError::Store { thing: thing.into(), source })?;
        let tools = Tools {
            store,
            clock: Clock::start(),
            floor: Arc::new(AtomicI64::new(0)),
            findings: Vec::new().into(),
        };
        let world = World::new(tools, config);
        let machine = Rotation::new(policy::of(&world.config, world.who().as_ref()));
        Ok(Device { world, machine, doing: None, orders, seen, failures: 0 })
    }

    /// Lives until nobody can give it orders any more.
    pub async fn live(mut self) {
        self.turn(Input::Woke);
        loop {
            let wake = if let State::Waiting(wait) = self.machine.state() { Some(wait.until) } else { None };
            let clock = self.world.tools.clock;
            let doing = &mut self.doing;
            tokio::select! {
                biased;
                // Nothing is published to these devices but answers, and those have gone to who asked.
                event = self.world.happens() => if let SessionEvent::Closed(_) = event {
                    self.world.lost();
                    self.turn(Input::Happened(Happening::Closed));
                },
                ended = async { match doing { Some(doing) => doing.await, None => std::future::pending().await } } => {
                    self.doing = None;
                    let (outcome, _) = self.world.finish(ended);
                    self.failures += u32::from(matches!(outcome, Outcome::Failed(_) | Outcome::Refused(..) | Outcome::Local));
                    self.turn(Input::Done(outcome));
                }
                order = self.orders.recv() => match order {
                    Some(order) => self.turn(Input::Order(order)),
                    None => return,
                },
                () = sleep(clock, wake) => self.turn(Input::Woke),
            }
        }
    }

    fn turn(&mut self, input: Input) {
        let clock = &self.world.tools.clock;
        let now = Now {
            wall: clock.wall(),
            boot: clock.boot(),
            synchronised: clock.is_synchronised(),
            dice: clock.random(),
        };
        let floor = if self.machine.clock_is_trusted(&now) { 0 } else { self.machine.wall(&now) };
        self.world.tools.floor.store(floor, Ordering::Relaxed);
        if let Action::Do(effect) = self.machine.step(now, input) {
            self.doing = Some(self.world.begin(effect));
        }
        self.publish();
    }

    fn publish(&self) {
        let current = self.machine.disk().map(|d| (d.current, d.pending));
        let (generation, rests) = match (current, self.machine.link()) {
            (Some((Current::Names(n), pending)), Link::Up { carrier: Carrier::Generation(c), .. }) => {
                (n, n == c && pending.is_none() && self.doing.is_none())
            }
            (Some((Current::Names(n), _)), _) => (n, false),
            _ => (0, false),
        };
        let seen = Seen { generation, rests, failures: self.failures };
        self.seen.send_if_modified(|old| std::mem::replace(old, seen) != seen);
    }
}

/// By tokio's wheel: the daemon's own sleep takes a timer of the kernel's, ten thousand of which would be descriptors.
async fn sleep(clock: Clock, until: Option<u64>) {
    match until {
        Some(until) => tokio::time::sleep(Duration::from_millis(until.saturating_sub(clock.boot()))).await,
        None => std::future::pending().await,
    }
}

/// How a device is reached.
pub struct Handle {
    /// Orders to it.
    pub orders: mpsc::Sender<Order>,
    /// What is seen of it.
    pub seen: watch::Receiver<Seen>,
}

/// Starts a device on this thread.
pub fn start(thing: &str, place: &Rc<Place>) -> Result<Handle, RealError> {
    let (orders, inbox) = mpsc::channel(1);
    let (outside, seen) = watch::channel(Seen::default());
    let device = Device::open(thing, place, inbox, outside)?;
    tokio::task::spawn_local(device.live());
    Ok(Handle { orders, seen })
}
