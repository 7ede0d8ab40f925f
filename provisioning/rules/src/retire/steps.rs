//! The states of the step machine, and what they carry; what leads from one to the next is in the parent.

use std::collections::BTreeMap;

use super::Reply;
use crate::registry::Status;

/// An older certificate, with its status as last seen.
#[derive(Clone, Debug)]
pub(super) struct Victim {
    pub id: String,
    pub status: Status,
}

impl Victim {
    pub fn unread(id: String) -> Self {
        Victim { id, status: Status::Unknown }
    }
}

/// Where the handling stands; each state but the last has one call outstanding.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Whose { thing_type: String },
    List,
    Committer,
    Others { left: Vec<String> },
    Guard { blow: Blow, victim: usize, read: Read },
    Kill { blow: Blow, victim: usize },
    Thing,
    Record { attributes: BTreeMap<String, String>, version: Option<i64> },
    Reply { reply: Reply, then: Then },
    Policies { victim: usize },
    Policy { victim: usize, left: Vec<String> },
    FromThing { victim: usize },
    Delete { victim: usize, tries: u32 },
    Pause { victim: usize, tries: u32 },
    End,
}

/// What follows a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Clear,
    Stop,
}

/// The two changes of status, in the order of rule 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blow {
    Inactive,
    Revoked,
}

impl Blow {
    pub fn status(self) -> Status {
        match self {
            Blow::Inactive => Status::Inactive,
            Blow::Revoked => Status::Revoked,
        }
    }
}

/// The two readings of X before a blow; its status, which an operator changes, comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    Things,
    Status,
}
