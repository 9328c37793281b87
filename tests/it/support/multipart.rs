//! `multipart/related` bodies, written and read by the letter of RFC 2046.

use memchr::memmem;

use super::http::Part;

/// Boundary of the bodies written here.
pub(crate) const BOUNDARY: &str = "stowage-test-boundary";

/// The `Content-Type` that goes with [`body`].
pub(crate) fn content_type() -> String {
    format!("multipart/related; type=\"application/dicom\"; boundary={BOUNDARY}")
}

/// A body with one `application/dicom` part for each file.
pub(crate) fn body<'a>(files: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    body_with(BOUNDARY, files)
}

/// As [`body`], with a boundary.
pub(crate) fn body_with<'a>(boundary: &str, files: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut body = Vec::new();
    for file in files {
        body.extend(part(boundary, "Content-Type: application/dicom\r\n", file));
    }
    body.extend(format!("--{boundary}--\r\n").bytes());
    body
}

/// One part with its delimiter before it; each header line ends with CR LF.
pub(crate) fn part(boundary: &str, headers: &str, content: &[u8]) -> Vec<u8> {
    let mut part = format!("--{boundary}\r\n{headers}\r\n").into_bytes();
    part.extend(content);
    part.extend(b"\r\n");
    part
}

/// Reads a body; anything that breaks RFC 2046 fails the test.
#[track_caller]
pub(crate) fn parts(content_type: &str, body: &[u8]) -> Vec<Part> {
    assert!(
        content_type.starts_with("multipart/related"),
        "not multipart: {content_type}"
    );
    let boundary = parameter(content_type, "boundary").expect("a boundary");
    assert!(boundary.len() <= 70, "boundary too long: {boundary}");
    let delimiter = format!("\r\n--{boundary}");
    let mut rest = body
        .strip_prefix(b"\r\n".as_slice())
        .unwrap_or(body)
        .strip_prefix(&delimiter.as_bytes()[2..])
        .expect("the body begins with the delimiter");
    let finder = memmem::Finder::new(&delimiter);
    let mut parts = Vec::new();
    loop {
        if let Some(epilogue) = rest.strip_prefix(b"--") {
            assert!(matches!(epilogue, b"" | b"\r\n"), "an epilogue");
            return parts;
        }
        rest = rest
            .strip_prefix(b"\r\n".as_slice())
            .expect("a line end behind the delimiter");
        let end = finder.find(rest).expect("another delimiter");
        let (part, behind) = rest.split_at(end);
        let head = memmem::find(part, b"\r\n\r\n").expect("an empty line behind the headers");
        assert!(
            head < 1000,
            "the JavaScript client looks for the header's end in the first 1000 bytes"
        );
        let headers = std::str::from_utf8(&part[..head])
            .expect("headers are text")
            .split("\r\n")
            .map(|line| line.split_once(": ").expect("a header line"))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        parts.push(Part {
            headers,
            body: part[head + 4..].to_vec(),
        });
        rest = &behind[delimiter.len()..];
    }
}

/// A parameter of a media type.
pub(crate) fn parameter(content_type: &str, name: &str) -> Option<String> {
    let found = content_type.split(';').skip(1).find_map(|parameter| {
        let (key, value) = parameter.trim().split_once('=')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    });
    found.map(|value| value.trim_matches('"').to_owned())
}
