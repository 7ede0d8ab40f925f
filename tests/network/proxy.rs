//! The network between device and cloud: passes bytes on, counts them, and does one thing at one byte.
//!
//! ```text
//! certrotd ──▶ 127.0.0.1:port ══ one task a connection: [deed at byte N of connection C, up or down] ══▶ the twin
//! ```
//! TCP hides what a network reorders, doubles or loses; what an application feels of that is delay, and what arrives.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// To the cloud or from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the device.
    Up,
    /// To the device.
    Down,
}

/// What happens instead of that byte, or from it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Both ends get a reset.
    Reset,
    /// Both ends get an orderly end.
    Close,
    /// Nothing arrives any more, either way, and nobody is told.
    Silence,
    /// The cloud gets a reset, the device hears nothing: it is half open.
    HalfOpen,
    /// One bit of the byte is another.
    Flip,
    /// From here on bytes come one by one: a slow-loris.
    Trickle,
    /// From here on everything is a second late.
    Late,
}

/// Where it happens: connections are numbered from arming on, one that is open then is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which connection.
    pub connection: usize,
    /// Which direction.
    pub way: Way,
    /// So many bytes pass before it.
    pub byte: u64,
}

/// A network of its own.
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared(Mutex<State>);

#[derive(Default)]
struct State {
    cloud: u16,
    refuses: bool,
    accepted: usize,
    lines: Vec<Line>,
    armed: Option<(Place, Deed)>,
    done: bool,
}

/// A connection since arming.
#[derive(Clone, Copy, Default)]
struct Line {
    number: usize,
    open: bool,
    passed: [u64; 2],
}

impl Proxy {
    /// Listens, and passes on to the cloud at a port of this machine.
    pub fn to(cloud: u16) -> Self {
        let shared = Arc::new(Shared::default());
        shared.lock().cloud = cloud;
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let port = listener.local_addr().expect("an address").port();
        let (stop, stopped) = oneshot::channel();
        let state = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, state) => (),
                    _ = stopped => (),
                }
            });
        });
        Self { port, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From here on connections are counted anew, and this happens, once.
    pub fn arm(&self, deed: Option<(Place, Deed)>) {
        let mut state = self.shared.lock();
        let mut number = 0;
        for line in &mut state.lines {
            line.number = if line.open { number } else { usize::MAX };
            number += usize::from(line.open);
            line.passed = [0; 2];
        }
        (state.armed, state.done) = (deed, false);
    }

    /// Whether the deed is done.
    pub fn is_done(&self) -> bool {
        self.shared.lock().done
    }

    /// From here on every connection gets a reset before a byte has passed, or none any more.
    pub fn refuse(&self, refuses: bool) {
        self.shared.lock().refuses = refuses;
    }

    /// Connections that came.
    pub fn accepted(&self) -> usize {
        self.shared.lock().accepted
    }

    /// Bytes that passed since arming, of each connection: up, down.
    pub fn passed(&self) -> Vec<[u64; 2]> {
        let state = self.shared.lock();
        let mut lines: Vec<Line> = state.lines.iter().copied().filter(|l| l.number != usize::MAX).collect();
        lines.sort_by_key(|line| line.number);
        lines.into_iter().map(|line| line.passed).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that bytes are about to pass; says how many pass before the deed, where it is among them.
    fn pass(&self, line: usize, way: Way, bytes: usize) -> Option<(usize, Deed)> {
        let mut state = self.lock();
        let armed = state.armed;
        let this = &mut state.lines[line];
        let begin = this.passed[way as usize];
        this.passed[way as usize] = begin + bytes as u64;
        let (place, deed) = armed?;
        let end = begin + bytes as u64;
        if (place.connection, place.way) != (this.number, way) || !(begin..end).contains(&place.byte) {
            return None;
        }
        (state.armed, state.done) = (None, true);
        Some((usize::try_from(place.byte - begin).unwrap_or(0), deed))
    }
}

async fn serve(listener: std::net::TcpListener, shared: Arc<Shared>) {
    let listener = TcpListener::from_std(listener).expect("a socket");
    while let Ok((device, _)) = listener.accept().await {
        let (cloud, refuses) = {
            let mut state = shared.lock();
            state.accepted += 1;
            (state.cloud, state.refuses)
        };
        if refuses {
            let _reset = device.set_zero_linger();
            continue;
        }
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A cloud that is not there closes as a network would.
            let Ok(cloud) = TcpStream::connect((Ipv4Addr::LOCALHOST, cloud)).await else { return };
            let line = {
                let mut state = shared.lock();
                let number = state.lines.iter().filter(|l| l.number != usize::MAX).count();
                state.lines.push(Line { number, open: true, passed: [0; 2] });
                state.lines.len() - 1
            };
            carry(&shared, line, device, cloud).await;
            shared.lock().lines[line].open = false;
        });
    }
}

/// Passes bytes on both ways, until an end or a deed that is one.
async fn carry(shared: &Shared, line: usize, mut device: TcpStream, mut cloud: TcpStream) {
    let _at_once = (device.set_nodelay(true), cloud.set_nodelay(true));
    let (mut up, mut down) = ([0; 4096], [0; 4096]);
    let mut slow = [Slow::No; 2];
    loop {
        let (way, read) = tokio::select! {
            read = device.read(&mut up) => (Way::Up, read),
            read = cloud.read(&mut down) => (Way::Down, read),
        };
        let Ok(length @ 1..) = read else { return };
        let (bytes, to) = match way {
            Way::Up => (&mut up[..length], &mut cloud),
            Way::Down => (&mut down[..length], &mut device),
        };
        let deed = shared.pass(line, way, length);
        let before = deed.map_or(length, |(before, _)| before);
        if write(to, &bytes[..before], slow[way as usize]).await.is_err() {
            return;
        }
        let Some((_, deed)) = deed else { continue };
        match deed {
            Deed::Close => return,
            Deed::Reset => {
                let _reset = (device.set_zero_linger(), cloud.set_zero_linger());
                return;
            }
            Deed::Silence => return std::future::pending().await,
            Deed::HalfOpen => {
                let _reset = cloud.set_zero_linger();
                drop(cloud);
                return std::future::pending().await;
            }
            Deed::Flip => bytes[before] ^= 1,
            Deed::Trickle => slow[way as usize] = Slow::Trickle,
            Deed::Late => slow = [Slow::Late; 2],
        }
        if write(to, &bytes[before..], slow[way as usize]).await.is_err() {
            return;
        }
    }
}

#[derive(Clone, Copy)]
enum Slow {
    No,
    Trickle,
    Late,
}

async fn write(to: &mut TcpStream, bytes: &[u8], slow: Slow) -> std::io::Result<()> {
    match slow {
        Slow::No => to.write_all(bytes).await,
        Slow::Late => {
            tokio::time::sleep(Duration::from_secs(1)).await;
            to.write_all(bytes).await
        }
        Slow::Trickle => {
            for byte in bytes {
                tokio::time::sleep(Duration::from_millis(5)).await;
                to.write_all(&[*byte]).await?;
            }
            Ok(())
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = match self.way {
            Way::Up => "up",
            Way::Down => "down",
        };
        write!(f, "{}.{way}.{}", self.connection, self.byte)
    }
}
