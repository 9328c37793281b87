//! The body of an answer, watched to its end: an event says what was sent, not what was promised.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::http::Method;
use axum::http::header::CONTENT_LENGTH;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::event::{AuditEvent, ResponseEnd};

/// A body whose event is written when its last byte is handed over, when it fails, or when it is dropped before.
struct Audited {
    body: Body,
    event: Option<AuditEvent>,
    /// All its bytes, when that is known before.
    length: Option<u64>,
    sent: u64,
}

impl Audited {
    /// Watches a body for an event; `promised` is its length as the head of the answer says it.
    fn new(body: Body, event: AuditEvent, promised: Option<u64>) -> Self {
        Self {
            length: promised.or_else(|| HttpBody::size_hint(&body).exact()),
            body,
            event: Some(event),
            sent: 0,
        }
    }

    fn end(&mut self, end: ResponseEnd) {
        if let Some(event) = self.event.take() {
            event.write(end, self.sent);
        }
    }
}

impl HttpBody for Audited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.end(ResponseEnd::Whole),
            Poll::Ready(Some(Err(_))) => self.end(ResponseEnd::Failed),
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.sent = self.sent.saturating_add(bytes as u64);
                // Whoever knows the length before does not ask for the end behind the last byte.
                if self.length == Some(self.sent) {
                    self.end(ResponseEnd::Whole);
                }
            }
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Audited {
    fn drop(&mut self) {
        let whole = HttpBody::is_end_stream(&self.body);
        self.end(if whole {
            ResponseEnd::Whole
        } else {
            ResponseEnd::Gone
        });
    }
}

impl AuditEvent {
    /// Finishes the event with its answer: at once when there is nothing more to send, else with its last byte.
    pub(in crate::http) fn follow(mut self, mut response: Response) -> Response {
        self.status = Some(response.status());
        if let Some(touched) = response.extensions_mut().remove() {
            self.touched = touched;
        }
        let short = response.status().as_u16() >= 400
            || self.method == Method::HEAD
            || response.body().is_end_stream();
        if short {
            self.write(ResponseEnd::Whole, 0);
            return response;
        }
        let length = response.headers().get(CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse().ok());
        response.map(|body| Body::new(Audited::new(body, self, length)))
    }
}
