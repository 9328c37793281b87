//! Bulk updates as callers and statements see them.

use std::sync::Arc;

use super::model::BlobPlace;
use super::operations_model::Operation;
use super::rows::PackedInstance;
use crate::dicom::uid::StudyUid;
use crate::scope::{Partition, Visible};

/// A bulk update to begin.
#[derive(Debug, Clone)]
pub struct NewBulkUpdate {
    /// The operation it is.
    pub operation: Operation,
    /// Partition of its studies.
    pub partition: Partition,
    /// Which studies exist for whoever asks.
    pub visible: Visible,
    /// What is to be changed, as JSON; its meaning is the caller's.
    pub request: String,
    /// The studies, each once.
    pub studies: Vec<StudyUid>,
}

/// What became of a wish to begin a bulk update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkUpdateBegun {
    /// It is written down.
    Begun,
    /// One of the studies is being updated; nothing was written.
    Running,
}

/// A bulk update that was begun.
#[derive(Debug, Clone)]
pub struct BulkUpdateTask {
    /// Partition of its studies.
    pub partition: Partition,
    /// Which studies exist for whoever asked.
    pub visible: Visible,
    /// What is to be changed, as JSON.
    pub request: String,
}

/// How far a study of a bulk update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateState {
    /// It is still to be updated.
    Waiting,
    /// It is updated.
    Updated,
    /// It is as it was: it cannot be updated.
    Failed,
    /// There is no such study, or none that whoever asked may see.
    Unknown,
}

/// A study of a bulk update.
#[derive(Debug, Clone)]
pub struct UpdatedStudy {
    /// Its place in the request, from 0.
    pub number: i64,
    /// Which study.
    pub study: StudyUid,
    /// How far it is.
    pub state: UpdateState,
    /// How many instances were updated.
    pub instances: i64,
}

/// A study of an operation, and what of it is updated.
#[derive(Debug, Clone, Copy)]
pub struct UpdatePlace<'a> {
    /// Id of the operation.
    pub operation: &'a str,
    /// Place of the study in it.
    pub number: i64,
}

/// A changed instance whose blob is durable.
#[derive(Debug, Clone)]
pub struct PreparedInstance {
    /// Watermark of the version it was made of.
    pub replaces: i64,
    /// What its rows will hold, its new UIDs included.
    pub packed: Arc<PackedInstance>,
    /// Where its bytes are.
    pub place: BlobPlace,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
}

/// How far the preparation of a study is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateProgress {
    /// Instances that are prepared.
    pub prepared: u64,
    /// Instances there are.
    pub all: u64,
}

/// What became of the exchange of all instances of a study.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateCommit {
    /// So many instances were exchanged.
    Updated(u64),
    /// Instances have come that are not prepared; nothing was changed.
    Unprepared,
    /// What has the new UIDs stands in the way; nothing was changed.
    Refused,
    /// There is nothing to be updated; nothing was changed.
    Gone,
}
