//! Targets that need something that lives: a session, the control socket's server, the twin's broker. Each gets the bytes
//! over a stream in memory (the control socket: a real one) and must come to its end on them.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Once, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use certrot_twin::broker::connection;
use certrot_twin::cloud::Cloud;
use certrotd::cloud::session::connect_over;
use certrotd::cloud::{ClientIdentity, Operation, Options, Session, SessionEvent, Target};
use certrotd::control::server::serve_as;
use certrotd::control::wire::{Hooks, Published, Status, Time};
use certrotd::control::{Application, Backend, Feed, Limits, Order, Peer, Socket, What};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

/// What a broker sends to the daemon's session, which has a message on its way, a subscription and a request.
pub fn session(bytes: &[u8]) {
    watched(|| {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let bytes = bytes.to_vec();
        runtime.block_on(async {
            timeout(HOUR, talk(bytes)).await.expect("a session whose broker is silent ends");
        });
    });
}

async fn talk(bytes: Vec<u8>) {
    let (ours, theirs) = duplex(64 * 1024);
    let broker = tokio::spawn(send(theirs, bytes));
    let (events, mut heard) = mpsc::channel(8);
    match connect_over(ours, options(), Instant::now() + Duration::from_secs(5), events).await {
        Ok((session, _)) => {
            let (mut told, ()) = tokio::join!(hear(&mut heard), ask(&session));
            assert!(session.granted() <= 3);
            assert_eq!(told.pop(), Some("closed"), "{told:?}");
            told.sort_unstable();
            told.dedup_by(|a, b| a == b && *a == "message");
            assert!(told.windows(2).all(|two| two[0] != two[1]), "told twice: {told:?}");
        }
        Err(failure) => {
            let _ = failure.cause.remedy();
            assert!(failure.to_string().len() < 4096);
        }
    }
    broker.abort();
}

/// The broker's side: CONNACK's four bytes, then the rest in small pieces, whatever the client says; then its end.
async fn send(stream: DuplexStream, bytes: Vec<u8>) {
    let (mut reader, mut writer) = split(stream);
    let sink = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    let (head, rest) = bytes.split_at(bytes.len().min(4));
    for piece in std::iter::once(head).chain(rest.chunks(48)) {
        if writer.write_all(piece).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(1)).await;
    let _ = writer.shutdown().await;
    sleep(HOUR).await;
    sink.abort();
}

async fn ask(session: &Session) {
    let _ = session.hand_over(1, "device/SN-1/data", Bytes::from_static(b"hello"));
    let _ = session.ask_for(2, vec!["device/SN-1/#".to_owned()]);
    let operation = Operation::create_from_csr();
    let asked = session.request(&operation, Zeroizing::new(b"{}".to_vec()), Duration::from_secs(3));
    if let Err(error) = asked.await {
        let _ = error.remedy();
    }
    session.closed().await;
}

async fn hear(heard: &mut mpsc::Receiver<SessionEvent>) -> Vec<&'static str> {
    let mut told = Vec::new();
    loop {
        told.push(match heard.recv().await.expect("the end is told") {
            SessionEvent::Message { topic, .. } => {
                assert!(topic.len() <= 65_535);
                "message"
            }
            SessionEvent::Gap { lost } => {
                assert!(lost > 0);
                "message"
            }
            SessionEvent::Acknowledged(id) => {
                assert_eq!(id, 1);
                "acknowledged"
            }
            SessionEvent::Answered { id, refused } => {
                assert!(id == 2 && refused.len() <= 1);
                "answered"
            }
            SessionEvent::Closed(_) => {
                told.push("closed");
                return told;
            }
        });
    }
}

fn options() -> &'static Options {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = pair.signing_key.serialize_der().try_into().unwrap();
        let clock = Arc::new(|| 1_795_900_000);
        let root = pair.cert.pem();
        Options {
            target: Target::new("localhost", 8883),
            identity: ClientIdentity::new(root.as_bytes(), vec![pair.cert.der().clone()], &key, clock)
                .unwrap(),
            client_id: "SN-1".to_owned(),
            clean_session: false,
            keep_alive: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(5),
        }
    })
}

/// What a peer writes to the control socket: a stranger's bytes change nothing, nobody's are answered by 500.
pub fn requests(bytes: &[u8]) {
    thread_local! {
        static SERVER: Server = Server::start();
    }
    watched(|| {
        SERVER.with(|server| {
            let before = ASKED.load(Ordering::Relaxed);
            server.ask(STRANGER, bytes);
            assert_eq!(ASKED.load(Ordering::Relaxed), before, "a stranger changes nothing");
            server.ask(OPERATOR, bytes);
        });
    });
}

struct Server {
    runtime: Runtime,
    socket: PathBuf,
    _directory: tempfile::TempDir,
    _status: watch::Sender<Arc<Status>>,
    _users: [watch::Sender<Arc<BTreeSet<u32>>>; 2],
}

impl Server {
    fn start() -> Server {
        // A peer that has gone is an error to be told, as in a program with a main of its own.
        signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default()).unwrap();
        let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let (status, statuses) = watch::channel(Arc::new(Status::default()));
        let (operating, operators) = watch::channel(Arc::new(BTreeSet::from([OPERATOR])));
        let (using, users) = watch::channel(Arc::new(BTreeSet::new()));
        let (orders, mut ordered) = mpsc::channel::<Order>(4);
        let (messages, mut asked) = mpsc::channel(4);
        let now = Time::from_seconds(1_795_900_000);
        let backend = Backend {
            status: statuses,
            events: Feed::new(now),
            orders,
            metrics: Arc::new(|| "certrotd_up 1\n".to_owned()),
            hooks: Arc::new(Hooks::default),
            now: Arc::new(move || now),
            operators,
            users,
            messages,
        };
        runtime.block_on(async {
            let bound = Socket::bind(&socket, 0o600).await.unwrap();
            let peer_of = |_: &UnixStream| Ok(Peer { uid: PEER.load(Ordering::Relaxed), pid: 1 });
            tokio::spawn(serve_as(bound, backend, Limits::default(), std::future::pending(), peer_of));
            tokio::spawn(async move {
                while let Some(order) = ordered.recv().await {
                    // Whoever can connect may read.
                    if !matches!(order.what, What::History | What::Check) {
                        ASKED.fetch_add(1, Ordering::Relaxed);
                    }
                    let said = format!("{:?}", order.what);
                    order.answer(Ok(said));
                }
            });
            tokio::spawn(async move {
                while let Some(application) = asked.recv().await {
                    let _gone = match application {
                        Application::Publish(publish) => {
                            publish.reply.send(Ok(Published::default())).is_err()
                        }
                        Application::Subscribe(subscribe) => subscribe.reply.send(Ok(())).is_err(),
                        Application::Left => continue,
                    };
                    ASKED.fetch_add(1, Ordering::Relaxed);
                }
            });
        });
        Server { runtime, socket, _directory: directory, _status: status, _users: [operating, using] }
    }

    /// Sends the bytes as this user, and reads until nothing more comes.
    fn ask(&self, uid: u32, bytes: &[u8]) {
        PEER.store(uid, Ordering::Relaxed);
        self.runtime.block_on(async {
            let stream = UnixStream::connect(&self.socket).await.expect("there is a place");
            let (mut reader, mut writer) = stream.into_split();
            let sent = async {
                for piece in bytes.chunks(512) {
                    if writer.write_all(piece).await.is_err() {
                        return;
                    }
                }
            };
            let mut answer = Vec::new();
            let heard = async {
                let mut buffer = [0; 4096];
                while let Ok(Ok(n @ 1..)) =
                    timeout(Duration::from_millis(100), reader.read(&mut buffer)).await
                {
                    answer.extend_from_slice(&buffer[..n]);
                }
            };
            tokio::join!(sent, heard);
            let first = answer.split(|b| *b == b'\n').next().unwrap_or_default();
            assert!(answer.is_empty() || first.starts_with(b"HTTP/1."), "{}", answer.escape_ascii());
            assert!(!first[8.min(first.len())..].starts_with(b" 500"), "{}", answer.escape_ascii());
            drop((reader, writer));
            // The server sees the end before the next one comes.
            sleep(Duration::from_millis(10)).await;
        });
    }
}

/// What a client sends to the twin, over a stream whose other end has shown a device's certificate.
pub fn broker(bytes: &[u8]) {
    thread_local! {
        static TWIN: RefCell<Option<Lab>> = const { RefCell::new(None) };
    }
    watched(|| {
        TWIN.with_borrow_mut(|lab| {
            if lab.as_ref().is_none_or(|lab| lab.cloud.events.len() > MANY_EVENTS) {
                *lab = Some(Lab::new());
            }
            lab.as_ref().unwrap().talk(bytes);
        });
    });
}

struct Lab {
    runtime: Runtime,
    cloud: Arc<Cloud>,
    principal: String,
    _directory: tempfile::TempDir,
}

impl Lab {
    fn new() -> Lab {
        let directory = tempfile::tempdir().unwrap();
        let cloud = Cloud::open(certrot_twin::Options::new(directory.path())).unwrap();
        let principal = cloud.issue("SN-1").unwrap().id;
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Lab { runtime, cloud: Arc::new(cloud), principal, _directory: directory }
    }

    fn talk(&self, bytes: &[u8]) {
        self.runtime.block_on(async {
            let (ours, theirs) = duplex(64 * 1024);
            let (cloud, principal) = (self.cloud.clone(), self.principal.clone());
            let peer = tokio::spawn(connection::run_over(cloud, Box::new(theirs), principal, None));
            let (mut reader, mut writer) = split(ours);
            let sent = async {
                let _closed = writer.write_all(bytes).await;
                let _closed = writer.shutdown().await;
            };
            let sink = async {
                let _closed = tokio::io::copy(&mut reader, &mut tokio::io::sink()).await;
            };
            let both = async { tokio::join!(sent, sink) };
            timeout(Duration::from_secs(20), both).await.expect("the twin lets go");
            peer.await.expect("the connection ends without a panic");
            assert!(self.cloud.sessions(|s| s.connected().is_empty()), "nobody is there any more");
        });
    }
}

/// Runs it, and fails where a task of it panicked: the runtime would keep that to itself.
fn watched(work: impl FnOnce()) {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.fetch_add(1, Ordering::Relaxed);
            before(info);
        }));
    });
    let before = PANICS.load(Ordering::Relaxed);
    work();
    assert_eq!(PANICS.load(Ordering::Relaxed), before, "a task panicked");
}

static PEER: AtomicU32 = AtomicU32::new(0);
/// Orders and messages that got through to the engine.
static ASKED: AtomicUsize = AtomicUsize::new(0);
const STRANGER: u32 = 1001;
const OPERATOR: u32 = 1000;
const HOUR: Duration = Duration::from_secs(3_600);
/// The twin keeps every event.
const MANY_EVENTS: usize = 20_000;
