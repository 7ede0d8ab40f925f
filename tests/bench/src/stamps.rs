//! When each event of the twin came, by the monotonic clock: finer than the milliseconds that the twin writes down.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use certrot_twin::{Event, Logged, Twin};

use crate::run::BenchError;

/// When each event of the twin came, by the monotonic clock.
pub struct Stamps {
    stop: Arc<AtomicBool>,
    stamps: Arc<Mutex<Vec<Instant>>>,
    thread: Option<JoinHandle<()>>,
}

impl Stamps {
    /// Watches from now on.
    pub fn start(twin: &Arc<Twin>) -> io::Result<Self> {
        let (stop, stamps) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let (ended, kept, twin) = (stop.clone(), stamps.clone(), twin.clone());
        let watch = move || {
            while !ended.load(Ordering::Relaxed) {
                let next = kept.lock().unwrap_or_else(PoisonError::into_inner).len();
                if twin.wait(next, Duration::from_millis(100), |_| true).is_some() {
                    let now = Instant::now();
                    let count = twin.event_count();
                    kept.lock().unwrap_or_else(PoisonError::into_inner).resize(count, now);
                }
            }
        };
        let thread = std::thread::Builder::new().name("stamps".into()).spawn(watch)?;
        Ok(Self { stop, stamps, thread: Some(thread) })
    }

    /// How long a client had no connection around its take-over, as the broker sees it: none where the new session is
    /// there before the old one has ended.
    pub fn gap(&self, twin: &Twin, client: &str, seen: usize) -> Result<Duration, BenchError> {
        let find = |wanted: &dyn Fn(&Event) -> bool| {
            let found = twin.wait(seen, Duration::from_secs(10), wanted);
            found.ok_or(BenchError::Late { what: "take-over", log: String::new() })
        };
        let up = find(&|e| matches!(e, Event::Connect { client: c, refused: None, .. } if c == client))?;
        let down = find(&|e| matches!(e, Event::Closed { client: c, .. } if c == client))?;
        Ok(self.of(&up).saturating_duration_since(self.of(&down)))
    }

    /// When that event came.
    pub fn of(&self, event: &Logged) -> Instant {
        loop {
            if let Some(at) = self.stamps.lock().unwrap_or_else(PoisonError::into_inner).get(event.seq) {
                return *at;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Stamps {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}
