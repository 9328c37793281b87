//! Between the gate and the routes: who is let in, and what a handler must ask before it looks anything up.
//!
//! Invariants: a handler gets a [`Scope`] only for an action the caller may do; without the [`authenticate`] layer there is
//! no caller, and every request that needs one fails.

use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::WWW_AUTHENTICATE;
use http::request::Parts;

use super::error::{HttpError, Slug};
use crate::auth::roles::DataAction;
use crate::auth::{Caller, Gate, Refusal};
use crate::scope::Scope;

/// Seconds after which a client may try again when the keys could not be fetched.
const KEYS_RETRY: u32 = 5;

/// Lets recognised callers in and answers 401 or 503 to others.
///
/// Belongs inside of CORS, so that preflights pass and refusals can be read, and around every route that needs a token.
pub async fn authenticate(
    State(gate): State<Arc<Gate>>,
    mut request: Request,
    next: Next,
) -> Response {
    match gate.admit(request.headers()).await {
        Ok(caller) => {
            request.extensions_mut().insert(Access(caller));
            next.run(request).await
        }
        Err(refusal) => refuse(refusal).into_response(),
    }
}

fn refuse(refusal: Refusal) -> HttpError {
    match refusal {
        Refusal::Unauthenticated { challenge, reason } => {
            let error = HttpError::new(Slug::Unauthenticated, format!("{reason}."));
            match HeaderValue::try_from(challenge) {
                Ok(challenge) => error.with_header(WWW_AUTHENTICATE, challenge),
                Err(_) => error.with_header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            }
        }
        Refusal::KeysUnavailable => HttpError::bare(Slug::Unavailable).retry_after(KEYS_RETRY),
    }
}

/// The caller of a request, as an extractor.
#[derive(Debug, Clone)]
pub struct Access(Arc<Caller>);

impl Access {
    /// On what the caller may do this; to be asked before any lookup.
    ///
    /// # Errors
    /// 403 when it is not allowed at all.
    pub fn scope(&self, action: DataAction) -> Result<Scope, HttpError> {
        self.0.scope(action).ok_or_else(HttpError::forbidden)
    }

    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.0
    }
}

impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, HttpError> {
        // A route outside of the layer is a mistake of ours; it must not be an open door.
        parts
            .extensions
            .get::<Self>()
            .cloned()
            .ok_or_else(|| HttpError::bare(Slug::Internal))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::{from_fn, from_fn_with_state};
    use axum::routing::get;
    use http::StatusCode;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::token::{TokenRequest, make};
    use crate::auth::{AuthConfig, JwtConfig};
    use crate::http::error::Face;
    use crate::http::layers::{CorsConfig, cors, errors, request_id};

    fn config() -> JwtConfig {
        JwtConfig {
            issuer: Some("urn:here".to_owned()),
            audiences: vec!["stowage".to_owned()],
            secret: Some("0123456789abcdef0123456789abcdef".to_owned().into()),
            ..JwtConfig::default()
        }
    }

    fn token(role: &str) -> String {
        let request = TokenRequest {
            roles: vec![role.to_owned()],
            lifetime: std::time::Duration::from_secs(60),
            ..TokenRequest::default()
        };
        make(&config(), &request).unwrap()
    }

    async fn act(access: Access) -> Result<String, HttpError> {
        let scope = access.scope(DataAction::Write)?;
        Ok(format!("{:?}", scope.visible))
    }

    fn router() -> Router {
        let gate = Arc::new(Gate::new(AuthConfig::Jwt(Box::new(config()))).unwrap());
        Router::new()
            .route("/", get(act).post(act))
            .layer(from_fn_with_state(gate, authenticate))
            .route("/outside", get(act))
            .layer(from_fn_with_state(Face::Text, errors))
            .layer(from_fn_with_state(Arc::new(CorsConfig::default()), cors))
            .layer(from_fn(request_id))
    }

    async fn send(path: &str, authorization: Option<&str>) -> (StatusCode, String, String) {
        let mut request = Request::builder()
            .uri(path)
            .header("origin", "https://viewer.example");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = router()
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let challenge = response.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge.map_or(String::new(), |value| value.to_str().unwrap().to_owned());
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, challenge, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_without_a_good_token_are_challenged() {
        let (status, challenge, body) = send("/", None).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert_eq!(
            challenge,
            "Bearer authorization_uri=\"urn:here\", resource_id=\"stowage\", realm=\"stowage\""
        );
        assert_eq!(body, "A bearer token is needed.");
        let (status, challenge, _) = send("/", Some("Bearer None")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(
            challenge.ends_with(
                "error=\"invalid_token\", error_description=\"The token cannot be read\""
            )
        );
    }

    #[tokio::test]
    async fn a_role_that_lacks_the_action_is_forbidden() {
        let (status, challenge, body) =
            send("/", Some(&format!("Bearer {}", token("reader")))).await;
        assert_eq!((status, challenge.as_str()), (StatusCode::FORBIDDEN, ""));
        assert_eq!(body, "Authorization failed.");
        let (status, _, body) = send("/", Some(&format!("Bearer {}", token("writer")))).await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "All"));
    }

    #[tokio::test]
    async fn a_route_outside_of_the_layer_is_closed() {
        let (status, _, _) = send("/outside", Some(&format!("Bearer {}", token("admin")))).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    }

    #[tokio::test]
    async fn a_preflight_needs_no_token() {
        let request = Request::builder()
            .method("OPTIONS")
            .uri("/")
            .header("origin", "https://viewer.example")
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .unwrap();
        let response = router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }
}
