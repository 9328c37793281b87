//! Byte ranges (RFC 9110 §14) of single-part answers and of multipart answers with one part: one range, else the whole; only
//! the bytes of a range are read.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::error::HttpError;
use super::multipart::writer::{MultipartResponse, PartHead};
use super::represent::body_of;
use crate::archive::content::Representation;

/// What a Range header asks of `length` bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeSpec {
    /// Everything: no Range, one that cannot be read, or several ranges.
    Whole,
    /// These bytes, first to last.
    Part(u64, u64),
    /// Nothing that exists.
    Nothing,
}

/// Reads the Range header; an If-Range that names another strong validator than `etag`, or a date, means the whole
/// (RFC 9110 §13.1.5).
pub(super) fn range_spec(headers: &HeaderMap, length: u64, etag: &str) -> RangeSpec {
    let condition = headers.get(header::IF_RANGE);
    if condition.is_some_and(|named| named != etag || etag.starts_with("W/")) {
        return RangeSpec::Whole;
    }
    let Some(text) = headers.get(header::RANGE).and_then(|v| v.to_str().ok()) else {
        return RangeSpec::Whole;
    };
    let Some(spec) = text.trim().strip_prefix("bytes=") else {
        return RangeSpec::Whole;
    };
    let Some((first, last)) = spec.split_once('-').filter(|_| !spec.contains(',')) else {
        return RangeSpec::Whole;
    };
    let number = |text: &str| text.trim().parse::<u64>();
    match (first.trim().is_empty(), last.trim().is_empty()) {
        (false, false) => match (number(first), number(last)) {
            (Ok(a), Ok(b)) if a <= b => part(a, b, length),
            _ => RangeSpec::Whole,
        },
        (false, true) => number(first).map_or(RangeSpec::Whole, |a| part(a, u64::MAX, length)),
        (true, false) => match number(last) {
            Ok(0) => RangeSpec::Nothing,
            Ok(suffix) => part(length.saturating_sub(suffix), u64::MAX, length),
            Err(_) => RangeSpec::Whole,
        },
        (true, true) => RangeSpec::Whole,
    }
}

fn part(first: u64, last: u64, length: u64) -> RangeSpec {
    match length.checked_sub(1) {
        Some(end) if first <= end => RangeSpec::Part(first, last.min(end)),
        _ => RangeSpec::Nothing,
    }
}

/// Answers content whose validator is `etag`, or the range of it that was asked for.
///
/// # Errors
/// 416 when the range lies outside.
pub(super) async fn ranged(
    headers: &HeaderMap,
    representation: Representation,
    etag: &str,
) -> Result<Response, HttpError> {
    let length = representation.length();
    let mut response = match range_spec(headers, length, etag) {
        RangeSpec::Whole => body_of(representation.all().await?),
        RangeSpec::Nothing => return Err(HttpError::range_not_satisfiable(length)),
        RangeSpec::Part(first, last) => {
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

/// The only part of a multipart answer.
pub(super) struct OnlyPart<'a> {
    /// Digest of the instance it is of.
    pub(super) digest: &'a [u8; 32],
    /// Media type.
    pub(super) media: &'a str,
    /// Transfer syntax, when the media type has one.
    pub(super) syntax: Option<&'a str>,
    /// Absolute URL; the validator depends on it as well.
    pub(super) location: String,
}

/// Answers one part as `multipart/related`, or the range of that body, delimiters and part header included, that was asked
/// for: viewers put ranges together and then read the whole. The same validator means the same bytes.
///
/// # Errors
/// 416 when the range lies outside.
pub(super) async fn ranged_part(
    headers: &HeaderMap,
    representation: Representation,
    part: OnlyPart<'_>,
    etag: &str,
) -> Result<Response, HttpError> {
    let mut digest = blake3::Hasher::new();
    let digest = digest
        .update(part.digest)
        .update(etag.as_bytes())
        .finalize();
    let answer = MultipartResponse::repeatable(part.media, &digest);
    let (before, behind) = answer.around(&PartHead {
        media_type: part.media.to_owned(),
        transfer_syntax: part.syntax.map(ToOwned::to_owned),
        content_location: Some(part.location),
        length: Some(representation.length()),
    });
    let body = representation.between(before, behind);
    let mut response = ranged(headers, body, etag).await?;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, answer.content_type());
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(range: &str) -> RangeSpec {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, HeaderValue::from_str(range).unwrap());
        range_spec(&headers, 100, "\"1\"")
    }

    #[test]
    fn a_range_counts_under_its_condition() {
        let with = |condition: &'static str, etag: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, HeaderValue::from_static("bytes=0-9"));
            headers.insert(header::IF_RANGE, HeaderValue::from_static(condition));
            range_spec(&headers, 100, etag)
        };
        assert_eq!(with("\"1\"", "\"1\""), RangeSpec::Part(0, 9));
        assert_eq!(with("\"2\"", "\"1\""), RangeSpec::Whole);
        assert_eq!(with("W/\"1\"", "\"1\""), RangeSpec::Whole);
        assert_eq!(with("W/\"1\"", "W/\"1\""), RangeSpec::Whole);
        let date = "Sun, 29 Nov 2026 00:00:00 GMT";
        assert_eq!(with(date, "\"1\""), RangeSpec::Whole);
    }

    #[test]
    fn ranges_are_read_as_rfc_9110_says() {
        assert_eq!(read("bytes=0-9"), RangeSpec::Part(0, 9));
        assert_eq!(read("bytes=90-"), RangeSpec::Part(90, 99));
        assert_eq!(read("bytes=-10"), RangeSpec::Part(90, 99));
        assert_eq!(read("bytes=50-500"), RangeSpec::Part(50, 99));
        assert_eq!(read("bytes=100-"), RangeSpec::Nothing);
        assert_eq!(read("bytes=-0"), RangeSpec::Nothing);
        assert_eq!(read("bytes=0-1,5-6"), RangeSpec::Whole);
        assert_eq!(read("bytes=9-1"), RangeSpec::Whole);
        assert_eq!(read("lines=1-2"), RangeSpec::Whole);
        assert_eq!(range_spec(&HeaderMap::new(), 100, ""), RangeSpec::Whole);
    }
}
