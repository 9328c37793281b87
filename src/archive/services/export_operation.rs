//! Exports to destinations of the configuration, as operations.
//!
//! Instances are exported in the order of their UIDs, each once. Invariants: what is counted as exported is durable in the
//! destination, byte for byte as it was stored; what is done survives the process, and any node goes on with it; whoever
//! asked gets what he could see when he asked.

use std::io::Write;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::export_plan::{ExportPlan, RowOutcome, distinct, percent};
use super::export_settings::ExportSettings;
use super::leased::OperationStep;
use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::blob::{BlobError, CHUNK, Destination, Destinations, ExportFailure, SEND_PART};
use crate::dicom::source::FileSource;
use crate::dicom::uid::Target;
use crate::fault;
use crate::index::{
    ExportTask, IndexError, InstanceRow, NewExport, Operation, OperationKind, OperationStatus,
    SkippedExport,
};
use crate::memory::{NoMemory, Purpose};
use crate::scope::Scope;

/// Files written at the same time.
const AT_ONCE: usize = 4;
/// How often an instance that is replaced while it is read is looked for again.
const TRIES: u32 = 3;
/// Lines of the log of errors that are read at a time.
const LINES: u32 = 200;
/// Name of the log of errors, below the folder of the operation.
const ERRORS: &str = "errors.log";

/// Why a step of an export did not come to its end.
enum ExportStop {
    /// It never will.
    Refused(String),
    /// Later it may.
    Failed(ArchiveError),
}

impl From<ArchiveError> for ExportStop {
    fn from(error: ArchiveError) -> Self {
        Self::Failed(error)
    }
}

impl From<IndexError> for ExportStop {
    fn from(error: IndexError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<BlobError> for ExportStop {
    fn from(error: BlobError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<NoMemory> for ExportStop {
    fn from(error: NoMemory) -> Self {
        Self::Failed(error.into())
    }
}

impl Archive {
    /// Says where exports may go.
    #[must_use]
    pub fn with_exports(mut self, settings: ExportSettings) -> Self {
        self.exports = Arc::new(settings);
        self
    }

    /// Where exports may go.
    #[must_use]
    pub fn destinations(&self) -> &Destinations {
        &self.exports.destinations
    }

    /// Begins to export targets, or everything when there are none, to the destination of a name.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn begin_export(
        &self,
        scope: &Scope,
        targets: Option<&[Target]>,
        destination: &str,
    ) -> Result<String> {
        let id = Operation::new_id();
        let kind = OperationKind::Export;
        let new = NewExport {
            operation: Operation::new(id.clone(), kind, OperationStatus::NotStarted),
            partition: scope.partition,
            visible: scope.visible.clone(),
            destination: destination.to_owned(),
            copy: None,
            sources: targets.map(distinct),
        };
        self.index.begin_export(&new).await?;
        self.export_in_background(id.clone());
        Ok(id)
    }

    pub(super) fn export_in_background(&self, operation: String) {
        fn step<'a>(
            archive: &'a Archive,
            operation: &'a str,
        ) -> BoxFuture<'a, Result<OperationStep>> {
            Box::pin(archive.export_step(operation))
        }
        self.work_in_background("export", operation, step);
    }

    /// The next piece of an export; ends one that cannot go on.
    async fn export_step(&self, id: &str) -> Result<OperationStep> {
        let unfinished = self.unfinished_operation(id).await?;
        let (Some(mut operation), Some(task)) = (unfinished, self.index.export(id).await?) else {
            return Ok(OperationStep::Done);
        };
        let destination = self.destinations().get(&task.destination);
        let stopped = match destination {
            Some(destination) => match self.export_some(&mut operation, &task, destination).await {
                Ok(step) => return Ok(step),
                Err(stopped) => Some(stopped),
            },
            None => None,
        };
        let quiet = OffsetDateTime::now_utc() - operation.updated;
        let late = quiet > self.exports.give_up;
        let reason = match stopped {
            Some(ExportStop::Refused(reason)) => reason,
            Some(ExportStop::Failed(error)) if !late => return Err(error),
            Some(ExportStop::Failed(error)) => {
                tracing::warn!(
                    operation = id,
                    error = &error as &dyn std::error::Error,
                    "an export is given up"
                );
                "nothing could be written for too long".to_owned()
            }
            // Nodes need not all have been restarted with it yet.
            None if !late => return Ok(OperationStep::Elsewhere),
            None => "no such destination is configured any more".to_owned(),
        };
        let reason = format!("The destination {}: {reason}.", task.destination);
        tracing::warn!(operation = id, reason, "an export failed");
        operation.status = OperationStatus::Failed;
        operation.percent = 100;
        operation.results = Some(
            json!({ "exported": task.exported, "skipped": task.skipped, "errors": [reason] })
                .to_string(),
        );
        self.index.end_export(&operation).await?;
        Ok(OperationStep::Done)
    }

    async fn export_some(
        &self,
        operation: &mut Operation,
        task: &ExportTask,
        destination: &Destination,
    ) -> std::result::Result<OperationStep, ExportStop> {
        let scope = Scope {
            partition: task.partition,
            visible: task.visible.clone(),
        };
        if operation.status == OperationStatus::NotStarted {
            // A destination that cannot be used is found before anything is read.
            self.write_errors(&operation.id, 0, destination).await?;
        }
        let plan = ExportPlan::next(&*self.index, &scope, &operation.id, task).await?;
        if plan.is_end() {
            self.write_errors(&operation.id, task.skipped, destination)
                .await?;
            fault::point("export.logged");
            operation.status = OperationStatus::Completed;
            operation.percent = 100;
            operation.results = Some(results(&operation.id, destination, task, 0, 0));
            self.index.end_export(operation).await?;
            fault::point("export.finished");
            return Ok(OperationStep::Done);
        }
        let done = self.export_rows(&scope, &plan, &operation.id, destination);
        let done = done.await?;
        fault::point("export.copied");
        let step = plan.into_step(done);
        let (exported, more) = (step.exported, step.skipped_count());
        operation.status = OperationStatus::Running;
        operation.percent = percent(&step, task.sources);
        operation.results = Some(results(&operation.id, destination, task, exported, more));
        if self.index.advance_export(operation, task, &step).await? {
            self.meters.exported.add(exported.unsigned_abs());
            self.meters.unexported.add(more.unsigned_abs());
        }
        Ok(OperationStep::More)
    }

    async fn export_rows(
        &self,
        scope: &Scope,
        plan: &ExportPlan,
        operation: &str,
        destination: &Destination,
    ) -> std::result::Result<Vec<RowOutcome>, ExportStop> {
        let rows = plan.rows.iter().cloned();
        let written = rows.map(|row| self.export_row(scope, row, operation, destination));
        stream::iter(written).buffered(AT_ONCE).try_collect().await
    }

    /// Writes the file of an instance.
    async fn export_row(
        &self,
        scope: &Scope,
        mut row: InstanceRow,
        operation: &str,
        destination: &Destination,
    ) -> std::result::Result<RowOutcome, ExportStop> {
        let name = row.name.clone();
        let identifier = format!("{}/{}/{}", name.study, name.series, name.instance);
        let file = format!("{operation}/results/{identifier}.dcm");
        let skipped = |message: &str| Ok(RowOutcome::skipped(&name, message.to_owned()));
        for _ in 0..TRIES {
            let problem = match self.send_row(&row, &file, destination).await {
                Ok(()) => return Ok(RowOutcome::Done),
                Err(SendProblem::Stop(stop)) => return Err(stop),
                Err(SendProblem::TooLarge) => {
                    return skipped("It needs more memory than the server may use.");
                }
                Err(SendProblem::Source(problem)) => problem,
            };
            match self.row_now(scope, &row).await? {
                None => return Ok(RowOutcome::Gone),
                Some(now) if now.watermark == row.watermark => {
                    self.blobs.report(&problem);
                    return skipped(match problem {
                        BlobError::Missing { .. } => "The stored file is missing.",
                        BlobError::Short { .. } | BlobError::Damaged { .. } => {
                            "The stored file is damaged."
                        }
                        _ => "The stored file cannot be read.",
                    });
                }
                Some(now) => row = now,
            }
        }
        let busy = ArchiveError::Busy {
            what: "an instance that is replaced again and again",
        };
        Err(busy.into())
    }

    async fn send_row(
        &self,
        row: &InstanceRow,
        file: &str,
        destination: &Destination,
    ) -> std::result::Result<(), SendProblem> {
        let place = &row.place;
        let bytes = usize::try_from(place.length).unwrap_or(usize::MAX);
        let room = self
            .budget
            .reserve(Purpose::Background, bytes.clamp(CHUNK, SEND_PART + CHUNK));
        let _room = room.await.map_err(|error| match error {
            NoMemory::TooLarge { .. } => SendProblem::TooLarge,
            NoMemory::Busy => SendProblem::Stop(error.into()),
        })?;
        let source = self
            .blobs
            .open_source(&place.key, place.offset, place.length);
        let source = source.await.map_err(SendProblem::of_source)?;
        let written = destination.write(file, source, Some(row.digest)).await;
        written.map_err(|failure| match failure {
            ExportFailure::Source(error) => SendProblem::of_source(error),
            failure => SendProblem::Stop(failure.into()),
        })
    }

    /// Writes the log of errors, a JSON object a line.
    async fn write_errors(
        &self,
        operation: &str,
        count: i64,
        destination: &Destination,
    ) -> std::result::Result<(), ExportStop> {
        let spooled = self.blobs.spool()?;
        let mut file = spooled
            .file()
            .and_then(std::fs::File::try_clone)
            .map_err(|e| BlobError::at(ERRORS, e))?;
        let (mut room, mut length, mut first) = (self.spool.nothing(), 0, 0);
        while first < count {
            let lines = self.index.skipped_exports(operation, first, LINES).await?;
            if lines.is_empty() {
                break;
            }
            first = first.saturating_add(i64::try_from(lines.len()).unwrap_or(i64::MAX));
            let text: String = lines.iter().filter_map(line).collect();
            length += text.len() as u64;
            room.try_grow_to(length).map_err(ArchiveError::from)?;
            let written = tokio::task::spawn_blocking(move || {
                file.write_all(text.as_bytes())?;
                Ok(file)
            });
            let lost = |_| ArchiveError::Lost { what: "export" };
            let written: std::io::Result<std::fs::File> = written.await.map_err(lost)?;
            file = written.map_err(|e| BlobError::at(ERRORS, e))?;
        }
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        let _room = self
            .budget
            .reserve(Purpose::Background, bytes.clamp(CHUNK, SEND_PART + CHUNK))
            .await?;
        let source = FileSource::new(file).map_err(|e| BlobError::at(ERRORS, e))?;
        let name = format!("{operation}/{ERRORS}");
        let written = destination.write(&name, Arc::new(source), None).await;
        written.map_err(ExportStop::from)
    }
}

/// Why an instance was not written.
enum SendProblem {
    /// Its stored bytes are not there, or others.
    Source(BlobError),
    /// There can never be memory for it.
    TooLarge,
    /// Nothing is wrong with it.
    Stop(ExportStop),
}

impl SendProblem {
    fn of_source(error: BlobError) -> Self {
        match error {
            BlobError::Unavailable { .. } | BlobError::Full { .. } | BlobError::Config { .. } => {
                Self::Stop(error.into())
            }
            error => Self::Source(error),
        }
    }
}

impl From<ExportFailure> for ExportStop {
    fn from(failure: ExportFailure) -> Self {
        match failure {
            ExportFailure::Refused(reason) => Self::Refused(reason.to_owned()),
            ExportFailure::Source(error) | ExportFailure::Destination(error) => {
                Self::Failed(error.into())
            }
        }
    }
}

fn line(skipped: &SkippedExport) -> Option<String> {
    let timestamp = skipped.created.format(&Rfc3339).ok()?;
    let line = json!({
        "timestamp": timestamp,
        "identifier": skipped.identifier,
        "error": skipped.message,
    });
    Some(format!("{line}\n"))
}

fn results(
    operation: &str,
    destination: &Destination,
    task: &ExportTask,
    exported: i64,
    skipped: i64,
) -> String {
    json!({
        "errorHref": destination.href(&format!("{operation}/{ERRORS}")),
        "exported": task.exported.saturating_add(exported),
        "skipped": task.skipped.saturating_add(skipped),
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_is_an_object_by_itself() {
        let skipped = SkippedExport {
            identifier: "1.2".to_owned(),
            message: "a \"quoted\"\nword".to_owned(),
            created: OffsetDateTime::UNIX_EPOCH,
        };
        let text = line(&skipped).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["timestamp"], "1970-01-01T00:00:00Z");
        assert_eq!(value["error"], "a \"quoted\"\nword");
    }
}
