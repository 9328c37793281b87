//! Answers over HTTP/2 are let go when their client takes nothing of them for too long.
//!
//! Over HTTP/1 the socket shows that. A stream of HTTP/2 may stand still while its connection goes on, and then nobody asks its
//! body for anything, so a timer looks after it. What is let go gives back its file, memory and room at once; the stream
//! itself is reset when its client wants more.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Most bytes handed on at once, which are what a slow client must take in time.
const PIECE: usize = 16 * 1024;

/// A body with a timer that runs while the client has not come back for more.
pub(super) struct Heeded {
    waiting: Arc<Mutex<Waiting>>,
    timer: AbortHandle,
}

struct Waiting {
    /// None when it was let go.
    body: Option<Body>,
    /// Taken from the body and not handed on yet.
    rest: Bytes,
    /// When the last piece was handed on; none while the server is the one who is waited for.
    since: Option<Instant>,
}

impl Heeded {
    /// Watches a body: the client may take nothing for `idle`.
    pub(super) fn new(body: Body, idle: Duration) -> Self {
        let waiting = Arc::new(Mutex::new(Waiting {
            body: Some(body),
            rest: Bytes::new(),
            since: Some(Instant::now()),
        }));
        let timer = tokio::spawn(watch(Arc::downgrade(&waiting), idle)).abort_handle();
        Self { waiting, timer }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Heeded {
    fn drop(&mut self) {
        self.timer.abort();
    }
}

/// Lets the body go once nothing was taken of it for `idle`.
async fn watch(waiting: Weak<Mutex<Waiting>>, idle: Duration) {
    let mut until = Instant::now() + idle;
    loop {
        tokio::time::sleep_until(until).await;
        let Some(waiting) = waiting.upgrade() else {
            return;
        };
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        until = waiting.since.unwrap_or(now) + idle;
        if until <= now {
            waiting.rest = Bytes::new();
            waiting.body = None;
            return;
        }
    }
}

impl http_body::Body for Heeded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut waiting = self.waiting();
        let Waiting { body, rest, since } = &mut *waiting;
        let Some(body) = body else {
            let late = std::io::Error::from(std::io::ErrorKind::TimedOut);
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        };
        if rest.is_empty() {
            *since = None;
            match Pin::new(body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => *rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
                other => return other,
            }
        }
        *since = Some(Instant::now());
        let piece = rest.split_to(rest.len().min(PIECE));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        let waiting = self.waiting();
        let body = waiting.body.as_ref();
        waiting.rest.is_empty() && body.is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let waiting = self.waiting();
        let Some(body) = &waiting.body else {
            return SizeHint::default();
        };
        let (mut hint, rest) = (body.size_hint(), waiting.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
