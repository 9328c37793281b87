//! Writing `multipart/related` answers as a stream: no part is held, delimiters are made as parts begin.
//!
//! Invariants (clients depend on each): the body starts with `--boundary`; each part's first line is `Content-Type: `
//! in this very spelling, the transfer syntax unquoted; a header block is shorter than 1000 bytes; the body ends
//! CR LF `--boundary--`. When a part fails the stream ends in an error, never in the closing delimiter.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};
use http::HeaderValue;
use rand::distr::{Alphanumeric, SampleString};

use super::error::BodyError;

/// Longest header block of a part, delimiter line included.
const MAX_BLOCK: usize = 1000;
/// Characters of a boundary after the prefix; 62^40 makes a clash with data impossible in practice.
const RANDOM_LENGTH: usize = 40;

/// Why an answer cannot be written to its end.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The bytes of a part cannot be read.
    #[error("part {part} of the answer cannot be read")]
    Part {
        /// Number of the part, from one.
        part: u64,
        /// Why.
        #[source]
        source: BodyError,
    },
    /// A part is longer or shorter than the length announced with it.
    #[error("part {part} of the answer has {sent} bytes instead of {announced}")]
    Length {
        /// Number of the part, from one.
        part: u64,
        /// Bytes that came.
        sent: u64,
        /// Bytes announced.
        announced: u64,
    },
    /// The source of the parts failed before the next one.
    #[error("the parts of the answer cannot be listed after part {part}")]
    Source {
        /// Number of the last part, from one.
        part: u64,
        /// Why.
        #[source]
        source: BodyError,
    },
}

/// What stands above the bytes of a part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartHead {
    /// Media type such as `image/jls`.
    pub media_type: String,
    /// Transfer syntax UID of the bytes, when the media type has one.
    pub transfer_syntax: Option<String>,
    /// Absolute URL of the part.
    pub content_location: Option<String>,
    /// Bytes of the part, when known before they are read.
    pub length: Option<u64>,
}

/// The bytes of a part.
pub enum PartBody {
    /// All of them.
    Bytes(Bytes),
    /// In chunks.
    Stream(BoxStream<'static, Result<Bytes, BodyError>>),
}

/// A part of an answer.
pub struct ResponsePart {
    /// What stands above the bytes.
    pub head: PartHead,
    /// The bytes.
    pub body: PartBody,
}

/// One multipart answer: its boundary and the media type of its parts.
#[derive(Debug, Clone)]
pub struct MultipartResponse {
    boundary: String,
    root_type: String,
}

impl MultipartResponse {
    /// An answer with a fresh random boundary; `root_type` is the media type of the first part.
    #[must_use]
    pub fn new(root_type: &str) -> Self {
        let random = Alphanumeric.sample_string(&mut rand::rng(), RANDOM_LENGTH);
        Self {
            boundary: format!("stowage-{random}"),
            root_type: printable(root_type).replace(['"', '\\'], ""),
        }
    }

    /// An answer whose boundary is the same each time. What it is made of has to depend on the bytes of the parts, by a
    /// digest for example, so that nobody can put the boundary into them.
    #[must_use]
    pub fn repeatable(root_type: &str, digest: &blake3::Hash) -> Self {
        let hex = digest.to_hex();
        let name = hex.get(..RANDOM_LENGTH).unwrap_or_default();
        Self {
            boundary: format!("stowage-{name}"),
            ..Self::new(root_type)
        }
    }

    /// What stands before and behind the bytes of the only part.
    #[must_use]
    pub fn around(&self, head: &PartHead) -> (Bytes, Bytes) {
        (self.opening(head, true), self.closing(1))
    }

    /// The boundary.
    #[must_use]
    pub fn boundary(&self) -> &str {
        &self.boundary
    }

    /// The Content-Type of the answer (RFC 2387, PS3.18 §8.6.1.2.1).
    #[must_use]
    pub fn content_type(&self) -> HeaderValue {
        let text = format!(
            "multipart/related; type=\"{}\"; boundary={}",
            self.root_type, self.boundary
        );
        HeaderValue::try_from(text)
            .unwrap_or_else(|_| HeaderValue::from_static("multipart/related"))
    }

    /// Length of the whole body; none unless the length of every part is known.
    #[must_use]
    pub fn content_length<'a>(&self, parts: impl IntoIterator<Item = &'a PartHead>) -> Option<u64> {
        let mut total = length_of(&self.closing(0));
        for (index, head) in parts.into_iter().enumerate() {
            let opening = length_of(&self.opening(head, index == 0));
            let separator = if index == 0 { 2 } else { 0 };
            total = total
                .checked_add(opening)?
                .checked_add(head.length?)?
                .checked_add(separator)?;
        }
        Some(total)
    }

    /// The body as a stream of chunks.
    ///
    /// # Errors
    /// The stream ends in a [`WriteError`] when a part or the source fails.
    pub fn body<S>(self, parts: S) -> impl Stream<Item = Result<Bytes, WriteError>> + Send + 'static
    where
        S: Stream<Item = Result<ResponsePart, BodyError>> + Send + 'static,
    {
        let writer = MultipartWriter {
            answer: self,
            parts: parts.boxed(),
            part: 0,
            current: None,
            finished: false,
        };
        stream::unfold(writer, |mut writer| async move {
            let chunk = writer.next().await?;
            writer.finished |= chunk.is_err();
            Some((chunk, writer))
        })
    }

    /// Delimiter line, header lines and the blank line.
    fn opening(&self, head: &PartHead, first: bool) -> Bytes {
        let lead = if first { "" } else { "\r\n" };
        let media_type = printable(&head.media_type);
        let mut block = format!("{lead}--{}\r\nContent-Type: {media_type}", self.boundary);
        if let Some(syntax) = &head.transfer_syntax {
            block.push_str("; transfer-syntax=");
            block.push_str(&printable(syntax));
        }
        block.push_str("\r\n");
        if let Some(location) = &head.content_location {
            let line = format!("Content-Location: {}\r\n", printable(location));
            // Without it the part is still usable; past the cap clients do not find its end.
            if block.len() + line.len() + 2 < MAX_BLOCK {
                block.push_str(&line);
            }
        }
        block.push_str("\r\n");
        Bytes::from(block)
    }

    fn closing(&self, parts: u64) -> Bytes {
        let lead = if parts == 0 { "" } else { "\r\n" };
        Bytes::from(format!("{lead}--{}--", self.boundary))
    }
}

struct MultipartWriter {
    answer: MultipartResponse,
    parts: BoxStream<'static, Result<ResponsePart, BodyError>>,
    /// Number of the current part.
    part: u64,
    current: Option<CurrentPart>,
    finished: bool,
}

struct CurrentPart {
    body: PartBody,
    announced: Option<u64>,
    sent: u64,
}

impl MultipartWriter {
    async fn next(&mut self) -> Option<Result<Bytes, WriteError>> {
        if self.finished {
            return None;
        }
        while let Some(current) = &mut self.current {
            match current.next().await {
                Some(Ok(bytes)) if bytes.is_empty() => {}
                Some(Ok(bytes)) => return Some(Ok(bytes)),
                Some(Err(source)) => {
                    return Some(Err(WriteError::Part {
                        part: self.part,
                        source,
                    }));
                }
                None => {
                    let ended = self.current.take()?;
                    if let Some(announced) = ended.announced.filter(|length| *length != ended.sent)
                    {
                        let (part, sent) = (self.part, ended.sent);
                        return Some(Err(WriteError::Length {
                            part,
                            sent,
                            announced,
                        }));
                    }
                }
            }
        }
        match self.parts.next().await {
            Some(Ok(ResponsePart { head, body })) => {
                let opening = self.answer.opening(&head, self.part == 0);
                self.part = self.part.saturating_add(1);
                self.current = Some(CurrentPart {
                    body,
                    announced: head.length,
                    sent: 0,
                });
                Some(Ok(opening))
            }
            Some(Err(source)) => Some(Err(WriteError::Source {
                part: self.part,
                source,
            })),
            None => {
                self.finished = true;
                Some(Ok(self.answer.closing(self.part)))
            }
        }
    }
}

impl CurrentPart {
    async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        let chunk = match &mut self.body {
            PartBody::Bytes(bytes) if bytes.is_empty() => None,
            PartBody::Bytes(bytes) => Some(Ok(std::mem::take(bytes))),
            PartBody::Stream(stream) => stream.next().await,
        };
        if let Some(Ok(bytes)) = &chunk {
            self.sent = self.sent.saturating_add(length_of(bytes));
        }
        chunk
    }
}

/// The text without anything that could end a header line.
fn printable(text: &str) -> Cow<'_, str> {
    let sound = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
    if text.len() <= MAX_BLOCK && text.bytes().all(sound) {
        return Cow::Borrowed(text);
    }
    let visible = |c: &char| *c == ' ' || c.is_ascii_graphic();
    Cow::Owned(text.chars().filter(visible).take(MAX_BLOCK).collect())
}

fn length_of(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    fn head(length: Option<u64>) -> PartHead {
        PartHead {
            media_type: "image/jls".to_owned(),
            transfer_syntax: Some("1.2.840.10008.1.2.4.80".to_owned()),
            content_location: Some("http://h/dicom-web/studies/1/frames/1".to_owned()),
            length,
        }
    }

    fn part(bytes: &'static [u8]) -> ResponsePart {
        let chunks = bytes.chunks(3).map(|chunk| Ok(Bytes::from_static(chunk)));
        ResponsePart {
            head: head(u64::try_from(bytes.len()).ok()),
            body: PartBody::Stream(stream::iter(chunks).boxed()),
        }
    }

    async fn write(
        answer: MultipartResponse,
        parts: Vec<Result<ResponsePart, BodyError>>,
    ) -> Result<String, WriteError> {
        let chunks: Vec<Bytes> = answer.body(stream::iter(parts)).try_collect().await?;
        Ok(String::from_utf8(chunks.concat()).unwrap())
    }

    #[tokio::test]
    async fn an_answer_is_written_as_clients_want_it() {
        let answer = MultipartResponse::new("image/jls");
        let boundary = answer.boundary().to_owned();
        assert!(boundary.len() <= 70);
        assert_eq!(
            answer.content_type(),
            format!("multipart/related; type=\"image/jls\"; boundary={boundary}")
        );
        let empty = ResponsePart {
            head: head(Some(0)),
            body: PartBody::Bytes(Bytes::new()),
        };
        let whole = ResponsePart {
            head: head(Some(2)),
            body: PartBody::Bytes(Bytes::from_static(b"ab")),
        };
        let heads = [head(Some(5)), head(Some(0)), head(Some(2))];
        let length = answer.content_length(&heads).unwrap();
        let body = write(answer, vec![Ok(part(b"12345")), Ok(empty), Ok(whole)])
            .await
            .unwrap();
        let headers = "Content-Type: image/jls; transfer-syntax=1.2.840.10008.1.2.4.80\r\n\
                       Content-Location: http://h/dicom-web/studies/1/frames/1\r\n\r\n";
        assert_eq!(
            body,
            format!(
                "--{boundary}\r\n{headers}12345\r\n--{boundary}\r\n{headers}\r\n--{boundary}\r\n{headers}ab\r\n--{boundary}--"
            )
        );
        assert_eq!(body.len() as u64, length);
    }

    #[tokio::test]
    async fn the_only_part_of_a_repeatable_answer_has_the_same_around_it_each_time() {
        let digest = blake3::hash(b"12345");
        let repeatable = || MultipartResponse::repeatable("image/jls", &digest);
        let (opening, closing) = repeatable().around(&head(Some(5)));
        let body = write(repeatable(), vec![Ok(part(b"12345"))]).await.unwrap();
        assert_eq!(
            body,
            String::from_utf8([&opening, &b"12345"[..], &closing].concat()).unwrap()
        );
        assert_eq!(repeatable().content_type(), repeatable().content_type());
        let other = MultipartResponse::repeatable("image/jls", &blake3::hash(b"12346"));
        assert_ne!(other.boundary(), repeatable().boundary());
        assert!(other.boundary().len() <= 70);
    }

    #[tokio::test]
    async fn the_length_is_known_only_when_every_part_is() {
        let answer = MultipartResponse::new("a/b");
        assert_eq!(answer.content_length(&[head(Some(1)), head(None)]), None);
        assert_eq!(answer.content_length(&[head(Some(u64::MAX))]), None);
        let length = answer.content_length(&[]).unwrap();
        assert_eq!(write(answer, vec![]).await.unwrap().len() as u64, length);
    }

    #[tokio::test]
    async fn a_failure_ends_the_stream_without_closing_delimiter() {
        let broken =
            stream::iter([Ok(Bytes::from_static(b"x")), Err(BodyError::from("gone"))]).boxed();
        let broken = ResponsePart {
            head: head(None),
            body: PartBody::Stream(broken),
        };
        let answer = MultipartResponse::new("a/b");
        let closing = format!("--{}--", answer.boundary());
        let parts = vec![Ok(part(b"1")), Ok(broken), Ok(part(b"2"))];
        let chunks: Vec<_> = answer.body(stream::iter(parts)).collect().await;
        assert!(matches!(
            chunks.last(),
            Some(Err(WriteError::Part { part: 2, .. }))
        ));
        assert!(
            !chunks
                .iter()
                .flatten()
                .any(|chunk| chunk.ends_with(closing.as_bytes()))
        );

        let short = ResponsePart {
            head: head(Some(9)),
            body: PartBody::Bytes(Bytes::from_static(b"123")),
        };
        let error = write(MultipartResponse::new("a/b"), vec![Ok(short)])
            .await
            .unwrap_err();
        assert!(matches!(
            error,
            WriteError::Length {
                part: 1,
                sent: 3,
                announced: 9
            }
        ));

        let error = write(
            MultipartResponse::new("a/b"),
            vec![Err(BodyError::from("no rows"))],
        )
        .await
        .unwrap_err();
        assert!(matches!(error, WriteError::Source { part: 0, .. }));
    }

    #[test]
    fn header_values_cannot_break_out_and_stay_short() {
        let answer = MultipartResponse::new("a/b\"; x=\r\n");
        assert!(
            answer
                .content_type()
                .to_str()
                .unwrap()
                .starts_with("multipart/related; type=\"a/b; x=\";")
        );
        let head = PartHead {
            media_type: "text/plain\r\nX-Evil: 1".to_owned(),
            transfer_syntax: Some("1.2\r\n\r\n".to_owned()),
            content_location: Some("l".repeat(5000)),
            length: None,
        };
        let block = answer.opening(&head, true);
        assert!(block.len() < MAX_BLOCK);
        let text = std::str::from_utf8(&block).unwrap();
        assert_eq!(text.lines().count(), 3);
        assert!(!text.contains("Content-Location"));
    }
}
