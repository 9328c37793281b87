//! Why the body of a store request is not taken or not read on.

use std::time::Duration;

use crate::http::error::{HttpError, ProblemType};
use crate::http::layers::CodingError;
use crate::http::multipart::MultipartError;

const TYPES: &[&str] = &[
    "multipart/related; type=\"application/dicom\"",
    "application/dicom",
    "multipart/related; type=\"application/dicom+json\"",
    "multipart/related; type=\"application/dicom+xml\"",
];

pub(super) fn refused_type(detail: &str) -> HttpError {
    HttpError::unsupported_media_type(format!("{detail}; send one of: {}.", TYPES.join(", ")))
}

/// A body that cannot be read on: what arrived whole is kept when it was only cut off.
pub(super) fn broken(error: MultipartError) -> Result<Option<String>, HttpError> {
    match error {
        MultipartError::BodyTooLarge { .. }
        | MultipartError::PartTooLarge { .. }
        | MultipartError::TooManyParts { .. } => {
            Err(HttpError::payload_too_large(error.to_string()))
        }
        error => match CodingError::behind(&error) {
            None => Ok(Some(error.to_string())),
            Some(found) => undecoded(found),
        },
    }
}

/// A body whose content coding cannot be read on.
pub(super) fn undecoded(error: CodingError) -> Result<Option<String>, HttpError> {
    match error {
        CodingError::TooLong => Err(HttpError::payload_too_large(error.to_string())),
        CodingError::Damaged | CodingError::Cut => Ok(Some(error.to_string())),
    }
}

/// Said when nobody reads on because nothing of it could be stored.
pub(super) fn hopeless() -> String {
    "1000 instances in a row could not be stored, so the rest was not read: send it in another request when they can be".to_owned()
}

/// What comes next, unless the client is silent for too long.
///
/// # Errors
/// 408.
pub(in crate::http) async fn next_in_time<T>(
    idle: Duration,
    next: impl Future<Output = T>,
) -> Result<T, HttpError> {
    tokio::time::timeout(idle, next).await.map_err(|_| {
        HttpError::new(
            ProblemType::RequestTimeout,
            format!("no byte of the body came for {} seconds", idle.as_secs()),
        )
    })
}
