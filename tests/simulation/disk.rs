//! What the device writes in the walk, and what must be true of it at that moment.

use certrotd::rotation::{Carrier, Current, Mark, Origin, Record, Stage, follow};

use super::cloud::wall_of;
use super::world::World;

impl World {
    pub fn write(&mut self, record: Record) {
        let current = if let Current::Names(n) = self.disk.current { Some(n) } else { None };
        if let Record::Registering(n) | Record::Rejected(n) | Record::Registered(n) | Record::Proved(n) =
            record
        {
            assert_ne!(Some(n), current, "the slot in use is never written: {record:?}");
        }
        if let Record::Marked(n, Mark::Clear) = record
            && self.disk.slot(n).is_some_and(|s| s.stage == Stage::Proved)
        {
            // A pair that was left is taken up again: the way back, on which the cloud may end any rotation.
            self.reasons += 1;
        }
        if let Record::Settled(n) = record {
            assert!(self.cloud.settled(self.certificate_of(n)), "rule 14: only after its own `accepted`");
        }
        follow(&mut self.disk, record);
    }

    pub fn switch(&mut self, n: u32) {
        let slot = self.disk.slot(n).expect("only what is there is switched to").clone();
        assert!(
            slot.is_whole() && slot.stage == Stage::Proved,
            "`current` names a pair that carried a session"
        );
        // The session may have ended just now: then it has connected all the same.
        assert_eq!(
            self.last_session,
            Some(Carrier::Generation(n)),
            "rule 21: a candidate that has just connected"
        );
        if n > self.newest {
            self.newest = n;
            self.rotations += 1;
            let used = self.disk.current().and_then(|s| s.certificate);
            let old = |age| used.is_none_or(|c| c.not_before + age <= wall_of(self.boot));
            let due = self.machine.policy().max_age.is_none_or(old);
            self.reasons += u32::from(due || slot.origin == Origin::Claim);
        } else if self.disk.current != Current::Names(n) {
            // Rule 19: after a fallback a rotation is due at once.
            self.reasons += 1;
        }
        self.disk.current = Current::Names(n);
    }
}
