//! What is fuzzed: plain functions over bytes, for `tests/it/fuzz.rs` (stable Rust) and for cargo-fuzz alike.
//!
//! A target fails by a panic. It returns a number that tells kinds of outcomes apart, so that a fuzzer without coverage
//! knows which inputs are worth keeping.

use std::hash::{DefaultHasher, Hash, Hasher};

use bytes::Bytes;
use futures_util::stream;
use stowage::dicom::attributes::QueryLevel;
use stowage::dicom::codec::{self, CodecError, FrameShape, Photometric};
use stowage::dicom::frames::PackedFrames;
use stowage::dicom::limits::ParseLimits as WalkLimits;
use stowage::dicom::parse::{ParseOptions, parse};
use stowage::dicom::query_parse::{self, QueryDialect, QueryResource};
use stowage::dicom::query_tag;
use stowage::http::accept;
use stowage::http::content_type::ContentType;
use stowage::http::multipart::{BodyLimits, Parts};

/// A target: its name, which is that of its corpus, and the function.
pub(crate) type Target = (&'static str, fn(&[u8]) -> u64);

/// All targets.
pub(crate) const TARGETS: &[Target] = &[
    ("walk", ingest_walk),
    ("multipart", multipart_body),
    ("accept", accept_header),
    ("query", query_string),
    ("tags", query_tag_body),
    ("rle", rle),
    ("jpeg", jpeg),
    ("jpeg_lossless", jpeg_lossless),
    ("jpeg_ls", jpeg_ls),
    ("jpeg_2000", jpeg_2000),
    ("htj2k", htj2k),
    ("jpeg_xl", jpeg_xl),
    ("deflated_frame", deflated_frame),
];

fn kind(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// Magnitude of a number.
fn size(number: usize) -> u32 {
    number.checked_ilog2().unwrap_or(0)
}

/// The first word or two of an error: its kind without the values in it.
fn gist(error: &dyn std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    let end = |c: char| !(c.is_alphanumeric() || c == '(' || c == ' ');
    text.split(end).next().unwrap_or_default().to_owned()
}

/// The walk over an arriving file; what it accepts must hold together.
pub(crate) fn ingest_walk(data: &[u8]) -> u64 {
    let options = ParseOptions {
        limits: WalkLimits {
            elements: 100_000,
            fragments: 100_000,
            inflated: 4 << 20,
            text: 8 << 20,
            ..WalkLimits::default()
        },
        ..ParseOptions::default()
    };
    match parse(&data, &options) {
        Err(error) => kind(gist(&error)),
        Ok(instance) => {
            let text = &instance.metadata.text;
            let json: serde_json::Value =
                serde_json::from_str(text).expect("metadata is valid JSON");
            let count = json.as_object().map_or(0, serde_json::Map::len);
            for attribute in &instance.attributes {
                assert!(text.get(attribute.json.clone()).is_some());
            }
            if !instance.layout.deflated {
                for item in &instance.bulk {
                    let end = item.offset.checked_add(item.length);
                    assert!(end.is_some_and(|end| end <= data.len() as u64));
                }
                let packed = instance.frames.to_bytes();
                let frames = PackedFrames::new(&packed);
                let count = frames.as_ref().map_or(0, |frames| frames.count());
                for number in [1, 2, count] {
                    let frame = frames.as_ref().and_then(|frames| frames.frame(number));
                    for range in frame.into_iter().flat_map(|frame| frame.ranges) {
                        let end = range.offset.checked_add(range.length);
                        assert!(end.is_some_and(|end| end <= data.len() as u64));
                    }
                }
            }
            let pixels = instance.pixel.is_some();
            kind((
                size(count),
                size(instance.bulk.len()),
                pixels,
                instance.findings.len().min(4),
            ))
        }
    }
}

/// A multipart body in chunks of uneven size; the boundary is `b`.
pub(crate) fn multipart_body(data: &[u8]) -> u64 {
    let (step, body) = data.split_first().map_or((1, data), |(s, body)| (*s, body));
    let chunks: Vec<Result<Bytes, std::io::Error>> = body
        .chunks(usize::from(step).max(1))
        .map(|chunk| Ok(Bytes::copy_from_slice(chunk)))
        .collect();
    let limits = BodyLimits {
        body: 1 << 20,
        part: 1 << 18,
        parts: 100,
    };
    let mut parts = Parts::new(stream::iter(chunks), "b", limits);
    let (mut count, mut bytes) = (0_usize, 0_usize);
    let error = futures_util::FutureExt::now_or_never(async {
        loop {
            let mut part = match parts.next().await {
                Ok(Some(part)) => part,
                Ok(None) => return String::new(),
                Err(error) => return gist(&error),
            };
            count += 1;
            let _ = part.headers.content_type().map(ContentType::parse);
            loop {
                match part.chunk().await {
                    Ok(Some(chunk)) => bytes += chunk.len(),
                    Ok(None) => break,
                    Err(error) => return gist(&error),
                }
            }
        }
    });
    assert!(bytes <= body.len(), "more came out than went in");
    kind((error, count.min(8), size(bytes)))
}

/// Accept headers and content types.
pub(crate) fn accept_header(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let preferences = accept::rank(&text);
    assert!(
        preferences
            .iter()
            .all(|preference| (1..=1000).contains(&preference.q))
    );
    let _ = accept::covers_json(&preferences);
    let related = match ContentType::parse(&text) {
        Ok(content_type) => match content_type.related() {
            Ok(related) => {
                assert!(!related.boundary.is_empty() && related.boundary.len() <= 1000);
                "related".to_owned()
            }
            Err(error) => gist(&error),
        },
        Err(error) => gist(&error),
    };
    kind((related, preferences.len().min(6)))
}

/// The parameters of a search in both dialects, at all levels.
pub(crate) fn query_string(data: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(data);
    let parameters: Vec<(String, String)> = text
        .split('&')
        .take(200)
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), value.to_owned())
        })
        .collect();
    let mut seen = Vec::new();
    for dialect in [QueryDialect::Service, QueryDialect::Standard] {
        for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
            let resource = QueryResource {
                level,
                study: None,
                series: None,
            };
            seen.push(
                match query_parse::parse(&parameters, resource, dialect, &[]) {
                    Ok(parsed) => format!(
                        "{} {} {:?}",
                        parsed.query.conditions.len().min(5),
                        parsed.warnings.len().min(3),
                        parsed.query.limit.is_some()
                    ),
                    Err(error) => gist(&error),
                },
            );
        }
    }
    kind(seen)
}

/// The body that adds extended query tags.
pub(crate) fn query_tag_body(data: &[u8]) -> u64 {
    match serde_json::from_slice(data) {
        Err(_) => 0,
        Ok(body) => match query_tag::parse_body(&body) {
            Ok(tags) => kind(tags.len().min(8)),
            Err(error) => kind(gist(&error)),
        },
    }
}

/// Shapes a codestream is decoded with; the first byte of the input chooses one.
const SHAPES: [(u32, u32, u16, u16, u16, bool, Photometric); 8] = [
    (8, 9, 1, 8, 8, false, Photometric::Monochrome2),
    (8, 9, 1, 16, 12, false, Photometric::Monochrome2),
    (8, 9, 1, 16, 16, true, Photometric::Monochrome2),
    (8, 9, 3, 8, 8, false, Photometric::Rgb),
    (8, 9, 3, 8, 8, false, Photometric::YbrFull),
    (8, 9, 3, 8, 8, false, Photometric::YbrFull422),
    (8, 9, 3, 8, 8, false, Photometric::YbrRct),
    (8, 9, 1, 8, 8, false, Photometric::PaletteColor),
];

/// The shape a first byte stands for.
pub(crate) fn shape(choice: u8) -> FrameShape {
    let (rows, columns, samples, bits_allocated, bits_stored, signed, photometric) =
        SHAPES[usize::from(choice) % SHAPES.len()];
    FrameShape {
        rows,
        columns,
        samples,
        bits_allocated,
        bits_stored,
        low_bit: 0,
        overlay_bits: false,
        signed,
        planar: choice >= 128,
        photometric,
    }
}

fn decode(syntax: &str, data: &[u8]) -> u64 {
    let Some((choice, codestream)) = data.split_first() else {
        return 0;
    };
    let shape = shape(*choice);
    let limits = codec::FrameLimits {
        max_frame_bytes: 1 << 20,
    };
    let _ = codec::stream_is_lossy(syntax, codestream);
    match codec::decode(syntax, codestream, &shape, &limits) {
        Ok(frame) => {
            let s = &frame.shape;
            let samples = u64::from(s.rows) * u64::from(s.columns) * u64::from(s.samples);
            assert_eq!(
                frame.data.len() as u64,
                samples * u64::from(s.bits_allocated) / 8
            );
            assert!(frame.data.len() as u64 <= limits.max_frame_bytes);
            // The codestream decides, and says so before it is decoded.
            let reported = codec::codestream_shape(syntax, codestream, &shape).unwrap();
            assert_eq!((s.rows, s.columns), (reported.rows, reported.columns));
            kind(("decoded", *choice, frame.data.first().map(|b| b / 64)))
        }
        // Caught by the wrapper: an error for the client, and a defect of the decoder behind it.
        Err(CodecError::Panicked { .. }) => kind("panicked inside"),
        Err(error) => kind((gist(&error), *choice % 8)),
    }
}

macro_rules! codecs {
    ($($(#[$doc:meta])* $name:ident $syntax:literal;)*) => {
        $($(#[$doc])* pub(crate) fn $name(data: &[u8]) -> u64 { decode($syntax, data) })*
    };
}

codecs! {
    /// RLE Lossless.
    rle "1.2.840.10008.1.2.5";
    /// JPEG Extended, and with it Baseline.
    jpeg "1.2.840.10008.1.2.4.51";
    /// JPEG Lossless.
    jpeg_lossless "1.2.840.10008.1.2.4.57";
    /// JPEG-LS near-lossless, and with it lossless.
    jpeg_ls "1.2.840.10008.1.2.4.81";
    /// JPEG 2000.
    jpeg_2000 "1.2.840.10008.1.2.4.91";
    /// High-Throughput JPEG 2000.
    htj2k "1.2.840.10008.1.2.4.203";
    /// JPEG XL.
    jpeg_xl "1.2.840.10008.1.2.4.112";
    /// Deflated image frame.
    deflated_frame "1.2.840.10008.1.2.8.1";
}
