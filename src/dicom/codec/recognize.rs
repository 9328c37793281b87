//! What a codestream is by its own bytes: its transfer syntax and the attributes that a header has to say of it.
//!
//! Names, labels and media types do not count here. Invariant: the first bytes are enough, and nothing is decoded.

use super::jpeg_header::JpegHeader;
use super::jpeg_xl::JpegXl;
use super::jpeg2000_header::{self, Jpeg2000Header};
use super::jpegls;
use super::shape::{CodestreamShape, FrameShape, Photometric};
use super::transfer_syntax::Coding;

/// A codestream by its own bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecognizedCodestream {
    /// The transfer syntax.
    pub coding: Coding,
    /// The attributes of its picture; samples are interleaved.
    pub shape: FrameShape,
    /// Whether it lost information; nothing when it does not say.
    pub lossy: Option<bool>,
}

impl RecognizedCodestream {
    /// Whether the bytes may stand under another transfer syntax than the narrowest one.
    #[must_use]
    pub fn fits(&self, coding: Coding) -> bool {
        use Coding::{
            Htj2k, Htj2kLossless, Htj2kLosslessRpcl, Jpeg2000, Jpeg2000Lossless, JpegExtended,
            JpegLossless, JpegLosslessFirstOrder, JpegLsLossless, JpegLsNearLossless, JpegXl,
            JpegXlLossless, JpegXlRecompression,
        };
        let wider: &[Coding] = match self.coding {
            // Every decoder of the wider process reads the narrower one (T.81 §4.11).
            Coding::JpegBaseline => &[JpegExtended],
            JpegLosslessFirstOrder => &[JpegLossless],
            JpegLsLossless => &[JpegLsNearLossless],
            Jpeg2000Lossless => &[Jpeg2000],
            Htj2kLossless => &[Htj2kLosslessRpcl, Htj2k],
            // Of these the stream does not tell for sure.
            JpegXlLossless | JpegXl => &[JpegXlLossless, JpegXlRecompression, JpegXl],
            _ => &[],
        };
        self.coding == coding || wider.contains(&coding)
    }
}

/// Reads the first bytes of a codestream.
///
/// # Errors
/// Why no transfer syntax can hold it; also when it is no codestream at all.
pub fn recognize(head: &[u8]) -> Result<RecognizedCodestream, &'static str> {
    match head {
        [0xff, 0xd8, 0xff, ..] => jpeg(head),
        [0xff, 0x4f, 0xff, 0x51, ..] => jpeg_2000(head),
        [0xff, 0x0a, ..] | [0, 0, 0, 0x0c, b'J', b'X', b'L', b' ', ..] => jpeg_xl(head),
        _ if jpeg2000_header::codestream_place(head, head.len() as u64).is_some() => {
            jpeg_2000(jpeg2000_header::bare_codestream(head))
        }
        _ => Err("the bytes are no codestream that DICOM knows"),
    }
}

/// Where the codestream of a JP2 file lies, which is `length` bytes long and begins with `head`; nothing for other bytes.
///
/// Fragments hold the bare codestream (PS3.5 §A.4.4).
#[must_use]
pub fn codestream_in_boxes(head: &[u8], length: u64) -> Option<(u64, u64)> {
    jpeg2000_header::codestream_place(head, length)
}

fn shape(declared: CodestreamShape) -> Result<FrameShape, &'static str> {
    let CodestreamShape {
        rows,
        columns,
        components,
        precision,
    } = declared;
    let samples = u16::try_from(components).unwrap_or(u16::MAX);
    if !matches!(samples, 1 | 3) {
        return Err("pixels have one or three components");
    }
    let bits_allocated = match precision {
        1 => 1,
        2..=8 => 8,
        9..=16 => 16,
        17..=32 => 32,
        _ => return Err("samples are wider than 32 bits"),
    };
    Ok(FrameShape {
        rows,
        columns,
        samples,
        bits_allocated,
        bits_stored: u16::try_from(precision).unwrap_or(bits_allocated),
        low_bit: 0,
        overlay_bits: false,
        signed: false,
        planar: false,
        photometric: if samples == 1 {
            Photometric::Monochrome2
        } else {
            Photometric::Rgb
        },
    })
}

fn jpeg(head: &[u8]) -> Result<RecognizedCodestream, &'static str> {
    if let Ok(info) = jpegls::read_info(head) {
        let near = info.near != 0;
        return Ok(RecognizedCodestream {
            coding: if near {
                Coding::JpegLsNearLossless
            } else {
                Coding::JpegLsLossless
            },
            shape: shape(CodestreamShape {
                rows: info.rows,
                columns: info.columns,
                components: info.components.into(),
                precision: info.precision.into(),
            })?,
            lossy: Some(near),
        });
    }
    let header = JpegHeader::read(head, Coding::JpegBaseline)
        .map_err(|_| "the JPEG stream has no frame header that can be read")?;
    let coding = match (header.frame, header.selection) {
        (0xc0, _) => Coding::JpegBaseline,
        (0xc1, _) => Coding::JpegExtended,
        (0xc2, _) => Coding::JpegProgressive,
        (0xc3, 1) => Coding::JpegLosslessFirstOrder,
        (0xc3, _) => Coding::JpegLossless,
        _ => return Err("hierarchical and arithmetic JPEG have no transfer syntax"),
    };
    let mut shape = shape(header.declared())?;
    let rgb = match header.is_rgb() {
        Some(rgb) => rgb,
        // Lossless streams are coded as they are; without a mark the others are YCbCr (T.871).
        None => header.is_lossless(),
    };
    if shape.samples == 3 && !rgb {
        let half = header
            .components
            .first()
            .is_some_and(|c| c.sampling == 0x21);
        shape.photometric = if half && header.is_subsampled() {
            Photometric::YbrFull422
        } else {
            Photometric::YbrFull
        };
    }
    Ok(RecognizedCodestream {
        coding,
        shape,
        lossy: Some(!header.is_lossless()),
    })
}

fn jpeg_2000(codestream: &[u8]) -> Result<RecognizedCodestream, &'static str> {
    let header = Jpeg2000Header::read(codestream, Coding::Jpeg2000)
        .map_err(|_| "the JPEG 2000 header cannot be read")?;
    let coding = match (header.high_throughput, header.irreversible) {
        (false, false) => Coding::Jpeg2000Lossless,
        (false, true) => Coding::Jpeg2000,
        (true, false) => Coding::Htj2kLossless,
        (true, true) => Coding::Htj2k,
    };
    let mut shape = shape(header.declared())?;
    shape.signed = header.signed;
    shape.photometric = match shape.samples {
        3 if header.transformed && header.irreversible => Photometric::YbrIct,
        3 if header.transformed => Photometric::YbrRct,
        3 if header.subsampled => Photometric::YbrFull422,
        _ => shape.photometric,
    };
    Ok(RecognizedCodestream {
        coding,
        shape,
        lossy: Some(header.irreversible),
    })
}

fn jpeg_xl(head: &[u8]) -> Result<RecognizedCodestream, &'static str> {
    let unread = "the JPEG XL header cannot be read";
    let recompressed = head.windows(4).any(|kind| kind == b"jbrd");
    let (declared, original) = JpegXl(Coding::JpegXl).look(head).ok_or(unread)?;
    let coding = match (recompressed, original) {
        (true, _) => Coding::JpegXlRecompression,
        (false, true) => Coding::JpegXlLossless,
        (false, false) => Coding::JpegXl,
    };
    let mut shape = shape(declared)?;
    if coding == Coding::JpegXl && shape.samples == 3 {
        shape.photometric = Photometric::Xyb;
    }
    Ok(RecognizedCodestream {
        coding,
        shape,
        lossy: (coding != Coding::JpegXlLossless).then_some(true),
    })
}
