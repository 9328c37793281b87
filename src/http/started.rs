//! The answer to a request that began an operation.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::HttpError;
use super::links::Links;
use super::represent::header_value;

/// 202 with the id of the operation, and where it tells how far it is.
pub(super) fn started(links: &Links, id: &str) -> Result<Response, HttpError> {
    let href = links.operation(id);
    let location = [(header::LOCATION, header_value(&href)?)];
    let body = axum::Json(json!({ "id": id, "href": href }));
    Ok((StatusCode::ACCEPTED, location, body).into_response())
}
