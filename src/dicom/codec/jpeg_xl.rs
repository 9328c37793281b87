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

use super::error::CodecError;
use super::frame_codec::{
    EncodeOptions, Encoded, FrameCodec, gray_or_color, interleaved_shape, length,
};
use super::samples;
use super::shape::{CodestreamShape, DecodedFrame, FrameLimits, FrameShape, Photometric};
use super::transfer_syntax::Coding;

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

    fn declared(&self, codestream: &[u8], shape: &FrameShape) -> Result<FrameShape, CodecError> {
        let (decoder, _) = self.open(codestream, None)?;
        Ok(self.declared_by(&decoder, shape)?.0)
    }

    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        limits: &FrameLimits,
    ) -> Result<DecodedFrame, CodecError> {
        let (mut decoder, input) = self.open(codestream, Some(limits))?;
        let (shape, precision) = self.declared_by(&decoder, shape)?;
        shape.checked_len(limits)?;
        let shape = FrameShape {
            photometric: self.decoded_shape(&shape).photometric,
            ..shape
        };
        let data = self.pixels(&mut decoder, input, &shape, precision)?;
        if precision <= 8 {
            return samples::whole(&data, precision, &shape);
        }
        let (cells, _) = data.as_chunks::<2>();
        let patterns: Vec<u16> = cells.iter().map(|&cell| u16::from_le_bytes(cell)).collect();
        samples::whole(&patterns, precision, &shape)
    }

    fn encode(
        &self,
        frame: &DecodedFrame,
        _options: &EncodeOptions,
    ) -> Result<Encoded, CodecError> {
        let shape = frame.shape;
        // The encoder knows 8 and 16 bits; the precision in between is written into its header afterwards.
        let wide = shape.bits_stored != 8;
        let depth = if wide {
            BitDepth::Sixteen
        } else {
            BitDepth::Eight
        };
        let color = if shape.samples == 1 {
            ColorSpace::Luma
        } else {
            ColorSpace::RGB
        };
        let patterns = samples::patterns(frame, shape.bits_stored);
        // The encoder reads 16-bit samples in the order of the machine.
        let data: Vec<u8> = if wide {
            patterns.iter().flat_map(|p| p.to_ne_bytes()).collect()
        } else {
            patterns.iter().map(|p| p.to_le_bytes()[0]).collect()
        };
        let (columns, rows) = (length(shape.columns), length(shape.rows));
        let options = EncoderOptions::new(columns, rows, color, depth).set_num_threads(1);
        let mut bytes = Vec::new();
        JxlSimpleEncoder::new(&data, options)
            .encode(&mut bytes)
            .map_err(|error| {
                let source = Some(error.to_string().into());
                CodecError::encoder(self.0, "the JPEG XL encoder refused the frame", source)
            })?;
        if wide && with_precision(&mut bytes, shape.bits_stored).is_none() {
            return Err(CodecError::encoder(
                self.0,
                "the codestream has another header than expected",
                None,
            ));
        }
        let limits = FrameLimits {
            // The decoder counts at least sixteen columns.
            max_frame_bytes: shape.frame_bytes().max(u64::from(shape.rows) * 16),
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
    /// What the first bytes of a stream say of its picture, and whether its colors are those it was made from.
    pub(super) fn look(&self, head: &[u8]) -> Option<(CodestreamShape, bool)> {
        let read = || {
            let (decoder, _) = self.open(head, None)?;
            let (Some(info), Some(profile)) =
                (decoder.basic_info(), decoder.embedded_color_profile())
            else {
                return Err(self.error("it has no header"));
            };
            let (columns, rows) = info.size;
            let precision = match info.bit_depth {
                JxlBitDepth::Int { bits_per_sample } => bits_per_sample,
                JxlBitDepth::Float { .. } => 16,
            };
            let gray = matches!(
                profile,
                JxlColorProfile::Simple(JxlColorEncoding::GrayscaleColorSpace { .. })
            );
            let declared = CodestreamShape {
                rows: u32::try_from(rows).unwrap_or(u32::MAX),
                columns: u32::try_from(columns).unwrap_or(u32::MAX),
                components: if gray { 1 } else { 3 },
                precision,
            };
            Ok((declared, info.uses_original_profile))
        };
        super::frame_codec::guarded(self.0, read).ok()
    }

    /// A decoder that has read the header, and the bytes behind it.
    ///
    /// Without limits for whoever reads the header only: the decoder compares them with the size that stands there.
    fn open<'a>(
        &self,
        codestream: &'a [u8],
        limits: Option<&FrameLimits>,
    ) -> Result<(JxlDecoder, &'a [u8]), CodecError> {
        let mut options = JxlDecoderOptions::default();
        options.sample_limit = limits.map(|limits| {
            let most = usize::try_from(limits.max_frame_bytes).unwrap_or(usize::MAX);
            most.saturating_mul(SAMPLE_FACTOR).max(1 << 16)
        });
        let mut decoder = JxlDecoder::new(options);
        let mut input = codestream;
        match decoder.process(&mut input, None, None) {
            Ok(Event::BasicInfo) => Ok((decoder, input)),
            Ok(_) => Err(self.error("it ends inside the header")),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// The shape with what the header of the stream says, and the precision of the samples.
    fn declared_by(
        &self,
        decoder: &JxlDecoder,
        shape: &FrameShape,
    ) -> Result<(FrameShape, u32), CodecError> {
        let (Some(info), Some(profile)) = (decoder.basic_info(), decoder.embedded_color_profile())
        else {
            return Err(self.error("it has no header"));
        };
        let precision = precision(info, shape);
        if precision > 16 {
            return Err(self.error("samples have more than 16 bits"));
        }
        let (columns, rows) = info.size;
        let declared = shape.declared(&CodestreamShape {
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            columns: u32::try_from(columns).unwrap_or(u32::MAX),
            components: components(profile, shape),
            precision,
        })?;
        Ok((declared, precision))
    }

    /// Decodes the first frame into samples of one byte, or of two where the precision needs them.
    fn pixels(
        &self,
        decoder: &mut JxlDecoder,
        mut input: &[u8],
        shape: &FrameShape,
        precision: u32,
    ) -> Result<Vec<u8>, CodecError> {
        let info = decoder
            .basic_info()
            .ok_or_else(|| self.error("it has no header"))?;
        let depth = u8::try_from(precision).unwrap_or(16);
        let width = if depth <= 8 { 1 } else { 2 };
        let samples = usize::try_from(shape.sample_count()).unwrap_or(usize::MAX);
        let length = samples.saturating_mul(width);
        let format = JxlPixelFormat {
            color_type: if shape.samples == 1 {
                JxlColorType::Grayscale
            } else {
                JxlColorType::Rgb
            },
            color_data_format: Some(if width == 1 {
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
        let rows = super::frame_codec::length(shape.rows);
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

/// Reads and changes single bits of a header, the lowest bit of a byte first (ISO 18181-1 §B.2).
struct Bits<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Bits<'_> {
    fn read(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for place in 0..count {
            let byte = *self.bytes.get(self.at / 8)?;
            value |= u32::from(byte >> (self.at % 8) & 1) << place;
            self.at += 1;
        }
        Some(value)
    }

    fn write(&mut self, value: u32, count: u32) -> Option<()> {
        for place in 0..count {
            let byte = self.bytes.get_mut(self.at / 8)?;
            let bit = 1 << (self.at % 8);
            if value >> place & 1 == 1 {
                *byte |= bit;
            } else {
                *byte &= !bit;
            }
            self.at += 1;
        }
        Some(())
    }
}

/// Writes another precision into a codestream of 16-bit integers; nothing when its header is another one.
///
/// Samples are coded alike whatever the header says of their width, as long as they fit.
fn with_precision(codestream: &mut [u8], precision: u16) -> Option<()> {
    let mut bits = Bits {
        bytes: codestream,
        at: 0,
    };
    if bits.read(16)? != 0x0aff || bits.read(1)? != 0 {
        return None;
    }
    // SizeHeader: two sides of 9, 13, 18 or 30 bits and no ratio.
    let side = |bits: &mut Bits<'_>| {
        let width = *[9, 13, 18, 30].get(usize::try_from(bits.read(2)?).ok()?)?;
        bits.read(width)
    };
    side(&mut bits)?;
    if bits.read(3)? != 0 {
        return None;
    }
    side(&mut bits)?;
    // ImageMetadata: neither all default nor extra fields; integers whose width is written out.
    if bits.read(3)? != 0 || bits.read(2)? != 3 {
        return None;
    }
    let place = bits.at;
    if bits.read(6)? != 15 {
        return None;
    }
    bits.at = place;
    bits.write(u32::from(precision.checked_sub(1)?), 6)
}
