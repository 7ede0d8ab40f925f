//! One device in the walk: the real core, a disk and the cloud.
//!
//! `ends` lists and takes the ends of what is outstanding; time passes here. `check` holds at every point.

use certrotd::rotation::{
    Action, Boot, Carrier, Current, Disk, Happening, Input, Link, Now, Order, Policy, RetireMode, Rotation,
    Stage,
};

use certrotd::rotation::schedule::spread_of;

use super::cloud::{Cloud, EPOCH, Status, index_of, wall_of};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub boot: Boot,
    pub machine: Rotation,
    pub action: Action,
    pub disk: Disk,
    pub number: u32,
    pub cloud: Cloud,
    /// The broker's side of our session.
    pub session: Option<Carrier>,
    pub connection: u32,
    /// A certificate that the operator deactivated, and when he takes it back.
    pub deactivated: Option<(usize, Boot)>,
    /// Switches to a generation newer than any before.
    pub rotations: u32,
    /// What such switches may rest on: what was due by age, orders, fallbacks.
    pub reasons: u32,
    /// The newest generation that was ever in use.
    pub newest: u32,
    /// Whose session was the last one.
    pub last_session: Option<Carrier>,
    /// When a device certificate last sent CONNECT in this run.
    pub last_connect: Option<Boot>,
    /// The connection on which a RegisterThing had no answer.
    pub silent_on: Option<u32>,
    /// When the operator lets the device connect again.
    pub offline_until: Option<Boot>,
    /// While this holds, every commit is refused, for ever.
    pub commits_refused: bool,
    /// What every throw of the dice shows, or none: something else each time.
    pub dice: Option<u32>,
    /// How far the device's wall clock is ahead of the cloud's, seconds.
    pub skew: i64,
    /// Whether the kernel vouches for the clock where it is there.
    pub vouched: bool,
    /// Until then the clock shows the time since boot, as where there is no battery, and nobody vouches for it.
    pub clockless_until: Option<Boot>,
    /// When the clock of far away is set right again.
    pub far_until: Option<Boot>,
}

impl World {
    pub fn new(policy: &Policy, disk: Disk, cloud: Cloud, dice: Option<u32>) -> World {
        let number = disk.slots.iter().map(|s| s.generation).max().unwrap_or(0);
        let newest = disk.current().map_or(0, |s| s.generation);
        let mut world = World {
            boot: 60_000,
            machine: Rotation::new(policy.clone()),
            action: Action::Keep,
            disk,
            number,
            cloud,
            session: None,
            connection: 0,
            deactivated: None,
            rotations: 0,
            reasons: 0,
            newest,
            last_session: None,
            last_connect: None,
            silent_on: None,
            offline_until: None,
            commits_refused: false,
            dice,
            skew: 0,
            vouched: true,
            clockless_until: None,
            far_until: None,
        };
        world.feed(Input::Woke);
        world
    }

    fn now(&self) -> Now {
        // No number: a new one at each moment.
        let dice = self.dice.unwrap_or_else(|| spread_of(&self.boot.to_string()));
        Now {
            wall: self.wall(),
            boot: self.boot,
            synchronised: self.vouched && self.clockless_until.is_none(),
            dice,
        }
    }

    /// The device's wall clock.
    pub fn wall(&self) -> i64 {
        if self.clockless_until.is_some() {
            return wall_of(self.boot) - EPOCH;
        }
        wall_of(self.boot) + self.skew
    }

    /// What is written down as the time: never before the floor (rule 26).
    pub fn noted(&self) -> i64 {
        self.machine.wall(&self.now())
    }

    pub fn feed(&mut self, input: Input) {
        let now = self.now();
        match self.machine.step(now, input) {
            Action::Keep => {}
            action => self.action = action,
        }
    }

    /// The power goes and comes back.
    pub fn restart(&mut self) {
        let policy = self.machine.policy().clone();
        self.session = None;
        self.last_connect = None;
        self.offline_until = None;
        // The kernel vouches for the clock again; what was noted by a wrong one stays on disk.
        (self.skew, self.far_until) = (0, None);
        self.boot += 5_000;
        self.machine = Rotation::new(policy);
        self.feed(Input::Woke);
    }

    /// Lets time pass in the cloud too.
    pub fn pass(&mut self, millis: Boot) {
        self.boot += millis;
        if self.cloud.advance(self.boot) && self.session.take().is_some() {
            self.feed(Input::Happened(Happening::Closed));
        }
        if let Some((id, until)) = self.deactivated
            && self.boot >= until
        {
            if self.cloud.certificates[id].status == Status::Inactive {
                self.cloud.certificates[id].status = Status::Active;
            }
            self.deactivated = None;
        }
        if self.clockless_until.is_some_and(|until| self.boot >= until) {
            self.clockless_until = None;
            self.feed(Input::Woke);
        }
        if self.far_until.is_some_and(|until| self.boot >= until) {
            (self.skew, self.far_until) = (0, None);
            self.feed(Input::Woke);
        }
        if self.offline_until.is_some_and(|until| self.boot >= until) {
            self.offline_until = None;
            self.feed(Input::Order(Order::Connect));
        }
        if let Some(Carrier::Generation(n)) = self.session
            && !self.cloud.admits(self.certificate_of(n), self.boot)
        {
            self.session = None;
            self.feed(Input::Happened(Happening::Closed));
        }
    }

    pub fn certificate_of(&self, n: u32) -> usize {
        index_of(&self.disk.slot(n).and_then(|s| s.certificate).expect("a whole pair").id)
    }

    /// What holds at every point, whatever has happened.
    pub fn check(&self) -> Result<(), String> {
        if let Current::Names(n) = self.disk.current {
            let slot = self.disk.slot(n).ok_or("current names a generation that is not there")?;
            if !slot.is_whole() || slot.stage != Stage::Proved {
                return Err(format!("current names {n}, which is {:?}", slot.stage));
            }
            let id = self.certificate_of(n);
            let by_operator = self.deactivated.is_some_and(|(d, _)| d == id);
            if self.cloud.certificates[id].status != Status::Active && !by_operator {
                return Err(format!("the identity in use ({n}) is {:?}", self.cloud.certificates[id].status));
            }
        }
        let unproved = self
            .cloud
            .alive()
            .filter(|id| {
                let slot =
                    self.disk.slots.iter().find(|s| s.certificate.is_some_and(|c| index_of(&c.id) == *id));
                slot.is_none_or(|s| s.stage != Stage::Proved)
            })
            .count();
        if let Action::Wait(_) = self.action {
            let believed =
                if let Link::Up { carrier, .. } = self.machine.link() { Some(carrier) } else { None };
            if believed != self.session {
                return Err(format!(
                    "rule 8: it believes in the session {believed:?}, there is {:?}",
                    self.session
                ));
            }
        }
        if self.rotations > self.reasons {
            return Err(format!("{} rotations for {} reasons", self.rotations, self.reasons));
        }
        if unproved > 1 {
            return Err(format!("{unproved} unproved certificates are alive"));
        }
        Ok(())
    }

    /// Whether a rotation is due, by the device's own judgement.
    pub fn is_due(&self) -> bool {
        match self.disk.current {
            Current::Names(_) => self.machine.due(&self.now()).is_some_and(|due| due.at <= self.wall()),
            Current::Absent | Current::Astray => true,
        }
    }

    /// What “everything is clean” means.
    pub fn unclean(&self) -> Option<String> {
        if let Some(left) = self.unrenewed() {
            return Some(left);
        }
        let alive: Vec<usize> = self.cloud.alive().collect();
        if !matches!(self.disk.current, Current::Names(n) if alive == [self.certificate_of(n)]) {
            return Some(format!("alive: {alive:?}, current: {:?}", self.disk.current));
        }
        let commits = self.machine.policy().retire == RetireMode::CommitTopic;
        if commits && alive.iter().any(|id| !self.cloud.certificates[*id].committed) {
            return Some("it has never committed (rule 10)".into());
        }
        if self.disk.pending.is_some() {
            return Some("a commit is pending".into());
        }
        let kept = self.disk.slots.len();
        (kept > 2).then(|| format!("{kept} generations on disk"))
    }

    /// The same without what only a commit brings about (rule 16).
    pub fn unrenewed(&self) -> Option<String> {
        let Current::Names(n) = self.disk.current else { return Some("no identity".into()) };
        if self.session != Some(Carrier::Generation(n)) {
            return Some(format!("session: {:?}, current is {n}", self.session));
        }
        if let Some(s) = self.disk.slots.iter().find(|s| s.stage != Stage::Proved) {
            return Some(format!("generation {} is {:?}", s.generation, s.stage));
        }
        self.is_due().then(|| format!("a rotation is due: {:?}", self.machine.due(&self.now())))
    }

    /// The earliest moment at which everything can be clean: what others have begun must end first.
    pub fn settles(&self) -> Boot {
        let late = self.cloud.late.iter().map(|(at, _)| *at);
        late.chain(self.awaited()).max().unwrap_or(0).max(self.boot)
    }

    /// When what others have begun ends: an operator's doing, a clock that is wrong.
    pub fn awaited(&self) -> impl Iterator<Item = Boot> {
        let deactivated = self.deactivated.map(|d| d.1);
        [deactivated, self.offline_until, self.clockless_until, self.far_until].into_iter().flatten()
    }

    /// A pair that cannot come alive any more is on disk: it is given up some time after its token's end (rule 1).
    pub fn has_dead_pair(&self) -> bool {
        let unproved = self.disk.slots.iter().filter(|s| s.is_whole() && s.stage != Stage::Proved);
        unproved
            .map(|s| self.certificate_of(s.generation))
            .any(|id| self.cloud.certificates[id].status == Status::Dead)
    }

    /// RegisterThing named another thing (rule 4): the pair is given up when its token has ended.
    pub fn misnamed(&self) -> bool {
        self.cloud.certificates.iter().any(|c| c.status == Status::Elsewhere)
    }
}
