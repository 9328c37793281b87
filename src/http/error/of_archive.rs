//! From an error of the archive to a status and a sentence.

use std::error::Error;

use super::{HttpError, ProblemType};
use crate::archive::{ArchiveError, BlobError, IndexError};
use crate::memory::NoMemory;

impl From<ArchiveError> for HttpError {
    fn from(error: ArchiveError) -> Self {
        Self::from(&error)
    }
}

impl From<&ArchiveError> for HttpError {
    fn from(error: &ArchiveError) -> Self {
        match error {
            ArchiveError::Shared(error) => Self::from(&**error),
            ArchiveError::Codec(_) | ArchiveError::Render(_) => {
                let reported = error_chain(error);
                let reported =
                    format!("{reported} What is stored can be had with transfer-syntax=*.");
                Self::new(ProblemType::NotAcceptable, reported).because(error)
            }
            ArchiveError::NotFound { .. } => Self::new(ProblemType::NotFound, capitalized(error)),
            ArchiveError::Unmatched => Self::new(
                ProblemType::PreconditionFailed,
                "The study is not as If-Match or If-None-Match says; nothing was stored. Get its ETag again.",
            ),
            ArchiveError::Invalid { .. } => {
                Self::new(ProblemType::InvalidRequest, capitalized(error))
            }
            ArchiveError::NotAcceptable { available, .. } => {
                Self::not_acceptable(available.clone())
            }
            ArchiveError::TooLarge { .. } => Self::payload_too_large(capitalized(error)),
            ArchiveError::Busy { .. } | ArchiveError::Memory(NoMemory::Busy) => {
                Self::unavailable(2, error)
            }
            ArchiveError::Memory(NoMemory::TooLarge { .. }) => {
                Self::payload_too_large(capitalized(error))
            }
            ArchiveError::Index(inner) => from_index(inner, error),
            ArchiveError::Commit(inner) => from_index(inner, error),
            ArchiveError::Blob(BlobError::Full { .. }) => {
                Self::bare(ProblemType::InsufficientStorage).because(error)
            }
            ArchiveError::Blob(BlobError::Unavailable { .. }) | ArchiveError::Down { .. } => {
                Self::unavailable(5, error)
            }
            ArchiveError::Blob(
                BlobError::Missing { .. }
                | BlobError::Short { .. }
                | BlobError::Damaged { .. }
                | BlobError::Config { .. }
                | BlobError::Io { .. },
            )
            | ArchiveError::Stored(_)
            | ArchiveError::Lost { .. } => Self::internal(error),
        }
    }
}

fn from_index(inner: &IndexError, error: &ArchiveError) -> HttpError {
    match inner {
        IndexError::Unavailable(_) | IndexError::NoMemory | IndexError::Interrupted { .. } => {
            HttpError::unavailable(5, error)
        }
        IndexError::Full(_) => HttpError::bare(ProblemType::InsufficientStorage).because(error),
        IndexError::TooSlow { .. } => HttpError::payload_too_large(
            "The search takes too long: narrow it by an attribute with an index, such as StudyDate, PatientID or \
             AccessionNumber; leave out an exact count and a high offset.",
        ),
        IndexError::Database { .. }
        | IndexError::Corrupt { .. }
        | IndexError::Open { .. }
        | IndexError::Absent => HttpError::internal(error),
    }
}

/// A codec's reason is the client's to read: it names shapes and syntaxes, no values.
fn error_chain(error: &ArchiveError) -> String {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    format!("{}{cause}.", capitalized(error).trim_end_matches('.'))
}

/// The message as a sentence.
fn capitalized(error: &ArchiveError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().collect());
    let dot = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{dot}", letters.as_str())
}
