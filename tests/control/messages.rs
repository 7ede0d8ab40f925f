//! Applications' messages over the real server and the real `certrotctl`, with a post office that is a mirror.

use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use certrotd::control::wire::{GapReason, Heard};
use certrotd::control::{Limits, Peer};
use serde_json::{Value, json};

use crate::fake::{Fake, answer};

fn a_user(_: &tokio::net::UnixStream) -> std::io::Result<Peer> {
    Ok(Peer { uid: 4711, pid: 1 })
}

async fn as_a_stranger() -> Fake {
    Fake::with(Limits::default(), |order| panic!("{order:?}"), Some(a_user)).await
}

#[tokio::test]
async fn messages_are_for_operators_and_the_users_of_messages_and_for_nobody_else_either_way() {
    let fake = as_a_stranger().await;
    for (method, path) in [
        ("POST", "/v1/publish"),
        ("GET", "/v1/publish"),
        ("GET", "/v1/subscribe?filter=a"),
        ("HEAD", "/v1/subscribe?filter=a"),
        ("POST", "/v1/subscribe?filter=a"),
    ] {
        let (status, _) = fake.ask(method, path, "{\"topic\":\"a\"}").await;
        assert_eq!(status, 403, "{method} {path}");
    }
    let refused = fake.refused("POST", "/v1/publish", "{\"topic\":\"a\"}").await;
    assert!(refused.detail.contains("4711") && refused.remedy.contains("messages.users"), "{refused:?}");
    // A user of messages may send and hear, and orders nothing else.
    fake.users.send_replace(Arc::new([4711].into()));
    assert_eq!(fake.ask("POST", "/v1/publish", "{\"topic\":\"a\"}").await.0, 200);
    assert!(fake.client().messages("a").await.is_ok());
    for path in ["/v1/rotate", "/v1/disconnect", "/v1/adopt", "/v1/reload"] {
        assert_eq!(fake.refused("POST", path, "").await.status, 403, "{path}");
    }
    fake.users.send_replace(Arc::default());
    assert_eq!(fake.ask("POST", "/v1/publish", "{\"topic\":\"a\"}").await.0, 403);
}

#[tokio::test]
async fn a_publish_is_text_or_base64_and_has_a_time() {
    let fake = Fake::start().await;
    for (body, bytes, millis) in [
        (json!({"topic": "a"}), 0, 30_000),
        (json!({"topic": "a", "payload": "h\u{e9}llo"}), 6, 30_000),
        (json!({"topic": "a", "payloadBase64": "AP8=", "timeoutSeconds": 5}), 2, 5_000),
    ] {
        let (status, text) = fake.ask("POST", "/v1/publish", &body.to_string()).await;
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((status, value), (200, json!({"topic": "a", "bytes": bytes, "millis": millis})));
    }
    for bad in [
        json!({"topic": "a", "payload": "x", "payloadBase64": "AP8="}),
        json!({"topic": "a", "payloadBase64": "AP8"}),
        json!({"topic": "a", "timeoutSeconds": 0}),
        json!({"topic": "a", "timeoutSeconds": 121}),
        json!({"topic": "a", "retain": true}),
        json!(["a"]),
    ] {
        let refused = fake.refused("POST", "/v1/publish", &bad.to_string()).await;
        assert_eq!((refused.status, refused.code.as_str()), (400, "bad-request"), "{bad}");
    }
    let unanswered = fake.refused("POST", "/v1/publish", "{\"topic\":\"silence\"}").await;
    assert_eq!(unanswered.status, 503);
}

#[tokio::test]
async fn the_largest_payload_comes_through_both_ways_and_a_larger_body_does_not() {
    let fake = Fake::start().await;
    for payload in [vec![0xff; 131_072], vec![b'x'; 131_072], vec![b'"'; 131_072]] {
        let mut stream = fake.client().messages("a").await.expect("a stream");
        assert!(matches!(stream.heard().await.expect("a word").1, Heard::Subscribed { .. }));
        let request = certrotd::control::wire::PublishRequest::new("a".to_owned(), payload.clone());
        let body = serde_json::to_value(request).expect("JSON");
        assert_eq!(fake.client().post("/v1/publish", &body).await.expect("taken")["bytes"], 131_072);
        let Heard::Message(message) = stream.heard().await.expect("a message").1 else { panic!() };
        assert_eq!(message.into_bytes(), Ok(payload));
    }
    let huge = json!({"topic": "a", "payload": "x".repeat(200_000)}).to_string();
    assert_eq!(fake.refused("POST", "/v1/publish", &huge).await.status, 413);
}

#[tokio::test]
async fn a_stream_has_named_events_with_their_data_and_ends_with_its_last_word() {
    let fake = Fake::start().await;
    let all = {
        let fake_socket = fake.socket.clone();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = tokio::net::UnixStream::connect(&fake_socket).await.expect("it listens");
            let head =
                "GET /v1/subscribe?filter=device%2F%23 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            stream.write_all(head.as_bytes()).await.expect("it reads");
            let mut text = String::new();
            stream.read_to_string(&mut text).await.expect("text");
            text
        })
    };
    // The mirror's subscriber is there once a second one has been told so after it.
    while fake.ask("POST", "/v1/publish", "{\"topic\":\"a\",\"payload\":\"<b>\"}").await.0 == 200
        && !all.is_finished()
    {
        fake.ask("POST", "/v1/publish", "{\"topic\":\"end\"}").await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let text = all.await.expect("no panic");
    assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("content-type: text/event-stream"), "{text}");
    assert!(
        text.contains("event: subscribed\ndata: {\"kind\":\"subscribed\",\"filter\":\"device/#\"}\n\n"),
        "{text}"
    );
    assert!(text.contains("event: ended\ndata: {\"kind\":\"ended\","), "{text}");
    assert!(!text.contains("\nid:"), "nothing of it is kept: {text}");
}

#[tokio::test]
async fn a_refused_filter_is_a_problem_and_no_stream_and_a_query_is_one_filter() {
    let fake = Fake::start().await;
    assert_eq!(fake.refused("GET", "/v1/subscribe?filter=closed", "").await.status, 403);
    for query in ["", "?", "?filter=", "?filter=a&filter=b", "?filter=%zz", "?topic=a"] {
        let refused = fake.refused("GET", &format!("/v1/subscribe{query}"), "").await;
        assert_eq!(refused.code, "bad-request", "{query}");
    }
}

#[tokio::test]
async fn one_user_has_so_many_streams_and_orders_get_through_all_the_same() {
    let fake = Fake::start().await;
    let mut streams = Vec::new();
    for _ in 0..Limits::default().subscribers_per_uid {
        streams.push(fake.client().messages("a").await.expect("room"));
    }
    let refused = fake.refused("GET", "/v1/subscribe?filter=a", "").await;
    assert_eq!((refused.status, refused.code.as_str()), (429, "too-many"));
    assert_eq!(fake.ask("POST", "/v1/reload", "").await.0, 200);
    streams.pop();
    for _ in 0..2000 {
        if fake.client().messages("a").await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("a place that was left does not come back");
}

#[tokio::test]
async fn a_reader_that_sleeps_is_told_how_many_it_missed_and_holds_up_nobody() {
    let fake = Fake::start().await;
    let mut asleep = fake.client().messages("a").await.expect("a stream");
    let mut awake = fake.client().messages("a").await.expect("a stream");
    awake.heard().await.expect("subscribed");
    let body = json!({"topic": "a", "payload": "x".repeat(60_000)});
    for _ in 0..40 {
        fake.client().post("/v1/publish", &body).await.expect("taken");
        assert!(matches!(awake.heard().await.expect("in time").1, Heard::Message(_)));
    }
    let (mut came, mut missed) = (0, 0);
    while missed == 0 {
        match asleep.heard().await.expect("more").1 {
            Heard::Message(_) => came += 1,
            Heard::Gap(gap) => {
                assert_eq!(gap.reason, GapReason::SlowReader);
                missed = gap.lost.expect("a number");
            }
            Heard::Subscribed { .. } => {}
            other => panic!("{other:?}"),
        }
        if came + missed < 40 && missed == 0 && came >= 3 {
            // Read enough for the next one to find room, and with it the word of the gap.
            fake.client()
                .post("/v1/publish", &json!({"topic": "a", "payload": "last"}))
                .await
                .expect("taken");
        }
    }
    assert!(came < 40, "it cannot all have waited: {came}");
}

#[tokio::test]
async fn a_server_that_stops_says_so_to_its_subscribers() {
    let fake = Fake::start().await;
    let mut stream = fake.client().messages("a").await.expect("a stream");
    stream.heard().await.expect("subscribed");
    fake.stop().await;
    let Heard::Ended(problem) = stream.heard().await.expect("a last word").1 else { panic!() };
    assert_eq!(problem.status, 503);
    assert!(stream.heard().await.is_err());
}

#[tokio::test]
async fn certrotctl_publishes_arguments_and_standard_input_and_its_exit_code_says_how_it_went() {
    let fake = Fake::start().await;
    let run = |words: &'static [&'static str], input: &'static [u8]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_certrotctl"));
        command.arg("--socket").arg(&fake.socket).args(words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        tokio::task::spawn_blocking(move || {
            let mut child = command.spawn().expect("it runs");
            // It may have ended without reading.
            let _ = child.stdin.take().expect("piped").write_all(input);
            let output = child.wait_with_output().expect("it ends");
            let text = |bytes| String::from_utf8(bytes).expect("text");
            (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
        })
    };
    let mut stream = fake.client().messages("a").await.expect("a stream");
    stream.heard().await.expect("subscribed");
    let (code, out, err) = run(&["publish", "a", "hello"], b"").await.expect("no panic");
    assert_eq!((code, out.as_str()), (0, "acknowledged by the cloud: 5 bytes on a, 30000 ms\n"), "{err}");
    let (code, out, _) = run(&["--json", "publish", "a", "-"], b"\xff\0").await.expect("no panic");
    assert_eq!((code, out.as_str()), (0, "{\"bytes\":2,\"millis\":30000,\"topic\":\"a\"}\n"));
    for wanted in [b"hello".to_vec(), vec![0xff, 0]] {
        let Heard::Message(message) = stream.heard().await.expect("a message").1 else { panic!() };
        assert_eq!(message.into_bytes(), Ok(wanted));
    }
    let (code, _, err) = run(&["publish", "silence"], b"").await.expect("no panic");
    assert_eq!(code, 75, "{err}");
    let (code, _, err) = run(&["subscribe", "closed"], b"").await.expect("no panic");
    assert!(code == 77 && err.contains("fix: another"), "{code} {err}");
}

#[tokio::test]
async fn certrotctl_subscribe_prints_messages_and_survives_a_restart_of_the_daemon_with_a_word_of_the_gap() {
    let fake = Fake::start().await;
    let (socket, directory) = (fake.socket.clone(), fake.directory.clone());
    let mut child = Command::new(env!("CARGO_BIN_EXE_certrotctl"))
        .arg("--socket")
        .arg(&socket)
        .args(["subscribe", "a", "--count", "3"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let said = BufReader::new(child.stderr.take().expect("piped")).lines().map(|line| line.expect("text"));
    let (sender, mut lines) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in said {
            let _ = sender.send(line);
        }
    });
    assert_eq!(lines.recv().await.as_deref(), Some("certrotctl: subscribed to a"));
    for payload in ["one", "t\u{1b}wo"] {
        fake.client().post("/v1/publish", &json!({"topic": "a", "payload": payload})).await.expect("taken");
    }
    fake.stop().await;
    let gap = lines.recv().await.expect("a word of the gap");
    assert!(gap.starts_with("certrotctl: gap: "), "{gap}");
    let born = certrotd::control::wire::Time::from_seconds(crate::fake::NOW + 1);
    let again = Fake::at(directory, &socket, Limits::default(), answer, None, born).await;
    loop {
        let line = lines.recv().await.expect("it comes back");
        if line == "certrotctl: subscribed to a again" {
            break;
        }
    }
    again.client().post("/v1/publish", &json!({"topic": "b", "payloadBase64": "/w=="})).await.expect("taken");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().expect("it ends"));
    let output = output.await.expect("no panic");
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).expect("text");
    assert_eq!(text, "a one\na t\u{1b}wo\nb base64:/w==\n", "as they are in a pipe");
}
