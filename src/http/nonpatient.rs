//! Non-patient instances over the web (PS3.18 chapter 12): hanging protocols, color palettes, implant templates and so on.
//!
//! Beside the standard: DELETE, without which a wrong one could not be replaced.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, State};
use axum::http::request::Parts as RequestParts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use serde_json::{Map, Value, json};

use super::accept::{AcceptItem, RequestedTransferSyntax, accept_items};
use super::error::{HttpError, ProblemType};
use super::extract::{Access, RetrieveRequest, TargetPath};
use super::layers::broken_body;
use super::links::Links;
use super::multipart::writer::{PartBody, PartHead, ResponsePart};
use super::multipart::{BodyLimits, MultipartError, Parts};
use super::represent::{
    DICOM_XML, DataSetFormat, header_value, lone_data_set, lone_form, not_modified, one_part,
    saved_as, unchanged, validated, whole_xml,
};
use super::results::{AskedSearch, results, written};
use super::state::{ApiState, DICOM_JSON};
use super::stow::{BodyKind, body_kind, check_part_type, next_in_time};
use crate::archive::ingest::Outcome;
use crate::archive::services::nonpatient::{LONGEST, NonPatientFile};
use crate::auth::Action;
use crate::dicom::nonpatient::NonPatientKind;
use crate::dicom::query::QueryDialect;
use crate::dicom::xml::{self};
use crate::memory::{Purpose, holding};
use crate::scope::Visible;

/// Most parts of a request.
const PARTS: u64 = 1000;
/// Memory that is reserved at a time while a file arrives.
const STEP: usize = 64 << 10;
/// Files.
const DICOM: &str = "application/dicom";

/// The resource of a route.
pub(super) struct NonPatientResource(NonPatientKind);

impl FromRequestParts<ApiState> for NonPatientResource {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut RequestParts, _: &ApiState) -> Result<Self, HttpError> {
        let matched = parts.extensions.get::<MatchedPath>();
        let kind = matched.and_then(|matched| {
            let mut segments = matched.as_str().split('/');
            segments.find_map(NonPatientKind::of_name)
        });
        kind.map(Self)
            .ok_or_else(|| HttpError::broken("a route without a resource of non-patient instances"))
    }
}

/// Stores files of a resource (§12.5).
///
/// # Errors
/// 403 for whoever is limited to some patients or studies; 404 for a resource that does not exist; 413 for too much.
pub(super) async fn store_nonpatient(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    NonPatientResource(kind): NonPatientResource,
    path: TargetPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, HttpError> {
    let sent = body_kind(&headers)?;
    let form = lone_form(&accept_items(&[], &headers))?;
    let named = path.optional_uid()?;
    let scope = access.may_begin(&api, Action::Write).await?;
    if scope.visible != Visible::All {
        return Err(HttpError::new(
            ProblemType::Forbidden,
            "The token is limited to some patients or studies, and what belongs to no patient is not its to store.",
        ));
    }
    let mut incoming = Incoming::new(&api);
    let mut outcomes = Vec::new();
    let archive = &api.app.archive;
    match sent {
        BodyKind::One => {
            let mut chunks = body.into_data_stream();
            while let Some(chunk) = next_in_time(incoming.idle, chunks.next()).await? {
                let chunk = chunk.map_err(|error| broken_body(&error))?;
                incoming.push(&chunk).await?;
            }
            let stored = archive.store_nonpatient(&scope, kind, named.as_ref(), incoming.take());
            outcomes.push(stored.await?);
        }
        BodyKind::Parts { boundary, typed } => {
            let limits = BodyLimits {
                parts: PARTS,
                ..BodyLimits::NONE
            };
            let mut parts = Parts::new(body.into_data_stream(), &boundary, limits);
            while let Some(mut part) = next_in_time(incoming.idle, parts.next())
                .await?
                .map_err(|error| broken(&error))?
            {
                check_part_type(part.headers.content_type(), part.number, typed)?;
                while let Some(chunk) = next_in_time(incoming.idle, part.chunk())
                    .await?
                    .map_err(|error| broken(&error))?
                {
                    incoming.push(&chunk).await?;
                }
                let stored =
                    archive.store_nonpatient(&scope, kind, named.as_ref(), incoming.take());
                outcomes.push(stored.await?);
            }
        }
        BodyKind::Described { .. } => {
            return Err(HttpError::unsupported_media_type(
                "Non-patient instances are stored as files: send application/dicom, or multipart/related of it.",
            ));
        }
    }
    if outcomes.is_empty() {
        return Err(HttpError::bad_request(
            ProblemType::InvalidBody,
            "the body holds no part to store",
        ));
    }
    report(&links, kind, &outcomes, form)
}

fn broken(error: &MultipartError) -> HttpError {
    match error {
        MultipartError::BodyTooLarge { .. }
        | MultipartError::PartTooLarge { .. }
        | MultipartError::TooManyParts { .. } => HttpError::payload_too_large(error.to_string()),
        error => HttpError::bad_request(ProblemType::InvalidMultipart, error.to_string()),
    }
}

/// A file that arrives.
struct Incoming {
    api: ApiState,
    idle: Duration,
    file: NonPatientFile,
}

impl Incoming {
    fn new(api: &ApiState) -> Self {
        let archive = &api.app.archive;
        Self {
            api: api.clone(),
            idle: Duration::from_secs(archive.limits().idle_seconds),
            file: NonPatientFile {
                bytes: Vec::new(),
                held: archive.budget().nothing(Purpose::Parts),
            },
        }
    }

    async fn push(&mut self, chunk: &Bytes) -> Result<(), HttpError> {
        let length = self.file.bytes.len().saturating_add(chunk.len());
        if length > LONGEST {
            return Err(HttpError::payload_too_large(format!(
                "a non-patient instance may have {LONGEST} bytes at most"
            )));
        }
        // A list that grows has a place of twice its size.
        let needed = length.saturating_mul(2).next_multiple_of(STEP);
        let grown = self.file.held.grow_to(needed).await;
        grown.map_err(|error| HttpError::from(crate::archive::ArchiveError::from(error)))?;
        self.file.bytes.extend_from_slice(chunk);
        Ok(())
    }

    fn take(&mut self) -> NonPatientFile {
        let next = Self::new(&self.api);
        std::mem::replace(self, next).file
    }
}

/// The report of a store (PS3.18 Annex I).
fn report(
    links: &Links,
    kind: NonPatientKind,
    outcomes: &[Outcome],
    form: DataSetFormat,
) -> Result<Response, HttpError> {
    let (mut stored, mut failed) = (Vec::new(), Vec::new());
    for outcome in outcomes {
        match outcome {
            Outcome::Stored {
                name, sop_class, ..
            } => {
                let url = links.resource([kind.as_str(), name.instance.as_str()]);
                stored.push(json!({
                    "00081150": { "vr": "UI", "Value": [sop_class] },
                    "00081155": { "vr": "UI", "Value": [name.instance.as_str()] },
                    "00081190": { "vr": "UR", "Value": [url] },
                }));
            }
            Outcome::Failed { .. } => failed.push(super::stow::failure_item(outcome)),
        }
    }
    let status = match (stored.is_empty(), failed.is_empty()) {
        (true, _) => StatusCode::CONFLICT,
        (false, true) => StatusCode::OK,
        (false, false) => StatusCode::ACCEPTED,
    };
    let mut tree = Map::new();
    let url = links.resource([kind.as_str()]);
    tree.insert("00081190".to_owned(), json!({ "vr": "UR", "Value": [url] }));
    for (tag, list) in [("00081198", failed), ("00081199", stored)] {
        if !list.is_empty() {
            tree.insert(tag.to_owned(), json!({ "vr": "SQ", "Value": list }));
        }
    }
    let (media, text) = match form {
        DataSetFormat::Json => (DICOM_JSON, Value::Object(tree).to_string()),
        DataSetFormat::Xml => (DICOM_XML, xml::write(&tree, "")),
    };
    let media = HeaderValue::from_static(media);
    Ok((status, [(header::CONTENT_TYPE, media)], text).into_response())
}

/// How a non-patient instance is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    File,
    Multipart,
    Json,
    Xml,
}

impl Form {
    /// The best of what is accepted.
    fn of(accepted: &[AcceptItem], transfer_syntax: &str) -> Option<Self> {
        accepted.iter().find_map(|item| {
            let as_stored = match &item.transfer_syntax {
                None | Some(RequestedTransferSyntax::Any) => true,
                Some(RequestedTransferSyntax::Uid(uid)) => uid == transfer_syntax,
            };
            match (item.single(), item.multipart()) {
                (Some(range), _) if range.covers_type(DICOM) && as_stored => Some(Self::File),
                (Some(range), _)
                    if range.covers_type(DICOM_JSON) || range.covers_type("application/json") =>
                {
                    Some(Self::Json)
                }
                (_, Some(range)) if range.covers_type(DICOM) && as_stored => Some(Self::Multipart),
                (_, Some(range)) if range.covers_type(DICOM_XML) => Some(Self::Xml),
                _ => None,
            }
        })
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::File | Self::Multipart => "file",
            Self::Json => "json",
            Self::Xml => "xml",
        }
    }
}

/// Returns a non-patient instance (§12.4), as it was stored or as metadata.
///
/// # Errors
/// 404 when there is none, 406 when it cannot be had as asked.
pub(super) async fn retrieve_nonpatient(
    NonPatientResource(kind): NonPatientResource,
    ask: RetrieveRequest,
) -> Result<Response, HttpError> {
    let uid = ask.path.uid()?;
    let scope = ask.access.may(Action::Read)?;
    let archive = &ask.api.app.archive;
    let row = archive.nonpatient(&scope, kind, &uid).await?;
    let Some(form) = Form::of(&ask.preferences(), &row.transfer_syntax) else {
        return Err(HttpError::not_acceptable([
            format!("application/dicom; transfer-syntax={}", row.transfer_syntax),
            format!(
                "multipart/related; type=\"application/dicom\"; transfer-syntax={}",
                row.transfer_syntax
            ),
            DICOM_JSON.to_owned(),
            "multipart/related; type=\"application/dicom+xml\"".to_owned(),
        ]));
    };
    let digest = blake3::Hash::from(row.digest).to_hex();
    let short = digest.get(..16).unwrap_or_default();
    let etag = format!("\"{short}-{}\"", form.as_str());
    if not_modified(&ask.headers, &etag) {
        return unchanged(&etag);
    }
    let url = ask.links.resource([kind.as_str(), uid.as_str()]);
    let response = match form {
        Form::File => {
            let (bytes, held) = archive.nonpatient_file(&row).await?;
            let mut response = Body::from(holding(bytes, held)).into_response();
            let media = format!("{DICOM}; transfer-syntax={}", row.transfer_syntax);
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, header_value(&media)?);
            headers.insert(header::CONTENT_LOCATION, header_value(&url)?);
            saved_as(response, &format!("{uid}.dcm"))?
        }
        Form::Multipart => {
            let (bytes, held) = archive.nonpatient_file(&row).await?;
            one_part(part(
                DICOM,
                Some(&row.transfer_syntax),
                url,
                holding(bytes, held),
            ))
        }
        Form::Json => {
            let (text, held) = archive.nonpatient_text(&row).await?;
            lone_data_set(DICOM_JSON, format!("[{text}]").into_bytes(), held)
        }
        Form::Xml => {
            let (text, held) = archive.nonpatient_text(&row).await?;
            let xml = whole_xml(archive, text, &url, "a non-patient instance").await?;
            one_part(part(DICOM_XML, None, url, holding(xml, held)))
        }
    };
    validated(response, &etag)
}

fn part(media: &str, syntax: Option<&str>, location: String, bytes: Bytes) -> ResponsePart {
    ResponsePart {
        head: PartHead {
            media_type: media.to_owned(),
            transfer_syntax: syntax.map(str::to_owned),
            content_location: Some(location),
            length: Some(bytes.len() as u64),
        },
        body: PartBody::Bytes(bytes),
    }
}

/// Removes a non-patient instance, for good.
///
/// # Errors
/// 404 when there is none.
pub(super) async fn delete_nonpatient(
    NonPatientResource(kind): NonPatientResource,
    ask: RetrieveRequest,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Delete)?;
    if scope.visible != Visible::All {
        return Err(HttpError::new(
            ProblemType::Forbidden,
            "The token is limited to some patients or studies, and what belongs to no patient is not its to delete.",
        ));
    }
    let uid = ask.path.uid()?;
    let archive = &ask.api.app.archive;
    archive.delete_nonpatient(&scope, kind, &uid).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Searches a resource (§12.6) by any of its attributes.
///
/// # Errors
/// 400 for a bad parameter, 406 when neither JSON nor XML is acceptable, 413 when it would cost too much.
pub(super) async fn search_nonpatient(
    NonPatientResource(kind): NonPatientResource,
    ask: RetrieveRequest,
) -> Result<Response, HttpError> {
    let AskedSearch {
        scope,
        form,
        parsed,
    } = AskedSearch::of(&ask, QueryDialect::Standard, u64::MAX)?;
    let archive = &ask.api.app.archive;
    let write = written(ask.links.resource([kind.as_str()]), form);
    let answer = archive
        .search_nonpatient(&scope, kind, &parsed.query, write)
        .await?;
    let warnings = parsed.warnings.iter().map(ToString::to_string);
    results(archive, answer, form, warnings).await
}
