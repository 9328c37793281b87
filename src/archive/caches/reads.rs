//! What was read of the index, and how a change ends it: here at once, on other nodes before it is acknowledged.

use std::sync::Arc;

use super::coherence::Coherence;
use super::kept::ReadCache;
use crate::archive::open_instance::OpenInstance;
use crate::dicom::uid::{InstanceName, Target};
use crate::index::{Index, InstanceRow, Version};

/// Bytes of all opened instances together, about, unless the memory budget is small.
pub(in crate::archive) const OPENED: u64 = 32 << 20;
/// Likewise of all rows of instances that are asked for whole.
pub(in crate::archive) const ROWS: u64 = 4 << 20;
/// Versions kept.
const VERSIONS: u64 = 10_000;
/// Bytes of a row without tables and sums, about.
const ROW: u64 = 1024;
/// Most bytes of the sums of its blocks.
const SUMS: u64 = 16 << 10;

/// Rows and versions as they were read, with what decides whether they still count.
#[derive(Debug, Clone)]
pub(in crate::archive) struct ReadCaches {
    /// Rows and tables of instances: what one frame request after the other asks for.
    pub(in crate::archive) opened: ReadCache<InstanceName, Arc<OpenInstance>>,
    /// What every answer with an `ETag` asks for first. Stores are not announced to other nodes, so where there may be some,
    /// those of instances alone are kept.
    pub(in crate::archive) versions: ReadCache<Target, Version>,
    /// What one request after the other for the same file asks for.
    pub(in crate::archive) rows: ReadCache<InstanceName, Arc<InstanceRow>>,
    pub(in crate::archive) coherence: Coherence,
}

impl ReadCaches {
    /// Without entries; opened instances and rows take so many bytes at most.
    pub(in crate::archive) fn new(
        (opened, rows): (u64, u64),
        index: Arc<dyn Index>,
        node: Arc<str>,
    ) -> Self {
        Self {
            opened: ReadCache::new(opened, |held| ROW.saturating_add(held.table_bytes() as u64)),
            versions: ReadCache::new(VERSIONS, |_| 1),
            // Four bytes for each block of 64 KiB, and never more than 16 KiB.
            rows: ReadCache::new(rows, |row| ROW + (row.place.length >> 14).min(SUMS)),
            coherence: Coherence::new(index, node),
        }
    }

    /// Instances were added: belongs behind the commit and before its answer.
    pub(in crate::archive) fn added(&self) {
        self.versions.invalidate();
    }

    /// Instances were changed or removed, or the call for it failed: belongs behind the commit and before its answer.
    pub(in crate::archive) async fn changed<T, E>(&self, ended: Result<T, E>) -> Result<T, E> {
        // Also after an error: the transaction may have been committed before the connection was lost.
        self.forget();
        if ended.is_ok() {
            // What failed is not acknowledged.
            self.coherence.announce().await;
        }
        ended
    }

    /// As [`Self::changed`], on this node alone.
    pub(in crate::archive) fn forget(&self) {
        self.versions.invalidate();
        self.forget_rows();
    }

    /// What was read of instances may be of no use: belongs before a look at what is damaged, and behind a repair.
    pub(in crate::archive) fn forget_rows(&self) {
        self.opened.invalidate();
        self.rows.invalidate();
    }
}
