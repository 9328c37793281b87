//! The worklist: workitems over the web (PS3.18 chapter 11; dicom-service §14).
//!
//! Where the standard and the DICOM service differ, the profile's dialect decides: the form of bodies and of a single workitem,
//! and the statuses of what does not fit the state a workitem is in.

pub(super) mod body;
mod refusals;
mod scheduled;
mod subscribers;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::{HttpError, ProblemType};
use super::extract::RetrieveRequest;
use super::profile::NoMatch;
use super::represent::{
    DICOM_XML, DataSetFormat, header_value, lone_data_set, lone_form, warning, whole_xml,
};
use super::results::{AskedSearch, results, written};
use super::state::DICOM_JSON;
use crate::archive::workitems::{Cancellation, WorkitemError};
use crate::auth::Action;
use crate::dicom::query_parse::QueryDialect;
use crate::dicom::workitem::{self, Changed, Conflict, Reasons, StateRequest};
use body::SentWorkitem;
use refusals::{ALREADY_CANCELED, refused, sentence};

pub(super) use scheduled::search_scheduled_steps;
pub(super) use subscribers::{open_channel, subscribe, suspend_subscription, unsubscribe};

/// Warnings of PS3.18 §11.4.3, §11.7.3 and §11.8.3.
const MODIFIED: &str = "The Workitem was created with modifications.";
const ALREADY_COMPLETED: &str = "The UPS is already in the requested state of COMPLETED.";

/// Creates a workitem.
///
/// # Errors
/// 400 when it breaks the contract, 403 for a patient that is not the caller's, 409 when its UID is taken, 415 for another body.
pub(super) async fn create_workitem(
    ask: RetrieveRequest,
    body: Body,
) -> Result<Response, HttpError> {
    let api = &ask.api;
    let sent = SentWorkitem::of(api, &ask.headers, body).await?;
    if api.profile.dialect == QueryDialect::Service {
        lone_form(&ask.preferences())?;
    }
    let uid = bare(&ask, &["workitem"]);
    let sent = sent.read(api).await?;
    let scope = ask.access.may_begin(api, Action::Write).await?;
    let dialect = api.profile.dialect;
    let created = api
        .app
        .archive
        .create_workitem(&scope, sent.data_set, uid, dialect, sent.held);
    let created = created.await.map_err(|error| refused(api, error))?;
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
pub(super) async fn retrieve_workitem(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let api = &ask.api;
    let form = lone_form(&ask.preferences())?;
    let uid = ask.path.workitem()?;
    let archive = &api.app.archive;
    let (text, held) = archive
        .workitem(&scope, uid.as_str())
        .await
        .map_err(|error| refused(api, error))?;
    let url = ask.links.resource(["workitems", uid.as_str()]);
    let (media, bytes) = match form {
        DataSetFormat::Xml => (
            DICOM_XML,
            whole_xml(archive, text, &url, "a workitem").await?,
        ),
        DataSetFormat::Json if api.profile.dialect == QueryDialect::Service => {
            (DICOM_JSON, text.into_bytes())
        }
        DataSetFormat::Json => (DICOM_JSON, format!("[{text}]").into_bytes()),
    };
    Ok(lone_data_set(media, bytes, held))
}

/// Changes attributes of a workitem.
///
/// # Errors
/// 400 or 409, as the root says, when its state forbids that; 404 when there is none (400 under the DICOM service).
pub(super) async fn update_workitem(
    ask: RetrieveRequest,
    body: Body,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Write)?;
    let api = &ask.api;
    let sent = SentWorkitem::of(api, &ask.headers, body).await?;
    let uid = ask.path.workitem()?;
    let named = bare(&ask, &["transaction-uid", "transactionuid", "transaction"]);
    let sent = sent.read(api).await?;
    let transaction = workitem::transaction(&sent.data_set, named.as_deref());
    let transaction = transaction.map_err(|problem| refused(api, problem.into()))?;
    let archive = &api.app.archive;
    let updated =
        archive.update_workitem(&scope, uid.as_str(), sent.data_set, transaction, sent.held);
    match updated.await {
        Ok(()) => {}
        // The DICOM service says so of what it does not have, too (§14).
        Err(error @ WorkitemError::NotFound(_)) if api.profile.dialect == QueryDialect::Service => {
            return Err(HttpError::bad_request(
                ProblemType::InvalidRequest,
                sentence(&error),
            ));
        }
        Err(WorkitemError::Conflict(error @ Conflict::Final(workitem::State::Canceled))) => {
            return Err(HttpError::conflict(sentence(&error)));
        }
        Err(error) => return Err(refused(api, error)),
    }
    located(&ask, uid.as_str(), StatusCode::OK)
}

/// Changes the state of a workitem: claims it, completes it, gives it up.
///
/// # Errors
/// 400 or 409, as the root says, when its state forbids that, 404 when there is none.
pub(super) async fn change_workitem_state(
    ask: RetrieveRequest,
    body: Body,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Write)?;
    let api = &ask.api;
    let sent = SentWorkitem::of(api, &ask.headers, body).await?;
    let uid = ask.path.workitem()?;
    let sent = sent.read(api).await?;
    let asked = StateRequest::of(&sent.data_set).map_err(|problem| refused(api, problem.into()))?;
    let (state, dialect) = (asked.state, api.profile.dialect);
    let archive = &api.app.archive;
    let changed = archive.change_workitem_state(&scope, uid.as_str(), asked, dialect, sent.held);
    let changed = changed.await.map_err(|error| refused(api, error))?;
    let mut response = located(&ask, uid.as_str(), StatusCode::OK)?;
    if changed == Changed::Already {
        let reported = match state {
            workitem::State::Completed => ALREADY_COMPLETED,
            _ => ALREADY_CANCELED,
        };
        response
            .headers_mut()
            .append(header::WARNING, warning(reported)?);
    }
    Ok(response)
}

/// Cancels a workitem that nobody has begun; its performer is asked otherwise.
///
/// # Errors
/// 400 or 409, as the root says, when it is finished, 404 when there is none.
pub(super) async fn request_workitem_cancel(
    ask: RetrieveRequest,
    body: Body,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Write)?;
    let api = &ask.api;
    let sent = SentWorkitem::of_optional(api, &ask.headers, body).await?;
    let uid = ask.path.workitem()?;
    let sent = sent.read(api).await?;
    let reasons = Reasons::of(&sent.data_set);
    let by = workitem::requesting_ae(&sent.data_set);
    let (archive, dialect) = (&api.app.archive, api.profile.dialect);
    let canceled = archive.cancel_workitem(&scope, uid.as_str(), reasons, by, dialect, sent.held);
    match canceled.await.map_err(|error| refused(api, error))? {
        Cancellation::Done | Cancellation::Requested => {
            located(&ask, uid.as_str(), StatusCode::ACCEPTED)
        }
    }
}

/// An answer without a body that says where the workitem is.
fn located(ask: &RetrieveRequest, uid: &str, status: StatusCode) -> Result<Response, HttpError> {
    let url = ask.links.resource(["workitems", uid]);
    let location = [(header::CONTENT_LOCATION, header_value(&url)?)];
    Ok((status, location).into_response())
}

/// A UID of the query: the value of one of these names, or the name of a parameter without value.
fn bare(ask: &RetrieveRequest, names: &[&str]) -> Option<String> {
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

/// Searches workitems.
///
/// # Errors
/// 400 for a bad parameter, 406 when neither JSON nor XML is acceptable, 413 when it would cost too much.
pub(super) async fn search_workitems(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let (api, profile) = (&ask.api, ask.api.profile);
    let AskedSearch {
        scope,
        form,
        parsed,
    } = AskedSearch::of(&ask, profile.dialect, profile.most_workitems)?;
    let archive = &api.app.archive;
    let write = written(ask.links.resource(["workitems"]), form);
    let answer = archive.search_workitems(&scope, &parsed.query, write).await;
    let answer = answer.map_err(|error| refused(api, error))?;
    let warnings = parsed.warnings.iter().map(ToString::to_string);
    let none = answer.empty && profile.no_match == NoMatch::NoContent;
    let mut response = results(archive, answer, form, warnings).await?;
    if none {
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    Ok(response)
}
