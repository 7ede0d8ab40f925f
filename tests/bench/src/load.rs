//! Messages both ways at a pace, each with a number: publishers and a reader on the daemon's control socket, the cloud's
//! own publisher, and a subscriber inside the twin's broker, which sees each message when the broker routes it.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

use certrot_twin::Twin;
use certrot_twin::broker::packets::{Filter, Retained};
use certrot_twin::broker::sessions::{Arrival, Out};
use tokio::sync::mpsc::unbounded_channel;

use crate::run::BenchError;
use crate::subject::{Heard, exchange, reach};

/// What has arrived, shared with the thread that listens.
#[derive(Clone, Default)]
pub struct Arrivals(Arc<Mutex<Vec<Heard>>>);

impl Arrivals {
    /// All of them so far.
    pub fn all(&self) -> Vec<Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn put(&self, number: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((number, Instant::now()));
    }
}

/// Subscribes inside the broker, as the cloud's own applications would hear it.
pub fn in_the_cloud(twin: &Twin, topic: &str) -> Result<Arrivals, BenchError> {
    let (tx, mut rx) = unbounded_channel();
    let cloud = twin.cloud();
    let client = format!("bench-{topic}");
    let arrival = Arrival {
        number: cloud.next_connection(),
        client: client.clone(),
        principal: String::new(),
        tx,
        clean: true,
        life_ms: None,
        window: 100,
    };
    let filter = Filter {
        filter: topic.to_owned(),
        qos: 0,
        no_local: false,
        as_published: false,
        retained: Retained::Never,
    };
    cloud.sessions(|s| {
        s.attach(arrival, 0);
        s.subscribe(&client, &filter)
    });
    let arrivals = Arrivals::default();
    let into = arrivals.clone();
    let listen = move || {
        while let Some(out) = rx.blocking_recv() {
            if let Out::Publish { message, .. } = out
                && let Some(number) = number_in(&message.payload)
            {
                into.put(number);
            }
        }
    };
    spawn("cloud-ear", listen)?;
    Ok(arrivals)
}

/// Subscribes on the daemon's socket; returns when the cloud has granted it.
pub fn on_the_device(socket: &Path, topic: &str) -> Result<Arrivals, BenchError> {
    let stream = reach(socket, &format!("GET /v1/subscribe?filter={topic} HTTP/1.1\r\nHost: x\r\n\r\n"))?;
    let arrivals = Arrivals::default();
    let into = arrivals.clone();
    let (granted, ready) = channel();
    let listen = move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let Some(data) = line.strip_prefix("data: ") else { continue };
            let Ok(heard) = serde_json::from_str::<serde_json::Value>(data) else { continue };
            match heard["kind"].as_str() {
                Some("subscribed") => {
                    let _known = granted.send(());
                }
                Some("message") => {
                    if let Some(number) = heard["payload"].as_str().and_then(|p| p.parse().ok()) {
                        into.put(number);
                    }
                }
                _ => {}
            }
        }
    };
    spawn("device-ear", listen)?;
    ready
        .recv_timeout(Duration::from_secs(30))
        .map_err(|_| BenchError::Late { what: "a subscription", log: String::new() })?;
    Ok(arrivals)
}

/// Something that sends a number at each tick until it is stopped.
pub struct Paced {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Paced {
    /// The cloud's publisher.
    pub fn down(twin: &Arc<Twin>, topic: &str, interval: Duration) -> Result<Self, BenchError> {
        let (twin, topic) = (Arc::clone(twin), topic.to_owned());
        Self::start(interval, move |n| twin.publish(&topic, n.to_string().as_bytes(), false))
    }

    /// The device's publishers: several, since each waits for its message's acknowledgement.
    pub fn up(socket: &Path, topic: &str, interval: Duration) -> Result<Self, BenchError> {
        let (sender, receiver): (Sender<u64>, Receiver<u64>) = channel();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut paced = Self::start(interval, move |n| {
            let _nobody_left = sender.send(n);
        })?;
        for _ in 0..PUBLISHERS {
            let (socket, topic, receiver) = (socket.to_owned(), topic.to_owned(), Arc::clone(&receiver));
            let publish = move || {
                let mut stream = None;
                loop {
                    let next = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(number) = next else { return };
                    while !published(&mut stream, &socket, &topic, number) {
                        stream = None;
                        sleep(Duration::from_millis(1));
                    }
                }
            };
            paced.threads.push(spawn("publisher", publish)?);
        }
        Ok(paced)
    }

    fn start(interval: Duration, mut send: impl FnMut(u64) + Send + 'static) -> Result<Self, BenchError> {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (over, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let tick = move || {
            let mut due = Instant::now();
            while !over.load(Ordering::Relaxed) {
                due += interval;
                sleep(due.saturating_duration_since(Instant::now()));
                send(count.fetch_add(1, Ordering::Relaxed));
            }
        };
        let threads = vec![spawn("pace", tick)?];
        Ok(Self { stop, sent, threads })
    }

    /// Sends no more, waits until everything was taken, and says how many there were.
    pub fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ended = thread.join();
        }
        self.sent.load(Ordering::Relaxed)
    }
}

fn published(stream: &mut Option<UnixStream>, socket: &Path, topic: &str, number: u64) -> bool {
    if stream.is_none() {
        *stream = UnixStream::connect(socket).ok();
    }
    let Some(stream) = stream else { return false };
    let body = format!("{{\"topic\":\"{topic}\",\"payload\":\"{number}\"}}");
    let request = format!(
        "POST /v1/publish HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(stream, &request) == Some(200)
}

fn number_in(payload: &[u8]) -> Option<u64> {
    std::str::from_utf8(payload).ok()?.parse().ok()
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, BenchError> {
    let thread = Builder::new().name(name.to_owned()).spawn(work);
    thread.map_err(|source| BenchError::Machine { what: "start a thread", source })
}

/// More than are on their way in an 80 ms round trip, and fewer than the daemon lets one user have.
const PUBLISHERS: usize = 16;
