//! Rows, keys and states as callers and statements see them. A leaf: it names no other module of the index but errors.

use std::any::Any;
use std::sync::Arc;

use time::OffsetDateTime;

use super::error::IndexError;
use crate::checksum::BlockChecksums;
use crate::dicom::query::Order;
use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::InstanceName;
use crate::dicom::workitem::{Keys, State};
use crate::dicom::workitem_events::Event;
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

/// What happened to an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeAction {
    /// Stored.
    Create,
    /// Removed.
    Delete,
    /// Changed by bulk update.
    Update,
}

/// State of the version of an instance a change speaks of, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeState {
    /// It is the stored version.
    Current,
    /// Another version is stored.
    Replaced,
    /// No version is stored.
    Deleted,
}

/// One entry of the change feed.
#[derive(Debug, Clone)]
pub struct Change {
    /// Position in the feed.
    pub sequence: i64,
    /// When, UTC.
    pub timestamp: OffsetDateTime,
    /// What.
    pub action: ChangeAction,
    /// The partition it was in.
    pub partition: Partition,
    /// Name of that; none when it has none.
    pub partition_name: Option<String>,
    /// Which instance.
    pub name: InstanceName,
    /// State of that version now.
    pub state: ChangeState,
    /// Watermark of the version that is stored now, for its metadata.
    pub stored: Option<i64>,
}

/// Which part of the feed is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedRange {
    /// Sequences above `after`, up to and including `through`.
    Sequence {
        /// Exclusive start.
        after: i64,
        /// Inclusive end.
        through: i64,
    },
    /// The first entries above a sequence, however far apart they are.
    Following {
        /// Exclusive start.
        after: i64,
        /// Most entries.
        limit: u32,
    },
    /// By time, then sequence.
    Window {
        /// Inclusive start.
        from: Option<OffsetDateTime>,
        /// Exclusive end.
        to: Option<OffsetDateTime>,
        /// Rows to skip.
        skip: u64,
        /// Most rows.
        limit: u32,
    },
}

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

/// What a long-running operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationKind {
    /// Values of new query tags are taken from what was stored before.
    Reindex,
    /// Instances are copied elsewhere.
    Export,
    /// Attributes of whole studies are changed.
    Update,
    /// Stored bytes are compared with their digests.
    Scrub,
    /// Instances go to another archive, or come from it.
    Transfer,
    /// It is found out whether instances are safe.
    Commitment,
    /// Workitems are made of what arrives.
    Arrivals,
    /// Studies are deleted because rules say that their time is over.
    Expire,
    /// Instances are copied, de-identified, into another partition.
    Deidentify,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OperationStatus {
    /// Waiting.
    NotStarted,
    /// Under way.
    Running,
    /// Done.
    Completed,
    /// Given up.
    Failed,
    /// Stopped on request.
    Canceled,
}

impl OperationStatus {
    /// Whether it waits or is under way.
    #[must_use]
    pub const fn is_unfinished(self) -> bool {
        matches!(self, Self::NotStarted | Self::Running)
    }
}

/// A long-running operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// 32 hex digits.
    pub id: String,
    /// What it does.
    pub kind: OperationKind,
    /// How far it is.
    pub status: OperationStatus,
    /// When it was asked for, UTC.
    pub created: OffsetDateTime,
    /// When it last changed, UTC.
    pub updated: OffsetDateTime,
    /// Progress, 0 to 100.
    pub percent: u8,
    /// Where a restarted server goes on; its meaning is the operation's.
    pub position: i64,
    /// Paths of the resources it makes or changes.
    pub resources: Vec<String>,
    /// A JSON object once it is done.
    pub results: Option<String>,
}

impl Operation {
    /// An operation that begins now.
    #[must_use]
    pub fn new(id: String, kind: OperationKind, status: OperationStatus) -> Self {
        let now = OffsetDateTime::now_utc();
        Self {
            id,
            kind,
            status,
            created: now,
            updated: now,
            percent: 0,
            position: 0,
            resources: Vec::new(),
            results: None,
        }
    }

    /// A name that no other operation has.
    #[must_use]
    pub fn new_id() -> String {
        format!("{:032x}", rand::random::<u128>())
    }
}

/// Life of a query tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagStatus {
    /// What was stored before is being indexed.
    Adding,
    /// Searches may use it.
    Ready,
    /// Its values are being removed.
    Deleting,
}

/// An extended query tag as the index keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagRow {
    /// Names it in calls.
    pub id: i64,
    /// What it is.
    pub tag: QueryTag,
    /// Life.
    pub status: TagStatus,
    /// Searches by it are allowed.
    pub enabled: bool,
    /// Instances whose value could not be indexed.
    pub errors: i64,
    /// The operation that indexes what was stored before.
    pub operation: Option<String>,
}

/// What became of a wish to add query tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TagsAdded {
    /// They are there and being indexed.
    Added,
    /// One of them exists; nothing was added.
    Exists {
        /// Its path.
        path: String,
    },
    /// There would be more than [`crate::dicom::query_tag::MAX_TAGS`]; nothing was added.
    TooMany,
    /// Other tags are being indexed; nothing was added.
    Running {
        /// By this operation.
        operation: String,
    },
}

/// An instance whose value of a tag could not be indexed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagIndexError {
    /// Name of the partition it is in.
    pub partition: String,
    /// Which instance.
    pub name: InstanceName,
    /// When it was found, UTC.
    pub created: OffsetDateTime,
    /// Why, without patient data.
    pub message: String,
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

/// A length of time in microseconds; one that is too long to be added to a time becomes the longest that is not.
pub(super) fn length_micros(length: std::time::Duration) -> i64 {
    let most = i64::MAX / 4;
    i64::try_from(length.as_micros()).map_or(most, |micros| micros.min(most))
}

/// Now, as times are stored: microseconds since 1970, UTC.
pub(super) fn now_micros() -> i64 {
    to_micros(OffsetDateTime::now_utc())
}

/// A time as it is stored; one far outside of history becomes the nearest that fits.
pub(super) fn to_micros(time: OffsetDateTime) -> i64 {
    let micros = time.unix_timestamp_nanos().div_euclid(1000);
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// A stored time.
pub(super) fn from_micros(
    micros: i64,
) -> std::result::Result<OffsetDateTime, time::error::ComponentRange> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros).saturating_mul(1000))
}

/// A workitem that is to be stored, or what is to become of one.
#[derive(Debug, Clone)]
pub struct NewWorkitem {
    /// What it is found by.
    pub keys: Keys,
    /// Digest of the Transaction UID it is claimed with.
    pub owner: Option<String>,
    /// Memory that reading its data set takes, in bytes.
    pub weight: usize,
    /// Its data set, packed.
    pub content: Vec<u8>,
    /// What subscribers are told.
    pub events: Vec<Event>,
}

/// What is known of a workitem without reading its data set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkitemRow {
    /// Names it in calls.
    pub id: i64,
    /// Its SOP Instance UID.
    pub uid: String,
    /// The version that this is.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// Digest of the Transaction UID it is claimed with.
    pub owner: Option<String>,
    /// Memory that reading its data set takes, in bytes.
    pub weight: usize,
    /// Bytes of the packed data set.
    pub packed: usize,
}

/// A workitem that a search looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundWorkitem {
    /// Names it in calls; the newest has the highest.
    pub id: i64,
    /// Memory that reading its data set takes, in bytes.
    pub weight: usize,
    /// Bytes of the packed data set.
    pub packed: usize,
}

/// What narrows a search by columns; nothing for any.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WorkitemFilter {
    /// One of these states.
    pub states: Option<Vec<State>>,
    /// One of these studies.
    pub studies: Option<Vec<String>>,
    /// One of these Patient IDs, folded.
    pub patients: Option<Vec<String>>,
    /// Start at this moment or later.
    pub from: Option<String>,
    /// Start at this moment or earlier.
    pub to: Option<String>,
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
