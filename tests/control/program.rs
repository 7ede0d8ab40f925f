//! The real `certrotctl` against the fake: what it prints and how it ends.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use certrotd::control::wire::{
    CheckReport, CheckResult, CheckStep, Event, EventKind, EventResult, LastResult, Problem, State, Status,
    Time,
};
use certrotd::control::{Feed, Limits, Order, What};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::fake::{Fake, NOW, answer, done, steady, step};

fn start(socket: &std::path::Path, words: &[&str]) -> JoinHandle<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_certrotctl"));
    command.arg("--socket").arg(socket).args(words).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("it runs"))
}

/// Runs it to its end: exit code, standard output, standard error.
async fn run(fake: &Fake, words: &[&str]) -> (i32, String, String) {
    ended(start(&fake.socket, words)).await
}

async fn ended(running: JoinHandle<Output>) -> (i32, String, String) {
    let output = running.await.expect("no panic");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_64_and_help_with_0() {
    let fake = Fake::start().await;
    assert_eq!(run(&fake, &["dance"]).await.0, 64);
    assert_eq!(run(&fake, &["wait"]).await.0, 64);
    let (code, out, _) = run(&fake, &["--help"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("rotate-now") && out.contains("69 daemon not reachable"), "{out}");
}

#[tokio::test]
async fn a_daemon_that_is_not_running_is_69_with_a_remedy() {
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("control.sock");
    let (code, out, err) = ended(start(&socket, &["status"])).await;
    assert_eq!((code, out.as_str()), (69, ""));
    assert!(err.contains("not running") && err.contains("systemctl start certrotd"), "{err}");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket that nobody serves"));
    let (code, _, err) = ended(start(&socket, &["rotate-now", "--wait"])).await;
    assert_eq!(code, 69, "{err}");
}

#[tokio::test]
async fn status_is_words_without_colour_in_a_pipe_and_one_line_as_json() {
    let fake = Fake::start().await;
    let (code, out, _) = run(&fake, &["status"]).await;
    assert_eq!(code, 0);
    assert!(out.contains("\nSteady: provisioned and connected\n") && !out.contains('\u{1b}'), "{out}");
    let (code, out, _) = run(&fake, &["status", "--json"]).await;
    assert_eq!((code, out.lines().count()), (0, 1));
    let value: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(value["thingName"], "SN-0001");
}

#[tokio::test]
async fn the_engines_problem_decides_how_it_ends() {
    for (problem, code) in [
        (Problem::configuration("line 3", "mend it"), 78),
        (Problem::conflict("contested", "two clients", "stop one"), 75),
        (Problem::busy("full", "later"), 75),
        (Problem::internal("a fault", "report it"), 70),
    ] {
        let given = problem.clone();
        let fake =
            Fake::with(Limits::default(), move |order| order.answer::<()>(Err(given.clone())), None).await;
        let (ended, out, err) = run(&fake, &["reload"]).await;
        assert_eq!((ended, out.as_str()), (code, ""), "{problem:?}");
        assert!(err.contains(&problem.detail) && err.contains(&problem.remedy), "{err}");
    }
}

#[tokio::test]
async fn provisioning_again_needs_a_yes() {
    let fake = Fake::start().await;
    let (code, out, err) = run(&fake, &["provision", "SN-9"]).await;
    assert_eq!((code, out.as_str()), (64, ""), "{err}");
    assert!(err.contains("give --yes"), "{err}");
    let (code, out, _) = run(&fake, &["provision", "SN-9", "--yes"]).await;
    assert_eq!((code, out.as_str()), (0, "Provision { serial: Some(\"SN-9\"), confirmed: true }\n"));
    fake.status.send_replace(Arc::new(Status { certificate: None, ..steady() }));
    let (code, _, _) = run(&fake, &["provision", "SN-9"]).await;
    assert_eq!(code, 0, "a fresh device is not asked about");
}

#[tokio::test]
async fn a_check_with_a_failed_step_says_so_in_words_and_exit_code() {
    let steps = vec![
        CheckStep { name: "dns".into(), result: CheckResult::Ok, ..CheckStep::default() },
        CheckStep { name: "tls".into(), result: CheckResult::Fail, ..CheckStep::default() },
    ];
    let report = CheckReport { steps, ..CheckReport::default() };
    let fake = Fake::with(Limits::default(), move |order| order.answer(Ok(report.clone())), None).await;
    for words in [&["check"][..], &["rotate-now", "--dry-run"]] {
        let (code, out, _) = run(&fake, words).await;
        assert_eq!(code, 75, "{words:?}");
        let lines: Vec<String> =
            out.lines().map(|l| l.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert!(
            lines.iter().any(|l| l == "ok dns") && lines.iter().any(|l| l == "FAIL tls"),
            "{words:?}: {out}"
        );
        assert_eq!(lines.last().map(String::as_str), Some("1 step failed: tls"), "{words:?}: {out}");
    }
}

/// A fake whose engine sends these events before it answers the order, so that only a reader who joined first sees
/// them all.
async fn rotating(events: Vec<Event>) -> Fake {
    let feed = Arc::new(OnceLock::<Feed>::new()); // the feed is made with the fake, after the engine
    let to = feed.clone();
    let engine = move |order: Order| {
        assert_eq!(order.what, What::Rotate { dry_run: false });
        for event in events.clone() {
            to.get().expect("set below").send(event);
        }
        order.answer(Ok(json!({"text": "rotating", "operation": 2, "joined": false})));
    };
    let fake = Fake::with(Limits::default(), engine, None).await;
    assert!(feed.set(fake.feed.clone()).is_ok());
    fake
}

#[tokio::test]
async fn a_followed_rotation_shows_each_step_and_ends_with_0() {
    let fake = rotating(vec![
        step(1, "prove", EventResult::Failed),
        done(1, EventResult::Failed, "another rotation"),
        step(2, "issue", EventResult::Started),
        step(2, "issue", EventResult::Ok),
        done(2, EventResult::Ok, "generation 8 is in use"),
    ])
    .await;
    let (code, out, err) = run(&fake, &["rotate-now", "--wait"]).await;
    let expected = "\
rotating
10:00:00     0.0 s  issue          …
10:00:00     0.0 s  issue          ok
10:00:01     1.0 s  rotation       ok      generation 8 is in use
rotated: generation 8 is in use
";
    assert_eq!((code, out.as_str(), err.as_str()), (0, expected, ""));
}

#[tokio::test]
async fn a_followed_rotation_that_fails_ends_with_75_the_step_and_the_reason() {
    let fake = rotating(vec![
        step(2, "prove", EventResult::Failed).text("CONNECT refused"),
        done(2, EventResult::Failed, "the cloud refused the new certificate"),
    ])
    .await;
    let (code, out, err) = run(&fake, &["rotate-now", "--wait"]).await;
    assert_eq!(code, 75, "{out}");
    assert!(
        err.contains("failed at prove: the cloud refused the new certificate") && err.contains("fix: "),
        "{err}"
    );
    let (code, out, _) = run(&fake, &["--json", "rotate-now", "--wait"]).await;
    assert_eq!(code, 75);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[1]["kind"], &lines[1]["result"]), (&json!("rotation-done"), &json!("failed")));
}

#[tokio::test]
async fn a_followed_rotation_that_does_not_end_is_given_up_at_its_time() {
    let fake = rotating(vec![step(2, "issue", EventResult::Started)]).await;
    let (code, _, err) = run(&fake, &["rotate-now", "--wait", "--timeout", "1s"]).await;
    assert_eq!(code, 75);
    assert!(err.contains("it goes on"), "{err}");
}

#[tokio::test]
async fn a_followed_rotation_survives_a_restart_of_the_daemon() {
    let fake = rotating(vec![step(2, "issue", EventResult::Ok)]).await;
    let (socket, directory) = (fake.socket.clone(), fake.directory.clone());
    let mut watching = fake.client().events(None).await.expect("a stream");
    let running = start(&socket, &["rotate-now", "--wait", "--timeout", "30s"]);
    watching.next().await.expect("the rotation has begun");
    fake.stop().await;
    let again = restarted(directory, &socket).await;
    again.feed.send(done(1, EventResult::Ok, "generation 8 is in use"));
    let (code, out, err) = ended(running).await;
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.ends_with("rotated: generation 8 is in use\n"), "numbers begin anew: {out}");
}

#[tokio::test]
async fn a_followed_rotation_whose_end_fell_into_the_restart_is_read_from_the_status() {
    let fake = rotating(vec![step(2, "issue", EventResult::Ok)]).await;
    let (socket, directory) = (fake.socket.clone(), fake.directory.clone());
    let mut watching = fake.client().events(None).await.expect("a stream");
    let running = start(&socket, &["rotate-now", "--wait", "--timeout", "30s"]);
    watching.next().await.expect("the rotation has begun");
    fake.stop().await;
    let again = restarted(directory, &socket).await;
    let mut status = steady();
    status.rotation.last_result = Some(LastResult {
        ok: false,
        at: Time::from_seconds(NOW + 5),
        step: Some("prove".into()),
        text: Some("refused".into()),
    });
    again.status.send_replace(Arc::new(status));
    let (code, out, err) = ended(running).await;
    assert_eq!(code, 75, "{out}{err}");
    assert!(err.contains("failed at prove: refused"), "{err}");
}

async fn restarted(directory: Arc<tempfile::TempDir>, socket: &std::path::Path) -> Fake {
    Fake::at(directory, socket, Limits::default(), answer, None, Time::from_seconds(NOW + 1)).await
}

#[tokio::test]
async fn waiting_begins_before_the_daemon_is_up_and_ends_when_the_goal_is_reached() {
    let directory = Arc::new(tempfile::tempdir().expect("a directory"));
    let socket = directory.path().join("control.sock");
    let running = start(&socket, &["wait", "--for", "connected", "--timeout", "30s"]);
    let fake = restarted(directory, &socket).await;
    fake.status.send_replace(Arc::new(Status { connected: false, ..steady() }));
    let mut waited = false;
    for _ in 0..2000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        waited |= fake.feed.readers() > 0;
        if waited {
            break;
        }
    }
    assert!(waited && !running.is_finished(), "it waits and follows the events");
    fake.status.send_replace(Arc::new(steady()));
    fake.feed.send(Event::new(Time::from_seconds(NOW), EventKind::Session));
    assert_eq!(ended(running).await, (0, "SN-0001 is connected\n".to_owned(), String::new()));
}

#[tokio::test]
async fn waiting_in_vain_is_75_with_the_daemons_reason_and_69_without_a_daemon() {
    let fake = Fake::start().await;
    fake.status.send_replace(Arc::new(Status {
        certificate: None,
        why: "the hook denies it".into(),
        ..steady()
    }));
    let (code, out, err) = run(&fake, &["wait", "--for", "provisioned", "--timeout", "1s"]).await;
    assert_eq!((code, out.as_str()), (75, ""));
    assert!(err.contains("not provisioned yet: the hook denies it"), "{err}");
    let nowhere = fake.directory.path().join("nowhere.sock");
    let (code, _, err) = ended(start(&nowhere, &["wait", "--for", "provisioned", "--timeout", "1s"])).await;
    assert_eq!(code, 69, "{err}");
}

#[tokio::test]
async fn a_watched_status_is_one_document_for_each_change() {
    let fake = Fake::start().await;
    let mut child = Command::new(env!("CARGO_BIN_EXE_certrotctl"))
        .arg("--socket")
        .arg(&fake.socket)
        .args(["--json", "status", "--watch"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let lines = BufReader::new(child.stdout.take().expect("piped"));
    let (sender, mut seen) = tokio::sync::mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), seen.recv()).await;
        let line = line.expect("in time").expect("it goes on");
        serde_json::from_str::<Status>(&line).expect("one document a line")
    };
    assert_eq!(next().await.state, State::Steady);
    let event = || Event::new(Time::from_seconds(NOW), EventKind::State);
    fake.feed.send(event()); // nothing has changed: nothing is printed
    fake.status.send_replace(Arc::new(Status { state: State::Proving, ..steady() }));
    fake.feed.send(event());
    assert_eq!(next().await.state, State::Proving);
    child.kill().expect("it still runs");
    child.wait().expect("it ends");
}
