//! Delete: `DELETE` on study, series and instance; beside the standard, as the DICOM service has it (dicom-service §9).

use axum::extract::State;
use axum::http::StatusCode;

use super::error::HttpError;
use super::extract::{Access, TargetPath};
use super::state::ApiState;
use crate::auth::Action;

/// Removes everything below the target for every reader at once.
///
/// # Errors
/// 400 for a malformed UID, 404 when the target does not exist.
pub(super) async fn delete_target(
    State(api): State<ApiState>,
    access: Access,
    path: TargetPath,
) -> Result<StatusCode, HttpError> {
    let scope = access.may(Action::Delete)?;
    let target = path.parse()?;
    let removed = api.app.archive.delete(&scope, &target).await?;
    tracing::info!(removed, "deleted instances");
    Ok(StatusCode::NO_CONTENT)
}
