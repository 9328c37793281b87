//! The change feed: every store and delete, once, in order.

use super::{Archive, Result};
use crate::index::{Change, FeedRange, WithMetadata};
use crate::scope::Scope;

impl Archive {
    /// Entries of a range.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn changes(
        &self,
        scope: &Scope,
        range: &FeedRange,
        metadata: WithMetadata,
    ) -> Result<Vec<Change>> {
        Ok(self.index.changes(scope, range, metadata).await?)
    }

    /// The newest entry, if there is any.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn latest_change(
        &self,
        scope: &Scope,
        metadata: WithMetadata,
    ) -> Result<Option<Change>> {
        Ok(self.index.latest_change(scope, metadata).await?)
    }
}
