//! `control.metrics-listen`: the Prometheus text over TCP, for a scraper; nothing else is served there.
//!
//! TCP names no user, so nothing can be ordered here and nothing of the status can be read but the metrics. Few
//! connections at once, each with the same deadlines as on the control socket.

use std::convert::Infallible;
use std::future::{Future, ready};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Limits;
use super::content::Content;
use super::slow::MustRead;

/// A bound listener for scrapers.
#[derive(Debug)]
pub struct MetricsListener(TcpListener);

/// The address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("listening for scrapers of metrics at {address}")]
pub struct MetricsError {
    address: SocketAddr,
    source: io::Error,
}

impl MetricsError {
    /// What clears it.
    pub fn remedy(&self) -> &'static str {
        "give control.metrics-listen an address of this machine and a port that is free, or leave it empty"
    }
}

impl MetricsListener {
    /// Binds the address; port 0 picks a free one.
    pub async fn bind(address: SocketAddr) -> Result<MetricsListener, MetricsError> {
        let listener = TcpListener::bind(address).await.map_err(|source| MetricsError { address, source })?;
        Ok(MetricsListener(listener))
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// Serves until `stop` is done.
    pub async fn serve(self, metrics: Metrics, limits: Limits, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => return, // dropping the set ends what is open
                Some(_) = connections.join_next() => continue,
                accepted = self.0.accept(), if connections.len() < SCRAPERS => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection(stream, metrics.clone(), limits.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a scraper of metrics failed");
                    tokio::time::sleep(super::server::AFTER_ACCEPT_FAILED).await;
                }
            }
        }
    }
}

type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

async fn connection(stream: TcpStream, metrics: Metrics, limits: Limits) {
    let answer = |request: Request<Incoming>| ready(Ok::<_, Infallible>(answer(&metrics, &request)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes.max(super::server::SMALLEST_BUFFER))
        .keep_alive(false)
        .serve_connection(TokioIo::new(MustRead::new(stream, limits.write_time)), service_fn(answer));
    if let Err(error) = served.await {
        tracing::debug!(%error, "a scraper of metrics ended early");
    }
}

fn answer(metrics: &Metrics, request: &Request<Incoming>) -> Response<Content> {
    let refuse = |status| {
        let mut refused = Content::text("text/plain", String::new());
        *refused.status_mut() = status;
        refused
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => Content::text(PROMETHEUS_TEXT, metrics()),
        (_, "/metrics") => refuse(StatusCode::METHOD_NOT_ALLOWED),
        _ => refuse(StatusCode::NOT_FOUND),
    }
}

/// Prometheus text format 0.0.4.
pub(super) const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections at once; more wait in the kernel's queue.
const SCRAPERS: usize = 8;
