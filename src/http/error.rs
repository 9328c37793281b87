//! From "this went wrong" to a status and a body, in the two faces the server has.
//!
//! `/dicom-web` answers `application/problem+json` (RFC 9457) with a stable `type`, `/v*` one sentence of plain text.
//! Invariants: a 5xx body reveals nothing but the request id; each [`ProblemType`] stands in `docs/errors.md`.

use crate::archive::{ArchiveError, BlobError, IndexError};
use crate::memory::NoMemory;
use std::error::Error;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{ALLOW, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

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

macro_rules! slugs {
    ($($(#[$doc:meta])* $name:ident, $text:literal, $status:ident, $title:literal;)*) => {
        /// What kind of error it is; the text is a promise to clients.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ProblemType { $($(#[$doc])* $name,)* }

        impl ProblemType {
            /// Every kind there is.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The status that goes with it.
            #[must_use]
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// One sentence that is always true of it.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

slugs! {
    /// The request is wrong in a way no other kind names.
    InvalidRequest, "invalid-request", BAD_REQUEST, "The request cannot be understood.";
    /// A UID of the path or body is not a UID.
    InvalidUid, "invalid-uid", BAD_REQUEST, "A UID is not valid.";
    /// A query parameter has a value that cannot be used.
    InvalidQuery, "invalid-query", BAD_REQUEST, "A query parameter is not valid.";
    /// A frame number is zero or not a number.
    InvalidFrame, "invalid-frame", BAD_REQUEST, "A frame number is not valid.";
    /// The body cannot be read.
    InvalidBody, "invalid-body", BAD_REQUEST, "The request body cannot be read.";
    /// The multipart body ends early or breaks its rules.
    InvalidMultipart, "invalid-multipart", BAD_REQUEST, "The multipart body cannot be read.";
    /// The version of the path is well formed, but there is no such version.
    UnsupportedApiVersion, "unsupported-api-version", BAD_REQUEST, "The API version is not supported.";
    /// The partition of the path is missing, has no valid name, or does not exist for the caller.
    InvalidPartition, "invalid-partition", BAD_REQUEST, "The path names no partition that exists.";
    /// The feature is switched off.
    FeatureDisabled, "feature-disabled", BAD_REQUEST, "The feature is switched off.";
    /// No valid token.
    Unauthenticated, "unauthenticated", UNAUTHORIZED, "A valid bearer token is needed.";
    /// The token does not allow it.
    Forbidden, "forbidden", FORBIDDEN, "Authorization failed.";
    /// There is no such resource.
    NotFound, "not-found", NOT_FOUND, "The resource does not exist.";
    /// The resource does not know the method.
    MethodNotAllowed, "method-not-allowed", METHOD_NOT_ALLOWED, "The resource does not support this method.";
    /// Nothing the client accepts can be produced.
    NotAcceptable, "not-acceptable", NOT_ACCEPTABLE, "None of the accepted representations can be produced.";
    /// The client was too slow or fell silent.
    RequestTimeout, "request-timeout", REQUEST_TIMEOUT, "The request was not received in time.";
    /// It exists already, or something else stands against it.
    Conflict, "conflict", CONFLICT, "The request conflicts with what is stored.";
    /// The resource was deleted.
    Gone, "gone", GONE, "The resource was deleted.";
    /// The condition of the request does not hold.
    PreconditionFailed, "precondition-failed", PRECONDITION_FAILED, "The condition of the request does not hold.";
    /// The body, a part, or the answer to be is too large.
    PayloadTooLarge, "payload-too-large", PAYLOAD_TOO_LARGE, "The request or its answer is too large.";
    /// The Content-Type cannot be stored or read here.
    UnsupportedMediaType, "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The Content-Type is not supported here.";
    /// The byte range lies outside the representation.
    RangeNotSatisfiable, "range-not-satisfiable", RANGE_NOT_SATISFIABLE, "The byte range lies outside the resource.";
    /// The request names another server.
    MisdirectedRequest, "misdirected-request", MISDIRECTED_REQUEST, "The request is meant for another server.";
    /// The client asks too often.
    TooManyRequests, "too-many-requests", TOO_MANY_REQUESTS, "Too many requests.";
    /// Something failed inside.
    Internal, "internal", INTERNAL_SERVER_ERROR, "The server failed to answer.";
    /// The standard knows it, this server does not.
    NotImplemented, "not-implemented", NOT_IMPLEMENTED, "The operation is not implemented.";
    /// The disk is full or read-only.
    InsufficientStorage, "insufficient-storage", INSUFFICIENT_STORAGE, "The server cannot write: its disk is full or read-only.";
    /// Database, store or a limit stands in the way for now.
    Unavailable, "unavailable", SERVICE_UNAVAILABLE, "The server cannot answer right now.";
}

impl ProblemType {
    /// The kind that fits a bare status, as an unknown route or method gives it.
    #[must_use]
    pub fn of_status(status: StatusCode) -> Self {
        let general = match status {
            StatusCode::BAD_REQUEST => Self::InvalidRequest,
            status if status.is_client_error() => Self::InvalidRequest,
            _ => Self::Internal,
        };
        let fitting = Self::ALL
            .iter()
            .copied()
            .find(|problem_type| problem_type.status() == status);
        if status == StatusCode::BAD_REQUEST {
            general
        } else {
            fitting.unwrap_or(general)
        }
    }
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

impl From<ArchiveError> for HttpError {
    fn from(error: ArchiveError) -> Self {
        Self::from(&error)
    }
}

impl From<&ArchiveError> for HttpError {
    fn from(error: &ArchiveError) -> Self {
        match error {
            ArchiveError::Shared(error) => Self::from(&**error),
            ArchiveError::Codec(_) | ArchiveError::Render(_) => {
                let reported = error_chain(error);
                let reported =
                    format!("{reported} What is stored can be had with transfer-syntax=*.");
                Self::new(ProblemType::NotAcceptable, reported).because(error)
            }
            ArchiveError::NotFound { .. } => Self::new(ProblemType::NotFound, capitalized(error)),
            ArchiveError::Unmatched => Self::new(
                ProblemType::PreconditionFailed,
                "The study is not as If-Match or If-None-Match says; nothing was stored. Get its ETag again.",
            ),
            ArchiveError::Invalid { .. } => {
                Self::new(ProblemType::InvalidRequest, capitalized(error))
            }
            ArchiveError::NotAcceptable { available, .. } => {
                Self::not_acceptable(available.clone())
            }
            ArchiveError::TooLarge { .. } => Self::payload_too_large(capitalized(error)),
            ArchiveError::Busy { .. } | ArchiveError::Memory(NoMemory::Busy) => {
                Self::unavailable(2, error)
            }
            ArchiveError::Memory(NoMemory::TooLarge { .. }) => {
                Self::payload_too_large(capitalized(error))
            }
            ArchiveError::Index(inner) => from_index(inner, error),
            ArchiveError::Commit(inner) => from_index(inner, error),
            ArchiveError::Blob(BlobError::Full { .. }) => {
                Self::bare(ProblemType::InsufficientStorage).because(error)
            }
            ArchiveError::Blob(BlobError::Unavailable { .. }) | ArchiveError::Down { .. } => {
                Self::unavailable(5, error)
            }
            ArchiveError::Blob(
                BlobError::Missing { .. }
                | BlobError::Short { .. }
                | BlobError::Damaged { .. }
                | BlobError::Config { .. }
                | BlobError::Io { .. },
            )
            | ArchiveError::Stored(_)
            | ArchiveError::Lost { .. } => Self::internal(error),
        }
    }
}

fn from_index(inner: &IndexError, error: &ArchiveError) -> HttpError {
    match inner {
        IndexError::Unavailable(_) | IndexError::NoMemory | IndexError::Interrupted { .. } => {
            HttpError::unavailable(5, error)
        }
        IndexError::Full(_) => HttpError::bare(ProblemType::InsufficientStorage).because(error),
        IndexError::TooSlow { .. } => HttpError::payload_too_large(
            "The search takes too long: narrow it by an attribute with an index, such as StudyDate, PatientID or \
             AccessionNumber; leave out an exact count and a high offset.",
        ),
        IndexError::Database { .. }
        | IndexError::Corrupt { .. }
        | IndexError::Open { .. }
        | IndexError::Absent => HttpError::internal(error),
    }
}

/// A codec's reason is the client's to read: it names shapes and syntaxes, no values.
fn error_chain(error: &ArchiveError) -> String {
    let cause = error
        .source()
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    format!("{}{cause}.", capitalized(error).trim_end_matches('.'))
}

/// The message as a sentence.
fn capitalized(error: &ArchiveError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first: String = letters
        .next()
        .map_or_else(String::new, |c| c.to_uppercase().collect());
    let dot = if text.ends_with('.') { "" } else { "." };
    format!("{first}{}{dot}", letters.as_str())
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
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn read(response: Response) -> (u16, String, String) {
        let status = response.status().as_u16();
        let content_type = response.headers()[CONTENT_TYPE]
            .to_str()
            .unwrap()
            .to_owned();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (
            status,
            content_type,
            String::from_utf8(body.to_vec()).unwrap(),
        )
    }

    #[tokio::test]
    async fn a_problem_has_type_title_status_and_detail() {
        let error = HttpError::bad_request(
            ProblemType::InvalidUid,
            "The study UID '1..2' is not valid.\r\n\u{7}",
        );
        let (status, content_type, body) =
            read(error.respond(ErrorFormat::Problem, Some("id1"))).await;
        assert_eq!(
            (status, content_type.as_str()),
            (400, "application/problem+json")
        );
        insta::assert_snapshot!(body, @r#"{"type":"urn:stowage:error:invalid-uid","title":"A UID is not valid.","status":400,"detail":"The study UID '1..2' is not valid.   "}"#);
    }

    #[tokio::test]
    async fn the_text_face_is_one_sentence() {
        let error = HttpError::invalid_query("limit", "It must be between 1 and 200.");
        let (status, content_type, body) = read(error.respond(ErrorFormat::Text, None)).await;
        assert_eq!(
            (status, content_type.as_str()),
            (400, "text/plain; charset=utf-8")
        );
        assert_eq!(
            body,
            "The query parameter 'limit' is invalid. It must be between 1 and 200."
        );
        let (_, _, body) =
            read(HttpError::forbidden("delete").respond(ErrorFormat::Text, None)).await;
        assert!(
            body.starts_with("Authorization failed. ") && body.contains("'delete'"),
            "{body}"
        );
    }

    #[tokio::test]
    async fn a_406_lists_what_is_available() {
        let error = HttpError::not_acceptable(["image/jpeg", "image/png"]);
        let (status, _, body) = read(error.respond(ErrorFormat::Text, None)).await;
        assert_eq!(status, 406);
        assert!(
            body.ends_with("Available: image/jpeg, image/png."),
            "{body}"
        );
        let (_, _, body) = read(error.respond(ErrorFormat::Problem, None)).await;
        assert!(
            body.contains(r#""available":["image/jpeg","image/png"]"#),
            "{body}"
        );
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the row of {name} is gone")]
    struct SecretCause {
        name: &'static str,
        #[source]
        source: std::io::Error,
    }

    #[tokio::test]
    async fn a_server_error_reveals_only_the_request_id() {
        let cause = SecretCause {
            name: "blob-key",
            source: std::io::Error::other("disk /dev/sda1"),
        };
        let internal = HttpError::internal(&cause);
        assert_eq!(
            internal.cause(),
            Some("the row of blob-key is gone: disk /dev/sda1")
        );
        for error in [
            internal,
            HttpError::unavailable(7, &cause),
            HttpError::new(ProblemType::Internal, "blob-key"),
        ] {
            for api in [ErrorFormat::Problem, ErrorFormat::Text] {
                let (_, _, body) = read(error.respond(api, Some("req-1"))).await;
                assert!(body.contains("req-1"), "{body}");
                assert!(
                    !body.contains("blob-key") && !body.contains("sda1"),
                    "{body}"
                );
            }
        }
        let response = HttpError::unavailable(7, &cause).respond(ErrorFormat::Text, None);
        assert_eq!(response.headers()[RETRY_AFTER], "7");
        assert_eq!(
            HttpError::range_not_satisfiable(9)
                .respond(ErrorFormat::Text, None)
                .headers()[CONTENT_RANGE],
            "bytes */9"
        );
    }

    #[tokio::test]
    async fn bare_answers_of_the_router_get_a_body_and_keep_their_headers() {
        let bare = |status: StatusCode| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = status;
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET"));
            response
        };
        let dressed = dress(
            bare(StatusCode::METHOD_NOT_ALLOWED),
            ErrorFormat::Problem,
            None,
        );
        assert_eq!(dressed.headers()[ALLOW], "GET");
        assert!(read(dressed).await.2.contains("method-not-allowed"));
        let (status, content_type, body) =
            read(dress(bare(StatusCode::NOT_FOUND), ErrorFormat::Text, None)).await;
        assert_eq!(
            (status, content_type.as_str()),
            (404, "text/plain; charset=utf-8")
        );
        assert_eq!(body, "The resource does not exist.");
        let fine = dress(bare(StatusCode::NO_CONTENT), ErrorFormat::Text, None);
        assert!(!fine.headers().contains_key(CONTENT_TYPE));
        let own = dress(
            HttpError::conflict("It is there.").into_response(),
            ErrorFormat::Text,
            None,
        );
        assert_eq!(read(own).await.2, "It is there.");
        assert_eq!(
            ProblemType::of_status(StatusCode::IM_A_TEAPOT),
            ProblemType::InvalidRequest
        );
        assert_eq!(
            ProblemType::of_status(StatusCode::BAD_GATEWAY),
            ProblemType::Internal
        );
    }

    #[test]
    fn every_slug_stands_in_the_page() {
        let page = include_str!("../../docs/errors.md");
        let listed: Vec<_> = page
            .lines()
            .filter_map(|line| line.strip_prefix("- `"))
            .map(|line| line.split('`').next().unwrap_or_default())
            .collect();
        let known: Vec<_> = ProblemType::ALL
            .iter()
            .map(|problem_type| problem_type.as_str())
            .collect();
        assert_eq!(listed, known);
        for problem_type in ProblemType::ALL {
            let item = format!(
                "- `{}` ({}): ",
                problem_type.as_str(),
                problem_type.status().as_u16()
            );
            assert!(page.contains(&item), "{item}");
        }
    }
}
