//! One `bootstrap` process with a runtime API of its own (AWS: “Using the Lambda runtime API”, 2018-06-01).
//!
//! `invocation/next` waits for an event; `response` and `error` answer it; `init/error` ends the start. The process
//! dies with the instance, and its output goes to `lambda/NAME.log` in the twin's directory.

use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::Program;
use crate::cloud::{Cloud, lock};
use crate::files;
use crate::registry::REGION;

/// A process that waits for its next event.
#[derive(Debug)]
pub(super) struct Instance {
    process: Child,
    events: mpsc::Sender<Invocation>,
    api: JoinHandle<()>,
}

/// Why an invocation gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum InvokeError {
    /// It was not answered in time, and its process was killed.
    #[error("not answered within {0:?}")]
    Late(Duration),
    /// It was killed on order.
    #[error("killed")]
    Killed,
    /// Its process ended, or could not start.
    #[error("the program ended: {0}")]
    Ended(String),
    /// It answered with an error.
    #[error("the function failed: {0}")]
    Failed(String),
}

/// Where an invocation's answer goes.
type Answer = oneshot::Sender<Result<Value, InvokeError>>;

#[derive(Debug)]
struct Invocation {
    arn: String,
    event: Vec<u8>,
    deadline_ms: u128,
    answer: Answer,
}

impl Instance {
    pub(super) async fn start(cloud: &Cloud, name: &str, program: &Program) -> Result<Self, InvokeError> {
        let ended = |e: &dyn std::fmt::Display| InvokeError::Ended(e.to_string());
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|e| ended(&e))?;
        let address = listener.local_addr().map_err(|e| ended(&e))?;
        let (events, waiting) = mpsc::channel(1);
        let runtime = Arc::new(Runtime { waiting: tokio::sync::Mutex::new(waiting), open: Mutex::default() });
        let logs = cloud.options.dir.join("lambda");
        files::make_dir(&logs).map_err(|e| ended(&e))?;
        let log = std::fs::File::options()
            .append(true)
            .create(true)
            .open(logs.join(format!("{name}.log")))
            .map_err(|e| ended(&e))?;
        let root = if program.root.is_dir() { program.root.clone() } else { logs };
        let process = Command::new(&program.bootstrap)
            .current_dir(&root)
            .env_clear()
            .envs([
                ("AWS_LAMBDA_RUNTIME_API", address.to_string()),
                ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
                ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256".to_owned()),
                ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
                ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
                ("AWS_LAMBDA_LOG_STREAM_NAME", "twin".to_owned()),
                ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
                ("AWS_REGION", REGION.to_owned()),
                ("AWS_DEFAULT_REGION", REGION.to_owned()),
                ("AWS_ACCESS_KEY_ID", "twin".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "twin".to_owned()),
                ("AWS_SESSION_TOKEN", "twin".to_owned()),
                ("AWS_ENDPOINT_URL", format!("http://{}", lock(&cloud.api))),
                ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
                ("LAMBDA_TASK_ROOT", root.display().to_string()),
                ("_HANDLER", "bootstrap".to_owned()),
                ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
                ("TZ", ":UTC".to_owned()),
            ])
            .envs(&program.environment)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| ended(&e))?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| ended(&e))?;
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .route("/2018-06-01/runtime/init/error", post(init_error))
            .with_state(runtime);
        let api = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Instance { process, events, api })
    }

    pub(super) async fn invoke(
        &mut self,
        arn: &str,
        event: &Value,
        end: Instant,
    ) -> Result<Value, InvokeError> {
        let (sender, answer) = oneshot::channel();
        let invocation = Invocation {
            arn: arn.to_owned(),
            event: event.to_string().into_bytes(),
            deadline_ms: (now() + end.saturating_duration_since(Instant::now())).as_millis(),
            answer: sender,
        };
        let gone = || InvokeError::Ended("its runtime API is closed".to_owned());
        self.events.try_send(invocation).map_err(|_| gone())?;
        tokio::select! {
            // An answer that came before the end counts.
            biased;
            answered = answer => answered.map_err(|_| gone())?,
            ended = self.process.wait() => {
                Err(InvokeError::Ended(ended.map_or_else(|e| e.to_string(), |status| status.to_string())))
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.api.abort();
    }
}

struct Runtime {
    waiting: tokio::sync::Mutex<mpsc::Receiver<Invocation>>,
    open: Mutex<Option<(String, Answer)>>,
}

impl Runtime {
    fn answer(&self, id: Option<&str>, answer: Result<Value, InvokeError>) -> StatusCode {
        let mut open = lock(&self.open);
        match open.take() {
            Some((known, sender)) if id.is_none_or(|id| id == known) => {
                // Who waits no longer was told already.
                let _late = sender.send(answer);
                StatusCode::ACCEPTED
            }
            other => {
                *open = other;
                StatusCode::BAD_REQUEST
            }
        }
    }
}

async fn next(State(runtime): State<Arc<Runtime>>) -> Response {
    let Some(invocation) = runtime.waiting.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = format!("{:032x}", fastrand::u128(..));
    *lock(&runtime.open) = Some((id.clone(), invocation.answer));
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", invocation.deadline_ms.to_string()),
        ("lambda-runtime-invoked-function-arn", invocation.arn),
        ("lambda-runtime-trace-id", "Root=1-00000000-000000000000000000000000;Sampled=0".to_owned()),
    ];
    (headers, invocation.event).into_response()
}

async fn response(State(runtime): State<Arc<Runtime>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    let answer = serde_json::from_slice(&body).map_err(|e| InvokeError::Failed(e.to_string()));
    runtime.answer(Some(&id), answer)
}

async fn error(State(runtime): State<Arc<Runtime>>, Path(id): Path<String>, body: Bytes) -> StatusCode {
    runtime.answer(Some(&id), Err(InvokeError::Failed(told(&body))))
}

/// The program says that it cannot start; it ends by itself, and whoever waits hears of that.
async fn init_error(body: Bytes) -> StatusCode {
    tracing::warn!(error = told(&body), "a function cannot start");
    StatusCode::ACCEPTED
}

/// `errorMessage` of an error.
fn told(body: &[u8]) -> String {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    error.get("errorMessage").and_then(Value::as_str).unwrap_or("no errorMessage").to_owned()
}

/// A deadline is for another process, so it is in real time and not in the twin's.
#[expect(clippy::disallowed_methods, reason = "the runtime API's deadline is real time")]
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
