//! JPEG-LS (ISO/IEC 14495-1) as a frame codec, over the own implementation in [`super::jpegls`].
//!
//! JPEG-LS knows nothing of sign: samples are bit patterns, extended by the header.

use super::error::CodecError;
use super::frame_codec::{
    EncodeOptions, Encoded, FrameCodec, gray_or_color, interleaved_shape, lossy_gray_or_color,
};
use super::jpegls::{self, EncodeParams, Interleave};
use super::samples;
use super::shape::{CodestreamShape, DecodedFrame, FrameLimits, FrameShape};
use super::transfer_syntax::Coding;

/// Largest side the format codes without extended dimensions.
const MAX_SIDE: u32 = 65_535;

pub(super) struct JpegLs(pub(super) Coding);

impl JpegLs {
    fn failed(&self, error: jpegls::Error) -> CodecError {
        CodecError::library(self.0, "the JPEG-LS decoder stopped", error)
    }

    fn info(&self, codestream: &[u8]) -> Result<jpegls::Info, CodecError> {
        jpegls::read_info(codestream).map_err(|error| self.failed(error))
    }
}

fn declared(info: jpegls::Info) -> CodestreamShape {
    CodestreamShape {
        rows: info.rows,
        columns: info.columns,
        components: u32::from(info.components),
        precision: u32::from(info.precision),
    }
}

impl FrameCodec for JpegLs {
    fn decodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        if matches!(shape.bits_allocated, 1 | 8 | 16) {
            Ok(())
        } else {
            Err("samples have 1, 8 or 16 bits allocated")
        }
    }

    fn encodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        if shape.rows > MAX_SIDE || shape.columns > MAX_SIDE {
            return Err("Rows or Columns is above 65535");
        }
        if self.0 == Coding::JpegLsLossless {
            return gray_or_color(shape);
        }
        lossy_gray_or_color(shape)?;
        if shape.signed {
            // Patterns of small negative values lie far from zero: an error of one would wrap.
            return Err("near-lossless coding needs unsigned samples");
        }
        Ok(())
    }

    fn is_lossy(&self, codestream: &[u8]) -> Option<bool> {
        jpegls::read_info(codestream)
            .ok()
            .map(|info| info.near != 0)
    }

    fn declared(&self, codestream: &[u8], shape: &FrameShape) -> Result<FrameShape, CodecError> {
        shape.declared(&declared(self.info(codestream)?))
    }

    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        limits: &FrameLimits,
    ) -> Result<DecodedFrame, CodecError> {
        let info = self.info(codestream)?;
        let shape = shape.declared(&declared(info))?;
        shape.checked_len(limits)?;
        let photometric = interleaved_shape(&shape).photometric;
        let shape = FrameShape {
            photometric,
            ..shape
        };
        let length = usize::try_from(info.samples_bytes()).unwrap_or(usize::MAX);
        let image = jpegls::decode(codestream, length).map_err(|error| self.failed(error))?;
        let precision = u32::from(info.precision);
        if info.precision <= 8 {
            return samples::whole(&image.samples, precision, &shape);
        }
        let (cells, _) = image.samples.as_chunks::<2>();
        let patterns: Vec<u16> = cells.iter().map(|&cell| u16::from_le_bytes(cell)).collect();
        samples::whole(&patterns, precision, &shape)
    }

    fn encode(&self, frame: &DecodedFrame, options: &EncodeOptions) -> Result<Encoded, CodecError> {
        let shape = frame.shape;
        let near = match self.0 {
            Coding::JpegLsLossless => 0,
            _ => options.jpeg_ls_near.max(1),
        };
        // The narrowest precision of the format is two bits.
        let precision = frame.shape.bits_stored.max(2);
        let patterns = samples::patterns(frame, precision);
        let data: Vec<u8> = if precision <= 8 {
            // The mask of the precision has cleared the high byte.
            patterns
                .iter()
                .map(|pattern| pattern.to_le_bytes()[0])
                .collect()
        } else {
            patterns
                .iter()
                .flat_map(|pattern| pattern.to_le_bytes())
                .collect()
        };
        let parameters = EncodeParams {
            columns: shape.columns,
            rows: shape.rows,
            components: u8::try_from(shape.samples).unwrap_or(u8::MAX),
            precision: u8::try_from(precision).unwrap_or(u8::MAX),
            near,
            interleave: if shape.samples == 1 {
                Interleave::None
            } else {
                Interleave::Line
            },
        };
        let bytes = jpegls::encode(&data, &parameters).map_err(|error| {
            CodecError::encoder(
                self.0,
                "the JPEG-LS encoder refused the frame",
                Some(error.into()),
            )
        })?;
        Ok(if near == 0 {
            Encoded::lossless(bytes, shape)
        } else {
            Encoded::lossy(bytes, shape, frame)
        })
    }
}
