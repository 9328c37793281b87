//! The sweeper: removes the bytes of deleted instances after the grace period.
//!
//! Invariant: it may run twice, may crash anywhere, and never removes a blob that a row names (the index leaves such
//! keys out of what it hands over).

use std::time::Duration;

use time::OffsetDateTime;

use super::{Archive, Result};
use crate::blob::BlobError;

/// Keys handled between two questions to the index.
const BATCH: u32 = 500;

impl Archive {
    /// Removes blobs that were discarded longer than `grace` ago; returns how many.
    ///
    /// # Errors
    /// When the index fails; a blob that cannot be removed is counted and tried again at the next run.
    pub async fn sweep(&self, grace: Duration) -> Result<u64> {
        let before = OffsetDateTime::now_utc() - grace;
        let mut removed = 0;
        loop {
            let discarded = self.index.discarded(before, BATCH).await?;
            let mut gone = Vec::with_capacity(discarded.len());
            for blob in &discarded {
                let (blobs, key) = (self.blobs.clone(), blob.key.clone());
                let result = tokio::task::spawn_blocking(move || blobs.remove(&key)).await;
                match result {
                    Ok(Ok(()) | Err(BlobError::Missing { .. })) => gone.push(blob.key.clone()),
                    Ok(Err(error)) => {
                        tracing::warn!(key = blob.key, attempts = blob.attempts, %error, "a deleted blob cannot be removed");
                        self.index.retry_later(&blob.key).await?;
                    }
                    Err(_) => break,
                }
            }
            self.index.forget(&gone).await?;
            removed += gone.len() as u64;
            // A batch in which something failed would come back at once: leave it to the next run.
            if gone.len() < BATCH as usize {
                return Ok(removed);
            }
        }
    }

    /// Sweeps every `period` until the process ends.
    pub async fn sweep_for_ever(self, period: Duration, grace: Duration) {
        let mut timer = tokio::time::interval(period);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            match self.sweep(grace).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "removed the bytes of deleted instances"),
                Err(error) => tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "the sweeper will try again"
                ),
            }
        }
    }
}
