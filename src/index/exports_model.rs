//! Exports as callers and statements see them.

use time::OffsetDateTime;

use super::operations_model::Operation;
use crate::scope::{Partition, Visible};

/// Where de-identified instances go, and how they are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeidentifiedCopy {
    /// The partition.
    pub partition: Partition,
    /// What stays, as requests name it.
    pub options: String,
    /// What tells the key by which the rest is replaced from others.
    pub key: String,
}

/// An export to begin.
#[derive(Debug, Clone)]
pub struct NewExport {
    /// The operation it is.
    pub operation: Operation,
    /// Partition of what is exported.
    pub partition: Partition,
    /// Which studies exist for whoever asks.
    pub visible: Visible,
    /// Name of the destination; none for a copy.
    pub destination: String,
    /// Set when it goes, de-identified, into another partition.
    pub copy: Option<DeidentifiedCopy>,
    /// `study`, `study/series` or `study/series/instance`, none of which is part of another one; none stands for everything.
    pub sources: Option<Vec<String>>,
}

/// How far an export is: everything up to here is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExportCursor {
    /// The source that is worked on, from 0.
    pub source: i64,
    /// Where everything is exported, the study that is worked on; else empty.
    pub study: String,
    /// Series of the last instance that is done; empty at the beginning of a source or study.
    pub series: String,
    /// That instance.
    pub instance: String,
}

/// An export that was begun.
#[derive(Debug, Clone)]
pub struct ExportTask {
    /// Partition of what is exported.
    pub partition: Partition,
    /// Which studies exist for whoever asked.
    pub visible: Visible,
    /// Name of the destination; none for a copy.
    pub destination: String,
    /// Set when it goes, de-identified, into another partition.
    pub copy: Option<DeidentifiedCopy>,
    /// How many sources there are; none where everything is exported.
    pub sources: Option<i64>,
    /// How far it is.
    pub cursor: ExportCursor,
    /// Instances of the source that is worked on, or of everything; 0 where they were not counted yet.
    pub expected: i64,
    /// How many of them are done.
    pub done: i64,
    /// Instances that were exported.
    pub exported: i64,
    /// Instances that could not be, and sources that were not found.
    pub skipped: i64,
}

/// What was not exported, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SkippedExport {
    /// Which instance or source.
    pub identifier: String,
    /// Why, without patient data.
    pub message: String,
    /// When it was found.
    pub created: OffsetDateTime,
}

/// A piece of an export that is done.
#[derive(Debug, Clone)]
pub struct ExportStep {
    /// How far the export is now.
    pub cursor: ExportCursor,
    /// As in [`ExportTask`].
    pub expected: i64,
    /// As in [`ExportTask`].
    pub done: i64,
    /// Instances that were exported.
    pub exported: i64,
    /// What was not.
    pub skipped: Vec<SkippedExport>,
}

impl ExportStep {
    /// How many it leaves out.
    #[must_use]
    pub fn skipped_count(&self) -> i64 {
        i64::try_from(self.skipped.len()).unwrap_or(i64::MAX)
    }
}
