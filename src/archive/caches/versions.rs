//! Versions read lately: what every answer with an `ETag` asks for first.
//!
//! Invariant: what was stored or deleted shows as soon as its call has returned, see [`coherence`](super::coherence). Stores
//! are not announced to other nodes, so where there may be some, versions of instances alone are kept. A caller who may see
//! only part of the studies always asks the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;

use super::coherence::ReadAt;
use crate::dicom::uid::Target;
use crate::index::Version;
use crate::scope::Partition;

/// Versions kept.
const MOST: u64 = 10_000;
/// How long one is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(60);

/// A target of one partition, between two writes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::archive) struct VersionKey {
    partition: Partition,
    target: Target,
    /// How many writes had ended when the version was asked for.
    writes: u64,
}

/// The versions, each with when the index was asked.
#[derive(Debug, Clone)]
pub(in crate::archive) struct VersionCache {
    cache: Cache<VersionKey, (Version, ReadAt)>,
    writes: Arc<AtomicU64>,
}

impl Default for VersionCache {
    fn default() -> Self {
        let cache = Cache::builder().max_capacity(MOST).time_to_idle(IDLE);
        Self {
            cache: cache.build(),
            writes: Arc::default(),
        }
    }
}

impl VersionCache {
    /// Under what the version of a target is kept now.
    pub(in crate::archive) fn key(&self, partition: Partition, target: &Target) -> VersionKey {
        VersionKey {
            partition,
            target: target.clone(),
            writes: self.writes.load(Ordering::SeqCst),
        }
    }

    /// The version that is kept, with when the index was asked.
    pub(in crate::archive) async fn get(&self, key: &VersionKey) -> Option<(Version, ReadAt)> {
        self.cache.get(key).await
    }

    /// Keeps a version with when the index was asked.
    pub(in crate::archive) async fn insert(&self, key: VersionKey, version: (Version, ReadAt)) {
        self.cache.insert(key, version).await;
    }

    /// Forgets everything; belongs behind a write and before its answer.
    pub(in crate::archive) fn invalidate(&self) {
        // What a request asked for before this is kept under the number of before, which nobody asks for again.
        self.writes.fetch_add(1, Ordering::SeqCst);
    }
}
