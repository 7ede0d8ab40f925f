//! The socket's file.

use std::os::unix::fs::{PermissionsExt, symlink};

use certrotd::control::{BindError, Socket};

#[tokio::test]
async fn the_socket_appears_with_its_mode_and_leaves_nothing_beside_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    let socket = Socket::bind(&path, 0o660).await.expect("the path is free");
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o7777, 0o660);
    assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 1);
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_a_served_one_is_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket that nobody serves any more"));
    let served = Socket::bind(&path, 0o660).await.expect("nobody listens");
    let second = Socket::bind(&path, 0o660).await;
    assert!(matches!(second, Err(BindError::InUse { .. })), "{second:?}");
    assert!(path.exists(), "and the one that serves keeps its socket");
    drop(served);
}

#[tokio::test]
async fn what_is_no_socket_is_left_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    let precious = directory.path().join("precious");
    std::fs::File::create(&precious).expect("a file");
    symlink(&precious, &path).expect("a link");
    let refused = Socket::bind(&path, 0o660).await;
    assert!(matches!(refused, Err(BindError::NotASocket { .. })), "{refused:?}");
    assert!(precious.exists() && path.is_symlink());
}

#[tokio::test]
async fn a_daemon_that_ends_late_does_not_take_its_successors_socket_away() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    let old = Socket::bind(&path, 0o660).await.expect("the path is free");
    std::fs::remove_file(&path).expect("somebody tidied up");
    let new = Socket::bind(&path, 0o660).await.expect("the path is free");
    drop(old);
    assert!(path.exists());
    drop(new);
}

#[tokio::test]
async fn a_path_that_no_socket_can_have_is_refused_in_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let long = directory.path().join("x".repeat(100));
    assert!(matches!(Socket::bind(&long, 0o660).await, Err(BindError::TooLong { .. })));
    let nowhere = directory.path().join("nowhere/control.sock");
    let refused = Socket::bind(&nowhere, 0o660).await.expect_err("there is no directory");
    assert!(refused.remedy().contains("directory exists"), "{refused}");
}
