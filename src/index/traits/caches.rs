//! What several nodes over one database need in order to keep what they read.

use async_trait::async_trait;

use crate::index::model::Result;

/// Nodes that answer from what they read before, and those who change what they read (ADR 16).
///
/// A node holds a lease from its first [`ChangeListener::renew`] on. Whoever changed something announces it after the commit
/// and waits until no lease is behind.
#[async_trait]
pub trait CacheLeases: Send + Sync {
    /// Begins to hear of changes as a node of that name; none where no other server can write.
    async fn listen(&self, node: &str) -> Result<Option<Box<dyn ChangeListener>>>;

    /// Tells every node that what it read may have changed; returns the number of the change.
    async fn announce_change(&self) -> Result<i64>;

    /// Whether a node other than `node` holds a lease and has not heard of a change yet.
    async fn lease_is_behind(&self, change: i64, node: &str) -> Result<bool>;

    /// Takes the leases of those nodes other than `node` that have not heard of a change; returns how many.
    async fn revoke_leases_behind(&self, change: i64, node: &str) -> Result<u64>;
}

/// A connection by which a node hears of changes and keeps its lease.
#[async_trait]
pub trait ChangeListener: Send {
    /// Takes the lease or keeps it; whoever keeps it says up to which change he has heard of all.
    async fn renew(&mut self, heard: i64) -> Result<LeaseRenewal>;

    /// Ends when another change was announced; returns its number.
    async fn changed(&mut self) -> Result<i64>;

    /// Gives the lease back.
    async fn release(&mut self) -> Result<()>;
}

/// A lease on caches as it was renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseRenewal {
    /// Number of the newest change.
    pub newest: i64,
    /// The lease was not held before: it counts as having heard of all changes up to now.
    pub is_new: bool,
}
