//! What was read of the index lately, by name.
//!
//! Invariants: what was deleted or replaced is not found any more once the call has returned, see
//! [`coherence`](super::coherence). A caller who may see only part of the studies always asks the index.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use moka::future::Cache;

use super::coherence::ReadAt;
use crate::scope::Partition;

/// How long something is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(60);

/// A name in one partition, between two changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::archive) struct ReadKey<N> {
    partition: Partition,
    name: N,
    /// How many changes had ended when it was asked for.
    changes: u64,
}

/// What was read by a name, each with when the index was asked.
pub(in crate::archive) struct ReadCache<N, V> {
    cache: Cache<ReadKey<N>, (V, ReadAt)>,
    changes: Arc<AtomicU64>,
}

impl<N, V> fmt::Debug for ReadCache<N, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadCache").finish_non_exhaustive()
    }
}

impl<N, V> Clone for ReadCache<N, V> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            changes: self.changes.clone(),
        }
    }
}

impl<N, V> ReadCache<N, V>
where
    N: Clone + Eq + Hash + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// A cache whose values weigh at most `most` together.
    pub(in crate::archive) fn new(most: u64, weigh: fn(&V) -> u64) -> Self {
        let weigh = move |_: &ReadKey<N>, (value, _): &(V, ReadAt)| {
            u32::try_from(weigh(value)).unwrap_or(u32::MAX)
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

    /// Under what something is kept now.
    pub(in crate::archive) fn key(&self, partition: Partition, name: &N) -> ReadKey<N> {
        ReadKey {
            partition,
            name: name.clone(),
            changes: self.changes.load(Ordering::SeqCst),
        }
    }

    /// What is kept, with when the index was asked.
    pub(in crate::archive) async fn get(&self, key: &ReadKey<N>) -> Option<(V, ReadAt)> {
        self.cache.get(key).await
    }

    /// Keeps something with when the index was asked.
    pub(in crate::archive) async fn insert(&self, key: ReadKey<N>, value: (V, ReadAt)) {
        self.cache.insert(key, value).await;
    }

    /// Forgets everything; belongs behind a change and before its answer.
    pub(in crate::archive) fn invalidate(&self) {
        // What a request asked for before this is kept under the number of before, which nobody asks for again.
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}
