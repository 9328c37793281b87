//! Instances: stored, found, changed, deleted, restored.

use std::collections::HashSet;

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::checksum::BlockChecksums;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::query::{Order, Query};
use crate::dicom::uid::{InstanceName, StudyUid, Target};
use crate::index::feed_model::{Change, FeedRange};
use crate::index::model::{
    BlobPlace, ContentRow, Damage, Discarded, Inserted, InstanceRow, MetadataRow, Page, Position,
    Result, Version,
};
use crate::index::retention_model::AgedStudy;
use crate::index::rows::NewInstance;
use crate::index::tags_model::TagRow;
use crate::index::trash_model::{TrashEntry, TrashFilter, TrashedInstance};
use crate::scope::{Partition, Scope, ScopeSet};

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
    /// Rows that match all conditions which have a column or one of `tags` that is ready; see [`indexed`](crate::index::indexed). `before`
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
