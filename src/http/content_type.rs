//! The Content-Type of requests and parts, read leniently: quoted or bare values, any order, stray semicolons.
//!
//! Invariant: a boundary that leaves this module is 1 to 200 visible ASCII characters (blanks inside allowed).

use http::HeaderMap;
use http::header::CONTENT_TYPE;

use super::parameters::{ParameterItem, parse_item};

/// Longest boundary accepted; the standard says 70 (RFC 2046 §5.1.1), some clients write more.
const MAX_BOUNDARY: usize = 200;
/// Longest Content-Type that is looked at.
const MAX_TEXT: usize = 8 * 1024;

/// Why a Content-Type cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ContentTypeError {
    /// There is none.
    #[error("the Content-Type header is missing")]
    Missing,
    /// It is not `type/subtype`, too long, or given twice.
    #[error("the Content-Type header cannot be read")]
    Malformed,
    /// A `multipart/related` without `boundary`.
    #[error("the Content-Type multipart/related needs a boundary parameter")]
    NoBoundary,
    /// The boundary is empty, too long or holds control characters.
    #[error("the boundary parameter of the Content-Type must be 1 to 200 visible characters")]
    BadBoundary,
    /// A `start` parameter, which would reorder the parts.
    #[error("the start parameter of multipart/related is not supported; send the root part first")]
    Start,
}

/// A Content-Type taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentType {
    item: ParameterItem,
}

/// What `multipart/related` needs to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Related {
    /// Text between `--` and the end of a delimiter line.
    pub boundary: String,
    /// The `type` parameter, in lower case and without its own parameters: media type of the root part.
    pub root_type: Option<String>,
}

impl ContentType {
    /// Reads one Content-Type value.
    ///
    /// # Errors
    /// [`ContentTypeError::Malformed`] when it is not `type/subtype`.
    pub fn parse(text: &str) -> Result<Self, ContentTypeError> {
        if text.len() > MAX_TEXT {
            return Err(ContentTypeError::Malformed);
        }
        let mut item = parse_item(text);
        item.head.make_ascii_lowercase();
        let halves = item.head.split_once('/');
        let sound = |half: &str| {
            let visible = |b: u8| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&b);
            !half.is_empty() && half.bytes().all(visible)
        };
        match halves {
            Some((a, b)) if sound(a) && sound(b) => Ok(Self { item }),
            _ => Err(ContentTypeError::Malformed),
        }
    }

    /// The Content-Type of a request.
    ///
    /// # Errors
    /// [`ContentTypeError::Missing`] without one, [`ContentTypeError::Malformed`] with two or an unreadable one.
    pub fn of_request(headers: &HeaderMap) -> Result<Self, ContentTypeError> {
        let mut values = headers.get_all(CONTENT_TYPE).iter();
        let first = values.next().ok_or(ContentTypeError::Missing)?;
        if values.next().is_some() {
            return Err(ContentTypeError::Malformed);
        }
        let text =
            std::str::from_utf8(first.as_bytes()).map_err(|_| ContentTypeError::Malformed)?;
        if text.trim().is_empty() {
            return Err(ContentTypeError::Missing);
        }
        Self::parse(text)
    }

    /// `type/subtype` in lower case.
    #[must_use]
    pub fn essence(&self) -> &str {
        &self.item.head
    }

    /// Whether it is this `type/subtype` (lower case), whatever the parameters.
    #[must_use]
    pub fn is(&self, essence: &str) -> bool {
        self.item.head == essence
    }

    /// The first value of a parameter; the name in lower case.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.item.first(name)
    }

    /// What a `multipart/related` body needs to be read; the caller has checked [`Self::is`].
    ///
    /// Of two boundaries the last counts: curl appends its own to a header given by hand.
    ///
    /// # Errors
    /// [`ContentTypeError`] for a missing or bad boundary and for a `start` parameter.
    pub fn related(&self) -> Result<Related, ContentTypeError> {
        if self.item.first("start").is_some() {
            return Err(ContentTypeError::Start);
        }
        let boundary = self
            .item
            .last("boundary")
            .ok_or(ContentTypeError::NoBoundary)?;
        let visible = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
        let sound = !boundary.is_empty()
            && boundary.len() <= MAX_BOUNDARY
            && boundary.bytes().all(visible)
            && !boundary.ends_with(' ');
        if !sound {
            return Err(ContentTypeError::BadBoundary);
        }
        let root_type = self
            .item
            .first("type")
            .map(|text| parse_item(text).head.to_ascii_lowercase());
        Ok(Related {
            boundary: boundary.to_owned(),
            root_type: root_type.filter(|text| !text.is_empty()),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn related(text: &str) -> Result<Related, ContentTypeError> {
        let content_type = ContentType::parse(text).unwrap();
        assert!(content_type.is("multipart/related"), "{text}");
        content_type.related()
    }

    #[test]
    fn every_spelling_of_a_store_request_gives_the_boundary() {
        for (text, boundary, root_type) in [
            (
                "multipart/related; type=\"application/dicom\"; boundary=ABCD1234",
                "ABCD1234",
                Some("application/dicom"),
            ),
            (
                "multipart/related;type=application/dicom;boundary=ABCD1234",
                "ABCD1234",
                Some("application/dicom"),
            ),
            ("multipart/related; boundary=ABCD1234", "ABCD1234", None),
            (
                "Multipart/Related; Boundary=\"a b:c\" ;type=\"Application/DICOM\";",
                "a b:c",
                Some("application/dicom"),
            ),
            // OHIF
            (
                "multipart/related; type=\"application/dicom\"; boundary=\"2f1c0bd4-0000-4dd1-9b3f-7d2c0ab5d0c1\"",
                "2f1c0bd4-0000-4dd1-9b3f-7d2c0ab5d0c1",
                Some("application/dicom"),
            ),
            // Python dicomweb-client and MIME libraries
            (
                "multipart/related; type=\"application/dicom\"; boundary===============1==",
                "==============1==",
                Some("application/dicom"),
            ),
            // curl --form under a header given by hand
            (
                "multipart/related; type=\"application/dicom\"; boundary=------------------------7d1c9b",
                "------------------------7d1c9b",
                Some("application/dicom"),
            ),
            (
                "multipart/related; type=\"application/dicom\"; boundary=ABCD1234; boundary=------------------------7d1c9b",
                "------------------------7d1c9b",
                Some("application/dicom"),
            ),
            // characters that RFC 2046 wants quoted
            (
                "multipart/related; boundary=a/b=c:(d)?,e'+_.",
                "a/b=c:(d)?,e'+_.",
                None,
            ),
            ("multipart/related; boundary=\"q\\\"x\"", "q\"x", None),
            (
                "multipart/related; type=\"application/dicom+json; charset=utf-8\"; boundary=b",
                "b",
                Some("application/dicom+json"),
            ),
        ] {
            let found = related(text).unwrap();
            assert_eq!(found.boundary, boundary, "{text}");
            assert_eq!(found.root_type.as_deref(), root_type, "{text}");
        }
    }

    #[test]
    fn unusable_multipart_headers_say_why() {
        assert_eq!(
            related("multipart/related"),
            Err(ContentTypeError::NoBoundary)
        );
        assert_eq!(
            related("multipart/related; boundary="),
            Err(ContentTypeError::BadBoundary)
        );
        assert_eq!(
            related("multipart/related; boundary=\"a \""),
            Err(ContentTypeError::BadBoundary)
        );
        assert_eq!(
            related("multipart/related; boundary=a\tb"),
            Err(ContentTypeError::BadBoundary)
        );
        assert_eq!(
            related(&format!("multipart/related; boundary={}", "x".repeat(201))),
            Err(ContentTypeError::BadBoundary)
        );
        assert_eq!(
            related("multipart/related; start=\"<1>\"; boundary=a"),
            Err(ContentTypeError::Start)
        );
    }

    #[test]
    fn a_request_has_exactly_one_readable_content_type() {
        let mut headers = HeaderMap::new();
        assert_eq!(
            ContentType::of_request(&headers),
            Err(ContentTypeError::Missing)
        );
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/dicom; transfer-syntax=1.2.3"),
        );
        let found = ContentType::of_request(&headers).unwrap();
        assert_eq!(found.essence(), "application/dicom");
        assert_eq!(found.parameter("transfer-syntax"), Some("1.2.3"));
        headers.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert_eq!(
            ContentType::of_request(&headers),
            Err(ContentTypeError::Malformed)
        );
        for bad in ["application", "/", "a/", "a/b/c", "a b/c", "a/b,c/d"] {
            assert_eq!(
                ContentType::parse(bad),
                Err(ContentTypeError::Malformed),
                "{bad}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(multipart/related;)?.{0,120}") {
            if let Ok(Ok(found)) = ContentType::parse(&text).map(|parsed| parsed.related()) {
                proptest::prop_assert!((1..=MAX_BOUNDARY).contains(&found.boundary.len()));
                proptest::prop_assert!(found.boundary.is_ascii());
            }
        }
    }
}
