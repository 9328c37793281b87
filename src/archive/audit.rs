//! Checks and repair: `fsck` compares index and blobs both ways, `reindex` rebuilds rows from blobs.
//!
//! Invariant: nothing is removed that a row names, and a repair goes through the same transactions as a request.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;

use super::error::{ArchiveError, Result};
use super::rules::Rules;
use super::{Archive, describe};
use crate::blob::{BlobError, Blobs};
use crate::dicom::uid::Target;
use crate::dicom::walk::{WalkOptions, walk};
use crate::fault;
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
    /// Mend also when so many blobs are missing that the store itself seems to be away.
    pub force: bool,
    /// Blobs younger than this many seconds are left alone: their request may still be running.
    pub young_seconds: u64,
}

/// Missing blobs up to which a repair needs no force; above it, up to a tenth of all.
const FEW: u64 = 10;

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
    /// Compares index and blob store both ways; tells how many rows are done.
    ///
    /// # Errors
    /// When either store cannot be read at all.
    pub async fn check_stores(
        &self,
        options: CheckOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let missing = self.check_rows(options, &mut report, progress).await?;
        if options.repair && !missing.is_empty() {
            self.remove_rows(missing, options, &mut report).await?;
        }
        self.check_blobs(options, &mut report).await?;
        report
            .problems
            .extend(self.index.counter_errors(100).await?);
        Ok(report)
    }

    /// Looks at the blob of each row; returns the rows that have none.
    async fn check_rows(
        &self,
        options: CheckOptions,
        report: &mut CheckReport,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<InstanceRow>> {
        let mut after = 0;
        let mut missing = Vec::new();
        loop {
            let rows = self.index.all_instances(after, BATCH).await?;
            let Some(last) = rows.last() else {
                return Ok(missing);
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
                // Deleted and swept since the row was read: nothing is wrong.
                if !self.is_stored(&row).await? {
                    continue;
                }
                let target = Target::Instance(row.name.clone());
                report
                    .problems
                    .push(format!("{}: {problem}", describe(&target)));
                if problem == MISSING {
                    missing.push(row);
                }
            }
            progress(report.instances);
        }
    }

    /// Whether this version of an instance is still the stored one.
    pub(super) async fn is_stored(&self, row: &InstanceRow) -> Result<bool> {
        let found = self.index.all_instances(row.watermark - 1, 1).await?;
        Ok(found
            .first()
            .is_some_and(|now| now.watermark == row.watermark))
    }

    /// Deletes rows whose blob is missing; but not many at once, for then it is the store that is missing.
    async fn remove_rows(
        &self,
        missing: Vec<InstanceRow>,
        options: CheckOptions,
        report: &mut CheckReport,
    ) -> Result<()> {
        let count = missing.len() as u64;
        if !options.force && count > FEW && count.saturating_mul(10) > report.instances {
            report.problems.push(format!(
                "{count} of {} blobs are missing, and no row was removed: check that the blob store is the right one and \
                 complete; `--force` removes the rows",
                report.instances
            ));
            return Ok(());
        }
        for row in missing {
            if !self.is_stored(&row).await? {
                continue;
            }
            let target = Target::Instance(row.name);
            report.repaired += self.index.delete(&Scope::everything(), &target).await?;
            // Should the blob come back, it is not to be swept: it is all there is of the instance.
            self.index.forget(&[row.place.key]).await?;
        }
        Ok(())
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

    /// Gives every blob that no row names its row, oldest first. Of several blobs of one instance the newest that can be
    /// read counts: an older one was deleted.
    ///
    /// # Errors
    /// When either store cannot be used; a blob that cannot be read is reported and left.
    pub async fn reindex(&self, progress: &(dyn Fn(u64, u64) + Sync)) -> Result<ReindexReport> {
        let mut keys: Vec<String> = self.blobs.list(None).try_collect().await?;
        // The serial behind the instance UID starts with the time.
        keys.sort_by(|a, b| serial(a).cmp(serial(b)));
        older_last(&mut keys);
        fault::point("reindex.listed");
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
            fault::point("reindex.read");
            for inserted in self.index.insert(&new).await? {
                match inserted {
                    Inserted::Stored { .. } => report.added += 1,
                    Inserted::Exists { .. } | Inserted::Outside => report.known += 1,
                }
            }
            fault::point("reindex.inserted");
            progress((done * BATCH as usize + batch.len()) as u64, report.blobs);
        }
        Ok(report)
    }
}

const MISSING: &str = "its blob is missing";

fn serial(key: &str) -> &str {
    key.rsplit('.').nth(1).unwrap_or_default()
}

/// Moves the keys of instances that have a newer one behind all others, newest first.
fn older_last(keys: &mut Vec<String>) {
    let mut seen = HashSet::new();
    let newest: Vec<bool> = keys
        .iter()
        .rev()
        .map(|key| seen.insert(instance_of(key)))
        .collect();
    drop(seen);
    let mut older = Vec::new();
    let mut is_newest = newest.into_iter().rev();
    keys.retain(|key| {
        let keep = is_newest.next().unwrap_or(true);
        if !keep {
            older.push(key.clone());
        }
        keep
    });
    keys.extend(older.into_iter().rev());
}

/// The part of a key that names the instance.
fn instance_of(key: &str) -> &str {
    let mut parts = key.rsplitn(3, '.');
    parts.nth(2).unwrap_or(key)
}

/// What is wrong with the blob of a row.
pub(super) async fn check_blob(
    blobs: &Blobs,
    row: &InstanceRow,
    digests: bool,
) -> Option<&'static str> {
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
            let options = WalkOptions {
                // It is stored already, by the settings of its time.
                plain_preambles: false,
                ..archive.walk_options(Rules::Standard)
            };
            let walked = walk(&*source, &options);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_several_blobs_of_an_instance_the_newest_comes_first() {
        let mut keys: Vec<String> = [
            "aa/1/2/1.5.01.dcm",
            "aa/1/2/1.6.02.dcm",
            "aa/1/2/1.5.03.dcm",
            "aa/1/2/1.7.04.dcm",
            "aa/1/2/1.5.05.dcm",
        ]
        .map(str::to_owned)
        .to_vec();
        older_last(&mut keys);
        assert_eq!(
            keys,
            [
                "aa/1/2/1.6.02.dcm",
                "aa/1/2/1.7.04.dcm",
                "aa/1/2/1.5.05.dcm",
                "aa/1/2/1.5.03.dcm",
                "aa/1/2/1.5.01.dcm",
            ]
        );
    }
}
