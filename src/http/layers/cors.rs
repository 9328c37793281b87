//! CORS: which web pages may call, and what their scripts may read.
//!
//! Without access control a page of somebody else is not only kept from reading: what it asks for is not done.
//! An own layer because tower-http's answers every OPTIONS itself, and `OPTIONS /` is a DICOM transaction (PS3.18 §8.9).
//! Invariant: a preflight never reaches authentication or a handler, and an origin is echoed only when it is allowed.

use std::str::FromStr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use crate::config::ClientCache;
use crate::http::error::{HttpError, ProblemType};
use crate::http::links::{Hosts, is_local_origin, is_own_origin};

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
const EXPOSED: &str = "Accept-Ranges, Content-Disposition, Content-Range, Content-Location, Content-Encoding, Location, ETag, Link, Retry-After, \
                       Preference-Applied, Warning, WWW-Authenticate, api-supported-versions, erroneous-dicom-attributes, \
                       x-request-id, x-total-count";
/// Asked for when a preflight names no headers.
const HEADERS: &str = "authorization, accept, content-type, range, if-none-match";
const VARIES: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
/// Longest list of headers that is echoed.
const MAX_HEADERS: usize = 4096;

/// Which pages may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    /// None: no CORS header is ever sent.
    None,
    /// Every page, without cookies.
    Any,
    /// These, with cookies if they like: `https://viewer.example.org`, in lower case.
    Only(Vec<String>),
    /// Pages of this machine and of the public URL: the default without access control.
    Local {
        /// Origin of the public URL.
        public: Option<String>,
    },
}

impl Origins {
    /// Whether a page may read answers.
    fn allows(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        match self {
            Self::None => false,
            Self::Any => true,
            Self::Only(list) => list.contains(&origin),
            Self::Local { public } => public.as_ref() == Some(&origin) || is_local_origin(&origin),
        }
    }
}

/// The text is not a list of origins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not an origin; write scheme and host, such as https://viewer.example.org, or * alone"
)]
pub struct OriginsError(String);

impl FromStr for Origins {
    type Err = OriginsError;

    fn from_str(text: &str) -> Result<Self, OriginsError> {
        match text.trim() {
            "" | "none" => return Ok(Self::None),
            "*" => return Ok(Self::Any),
            _ => {}
        }
        let origin = |item: &str| {
            let item = item.trim().trim_end_matches('/').to_ascii_lowercase();
            let host = item
                .strip_prefix("https://")
                .or_else(|| item.strip_prefix("http://"));
            let sound = |host: &str| {
                !host.is_empty()
                    && host
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
            };
            if host.is_some_and(sound) {
                Ok(item)
            } else {
                Err(OriginsError(item))
            }
        };
        text.split(',')
            .map(origin)
            .collect::<Result<_, _>>()
            .map(Self::Only)
    }
}

/// How CORS is answered.
#[derive(Debug, Clone)]
pub struct CorsConfig {
    /// Which pages may call.
    pub origins: Origins,
    /// Names that the server answers to.
    pub hosts: Hosts,
    /// Whether tokens protect, so that nothing but reading of answers must be kept from pages of others.
    pub tokens: bool,
    /// What browsers may keep of answers.
    pub cache: ClientCache,
    /// How long a browser may remember a preflight, in seconds; it asks once per URL otherwise.
    pub max_age: u32,
}

impl Default for CorsConfig {
    fn default() -> Self {
        Self {
            origins: Origins::Any,
            hosts: Hosts::Any,
            tokens: true,
            cache: ClientCache::Ask,
            max_age: 3600,
        }
    }
}

impl CorsConfig {
    /// `Access-Control-Allow-Origin` for a request, none when its page may not read the answer.
    fn allowed(&self, origin: Option<&HeaderValue>) -> Option<HeaderValue> {
        match &self.origins {
            Origins::None => None,
            Origins::Any => Some(HeaderValue::from_static("*")),
            Origins::Only(_) | Origins::Local { .. } => {
                let origin = origin?;
                let allows = self.origins.allows(origin.to_str().ok()?);
                allows.then(|| origin.clone())
            }
        }
    }

    /// Whether a request comes from a page that may not have it done. Only browsers say where a request comes from.
    fn refuses(&self, request: &Request) -> bool {
        let Some(origin) = request.headers().get(ORIGIN) else {
            return false;
        };
        let origin = origin.to_str().unwrap_or_default();
        let reads = matches!(
            *request.method(),
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let concerns = match &self.origins {
            Origins::Any => false,
            Origins::Local { .. } => true,
            Origins::None | Origins::Only(_) => !reads,
        };
        !self.tokens
            && concerns
            && !self.origins.allows(origin)
            && !is_own_origin(origin, request.uri(), request.headers())
    }

    fn common(&self, headers: &mut HeaderMap, origin: Option<&HeaderValue>) {
        if self.origins == Origins::None {
            return;
        }
        headers.append(VARY, HeaderValue::from_static(VARIES));
        if let Some(origin) = self.allowed(origin) {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            if matches!(self.origins, Origins::Only(_) | Origins::Local { .. }) {
                headers.insert(
                    ACCESS_CONTROL_ALLOW_CREDENTIALS,
                    HeaderValue::from_static("true"),
                );
            }
        }
    }
}

/// Answers preflights and marks all other answers, errors included; belongs outside of authentication.
pub async fn cors(State(config): State<Arc<CorsConfig>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        && config.origins != Origins::None;
    if preflight {
        return answer_preflight(&config, request.headers(), origin.as_ref());
    }
    let mut response = if config.refuses(&request) {
        let detail = "Access control is off, so pages of this machine only are answered; name the origin of this page in \
                      STOWAGE_CORS_ORIGINS, or switch access control on.";
        HttpError::new(ProblemType::Forbidden, detail).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    config.common(headers, origin.as_ref());
    // A viewer that isolates itself could not show a rendered image otherwise.
    let policy = match config.origins {
        Origins::None => None,
        Origins::Local { .. } if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) => {
            Some("same-site")
        }
        _ => Some("cross-origin"),
    };
    if let Some(policy) = policy {
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static(policy));
    }
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }
    response
}

fn answer_preflight(
    config: &CorsConfig,
    asked: &HeaderMap,
    origin: Option<&HeaderValue>,
) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    config.common(headers, origin);
    if headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        // `*` would not cover Authorization, so what was asked is echoed.
        let asked = asked.get(ACCESS_CONTROL_REQUEST_HEADERS);
        let echo = asked
            .filter(|value| value.len() <= MAX_HEADERS && !value.is_empty())
            .cloned();
        let echo = echo.unwrap_or_else(|| HeaderValue::from_static(HEADERS));
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, echo);
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(config.max_age));
    }
    response
}
