//! Frames in, frames out: every transfer syntax behind one trait, a file per codec.
//!
//! [`decode`] turns one frame of any syntax into canonical samples, [`encode`] turns canonical samples
//! into one frame. Both check sizes against the header and the limits before anything is allocated
//! from the codestream, and no panic of a codec library leaves this module.
//!
//! A codec cannot be interrupted, and its working memory is a small multiple of the frame, so callers
//! bound the number of frames in work, not only their size.

mod color;
mod deflate;
mod error;
mod htj2k;
mod jpeg;
mod jpeg2000;
mod jpeg2000_header;
mod jpeg2000_stream;
mod jpeg_header;
mod jpeg_ls;
mod jpeg_xl;
pub mod jpegls;
mod native;
mod recognize;
mod rle;
mod samples;
mod shape;
#[cfg(test)]
mod tests;
pub mod transfer_syntax;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use color::ybr_to_rgb;
pub use error::{CodecError, LibraryError};
pub use native::{
    ByteOrder, expand_bits, native_frame, native_frame_span, native_to_canonical, unpack_bits,
};
pub use recognize::{RecognizedCodestream, codestream_in_boxes, recognize};
pub use shape::{DecodedFrame, FrameLimits, FrameShape, Photometric};
pub use transfer_syntax::Coding;

/// How much color a JPEG baseline frame keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JpegColor {
    /// Half of the color differences, `YBR_FULL_422`.
    #[default]
    Half,
    /// All of the color differences, `YBR_FULL`.
    Full,
}

/// Choices for lossy encoders; lossless ones ignore them.
#[derive(Debug, Clone, Copy)]
pub struct EncodeOptions {
    /// JPEG quality, 1 to 100.
    pub jpeg_quality: u8,
    /// Color resolution of JPEG baseline.
    pub jpeg_color: JpegColor,
    /// Wanted compression ratio of lossy JPEG 2000, above 1.
    pub jpeg2000_ratio: f32,
    /// Largest error of a sample in near-lossless JPEG-LS, at least 1.
    pub jpeg_ls_near: u8,
}

impl Default for EncodeOptions {
    fn default() -> Self {
        Self {
            jpeg_quality: 90,
            jpeg_color: JpegColor::default(),
            jpeg2000_ratio: 10.0,
            jpeg_ls_near: 2,
        }
    }
}

/// An encoded frame and what the header has to say about it.
#[derive(Debug, Clone)]
pub struct Encoded {
    /// The codestream, unpadded; fragments need an even length (PS3.5 §A.4).
    pub bytes: Vec<u8>,
    /// The attributes to write into the header.
    pub shape: FrameShape,
    /// Lossy Image Compression Ratio (0028,2112) of this step; nothing when it was lossless.
    pub lossy: Option<f64>,
}

impl Encoded {
    fn lossless(bytes: Vec<u8>, shape: FrameShape) -> Self {
        Self {
            bytes,
            shape,
            lossy: None,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a ratio of byte counts; frames are far below 2^52 bytes"
    )]
    fn lossy(bytes: Vec<u8>, shape: FrameShape, frame: &DecodedFrame) -> Self {
        let ratio = frame.data.len() as f64 / bytes.len().max(1) as f64;
        Self {
            bytes,
            shape,
            lossy: Some(ratio),
        }
    }
}

/// One codec: both directions of one family of transfer syntaxes.
///
/// The caller has checked the shape, `decodable` or `encodable`, and the frame limit.
trait FrameCodec: Sync {
    /// Whether frames of this shape can be decoded; the reason if not.
    fn decodable(&self, shape: &FrameShape) -> Result<(), &'static str>;

    /// Whether canonical frames of this shape can be encoded; the reason if not.
    fn encodable(&self, shape: &FrameShape) -> Result<(), &'static str>;

    /// The shape that [`FrameCodec::decode`] will return.
    fn decoded_shape(&self, shape: &FrameShape) -> FrameShape {
        interleaved_shape(shape)
    }

    /// Whether the codestream says that it lost information; nothing when it does not say.
    fn is_lossy(&self, codestream: &[u8]) -> Option<bool>;

    /// The header's shape with what the codestream says of its picture, read before anything is decoded.
    fn declared(&self, codestream: &[u8], shape: &FrameShape) -> Result<FrameShape, CodecError>;

    /// Decodes one codestream.
    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        limits: &FrameLimits,
    ) -> Result<DecodedFrame, CodecError>;

    /// Encodes one canonical frame.
    fn encode(&self, frame: &DecodedFrame, options: &EncodeOptions) -> Result<Encoded, CodecError>;
}

/// The shape of pixels as a codestream holds them: whole pixels, never subsampled.
fn interleaved_shape(shape: &FrameShape) -> FrameShape {
    let photometric = match shape.photometric {
        Photometric::YbrFull422 => Photometric::YbrFull,
        Photometric::YbrPartial420 | Photometric::YbrPartial422 => Photometric::Other,
        // The transforms of JPEG 2000 exist inside its codestreams only.
        Photometric::YbrRct | Photometric::YbrIct => Photometric::Rgb,
        other => other,
    };
    shape.canonical(photometric)
}

/// The codec of a coding; nothing for native, video and multi-component syntaxes.
fn codec(coding: Coding) -> Option<&'static dyn FrameCodec> {
    use jpeg::Jpeg;
    use jpeg_ls::JpegLs;
    use jpeg_xl::JpegXl;
    use jpeg2000::Jpeg2000;
    let codec: &'static dyn FrameCodec = match coding {
        Coding::DeflatedFrame => &deflate::Deflate,
        Coding::Rle => &rle::Rle,
        Coding::JpegBaseline => &Jpeg(Coding::JpegBaseline),
        Coding::JpegExtended => &Jpeg(Coding::JpegExtended),
        Coding::JpegProgressive => &Jpeg(Coding::JpegProgressive),
        Coding::JpegLossless => &Jpeg(Coding::JpegLossless),
        Coding::JpegLosslessFirstOrder => &Jpeg(Coding::JpegLosslessFirstOrder),
        Coding::JpegLsLossless => &JpegLs(Coding::JpegLsLossless),
        Coding::JpegLsNearLossless => &JpegLs(Coding::JpegLsNearLossless),
        Coding::Jpeg2000Lossless => &Jpeg2000(Coding::Jpeg2000Lossless),
        Coding::Jpeg2000 => &Jpeg2000(Coding::Jpeg2000),
        Coding::Htj2kLossless => &Jpeg2000(Coding::Htj2kLossless),
        Coding::Htj2kLosslessRpcl => &Jpeg2000(Coding::Htj2kLosslessRpcl),
        Coding::Htj2k => &Jpeg2000(Coding::Htj2k),
        Coding::JpegXlLossless => &JpegXl(Coding::JpegXlLossless),
        Coding::JpegXlRecompression => &JpegXl(Coding::JpegXlRecompression),
        Coding::JpegXl => &JpegXl(Coding::JpegXl),
        _ => return None,
    };
    Some(codec)
}

fn known(transfer_syntax: &str) -> Result<Coding, CodecError> {
    Coding::from_uid(transfer_syntax).ok_or_else(|| CodecError::UnknownTransferSyntax {
        uid: transfer_syntax.to_owned(),
    })
}

/// Why no codec exists for a coding.
fn no_codec(coding: Coding) -> &'static str {
    if coding.is_video() {
        "video is passed through as stored"
    } else {
        "no codec for this transfer syntax is built in"
    }
}

fn check_decodable(coding: Coding, shape: &FrameShape) -> Result<(), CodecError> {
    shape.check()?;
    if coding.is_native() {
        return Ok(());
    }
    let reason = match codec(coding) {
        None => Err(no_codec(coding)),
        Some(codec) => codec.decodable(shape),
    };
    reason.map_err(|reason| CodecError::CannotDecode { coding, reason })
}

fn check_encodable(coding: Coding, shape: &FrameShape) -> Result<(), CodecError> {
    shape.check_canonical()?;
    let reason = match codec(coding) {
        _ if coding.is_native() => Err("native frames are written as they are"),
        None => Err(no_codec(coding)),
        Some(codec) => codec.encodable(shape),
    };
    reason.map_err(|reason| CodecError::CannotEncode { coding, reason })
}

/// Whether frames of this shape can be decoded from a transfer syntax.
pub fn can_decode(transfer_syntax: &str, shape: &FrameShape) -> bool {
    known(transfer_syntax).is_ok_and(|coding| check_decodable(coding, shape).is_ok())
}

/// Whether canonical frames of this shape can be encoded in a transfer syntax.
///
/// The shape is that of decoded samples: for a stored frame ask [`decoded_shape`] first.
/// False for native syntaxes: their frames are written, not encoded. A yes can still end in an error
/// for a frame an encoder refuses (JPEG XL), never in a wrong picture.
pub fn can_encode(transfer_syntax: &str, shape: &FrameShape) -> bool {
    known(transfer_syntax).is_ok_and(|coding| check_encodable(coding, shape).is_ok())
}

/// The shape [`decode`] would return, without decoding; nothing when it cannot decode.
///
/// With it a plan (stored syntax to wanted syntax) is made from the header alone.
pub fn decoded_shape(transfer_syntax: &str, shape: &FrameShape) -> Option<FrameShape> {
    let coding = known(transfer_syntax).ok()?;
    check_decodable(coding, shape).ok()?;
    Some(match codec(coding) {
        Some(codec) => codec.decoded_shape(shape),
        None => native::canonical_shape(shape),
    })
}

/// The shape [`decode`] will return, as far as the codestream says before it is decoded.
///
/// What it says of rows, columns, components and bits counts before the header (PS3.5 §8.2). Bits Stored can still
/// grow up to Bits Allocated, and single bits can turn out to be bytes; a caller that sets memory aside
/// takes the larger.
///
/// # Errors
/// As [`decode`], for what stands in the headers of the stream.
pub fn codestream_shape(
    transfer_syntax: &str,
    codestream: &[u8],
    shape: &FrameShape,
) -> Result<FrameShape, CodecError> {
    let coding = known(transfer_syntax)?;
    check_decodable(coding, shape)?;
    let Some(codec) = codec(coding) else {
        return Ok(native::canonical_shape(shape));
    };
    guarded(coding, || {
        Ok(codec.decoded_shape(&codec.declared(codestream, shape)?))
    })
}

/// Whether a codestream itself says that it lost information.
///
/// Nothing when it does not say or cannot be read: a reversible JPEG 2000 stream may have been cut, and
/// JPEG XL does not tell. Streams that contradict their transfer syntax are decoded all the same, so
/// who presents a decoded frame as lossless asks here first.
pub fn stream_is_lossy(transfer_syntax: &str, codestream: &[u8]) -> Option<bool> {
    let coding = Coding::from_uid(transfer_syntax)?;
    if coding.is_native() {
        return Some(false);
    }
    let codec = codec(coding)?;
    guarded(coding, || Ok(codec.is_lossy(codestream))).ok()?
}

/// Decodes one frame; `codestream` is exactly the bytes of its fragments.
///
/// Gives samples in canonical form (see [`DecodedFrame`]) and the shape that describes them. Where codestream and header
/// disagree on rows, columns, components or bits the codestream decides (PS3.5 §8.2), so the shape of the frame may differ
/// from [`decoded_shape`]; of the sign the header decides, for not every stream has one. `YBR_RCT` and
/// `YBR_ICT` become RGB, so does every three-sample frame of a lossy JPEG or JPEG XL syntax;
/// `YBR_FULL` of lossless syntaxes stays, because turning it into RGB would lose bits. JPEG components are taken raw and
/// their color is decided, in this order, by component ids `RGB`, the Adobe marker, the JFIF marker
/// and the Photometric Interpretation. Native frames are accepted too; those of big endian with
/// VR OW and 8 bits or less go through [`native_frame`] instead.
///
/// # Errors
/// [`CodecError`]: the syntax or shape cannot be decoded, the frame is above the limit, or the codestream is damaged.
pub fn decode(
    transfer_syntax: &str,
    codestream: &[u8],
    shape: &FrameShape,
    limits: &FrameLimits,
) -> Result<DecodedFrame, CodecError> {
    let coding = known(transfer_syntax)?;
    check_decodable(coding, shape)?;
    shape.checked_len(limits)?;
    let Some(codec) = codec(coding) else {
        let order = match coding {
            Coding::ExplicitBigEndian => ByteOrder::Big,
            _ => ByteOrder::Little,
        };
        return native_to_canonical(codestream, shape, order);
    };
    guarded(coding, || codec.decode(codestream, shape, limits))
}

/// Encodes one canonical frame.
///
/// The result carries the attributes that the header must take over and, for lossy syntaxes, the
/// compression ratio. The precision of the codestream is Bits Stored, as long as the format has it.
///
/// # Errors
/// [`CodecError`]: the syntax cannot hold the frame, or the encoder refused it.
pub fn encode(
    transfer_syntax: &str,
    frame: &DecodedFrame,
    options: &EncodeOptions,
) -> Result<Encoded, CodecError> {
    let coding = known(transfer_syntax)?;
    check_encodable(coding, &frame.shape)?;
    frame.check()?;
    let Some(codec) = codec(coding) else {
        let reason = no_codec(coding);
        return Err(CodecError::CannotEncode { coding, reason });
    };
    guarded(coding, || codec.encode(frame, options))
}

/// Runs a codec; a panic inside becomes an error.
fn guarded<T>(
    coding: Coding,
    work: impl FnOnce() -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    // Codecs own all they touch and are dropped with the panic, so nothing broken is seen later.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(CodecError::Panicked { coding }))
}

/// The shapes that the JPEG family codes: one or three samples of 8 or 16 bits.
fn gray_or_color(shape: &FrameShape) -> Result<(), &'static str> {
    if !matches!(shape.samples, 1 | 3) {
        Err("pixels have one or three samples")
    } else if !matches!(shape.bits_allocated, 8 | 16) {
        Err("samples have 8 or 16 bits allocated")
    } else {
        Ok(())
    }
}

/// The shapes that a lossless format of samples of any width codes: also single bits.
fn bits_gray_or_color(shape: &FrameShape) -> Result<(), &'static str> {
    if shape.bits_allocated == 1 {
        return Ok(());
    }
    gray_or_color(shape)
}

/// The shapes that a lossy syntax codes: pictures, not palette indices.
fn lossy_gray_or_color(shape: &FrameShape) -> Result<(), &'static str> {
    gray_or_color(shape)?;
    match shape.photometric {
        Photometric::PaletteColor => Err("palette indices cannot be approximated"),
        Photometric::Other | Photometric::Xyb => {
            Err("the Photometric Interpretation is not one of stored samples")
        }
        _ => Ok(()),
    }
}

/// A dimension for a library that counts in `usize`.
fn length(dimension: u32) -> usize {
    usize::try_from(dimension).unwrap_or(usize::MAX)
}
