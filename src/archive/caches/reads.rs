//! What was read of the index, and how a change ends it: here at once, on other nodes before it is acknowledged.

use std::sync::Arc;

use super::coherence::Coherence;
use super::instances::InstanceCache;
use super::versions::VersionCache;
use crate::index::Index;

/// Rows and versions as they were read, with what decides whether they still count.
#[derive(Debug, Clone)]
pub(in crate::archive) struct ReadCaches {
    pub(in crate::archive) opened: InstanceCache,
    pub(in crate::archive) versions: VersionCache,
    pub(in crate::archive) coherence: Coherence,
}

impl ReadCaches {
    /// Without entries; opened instances take at most `most` bytes.
    pub(in crate::archive) fn new(most: u64, index: Arc<dyn Index>, node: Arc<str>) -> Self {
        Self {
            opened: InstanceCache::new(most),
            versions: VersionCache::default(),
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
        self.opened.invalidate();
    }
}
