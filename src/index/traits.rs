//! What an index can do, a trait per topic; `SqlIndex` implements them all (ADR 7).

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::bulk_update_model::{
    BulkUpdateBegun, BulkUpdateTask, NewBulkUpdate, PreparedInstance, UpdateCommit, UpdatePlace,
    UpdateProgress, UpdateState, UpdatedStudy,
};
use super::commitments_model::{CommitmentRow, NewCommitment};
use super::event_log_model::{
    AfterFailure, DeliveryState, LoggedEvent, WebhookDelivery, WebhookRow,
};
use super::events_model::{
    Entered, EventRow, GlobalSubscription, Globals, InsertedWorkitem, Matched, NewSubscription,
};
use super::exports_model::{ExportCursor, ExportStep, ExportTask, NewExport, SkippedExport};
use super::model::{
    BlobPlace, Change, ContentRow, Damage, Discarded, FeedRange, FoundWorkitem, Inserted,
    InstanceRow, MetadataRow, NewWorkitem, Operation, OperationKind, Page, PartitionRow, PoolState,
    Position, Result, TagIndexError, TagRow, TagsAdded, Version, WorkMemory, WorkitemFilter,
    WorkitemRow,
};
use super::nonpatient_model::{NewNonPatient, NonPatientInserted, NonPatientRow, StoredNonPatient};
use super::retention_model::AgedStudy;
use super::rows::NewInstance;
use super::statistics_model::StatisticRow;
use super::trash_model::{TrashEntry, TrashFilter, TrashedInstance};
use crate::checksum::BlockChecksums;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::nonpatient::NonPatientKind;
use crate::dicom::query::{Order, Query};
use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::{InstanceName, StudyUid, Target};
use crate::dicom::workitem_events::Event;
use crate::scope::{Partition, PartitionName, Scope, ScopeSet};

/// Inserts, look-ups and deletes of instances.
#[async_trait]
pub trait Instances: Send + Sync {
    /// Inserts a batch in one transaction with its feed entries; results come in the order of the batch.
    ///
    /// The same instance twice in a batch: the first is stored, the second exists, unless it replaces. One that replaces
    /// takes the place of what has its UIDs, stored or of the batch, for every reader at once. Study and series
    /// attributes: the latest non-null value wins. Retries by itself when the transaction met a deadlock.
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

    /// First versions of the instances of a target: of each the version that was stored, and behind which watermark of the
    /// present version it comes. An instance that no bulk update changed has one version.
    async fn first_versions(
        &self,
        scope: &Scope,
        target: &Target,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, InstanceRow)>>;

    /// Frame and bulk tables of a first version, by its own watermark; none when it is gone.
    async fn first_content(&self, scope: &Scope, watermark: i64) -> Result<Option<ContentRow>>;

    /// A number that changes when instances of the target's study are changed all at once; 0 for one that never was.
    async fn changed_at(&self, scope: &Scope, target: &Target) -> Result<i64>;

    /// Removes all instances of the target in one transaction: rows out, feed entries in, blob keys on the trash.
    /// Returns how many were removed; 0 means the target does not exist.
    async fn delete(&self, scope: &Scope, target: &Target) -> Result<u64>;

    /// Studies of every partition whose time was over at a moment, at most `limit`.
    async fn expired(
        &self,
        moment: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<(Partition, StudyUid)>>;

    /// As [`Self::delete`], for a study whose time was over at the moment; 0 also when a store has given it another one.
    async fn delete_expired(
        &self,
        study: &(Partition, StudyUid),
        moment: OffsetDateTime,
    ) -> Result<u64>;
}

/// Studies that rules delete because of their age.
#[async_trait]
pub trait Retention: Send + Sync {
    /// Studies of all partitions that arrived before a time, behind a number, in the order of their numbers.
    async fn aged_studies(
        &self,
        arrived_before: OffsetDateTime,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AgedStudy>>;

    /// Deletes a study as it was read; returns how many instances it had, 0 when it changed since.
    async fn delete_aged(&self, study: &AgedStudy) -> Result<u64>;
}

/// Search.
#[async_trait]
pub trait Search: Send + Sync {
    /// Rows that match all conditions which have a column or one of `tags` that is ready; see [`indexed`](super::indexed). `before`
    /// continues behind the place of a row that was found. A page ends with the row whose attributes pass `most_bytes`, all rows counted.
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
    async fn metadata_sizes(
        &self,
        scopes: &ScopeSet,
        watermarks: &[i64],
    ) -> Result<Vec<(i64, usize)>>;

    /// Packed metadata of instances by their watermarks, of those that are still there: all of it, so ask for its size
    /// first.
    async fn packed_metadata(
        &self,
        scopes: &ScopeSet,
        watermarks: &[i64],
    ) -> Result<Vec<(i64, Vec<u8>)>>;

    /// How many rows match, all of them or those behind a place, counted no further than `ceiling`. Limit
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

/// The change feed. A reader that follows it sees every change once and in order: no entry becomes visible behind one
/// that was served, neither by sequence nor by time.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Entries of a range in order.
    async fn changes(&self, scopes: &ScopeSet, range: &FeedRange) -> Result<Vec<Change>>;

    /// How the database would read a range: the plan, in its words.
    async fn change_plan(&self, scopes: &ScopeSet, range: &FeedRange) -> Result<String>;

    /// The newest entry.
    async fn latest_change(&self, scopes: &ScopeSet) -> Result<Option<Change>>;
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

    /// Marks keys that were discarded before `before`, in order to remove their blobs; returns those that no row names and
    /// nobody has restored. What is marked cannot be restored any more.
    async fn claim(&self, keys: &[String], before: OffsetDateTime) -> Result<Vec<String>>;

    /// Forgets keys whose blobs are gone.
    async fn purge(&self, keys: &[String]) -> Result<()>;

    /// Forgets entries from before `before` of which no blob is left, at most `limit`; returns how many.
    async fn forget_entries(&self, before: OffsetDateTime, limit: u32) -> Result<u64>;

    /// What was removed, the newest first.
    async fn trash_entries(&self, scope: &Scope, filter: &TrashFilter) -> Result<Vec<TrashEntry>>;

    /// One entry, also one of which nothing is left.
    async fn trash_entry(&self, scope: &Scope, id: i64) -> Result<Option<TrashEntry>>;

    /// Instances of an entry that can be restored, ascending by watermark, those above `after`, at most `limit`.
    async fn trashed_instances(
        &self,
        entry: &TrashEntry,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TrashedInstance>>;

    /// Notes a failed attempt.
    async fn retry_later(&self, key: &str) -> Result<()>;
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

    /// Keeps the checksums of the blocks of an instance's bytes, if it has none.
    async fn keep_blocks(&self, watermark: i64, blocks: &BlockChecksums) -> Result<()>;
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

    /// Whether anybody has a lease now.
    async fn lease_is_held(&self, name: &str) -> Result<bool>;
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

/// The log of events.
#[async_trait]
pub trait EventLog: Send + Sync {
    /// Makes events of what changed since, and of studies in which nothing changed for `quiet`; true when there may be more
    /// to make at once. Several nodes may do it: each change is told of once.
    async fn make_events(&self, quiet: std::time::Duration) -> Result<bool>;

    /// Events that the caller may hear of, behind `after`, in order, at most `limit`.
    async fn logged_events(
        &self,
        scope: &Scope,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>>;

    /// Number of the oldest event that is kept, or of the next one when none is, and of the newest one.
    async fn logged_bounds(&self) -> Result<(i64, i64)>;

    /// Forgets events older than a moment that are not on their way to anybody, at most `limit`; returns how many.
    async fn forget_logged_events(&self, before: OffsetDateTime, limit: u32) -> Result<u64>;
}

/// Who is told of events by HTTP.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// All of them, in the order of their making.
    async fn webhooks(&self) -> Result<Vec<WebhookRow>>;

    /// Adds one, which is told of what happens from now on; false when its name is taken or there are `most`.
    async fn add_webhook(&self, new: &WebhookRow, most: u32) -> Result<bool>;

    /// Changes where and of what one is told, and sets it going again.
    async fn change_webhook(
        &self,
        id: &str,
        url: &str,
        secret: &str,
        kinds: &[String],
    ) -> Result<()>;

    /// Removes one with what is on its way to it; false when there is none.
    async fn remove_webhook(&self, id: &str) -> Result<bool>;

    /// Sends nothing any more for a reason, or goes on; false when there is none.
    async fn disable_webhook(&self, id: &str, reason: Option<&str>) -> Result<bool>;

    /// Makes deliveries of the next events; true when there may be more at once.
    async fn enqueue_deliveries(&self, webhook: &WebhookRow) -> Result<bool>;

    /// Deliveries whose time has come, of each study the earliest alone.
    async fn due_deliveries(&self, webhook: &str, limit: u32) -> Result<Vec<WebhookDelivery>>;

    /// A delivery arrived.
    async fn finish_delivery(&self, webhook: &str, sequence: i64) -> Result<()>;

    /// A delivery did not arrive.
    async fn fail_delivery(
        &self,
        webhook: &str,
        sequence: i64,
        problem: &str,
        after: AfterFailure,
    ) -> Result<()>;

    /// What is on its way or given up, those given up first.
    async fn open_deliveries(&self, webhook: &str, limit: u32) -> Result<Vec<DeliveryState>>;

    /// Name of each webhook, with how many deliveries wait and how many were given up.
    async fn count_deliveries(&self) -> Result<Vec<(String, u64, u64)>>;

    /// Sends events of a range once more, as far as they are kept; returns how many.
    async fn redeliver(&self, webhook: &WebhookRow, first: i64, last: i64) -> Result<u64>;
}

/// How much is stored.
#[async_trait]
pub trait Tally: Send + Sync {
    /// What is stored in every partition, exact at one moment, ascending by partition, month and modality.
    async fn statistics(&self) -> Result<Vec<StatisticRow>>;

    /// Adds up what was written down of single transactions, so that reading stays cheap. Any node may do it at any time.
    async fn add_up_statistics(&self) -> Result<()>;

    /// Where what is kept is wrong: by how much it is too high. Looks at the whole index.
    async fn statistic_errors(&self) -> Result<Vec<StatisticRow>>;

    /// Counts everything anew; those who write wait.
    async fn recount_statistics(&self) -> Result<()>;

    /// Blobs that lie on the trash.
    async fn count_trash(&self) -> Result<u64>;
}

/// Long-running operations.
#[async_trait]
pub trait Operations: Send + Sync {
    /// Writes down an operation; false when there is one of its id.
    async fn begin_operation(&self, operation: &Operation) -> Result<bool>;

    /// Forgets those of a kind that ended before a moment, at most `limit`; returns how many.
    async fn forget_operations(
        &self,
        kind: OperationKind,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<u64>;

    /// The operation of an id.
    async fn operation(&self, id: &str) -> Result<Option<Operation>>;

    /// Those not started or running, oldest first: what a restarted server takes up again.
    async fn unfinished_operations(&self, kind: OperationKind) -> Result<Vec<Operation>>;

    /// Those of all kinds that began last, the newest first, at most `limit`.
    async fn recent_operations(&self, limit: u32) -> Result<Vec<Operation>>;

    /// Writes status, progress, position, resources and results; false when there is no such operation.
    async fn save_operation(&self, operation: &Operation) -> Result<bool>;
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
        scopes: &ScopeSet,
        id: i64,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<TagIndexError>>;

    /// How many [`Self::tag_errors`] each tag has in the scope, by the tag's id; tags without errors are left out.
    async fn tag_error_counts(&self, scopes: &ScopeSet) -> Result<BTreeMap<i64, i64>>;

    /// Indexes a portion of what was stored before the tags of an operation were added; true when there is more to do.
    /// At the end the tags are ready and the operation is completed.
    async fn index_tags(&self, operation: &str, room: &WorkMemory) -> Result<bool>;
}

/// Bulk updates: attributes of whole studies, or UIDs, changed in the stored instances.
#[async_trait]
pub trait BulkUpdates: Send + Sync {
    /// Writes down a bulk update; studies that do not exist in its scope are done at once.
    async fn begin_bulk_update(&self, new: &NewBulkUpdate) -> Result<BulkUpdateBegun>;

    /// A bulk update by its operation.
    async fn bulk_update(&self, operation: &str) -> Result<Option<BulkUpdateTask>>;

    /// Its studies, in the order of the request.
    async fn updated_studies(&self, operation: &str) -> Result<Vec<UpdatedStudy>>;

    /// Instances of a target that are not prepared, at most `limit`.
    async fn unprepared(
        &self,
        scope: &Scope,
        target: &Target,
        limit: u32,
    ) -> Result<Vec<InstanceRow>>;

    /// How many instances of a study are prepared, and how many a target has.
    async fn update_progress(
        &self,
        scope: &Scope,
        target: &Target,
        place: UpdatePlace<'_>,
    ) -> Result<UpdateProgress>;

    /// Keeps prepared instances until they are exchanged; says of each whether it is kept. `levels` is what
    /// [`PackedInstance::levels`](super::PackedInstance::levels) says of one of them.
    async fn keep_prepared(
        &self,
        place: UpdatePlace<'_>,
        partition: Partition,
        levels: &str,
        prepared: &[PreparedInstance],
    ) -> Result<Vec<bool>>;

    /// Exchanges all instances of a target for those that are prepared, for every reader at once: rows, counters, values of
    /// query tags, entries of the feed. The first versions are kept.
    async fn commit_update(
        &self,
        scope: &Scope,
        target: &Target,
        place: UpdatePlace<'_>,
    ) -> Result<UpdateCommit>;

    /// Ends the update of a study without an exchange; what was prepared goes to the trash.
    async fn end_update(&self, place: UpdatePlace<'_>, state: UpdateState) -> Result<()>;
}

/// Exports that clients asked for.
#[async_trait]
pub trait Exports: Send + Sync {
    /// Writes down an export.
    async fn begin_export(&self, new: &NewExport) -> Result<()>;

    /// An export by its operation.
    async fn export(&self, operation: &str) -> Result<Option<ExportTask>>;

    /// Its sources from a number on, at most `limit`.
    async fn export_sources(
        &self,
        operation: &str,
        first: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>>;

    /// How many instances there are in a scope.
    async fn count_instances(&self, scope: &Scope) -> Result<i64>;

    /// The study whose UID comes next, as text.
    async fn next_study(&self, scope: &Scope, after: &str) -> Result<Option<StudyUid>>;

    /// Instances of a target in the order of their series' and their own UIDs, those behind the cursor, at most `limit`.
    async fn instances_by_uid(
        &self,
        scope: &Scope,
        target: &Target,
        after: &ExportCursor,
        limit: u32,
    ) -> Result<Vec<InstanceRow>>;

    /// Moves an export forward and writes the state of its operation; false when it is no longer where `from` says.
    async fn advance_export(
        &self,
        operation: &Operation,
        from: &ExportTask,
        step: &ExportStep,
    ) -> Result<bool>;

    /// What an export did not export, in the order it was found.
    async fn skipped_exports(
        &self,
        operation: &str,
        skip: i64,
        limit: u32,
    ) -> Result<Vec<SkippedExport>>;

    /// Writes the last state of an operation and forgets its sources and what was skipped.
    async fn end_export(&self, operation: &Operation) -> Result<()>;
}

/// Non-patient instances.
#[async_trait]
pub trait NonPatient: Send + Sync {
    /// Stores one in the partition of a scope, unless something has its UID there.
    async fn insert_nonpatient(
        &self,
        scope: &Scope,
        new: &NewNonPatient,
    ) -> Result<NonPatientInserted>;

    /// The one of a UID.
    async fn nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &str,
    ) -> Result<Option<NonPatientRow>>;

    /// The file of one that was found.
    async fn nonpatient_file(&self, id: i64) -> Result<Option<Vec<u8>>>;

    /// Removes the one of a UID; false when there is none.
    async fn delete_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &str,
    ) -> Result<bool>;

    /// Those of a resource, newest first, below `before`, at most `limit`.
    async fn find_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        before: i64,
        limit: u32,
    ) -> Result<Vec<FoundWorkitem>>;

    /// Packed metadata of those that were found.
    async fn nonpatient_metadata(&self, ids: &[i64]) -> Result<Vec<(i64, Vec<u8>)>>;

    /// Those of all partitions, oldest first, behind `after`, at most `limit`.
    async fn all_nonpatient(&self, after: i64, limit: u32) -> Result<Vec<StoredNonPatient>>;
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
    + Subscriptions
    + Commitments
    + Tally
    + Partitions
    + EventLog
    + Webhooks
    + BulkUpdates
    + Exports
    + Retention
    + NonPatient
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
        + Subscriptions
        + Commitments
        + Tally
        + Partitions
        + EventLog
        + Webhooks
        + BulkUpdates
        + Exports
        + Retention
        + NonPatient
{
}

/// Data partitions by name; they are never renamed and never removed.
#[async_trait]
pub trait Partitions: Send + Sync {
    /// The partition of a name.
    async fn partition(&self, name: &PartitionName) -> Result<Option<Partition>>;

    /// The name of a partition.
    async fn partition_name(&self, partition: Partition) -> Result<Option<PartitionName>>;

    /// The partition of a name, made when there is none; however many make it, it is made once. None when it would be one
    /// more than `most`.
    async fn make_partition(&self, name: &PartitionName, most: u32) -> Result<Option<Partition>>;

    /// Partitions that the caller may see, oldest first. Where single patients or studies are granted in every partition,
    /// those that hold some of them.
    async fn partitions(&self, scopes: &ScopeSet) -> Result<Vec<PartitionRow>>;

    /// A partition besides the default one that holds a study or a workitem.
    async fn used_partition(&self) -> Result<Option<PartitionName>>;
}

/// Workitems.
#[async_trait]
pub trait Workitems: Send + Sync {
    /// Stores a workitem, to which those subscribe whose subscription to all matches it.
    async fn insert_workitem(
        &self,
        partition: Partition,
        uid: &str,
        new: &NewWorkitem,
        matched: &Matched,
    ) -> Result<InsertedWorkitem>;

    /// The workitem of a UID, as far as the caller may see it.
    async fn workitem(&self, scope: &Scope, uid: &str) -> Result<Option<WorkitemRow>>;

    /// Packed data sets of workitems, with their version at that time; those that are gone are left out.
    async fn workitem_contents(&self, ids: &[i64]) -> Result<Vec<(i64, i64, Vec<u8>)>>;

    /// Changes a workitem; false when it has another version by now, or is gone.
    async fn replace_workitem(&self, id: i64, version: i64, new: &NewWorkitem) -> Result<bool>;

    /// Workitems that the caller may see and that the filter lets through, newest first, those before `before`.
    async fn find_workitems(
        &self,
        scope: &Scope,
        filter: &WorkitemFilter,
        before: i64,
        limit: u32,
    ) -> Result<Vec<FoundWorkitem>>;

    /// Deletes workitems that are finished since before a moment and that no subscriber locks, at most `limit`; returns how many.
    async fn delete_finished_workitems(&self, before: OffsetDateTime, limit: u32) -> Result<u64>;

    /// How many workitems there are in each state, in the order of [`State::ALL`](crate::dicom::workitem::State::ALL).
    async fn count_workitems(&self) -> Result<[u64; 4]>;
}

/// Subscriptions and events.
#[async_trait]
pub trait Subscriptions: Send + Sync {
    /// Lets a caller use an AE title; the first one with a name owns it.
    async fn enter_subscriber(
        &self,
        partition: Partition,
        aet: &str,
        owner: Option<&str>,
    ) -> Result<Entered>;

    /// All subscriptions to all workitems.
    async fn global_subscriptions(&self, partition: Partition) -> Result<Globals>;

    /// Replaces or adds one; false when there are too many.
    async fn subscribe_globally(
        &self,
        partition: Partition,
        target: &str,
        new: &GlobalSubscription,
    ) -> Result<bool>;

    /// Ends one and keeps the subscriptions to single workitems; false when there is none.
    async fn suspend_subscription(
        &self,
        partition: Partition,
        aet: &str,
        target: &str,
    ) -> Result<bool>;

    /// Ends one with all subscriptions to single workitems; false when there is nothing to end.
    async fn unsubscribe_globally(
        &self,
        partition: Partition,
        aet: &str,
        target: &str,
    ) -> Result<bool>;

    /// Subscribes to workitems; those that have another version by now are given back. With `new_only`, what is subscribed to
    /// already stays as it is.
    async fn subscribe_workitems(
        &self,
        aet: &str,
        deletion_lock: bool,
        items: &[NewSubscription],
        new_only: bool,
    ) -> Result<Vec<i64>>;

    /// Ends the subscription to a workitem; false when there is none.
    async fn unsubscribe_workitem(&self, aet: &str, id: i64) -> Result<bool>;

    /// Events for a subscriber behind `after`, as far as the caller may see their workitems, in order.
    async fn workitem_events(
        &self,
        scope: &Scope,
        aet: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<EventRow>>;

    /// Numbers of the oldest event that is kept and of the newest one; 0 where there is none.
    async fn event_bounds(&self) -> Result<(i64, i64)>;

    /// Notes what was sent to a subscriber.
    async fn note_sent(&self, partition: Partition, aet: &str, sequence: i64) -> Result<()>;

    /// Writes an event of the service for all subscribers.
    async fn announce(&self, event: &Event) -> Result<()>;

    /// Forgets events older than a moment, but for the newest one, and subscribers without subscription that were not heard of
    /// since then; at most `limit` of each. Returns how many events.
    async fn forget_events(&self, before: OffsetDateTime, limit: u32) -> Result<u64>;
}

/// Requests for storage commitment that are not reported yet.
#[async_trait]
pub trait Commitments: Send + Sync {
    /// Writes down a request that its taker looks after for a while; false when its requestor has `most` of them already.
    async fn add_commitment(
        &self,
        partition: Partition,
        new: &NewCommitment,
        most: u32,
        hold: std::time::Duration,
    ) -> Result<bool>;

    /// Requests that nobody looks after, oldest first, at most `limit`.
    async fn due_commitments(&self, limit: u32) -> Result<Vec<CommitmentRow>>;

    /// Looks after a request for a while; false when another one does by now, or it is reported.
    async fn claim_commitment(
        &self,
        row: &CommitmentRow,
        hold: std::time::Duration,
    ) -> Result<bool>;

    /// What is asked for; none when it is reported.
    async fn commitment_request(&self, id: &str) -> Result<Option<String>>;

    /// Leaves a request alone for a while, for its holder or for everybody, after so many reports that nobody took.
    async fn hold_commitment(
        &self,
        id: &str,
        hold: std::time::Duration,
        attempts: u32,
    ) -> Result<()>;

    /// Forgets a request: it is reported, or given up.
    async fn finish_commitment(&self, id: &str) -> Result<()>;
}
