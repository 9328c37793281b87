//! Why the server or a command did not start, or stopped.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::index::IndexError;

/// Why the server did not start or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is missing or wrong.
    #[error("{0}")]
    Config(String),
    /// There is no archive where one was named.
    #[error(
        "there is no archive in {}: {missing} is not there. Only `stowage serve` and `stowage import` make one; is STOWAGE_DATA_DIR right?",
        .folder.display()
    )]
    NoArchive {
        /// The data folder, as an absolute path.
        folder: PathBuf,
        /// What is missing.
        missing: String,
    },
    /// There is no archive in the database that was named.
    #[error(
        "there is no archive in the database of STOWAGE_DATABASE_URL: it is empty. Only `stowage serve` and `stowage import` make one; is the URL right?"
    )]
    NoIndex,
    /// The blob store cannot be used.
    #[error("{}", chain(.0))]
    Blobs(#[from] crate::blob::BlobError),
    /// The index cannot be opened.
    #[error("{}", chain(.0))]
    Index(#[from] IndexError),
    /// A store failed while a command ran.
    #[error("{}", chain(.0))]
    Archive(#[from] crate::archive::ArchiveError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The server failed while it ran.
    #[error("the server failed: {0}")]
    Serve(std::io::Error),
    /// The health check failed.
    #[error("not healthy: {0}")]
    Unhealthy(String),
}

/// A message and its causes in one line: a command has no log to look into.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
