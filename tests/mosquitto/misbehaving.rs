//! What mosquitto never does: each misbehaviour has its own cause, nothing hangs, nothing reconnects by itself.

use std::time::Duration;

use certrotd::cloud::{
    Cause, ClientIdentity, ConnectFailure, NotTaken, Operation, Options, ProofFailure, RequestError, Session,
    SessionEvent, Step, SubscribeError, Target, connect, probe_tls, prove,
};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::fake::{CONNECT, Connection, DISCONNECT, PUBLISH, Server, filters, publish, topic};
use crate::pki::{Authority, identity};

const BOTH: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
const SOON: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(10);

struct Bench {
    server: Server,
    options: Options,
}

impl Bench {
    async fn new() -> Self {
        let authority = Authority::new("ca");
        let server = Server::start(&authority, &authority, &BOTH).await;
        let options = options(server.port, identity(&authority, &authority.device("dev")));
        Self { server, options }
    }

    /// Connects while the broker does `deed` to the connection, which it keeps open or drops.
    async fn connect_while<F>(&mut self, deed: impl FnOnce(Connection) -> F) -> ConnectFailure
    where
        F: Future<Output = Option<Connection>>,
    {
        let (events, _receiver) = mpsc::channel(16);
        let broker = async { deed(self.server.next().await).await };
        let (result, _connection) = tokio::join!(connect(&self.options, events), broker);
        result.expect_err("no such connection may come about")
    }

    /// A session and the broker's end of it.
    async fn session(&mut self, room: usize) -> (Session, mpsc::Receiver<SessionEvent>, Connection) {
        let (events, receiver) = mpsc::channel(room);
        let (session, connection) =
            tokio::join!(connect(&self.options, events), self.server.next_connected(false));
        (session.unwrap().0, receiver, connection)
    }
}

fn options(port: u16, identity: ClientIdentity) -> Options {
    Options {
        target: Target::new("localhost", port),
        identity,
        client_id: "dev".to_owned(),
        clean_session: false,
        keep_alive: Duration::from_secs(60),
        connect_timeout: LONG,
    }
}

fn body(text: &str) -> zeroize::Zeroizing<Vec<u8>> {
    text.as_bytes().to_vec().into()
}

fn message(event: Option<SessionEvent>) -> (String, Vec<u8>) {
    match event {
        Some(SessionEvent::Message { topic, payload, .. }) => (topic, payload.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_bare_close_after_connect_is_a_refusal_that_leaves_the_old_session_in_doubt() {
    let failure = Bench::new()
        .await
        .connect_while(async |mut connection| {
            assert_eq!(connection.packet().await.unwrap().kind, CONNECT);
            None
        })
        .await;
    assert_eq!(failure.cause, Cause::ClosedBeforeConnack);
    assert!(failure.connect_sent && failure.server_verified);
    assert!(failure.old_session_may_be_gone(), "rule 8");
    assert!(failure.is_refusal(), "rule 19");
}

#[tokio::test]
async fn a_connack_that_never_comes_ends_by_the_deadline_and_is_no_refusal() {
    let mut bench = Bench::new().await;
    bench.options.connect_timeout = SOON;
    let failure = bench.connect_while(async |connection| Some(connection)).await;
    assert_eq!(failure.cause, Cause::Timeout(Step::Connack));
    assert!(failure.old_session_may_be_gone() && !failure.is_refusal());
}

#[tokio::test]
async fn a_refusal_by_connack_says_its_code_and_that_the_old_session_stands() {
    for code in [5, 7, 3] {
        let failure = Bench::new()
            .await
            .connect_while(async |mut connection| {
                connection.packet().await.unwrap();
                connection.send(&[0x20, 2, 0, code]).await;
                Some(connection)
            })
            .await;
        let cause = if code == 3 { Cause::Throttled } else { Cause::ConnackRefused(code) };
        assert_eq!(failure.cause, cause);
        assert!(!failure.old_session_may_be_gone());
        assert_eq!(failure.is_refusal(), code != 3);
    }
}

#[tokio::test]
async fn a_first_packet_that_is_no_connack_is_a_protocol_error_without_its_content() {
    let failure = Bench::new()
        .await
        .connect_while(async |mut connection| {
            connection.packet().await.unwrap();
            connection.send(&publish("t", b"secret")).await;
            Some(connection)
        })
        .await;
    assert!(matches!(failure.cause, Cause::Protocol { .. }), "{failure:?}");
    assert!(!format!("{failure:?}").contains("secret"));
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_or_nothing_at_all_is_told_apart_and_never_a_refusal() {
    let authority = Authority::new("ca");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut options =
        options(listener.local_addr().unwrap().port(), identity(&authority, &authority.device("d")));
    let attempt = async |options: &Options| connect(options, mpsc::channel(1).0).await.err().unwrap();

    let (failure, _) = tokio::join!(attempt(&options), async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        tcp.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        tcp
    });
    assert!(matches!(failure.cause, Cause::TlsFault { .. }), "{failure:?}");
    assert!(!failure.connect_sent && !failure.is_refusal());

    let (failure, _) = tokio::join!(attempt(&options), async { drop(listener.accept().await.unwrap()) });
    assert!(matches!(failure.cause, Cause::TlsFault { .. }), "{failure:?}");
    assert!(!failure.is_refusal());

    options.connect_timeout = SOON;
    let (failure, _) = tokio::join!(attempt(&options), listener.accept());
    assert_eq!(failure.cause, Cause::Timeout(Step::Tls));
}

#[tokio::test]
async fn a_session_that_was_closed_says_so_once_and_never_comes_back_by_itself() {
    let mut bench = Bench::new().await;
    let (session, mut events, mut connection) = bench.session(16).await;
    // The message and the end come in one read.
    connection.send(&publish("device/dev/last", b"words")).await;
    drop(connection);
    assert_eq!(message(events.recv().await), ("device/dev/last".to_owned(), b"words".to_vec()));
    assert_eq!(events.recv().await, Some(SessionEvent::Closed(Cause::Closed)));
    assert_eq!(events.recv().await, None);
    assert!(!session.is_alive());
    assert_eq!(session.closed().await, Cause::Closed);
    let asked = session.request(&Operation::create_keys(), body("{}"), LONG).await;
    assert!(matches!(asked, Err(RequestError::Closed { sent: false, .. })), "{asked:?}");
    assert_eq!(session.hand_over(1, "a", b"x".as_slice().into()), Err(NotTaken));
    assert!(matches!(session.subscribe(&["a".into()], LONG).await, Err(SubscribeError::Closed { .. })));
    tokio::time::sleep(SOON).await;
    assert_eq!(bench.server.accepted(), 1, "it reconnected by itself");
}

#[tokio::test]
async fn a_broker_that_stops_answering_pings_is_a_keep_alive_failure() {
    let mut bench = Bench::new().await;
    bench.options.keep_alive = Duration::from_secs(1);
    let (session, _events, _connection) = bench.session(16).await;
    let cause = tokio::time::timeout(LONG, session.closed()).await.unwrap();
    assert_eq!(cause, Cause::KeepAlive);
}

#[tokio::test]
async fn a_subscription_that_is_refused_or_never_answered_ends_with_its_filters() {
    let mut bench = Bench::new().await;
    let (session, _events, mut connection) = bench.session(16).await;
    let wanted: Vec<String> = (0..10).map(|i| format!("f/{i}")).collect();
    let broker = async {
        let first = connection.packet().await.unwrap();
        assert_eq!(filters(&first), 8, "AWS takes eight a packet");
        connection.suback(&first, &[1, 1, 0x80, 1, 1, 1, 1, 1]).await;
    };
    let (result, ()) = tokio::join!(session.subscribe(&wanted, LONG), broker);
    match result {
        Err(SubscribeError::Refused { filters }) => assert_eq!(filters, ["f/2"]),
        other => panic!("{other:?}"),
    }
    let result = session.subscribe(&["late".to_owned()], SOON).await;
    assert!(matches!(result, Err(SubscribeError::NoAnswer { .. })), "{result:?}");
    assert!(session.is_alive());
}

#[tokio::test]
async fn a_lost_puback_holds_up_no_other_publish_and_tells_nothing() {
    let mut bench = Bench::new().await;
    let (session, mut events, mut connection) = bench.session(16).await;
    for (id, topic) in [(1, "lost"), (2, "a"), (3, "b")] {
        session.hand_over(id, topic, b"x".as_slice().into()).unwrap();
    }
    for _ in 0..3 {
        let packet = connection.packet().await.unwrap();
        if topic(&packet) != "lost" {
            connection.puback(&packet).await;
        }
    }
    drop(connection);
    assert_eq!(events.recv().await, Some(SessionEvent::Acknowledged(2)));
    assert_eq!(events.recv().await, Some(SessionEvent::Acknowledged(3)));
    assert_eq!(events.recv().await, Some(SessionEvent::Closed(Cause::Closed)));
}

#[tokio::test]
async fn an_answer_counts_without_any_puback_and_a_doubled_or_late_one_is_a_message() {
    let mut bench = Bench::new().await;
    let (session, mut events, mut connection) = bench.session(16).await;
    let operation = Operation::register("certrot-claim").unwrap();
    let broker = async {
        assert_eq!(topic(&connection.asked().await), operation.request());
        let answer = publish(operation.accepted(), b"{}");
        connection.send(&[answer.clone(), answer].concat()).await;
    };
    let (answer, ()) = tokio::join!(session.request(&operation, body("{}"), LONG), broker);
    assert!(answer.unwrap().accepted);
    assert_eq!(message(events.recv().await).0, operation.accepted());

    let other = Operation::create_keys();
    let (missed, _) = tokio::join!(session.request(&other, body("{}"), SOON), connection.asked());
    assert!(matches!(missed, Err(RequestError::NoAnswer { .. })), "{missed:?}");
    assert!(missed.unwrap_err().may_have_arrived(), "rule 2");
    connection.send(&publish(other.rejected(), b"late")).await;
    assert_eq!(message(events.recv().await), (other.rejected().to_owned(), b"late".to_vec()));
    let again = session.request(&other, body("{}"), SOON).await;
    assert!(
        matches!(again, Err(RequestError::Spent { .. })),
        "never on the same connection (rule 2): {again:?}"
    );
}

#[tokio::test]
async fn a_close_in_place_of_an_answer_leaves_the_request_in_doubt() {
    let mut bench = Bench::new().await;
    let (session, _events, mut connection) = bench.session(16).await;
    let operation = Operation::register("t").unwrap();
    let broker = async {
        connection.asked().await;
        drop(connection);
    };
    let (answer, ()) = tokio::join!(session.request(&operation, body("{}"), LONG), broker);
    let error = answer.unwrap_err();
    assert!(matches!(error, RequestError::Closed { cause: Cause::Closed, sent: true, .. }), "{error:?}");
    assert!(error.may_have_arrived());
}

#[tokio::test]
async fn what_cannot_be_heard_is_not_asked_and_what_is_heard_already_is_not_subscribed_to_again() {
    let mut bench = Bench::new().await;
    let (session, _events, mut connection) = bench.session(16).await;
    let operation = Operation::create_from_csr();
    let refusing = async {
        let packet = connection.packet().await.unwrap();
        connection.suback(&packet, &[1, 0x80]).await;
    };
    let (answer, ()) = tokio::join!(session.request(&operation, body("{}"), LONG), refusing);
    let error = answer.unwrap_err();
    assert!(matches!(error, RequestError::Deaf { .. }) && !error.may_have_arrived(), "{error:?}");

    let granting = async {
        let packet = connection.packet().await.unwrap();
        assert_eq!(filters(&packet), 1, "only the one that was refused");
        connection.suback(&packet, &[1]).await;
        assert_eq!(topic(&connection.packet().await.unwrap()), operation.request());
        connection.send(&publish(operation.accepted(), b"{}")).await;
    };
    let (answer, ()) = tokio::join!(session.request(&operation, body("{}"), LONG), granting);
    assert!(answer.unwrap().accepted);
}

#[tokio::test]
async fn what_one_connection_left_unacknowledged_is_never_replayed_by_the_next_rule_10() {
    let mut bench = Bench::new().await;
    let commit = Operation::commit("dev").unwrap();
    let (old, _old_events, mut old_connection) = bench.session(16).await;
    old.hand_over(1, "device/dev/data", b"1".as_slice().into()).unwrap();
    assert_eq!(topic(&old_connection.packet().await.unwrap()), "device/dev/data");
    let asking = old.request(&commit, body("{}"), LONG);
    let story = async {
        let subscribed = old_connection.packet().await.unwrap();
        old_connection.suback(&subscribed, &vec![1; filters(&subscribed)]).await;
        assert_eq!(topic(&old_connection.packet().await.unwrap()), commit.request());
        // Neither is acknowledged; the successor takes the client id over and the broker drops the old one.
        let (new, _new_events, mut connection) = bench.session(16).await;
        drop(old_connection);
        old.closed().await;
        assert_eq!(old.hand_over(2, "device/dev/data", b"2".as_slice().into()), Err(NotTaken));
        new.disconnect(LONG).await;
        let rest = connection.packet().await.unwrap();
        assert_eq!(rest.kind, DISCONNECT, "the commit was replayed");
    };
    let (answer, ()) = tokio::join!(asking, story);
    assert!(matches!(answer, Err(RequestError::Closed { sent: true, .. })), "{answer:?}");
}

#[tokio::test]
async fn a_disconnect_that_was_asked_for_is_no_failure_even_with_a_publish_unacknowledged() {
    let mut bench = Bench::new().await;
    let (session, mut events, mut connection) = bench.session(16).await;
    session.hand_over(1, "a", b"1".as_slice().into()).unwrap();
    let broker = async { connection.packet().await.unwrap() };
    let (packet, ()) = tokio::join!(broker, session.disconnect(2 * SOON));
    assert_eq!(packet.kind, PUBLISH);
    assert_eq!(events.recv().await, Some(SessionEvent::Closed(Cause::Ended)));
    assert!(!session.is_alive());
}

#[tokio::test]
async fn a_receiver_that_sleeps_gets_a_gap_and_stops_neither_answers_nor_the_end() {
    let mut bench = Bench::new().await;
    let (session, mut events, mut connection) = bench.session(1).await;
    let operation = Operation::create_from_csr();
    let broker = async {
        for i in 0..20 {
            connection.send(&publish(&format!("m/{i}"), b"x")).await;
        }
        connection.asked().await;
        connection.send(&publish(operation.rejected(), b"{}")).await;
        drop(connection);
    };
    let (answer, ()) = tokio::join!(session.request(&operation, body("{}"), LONG), broker);
    assert!(!answer.unwrap().accepted);
    assert_eq!(message(events.recv().await).0, "m/0");
    assert_eq!(events.recv().await, Some(SessionEvent::Gap { lost: 19 }));
    assert_eq!(events.recv().await, Some(SessionEvent::Closed(Cause::Closed)));
}

#[tokio::test]
async fn what_would_cost_the_connection_is_refused_here_and_the_session_lives_on() {
    let mut bench = Bench::new().await;
    let (session, mut events, mut connection) = bench.session(16).await;
    let huge: zeroize::Zeroizing<Vec<u8>> = vec![0; 128 * 1024 + 1].into();
    let asked = session.request(&Operation::create_keys(), huge, SOON).await;
    assert!(matches!(asked, Err(RequestError::Unfit { .. })), "{asked:?}");
    assert!(matches!(session.subscribe(&["a/#/b".into()], SOON).await, Err(SubscribeError::Unfit { .. })));
    assert_eq!(session.hand_over(1, "a/+", b"".as_slice().into()), Err(NotTaken));
    session.hand_over(2, "a", vec![7; 128 * 1024].into()).unwrap();
    let packet = connection.packet().await.unwrap();
    assert_eq!(packet.body.len(), 128 * 1024 + 5);
    connection.puback(&packet).await;
    assert_eq!(events.recv().await, Some(SessionEvent::Acknowledged(2)));
}

#[tokio::test]
async fn a_probe_ends_after_tls_and_never_takes_a_client_id() {
    let mut bench = Bench::new().await;
    let probe = probe_tls(&bench.options.target, &bench.options.identity, LONG);
    let broker = async {
        let mut connection = bench.server.next().await;
        connection.packet().await
    };
    let (facts, sent) = tokio::join!(probe, broker);
    assert_eq!(facts.unwrap().tls, "TLS 1.3");
    assert_eq!(sent, None, "nothing of MQTT was sent");
}

#[tokio::test]
async fn a_certificate_that_the_server_does_not_know_is_an_alert_after_the_server_was_verified() {
    for version in BOTH {
        let (authority, stranger) = (Authority::new("ca"), Authority::new("stranger"));
        let server = Server::start(&authority, &authority, &[version]).await;
        let options = options(server.port, identity(&authority, &stranger.device("dev")));
        let failure = connect(&options, mpsc::channel(1).0).await.err().unwrap();
        assert!(matches!(failure.cause, Cause::TlsAlert { .. }), "{version:?}: {failure:?}");
        assert!(failure.server_verified && failure.is_refusal(), "{version:?}: {failure:?}");
        assert!(!failure.old_session_may_be_gone(), "an alert speaks before CONNECT is read");
        let probed = probe_tls(&options.target, &options.identity, LONG).await;
        assert!(
            matches!(&probed, Err(f) if matches!(f.cause, Cause::TlsAlert { .. }) && f.server_verified),
            "{version:?}: {probed:?}"
        );
    }
}

#[tokio::test]
async fn a_proof_fails_where_the_cloud_signs_nonsense_refuses_a_filter_or_closes_rule_7() {
    let standing = vec!["device/dev/certrot/rotate".to_owned()];
    let operation = Operation::create_from_csr();
    for (case, codes) in [("accepts", 1), ("refuses", 0x80), ("closes", 1), ("is right", 1)] {
        let mut bench = Bench::new().await;
        let (session, _events, mut connection) = bench.session(16).await;
        let broker = async {
            let subscribe = connection.packet().await.unwrap();
            assert_eq!(filters(&subscribe), 3);
            connection.suback(&subscribe, &[1, codes, 1]).await;
            if case == "refuses" {
                return;
            }
            assert_eq!(topic(&connection.packet().await.unwrap()), operation.request());
            match case {
                "accepts" => connection.send(&publish(operation.accepted(), b"{}")).await,
                "closes" => drop(connection),
                _ => connection.send(&publish(operation.rejected(), br#"{"statusCode":400}"#)).await,
            }
        };
        let answers = operation.answers();
        let (result, ()) = tokio::join!(prove(&session, &standing, &answers, LONG), broker);
        match (case, result) {
            ("accepts", Err(ProofFailure::Accepted)) | ("is right", Ok(())) => {}
            ("refuses", Err(ProofFailure::Subscribe(SubscribeError::Refused { .. }))) => {}
            ("closes", Err(ProofFailure::Ask(RequestError::Closed { sent: true, .. }))) => {}
            (case, result) => panic!("{case}: {result:?}"),
        }
    }
}
