//! The kinds of errors: the text of each is a promise to clients, and stands in `docs/errors.md`.

use http::StatusCode;

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
