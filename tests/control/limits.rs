//! What a peer cannot do to the daemon, however it behaves.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use certrotd::control::wire::EventResult;
use certrotd::control::{Limits, Peer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use crate::fake::{Fake, answer, own_uid, problem, rest, split, step};

static NEXT_UID: AtomicU32 = AtomicU32::new(0);

/// Every connection comes from another user.
fn a_crowd(_: &tokio::net::UnixStream) -> std::io::Result<Peer> {
    Ok(Peer { uid: 10_000 + NEXT_UID.fetch_add(1, Ordering::Relaxed), pid: 1 })
}

#[tokio::test]
async fn one_user_cannot_hold_more_than_its_share_and_is_told_so() {
    let fake = Fake::start().await;
    let mut held = Vec::new();
    for _ in 0..Limits::default().per_uid {
        held.push(fake.connect().await);
    }
    let mut one_more = fake.connect().await;
    let (status, body) = split(&rest(&mut one_more).await);
    assert_eq!((status, problem(status, &body).code.as_str()), (503, "busy"));
    drop(held);
    until_served(&fake).await;
}

#[tokio::test]
async fn a_crowd_of_users_leaves_a_place_to_operators() {
    let fake = Fake::with(Limits { reserved: 4, ..Limits::default() }, answer, Some(a_crowd)).await;
    let mut held = Vec::new();
    for _ in 0..Limits::default().connections {
        held.push(fake.connect().await);
    }
    let mut turned_away = fake.connect().await;
    assert!(rest(&mut turned_away).await.starts_with("HTTP/1.1 503 "));
    // The next uid that the crowd would get becomes an operator.
    let next = 10_000 + NEXT_UID.load(Ordering::Relaxed);
    fake.operators.send_replace(std::sync::Arc::new([next].into()));
    assert_eq!(fake.ask("POST", "/v1/reload", "").await.0, 200);
}

#[tokio::test]
async fn a_thousand_connections_do_not_stop_the_next_order() {
    let fake = Fake::start().await;
    for _ in 0..20 {
        let mut many = Vec::new();
        for _ in 0..50 {
            many.push(fake.connect().await);
        }
    }
    until_served(&fake).await;
}

/// Places come back when the server has seen the ends of what held them.
async fn until_served(fake: &Fake) {
    for _ in 0..1000 {
        if fake.client().get("/v1/status").await.is_ok() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("the server serves nobody any more");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_ends_its_headers_is_cut_off_in_time() {
    let fake = Fake::start().await;
    let mut slow = fake.connect().await;
    let began = Instant::now();
    let mut cut = false;
    for byte in "GET /v1/status HTTP/1.1\r\nx-slow: ".bytes().chain(std::iter::repeat(b'y')) {
        if slow.write_all(&[byte]).await.is_err() {
            cut = true;
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        if began.elapsed() > Duration::from_secs(60) {
            break;
        }
    }
    assert!(cut && began.elapsed() <= Duration::from_secs(10), "after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_says_nothing_is_cut_off_in_time() {
    let fake = Fake::start().await;
    let mut silent = fake.connect().await;
    let began = Instant::now();
    let ended = tokio::time::timeout(Duration::from_secs(60), rest(&mut silent)).await;
    assert!(ended.is_ok(), "it is still served");
    assert!(began.elapsed() <= Duration::from_secs(10), "after {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_ends_its_body_is_cut_off_in_time() {
    let fake = Fake::with(Limits::default(), |order| panic!("{order:?}"), None).await;
    let began = Instant::now();
    let answer = fake.raw("POST /v1/rotate HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{").await;
    assert!(began.elapsed() <= Duration::from_secs(15), "after {:?}", began.elapsed());
    let (status, body) = split(&answer);
    assert_eq!((status, problem(status, &body).code.as_str()), (408, "too-slow"));
}

#[tokio::test]
async fn headers_and_bodies_beyond_their_size_are_refused() {
    let fake = Fake::with(Limits::default(), |order| panic!("{order:?}"), None).await;
    let long = "x".repeat(64 * 1024);
    let answer = fake.raw(&format!("GET /v1/status HTTP/1.1\r\nhost: x\r\nx-long: {long}\r\n\r\n")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let many = "x: y\r\n".repeat(500);
    let answer = fake.raw(&format!("GET /v1/status HTTP/1.1\r\nhost: x\r\n{many}\r\n")).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");

    let large = format!("{{\"serial\": \"{}\"}}", "x".repeat(200 * 1024));
    let problem = fake.refused("POST", "/v1/provision", &large).await;
    assert_eq!((problem.status, problem.code.as_str()), (413, "too-large"));
}

#[tokio::test]
async fn a_body_without_a_length_is_measured_as_it_comes() {
    let fake = Fake::with(Limits::default(), |order| panic!("{order:?}"), None).await;
    let mut stream = fake.connect().await;
    let (mut from, mut to) = stream.split();
    let send = async {
        let head =
            "POST /v1/rotate HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
        to.write_all(head.as_bytes()).await?;
        let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
        for _ in 0..64 {
            to.write_all(chunk.as_bytes()).await?;
        }
        std::io::Result::Ok(())
    };
    let mut bytes = Vec::new();
    let (_, _) = tokio::join!(send, from.read_to_end(&mut bytes));
    let answer = String::from_utf8(bytes).expect("text");
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_events_that_does_not_read_is_dropped_and_others_go_on() {
    let fake = Fake::start().await;
    let mut stuck = fake.connect().await;
    stuck.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("the server reads");
    let mut head = [0; 12];
    stuck.read_exact(&mut head).await.expect("an answer");
    let mut reading = fake.client().events(None).await.expect("a stream");
    let long = "x".repeat(8 * 1024);
    for _ in 0..400 {
        let id = fake.feed.send(step(1, "prove", EventResult::Retry).text(long.as_str()));
        let (_, event) = reading.next().await.expect("whoever reads gets everything");
        assert_eq!(event.id, id);
    }
    tokio::time::sleep(Limits::default().write_time * 3).await;
    assert!(stuck.write_all(b"G").await.is_err(), "its connection is closed before it reads on");
    let got = rest(&mut stuck).await;
    assert!(got.len() < 300 * long.len(), "it was dropped and not fed: {} bytes", got.len());
    // All its places are free again.
    for _ in 0..Limits::default().streams_per_uid - 1 {
        std::mem::forget(fake.client().events(None).await.expect("a place"));
    }
    assert!(fake.client().events(None).await.is_err(), "the share of one user is {}", own_uid());
}

#[tokio::test]
async fn readers_of_events_leave_room_for_orders() {
    let fake = Fake::start().await;
    let mut readers = Vec::new();
    for _ in 0..Limits::default().streams_per_uid {
        readers.push(fake.client().events(None).await.expect("a place"));
    }
    let refused = fake.client().events(None).await.expect_err("no more");
    assert!(refused.may_pass() && refused.remedy().contains("end one of the readers"), "{refused}");
    assert_eq!(fake.ask("POST", "/v1/reload", "").await.0, 200);
}
