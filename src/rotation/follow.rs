//! Follows a durable change in the image of the disk, exactly as the store makes it.
//!
//! The walk's model of a disk uses the same function, and the store's tests hold the store to it.

use super::identity::{Asked, Disk, Mark, Record, Slot, Stage};

/// Follows a durable change in the image of the disk, exactly as the store makes it.
pub fn follow(disk: &mut Disk, record: Record) {
    let slot_of = |disk: &mut Disk, n: u32, change: &dyn Fn(&mut Slot)| {
        if let Some(slot) = disk.slot_mut(n) {
            change(slot);
        }
    };
    match record {
        Record::Registering(n) => slot_of(disk, n, &|s| s.asked = Asked::Unanswered),
        Record::Rejected(n) => slot_of(disk, n, &|s| s.asked = Asked::Rejected),
        Record::Registered(n) => slot_of(disk, n, &|s| s.stage = Stage::Registered),
        Record::Proved(n) => slot_of(disk, n, &|s| s.stage = Stage::Proved),
        Record::Marked(n, mark) => slot_of(disk, n, &|s| s.mark = mark),
        Record::Pending(n, since) => {
            disk.pending = Some(n);
            disk.pending_since = Some(since);
        }
        Record::Committing(at) => disk.committed_at = Some(at),
        Record::Settled(n) => {
            if disk.pending == Some(n) {
                disk.pending = None;
                disk.pending_since = None;
            }
            for slot in disk.slots.iter_mut().filter(|s| s.generation < n && s.stage == Stage::Proved) {
                slot.mark = Mark::Retired;
            }
        }
        Record::Worked(at, vouched) => {
            disk.worked_at = Some(at);
            if vouched {
                disk.saved_at = Some(at);
            }
        }
        Record::Adopted => disk.foreign = false,
    }
}
