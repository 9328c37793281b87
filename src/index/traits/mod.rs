//! What an index can do, a trait per topic; `SqlIndex` implements them all (ADR 7).

mod caches;
mod events;
mod instances;
mod nonpatient;
mod operations;
mod partitions;
mod worklist;

pub use caches::{CacheLeases, ChangeListener, LeaseRenewal};
pub use events::{Audit, EventLog, Tally, Webhooks};
pub use instances::{ChangeFeed, Damages, Instances, Retention, Search, Trash};
pub(super) use nonpatient::NonPatient;
pub use operations::{BulkUpdates, Exports, Leases, Operations, QueryTags};
pub use partitions::Partitions;
pub use worklist::{Commitments, Subscriptions, Workitems};

/// The whole index.
pub trait Index:
    Instances
    + Search
    + ChangeFeed
    + Trash
    + Audit
    + Damages
    + Leases
    + Operations
    + QueryTags
    + Workitems
    + Subscriptions
    + Commitments
    + Tally
    + Partitions
    + EventLog
    + Webhooks
    + BulkUpdates
    + Exports
    + Retention
    + NonPatient
    + CacheLeases
{
}

impl<T> Index for T where
    T: Instances
        + Search
        + ChangeFeed
        + Trash
        + Audit
        + Damages
        + Leases
        + Operations
        + QueryTags
        + Workitems
        + Subscriptions
        + Commitments
        + Tally
        + Partitions
        + EventLog
        + Webhooks
        + BulkUpdates
        + Exports
        + Retention
        + NonPatient
        + CacheLeases
        + CacheLeases
{
}
