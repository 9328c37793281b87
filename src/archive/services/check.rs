//! Checks and repair: `fsck` compares index and blobs both ways, `reindex` rebuilds rows from blobs.
//!
//! Invariant: nothing is removed that a row names, and a repair goes through the same transactions as a request.

mod order;
pub(in crate::archive) mod sorter;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt, TryStreamExt, stream};
use time::OffsetDateTime;

use self::order::{BlobCounts, key_of};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::{Archive, describe};
use crate::blob::{BlobError, Blobs};
use crate::dicom::uid::Target;
use crate::fault;
use crate::index::{BlobPlace, Damage, Inserted, InstanceRow, NewInstance};
use crate::scope::{Partition, Scope};

/// Rows or keys handled at a time.
const BATCH: u32 = 500;
/// Bytes of rows inserted at a time.
const BATCH_BYTES: usize = 8 << 20;
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

/// What a check tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckProgress<'a> {
    /// How many rows are done.
    Rows(u64),
    /// One sentence about a thing that is wrong; UIDs and keys only.
    Problem(&'a str),
}

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Rows looked at.
    pub instances: u64,
    /// Blobs looked at.
    pub blobs: u64,
    /// Blobs that are too young to be looked for a row.
    pub young: u64,
    /// Non-patient instances whose files were read.
    pub nonpatient: u64,
    /// Things that are wrong.
    pub problems: u64,
    /// Blobs that no row needs: harmless, they only take room.
    pub orphans: u64,
    /// Things mended.
    pub repaired: u64,
}

impl CheckReport {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems == 0
    }

    fn problem(&mut self, reported: ReportProgress<'_>, problem: &str) {
        self.problems += 1;
        reported(CheckProgress::Problem(problem));
    }
}

/// Hears what a check tells.
type ReportProgress<'t> = &'t (dyn Fn(CheckProgress<'_>) + Sync);

/// What a rebuild tells while it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebuildProgress<'a> {
    /// How many blobs are done, of how many.
    Blobs(u64, u64),
    /// A blob that cannot be read: key and reason.
    Refused(&'a str, &'a str),
}

/// What a rebuild did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReindexReport {
    /// Blobs looked at.
    pub blobs: u64,
    /// Instances that got a row.
    pub added: u64,
    /// Blobs of instances that had one, or that went on under other UIDs.
    pub known: u64,
    /// Blobs that cannot be read.
    pub refused: u64,
}

impl Archive {
    /// Compares index and blob store both ways; damage that is found is remembered, and forgotten where there is none.
    ///
    /// # Errors
    /// When either store cannot be read at all.
    pub async fn check_stores(
        &self,
        options: CheckOptions,
        reported: &(dyn Fn(CheckProgress<'_>) + Sync),
    ) -> Result<CheckReport> {
        let mut report = CheckReport::default();
        let Some(missing) = self.check_rows(options, &mut report, reported).await? else {
            let problem = format!(
                "{0} of {0} blobs are missing, and no row was removed or noted as damaged: is the blob store of \
                 STOWAGE_BLOB_URL or STOWAGE_DATA_DIR the right one? `--force` goes on all the same",
                report.instances
            );
            report.problem(reported, &problem);
            return Ok(report);
        };
        if options.repair && missing > 0 {
            self.remove_rows(missing, options, &mut report, reported)
                .await?;
        }
        self.check_blobs(options, &mut report).await?;
        if options.digests {
            self.check_nonpatient(&mut report, reported).await?;
        }
        for problem in self.index.counter_errors(100).await? {
            report.problem(reported, &problem);
        }
        self.check_statistics(options, &mut report, reported)
            .await?;
        Ok(report)
    }

    /// Compares the statistics with what there is.
    async fn check_statistics(
        &self,
        options: CheckOptions,
        report: &mut CheckReport,
        reported: ReportProgress<'_>,
    ) -> Result<()> {
        let errors = self.index.statistic_errors().await?;
        for error in &errors {
            let problem = format!(
                "the statistics of partition {} count {} patients, {} studies, {} series, {} instances, {} bytes too many \
                 (month {}, modality {:?})",
                error.partition,
                error.patients,
                error.studies,
                error.series,
                error.instances,
                error.bytes,
                error.month,
                error.modality,
            );
            report.problem(reported, &problem);
        }
        if options.repair && !errors.is_empty() {
            self.index.recount_statistics().await?;
            report.repaired += errors.len() as u64;
        }
        Ok(())
    }

    /// Reads every file of non-patient instances, which the index holds, and compares its digest.
    async fn check_nonpatient(
        &self,
        report: &mut CheckReport,
        reported: ReportProgress<'_>,
    ) -> Result<()> {
        let mut after = 0;
        loop {
            let stored = self.index.all_nonpatient(after, BATCH).await?;
            let Some(last) = stored.last() else {
                return Ok(());
            };
            after = last.row.id;
            for one in stored {
                match self.nonpatient_file(&one.row).await {
                    Ok(_) => report.nonpatient += 1,
                    // It was deleted meanwhile.
                    Err(ArchiveError::NotFound { .. }) => {}
                    Err(ArchiveError::Lost { what }) => {
                        report.nonpatient += 1;
                        let (kind, instance) = (&one.kind, &one.instance);
                        report.problem(reported, &format!("{instance} in {kind}: {what}"));
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// Looks at the blob of each row; returns how many have none. None when not one of the first is there: then it is the
    /// store that is missing, and nothing is said of the rows.
    async fn check_rows(
        &self,
        options: CheckOptions,
        report: &mut CheckReport,
        reported: ReportProgress<'_>,
    ) -> Result<Option<u64>> {
        let mut after = 0;
        let mut missing = 0;
        loop {
            let rows = self.index.all_instances(after, BATCH).await?;
            let Some(last) = rows.last() else {
                return Ok(Some(missing));
            };
            after = last.watermark;
            report.instances += rows.len() as u64;
            let watermarks: Vec<i64> = rows.iter().map(|row| row.watermark).collect();
            let damaged = self.index.damaged_among(&watermarks).await?;
            let checks = stream::iter(rows)
                .map(|row| {
                    let digest = options.digests || damaged.contains(&row.watermark);
                    async move {
                        let digest = digest.then_some(row.digest);
                        let found = check_blob(&self.blobs, &row.place, digest).await;
                        (row, found)
                    }
                })
                .buffered(AT_ONCE);
            let checks: Vec<(InstanceRow, Option<Fault>)> = checks.collect().await;
            let is_missing = |found: &Option<Fault>| found.as_ref().is_some_and(Fault::is_missing);
            let first = report.instances == checks.len() as u64;
            let none = checks.iter().all(|(_, found)| is_missing(found));
            if first && none && checks.len() as u64 > FEW && !options.force {
                return Ok(None);
            }
            let mut whole = Vec::new();
            for (row, found) in checks {
                let Some(found) = found else {
                    whole.extend(Some(row.watermark).filter(|one| damaged.contains(one)));
                    continue;
                };
                // Deleted and swept, or mended, since the row was read: nothing is wrong.
                if !self.is_stored(&row).await? {
                    continue;
                }
                let problem = found.problem();
                let mut what = describe(&Target::Instance(row.name.clone()));
                if row.partition != Partition::DEFAULT {
                    let partition = self.partition_name(row.partition).await?;
                    what = format!("{what} in the partition {partition}");
                }
                report.problem(reported, &format!("{what}: {problem}"));
                if let Fault::Damage(problem) = found {
                    self.index.note_damage(row.watermark, problem).await?;
                }
                missing += u64::from(problem == MISSING);
            }
            self.clear_damage(&whole).await?;
            reported(CheckProgress::Rows(report.instances));
        }
    }

    /// Whether this version of an instance is still the stored one, with the same blob.
    pub(in crate::archive) async fn is_stored(&self, row: &InstanceRow) -> Result<bool> {
        let found = self.index.all_instances(row.watermark - 1, 1).await?;
        Ok(found
            .first()
            .is_some_and(|now| now.watermark == row.watermark && now.place == row.place))
    }

    /// Deletes rows whose blob is missing; but not many at once, for then it is the store that is missing.
    async fn remove_rows(
        &self,
        missing: u64,
        options: CheckOptions,
        report: &mut CheckReport,
        reported: ReportProgress<'_>,
    ) -> Result<()> {
        if !options.force && missing > FEW && missing.saturating_mul(10) > report.instances {
            let problem = format!(
                "{missing} of {} blobs are missing, and no row was removed: check that the blob store is the right one \
                 and complete; `--force` removes the rows",
                report.instances
            );
            report.problem(reported, &problem);
            return Ok(());
        }
        let mut after = 0;
        loop {
            let damages = self.index.damages(after, BATCH).await?;
            let Some(last) = damages.last() else {
                return Ok(());
            };
            after = last.row.watermark;
            for Damage { row, problem, .. } in damages {
                let is_missing = || check_blob(&self.blobs, &row.place, None);
                if problem != MISSING
                    || is_missing()
                        .await
                        .is_none_or(|now| now.problem() != MISSING)
                    || !self.is_stored(&row).await?
                {
                    continue;
                }
                let target = Target::Instance(row.name);
                let scope = Scope {
                    partition: row.partition,
                    ..Scope::everything()
                };
                report.repaired += self.index.delete(&scope, &target).await?;
                // Should the blob come back, it is not to be swept: it is all there is of the instance.
                self.index.purge(&[row.place.key]).await?;
            }
        }
    }

    async fn check_blobs(&self, options: CheckOptions, report: &mut CheckReport) -> Result<()> {
        let young =
            OffsetDateTime::now_utc() - std::time::Duration::from_secs(options.young_seconds);
        let too_young = Arc::new(AtomicU64::new(0));
        let mut batches = self
            .blobs
            .list_old(Some(young.into()), &too_young)
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
        report.young = too_young.load(Ordering::Relaxed);
        Ok(())
    }

    /// Gives every blob that no row names its row, oldest first. Of several blobs of one instance the newest that can be
    /// read counts: an older one was deleted. What a bulk update moved to other UIDs has its row there.
    ///
    /// # Errors
    /// When either store cannot be used; a blob that cannot be read is reported and left.
    pub async fn reindex(
        &self,
        reported: &(dyn Fn(RebuildProgress<'_>) + Sync),
    ) -> Result<ReindexReport> {
        let mut report = ReindexReport::default();
        let mut counts = BlobCounts::default();
        let mut keys = self.in_order(&mut counts).await?;
        (report.blobs, report.known) = (counts.all, counts.moved);
        fault::point("reindex.listed");
        let mut done = 0;
        loop {
            let (rest, batch) = keys.batch(BATCH as usize).await?;
            keys = rest;
            if batch.is_empty() {
                return Ok(report);
            }
            let batch: Vec<String> = batch.iter().map(|line| key_of(line).to_owned()).collect();
            let known = self.index.known_keys(&batch).await?;
            let (mut new, mut held, mut bytes) = (Vec::new(), Vec::new(), 0_usize);
            for (key, known) in batch.iter().zip(known) {
                if known {
                    report.known += 1;
                    continue;
                }
                match self.read_again(key).await? {
                    Ok((instance, memory)) => {
                        bytes = bytes.saturating_add(memory.bytes());
                        new.push(instance);
                        held.push(memory);
                    }
                    Err(reason) => {
                        report.refused += 1;
                        reported(RebuildProgress::Refused(key, &reason));
                    }
                }
                if bytes >= BATCH_BYTES {
                    self.insert_again(&mut new, &mut report).await?;
                    held.clear();
                    bytes = 0;
                }
            }
            fault::point("reindex.read");
            self.insert_again(&mut new, &mut report).await?;
            fault::point("reindex.inserted");
            done += batch.len() as u64;
            reported(RebuildProgress::Blobs(done, report.blobs));
        }
    }

    async fn insert_again(
        &self,
        new: &mut Vec<NewInstance>,
        report: &mut ReindexReport,
    ) -> Result<()> {
        for inserted in self.index.insert(new).await? {
            match inserted {
                Inserted::Stored { .. } | Inserted::Replaced { .. } => report.added += 1,
                Inserted::Exists { .. }
                | Inserted::Superseded
                | Inserted::Unmatched
                | Inserted::Swept
                | Inserted::Outside => report.known += 1,
            }
        }
        new.clear();
        Ok(())
    }
}

pub(super) const MISSING: &str = "its blob is missing";
pub(super) const SHORT: &str = "its blob is too short";
pub(super) const OTHER: &str = "its blob holds other bytes than were stored";
const UNREADABLE: &str = "its blob cannot be read";

/// Why the blob of a row is not as it was stored.
#[derive(Debug)]
pub(in crate::archive) enum Fault {
    /// It is not there as it was stored, and will not be by itself.
    Damage(&'static str),
    /// The store does not answer, which says nothing about the blob.
    Away(BlobError),
}

impl Fault {
    /// What is wrong.
    pub(in crate::archive) fn problem(&self) -> &'static str {
        match self {
            Self::Damage(problem) => problem,
            Self::Away(_) => UNREADABLE,
        }
    }

    /// Whether the blob is not there at all.
    fn is_missing(&self) -> bool {
        matches!(self, Self::Damage(problem) if *problem == MISSING)
    }

    /// What an error on reading means.
    pub(in crate::archive) fn of(error: BlobError) -> Self {
        match error {
            BlobError::Missing { .. } => Self::Damage(MISSING),
            BlobError::Short { .. } => Self::Damage(SHORT),
            BlobError::Damaged { .. } => Self::Damage(OTHER),
            BlobError::Io { .. } => Self::Damage(UNREADABLE),
            BlobError::Full { .. } | BlobError::Unavailable { .. } | BlobError::Config { .. } => {
                Self::Away(error)
            }
        }
    }

    /// None when a digest is the one that was taken at the store.
    pub(in crate::archive) fn of_digest(found: &[u8; 32], stored: &[u8; 32]) -> Option<Self> {
        (found != stored).then_some(Self::Damage(OTHER))
    }
}

/// What is wrong with the blob of a row: by its length, and by its digest where one is given.
pub(in crate::archive) async fn check_blob(
    blobs: &Blobs,
    place: &BlobPlace,
    digest: Option<[u8; 32]>,
) -> Option<Fault> {
    match blobs.length(&place.key).await {
        Ok(length) if length < place.offset.saturating_add(place.length) => {
            return Some(Fault::Damage(SHORT));
        }
        Ok(_) => {}
        Err(error) => return Some(Fault::of(error)),
    }
    let digest = digest?;
    match blobs.sums(&place.key, place.offset, place.length).await {
        Ok(found) => Fault::of_digest(&found.digest, &digest),
        Err(error) => Some(Fault::of(error)),
    }
}
