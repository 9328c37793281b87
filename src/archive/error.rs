//! What can go wrong between a request's meaning and the stores.

use crate::blob::BlobError;
use crate::dicom::error::ParseError;
use crate::index::IndexError;
use crate::memory::NoMemory;

/// Failure of an archive call.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// No such study, series, instance, frame or bulk data, or none that the caller may see.
    #[error("{what} was not found")]
    NotFound {
        /// What was asked for, without patient data.
        what: String,
    },
    /// What the request says of the study does not hold; nothing was stored.
    #[error("the study is not as the request says")]
    Unmatched,
    /// The request cannot be understood.
    #[error("{reason}")]
    Invalid {
        /// What is wrong and what to send instead.
        reason: String,
    },
    /// None of the acceptable representations can be made.
    #[error("{reason}")]
    NotAcceptable {
        /// Why.
        reason: String,
        /// What can be had.
        available: Vec<String>,
    },
    /// The answer would be larger than this server gives at once.
    #[error("{reason}")]
    TooLarge {
        /// What to ask instead.
        reason: String,
    },
    /// Too much is going on; later may work.
    #[error("the server is busy with {what}")]
    Busy {
        /// What ran out.
        what: &'static str,
    },
    /// There is no memory for it, now or ever.
    #[error("{0}")]
    Memory(#[from] NoMemory),
    /// The index failed.
    #[error("the index failed")]
    Index(#[from] IndexError),
    /// The index could not take new instances; shared by all that were in the transaction.
    #[error("the index could not take the instance")]
    Commit(#[source] std::sync::Arc<IndexError>),
    /// The blob store failed.
    #[error("the blob store failed")]
    Blob(#[from] BlobError),
    /// A stored file cannot be read again.
    #[error("a stored instance cannot be read")]
    Stored(#[from] ParseError),
    /// A frame cannot be decoded or encoded.
    #[error("the frame cannot be converted")]
    Codec(#[source] crate::dicom::codec::CodecError),
    /// A picture cannot be made.
    #[error("the picture cannot be made")]
    Render(#[source] crate::dicom::render::RenderError),
    /// What several requests waited for together failed.
    #[error("{0}")]
    Shared(std::sync::Arc<Self>),
    /// A task that requests depend on fails again and again.
    #[error("the task {task} fails; it is started again and again")]
    Down {
        /// Its name.
        task: &'static str,
    },
    /// A task was lost, which only a defect can cause.
    #[error("the task {what} was lost")]
    Lost {
        /// Which.
        what: &'static str,
    },
}

/// Result of an archive call.
pub type Result<T> = std::result::Result<T, ArchiveError>;

impl ArchiveError {
    /// Not found, with a sentence's subject.
    #[must_use]
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound { what: what.into() }
    }

    /// Whether it says that pixels cannot be converted, and nothing else is wrong.
    #[must_use]
    pub fn is_about_pixels(&self) -> bool {
        match self {
            Self::Codec(_)
            | Self::Render(_)
            | Self::NotAcceptable { .. }
            | Self::TooLarge { .. }
            | Self::Memory(NoMemory::TooLarge { .. }) => true,
            Self::Shared(error) => error.is_about_pixels(),
            _ => false,
        }
    }

    /// Invalid, with a sentence.
    #[must_use]
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::Invalid {
            reason: reason.into(),
        }
    }
}
