//! The only place where an error becomes a status.
//!
//! Two faces: `application/problem+json` with a stable slug (`docs/errors.md`) under `/dicom-web`, one sentence of text
//! under `/v*` (dicom-service §2). Invariant: a 5xx body reveals nothing but the request id; no body names a patient.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::profile::Errors;
use crate::archive::ArchiveError;
use crate::blob::BlobError;
use crate::index::IndexError;

/// An answer that is not a success.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{detail}")]
pub struct HttpError {
    status: StatusCode,
    slug: &'static str,
    detail: String,
    available: Vec<String>,
    headers: HeaderMap,
}

impl HttpError {
    fn new(status: StatusCode, slug: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            slug,
            detail: detail.into(),
            available: Vec::new(),
            headers: HeaderMap::new(),
        }
    }

    fn with_header(mut self, name: header::HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    fn with_available(mut self, available: &[impl AsRef<str>]) -> Self {
        self.available = available.iter().map(|a| a.as_ref().to_owned()).collect();
        self
    }

    /// 400.
    #[must_use]
    pub fn bad_request(slug: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, slug, detail)
    }

    /// 401 with the challenge.
    #[must_use]
    pub fn unauthorized(detail: &str, challenge: HeaderValue) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            .with_header(header::WWW_AUTHENTICATE, challenge)
    }

    /// 403.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Authorization failed.")
    }

    /// 404.
    #[must_use]
    pub fn not_found(detail: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", detail)
    }

    /// 405; the router adds `Allow`.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "The resource does not have this method; the Allow header lists those it has.",
        )
    }

    /// 406 with what can be had.
    #[must_use]
    pub fn not_acceptable(available: &[impl AsRef<str>]) -> Self {
        let list: Vec<&str> = available.iter().map(AsRef::as_ref).collect();
        let detail = format!(
            "None of the accepted representations can be made. Available: {}.",
            list.join(", ")
        );
        Self::new(StatusCode::NOT_ACCEPTABLE, "not-acceptable", detail).with_available(available)
    }

    /// 408: the client stopped sending.
    #[must_use]
    pub fn request_timeout(detail: &str) -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", detail)
    }

    /// 409.
    #[must_use]
    pub fn conflict(slug: &'static str, detail: &str) -> Self {
        Self::new(StatusCode::CONFLICT, slug, detail)
    }

    /// 413.
    #[must_use]
    pub fn payload_too_large(detail: &str) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", detail)
    }

    /// 415 with what can be sent.
    #[must_use]
    pub fn unsupported_media_type(detail: &str, accepted: &[&str]) -> Self {
        let detail = format!("{detail}. Send one of: {}.", accepted.join(", "));
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            detail,
        )
        .with_available(accepted)
    }

    /// 416 with the length there is.
    #[must_use]
    pub fn range_not_satisfiable(length: u64) -> Self {
        let error = Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "range",
            format!("The range lies outside the {length} bytes there are."),
        );
        match HeaderValue::try_from(format!("bytes */{length}")) {
            Ok(value) => error.with_header(header::CONTENT_RANGE, value),
            Err(_) => error,
        }
    }

    /// 503 with Retry-After in seconds.
    #[must_use]
    pub fn unavailable(detail: &str, retry_after: u64) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
            .with_header(header::RETRY_AFTER, HeaderValue::from(retry_after))
    }

    /// 507.
    #[must_use]
    pub fn insufficient_storage() -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "insufficient-storage",
            "The server cannot write: its disk is full or read-only.",
        )
    }

    /// 500; `what` goes to the log, not to the client.
    #[must_use]
    pub fn internal(what: &str) -> Self {
        tracing::error!(what, "a request failed inside the server");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed; its log says why under the request id.",
        )
    }

    /// The answer in the form of a face.
    #[must_use]
    pub fn render(&self, form: Errors, request_id: Option<&str>) -> Response {
        let mut response = match form {
            Errors::Text => {
                let body = if self.status == StatusCode::METHOD_NOT_ALLOWED {
                    String::new()
                } else {
                    self.detail.clone()
                };
                let kind = HeaderValue::from_static("text/plain; charset=utf-8");
                ([(header::CONTENT_TYPE, kind)], body).into_response()
            }
            Errors::Problem => {
                let mut body = json!({
                    "type": format!("/problems/{}", self.slug),
                    "title": self.status.canonical_reason().unwrap_or("Error"),
                    "status": self.status.as_u16(),
                    "detail": self.detail,
                });
                if let (Some(object), false) = (body.as_object_mut(), self.available.is_empty()) {
                    object.insert("available".to_owned(), json!(self.available));
                }
                if let (Some(object), Some(id)) = (
                    body.as_object_mut(),
                    request_id.filter(|_| self.status.is_server_error()),
                ) {
                    object.insert("requestId".to_owned(), json!(id));
                }
                let kind = HeaderValue::from_static("application/problem+json");
                ([(header::CONTENT_TYPE, kind)], body.to_string()).into_response()
            }
        };
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers.clone());
        response
    }
}

impl IntoResponse for HttpError {
    /// Text now; the layer of a face renders it again in the face's form.
    fn into_response(self) -> Response {
        let mut response = self.render(Errors::Text, None);
        response.extensions_mut().insert(self);
        response
    }
}

impl From<ArchiveError> for HttpError {
    fn from(error: ArchiveError) -> Self {
        match error {
            ArchiveError::NotFound { .. } => Self::not_found(&sentence(&error)),
            ArchiveError::Invalid { .. } => Self::bad_request("invalid", &sentence(&error)),
            ArchiveError::NotAcceptable { available, .. } => Self::not_acceptable(&available),
            ArchiveError::TooLarge { .. } => Self::payload_too_large(&sentence(&error)),
            ArchiveError::Busy { .. } => Self::unavailable(&sentence(&error), 2),
            ArchiveError::Index(ref inner) => from_index(inner, &error),
            ArchiveError::Commit(ref inner) => from_index(inner, &error),
            ArchiveError::Blob(BlobError::Full { .. }) => {
                log(&error);
                Self::insufficient_storage()
            }
            ArchiveError::Blob(
                BlobError::Missing { .. } | BlobError::Short { .. } | BlobError::Io { .. },
            )
            | ArchiveError::Stored(_)
            | ArchiveError::Lost { .. } => {
                log(&error);
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "The server failed; its log says why under the request id.",
                )
            }
        }
    }
}

fn from_index(inner: &IndexError, error: &ArchiveError) -> HttpError {
    log(error);
    match inner {
        IndexError::Unavailable(_) => {
            HttpError::unavailable("The index cannot be reached; try again.", 5)
        }
        IndexError::Full(_) => HttpError::insufficient_storage(),
        IndexError::Database { .. } | IndexError::Corrupt { .. } | IndexError::Open { .. } => {
            HttpError::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "The server failed; its log says why under the request id.",
            )
        }
    }
}

/// The whole chain, once.
fn log(error: &ArchiveError) {
    tracing::error!(
        error = error as &dyn std::error::Error,
        "a request failed inside the server"
    );
}

/// The message with a capital letter and a full stop.
fn sentence(error: &ArchiveError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .map(|c| c.to_uppercase().collect())
        .unwrap_or_default();
    let dot = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{dot}", letters.as_str())
}
