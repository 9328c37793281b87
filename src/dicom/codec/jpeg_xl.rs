//! JPEG XL: decoding by `jxl`, lossless encoding by `zune-jpegxl`.
//!
//! The encoder is small and young, so every codestream it writes is decoded and compared before it is
//! handed out: an odd frame becomes an error, never a wrong picture.

use jxl::api::{
    Endianness, Event, JxlBasicInfo, JxlBitDepth, JxlColorEncoding, JxlColorProfile, JxlColorType,
    JxlDataFormat, JxlDecoder, JxlDecoderOptions, JxlOutputBuffer, JxlPixelFormat,
};
use zune_core::bit_depth::BitDepth;
use zune_core::colorspace::ColorSpace;
use zune_core::options::EncoderOptions;
use zune_jpegxl::JxlSimpleEncoder;

use super::coding::Coding;
use super::error::CodecError;
use super::samples;
use super::shape::{Frame, FrameShape, Limits, Photometric};
use super::{
    EncodeOptions, Encoded, FrameCodec, check_dimensions, gray_or_color, interleaved_shape, length,
};

/// Samples of hidden channels and frames the decoder may hold, for each sample of the picture.
const SAMPLE_FACTOR: usize = 4;

pub(super) struct JpegXl(pub(super) Coding);

impl JpegXl {
    fn error(&self, reason: &'static str) -> CodecError {
        CodecError::codestream(self.0, reason)
    }

    fn failed(&self, error: jxl::error::Error) -> CodecError {
        CodecError::library(self.0, "the JPEG XL decoder stopped", error)
    }
}

impl FrameCodec for JpegXl {
    fn decodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        gray_or_color(shape)
    }

    fn encodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        gray_or_color(shape)?;
        if self.0 != Coding::JpegXlLossless {
            return Err("JPEG XL is encoded losslessly only");
        }
        if shape.rows < 2 || shape.columns < 2 {
            return Err("the encoder needs at least two rows and two columns");
        }
        match shape.photometric {
            Photometric::Monochrome1 | Photometric::Monochrome2 | Photometric::PaletteColor => {
                Ok(())
            }
            Photometric::Rgb if !shape.signed => Ok(()),
            _ => Err("JPEG XL holds gray, palette or unsigned RGB frames"),
        }
    }

    fn decoded_shape(&self, shape: &FrameShape) -> FrameShape {
        let mut decoded = interleaved_shape(shape);
        let lossless = self.0 == Coding::JpegXlLossless;
        if shape.samples == 3 && (!lossless || shape.photometric == Photometric::Xyb) {
            decoded.photometric = Photometric::Rgb;
        }
        decoded
    }

    fn is_lossy(&self, _codestream: &[u8]) -> Option<bool> {
        None
    }

    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        limits: &Limits,
    ) -> Result<Frame, CodecError> {
        let shape = self.decoded_shape(shape);
        let length = shape.checked_len(limits)?;
        let samples = length / shape.sample_bytes().max(1);
        let mut options = JxlDecoderOptions::default();
        options.sample_limit = Some(samples.saturating_mul(SAMPLE_FACTOR).max(1 << 16));
        let mut decoder = JxlDecoder::new(options);
        let mut input = codestream;
        match decoder.process(&mut input, None, None) {
            Ok(Event::BasicInfo) => {}
            Ok(_) => return Err(self.error("it ends inside the header")),
            Err(error) => return Err(self.failed(error)),
        }
        let precision = self.accept(&decoder, &shape)?;
        let data = self.pixels(&mut decoder, input, &shape, length)?;
        if !shape.signed {
            return Frame::new(shape, data);
        }
        let patterns = samples::patterns(
            &Frame {
                shape: FrameShape {
                    signed: false,
                    ..shape
                },
                data,
            },
            16,
        );
        Frame::new(shape, samples::to_bytes(&patterns, precision, &shape))
    }

    fn encode(&self, frame: &Frame, _options: &EncodeOptions) -> Result<Encoded, CodecError> {
        let shape = frame.shape;
        let depth = if shape.bits_allocated == 8 {
            BitDepth::Eight
        } else {
            BitDepth::Sixteen
        };
        let color = if shape.samples == 1 {
            ColorSpace::Luma
        } else {
            ColorSpace::RGB
        };
        // The encoder reads 16-bit samples in the order of the machine.
        let native: Vec<u8>;
        let data = if shape.bits_allocated == 16 && cfg!(target_endian = "big") {
            let (cells, _) = frame.data.as_chunks::<2>();
            native = cells.iter().flat_map(|&[low, high]| [high, low]).collect();
            &native
        } else {
            &frame.data
        };
        let (columns, rows) = (length(shape.columns), length(shape.rows));
        let options = EncoderOptions::new(columns, rows, color, depth).set_num_threads(1);
        let mut bytes = Vec::new();
        JxlSimpleEncoder::new(data, options)
            .encode(&mut bytes)
            .map_err(|error| {
                let source = Some(error.to_string().into());
                CodecError::encoder(self.0, "the JPEG XL encoder refused the frame", source)
            })?;
        let limits = Limits {
            max_frame_bytes: shape.frame_bytes(),
        };
        match self.decode(&bytes, &shape, &limits) {
            Ok(decoded) if decoded == *frame => Ok(Encoded::lossless(bytes, shape)),
            Ok(_) => Err(CodecError::encoder(
                self.0,
                "the codestream decodes to another picture",
                None,
            )),
            Err(error) => Err(CodecError::encoder(
                self.0,
                "the codestream does not decode",
                Some(error.into()),
            )),
        }
    }
}

impl JpegXl {
    /// Compares the header with the shape and gives the precision of the samples.
    fn accept(&self, decoder: &JxlDecoder, shape: &FrameShape) -> Result<u32, CodecError> {
        let (Some(info), Some(profile)) = (decoder.basic_info(), decoder.embedded_color_profile())
        else {
            return Err(self.error("it has no header"));
        };
        let precision = precision(info, shape);
        let (columns, rows) = info.size;
        check_dimensions(
            shape,
            u32::try_from(rows).unwrap_or(u32::MAX),
            u32::try_from(columns).unwrap_or(u32::MAX),
            components(profile, shape),
            precision,
        )?;
        Ok(precision)
    }

    /// Decodes the first frame into samples of the width of the shape.
    fn pixels(
        &self,
        decoder: &mut JxlDecoder,
        mut input: &[u8],
        shape: &FrameShape,
        length: usize,
    ) -> Result<Vec<u8>, CodecError> {
        let info = decoder
            .basic_info()
            .ok_or_else(|| self.error("it has no header"))?;
        let depth = u8::try_from(precision(info, shape)).unwrap_or(16);
        let format = JxlPixelFormat {
            color_type: if shape.samples == 1 {
                JxlColorType::Grayscale
            } else {
                JxlColorType::Rgb
            },
            color_data_format: Some(if shape.bits_allocated == 8 {
                JxlDataFormat::U8 { bit_depth: depth }
            } else {
                JxlDataFormat::U16 {
                    endianness: Endianness::LittleEndian,
                    bit_depth: depth,
                }
            }),
            extra_channel_format: vec![None; info.extra_channels.len()],
        };
        decoder
            .set_pixel_format(format)
            .map_err(|error| self.failed(error))?;
        // Rows of 16-bit samples must start on an even address.
        let mut data = vec![0; length.saturating_add(1)];
        let start = data.as_ptr().align_offset(2).min(1);
        let rows = super::length(shape.rows);
        let row_bytes = length / rows.max(1);
        let Some(pixels) = data.get_mut(start..start + length) else {
            return Err(self.error("it has no pixels"));
        };
        let mut buffers = [JxlOutputBuffer::new(pixels, rows, row_bytes)];
        loop {
            match decoder.process(&mut input, Some(&mut buffers), None) {
                Ok(Event::FrameComplete { .. }) => break,
                Ok(Event::FrameHeader | Event::BasicInfo) => {}
                Ok(Event::NeedMoreInput { .. } | Event::Complete) => {
                    return Err(self.error("it ends inside the picture"));
                }
                Err(error) => return Err(self.failed(error)),
            }
        }
        data.truncate(start + length);
        data.drain(..start);
        Ok(data)
    }
}

/// Bits of the samples to write: those of the codestream, or those of the header for floats.
fn precision(info: &JxlBasicInfo, shape: &FrameShape) -> u32 {
    match info.bit_depth {
        JxlBitDepth::Int { bits_per_sample } => bits_per_sample,
        JxlBitDepth::Float { .. } => u32::from(shape.bits_stored),
    }
}

/// Color components of the picture; an ICC profile does not say, so the header is believed.
fn components(profile: &JxlColorProfile, shape: &FrameShape) -> u32 {
    match profile {
        JxlColorProfile::Icc(_) => u32::from(shape.samples),
        JxlColorProfile::Simple(JxlColorEncoding::GrayscaleColorSpace { .. }) => 1,
        JxlColorProfile::Simple(_) => 3,
    }
}
