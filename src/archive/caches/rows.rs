//! Rows of instances read lately: what one request after the other for the same file asks for.
//!
//! Invariant: what was deleted or replaced is not found any more once the call has returned, see
//! [`coherence`](super::coherence). A caller who may see only part of the studies always asks the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;

use super::coherence::ReadAt;
use crate::dicom::uid::InstanceName;
use crate::index::InstanceRow;
use crate::scope::Partition;

/// Bytes of all rows together, about, unless the memory budget is small.
pub(in crate::archive) const MOST: u64 = 4 << 20;
/// Bytes of a row without the sums of its blocks, about.
const ROW: u64 = 1024;
/// Most bytes of the sums of its blocks.
const SUMS: u64 = 16 << 10;
/// How long one is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(60);

/// An instance of one partition, between two changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::archive) struct RowKey {
    partition: Partition,
    name: InstanceName,
    /// How many changes had ended when the row was asked for.
    changes: u64,
}

/// The rows, each with when the index was asked.
#[derive(Debug, Clone)]
pub(in crate::archive) struct RowCache {
    cache: Cache<RowKey, (Arc<InstanceRow>, ReadAt)>,
    changes: Arc<AtomicU64>,
}

impl RowCache {
    /// A cache of at most `most` bytes.
    pub(in crate::archive) fn new(most: u64) -> Self {
        let weigh = |_: &RowKey, (row, _): &(Arc<InstanceRow>, ReadAt)| {
            // Four bytes for each block of 64 KiB, and never more than 16 KiB.
            let sums = (row.place.length >> 14).min(SUMS);
            u32::try_from(ROW.saturating_add(sums)).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(most)
            .time_to_idle(IDLE);
        Self {
            cache: cache.build(),
            changes: Arc::default(),
        }
    }

    /// Under what the row of an instance is kept now.
    pub(in crate::archive) fn key(&self, partition: Partition, name: &InstanceName) -> RowKey {
        RowKey {
            partition,
            name: name.clone(),
            changes: self.changes.load(Ordering::SeqCst),
        }
    }

    /// The row that is kept, with when the index was asked.
    pub(in crate::archive) async fn get(&self, key: &RowKey) -> Option<(Arc<InstanceRow>, ReadAt)> {
        self.cache.get(key).await
    }

    /// Keeps a row with when the index was asked.
    pub(in crate::archive) async fn insert(&self, key: RowKey, row: (Arc<InstanceRow>, ReadAt)) {
        self.cache.insert(key, row).await;
    }

    /// Forgets everything; belongs behind a change and before its answer.
    pub(in crate::archive) fn invalidate(&self) {
        // What a request asked for before this is kept under the number of before, which nobody asks for again.
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}
