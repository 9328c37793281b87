//! Operations, and the leases by which one node at a time works on one.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::dicom::query_tag::QueryTag;
use crate::dicom::uid::{StudyUid, Target};
use crate::index::bulk_update_model::{
    BulkUpdateBegun, BulkUpdateTask, NewBulkUpdate, PreparedInstance, UpdateCommit, UpdatePlace,
    UpdateProgress, UpdateState, UpdatedStudy,
};
use crate::index::exports_model::{ExportCursor, ExportStep, ExportTask, NewExport, SkippedExport};
use crate::index::model::{InstanceRow, Result, WorkMemory};
use crate::index::operations_model::{Operation, OperationKind};
use crate::index::tags_model::{TagIndexError, TagRow, TagsAdded};
use crate::scope::{Partition, Scope, ScopeSet};

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
    /// [`PackedInstance::levels`](crate::index::PackedInstance::levels) says of one of them.
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
