//! Instances opened lately: the row and the tables that one frame request after the other asks for.
//!
//! Invariants: what was deleted is not found any more once the call has returned: where other servers may delete too, the
//! index is asked each time whether the instance is still the same; where only sub-commands may, after [`FRESH`]. A caller
//! who may see only part of the studies always asks the index.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::future::Cache;

use crate::archive::Archive;
use crate::archive::error::Result;
use crate::archive::services::retrieve::OpenInstance;
use crate::dicom::uid::{InstanceName, Target};
use crate::scope::{Partition, Scope, Visible};

/// How long a server that has its index alone does not ask again; a sub-command may have repaired something meanwhile.
pub(in crate::archive) const FRESH: Duration = Duration::from_secs(1);
/// How long an instance is kept after it was last asked for.
const IDLE: Duration = Duration::from_secs(60);
/// Bytes of all rows and tables together, about, unless the memory budget is small.
pub(in crate::archive) const MOST: u64 = 32 << 20;
/// Bytes of a row without its tables, about.
const ROW: usize = 1024;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct InstanceKey {
    partition: Partition,
    name: InstanceName,
    /// How many deletes had ended when the instance was asked for.
    deletes: u64,
}

#[derive(Debug, Clone)]
struct InstanceEntry {
    /// When the index was asked.
    asked: Instant,
    instance: Arc<OpenInstance>,
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

    /// Forgets everything; belongs behind a delete and before its answer.
    pub(in crate::archive) fn invalidate(&self) {
        // What a request asked for before this is kept under the number of before, which nobody asks for again.
        self.deletes.fetch_add(1, Ordering::SeqCst);
    }
}

impl Archive {
    /// Opens one instance for frames and bulk data.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`](crate::archive::ArchiveError::NotFound) when it does not exist in the scope.
    pub async fn open(&self, scope: &Scope, name: &InstanceName) -> Result<Arc<OpenInstance>> {
        if scope.visible != Visible::All {
            return Ok(Arc::new(self.read_open(scope, name).await?));
        }
        let key = InstanceKey {
            partition: scope.partition,
            name: name.clone(),
            deletes: self.opened.deletes.load(Ordering::SeqCst),
        };
        let held = self.opened.cache.get(&key).await;
        if let Some(held) = &held
            && held.asked.elapsed() < FRESH
            && !self.index.is_shared()
        {
            return Ok(held.instance.clone());
        }
        let asked = Instant::now();
        let instance = match held {
            // The tables may be large, and of one version they are always the same.
            Some(held) if self.is_current(scope, &held.instance).await? => held.instance,
            _ => Arc::new(self.read_open(scope, name).await?),
        };
        let held = InstanceEntry {
            asked,
            instance: instance.clone(),
        };
        self.opened.cache.insert(key, held).await;
        Ok(instance)
    }

    async fn is_current(&self, scope: &Scope, instance: &OpenInstance) -> Result<bool> {
        let target = Target::Instance(instance.row.name.clone());
        let version = self.ask_version(scope, &target).await?;
        Ok(version.is_some_and(|version| version.version == instance.row.watermark))
    }
}
