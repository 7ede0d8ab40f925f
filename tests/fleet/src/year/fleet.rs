//! The loop of virtual time: events to cores, cores' effects to the cloud, ends back to the cores.
//!
//! ```text
//! wheel ─event─▶ fleet ─Input─▶ Rotation::step ─Action─▶ fleet ─┬─ disk: ends at once
//!   ▲                                                           ├─ cloud: `calls`, under `quota`
//!   └────────────── Wake, Finish, Close, Worker ◀───────────────┴─ commit: `handler`
//! ```
//! One clock for all: wall time is `EPOCH` plus virtual time, synchronised. The dice are seeded, so a run repeats.

use certrotd::rotation::schedule;
use certrotd::rotation::{
    Action, CloudOrder, Current, Effect, Happening, Input, Now, Order, Outcome, Record, Wall,
};
use jiff::Timestamp;

use super::device::Device;
use super::handler::Handler;
use super::quota::Quotas;
use super::wheel::{Event, Kind, Ms, Wheel};

/// Devices, their cloud, and time.
pub struct Fleet {
    /// Virtual time.
    pub now: Ms,
    /// Every device.
    pub devices: Vec<Device>,
    /// AWS's quotas.
    pub quotas: Quotas,
    /// The retire handler.
    pub handler: Handler,
    /// What was seen of rotations.
    pub seen: Seen,
    /// The retained order to rotate, from when it is there.
    pub order: Option<(Ms, CloudOrder)>,
    /// While the whole cloud is away.
    pub outage: Option<(Ms, Ms)>,
    /// How long a device waits for the answer to a commit.
    pub patience: Ms,
    /// How long certificates live that are issued from now on; `None`: until 2049.
    pub life: Option<Wall>,
    /// How long a power cut lasts.
    pub dark: Ms,
    /// Over how long devices come up when power is back.
    pub boot: Ms,
    pub(super) filters: Filters,
    pub(super) wheel: Wheel,
    pub(super) rng: fastrand::Rng,
}

/// How many filters the daemon subscribes to.
pub(super) struct Filters {
    pub standing: u32,
    /// Of the answers to a rotation's requests: for the claim, and in each proof.
    pub answers: u32,
}

impl Filters {
    fn of_the_daemon() -> Self {
        let count =
            |filters: Result<Vec<String>, _>| filters.map_or(0, |f| u32::try_from(f.len()).unwrap_or(0));
        Filters {
            standing: count(certrotd::cloud::topics::standing("SN-0")),
            answers: count(certrotd::cloud::proof::rotation_answers("certrot-rotate")),
        }
    }
}

/// What was seen of rotations.
#[derive(Default)]
pub struct Seen {
    /// Each rotation's seconds after its due time (or after the order, or after power came back).
    pub late: Vec<u32>,
    /// Each old certificate's seconds from the switch to the accepted commit.
    pub both: Vec<u32>,
    /// First certificates, by seconds after power on.
    pub first: Vec<u32>,
    /// Attempts to connect that the cloud refused although nothing was throttled: with what is dead or not seen yet.
    pub dead_connects: u64,
    /// Sessions that ended because a subscription was throttled.
    pub unfit: u64,
}

impl Fleet {
    /// A fleet of devices that are all off.
    pub fn new(devices: Vec<Device>, factor: f64, seed: u64) -> Self {
        Fleet {
            now: 0,
            devices,
            quotas: Quotas::new(factor),
            handler: Handler::default(),
            seen: Seen::default(),
            order: None,
            outage: None,
            patience: RETIRED,
            life: None,
            dark: 0,
            boot: 0,
            filters: Filters::of_the_daemon(),
            wheel: Wheel::new(),
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Lets something happen to a device then.
    pub fn at(&mut self, at: Ms, device: u32, kind: Kind) {
        self.wheel.push(Event { at, device, number: 0, kind });
    }

    /// A random moment within a window that begins then.
    pub fn within(&mut self, from: Ms, window: Ms) -> Ms {
        from + self.rng.u64(..=window)
    }

    /// Lets virtual time pass.
    pub fn run(&mut self, until: Ms) {
        while let Some(event) = self.wheel.pop(until) {
            self.now = self.now.max(event.at);
            self.happens(event);
        }
        self.now = self.now.max(until);
    }

    fn happens(&mut self, event: Event) {
        let d = event.device;
        if event.kind == Kind::Worker {
            return self.worker(usize::try_from(d).unwrap_or(0));
        }
        if event.kind == Kind::Weather {
            return self.goes_away();
        }
        let device = &mut self.devices[d as usize];
        match event.kind {
            Kind::Wake if device.on && event.number == device.turn => self.step(d, Input::Woke),
            Kind::Finish if device.on && event.number == device.turn => self.finish(d),
            Kind::Silence if device.on && event.number == device.turn => {
                self.ended(d, Outcome::Refused(certrotd::rotation::Verdict::Silence, None));
            }
            Kind::Close if device.on && event.number == device.session && device.link.is_some() => {
                device.link = None;
                device.session = device.session.wrapping_add(1);
                self.step(d, Input::Happened(Happening::Closed));
            }
            Kind::PowerOn if !device.on => {
                device.on = true;
                device.ready = wall_of(self.now);
                self.step(d, Input::Woke);
            }
            Kind::PowerOff if device.on => {
                device.cut();
                let at = self.within(self.now + self.dark, self.boot);
                self.at(at, d, Kind::PowerOn);
            }
            Kind::Deliver if device.on && device.link.is_some() => self.deliver(d),
            _ => {}
        }
    }

    /// The cloud goes away: each device notices within one and a half keep-alives.
    fn goes_away(&mut self) {
        for n in 0..self.devices.len() {
            if self.devices[n].link.is_some() {
                let at = self.within(self.now, NOTICED);
                let device = u32::try_from(n).unwrap_or(u32::MAX);
                let number = self.devices[n].session;
                self.wheel.push(Event { at, device, number, kind: Kind::Close });
            }
        }
    }

    pub(super) fn is_away(&self) -> bool {
        self.outage.is_some_and(|(from, to)| (from..to).contains(&self.now))
    }

    /// The retained order arrives, as it does with each session.
    pub(super) fn deliver(&mut self, d: u32) {
        if let Some((from, order)) = self.order
            && self.now >= from
        {
            self.step(d, Input::Order(Order::Cloud(order)));
        }
    }

    /// One input in, and on until something is outstanding.
    pub(super) fn step(&mut self, d: u32, input: Input) {
        let mut input = input;
        loop {
            let dice = self.rng.u32(..);
            let now = Now { wall: wall_of(self.now), boot: BOOT + self.now, synchronised: true, dice };
            let device = &mut self.devices[d as usize];
            match device.machine.step(now, input) {
                Action::Keep => return,
                Action::Wait(wait) => {
                    device.turn = device.turn.wrapping_add(1);
                    let at = wait.until.saturating_sub(BOOT).max(self.now + 1);
                    let number = device.turn;
                    return self.wheel.push(Event { at, device: d, number, kind: Kind::Wake });
                }
                Action::Do(effect) => {
                    device.turn = device.turn.wrapping_add(1);
                    match self.on_disk(d, effect) {
                        Some(outcome) => input = Input::Done(outcome),
                        None => return self.begin(d, effect),
                    }
                }
            }
        }
    }

    /// What needs no cloud ends at once.
    fn on_disk(&mut self, d: u32, effect: Effect) -> Option<Outcome> {
        let wall = wall_of(self.now);
        let device = &mut self.devices[d as usize];
        match effect {
            Effect::Inspect => {
                let disk = device.kept.take().map(|disk| *disk);
                return disk.or_else(|| device.machine.disk().cloned()).map(Outcome::Inspected);
            }
            Effect::Record(record) => {
                if let Record::Settled(_) = record
                    && let Some(at) = device.switched.take()
                {
                    self.seen.both.push(seconds(wall - at));
                }
            }
            Effect::Switch(_) => {
                let disk = device.machine.disk();
                let old = disk.and_then(certrotd::rotation::Disk::current).and_then(|s| s.certificate);
                let policy = device.machine.policy();
                match old.and_then(|c| schedule::due(&c, policy)) {
                    Some(due) => {
                        let ordered = self.order.map_or(i64::MAX, |(at, _)| wall_of(at));
                        let from = due.at.min(ordered).max(device.ready);
                        self.seen.late.push(seconds(wall - from));
                        device.switched = Some(wall);
                    }
                    None if disk.is_some_and(|d| d.current == Current::Absent) => {
                        self.seen.first.push(seconds(wall - device.ready));
                    }
                    None => {}
                }
            }
            Effect::Remove(_) => {}
            Effect::Hangup => device.link = None,
            Effect::Connect(_)
            | Effect::Prove(_)
            | Effect::Issue(_)
            | Effect::Register(_)
            | Effect::Commit(_) => return None,
        }
        Some(Outcome::Done)
    }

    /// An effect ended: failures are counted, then the core is told.
    pub(super) fn ended(&mut self, d: u32, outcome: Outcome) {
        if let Outcome::Failed(_) | Outcome::Refused(..) = outcome {
            let device = &mut self.devices[d as usize];
            device.retries = device.retries.saturating_add(1);
        }
        self.step(d, Input::Done(outcome));
    }
}

/// The name of a device's thing.
pub fn thing_name(device: u32) -> String {
    format!("SN-{device:07}")
}

/// Wall time at a moment.
pub fn wall_of(now: Ms) -> Wall {
    EPOCH + i64::try_from(now / 1000).unwrap_or(i64::MAX / 2)
}

/// The same for the rules.
pub fn timestamp(now: Ms) -> Timestamp {
    let ms = EPOCH * 1000 + i64::try_from(now).unwrap_or(0);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn seconds(wall: Wall) -> u32 {
    u32::try_from(wall.max(0)).unwrap_or(u32::MAX)
}

/// Wall time at the start: 2027-01-15.
pub const EPOCH: Wall = 1_800_000_000;
/// Time since boot at the start. One clock serves all runs of a device: the core only takes differences.
const BOOT: Ms = 60_000;
/// The device's deadline for the retire handler's answer (`src/world`).
pub const RETIRED: Ms = 45_000;
/// A dead connection is noticed within one and a half keep-alives of 60 s.
const NOTICED: Ms = 90_000;
