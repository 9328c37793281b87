//! Reading `multipart/related` bodies: multer behind a guard that bounds and normalises what reaches it.
//!
//! [`Parts`] yields one [`BodyPart`] after the other, each in chunks. The guard recognises delimiters strictly, accepts bare
//! LF line ends when the opening delimiter line has one, unfolds header lines, lets parts without headers pass, and caps
//! everything that is held. Invariants: no more of the body is read than is needed for the next chunk; an error is
//! reported only after everything complete before it was handed out; memory is bounded by [`BURST`], never by the body.

mod guard;
pub mod writer;

use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::poll_fn;
use futures_util::{Stream, StreamExt, TryStreamExt};
use http::HeaderMap;
use http::header::{CONTENT_LOCATION, CONTENT_TYPE, HeaderName};
use rand::distr::{Alphanumeric, SampleString};

use guard::{BARE, Guard, Valve};

/// Most bytes before the first delimiter line.
pub const MAX_PREAMBLE: usize = 4 * 1024;
/// Most bytes of the header lines of one part.
pub const MAX_PART_HEADERS: usize = 16 * 1024;
/// Most bytes handed to multer before it must hand them on.
pub const BURST: usize = 256 * 1024;
/// Rounds without a result after which other tasks get their turn.
const MAX_ROUNDS: usize = 128;

/// An error of the body stream, of any kind.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// What a body may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimits {
    /// Most bytes of the whole body.
    pub body: u64,
    /// Most bytes of one part.
    pub part: u64,
    /// Most parts.
    pub parts: u64,
}

impl BodyLimits {
    /// For a caller who counts bytes and parts itself.
    pub const NONE: Self = Self {
        body: u64::MAX,
        part: u64::MAX,
        parts: u64::MAX,
    };
}

/// Why a body cannot be read on; parts are counted from one.
#[derive(Debug, thiserror::Error)]
pub enum MultipartError {
    /// The body ended before any delimiter line.
    #[error("the body has no line that is `--` and the boundary of the Content-Type")]
    BoundaryNotFound,
    /// Too much stands before the first delimiter line.
    #[error("no line that is `--` and the boundary of the Content-Type in the first {limit} bytes")]
    PreambleTooLong {
        /// The cap in bytes.
        limit: usize,
    },
    /// The header lines of a part are too long.
    #[error("the header lines of part {part} exceed {limit} bytes")]
    HeadersTooLong {
        /// Number of the part.
        part: u64,
        /// The cap in bytes.
        limit: usize,
    },
    /// A header line of a part is not `name: value`.
    #[error("the header lines of part {part} cannot be read")]
    BadHeaders {
        /// Number of the part.
        part: u64,
        /// What multer says.
        #[source]
        source: multer::Error,
    },
    /// The body ended properly, but without its closing delimiter.
    #[error("the body ends inside part {part}, without the closing boundary")]
    Truncated {
        /// Number of the part that is not complete.
        part: u64,
    },
    /// A part exceeds its limit.
    #[error("part {part} is larger than {limit} bytes")]
    PartTooLarge {
        /// Number of the part.
        part: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The body exceeds its limit.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// There are more parts than allowed.
    #[error("the body has more than {limit} parts")]
    TooManyParts {
        /// The limit.
        limit: u64,
    },
    /// The connection failed or the client went away.
    #[error("the body could not be received to its end")]
    Aborted(#[source] BodyError),
    /// An earlier error ended the reading.
    #[error("reading of the body was given up earlier")]
    GivenUp,
    /// multer refused what the guard let pass; the guard leaves no known way to this.
    #[error("part {part} cannot be read")]
    Unreadable {
        /// Number of the part.
        part: u64,
        /// What multer says.
        #[source]
        source: multer::Error,
    },
}

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
