//! The paths of the control socket: a request becomes an [`Order`] or a look at a channel, an answer becomes JSON.
//!
//! Whatever is not GET needs an operator, for every path in one place ([`operators_only`]): a new path cannot forget.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::feed::Joined;
use super::limits::{Place, Places};
use super::metrics::PROMETHEUS_TEXT;
use super::server::is_operator;
use super::wire::{Event, EventKind, Problem, ProvisionRequest, RotateRequest, RotationPatch};
use super::{Backend, Limits, Order, Peer, What, sse};

/// What every request sees.
#[derive(Clone)]
pub(super) struct Shared {
    backend: Backend,
    limits: Arc<Limits>,
    places: Places,
    checking: Arc<Semaphore>,
    closed: watch::Receiver<bool>,
}

impl Shared {
    pub(super) fn new(
        backend: Backend,
        limits: Arc<Limits>,
        places: Places,
        closed: watch::Receiver<bool>,
    ) -> Shared {
        Shared { backend, limits, places, checking: Arc::new(Semaphore::new(1)), closed }
    }
}

/// Every path of the contract; unknown ones are 404, wrong methods 405, both as problem documents.
pub(super) fn router(shared: Shared) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/history", get(history))
        .route("/v1/check", get(check))
        .route("/v1/events", get(events))
        .route("/metrics", get(metrics))
        .route("/v1/provision", post(provision))
        .route("/v1/rotate", post(rotate))
        .route("/v1/reload", post(reload))
        .route("/v1/connect", post(connect))
        .route("/v1/disconnect", post(disconnect))
        .route("/v1/adopt", post(adopt))
        .route("/v1/rotation", patch(rotation))
        .method_not_allowed_fallback(wrong_method)
        .route_layer(middleware::from_fn_with_state(shared.clone(), operators_only))
        .fallback(unknown_path)
        .with_state(shared)
}

async fn operators_only(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: Next,
) -> Response {
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    if reads || is_operator(&shared.backend.operators, peer.uid) {
        return next.run(request).await;
    }
    tracing::warn!(
        uid = peer.uid,
        pid = peer.pid,
        path = request.uri().path(),
        "order of a stranger refused"
    );
    Problem::forbidden(
        format!("user id {} is not an operator of this device", peer.uid),
        "do it as root or as another user of control.operators, or add this user there and reload",
    )
    .into_response()
}

async fn status(State(shared): State<Shared>) -> Result<Response, Problem> {
    if shared.backend.status.has_changed().is_err() {
        return Err(gone());
    }
    let mut status = shared.backend.status.borrow().as_ref().clone();
    status.now = (shared.backend.now)();
    status.rotation.overdue_seconds = match status.rotation.due_at {
        Some(due) => u64::try_from(status.now.seconds().saturating_sub(due.seconds())).unwrap_or(0),
        None => 0,
    };
    Ok(json(&status))
}

async fn metrics(State(shared): State<Shared>) -> Response {
    let headers = [(header::CONTENT_TYPE, PROMETHEUS_TEXT)];
    (headers, (shared.backend.metrics)()).into_response()
}

async fn history(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    order(&shared, peer, What::History, shared.limits.reply_time).await
}

async fn check(State(shared): State<Shared>, Extension(peer): Extension<Peer>) -> Result<Response, Problem> {
    checked(&shared, peer, What::Check).await
}

async fn provision(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let ProvisionRequest { serial, confirmed } = read(&shared.limits, body).await?;
    order(&shared, peer, What::Provision { serial, confirmed }, shared.limits.reply_time).await
}

async fn rotate(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let RotateRequest { dry_run } = read(&shared.limits, body).await?;
    let what = What::Rotate { dry_run };
    if dry_run {
        checked(&shared, peer, what).await
    } else {
        order(&shared, peer, what, shared.limits.reply_time).await
    }
}

async fn rotation(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    body: Body,
) -> Result<Response, Problem> {
    let change: RotationPatch = read(&shared.limits, body).await?;
    if change == RotationPatch::default() {
        return Err(Problem::bad_request(
            "nothing is to be changed",
            "give at least one of enabled, checkInterval, maxAge, renewBefore",
        ));
    }
    order(&shared, peer, What::Patch(change), shared.limits.reply_time).await
}

async fn reload(State(shared): State<Shared>, Extension(peer): Extension<Peer>) -> Result<Response, Problem> {
    order(&shared, peer, What::Reload, shared.limits.reply_time).await
}

async fn connect(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    order(&shared, peer, What::Connect, shared.limits.reply_time).await
}

async fn disconnect(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
) -> Result<Response, Problem> {
    order(&shared, peer, What::Disconnect, shared.limits.reply_time).await
}

async fn adopt(State(shared): State<Shared>, Extension(peer): Extension<Peer>) -> Result<Response, Problem> {
    order(&shared, peer, What::Adopt, shared.limits.reply_time).await
}

async fn unknown_path() -> Problem {
    Problem::new(
        404,
        "unknown-path",
        "There is no such path",
        "the control socket does not know this path",
        "see certrotctl --help; a certrotctl of another version may ask for what this daemon does not have",
    )
}

async fn wrong_method() -> Problem {
    Problem::new(
        405,
        "wrong-method",
        "The path does not take this method",
        "the path is known, its method is another",
        "GET reads, POST orders, PATCH changes /v1/rotation",
    )
}

/// One check at a time: each opens connections to the cloud, and everybody may ask for one.
async fn checked(shared: &Shared, peer: Peer, what: What) -> Result<Response, Problem> {
    let _one = shared.checking.try_acquire().map_err(|_| {
        Problem::busy("a check or a dry run is under way", "wait for it to end, then try again")
    })?;
    order(shared, peer, what, shared.limits.check_time).await
}

/// Hands an order to the engine and waits for its answer.
async fn order(shared: &Shared, by: Peer, what: What, patience: Duration) -> Result<Response, Problem> {
    let (reply, answer) = oneshot::channel();
    shared.backend.orders.try_send(Order { what, by, reply }).map_err(|refused| match refused {
        TrySendError::Full(_) => Problem::busy("too many orders are waiting", "try again in a moment"),
        TrySendError::Closed(_) => gone(),
    })?;
    match timeout(patience, answer).await {
        Ok(Ok(answer)) => answer.map(|value| json(&value)),
        Ok(Err(_)) => Err(gone()),
        Err(_) => Err(Problem::busy(
            format!(
                "the daemon did not answer within {} seconds; the order may still be done",
                patience.as_secs()
            ),
            "look at certrotctl status before ordering it again",
        )),
    }
}

fn gone() -> Problem {
    Problem::new(
        503,
        "stopping",
        "The daemon is stopping",
        "the daemon takes no more orders",
        "try again when it is up: systemctl status certrotd",
    )
}

/// Reads a body of JSON within its size and time; nothing at all means all defaults.
async fn read<T: DeserializeOwned + Default>(limits: &Limits, body: Body) -> Result<T, Problem> {
    let bytes = match timeout(limits.body_time, Limited::new(body, limits.body_bytes).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return Err(Problem::new(
                413,
                "too-large",
                "The request is too large",
                format!("a body ends at {} bytes", limits.body_bytes),
                "send less",
            ));
        }
        Ok(Err(_)) => return Err(Problem::bad_request("the body broke off", "send it whole")),
        Err(_) => {
            return Err(Problem::new(
                408,
                "too-slow",
                "The request took too long",
                format!("the body was not whole after {} seconds", limits.body_time.as_secs()),
                "send it at once",
            ));
        }
    };
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(T::default());
    }
    // By way of an object: serde would take an array for a struct too.
    serde_json::from_slice::<serde_json::Map<String, Value>>(&bytes)
        .and_then(|object| serde_json::from_value(Value::Object(object)))
        .map_err(|error| {
            Problem::bad_request(
                format!("the body is not what this path takes: {error}"),
                "send a JSON object with the fields of this path, or no body at all",
            )
        })
}

async fn events(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let after = match headers.get("last-event-id") {
        None => None,
        Some(id) => Some(id.to_str().ok().and_then(|id| id.trim().parse().ok()).ok_or_else(|| {
            Problem::bad_request("Last-Event-ID is not a number", "send the id of the last event, or none")
        })?),
    };
    let place = shared.places.stream(peer.uid, &shared.limits).ok_or_else(|| {
        Problem::busy(
            format!("user id {} reads events {} times already", peer.uid, shared.limits.streams_per_uid),
            "end one of the readers (certrotctl status --watch, rotate-now --wait)",
        )
    })?;
    // Joined before the answer's head goes out: whoever sees it misses nothing from then on.
    let joined = shared.backend.events.join(after);
    let (frames, stream) = mpsc::channel(4);
    tokio::spawn(pump(shared, joined, frames, place));
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Body::from_stream(Frames(stream))).into_response())
}

/// Writes the stream of events until its reader goes, lags behind what is kept, or the server closes. A reader that
/// lags is dropped: it comes back with its last id and gets what it missed.
async fn pump(mut shared: Shared, mut joined: Joined, frames: mpsc::Sender<String>, _place: Place) {
    let mut first = sse::beginning(joined.start);
    if joined.gap {
        let gap = Event::new((shared.backend.now)(), EventKind::Gap)
            .text("events before this one are not kept any more");
        first.push_str(&sse::frame(&gap));
    }
    let kept = joined.recent.iter().map(|event| sse::frame(event));
    for frame in std::iter::once(first).chain(kept) {
        if !give(&frames, frame, shared.limits.write_time).await {
            return;
        }
    }
    loop {
        let next = tokio::select! {
            next = timeout(shared.limits.keep_alive, joined.live.recv()) => next,
            () = frames.closed() => return,
            _ = shared.closed.wait_for(|closed| *closed) => return,
        };
        let frame = match next {
            Ok(Ok(event)) => sse::frame(&event),
            Ok(Err(RecvError::Lagged(_) | RecvError::Closed)) => return,
            Err(_) => sse::comment("alive"),
        };
        if !give(&frames, frame, shared.limits.write_time).await {
            return;
        }
    }
}

async fn give(frames: &mpsc::Sender<String>, frame: String, patience: Duration) -> bool {
    frames.send_timeout(frame, patience).await.is_ok()
}

/// The pump's end as a body.
struct Frames(mpsc::Receiver<String>);

impl futures_core::Stream for Frames {
    type Item = Result<String, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(cx).map(|frame| frame.map(Ok))
    }
}

fn json<T: Serialize>(value: &T) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => {
            let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
            (headers, text + "\n").into_response()
        }
        Err(_) => {
            Problem::internal("the answer could not be written as JSON", "report this as a fault of certrotd")
                .into_response()
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status)
            .ok()
            .filter(|status| status.is_client_error() || status.is_server_error())
            .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers =
            [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        let text = serde_json::to_string(&self).unwrap_or_default(); // plain strings always become JSON
        (status, headers, text + "\n").into_response()
    }
}
