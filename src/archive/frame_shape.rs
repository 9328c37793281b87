//! The shape of stored frames and of their samples, and what this build decodes and encodes.

use crate::dicom::codec::{self, FrameShape, Photometric};
use crate::dicom::instance::{PixelDescription, PixelElement};
use crate::dicom::media::Codecs;

/// The shape of stored frames.
#[must_use]
pub(super) fn stored_shape(pixel: &PixelDescription) -> FrameShape {
    FrameShape {
        rows: pixel.rows,
        columns: pixel.columns,
        samples: pixel.samples_per_pixel,
        bits_allocated: pixel.bits_allocated,
        bits_stored: pixel.bits_stored,
        low_bit: pixel.low_bit(),
        overlay_bits: pixel.overlay_bits,
        signed: pixel.representation == 1,
        planar: pixel.planar == 1,
        photometric: Photometric::parse(pixel.photometric()),
    }
}

/// The shape frames have as samples; none when they cannot be decoded.
#[must_use]
pub(super) fn sample_shape(transfer_syntax: &str, pixel: &PixelDescription) -> Option<FrameShape> {
    codec::decoded_shape(transfer_syntax, &stored_shape(pixel))
}

/// What this build decodes and encodes.
#[derive(Debug, Clone, Copy)]
pub(super) struct CompiledCodecs;

impl Codecs for CompiledCodecs {
    fn decodes(&self, transfer_syntax: &str, pixel: &PixelDescription) -> bool {
        pixel.element == PixelElement::Integer
            && codec::can_decode(transfer_syntax, &stored_shape(pixel))
    }

    fn encodes(&self, from: &str, to: &str, pixel: &PixelDescription) -> bool {
        if pixel.element != PixelElement::Integer {
            return false;
        }
        let samples = sample_shape(from, pixel);
        samples.is_some_and(|shape| codec::can_encode(to, &shape))
    }
}
