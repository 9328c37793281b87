//! Sends events to webhooks: one node at a time to each, in order within a study, until they arrive or are given up.
//!
//! Invariants: an event is forgotten only after a 2xx; each attempt is signed anew under the same id, so a receiver that got
//! it twice can tell; what a receiver answers beyond its status is not read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use time::OffsetDateTime;
use tokio_util::task::AbortOnDropHandle;

use super::guard::ReceiverClient;
use super::message::{MEDIA_TYPE, cloud_event, secret_bytes, service_event, signature};
use crate::archive::services::events::KeptLease;
use crate::archive::{AfterFailure, Archive, LoggedEvent, WebhookDelivery, WebhookRow};
use crate::meter::{Counter, Exposition, MetricKind};
use crate::scope::Partition;
use crate::tasks::{Failure, Watch};

/// Pause between two looks for webhooks, or for what is due.
const LOOK: Duration = Duration::from_millis(500);
/// Pause between two counts of what waits.
const COUNT: Duration = Duration::from_secs(10);
/// Pause between two renewals of the right to send, while a receiver takes its time.
const RENEW: Duration = Duration::from_secs(5);
/// Requests to one receiver at the same time, each of another study.
const AT_ONCE: u32 = 8;
/// Longest pause that a receiver may ask for.
const LONGEST_PAUSE: u64 = 86_400;

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// 2xx.
    Arrived(u16),
    /// 410: the receiver wants nothing any more.
    Gone,
    /// Anything else, and how long the receiver asks to be left alone.
    Failed(String, Option<Duration>),
}

/// What sending needs.
#[derive(Debug)]
pub struct WebhookSender {
    client: ReceiverClient,
    retry: Vec<Duration>,
    base: Option<String>,
    arrived: Counter,
    failed: Counter,
    given_up: Counter,
    /// Name of each webhook, with how many deliveries wait and how many were given up, as last counted.
    counts: Mutex<Vec<(String, u64, u64)>>,
    running: AtomicU64,
}

impl WebhookSender {
    /// Sends with a client; after a failure the pauses of `retry` pass one after the other. `base` is where clients see the
    /// service.
    #[must_use]
    pub fn new(client: ReceiverClient, retry: Vec<Duration>, base: Option<String>) -> Self {
        Self {
            client,
            retry,
            base,
            arrived: Counter::default(),
            failed: Counter::default(),
            given_up: Counter::default(),
            counts: Mutex::default(),
            running: AtomicU64::new(0),
        }
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &ReceiverClient {
        &self.client
    }

    /// Whether it is known where clients see the service.
    #[must_use]
    pub fn has_base(&self) -> bool {
        self.base.is_some()
    }

    /// Sends one event once.
    pub async fn attempt(
        &self,
        webhook: &WebhookRow,
        event: &LoggedEvent,
        partition: &str,
    ) -> Attempt {
        let Some(secret) = secret_bytes(&webhook.secret) else {
            return Attempt::Failed("its secret cannot be used".to_owned(), None);
        };
        let base = self.base.as_deref();
        let body = match (webhook.service_kind(&event.kind), base) {
            (Some(kind), Some(base)) => {
                let is_default = webhook.partition == Partition::DEFAULT;
                service_event(event, kind, (partition, is_default), base)
            }
            _ => cloud_event(event, partition, base),
        };
        let body = body.to_string();
        let id = format!("msg_{}_{}", webhook.id, event.sequence);
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let request = match self.client.post(&webhook.url) {
            Ok(request) => request,
            Err(error) => return Attempt::Failed(error.to_string(), None),
        };
        let request = request
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header("webhook-id", &id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature(&secret, &id, now, &body))
            .body(body);
        match request.send().await {
            Err(error) => Attempt::Failed(reason(error), None),
            Ok(response) => {
                let status = response.status();
                let pause = response.headers().get(RETRY_AFTER);
                let pause = pause.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let pause =
                    pause.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
                match status {
                    StatusCode::GONE => Attempt::Gone,
                    status if status.is_success() => Attempt::Arrived(status.as_u16()),
                    status if status.is_redirection() => {
                        let status = status.as_u16();
                        Attempt::Failed(
                            format!("it answered {status}; redirects are not followed"),
                            None,
                        )
                    }
                    status => Attempt::Failed(format!("it answered {}", status.as_u16()), pause),
                }
            }
        }
    }

    async fn deliver(
        &self,
        archive: &Archive,
        webhook: &WebhookRow,
        delivery: &WebhookDelivery,
        partition: &str,
    ) -> crate::archive::Result<()> {
        let sequence = delivery.event.sequence;
        match self.attempt(webhook, &delivery.event, partition).await {
            Attempt::Arrived(_) => {
                self.arrived.one();
                archive.finish_delivery(&webhook.id, sequence).await
            }
            Attempt::Gone => {
                self.failed.one();
                tracing::warn!(
                    webhook = webhook.name,
                    "a webhook answered 410 and is told nothing any more"
                );
                let reason = Some("its receiver answered 410: it wants nothing any more");
                archive.disable_webhook(&webhook.id, reason).await.map(drop)
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
                    tracing::warn!(
                        webhook = webhook.name,
                        sequence,
                        problem,
                        "an event is given up"
                    );
                }
                archive
                    .fail_delivery(&webhook.id, sequence, &problem, after)
                    .await
            }
        }
    }

    /// Writes what `/metrics` tells of webhooks.
    pub fn write_meters(&self, out: &mut Exposition) {
        out.family(
            "stowage_webhook_attempts_total",
            MetricKind::Counter,
            "Attempts of this node to send an event to a webhook, by how they ended.",
        );
        out.sample(&[("outcome", "arrived")], self.arrived.get());
        out.sample(&[("outcome", "failed")], self.failed.get());
        out.single(
            "stowage_webhook_given_up_total",
            MetricKind::Counter,
            "Events that this node gave up sending.",
            self.given_up.get(),
        );
        let counts = self
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        out.family(
            "stowage_webhook_waiting",
            MetricKind::Gauge,
            "Events on their way to a webhook.",
        );
        for (name, waiting, _) in &counts {
            out.sample(&[("webhook", name)], *waiting);
        }
        out.family(
            "stowage_webhook_dead",
            MetricKind::Gauge,
            "Events that were given up and not sent again.",
        );
        for (name, _, dead) in &counts {
            out.sample(&[("webhook", name)], *dead);
        }
        out.single(
            "stowage_webhooks",
            MetricKind::Gauge,
            "Webhooks that this node looks after, if no other one does.",
            self.running.load(Ordering::Relaxed),
        );
    }
}

/// Why a request failed, without the URL: it may hold a secret of the receiver.
fn reason(error: reqwest::Error) -> String {
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let error = error.without_url();
    let mut innermost: &dyn std::error::Error = &error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    let text: String = innermost.to_string().chars().take(200).collect();
    format!("it cannot be reached: {text}")
}

/// Looks after all webhooks for ever.
///
/// # Errors
/// None: what fails is tried again.
pub async fn deliver_for_ever(
    archive: Archive,
    sender: Arc<WebhookSender>,
    watch: Watch,
) -> Result<(), Failure> {
    let mut running: HashMap<String, (WebhookRow, AbortOnDropHandle<()>)> = HashMap::new();
    let mut counted: Option<tokio::time::Instant> = None;
    let mut timer = tokio::time::interval(LOOK);
    timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        let mut webhooks = match archive.webhooks().await {
            Ok(webhooks) => webhooks,
            Err(error) => {
                watch.failed(&error);
                continue;
            }
        };
        webhooks.retain(|webhook| webhook.disabled.is_none());
        for webhook in &mut webhooks {
            // It moves by itself.
            webhook.cursor = 0;
        }
        // What was changed begins anew; what is gone ends.
        running.retain(|_, (known, task)| webhooks.contains(known) && !task.is_finished());
        for webhook in webhooks {
            if !running.contains_key(&webhook.id) {
                let work = look_after(archive.clone(), Arc::clone(&sender), webhook.clone());
                let task = AbortOnDropHandle::new(tokio::spawn(work));
                running.insert(webhook.id.clone(), (webhook, task));
            }
        }
        sender
            .running
            .store(running.len() as u64, Ordering::Relaxed);
        if counted.is_none_or(|at| at.elapsed() > COUNT)
            && let Ok(counts) = archive.count_deliveries().await
        {
            counted = Some(tokio::time::Instant::now());
            *sender.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
        }
        watch.well();
    }
}

/// Sends what is due to one webhook, until it is dropped.
async fn look_after(archive: Archive, sender: Arc<WebhookSender>, webhook: WebhookRow) {
    let mut lease = KeptLease::default();
    loop {
        let due = archive.due_deliveries(&webhook, &mut lease, AT_ONCE).await;
        let due = match due {
            Ok(due) => due,
            Err(error) => {
                lease = KeptLease::default();
                tracing::warn!(
                    webhook = webhook.name,
                    error = &error as &dyn std::error::Error,
                    "what a webhook is to be told cannot be read now"
                );
                Vec::new()
            }
        };
        if due.is_empty() {
            tokio::time::sleep(LOOK).await;
            continue;
        }
        let partition = archive.partition_label(webhook.partition).await;
        let partition = partition.unwrap_or_default();
        let sent = due
            .iter()
            .map(|one| sender.deliver(&archive, &webhook, one, &partition));
        let mut sending = std::pin::pin!(join_all(sent));
        let all = loop {
            tokio::select! {
                all = &mut sending => break all,
                // A receiver may take longer than a lease lasts.
                () = tokio::time::sleep(RENEW) => {
                    let _ = archive.keep_sending(&webhook, &mut lease).await;
                }
            }
        };
        for ended in all {
            if let Err(error) = ended {
                // It is sent again: the receiver knows its id.
                tracing::warn!(
                    webhook = webhook.name,
                    error = &error as &dyn std::error::Error,
                    "it cannot be noted how the sending of an event ended"
                );
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}
