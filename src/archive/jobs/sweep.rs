//! The sweeper: removes the bytes of deleted instances after the grace period.
//!
//! Invariant: it may run twice, may crash anywhere, and never removes a blob that a row names (the index leaves such
//! keys out of what it hands over), nor one that is being restored (it claims keys before it removes their blobs).

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use time::OffsetDateTime;

use crate::archive::services::backup::hold::BACKUP;
use crate::archive::{Archive, Result};
use crate::blob::BlobError;
use crate::fault;
use crate::tasks::{Failure, Watch};

/// Keys handled between two questions to the index.
const BATCH: u32 = 500;
/// How long a node that is gone keeps others from sweeping, at least.
const LEASE: Duration = Duration::from_secs(60);
/// Name of the lease.
const SWEEP: &str = "sweep";
/// Blobs removed at the same time.
const AT_ONCE: usize = 8;

impl Archive {
    /// Removes blobs that were discarded longer than `grace` ago; returns how many.
    ///
    /// # Errors
    /// When the index fails; a blob that cannot be removed is counted and tried again at the next run.
    pub async fn sweep(&self, grace: Duration) -> Result<u64> {
        self.meters.sweeps.one();
        // Before it is asked: what is deleted once a backup has begun is younger, so a copied index names nothing that goes.
        let before = OffsetDateTime::now_utc() - grace;
        if self.index.lease_is_held(BACKUP).await? {
            return Ok(0);
        }
        let mut removed = 0;
        // A batch begins behind the one before it: what cannot be removed holds up nothing else, and is tried again at
        // the next run.
        let mut after = None;
        loop {
            let discarded = self.index.discarded(before, after.as_ref(), BATCH).await?;
            let Some(last) = discarded.last() else {
                while self.index.forget_entries(before, BATCH).await? == u64::from(BATCH) {}
                return Ok(removed);
            };
            after = Some(last.clone());
            fault::point("sweep.listed");
            let keys: Vec<String> = discarded.iter().map(|blob| blob.key.clone()).collect();
            let claimed: HashSet<String> =
                self.index.claim(&keys, before).await?.into_iter().collect();
            fault::point("sweep.claimed");
            let mut gone = Vec::with_capacity(claimed.len());
            let claimed = discarded
                .into_iter()
                .filter(|blob| claimed.contains(&blob.key));
            let mut removals = stream::iter(claimed)
                .map(|blob| {
                    let blobs = self.blobs.clone();
                    async move {
                        let removed = blobs.remove(&blob.key).await;
                        (blob, removed)
                    }
                })
                .buffer_unordered(AT_ONCE);
            while let Some((blob, result)) = removals.next().await {
                match result {
                    Ok(()) | Err(BlobError::Missing { .. }) => gone.push(blob.key),
                    // The others would fail as well.
                    Err(error @ BlobError::Unavailable { .. }) => return Err(error.into()),
                    Err(error) => {
                        self.meters.unswept.one();
                        tracing::warn!(key = blob.key, attempts = blob.attempts, %error, "a deleted blob cannot be removed");
                        self.index.retry_later(&blob.key).await?;
                    }
                }
            }
            fault::point("sweep.removed");
            self.index.purge(&gone).await?;
            fault::point("sweep.forgotten");
            removed += gone.len() as u64;
            self.meters.swept.add(gone.len() as u64);
        }
    }

    /// Lets another node sweep at once; for a process that ends.
    pub async fn rest(&self) {
        if let Err(error) = self.index.give_back_lease(SWEEP, &self.node).await {
            tracing::debug!(%error, "the lease ends by itself");
        }
    }

    /// Sweeps every `period` until the process ends, unless another node does; likewise takes up operations.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn sweep_for_ever(
        self,
        period: Duration,
        grace: Duration,
        watch: Watch,
    ) -> std::result::Result<(), Failure> {
        let length = LEASE.max(period.saturating_mul(3));
        let mut timer = tokio::time::interval(period);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            // What a node that is gone has begun is taken up by one that is left.
            if let Err(error) = self.resume_operations().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "operations cannot be looked for"
                );
            }
            let swept = async {
                // Whoever has the lease keeps it, run for run, until it is gone.
                match self.index.take_lease(SWEEP, &self.node, length).await? {
                    true => {
                        self.sweep_workitems().await?;
                        self.sweep_events().await?;
                        self.sweep_event_log().await?;
                        self.expire().await?;
                        self.sweep_commitments().await?;
                        self.sweep(grace).await
                    }
                    false => Ok(0),
                }
            };
            match swept.await {
                Ok(removed) => {
                    watch.well();
                    if removed > 0 {
                        tracing::info!(removed, "removed the bytes of deleted instances");
                    }
                }
                Err(error) => {
                    watch.failed(&error);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the sweeper will try again"
                    );
                }
            }
        }
    }
}
