//! What a search for workitems, their scheduled steps or non-patient instances found, as an answer.

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::array::{array_body, items};
use super::error::HttpError;
use super::represent::{
    DICOM_XML, DataSetFormat, NO_STORE, header_value, many_parts, xml_part_stream,
};
use super::state::DICOM_JSON;
use crate::archive::Archive;
use crate::archive::services::search::paging::Remaining;
use crate::archive::workitems::search::WorkitemAnswer;

/// A `Warning` of this service.
pub(super) fn warning(text: &str) -> Result<HeaderValue, HttpError> {
    header_value(&format!("299 stowage: \"{text}\""))
}

/// What a search found, as an array or in parts, with its warnings and how much lies behind the page.
///
/// # Errors
/// What the first result met.
pub(super) async fn results(
    archive: &Archive,
    answer: WorkitemAnswer,
    form: DataSetFormat,
    warnings: impl Iterator<Item = String>,
) -> Result<Response, HttpError> {
    let mut response = if form == DataSetFormat::Xml && !answer.empty {
        many_parts(DICOM_XML, xml_part_stream(archive, answer.parts)).await?
    } else {
        let body = array_body(items(archive, answer.parts)).await?;
        let media = HeaderValue::from_static(DICOM_JSON);
        ([(header::CONTENT_TYPE, media)], body).into_response()
    };
    let remaining = match answer.remaining {
        Remaining::Nothing => None,
        Remaining::Exactly(n) => Some(format!(
            "There are {n} additional results that can be requested"
        )),
        Remaining::MoreThan(n) => Some(format!(
            "There are more than {n} additional results that can be requested"
        )),
    };
    let headers = response.headers_mut();
    for text in warnings.chain(remaining) {
        headers.append(header::WARNING, warning(&text)?);
    }
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    Ok(response)
}
