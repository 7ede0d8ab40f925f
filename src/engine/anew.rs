//! A new connection by order, in words that the core knows: the session in hand is ended as by `disconnect`, and made
//! anew as by `connect`, in the pace of every connection.
//!
//! It waits until no effect is in hand, so nothing that was asked loses its answer. It never ends what an operator
//! ordered (offline), and never hastens a contest (rule 22).

use super::Engine;
use crate::rotation::{Input, Link, Order, State};

impl Engine {
    /// Connects anew as soon as nothing is in hand. Where there is no session, the next try is made at once.
    pub(crate) fn connect_anew(&mut self) {
        self.anew = true;
        self.anew_if_idle();
    }

    /// Does what was put off until nothing is in hand.
    pub(super) fn anew_if_idle(&mut self) {
        if !self.anew || !self.is_idle() {
            return;
        }
        self.anew = false;
        if self.machine.offline() || self.machine.contested() {
            return;
        }
        self.hang_up_for(None);
    }

    /// Tries the claim now in the place of the session in hand, which comes back whatever becomes of it (rule 20).
    /// Nothing may be in hand.
    pub(crate) fn claim_anew(&mut self) {
        self.hang_up_for(Some(Order::Provision));
    }

    /// Whether no effect is in hand.
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.machine.state(), State::Waiting(_)) && !self.stopping
    }

    pub(super) fn hang_up_for(&mut self, order: Option<Order>) {
        if self.machine.link() != Link::Down {
            // From here on the hangup is in hand, and the next two only say what follows it.
            self.turn(Input::Order(Order::Disconnect));
        }
        if let Some(order) = order {
            self.turn(Input::Order(order));
        }
        self.turn(Input::Order(Order::Connect));
    }
}
