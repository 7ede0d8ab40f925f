//! What each path answers.

use std::sync::Arc;
use std::time::Duration;

use certrotd::control::client::ClientError;
use certrotd::control::wire::{EventKind, EventResult, Problem};
use certrotd::control::{Limits, MetricsListener, What};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fake::{Fake, NOW, answer, done, step, text_of};

#[tokio::test]
async fn a_status_has_every_field_of_the_contract_and_the_present() {
    let fake = Fake::start().await;
    let (code, body) = fake.ask("GET", "/v1/status", "").await;
    assert_eq!(code, 200);
    let status: Value = serde_json::from_str(&body).expect("JSON");
    for field in [
        "state",
        "since",
        "why",
        "until",
        "thingName",
        "serial",
        "connected",
        "certificate",
        "rotation",
        "retire",
        "hooks",
        "version",
        "connection",
        "clock",
        "generations",
        "alerts",
        "operation",
    ] {
        assert!(status.get(field).is_some(), "{field}");
    }
    for (part, fields) in [
        ("certificate", &["id", "notBefore", "notAfter", "keyType", "generation"][..]),
        ("rotation", &["enabled", "dueAt", "rule", "overdueSeconds", "lastResult", "failures"]),
        ("retire", &["pending"]),
        ("hooks", &["generation", "results"]),
        ("connection", &["cause", "since", "failures", "remedy"]),
        ("clock", &["trusted"]),
    ] {
        for field in fields {
            assert!(status[part].get(field).is_some(), "{part}.{field}");
        }
    }
    assert_eq!(status["now"], "2026-11-24T10:00:00Z", "the fake's present is {NOW}");
    assert_eq!(status["rotation"]["overdueSeconds"], 30, "counted as it answers");
    assert_eq!(status["state"], "steady");
}

#[tokio::test]
async fn a_status_of_an_engine_that_is_gone_is_refused_and_not_repeated() {
    let fake = Fake::start().await;
    let client = fake.client();
    assert!(client.get("/v1/status").await.is_ok());
    drop(fake.status);
    let refused = client.get("/v1/status").await;
    assert!(matches!(&refused, Err(ClientError::Refused(p)) if p.code == "stopping"), "{refused:?}");
}

#[tokio::test]
async fn every_order_reaches_the_engine_as_it_was_meant() {
    let fake = Fake::start().await;
    let client = fake.client();
    let patch = certrotd::control::wire::RotationPatch {
        enabled: Some(false),
        max_age: Some("90d".into()),
        ..Default::default()
    };
    for (path, body, what) in [
        ("/v1/provision", json!({}), What::Provision { serial: None, confirmed: false }),
        (
            "/v1/provision",
            json!({"serial": "SN-9", "confirmed": true}),
            What::Provision { serial: Some("SN-9".into()), confirmed: true },
        ),
        ("/v1/rotate", json!({}), What::Rotate { dry_run: false }),
        ("/v1/reload", json!({}), What::Reload),
        ("/v1/connect", json!({}), What::Connect),
        ("/v1/disconnect", json!({}), What::Disconnect),
        ("/v1/adopt", json!({}), What::Adopt),
    ] {
        let said = client.post(path, &body).await.expect("taken");
        assert_eq!(text_of(&said), format!("{what:?}"), "{path} {body}");
    }
    let said =
        client.patch("/v1/rotation", &json!({"enabled": false, "maxAge": "90d"})).await.expect("taken");
    assert_eq!(text_of(&said), format!("{:?}", What::Patch(patch)));
    let said = client.get("/v1/check").await.expect("taken");
    assert_eq!(said["steps"][0]["detail"], "Check");
    let said = client.post("/v1/rotate", &json!({"dryRun": true})).await.expect("taken");
    assert_eq!(said["steps"][0]["detail"], format!("{:?}", What::Rotate { dry_run: true }));
    let said = client.get("/v1/history").await.expect("taken");
    assert_eq!(said[0]["text"], "History");
}

#[tokio::test]
async fn an_order_without_a_body_is_an_order() {
    let fake = Fake::start().await;
    assert_eq!(fake.ask("POST", "/v1/rotate", "").await.0, 200);
    assert_eq!(fake.ask("POST", "/v1/provision", " \n").await.0, 200);
}

#[tokio::test]
async fn metrics_are_prometheus_text() {
    let fake = Fake::start().await;
    let answer = fake.raw("GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    assert!(answer.ends_with("\r\n\r\ncertrotd_up 1\n"), "{answer}");
}

#[tokio::test]
async fn what_is_malformed_is_refused_with_a_remedy_and_never_reaches_the_engine() {
    let fake = Fake::with(Limits::default(), |order| panic!("{order:?}"), None).await;
    for (method, path, body, code) in [
        ("GET", "/v1/nonsense", "", 404),
        ("GET", "/", "", 404),
        ("POST", "/v1/nonsense", "{}", 404),
        ("GET", "/v1/publish", "", 405),
        ("POST", "/v1/subscribe", "", 405),
        ("DELETE", "/v1/status", "", 405),
        ("POST", "/v1/status", "", 405),
        ("GET", "/v1/rotate", "", 405),
        ("POST", "/v1/rotation", "{}", 405),
        ("POST", "/v1/rotate", "{", 400),
        ("POST", "/v1/rotate", "[]", 400),
        ("POST", "/v1/rotate", "{\"dryRun\": 1}", 400),
        ("POST", "/v1/rotate", "{\"dry_run\": true}", 400),
        ("POST", "/v1/provision", "{\"serial\": \"\u{1}\"}", 400),
        ("PATCH", "/v1/rotation", "{}", 400),
        ("PATCH", "/v1/rotation", "", 400),
        ("PATCH", "/v1/rotation", "{\"maxAge\": 90}", 400),
        ("PATCH", "/v1/rotation", "{\"splay\": \"1h\"}", 400),
    ] {
        let problem = fake.refused(method, path, body).await;
        assert_eq!(problem.status, code, "{method} {path} {body}: {problem:?}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_which_one_is_right_and_head_is_get_without_the_body() {
    let fake = Fake::start().await;
    for (request, status, line) in [
        ("DELETE /v1/status", "405", "allow: GET, HEAD\r\n"),
        ("GET /v1/rotate", "405", "allow: POST\r\n"),
        ("POST /v1/rotation", "405", "allow: PATCH\r\n"),
        ("HEAD /metrics", "200", "content-length: 14\r\n"),
        ("HEAD /v1/events", "200", "content-type: text/event-stream\r\n"),
    ] {
        let answer = fake.raw(&format!("{request} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains(line), "{request}: {answer}");
        let head = request.starts_with("HEAD");
        assert_eq!(head, answer.ends_with("\r\n\r\n"), "{request}: {answer}");
    }
}

#[tokio::test]
async fn the_engines_refusal_comes_through_whole() {
    let fake = Fake::with(
        Limits::default(),
        |order| order.answer::<()>(Err(Problem::conflict("contested", "two clients", "stop one"))),
        None,
    )
    .await;
    let problem = fake.refused("POST", "/v1/rotate", "").await;
    assert_eq!(problem, Problem::conflict("contested", "two clients", "stop one"));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_answer_is_reported_as_busy() {
    let mut kept = Vec::new();
    let fake = Fake::with(Limits::default(), move |order| kept.push(order), None).await;
    let problem = fake.refused("POST", "/v1/reload", "").await;
    assert_eq!((problem.status, problem.code.as_str()), (503, "busy"));
    assert!(problem.detail.contains("may still be done"), "{problem:?}");
}

#[tokio::test]
async fn an_engine_that_drops_an_order_is_reported_as_stopping() {
    let fake = Fake::with(Limits::default(), drop, None).await;
    let problem = fake.refused("POST", "/v1/reload", "").await;
    assert_eq!((problem.status, problem.code.as_str()), (503, "stopping"));
}

#[tokio::test]
async fn only_one_dry_run_runs_at_a_time() {
    let (first, mut firsts) = tokio::sync::mpsc::unbounded_channel();
    let fake = Fake::with(
        Limits::default(),
        move |order| first.send(order).expect("the test keeps the other end"),
        None,
    )
    .await;
    let client = fake.client();
    let dry = json!({"dryRun": true});
    let one = tokio::spawn(async move { client.post("/v1/rotate", &dry).await });
    let order = firsts.recv().await.expect("the first dry run");
    let problem = fake.refused("POST", "/v1/rotate", r#"{"dryRun":true}"#).await;
    assert_eq!((problem.status, problem.code.as_str()), (503, "busy"));
    answer(order);
    assert!(one.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_reader_sees_every_event_once_and_a_returning_one_what_it_missed() {
    let fake = Fake::start().await;
    fake.feed.send(step(1, "before", EventResult::Ok));
    let mut events = fake.client().events(None).await.expect("a stream");
    fake.feed.send(step(1, "issue", EventResult::Started));
    let (value, event) = events.next().await.expect("an event");
    assert_eq!((event.step.as_deref(), &value["kind"]), (Some("issue"), &json!("rotation-step")));
    let last = events.last_id();
    drop(events);
    fake.feed.send(step(1, "issue", EventResult::Ok));
    fake.feed.send(done(1, EventResult::Ok, "generation 8"));
    let mut events = fake.client().events(last).await.expect("a stream");
    assert_eq!(events.next().await.expect("missed").1.result, Some(EventResult::Ok));
    assert_eq!(events.next().await.expect("missed").1.kind, EventKind::RotationDone);
    fake.feed.send(step(2, "issue", EventResult::Started));
    assert_eq!(events.next().await.expect("live").1.operation, Some(2));
}

#[tokio::test]
async fn a_reader_that_saw_no_event_can_come_back_too() {
    let fake = Fake::start().await;
    let seen = fake.feed.send(step(1, "before", EventResult::Ok));
    let mut events = fake.client().events(None).await.expect("a stream");
    let silent = tokio::time::timeout(Duration::from_millis(50), events.next()).await;
    assert!(silent.is_err(), "nothing has happened");
    assert_eq!(events.last_id(), Some(seen));
}

#[tokio::test]
async fn an_event_id_that_is_no_number_is_refused() {
    let fake = Fake::start().await;
    let answer = fake
        .raw("GET /v1/events HTTP/1.1\r\nhost: x\r\nlast-event-id: soon\r\nconnection: close\r\n\r\n")
        .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_stopping_server_ends_its_streams_and_takes_its_socket_away() {
    let fake = Fake::start().await;
    let (socket, client) = (fake.socket.clone(), fake.client());
    let mut events = client.events(None).await.expect("a stream");
    fake.stop().await;
    assert!(!socket.exists());
    assert!(events.next().await.is_err(), "the stream has ended");
}

#[tokio::test]
async fn the_listener_for_scrapers_serves_metrics_and_nothing_else() {
    let listener = MetricsListener::bind(([127, 0, 0, 1], 0).into()).await.expect("a free port");
    let address = listener.address().expect("it is bound");
    let taken = MetricsListener::bind(address).await.expect_err("one listens there");
    assert!(taken.remedy().contains("control.metrics-listen"), "{taken}");
    let metrics = Arc::new(|| "certrotd_up 1\n".to_owned());
    tokio::spawn(listener.serve(metrics, Limits::default(), std::future::pending()));
    for (request, status, end) in [
        ("GET /metrics", "HTTP/1.1 200 ", "\r\n\r\ncertrotd_up 1\n"),
        ("GET /v1/status", "HTTP/1.1 404 ", "\r\n\r\n"),
        ("POST /v1/rotate", "HTTP/1.1 404 ", "\r\n\r\n"),
        ("POST /metrics", "HTTP/1.1 405 ", "\r\n\r\n"),
    ] {
        let mut stream = tokio::net::TcpStream::connect(address).await.expect("it listens");
        stream
            .write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.expect("it closes after one answer");
        assert!(answer.starts_with(status) && answer.ends_with(end), "{request}: {answer}");
    }
}
