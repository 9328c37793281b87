//! Checks and repair: `fsck` compares index and blobs both ways, `reindex` rebuilds rows from blobs.
//!
//! Invariant: nothing is removed that a row names, and a repair goes through the same transactions as a request.

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;

use super::error::{ArchiveError, Result};
use super::rules::Rules;
use super::{Archive, describe};
use crate::blob::{BlobError, Blobs};
use crate::dicom::uid::Target;
use crate::dicom::walk::walk;
use crate::index::{Inserted, InstanceRow, NewInstance, Place};
use crate::scope::{Partition, Scope, Visible};

/// Rows or keys handled at a time.
const BATCH: u32 = 500;
/// Blobs looked at together.
const AT_ONCE: usize = 8;

/// What a check looks at and may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read every blob and compare its digest.
    pub digests: bool,
    /// Mend what can be mended: rows without blob go, blobs without row go onto the trash.
    pub repair: bool,
    /// Blobs younger than this many seconds are left alone: their request may still be running.
    pub young_seconds: u64,
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows looked at.
    pub instances: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// One sentence for each thing that is wrong; UIDs and keys only.
    pub problems: Vec<String>,
    /// Blobs that no row needs: harmless, they only take room.
    pub orphans: u64,
    /// Things mended.
    pub repaired: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// What a rebuild did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReindexReport {
    /// Blobs looked at.
    pub blobs: u64,
    /// Instances that got a row.
    pub added: u64,
    /// Instances that had one.
    pub known: u64,
    /// Blobs that cannot be read: key and reason.
    pub refused: Vec<String>,
}

impl Archive {
    /// Compares index and blob store both ways.
    ///
    /// # Errors
    /// When either store cannot be read at all.
    pub async fn check_stores(&self, options: CheckOptions) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        self.check_rows(options, &mut report).await?;
        self.check_blobs(options, &mut report).await?;
        report
            .problems
            .extend(self.index.counter_errors(100).await?);
        Ok(report)
    }

    async fn check_rows(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let mut after = 0;
        loop {
            let rows = self.index.all_instances(after, BATCH).await?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            after = last.watermark;
            report.instances += rows.len() as u64;
            let mut checks = stream::iter(rows)
                .map(|row| async move {
                    let found = check_blob(&self.blobs, &row, options.digests).await;
                    (row, found)
                })
                .buffered(AT_ONCE);
            while let Some((row, found)) = checks.next().await {
                let Some(problem) = found else { continue };
                let target = Target::Instance(row.name.clone());
                report
                    .problems
                    .push(format!("{}: {problem}", describe(&target)));
                if options.repair && problem == MISSING {
                    report.repaired += self.index.delete(&Scope::everything(), &target).await?;
                }
            }
        }
    }

    async fn check_blobs(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let young =
            OffsetDateTime::now_utc() - std::time::Duration::from_secs(options.young_seconds);
        let mut batches = self
            .blobs
            .list(Some(young.into()))
            .try_chunks(BATCH as usize);
        while let Some(batch) = batches.try_next().await.map_err(|e| e.1)? {
            report.blobs += batch.len() as u64;
            let known = self.index.known_keys(&batch).await?;
            let orphans: Vec<String> = batch
                .iter()
                .zip(known)
                .filter(|(_, known)| !known)
                .map(|(k, _)| k.clone())
                .collect();
            report.orphans += orphans.len() as u64;
            if options.repair && !orphans.is_empty() {
                self.index.discard(&orphans).await?;
                report.repaired += orphans.len() as u64;
            }
        }
        Ok(())
    }

    /// Gives every blob that no row names its row, oldest first.
    ///
    /// # Errors
    /// When either store cannot be used; a blob that cannot be read is reported and left.
    pub async fn reindex(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<ReindexReport> {
        let mut keys: Vec<String> = self.blobs.list(None).try_collect().await?;
        // The serial behind the instance UID starts with the time.
        keys.sort_by(|a, b| serial(a).cmp(serial(b)));
        let mut report = ReindexReport {
            blobs: keys.len() as u64,
            ..ReindexReport::default()
        };
        for (done, batch) in keys.chunks(BATCH as usize).enumerate() {
            let known = self.index.known_keys(batch).await?;
            let mut new = Vec::new();
            for (key, known) in batch.iter().zip(known) {
                if known {
                    report.known += 1;
                    continue;
                }
                match self.read_again(key).await? {
                    Ok(instance) => new.push(instance),
                    Err(reason) => report.refused.push(format!("{key}: {reason}")),
                }
            }
            for inserted in self.index.insert(&new).await? {
                match inserted {
                    Inserted::Stored { .. } => report.added += 1,
                    Inserted::Exists { .. } | Inserted::Outside => report.known += 1,
                }
            }
            progress((done * BATCH as usize + batch.len()) as u64, report.blobs);
        }
        Ok(report)
    }
}

const MISSING: &str = "its blob is missing";

fn serial(key: &str) -> &str {
    key.rsplit('.').nth(1).unwrap_or_default()
}

/// What is wrong with the blob of a row.
async fn check_blob(blobs: &Blobs, row: &InstanceRow, digests: bool) -> Option<&'static str> {
    let place = &row.place;
    match blobs.length(&place.key).await {
        Ok(length) if length < place.offset.saturating_add(place.length) => {
            return Some("its blob is too short");
        }
        Ok(_) => {}
        Err(BlobError::Missing { .. }) => return Some(MISSING),
        Err(_) => return Some("its blob cannot be read"),
    }
    if digests {
        match blobs.digest(&place.key, place.offset, place.length).await {
            Ok(found) if found == row.digest => {}
            Ok(_) => return Some("its blob holds other bytes than were stored"),
            Err(_) => return Some("its blob cannot be read"),
        }
    }
    None
}

impl Archive {
    /// Walks a stored blob as if it had just arrived; the inner error says why it cannot be an instance.
    async fn read_again(&self, key: &str) -> Result<std::result::Result<NewInstance, String>> {
        match self.walk_blob(key).await {
            // That says nothing about the blob: going on would refuse all that follow, too.
            Err(error @ ArchiveError::Blob(BlobError::Unavailable { .. })) => Err(error),
            Err(error) => Ok(Err(match std::error::Error::source(&error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            })),
            Ok(new) => Ok(Ok(new)),
        }
    }

    async fn walk_blob(&self, key: &str) -> Result<NewInstance> {
        let length = self.blobs.length(key).await?;
        let source = self.blobs.open_source(key, 0, length).await?;
        let archive = self.clone();
        let walked = self.work(move || {
            let walked = walk(&*source, &archive.walk_options(Rules::Standard));
            walked.map_err(ArchiveError::from)
        });
        let instance = walked.await?;
        let digest = self.blobs.digest(key, 0, length).await?;
        let place = Place {
            key: key.to_owned(),
            offset: 0,
            length,
        };
        Ok(NewInstance {
            partition: Partition::DEFAULT,
            visible: Visible::All,
            instance: Arc::new(instance),
            place,
            digest,
        })
    }
}
