//! What happens to every request and answer, whatever the route: request id, errors' face, CORS, compression, headers.
//!
//! Functions for `axum::middleware::from_fn*` and plain layers. Invariant: whatever a layer adds is also on errors, so
//! a browser always sees the status and not a "network error".

mod admission;
mod content_coding;
mod cors;
pub(super) mod guarded;
mod hosts;
mod packing;
mod vary;

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE,
    ETAG, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::distr::{Alphanumeric, SampleString};
use tower_http::set_header::SetResponseHeaderLayer;

use super::error::{ErrorFormat, HttpError, dress};
use super::links::Scheme;
use crate::config::ClientCache;
use crate::trace;

pub use admission::{Admission, admit};
pub(super) use content_coding::{CodingError, broken_body};
pub use content_coding::{Decoders, decode_content};
pub use cors::{CorsConfig, Origins, OriginsError, cors};
pub use hosts::hosts;
pub(super) use packing::MIN_COMPRESSED;
pub use packing::{Packing, TextOnly, compression, reserve_encoder};
pub use vary::one_vary;

/// Longest request id taken from a client.
const MAX_REQUEST_ID: usize = 64;
/// Header of the request id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A page that runs nothing and loads nothing.
const SANDBOX: &str = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; base-uri 'none'";
/// A year of nothing but TLS.
const HSTS: &str = "max-age=31536000";
/// Header that lists the versions (contract of `/v*`).
const API_VERSIONS: HeaderName = HeaderName::from_static("api-supported-versions");

/// Name of a request in log, answer and error body: letters, digits, `-`, `_` and `.`.
#[derive(Debug, Clone)]
pub struct RequestId(Arc<str>);

impl RequestId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gives each request its [`RequestId`], the client's own when that is harmless, and repeats it in the answer.
pub async fn request_id(mut request: Request, next: Next) -> Response {
    let sent = request.headers().get(&REQUEST_ID);
    let sent = sent.and_then(|value| value.to_str().ok());
    let harmless = |id: &&str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(allowed)
    };
    let id: Arc<str> = match sent.filter(harmless) {
        Some(id) => Arc::from(id),
        None => Arc::from(Alphanumeric.sample_string(&mut rand::rng(), 20)),
    };
    request.extensions_mut().insert(RequestId(Arc::clone(&id)));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

/// Gives error answers the face of their root and writes the causes of server errors to the log, once.
///
/// Belongs inside [`request_id`] and around everything that can fail.
pub async fn errors(State(api): State<ErrorFormat>, request: Request, next: Next) -> Response {
    let id = request.extensions().get::<RequestId>().cloned();
    // The route and never the URI: patient data stands in query strings.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let response = next.run(request).await;
    let id = id.as_ref().map(RequestId::as_str);
    if let Some(error) = response.extensions().get::<HttpError>() {
        let route = route.as_ref().map_or("-", MatchedPath::as_str);
        let status = error.status().as_u16();
        let problem_type = error.problem_type().as_str();
        match error.cause() {
            Some(cause) if error.status().is_server_error() => {
                tracing::error!(request_id = id, trace_id = trace::current_id(), %method, route, status, slug = problem_type, cause, "request failed");
            }
            Some(cause) => {
                tracing::debug!(request_id = id, %method, route, status, slug = problem_type, cause, "request refused")
            }
            None => {}
        }
    }
    dress(response, api, id)
}

/// `api-supported-versions` on every answer of `/v*`.
#[must_use]
pub fn api_versions() -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(
        API_VERSIONS,
        HeaderValue::from_static("1.0-prerelease, 1, 2"),
    )
}

/// `X-Content-Type-Options: nosniff`: stored bytes are never run as something else.
#[must_use]
pub fn nosniff() -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::overriding(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"))
}

/// Marks an answer whose bytes stay as they are for as long as the instance does: pixels, values and files.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lasting;

/// What [`protect`] needs to know.
#[derive(Debug, Clone, Copy)]
pub struct Protection {
    /// How clients come in.
    pub scheme: Scheme,
    /// Whether who asks decides what is answered.
    pub tokens: bool,
    /// What browsers may keep.
    pub cache: ClientCache,
}

impl Protection {
    /// `Cache-Control` of an answer about which its handler says nothing.
    fn kept(self, response: &Response) -> HeaderValue {
        if !response.headers().contains_key(ETAG) {
            return HeaderValue::from_static("no-store");
        }
        let lasting = response.extensions().get::<Lasting>().is_some();
        let age = match self.cache {
            ClientCache::Off => return HeaderValue::from_static("no-store"),
            ClientCache::Seconds(seconds) if lasting => {
                HeaderValue::try_from(format!("private, max-age={seconds}")).ok()
            }
            ClientCache::Ask | ClientCache::Seconds(_) => None,
        };
        age.unwrap_or(HeaderValue::from_static("private, no-cache"))
    }
}

/// Where an answer may be kept, what it may do in a browser, and what the browser tells others of it.
///
/// Answers hold patient data: what a handler says nothing about is kept nowhere, what has an `ETag` only by who asked, and
/// not used again without a question but for pixels where a setting says so; what was kept for one token serves no other. What a browser might open is shown without scripts, frames and network.
pub async fn protect(
    State(protection): State<Protection>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = next.run(request).await;
    let kept = protection.kept(&response);
    let headers = response.headers_mut();
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    weaken(headers);
    if !headers.contains_key(CACHE_CONTROL) {
        if kept == "no-store" {
            headers.remove(ETAG);
        } else if protection.tokens {
            headers.append(VARY, HeaderValue::from_name(AUTHORIZATION));
        }
        headers.insert(CACHE_CONTROL, kept);
    }
    if is_document(headers) {
        // Only the web page says what it may do itself: its texts are ours and none is a client's.
        headers
            .entry(CONTENT_SECURITY_POLICY)
            .or_insert(HeaderValue::from_static(SANDBOX));
    }
    if protection.scheme == Scheme::Https {
        headers.insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static(HSTS));
    }
    response
}

/// Makes the validator of what was compressed on its way a weak one: without it has other bytes (RFC 9110 §8.8.3.3).
fn weaken(headers: &mut HeaderMap) {
    let tag = headers
        .get(ETAG)
        .filter(|_| headers.contains_key(CONTENT_ENCODING));
    let strong = tag.filter(|tag| tag.as_bytes().starts_with(b"\""));
    let weak = strong.and_then(|tag| tag.to_str().ok());
    if let Some(Ok(weak)) = weak.map(|tag| HeaderValue::try_from(format!("W/{tag}"))) {
        headers.insert(ETAG, weak);
    }
}

/// Whether the answer is anything that a browser might open as a document: all but JSON, which none interprets.
fn is_document(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return false;
    };
    let kind = kind.to_str().unwrap_or("text/html").to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    kind != "application/json" && !kind.ends_with("+json")
}

/// `Vary: Accept`, because every resource is negotiated.
#[must_use]
pub fn vary_accept() -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::appending(VARY, HeaderValue::from_name(ACCEPT))
}

#[cfg(test)]
mod tests;
