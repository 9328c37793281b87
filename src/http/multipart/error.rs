//! Why a multipart body cannot be read on.

/// An error of the body stream, of any kind.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

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
