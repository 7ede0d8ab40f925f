//! Applications' messages through the real programs: over rotations, reconnects and restarts, within what is theirs,
//! and at no cost for the identity.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use certrot_twin::{Effect, Event, Fault};
use serde_json::{Value, json};

use crate::support::{Device, MOMENT, PATIENCE};

/// A subscriber on the socket; reads on its own thread.
struct Reader {
    heard: Arc<Mutex<Vec<Value>>>,
    stream: UnixStream,
}

impl Reader {
    /// Subscribed and granted by the cloud.
    fn new(device: &Device, filter: &str) -> Reader {
        let reader = Reader::waiting(device, filter);
        reader.wait(device, "subscribed", |heard| heard["kind"] == "subscribed");
        reader
    }

    fn waiting(device: &Device, filter: &str) -> Reader {
        let mut stream = UnixStream::connect(device.socket()).expect("the daemon listens");
        let filter = filter.replace('#', "%23");
        write!(stream, "GET /v1/subscribe?filter={filter} HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (lines, into) =
            (BufReader::new(stream.try_clone().expect("a second handle")), Arc::clone(&heard));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if let Some(data) = line.strip_prefix("data: ") {
                    into.lock().unwrap().push(serde_json::from_str(data).expect("JSON"));
                } else if line.starts_with("{\"type\"") {
                    into.lock().unwrap().push(serde_json::from_str(&line).expect("a problem"));
                }
            }
        });
        Reader { heard, stream }
    }

    fn all(&self) -> Vec<Value> {
        self.heard.lock().unwrap().clone()
    }

    fn wait(&self, device: &Device, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(heard) = self.all().into_iter().find(&wanted) {
                return heard;
            }
            assert!(Instant::now() < end, "not heard: {what}; heard {:?}\n{}", self.all(), device.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn payloads(&self) -> Vec<String> {
        let messages = self.all().into_iter().filter(|heard| heard["kind"] == "message");
        messages.map(|heard| heard["payload"].as_str().unwrap_or_default().to_owned()).collect()
    }

    fn kinds(&self) -> BTreeSet<String> {
        self.all().iter().map(|heard| heard["kind"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }
}

fn publish(device: &Device, topic: &str, payload: &str) -> (u16, Value) {
    post(&device.socket(), &json!({"topic": topic, "payload": payload}))
}

/// Publishes from whichever thread, and waits for the answer.
fn post(socket: &Path, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    let body = body.to_string();
    write!(
        stream,
        "POST /v1/publish HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

fn own(device: &Device, rest: &str) -> String {
    format!("device/{}/{rest}", device.thing())
}

fn filters(device: &Device) -> Vec<String> {
    let connections = device.twin().connections();
    connections.into_iter().find(|c| c.client == device.thing()).map(|c| c.filters).unwrap_or_default()
}

fn closes(device: &Device) -> usize {
    device.twin().count(|e| matches!(e, Event::Closed { client, .. } if client == device.thing()))
}

#[test]
fn a_message_goes_up_when_the_cloud_has_it_and_comes_down_to_whoever_asked_for_it() {
    let device = Device::new().start();
    device.wait_steady(1);
    let reader = Reader::new(&device, &own(&device, "#"));
    let (status, answer) = publish(&device, &own(&device, "data"), "up");
    assert_eq!((status, &answer["bytes"]), (200, &json!(2)), "{answer}");
    let topic = own(&device, "data");
    assert_eq!(
        device
            .twin()
            .count(|e| matches!(e, Event::Publish { topic: t, qos: 1, retain: false, .. } if *t == topic)),
        1
    );
    device.twin().publish(&own(&device, "cmd"), b"\xff\0", false);
    let binary = reader.wait(&device, "the binary one", |heard| heard["topic"] == own(&device, "cmd"));
    assert_eq!(binary["payloadBase64"], "/wA=");
    let done = device.ctl(&["publish", &own(&device, "data"), "by hand"]);
    assert!(done.status.success(), "{done:?}");
    reader.wait(&device, "its own", |heard| heard["payload"] == "by hand");
    assert!(filters(&device).contains(&own(&device, "#")));
    drop(reader);
    device.wait_until("the filter was given up", || !filters(&device).contains(&own(&device, "#")));
    let (_, text) = device.request("GET", "/v1/status", None).expect("status");
    assert_eq!(text["connected"], true);
    device.finish();
}

/// `CERTROT_ROTATIONS` says how many; a hundred is the long version.
#[test]
fn nothing_that_was_acknowledged_is_lost_and_nothing_else_forgotten_over_rotations_under_load() {
    let rotations: u32 = std::env::var("CERTROT_ROTATIONS").map_or(4, |n| n.parse().expect("a number"));
    let device = Device::new().toml("[messages]\nusers = []").start();
    device.wait_steady(1);
    let reader = Reader::new(&device, &own(&device, "down"));
    let (over, acknowledged) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let (sent, unacknowledged) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let down = AtomicU64::new(0);
    let since = device.twin().event_count();
    let (twin, socket) = (device.twin(), device.socket());
    let (to_up, to_down) = (own(&device, "up"), own(&device, "down"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let n = sent.fetch_add(1, Ordering::Relaxed);
                    let (status, answer) = post(&socket, &json!({"topic": to_up, "payload": n.to_string()}));
                    if status == 200 {
                        acknowledged.lock().unwrap().insert(n);
                    } else {
                        unacknowledged.lock().unwrap().insert(n, answer);
                    }
                    std::thread::sleep(Duration::from_millis(30));
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let n = down.fetch_add(1, Ordering::Relaxed);
                twin.publish(&to_down, n.to_string().as_bytes(), false);
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let turned: Vec<_> = (0..rotations).map(|_| device.ctl(&["rotate-now", "--wait"])).collect();
        over.store(true, Ordering::Relaxed);
        assert!(turned.iter().all(|done| done.status.success()), "{turned:?}\n{}", device.log());
    });
    let down = down.load(Ordering::Relaxed);
    device.wait_steady(1 + rotations);
    let refused = unacknowledged.lock().unwrap();
    assert!(refused.is_empty(), "forgotten: {refused:?}");
    assert_eq!(acknowledged.lock().unwrap().len() as u64, sent.load(Ordering::Relaxed));
    let up = own(&device, "up");
    let arrived = device.twin().events_since(since);
    let arrived =
        arrived.iter().filter(|l| matches!(&l.event, Event::Publish { topic, .. } if *topic == up)).count();
    let sent = sent.load(Ordering::Relaxed);
    assert!(arrived as u64 >= sent, "{arrived} of {sent} arrived");
    let numbers = || reader.payloads().iter().filter_map(|p| p.parse().ok()).collect::<BTreeSet<u64>>();
    device.wait_until(&format!("{down} messages down, {:?}", numbers().len()), || {
        numbers().len() as u64 == down
    });
    assert_eq!(
        reader.kinds(),
        ["message", "subscribed"].map(str::to_owned).into(),
        "no gap: the cloud kept the session"
    );
    println!("{rotations} rotations: {sent} up ({} doubled), {down} down", arrived as u64 - sent);
    device.finish();
}

#[test]
fn messages_go_on_both_ways_while_the_cloud_takes_its_time_over_a_rotation() {
    let device = Device::new().start();
    device.wait_steady(1);
    let reader = Reader::new(&device, &own(&device, "down"));
    let up = own(&device, "up");
    assert_eq!(publish(&device, &up, "the cloud takes it").0, 200);
    // The first question is the rotation's own, the second is the proof's.
    let late = Effect::DelayAnswer { ms: 5000 };
    device.twin().fault(Fault::once("register", late.clone()));
    device.twin().fault(Fault::once("create-from-csr", late).skip(1));
    let since = device.twin().event_count();
    let mut rotating = device.ctl_command(&["rotate-now", "--wait"]).spawn().expect("certrotctl");
    device.wait_event(since, "registered", |e| matches!(e, Event::Registered { .. }));
    assert_eq!(publish(&device, &up, "while it registers").0, 200);
    let proof = |e: &Event| matches!(e, Event::Connect { client, .. } if client == device.thing());
    device.wait_event(since, "the take-over", proof);
    device.twin().publish(&own(&device, "down"), b"while it is proved", false);
    reader.wait(&device, "a message on the new session", |heard| heard["payload"] == "while it is proved");
    assert!(
        rotating.try_wait().expect("its status").is_none(),
        "they did not wait for it: {}",
        device.story()
    );
    assert!(rotating.wait().expect("it ends").success(), "{}", device.log());
    device.wait_steady(2);
    device.finish();
}

#[test]
fn a_reconnect_is_no_gap_where_the_cloud_kept_the_session_and_one_where_it_did_not() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    let reader = Reader::new(&device, &own(&device, "#"));
    device.twin().kick(device.thing());
    device.twin().publish(&own(&device, "a"), b"meanwhile", false);
    reader.wait(&device, "what came meanwhile", |heard| heard["payload"] == "meanwhile");
    assert!(!reader.kinds().contains("gap"), "{:?}", reader.all());
    let since = device.twin().event_count();
    device.twin().kick(device.thing());
    // It comes back after a second at the earliest.
    device.wait_event(since, "the end", |e| matches!(e, Event::Closed { .. }));
    device.twin().forget_session(device.thing());
    let gap = reader.wait(&device, "a gap", |heard| heard["kind"] == "gap");
    assert_eq!(gap["reason"], "session-lost");
    device.twin().publish(&own(&device, "a"), b"after", false);
    reader.wait(&device, "what came after it", |heard| heard["payload"] == "after");
    // A publish while there is nobody to take it is acknowledged when there is.
    device.wait_for("a session", |s| s["connected"] == true);
    device.stop_twin();
    device.wait_for("no session", |s| s["connected"] == false);
    let (socket, topic) = (device.socket(), own(&device, "late"));
    let waiting = std::thread::spawn(move || post(&socket, &json!({"topic": topic, "timeoutSeconds": 120})));
    std::thread::sleep(MOMENT);
    assert!(!waiting.is_finished());
    device.start_twin();
    let (status, answer) = waiting.join().expect("no panic");
    assert_eq!(status, 200, "{answer}");
    device.finish();
}

#[test]
fn what_the_policy_forbids_costs_two_sessions_and_then_nothing_and_never_a_rotation_or_a_contest_rule_22() {
    let device = Device::new().toml("[messages]\npublish = [\"#\"]\nsubscribe = [\"#\"]").start();
    device.wait_steady(1);
    let reader = Reader::new(&device, &own(&device, "good"));
    let before = closes(&device);
    let (status, problem) = publish(&device, "elsewhere/x", "no");
    assert_eq!((status, &problem["code"]), (403, &json!("forbidden-by-policy")), "{problem}");
    assert!(problem["remedy"].as_str().expect("words").contains("iot:Publish"), "{problem}");
    assert_eq!(closes(&device), before + 2, "{}", device.story());
    assert_eq!(publish(&device, "elsewhere/x", "no").0, 403);
    let denied = Reader::waiting(&device, "elsewhere/%23");
    let ended = denied.wait(&device, "the end", |heard| heard["kind"] == "ended");
    assert_eq!(ended["code"], "forbidden-by-policy");
    device.wait_for("a session", |s| s["connected"] == true);
    assert_eq!(closes(&device), before + 4, "{}", device.story());
    assert_eq!(publish(&device, &own(&device, "good"), "yes").0, 200);
    reader.wait(&device, "the good one", |heard| heard["payload"] == "yes");
    assert!(!reader.kinds().contains("gap"), "{:?}", reader.all());
    // The third fault shuts the user out, and the reload that mends it lets it in again.
    assert_eq!(publish(&device, "elsewhere/y", "no").0, 403);
    assert_eq!(publish(&device, &own(&device, "good"), "yes").0, 429);
    assert_eq!(closes(&device), before + 6);
    assert!(device.ctl(&["reload"]).status.success());
    assert_eq!(publish(&device, &own(&device, "good"), "yes").0, 200);
    // Six closes of a young session in a row: to the core, none of them was another client.
    let status = device.wait_for("a session", |s| s["connected"] == true);
    assert_ne!(status["state"], "contested", "{status:#}");
    let done = device.ctl(&["rotate-now", "--wait"]);
    assert!(done.status.success(), "{done:?}\n{}", device.log());
    device.wait_steady(2);
    device.finish();
}

#[test]
fn a_forbidden_publish_just_before_a_rotation_costs_neither_its_requests_nor_its_proof() {
    let device = Device::new().toml("[messages]\npublish = [\"#\"]").start();
    device.wait_steady(1);
    for turn in 1..=4 {
        let rotated = std::thread::scope(|scope| {
            let (socket, topic) = (device.socket(), format!("elsewhere/{turn}"));
            let bad = scope.spawn(move || post(&socket, &json!({"topic": topic})));
            let rotated = device.ctl(&["rotate-now", "--wait"]);
            let (status, problem) = bad.join().expect("no panic");
            assert!([403, 429].contains(&status), "{problem}");
            rotated
        });
        if !rotated.status.success() {
            // The session was closed before the order, or between the order and its first request: nothing was asked.
            device.wait_for("a session", |s| s["connected"] == true);
            let again = device.ctl(&["rotate-now", "--wait"]);
            assert!(again.status.success(), "{rotated:?} {again:?}\n{}", device.log());
        }
        device.wait_steady(1 + turn);
    }
    assert_eq!(device.minted(), 5, "{}", device.story());
    let log = device.log();
    assert!(log.find("WARN", &["marked refused"]).is_empty(), "{log}");
    device.finish();
}

#[test]
fn the_daemons_own_topics_are_closed_to_applications_both_ways_whatever_the_configuration_opens() {
    let device = Device::new().toml("[messages]\npublish = [\"#\"]\nsubscribe = [\"#\"]").start();
    device.wait_steady(1);
    let reader = Reader::new(&device, &own(&device, "#"));
    let id = device.certificate_id();
    let commit = json!({"certificateId": id}).to_string();
    let commits = device.twin().count(|e| matches!(e, Event::Commit { .. }));
    let before = closes(&device);
    for topic in [
        own(&device, "certrot/commit"),
        own(&device, "certrot/commit/accepted"),
        own(&device, "certrot/rotate"),
        own(&device, "certrot"),
        "$aws/certificates/create-from-csr/json".to_owned(),
        "$aws/provisioning-templates/certrot-rotate/provision/json".to_owned(),
    ] {
        let (status, problem) = publish(&device, &topic, &commit);
        assert_eq!((status, &problem["code"]), (403, &json!("topic-not-allowed")), "{topic}: {problem}");
    }
    for filter in [own(&device, "certrot/#"), "+/+/certrot/#".to_owned(), "$aws/#".to_owned()] {
        let (status, problem) = device
            .request("GET", &format!("/v1/subscribe?filter={}", filter.replace('#', "%23")), None)
            .expect("an answer");
        assert_eq!((status, &problem["code"]), (403, &json!("filter-not-allowed")), "{filter}: {problem}");
    }
    // A rotation publishes and hears on them, and a filter above them hears nothing of it.
    assert!(device.ctl(&["rotate-now", "--wait"]).status.success());
    device.wait_steady(2);
    device.twin().publish(&own(&device, "certrot/rotate"), b"{\"ifCertificateId\":\"x\"}", false);
    device.twin().publish(&own(&device, "last"), b"last", false);
    reader.wait(&device, "the last", |heard| heard["payload"] == "last");
    assert_eq!(reader.payloads(), ["last"], "{:?}", reader.all());
    assert_eq!(device.twin().count(|e| matches!(e, Event::Commit { .. })), commits + 1);
    assert_eq!(closes(&device), before + 1, "the take-over alone\n{}", device.story());
    device.finish();
}

#[test]
fn a_lost_puback_is_told_at_its_time_and_a_limit_of_awss_is_never_tried() {
    let device = Device::new().start();
    device.wait_steady(1);
    let before = closes(&device);
    device.twin().fault(Fault::once(&own(&device, "lost"), Effect::LosePuback));
    let body = json!({"topic": own(&device, "lost"), "timeoutSeconds": 1});
    let (status, problem) = device.request("POST", "/v1/publish", Some(&body)).expect("an answer");
    assert_eq!((status, &problem["code"]), (504, &json!("not-acknowledged")), "{problem}");
    assert!(problem["detail"].as_str().expect("words").contains("may have arrived"), "{problem}");
    let deep = own(&device, "1/2/3/4/5/6/7/8");
    let long = own(&device, &"x".repeat(256));
    for topic in [deep.as_str(), &long, "device/+/x", ""] {
        assert_eq!(publish(&device, topic, "x").0, 400, "{topic}");
    }
    let mut child = device
        .ctl_command(&["publish", &own(&device, "huge"), "-"])
        .stdin(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("certrotctl");
    child.stdin.take().expect("piped").write_all(&vec![b'x'; 131_073]).expect("it reads");
    let huge = child.wait_with_output().expect("it ends");
    assert_eq!(huge.status.code(), Some(64), "{huge:?}");
    assert!(String::from_utf8_lossy(&huge.stderr).contains("131072"), "{huge:?}");
    let largest = json!({"topic": own(&device, "large"), "payload": "x".repeat(131_072)});
    assert_eq!(device.request("POST", "/v1/publish", Some(&largest)).expect("an answer").0, 200);
    assert_eq!(closes(&device), before, "the session was never touched\n{}", device.story());
    let mut stream = UnixStream::connect(device.socket()).expect("it listens");
    write!(stream, "GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).expect("text");
    for line in [
        "certrotd_publishes_total{result=\"acknowledged\"} 1",
        "certrotd_publishes_total{result=\"not-acknowledged\"} 1",
        "certrotd_publishes_total{result=\"refused\"} 5",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    device.finish();
}

#[test]
fn a_subscriber_is_told_when_the_daemon_stops_and_the_cloud_keeps_nothing_for_it() {
    let mut device = Device::new().start();
    device.wait_steady(1);
    let reader = Reader::new(&device, &own(&device, "#"));
    device.terminate();
    let ended = reader.wait(&device, "the end", |heard| heard["kind"] == "ended");
    assert_eq!(ended["code"], "stopping");
    device.start();
    device.wait_for("a session", |s| s["connected"] == true);
    assert!(!filters(&device).contains(&own(&device, "#")), "{:?}", filters(&device));
    device.finish();
}
