//! First versions of what a bulk update changed, as a header asks for them (dicom-service §13).

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;

use super::error::{HttpError, ProblemType};

/// The header that asks for the first version of what a bulk update changed.
pub(super) const ORIGINAL: &str = "msdicom-request-original";

/// Whether a request asks for first versions.
///
/// # Errors
/// 400 for another value than `true` or `false`.
pub(super) fn wants_original(headers: &HeaderMap) -> Result<bool, HttpError> {
    let Some(value) = headers.get(ORIGINAL) else {
        return Ok(false);
    };
    let value = value.to_str().unwrap_or_default().trim();
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(HttpError::bad_request(
            ProblemType::InvalidRequest,
            format!("The header {ORIGINAL} must be true or false."),
        )),
    }
}

/// Says that an answer depends on the header.
pub(super) fn varying(mut response: Response) -> Response {
    response
        .headers_mut()
        .append(header::VARY, HeaderValue::from_static(ORIGINAL));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_true_or_false() {
        let asked = |value: &'static str| {
            let headers = HeaderMap::from_iter([(
                ORIGINAL.parse().unwrap(),
                HeaderValue::from_static(value),
            )]);
            wants_original(&headers).ok()
        };
        for (value, expected) in [
            ("true", Some(true)),
            (" True ", Some(true)),
            ("false", Some(false)),
            ("1", None),
            ("", None),
        ] {
            assert_eq!(asked(value), expected, "{value}");
        }
        assert!(!wants_original(&HeaderMap::new()).unwrap());
    }
}
