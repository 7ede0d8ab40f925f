//! What the main loop waits for, each as a future that never ends where there is nothing to wait for.

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
