//! How much is stored, for whoever may read everything.

use axum::Json;
use serde_json::Value;

use super::error::HttpError;
use super::extract::RetrieveRequest;
use crate::auth::Action;

/// Counts of patients, studies, series, instances and bytes, by partition, modality and month of arrival.
///
/// # Errors
/// 403 for a caller to whom some studies do not exist: counts tell of them.
pub(super) async fn read_statistics(ask: RetrieveRequest) -> Result<Json<Value>, HttpError> {
    let scopes = ask.access.may_across(&ask.api, Action::Read).await?;
    if !scopes.is_everything() {
        return Err(HttpError::forbidden(
            "read, without a limit to patients, studies or partitions",
        ));
    }
    Ok(Json(ask.api.app.archive.statistics().await?.to_json()))
}
