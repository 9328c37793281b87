//! What happens to studies and workitems: made out of the change feed, followed by streams and webhooks.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::archive::error::{ArchiveError, Result};
use crate::archive::workitems::ago;
use crate::index::{AfterFailure, DeliveryState, LoggedEvent, WebhookDelivery, WebhookRow};
use crate::scope::Scope;
use crate::shares::{Share, ShareHolder};
use crate::tasks::{Failure, Watch};

/// Pause between two looks for something that happened.
const LOOK: Duration = Duration::from_millis(500);
/// How long a node that is gone keeps others from making events, or from sending to a webhook.
const LEASE: Duration = Duration::from_secs(15);
/// How often a lease is kept.
const KEEP: Duration = Duration::from_secs(4);
/// Name of the lease on making events.
const EVENTS: &str = "events";
/// Events forgotten in one transaction.
const FORGOTTEN: u32 = 500;
/// Most webhooks.
pub const MOST_WEBHOOKS: u32 = 200;

/// What is kept in the table of webhooks: two kinds of receivers, each sent to in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiverKind {
    /// Told of events by HTTP.
    Webhook,
    /// Sent what arrived, by a rule of forwarding.
    Forward,
}

impl ReceiverKind {
    /// `origin` of the rows of rules.
    pub const FORWARD: &'static str = "forward";
    /// Name of the row of a rule begins so: no webhook can have such a name.
    const PREFIX: &'static str = "forward ";

    /// The name of the row of a receiver.
    #[must_use]
    pub fn row_name(self, name: &str) -> String {
        match self {
            Self::Webhook => name.to_owned(),
            Self::Forward => format!("{}{name}", Self::PREFIX),
        }
    }

    /// The name of a receiver of this kind by that of its row; none when it is of the other kind.
    #[must_use]
    pub fn name_of(self, row: &str) -> Option<&str> {
        match (self, row.strip_prefix(Self::PREFIX)) {
            (Self::Webhook, None) => Some(row),
            (Self::Forward, Some(name)) => Some(name),
            _ => None,
        }
    }

    /// What it is called in labels of meters and in the log.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Forward => "rule",
        }
    }
}

/// An id for the row of a new receiver: 16 hex digits.
#[must_use]
pub fn new_receiver_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// A lease that is kept as long as somebody asks often enough.
#[derive(Debug, Default)]
pub struct KeptLease(Option<tokio::time::Instant>);

impl Archive {
    /// Takes or keeps a lease; without other nodes there is nothing to take.
    ///
    /// # Errors
    /// When the index fails.
    async fn keep_lease(&self, name: &str, kept: &mut KeptLease) -> Result<bool> {
        if !self.index.is_shared() || kept.0.is_some_and(|at| at.elapsed() < KEEP) {
            return Ok(true);
        }
        let has = self.index.take_lease(name, &self.node, LEASE).await?;
        kept.0 = has.then(tokio::time::Instant::now);
        Ok(has)
    }

    /// Makes events of what happens, for ever; a study is quiet after `quiet` without a change.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub async fn follow_event_log(
        self,
        quiet: Duration,
        watch: Watch,
    ) -> std::result::Result<(), Failure> {
        let (mut lease, mut known) = (KeptLease::default(), None);
        let mut timer = tokio::time::interval(LOOK);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            match self.make_events(quiet, &mut lease, &mut known).await {
                Ok(()) => watch.well(),
                Err(error) => {
                    lease = KeptLease::default();
                    watch.failed(&error);
                }
            }
        }
    }

    async fn make_events(
        &self,
        quiet: Duration,
        lease: &mut KeptLease,
        known: &mut Option<i64>,
    ) -> Result<()> {
        if self.keep_lease(EVENTS, lease).await? {
            while self.index.make_events(quiet).await? {}
        }
        let (_, newest) = self.index.logged_bounds().await?;
        if known.replace(newest) != Some(newest) {
            self.channels.0.logged.send_replace(newest);
        }
        Ok(())
    }

    /// Changes whenever there may be new events.
    #[must_use]
    pub fn event_news(&self) -> watch::Receiver<i64> {
        self.channels.0.logged.subscribe()
    }

    /// Events that the caller may hear of, behind `after`, in order.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn logged_events(
        &self,
        scope: &Scope,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>> {
        Ok(self.index.logged_events(scope, after, limit).await?)
    }

    /// Number of the oldest event that is kept, and of the newest one.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn logged_bounds(&self) -> Result<(i64, i64)> {
        Ok(self.index.logged_bounds().await?)
    }

    /// A place for a stream of events.
    ///
    /// # Errors
    /// [`ArchiveError::Busy`] when there are too many.
    pub fn open_stream(&self, subject: &ShareHolder) -> Result<(Share, CancellationToken)> {
        let share = self.channels.0.room.try_take(subject, None, 1);
        let share = share.map_err(|_| ArchiveError::Busy {
            what: "event channels of others",
        })?;
        Ok((share, self.channels.0.ending.clone()))
    }

    /// Ends streams of events, which would keep a server that stops waiting.
    pub fn end_streams(&self) {
        self.channels.0.ending.cancel();
    }

    /// Forgets events that are older than they are kept.
    pub(in crate::archive) async fn sweep_event_log(&self) -> Result<()> {
        let Some(before) = ago(self.limits.event_time()) else {
            return Ok(());
        };
        while self.index.forget_logged_events(before, FORGOTTEN).await? >= u64::from(FORGOTTEN) {}
        Ok(())
    }

    /// All receivers of a kind.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn receivers(&self, kind: ReceiverKind) -> Result<Vec<WebhookRow>> {
        let mut rows = self.index.webhooks().await?;
        rows.retain(|row| kind.name_of(&row.name).is_some());
        Ok(rows)
    }

    /// Adds a webhook; false when its name is taken or there are too many.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn add_webhook(&self, new: &WebhookRow) -> Result<bool> {
        Ok(self.index.add_webhook(new, MOST_WEBHOOKS).await?)
    }

    /// Changes where and of what a webhook is told, and sets it going again.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn change_webhook(&self, webhook: &WebhookRow) -> Result<()> {
        let WebhookRow {
            id,
            url,
            secret,
            kinds,
            ..
        } = webhook;
        Ok(self.index.change_webhook(id, url, secret, kinds).await?)
    }

    /// Removes a webhook with what is on its way to it; false when there is none.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn remove_webhook(&self, id: &str) -> Result<bool> {
        Ok(self.index.remove_webhook(id).await?)
    }

    /// Sends nothing to a webhook any more for a reason, or goes on.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn disable_webhook(&self, id: &str, reason: Option<&str>) -> Result<bool> {
        Ok(self.index.disable_webhook(id, reason).await?)
    }

    /// Takes or keeps the right to send to a webhook; false while another node has it.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn keep_sending(&self, webhook: &WebhookRow, lease: &mut KeptLease) -> Result<bool> {
        let name = format!("webhook {}", webhook.id);
        self.keep_lease(&name, lease).await
    }

    /// Deliveries of a webhook whose time has come, at most `limit`; none while another node sends to it.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn due_deliveries(
        &self,
        webhook: &WebhookRow,
        lease: &mut KeptLease,
        limit: u32,
    ) -> Result<Vec<WebhookDelivery>> {
        if !self.keep_sending(webhook, lease).await? {
            return Ok(Vec::new());
        }
        while self.index.enqueue_deliveries(webhook).await? {}
        Ok(self.index.due_deliveries(&webhook.id, limit).await?)
    }

    /// Notes that a delivery arrived.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn finish_delivery(&self, webhook: &str, sequence: i64) -> Result<()> {
        Ok(self.index.finish_delivery(webhook, sequence).await?)
    }

    /// Notes that a delivery did not arrive.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn fail_delivery(
        &self,
        webhook: &str,
        sequence: i64,
        problem: &str,
        after: AfterFailure,
    ) -> Result<()> {
        let failed = self.index.fail_delivery(webhook, sequence, problem, after);
        Ok(failed.await?)
    }

    /// What is on its way to a webhook or was given up.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn open_deliveries(&self, webhook: &str, limit: u32) -> Result<Vec<DeliveryState>> {
        Ok(self.index.open_deliveries(webhook, limit).await?)
    }

    /// Name of each receiver of a kind, with how many deliveries wait and how many were given up.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn count_deliveries(&self, kind: ReceiverKind) -> Result<Vec<(String, u64, u64)>> {
        let counts = self.index.count_deliveries().await?.into_iter();
        let of_kind = |(row, waiting, dead): (String, u64, u64)| {
            Some((kind.name_of(&row)?.to_owned(), waiting, dead))
        };
        Ok(counts.filter_map(of_kind).collect())
    }

    /// Sends events of a range to a webhook once more, as far as they are kept; returns how many.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn redeliver(&self, webhook: &WebhookRow, first: i64, last: i64) -> Result<u64> {
        Ok(self.index.redeliver(webhook, first, last).await?)
    }
}
