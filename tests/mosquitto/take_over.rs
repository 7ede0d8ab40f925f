//! The world's side of a take-over (rules 8 and 9), with a broker that chooses the worst moment: what was acknowledged,
//! either way, is told.

use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use certrotd::clock::Clock;
use certrotd::cloud::SessionEvent;
use certrotd::config::{Config, Facts, Purpose};
use certrotd::rotation::{Carrier, Effect, Origin, Outcome, Record, Trouble};
use certrotd::store::{Machine, NewGeneration, Pair, Store, Token};
use certrotd::world::{Tools, World};
use tempfile::TempDir;

use crate::fake::{Connection, DISCONNECT, PUBLISH, SUBSCRIBE, Server, filters, publish, topic};
use crate::pki::Authority;

const LONG: Duration = Duration::from_secs(10);
const ROTATE: &str = "device/dev/certrot/rotate";

/// A device with two proved generations, 1 in use, and the broker that it talks to.
struct Bench {
    world: World,
    server: Server,
    _dir: TempDir,
}

impl Bench {
    async fn new() -> Self {
        let authority = Authority::new("ca");
        let server =
            Server::start(&authority, &authority, &[&rustls::version::TLS13, &rustls::version::TLS12]).await;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), Machine::read()).unwrap().0;
        for _ in 0..2 {
            let pair = authority.device("dev");
            let new = NewGeneration {
                pair: Pair {
                    certificate: pair.certificate_pem.clone(),
                    key: pair.key.serialize_pem().into(),
                },
                origin: Origin::Claim,
                thing: "dev".to_owned(),
                template: "certrot-claim".to_owned(),
                endpoint: "localhost".to_owned(),
                token: Token::new("token"),
                token_ends: 1_800_003_600,
                issued_at: 1_800_000_000,
            };
            let n = store.add(new).unwrap();
            for record in [Record::Registering(n), Record::Registered(n), Record::Proved(n)] {
                store.record(record).unwrap();
            }
        }
        store.switch(1).unwrap();
        let config = configuration(dir.path(), &authority, server.port);
        let tools = Tools {
            store,
            clock: Clock::start(),
            floor: Arc::new(AtomicI64::new(0)),
            findings: Vec::new().into(),
        };
        Self { world: World::new(tools, config), server, _dir: dir }
    }

    /// The session on generation 1, and the broker's end of it.
    async fn connected(&mut self) -> Connection {
        let doing = self.world.begin(Effect::Connect(Carrier::Generation(1)));
        let (ended, connection) = tokio::join!(doing, async {
            let mut connection = self.server.next_connected(false).await;
            subscribed(&mut connection, 3).await;
            connection
        });
        assert_eq!(self.world.finish(ended).0, Outcome::Done);
        connection
    }

    /// Waits until a message was read from the wire, and acknowledged with it, and nobody has taken it.
    async fn unread(&self) {
        let read = async {
            while self.world.live.as_ref().unwrap().events.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, read).await.expect("it is read");
    }

    /// What the world tells next; it must be there already.
    async fn told(&mut self) -> String {
        match tokio::time::timeout(LONG, self.world.happens()).await {
            Ok(SessionEvent::Message { payload, .. }) => String::from_utf8(payload.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn configuration(dir: &Path, authority: &Authority, port: u16) -> Config {
    let path = dir.join("ca.pem");
    std::fs::File::create(&path)
        .and_then(|mut file| std::io::Write::write_all(&mut file, authority.pem().as_bytes()))
        .unwrap();
    let text = format!(
        "[device]\nserial = \"dev\"\n[aws]\nendpoint = \"localhost\"\nport = {port}\nroot-ca = \"{}\"\n\
         [identity]\ndirectory = \"{}\"\n",
        path.display(),
        dir.join("store").display()
    );
    let facts = Facts {
        identity_present: true,
        certificate_lifetime: None,
        credentials_directory: None,
        purpose: Purpose::Run,
    };
    Config::parse(&text, &dir.join("config.toml"), &facts).unwrap_or_else(|report| panic!("{report}")).0
}

/// Grants every SUBSCRIBE until that many filters have been: three standing ones, and for a proof the answers of three
/// operations.
async fn subscribed(connection: &mut Connection, wanted: usize) {
    let mut granted = 0;
    while granted < wanted {
        let packet = connection.packet().await.unwrap();
        assert_eq!(packet.kind, SUBSCRIBE);
        granted += filters(&packet);
        connection.suback(&packet, &vec![1; filters(&packet)]).await;
    }
}

/// Grants and answers all that the proof asks (rule 7).
async fn proved(connection: &mut Connection) {
    subscribed(connection, 9).await;
    let asked = connection.packet().await.unwrap();
    assert_eq!(topic(&asked), "$aws/certificates/create-from-csr/json");
    connection
        .send(&publish("$aws/certificates/create-from-csr/json/rejected", b"{\"statusCode\":400}"))
        .await;
}

#[tokio::test]
async fn what_the_old_session_had_acknowledged_and_nobody_had_read_is_told_after_the_take_over() {
    let mut bench = Bench::new().await;
    let mut old = bench.connected().await;
    let doing = bench.world.begin(Effect::Prove(2));
    let (ended, _new) = tokio::join!(doing, async {
        let mut new = bench.server.next_connected(true).await;
        for words in ["1", "2", "3"] {
            old.send(&publish(ROTATE, words.as_bytes())).await;
        }
        drop(old);
        proved(&mut new).await;
        new.send(&publish(ROTATE, b"4")).await;
        new
    });
    assert_eq!(bench.world.finish(ended).0, Outcome::Done);
    for words in ["1", "2", "3", "4"] {
        assert_eq!(bench.told().await, words, "in the order in which they came");
    }
}

#[tokio::test]
async fn what_came_over_a_successor_whose_proof_failed_is_told_all_the_same() {
    let mut bench = Bench::new().await;
    let mut old = bench.connected().await;
    let doing = bench.world.begin(Effect::Prove(2));
    let (ended, ()) = tokio::join!(doing, async {
        let mut new = bench.server.next_connected(true).await;
        old.send(&publish(ROTATE, b"1")).await;
        drop(old);
        new.send(&publish(ROTATE, b"2")).await;
        let packet = new.packet().await.unwrap();
        new.suback(&packet, &vec![0x80; filters(&packet)]).await;
        while new.packet().await.is_some_and(|p| p.kind != DISCONNECT) {}
    });
    assert_eq!(bench.world.finish(ended).0, Outcome::Failed(Trouble::Unfit));
    assert!(bench.world.live.is_none());
    assert_eq!(bench.told().await, "1");
    assert_eq!(bench.told().await, "2");
}

#[tokio::test]
async fn what_was_read_before_a_hangup_or_a_reconnect_is_told() {
    let mut bench = Bench::new().await;
    let mut connection = bench.connected().await;
    connection.send(&publish(ROTATE, b"1")).await;
    bench.unread().await;
    let doing = bench.world.begin(Effect::Connect(Carrier::Generation(1)));
    let (ended, mut connection) = tokio::join!(doing, async {
        while connection.packet().await.is_some_and(|p| p.kind != DISCONNECT) {}
        drop(connection);
        let mut connection = bench.server.next_connected(true).await;
        subscribed(&mut connection, 3).await;
        connection
    });
    assert_eq!(bench.world.finish(ended).0, Outcome::Done);
    connection.send(&publish(ROTATE, b"2")).await;
    assert_eq!(bench.told().await, "1");
    assert_eq!(bench.told().await, "2");
    connection.send(&publish(ROTATE, b"3")).await;
    bench.unread().await;
    let doing = bench.world.begin(Effect::Hangup);
    let (ended, ()) = tokio::join!(doing, async {
        while connection.packet().await.is_some_and(|p| p.kind != DISCONNECT) {}
    });
    assert_eq!(bench.world.finish(ended).0, Outcome::Done);
    assert_eq!(bench.told().await, "3");
}

#[tokio::test]
async fn an_acknowledgement_of_the_old_session_is_told_though_its_successor_is_there() {
    let mut bench = Bench::new().await;
    let mut old = bench.connected().await;
    let session = Rc::clone(&bench.world.live.as_ref().unwrap().session);
    session.hand_over(7, "device/dev/data", b"words".as_slice().into()).unwrap();
    let doing = bench.world.begin(Effect::Prove(2));
    let (ended, _new) = tokio::join!(doing, async {
        let published = old.packet().await.unwrap();
        assert_eq!(published.kind, PUBLISH);
        let mut new = bench.server.next_connected(true).await;
        old.puback(&published).await;
        drop(old);
        proved(&mut new).await;
        new
    });
    assert_eq!(bench.world.finish(ended).0, Outcome::Done);
    let told = tokio::time::timeout(LONG, bench.world.happens()).await;
    assert!(matches!(told, Ok(SessionEvent::Acknowledged(7))), "{told:?}");
}
