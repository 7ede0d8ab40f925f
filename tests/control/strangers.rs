//! Who may do what: the kernel's word for the peer counts, for every path.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::Arc;

use certrotd::control::{Limits, Peer};

use crate::fake::{Fake, answer, own_uid};

/// Every path that changes something.
const ORDERS: [(&str, &str); 7] = [
    ("POST", "/v1/provision"),
    ("POST", "/v1/rotate"),
    ("POST", "/v1/reload"),
    ("POST", "/v1/connect"),
    ("POST", "/v1/disconnect"),
    ("POST", "/v1/adopt"),
    ("PATCH", "/v1/rotation"),
];

fn a_stranger(_: &tokio::net::UnixStream) -> std::io::Result<Peer> {
    Ok(Peer { uid: 4711, pid: 1 })
}

#[tokio::test]
async fn a_stranger_may_read_and_may_order_nothing() {
    let fake = Fake::with(
        Limits::default(),
        |order| {
            assert_eq!(order.by.uid, 4711);
            assert!(matches!(order.what, certrotd::control::What::Check | certrotd::control::What::History));
            answer(order);
        },
        Some(a_stranger),
    )
    .await;
    for path in ["/v1/status", "/v1/history", "/v1/check", "/metrics"] {
        assert_eq!(fake.ask("GET", path, "").await.0, 200, "{path}");
    }
    for (method, path) in ORDERS {
        let problem = fake.refused(method, path, "{\"enabled\": true}").await;
        assert_eq!((problem.status, problem.code.as_str()), (403, "not-permitted"), "{method} {path}");
        assert!(
            problem.detail.contains("4711") && problem.remedy.contains("control.operators"),
            "{problem:?}"
        );
    }
}

#[tokio::test]
async fn what_the_request_says_about_its_sender_counts_for_nothing() {
    let fake = Fake::with(Limits::default(), |order| panic!("{order:?}"), Some(a_stranger)).await;
    let answer = fake
        .raw(
            "POST /v1/adopt HTTP/1.1\r\nhost: x\r\nx-forwarded-user: root\r\nx-uid: 0\r\n\
             x-http-method-override: GET\r\nauthorization: Basic cm9vdDo=\r\nconnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn operators_that_a_reload_changes_count_at_once_even_on_an_open_connection() {
    let fake = Fake::start().await;
    assert_eq!(fake.ask("POST", "/v1/reload", "").await.0, 200);
    fake.operators.send_replace(Arc::new([own_uid() + 1].into()));
    assert_eq!(fake.ask("POST", "/v1/reload", "").await.0, 403);
    fake.operators.send_replace(Arc::new([own_uid()].into()));
    assert_eq!(fake.ask("POST", "/v1/reload", "").await.0, 200);
}

/// The kernel's word: only root can become somebody else, so elsewhere the injected stranger above must do.
#[tokio::test]
async fn another_user_of_the_machine_is_told_apart_by_the_kernel() {
    if own_uid() != 0 {
        eprintln!("not root: cannot become another user");
        return;
    }
    let fake = Fake::start().await;
    let program = fake.directory.path().join("certrotctl");
    std::fs::copy(env!("CARGO_BIN_EXE_certrotctl"), &program).expect("a copy that others may run");
    for path in [fake.directory.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let run = |uid: u32, words: &'static [&'static str]| {
        let mut command = Command::new(&program);
        command.uid(uid).gid(uid).arg("--socket").arg(&fake.socket).args(words);
        tokio::task::spawn_blocking(move || command.output().expect("it runs"))
    };
    let read = run(65534, &["--json", "status"]).await.expect("no panic");
    assert_eq!(read.status.code(), Some(0), "{read:?}");
    for words in [&["rotate-now"][..], &["reload"], &["adopt"], &["provision", "--yes"], &["disconnect"]] {
        let refused = run(65534, words).await.expect("no panic");
        assert_eq!(refused.status.code(), Some(77), "{words:?} {refused:?}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("fix: "), "{refused:?}");
    }
    let allowed = run(0, &["reload"]).await.expect("no panic");
    assert_eq!(allowed.status.code(), Some(0), "{allowed:?}");

    std::fs::set_permissions(&fake.socket, std::fs::Permissions::from_mode(0o660)).expect("ours");
    let kept_out = run(65534, &["status"]).await.expect("no panic");
    assert_eq!(kept_out.status.code(), Some(77), "the socket's mode decides who may connect: {kept_out:?}");
}
