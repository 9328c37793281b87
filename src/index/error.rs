//! What can go wrong in the index.

/// Failure of an index call.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The database cannot be reached, has no free connection or is shutting down; later may work.
    #[error("the index database is not available")]
    Unavailable(#[source] sqlx::Error),
    /// The disk of the database is full or read-only.
    #[error("the index database cannot write")]
    Full(#[source] sqlx::Error),
    /// Any other refusal of the database.
    #[error("the index database refused {what}")]
    Database {
        /// The call that failed.
        what: &'static str,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// A search took longer than [`super::IndexOptions::search_time`] and was given up.
    #[error("{what} took too long")]
    TooSlow {
        /// The call that was given up.
        what: &'static str,
    },
    /// A write was broken off: whether it was done is not known, and doing it again does no harm.
    #[error("{what} was broken off")]
    Interrupted {
        /// The call that was broken off.
        what: &'static str,
    },
    /// The memory of the server is in use; later may work.
    #[error("the memory of the server is in use")]
    NoMemory,
    /// A stored row cannot be read back.
    #[error("a row of {what} cannot be read back")]
    Corrupt {
        /// What was read.
        what: &'static str,
    },
    /// The database has no schema of ours, and none was to be made.
    #[error("the index database is empty: there is no archive in it")]
    Absent,
    /// Opening or migrating the database failed.
    #[error("the index database cannot be opened: {reason}")]
    Open {
        /// What to look at.
        reason: String,
    },
}
