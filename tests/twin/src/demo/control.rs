//! A small HTTP client for the daemon's control socket and the twin's REST, and a reader of the daemon's events.
//!
//! HTTP/1.0: the server closes after its answer and never sends chunks, so an answer is what comes until the end.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; `null` where it is no JSON.
    pub body: Value,
}

/// Asks the daemon.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream, method, path, body)
}

/// Asks the twin's REST.
pub fn ask_twin(port: u16, method: &str, path: &str) -> io::Result<Answer> {
    let stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    exchange(stream, method, path, "")
}

fn exchange(mut stream: impl Read + Write, method: &str, path: &str, body: &str) -> io::Result<Answer> {
    send(&mut stream, method, path, body)?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is no HTTP"))
}

fn send(stream: &mut impl Write, method: &str, path: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: certrotd\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes())
}

fn parse(text: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(text).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: serde_json::from_str(body).unwrap_or(Value::Null) })
}

/// An event of the daemon, as far as it is looked at here.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct DaemonEvent {
    /// RFC 3339.
    time: String,
    /// `provision`, `rotation-step`, `session`, `retire` …
    pub kind: String,
    /// `claim`, `issue`, `register`, `prove`, `switch`, `retire` …
    pub step: Option<String>,
    /// `started`, `ok`, `failed`, `retry`.
    pub result: Option<String>,
    /// In words.
    pub text: String,
}

impl DaemonEvent {
    /// When it happened, in milliseconds since the epoch.
    pub fn at_ms(&self) -> i64 {
        self.time.parse::<jiff::Timestamp>().map_or(0, |t| t.as_millisecond())
    }

    /// Says whether it is that step with that result.
    pub fn is(&self, step: &str, result: &str) -> bool {
        self.step.as_deref() == Some(step) && self.result.as_deref() == Some(result)
    }
}

/// The daemon's events, read on a thread of its own from the first one on.
#[derive(Clone, Default)]
pub struct Feed {
    events: Arc<Mutex<Vec<DaemonEvent>>>,
    stream: Option<Arc<UnixStream>>,
}

impl Feed {
    /// Reads from the socket until the daemon closes it.
    pub fn open(socket: &Path) -> io::Result<Self> {
        let mut stream = UnixStream::connect(socket)?;
        // An id of before its start: everything that it still keeps comes first.
        let request = "GET /v1/events HTTP/1.0\r\nHost: certrotd\r\nLast-Event-ID: 1\r\n\r\n";
        stream.write_all(request.as_bytes())?;
        let feed = Self { stream: Some(Arc::new(stream.try_clone()?)), ..Self::default() };
        let kept = feed.clone();
        let read = move || kept.read(BufReader::new(stream));
        std::thread::Builder::new().name("events".into()).spawn(read)?;
        Ok(feed)
    }

    /// Reads no further; the daemon has one reader less.
    pub fn close(&self) {
        if let Some(stream) = &self.stream {
            let _ended = stream.shutdown(std::net::Shutdown::Both);
        }
    }

    fn read(&self, stream: impl BufRead) {
        for line in stream.lines() {
            let Ok(line) = line else { return };
            if let Some(event) = line.strip_prefix("data: ").and_then(|d| serde_json::from_str(d).ok()) {
                self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            }
        }
    }

    /// How many have come.
    pub fn len(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Says whether none has come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first one from number `since` on that `wanted` accepts.
    pub fn find(&self, since: usize, wanted: impl Fn(&DaemonEvent) -> bool) -> Option<DaemonEvent> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().skip(since).find(|e| wanted(e)).cloned()
    }
}

/// How long an answer may take; a check opens connections of its own.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_its_json() {
        let answer = parse(b"HTTP/1.0 409 Conflict\r\na: b\r\n\r\n{\"title\":\"no\"}\n").unwrap();
        assert_eq!((answer.status, answer.body["title"].as_str()), (409, Some("no")));
        assert!(parse(b"SSH-2.0\r\n\r\n").is_none());
    }

    #[test]
    fn events_are_read_past_comments_and_words_of_a_newer_daemon() {
        let feed = Feed::default();
        let text = "HTTP/1.0 200 OK\r\n\r\nid: 7\n: certrotd\n\nid: 8\nevent: provision\ndata: \
                    {\"time\":\"1970-01-01T00:00:01.5Z\",\"kind\":\"provision\",\"step\":\"issue\",\
                    \"result\":\"ok\",\"new\":1}\n\n: alive\n\n";
        feed.read(text.as_bytes());
        let event = feed.find(0, |e| e.is("issue", "ok")).unwrap();
        assert_eq!((event.at_ms(), feed.len()), (1500, 1));
        assert!(feed.find(1, |_| true).is_none());
    }
}
