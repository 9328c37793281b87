//! Byte ranges of single-part answers (RFC 9110 §14): one range, else the whole; only the bytes of a range are read.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::error::HttpError;
use super::represent::body_of;
use crate::archive::content::Representation;

/// What a Range header asks of `length` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Everything: no Range, one that cannot be read, or several ranges.
    Whole,
    /// These bytes, first to last.
    Part(u64, u64),
    /// Nothing that exists.
    Nothing,
}

/// Reads the Range header; with If-Range the whole is sent, as nothing here has a validator that it could name.
pub(super) fn asked(headers: &HeaderMap, length: u64) -> Asked {
    if headers.contains_key(header::IF_RANGE) {
        return Asked::Whole;
    }
    let Some(text) = headers.get(header::RANGE).and_then(|v| v.to_str().ok()) else {
        return Asked::Whole;
    };
    let Some(spec) = text.trim().strip_prefix("bytes=") else {
        return Asked::Whole;
    };
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else {
        return Asked::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (first.trim().is_empty(), last.trim().is_empty()) {
        (false, false) => match (number(first), number(last)) {
            (Ok(a), Ok(b)) if a <= b => part(a, b, length),
            _ => Asked::Whole,
        },
        (false, true) => number(first).map_or(Asked::Whole, |a| part(a, u64::MAX, length)),
        (true, false) => match number(last) {
            Ok(0) => Asked::Nothing,
            Ok(suffix) => part(length.saturating_sub(suffix), u64::MAX, length),
            Err(_) => Asked::Whole,
        },
        (true, true) => Asked::Whole,
    }
}

fn part(first: u64, last: u64, length: u64) -> Asked {
    match length.checked_sub(1) {
        Some(end) if first <= end => Asked::Part(first, last.min(end)),
        _ => Asked::Nothing,
    }
}

/// Answers content, or the range of it that was asked for.
///
/// # Errors
/// 416 when the range lies outside.
pub(super) async fn ranged(
    headers: &HeaderMap,
    representation: Representation,
) -> Result<Response, HttpError> {
    let length = representation.length();
    let mut response = match asked(headers, length) {
        Asked::Whole => body_of(representation.all().await?),
        Asked::Nothing => return Err(HttpError::range_not_satisfiable(length)),
        Asked::Part(first, last) => {
            let end = last.saturating_add(1);
            let mut response = body_of(representation.range(first..end).await?);
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{last}/{length}");
            if let Ok(value) = HeaderValue::try_from(range) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            response
        }
    };
    response
        .headers_mut()
        .insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(range: &str) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        asked(&headers, 100)
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(read("bytes=0-9"), Asked::Part(0, 9));
        assert_eq!(read("bytes=90-"), Asked::Part(90, 99));
        assert_eq!(read("bytes=-10"), Asked::Part(90, 99));
        assert_eq!(read("bytes=50-500"), Asked::Part(50, 99));
        assert_eq!(read("bytes=100-"), Asked::Nothing);
        assert_eq!(read("bytes=-0"), Asked::Nothing);
        assert_eq!(read("bytes=0-1,5-6"), Asked::Whole);
        assert_eq!(read("bytes=9-1"), Asked::Whole);
        assert_eq!(read("lines=1-2"), Asked::Whole);
        assert_eq!(asked(&HeaderMap::new(), 100), Asked::Whole);
    }
}
