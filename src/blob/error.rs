//! What can go wrong with a blob. Every failure names the key, which holds no patient data.

use std::io;

/// Failure of a blob call.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// There is no such blob.
    #[error("the blob {key} is missing")]
    Missing {
        /// Its key.
        key: String,
    },
    /// The blob is shorter than the index says.
    #[error("the blob {key} ends before byte {end}")]
    Short {
        /// Its key.
        key: String,
        /// First byte behind the range asked for.
        end: u64,
    },
    /// The blob is not what was stored: its digest is another.
    #[error("the blob {key} holds other bytes than were stored")]
    Damaged {
        /// Its key.
        key: String,
    },
    /// The disk is full or may not be written.
    #[error("the blob store cannot write {key}")]
    Full {
        /// What was written.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The object store does not answer, or not as it should; later may work.
    #[error("the object store cannot be used for {key}")]
    Unavailable {
        /// What was touched.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The settings do not name a store that can be used.
    #[error("{reason}")]
    Config {
        /// Which setting is wrong, and what to do.
        reason: String,
    },
    /// Anything else.
    #[error("the blob store failed on {key}")]
    Io {
        /// What was touched.
        key: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    /// Whether the bytes of a blob are not there, or others.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Missing { .. } | Self::Short { .. }
        )
    }

    /// Sorts an I/O error that happened at `key`.
    #[must_use]
    pub fn at(key: &str, source: io::Error) -> Self {
        // A source of ours that had to speak the language of files.
        let source = match source.downcast::<Self>() {
            Ok(error) => return error,
            Err(source) => source,
        };
        let key = key.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { key },
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::FileTooLarge
            | io::ErrorKind::PermissionDenied => Self::Full { key, source },
            _ => Self::Io { key, source },
        }
    }

    pub(super) fn short(key: &str, end: u64) -> Self {
        let key = key.to_owned();
        Self::Short { key, end }
    }

    pub(super) fn config(reason: impl Into<String>) -> Self {
        Self::Config {
            reason: reason.into(),
        }
    }
}

/// Why a file was not written to a destination of exports.
#[derive(Debug, thiserror::Error)]
pub enum ExportFailure {
    /// What was to be written cannot be read, or is not what was stored.
    #[error("{0}")]
    Source(#[source] BlobError),
    /// The destination refuses, and will again.
    #[error("{0}")]
    Refused(&'static str),
    /// The destination cannot be written; later may work.
    #[error("the destination cannot be written")]
    Destination(#[source] BlobError),
}

/// Result of a blob call.
pub type Result<T> = std::result::Result<T, BlobError>;
