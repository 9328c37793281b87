//! Storage commitment over the web (PS3.18 chapter 13): asked for under a transaction UID, answered now or later.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::{HttpError, ProblemType};
use super::extract::RetrieveRequest;
use super::represent::{
    DICOM_XML, DataSetFormat, header_value, lone_data_set, lone_form, whole_xml,
};
use super::state::DICOM_JSON;
use super::workitems::body::SentWorkitem;
use crate::archive::ArchiveError;
use crate::archive::services::commitment_results::{Commitment, CommitmentBegun, CommitmentCaller};
use crate::auth::Action;
use crate::dicom::commitment::AskedCommitment;
use crate::memory::Purpose;

/// How long a client waits for the result before it is told to come again.
const WAIT: Duration = Duration::from_secs(10);
/// Seconds after which it should come again.
const AGAIN: &str = "5";
/// RFC 7240.
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// Asks whether instances are safe.
///
/// # Errors
/// 400 when the request cannot be read, 409 when the transaction UID is in use, 413 when it means too much, 503 when too many
/// are worked on.
pub(super) async fn request_commitment(
    ask: RetrieveRequest,
    body: Body,
) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let api = &ask.api;
    let form = lone_form(&ask.preferences())?;
    let sent = SentWorkitem::of(api, &ask.headers, body).await?;
    let transaction = ask.path.transaction()?;
    let sent = sent.read(api).await?;
    let request = AskedCommitment::read(&sent.data_set).map_err(|reason| {
        HttpError::bad_request(ProblemType::InvalidBody, format!("The request: {reason}."))
    })?;
    let caller = CommitmentCaller::new(ask.access.owner(), &scope);
    let archive = &api.app.archive;
    let begun = archive.request_commitment(caller.clone(), &transaction, request, sent.held);
    let ended = match begun.await? {
        CommitmentBegun::Working(ended) => ended,
        CommitmentBegun::InUse => {
            let detail = "The transaction UID is in use: send the request under another one.";
            return Err(HttpError::conflict(detail));
        }
    };
    if !prefers_later(&ask.headers) {
        // It ends in any case; what is there then is looked up.
        drop(tokio::time::timeout(WAIT, ended).await);
    }
    respond(&ask, &caller, &transaction, form).await
}

/// Returns the result of a request, or says that it is worked on.
///
/// # Errors
/// 400 for a malformed UID, 404 when there is no such request of this caller.
pub(super) async fn check_commitment(ask: RetrieveRequest) -> Result<Response, HttpError> {
    let scope = ask.access.may(Action::Read)?;
    let form = lone_form(&ask.preferences())?;
    let transaction = ask.path.transaction()?;
    let caller = CommitmentCaller::new(ask.access.owner(), &scope);
    respond(&ask, &caller, &transaction, form).await
}

/// Whether the client would rather come again (RFC 7240 §4.1).
fn prefers_later(headers: &HeaderMap) -> bool {
    let values = headers.get_all(PREFER).iter();
    let mut words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split([',', ';']));
    words.any(|word| word.trim().eq_ignore_ascii_case("respond-async"))
}

async fn respond(
    ask: &RetrieveRequest,
    caller: &CommitmentCaller,
    transaction: &str,
    form: DataSetFormat,
) -> Result<Response, HttpError> {
    let archive = &ask.api.app.archive;
    let url = ask.links.resource(["commitment-requests", transaction]);
    let text = match archive.commitment(caller, transaction).await? {
        Commitment::Done(text) => text,
        Commitment::Working => {
            let mut response = StatusCode::ACCEPTED.into_response();
            let headers = response.headers_mut();
            headers.insert(header::LOCATION, header_value(&url)?);
            headers.insert(header::CONTENT_LOCATION, header_value(&url)?);
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(AGAIN));
            return Ok(response);
        }
    };
    let mut held = archive.budget().nothing(Purpose::Answers);
    let room = text.len().saturating_mul(3);
    held.grow_to(room).await.map_err(ArchiveError::from)?;
    let (media, bytes) = match form {
        DataSetFormat::Json => (DICOM_JSON, text.into_bytes()),
        DataSetFormat::Xml => {
            let what = "a result of storage commitment";
            (DICOM_XML, whole_xml(archive, text, &url, what).await?)
        }
    };
    Ok(lone_data_set(media, bytes, held))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_may_prefer_to_come_again() {
        for (value, expected) in [
            ("respond-async", true),
            ("return=minimal, Respond-Async; wait=10", true),
            ("wait=10", false),
        ] {
            let headers = HeaderMap::from_iter([(PREFER, HeaderValue::from_static(value))]);
            assert_eq!(prefers_later(&headers), expected, "{value}");
        }
        assert!(!prefers_later(&HeaderMap::new()));
    }
}
