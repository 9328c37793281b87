//! The trash: what was removed within the grace period, and bringing it back.
//!
//! Blobs are parsed again, as they are by `reindex`, and inserted as if they had just arrived: with their feed entries,
//! counters and values of query tags. Invariants: each portion is one transaction that takes its blobs off the trash and
//! gives them their rows, so a restore may be broken off anywhere and simply begun again; a blob the sweeper has claimed
//! is not restored; what is stored under the same UIDs meanwhile stays.

use std::fmt;

use time::OffsetDateTime;

use super::check::{OTHER, check_blob};
use crate::archive::error::{ArchiveError, Result};
use crate::archive::{Archive, describe};
use crate::dicom::uid::{InstanceUid, StudyUid, Target};
use crate::fault;
use crate::index::{
    BlobPlace, Inserted, NewInstance, RemovalReason, TrashEntry, TrashFilter, TrashedInstance,
};
use crate::memory::Reservation;
use crate::scope::Scope;
use crate::trace;

/// Instances asked for at a time.
const BATCH: u32 = 256;
/// Bytes of rows inserted at a time.
const BATCH_BYTES: usize = 2 << 20;
/// Entries asked for at a time.
const ENTRIES: u32 = 100;
/// Instances that are named because they were left.
const NAMED: usize = 100;

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestoreTarget {
    /// What is left of one entry of the trash.
    Entry(i64),
    /// What was deleted of a study or has expired, the newest first; not what was replaced.
    Study(StudyUid),
}

/// Why an instance stays on the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftReason {
    /// Another one with its UIDs is stored now.
    Occupied,
    /// It belongs to a patient or study outside of what the caller may see.
    Outside,
    /// The sweeper has begun to remove it.
    Swept,
    /// Its bytes cannot be read, or are not what was stored.
    Damaged(String),
}

impl fmt::Display for LeftReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Occupied => "another instance with its UIDs is stored now; delete that one first",
            Self::Outside => "it belongs to a patient that you may not see",
            Self::Swept => "its bytes are being removed, as the time to restore it is over",
            Self::Damaged(reason) => reason,
        })
    }
}

/// What a restore did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// Studies it brought something back to, or would have.
    pub studies: Vec<StudyUid>,
    /// Instances that were brought back.
    pub restored: u64,
    /// Instances of the entry that were brought back before.
    pub earlier: u64,
    /// Instances that are stored anyway, with the same bytes.
    pub stored: u64,
    /// Instances that stay on the trash.
    pub left: u64,
    /// The first of these, and why.
    pub problems: Vec<(InstanceUid, LeftReason)>,
}

impl RestoreReport {
    fn leave(&mut self, instance: &InstanceUid, reason: LeftReason) {
        self.left += 1;
        if self.problems.len() < NAMED {
            self.problems.push((instance.clone(), reason));
        }
    }
}

/// Instances that were read and wait for their rows.
#[derive(Default)]
struct Portion {
    new: Vec<NewInstance>,
    held: Vec<Reservation>,
    bytes: usize,
}

impl Archive {
    /// What was removed and can be restored, the newest first.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn trash(&self, scope: &Scope, filter: &TrashFilter) -> Result<Vec<TrashEntry>> {
        Ok(self.index.trash_entries(scope, filter).await?)
    }

    /// Until when an entry can be restored for certain; the sweeper comes some time after that.
    #[must_use]
    pub fn restorable_until(&self, entry: &TrashEntry) -> OffsetDateTime {
        entry
            .since
            .saturating_add(time::Duration::try_from(self.grace).unwrap_or(time::Duration::MAX))
    }

    /// Brings back what was removed; goes on to its end when the caller does not wait for it.
    ///
    /// # Errors
    /// [`ArchiveError::NotFound`] when there is no such entry in the scope, or nothing of the study on the trash and no
    /// such study either; when the stores fail: then what is left is still on the trash.
    pub async fn restore(&self, scope: &Scope, target: RestoreTarget) -> Result<RestoreReport> {
        let (archive, scope) = (self.clone(), scope.clone());
        let work = async move { archive.restore_all(&scope, &target).await };
        let done = tokio::spawn(trace::carried(work)).await;
        done.map_err(|_| ArchiveError::Lost { what: "a restore" })?
    }

    async fn restore_all(&self, scope: &Scope, target: &RestoreTarget) -> Result<RestoreReport> {
        let mut report = RestoreReport::default();
        match target {
            RestoreTarget::Entry(id) => {
                let entry = self.index.trash_entry(scope, *id).await?;
                let entry = entry.ok_or_else(|| {
                    ArchiveError::not_found(format!("the entry {id} of the trash"))
                })?;
                report.earlier = entry.restored;
                self.restore_entry(scope, &entry, &mut report).await?;
            }
            RestoreTarget::Study(study) => self.restore_study(scope, study, &mut report).await?,
        }
        Ok(report)
    }

    async fn restore_study(
        &self,
        scope: &Scope,
        study: &StudyUid,
        report: &mut RestoreReport,
    ) -> Result<()> {
        let mut filter = TrashFilter {
            study: Some(study.clone()),
            before: None,
            limit: ENTRIES,
        };
        let mut found = false;
        loop {
            let entries = self.index.trash_entries(scope, &filter).await?;
            let Some(last) = entries.last() else { break };
            filter.before = Some(last.id);
            let removed = |entry: &&TrashEntry| entry.reason != RemovalReason::Replaced;
            for entry in entries.iter().filter(removed) {
                found = true;
                self.restore_entry(scope, entry, report).await?;
            }
        }
        let target = Target::Study(study.clone());
        if !found && self.index.version(scope, &target).await?.is_none() {
            let what = format!("{} on the trash", describe(&target));
            return Err(ArchiveError::not_found(what));
        }
        Ok(())
    }

    /// Restores what is left of an entry.
    async fn restore_entry(
        &self,
        scope: &Scope,
        entry: &TrashEntry,
        report: &mut RestoreReport,
    ) -> Result<()> {
        if !report.studies.contains(entry.target.study()) {
            report.studies.push(entry.target.study().clone());
        }
        let mut after = 0;
        loop {
            let instances = self.index.trashed_instances(entry, after, BATCH).await?;
            let Some(last) = instances.last() else {
                return Ok(());
            };
            after = last.watermark;
            let mut portion = Portion::default();
            for instance in &instances {
                match self.read_from_trash(scope, entry, instance).await? {
                    Ok((new, held)) => {
                        portion.bytes = portion.bytes.saturating_add(held.bytes());
                        portion.new.push(new);
                        portion.held.push(held);
                    }
                    Err(reason) => report.leave(&instance.name.instance, reason),
                }
                if portion.bytes >= BATCH_BYTES {
                    self.insert_restored(&mut portion, report).await?;
                }
            }
            self.insert_restored(&mut portion, report).await?;
        }
    }

    /// Parses a blob of the trash again; the inner error says why its instance cannot come back.
    async fn read_from_trash(
        &self,
        scope: &Scope,
        entry: &TrashEntry,
        instance: &TrashedInstance,
    ) -> Result<std::result::Result<(NewInstance, Reservation), LeftReason>> {
        let (mut new, held) = match self.read_again(&instance.key).await? {
            Ok(again) => again,
            Err(reason) => {
                let place = BlobPlace {
                    key: instance.key.clone(),
                    offset: 0,
                    length: instance.length,
                    blocks: None,
                };
                let fault = check_blob(&self.blobs, &place, Some(instance.digest)).await;
                let reason = fault.map_or(reason, |fault| fault.problem().to_owned());
                return Ok(Err(LeftReason::Damaged(reason)));
            }
        };
        if new.digest != instance.digest || *new.packed.name() != instance.name {
            return Ok(Err(LeftReason::Damaged(OTHER.to_owned())));
        }
        new.partition = entry.partition;
        new.visible = scope.visible.clone();
        new.restores = true;
        Ok(Ok((new, held)))
    }

    async fn insert_restored(
        &self,
        portion: &mut Portion,
        report: &mut RestoreReport,
    ) -> Result<()> {
        fault::point("restore.read");
        let Portion { new, held, .. } = std::mem::take(portion);
        if new.is_empty() {
            return Ok(());
        }
        let inserted = self.index.insert(&new).await;
        let inserted = self.reads.changed(inserted).await?;
        for (new, inserted) in new.iter().zip(inserted) {
            let instance = &new.packed.name().instance;
            match inserted {
                Inserted::Stored { .. } | Inserted::Replaced { .. } => {
                    self.meters.restored.one();
                    report.restored += 1;
                }
                Inserted::Exists { digest, .. } if digest == new.digest => report.stored += 1,
                Inserted::Exists { .. } | Inserted::Superseded | Inserted::Unmatched => {
                    report.leave(instance, LeftReason::Occupied);
                }
                Inserted::Outside => report.leave(instance, LeftReason::Outside),
                Inserted::Swept => report.leave(instance, LeftReason::Swept),
            }
        }
        drop(held);
        fault::point("restore.inserted");
        Ok(())
    }
}
