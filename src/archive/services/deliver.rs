//! The outbox: what happened goes to those who are to have it, one node at a time to each, in order within a study, until it
//! arrives or is given up.
//!
//! Invariants: an event is forgotten only after it arrived; whoever receives may get it twice and must be able to tell.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio_util::task::AbortOnDropHandle;

use crate::archive::services::events::{KeptLease, ReceiverKind};
use crate::archive::{AfterFailure, Archive, LoggedEvent, Result, WebhookDelivery, WebhookRow};
use crate::fault;
use crate::meter::{Counter, Exposition, MetricKind};
use crate::tasks::{Failure, Watch};

/// Pause between two looks for receivers, or for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two counts of what waits.
const COUNT: Duration = Duration::from_secs(10);
/// Pause between two renewals of the right to send, while a receiver takes its time.
const RENEW: Duration = Duration::from_secs(5);
/// Deliveries to one receiver at the same time, each of another study.
const AT_ONCE: u32 = 8;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// It arrived.
    Arrived,
    /// The receiver wants nothing any more, and how it said so.
    Gone(&'static str),
    /// Anything else, and how long the receiver asks to be left alone.
    Failed(String, Option<Duration>),
}

/// Sends events, each once.
pub trait DeliverySender: Send + Sync + 'static {
    /// Whether this node knows how to send to a receiver; another one may.
    fn serves(&self, _: &WebhookRow) -> bool {
        true
    }

    /// Sends an event to a receiver; `partition` is the name of the receiver's partition.
    fn attempt<'a>(
        &'a self,
        receiver: &'a WebhookRow,
        event: &'a LoggedEvent,
        partition: &'a str,
    ) -> BoxFuture<'a, Attempt>;
}

/// The outbox of receivers of one kind.
pub struct Outbox {
    kind: ReceiverKind,
    sender: Arc<dyn DeliverySender>,
    /// Pauses after failures, one after the other.
    retry: Vec<Duration>,
    arrived: Counter,
    failed: Counter,
    given_up: Counter,
    /// Name of each receiver, with how many deliveries wait and how many were given up, as last counted.
    counts: Mutex<Vec<(String, u64, u64)>>,
    running: AtomicU64,
}

impl std::fmt::Debug for Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Outbox({:?})", self.kind)
    }
}

impl Outbox {
    /// An outbox that sends in this way; after a failure the pauses of `retry` pass one after the other.
    #[must_use]
    pub fn new(kind: ReceiverKind, sender: Arc<dyn DeliverySender>, retry: Vec<Duration>) -> Self {
        Self {
            kind,
            sender,
            retry,
            arrived: Counter::default(),
            failed: Counter::default(),
            given_up: Counter::default(),
            counts: Mutex::default(),
            running: AtomicU64::new(0),
        }
    }

    async fn deliver(
        &self,
        archive: &Archive,
        receiver: &WebhookRow,
        delivery: &WebhookDelivery,
        partition: &str,
    ) -> Result<()> {
        let sequence = delivery.event.sequence;
        let name = self.kind.name_of(&receiver.name).unwrap_or_default();
        let label = self.kind.label();
        let attempt = self.sender.attempt(receiver, &delivery.event, partition);
        let attempt = attempt.await;
        fault::point("outbox.sent");
        match attempt {
            Attempt::Arrived => {
                self.arrived.one();
                archive.finish_delivery(&receiver.id, sequence).await
            }
            Attempt::Gone(reason) => {
                self.failed.one();
                tracing::warn!(name, reason, "a {label} is sent nothing any more");
                archive
                    .disable_webhook(&receiver.id, Some(reason))
                    .await
                    .map(drop)
            }
            Attempt::Failed(problem, pause) => {
                self.failed.one();
                let at = usize::try_from(delivery.attempts).unwrap_or(usize::MAX);
                let after = match self.retry.get(at) {
                    Some(wait) => {
                        AfterFailure::Again(pause.map_or(*wait, |pause| pause.max(*wait)))
                    }
                    None => AfterFailure::Dead,
                };
                if after == AfterFailure::Dead {
                    self.given_up.one();
                    tracing::warn!(name, sequence, problem, "an event of a {label} is given up");
                }
                archive
                    .fail_delivery(&receiver.id, sequence, &problem, after)
                    .await
            }
        }
    }

    /// Writes what `/metrics` tells of the receivers.
    pub fn write_meters(&self, out: &mut Exposition) {
        let counts = self
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let names = MeterNames::of(self.kind);
        let (name, help) = names.attempts;
        out.family(name, MetricKind::Counter, help);
        out.sample(&[("outcome", "arrived")], self.arrived.get());
        out.sample(&[("outcome", "failed")], self.failed.get());
        let (name, help) = names.given_up;
        out.single(name, MetricKind::Counter, help, self.given_up.get());
        let label = self.kind.label();
        let (name, help) = names.waiting;
        out.family(name, MetricKind::Gauge, help);
        for (name, waiting, _) in &counts {
            out.sample(&[(label, name)], *waiting);
        }
        let (name, help) = names.dead;
        out.family(name, MetricKind::Gauge, help);
        for (name, _, dead) in &counts {
            out.sample(&[(label, name)], *dead);
        }
        let (name, help) = names.running;
        let running = self.running.load(Ordering::Relaxed);
        out.single(name, MetricKind::Gauge, help, running);
    }
}

/// What meters are called, each with what it says.
struct MeterNames {
    attempts: (&'static str, &'static str),
    given_up: (&'static str, &'static str),
    waiting: (&'static str, &'static str),
    dead: (&'static str, &'static str),
    running: (&'static str, &'static str),
}

impl MeterNames {
    fn of(kind: ReceiverKind) -> Self {
        match kind {
            ReceiverKind::Webhook => Self {
                attempts: (
                    "stowage_webhook_attempts_total",
                    "Attempts of this node to send an event to a webhook, by how they ended.",
                ),
                given_up: (
                    "stowage_webhook_given_up_total",
                    "Events that this node gave up sending.",
                ),
                waiting: (
                    "stowage_webhook_waiting",
                    "Events on their way to a webhook.",
                ),
                dead: (
                    "stowage_webhook_dead",
                    "Events that were given up and not sent again.",
                ),
                running: (
                    "stowage_webhooks",
                    "Webhooks that this node looks after, if no other one does.",
                ),
            },
            ReceiverKind::Forward => Self {
                attempts: (
                    "stowage_forward_attempts_total",
                    "Attempts of this node to forward what arrived in a study, by how they ended.",
                ),
                given_up: (
                    "stowage_forward_given_up_total",
                    "Arrivals that this node gave up forwarding.",
                ),
                waiting: (
                    "stowage_forward_waiting",
                    "Arrivals that are still to be forwarded by a rule.",
                ),
                dead: (
                    "stowage_forward_dead",
                    "Arrivals that were given up and not forwarded again.",
                ),
                running: (
                    "stowage_forward_rules",
                    "Rules of forwarding that this node looks after, if no other one does.",
                ),
            },
        }
    }
}

/// Looks after all receivers of an outbox for ever.
///
/// # Errors
/// None: what fails is tried again.
pub async fn deliver_for_ever(
    archive: Archive,
    outbox: Arc<Outbox>,
    watch: Watch,
) -> std::result::Result<(), Failure> {
    let mut running: HashMap<String, (WebhookRow, AbortOnDropHandle<()>)> = HashMap::new();
    let mut counted: Option<tokio::time::Instant> = None;
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let mut receivers = match archive.receivers(outbox.kind).await {
            Ok(receivers) => receivers,
            Err(error) => {
                watch.failed(&error);
                continue;
            }
        };
        receivers.retain(|receiver| receiver.disabled.is_none() && outbox.sender.serves(receiver));
        for receiver in &mut receivers {
            // It moves by itself.
            receiver.cursor = 0;
        }
        // What was changed begins anew; what is gone ends.
        running.retain(|_, (known, task)| receivers.contains(known) && !task.is_finished());
        for receiver in receivers {
            if !running.contains_key(&receiver.id) {
                let work = look_after(archive.clone(), Arc::clone(&outbox), receiver.clone());
                let task = AbortOnDropHandle::new(tokio::spawn(work));
                running.insert(receiver.id.clone(), (receiver, task));
            }
        }
        outbox
            .running
            .store(running.len() as u64, Ordering::Relaxed);
        if counted.is_none_or(|at| at.elapsed() > COUNT)
            && let Ok(counts) = archive.count_deliveries(outbox.kind).await
        {
            counted = Some(tokio::time::Instant::now());
            *outbox.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        }
        watch.well();
    }
}

/// Sends what is due to one receiver, until it is dropped.
async fn look_after(archive: Archive, outbox: Arc<Outbox>, receiver: WebhookRow) {
    let mut lease = KeptLease::default();
    loop {
        let due = archive.due_deliveries(&receiver, &mut lease, AT_ONCE).await;
        let due = match due {
            Ok(due) => due,
            Err(error) => {
                lease = KeptLease::default();
                tracing::warn!(
                    name = receiver.name,
                    error = &error as &dyn std::error::Error,
                    "what is to be sent cannot be read now"
                );
                Vec::new()
            }
        };
        if due.is_empty() {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let partition = archive.partition_label(receiver.partition).await;
        let partition = partition.unwrap_or_default();
        let sent = due
            .iter()
            .map(|one| outbox.deliver(&archive, &receiver, one, &partition));
        let mut sending = std::pin::pin!(join_all(sent));
        let all = loop {
            tokio::select! {
                all = &mut sending => break all,
                // A receiver may take longer than a lease lasts.
                () = tokio::time::sleep(RENEW) => {
                    let _ = archive.keep_sending(&receiver, &mut lease).await;
                }
            }
        };
        for ended in all {
            if let Err(error) = ended {
                // It is sent again: the receiver can tell.
                tracing::warn!(
                    name = receiver.name,
                    error = &error as &dyn std::error::Error,
                    "it cannot be noted how a delivery ended"
                );
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}
