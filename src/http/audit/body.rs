//! The body of an answer, watched to its end: an event says what was sent, not what was promised.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{AuditEvent, ResponseEnd};

/// A body whose event is written when its last byte is handed over, when it fails, or when it is dropped before.
pub(super) struct Audited {
    body: Body,
    event: Option<AuditEvent>,
    /// All its bytes, when that is known before.
    length: Option<u64>,
    sent: u64,
}

impl Audited {
    /// Watches a body for an event; `promised` is its length as the head of the answer says it.
    pub(super) fn new(body: Body, event: AuditEvent, promised: Option<u64>) -> Self {
        Self {
            length: promised.or_else(|| http_body::Body::size_hint(&body).exact()),
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

impl http_body::Body for Audited {
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
        let whole = http_body::Body::is_end_stream(&self.body);
        self.end(if whole {
            ResponseEnd::Whole
        } else {
            ResponseEnd::Gone
        });
    }
}
