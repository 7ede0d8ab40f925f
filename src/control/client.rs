//! The other end of the control socket: a small HTTP/1.1 client that tells its failures apart.
//!
//! One connection for each request; nothing waits without a deadline. What went wrong decides the exit code of
//! `certrotctl`, so every failure is its own variant.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::sse;
use super::wire::{Event, Heard, Problem};

/// A way to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    patience: Duration,
}

impl Client {
    /// A client of the daemon at that socket; nothing is opened yet.
    pub fn new(socket: &Path) -> Client {
        Client { socket: socket.to_owned(), patience: PATIENCE }
    }

    /// The same with another time for each request.
    pub fn with_patience(mut self, patience: Duration) -> Client {
        self.patience = patience;
        self
    }

    /// Reads a path.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// Orders something.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Changes something.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    /// Follows the events, from after the one with that id, or from now on.
    pub async fn events(&self, after: Option<u64>) -> Result<Events, ClientError> {
        let response = timeout(self.patience, self.send(Method::GET, "/v1/events", None, after))
            .await
            .map_err(|_| self.too_slow())??;
        self.stream(response, after).await
    }

    /// Subscribes to messages within a filter.
    pub async fn messages(&self, filter: &str) -> Result<Events, ClientError> {
        let path = format!("/v1/subscribe?filter={}", encoded(filter));
        let response = timeout(self.patience, self.send(Method::GET, &path, None, None))
            .await
            .map_err(|_| self.too_slow())??;
        self.stream(response, None).await
    }

    async fn stream(&self, response: Response<Incoming>, after: Option<u64>) -> Result<Events, ClientError> {
        if response.status() != StatusCode::OK {
            return Err(self.refusal(response).await);
        }
        let reader = sse::Reader::default();
        Ok(Events { body: response.into_body(), reader, ready: VecDeque::new(), after })
    }

    /// Passes a request on and its answer back, refusals and streams too; nothing of it is read here.
    pub async fn relay(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        after: Option<u64>,
    ) -> Result<Response<Incoming>, ClientError> {
        let sent = timeout(self.patience, self.send(method, path, body, after)).await;
        sent.map_err(|_| self.too_slow())?
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, ClientError> {
        let asked = async {
            let response = self.send(method, path, body, None).await?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            parse(&read(response).await?)
        };
        timeout(self.patience, asked).await.map_err(|_| self.too_slow())?
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        after: Option<u64>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| self.unreachable(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken_off)?;
        tokio::spawn(connection); // ends with the response's body, or when it is dropped

        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "certrotd");
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| ClientError::Malformed { what: "the request's path" })?;
        sender.send_request(request).await.map_err(broken_off)
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status = response.status().as_u16();
        let problem = match read(response).await {
            Ok(bytes) => parse::<Problem>(&bytes),
            Err(error) => return error,
        };
        match problem {
            Ok(problem) if problem.status == status => ClientError::Refused(Box::new(problem)),
            Ok(_) | Err(_) => ClientError::Malformed { what: "a refusal that is no problem document" },
        }
    }

    fn unreachable(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ClientError::Missing { socket },
            io::ErrorKind::ConnectionRefused => ClientError::NobodyListens { socket },
            io::ErrorKind::PermissionDenied => ClientError::NotPermitted { socket },
            io::ErrorKind::WouldBlock => ClientError::BrokenOff,
            _ => ClientError::Connect { socket, source },
        }
    }

    fn too_slow(&self) -> ClientError {
        ClientError::TooSlow { seconds: self.patience.as_secs() }
    }
}

/// A stream of events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    reader: sse::Reader,
    ready: VecDeque<String>,
    after: Option<u64>,
}

impl Events {
    /// The next event, as it came and as we read it; fails when the stream broke off or was silent for too long.
    pub async fn next(&mut self) -> Result<(Value, Event), ClientError> {
        self.next_as().await
    }

    /// The same of a stream of messages.
    pub async fn heard(&mut self) -> Result<(Value, Heard), ClientError> {
        self.next_as().await
    }

    async fn next_as<T: DeserializeOwned>(&mut self) -> Result<(Value, T), ClientError> {
        loop {
            if let Some(data) = self.ready.pop_front() {
                return Ok((parse(data.as_bytes())?, parse(data.as_bytes())?));
            }
            let frame = timeout(SILENCE, self.body.frame())
                .await
                .map_err(|_| ClientError::TooSlow { seconds: SILENCE.as_secs() })?;
            let frame = frame.ok_or(ClientError::BrokenOff)?.map_err(broken_off)?;
            if let Some(bytes) = frame.data_ref() {
                let events = self
                    .reader
                    .feed(bytes)
                    .map_err(|_| ClientError::Malformed { what: "an event without end" })?;
                self.ready.extend(events);
            }
        }
    }

    /// The id to come back with: nothing that was sent after it has been seen.
    pub fn last_id(&self) -> Option<u64> {
        self.reader.last_id().or(self.after)
    }
}

/// Why a request had no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is no socket.
    #[error("there is no control socket {}: certrotd is not running", socket.display())]
    Missing {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket is left over.
    #[error("nobody listens at the control socket {}: certrotd is not running", socket.display())]
    NobodyListens {
        /// The socket.
        socket: PathBuf,
    },
    /// The socket's mode, or a directory's, keeps us out.
    #[error("this user may not connect to the control socket {}", socket.display())]
    NotPermitted {
        /// The socket.
        socket: PathBuf,
    },
    /// Another refusal of the system.
    #[error("connecting to the control socket {}", socket.display())]
    Connect {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("certrotd did not answer within {seconds} seconds")]
    TooSlow {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The connection ended before the answer.
    #[error("certrotd closed the connection before it had answered")]
    BrokenOff,
    /// The answer is not what the contract says.
    #[error("certrotd answered what this certrotctl does not understand: {what}")]
    Malformed {
        /// What was wrong with it.
        what: &'static str,
    },
    /// It answered with a problem document.
    #[error("{0}")]
    Refused(Box<Problem>),
}

impl ClientError {
    /// What clears it.
    pub fn remedy(&self) -> &str {
        match self {
            ClientError::Missing { .. } | ClientError::NobodyListens { .. } => {
                "start it (systemctl start certrotd), or name its socket with --socket"
            }
            ClientError::NotPermitted { .. } => "run it as root, or join the group that owns the socket",
            ClientError::Connect { .. } => "see that --socket names certrotd's control socket",
            ClientError::TooSlow { .. } => "try again; if it stays so, see journalctl -u certrotd",
            ClientError::BrokenOff => "it is stopping or has too many connections: try again",
            ClientError::Malformed { .. } => "use the certrotctl of the same version as certrotd",
            ClientError::Refused(problem) => &problem.remedy,
        }
    }

    /// Whether a daemon that is starting, stopping or busy explains it.
    pub fn may_pass(&self) -> bool {
        match self {
            ClientError::Missing { .. }
            | ClientError::NobodyListens { .. }
            | ClientError::Connect { .. }
            | ClientError::TooSlow { .. }
            | ClientError::BrokenOff => true,
            ClientError::NotPermitted { .. } | ClientError::Malformed { .. } => false,
            ClientError::Refused(problem) => problem.status == 503,
        }
    }
}

/// Percent-encodes all but unreserved characters (RFC 3986, section 2.3).
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

fn broken_off(_: hyper::Error) -> ClientError {
    ClientError::BrokenOff
}

async fn read(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    match Limited::new(response.into_body(), LARGEST_ANSWER).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(ClientError::Malformed { what: "an answer without end" })
        }
        Err(_) => Err(ClientError::BrokenOff),
    }
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(bytes).map_err(|_| ClientError::Malformed { what: "JSON of another shape" })
}

/// For a request; longer than the server's own time for an answer, so that its reason is what is seen.
const PATIENCE: Duration = Duration::from_secs(15);
/// For a stream of events; the server breaks its silence every 15 seconds.
const SILENCE: Duration = Duration::from_secs(60);
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
