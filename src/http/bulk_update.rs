//! Bulk update (dicom-service §13): attributes of whole studies, or UIDs, changed in the stored instances.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use dicom_core::Tag;
use serde_json::{Value, json};

use super::audit::note::TouchedStudies;
use super::error::{HttpError, ProblemType};
use super::extract::{Access, SmallBody};
use super::links::Links;
use super::started::started;
use super::state::{ApiState, DICOM_JSON};
use super::tags::json_body;
use crate::archive::rules::comment;
use crate::archive::services::bulk_update::BulkUpdateOutcome;
use crate::auth::Action;
use crate::dicom::bulk_update::{BulkUpdateProblem, parse_body};

/// Begins to update studies.
///
/// # Errors
/// 400 for a bad body, as DICOM JSON where attributes are to blame; 403 for what would not be the caller's; 409 while one of the
/// studies is updated; 415 when the body is no JSON.
pub(super) async fn update_studies(
    State(api): State<ApiState>,
    access: Access,
    links: Links,
    headers: HeaderMap,
    SmallBody(body): SmallBody,
) -> Result<Response, HttpError> {
    let scope = access.may(Action::Write)?;
    let update = match parse_body(&json_body(&headers, &body)?) {
        Ok(update) => update,
        Err(BulkUpdateProblem::Body(text)) => {
            return Err(HttpError::bad_request(ProblemType::InvalidBody, text));
        }
        Err(BulkUpdateProblem::Attributes(failed)) => return Ok(refused(&failed)),
    };
    let touched = TouchedStudies::named(update.studies.iter().map(ToString::to_string));
    match api.app.archive.begin_bulk_update(&scope, update).await? {
        BulkUpdateOutcome::Started(id) => {
            let mut response = started(&links, &id)?;
            response.extensions_mut().insert(touched);
            Ok(response)
        }
        BulkUpdateOutcome::Running => Err(HttpError::conflict(
            "One of the studies is being updated; wait for its operation.",
        )),
        BulkUpdateOutcome::Outside => Err(HttpError::new(
            ProblemType::Forbidden,
            "The token is limited to some patients or studies, and the update would move studies beyond them.",
        )),
    }
}

/// The attributes that failed, as a data set.
fn refused(failed: &[(Tag, String)]) -> Response {
    let items = failed.iter().map(
        |(tag, reason)| json!({ "00000902": { "vr": "LO", "Value": [comment(*tag, reason)] } }),
    );
    let items: Vec<Value> = items.collect();
    let body = json!({ "00741048": { "vr": "SQ", "Value": items } });
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static(DICOM_JSON))];
    (StatusCode::BAD_REQUEST, kind, body.to_string()).into_response()
}
