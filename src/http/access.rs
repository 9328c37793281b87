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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use axum::extract::Extension;
    use axum::http::{Method, StatusCode};
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::token::make_token;
    use crate::auth::{Action, AuthConfig, Caller};
    use crate::config::{AuthMode, Secret, TokenArgs};
    use crate::http::error::Face;
    use crate::http::layers::{CorsConfig, cors, errors, request_id};

    fn config() -> AuthConfig {
        AuthConfig {
            issuer: Some("urn:here".to_owned()),
            audiences: vec!["stowage".to_owned()],
            secret: Some(Secret::from("0123456789abcdef0123456789abcdef")),
            ..AuthConfig::default()
        }
    }

    fn router(mode: AuthMode) -> Router {
        let authenticator = Authenticator::new(&config(), mode).unwrap();
        let told = |caller: Extension<Arc<Caller>>| async move {
            format!("{:?}", caller.scope(Action::Read))
        };
        guard(Router::new().route("/", get(told)), &authenticator)
            .layer(from_fn_with_state(Face::Text, errors))
            .layer(from_fn_with_state(Arc::new(CorsConfig::default()), cors))
            .layer(from_fn(request_id))
    }

    async fn send(
        mode: AuthMode,
        path: &str,
        authorization: Option<&str>,
    ) -> (u16, String, String) {
        let mut request = Request::builder()
            .uri(path)
            .header("origin", "https://viewer.example");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router(mode).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["access-control-allow-origin"], "*");
        let challenge = response.headers().get(WWW_AUTHENTICATE);
        let challenge = challenge
            .map_or("", |value| value.to_str().unwrap())
            .to_owned();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, challenge, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn requests_without_a_good_token_are_challenged_whatever_they_ask_for() {
        let base =
            "Bearer authorization_uri=\"urn:here\", resource_id=\"stowage\", realm=\"stowage\"";
        for path in ["/", "/unknown"] {
            let (status, challenge, body) = send(AuthMode::Jwt, path, None).await;
            assert_eq!((status, challenge.as_str()), (401, base), "{path}");
            assert_eq!(body, "A bearer token is needed.");
            let (status, challenge, _) = send(AuthMode::Jwt, path, Some("Bearer None")).await;
            assert_eq!(status, 401);
            let details = "error=\"invalid_token\", error_description=\"The token cannot be read\"";
            assert_eq!(challenge, format!("{base}, {details}"));
        }
    }

    #[tokio::test]
    async fn a_good_token_brings_its_caller_to_the_route() {
        let roles = vec!["reader".to_owned()];
        let arguments = TokenArgs {
            subject: "s".to_owned(),
            roles,
            seconds: 60,
        };
        let token = make_token(&config(), &arguments).unwrap();
        let (status, _, body) = send(AuthMode::Jwt, "/", Some(&format!("Bearer {token}"))).await;
        assert_eq!(status, 200);
        assert!(body.contains("All"), "{body}");
        let (status, _, body) = send(AuthMode::Off, "/", Some("Bearer None")).await;
        assert_eq!(status, 200);
        assert!(body.contains("All"), "{body}");
    }

    #[tokio::test]
    async fn a_preflight_needs_no_token() {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri("/")
            .header("origin", "https://viewer.example")
            .header("access-control-request-method", "POST")
            .body(Body::empty())
            .unwrap();
        let response = router(AuthMode::Jwt).oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
    }

    #[tokio::test]
    async fn keys_that_cannot_be_fetched_are_no_fault_of_the_client() {
        let error = refuse(Refusal::KeysUnavailable);
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        let response = error.respond(Face::Text, None);
        assert_eq!(response.headers()["retry-after"], "5");
    }
}
