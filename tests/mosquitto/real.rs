//! Against a real mosquitto over mutual TLS.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use certrotd::cloud::{
    Cause, ClientIdentity, NotTaken, Operation, Options, ProofFailure, RequestError, Session, SessionEvent,
    Target, Times, connect, probe_tls, prove,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::broker::{Mosquitto, Tls};
use crate::pki::{Authority, identity, identity_at};

const LONG: Duration = Duration::from_secs(10);

fn options(port: u16, identity: ClientIdentity, client_id: &str) -> Options {
    Options {
        target: Target::new("localhost", port),
        identity,
        client_id: client_id.to_owned(),
        clean_session: false,
        keep_alive: Duration::from_secs(30),
        connect_timeout: LONG,
    }
}

async fn join(options: &Options) -> (Session, mpsc::Receiver<SessionEvent>) {
    let (events, receiver) = mpsc::channel(256);
    let (session, _) = connect(options, events).await.unwrap();
    (session, receiver)
}

/// Answers every CSR with `rejected`, as the cloud does to one that is none.
async fn cloud(broker: &Mosquitto, authority: &Authority) -> tokio::task::JoinHandle<()> {
    let (session, mut events) =
        join(&options(broker.port, identity(authority, &authority.device("cloud")), "cloud")).await;
    let operation = Operation::create_from_csr();
    session.subscribe(&[operation.request().to_owned()], LONG).await.unwrap();
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            if let SessionEvent::Message { .. } = event {
                let refusal = br#"{"statusCode":400,"errorCode":"InvalidCsr","errorMessage":""}"#;
                session.hand_over(1, operation.rejected(), refusal.as_slice().into()).unwrap();
            }
        }
    })
}

#[tokio::test]
async fn a_session_is_proved_and_carries_messages_over_tls_1_2_and_1_3() {
    for (tls, name) in [(Tls::V12, "TLS 1.2"), (Tls::V13, "TLS 1.3")] {
        let authority = Authority::new("ca");
        let broker = Mosquitto::start(&authority, tls);
        let cloud = cloud(&broker, &authority).await;
        let options = options(broker.port, identity(&authority, &authority.device("device")), "dev");
        let began = Instant::now();
        let facts = probe_tls(&options.target, &options.identity, LONG).await.unwrap();
        assert_eq!(facts.tls, name);
        let Times { dns, tcp, tls } = facts.times;
        assert!(dns + tcp + tls <= began.elapsed(), "each part counts its own time: {:?}", facts.times);
        let (session, mut events) = join(&options).await;
        let answers = Operation::create_from_csr().answers();
        prove(&session, &["device/dev/#".to_owned()], &answers, LONG).await.unwrap();
        session.hand_over(1, "device/dev/hello", b"world".as_slice().into()).unwrap();
        // The largest that AWS takes, both ways.
        session.hand_over(2, "device/dev/big", vec![1; 128 * 1024].into()).unwrap();
        session.ask_for(3, vec!["device/dev/+".to_owned()]).unwrap();
        let (mut came, mut answered) = (BTreeMap::new(), BTreeSet::new());
        while came.len() < 2 || answered.len() < 3 {
            match timeout(LONG, events.recv()).await.expect("an event") {
                Some(SessionEvent::Message { topic, payload, .. }) => {
                    came.insert(topic, payload.to_vec());
                }
                Some(SessionEvent::Acknowledged(id)) => assert!(answered.insert(id)),
                Some(SessionEvent::Answered { id, refused }) => {
                    assert_eq!(refused, [""; 0]);
                    answered.insert(id);
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(came["device/dev/hello"], b"world");
        assert_eq!(came["device/dev/big"].len(), 131_072);
        session.disconnect(LONG).await;
        assert_eq!(events.recv().await, Some(SessionEvent::Closed(Cause::Ended)));
        cloud.abort();
    }
}

#[tokio::test]
async fn a_certificate_that_may_not_ask_fails_the_proof_though_it_connects_and_subscribes_rule_7() {
    let authority = Authority::new("ca");
    let broker = Mosquitto::start(&authority, Tls::V13);
    let cloud = cloud(&broker, &authority).await;
    let (session, _events) =
        join(&options(broker.port, identity(&authority, &authority.device("nobody")), "nobody")).await;
    let answers = Operation::create_from_csr().answers();
    let result = prove(&session, &["device/nobody/#".to_owned()], &answers, LONG).await;
    // Like AWS, mosquitto 2.0 closes on a publish that is not allowed; other brokers drop it in silence.
    assert!(
        matches!(
            result,
            Err(ProofFailure::Ask(RequestError::Closed { sent: true, .. } | RequestError::NoAnswer { .. }))
        ),
        "{result:?}"
    );
    cloud.abort();
}

#[tokio::test]
async fn a_client_certificate_of_another_authority_is_an_alert_after_the_server_was_verified_rule_19() {
    for tls in [Tls::V12, Tls::V13] {
        let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
        let broker = Mosquitto::start(&authority, tls);
        let options = options(broker.port, identity(&authority, &stranger.device("device")), "dev");
        let failure = connect(&options, mpsc::channel(1).0).await.err().unwrap();
        assert!(matches!(failure.cause, Cause::TlsAlert { .. }), "{tls:?}: {failure:?}");
        assert!(failure.is_refusal() && !failure.old_session_may_be_gone(), "{tls:?}: {failure:?}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_name_or_time_is_untrusted_and_never_a_refusal() {
    let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
    let broker = Mosquitto::start(&authority, Tls::V13);
    let device = authority.device("device");
    let attempt = async |options: &Options| {
        let failure = connect(options, mpsc::channel(1).0).await.err().unwrap();
        assert!(matches!(failure.cause, Cause::UntrustedServer { .. }), "{failure:?}");
        assert!(!failure.server_verified && !failure.connect_sent && !failure.is_refusal());
        failure.cause.to_string()
    };
    let wrong_ca = attempt(&options(broker.port, identity(&stranger, &device), "dev")).await;
    assert!(wrong_ca.contains("root CA"), "{wrong_ca}");

    let mut elsewhere = options(broker.port, identity(&authority, &device), "dev");
    elsewhere.target =
        Target { host: "other.example".into(), port: broker.port, dial: Some("localhost".into()) };
    let wrong_name = attempt(&elsewhere).await;
    assert!(wrong_name.contains("another name"), "{wrong_name}");

    let early = attempt(&options(broker.port, identity_at(&authority, &device, Arc::new(|| 0)), "dev")).await;
    assert!(early.is_empty() || early.contains("clock"), "{early}");
}

/// rcgen's certificates begin in 1975, so a clock at 1970 is before them; a floor above goes on.
#[tokio::test]
async fn a_clock_at_1970_goes_on_with_a_floor_and_follows_it_without_a_new_identity_rule_26() {
    let authority = Authority::new("ca");
    let broker = Mosquitto::start(&authority, Tls::V13);
    let now = Arc::new(AtomicU64::new(0));
    let clock = Arc::clone(&now);
    let identity =
        identity_at(&authority, &authority.device("device"), Arc::new(move || clock.load(Ordering::SeqCst)));
    let options = options(broker.port, identity, "dev");
    let failure = connect(&options, mpsc::channel(1).0).await.err().unwrap();
    assert!(failure.cause.to_string().contains("not valid yet by our clock"), "{failure}");
    now.store(1_780_000_000, Ordering::SeqCst);
    join(&options).await;
}

/// The floor may be older than the server's certificate: that alone is no reason to stay away for ever.
#[tokio::test]
async fn a_time_that_is_only_a_floor_does_not_refuse_a_server_certificate_that_is_newer_rule_26() {
    let authority = Authority::new("ca");
    let broker = Mosquitto::start(&authority, Tls::V13);
    let identity = identity_at(&authority, &authority.device("device"), Arc::new(|| 1_000));
    let strict = options(broker.port, identity.clone(), "dev");
    assert!(connect(&strict, mpsc::channel(1).0).await.is_err(), "a clock that is trusted is trusted");
    join(&options(broker.port, identity.with_floor_only(true), "dev")).await;
    let stranger = Authority::new("another");
    let elsewhere =
        identity_at(&stranger, &authority.device("device"), Arc::new(|| 1_000)).with_floor_only(true);
    assert!(
        connect(&options(broker.port, elsewhere, "dev"), mpsc::channel(1).0).await.is_err(),
        "the root still counts"
    );
}

#[tokio::test]
async fn a_port_where_nobody_listens_and_a_name_that_nobody_has_are_told_apart() {
    let authority = Authority::new("ca");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut options = options(port, identity(&authority, &authority.device("device")), "dev");
    let failure = connect(&options, mpsc::channel(1).0).await.err().unwrap();
    assert!(matches!(failure.cause, Cause::Refused { .. }), "{failure:?}");
    assert!(!failure.connect_sent && !failure.is_refusal());
    options.target.host = "no such host".into();
    let failure = connect(&options, mpsc::channel(1).0).await.err().unwrap();
    assert!(matches!(failure.cause, Cause::Dns { .. }), "{failure:?}");
}

#[tokio::test]
async fn a_broker_that_dies_ends_the_session_and_leaves_the_request_in_doubt() {
    let authority = Authority::new("ca");
    let mut broker = Mosquitto::start(&authority, Tls::V13);
    let (session, mut events) =
        join(&options(broker.port, identity(&authority, &authority.device("device")), "dev")).await;
    let operation = Operation::register("certrot-claim").unwrap();
    session.subscribe(&operation.answers(), LONG).await.unwrap();
    let death = async {
        sleep(Duration::from_millis(100)).await;
        broker.kill();
    };
    let (answer, ()) = tokio::join!(session.request(&operation, b"{}".to_vec().into(), LONG), death);
    assert!(matches!(answer, Err(RequestError::Closed { sent: true, .. })), "{answer:?}");
    assert_eq!(events.recv().await, Some(SessionEvent::Closed(Cause::Closed)));
    assert_eq!(session.hand_over(1, "device/dev/x", b"late".as_slice().into()), Err(NotTaken));
}

/// Rules 8 and 9: the successor takes the client id over while 100 messages a second flow each way.
#[tokio::test]
async fn ten_take_overs_under_traffic_lose_nothing_either_way() {
    const EACH: u64 = 300;
    let authority = Authority::new("ca");
    let broker = Mosquitto::start(&authority, Tls::V13);
    let pairs =
        [authority.device("device"), authority.device("device")].map(|pair| identity(&authority, &pair));
    let (far, far_events) =
        join(&options(broker.port, identity(&authority, &authority.device("cloud")), "cloud")).await;
    far.subscribe(&["device/dev/up".to_owned()], LONG).await.unwrap();
    let (far_received, received): (Numbers, Numbers) = Default::default();
    let far = Arc::new(Mutex::new(Flow { session: far, unacknowledged: BTreeMap::new() }));
    listen(far_events, &far_received, &far);

    let (first, events) = join(&options(broker.port, pairs[0].clone(), "dev")).await;
    first.subscribe(&["device/dev/down".to_owned()], LONG).await.unwrap();
    let near = Arc::new(Mutex::new(Flow { session: first, unacknowledged: BTreeMap::new() }));
    listen(events, &received, &near);

    let up = tokio::spawn(flow(EACH, Arc::clone(&near), "device/dev/up"));
    let down = tokio::spawn(flow(EACH, Arc::clone(&far), "device/dev/down"));
    for turn in 1..=10 {
        sleep(Duration::from_millis(250)).await;
        let (events, receiver) = mpsc::channel(256);
        let (next, connack) =
            connect(&options(broker.port, pairs[turn % 2].clone(), "dev"), events).await.unwrap();
        assert!(connack.session_present);
        listen(receiver, &received, &near);
        let old = near.lock().unwrap().take_over(next, "device/dev/up");
        timeout(LONG, old.closed()).await.expect("the broker ends the old session");
    }
    up.await.unwrap();
    down.await.unwrap();

    let end = Instant::now() + LONG;
    let counts = || (far_received.lock().unwrap().len() as u64, received.lock().unwrap().len() as u64);
    let waiting = || near.lock().unwrap().unacknowledged.len() + far.lock().unwrap().unacknowledged.len();
    while counts() != (EACH, EACH) || waiting() > 0 {
        assert!(
            Instant::now() < end,
            "of {EACH} each way arrived (up, down): {:?}, {} wait",
            counts(),
            waiting()
        );
        sleep(Duration::from_millis(20)).await;
    }
}

type Numbers = Arc<Mutex<BTreeSet<u64>>>;

/// What one side sends, until it is acknowledged.
struct Flow {
    session: Session,
    unacknowledged: BTreeMap<u64, Vec<u8>>,
}

impl Flow {
    fn send(&mut self, id: u64, topic: &str) {
        let payload = id.to_string().into_bytes();
        self.unacknowledged.insert(id, payload.clone());
        // Not taken: the connection has ended, and its successor is sent it again.
        let _ = self.session.hand_over(id, topic, payload.into());
    }

    fn take_over(&mut self, next: Session, topic: &str) -> Session {
        let old = std::mem::replace(&mut self.session, next);
        for (id, payload) in &self.unacknowledged {
            self.session.hand_over(*id, topic, payload.clone().into()).expect("it is new");
        }
        old
    }
}

/// Collects the numbers that arrive on one session, and its acknowledgements.
fn listen(mut events: mpsc::Receiver<SessionEvent>, numbers: &Numbers, flow: &Arc<Mutex<Flow>>) {
    let (numbers, flow) = (Arc::clone(numbers), Arc::clone(flow));
    tokio::spawn(async move {
        while let Some(event) = events.recv().await {
            match event {
                SessionEvent::Message { payload, .. } => {
                    numbers.lock().unwrap().insert(number(&payload));
                }
                SessionEvent::Acknowledged(id) => {
                    flow.lock().unwrap().unacknowledged.remove(&id);
                }
                SessionEvent::Gap { lost } => panic!("{lost} lost"),
                SessionEvent::Answered { .. } | SessionEvent::Closed(_) => {}
            }
        }
    });
}

/// Publishes `count` numbered messages, 100 a second, each on the session that is current.
async fn flow(count: u64, flow: Arc<Mutex<Flow>>, topic: &'static str) {
    let mut pace = interval(Duration::from_millis(10));
    for i in 0..count {
        pace.tick().await;
        flow.lock().unwrap().send(i, topic);
    }
}

fn number(payload: &[u8]) -> u64 {
    std::str::from_utf8(payload).unwrap().parse().unwrap()
}
