//! STOW-RS: `POST /studies` and `POST /studies/{study}` (PS3.18 §10.5, dicom-service §3).

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::accept::wishes;
use super::audit::Touched;
use super::content_type::ContentType;
use super::error::{HttpError, Slug};
use super::extract::{Access, Sender, StudyPath};
use super::links::Links;
use super::multipart::{Limits, MultipartError, Parts};
use super::profile::StoreWarnings;
use super::represent::{DICOM_XML, Form, lone_form};
use super::{DICOM_JSON, Face};
use crate::archive::store::{Outcome, StoreOptions, StoreRequest};
use crate::auth::Action;
use crate::dicom::uid::StudyUid;
use crate::dicom::xml;
use described::Model;

mod described;

/// Stores the instances of the body.
///
/// # Errors
/// 400, 406, 413, 415 or 503 for the request as a whole; single instances fail inside the report.
pub(super) async fn store_instances(
    State(face): State<Face>,
    access: Access,
    sender: Sender,
    links: Links,
    study: Option<StudyPath>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let scope = access.may(Action::Write)?;
    let kind = body_kind(&headers)?;
    let form = lone_form(&wishes(&[], &headers))?;
    let study = study.map(StudyPath::parse).transpose()?;
    let options = StoreOptions {
        partition: scope.partition,
        visible: scope.visible,
        study: study.clone(),
        rules: face.profile.rules,
    };
    let mut request = face.app.archive.begin_store(options)?;
    request.sent_by(sender.subject, sender.make_way);
    // Whoever asks first whether to send is promised a place with the interim answer.
    if headers.contains_key(header::EXPECT) {
        request.take_slot().await?;
    }
    let idle = Duration::from_secs(face.app.archive.limits().idle_seconds);
    let truncated = match kind {
        BodyKind::One => store_body(&mut request, body, idle).await?,
        BodyKind::Parts { boundary, typed } => {
            store_parts(&mut request, body, &boundary, typed, idle).await?
        }
        BodyKind::Described { boundary, model } => {
            described::store(&mut request, body, &boundary, model, idle).await?
        }
    };
    let outcomes = request.finish().await?;
    if let (Some(reason), true) = (&truncated, outcomes.is_empty()) {
        return Err(HttpError::bad_request(
            Slug::InvalidMultipart,
            reason.as_str(),
        ));
    }
    let mut response = report(
        &face,
        &links,
        study.as_ref(),
        &outcomes,
        truncated.as_deref(),
        form,
    );
    response.extensions_mut().insert(touched(&outcomes));
    Ok(response)
}

/// The studies stored into, for the audit.
fn touched(outcomes: &[Outcome]) -> Touched {
    let mut touched = Touched::default();
    for outcome in outcomes {
        if let Outcome::Stored { name, .. } = outcome {
            let count = touched.0.entry(name.study.to_string()).or_default();
            *count = count.saturating_add(1);
        }
    }
    touched
}

enum BodyKind {
    /// The body is one instance.
    One,
    /// multipart/related; `typed` when the header says that parts are `application/dicom`.
    Parts { boundary: String, typed: bool },
    /// multipart/related of metadata and bulk data.
    Described { boundary: String, model: Model },
}

const TYPES: &[&str] = &[
    "multipart/related; type=\"application/dicom\"",
    "application/dicom",
    "multipart/related; type=\"application/dicom+json\"",
    "multipart/related; type=\"application/dicom+xml\"",
];

fn refused_type(detail: &str) -> HttpError {
    HttpError::unsupported_media_type(format!("{detail}; send one of: {}.", TYPES.join(", ")))
}

fn body_kind(headers: &HeaderMap) -> Result<BodyKind, HttpError> {
    let refused = |e: super::content_type::ContentTypeError| match e {
        super::content_type::ContentTypeError::Start => {
            HttpError::bad_request(Slug::InvalidRequest, e.to_string())
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
        Some(other) => match Model::of(other) {
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
        match next_in_time(idle, chunks.next()).await? {
            None => break,
            Some(Ok(chunk)) => request.write(&mut part, chunk).await?,
            Some(Err(_)) => return Ok(Some("the body broke off before its end".to_owned())),
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
    let mut parts = Parts::new(body.into_data_stream(), boundary, Limits::NONE);
    loop {
        let mut part = match next_in_time(idle, parts.next()).await? {
            Ok(Some(part)) => part,
            Ok(None) => return Ok(None),
            Err(error) => return broken(error),
        };
        let number = part.number;
        check_part_type(part.headers.content_type(), number, typed)?;
        let mut stored = request.begin_part()?;
        loop {
            match next_in_time(idle, part.chunk()).await? {
                Ok(Some(chunk)) => request.write(&mut stored, chunk).await?,
                Ok(None) => break,
                Err(error) => {
                    request.fail_part(format!("part {number}: {error}")).await?;
                    return broken(error);
                }
            }
        }
        request.end_part(stored).await?;
    }
}

/// A body that cannot be read on: what arrived whole is kept when it was only cut off.
fn broken(error: MultipartError) -> Result<Option<String>, HttpError> {
    match error {
        MultipartError::BodyTooLarge { .. }
        | MultipartError::PartTooLarge { .. }
        | MultipartError::TooManyParts { .. } => {
            Err(HttpError::payload_too_large(error.to_string()))
        }
        error => Ok(Some(error.to_string())),
    }
}

fn check_part_type(content_type: Option<&str>, number: u64, typed: bool) -> Result<(), HttpError> {
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

async fn next_in_time<T>(idle: Duration, next: impl Future<Output = T>) -> Result<T, HttpError> {
    tokio::time::timeout(idle, next).await.map_err(|_| {
        HttpError::new(
            Slug::RequestTimeout,
            format!("no byte of the body came for {} seconds", idle.as_secs()),
        )
    })
}

/// The answer to a store (PS3.18 §10.5.3, Annex I).
fn report(
    face: &Face,
    links: &Links,
    study: Option<&StudyUid>,
    outcomes: &[Outcome],
    truncated: Option<&str>,
    form: Form,
) -> Response {
    if outcomes.is_empty() {
        return match face.profile.store_warnings {
            StoreWarnings::Reasons => {
                HttpError::bad_request(Slug::InvalidBody, "the body holds no part to store")
                    .into_response()
            }
            StoreWarnings::Silent | StoreWarnings::Told => StatusCode::NO_CONTENT.into_response(),
        };
    }
    let style = face.profile.store_warnings;
    let (mut stored, mut failed, mut unreadable, mut warned) =
        (Vec::new(), Vec::new(), Vec::new(), false);
    for outcome in outcomes {
        match outcome {
            Outcome::Stored { .. } => {
                let (item, has_warning) = success_item(links, style, outcome);
                warned |= has_warning;
                stored.push(item);
            }
            Outcome::Failed {
                instance: None,
                sop_class: None,
                ..
            } if style == StoreWarnings::Reasons => {
                unreadable.push(failure_item(outcome));
            }
            Outcome::Failed { .. } => failed.push(failure_item(outcome)),
        }
    }
    let any_failed = !(failed.is_empty() && unreadable.is_empty()) || truncated.is_some();
    let status = if stored.is_empty() {
        StatusCode::CONFLICT
    } else if any_failed || warned {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    let mut body = Map::new();
    if let (Some(study), false) = (study, stored.is_empty()) {
        body.insert(
            "00081190".to_owned(),
            json!({ "vr": "UR", "Value": [links.study(study)] }),
        );
    }
    for (tag, items) in [
        ("00081198", failed),
        ("00081199", stored),
        ("0008119A", unreadable),
    ] {
        if !items.is_empty() {
            body.insert(tag.to_owned(), json!({ "vr": "SQ", "Value": items }));
        }
    }
    let (media, text) = match form {
        Form::Json => (DICOM_JSON, Value::Object(body).to_string()),
        Form::Xml => (DICOM_XML, xml::write(&body, "")),
    };
    let mut response = (status, Bytes::from(text)).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    if let Some(warning) =
        truncated.and_then(|t| HeaderValue::try_from(format!("299 stowage: \"{t}\"")).ok())
    {
        response.headers_mut().insert(header::WARNING, warning);
    }
    response
}

fn success_item(links: &Links, style: StoreWarnings, outcome: &Outcome) -> (Value, bool) {
    let Outcome::Stored {
        name,
        sop_class,
        warning,
        findings,
    } = outcome
    else {
        return (Value::Null, false);
    };
    let url = links.instance(name);
    let mut item = json!({
        "00081150": { "vr": "UI", "Value": [sop_class] },
        "00081155": { "vr": "UI", "Value": [name.instance.as_str()] },
        "00081190": { "vr": "UR", "Value": [url] },
    });
    let told = warning.filter(|_| style != StoreWarnings::Silent);
    if let (Some(object), Some(code)) = (item.as_object_mut(), told) {
        object.insert(
            "00081196".to_owned(),
            json!({ "vr": "US", "Value": [code] }),
        );
    }
    let comments: Vec<Value> = findings.iter().map(|f| comment_item(&f.comment)).collect();
    let listed = match style {
        StoreWarnings::Silent => false,
        StoreWarnings::Told => true,
        StoreWarnings::Reasons => !comments.is_empty(),
    };
    if let (Some(object), true) = (item.as_object_mut(), listed) {
        let list = if comments.is_empty() {
            json!({ "vr": "SQ" })
        } else {
            json!({ "vr": "SQ", "Value": comments })
        };
        object.insert("00741048".to_owned(), list);
    }
    (item, told.is_some())
}

fn failure_item(outcome: &Outcome) -> Value {
    let Outcome::Failed {
        sop_class,
        instance,
        reason,
        comments,
    } = outcome
    else {
        return Value::Null;
    };
    let mut item = Map::new();
    if let Some(class) = sop_class {
        item.insert(
            "00081150".to_owned(),
            json!({ "vr": "UI", "Value": [class] }),
        );
    }
    if let Some(instance) = instance {
        item.insert(
            "00081155".to_owned(),
            json!({ "vr": "UI", "Value": [instance] }),
        );
    }
    item.insert(
        "00081197".to_owned(),
        json!({ "vr": "US", "Value": [reason] }),
    );
    if !comments.is_empty() {
        let comments: Vec<Value> = comments.iter().map(|c| comment_item(c)).collect();
        item.insert(
            "00741048".to_owned(),
            json!({ "vr": "SQ", "Value": comments }),
        );
    }
    Value::Object(item)
}

fn comment_item(comment: &str) -> Value {
    json!({ "00000902": { "vr": "LO", "Value": [comment] } })
}
