//! De-identified copies in another partition, as operations.
//!
//! They go through their sources as exports do, in the order of the UIDs. Invariants: what is counted is durably stored in the
//! other partition, and nothing but what was de-identified is; what is done survives the process, and any node with the same
//! key goes on with it; whoever asked gets what he could see when he asked.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::deidentify::{Deidentifiable, DeidentifiedInstance, is_refused, refusal};
use super::export_plan::{ExportPlan, RowOutcome, distinct, percent};
use super::leased::OperationStep;
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::ingest::{Outcome, StoreOptions, reason};
use crate::dicom::deidentify::DeidentifyProfile;
use crate::dicom::uid::Target;
use crate::fault;
use crate::index::{
    DeidentifiedCopy, ExportTask, InstanceRow, NewExport, Operation, OperationKind,
    OperationStatus, SkippedExport,
};
use crate::scope::{Partition, Scope};

/// Instances made at the same time.
const AT_ONCE: usize = 4;
/// How often an instance that is replaced while it is read is looked for again.
const TRIES: u32 = 3;
/// Most instances that the results name of those that were not copied.
const NAMED: u32 = 200;

/// Why a try did not copy an instance.
enum CopyProblem {
    /// It can never be de-identified, or not stored; without patient data.
    Refused(String),
    /// Its stored bytes are not there, or others.
    Source(ArchiveError),
}

impl Archive {
    /// Begins to make de-identified copies of targets, or of everything when there are none, in another partition.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn begin_deidentification(
        &self,
        scope: &Scope,
        targets: Option<&[Target]>,
        into: Partition,
        profile: &DeidentifyProfile,
    ) -> Result<String> {
        let id = Operation::new_id();
        let kind = OperationKind::Deidentify;
        let new = NewExport {
            operation: Operation::new(id.clone(), kind, OperationStatus::NotStarted),
            partition: scope.partition,
            visible: scope.visible.clone(),
            destination: String::new(),
            copy: Some(DeidentifiedCopy {
                partition: into,
                options: profile.options.to_string(),
                key: profile.key.fingerprint(),
            }),
            sources: targets.map(distinct),
        };
        self.index.begin_export(&new).await?;
        self.deidentify_in_background(id.clone());
        Ok(id)
    }

    pub(super) fn deidentify_in_background(&self, operation: String) {
        fn step<'a>(
            archive: &'a Archive,
            operation: &'a str,
        ) -> BoxFuture<'a, Result<OperationStep>> {
            Box::pin(archive.deidentify_step(operation))
        }
        self.work_in_background("de-identification", operation, step);
    }

    /// The next piece of an operation; ends one that cannot go on.
    async fn deidentify_step(&self, id: &str) -> Result<OperationStep> {
        let unfinished = self.unfinished_operation(id).await?;
        let (Some(mut operation), Some(task)) = (unfinished, self.index.export(id).await?) else {
            return Ok(OperationStep::Done);
        };
        let Some(copy) = task.copy.clone() else {
            return Ok(OperationStep::Done);
        };
        let stopped = match self.profile_of(&copy) {
            Some(profile) => {
                let step = self.deidentify_some(&mut operation, &task, &copy, &profile);
                match Box::pin(step).await {
                    Ok(step) => return Ok(step),
                    Err(error) => Some(error),
                }
            }
            None => None,
        };
        let quiet = OffsetDateTime::now_utc() - operation.updated;
        let late = quiet > self.exports.give_up;
        let reason = match stopped {
            Some(error) if !late => return Err(error),
            Some(error) => {
                tracing::warn!(
                    operation = id,
                    error = &error as &dyn std::error::Error,
                    "a de-identification is given up"
                );
                "Nothing could be stored for too long."
            }
            // Nodes need not all have been restarted with the key yet.
            None if !late => return Ok(OperationStep::Elsewhere),
            None => "The key by which it was begun is not the key of this server any more.",
        };
        tracing::warn!(operation = id, reason, "a de-identification failed");
        operation.status = OperationStatus::Failed;
        operation.percent = 100;
        let mut results = self.results_of(&copy, &task, (0, 0)).await?;
        self.name_skipped(&mut results, id, task.skipped).await?;
        if let Some(errors) = results.get_mut("errors").and_then(Value::as_array_mut) {
            errors.insert(0, json!({ "error": reason }));
        }
        operation.results = Some(results.to_string());
        self.index.end_export(&operation).await?;
        Ok(OperationStep::Done)
    }

    /// How an operation de-identifies; none when this node has another key or none.
    fn profile_of(&self, copy: &DeidentifiedCopy) -> Option<Arc<DeidentifyProfile>> {
        let options = copy.options.parse().ok()?;
        let profile = self.deidentification(options).ok()?;
        (profile.key.fingerprint() == copy.key).then_some(profile)
    }

    async fn deidentify_some(
        &self,
        operation: &mut Operation,
        task: &ExportTask,
        copy: &DeidentifiedCopy,
        profile: &Arc<DeidentifyProfile>,
    ) -> Result<OperationStep> {
        let scope = Scope {
            partition: task.partition,
            visible: task.visible.clone(),
        };
        let plan = ExportPlan::next(&*self.index, &scope, &operation.id, task).await?;
        if plan.is_end() {
            let mut results = self.results_of(copy, task, (0, 0)).await?;
            self.name_skipped(&mut results, &operation.id, task.skipped)
                .await?;
            operation.status = OperationStatus::Completed;
            operation.percent = 100;
            operation.results = Some(results.to_string());
            self.index.end_export(operation).await?;
            fault::point("deidentify.finished");
            return Ok(OperationStep::Done);
        }
        let rows = plan.rows.iter().cloned();
        let copied = rows.map(|row| self.copy_row(&scope, row, copy.partition, profile));
        let copied = stream::iter(copied).buffered(AT_ONCE);
        let copied: Vec<RowOutcome> = Box::pin(copied.try_collect()).await?;
        fault::point("deidentify.stored");
        let step = plan.into_step(copied);
        let counts = (step.exported, step.skipped_count());
        operation.status = OperationStatus::Running;
        operation.percent = percent(&step, task.sources);
        operation.results = Some(self.results_of(copy, task, counts).await?.to_string());
        self.index.advance_export(operation, task, &step).await?;
        Ok(OperationStep::More)
    }

    /// Copies an instance.
    async fn copy_row(
        &self,
        scope: &Scope,
        mut row: InstanceRow,
        into: Partition,
        profile: &Arc<DeidentifyProfile>,
    ) -> Result<RowOutcome> {
        let name = row.name.clone();
        let skipped = |message: String| Ok(RowOutcome::skipped(&name, message));
        for _ in 0..TRIES {
            let problem = match Box::pin(self.copy_version(scope, &row, into, profile)).await? {
                Ok(()) => return Ok(RowOutcome::Done),
                Err(problem) => problem,
            };
            match (self.row_now(scope, &row).await?, problem) {
                (None, _) => return Ok(RowOutcome::Gone),
                (Some(now), CopyProblem::Refused(reason)) if now.watermark == row.watermark => {
                    return skipped(reason);
                }
                (Some(now), CopyProblem::Source(error)) if now.watermark == row.watermark => {
                    if let ArchiveError::Blob(error) = &error {
                        self.blobs.report(error);
                    }
                    return skipped("the stored file is missing or damaged".to_owned());
                }
                (Some(now), _) => row = now,
            }
        }
        Err(ArchiveError::Busy {
            what: "an instance that is replaced again and again",
        })
    }

    /// Copies a version of an instance.
    async fn copy_version(
        &self,
        scope: &Scope,
        row: &InstanceRow,
        into: Partition,
        profile: &Arc<DeidentifyProfile>,
    ) -> Result<std::result::Result<(), CopyProblem>> {
        let copied = async {
            match self.try_deidentify(scope, row, profile).await? {
                Deidentifiable::Made(made) => self.store_made(made, into).await,
                Deidentifiable::Refused(reason) => Ok(Some(reason)),
            }
        };
        match copied.await {
            Ok(None) => Ok(Ok(())),
            Ok(Some(reason)) => Ok(Err(CopyProblem::Refused(reason))),
            Err(error) if is_refused(&error) => Ok(Err(CopyProblem::Refused(refusal(&error)))),
            Err(error) if is_lost(&error) => Ok(Err(CopyProblem::Source(error))),
            Err(error) => Err(error),
        }
    }

    /// Stores what was made, where it is not yet; says why it cannot be.
    async fn store_made(
        &self,
        made: DeidentifiedInstance,
        into: Partition,
    ) -> Result<Option<String>> {
        // The key of the blob says it.
        self.partition_name(into).await?;
        let mut request = self.begin_store(StoreOptions::unlimited(into))?;
        let mut part = request.begin_part()?;
        let mut chunks = made.file.all().await?.chunks;
        while let Some(chunk) = chunks.try_next().await? {
            request.write(&mut part, chunk).await?;
        }
        request.end_part(part).await?;
        let report = request.finish().await?;
        match report.outcomes.into_iter().next() {
            Some(Outcome::Stored { .. }) => Ok(None),
            Some(Outcome::Failed {
                reason: reason::OUT_OF_RESOURCES,
                ..
            })
            | None => Err(ArchiveError::Busy {
                what: "the store of what was de-identified",
            }),
            Some(Outcome::Failed { comments, .. }) => Ok(Some(comments.join("; "))),
        }
    }

    /// What an operation tells of itself.
    async fn results_of(
        &self,
        copy: &DeidentifiedCopy,
        task: &ExportTask,
        (copied, skipped): (i64, i64),
    ) -> Result<Value> {
        Ok(json!({
            "partition": self.partition_name(copy.partition).await?.as_str(),
            "options": copy.options,
            "deidentified": task.exported.saturating_add(copied),
            "skipped": task.skipped.saturating_add(skipped),
        }))
    }

    /// Adds what was not copied and why, as much as is named.
    async fn name_skipped(&self, results: &mut Value, id: &str, skipped: i64) -> Result<()> {
        let skips = self.index.skipped_exports(id, 0, NAMED).await?;
        let left_out = skipped.saturating_sub(i64::try_from(skips.len()).unwrap_or(i64::MAX));
        let error =
            |skip: SkippedExport| json!({ "identifier": skip.identifier, "error": skip.message });
        let errors: Vec<Value> = skips.into_iter().map(error).collect();
        if let Some(results) = results.as_object_mut() {
            results.insert("errors".to_owned(), errors.into());
            if left_out > 0 {
                results.insert("errorsNotListed".to_owned(), left_out.into());
            }
        }
        Ok(())
    }
}

/// Whether the stored bytes of an instance are not there, or others.
fn is_lost(error: &ArchiveError) -> bool {
    match error {
        ArchiveError::Blob(error) => error.is_lost(),
        ArchiveError::Shared(error) => is_lost(error),
        _ => false,
    }
}
