//! File work, beside what is async.

use std::io;

use super::error::{BlobError, Result};

/// Runs file work on the blocking pool.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(BlobError::Io {
            key: "task".to_owned(),
            source: io::Error::other(e),
        }),
    }
}
