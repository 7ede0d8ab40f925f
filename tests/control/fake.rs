//! A daemon of which only the control socket is real: its status is a value, its engine a closure.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use certrotd::control::client::Client;
use certrotd::control::messages::Inbox;
use certrotd::control::server::serve_as;
use certrotd::control::wire::{
    self, Certificate, Event, EventKind, EventResult, Heard, Problem, Status, Time,
};
use certrotd::control::{Application, Backend, Feed, Limits, Order, Peer, Socket, What, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

/// 2026-11-24 10:00:00 UTC: the fake's present.
pub const NOW: i64 = 1_795_514_400;

pub struct Fake {
    pub directory: Arc<tempfile::TempDir>,
    pub socket: PathBuf,
    pub status: watch::Sender<Arc<Status>>,
    pub feed: Feed,
    pub operators: watch::Sender<Arc<BTreeSet<u32>>>,
    pub users: watch::Sender<Arc<BTreeSet<u32>>>,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
}

type PeerOf = fn(&UnixStream) -> io::Result<Peer>;

impl Fake {
    /// A fake with an engine that answers everything, and this process's user as its operator.
    pub async fn start() -> Fake {
        Fake::with(Limits::default(), answer, None).await
    }

    pub async fn with(
        limits: Limits,
        engine: impl FnMut(Order) + Send + 'static,
        peer_of: Option<PeerOf>,
    ) -> Fake {
        let directory = Arc::new(tempfile::tempdir().expect("a directory of our own"));
        let socket = directory.path().join("control.sock");
        Fake::at(directory, &socket, limits, engine, peer_of, Time::from_seconds(NOW - 1)).await
    }

    pub async fn at(
        directory: Arc<tempfile::TempDir>,
        socket: &Path,
        limits: Limits,
        mut engine: impl FnMut(Order) + Send + 'static,
        peer_of: Option<PeerOf>,
        born: Time,
    ) -> Fake {
        let (status, statuses) = watch::channel(Arc::new(steady()));
        let (orders, mut ordered) = mpsc::channel(4);
        let (operators, operating) = watch::channel(Arc::new(BTreeSet::from([own_uid()])));
        let (users, using) = watch::channel(Arc::new(BTreeSet::new()));
        let (messages, mut asked) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel();
        let feed = Feed::new(born);
        let backend = Backend {
            status: statuses,
            events: feed.clone(),
            orders,
            metrics: Arc::new(|| "certrotd_up 1\n".to_owned()),
            hooks: Arc::new(wire::Hooks::default),
            now: Arc::new(|| Time::from_seconds(NOW)),
            operators: operating,
            users: using,
            messages,
        };
        let bound = Socket::bind(socket, 0o666).await.expect("the path is free");
        let stopped = async {
            let _ = stopped.await;
        };
        let server = match peer_of {
            Some(peer_of) => tokio::spawn(serve_as(bound, backend, limits, stopped, peer_of)),
            None => tokio::spawn(serve(bound, backend, limits, stopped)),
        };
        tokio::spawn(async move {
            while let Some(order) = ordered.recv().await {
                engine(order);
            }
        });
        tokio::spawn(async move {
            let mut post = Post::default();
            while let Some(what) = asked.recv().await {
                post.take(what);
            }
        });
        Fake { directory, socket: socket.to_owned(), status, feed, operators, users, stop, server }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    pub async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.socket).await.expect("the server listens")
    }

    /// Sends a request as it is and returns everything that comes until the end.
    pub async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.expect("the server reads");
        rest(&mut stream).await
    }

    /// Sends a request with this method and body to this path and returns status and body.
    pub async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let answer = self
            .raw(&format!(
                "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        split(&answer)
    }

    /// The same, for a refusal.
    pub async fn refused(&self, method: &str, path: &str, body: &str) -> Problem {
        let (status, text) = self.ask(method, path, body).await;
        problem(status, &text)
    }

    /// Ends the server in order.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.server.await.expect("the server ends");
    }
}

/// Everything that comes until the end, or until the connection is reset.
pub async fn rest(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).expect("text")
}

pub fn split(answer: &str) -> (u16, String) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
    (status, body.to_owned())
}

/// A refusal is a whole problem document whose status is the answer's.
pub fn problem(status: u16, text: &str) -> Problem {
    let problem: Problem = serde_json::from_str(text).unwrap_or_else(|e| panic!("{status} {text:?}: {e}"));
    assert_eq!(problem.status, status);
    assert!(
        !problem.title.is_empty() && !problem.detail.is_empty() && !problem.remedy.is_empty(),
        "{problem:?}"
    );
    assert_eq!(*problem.kind, *format!("tag:certrotd,2026:{}", problem.code));
    problem
}

pub fn steady() -> Status {
    Status {
        version: "0.1.0".into(),
        state: wire::State::Steady,
        since: Time::from_seconds(NOW - 60),
        why: "nothing to do until the next rotation".into(),
        thing_name: Some("SN-0001".into()),
        serial: Some("SN-0001".into()),
        connected: true,
        certificate: Some(Certificate {
            id: "ab".repeat(32),
            not_before: Time::from_seconds(NOW - 86_400),
            not_after: Time::from_seconds(2_524_607_999),
            key_type: "ecdsa-p256".into(),
            generation: 7,
        }),
        clock: wire::Clock { trusted: true, text: None },
        rotation: wire::Rotation {
            enabled: true,
            due_at: Some(Time::from_seconds(NOW - 30)),
            ..wire::Rotation::default()
        },
        ..Status::default()
    }
}

/// The engine that says what it was asked.
pub fn answer(order: Order) {
    let said = format!("{:?}", order.what);
    match order.what {
        What::Check | What::Rotate { dry_run: true } => {
            order.answer(Ok(json!({"steps": [{"name": "dns", "result": "ok", "detail": said}]})));
        }
        What::History => order.answer(Ok(json!([{"kind": "provisioned", "text": said}]))),
        _ => order.answer(Ok(json!({ "text": said }))),
    }
}

/// The post office that hands every message to every subscriber. A few topics mean something.
#[derive(Default)]
struct Post {
    inboxes: Vec<Inbox>,
}

impl Post {
    fn take(&mut self, what: Application) {
        match what {
            Application::Publish(publish) if publish.topic == "silence" => drop(publish.reply),
            Application::Publish(publish) if publish.topic == "end" => {
                for inbox in self.inboxes.drain(..) {
                    inbox.word(Heard::Ended(Problem::forbidden("no more", "none")));
                }
                let _ = publish.reply.send(Ok(wire::Published::default()));
            }
            Application::Publish(publish) => {
                let (topic, bytes) = (publish.topic, publish.payload.len());
                let message = wire::Message {
                    time: Time::from_seconds(NOW),
                    topic: topic.clone(),
                    ..wire::Message::default()
                };
                let message = Arc::new(message.with(publish.payload.to_vec()));
                for inbox in &mut self.inboxes {
                    inbox.offer(&message, bytes);
                }
                let millis = u64::try_from(publish.patience.as_millis()).unwrap_or(0);
                let _ = publish.reply.send(Ok(wire::Published { topic, bytes, millis }));
            }
            Application::Subscribe(subscribe) if subscribe.filter == "closed" => {
                let _ = subscribe.reply.send(Err(Problem::forbidden("it is closed", "another")));
            }
            Application::Subscribe(subscribe) => {
                let _ = subscribe.reply.send(Ok(()));
                subscribe.inbox.word(Heard::Subscribed { filter: subscribe.filter });
                self.inboxes.push(subscribe.inbox);
            }
            Application::Left => self.inboxes.retain(|inbox| !inbox.is_closed()),
        }
    }
}

pub fn step(operation: u64, step: &str, result: EventResult) -> Event {
    Event::new(Time::from_seconds(NOW), EventKind::RotationStep).operation(operation).step(step, result)
}

pub fn done(operation: u64, result: EventResult, text: &str) -> Event {
    let mut event =
        Event::new(Time::from_seconds(NOW + 1), EventKind::RotationDone).operation(operation).text(text);
    event.result = Some(result);
    event
}

pub fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

pub fn text_of(value: &Value) -> &str {
    value["text"].as_str().expect("an answer in words")
}
