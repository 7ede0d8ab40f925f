//! Serves the control socket: takes connections, asks the kernel who is there, gives each a bounded place and HTTP/1.1.
//!
//! What each path answers is in `routes`. A connection ends when its peer is slow with its headers, stops reading, or
//! is idle; nothing here waits for a peer without a deadline.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::either::Either;

use super::content::Content;
use super::limits::Places;
use super::metrics::{self, Scrape};
use super::routes::{self, Shared};
use super::slow::MustRead;
use super::wire::Problem;
use super::{Backend, Limits, Peer, Socket};

/// Serves until `stop` is done; then answers what is in hand, for two seconds at most, and removes the socket.
pub async fn serve(socket: Socket, backend: Backend, limits: Limits, stop: impl Future<Output = ()>) {
    serve_as(socket, backend, limits, stop, kernel_peer).await;
}

/// The same with the peer named by another than the kernel: for tests that cannot have a second user.
#[doc(hidden)]
pub async fn serve_as(
    socket: Socket,
    backend: Backend,
    limits: Limits,
    stop: impl Future<Output = ()>,
    peer_of: impl Fn(&UnixStream) -> io::Result<Peer>,
) {
    let limits = Arc::new(limits);
    let places = Places::new();
    let (closing, closed) = watch::channel(false);
    let operators = backend.operators.clone();
    let shared = Shared::new(backend, limits.clone(), places.clone(), closed.clone());
    let mut connections = JoinSet::new();
    tokio::pin!(stop);

    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = socket.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "accepting on the control socket failed");
                sleep(AFTER_ACCEPT_FAILED).await;
                continue;
            }
        };
        let peer = match peer_of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "the kernel names no peer on the control socket");
                continue;
            }
        };
        let operator = is_operator(&operators, peer.uid);
        match places.connection(peer.uid, operator, &limits) {
            Some(place) => {
                let door = Door::Control(Box::new(shared.clone()), peer);
                let served = connection(Either::Left(stream), door, limits.clone(), closed.clone());
                connections.spawn(async move {
                    let _place = place;
                    served.await;
                });
            }
            None => {
                tracing::debug!(uid = peer.uid, pid = peer.pid, "control socket full");
                turn_away(&stream);
            }
        }
    }

    drop(socket);
    let _ = closing.send(true);
    let _ = timeout(LAST_ANSWERS, async { while connections.join_next().await.is_some() {} }).await;
}

pub(super) fn is_operator(operators: &watch::Receiver<Arc<BTreeSet<u32>>>, uid: u32) -> bool {
    operators.borrow().contains(&uid)
}

/// Asks the kernel who connected (`SO_PEERCRED`, unix(7)): nothing that the peer sends counts.
fn kernel_peer(stream: &UnixStream) -> io::Result<Peer> {
    let credentials = getsockopt(stream, PeerCredentials)?;
    Ok(Peer { uid: credentials.uid(), pid: credentials.pid() })
}

/// What stands behind a connection. One type for both, so that the HTTP server is in the program once.
#[derive(Clone)]
pub(super) enum Door {
    /// The control socket, for this peer.
    Control(Box<Shared>, Peer),
    /// Metrics over TCP.
    Metrics(Scrape),
}

/// Serves one connection until its peer ends it, breaks a limit, or `closed` comes.
pub(super) async fn connection(
    stream: Either<UnixStream, TcpStream>,
    door: Door,
    limits: Arc<Limits>,
    mut closed: watch::Receiver<bool>,
) {
    let stream = TokioIo::new(MustRead::new(stream, limits.write_time));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes.max(SMALLEST_BUFFER))
        .max_headers(MOST_HEADERS)
        .keep_alive(matches!(door, Door::Control(..)))
        .serve_connection(stream, service_fn(|request| answer(door.clone(), request)));
    tokio::pin!(served);
    let ended = tokio::select! {
        ended = &mut served => Some(ended),
        _ = closed.wait_for(|closed| *closed) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn answer(door: Door, request: Request<Incoming>) -> Result<Response<Content>, Infallible> {
    Ok(match door {
        Door::Control(shared, peer) => routes::answer(*shared, peer, request).await,
        Door::Metrics(scrape) => metrics::answer(&scrape, &request),
    })
}

/// Tells a peer for whom there is no place why, as far as that is possible without waiting.
fn turn_away(stream: &UnixStream) {
    let problem = Problem::busy("too many connections on the control socket", "try again in a moment");
    let body = serde_json::to_string(&problem).unwrap_or_default(); // plain strings always become JSON
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let _ = stream.try_write(answer.as_bytes());
}

pub(super) const AFTER_ACCEPT_FAILED: Duration = Duration::from_millis(200);
const LAST_ANSWERS: Duration = Duration::from_secs(2);
const MOST_HEADERS: usize = 64;
/// hyper panics below this.
const SMALLEST_BUFFER: usize = 8192;
