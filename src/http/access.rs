//! Between the authenticator and the routes: who is let in.
//!
//! Invariant: a request that reaches a route inside of [`guard`] carries its [`Caller`](crate::auth::Caller).

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderValue;
use axum::http::header::WWW_AUTHENTICATE;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use super::error::{HttpError, Slug};
use crate::auth::{Authenticator, Refusal};

/// Seconds after which a client may try again when the keys could not be fetched.
const KEYS_RETRY: u32 = 5;

/// Puts the check of credentials around a router; belongs inside of CORS, so that preflights pass.
#[must_use]
pub fn guard(router: Router, authenticator: &Authenticator) -> Router {
    router.layer(from_fn_with_state(authenticator.clone(), admit))
}

async fn admit(
    State(authenticator): State<Authenticator>,
    mut request: Request,
    next: Next,
) -> Response {
    match authenticator.admit(request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => refuse(refusal).into_response(),
    }
}

fn refuse(refusal: Refusal) -> HttpError {
    match refusal {
        Refusal::Unauthenticated { challenge, reason } => {
            let challenge = HeaderValue::try_from(challenge);
            let challenge = challenge.unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
            HttpError::new(Slug::Unauthenticated, format!("{reason}."))
                .with_header(WWW_AUTHENTICATE, challenge)
        }
        Refusal::KeysUnavailable => HttpError::bare(Slug::Unavailable).retry_after(KEYS_RETRY),
    }
}
