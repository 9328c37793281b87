//! Between the authenticator and the routes: who is let in.
//!
//! Invariants: a request that reaches a route inside of [`guard`] carries its [`Caller`](crate::auth::Caller); a token
//! that stood in the query is not in the request any more.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, REFERRER_POLICY, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode_str;

use super::audit::event::AuditEvent;
use super::audit::sink::AuditLog;
use super::error::{HttpError, ProblemType};
use super::links::LinksConfig;
use crate::auth::{AuthRefusal, Authenticator};

/// Seconds after which a client may try again when the keys could not be fetched.
const KEYS_RETRY: u32 = 5;

/// Seconds after which a client may try again when its access could not be written down.
const AUDIT_RETRY: u32 = 5;

/// What the door needs: who is known, and where it is written down who came.
#[derive(Debug, Clone)]
pub struct AuthState {
    /// Checks credentials.
    pub authenticator: Authenticator,
    /// Writes accesses down.
    pub audit: AuditLog,
    /// Which proxies are believed when they say who asks.
    pub links: LinksConfig,
}

/// Puts the check of credentials around a router; belongs inside of CORS, so that preflights pass.
pub fn guard<S>(router: Router<S>, gate: AuthState) -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    router.layer(from_fn_with_state(Arc::new(gate), admit))
}

async fn admit(State(gate): State<Arc<AuthState>>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut event = match AuditEvent::begin(&gate.audit, &gate.links, &mut parts).await {
        Ok(event) => event,
        Err(error) => return HttpError::unavailable(AUDIT_RETRY, &error).into_response(),
    };
    let mut request = Request::from_parts(parts, body);
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let in_query = take_query_token(&mut request);
    let in_query = in_query.filter(|_| {
        gate.authenticator.takes_query_token()
            && reads
            && !request.headers().contains_key(AUTHORIZATION)
    });
    let admitted = match &in_query {
        Some(token) => gate.authenticator.admit_query_token(token).await,
        None => gate.authenticator.admit(request.headers()).await,
    };
    let mut response = match admitted {
        Ok(caller) => {
            if let Some(event) = &mut event {
                event.admitted(&caller);
            }
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(refusal) => {
            event = event.and_then(|event| event.refused(&gate.audit));
            refuse(refusal).into_response()
        }
    };
    if in_query.is_some() {
        keep_private(&mut response);
    }
    match event {
        Some(event) => event.follow(response),
        None => response,
    }
}

/// Takes the token out of the query, so that nothing behind can repeat it; several make one that is not good.
fn take_query_token(request: &mut Request) -> Option<String> {
    let query = request.uri().query()?;
    let is_token = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        percent_decode_str(name)
            .decode_utf8_lossy()
            .eq_ignore_ascii_case("access_token")
    };
    if !query.split('&').any(|pair| is_token(&pair)) {
        return None;
    }
    let tokens: Vec<String> = query
        .split('&')
        .filter(is_token)
        .map(|pair| {
            let value = pair.split_once('=').map_or("", |(_, value)| value);
            percent_decode_str(value).decode_utf8_lossy().into_owned()
        })
        .collect();
    let rest: Vec<&str> = query.split('&').filter(|pair| !is_token(pair)).collect();
    let path = request.uri().path();
    let target = if rest.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{}", rest.join("&"))
    };
    let mut parts = request.uri().clone().into_parts();
    parts.path_and_query = target.parse().ok();
    // A part of a valid URI is valid; were it not, the query goes as a whole.
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
    Some(tokens.join(" "))
}

/// An answer to a URL with a token stays with who asked, and the URL is not told to others (RFC 6750 §2.3).
fn keep_private(response: &mut Response) {
    let headers = response.headers_mut();
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

fn refuse(refusal: AuthRefusal) -> HttpError {
    match refusal {
        AuthRefusal::Unauthenticated { challenge, reason } => {
            let challenge = HeaderValue::try_from(challenge);
            let challenge = challenge.unwrap_or_else(|_| HeaderValue::from_static("Bearer"));
            HttpError::new(ProblemType::Unauthenticated, format!("{reason}."))
                .with_header(WWW_AUTHENTICATE, challenge)
        }
        AuthRefusal::KeysUnavailable => {
            HttpError::bare(ProblemType::Unavailable).retry_after(KEYS_RETRY)
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Extension;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::auth::token::make_token;
    use crate::auth::{Action, AuthConfig, Caller};
    use crate::config::{AuthMode, Secret, TokenArgs};
    use crate::http::error::ErrorFormat;
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
        let reported = |caller: Extension<Arc<Caller>>| async move {
            format!("{:?}", caller.scope(Action::Read))
        };
        let gate = AuthState {
            authenticator,
            audit: AuditLog::default(),
            links: LinksConfig {
                public_url: None,
                trusted_proxies: Vec::new(),
                proxy_headers: crate::http::links::ProxyHeaders::default(),
                listen_port: 80,
                scheme: crate::http::links::Scheme::Http,
            },
        };
        guard(Router::new().route("/", get(reported)), gate)
            .layer(from_fn_with_state(ErrorFormat::Text, errors))
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
            ..TokenArgs::default()
        };
        let token = make_token(&config(), &arguments).unwrap();
        let (status, _, body) = send(AuthMode::Jwt, "/", Some(&format!("Bearer {token}"))).await;
        assert_eq!(status, 200);
        assert!(body.contains("All"), "{body}");
        let (status, _, body) = send(AuthMode::Off, "/", Some("Bearer None")).await;
        assert_eq!(status, 200);
        assert!(body.contains("All"), "{body}");
    }

    #[test]
    fn a_token_leaves_the_query_and_the_rest_stays_as_it_was() {
        for (uri, rest, token) in [
            ("/a?b=c%20d&e", "/a?b=c%20d&e", None),
            ("/a?access_token=x.y&b=%2B", "/a?b=%2B", Some("x.y")),
            ("/a?Access%5Ftoken=x%2Ey", "/a", Some("x.y")),
            ("/a?access_token", "/a", Some("")),
            ("/a?access_token=x&access_token=y", "/a", Some("x y")),
            ("http://h/a?access_token=x", "http://h/a", Some("x")),
            ("/a?b=access_token", "/a?b=access_token", None),
            ("/a?access_token=x&&b", "/a?&b", Some("x")),
        ] {
            let mut request = Request::builder().uri(uri).body(Body::empty()).unwrap();
            let taken = take_query_token(&mut request);
            assert_eq!(taken.as_deref(), token, "{uri}");
            assert_eq!(request.uri().to_string(), rest, "{uri}");
        }
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
        let error = refuse(AuthRefusal::KeysUnavailable);
        assert_eq!(error.status(), StatusCode::SERVICE_UNAVAILABLE);
        let response = error.respond(ErrorFormat::Text, None);
        assert_eq!(response.headers()["retry-after"], "5");
    }
}
