//! Steps as they come, each with the moment at which it was heard: the same for every program that is measured.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::run::BenchError;

/// What was heard of a program.
#[derive(Debug, Default)]
pub struct Steps {
    heard: Mutex<Vec<(Instant, String)>>,
    more: Condvar,
}

impl Steps {
    /// Notes a step that is heard now.
    pub fn push(&self, step: &str) {
        self.lock().push((Instant::now(), step.to_owned()));
        self.more.notify_all();
    }

    /// How many were heard.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// When this step was heard, among those from number `since` on.
    pub fn wait(&self, since: usize, step: &'static str) -> Result<Instant, BenchError> {
        let end = Instant::now() + PATIENCE;
        let mut heard = self.lock();
        loop {
            if let Some((at, _)) = heard.iter().skip(since).find(|(_, name)| name == step) {
                return Ok(*at);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let names: Vec<&str> = heard.iter().skip(since).map(|(_, name)| name.as_str()).collect();
                return Err(BenchError::Late { what: step, log: names.join(" ") });
            }
            heard = self.more.wait_timeout(heard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Instant, String)>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a step may take.
const PATIENCE: Duration = Duration::from_secs(30);
