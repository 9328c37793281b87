//! Requests for storage commitment as callers and statements see them.

/// A request for storage commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommitment {
    /// Its number here.
    pub id: String,
    /// AE title of the requestor.
    pub peer: String,
    /// Transaction UID and references, a JSON object.
    pub request: String,
}

/// A request for storage commitment that nobody looks after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitmentRow {
    /// Its number here.
    pub id: String,
    /// AE title of the requestor.
    pub peer: String,
    /// Reports that nobody took.
    pub attempts: u32,
    /// Since when, by the clock of the database.
    pub due: i64,
    /// Length of what is asked for, in characters.
    pub weight: usize,
}
