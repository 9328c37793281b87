//! Webhooks: subscriptions over HTTP, for callers who may manage them; `deliver` sends.
//!
//! Invariants: a webhook is told what its maker may see, and of that only in the partition it was made in; a caller with a limit
//! sees and changes its own alone; a secret leaves the server once, with the answer that made it.

pub mod deliver;
pub mod guard;
pub mod message;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Path};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::{HttpError, ProblemType};
use super::extract::RetrieveRequest;
use crate::archive::services::events::{MOST_WEBHOOKS, ReceiverKind, new_receiver_id};
use crate::archive::{DeliveryState, LoggedEvent, SERVICE_KINDS, WebhookRow, kinds_cover};
use crate::auth::Action;
use crate::config::names::is_name;
use crate::scope::{Scope, Visible};
use deliver::{WebhookAnswer, WebhookSender};
use message::{new_secret, secret_bytes};

/// Longest body of a request.
const MAX_BODY: usize = 16 << 10;
/// Deliveries that are listed.
const LISTED: u32 = 200;
/// Kinds of events there are.
pub const KINDS: [&str; 11] = [
    "study.arrived",
    "study.updated",
    "study.quiet",
    "study.deleted",
    "instance.created",
    "instance.updated",
    "instance.deleted",
    "workitem.created",
    "workitem.claimed",
    "workitem.completed",
    "workitem.canceled",
];
/// What a webhook is told when it does not say.
const USUAL: [&str; 2] = ["study.*", "workitem.*"];
/// Kind of an event that says nothing but that events arrive.
const TEST: &str = "stowage.test";

/// A webhook as somebody asks for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AskedWebhook {
    /// What people call it.
    pub name: String,
    /// Where events are sent.
    pub url: String,
    /// Kinds of events; `study.*` stands for all of studies.
    #[serde(default)]
    pub events: Vec<String>,
    /// What messages are signed with; made when it is absent.
    pub secret: Option<String>,
}

impl AskedWebhook {
    /// The row of a new webhook.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn row(
        &self,
        sender: &WebhookSender,
        scope: &Scope,
        owner: Option<String>,
        origin: &str,
    ) -> Result<WebhookRow, String> {
        if !is_name(&self.name) {
            return Err(
                "The name must have 1 to 64 letters, digits, dots, hyphens and underscores."
                    .to_owned(),
            );
        }
        sender
            .client()
            .checked(&self.url)
            .map_err(|error| format!("The URL: {error}."))?;
        let kinds = if self.events.is_empty() {
            USUAL.map(str::to_owned).to_vec()
        } else {
            self.events.clone()
        };
        for kind in &kinds {
            let one = std::slice::from_ref(kind);
            if !KINDS.iter().any(|known| kinds_cover(one, known)) {
                let known = KINDS.join(", ");
                let kind: String = kind.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(format!(
                    "There is no kind of event {kind}; there are {known}, and study.* and so on."
                ));
            }
        }
        let theirs = |kind: &String| SERVICE_KINDS.iter().any(|(_, theirs)| kind == theirs);
        if kinds.iter().any(theirs) {
            if !sender.has_base() {
                return Err(
                    "Events of the DICOM service name its host: set STOWAGE_PUBLIC_URL.".to_owned(),
                );
            }
            let ours: Vec<String> = kinds.iter().filter(|kind| !theirs(kind)).cloned().collect();
            if SERVICE_KINDS
                .iter()
                .any(|(kind, _)| kinds_cover(&ours, kind))
            {
                return Err(
                    "Ask for events of instances by our names or by those of the DICOM service, not by both."
                        .to_owned(),
                );
            }
        }
        let secret = self.secret.clone().unwrap_or_else(new_secret);
        if secret_bytes(&secret).is_none() {
            return Err("The secret must be whsec_ and 24 to 64 bytes in base64.".to_owned());
        }
        Ok(WebhookRow {
            id: new_receiver_id(),
            name: self.name.clone(),
            partition: scope.partition,
            url: self.url.clone(),
            secret,
            kinds,
            owner,
            visible: scope.visible.clone(),
            origin: origin.to_owned(),
            created: OffsetDateTime::now_utc(),
            disabled: None,
            cursor: 0,
        })
    }
}

/// A webhook as it is shown: without its secret.
#[must_use]
pub fn as_json(webhook: &WebhookRow) -> Value {
    json!({
        "id": webhook.id,
        "name": webhook.name,
        "url": webhook.url,
        "events": webhook.kinds,
        "origin": webhook.origin,
        "created": webhook.created.format(&Rfc3339).unwrap_or_default(),
        "limited": webhook.visible != Visible::All,
        "disabled": webhook.disabled,
        "lastSequence": webhook.cursor,
    })
}

/// What is on its way to a webhook or was given up, as it is shown.
#[must_use]
pub fn deliveries_json(deliveries: &[DeliveryState]) -> Value {
    let one = |delivery: &DeliveryState| {
        json!({
            "sequence": delivery.sequence,
            "type": delivery.kind,
            "attempts": delivery.attempts,
            "state": if delivery.dead { "dead" } else { "waiting" },
            "problem": delivery.problem,
        })
    };
    deliveries.iter().map(one).collect()
}

/// An event that says nothing but that events arrive.
#[must_use]
pub fn test_event(webhook: &WebhookRow) -> LoggedEvent {
    LoggedEvent {
        sequence: 0,
        time: OffsetDateTime::now_utc(),
        partition: webhook.partition,
        kind: TEST.to_owned(),
        study: None,
        data: "{}".to_owned(),
    }
}

type Sending = Extension<Arc<WebhookSender>>;

/// Subscribes.
///
/// # Errors
/// 400 when the body or the URL is not as it must be, 409 when the name is taken.
pub(super) async fn create_webhook(
    ask: RetrieveRequest,
    Extension(sender): Sending,
    body: Body,
) -> Result<Response, HttpError> {
    let scope = own_scope(&ask)?;
    let asked: AskedWebhook = parsed(body).await?;
    let row = asked.row(&sender, &scope, ask.access.owner(), "route");
    let row = row.map_err(|reason| HttpError::bad_request(ProblemType::InvalidBody, reason))?;
    if !ask.api.app.archive.add_webhook(&row).await? {
        let detail = format!(
            "There is a webhook named {} already, or there are {MOST_WEBHOOKS}.",
            row.name
        );
        return Err(HttpError::conflict(&detail));
    }
    let mut shown = as_json(&row);
    shown["secret"] = row.secret.into();
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// Lists webhooks.
///
/// # Errors
/// When the index fails.
pub(super) async fn list_webhooks(ask: RetrieveRequest) -> Result<Json<Value>, HttpError> {
    let all = visible(&ask).await?;
    Ok(Json(all.iter().map(as_json).collect()))
}

/// Shows a webhook and what is on its way to it.
///
/// # Errors
/// 404 when there is none that the caller may see.
pub(super) async fn get_webhook(
    ask: RetrieveRequest,
    path: Path<HashMap<String, String>>,
) -> Result<Json<Value>, HttpError> {
    let webhook = find(&ask, &path).await?;
    let deliveries = ask
        .api
        .app
        .archive
        .open_deliveries(&webhook.id, LISTED)
        .await?;
    let mut shown = as_json(&webhook);
    shown["deliveries"] = deliveries_json(&deliveries);
    Ok(Json(shown))
}

/// Ends a webhook.
///
/// # Errors
/// 404 when there is none that the caller may see.
pub(super) async fn delete_webhook(
    ask: RetrieveRequest,
    path: Path<HashMap<String, String>>,
) -> Result<StatusCode, HttpError> {
    let webhook = find(&ask, &path).await?;
    ask.api.app.archive.remove_webhook(&webhook.id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test event at once, and says how that ended; one that was disabled goes on if it arrived.
///
/// # Errors
/// 404 when there is none that the caller may see.
pub(super) async fn test_webhook(
    ask: RetrieveRequest,
    Extension(sender): Sending,
    path: Path<HashMap<String, String>>,
) -> Result<Json<Value>, HttpError> {
    let webhook = find(&ask, &path).await?;
    let archive = &ask.api.app.archive;
    let partition = archive.partition_label(webhook.partition).await?;
    let attempt = sender
        .send(&webhook, &test_event(&webhook), &partition)
        .await;
    let (arrived, detail) = match attempt {
        WebhookAnswer::Arrived(status) => (true, format!("it answered {status}")),
        WebhookAnswer::Gone => (false, "it answered 410".to_owned()),
        WebhookAnswer::Failed(problem, _) => (false, problem),
    };
    if arrived && webhook.disabled.is_some() {
        archive.disable_webhook(&webhook.id, None).await?;
    }
    Ok(Json(json!({ "arrived": arrived, "detail": detail })))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AskedRange {
    first_sequence: i64,
    last_sequence: Option<i64>,
}

/// Sends events of a range once more.
///
/// # Errors
/// 400 when the body is not as it must be, 404 when there is none that the caller may see.
pub(super) async fn redeliver_events(
    ask: RetrieveRequest,
    path: Path<HashMap<String, String>>,
    body: Body,
) -> Result<Response, HttpError> {
    let webhook = find(&ask, &path).await?;
    let range: AskedRange = parsed(body).await?;
    let last = range.last_sequence.unwrap_or(i64::MAX);
    let archive = &ask.api.app.archive;
    let events = archive
        .redeliver(&webhook, range.first_sequence, last)
        .await?;
    Ok((StatusCode::ACCEPTED, Json(json!({ "events": events }))).into_response())
}

/// What the maker of a webhook may see.
fn own_scope(ask: &RetrieveRequest) -> Result<Scope, HttpError> {
    let managed = ask.access.may(Action::ManageWebhooks)?;
    let read = ask.access.may(Action::Read)?;
    // Both rights are limited alike, but for roles that say otherwise: the right to read decides what is told.
    Ok(Scope {
        visible: read.visible,
        ..managed
    })
}

/// Webhooks that the caller may see and change.
async fn visible(ask: &RetrieveRequest) -> Result<Vec<WebhookRow>, HttpError> {
    let scope = own_scope(ask)?;
    let owner = ask.access.owner();
    let archive = &ask.api.app.archive;
    let mut all = archive.receivers(ReceiverKind::Webhook).await?;
    all.retain(|webhook| {
        let own = owner.is_some() && webhook.owner == owner;
        webhook.partition == scope.partition && (scope.visible == Visible::All || own)
    });
    Ok(all)
}

async fn find(
    ask: &RetrieveRequest,
    path: &HashMap<String, String>,
) -> Result<WebhookRow, HttpError> {
    let id = path.get("webhook").map(String::as_str).unwrap_or_default();
    let found = visible(ask)
        .await?
        .into_iter()
        .find(|webhook| webhook.id == id);
    found.ok_or_else(|| HttpError::new(ProblemType::NotFound, "There is no such webhook."))
}

/// A JSON body of a request.
async fn parsed<T: for<'a> Deserialize<'a>>(body: Body) -> Result<T, HttpError> {
    let bad = |reason: String| HttpError::bad_request(ProblemType::InvalidBody, reason);
    let bytes = to_bytes(body, MAX_BODY).await;
    let bytes = bytes.map_err(|_| bad(format!("The body must have {MAX_BODY} bytes at most.")))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| bad(format!("The body is not as it must be: {error}.")))
}
