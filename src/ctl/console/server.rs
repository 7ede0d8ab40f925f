//! Serves TCP connections: bounded in number, in size and in time, so that no peer holds the console up.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::complain;
use super::routes::Console;
use crate::control::slow::MustRead;

/// Serves for ever; more than [`CONNECTIONS`] wait in the kernel's queue.
pub async fn serve(listener: TcpListener, console: Arc<Console>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let console = console.clone();
                tokio::spawn(async move {
                    connection(stream, console).await;
                    drop(place);
                });
            }
            Err(error) => {
                complain(&format!("console: accepting failed: {error}"), "free file descriptors or memory");
                sleep(AFTER_ACCEPT_FAILED).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, console: Arc<Console>) {
    let _ = stream.set_nodelay(true); // slower without, and no less right
    let service = service_fn(move |request| {
        let console = console.clone();
        async move { Ok::<_, Infallible>(console.answer(request).await) }
    });
    // A peer that breaks a limit or goes is no fault of ours: nothing is said of it.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(MustRead::new(stream, WRITE_TIME)), service)
        .await;
}

const CONNECTIONS: usize = 64;
/// For the headers, and for an idle connection.
const HEADER_TIME: Duration = Duration::from_secs(5);
const HEADER_BYTES: usize = 16 * 1024;
const HEADERS: usize = 64;
/// For a peer that does not read.
const WRITE_TIME: Duration = Duration::from_secs(10);
const AFTER_ACCEPT_FAILED: Duration = Duration::from_millis(200);
