//! Events: of the audit trail, of the log of events, to receivers; and counts.

use async_trait::async_trait;
use time::OffsetDateTime;

use crate::index::event_log_model::{
    AfterFailure, DeliveryState, LoggedEvent, WebhookDelivery, WebhookRow,
};
use crate::index::model::{InstanceRow, PoolState, Result};
use crate::index::statistics_model::StatisticRow;
use crate::scope::Scope;

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
