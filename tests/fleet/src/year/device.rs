//! One simulated device: the real core, what it would find on its disk, and its session.
//!
//! The disk never fails here (the walk of `tests/simulation.rs` is for that), so the core's own image of it is the disk;
//! it is only kept apart while the device is off.

use certrotd::rotation::{
    Asked, Carrier, Certificate, Current, Disk, Mark, Origin, Outcome, Policy, Rotation, Slot, Stage, Wall,
};

use super::thing::{self, Status, Thing, id_of};

/// A device and its thing.
pub struct Device {
    /// The real core.
    pub machine: Rotation,
    /// The cloud's side.
    pub thing: Thing,
    /// What is on the disk, until the core has read it.
    pub kept: Option<Box<Disk>>,
    /// An end that is already decided and only comes later.
    pub late: Option<Box<Outcome>>,
    /// Counts the core's actions: what belongs to an older one is stale.
    pub turn: u32,
    /// Counts sessions likewise.
    pub session: u32,
    /// Whose session the broker holds.
    pub link: Option<Carrier>,
    /// A request on this connection was throttled: the next one has no answer.
    pub deaf: bool,
    /// Whether it has power.
    pub on: bool,
    /// The newest generation.
    pub generation: u32,
    /// Since when it could rotate, as far as lateness is counted. Wall seconds.
    pub ready: Wall,
    /// When `current` last moved. Wall seconds.
    pub switched: Option<Wall>,
    /// Attempts that failed.
    pub retries: u32,
}

impl Device {
    /// A device that was never provisioned.
    pub fn fresh(policy: Policy) -> Self {
        Device {
            machine: Rotation::new(policy),
            thing: Thing::default(),
            kept: Some(Box::new(nothing())),
            late: None,
            turn: 0,
            session: 0,
            link: None,
            deaf: false,
            on: false,
            generation: 0,
            ready: 0,
            switched: None,
            retries: 0,
        }
    }

    /// A device in use, whose certificate was issued at `born` and lives so long (`None`: until 2049).
    pub fn in_use(policy: Policy, number: u32, born: Wall, life: Option<Wall>) -> Self {
        let mut device = Device::fresh(policy);
        let issued = device.thing.issue(0, born, life).clone();
        device.thing.exists = true;
        if let Some(certificate) = device.thing.find_mut(issued.serial) {
            certificate.status = Status::Active;
            certificate.policy = true;
            certificate.committed = true;
            certificate.token_ends = 0;
        }
        let mut disk = nothing();
        disk.slots.push(Slot {
            stage: Stage::Proved,
            asked: Asked::Unanswered,
            token_ends: None,
            ..slot(1, Origin::Claim, number, &issued, born)
        });
        disk.current = Current::Names(1);
        device.kept = Some(Box::new(disk));
        device.generation = 1;
        device
    }

    /// Loses power: only the disk stays.
    pub fn cut(&mut self) {
        if let Some(disk) = self.machine.disk() {
            self.kept = Some(Box::new(disk.clone()));
        }
        self.machine = Rotation::new(self.machine.policy().clone());
        self.late = None;
        self.turn = self.turn.wrapping_add(1);
        self.session = self.session.wrapping_add(1);
        self.link = None;
        self.on = false;
    }

    /// The certificate of a generation, by its number among the thing's.
    pub fn serial(&self, generation: u32) -> Option<u32> {
        self.machine.disk()?.slot(generation)?.certificate.map(|c| thing::serial_of(&c.id))
    }

    /// Says whether it has an identity that works: a session of `current`, whose certificate is ACTIVE.
    pub fn works(&self) -> bool {
        let Some(current) = self.machine.disk().and_then(Disk::current) else { return false };
        self.link == Some(Carrier::Generation(current.generation))
            && self
                .serial(current.generation)
                .and_then(|s| self.thing.find(s))
                .is_some_and(|c| c.status == Status::Active)
    }
}

/// The slot of what was just issued.
pub fn slot(generation: u32, origin: Origin, device: u32, issued: &thing::Certificate, wall: Wall) -> Slot {
    Slot {
        generation,
        stage: Stage::Issued,
        origin,
        certificate: Some(Certificate {
            id: id_of(device, issued.serial),
            not_before: issued.not_before,
            not_after: issued.not_after,
        }),
        asked: Asked::Never,
        token_ends: Some(wall + 3_600),
        issued_at: wall,
        mark: Mark::Clear,
    }
}

fn nothing() -> Disk {
    Disk {
        slots: Vec::new(),
        current: Current::Absent,
        pending: None,
        pending_since: None,
        committed_at: None,
        worked_at: None,
        saved_at: None,
        serial_known: true,
        foreign: false,
    }
}
