//! `GET /partitions`: the data partitions (dicom-service §16).

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use time::format_description::well_known::Rfc3339;

use super::error::HttpError;
use super::extract::Access;
use super::place::disabled;
use super::profile::NoMatch;
use super::state::ApiState;
use crate::archive::services::partitions::PartitionRow;
use crate::auth::Action;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartitionEntry {
    partition_key: i64,
    partition_name: String,
    created_date: String,
}

/// Lists the partitions that the caller may see.
///
/// # Errors
/// 400 while partitions are off.
pub(super) async fn list_partitions(
    State(api): State<ApiState>,
    access: Access,
) -> Result<Response, HttpError> {
    let archive = &api.app.archive;
    if !archive.has_partitions() {
        return Err(disabled());
    }
    let scopes = access.may_across(&api, Action::Read).await?;
    let rows = archive.partitions(&scopes).await?;
    if rows.is_empty() && api.profile.no_match == NoMatch::NoContent {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let entry = |row: PartitionRow| PartitionEntry {
        partition_key: row.partition.0,
        partition_name: row.name,
        created_date: row.created.format(&Rfc3339).unwrap_or_default(),
    };
    let entries: Vec<PartitionEntry> = rows.into_iter().map(entry).collect();
    let text = serde_json::to_vec(&entries).map_err(|error| HttpError::internal(&error))?;
    let kind = HeaderValue::from_static("application/json; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}
