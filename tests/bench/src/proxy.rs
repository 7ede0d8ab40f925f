//! A proxy on loopback that counts bytes and can hold everything back: a line with a round trip.
//!
//! Each direction of a connection is two threads: one stamps what it reads, one sends it when its time has come. TCP's own
//! handshake costs a round trip on a real line and none here, so the first bytes up wait for one more.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running proxy; dropped, it takes no more connections.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    accepting: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    stop: AtomicBool,
    up: AtomicU64,
    down: AtomicU64,
}

impl Proxy {
    /// Listens before a port of loopback; `trip` is the round trip.
    pub fn before(port: u16, trip: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let own = listener.local_addr()?.port();
        let state = Arc::new(State::default());
        let kept = Arc::clone(&state);
        let accept = move || {
            for client in listener.incoming().map_while(Result::ok) {
                if kept.stop.load(Ordering::Relaxed) {
                    return;
                }
                // A connection that fails is its client's to notice.
                let _ended = carry(client, port, trip, &kept);
            }
        };
        let accepting = std::thread::Builder::new().name("proxy".into()).spawn(accept)?;
        Ok(Self { port: own, state, accepting: Some(accepting) })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Bytes up and down so far, above TCP.
    pub fn bytes(&self) -> (u64, u64) {
        (self.state.up.load(Ordering::Relaxed), self.state.down.load(Ordering::Relaxed))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        let _wakes_it = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.accepting.take() {
            let _ended = thread.join();
        }
    }
}

fn carry(client: TcpStream, port: u16, trip: Duration, state: &Arc<State>) -> io::Result<()> {
    let opened = Instant::now() + trip;
    let server = TcpStream::connect(("127.0.0.1", port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (half, up, down) = (trip / 2, Arc::clone(state), Arc::clone(state));
    pipe(client.try_clone()?, server.try_clone()?, half, opened, move |n| {
        up.up.fetch_add(n, Ordering::Relaxed);
    })?;
    pipe(server, client, half, opened, move |n| {
        down.down.fetch_add(n, Ordering::Relaxed);
    })
}

/// One direction. Without a delay it is one thread.
fn pipe(
    mut from: TcpStream,
    mut to: TcpStream,
    half: Duration,
    opened: Instant,
    count: impl Fn(u64) + Send + 'static,
) -> io::Result<()> {
    let spawn = |name: &str| std::thread::Builder::new().name(name.to_owned());
    let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
    let direct = half.is_zero().then(|| to.try_clone()).transpose()?;
    let read = move || {
        let mut buffer = vec![0; 64 * 1024];
        let mut direct = direct;
        while let Ok(n) = from.read(&mut buffer) {
            if n == 0 {
                break;
            }
            count(n as u64);
            let sent = match &mut direct {
                Some(to) => to.write_all(&buffer[..n]).is_ok(),
                None => sender.send((Instant::now().max(opened) + half, buffer[..n].to_vec())).is_ok(),
            };
            if !sent {
                break;
            }
        }
        if let Some(to) = direct {
            let _gone = to.shutdown(Shutdown::Write);
        } else {
            // The end travels as long as everything else.
            let _gone = sender.send((Instant::now() + half, Vec::new()));
        }
    };
    spawn("proxy-read").spawn(read)?;
    if half.is_zero() {
        return Ok(());
    }
    let write = move || {
        for (due, bytes) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if bytes.is_empty() || to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _gone = to.shutdown(Shutdown::Write);
    };
    spawn("proxy-write").spawn(write).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_through_comes_out_whole_is_counted_and_ends() {
        for trip in [Duration::ZERO, Duration::from_millis(2)] {
            let echo = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = echo.local_addr().unwrap().port();
            std::thread::spawn(move || {
                let (mut stream, _) = echo.accept().unwrap();
                let mut all = Vec::new();
                stream.read_to_end(&mut all).unwrap();
                stream.write_all(&all).unwrap();
            });
            let proxy = Proxy::before(port, trip).unwrap();
            let mut client = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
            let sent = vec![7; 300_000];
            client.write_all(&sent).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            let mut came = Vec::new();
            client.read_to_end(&mut came).unwrap();
            assert_eq!(came, sent);
            assert_eq!(proxy.bytes(), (300_000, 300_000));
        }
    }
}
