//! Requests that name another server are not answered: RFC 9112 §3.2, and against DNS rebinding where no tokens protect.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::cors::CorsConfig;
use crate::http::error::{ErrorFormat, HttpError, ProblemType, dress};
use crate::http::links::HostProblem;
use crate::http::profile::PROFILES;

/// Answers 400 to a request without exactly one Host, 421 to one that is meant for another server.
///
/// What probes ask may be asked by any name: it tells nothing of what is stored.
pub async fn hosts(
    State(config): State<Arc<CorsConfig>>,
    request: Request,
    next: Next,
) -> Response {
    let checked = config
        .hosts
        .check(request.version(), request.uri(), request.headers());
    let path = request.uri().path();
    let error = match checked {
        Ok(()) => return next.run(request).await,
        Err(HostProblem::Foreign) if path.starts_with("/health/") => {
            return next.run(request).await;
        }
        Err(HostProblem::Malformed) => HttpError::bad_request(
            ProblemType::InvalidRequest,
            "The request must have one Host header with a host, and an optional port.",
        ),
        Err(HostProblem::Foreign) => HttpError::new(
            ProblemType::MisdirectedRequest,
            "Access control is off, so this server answers to names of its own machine only; set STOWAGE_PUBLIC_URL to the \
             URL that clients use, or switch access control on.",
        ),
    };
    let api = PROFILES
        .iter()
        .find(|profile| path.starts_with(profile.root))
        .map_or(ErrorFormat::Problem, |profile| profile.errors);
    dress(error.into_response(), api, None)
}
