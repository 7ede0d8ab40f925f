//! One device in the walk: the real core, a disk and the cloud.
//!
//! `ends` lists and takes the ends of what is outstanding; time passes here. `check` holds at every point.

use certrotd::rotation::{
    Action, Boot, Carrier, Current, Disk, Happening, Input, Now, Policy, Rotation, Stage,
};

use super::cloud::{Cloud, Status, index_of, wall_of};

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
    pub rotations: u32,
    /// While this holds, every commit is refused, for ever.
    pub commits_refused: bool,
    pub dice: u32,
    /// How far the device's wall clock is ahead of the cloud's, seconds.
    pub skew: i64,
}

impl World {
    pub fn new(policy: &Policy, disk: Disk, cloud: Cloud, dice: u32) -> World {
        let number = disk.slots.iter().map(|s| s.generation).max().unwrap_or(0);
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
            commits_refused: false,
            dice,
            skew: 0,
        };
        world.feed(Input::Woke);
        world
    }

    fn now(&self) -> Now {
        Now { wall: self.wall(), boot: self.boot, synchronised: true, dice: self.dice }
    }

    /// The device's wall clock.
    pub fn wall(&self) -> i64 {
        wall_of(self.boot) + self.skew
    }

    pub fn feed(&mut self, input: Input) {
        let now = self.now();
        match self.machine.step(now, input) {
            Action::Keep => {}
            action => self.action = action,
        }
    }

    pub fn restart(&mut self) {
        let policy = self.machine.policy().clone();
        self.session = None;
        self.boot += 5_000;
        self.machine = Rotation::new(policy);
        self.feed(Input::Woke);
    }

    /// Lets time pass in the cloud too.
    pub fn pass(&mut self, millis: Boot) {
        self.boot += millis;
        self.cloud.advance(self.boot);
        if let Some((id, until)) = self.deactivated
            && self.boot >= until
        {
            if self.cloud.certificates[id].status == Status::Inactive {
                self.cloud.certificates[id].status = Status::Active;
            }
            self.deactivated = None;
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
        if unproved > 1 {
            return Err(format!("{unproved} unproved certificates are alive"));
        }
        Ok(())
    }

    /// What “everything is clean” means.
    pub fn unclean(&self) -> Option<String> {
        let Current::Names(n) = self.disk.current else { return Some("no identity".into()) };
        let alive: Vec<usize> = self.cloud.alive().collect();
        if alive != [self.certificate_of(n)] {
            return Some(format!("alive: {alive:?}, current is certificate {}", self.certificate_of(n)));
        }
        if self.session != Some(Carrier::Generation(n)) {
            return Some(format!("session: {:?}, current is {n}", self.session));
        }
        if self.disk.pending.is_some() {
            return Some("a commit is pending".into());
        }
        if let Some(s) = self.disk.slots.iter().find(|s| s.stage != Stage::Proved) {
            return Some(format!("generation {} is {:?}", s.generation, s.stage));
        }
        if self.machine.due(&self.now()).is_some_and(|due| due.at <= self.wall()) {
            return Some(format!("a rotation is due: {:?}", self.machine.due(&self.now())));
        }
        let kept = self.disk.slots.len();
        (kept > 2).then(|| format!("{kept} generations on disk"))
    }
}
