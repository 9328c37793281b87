//! STOW-RS: `POST /studies` and `POST /studies/{study}` (PS3.18 §10.5, dicom-service §3), and both with PUT, which replaces.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, OptionalFromRequestParts, Request};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use futures_util::StreamExt;
use time::OffsetDateTime;

use super::accept::accept_items;
use super::audit::note::TouchedStudies;
use super::content_type::ContentType;
use super::error::{HttpError, ProblemType};
use super::extract::{Access, Sender, StudyPath};
use super::layers::CodingError;
use super::links::Links;
use super::multipart::{BodyLimits, Parts};
use super::represent::lone_form;
use super::state::ApiState;
use crate::archive::Replacement;
use crate::archive::ingest::{Outcome, Report, StoreOptions, StoreRequest};
use crate::auth::Action;
use crate::config::ExistingPolicy;
use crate::dicom::uid::StudyUid;
use described::MetadataModel;
pub(super) use refusals::next_in_time;
use refusals::{broken, hopeless, refused_type, undecoded};
use report::StoreResponse;
pub(super) use report::failure_item;

mod condition;
mod described;
mod expiry;
mod refusals;
mod report;

/// A store request before its body is read.
pub(super) struct StoreCall {
    api: ApiState,
    access: Access,
    sender: Sender,
    links: Links,
    study: Option<StudyPath>,
    headers: HeaderMap,
    body: Body,
}

impl FromRequest<ApiState> for StoreCall {
    type Rejection = HttpError;

    async fn from_request(request: Request, api: &ApiState) -> Result<Self, Self::Rejection> {
        let (mut parts, body) = request.into_parts();
        let Ok(links) = Links::from_request_parts(&mut parts, api).await;
        Ok(Self {
            api: api.clone(),
            access: Access::from_request_parts(&mut parts, api).await?,
            sender: Sender::from_request_parts(&mut parts, api).await?,
            links,
            study: <StudyPath as OptionalFromRequestParts<ApiState>>::from_request_parts(
                &mut parts, api,
            )
            .await?,
            headers: parts.headers,
            body,
        })
    }
}

/// Stores the instances of the body.
///
/// # Errors
/// 400, 406, 412, 413, 415 or 503 for the request as a whole; single instances fail inside the report.
pub(super) async fn store_instances(call: StoreCall) -> Result<Response, HttpError> {
    let policy = call.api.app.archive.limits().existing;
    // Whoever may not delete replaces nothing.
    let removable =
        (policy == ExistingPolicy::Replace).then(|| call.access.visible(Action::Delete));
    let replace = removable.and_then(Result::ok).map(|visible| Replacement {
        visible,
        identical: false,
    });
    store(call, replace).await
}

/// Stores the instances of the body in the places of those that have their UIDs.
///
/// # Errors
/// As [`store_instances`].
pub(super) async fn replace_instances(call: StoreCall) -> Result<Response, HttpError> {
    let replace = Replacement {
        visible: call.access.visible(Action::Delete)?,
        identical: true,
    };
    store(call, Some(replace)).await
}

async fn store(call: StoreCall, replace: Option<Replacement>) -> Result<Response, HttpError> {
    let StoreCall {
        api,
        access,
        sender,
        links,
        study,
        headers,
        body,
    } = call;
    let kind = body_kind(&headers)?;
    let form = lone_form(&accept_items(&[], &headers))?;
    let study = study.map(StudyPath::parse).transpose()?;
    let scope = access.may_begin(&api, Action::Write).await?;
    // Before a byte of the body is read; the same is said whether the study exists or not.
    if !scope
        .visible
        .may_admit(study.as_ref().map(StudyUid::as_str))
    {
        return Err(HttpError::new(ProblemType::Forbidden, OUTSIDE));
    }
    let expires = match api.profile.expiry {
        true => expiry::of(&headers, OffsetDateTime::now_utc())?,
        false => None,
    };
    let condition = match api.profile.conditions {
        true => condition::of(&headers, &api, &scope, study.as_ref()).await?,
        false => None,
    };
    let options = StoreOptions {
        partition: scope.partition,
        visible: scope.visible,
        study: study.clone(),
        named: None,
        rules: api.profile.rules,
        replace,
        condition: condition.map(Arc::new),
        made_of: None,
        deidentify: None,
        expires,
    };
    let mut request = api.app.archive.begin_store(options)?;
    request.sent_by(sender.subject, sender.make_way);
    // Whoever asks first whether to send is promised a place with the interim answer.
    if headers.contains_key(header::EXPECT) {
        request.take_slot().await?;
    }
    let idle = Duration::from_secs(api.app.archive.limits().idle_seconds);
    let truncated = match kind {
        BodyKind::One => store_body(&mut request, body, idle).await?,
        BodyKind::Parts { boundary, typed } => {
            store_parts(&mut request, body, &boundary, typed, idle).await?
        }
        BodyKind::Described { boundary, model } => {
            described::store(&mut request, body, &boundary, model, idle).await?
        }
    };
    let Report { outcomes, held } = request.finish().await?;
    if let (Some(reason), true) = (&truncated, outcomes.is_empty()) {
        return Err(HttpError::bad_request(
            ProblemType::InvalidMultipart,
            reason.as_str(),
        ));
    }
    let touched = touched(&outcomes);
    let reported = StoreResponse {
        links,
        study,
        outcomes,
        truncated,
        style: api.profile.store_warnings,
    };
    let mut response = reported
        .respond(api.app.archive.lanes(), form, held)
        .await?;
    response.extensions_mut().insert(touched);
    Ok(response)
}

/// The studies stored into, for the audit.
fn touched(outcomes: &[Outcome]) -> TouchedStudies {
    let mut touched = TouchedStudies::default();
    for outcome in outcomes {
        if let Outcome::Stored { name, .. } = outcome {
            let count = touched.0.entry(name.study.to_string()).or_default();
            *count = count.saturating_add(1);
        }
    }
    touched
}

/// How long a client may be silent before what it has sent is committed.
const SILENCE: Duration = Duration::from_millis(300);

/// Most bytes of parts that are read without looking before an answer to who still sends.
const DRAINED: usize = 16 << 20;
/// How long that may take.
const DRAIN: Duration = Duration::from_secs(10);

/// Said to a sender whose token allows nothing of what the URL names.
const OUTSIDE: &str =
    "The token allows storing into certain studies only, and the study of the URL is none of them.";

/// What the body of a store is.
pub(super) enum BodyKind {
    /// The body is one instance.
    One,
    /// multipart/related; `typed` when the header says that parts are `application/dicom`.
    Parts { boundary: String, typed: bool },
    /// multipart/related of metadata and bulk data.
    Described {
        boundary: String,
        model: MetadataModel,
    },
}

/// What the header says of the body.
///
/// # Errors
/// 400 or 415 when it cannot be stored.
pub(super) fn body_kind(headers: &HeaderMap) -> Result<BodyKind, HttpError> {
    let refused = |e: super::content_type::ContentTypeError| match e {
        super::content_type::ContentTypeError::Start => {
            HttpError::bad_request(ProblemType::InvalidRequest, e.to_string())
        }
        other => refused_type(&other.to_string()),
    };
    let content_type = ContentType::of_request(headers).map_err(refused)?;
    if content_type.is("application/dicom") {
        return Ok(BodyKind::One);
    }
    if !content_type.is("multipart/related") {
        return Err(refused_type("the body is of a type that cannot be stored"));
    }
    let related = content_type.related().map_err(refused)?;
    match related.root_type.as_deref() {
        None => Ok(BodyKind::Parts {
            boundary: related.boundary,
            typed: false,
        }),
        Some("application/dicom") => Ok(BodyKind::Parts {
            boundary: related.boundary,
            typed: true,
        }),
        Some(other) => match MetadataModel::of(other) {
            Some(model) => Ok(BodyKind::Described {
                boundary: related.boundary,
                model,
            }),
            None => Err(refused_type("parts of this type cannot be stored")),
        },
    }
}

/// Stores a body that is one instance; the reason when it broke off.
async fn store_body(
    request: &mut StoreRequest,
    body: Body,
    idle: Duration,
) -> Result<Option<String>, HttpError> {
    let mut part = request.begin_part()?;
    let mut chunks = body.into_data_stream();
    loop {
        match next_or_complete(request, idle, chunks.next()).await? {
            None => break,
            Some(Ok(chunk)) => request.write(&mut part, chunk).await?,
            Some(Err(error)) => match CodingError::behind(&error) {
                None => return Ok(Some("the body broke off before its end".to_owned())),
                Some(found) => return undecoded(found),
            },
        }
    }
    // An empty body is an empty part: a client whose file is empty must not take the answer for a success.
    request.end_part(part).await?;
    Ok(None)
}

/// Stores the parts of a body; the reason when it broke off.
async fn store_parts(
    request: &mut StoreRequest,
    body: Body,
    boundary: &str,
    typed: bool,
    idle: Duration,
) -> Result<Option<String>, HttpError> {
    // The archive counts bytes and parts itself.
    let mut parts = Parts::new(body.into_data_stream(), boundary, BodyLimits::NONE);
    loop {
        if request.is_hopeless() {
            drain(&mut parts).await;
            return Ok(Some(hopeless()));
        }
        let mut part = match next_or_complete(request, idle, parts.next()).await? {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(None),
            Err(error) => return broken(error),
        };
        let number = part.number;
        check_part_type(part.headers.content_type(), number, typed)?;
        let mut stored = request.begin_part()?;
        loop {
            match next_or_complete(request, idle, part.chunk()).await? {
                Ok(Some(chunk)) => request.write(&mut stored, chunk).await?,
                Ok(None) => break,
                Err(error) => {
                    let reported = CodingError::behind(&error)
                        .map_or_else(|| error.to_string(), |found| found.to_string());
                    request
                        .fail_part(format!("part {number}: {reported}"))
                        .await?;
                    return broken(error);
                }
            }
        }
        request.end_part(stored).await?;
    }
}

/// Reads on for a while without looking: who still sends would lose the answer with the connection.
async fn drain(parts: &mut Parts) {
    let drained = async {
        let mut left = DRAINED;
        while let Ok(Some(mut part)) = parts.next().await {
            left = left.saturating_sub(1);
            while let Ok(Some(chunk)) = part.chunk().await {
                left = left.saturating_sub(chunk.len());
                if left == 0 {
                    return;
                }
            }
        }
    };
    // Who sends more, or slowly, has had his time.
    drop(tokio::time::timeout(DRAIN, drained).await);
}

/// That a part is a file.
///
/// # Errors
/// 415 when its header says something else.
pub(super) fn check_part_type(
    content_type: Option<&str>,
    number: u64,
    typed: bool,
) -> Result<(), HttpError> {
    let fits = match content_type.map(ContentType::parse) {
        Some(Ok(found)) => found.is("application/dicom"),
        Some(Err(_)) => false,
        None => typed,
    };
    if fits {
        return Ok(());
    }
    let reason = format!("part {number} must have the Content-Type application/dicom");
    Err(refused_type(&reason))
}

/// What comes next; when the client is silent, what is ready is committed in between.
async fn next_or_complete<T>(
    request: &mut StoreRequest,
    idle: Duration,
    next: impl Future<Output = T>,
) -> Result<T, HttpError> {
    let mut next = std::pin::pin!(next);
    if let Ok(next) = tokio::time::timeout(SILENCE, next.as_mut()).await {
        return Ok(next);
    }
    request.complete().await?;
    next_in_time(idle, next).await
}
