//! What every codec implements, what it is asked for and what it gives, and the shapes that families of codecs share.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::error::CodecError;
use super::shape::{DecodedFrame, FrameLimits, FrameShape, Photometric};
use super::transfer_syntax::Coding;

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
    pub(super) fn lossless(bytes: Vec<u8>, shape: FrameShape) -> Self {
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
    pub(super) fn lossy(bytes: Vec<u8>, shape: FrameShape, frame: &DecodedFrame) -> Self {
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
pub(super) trait FrameCodec: Sync {
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
pub(super) fn interleaved_shape(shape: &FrameShape) -> FrameShape {
    let photometric = match shape.photometric {
        Photometric::YbrFull422 => Photometric::YbrFull,
        Photometric::YbrPartial420 | Photometric::YbrPartial422 => Photometric::Other,
        // The transforms of JPEG 2000 exist inside its codestreams only.
        Photometric::YbrRct | Photometric::YbrIct => Photometric::Rgb,
        other => other,
    };
    shape.canonical(photometric)
}

/// Runs a codec; a panic inside becomes an error.
pub(super) fn guarded<T>(
    coding: Coding,
    work: impl FnOnce() -> Result<T, CodecError>,
) -> Result<T, CodecError> {
    // Codecs own all they touch and are dropped with the panic, so nothing broken is seen later.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(CodecError::Panicked { coding }))
}

/// The shapes that the JPEG family codes: one or three samples of 8 or 16 bits.
pub(super) fn gray_or_color(shape: &FrameShape) -> Result<(), &'static str> {
    if !matches!(shape.samples, 1 | 3) {
        Err("pixels have one or three samples")
    } else if !matches!(shape.bits_allocated, 8 | 16) {
        Err("samples have 8 or 16 bits allocated")
    } else {
        Ok(())
    }
}

/// The shapes that a lossless format of samples of any width codes: also single bits.
pub(super) fn bits_gray_or_color(shape: &FrameShape) -> Result<(), &'static str> {
    if shape.bits_allocated == 1 {
        return Ok(());
    }
    gray_or_color(shape)
}

/// The shapes that a lossy syntax codes: pictures, not palette indices.
pub(super) fn lossy_gray_or_color(shape: &FrameShape) -> Result<(), &'static str> {
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
pub(super) fn length(dimension: u32) -> usize {
    usize::try_from(dimension).unwrap_or(usize::MAX)
}
