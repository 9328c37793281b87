//! The answers that only the page asks for: how to sign in, who asks, names of attributes, how the server is.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::{Extension, Json};
use dicom_core::Tag;
use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_dictionary_std::StandardDataDictionary;
use serde_json::{Map, Value, json};

use super::super::metrics::Requests;
use super::super::state::App;
use super::settings::UiSettings;
use super::share::SharedLinks;
use crate::auth::{Action, Caller};
use crate::http::error::HttpError;
use crate::scope::PartitionName;

/// Most attributes of one question.
const MOST_NAMES: usize = 500;
/// When this process began to tell.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Where things are and how people say who they are; open, for it is asked before anybody has.
pub(super) async fn tell_config(
    State(app): State<Arc<App>>,
    Extension(settings): Extension<Arc<UiSettings>>,
) -> Json<Value> {
    LazyLock::force(&BEGUN);
    let limits = app.archive.limits();
    let issuer = settings.issuer.as_ref();
    let sign_in = match (settings.signed_in, issuer, &settings.config.ui_client_id) {
        (false, _, _) => json!({ "kind": "none" }),
        (true, Some(issuer), Some(client)) => json!({
            "kind": "oidc", "issuer": issuer, "clientId": client, "scopes": settings.config.ui_scopes,
            "keys": settings.api_keys,
        }),
        (true, _, _) => json!({ "kind": "token" }),
    };
    let open_in = settings.open_in().into_iter();
    let open_in = open_in.map(|one| json!({ "name": one.name, "url": one.url }));
    let mut config = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "openIn": open_in.collect::<Vec<Value>>(),
        "signIn": sign_in,
        "maxInstanceBytes": limits.max_instance_bytes,
        "maxRequestBytes": limits.max_request_bytes,
        "maxParts": limits.max_parts,
    });
    if let Some(members) = config
        .as_object_mut()
        .filter(|_| app.archive.has_partitions())
    {
        // The page asks in this partition where its address names none.
        members.insert("partition".to_owned(), json!(PartitionName::DEFAULT));
    }
    Json(config)
}

/// Who asks and what they may do.
pub(super) async fn tell_caller(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Arc<Caller>>,
    Extension(settings): Extension<Arc<UiSettings>>,
    Extension(shares): Extension<SharedLinks>,
) -> Json<Value> {
    let links = caller.may(Action::Export) && shares.0.is_some();
    let actions = Action::ALL.into_iter().filter(|action| caller.may(*action));
    let actions: Vec<&str> = actions.map(Action::as_str).collect();
    Json(json!({
        "subject": caller.subject,
        "issuer": caller.issuer,
        "actions": actions,
        "limited": caller.is_limited(),
        "restoreSeconds": caller.may(Action::Restore).then(|| app.archive.grace().as_secs()),
        "linkSeconds": links.then_some(settings.config.ui_link_time),
    }))
}

/// The parameters of a question, where they can be read.
type MessageQuery = Result<Query<HashMap<String, String>>, QueryRejection>;

/// Keyword of each attribute in `tags`, eight hexadecimal digits each, separated by commas.
///
/// # Errors
/// 400 for more than [`MOST_NAMES`] or something else than numbers of attributes.
pub(super) async fn tell_names(query: MessageQuery) -> Result<Json<Value>, HttpError> {
    let wrong = "It must be numbers of attributes such as 00100010, separated by commas.";
    let wrong = || HttpError::invalid_query("tags", wrong);
    let Query(query) = query.map_err(|_| wrong())?;
    let asked = query.get("tags").map(String::as_str).unwrap_or_default();
    let asked: Vec<&str> = asked.split(',').filter(|tag| !tag.is_empty()).collect();
    if asked.len() > MOST_NAMES {
        return Err(HttpError::invalid_query("tags", "It holds too many."));
    }
    let mut names = Map::new();
    for text in asked {
        let number = Some(text)
            .filter(|text| text.len() == 8 && text.bytes().all(|b| b.is_ascii_hexdigit()))
            .and_then(|text| {
                let group = u16::from_str_radix(text.get(..4)?, 16).ok()?;
                let element = u16::from_str_radix(text.get(4..)?, 16).ok()?;
                Some(Tag(group, element))
            });
        let tag = number.ok_or_else(wrong)?;
        if let Some(entry) = StandardDataDictionary.by_tag(tag) {
            names.insert(text.to_owned(), Value::from(entry.alias()));
        }
    }
    Ok(Json(Value::Object(names)))
}

/// How the server is: its memory, its limits, its stores.
pub(super) async fn tell_status(
    State(app): State<Arc<App>>,
    Extension(requests): Extension<Arc<Requests>>,
) -> Json<Value> {
    let totals = requests.totals();
    let budget = app.archive.budget();
    let limits = app.archive.limits();
    let stores = app.archive.check().await.err();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "seconds": BEGUN.elapsed().as_secs(),
        "stores": { "well": stores.is_none(), "problem": stores.map(|error| error.to_string()) },
        "audit": { "on": app.audit.is_on(), "failing": app.audit.is_failing() },
        "memoryBytes": budget.bytes(),
        "refusedForMemory": budget.refused(),
        "totals": {
            "milliseconds": u64::try_from(BEGUN.elapsed().as_millis()).unwrap_or(u64::MAX),
            "stored": app.archive.stored_instances(),
            "requests": totals.answered,
            "reads": totals.reads,
            "receivedBytes": totals.received,
            "sentBytes": totals.sent,
        },
        "limits": {
            "instanceBytes": limits.max_instance_bytes,
            "requestBytes": limits.max_request_bytes,
            "parts": limits.max_parts,
            "results": limits.max_results,
            "requests": limits.requests,
            "storeRequests": limits.store_requests,
            "searchSeconds": limits.search_seconds,
        },
    }))
}
