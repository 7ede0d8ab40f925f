//! The body of an answer: a whole text, or a stream of events that ends when its writer does.
//!
//! One type for every path, so that no answer is boxed. What stands in it is the business of `routes` and `sse`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderValue};
use tokio::sync::mpsc;

/// What an answer carries.
pub(super) enum Content {
    /// The text that is still to be written; empty when it is.
    Text(Bytes),
    /// The pump's end of the events.
    Stream(mpsc::Receiver<String>),
}

impl Content {
    /// A whole answer of this media type, which no cache keeps.
    pub(super) fn text(media: &'static str, text: String) -> Response<Content> {
        answer(media, Content::Text(Bytes::from(text)))
    }

    /// An answer that goes on while its writer lives.
    pub(super) fn stream(media: &'static str, frames: mpsc::Receiver<String>) -> Response<Content> {
        answer(media, Content::Stream(frames))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Content::Text(text) if text.is_empty() => Poll::Ready(None),
            Content::Text(text) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(text))))),
            Content::Stream(frames) => {
                frames.poll_recv(cx).map(|frame| frame.map(|frame| Ok(Frame::data(Bytes::from(frame)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Content::Text(text) if text.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Content::Text(text) => SizeHint::with_exact(text.len() as u64),
            Content::Stream(_) => SizeHint::default(),
        }
    }
}

fn answer(media: &'static str, content: Content) -> Response<Content> {
    let mut answer = Response::new(content);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
