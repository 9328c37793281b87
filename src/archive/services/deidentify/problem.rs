//! Why an instance is not de-identified, as errors of the archive.

use crate::archive::error::ArchiveError;
use crate::archive::services::bulk_update::plan_failure;
use crate::dicom::deidentify::{DeidentifyError, DeidentifyRefusal};
use crate::dicom::error::ParseError;

/// An instance of which something cannot be taken away.
pub(super) fn refused(refusal: DeidentifyRefusal) -> ArchiveError {
    failure(DeidentifyError::Refused(refusal))
}

/// What inspecting or planning ended with.
pub(super) fn failure(error: DeidentifyError) -> ArchiveError {
    match error {
        DeidentifyError::Parse(error) => plan_failure(error),
        refused @ DeidentifyError::Refused(_) => ArchiveError::NotAcceptable {
            reason: refused.to_string(),
            available: Vec::new(),
        },
    }
}

/// Whether an instance can never be de-identified, while others can.
pub(in crate::archive) fn is_refused(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Stored(ParseError::Read(_)) => false,
        ArchiveError::Stored(_) => true,
        ArchiveError::Shared(error) => is_refused(error),
        error => error.is_about_pixels(),
    }
}

/// Why it cannot.
pub(in crate::archive) fn refusal(error: &ArchiveError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
