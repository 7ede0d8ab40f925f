//! Passes a request of the page on to the daemon: only the paths that the page needs, rebuilt from what was understood.
//!
//! The daemon gives one user eight connections and four readers of events; the console takes fewer, so that its user's
//! `certrotctl` gets through beside it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Response, StatusCode, Uri};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::answer::{self, Content, PROBLEM};
use crate::control::client::{Client, ClientError};
use crate::control::wire::Problem;

/// The way to the daemon.
pub struct Relay {
    client: Client,
    orders: Arc<Semaphore>,
    streams: Arc<Semaphore>,
}

/// What a path of the daemon is to the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Answered at once.
    Quick,
    /// Answered when the cloud has.
    Slow,
    /// Answered for as long as somebody listens.
    Stream,
}

/// The paths that are passed on, with their one method.
pub fn known(path: &str) -> Option<(&'static str, Method, Kind)> {
    Some(match path {
        "/v1/status" => ("/v1/status", Method::GET, Kind::Quick),
        "/v1/history" => ("/v1/history", Method::GET, Kind::Quick),
        "/v1/check" => ("/v1/check", Method::GET, Kind::Slow),
        "/v1/events" => ("/v1/events", Method::GET, Kind::Stream),
        "/v1/subscribe" => ("/v1/subscribe", Method::GET, Kind::Stream),
        "/v1/provision" => ("/v1/provision", Method::POST, Kind::Quick),
        "/v1/rotate" => ("/v1/rotate", Method::POST, Kind::Slow),
        "/v1/connect" => ("/v1/connect", Method::POST, Kind::Quick),
        "/v1/disconnect" => ("/v1/disconnect", Method::POST, Kind::Quick),
        "/v1/publish" => ("/v1/publish", Method::POST, Kind::Slow),
        "/v1/rotation" => ("/v1/rotation", Method::PATCH, Kind::Quick),
        _ => return None,
    })
}

impl Relay {
    pub fn new(client: Client) -> Relay {
        let places = |n| Arc::new(Semaphore::new(n));
        Relay { client, orders: places(ORDERS), streams: places(STREAMS) }
    }

    /// Asks the daemon and gives its answer back, refusals too.
    pub async fn pass(
        &self,
        (path, method, kind): (&'static str, Method, Kind),
        uri: &Uri,
        headers: &HeaderMap,
        body: Option<Value>,
    ) -> Result<Response<Content>, Problem> {
        let place = self.place(kind).await?;
        let after = match headers.get("last-event-id") {
            None => None,
            Some(id) => Some(id.to_str().ok().and_then(|id| id.parse::<u64>().ok()).ok_or_else(|| {
                Problem::bad_request("Last-Event-ID is not a number", "send the id of the last event")
            })?),
        };
        let target = match (kind, uri.query()) {
            (Kind::Stream, Some(query)) => format!("{path}?{query}"),
            _ => path.to_owned(),
        };
        let patience = if kind == Kind::Quick { QUICK } else { SLOW };
        let client = self.client.clone().with_patience(patience);
        let answer = client.relay(method, &target, body.as_ref(), after).await.map_err(unreachable)?;

        let (head, incoming) = answer.into_parts();
        let media = media(&head.headers);
        if kind == Kind::Stream && head.status == StatusCode::OK && media == EVENTS {
            return Ok(answer::answer(
                head.status,
                media,
                Content::Stream { stream: incoming, _place: place },
            ));
        }
        let whole = timeout(patience, whole(incoming)).await.unwrap_or(Err(ClientError::BrokenOff));
        Ok(answer::text(head.status, media, whole.map_err(unreachable)?))
    }

    async fn place(&self, kind: Kind) -> Result<OwnedSemaphorePermit, Problem> {
        let busy = |detail| Problem::busy(detail, "close another tab of the console, or wait a moment");
        if kind == Kind::Stream {
            let all = "the console's pages follow as many streams as they may";
            return self.streams.clone().try_acquire_owned().map_err(|_| busy(all));
        }
        let turn = timeout(QUICK, self.orders.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| busy("the console's orders wait for the daemon"))
    }
}

async fn whole(incoming: Incoming) -> Result<hyper::body::Bytes, ClientError> {
    let read = Limited::new(incoming, LARGEST).collect().await;
    read.map(|body| body.to_bytes()).map_err(|error| match error.is::<http_body_util::LengthLimitError>() {
        true => ClientError::Malformed { what: "an answer without end" },
        false => ClientError::BrokenOff,
    })
}

/// The daemon's media types, and nothing that a browser would take for a page.
fn media(headers: &HeaderMap) -> &'static str {
    let said = headers.get(header::CONTENT_TYPE).and_then(|m| m.to_str().ok()).unwrap_or_default();
    ["application/json", PROBLEM, EVENTS]
        .into_iter()
        .find(|m| *m == said)
        .unwrap_or("text/plain; charset=utf-8")
}

/// Why the daemon has not answered, as a refusal of the console.
fn unreachable(error: ClientError) -> Problem {
    let (status, code) = match &error {
        ClientError::Refused(problem) => return (**problem).clone(),
        ClientError::NotPermitted { .. } => (502, "socket-not-permitted"),
        ClientError::TooSlow { .. } => (504, "daemon-slow"),
        ClientError::Malformed { .. } => (502, "daemon-unknown"),
        ClientError::Missing { .. }
        | ClientError::NobodyListens { .. }
        | ClientError::Connect { .. }
        | ClientError::BrokenOff => (502, "daemon-down"),
    };
    Problem::new(status, code, "certrotd cannot be reached", error.to_string(), error.remedy())
}

const EVENTS: &str = "text/event-stream";
/// Requests to the daemon at once.
const ORDERS: usize = 3;
/// Streams of the daemon's at once, of all pages together.
const STREAMS: usize = 4;
/// For what the daemon answers at once; a little longer than its own time for it.
const QUICK: Duration = Duration::from_secs(15);
/// For a check, a dry run and what the cloud acknowledges; a little longer than the daemon's own time for them.
const SLOW: Duration = Duration::from_secs(100);
const LARGEST: usize = 4 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pages_paths_are_passed_on_and_exactly_as_they_are() {
        assert_eq!(known("/v1/status"), Some(("/v1/status", Method::GET, Kind::Quick)));
        for path in [
            "/v1/reload",
            "/v1/adopt",
            "/metrics",
            "/v1/status/",
            "/v1//status",
            "/V1/status",
            "/v1/%73tatus",
        ] {
            assert_eq!(known(path), None, "{path}");
        }
    }

    #[test]
    fn an_answer_of_the_daemon_is_never_taken_for_a_page() {
        let said =
            |value: &'static str| HeaderMap::from_iter([(header::CONTENT_TYPE, value.parse().unwrap())]);
        assert_eq!(media(&said("application/json")), "application/json");
        assert_eq!(media(&said("text/html")), "text/plain; charset=utf-8");
        assert_eq!(media(&HeaderMap::new()), "text/plain; charset=utf-8");
    }
}
