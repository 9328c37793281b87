//! How an index is opened, and how long its calls may take.

use std::time::Duration;

/// How many times the time of a call an insert may take.
pub(super) const INSERT: u32 = 2;
/// How many times the time of a call a delete may take.
pub(super) const DELETE: u32 = 10;
/// How long a scan of the whole index may take.
pub(super) const FULL_SCAN: Duration = Duration::from_secs(6 * 3600);

/// How the index is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexOptions {
    /// Most connections to Postgres.
    pub max_connections: u32,
    /// Connections that read an `SQLite` file beside the one that writes.
    pub sqlite_readers: u32,
    /// Bytes of pages that the connection that writes an `SQLite` file keeps; those that read keep a quarter each.
    pub sqlite_cache_bytes: u64,
    /// Bytes of an `SQLite` file that are mapped into memory, at most.
    pub sqlite_mapped_bytes: u64,
    /// How long a call waits for a connection before it is [`IndexError::Unavailable`](super::IndexError::Unavailable).
    pub acquire_timeout: Duration,
    /// How long a call may take before it is [`IndexError::Unavailable`](super::IndexError::Unavailable); an insert may take twice, a delete
    /// ten times as long, and a search has a limit of its own.
    pub call_time: Duration,
    /// Whether the schema is made in a database that has none.
    pub make: bool,
    /// How long one statement of a search may run before it is [`IndexError::TooSlow`](super::IndexError::TooSlow).
    pub search_time: Duration,
}

impl IndexOptions {
    /// Holds the caches of an `SQLite` file to a part of `memory` bytes; what they take at most, in bytes.
    pub fn keep_within(&mut self, memory: usize) -> usize {
        let memory = memory as u64;
        self.sqlite_cache_bytes = self.sqlite_cache_bytes.min(memory / 32);
        // Each connection maps it for itself.
        self.sqlite_mapped_bytes = self.sqlite_mapped_bytes.min(memory / 32);
        let readers = u64::from(self.sqlite_readers.max(1)) * (self.sqlite_cache_bytes / 4);
        usize::try_from(self.sqlite_cache_bytes + readers).unwrap_or(usize::MAX)
    }
}

impl Default for IndexOptions {
    fn default() -> Self {
        Self {
            max_connections: 16,
            sqlite_readers: 6,
            sqlite_cache_bytes: 64 << 20,
            sqlite_mapped_bytes: 256 << 20,
            acquire_timeout: Duration::from_secs(5),
            call_time: Duration::from_secs(30),
            make: true,
            search_time: Duration::from_secs(20),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_keeps_and_maps_is_a_small_part_of_a_small_budget() {
        let budget = 256 << 20;
        let mut options = IndexOptions::default();
        let kept = options.keep_within(budget);
        let connections = u64::from(options.sqlite_readers) + 1;
        assert_eq!(kept, 20 << 20);
        assert!(connections * options.sqlite_mapped_bytes <= 64 << 20);
        let mut large = IndexOptions::default();
        large.keep_within(16 << 30);
        assert_eq!(large, IndexOptions::default());
    }
}
