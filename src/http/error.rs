//! From "this went wrong" to a status and a body, in the two faces the server has.
//!
//! `/dicom-web` answers `application/problem+json` (RFC 9457) with a stable `type`, `/v*` one sentence of plain text.
//! Invariants: a 5xx body reveals nothing but the request id; each [`ProblemType`] stands in `docs/errors.md`.

mod of_archive;
mod problem_type;

use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

pub use problem_type::ProblemType;

/// Longest detail that is sent, in characters.
const MAX_DETAIL: usize = 1000;
/// Prefix of the `type` of a problem.
const TYPE_PREFIX: &str = "urn:stowage:error:";

/// Which contract the body of an error follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorFormat {
    /// `application/problem+json`, under `/dicom-web`.
    Problem,
    /// `text/plain; charset=utf-8`, one sentence, under `/v*`.
    Text,
}

/// A problem (RFC 9457 §3), its members in the order people read them.
#[derive(Serialize)]
struct ProblemDetails<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    available: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// An error on its way to the client.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .detail.as_deref().unwrap_or(.problem_type.title()))]
pub struct HttpError {
    problem_type: ProblemType,
    status: StatusCode,
    detail: Option<String>,
    available: Vec<String>,
    retry_after: Option<u32>,
    headers: Vec<(http::HeaderName, HeaderValue)>,
    cause: Option<Arc<str>>,
}

impl HttpError {
    /// An error of a kind; the detail is one sentence without patient data, for the client to read.
    #[must_use]
    pub fn new(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..Self::bare(problem_type)
        }
    }

    /// An error of which nothing but its kind is told.
    #[must_use]
    pub fn bare(problem_type: ProblemType) -> Self {
        Self {
            problem_type,
            status: problem_type.status(),
            detail: None,
            available: Vec::new(),
            retry_after: None,
            headers: Vec::new(),
            cause: None,
        }
    }

    /// 400, of one of the kinds that say what is wrong.
    #[must_use]
    pub fn bad_request(problem_type: ProblemType, detail: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            ..Self::new(problem_type, detail)
        }
    }

    /// 400 in the words of the contract: `The query parameter '{name}' is invalid. {reason}`.
    #[must_use]
    pub fn invalid_query(name: &str, reason: &str) -> Self {
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        Self::new(
            ProblemType::InvalidQuery,
            format!("The query parameter '{name}' is invalid. {reason}"),
        )
    }

    /// 403, in the words of the contract and with the right that is missing, such as `delete`.
    #[must_use]
    pub fn forbidden(right: &str) -> Self {
        let reported = format!(
            "Authorization failed. This needs the right '{right}', which the token does not grant by a role or a scope."
        );
        Self::new(ProblemType::Forbidden, reported)
    }

    /// 405, with the methods that there are.
    #[must_use]
    pub fn method_not_allowed(methods: &[&str]) -> Self {
        let list = methods.join(", ");
        let reported = format!("This resource does not support the method. It supports: {list}.");
        let error = Self::new(ProblemType::MethodNotAllowed, reported);
        match HeaderValue::try_from(list) {
            Ok(list) => error.with_header(ALLOW, list),
            Err(_) => error,
        }
    }

    /// 404; `what` names the resource, such as `The study`.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(ProblemType::NotFound, format!("{what} does not exist."))
    }

    /// 406, with what could be had instead.
    #[must_use]
    pub fn not_acceptable(available: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let available = available.into_iter().map(Into::into).collect();
        Self {
            available,
            ..Self::bare(ProblemType::NotAcceptable)
        }
    }

    /// 409.
    #[must_use]
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::Conflict, detail)
    }

    /// 413.
    #[must_use]
    pub fn payload_too_large(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::PayloadTooLarge, detail)
    }

    /// 415.
    #[must_use]
    pub fn unsupported_media_type(detail: impl Into<String>) -> Self {
        Self::new(ProblemType::UnsupportedMediaType, detail)
    }

    /// 416, with the size the client can choose from.
    #[must_use]
    pub fn range_not_satisfiable(length: u64) -> Self {
        let value = HeaderValue::try_from(format!("bytes */{length}"));
        let error = Self::bare(ProblemType::RangeNotSatisfiable);
        value.map_or(error.clone(), |value| {
            error.with_header(CONTENT_RANGE, value)
        })
    }

    /// 500; the whole chain of causes goes to the log, none of it to the client.
    #[must_use]
    pub fn internal(cause: &(dyn Error + 'static)) -> Self {
        Self::bare(ProblemType::Internal).because(cause)
    }

    /// 500 for what only a defect can cause; `what` goes to the log.
    #[must_use]
    pub fn broken(what: &str) -> Self {
        Self {
            cause: Some(what.into()),
            ..Self::bare(ProblemType::Internal)
        }
    }

    /// 503 with `Retry-After` in seconds; the chain of causes goes to the log.
    #[must_use]
    pub fn unavailable(retry_after: u32, cause: &(dyn Error + 'static)) -> Self {
        Self::bare(ProblemType::Unavailable)
            .because(cause)
            .retry_after(retry_after)
    }

    /// Adds `Retry-After` in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: http::HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds the chain of causes, for the log only.
    #[must_use]
    pub fn because(mut self, cause: &(dyn Error + 'static)) -> Self {
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(inner) = source {
            // Writing to a String cannot fail.
            let _ = write!(chain, ": {inner}");
            source = inner.source();
        }
        self.cause = Some(chain.into());
        self
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The kind.
    #[must_use]
    pub fn problem_type(&self) -> ProblemType {
        self.problem_type
    }

    /// The chain of causes, for the log.
    #[must_use]
    pub fn cause(&self) -> Option<&str> {
        self.cause.as_deref()
    }

    /// The answer in one face.
    #[must_use]
    pub fn respond(&self, api: ErrorFormat, request_id: Option<&str>) -> Response {
        let (content_type, body) = match api {
            ErrorFormat::Problem => ("application/problem+json", self.problem(request_id)),
            ErrorFormat::Text => ("text/plain; charset=utf-8", self.sentence(request_id)),
        };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        for (name, value) in &self.headers {
            headers.append(name, value.clone());
        }
        response
    }

    /// What the client may read of the detail.
    fn public_detail(&self) -> Option<String> {
        let detail = self
            .detail
            .as_deref()
            .filter(|_| !self.status.is_server_error())?;
        let visible = detail.chars().map(|c| if c.is_control() { ' ' } else { c });
        Some(visible.take(MAX_DETAIL).collect())
    }

    fn problem(&self, request_id: Option<&str>) -> String {
        let problem = ProblemDetails {
            kind: format!("{TYPE_PREFIX}{}", self.problem_type.as_str()),
            title: self.problem_type.title(),
            status: self.status.as_u16(),
            detail: self.public_detail(),
            available: &self.available,
            request_id: request_id.filter(|_| self.status.is_server_error()),
        };
        // Texts and numbers only: this cannot fail.
        serde_json::to_string(&problem).unwrap_or_default()
    }

    fn sentence(&self, request_id: Option<&str>) -> String {
        let mut text = self
            .public_detail()
            .unwrap_or_else(|| self.problem_type.title().to_owned());
        if !self.available.is_empty() {
            let _ = write!(text, " Available: {}.", self.available.join(", "));
        }
        if let Some(id) = request_id.filter(|_| self.status.is_server_error()) {
            let _ = write!(text, " Request id: {id}.");
        }
        text
    }
}

impl IntoResponse for HttpError {
    /// The problem face; [`super::layers::errors`] gives it the right one and the request id.
    fn into_response(self) -> Response {
        let mut response = self.respond(ErrorFormat::Problem, None);
        response.extensions_mut().insert(self);
        response
    }
}

/// Gives an error answer its face: ours are written anew, bare ones of the router get a body.
#[must_use]
pub fn dress(response: Response, api: ErrorFormat, request_id: Option<&str>) -> Response {
    let status = response.status();
    if let Some(error) = response.extensions().get::<HttpError>().cloned() {
        return with_headers_of(&response, error.respond(api, request_id));
    }
    let content_type = response.headers().get(CONTENT_TYPE);
    let plain = content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/plain"));
    let ours = content_type.is_none() || (plain && api == ErrorFormat::Problem);
    if !(status.is_client_error() || status.is_server_error()) || !ours {
        return response;
    }
    let error = HttpError {
        status,
        ..HttpError::bare(ProblemType::of_status(status))
    };
    with_headers_of(&response, error.respond(api, request_id))
}

/// Headers that layers further in have set stay, but for those that describe the old body.
fn with_headers_of(old: &Response, mut new: Response) -> Response {
    for (name, value) in old.headers() {
        let of_body = *name == http::header::CONTENT_LENGTH || new.headers().contains_key(name);
        if !of_body || *name == ALLOW {
            new.headers_mut().insert(name, value.clone());
        }
    }
    new
}

#[cfg(test)]
mod tests;
