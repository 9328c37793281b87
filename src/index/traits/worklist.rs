//! Workitems, their subscribers, and storage commitment.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::dicom::workitem_events::Event;
use crate::index::commitments_model::{CommitmentRow, NewCommitment};
use crate::index::events_model::{
    Entered, EventRow, GlobalSubscription, Globals, InsertedWorkitem, Matched, NewSubscription,
};
use crate::index::model::Result;
use crate::index::workitems_model::{FoundWorkitem, NewWorkitem, WorkitemFilter, WorkitemRow};
use crate::scope::{Partition, Scope};

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
