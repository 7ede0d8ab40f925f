//! What the main loop waits for, each as a future that never ends where there is nothing to wait for.

use std::pin::Pin;
use std::time::Duration;

use tokio::time::Instant;

use super::Examination;
use crate::clock::Clock;
use crate::control::wire::CheckReport;
use crate::rotation::Effect;
use crate::world::{Doing, Ended};

/// Waits for the effect in hand; for ever where there is none.
pub(super) async fn done(doing: &mut Option<(Effect, Doing, Instant)>) -> Ended {
    match doing {
        Some((_, doing, _)) => doing.await,
        None => std::future::pending().await,
    }
}

/// Waits for the check in hand; for ever where there is none.
pub(super) async fn examined(examining: &mut Option<Examination>) -> CheckReport {
    match examining {
        Some(examination) => examination.under_way.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Waits until a moment of the process; for ever where there is none.
pub(super) async fn pause(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Waits until a moment since boot; for ever where there is none.
pub(super) async fn sleep(clock: Clock, until: Option<u64>) {
    match until {
        Some(until) => clock.sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Waits until the watchdog wants to hear of us again; for ever where there is none.
pub(super) async fn pulse(clock: Clock, interval: Option<Duration>) {
    match interval {
        Some(interval) => clock.pause(interval).await,
        None => std::future::pending().await,
    }
}

/// The silence after work; each piece of it begins the wait anew.
pub(super) struct Silence {
    clock: Clock,
    comes: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Silence {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, comes: None }
    }

    /// Something is done.
    pub(super) fn is_broken(&mut self) {
        let clock = self.clock;
        self.comes = Some(Box::pin(async move { clock.pause(SILENCE).await }));
    }

    /// Waits until nothing has been done for a while; for ever where nothing was done since it last came.
    pub(super) async fn comes(&mut self) {
        match &mut self.comes {
            Some(comes) => comes.as_mut().await,
            None => std::future::pending().await,
        }
        self.comes = None;
    }
}

/// A rotation is over, and what came after it: its commit, hooks that ask, people who look.
const SILENCE: Duration = Duration::from_secs(10);
