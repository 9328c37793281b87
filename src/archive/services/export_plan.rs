//! Which instances an export comes by next.
//!
//! Invariant: the instances of a source, or all there are, come in the order of their UIDs, so none comes twice, whatever is
//! stored, replaced or deleted meanwhile.

use std::collections::HashSet;

use time::OffsetDateTime;

use crate::archive::error::{ArchiveError, Result};
use crate::archive::{Archive, describe};
use crate::dicom::uid::{InstanceName, StudyUid, Target};
use crate::index::{ExportCursor, ExportStep, ExportTask, Index, InstanceRow, SkippedExport};
use crate::scope::Scope;

/// Instances of one step.
const PORTION: u32 = 32;
/// Bytes of the instances of one step, unless it is one alone.
const PORTION_BYTES: u64 = 256 << 20;

/// What became of an instance.
#[derive(Debug)]
pub(super) enum RowOutcome {
    /// It is where it was to be.
    Done,
    /// It was deleted before it was its turn.
    Gone,
    Skipped(SkippedExport),
}

impl RowOutcome {
    /// An instance that is left out for a reason.
    pub(super) fn skipped(name: &InstanceName, message: String) -> Self {
        Self::Skipped(SkippedExport {
            identifier: identifier(&Target::Instance(name.clone())),
            message,
            created: OffsetDateTime::now_utc(),
        })
    }
}

impl Archive {
    /// The version of an instance that is stored now; none when it was deleted.
    pub(super) async fn row_now(
        &self,
        scope: &Scope,
        row: &InstanceRow,
    ) -> Result<Option<InstanceRow>> {
        let target = Target::Instance(row.name.clone());
        let before = row.watermark.saturating_sub(1);
        let now = self.index.instances(scope, &target, before, 1).await?;
        Ok(now.into_iter().next())
    }
}

/// The next step of an export.
#[derive(Debug)]
pub(super) struct ExportPlan {
    /// How far the export is behind it.
    cursor: ExportCursor,
    expected: i64,
    done: i64,
    /// What is to be exported.
    pub(super) rows: Vec<InstanceRow>,
    bytes: u64,
    /// Sources that are not there.
    unknown: Vec<SkippedExport>,
}

impl ExportPlan {
    /// Looks for what comes behind the cursor of an export.
    pub(super) async fn next(
        index: &dyn Index,
        scope: &Scope,
        operation: &str,
        task: &ExportTask,
    ) -> Result<Self> {
        let mut plan = Self {
            cursor: task.cursor.clone(),
            expected: task.expected,
            done: task.done,
            rows: Vec::new(),
            bytes: 0,
            unknown: Vec::new(),
        };
        match task.sources {
            Some(_) => plan.add_sources(index, scope, operation).await?,
            None => plan.add_studies(index, scope).await?,
        }
        Ok(plan)
    }

    /// Whether there is nothing more.
    pub(super) fn is_end(&self) -> bool {
        self.rows.is_empty() && self.unknown.is_empty()
    }

    /// What is to be kept when it is done.
    pub(super) fn into_step(self, outcomes: Vec<RowOutcome>) -> ExportStep {
        let (mut exported, mut skipped) = (0_i64, self.unknown);
        for outcome in outcomes {
            match outcome {
                RowOutcome::Done => exported = exported.saturating_add(1),
                RowOutcome::Gone => {}
                RowOutcome::Skipped(one) => skipped.push(one),
            }
        }
        ExportStep {
            cursor: self.cursor,
            expected: self.expected,
            done: self.done,
            exported,
            skipped,
        }
    }

    fn room(&self) -> u32 {
        let taken = self.rows.len().saturating_add(self.unknown.len());
        let room = PORTION.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
        if self.bytes < PORTION_BYTES { room } else { 0 }
    }

    async fn add_sources(
        &mut self,
        index: &dyn Index,
        scope: &Scope,
        operation: &str,
    ) -> Result<()> {
        let first = self.cursor.source;
        let sources = index.export_sources(operation, first, PORTION).await?;
        for (number, text) in sources {
            let lost = || ArchiveError::Lost { what: "an export" };
            let target = Target::of_uids(&mut text.split('/')).ok_or_else(lost)?;
            let mut found = !self.cursor.series.is_empty();
            loop {
                let room = self.room();
                if room == 0 {
                    return self.count(index, scope, &target).await;
                }
                let after = &self.cursor;
                let rows = index.instances_by_uid(scope, &target, after, room).await?;
                found |= !rows.is_empty();
                if !self.add(rows, room) {
                    break;
                }
            }
            if !found {
                self.unknown.push(not_found(&target));
            }
            self.cursor = ExportCursor {
                source: number.saturating_add(1),
                ..ExportCursor::default()
            };
            (self.expected, self.done) = (0, 0);
        }
        Ok(())
    }

    /// Counts the instances of a source that is not done with this step.
    async fn count(&mut self, index: &dyn Index, scope: &Scope, target: &Target) -> Result<()> {
        if self.expected == 0 && self.done > 0 {
            let version = index.version(scope, target).await?;
            self.expected = version.map_or(0, |version| version.instances);
        }
        Ok(())
    }

    async fn add_studies(&mut self, index: &dyn Index, scope: &Scope) -> Result<()> {
        if self.expected == 0 {
            self.expected = index.count_instances(scope).await?;
        }
        loop {
            let room = self.room();
            if room == 0 {
                return Ok(());
            }
            if let Ok(study) = StudyUid::parse(&self.cursor.study) {
                let (target, after) = (Target::Study(study), &self.cursor);
                let rows = index.instances_by_uid(scope, &target, after, room).await?;
                if self.add(rows, room) {
                    continue;
                }
            }
            let Some(study) = index.next_study(scope, &self.cursor.study).await? else {
                return Ok(());
            };
            self.cursor = ExportCursor {
                study: study.to_string(),
                ..ExportCursor::default()
            };
        }
    }

    /// Takes instances as long as there is room for their bytes; says whether there may be more.
    fn add(&mut self, rows: Vec<InstanceRow>, asked: u32) -> bool {
        let count = rows.len();
        for row in rows {
            if self.bytes >= PORTION_BYTES {
                return true;
            }
            self.bytes = self.bytes.saturating_add(row.place.length);
            self.cursor.series = row.name.series.to_string();
            self.cursor.instance = row.name.instance.to_string();
            self.done = self.done.saturating_add(1);
            self.rows.push(row);
        }
        u32::try_from(count).is_ok_and(|count| count == asked)
    }
}

/// How much of an export is done behind a step, of 100; less than that, for the log of errors is still to be written.
pub(super) fn percent(step: &ExportStep, sources: Option<i64>) -> u8 {
    let part = match step.expected {
        0 => 0,
        expected => step.done.saturating_mul(100) / expected,
    };
    let part = part.clamp(0, 100);
    let percent = match sources {
        None => part,
        Some(sources) => {
            let before = step.cursor.source.saturating_mul(100);
            before.saturating_add(part) / sources.max(1)
        }
    };
    u8::try_from(percent.clamp(0, 99)).unwrap_or(99)
}

/// What is not part of another target, each once, in the order of the request.
pub(super) fn distinct(targets: &[Target]) -> Vec<String> {
    let mut known = HashSet::new();
    let all: HashSet<&Target> = targets.iter().collect();
    let is_part = |target: &&Target| match target {
        Target::Study(_) => false,
        Target::Series(study, _) => all.contains(&Target::Study(study.clone())),
        Target::Instance(name) => {
            all.contains(&Target::Study(name.study.clone()))
                || all.contains(&Target::Series(name.study.clone(), name.series.clone()))
        }
    };
    let whole = targets.iter().filter(|target| !is_part(target));
    let once = whole.filter(|target| known.insert(*target));
    once.map(identifier).collect()
}

/// A target as requests write it.
fn identifier(target: &Target) -> String {
    match target {
        Target::Study(study) => study.to_string(),
        Target::Series(study, series) => format!("{study}/{series}"),
        Target::Instance(name) => format!("{}/{}/{}", name.study, name.series, name.instance),
    }
}

/// What is said of a target that is not there.
fn not_found(target: &Target) -> SkippedExport {
    SkippedExport {
        identifier: identifier(target),
        message: format!(
            "There is nothing to export: {} was not found.",
            describe(target)
        ),
        created: OffsetDateTime::now_utc(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_part_of_something_else_is_exported_once() {
        let target = |text: &str| Target::of_uids(&mut text.split('/')).unwrap();
        let texts = ["2/1/7", "1/2", "1", "2/1/7", "1/2/3", "3/1/2", "3/1", "1"];
        let targets: Vec<Target> = texts.iter().map(|text| target(text)).collect();
        assert_eq!(distinct(&targets), ["2/1/7", "1", "3/1"]);
        assert!(distinct(&[]).is_empty());
    }
}
