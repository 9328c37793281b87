//! Instances opened lately: the row and the tables that one frame request after the other asks for.
//!
//! Invariant: what was deleted is not found any more once the call has returned, see [`coherence`](super::coherence). A caller
//! who may see only part of the studies always asks the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;

use super::coherence::ReadAt;
use crate::archive::open_instance::OpenInstance;
use crate::dicom::uid::InstanceName;
use crate::scope::Partition;

/// How long an instance is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of all rows and tables together, about, unless the memory budget is small.
pub(in crate::archive) const MOST: u64 = 32 << 20;
/// Bytes of a row without its tables, about.
const ROW: usize = 1024;

/// An instance of one partition, between two deletes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::archive) struct InstanceKey {
    partition: Partition,
    name: InstanceName,
    /// How many deletes had ended when the instance was asked for.
    deletes: u64,
}

/// An instance as it was opened.
#[derive(Debug, Clone)]
pub(in crate::archive) struct InstanceEntry {
    /// When the index was asked.
    pub(in crate::archive) read: ReadAt,
    pub(in crate::archive) instance: Arc<OpenInstance>,
}

/// The instances.
#[derive(Debug, Clone)]
pub(in crate::archive) struct InstanceCache {
    cache: Cache<InstanceKey, InstanceEntry>,
    deletes: Arc<AtomicU64>,
}

impl InstanceCache {
    /// A cache of at most `most` bytes.
    pub(in crate::archive) fn new(most: u64) -> Self {
        let weigh = |_: &InstanceKey, held: &InstanceEntry| {
            let all = held.instance.table_bytes().saturating_add(ROW);
            u32::try_from(all).unwrap_or(u32::MAX)
        };
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(most)
            .time_to_idle(IDLE)
            .build();
        Self {
            cache,
            deletes: Arc::default(),
        }
    }

    /// Under what an instance is kept now.
    pub(in crate::archive) fn key(&self, partition: Partition, name: &InstanceName) -> InstanceKey {
        InstanceKey {
            partition,
            name: name.clone(),
            deletes: self.deletes.load(Ordering::SeqCst),
        }
    }

    /// What is kept of an instance.
    pub(in crate::archive) async fn get(&self, key: &InstanceKey) -> Option<InstanceEntry> {
        self.cache.get(key).await
    }

    /// Keeps an instance.
    pub(in crate::archive) async fn insert(&self, key: InstanceKey, entry: InstanceEntry) {
        self.cache.insert(key, entry).await;
    }

    /// Forgets everything; belongs behind a delete and before its answer.
    pub(in crate::archive) fn invalidate(&self) {
        // What a request asked for before this is kept under the number of before, which nobody asks for again.
        self.deletes.fetch_add(1, Ordering::SeqCst);
    }
}
