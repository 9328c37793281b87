//! Answers to paths and methods that no route has.

use axum::extract::{MatchedPath, State};

use super::error::{HttpError, ProblemType};
use super::state::ApiState;
use super::{place, routes};

pub(super) async fn no_route() -> HttpError {
    HttpError::new(ProblemType::NotFound, "There is no such resource.")
}

/// What is no route below a partition: 400 while partitions are off, as for those that are.
pub(super) async fn no_route_of_partition(State(api): State<ApiState>) -> HttpError {
    if api.app.archive.has_partitions() {
        no_route().await
    } else {
        place::disabled()
    }
}

pub(super) async fn no_method(matched: Option<MatchedPath>) -> HttpError {
    let methods = matched.map(|matched| routes::methods(matched.as_str()));
    match methods {
        Some(methods) if !methods.is_empty() => HttpError::method_not_allowed(&methods),
        // Descriptions are only read.
        _ => HttpError::method_not_allowed(&["GET", "HEAD"]),
    }
}
