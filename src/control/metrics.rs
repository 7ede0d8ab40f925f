//! `control.metrics-listen`: the Prometheus text over TCP, for a scraper; nothing else is served there.
//!
//! TCP names no user, so nothing can be ordered here and nothing of the status can be read but the metrics. Few
//! connections at once, each with the same deadlines as on the control socket.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::either::Either;

use super::Limits;
use super::content::Content;
use super::server::{Door, connection};

/// Makes the text of a scrape.
pub type Scrape = Arc<dyn Fn() -> String + Send + Sync>;

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
    pub async fn serve(self, scrape: Scrape, limits: Limits, stop: impl Future<Output = ()>) {
        let limits = Arc::new(limits);
        let (_closing, closed) = watch::channel(false); // dropping the set below ends them all
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => return,
                Some(_) = connections.join_next() => continue,
                accepted = self.0.accept(), if connections.len() < SCRAPERS => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let door = Door::Metrics(scrape.clone());
                    connections.spawn(connection(
                        Either::Right(stream),
                        door,
                        limits.clone(),
                        closed.clone(),
                    ));
                }
                Err(error) => {
                    tracing::warn!(%error, "accepting a scraper of metrics failed");
                    tokio::time::sleep(super::server::AFTER_ACCEPT_FAILED).await;
                }
            }
        }
    }
}

pub(super) fn answer(scrape: &Scrape, request: &Request<Incoming>) -> Response<Content> {
    let refuse = |status| {
        let mut refused = Content::text("text/plain", String::new());
        *refused.status_mut() = status;
        refused
    };
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => Content::text(PROMETHEUS_TEXT, scrape()),
        (_, "/metrics") => refuse(StatusCode::METHOD_NOT_ALLOWED),
        _ => refuse(StatusCode::NOT_FOUND),
    }
}

/// Prometheus text format 0.0.4.
pub(super) const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Connections at once; more wait in the kernel's queue.
const SCRAPERS: usize = 8;
