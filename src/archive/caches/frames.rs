//! Decoded and encoded frames: made on the blocking pool, one at a time, once for all who ask at the same moment.
//!
//! Invariant: a frame is made from its own bytes only, never from the object; what is cached is named by watermark and
//! so can never be stale.

use std::sync::Arc;
use std::time::Duration;

use moka::future::Cache;

use super::notices::InstanceNotices;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::lanes::{Lane, Lanes};
use crate::archive::queue::{FairQueue, QueuePlace};
use crate::archive::services::render::output::{Made, MadeKey};
use crate::config::Limits;
use crate::meter::Counter;
use crate::trace::Stage;

/// Memory of the server for which one piece of large work is made at a time, in bytes.
const LARGE_WORK: usize = 256 << 20;
/// How long a made frame is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(120);

/// Makes frames, bounded, and keeps those asked for lately.
#[derive(Debug, Clone)]
pub struct FrameCache {
    cache: Cache<MadeKey, Made>,
    /// Who may have something made now.
    queue: FairQueue,
    lanes: Lanes,
    counts: Arc<Counts>,
    /// What codestreams said that their headers do not.
    pub(in crate::archive) reported: InstanceNotices,
}

#[derive(Debug, Default)]
struct Counts {
    lookups: Counter,
    made: Counter,
}

/// How the cache does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheUsage {
    /// Things asked for.
    pub lookups: u64,
    /// Things that had to be made.
    pub made: u64,
    /// Things kept.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl FrameCache {
    /// A maker with the configured cache, for a server with `memory` bytes.
    #[must_use]
    pub fn new(limits: &Limits, lanes: Lanes, memory: usize) -> Self {
        let weigh = |_: &MadeKey, made: &Made| u32::try_from(made.weight()).unwrap_or(u32::MAX);
        let cache = Cache::builder()
            .weigher(weigh)
            .max_capacity(limits.frame_cache_bytes)
            .time_to_idle(IDLE)
            .build();
        Self {
            cache,
            // Beside those that are at work some read what they need; half of all can be large, but no more than there is
            // memory for: they take it piece by piece, and would wait for each other.
            queue: FairQueue::new(
                lanes.width(Lane::Codec).saturating_mul(2).saturating_sub(2),
                memory / LARGE_WORK,
            ),
            lanes,
            counts: Arc::default(),
            reported: InstanceNotices::new(),
        }
    }

    /// How the cache does.
    #[must_use]
    pub fn cached(&self) -> CacheUsage {
        CacheUsage {
            lookups: self.counts.lookups.get(),
            made: self.counts.made.get(),
            entries: self.cache.entry_count(),
            bytes: self.cache.weighted_size(),
        }
    }

    /// How many pieces of codec work may run at the same time.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.lanes.width(Lane::Codec)
    }

    /// How many run.
    #[must_use]
    pub fn busy(&self) -> usize {
        self.lanes.busy(Lane::Codec)
    }

    /// Leave to make something of so many samples, when it is the turn of who asks.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`] when it is not his turn in time.
    pub(in crate::archive) async fn turn(&self, samples: u64) -> Result<QueuePlace> {
        self.queue.enter(samples).await
    }

    /// The thing named, if it is kept.
    pub(in crate::archive) async fn kept(&self, key: &MadeKey) -> Option<Made> {
        let made = self.cache.get(key).await;
        if made.is_some() {
            self.counts.lookups.one();
        }
        made
    }

    /// The thing named, made by `make` unless it is there or being made.
    ///
    /// # Errors
    /// What `make` met; everybody who waited gets the same.
    pub async fn get(
        &self,
        key: MadeKey,
        make: impl Future<Output = Result<Made>> + Send,
    ) -> Result<Made> {
        self.counts.lookups.one();
        let counted = async {
            self.counts.made.one();
            make.await
        };
        self.cache
            // Boxed: what makes a frame is large and would sit in every future around it.
            .try_get_with(key, Box::pin(counted))
            .await
            .map_err(ArchiveError::Shared)
    }

    /// Gives back the memory of what is only kept for those who ask next.
    pub(in crate::archive) async fn invalidate_all(&self) {
        self.cache.invalidate_all();
        self.cache.run_pending_tasks().await;
    }

    /// Runs codec work on the blocking pool; in the lane of the codecs.
    ///
    /// # Errors
    /// What the work met, or that it was lost.
    pub async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let span = Stage::Codec.begin();
        self.lanes
            .run(Lane::Codec, move || {
                let _span = span;
                work()
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use bytes::Bytes;
    use futures_util::future::join_all;

    use super::*;
    use crate::archive::services::render::output::FrameOutput;

    #[tokio::test]
    async fn fifty_who_ask_at_once_make_a_frame_once() {
        let maker = FrameCache::new(
            &crate::config::Config::default().limits,
            Lanes::new(2),
            LARGE_WORK,
        );
        let made = AtomicU32::new(0);
        let key = MadeKey {
            watermark: 1,
            frame: 1,
            what: FrameOutput::Samples,
        };
        let asked = (0..50).map(|_| {
            maker.get(key.clone(), async {
                made.fetch_add(1, Ordering::Relaxed);
                maker
                    .work(|| Ok(Made::Picture(Bytes::from_static(b"picture"))))
                    .await
            })
        });
        for got in join_all(asked).await {
            assert!(matches!(got, Ok(Made::Picture(bytes)) if bytes == "picture"));
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_failure_is_shared_and_not_kept() {
        let maker = FrameCache::new(
            &crate::config::Config::default().limits,
            Lanes::new(2),
            LARGE_WORK,
        );
        let key = MadeKey {
            watermark: 1,
            frame: 1,
            what: FrameOutput::Samples,
        };
        let failed = maker
            .get(key.clone(), async { Err(ArchiveError::not_found("it")) })
            .await;
        assert!(matches!(failed, Err(ArchiveError::Shared(_))));
        let good = maker
            .get(key, async { Ok(Made::Picture(Bytes::new())) })
            .await;
        assert!(good.is_ok());
    }
}
