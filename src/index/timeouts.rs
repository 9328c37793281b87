//! How long calls to the database may take.

use std::io;
use std::time::Duration;

use super::options::{DELETE, INSERT, IndexOptions};
use super::row_columns::Driver;

/// How long calls may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// The wait for a connection.
    pub(super) wait: Duration,
    /// A call.
    pub(super) call: Duration,
    /// A statement of a search.
    pub(super) search: Duration,
}

impl Timeouts {
    pub(super) fn new(options: &IndexOptions) -> Self {
        Self {
            wait: options.acquire_timeout,
            call: options.call_time,
            search: options.search_time,
        }
    }

    /// An insert, its wait for others included.
    pub(super) fn insert(self) -> Duration {
        self.call * INSERT
    }

    /// A delete of any number of instances.
    pub(super) fn delete(self) -> Duration {
        self.call * DELETE
    }

    /// A whole search: the database itself ends each of its statements before that.
    pub(super) fn whole_search(self) -> Duration {
        self.wait + self.search * 2 + self.call
    }
}

/// Runs a call that may take so long; whether one that was given up had an effect is not known.
pub(super) async fn within<T>(time: Duration, call: impl Future<Output = Driver<T>>) -> Driver<T> {
    match tokio::time::timeout(time, call).await {
        Ok(done) => done,
        Err(_) => {
            let reason = "the database does not answer in time";
            Err(sqlx::Error::Io(io::Error::new(
                io::ErrorKind::TimedOut,
                reason,
            )))
        }
    }
}
