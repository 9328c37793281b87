//! Share links: who may export a study makes a link, and who has the link gets a token that reads the study.
//!
//! The link holds a code behind its `#`, which no browser sends to a server; the code comes here in a body only.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::state::App;
use super::settings::UiSettings;
use crate::archive::{ArchiveError, describe};
use crate::auth::sharing::Sharing;
use crate::auth::{Action, Caller};
use crate::dicom::uid::{StudyUid, Target};
use crate::http::audit::EventKind;
use crate::http::audit::note::Note;
use crate::http::error::{HttpError, ProblemType};
use crate::scope::{PartitionName, Scope};

/// Most bytes of a body.
pub(super) const MOST_BYTES: usize = 16 << 10;
/// Longest wait for a body.
pub(super) const LONGEST: Duration = Duration::from_secs(10);
/// Shortest life of a link in seconds.
const SHORTEST: u64 = 60;

/// Who shares, where links can be made at all.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedLinks(pub(super) Option<Arc<Sharing>>);

/// A link that is asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LinkRequest {
    study: String,
    seconds: u64,
    /// Partition of the study; the default one when absent.
    partition: Option<String>,
}

/// A link that was followed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    code: String,
}

fn read<T: DeserializeOwned>(body: &Bytes, example: &str) -> Result<T, HttpError> {
    serde_json::from_slice(body).map_err(|_| {
        let reason = format!("The body must be JSON such as {example}.");
        HttpError::bad_request(ProblemType::InvalidBody, reason)
    })
}

impl SharedLinks {
    fn there(&self) -> Result<&Sharing, HttpError> {
        let reason =
            "Links need access control with STOWAGE_JWT_SECRET, and STOWAGE_UI_LINK_TIME above 0.";
        self.0
            .as_deref()
            .ok_or_else(|| HttpError::new(ProblemType::NotFound, reason))
    }
}

/// Makes a link to a study: the code that stands behind the `#` of the page's address.
///
/// # Errors
/// 403 for who may not export, 404 where there is no such study for the caller or no links are made, 400 for a bad body.
pub(super) async fn make(
    State(app): State<Arc<App>>,
    Extension(settings): Extension<Arc<UiSettings>>,
    Extension(shares): Extension<SharedLinks>,
    Extension(caller): Extension<Arc<Caller>>,
    note: Note,
    body: Bytes,
) -> Result<Response, HttpError> {
    note.is(EventKind::Shared);
    let denied = || HttpError::forbidden(Action::Export.as_str());
    let grants = [Action::Export, Action::Read].map(|action| caller.grant(action));
    let [Some(export), Some(reading)] = grants else {
        return Err(denied());
    };
    let asked: LinkRequest = read(&body, r#"{"study": "1.2.3", "seconds": 86400}"#)?;
    let study = StudyUid::parse(&asked.study).map_err(|_| {
        HttpError::bad_request(
            ProblemType::InvalidBody,
            "study must be a Study Instance UID.",
        )
    })?;
    let sharing = shares.there()?;
    let most = settings.config.ui_link_time;
    if !(SHORTEST..=most).contains(&asked.seconds) {
        let reason = format!("seconds must be between {SHORTEST} and {most}.");
        return Err(HttpError::bad_request(ProblemType::InvalidBody, reason));
    }
    note.study(study.as_str());
    let name = match asked.partition.as_deref() {
        None => Some(PartitionName::default()),
        Some(text) => PartitionName::parse(text).ok(),
    };
    let name = name.ok_or_else(|| {
        let reason = "partition must be the name of a partition.";
        HttpError::bad_request(ProblemType::InvalidBody, reason)
    })?;
    let target = Target::Study(study.clone());
    let absent = || ArchiveError::not_found(describe(&target));
    let partition = app.archive.partition(&name).await?.ok_or_else(absent)?;
    for grant in [export, reading] {
        let visible = grant.visible_in(&name).ok_or_else(absent)?;
        let scope = Scope { partition, visible };
        app.archive.version(&scope, &target).await?;
    }
    let made = sharing.make((&name, &study), caller.subject.as_deref(), asked.seconds);
    let (code, expires) = made.map_err(|error| HttpError::internal(&error))?;
    Ok(private(json!({ "code": code, "expires": expires })))
}

/// Exchanges the code of a link for a token that reads its study.
///
/// # Errors
/// 404 for a code that is none or too old.
pub(super) async fn open(
    Extension(shares): Extension<SharedLinks>,
    body: Bytes,
) -> Result<Response, HttpError> {
    let opened: Opened = read(&body, r#"{"code": "…"}"#)?;
    let shared = shares.there()?.open(opened.code.trim());
    let shared =
        shared.map_err(|error| HttpError::new(ProblemType::NotFound, format!("{error}.")))?;
    let mut opened = json!({
        "token": shared.token,
        "seconds": shared.seconds,
        "expires": shared.expires,
        "study": shared.study,
    });
    if let Some(members) = opened
        .as_object_mut()
        .filter(|_| !shared.partition.is_default())
    {
        members.insert("partition".to_owned(), json!(shared.partition.as_str()));
    }
    Ok(private(opened))
}

fn private(value: Value) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(value)).into_response()
}
