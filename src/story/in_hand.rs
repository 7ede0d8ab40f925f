//! A provisioning or rotation in hand, as its steps are told. Plain data; `Story` opens and closes it.

use crate::control::wire::{Operation, Time};

/// An operation in hand.
pub struct InHand {
    pub(super) id: u64,
    pub(super) kind: &'static str,
    pub(super) cause: &'static str,
    pub(super) step: &'static str,
    pub(super) started: Time,
    pub(super) generation: Option<u32>,
    pub(super) switched: bool,
}

impl InHand {
    /// As the status shows it.
    pub fn to_wire(&self) -> Operation {
        Operation {
            id: self.id,
            kind: self.kind.to_owned(),
            step: self.step.to_owned(),
            started: self.started,
        }
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }
}
