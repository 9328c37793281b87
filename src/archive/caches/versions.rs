//! Versions read lately: what every answer with an `ETag` asks for first.
//!
//! Invariant: what was stored or deleted through this server shows as soon as its call has returned. Where other servers may
//! write too, the index is asked each time; where only sub-commands may, after [`FRESH`]. A caller who may see only part of
//! the studies always asks the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::future::Cache;

use super::instances::FRESH;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::{Archive, describe};
use crate::dicom::uid::Target;
use crate::index::Version;
use crate::scope::{Partition, Scope, Visible};
use crate::trace::Stage;

/// Versions kept.
const MOST: u64 = 10_000;
/// How long one is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct VersionKey {
    partition: Partition,
    target: Target,
    /// How many writes had ended when the version was asked for.
    writes: u64,
}

/// The versions, each with when the index was asked.
#[derive(Debug, Clone)]
pub(in crate::archive) struct VersionCache {
    cache: Cache<VersionKey, (Version, Instant)>,
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
    /// Forgets everything; belongs behind a write and before its answer.
    pub(in crate::archive) fn invalidate(&self) {
        // What a request asked for before this is kept under the number of before, which nobody asks for again.
        self.writes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Archive {
    /// Version of a target for its `ETag`.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when it does not exist in the scope.
    pub async fn version(&self, scope: &Scope, target: &Target) -> Result<Version> {
        if scope.visible != Visible::All || self.index.is_shared() {
            return self.read_version(scope, target).await;
        }
        let key = VersionKey {
            partition: scope.partition,
            target: target.clone(),
            writes: self.versions.writes.load(Ordering::SeqCst),
        };
        if let Some((version, asked)) = self.versions.cache.get(&key).await
            && asked.elapsed() < FRESH
        {
            return Ok(version);
        }
        let asked = Instant::now();
        let version = self.read_version(scope, target).await?;
        self.versions.cache.insert(key, (version, asked)).await;
        Ok(version)
    }

    async fn read_version(&self, scope: &Scope, target: &Target) -> Result<Version> {
        let version = self.ask_version(scope, target).await?;
        version.ok_or_else(|| ArchiveError::not_found(describe(target)))
    }

    /// What the index says now; none when the target does not exist in the scope.
    pub(in crate::archive) async fn ask_version(
        &self,
        scope: &Scope,
        target: &Target,
    ) -> Result<Option<Version>> {
        let asked = self.index.version(scope, target);
        Ok(Stage::Version.of(asked).await?)
    }
}
