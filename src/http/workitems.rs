//! The worklist: workitems over the web (PS3.18 chapter 11; dicom-service §14).
//!
//! Where the standard and the DICOM service differ, the profile's dialect decides: the form of bodies and of a single workitem,
//! and the statuses of what does not fit the state a workitem is in.

mod body;
mod search;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::error::{HttpError, Slug};
use super::extract::Ask;
use super::represent::{DICOM_XML, Form, lone_form};
use super::wado::header_value;
use super::{DICOM_JSON, Face};
use crate::archive::workitems::{Cancellation, WorkitemError};
use crate::auth::Action;
use crate::dicom::pieces::Pieces;
use crate::dicom::query_parse::Dialect;
use crate::dicom::workitem::{self, Asked, Changed, Conflict, Problem, Reasons};
use crate::dicom::xml::XmlWriter;
use body::Sent;

pub(super) use search::search_workitems;

/// Warnings of PS3.18 §11.4.3, §11.7.3 and §11.8.3.
const MODIFIED: &str = "The Workitem was created with modifications.";
const ALREADY_CANCELED: &str = "The UPS is already in the requested state of CANCELED.";
const ALREADY_COMPLETED: &str = "The UPS is already in the requested state of COMPLETED.";
const INCONSISTENT: &str =
    "The submitted request is inconsistent with the current state of the UPS Instance.";
const NO_TRANSACTION: &str = "The Transaction UID is missing.";
const WRONG_TRANSACTION: &str = "The Transaction UID is incorrect.";

/// Creates a workitem.
///
/// # Errors
/// 400 when it breaks the contract, 403 for a patient that is not the caller's, 409 when its UID is taken, 415 for another body.
pub(super) async fn create_workitem(ask: Ask, body: Body) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Write)?;
    let face = &ask.face;
    let sent = Sent::of(face, &ask.headers, body).await?;
    if face.profile.dialect == Dialect::Service {
        lone_form(&ask.wishes())?;
    }
    let uid = bare(&ask, &["workitem"]);
    let sent = sent.read(face).await?;
    let dialect = face.profile.dialect;
    let created = face
        .app
        .archive
        .create_workitem(&scope, sent.data_set, uid, dialect, sent.held);
    let created = created.await.map_err(|error| refused(face, error))?;
    let url = ask.links.resource(["workitems", created.uid.as_str()]);
    let mut response = StatusCode::CREATED.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, header_value(&url)?);
    headers.insert(header::CONTENT_LOCATION, header_value(&url)?);
    if created.modified {
        headers.append(header::WARNING, warning(MODIFIED)?);
    }
    Ok(response)
}

/// Returns a workitem without its Transaction UID.
///
/// # Errors
/// 400 for a malformed UID, 404 when there is none, 406 when neither JSON nor XML is acceptable.
pub(super) async fn retrieve_workitem(ask: Ask) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let face = &ask.face;
    let form = lone_form(&ask.wishes())?;
    let uid = ask.path.workitem()?;
    let archive = &face.app.archive;
    let (text, held) = archive
        .workitem(&scope, uid.as_str())
        .await
        .map_err(|error| refused(face, error))?;
    let url = ask.links.resource(["workitems", uid.as_str()]);
    let (media, bytes) = match form {
        Form::Xml => (DICOM_XML, xml(face, text, &url).await?),
        Form::Json if face.profile.dialect == Dialect::Service => (DICOM_JSON, text.into_bytes()),
        Form::Json => (DICOM_JSON, format!("[{text}]").into_bytes()),
    };
    let body = Bytes::from_owner(Held { bytes, _held: held });
    let mut response = Body::from(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}

/// What a caller is told of a patient is not kept by others.
const NO_STORE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// An answer and the memory it takes.
struct Held {
    bytes: Vec<u8>,
    _held: crate::memory::Reservation,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

async fn xml(face: &Face, text: String, url: &str) -> Result<Vec<u8>, HttpError> {
    let mut writer = XmlWriter::new(text, url);
    let lanes = face.app.archive.lanes();
    let written = lanes.run(crate::archive::lanes::Lane::Text, move || {
        let mut all = Vec::new();
        while let Ok(Some(piece)) = writer.next(64 << 10) {
            all.extend(piece);
        }
        Ok(all)
    });
    Ok(written.await?)
}

/// Changes attributes of a workitem.
///
/// # Errors
/// 400 or 409, as the root says, when its state forbids that; 404 when there is none (400 under the DICOM service).
pub(super) async fn update_workitem(ask: Ask, body: Body) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Write)?;
    let face = &ask.face;
    let sent = Sent::of(face, &ask.headers, body).await?;
    let uid = ask.path.workitem()?;
    let named = bare(&ask, &["transaction-uid", "transactionuid", "transaction"]);
    let sent = sent.read(face).await?;
    let transaction = workitem::transaction(&sent.data_set, named.as_deref());
    let transaction = transaction.map_err(|problem| refused(face, problem.into()))?;
    let archive = &face.app.archive;
    let updated =
        archive.update_workitem(&scope, uid.as_str(), sent.data_set, transaction, sent.held);
    match updated.await {
        Ok(()) => {}
        // The DICOM service says so of what it does not have, too (§14).
        Err(error @ WorkitemError::NotFound(_)) if face.profile.dialect == Dialect::Service => {
            return Err(HttpError::bad_request(
                Slug::InvalidRequest,
                sentence(&error),
            ));
        }
        Err(WorkitemError::Conflict(error @ Conflict::Final(workitem::State::Canceled))) => {
            return Err(HttpError::conflict(sentence(&error)));
        }
        Err(error) => return Err(refused(face, error)),
    }
    located(&ask, uid.as_str(), StatusCode::OK)
}

/// Changes the state of a workitem: claims it, completes it, gives it up.
///
/// # Errors
/// 400 or 409, as the root says, when its state forbids that, 404 when there is none.
pub(super) async fn change_workitem_state(ask: Ask, body: Body) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Write)?;
    let face = &ask.face;
    let sent = Sent::of(face, &ask.headers, body).await?;
    let uid = ask.path.workitem()?;
    let sent = sent.read(face).await?;
    let asked = Asked::of(&sent.data_set).map_err(|problem| refused(face, problem.into()))?;
    let (state, dialect) = (asked.state, face.profile.dialect);
    let archive = &face.app.archive;
    let changed = archive.change_workitem_state(&scope, uid.as_str(), asked, dialect, sent.held);
    let changed = changed.await.map_err(|error| refused(face, error))?;
    let mut response = located(&ask, uid.as_str(), StatusCode::OK)?;
    if changed == Changed::Already {
        let told = match state {
            workitem::State::Completed => ALREADY_COMPLETED,
            _ => ALREADY_CANCELED,
        };
        response
            .headers_mut()
            .append(header::WARNING, warning(told)?);
    }
    Ok(response)
}

/// Cancels a workitem that nobody has begun; its performer is asked otherwise.
///
/// # Errors
/// 400 or 409, as the root says, when it is finished, 404 when there is none.
pub(super) async fn request_workitem_cancel(ask: Ask, body: Body) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Write)?;
    let face = &ask.face;
    let sent = Sent::of_optional(face, &ask.headers, body).await?;
    let uid = ask.path.workitem()?;
    let sent = sent.read(face).await?;
    let reasons = Reasons::of(&sent.data_set);
    let (archive, dialect) = (&face.app.archive, face.profile.dialect);
    let canceled = archive.cancel_workitem(&scope, uid.as_str(), reasons, dialect, sent.held);
    match canceled.await.map_err(|error| refused(face, error))? {
        Cancellation::Done | Cancellation::Requested => {
            located(&ask, uid.as_str(), StatusCode::ACCEPTED)
        }
    }
}

/// An answer without a body that says where the workitem is.
fn located(ask: &Ask, uid: &str, status: StatusCode) -> Result<Response, HttpError> {
    let url = ask.links.resource(["workitems", uid]);
    let location = [(header::CONTENT_LOCATION, header_value(&url)?)];
    Ok((status, location).into_response())
}

/// A UID of the query: the value of one of these names, or the name of a parameter without value.
fn bare(ask: &Ask, names: &[&str]) -> Option<String> {
    let pairs = ask.query.0.iter();
    let mut pairs = pairs.filter(|(name, _)| !name.eq_ignore_ascii_case("accept"));
    pairs.find_map(|(name, value)| {
        if names.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            Some(value.clone())
        } else {
            let is_uid = value.is_empty() && name.starts_with(|c: char| c.is_ascii_digit());
            is_uid.then(|| name.clone())
        }
    })
}

/// A `Warning` of this service.
pub(super) fn warning(text: &str) -> Result<HeaderValue, HttpError> {
    header_value(&format!("299 stowage: \"{text}\""))
}

const WARNING: HeaderName = header::WARNING;

/// What is wrong, as a sentence.
fn sentence(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase);
    let first: String = first.into_iter().flatten().collect();
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

/// The answer to what is not done.
fn refused(face: &Face, error: WorkitemError) -> HttpError {
    let told = sentence(&error);
    let service = face.profile.dialect == Dialect::Service;
    match error {
        WorkitemError::Archive(error) => error.into(),
        WorkitemError::NotFound(_) => HttpError::new(Slug::NotFound, told),
        WorkitemError::Exists => HttpError::conflict(told),
        WorkitemError::Outside => HttpError::new(Slug::Forbidden, told),
        WorkitemError::Invalid(Problem::TooLong) => HttpError::payload_too_large(told),
        WorkitemError::Invalid(Problem::Uid(_)) => HttpError::bad_request(Slug::InvalidUid, told),
        WorkitemError::Invalid(_) => HttpError::bad_request(Slug::InvalidBody, told),
        WorkitemError::AlreadyCanceled => warned(HttpError::conflict(told), ALREADY_CANCELED),
        WorkitemError::Conflict(_) | WorkitemError::Performed if service => {
            HttpError::bad_request(Slug::InvalidRequest, told)
        }
        WorkitemError::Performed => HttpError::conflict(told),
        WorkitemError::Conflict(conflict) => {
            let warning = match conflict {
                Conflict::NoTransaction => NO_TRANSACTION,
                Conflict::WrongTransaction => WRONG_TRANSACTION,
                _ => INCONSISTENT,
            };
            warned(HttpError::conflict(told), warning)
        }
    }
}

fn warned(error: HttpError, text: &str) -> HttpError {
    match warning(text) {
        Ok(value) => error.with_header(WARNING, value),
        Err(_) => error,
    }
}
