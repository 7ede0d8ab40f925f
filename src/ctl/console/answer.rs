//! The answers of the console: their bodies, and the headers that every one of them has.

use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use crate::control::wire::Problem;

/// What an answer carries.
pub enum Content {
    /// A whole text; empty when it is written.
    Text(Bytes),
    /// A stream of the daemon's, passed on while it lasts, and the place that it holds.
    Stream {
        /// The daemon's body.
        stream: Incoming,
        /// Free again when this is dropped.
        _place: OwnedSemaphorePermit,
    },
}

impl Body for Content {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Content::Text(text) if text.is_empty() => Poll::Ready(None),
            Content::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Content::Stream { stream, .. } => Pin::new(stream).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Content::Text(text) => text.is_empty(),
            Content::Stream { stream, .. } => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Text(text) => SizeHint::with_exact(text.len() as u64),
            Content::Stream { .. } => SizeHint::default(),
        }
    }
}

/// An answer with that status, media type and content.
pub fn answer(status: StatusCode, media: &'static str, content: Content) -> Response<Content> {
    let mut answer = Response::new(content);
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    answer
}

/// An answer of a text.
pub fn text(status: StatusCode, media: &'static str, text: impl Into<Bytes>) -> Response<Content> {
    answer(status, media, Content::Text(text.into()))
}

/// A refusal.
pub fn problem(problem: &Problem) -> Response<Content> {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_string(problem).unwrap_or_default(); // plain strings always become JSON
    let mut answer = text(status, PROBLEM, body + "\n");
    if status == StatusCode::TOO_MANY_REQUESTS {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    answer
}

/// The headers of every answer: nothing is kept, framed, guessed, or loaded from elsewhere.
pub fn harden(headers: &mut HeaderMap) {
    for (name, value) in HARDENED {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

/// RFC 9457.
pub const PROBLEM: &str = "application/problem+json";

/// Scripts and styles are files of ours; text can never become script (Trusted Types without any policy); no form is
/// sent, no base changed, no frame entered.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'none'; base-uri 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const HARDENED: [(&str, &str); 8] = [
    ("content-security-policy", POLICY),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
    ("cache-control", "no-store"),
];
