//! The stream between the request body and multer: pulls a burst at a time and hands on normalised framing.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::BoxStream;

use super::error::{BodyError, MultipartError};
use super::framing::{Framing, GuardState, GuardStep};
use super::limits::{BURST, BodyLimits};
use super::valve::Valve;

/// See the module.
pub(super) struct Guard {
    body: BoxStream<'static, Result<Bytes, BodyError>>,
    valve: Arc<Valve>,
    framing: Framing,
    /// Bytes handed on since the valve was opened.
    burst: usize,
}

impl Guard {
    /// Reads `boundary` from `body`, writes `marker` in its place.
    pub(super) fn new(
        body: BoxStream<'static, Result<Bytes, BodyError>>,
        boundary: &str,
        marker: &str,
        limits: BodyLimits,
        valve: Arc<Valve>,
    ) -> Self {
        Self {
            body,
            valve,
            framing: Framing::new(boundary, marker, limits),
            burst: 0,
        }
    }
}

impl Stream for Guard {
    type Item = Result<Bytes, MultipartError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.burst >= BURST {
                if !this.valve.pass() {
                    return Poll::Pending;
                }
                this.burst = 0;
            }
            match this.framing.step() {
                Ok(GuardStep::Piece(piece)) => {
                    this.burst = this.burst.saturating_add(piece.len());
                    return Poll::Ready(Some(Ok(piece)));
                }
                Ok(GuardStep::Done) => return Poll::Ready(None),
                Ok(GuardStep::NeedsInput) => {}
                Err(error) => {
                    // multer drops what it holds as soon as it sees an error, so it must have asked for more.
                    let asked = this.valve.pass();
                    let (now, later) = if asked {
                        (Some(error), None)
                    } else {
                        (None, Some(error))
                    };
                    this.framing.state = GuardState::Failed(later);
                    return now.map_or(Poll::Pending, |error| Poll::Ready(Some(Err(error))));
                }
            }
            if !this.valve.pass() {
                return Poll::Pending;
            }
            this.burst = 0;
            match this.body.as_mut().poll_next(cx) {
                Poll::Pending => {
                    this.valve.body_is_pending.store(true, Ordering::Relaxed);
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(chunk))) => this.framing.feed(chunk),
                // Everything that counts has arrived.
                Poll::Ready(Some(Err(_))) if matches!(this.framing.state, GuardState::Closed) => {
                    this.framing.ended = true
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(MultipartError::Aborted(error))));
                }
                Poll::Ready(None) => this.framing.ended = true,
            }
        }
    }
}
