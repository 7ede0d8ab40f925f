//! The REST side: AWS IoT's own control plane as far as it is used here, and `/twin/` for tests in any language.
//!
//! Paths, JSON and errors are those of the public service (its service model names them), so that AWS's SDKs and CLI
//! work with an endpoint override. Requests are taken signed or not: nothing here checks a signature, and nothing
//! listens beyond loopback. Every operation goes through `guard`: a fault on `api:<Operation>` (or `api:*`, to hit the
//! nth call whatever it is) refuses, throttles, delays or swallows it, and the call is in the events by its name.

mod attach;
mod certificates;
mod control;
mod data;
mod groups;
mod policies;
mod rules;
mod tags;
mod templates;
mod things;
mod types;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::cloud::Cloud;
use crate::events::Event;
use crate::faults::Effect;
use crate::registry::{ACCOUNT, RegistryError};

/// Serves until `stop` says so.
pub async fn serve(cloud: Arc<Cloud>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let families = [
        attach::routes,
        certificates::routes,
        data::routes,
        groups::routes,
        policies::routes,
        rules::routes,
        tags::routes,
        templates::routes,
        things::routes,
        types::routes,
    ];
    let router = families.iter().fold(control::routes(), |all, family| all.merge(family(&cloud)));
    let router: Router = router.fallback(unknown).with_state(cloud);
    let stopped = async move {
        let _dropped = stop.wait_for(|s| *s).await;
    };
    tokio::select! {
        served = axum::serve(listener, router) => drop(served),
        () = stopped => {}
    }
}

/// The state that every handler has.
type App = axum::extract::State<Arc<Cloud>>;

/// What a handler answers.
type Reply = Result<Response, Problem>;

/// An error in AWS's shape: a status, a name in `x-amzn-ErrorType`, a message.
#[derive(Debug)]
struct Problem {
    status: u16,
    name: String,
    message: String,
}

impl Problem {
    fn new(status: u16, name: &str, message: impl Into<String>) -> Self {
        Self { status, name: name.to_owned(), message: message.into() }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidRequestException", message)
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let (status, name) = match &error {
            RegistryError::NotFound(_) => (404, "ResourceNotFoundException"),
            RegistryError::Exists(_) => (409, "ResourceAlreadyExistsException"),
            RegistryError::State(_) => (406, "CertificateStateException"),
            RegistryError::Conflict(_) => (409, "DeleteConflictException"),
            RegistryError::Version(_) => (409, "VersionConflictException"),
            RegistryError::Versions(_) => (409, "VersionsLimitExceededException"),
            RegistryError::Limit(_) => (410, "LimitExceededException"),
            RegistryError::Invalid(_) => (400, "InvalidRequestException"),
        };
        Self::new(status, name, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::BAD_REQUEST);
        let body = axum::Json(json!({ "message": self.message }));
        (status, [("x-amzn-ErrorType", self.name)], body).into_response()
    }
}

/// Puts one operation of AWS's behind the guard; every route but those of `/twin/` is made so.
fn op(
    cloud: &Arc<Cloud>,
    operation: &'static str,
    handler: MethodRouter<Arc<Cloud>>,
) -> MethodRouter<Arc<Cloud>> {
    handler.route_layer(from_fn_with_state((cloud.clone(), operation), guard))
}

/// Plays the fault that was ordered for an operation, and notes the call.
async fn guard(
    State((cloud, operation)): State<(Arc<Cloud>, &'static str)>,
    request: Request,
    next: Next,
) -> Response {
    let fault = cloud.fault(&format!("api:{operation}"), "", "", |_| true);
    let answer = match refused(operation, fault.as_ref()).await {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    };
    let error = answer.headers().get("x-amzn-errortype").and_then(|e| e.to_str().ok()).map(str::to_owned);
    cloud.log(Event::Api { operation: operation.to_owned(), status: answer.status().as_u16(), error });
    match fault {
        Some(Effect::DelayAnswer { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
        Some(Effect::Kill) => {
            cloud.functions.kill();
            std::future::pending().await
        }
        // It was done and nobody hears of it: the caller must give up by itself.
        Some(Effect::Drop | Effect::Ignore | Effect::CloseUnanswered) => std::future::pending().await,
        _ => {}
    }
    answer
}

/// What a fault answers in the place of the operation.
async fn refused(operation: &str, fault: Option<&Effect>) -> Option<Problem> {
    match fault? {
        Effect::Throttle => Some(Problem::new(400, "ThrottlingException", "Rate exceeded")),
        Effect::Refuse { status_code, error_code } if error_code == "AccessDeniedException" => {
            let user = format!("arn:aws:iam::{ACCOUNT}:user/twin");
            let message = format!(
                "User: {user} is not authorized to perform: iot:{operation} on resource: * because no \
                 identity-based policy allows the iot:{operation} action"
            );
            Some(Problem::new(*status_code, error_code, message))
        }
        Effect::Refuse { status_code, error_code } => {
            Some(Problem::new(*status_code, error_code, "refused by a fault"))
        }
        Effect::Delay { ms } => {
            tokio::time::sleep(Duration::from_millis(*ms)).await;
            None
        }
        Effect::DelayAnswer { .. } | Effect::Drop | Effect::CloseUnanswered | Effect::Kill => None,
        Effect::Ignore => Some(Problem::new(500, "InternalFailureException", "")),
        _ => Some(Problem::new(503, "ServiceUnavailableException", "refused by a fault")),
    }
}

/// A JSON answer.
fn ok(value: serde_json::Value) -> Reply {
    Ok(axum::Json(value).into_response())
}

/// An answer without content.
fn done() -> Reply {
    ok(json!({}))
}

/// A JSON body; SDKs send no content type that axum's own extractor would insist on.
fn body<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<T, Problem> {
    let bytes = if bytes.is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes)
        .map_err(|e| Problem::invalid(format!("the body is not what is expected: {e}")))
}

/// The certificate id of an ARN, or of an id by itself.
fn certificate_of(principal: &str) -> String {
    principal.rsplit_once("cert/").map_or(principal, |(_, id)| id).to_owned()
}

/// The certificate id of the header that names a principal.
fn principal(headers: &HeaderMap) -> Result<String, Problem> {
    let named = headers.get("x-amzn-principal").or_else(|| headers.get("x-amzn-iot-principal"));
    let value =
        named.and_then(|v| v.to_str().ok()).ok_or_else(|| Problem::invalid("x-amzn-principal is missing"))?;
    Ok(certificate_of(value))
}

/// Words of a list request.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Page {
    #[serde(alias = "pageSize")]
    max_results: Option<usize>,
    #[serde(alias = "marker")]
    next_token: Option<String>,
}

/// One tag of a request.
#[derive(Deserialize)]
struct Tag {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "Value", default)]
    value: String,
}

fn pairs(tags: Vec<Tag>) -> Vec<(String, String)> {
    tags.into_iter().map(|t| (t.key, t.value)).collect()
}

impl Page {
    /// One page, and the token of the next: how many were before it.
    fn cut<T>(&self, items: Vec<T>) -> (Vec<T>, Option<String>) {
        let from: usize = self.next_token.as_deref().and_then(|t| t.parse().ok()).unwrap_or(0);
        // AWS's default and most is 250 for the lists that are here.
        let size = self.max_results.unwrap_or(250).clamp(1, 250);
        let more = items.len() > from.saturating_add(size);
        let page = items.into_iter().skip(from).take(size).collect();
        (page, more.then(|| (from + size).to_string()))
    }
}

/// Milliseconds as AWS's JSON writes a time: seconds with a fraction.
fn seconds(ms: i64) -> f64 {
    ms as f64 / 1000.0
}

async fn unknown() -> Problem {
    Problem::new(404, "UnknownOperationException", "the twin does not have this operation")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_to_the_end() {
        let first = Page { max_results: Some(2), next_token: None };
        let (page, next) = first.cut(vec![1, 2, 3]);
        assert_eq!((page, next.as_deref()), (vec![1, 2], Some("2")));
        let (page, next) = Page { max_results: Some(2), next_token: next }.cut(vec![1, 2, 3]);
        assert_eq!((page, next), (vec![3], None));
    }

    #[test]
    fn a_principal_is_an_arn_or_an_id() {
        assert_eq!(certificate_of("arn:aws:iot:eu-west-1:123456789012:cert/ab"), "ab");
        assert_eq!(certificate_of("ab"), "ab");
    }
}
