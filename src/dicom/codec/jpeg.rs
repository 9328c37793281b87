//! JPEG baseline, extended (8 and 12 bit) and lossless (ITU-T T.81), by `libjpeg-turbo-rs`.
//!
//! The decoder's own guess about color is taken out of its hands: the stream it sees states whether
//! components are transformed, as decided from the stream's marks and the header.

use libjpeg_turbo_rs::api::precision;
use libjpeg_turbo_rs::common::types::DecodeLimits;
use libjpeg_turbo_rs::{Decoder, Encoder, PixelFormat, Subsampling};

use super::color;
use super::error::CodecError;
use super::frame_codec::{
    EncodeOptions, Encoded, FrameCodec, JpegColor, gray_or_color, interleaved_shape, length,
    lossy_gray_or_color,
};
use super::jpeg_header::{JpegHeader, with_adobe_transform, without_color_claim};
use super::samples;
use super::shape::{DecodedFrame, FrameLimits, FrameShape, Photometric};
use super::transfer_syntax::Coding;

/// Most scans of a progressive stream; real ones have about ten.
const MAX_SCANS: usize = 100;
/// Largest side the library codes.
const MAX_SIDE: u32 = 65_500;

pub(super) struct Jpeg(pub(super) Coding);

impl Jpeg {
    fn is_lossless(&self) -> bool {
        !self.0.is_lossy_syntax()
    }

    fn error(&self, reason: &'static str) -> CodecError {
        CodecError::codestream(self.0, reason)
    }

    fn failed(&self, error: libjpeg_turbo_rs::JpegError) -> CodecError {
        CodecError::encoder(
            self.0,
            "the JPEG encoder refused the frame",
            Some(error.into()),
        )
    }
}

impl FrameCodec for Jpeg {
    fn decodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        gray_or_color(shape)?;
        if !self.is_lossless() && shape.samples == 3 && shape.signed {
            return Err("lossy color samples are unsigned");
        }
        Ok(())
    }

    fn encodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        if shape.rows > MAX_SIDE || shape.columns > MAX_SIDE {
            return Err("Rows or Columns is above 65500");
        }
        if self.is_lossless() {
            return gray_or_color(shape);
        }
        lossy_gray_or_color(shape)?;
        match self.0 {
            Coding::JpegProgressive => Err("the retired progressive JPEG is only decoded"),
            _ if shape.signed => Err("lossy JPEG holds unsigned samples"),
            Coding::JpegBaseline if (shape.bits_allocated, shape.bits_stored) != (8, 8) => {
                Err("JPEG baseline holds 8-bit samples")
            }
            Coding::JpegExtended if (shape.bits_allocated, shape.bits_stored) != (16, 12) => {
                Err("JPEG extended is offered for 12-bit samples")
            }
            Coding::JpegExtended if shape.samples != 1 => {
                Err("JPEG extended is offered for gray images")
            }
            _ => Ok(()),
        }
    }

    fn decoded_shape(&self, shape: &FrameShape) -> FrameShape {
        let mut decoded = interleaved_shape(shape);
        if !self.is_lossless() && shape.samples == 3 {
            decoded.photometric = Photometric::Rgb;
        }
        decoded
    }

    fn is_lossy(&self, codestream: &[u8]) -> Option<bool> {
        let header = JpegHeader::read(codestream, self.0).ok()?;
        Some(!header.is_lossless())
    }

    fn declared(&self, codestream: &[u8], shape: &FrameShape) -> Result<FrameShape, CodecError> {
        shape.declared(&self.header(codestream)?.declared())
    }

    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        limits: &FrameLimits,
    ) -> Result<DecodedFrame, CodecError> {
        let header = self.header(codestream)?;
        let shape = shape.declared(&header.declared())?;
        shape.checked_len(limits)?;
        self.decodable(&shape)
            .map_err(|reason| self.error(reason))?;
        if header.is_lossless() {
            return self.decode_lossless(codestream, &header, &shape);
        }
        let decoded = self.decoded_shape(&shape);
        // Under a lossless syntax a frame labeled YBR is promised to stay YBR.
        let transformed = decoded.photometric == Photometric::Rgb
            && !header.is_rgb().unwrap_or_else(|| {
                // Nobody subsamples red and blue: such a label was left over.
                shape.photometric == Photometric::Rgb && !header.is_subsampled()
            });
        let stated = with_adobe_transform(codestream, u8::from(transformed));
        match header.precision {
            8 => self.decode_8(&stated, &shape, &decoded),
            12 => self.decode_12(&stated, &shape, &decoded),
            _ => Err(self.error("lossy samples have 8 or 12 bits")),
        }
    }

    fn encode(&self, frame: &DecodedFrame, options: &EncodeOptions) -> Result<Encoded, CodecError> {
        match self.0 {
            Coding::JpegBaseline => self.encode_baseline(frame, options),
            Coding::JpegExtended => self.encode_extended(frame, options),
            _ => self.encode_lossless(frame),
        }
    }
}

impl Jpeg {
    fn header(&self, codestream: &[u8]) -> Result<JpegHeader, CodecError> {
        JpegHeader::read(codestream, self.0)
    }

    fn limits(shape: &FrameShape) -> DecodeLimits {
        DecodeLimits {
            max_width: length(shape.columns),
            max_height: length(shape.rows),
            max_pixels: u64::from(shape.rows) * u64::from(shape.columns),
            max_scans: MAX_SCANS,
            max_memory: None,
        }
    }

    fn decode_8(
        &self,
        stream: &[u8],
        shape: &FrameShape,
        decoded: &FrameShape,
    ) -> Result<DecodedFrame, CodecError> {
        let limits = Self::limits(shape);
        let image = Decoder::new_with_limits(stream, limits)
            .and_then(|decoder| decoder.decode_image())
            .map_err(|error| CodecError::library(self.0, "the JPEG decoder stopped", error))?;
        self.check_count(image.data.len(), shape)?;
        if shape.bits_allocated == 8 && shape.bits_stored == 8 && !shape.signed {
            return DecodedFrame::new(*decoded, image.data);
        }
        recolored(samples::whole(&image.data, 8, shape)?, decoded.photometric)
    }

    fn decode_12(
        &self,
        stream: &[u8],
        shape: &FrameShape,
        decoded: &FrameShape,
    ) -> Result<DecodedFrame, CodecError> {
        let image = precision::decompress_12bit_with_limits(stream, &Self::limits(shape))
            .map_err(|error| CodecError::library(self.0, "the JPEG decoder stopped", error))?;
        self.check_count(image.data.len(), shape)?;
        recolored(samples::whole(&image.data, 12, shape)?, decoded.photometric)
    }

    fn check_count(&self, samples: usize, shape: &FrameShape) -> Result<(), CodecError> {
        if samples as u64 == shape.sample_count() {
            Ok(())
        } else {
            Err(self.error("the decoder returned another number of samples"))
        }
    }

    fn decode_lossless(
        &self,
        stream: &[u8],
        header: &JpegHeader,
        shape: &FrameShape,
    ) -> Result<DecodedFrame, CodecError> {
        if header.components.iter().any(|c| c.sampling != 0x11) {
            return Err(self.error("subsampled lossless frames are not supported"));
        }
        let image = precision::decompress_lossless_arbitrary(stream)
            .map_err(|error| CodecError::library(self.0, "the JPEG decoder stopped", error))?;
        self.check_count(image.data.len(), shape)?;
        let raw = interleaved_shape(shape);
        let precision = u32::from(header.precision);
        let frame = samples::whole(
            &image.data,
            precision,
            &FrameShape {
                photometric: raw.photometric,
                ..*shape
            },
        )?;
        if self.is_lossless() || shape.samples == 1 {
            return Ok(frame);
        }
        // A lossless stream under a lossy syntax: the caller still expects RGB.
        let frame = color::ybr_to_rgb(frame)?;
        recolored(frame, Photometric::Rgb)
    }

    fn encode_baseline(
        &self,
        frame: &DecodedFrame,
        options: &EncodeOptions,
    ) -> Result<Encoded, CodecError> {
        let (columns, rows) = (length(frame.shape.columns), length(frame.shape.rows));
        let quality = options.jpeg_quality.clamp(1, 100);
        if frame.shape.samples == 1 {
            let bytes = Encoder::new(&frame.data, columns, rows, PixelFormat::Grayscale)
                .quality(quality)
                .encode()
                .map_err(|error| self.failed(error))?;
            return Ok(Encoded::lossy(bytes, frame.shape, frame));
        }
        let rgb = color::ybr_to_rgb(frame.clone())?;
        let (subsampling, photometric) = match options.jpeg_color {
            JpegColor::Half => (Subsampling::S422, Photometric::YbrFull422),
            JpegColor::Full => (Subsampling::S444, Photometric::YbrFull),
        };
        let bytes = Encoder::new(&rgb.data, columns, rows, PixelFormat::Rgb)
            .quality(quality)
            .subsampling(subsampling)
            .encode()
            .map_err(|error| self.failed(error))?;
        let shape = FrameShape {
            photometric,
            ..frame.shape
        };
        Ok(Encoded::lossy(bytes, shape, frame))
    }

    fn encode_extended(
        &self,
        frame: &DecodedFrame,
        options: &EncodeOptions,
    ) -> Result<Encoded, CodecError> {
        let samples: Vec<i16> = samples::patterns(frame, 12)
            .into_iter()
            .map(u16::cast_signed)
            .collect();
        let bytes = precision::compress_12bit(
            &samples,
            length(frame.shape.columns),
            length(frame.shape.rows),
            1,
            options.jpeg_quality.clamp(1, 100),
            Subsampling::S444,
        )
        .map_err(|error| self.failed(error))?;
        Ok(Encoded::lossy(bytes, frame.shape, frame))
    }

    fn encode_lossless(&self, frame: &DecodedFrame) -> Result<Encoded, CodecError> {
        // The narrowest precision of the format is two bits.
        let precision = frame.shape.bits_stored.max(2);
        let bytes = precision::compress_lossless_arbitrary(
            &samples::patterns(frame, precision),
            length(frame.shape.columns),
            length(frame.shape.rows),
            usize::from(frame.shape.samples),
            u8::try_from(precision).unwrap_or(16),
            1,
            0,
        )
        .map_err(|error| self.failed(error))?;
        let bytes = if frame.shape.samples == 3 && frame.shape.photometric != Photometric::Rgb {
            without_color_claim(&bytes)
        } else {
            bytes
        };
        Ok(Encoded::lossless(bytes, frame.shape))
    }
}

/// The frame under another Photometric Interpretation.
fn recolored(
    mut frame: DecodedFrame,
    photometric: Photometric,
) -> Result<DecodedFrame, CodecError> {
    frame.shape.photometric = photometric;
    DecodedFrame::new(frame.shape, frame.data)
}
