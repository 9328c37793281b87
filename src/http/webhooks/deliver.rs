//! Sends events to webhooks, each signed.
//!
//! Invariants: each attempt is signed anew under the same id, so a receiver that got it twice can tell; what a receiver answers
//! beyond its status is not read.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use time::OffsetDateTime;

use super::guard::ReceiverClient;
use super::message::{MEDIA_TYPE, cloud_event, secret_bytes, service_event, signature};
use crate::archive::services::deliver::{Attempt, DeliverySender};
use crate::archive::{LoggedEvent, WebhookRow};
use crate::scope::Partition;

/// Longest pause that a receiver may ask for.
const LONGEST_PAUSE: u64 = 86_400;

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WebhookAnswer {
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
    base: Option<String>,
}

impl WebhookSender {
    /// Sends with a client; `base` is where clients see the service.
    #[must_use]
    pub fn new(client: ReceiverClient, base: Option<String>) -> Self {
        Self { client, base }
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
    pub async fn send(
        &self,
        webhook: &WebhookRow,
        event: &LoggedEvent,
        partition: &str,
    ) -> WebhookAnswer {
        let Some(secret) = secret_bytes(&webhook.secret) else {
            return WebhookAnswer::Failed("its secret cannot be used".to_owned(), None);
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
            Err(error) => return WebhookAnswer::Failed(error.to_string(), None),
        };
        let request = request
            .header(CONTENT_TYPE, MEDIA_TYPE)
            .header("webhook-id", &id)
            .header("webhook-timestamp", now.to_string())
            .header("webhook-signature", signature(&secret, &id, now, &body))
            .body(body);
        match request.send().await {
            Err(error) => WebhookAnswer::Failed(reason(error), None),
            Ok(response) => {
                let status = response.status();
                let pause = response.headers().get(RETRY_AFTER);
                let pause = pause.and_then(|value| value.to_str().ok()?.trim().parse().ok());
                let pause =
                    pause.map(|seconds: u64| Duration::from_secs(seconds.min(LONGEST_PAUSE)));
                match status {
                    StatusCode::GONE => WebhookAnswer::Gone,
                    status if status.is_success() => WebhookAnswer::Arrived(status.as_u16()),
                    status if status.is_redirection() => {
                        let status = status.as_u16();
                        WebhookAnswer::Failed(
                            format!("it answered {status}; redirects are not followed"),
                            None,
                        )
                    }
                    status => {
                        WebhookAnswer::Failed(format!("it answered {}", status.as_u16()), pause)
                    }
                }
            }
        }
    }
}

impl DeliverySender for WebhookSender {
    fn attempt<'a>(
        &'a self,
        receiver: &'a WebhookRow,
        event: &'a LoggedEvent,
        partition: &'a str,
    ) -> BoxFuture<'a, Attempt> {
        async move {
            match self.send(receiver, event, partition).await {
                WebhookAnswer::Arrived(_) => Attempt::Arrived,
                WebhookAnswer::Gone => {
                    Attempt::Gone("its receiver answered 410: it wants nothing any more")
                }
                WebhookAnswer::Failed(problem, pause) => Attempt::Failed(problem, pause),
            }
        }
        .boxed()
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
