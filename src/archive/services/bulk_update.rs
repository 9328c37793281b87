//! Bulk updates: attributes or UIDs changed in the stored instances of whole studies, as operations.
//!
//! Of each instance a changed file is made and kept aside; when all are there, they take the places of the old ones in one
//! transaction of the index. Invariants: what is done survives the process, and any node goes on with it; a file whose bytes are
//! not what was stored is never made a new one; whoever asked sees and changes no more than then.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use serde_json::json;

use super::leased::OperationStep;
use crate::archive::Archive;
use crate::archive::buffer::granting;
use crate::archive::content::Content;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::jobs::commit::DurableBlob;
use crate::archive::spool::stored_failure;
use crate::dicom::amend::{self, AmendedFile};
use crate::dicom::bulk_update::{BulkUpdate, InstanceChange};
use crate::dicom::error::ParseError;
use crate::dicom::parse::ParseLimits;
use crate::dicom::source::Source;
use crate::dicom::uid::Target;
use crate::fault;
use crate::index::{
    BulkUpdateBegun, InstanceRow, NewBulkUpdate, Operation, OperationKind, OperationStatus,
    PreparedInstance, UpdateCommit, UpdatePlace, UpdateState, UpdatedStudy,
};
use crate::memory::{NoMemory, Purpose};
use crate::scope::{Scope, Visible};
use dicom_core::Tag;

/// Instances prepared between two looks at how far the operation is.
const PORTION: u32 = 16;

/// What became of a wish to update studies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkUpdateOutcome {
    /// They are being updated by this operation.
    Started(String),
    /// One of them is being updated already.
    Running,
    /// The caller could not store what would come of it.
    Outside,
}

impl Archive {
    /// Begins to update studies.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn begin_bulk_update(
        &self,
        scope: &Scope,
        update: BulkUpdate,
    ) -> Result<BulkUpdateOutcome> {
        if !is_within(&scope.visible, &update) {
            return Ok(BulkUpdateOutcome::Outside);
        }
        let written = update.change.to_text();
        let id = Operation::new_id();
        let studies = update.studies.iter();
        let new = NewBulkUpdate {
            operation: Operation {
                resources: studies.map(|study| format!("studies/{study}")).collect(),
                ..Operation::new(
                    id.clone(),
                    OperationKind::Update,
                    OperationStatus::NotStarted,
                )
            },
            partition: scope.partition,
            visible: scope.visible.clone(),
            request: written.map_err(|_| ArchiveError::Lost {
                what: "a bulk update",
            })?,
            studies: update.studies,
        };
        Ok(match self.index.begin_bulk_update(&new).await? {
            BulkUpdateBegun::Begun => {
                self.update_in_background(id.clone());
                BulkUpdateOutcome::Started(id)
            }
            BulkUpdateBegun::Running => BulkUpdateOutcome::Running,
        })
    }

    /// Works on an update, unless this process does already.
    pub(super) fn update_in_background(&self, operation: String) {
        fn step<'a>(
            archive: &'a Archive,
            operation: &'a str,
        ) -> BoxFuture<'a, Result<OperationStep>> {
            Box::pin(archive.update_step(operation))
        }
        self.work_in_background("bulk update", operation, step);
    }

    /// The next piece of an update, while this node has its lease.
    async fn update_step(&self, id: &str) -> Result<OperationStep> {
        let unfinished = self.unfinished_operation(id).await?;
        let (Some(mut operation), Some(task)) = (unfinished, self.index.bulk_update(id).await?)
        else {
            return Ok(OperationStep::Done);
        };
        let studies = self.index.updated_studies(id).await?;
        let is_waiting = |study: &&UpdatedStudy| study.state == UpdateState::Waiting;
        let Some(study) = studies.iter().find(is_waiting) else {
            finish(&mut operation, &studies);
            self.index.save_operation(&operation).await?;
            fault::point("update.finished");
            return Ok(OperationStep::Done);
        };
        let scope = Scope {
            partition: task.partition,
            visible: task.visible,
        };
        let place = UpdatePlace {
            operation: id,
            number: study.number,
        };
        let Some(change) = InstanceChange::from_text(&task.request) else {
            self.index.end_update(place, UpdateState::Failed).await?;
            return Ok(OperationStep::More);
        };
        let target = change.target(study.study.clone());
        if change.stays(&target) {
            // What has the new UIDs are the instances themselves.
            self.index.end_update(place, UpdateState::Failed).await?;
            return Ok(OperationStep::More);
        }
        let rows = self.index.unprepared(&scope, &target, PORTION).await?;
        if rows.is_empty() {
            self.exchange(&scope, &target, place).await?;
        } else if let Err(error) = self.prepare_rows(&scope, rows, &change, place).await {
            if !is_lasting(&error) {
                return Err(error);
            }
            tracing::warn!(
                operation = id,
                error = &error as &dyn std::error::Error,
                "a study cannot be updated"
            );
            self.index.end_update(place, UpdateState::Failed).await?;
        }
        let done = studies.iter().filter(|study| !is_waiting(study)).count();
        let progress = self.index.update_progress(&scope, &target, place).await?;
        let of_study = progress.prepared.saturating_mul(100) / progress.all.max(1);
        let percent = (done as u64 * 100 + of_study.min(100)) / studies.len().max(1) as u64;
        operation.status = OperationStatus::Running;
        operation.percent = u8::try_from(percent.min(99)).unwrap_or(99);
        self.index.save_operation(&operation).await?;
        Ok(OperationStep::More)
    }

    /// Lets the changed instances take the places of the old ones.
    async fn exchange(&self, scope: &Scope, target: &Target, place: UpdatePlace<'_>) -> Result<()> {
        let ended = self.index.commit_update(scope, target, place).await;
        match self.reads.changed(ended).await? {
            UpdateCommit::Updated(count) => self.meters.updated.add(count),
            UpdateCommit::Unprepared => {}
            UpdateCommit::Refused => self.index.end_update(place, UpdateState::Failed).await?,
            UpdateCommit::Gone => self.index.end_update(place, UpdateState::Unknown).await?,
        }
        Ok(())
    }

    /// Makes changed files of instances and keeps them aside.
    async fn prepare_rows(
        &self,
        scope: &Scope,
        rows: Vec<InstanceRow>,
        change: &InstanceChange,
        place: UpdatePlace<'_>,
    ) -> Result<()> {
        for row in rows {
            match Box::pin(self.changed(scope, &row, change)).await {
                Ok(blob) => self.keep_changed(scope, &row, blob, change, place).await?,
                // Deleted or replaced meanwhile: it is not this one that is to be changed.
                Err(error) if is_lasting(&error) && !self.is_there(scope, &row).await? => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Whether this version of an instance is still stored.
    async fn is_there(&self, scope: &Scope, row: &InstanceRow) -> Result<bool> {
        let target = Target::Instance(row.name.clone());
        let before = row.watermark.saturating_sub(1);
        let now = self.index.instances(scope, &target, before, 1).await?;
        Ok(now
            .first()
            .is_some_and(|now| now.watermark == row.watermark))
    }

    /// Keeps a changed instance until all of its study are there.
    async fn keep_changed(
        &self,
        scope: &Scope,
        row: &InstanceRow,
        blob: DurableBlob,
        change: &InstanceChange,
        place: UpdatePlace<'_>,
    ) -> Result<()> {
        fault::point("update.blob");
        let Some(new) = blob.instance().cloned() else {
            return Ok(());
        };
        let only: Vec<Tag> = change.edits.iter().map(|edit| edit.tag).collect();
        let levels = new.packed.levels((!change.moves()).then_some(&only));
        let levels = levels.map_err(|_| ArchiveError::Lost {
            what: "a bulk update",
        })?;
        self.blobs
            .sync_dirs(std::iter::once(new.place.key.as_str()))
            .await?;
        let key = new.place.key.clone();
        let prepared = PreparedInstance {
            replaces: row.watermark,
            packed: new.packed,
            place: new.place,
            digest: new.digest,
        };
        let kept = self
            .index
            .keep_prepared(place, scope.partition, &levels, &[prepared])
            .await;
        match kept {
            Ok(kept) if kept.first() == Some(&true) => blob.release(),
            // Another node was faster; what was made is let go.
            Ok(_) => drop(blob),
            Err(error) => {
                // It may be kept all the same: the sweeper looks before it removes.
                blob.release();
                if let Err(error) = self.index.discard(&[key]).await {
                    tracing::debug!(%error, "a blob is left for fsck");
                }
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes the changed file of an instance.
    async fn changed(
        &self,
        scope: &Scope,
        row: &InstanceRow,
        change: &InstanceChange,
    ) -> Result<DurableBlob> {
        self.require_whole(row).await?;
        let file = self.amended(row, change).await?;
        self.make_durable(scope.partition, &row.place.key, file)
            .await
    }

    /// The bytes of the changed file, in the transfer syntax of the stored one.
    async fn amended(&self, row: &InstanceRow, change: &InstanceChange) -> Result<Content> {
        let held = Arc::new(Mutex::new(self.budget.nothing(Purpose::Background)));
        let (planned, change, of) = (held.clone(), change.clone(), row.clone());
        let look = move |source: &(dyn Source + Send + Sync)| {
            let granted = granting(&planned);
            let file = AmendedFile {
                sop_class: &of.sop_class,
                instance: change.instance_uid(&of.name.instance),
                edits: &change.edits,
            };
            let limits = ParseLimits::of_stored();
            amend::plan(source, &of.layout, file, limits, &granted).map_err(plan_failure)
        };
        let (segments, base) = self.looked_through(row, look).await?;
        let file = match row.layout.deflated {
            true => self.deflated(row, segments, base).await?,
            false => self.rewritten(base, segments, None),
        };
        file.holding(held).all().await
    }
}

/// What a plan ended with: no memory is nothing that is wrong with the file.
pub(super) fn plan_failure(error: ParseError) -> ArchiveError {
    let ParseError::Read(read) = &error else {
        return stored_failure(error);
    };
    let memory = read.get_ref().and_then(|inner| inner.downcast_ref());
    match memory.copied() {
        Some(memory) => ArchiveError::Memory(memory),
        None => stored_failure(error),
    }
}

/// Whether an instance cannot be changed, now or later.
fn is_lasting(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Stored(ParseError::Read(_)) => false,
        ArchiveError::Stored(_)
        | ArchiveError::Invalid { .. }
        | ArchiveError::NotFound { .. }
        | ArchiveError::TooLarge { .. }
        | ArchiveError::Memory(NoMemory::TooLarge { .. }) => true,
        ArchiveError::Blob(error) => error.is_lost(),
        ArchiveError::Shared(error) => is_lasting(error),
        _ => false,
    }
}

/// Whether what comes of an update is the caller's to store: a patient or study that it is not limited to would be gone for it.
fn is_within(visible: &Visible, update: &BulkUpdate) -> bool {
    let Visible::Only { patients, studies } = visible else {
        return true;
    };
    let names = |study: &str| studies.iter().any(|known| known == study);
    let patient = update.change.text(Tag(0x0010, 0x0020));
    let new_patient_is_known = patient.is_none_or(|patient| {
        patients.iter().any(|known| known == patient)
            // Others that it names do not exist for it.
            || patients.is_empty()
            || update.studies.iter().all(|study| names(study.as_str()))
    });
    let new_study = update.change.new_study();
    let new_study_is_known = new_study.is_none_or(|study| !patients.is_empty() || names(study));
    new_patient_is_known && new_study_is_known
}

/// Writes how an update ended.
fn finish(operation: &mut Operation, studies: &[UpdatedStudy]) {
    let count = |state| studies.iter().filter(|study| study.state == state).count();
    let failed = |study: &&UpdatedStudy| study.state == UpdateState::Failed;
    let errors: Vec<String> = studies
        .iter()
        .filter(failed)
        .map(|study| format!("Failed to update instances for study {}", study.study))
        .collect();
    let mut results = json!({
        "studyProcessed": studies.len(),
        "studyUpdated": count(UpdateState::Updated),
        "studyFailed": errors.len(),
        "instanceUpdated": studies.iter().map(|study| study.instances).sum::<i64>(),
    });
    operation.status = OperationStatus::Completed;
    if !errors.is_empty() {
        operation.status = OperationStatus::Failed;
        if let Some(results) = results.as_object_mut() {
            results.insert("errors".to_owned(), json!(errors));
        }
    }
    operation.percent = 100;
    operation.results = Some(results.to_string());
}
