//! What an object store answers, as what went wrong with a blob.

use std::io;

use object_store::client::HttpError;

use crate::blob::error::BlobError;

pub(super) fn unavailable(key: &str, source: io::Error) -> BlobError {
    let key = key.to_owned();
    BlobError::Unavailable { key, source }
}

/// What went wrong with an object.
pub(super) fn failed(key: &str, error: object_store::Error) -> BlobError {
    let gone = matches!(error, object_store::Error::NotFound { .. });
    // Where a bucket is gone each of its objects seems to be; that must not be taken for a lost instance.
    if gone && !chain(&error).contains("NoSuchBucket") {
        let key = key.to_owned();
        return BlobError::Missing { key };
    }
    let full = status(&error) == Some(507);
    let source = io::Error::other(error);
    if full {
        let key = key.to_owned();
        return BlobError::Full { key, source };
    }
    unavailable(key, source)
}

/// What went wrong with an object that was to be made.
pub(super) fn failed_write(key: &str, error: object_store::Error) -> BlobError {
    match error {
        object_store::Error::NotFound { source, .. } => unavailable(key, io::Error::other(source)),
        error => failed(key, error),
    }
}

/// The HTTP status an error goes back to; the library keeps the type that holds it to itself, so it is read from the text.
pub(super) fn status(error: &object_store::Error) -> Option<u16> {
    let text = chain(error);
    let (_, rest) = text.split_once("status code: ")?;
    rest.get(..3)?.parse().ok()
}

/// Whether there was no answer at all.
pub(super) fn is_lost_connection(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<HttpError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

pub(super) fn chain(error: &object_store::Error) -> String {
    use std::error::Error;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
