//! Damage: it is remembered when it is found, and ends when the same instance is stored again.
//!
//! Invariants: a store of bytes that are there already succeeds only when they are really there; damage is noted only after
//! a second look, so that a store that is away for a moment damages nothing; the log tells each damaged instance once.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{StreamExt, stream};

use super::commit::{CommitTicket, Committed, DurableBlob};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::services::check::{Fault, check_blob};
use crate::archive::{Archive, describe};
use crate::blob::BlobError;
use crate::dicom::uid::Target;
use crate::fault;
use crate::index::{Inserted, InstanceRow, StoredBlob};
use crate::tasks::{Failure, Watch};

/// Blobs looked at together.
const AT_ONCE: usize = 8;
/// Pause between two counts of what is damaged.
const COUNT: Duration = Duration::from_secs(10);
/// How often an instance that others change at the same time is looked at again.
const TRIES: u32 = 5;
/// Damaged instances that the log names: a volume that is not mounted damages all of them.
const NAMED: u64 = 100;

/// What became of an instance that was to be committed.
#[derive(Debug)]
pub(in crate::archive) enum Kept {
    /// It is stored: its blob has a row, be it a new one or one whose own blob was damaged.
    Stored,
    /// It is there already, whole, with this digest.
    Exists([u8; 32]),
    /// It is outside of its sender's limits.
    Outside,
    /// What its request says of its study does not hold.
    Unmatched,
    /// It has a row, and whether its blob is whole cannot be told now.
    Unknown(BlobError),
}

impl Archive {
    /// Gives instances their rows; those that are there already are looked at, and mended when their blob is damaged.
    ///
    /// # Errors
    /// When the index failed: none of the instances can be relied on then.
    pub(in crate::archive) async fn commit(
        &self,
        written: Vec<DurableBlob>,
        expected: Option<CommitTicket>,
    ) -> Result<Vec<Kept>> {
        let committed = self.committer.commit(written, expected).await?;
        let mut looks = stream::iter(committed)
            .map(|one| self.keep(one))
            .buffered(AT_ONCE);
        let (mut kept, mut spare) = (Vec::new(), Vec::new());
        while let Some(looked) = looks.next().await {
            let (one, written) = looked?;
            kept.push(one);
            spare.extend(written);
        }
        drop(looks);
        if !spare.is_empty() {
            // Removing files blocks.
            let removed = tokio::task::spawn_blocking(move || drop(spare));
            drop(removed.await);
        }
        Ok(kept)
    }

    /// Sees to an instance that was committed; what is not needed of it comes back.
    async fn keep(&self, committed: Committed) -> Result<(Kept, Option<DurableBlob>)> {
        let Committed {
            mut inserted,
            mut spare,
        } = committed;
        for _ in 0..TRIES {
            let (digest, stored) = match inserted {
                Inserted::Stored { .. } => return Ok((Kept::Stored, None)),
                Inserted::Replaced { .. } => {
                    self.meters.replaced.one();
                    return Ok((Kept::Stored, None));
                }
                Inserted::Superseded => return Ok((Kept::Stored, spare)),
                Inserted::Unmatched | Inserted::Swept => return Ok((Kept::Unmatched, spare)),
                Inserted::Outside => return Ok((Kept::Outside, spare)),
                Inserted::Exists { digest, stored } => (digest, stored),
            };
            let same = spare
                .take_if(|spare| spare.digest() == Some(digest))
                .zip(stored);
            let Some((mut written, stored)) = same else {
                return Ok((Kept::Exists(digest), spare));
            };
            match self.is_whole(&stored, digest).await {
                Err(error) => return Ok((Kept::Unknown(error), Some(written))),
                Ok(true) => {
                    if stored.damaged {
                        self.clear_damage(&[stored.watermark]).await?;
                    }
                    return Ok((Kept::Exists(digest), Some(written)));
                }
                Ok(false) => {}
            }
            fault::point("heal.begun");
            let Some(place) = written.place().cloned() else {
                return Ok((Kept::Exists(digest), None));
            };
            self.committer.begin_unsure(&mut written);
            let healed = self
                .index
                .replace_blob(stored.watermark, &stored.place.key, &place);
            if self.reads.changed(healed.await).await? {
                written.release();
                self.meters.healed.one();
                self.count_damaged().await;
                tracing::info!(
                    key = place.key,
                    "a damaged instance was stored again and is whole"
                );
                return Ok((Kept::Stored, None));
            }
            // Somebody else mended or deleted it meanwhile.
            written.certain();
            let again = self.committer.commit(vec![written], None).await?;
            let Some(again) = again.into_iter().next() else {
                break;
            };
            (inserted, spare) = (again.inserted, again.spare);
        }
        Err(ArchiveError::Busy {
            what: "other requests that store and delete the same instance",
        })
    }

    /// Whether the blob of a row is there with its length, and, where damage was noted, with its bytes.
    async fn is_whole(
        &self,
        stored: &StoredBlob,
        digest: [u8; 32],
    ) -> std::result::Result<bool, BlobError> {
        match check_blob(&self.blobs, &stored.place, stored.damaged.then_some(digest)).await {
            None => Ok(true),
            Some(Fault::Damage(_)) => Ok(false),
            Some(Fault::Away(error)) => Err(error),
        }
    }

    /// Remembers that an instance is damaged; true when that is news, to be told.
    pub(in crate::archive) async fn remember_damage(
        &self,
        row: &InstanceRow,
        problem: &str,
    ) -> Result<bool> {
        // A row as it was before a repair must not be used for long.
        self.reads.forget_rows();
        let is_news = self.index.note_damage(row.watermark, problem).await?;
        if is_news {
            self.count_damaged().await;
        }
        Ok(is_news)
    }

    /// Remembers that an instance is damaged, and tells it when that is news.
    async fn note_damage(&self, row: &InstanceRow, problem: &str) -> Result<()> {
        if !self.remember_damage(row, problem).await? {
            return Ok(());
        }
        let named = self.meters.named.fetch_add(1, Ordering::Relaxed);
        if named < NAMED {
            let instance = describe(&Target::Instance(row.name.clone()));
            tracing::error!(
                instance,
                key = row.place.key,
                problem,
                "a stored instance is damaged: docs/operations.md says what to do"
            );
        } else if named == NAMED {
            tracing::error!("more damage is counted but not named: `stowage fsck` tells all of it");
        }
        Ok(())
    }

    /// Forgets damage that is there no more.
    pub(in crate::archive) async fn clear_damage(&self, watermarks: &[i64]) -> Result<()> {
        if watermarks.is_empty() {
            return Ok(());
        }
        let forgotten = self.index.clear_damage(watermarks).await?;
        if forgotten > 0 {
            tracing::info!(forgotten, "instances that were damaged are whole again");
            self.reads.forget_rows();
            self.count_damaged().await;
        }
        Ok(())
    }

    async fn count_damaged(&self) {
        // It is counted again soon.
        if let Ok(damaged) = self.index.count_damaged().await {
            self.meters.damaged.store(damaged, Ordering::Relaxed);
        }
    }

    /// Looks at each blob that could not be read, and remembers what is damaged, until the process ends.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn follow_damage(self, watch: Watch) -> std::result::Result<(), Failure> {
        let reports = self.reports.clone();
        let mut reports = reports.lock().await;
        let mut timer = tokio::time::interval(COUNT);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let key = tokio::select! {
                key = reports.recv() => key,
                _ = timer.tick() => {
                    self.count_damaged().await;
                    continue;
                }
            };
            let Some(key) = key else { return Ok(()) };
            match self.look_at_blob(&key).await {
                Ok(()) => watch.well(),
                Err(error) => {
                    watch.failed(&error);
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "damage could not be noted"
                    );
                }
            }
        }
    }

    async fn look_at_blob(&self, key: &str) -> Result<()> {
        self.reads.forget_rows();
        for row in self.index.instances_of_blob(key).await? {
            let known = self.index.damaged_among(&[row.watermark]).await?;
            if !known.is_empty() {
                continue;
            }
            let found = check_blob(&self.blobs, &row.place, Some(row.digest)).await;
            if let Some(Fault::Damage(problem)) = found {
                self.note_damage(&row, problem).await?;
            }
        }
        Ok(())
    }
}
