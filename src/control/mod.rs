//! The control socket: what operators and scripts see of the daemon and ask of it.
//!
//! ```text
//! engine ──watch──▶ status ─┐                                    ┌─▶ ctl (words, exit codes)
//! engine ──Feed───▶ events ─┤ server ══ HTTP/1.1 over Unix ══ client
//! engine ◀──mpsc── Order ───┤                                    └─▶ curl --unix-socket
//! engine ◀─▶ Application ───┘
//! ```
//! The server knows nothing of rotation: it turns requests into [`Order`]s and values into JSON. The engine knows
//! nothing of HTTP: it takes orders from a channel and answers each once. What crosses the socket is in [`wire`].
//! Who may do what is decided here and nowhere else: by the uid that the kernel names for the peer (`SO_PEERCRED`);
//! whoever can connect may read, only operators may change, and messages are theirs and the users' of `[messages]`.

pub mod bind;
pub mod client;
mod content;
pub mod feed;
pub mod limits;
pub mod messages;
pub mod metrics;
mod routes;
pub mod server;
pub(crate) mod slow;
pub mod sse;
pub mod wire;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};

pub use bind::{BindError, Socket};
pub use feed::Feed;
pub use limits::Limits;
pub use messages::Application;
pub use metrics::{MetricsError, MetricsListener, Scrape};
pub use server::serve;

use wire::{Problem, RotationPatch, Status, Time};

/// The daemon, as the server sees it: channels and nothing else.
#[derive(Clone)]
pub struct Backend {
    /// The latest status.
    pub status: watch::Receiver<Arc<Status>>,
    /// What happens; the engine sends, the server reads.
    pub events: Feed,
    /// Where orders go. A full channel is answered 503.
    pub orders: mpsc::Sender<Order>,
    /// Makes the Prometheus text.
    pub metrics: Scrape,
    /// What the hooks said, for the `hooks` of a status.
    pub hooks: Arc<dyn Fn() -> wire::Hooks + Send + Sync>,
    /// The wall clock, for the `now` of a status.
    pub now: Arc<dyn Fn() -> Time + Send + Sync>,
    /// The uids that may change things; a reload sends new ones.
    pub operators: watch::Receiver<Arc<BTreeSet<u32>>>,
    /// The uids that may publish and subscribe, beside them.
    pub users: watch::Receiver<Arc<BTreeSet<u32>>>,
    /// Where applications' messages go. A full channel is answered 503.
    pub messages: mpsc::Sender<Application>,
}

/// One order of one peer; it is to be answered once. Dropping it unanswered is answered 503.
#[derive(Debug)]
pub struct Order {
    /// What is to be done.
    pub what: What,
    /// Who asked.
    pub by: Peer,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<serde_json::Value, Problem>>,
}

/// What can be ordered, and the JSON that answers it.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// `POST /v1/provision` → [`wire::Accepted`].
    Provision {
        /// The serial, where the configuration leaves it open.
        serial: Option<String>,
        /// Whether a session that works may be given up for it.
        confirmed: bool,
    },
    /// `POST /v1/rotate` → [`wire::RotateAccepted`], or [`wire::CheckReport`] for a dry run.
    Rotate {
        /// Only try what can be tried.
        dry_run: bool,
    },
    /// `POST /v1/reload` → [`wire::Accepted`].
    Reload,
    /// `POST /v1/connect` → [`wire::Accepted`].
    Connect,
    /// `POST /v1/disconnect` → [`wire::Accepted`].
    Disconnect,
    /// `POST /v1/adopt` → [`wire::Accepted`].
    Adopt,
    /// `PATCH /v1/rotation` → [`wire::Accepted`].
    Patch(RotationPatch),
    /// `GET /v1/check` → [`wire::CheckReport`].
    Check,
    /// `GET /v1/history` → an array of [`wire::HistoryEntry`], the oldest first.
    History,
}

/// Who is at the other end of a connection, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Process id when it connected; for the log only.
    pub pid: i32,
}

impl Order {
    /// Answers the order; a peer that has gone is no error.
    pub fn answer<T: Serialize>(self, answer: Result<T, Problem>) {
        let answer = answer.and_then(|value| {
            serde_json::to_value(value).map_err(|_| {
                Problem::internal(
                    "the answer could not be written as JSON",
                    "report this as a fault of certrotd",
                )
            })
        });
        let _ = self.reply.send(answer);
    }
}
