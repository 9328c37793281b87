//! JPEG baseline, extended (8 and 12 bit) and lossless (ITU-T T.81), by `libjpeg-turbo-rs`.
//!
//! The decoder's own guess about color is taken out of its hands: the stream it sees states whether
//! components are transformed, as decided from the stream's marks and the header.

use libjpeg_turbo_rs::api::precision;
use libjpeg_turbo_rs::common::types::DecodeLimits;
use libjpeg_turbo_rs::{Decoder, Encoder, PixelFormat, Subsampling};

use super::coding::Coding;
use super::color;
use super::error::CodecError;
use super::jpeg_header::{JpegHeader, with_adobe_transform, without_color_claim};
use super::samples;
use super::shape::{Frame, FrameShape, Limits, Photometric};
use super::{
    EncodeOptions, Encoded, FrameCodec, JpegColor, check_dimensions, gray_or_color,
    interleaved_shape, length, lossy_gray_or_color,
};

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

    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        _limits: &Limits,
    ) -> Result<Frame, CodecError> {
        let header = JpegHeader::read(codestream, self.0)?;
        let components = u32::try_from(header.components.len()).unwrap_or(u32::MAX);
        check_dimensions(
            shape,
            u32::from(header.rows),
            u32::from(header.columns),
            components,
            u32::from(header.precision),
        )?;
        if header.is_lossless() {
            return self.decode_lossless(codestream, &header, shape);
        }
        let decoded = self.decoded_shape(shape);
        // Under a lossless syntax a frame labeled YBR is promised to stay YBR.
        let transformed = decoded.photometric == Photometric::Rgb
            && !header
                .stream_is_rgb()
                .unwrap_or(shape.photometric == Photometric::Rgb);
        let stated = with_adobe_transform(codestream, u8::from(transformed));
        let data = match header.precision {
            8 => self.decode_8(&stated, &decoded)?,
            12 => self.decode_12(&stated, &decoded)?,
            _ => return Err(self.error("lossy samples have 8 or 12 bits")),
        };
        Frame::new(decoded, data)
    }

    fn encode(&self, frame: &Frame, options: &EncodeOptions) -> Result<Encoded, CodecError> {
        match self.0 {
            Coding::JpegBaseline => self.encode_baseline(frame, options),
            Coding::JpegExtended => self.encode_extended(frame, options),
            _ => self.encode_lossless(frame),
        }
    }
}

impl Jpeg {
    fn limits(shape: &FrameShape) -> DecodeLimits {
        DecodeLimits {
            max_width: length(shape.columns),
            max_height: length(shape.rows),
            max_pixels: u64::from(shape.rows) * u64::from(shape.columns),
            max_scans: MAX_SCANS,
            max_memory: None,
        }
    }

    fn decode_8(&self, stream: &[u8], shape: &FrameShape) -> Result<Vec<u8>, CodecError> {
        let limits = Self::limits(shape);
        let image = Decoder::new_with_limits(stream, limits)
            .and_then(|decoder| decoder.decode_image())
            .map_err(|error| CodecError::library(self.0, "the JPEG decoder stopped", error))?;
        if image.data.len() as u64 != shape.sample_count() {
            return Err(self.error("the decoder returned another number of samples"));
        }
        if shape.bits_allocated == 8 && !shape.signed {
            return Ok(image.data);
        }
        Ok(samples::to_bytes(&image.data, 8, shape))
    }

    fn decode_12(&self, stream: &[u8], shape: &FrameShape) -> Result<Vec<u8>, CodecError> {
        let image = precision::decompress_12bit_with_limits(stream, &Self::limits(shape))
            .map_err(|error| CodecError::library(self.0, "the JPEG decoder stopped", error))?;
        if image.data.len() as u64 != shape.sample_count() {
            return Err(self.error("the decoder returned another number of samples"));
        }
        Ok(samples::to_bytes(&image.data, 12, shape))
    }

    fn decode_lossless(
        &self,
        stream: &[u8],
        header: &JpegHeader,
        shape: &FrameShape,
    ) -> Result<Frame, CodecError> {
        if header.components.iter().any(|c| c.sampling != 0x11) {
            return Err(self.error("subsampled lossless frames are not supported"));
        }
        let image = precision::decompress_lossless_arbitrary(stream)
            .map_err(|error| CodecError::library(self.0, "the JPEG decoder stopped", error))?;
        if image.data.len() as u64 != shape.sample_count() {
            return Err(self.error("the decoder returned another number of samples"));
        }
        let raw = interleaved_shape(shape);
        let data = samples::to_bytes(&image.data, u32::from(header.precision), &raw);
        let frame = Frame::new(raw, data)?;
        if self.is_lossless() || shape.samples == 1 {
            return Ok(frame);
        }
        // A lossless stream under a lossy syntax: the caller still expects RGB.
        let mut frame = color::ybr_to_rgb(frame)?;
        frame.shape.photometric = Photometric::Rgb;
        Ok(frame)
    }

    fn encode_baseline(
        &self,
        frame: &Frame,
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
        frame: &Frame,
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

    fn encode_lossless(&self, frame: &Frame) -> Result<Encoded, CodecError> {
        // The narrowest precision of the format is two bits.
        let precision = samples::coding_precision(frame).max(2);
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
