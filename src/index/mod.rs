//! The index: which instances exist, what is searched of them, and in which order everything happened.
//!
//! Two back ends stand behind these traits, `SQLite` and Postgres; both pass the same contract suite
//! (`tests/it/contract_index.rs`). Invariants: every instance row was inserted in one transaction with its feed entry
//! and the counters of its study and series; a deleted instance's blob key is on the trash in the transaction that
//! removed the row; nothing here opens a blob.

mod admission;
mod attributes;
mod audit;
mod conditions;
mod damage;
mod delete;
pub mod error;
mod feed;
mod insert;
mod instances;
mod lease;
mod lookup;
mod migrations;
mod open;
mod operations;
mod pattern;
mod postgres;
mod readers;
mod rows;
mod search;
mod sql;
mod sqlite;
mod tag_values;
mod tags;
mod terms;
mod transfer;
mod trash;
mod workitems;

use std::any::Any;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Order, Query};
use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::{InstanceName, Target};
use crate::scope::{Partition, Scope, Visible};

pub use error::IndexError;
pub use open::{IndexOptions, open};
pub use rows::PackedInstance;
pub use tag_values::invalid_values;
pub use terms::{Decision, decision, indexed};
pub use transfer::{Moved, Sum, TransferMode, transfer};
pub use workitems::{FoundWorkitem, NewWorkitem, WorkitemFilter, WorkitemRow, Workitems};

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
}

/// An instance whose blob is durable and that wants a row.
#[derive(Debug, Clone)]
pub struct NewInstance {
    /// Partition it is stored in.
    pub partition: Partition,
    /// Which studies its sender may store into.
    pub visible: Visible,
    /// What its rows hold.
    pub packed: Arc<PackedInstance>,
    /// Where its bytes are.
    pub place: BlobPlace,
    /// BLAKE3 of its bytes.
    pub digest: [u8; 32],
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

/// What became of a [`NewInstance`].
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
}

/// One stored instance, light enough to list thousands.
#[derive(Debug, Clone)]
pub struct InstanceRow {
    /// Monotonic id; names this version of the instance for ever.
    pub watermark: i64,
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

/// Inserts, look-ups and deletes of instances.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Inserts a batch in one transaction with its feed entries; results come in the order of the batch.
    ///
    /// The same instance twice in a batch: the first is stored, the second exists. Study and series attributes: the
    /// latest non-null value wins. Retries by itself when the transaction met a deadlock.
    async fn insert(&self, batch: &[NewInstance]) -> Result<Vec<Inserted>>;

    /// Version of a target; none when it does not exist in the scope.
    async fn version(&self, scope: &Scope, target: &Target) -> Result<Option<Version>>;

    /// Instances of a target, ascending by watermark, those above `after`, at most `limit`.
    async fn instances(
        &self,
        scope: &Scope,
        target: &Target,
        after: i64,
        limit: u32,
    ) -> Result<Vec<InstanceRow>>;

    /// Like [`Self::instances`], with metadata.
    async fn metadata(
        &self,
        scope: &Scope,
        target: &Target,
        after: i64,
        limit: u32,
    ) -> Result<Vec<MetadataRow>>;

    /// Frame and bulk tables of one instance.
    async fn content(&self, scope: &Scope, name: &InstanceName) -> Result<Option<ContentRow>>;

    /// Removes all instances of the target in one transaction: rows out, feed entries in, blob keys on the trash.
    /// Returns how many were removed; 0 means the target does not exist.
    async fn delete(&self, scope: &Scope, target: &Target) -> Result<u64>;
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

/// Search.
#[async_trait]
pub trait Search: Send + Sync {
    /// Rows that match all conditions which have a column or one of `tags` that is ready; see [`indexed`]. `before`
    /// continues behind a [`MatchedRow::place`]. A page ends with the row whose attributes pass `most_bytes`, all rows counted.
    async fn search(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        before: Option<&Position>,
        most_bytes: usize,
    ) -> Result<Page>;

    /// Rows by their positions at a level, in this order of the level's rows, as far as they are still there; the page may
    /// end early too.
    async fn found(
        &self,
        scope: &Scope,
        level: QueryLevel,
        order: Option<Order>,
        positions: &[i64],
        most_bytes: usize,
    ) -> Result<Page>;

    /// Bytes of the packed metadata of instances by their watermarks, of those that are still there.
    async fn metadata_sizes(&self, scope: &Scope, watermarks: &[i64]) -> Result<Vec<(i64, usize)>>;

    /// Packed metadata of instances by their watermarks, of those that are still there: all of it, so ask for its size
    /// first.
    async fn packed_metadata(
        &self,
        scope: &Scope,
        watermarks: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>>;

    /// How many rows match, all of them or those behind a [`MatchedRow::place`], counted no further than `ceiling`. Limit
    /// and offset of the query do not count.
    async fn count(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        before: Option<&Position>,
        ceiling: u64,
    ) -> Result<u64>;

    /// How the database would run a search: the plan of each statement, in its words.
    async fn plan(
        &self,
        scope: &Scope,
        query: &Query,
        tags: &[TagRow],
        before: Option<&Position>,
    ) -> Result<Vec<String>>;
}

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

/// The change feed. A reader that follows it sees every change once and in order: no entry becomes visible behind one
/// that was served, neither by sequence nor by time.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Entries of a range in order.
    async fn changes(&self, scope: &Scope, range: &FeedRange) -> Result<Vec<Change>>;

    /// The newest entry.
    async fn latest_change(&self, scope: &Scope) -> Result<Option<Change>>;
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

/// Blobs to remove.
#[async_trait]
pub trait Trash: Send + Sync {
    /// Puts keys on the trash: blobs written for instances that got no row.
    async fn discard(&self, keys: &[String]) -> Result<()>;

    /// Keys discarded before `before` that no row names, oldest first, those behind `after`, at most `limit`.
    async fn discarded(
        &self,
        before: OffsetDateTime,
        after: Option<&Discarded>,
        limit: u32,
    ) -> Result<Vec<Discarded>>;

    /// Forgets keys whose blobs are gone.
    async fn purge(&self, keys: &[String]) -> Result<()>;

    /// Notes a failed attempt.
    async fn retry_later(&self, key: &str) -> Result<()>;
}

/// An instance whose bytes are not what was stored.
#[derive(Debug, Clone)]
pub struct Damage {
    /// Its row.
    pub row: InstanceRow,
    /// What is wrong, in words.
    pub problem: String,
}

/// Damaged instances.
#[async_trait]
pub trait Damages: Send + Sync {
    /// Notes that the bytes of an instance are damaged; true when that, or the kind of damage, is news.
    async fn note_damage(&self, watermark: i64, problem: &str) -> Result<bool>;

    /// Forgets damage of instances that are whole again; returns how many were damaged.
    async fn clear_damage(&self, watermarks: &[i64]) -> Result<u64>;

    /// Damaged instances, ascending by watermark, those above `after`, at most `limit`.
    async fn damages(&self, after: i64, limit: u32) -> Result<Vec<Damage>>;

    /// Which of these are damaged.
    async fn damaged_among(&self, watermarks: &[i64]) -> Result<HashSet<i64>>;

    /// How many are damaged.
    async fn count_damaged(&self) -> Result<u64>;

    /// Instances whose bytes lie in a blob.
    async fn instances_of_blob(&self, key: &str) -> Result<Vec<InstanceRow>>;

    /// Lets an instance have its bytes in another blob, which holds the same ones, if they are in `old` until now; what is
    /// left of that goes onto the trash, and the damage is forgotten. False when it has another blob, or is gone.
    async fn replace_blob(&self, watermark: i64, old: &str, new: &BlobPlace) -> Result<bool>;
}

/// Work that one node at a time does for all.
#[async_trait]
pub trait Leases: Send + Sync {
    /// Takes the lease `name` for `length`, or keeps it for so long again; false while another holder has it.
    async fn take_lease(
        &self,
        name: &str,
        holder: &str,
        length: std::time::Duration,
    ) -> Result<bool>;

    /// Gives a lease back; one that another holder has is left alone.
    async fn give_back_lease(&self, name: &str, holder: &str) -> Result<()>;
}

/// Whole-index walks for `fsck`.
#[async_trait]
pub trait Audit: Send + Sync {
    /// Every instance of every partition, ascending by watermark, those above `after`, at most `limit`.
    async fn all_instances(&self, after: i64, limit: u32) -> Result<Vec<InstanceRow>>;

    /// Highest watermark that is stored; 0 without instances.
    async fn newest_watermark(&self) -> Result<i64>;

    /// Which of these keys are used by an instance row or lie on the trash.
    async fn known_keys(&self, keys: &[String]) -> Result<Vec<bool>>;

    /// Studies and series whose maintained counters or modalities are wrong, as sentences without patient data.
    async fn counter_errors(&self, limit: u32) -> Result<Vec<String>>;

    /// Refreshes what the database knows of its data in order to plan; for now and then, and after a large import.
    async fn analyze(&self) -> Result<()>;

    /// The database answers.
    async fn ping(&self) -> Result<()>;

    /// How its connections are used now.
    fn pools(&self) -> Vec<PoolState>;

    /// Whether other servers may write to it.
    fn is_shared(&self) -> bool;
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

/// Long-running operations.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Writes down an operation.
    async fn begin_operation(&self, operation: &Operation) -> Result<()>;

    /// The operation of an id.
    async fn operation(&self, id: &str) -> Result<Option<Operation>>;

    /// Those not started or running, oldest first: what a restarted server takes up again.
    async fn unfinished_operations(&self, kind: OperationKind) -> Result<Vec<Operation>>;

    /// Writes status, progress, position, resources and results; false when there is no such operation.
    async fn save_operation(&self, operation: &Operation) -> Result<bool>;
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

/// Extended query tags: attributes made searchable while the server runs.
#[async_trait]
pub trait QueryTags: Send + Sync {
    /// Adds tags and begins the operation that indexes them, in one transaction.
    ///
    /// Every insert that begins after this has returned brings its values along; whatever was stored before is visible to
    /// [`Self::index_tags`].
    async fn add_tags(&self, tags: &[QueryTag], operation: &Operation) -> Result<TagsAdded>;

    /// All tags in the order they were added.
    async fn tags(&self) -> Result<Vec<TagRow>>;

    /// Allows or forbids searches by a tag; false when there is none.
    async fn enable_tag(&self, id: i64, enabled: bool) -> Result<bool>;

    /// Removes a tag with its values, in portions; a second call takes up what a first one left. False when there is none.
    async fn remove_tag(&self, id: i64) -> Result<bool>;

    /// Instances of the scope whose value of a tag could not be indexed, by time.
    async fn tag_errors(
        &self,
        scope: &Scope,
        id: i64,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<TagIndexError>>;

    /// How many [`Self::tag_errors`] each tag has in the scope, by the tag's id; tags without errors are left out.
    async fn tag_error_counts(&self, scope: &Scope) -> Result<BTreeMap<i64, i64>>;

    /// Indexes a portion of what was stored before the tags of an operation were added; true when there is more to do.
    /// At the end the tags are ready and the operation is completed.
    async fn index_tags(&self, operation: &str, room: &WorkMemory) -> Result<bool>;
}

/// The whole index.
pub trait Index:
    Instances
    + Search
    + ChangeFeed
    + Trash
    + Audit
    + Damages
    + Leases
    + Operations
    + QueryTags
    + Workitems
{
}

impl<T> Index for T where
    T: Instances
        + Search
        + ChangeFeed
        + Trash
        + Audit
        + Damages
        + Leases
        + Operations
        + QueryTags
        + Workitems
{
}

/// Now, as times are stored: microseconds since 1970, UTC.
fn now_micros() -> i64 {
    to_micros(OffsetDateTime::now_utc())
}

/// A time as it is stored; one far outside of history becomes the nearest that fits.
fn to_micros(time: OffsetDateTime) -> i64 {
    let micros = time.unix_timestamp_nanos().div_euclid(1000);
    i64::try_from(micros).unwrap_or(if micros < 0 { i64::MIN } else { i64::MAX })
}

/// A stored time.
fn from_micros(micros: i64) -> std::result::Result<OffsetDateTime, time::error::ComponentRange> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros).saturating_mul(1000))
}
