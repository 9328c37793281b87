//! What the page asks for whoever looks after the server: operations, damage.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::state::App;
use crate::http::error::HttpError;

/// Most operations that are told.
const OPERATIONS: u32 = 50;
/// Damaged instances of a page.
const DAMAGED: u32 = 50;

/// What was begun last, of every kind, with its progress.
pub(super) async fn tell_operations(State(app): State<Arc<App>>) -> Result<Json<Value>, HttpError> {
    let operations = app.archive.recent_operations(OPERATIONS).await?;
    let told = operations.iter().map(|operation| {
        json!({
            "id": operation.id,
            "kind": operation.kind.as_str(),
            "status": operation.status.as_str(),
            "percent": operation.percent,
            "created": moment(operation.created),
            "updated": moment(operation.updated),
        })
    });
    Ok(Json(told.collect()))
}

/// Damaged instances behind the number in `after`.
///
/// # Errors
/// 400 for something else than a number.
pub(super) async fn tell_damage(
    State(app): State<Arc<App>>,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Result<Json<Value>, HttpError> {
    let wrong = || HttpError::invalid_query("after", "It must be a whole number of 0 or more.");
    let Query(query) = query.map_err(|_| wrong())?;
    let after = query.get("after").map_or(Ok(0), |text| text.parse::<i64>());
    let after = after.ok().filter(|after| *after >= 0).ok_or_else(wrong)?;
    let damaged = app.archive.damaged_instances(after, DAMAGED).await?;
    let full = damaged.len() == DAMAGED as usize;
    let next = damaged.last().filter(|_| full).map(|last| last.watermark);
    let told = damaged.iter().map(|one| {
        json!({
            "studyInstanceUid": one.name.study.as_str(),
            "seriesInstanceUid": one.name.series.as_str(),
            "sopInstanceUid": one.name.instance.as_str(),
            "problem": one.problem,
            "found": moment(one.found),
        })
    });
    let instances: Vec<Value> = told.collect();
    Ok(Json(json!({ "instances": instances, "next": next })))
}

fn moment(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}
