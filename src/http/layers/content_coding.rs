//! Request bodies in a content coding (RFC 9110 §8.4): gzip and zstd are decoded while they come.
//!
//! Invariants: a decoder's memory is reserved before it is made, and a subject cannot have all of it; no more than one piece is
//! decoded ahead of whoever reads; a body that grows out of all proportion ends with an error, whatever limits stand behind.

use std::io::{self, Write as _};
use std::sync::Arc;

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use futures_util::{StreamExt, stream};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH};
use http::{HeaderMap, HeaderValue, Method};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, Operation};

use super::admission::address;
use crate::archive::ArchiveError;
use crate::http::error::{HttpError, ProblemType};
use crate::http::links::LinksConfig;
use crate::http::multipart::BodyError;
use crate::memory::{MemoryBudget, Purpose, Reservation};
use crate::shares::{Share, ShareHolder, Shares};

/// What is understood, for `Accept-Encoding` in a refusal (RFC 9110 §12.5.3).
const UNDERSTOOD: &str = "gzip, zstd";
/// Bytes that a body may grow by in any case.
const FREE: u64 = 16 << 20;
/// How many times as long as it was sent it may be beyond that; images are seldom ten times as long.
const RATIO: u64 = 200;
/// Bytes of a piece of decoded zstd; of gzip it is four times as long at most.
const PIECE: usize = 64 << 10;
/// Bytes given to the gzip decoder at a time: each becomes 1032 at most.
const BITE: usize = 256;
/// Longest window of zstd, as a power of two: 8 MiB (RFC 9659).
const WINDOW: u32 = 23;
/// Part of the memory budget that decoders may take.
const PART: usize = 8;

/// Why a body in a content coding cannot be read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(in crate::http) enum CodingError {
    /// The bytes are not what the header says.
    #[error(
        "the body is not in the Content-Encoding it names, is damaged, or has a zstd window of more than 8 MiB"
    )]
    Damaged,
    /// It ended inside.
    #[error("the body ends before its Content-Encoding does")]
    Cut,
    /// It became too long.
    #[error(
        "the body grows to more than {RATIO} times of what is sent; send it without Content-Encoding"
    )]
    TooLong,
}

impl CodingError {
    /// The error of a decoder among the causes of one that a body's stream met.
    pub(in crate::http) fn behind(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let mut at = Some(error);
        while let Some(error) = at {
            if let Some(found) = error.downcast_ref::<Self>() {
                return Some(*found);
            }
            at = error.source();
        }
        None
    }
}

/// The answer to a body whose stream met an error: 413 where it grows too much, else 400 with the reason.
pub(in crate::http) fn broken_body(error: &(dyn std::error::Error + 'static)) -> HttpError {
    let reason = match CodingError::behind(error) {
        Some(CodingError::TooLong) => {
            return HttpError::payload_too_large(CodingError::TooLong.to_string());
        }
        Some(found) => found.to_string(),
        None => "the body broke off before its end".to_owned(),
    };
    HttpError::bad_request(ProblemType::InvalidBody, reason)
}

/// Memory for decoders.
#[derive(Debug, Clone)]
pub struct Decoders {
    shares: Shares,
    budget: MemoryBudget,
    links: LinksConfig,
}

impl Decoders {
    /// Decoders within an eighth of a budget; `links` says which proxies are believed about who asks.
    #[must_use]
    pub fn new(budget: MemoryBudget, links: LinksConfig) -> Self {
        Self {
            shares: Shares::new((budget.bytes() / PART) as u64),
            budget,
            links,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContentCoding {
    Identity,
    Gzip,
    Zstd,
}

impl ContentCoding {
    /// Bytes that a decoder holds with the piece at hand.
    fn memory(self) -> usize {
        match self {
            Self::Identity => 0,
            Self::Gzip => 512 << 10,
            Self::Zstd => (1 << WINDOW) + (512 << 10),
        }
    }

    /// The coding of a body; none when it is one of others, or several.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all(CONTENT_ENCODING).iter();
        let mut found = Self::Identity;
        for line in lines {
            for name in line.to_str().ok()?.split(',') {
                let coding = match name.trim().to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "zstd" => Self::Zstd,
                    _ => return None,
                };
                if found != Self::Identity {
                    return None;
                }
                found = coding;
            }
        }
        Some(found)
    }
}

/// Decodes the body of a request; 415 for codings that are not understood. Belongs inside of `admit`.
pub async fn decode_content(
    State(decoders): State<Arc<Decoders>>,
    request: Request,
    next: Next,
) -> Response {
    let bodiless = matches!(*request.method(), Method::GET | Method::HEAD);
    if bodiless || !request.headers().contains_key(CONTENT_ENCODING) {
        return next.run(request).await;
    }
    match decoders.decoded(request) {
        Ok(request) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

impl Decoders {
    fn decoded(&self, request: Request) -> Result<Request, HttpError> {
        let coding = ContentCoding::of(request.headers()).ok_or_else(|| {
            let reason = "The Content-Encoding of the body is not understood; send it as it is, or as gzip or zstd.";
            let understood = HeaderValue::from_static(UNDERSTOOD);
            HttpError::unsupported_media_type(reason).with_header(ACCEPT_ENCODING, understood)
        })?;
        if coding == ContentCoding::Identity {
            return Ok(request);
        }
        let named = request.extensions().get::<ShareHolder>().cloned();
        let subject = named.unwrap_or_else(|| address(&self.links, &request));
        let bytes = coding.memory();
        let share = self.shares.try_take(&subject, None, bytes as u64);
        let share = share.map_err(|_| ArchiveError::Busy {
            what: "other bodies with a Content-Encoding",
        })?;
        let memory = self.budget.try_reserve(Purpose::Parts, bytes);
        let memory = memory.map_err(ArchiveError::from)?;
        let (mut parts, body) = request.into_parts();
        parts.headers.remove(CONTENT_ENCODING);
        // Of the decoded body the length is not known.
        parts.headers.remove(CONTENT_LENGTH);
        let body = decoded(body, coding, (share, memory));
        Ok(Request::from_parts(parts, body))
    }
}

/// A body that is decoded while it is read.
fn decoded(body: Body, coding: ContentCoding, held: (Share, Reservation)) -> Body {
    // Made when it is needed: whoever is asked to wait has none yet.
    let reading = CodedBody {
        chunks: body.into_data_stream(),
        coding,
        decoder: None,
        input: Bytes::new(),
        sent: 0,
        made: 0,
        ended: false,
        _held: held,
    };
    Body::from_stream(stream::try_unfold(reading, |mut reading| async {
        let piece = reading.piece().await?;
        // Who reads without ever waiting lets others have their turn.
        tokio::task::yield_now().await;
        Ok::<_, BodyError>(piece.map(|piece| (piece, reading)))
    }))
}

struct CodedBody {
    chunks: BodyDataStream,
    coding: ContentCoding,
    decoder: Option<Decoder>,
    /// Received and not yet decoded.
    input: Bytes,
    sent: u64,
    made: u64,
    ended: bool,
    _held: (Share, Reservation),
}

impl CodedBody {
    /// The next bytes, none at the end.
    async fn piece(&mut self) -> Result<Option<Bytes>, BodyError> {
        loop {
            let decoder = match &mut self.decoder {
                Some(decoder) => decoder,
                none => none.insert(Decoder::new(self.coding)?),
            };
            let piece = decoder.step(&mut self.input)?;
            if !piece.is_empty() {
                self.made = self.made.saturating_add(piece.len() as u64);
                let most = self.sent.saturating_mul(RATIO).saturating_add(FREE);
                if self.made > most {
                    return Err(CodingError::TooLong.into());
                }
                return Ok(Some(Bytes::from(piece)));
            }
            if !self.input.is_empty() {
                continue;
            }
            if self.ended {
                return Ok(None);
            }
            match self.chunks.next().await.transpose()? {
                Some(chunk) => {
                    self.sent = self.sent.saturating_add(chunk.len() as u64);
                    self.input = chunk;
                }
                None => {
                    self.ended = true;
                    let rest = decoder.finish(self.sent)?;
                    if !rest.is_empty() {
                        return Ok(Some(Bytes::from(rest)));
                    }
                }
            }
        }
    }
}

enum Decoder {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd {
        decoder: ZstdDecoder<'static>,
        /// Between two frames, and nothing is left to be had.
        between: bool,
    },
}

impl Decoder {
    fn new(coding: ContentCoding) -> Result<Self, CodingError> {
        Ok(match coding {
            ContentCoding::Identity | ContentCoding::Gzip => {
                Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new())))
            }
            ContentCoding::Zstd => {
                let made = || -> io::Result<ZstdDecoder<'static>> {
                    let mut decoder = ZstdDecoder::new()?;
                    decoder.set_parameter(DParameter::WindowLogMax(WINDOW))?;
                    Ok(decoder)
                };
                let decoder = made().map_err(|_| CodingError::Damaged)?;
                Self::Zstd {
                    decoder,
                    between: true,
                }
            }
        })
    }

    /// Takes some of the input and gives what it becomes; nothing when it needs more.
    fn step(&mut self, input: &mut Bytes) -> Result<Vec<u8>, CodingError> {
        match self {
            Self::Gzip(decoder) => {
                while !input.is_empty() && decoder.get_ref().len() < PIECE {
                    let bite = input.get(..input.len().min(BITE)).unwrap_or_default();
                    let taken = decoder.write(bite).map_err(|_| CodingError::Damaged)?;
                    if taken == 0 {
                        // Behind the end something stands that is no further member.
                        return Err(CodingError::Damaged);
                    }
                    drop(input.split_to(taken.min(input.len())));
                }
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zstd { decoder, between } => {
                if input.is_empty() && *between {
                    return Ok(Vec::new());
                }
                let mut piece = vec![0; PIECE];
                let status = decoder.run_on_buffers(input, &mut piece);
                let status = status.map_err(|_| CodingError::Damaged)?;
                drop(input.split_to(status.bytes_read.min(input.len())));
                *between = status.remaining == 0;
                piece.truncate(status.bytes_written);
                Ok(piece)
            }
        }
    }

    /// What was still held back at the end of the body, of which `sent` bytes came.
    fn finish(&mut self, sent: u64) -> Result<Vec<u8>, CodingError> {
        match self {
            // An empty body is an empty body.
            _ if sent == 0 => Ok(Vec::new()),
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(|_| CodingError::Cut)?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zstd { between: true, .. } => Ok(Vec::new()),
            Self::Zstd { .. } => Err(CodingError::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use http_body_util::BodyExt;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(data: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(data, 3).unwrap()
    }

    async fn read(
        coding: ContentCoding,
        body: &[u8],
        size: usize,
    ) -> Result<Vec<u8>, Option<CodingError>> {
        let subject = ShareHolder::named("test");
        let share = Shares::new(1).try_take(&subject, None, 1).unwrap();
        let memory = MemoryBudget::new(1 << 20).nothing(Purpose::Parts);
        let chunks: Vec<_> = body.chunks(size).map(Bytes::copy_from_slice).collect();
        let body = Body::from_stream(stream::iter(chunks.into_iter().map(Ok::<_, BodyError>)));
        let body = decoded(body, coding, (share, memory));
        let whole = body.collect().await;
        let whole = whole.map_err(|error| CodingError::behind(&error))?;
        Ok(whole.to_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_body_is_decoded_wherever_it_is_cut() {
        let data: Vec<u8> = (0..300_000_u32)
            .map(|i| (i.wrapping_mul(i) >> 7).to_le_bytes()[0])
            .collect();
        for (coding, packed) in [
            (ContentCoding::Gzip, gzip(&data)),
            (ContentCoding::Zstd, zstd(&data)),
        ] {
            for size in [1, 7, 1000, 1 << 20] {
                assert!(
                    read(coding, &packed, size).await.unwrap() == data,
                    "{coding:?} {size}"
                );
            }
            // Members and frames may stand one behind the other.
            let twice = [packed.clone(), packed.clone()].concat();
            assert_eq!(
                read(coding, &twice, 999).await.unwrap().len(),
                2 * data.len()
            );
            let cut = read(coding, &packed[..packed.len() - 1], 999).await;
            assert_eq!(cut, Err(Some(CodingError::Cut)), "{coding:?}");
            let mut damaged = packed.clone();
            damaged.truncate(packed.len() / 2);
            damaged.extend([0x5A; 200]);
            assert!(read(coding, &damaged, 999).await.is_err(), "{coding:?}");
            assert!(read(coding, b"plain text", 3).await.is_err(), "{coding:?}");
            assert_eq!(read(coding, b"", 1).await.unwrap(), b"");
        }
    }

    #[tokio::test]
    async fn what_grows_out_of_proportion_ends() {
        let zeros = vec![0; 40 << 20];
        for (coding, packed) in [
            (ContentCoding::Gzip, gzip(&zeros)),
            (ContentCoding::Zstd, zstd(&zeros)),
        ] {
            let read = read(coding, &packed, 4096).await;
            // Without its bytes: there are many.
            let read = read.map(|bytes| bytes.len());
            assert_eq!(read, Err(Some(CodingError::TooLong)), "{coding:?}");
        }
        // A window beyond what is reserved is not set aside.
        let mut wide = zstd::bulk::Compressor::new(3).unwrap();
        let window = zstd::zstd_safe::CParameter::WindowLog(27);
        wide.set_parameter(window).unwrap();
        let mut stream = zstd::stream::raw::Encoder::new(3).unwrap();
        stream.set_parameter(window).unwrap();
        let mut out = vec![0; 1 << 16];
        let status = stream.run_on_buffers(&[7; 1000], &mut out).unwrap();
        let mut rest = zstd::stream::raw::OutBuffer::around(&mut out[status.bytes_written..]);
        stream.finish(&mut rest, true).unwrap();
        let length = status.bytes_written + rest.pos();
        let refused = read(ContentCoding::Zstd, &out[..length], 100).await;
        assert_eq!(refused, Err(Some(CodingError::Damaged)));
    }

    #[test]
    fn one_coding_is_understood() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, HeaderValue::from_static(value));
            }
            ContentCoding::of(&headers)
        };
        assert_eq!(of(&["gzip"]), Some(ContentCoding::Gzip));
        assert_eq!(of(&["X-GZIP, identity"]), Some(ContentCoding::Gzip));
        assert_eq!(of(&["zstd"]), Some(ContentCoding::Zstd));
        assert_eq!(of(&["identity"]), Some(ContentCoding::Identity));
        for other in [
            &["br"][..],
            &["deflate"],
            &["gzip, gzip"],
            &["gzip", "zstd"],
        ] {
            assert_eq!(of(other), None, "{other:?}");
        }
    }
}
