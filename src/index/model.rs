//! Rows, keys and states as callers and statements see them. A leaf: it names no other module of the index but errors.

use std::any::Any;
use std::sync::Arc;

use time::OffsetDateTime;

use super::error::IndexError;
use crate::checksum::BlockChecksums;
use crate::dicom::query::Order;
use crate::dicom::uid::InstanceName;
use crate::scope::{Partition, Visible};

/// Result of an index call.
pub type Result<T> = std::result::Result<T, IndexError>;

/// Where the bytes of an instance lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPlace {
    /// Name of the blob.
    pub key: String,
    /// First byte in the blob.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Checksums of its blocks; none where they were not taken yet.
    pub blocks: Option<BlockChecksums>,
}

/// The blob of an instance that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBlob {
    /// Version of the instance.
    pub watermark: i64,
    /// Where its bytes should be.
    pub place: BlobPlace,
    /// Damage of it was noted and has not been mended.
    pub damaged: bool,
}

/// What became of a [`NewInstance`](super::NewInstance).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// A row names the instance's blob under this watermark: it was inserted now, or by an earlier try whose answer was lost.
    Stored {
        /// Its monotonic id.
        watermark: i64,
    },
    /// The instance is there already; nothing was changed.
    Exists {
        /// Digest of the stored bytes.
        digest: [u8; 32],
        /// Where they lie; none when it is there only since this batch.
        stored: Option<StoredBlob>,
    },
    /// Its study is not one its sender may store into; nothing was changed.
    Outside,
    /// As `Stored`, in the place of the instance that had its UIDs.
    Replaced {
        /// Its monotonic id.
        watermark: i64,
    },
    /// It would be stored, but an instance of the same batch has taken its place: no row names its blob.
    Superseded,
    /// What its request says of its study does not hold; nothing was changed.
    Unmatched,
    /// It was to be restored, but its blob is not on the trash any more, or is being removed; nothing was changed.
    Swept,
}

/// That an instance takes the place of what has its UIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replacement {
    /// Of which studies its sender may remove something.
    pub visible: Visible,
    /// Also when the bytes are the same.
    pub identical: bool,
}

/// What a request says of its study, to be looked at where the study is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StudyCondition {
    /// It is there.
    Exists,
    /// It is not there.
    Absent,
    /// It has one of these versions, and nobody else who says so has changed it in the same transaction.
    OneOf(Vec<Version>),
}

impl StudyCondition {
    /// Whether it holds of a study with this version; none when there is no such study.
    #[must_use]
    pub fn holds(&self, version: Option<Version>) -> bool {
        match self {
            Self::Exists => version.is_some(),
            Self::Absent => version.is_none(),
            Self::OneOf(versions) => version.is_some_and(|one| versions.contains(&one)),
        }
    }
}

/// One stored instance, light enough to list thousands.
#[derive(Debug, Clone)]
pub struct InstanceRow {
    /// Monotonic id; names this version of the instance for ever.
    pub watermark: i64,
    /// Where it is.
    pub partition: Partition,
    /// Its UIDs.
    pub name: InstanceName,
    /// SOP Class UID.
    pub sop_class: String,
    /// Layout of the file.
    pub layout: crate::dicom::instance::FileLayout,
    /// Pixel description, if there are pixels.
    pub pixel: Option<crate::dicom::instance::PixelDescription>,
    /// Where its bytes are.
    pub place: BlobPlace,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
}

/// Metadata of one instance as stored.
#[derive(Debug, Clone)]
pub struct MetadataRow {
    /// The instance.
    pub row: InstanceRow,
    /// [`crate::dicom::instance::Metadata`] as packed by `dicom::metadata::pack` (zstd).
    pub metadata: Vec<u8>,
}

/// What a frame or bulk data request needs.
#[derive(Debug, Clone)]
pub struct ContentRow {
    /// The instance.
    pub row: InstanceRow,
    /// Packed frame table (`FrameTable::to_bytes`).
    pub frames: Vec<u8>,
    /// Packed bulk table (JSON of `Vec<BulkItem>`).
    pub bulk: Vec<u8>,
}

/// State of a study, series or instance for `ETags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Version {
    /// Grows with every change below the target.
    pub version: i64,
    /// Instances below the target.
    pub instances: i64,
}

/// Which level a found row has, with what is needed to build its answer.
#[derive(Debug, Clone)]
pub struct MatchedRow {
    /// Study Instance UID.
    pub study_uid: String,
    /// Series Instance UID, at series and instance level.
    pub series_uid: Option<String>,
    /// SOP Instance UID, at instance level.
    pub instance_uid: Option<String>,
    /// Merged study attributes: a DICOM JSON object in text, keys ascending, computed attributes not included.
    pub study: String,
    /// Merged series attributes, likewise.
    pub series: Option<String>,
    /// Instance attributes, likewise.
    pub instance: Option<String>,
    /// Modalities in study (0008,0061), sorted.
    pub modalities: Vec<String>,
    /// (0020,1206)
    pub study_series: i64,
    /// (0020,1208)
    pub study_instances: i64,
    /// (0020,1209), at series and instance level.
    pub series_instances: Option<i64>,
    /// Watermark of the row's newest instance: what has no place in the index is answered from its metadata.
    pub newest: i64,
    /// Position in the order of arrival.
    pub position: i64,
    /// What the row was sorted by, when the search has an order.
    pub sorted_by: Option<String>,
}

/// A place in the order of results, for cursors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// Position in the order of arrival.
    pub id: i64,
    /// What rows are sorted by, at this one; none in order of arrival.
    pub key: Option<String>,
}

impl Position {
    /// Whether this place is behind another one, or the same, when the results come in this order.
    #[must_use]
    pub fn is_at_or_behind(&self, other: &Self, order: Option<Order>) -> bool {
        match order {
            None => self.id <= other.id,
            Some(order) => {
                let (here, there) = ((&self.key, self.id), (&other.key, other.id));
                if order.descending {
                    here <= there
                } else {
                    here >= there
                }
            }
        }
    }
}

impl MatchedRow {
    /// Its place in the order of results.
    #[must_use]
    pub fn place(&self) -> Position {
        Position {
            id: self.position,
            key: self.sorted_by.clone(),
        }
    }

    /// Bytes it takes in memory, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let below = self.series.iter().chain(&self.instance).map(String::len);
        let below = below.chain(self.sorted_by.iter().map(String::len));
        size_of::<Self>() + 256 + self.study.len() + below.sum::<usize>()
    }
}

/// A page of results.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Rows in the order that was asked for, else newest first: study and series by creation, instances by watermark.
    pub rows: Vec<MatchedRow>,
    /// More rows exist behind this page.
    pub more: bool,
}

/// Longest attributes of one row that are read, in bytes; those of a row that has more come empty. Rows have less today.
pub const MAX_ROW_BYTES: usize = 1 << 20;

/// A blob that no row needs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discarded {
    /// Its key.
    pub key: String,
    /// Since when, UTC.
    pub since: OffsetDateTime,
    /// Failed attempts to remove it.
    pub attempts: i64,
}

/// An instance whose bytes are not what was stored.
#[derive(Debug, Clone)]
pub struct Damage {
    /// Its row.
    pub row: InstanceRow,
    /// What is wrong, in words.
    pub problem: String,
    /// When it was found, UTC.
    pub found: OffsetDateTime,
}

/// Connections of one pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// What it is for.
    pub name: &'static str,
    /// Connections that are open.
    pub open: u32,
    /// Those of them that nobody uses.
    pub idle: u32,
    /// Most connections.
    pub limit: u32,
}

/// Gives memory of so many bytes to work that is done on a thread that may block, until what it returns is dropped.
///
/// # Errors
/// [`NoWorkMemory`], when there is none.
pub type WorkMemory =
    Arc<dyn Fn(usize) -> std::result::Result<Box<dyn Any + Send>, NoWorkMemory> + Send + Sync>;

/// Why there is no memory for a piece of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoWorkMemory {
    /// It is in use: later may work.
    Busy,
    /// There is less than that.
    TooLarge,
}

/// A data partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRow {
    /// Its number.
    pub partition: Partition,
    /// Its name.
    pub name: String,
    /// When it was made, UTC.
    pub created: OffsetDateTime,
}
