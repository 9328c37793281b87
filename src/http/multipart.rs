//! Reading `multipart/related` bodies: multer behind a guard that bounds and normalises what reaches it.
//!
//! [`Parts`] yields one [`BodyPart`] after the other, each in chunks. The guard recognises delimiters strictly, accepts bare
//! LF line ends when the opening delimiter line has one, unfolds header lines, lets parts without headers pass, and caps
//! everything that is held. Invariants: no more of the body is read than is needed for the next chunk; an error is
//! reported only after everything complete before it was handed out; memory is bounded by [`BURST`], never by the body.

mod error;
mod framing;
mod guard;
mod limits;
mod valve;
pub mod writer;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::poll_fn;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{CONTENT_LOCATION, CONTENT_TYPE, HeaderName};
use rand::distr::{Alphanumeric, SampleString};

use framing::BARE;
use guard::Guard;
use valve::Valve;

pub use error::{BodyError, MultipartError};
pub use limits::{BURST, BodyLimits, MAX_PART_HEADERS, MAX_PREAMBLE};

/// Rounds without a result after which other tasks get their turn.
const MAX_ROUNDS: usize = 128;

/// The parts of a multipart body, in order.
#[derive(Debug)]
pub struct Parts {
    multer: multer::Multipart<'static>,
    valve: Arc<Valve>,
    /// Parts handed out so far.
    count: u64,
    failed: bool,
}

impl Parts {
    /// Starts reading; nothing is pulled from the body yet.
    #[must_use]
    pub fn new<S, E>(body: S, boundary: &str, limits: BodyLimits) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
        E: Into<BodyError> + 'static,
    {
        let valve = Arc::new(Valve::default());
        // multer sees a boundary of ours, so nothing in the data can be taken for one.
        let marker = Alphanumeric.sample_string(&mut rand::rng(), 32);
        let body = body.map_err(Into::into).boxed();
        let guard = Guard::new(body, boundary, &marker, limits, Arc::clone(&valve));
        Self {
            multer: multer::Multipart::new(guard, marker),
            valve,
            count: 0,
            failed: false,
        }
    }

    /// The next part, none after the closing delimiter; what was not read of the part before is skipped.
    ///
    /// # Errors
    /// [`MultipartError`]; then every later call answers [`MultipartError::GivenUp`].
    pub async fn next(&mut self) -> Result<Option<BodyPart<'_>>, MultipartError> {
        if self.failed {
            return Err(MultipartError::GivenUp);
        }
        let (multer, valve) = (&mut self.multer, &self.valve);
        let next = poll_fn(|cx| drive(valve, cx, |cx| multer.poll_next_field(cx))).await;
        let number = self.count.saturating_add(1);
        match next {
            Ok(None) => Ok(None),
            Ok(Some(field)) => {
                self.count = number;
                let mut headers = field.headers().clone();
                headers.remove(BARE);
                let headers = PartHeaders(headers);
                Ok(Some(BodyPart {
                    headers,
                    number,
                    field,
                    valve: &self.valve,
                    failed: &mut self.failed,
                }))
            }
            Err(error) => {
                self.failed = true;
                Err(explain(error, number))
            }
        }
    }
}

/// One part; dropping it early skips the rest of it.
#[derive(Debug)]
pub struct BodyPart<'a> {
    /// Its header lines.
    pub headers: PartHeaders,
    /// Its number, from one.
    pub number: u64,
    field: multer::Field<'static>,
    valve: &'a Valve,
    failed: &'a mut bool,
}

impl BodyPart<'_> {
    /// The next bytes, never an empty chunk; none at the end of the part.
    ///
    /// # Errors
    /// [`MultipartError`]; the part is not complete then and must not be used.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, MultipartError> {
        loop {
            if *self.failed {
                return Err(MultipartError::GivenUp);
            }
            let (field, valve) = (&mut self.field, self.valve);
            match poll_fn(|cx| drive(valve, cx, |cx| field.poll_next_unpin(cx))).await {
                None => return Ok(None),
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Ok(Some(bytes)),
                Some(Err(error)) => {
                    *self.failed = true;
                    return Err(explain(error, self.number));
                }
            }
        }
    }
}

/// The header lines of a part.
#[derive(Debug, Clone)]
pub struct PartHeaders(HeaderMap);

impl PartHeaders {
    /// The Content-Type as sent.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.text(&CONTENT_TYPE)
    }

    /// The Content-Location: under which URI a bulk data part is referred to.
    #[must_use]
    pub fn content_location(&self) -> Option<&str> {
        self.text(&CONTENT_LOCATION)
    }

    /// The Content-ID, angle brackets included.
    #[must_use]
    pub fn content_id(&self) -> Option<&str> {
        self.text(&HeaderName::from_static("content-id"))
    }

    /// All header lines.
    #[must_use]
    pub fn all(&self) -> &HeaderMap {
        &self.0
    }

    fn text(&self, name: &HeaderName) -> Option<&str> {
        let value = self.0.get(name)?;
        std::str::from_utf8(value.as_bytes()).ok().map(str::trim)
    }
}

/// Polls multer, opening the valve for one burst each time it has used up what it holds.
fn drive<T>(
    valve: &Valve,
    cx: &mut Context<'_>,
    mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Poll<T> {
    valve.reset();
    for _ in 0..MAX_ROUNDS {
        if let Poll::Ready(result) = poll(cx) {
            return Poll::Ready(result);
        }
        if valve.body_is_pending() {
            return Poll::Pending;
        }
        valve.open();
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// The guard's own error inside multer's, or what multer found in the header lines.
fn explain(error: multer::Error, part: u64) -> MultipartError {
    match error {
        multer::Error::StreamReadFailed(inner) => match inner.downcast::<MultipartError>() {
            Ok(own) => *own,
            Err(other) => MultipartError::Aborted(other),
        },
        multer::Error::ReadHeaderFailed(_)
        | multer::Error::IncompleteHeaders
        | multer::Error::DecodeHeaderName { .. }
        | multer::Error::DecodeHeaderValue { .. } => MultipartError::BadHeaders {
            part,
            source: error,
        },
        other => MultipartError::Unreadable {
            part,
            source: other,
        },
    }
}

#[cfg(test)]
mod tests;
