//! JPEG 2000 both ways and High-Throughput JPEG 2000 decoding, by `openjp2`; what encodes the latter is [`htj2k`].
//!
//! The library undoes the color transform of the codestream, so `YBR_RCT` and `YBR_ICT` come out as
//! RGB. Sign and precision of the codestream yield to the header.

use std::borrow::Cow;

use openjp2::openjpeg::{opj_cparameters_t, opj_dparameters_t};
use openjp2::{
    Codec, OPJ_CLRSPC_GRAY, OPJ_CLRSPC_SRGB, OPJ_CODEC_J2K, opj_image, opj_image_comptparm,
};

use super::error::CodecError;
use super::frame_codec::{
    EncodeOptions, Encoded, FrameCodec, bits_gray_or_color, interleaved_shape, length,
    lossy_gray_or_color,
};
use super::htj2k;
use super::jpeg2000_header::{Jpeg2000Header, bare_codestream};
use super::jpeg2000_stream::{StreamWriter, reader};
use super::samples;
use super::shape::{DecodedFrame, FrameLimits, FrameShape, Photometric};
use super::transfer_syntax::Coding;

/// Bookkeeping allowed to the decoder besides its samples, for frames of any size.
const BOOKKEEPING_BYTES: u64 = 64 << 20;
/// End of codestream.
const END: [u8; 2] = [0xff, 0xd9];
/// Most resolutions written; the usual five decompositions.
const MAX_RESOLUTIONS: u32 = 6;
/// Smallest codestream body asked of the lossy encoder; below it headers are all that is left.
const MIN_LOSSY_BYTES: f32 = 256.0;

pub(super) struct Jpeg2000(pub(super) Coding);

impl Jpeg2000 {
    fn error(&self, reason: &'static str) -> CodecError {
        CodecError::codestream(self.0, reason)
    }
}

impl FrameCodec for Jpeg2000 {
    fn decodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        if matches!(shape.bits_allocated, 1 | 8 | 16 | 32) {
            Ok(())
        } else {
            Err("samples have 1, 8, 16 or 32 bits allocated")
        }
    }

    fn encodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        match self.0 {
            Coding::Jpeg2000Lossless => bits_gray_or_color(shape),
            Coding::Jpeg2000 => lossy_gray_or_color(shape),
            Coding::Htj2kLossless | Coding::Htj2kLosslessRpcl => {
                bits_gray_or_color(shape)?;
                if shape.rows.max(shape.columns) > htj2k::MAX_SIDE {
                    return Err("Rows or Columns is above 32768");
                }
                Ok(())
            }
            _ => Err("no encoder for lossy High-Throughput JPEG 2000 is built in"),
        }
    }

    fn is_lossy(&self, codestream: &[u8]) -> Option<bool> {
        let header = Jpeg2000Header::read(bare_codestream(codestream), self.0).ok()?;
        header.irreversible.then_some(true)
    }

    fn declared(&self, codestream: &[u8], shape: &FrameShape) -> Result<FrameShape, CodecError> {
        let header = Jpeg2000Header::read(bare_codestream(codestream), self.0)?;
        shape.declared(&header.declared())
    }

    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        limits: &FrameLimits,
    ) -> Result<DecodedFrame, CodecError> {
        let codestream = bare_codestream(codestream);
        let header = Jpeg2000Header::read(codestream, self.0)?;
        let shape = shape.declared(&header.declared())?;
        shape.checked_len(limits)?;
        let limit = BOOKKEEPING_BYTES.saturating_add(shape.frame_bytes().saturating_mul(16));
        if header.bookkeeping > limit {
            return Err(CodecError::TooLarge {
                bytes: header.bookkeeping,
                limit,
            });
        }
        let image = self.decode_image(codestream)?;
        self.collect(&image, &header, &shape)
    }

    fn encode(&self, frame: &DecodedFrame, options: &EncodeOptions) -> Result<Encoded, CodecError> {
        let lossy = self.0 == Coding::Jpeg2000;
        let shape = &frame.shape;
        let transform = shape.samples == 3 && shape.photometric == Photometric::Rgb;
        if matches!(self.0, Coding::Htj2kLossless | Coding::Htj2kLosslessRpcl) {
            return self.encode_high_throughput(frame, transform);
        }
        let precision = shape.bits_stored;
        let refused = |reason| CodecError::encoder(self.0, reason, None);
        let mut image = self.image(frame, precision)?;
        let mut parameters = parameters(shape);
        parameters.tcp_mct = transform.into();
        if lossy {
            parameters.irreversible = 1;
            parameters.tcp_rates[0] = rate(frame, precision, options.jpeg2000_ratio);
        }
        let mut codec = Codec::new_encoder(OPJ_CODEC_J2K)
            .ok_or_else(|| refused("there is no JPEG 2000 encoder"))?;
        let mut writer = StreamWriter::new();
        let written = codec.setup_encoder(&mut parameters, &mut image) != 0
            && codec.start_compress(&mut image, writer.stream()) != 0
            && codec.encode(writer.stream()) != 0
            && codec.end_compress(writer.stream()) != 0;
        if !written {
            return Err(refused("the JPEG 2000 encoder refused the frame"));
        }
        let bytes = writer.into_bytes().map_err(|error| {
            CodecError::encoder(self.0, "the codestream was not written", Some(error.into()))
        })?;
        let photometric = match (transform, lossy) {
            (false, _) => shape.photometric,
            (true, false) => Photometric::YbrRct,
            (true, true) => Photometric::YbrIct,
        };
        let shape = FrameShape {
            photometric,
            ..*shape
        };
        Ok(if lossy {
            Encoded::lossy(bytes, shape, frame)
        } else {
            Encoded::lossless(bytes, shape)
        })
    }
}

impl Jpeg2000 {
    /// Encodes by [`htj2k`]; `.202` wants a thumbnail in front and the lengths of its resolutions (PS3.5 §10.18).
    fn encode_high_throughput(
        &self,
        frame: &DecodedFrame,
        transform: bool,
    ) -> Result<Encoded, CodecError> {
        let parts = match self.0 {
            Coding::Htj2kLosslessRpcl => htj2k::TileParts::Resolutions,
            _ => htj2k::TileParts::Whole,
        };
        let bytes = htj2k::encode(frame, transform, parts)
            .map_err(|reason| CodecError::encoder(self.0, reason, None))?;
        let photometric = if transform {
            Photometric::YbrRct
        } else {
            frame.shape.photometric
        };
        let shape = FrameShape {
            photometric,
            ..frame.shape
        };
        Ok(Encoded::lossless(bytes, shape))
    }

    fn decode_image(&self, codestream: &[u8]) -> Result<Box<opj_image>, CodecError> {
        let mut codec = Codec::new_decoder(OPJ_CODEC_J2K)
            .ok_or_else(|| self.error("there is no JPEG 2000 decoder"))?;
        let mut stream = reader(with_end(codestream));
        if codec.setup_decoder(&mut opj_dparameters_t::default()) == 0 {
            return Err(self.error("the decoder refused its parameters"));
        }
        let mut image = codec
            .read_header(&mut stream)
            .ok_or_else(|| self.error("the main header is damaged"))?;
        if codec.decode(&mut stream, &mut image) == 0 {
            return Err(self.error("the tiles are damaged or incomplete"));
        }
        Ok(image)
    }

    /// The component planes as one frame; those with fewer samples are spread over their pixels.
    fn collect(
        &self,
        image: &opj_image,
        header: &Jpeg2000Header,
        shape: &FrameShape,
    ) -> Result<DecodedFrame, CodecError> {
        let pixels = length(shape.rows).saturating_mul(length(shape.columns));
        let components = image.comps().unwrap_or_default();
        let missing = || self.error("a component is missing");
        if components.len() != usize::from(shape.samples) {
            return Err(missing());
        }
        let mut planes = Vec::with_capacity(components.len());
        for component in components {
            let plane = component.data().ok_or_else(missing)?;
            let narrow = Narrow {
                origin: (image.x0, image.y0),
                step: (component.dx, component.dy),
                size: (component.w, component.h),
            };
            let plane = if narrow.step == (1, 1) {
                Cow::Borrowed(plane)
            } else {
                let spread = narrow.spread(plane, shape.columns, shape.rows);
                Cow::Owned(spread.ok_or_else(missing)?)
            };
            if plane.len() != pixels {
                return Err(missing());
            }
            planes.push(plane);
        }
        let planes: Vec<&[i32]> = planes.iter().map(AsRef::as_ref).collect();
        let mut shape = *shape;
        shape.photometric = match interleaved_shape(&shape).photometric {
            // Nobody subsamples red and blue: such a label was left over.
            Photometric::Rgb if header.subsampled => Photometric::YbrFull,
            other => other,
        };
        samples::frame(&planes, header.precision, &shape)
    }

    /// The frame as component planes of the library.
    fn image(&self, frame: &DecodedFrame, precision: u16) -> Result<Box<opj_image>, CodecError> {
        let refused = || CodecError::encoder(self.0, "the frame does not fit into memory", None);
        let shape = &frame.shape;
        let component = opj_image_comptparm {
            dx: 1,
            dy: 1,
            w: shape.columns,
            h: shape.rows,
            prec: u32::from(precision),
            bpp: u32::from(precision),
            sgnd: u32::from(shape.signed),
            ..Default::default()
        };
        let count = usize::from(shape.samples);
        let space = if count == 3 {
            OPJ_CLRSPC_SRGB
        } else {
            OPJ_CLRSPC_GRAY
        };
        let mut image = opj_image::create(&vec![component; count], space).ok_or_else(refused)?;
        image.x1 = shape.columns;
        image.y1 = shape.rows;
        let planes = image.comps_mut().ok_or_else(refused)?;
        for (index, plane) in planes.iter_mut().enumerate() {
            let cells = plane.data_mut().ok_or_else(refused)?;
            for (cell, sample) in cells.iter_mut().zip(samples::plane(frame, index)) {
                *cell = sample;
            }
        }
        Ok(image)
    }
}

/// A component with fewer samples than the picture has pixels (T.800 §B.2).
struct Narrow {
    /// Where the picture begins on the reference grid.
    origin: (u32, u32),
    /// Pixels for each sample, across and down.
    step: (u32, u32),
    /// Samples across and down.
    size: (u32, u32),
}

impl Narrow {
    /// The samples, each repeated for all pixels it stands for; nothing when they are fewer than the picture needs.
    fn spread(&self, plane: &[i32], columns: u32, rows: u32) -> Option<Vec<i32>> {
        let place = |pixel: u32, origin: u32, step: u32, size: u32| {
            let first = origin.checked_div(step)? + u32::from(!origin.is_multiple_of(step));
            let sample = pixel.checked_add(origin)?.checked_div(step)?;
            Some(length(
                sample.saturating_sub(first).min(size.checked_sub(1)?),
            ))
        };
        let across: Option<Vec<usize>> = (0..columns)
            .map(|x| place(x, self.origin.0, self.step.0, self.size.0))
            .collect();
        let across = across?;
        let mut pixels = Vec::with_capacity(length(columns).saturating_mul(length(rows)));
        for y in 0..rows {
            let row = place(y, self.origin.1, self.step.1, self.size.1)?;
            let start = row.checked_mul(length(self.size.0))?;
            let row = plane.get(start..start.checked_add(length(self.size.0))?)?;
            for &x in &across {
                pixels.push(*row.get(x)?);
            }
        }
        Some(pixels)
    }
}

/// The codestream with an end marker, which some encoders leave out and the library insists on.
fn with_end(codestream: &[u8]) -> Vec<u8> {
    let mut bytes = codestream.to_vec();
    let padding = codestream.iter().rev().take_while(|&&byte| byte == 0);
    let content = codestream.len() - padding.count();
    if !codestream
        .get(..content)
        .unwrap_or_default()
        .ends_with(&END)
    {
        bytes.extend(END);
    }
    bytes
}

/// One layer, whole image in one tile, as many resolutions as the smaller side allows.
#[expect(
    clippy::field_reassign_with_default,
    reason = "the type has a destructor, so struct update syntax is not allowed"
)]
fn parameters(shape: &FrameShape) -> opj_cparameters_t {
    let side = shape.rows.min(shape.columns);
    let resolutions = (side.max(1).ilog2() + 1).min(MAX_RESOLUTIONS);
    let mut parameters = opj_cparameters_t::default();
    parameters.tcp_numlayers = 1;
    parameters.cp_disto_alloc = 1;
    parameters.numresolution = resolutions.cast_signed();
    parameters
}

/// The rate the library wants: relative to the coded precision, not to the bytes of the frame.
#[expect(
    clippy::cast_precision_loss,
    reason = "a rate is a wish, its last digits do not matter"
)]
fn rate(frame: &DecodedFrame, precision: u16, ratio: f32) -> f32 {
    let bytes = frame.data.len() as f32;
    let ratio = if ratio.is_finite() { ratio } else { 1.0 };
    let ratio = ratio.min(bytes / MIN_LOSSY_BYTES).max(1.0);
    (ratio * f32::from(precision) / f32::from(frame.shape.bits_allocated)).max(1.0)
}
