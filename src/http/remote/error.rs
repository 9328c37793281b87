//! Why another server did not do what it was asked.

use std::time::Duration;

use crate::archive::ArchiveError;
use crate::memory::NoMemory;

/// Why another server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    /// What was given here cannot be used.
    #[error("{0}")]
    Setup(String),
    /// Nobody answers there.
    #[error("{0}")]
    Unreached(String),
    /// It broke off, or took too long.
    #[error("{0}")]
    Passing(String),
    /// It answered something else than a success.
    #[error("it answered {status}{detail}")]
    Refused {
        /// The status.
        status: u16,
        /// How long it asks to be left alone.
        pause: Option<Duration>,
        /// What it said, behind a colon.
        detail: String,
    },
    /// Its answer cannot be used.
    #[error("{0}")]
    Unusable(String),
    /// What it sent cannot be kept here.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl From<NoMemory> for RemoteError {
    fn from(error: NoMemory) -> Self {
        Self::Archive(error.into())
    }
}

impl RemoteError {
    /// Whether the same may go well later; how long the server asks to wait.
    #[must_use]
    pub fn may_pass(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreached(_)
            | Self::Passing(_)
            | Self::Archive(ArchiveError::Busy { .. } | ArchiveError::Memory(NoMemory::Busy)) => {
                Some(None)
            }
            Self::Refused { status, pause, .. } => {
                matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504).then_some(*pause)
            }
            Self::Setup(_) | Self::Unusable(_) | Self::Archive(_) => None,
        }
    }

    /// Whether every other request would fail in the same way.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Setup(_) => true,
            Self::Refused { status, .. } => matches!(status, 300..=399 | 401 | 407),
            Self::Unreached(_) | Self::Passing(_) | Self::Unusable(_) | Self::Archive(_) => false,
        }
    }
}
