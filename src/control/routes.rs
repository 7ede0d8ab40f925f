//! The paths of the control socket: a request becomes an [`Order`] or a look at a channel, an answer becomes JSON.
//!
//! Whatever is not GET needs an operator, for every path in one place ([`operators_only`]): a new path cannot forget.
//! Applications' messages (`messages`) are the one exception, both ways: their users may send, and strangers not read.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::content::Content;
use super::feed::Joined;
use super::limits::{Place, Places};
use super::metrics::PROMETHEUS_TEXT;
use super::server::is_operator;
use super::wire::{Event, EventKind, Problem, ProvisionRequest, RotateRequest, RotationPatch};
use super::{Backend, Limits, Order, Peer, What, messages, sse};

/// What every request sees.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) backend: Backend,
    pub(super) limits: Arc<Limits>,
    pub(super) places: Places,
    checking: Arc<Semaphore>,
    pub(super) closed: watch::Receiver<bool>,
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

/// Answers one request of this peer; what cannot be done is a problem document.
pub(super) async fn answer(shared: Shared, peer: Peer, request: Request<Incoming>) -> Response<Content> {
    routed(shared, peer, request).await.unwrap_or_else(problem)
}

/// Every path of the contract.
#[derive(Clone, Copy)]
enum Path {
    Status,
    History,
    Check,
    Events,
    Metrics,
    Provision,
    Rotate,
    Reload,
    Connect,
    Disconnect,
    Adopt,
    Rotation,
    Publish,
    Subscribe,
}

impl Path {
    fn of(path: &str) -> Option<Path> {
        Some(match path {
            "/v1/status" => Path::Status,
            "/v1/history" => Path::History,
            "/v1/check" => Path::Check,
            "/v1/events" => Path::Events,
            "/metrics" => Path::Metrics,
            "/v1/provision" => Path::Provision,
            "/v1/rotate" => Path::Rotate,
            "/v1/reload" => Path::Reload,
            "/v1/connect" => Path::Connect,
            "/v1/disconnect" => Path::Disconnect,
            "/v1/adopt" => Path::Adopt,
            "/v1/rotation" => Path::Rotation,
            "/v1/publish" => Path::Publish,
            "/v1/subscribe" => Path::Subscribe,
            _ => return None,
        })
    }

    /// The one method that the path takes; where it is GET, HEAD too (RFC 9110, section 9.3.2).
    fn method(self) -> Method {
        match self {
            Path::Status | Path::History | Path::Check | Path::Events | Path::Metrics | Path::Subscribe => {
                Method::GET
            }
            Path::Provision
            | Path::Rotate
            | Path::Reload
            | Path::Connect
            | Path::Disconnect
            | Path::Adopt
            | Path::Publish => Method::POST,
            Path::Rotation => Method::PATCH,
        }
    }
}

/// Unknown paths are 404, strangers' orders 403, wrong methods 405, in this order.
async fn routed(
    shared: Shared,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Response<Content>, Problem> {
    let (head, body) = request.into_parts();
    let path = Path::of(head.uri.path()).ok_or_else(unknown_path)?;
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    match path {
        Path::Publish | Path::Subscribe => messages::permitted(&shared, peer, head.uri.path())?,
        _ if reads => {}
        _ => operators_only(&shared, peer, head.uri.path())?,
    }
    let method = path.method();
    if head.method != method && !(head.method == Method::HEAD && method == Method::GET) {
        let mut refused = problem(wrong_method());
        refused.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed(&method)));
        return Ok(refused);
    }
    let patience = shared.limits.reply_time;
    let what = match path {
        Path::Status => return status(&shared),
        Path::Metrics => return Ok(Content::text(PROMETHEUS_TEXT, (shared.backend.metrics)())),
        Path::Events => return events(shared, peer, &head.headers),
        Path::Check => return order(&shared, peer, What::Check, shared.limits.check_time).await,
        Path::Publish => return messages::publish(&shared, peer, body).await,
        Path::Subscribe => return messages::subscribe(shared, peer, head.uri.query()).await,
        Path::Rotate => {
            let RotateRequest { dry_run } = read(&shared.limits, body).await?;
            let what = What::Rotate { dry_run };
            if dry_run {
                return checked(&shared, peer, what).await;
            }
            what
        }
        Path::Provision => {
            let ProvisionRequest { serial, confirmed } = read(&shared.limits, body).await?;
            What::Provision { serial, confirmed }
        }
        Path::Rotation => What::Patch(changes(read(&shared.limits, body).await?)?),
        Path::History => What::History,
        Path::Reload => What::Reload,
        Path::Connect => What::Connect,
        Path::Disconnect => What::Disconnect,
        Path::Adopt => What::Adopt,
    };
    order(&shared, peer, what, patience).await
}

fn allowed(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET, HEAD",
        Method::PATCH => "PATCH",
        _ => "POST",
    }
}

fn operators_only(shared: &Shared, peer: Peer, path: &str) -> Result<(), Problem> {
    let operators = &shared.backend.operators;
    if is_operator(operators, peer.uid) {
        return Ok(());
    }
    tracing::warn!(uid = peer.uid, pid = peer.pid, path, "order of a stranger refused");
    let who: Vec<String> = operators.borrow().iter().map(u32::to_string).collect();
    let who = match who.as_slice() {
        [] => "nobody yet: control.operators is empty".to_owned(),
        ids => format!("user id {}", ids.join(", ")),
    };
    Err(Problem::forbidden(
        format!("user id {} is not an operator of this device", peer.uid),
        format!("do it as an operator ({who}), or add this user to control.operators and reload"),
    ))
}

fn status(shared: &Shared) -> Result<Response<Content>, Problem> {
    if shared.backend.status.has_changed().is_err() {
        return Err(gone());
    }
    let mut status = shared.backend.status.borrow().at((shared.backend.now)());
    status.hooks = (shared.backend.hooks)();
    Ok(json(&status))
}

fn changes(change: RotationPatch) -> Result<RotationPatch, Problem> {
    if change == RotationPatch::default() {
        return Err(Problem::bad_request(
            "nothing is to be changed",
            "give at least one of enabled, checkInterval, maxAge, renewBefore",
        ));
    }
    Ok(change)
}

fn unknown_path() -> Problem {
    Problem::new(
        404,
        "unknown-path",
        "There is no such path",
        "the control socket does not know this path",
        "see certrotctl --help; a certrotctl of another version may ask for what this daemon does not have",
    )
}

fn wrong_method() -> Problem {
    Problem::new(
        405,
        "wrong-method",
        "The path does not take this method",
        "the path is known, its method is another",
        "GET reads, POST orders, PATCH changes /v1/rotation",
    )
}

/// One dry run at a time: each opens connections to the cloud. Checks are bounded by the engine, which gives the last
/// report again.
async fn checked(shared: &Shared, peer: Peer, what: What) -> Result<Response<Content>, Problem> {
    let _one = shared
        .checking
        .try_acquire()
        .map_err(|_| Problem::busy("a dry run is under way", "wait for it to end, then try again"))?;
    order(shared, peer, what, shared.limits.check_time).await
}

/// Hands an order to the engine and waits for its answer.
async fn order(
    shared: &Shared,
    by: Peer,
    what: What,
    patience: Duration,
) -> Result<Response<Content>, Problem> {
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

pub(super) fn gone() -> Problem {
    Problem::new(
        503,
        "stopping",
        "The daemon is stopping",
        "the daemon takes no more orders",
        "try again when it is up: systemctl status certrotd",
    )
}

/// Reads a body of JSON within its size and time; nothing at all means all defaults.
pub(super) async fn read<T: DeserializeOwned + Default>(
    limits: &Limits,
    body: Incoming,
) -> Result<T, Problem> {
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

fn events(shared: Shared, peer: Peer, headers: &HeaderMap) -> Result<Response<Content>, Problem> {
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
    Ok(Content::stream("text/event-stream", stream))
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

pub(super) async fn give(frames: &mpsc::Sender<String>, frame: String, patience: Duration) -> bool {
    frames.send_timeout(frame, patience).await.is_ok()
}

pub(super) fn json<T: Serialize>(value: &T) -> Response<Content> {
    match serde_json::to_string(value) {
        Ok(text) => Content::text("application/json", text + "\n"),
        Err(_) => problem(Problem::internal(
            "the answer could not be written as JSON",
            "report this as a fault of certrotd",
        )),
    }
}

fn problem(problem: Problem) -> Response<Content> {
    let text = serde_json::to_string(&problem).unwrap_or_default(); // plain strings always become JSON
    let mut answer = Content::text("application/problem+json", text + "\n");
    *answer.status_mut() = StatusCode::from_u16(problem.status)
        .ok()
        .filter(|status| status.is_client_error() || status.is_server_error())
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer
}
