//! What the console answers: its page, its sessions, and what it passes on; each after the gate.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::{Instant, timeout};

use super::answer::{self, Content};
use super::gate::{Gate, Named, Proof};
use super::relay::{self, Relay};
use super::{assets, complain};
use crate::control::client::Client;
use crate::control::wire::Problem;

/// Everything that a request needs.
pub struct Console {
    gate: Mutex<Gate>,
    relay: Relay,
}

impl Console {
    pub fn new(client: Client, gate: Gate) -> Console {
        Console { gate: Mutex::new(gate), relay: Relay::new(client) }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Content> {
        let mut answer = self.routed(request).await.unwrap_or_else(|problem| answer::problem(&problem));
        answer::harden(answer.headers_mut());
        answer
    }

    async fn routed(&self, request: Request<Incoming>) -> Result<Response<Content>, Problem> {
        let (head, body) = request.into_parts();
        let headers = &head.headers;
        if head.uri.authority().is_some() {
            let fix = "ask for a path: this is no proxy";
            return Err(Problem::bad_request("the request names a whole address instead of a path", fix));
        }
        let named = self.gate().host(headers)?;
        let path = head.uri.path();
        if let Some((media, text)) = assets::find(path) {
            return match head.method {
                Method::GET | Method::HEAD => Ok(answer::text(StatusCode::OK, media, text)),
                _ => Ok(wrong_method("GET, HEAD")),
            };
        }
        if path == SESSION {
            return self.session(&head.method, headers, &named, body).await;
        }
        let Some(route) = relay::known(path) else {
            return Err(Problem::new(
                404,
                "unknown-path",
                "There is no such path",
                "the console does not know this path",
                "open its page at /",
            ));
        };
        if head.method != route.1 {
            return Ok(wrong_method(match route.1 {
                Method::GET => "GET",
                Method::PATCH => "PATCH",
                _ => "POST",
            }));
        }
        if route.1 == Method::GET {
            self.gate().read_from(headers)?;
        } else {
            self.gate().origin(headers, &named)?;
        }
        if !self.gate().is_open(headers, &named, Instant::now()) {
            return Err(Problem::new(
                401,
                "signed-out",
                "Not signed in",
                "there is no session, or it has ended",
                "sign in with the token that certrotctl console printed",
            ));
        }
        let body =
            if route.1 == Method::GET { None } else { Some(object(headers, body, LARGEST_BODY).await?) };
        self.relay.pass(route, &head.uri, headers, body.map(Value::Object)).await
    }

    /// `/console/session`: GET says how one stands, POST signs in, DELETE signs out.
    async fn session(
        &self,
        method: &Method,
        headers: &HeaderMap,
        named: &Named,
        body: Incoming,
    ) -> Result<Response<Content>, Problem> {
        let now = Instant::now();
        match *method {
            Method::GET => {
                let gate = self.gate();
                gate.read_from(headers)?;
                let stands = json!({
                    "signedIn": gate.is_open(headers, named, now),
                    "skipAuth": gate.skips(named),
                    "version": env!("CARGO_PKG_VERSION"),
                });
                Ok(answer::text(StatusCode::OK, "application/json", format!("{stands}\n")))
            }
            Method::POST => {
                let https = self.gate().origin(headers, named)?;
                let said = object(headers, body, LARGEST_PROOF).await?;
                let proof = match (said.get("token"), said.get("ticket")) {
                    (Some(Value::String(token)), None) => Proof::Token(token),
                    (None, Some(Value::String(ticket))) => Proof::Ticket(ticket),
                    _ => return Err(Problem::bad_request("no token is shown", "send {\"token\": \"…\"}")),
                };
                let opened = self.gate().open(proof, https, now);
                if let Err(problem) = &opened {
                    complain(&format!("console: nobody was let in: {}", problem.detail), &problem.remedy);
                }
                Ok(cookie(&opened?))
            }
            Method::DELETE => {
                let mut gate = self.gate();
                gate.origin(headers, named)?;
                Ok(cookie(&gate.close(headers, now)))
            }
            _ => Ok(wrong_method("GET, POST, DELETE")),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Nothing in there can panic half-way, so a poisoned lock still guards whole data.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn cookie(line: &str) -> Response<Content> {
    let mut answer = answer::text(StatusCode::NO_CONTENT, "application/json", "");
    if let Ok(line) = HeaderValue::from_str(line) {
        answer.headers_mut().insert(header::SET_COOKIE, line);
    }
    answer
}

fn wrong_method(allowed: &'static str) -> Response<Content> {
    let detail = "the path is known, its method is another";
    let mut answer = answer::problem(&Problem::new(
        405,
        "wrong-method",
        "The path does not take this method",
        detail,
        format!("use {allowed}"),
    ));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// Reads a JSON object within size and time. Its media type must say so: a form of another page cannot.
async fn object(headers: &HeaderMap, body: Incoming, most: usize) -> Result<Map<String, Value>, Problem> {
    let media = headers.get(header::CONTENT_TYPE).and_then(|m| m.to_str().ok()).unwrap_or_default();
    if media.split(';').next().map(str::trim) != Some("application/json") {
        let detail = "a body must be application/json";
        return Err(Problem::new(
            415,
            "not-json",
            "The body is not JSON",
            detail,
            "send a JSON object as such",
        ));
    }
    let bytes = match timeout(BODY_TIME, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let detail = format!("a body ends at {most} bytes here");
            return Err(Problem::new(413, "too-large", "The request is too large", detail, "send less"));
        }
        Ok(Err(_)) => return Err(Problem::bad_request("the body broke off", "send it whole")),
        Err(_) => {
            let detail = format!("the body was not whole after {} seconds", BODY_TIME.as_secs());
            return Err(Problem::new(
                408,
                "too-slow",
                "The request took too long",
                detail,
                "send it at once",
            ));
        }
    };
    serde_json::from_slice(&bytes).map_err(|error| {
        Problem::bad_request(format!("the body is no JSON object: {error}"), "send a JSON object")
    })
}

const SESSION: &str = "/console/session";
/// As the daemon's: a payload of AWS's 128 KB and its wrapping.
const LARGEST_BODY: usize = 192 * 1024;
const LARGEST_PROOF: usize = 4096;
const BODY_TIME: Duration = Duration::from_secs(5);
