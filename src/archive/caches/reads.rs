//! What was read of the index, and how a change ends it: here at once, on other nodes before it is acknowledged.

use std::sync::Arc;

use super::coherence::Coherence;
use super::instances::InstanceCache;
use super::rows::RowCache;
use super::versions::VersionCache;
use crate::index::Index;

/// Rows and versions as they were read, with what decides whether they still count.
#[derive(Debug, Clone)]
pub(in crate::archive) struct ReadCaches {
    pub(in crate::archive) opened: InstanceCache,
    pub(in crate::archive) versions: VersionCache,
    pub(in crate::archive) rows: RowCache,
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
            opened: InstanceCache::new(opened),
            versions: VersionCache::default(),
            rows: RowCache::new(rows),
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
