//! Decoded frames as one native Pixel Data value: single bits follow each other across frames (PS3.5 §8.1.1).
//!
//! Invariant: the value has the length told beforehand, or making it is an error.

use bytes::Bytes;

use super::Archive;
use super::error::{ArchiveError, Result};
use super::open_instance::OpenInstance;
use super::services::render::output::FrameSamples;
use crate::dicom::codec::{CodecError, FrameShape};

/// Bytes of all frames of this shape in a native value, padding not counted.
pub(super) fn native_length(shape: &FrameShape, frames: u32) -> u64 {
    if shape.bits_allocated == 1 {
        let bits = shape.sample_count().saturating_mul(frames.into());
        return bits.div_ceil(8);
    }
    shape.frame_bytes().saturating_mul(frames.into())
}

impl Archive {
    /// What frame `number` adds to the native value of `frames` frames, each of the shape of the first.
    ///
    /// # Errors
    /// As [`Archive::samples`]; [`CodecError::FrameLength`] when the frame has another size than the first.
    pub(super) async fn native_piece(
        &self,
        instance: &OpenInstance,
        number: u32,
        first: &FrameShape,
        frames: u32,
    ) -> Result<Bytes> {
        if first.bits_allocated != 1 || first.sample_count().is_multiple_of(8) {
            return Ok(self.alike(instance, number, first).await?.into_bytes());
        }
        let bits = first.sample_count();
        let end = bits.saturating_mul(number.into());
        let start = end.saturating_sub(bits) / 8;
        let end = if number == frames {
            end.div_ceil(8)
        } else {
            end / 8
        };
        let length = usize::try_from(end.saturating_sub(start)).unwrap_or(0);
        let mut piece = vec![0_u8; length];
        // The first byte may hold bits of frames before; a byte that is not full is left to the frame behind.
        let mut before = start.saturating_mul(8) / bits;
        while before < u64::from(number) {
            let frame = u32::try_from(before + 1).unwrap_or(u32::MAX);
            let samples = self.alike(instance, frame, first).await?;
            copy_bits(&samples.data, bits, before * bits, start * 8, &mut piece);
            before += 1;
        }
        Ok(Bytes::from(piece))
    }

    /// A frame that has the shape of the first but for the bits it needs.
    async fn alike(
        &self,
        instance: &OpenInstance,
        number: u32,
        first: &FrameShape,
    ) -> Result<std::sync::Arc<FrameSamples>> {
        let samples = self.samples(instance, number).await?;
        let shape = FrameShape {
            bits_stored: first.bits_stored,
            ..samples.shape
        };
        if shape != *first {
            return Err(ArchiveError::Codec(CodecError::FrameLength {
                expected: first.frame_bytes(),
                found: samples.shape.frame_bytes(),
            }));
        }
        Ok(samples)
    }
}

/// Copies `count` packed bits, the first of which is bit `place` of the whole, into a piece that begins at bit `start`.
fn copy_bits(packed: &[u8], count: u64, place: u64, start: u64, piece: &mut [u8]) {
    for bit in 0..count {
        let Some(at) = (place + bit).checked_sub(start) else {
            continue;
        };
        let index = |bit: u64| usize::try_from(bit / 8).unwrap_or(usize::MAX);
        let set = packed
            .get(index(bit))
            .is_some_and(|byte| byte >> (bit % 8) & 1 == 1);
        if let Some(byte) = piece.get_mut(index(at)).filter(|_| set) {
            *byte |= 1 << (at % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_land_at_their_place_in_the_whole() {
        // Frames of nine bits; the second one begins at bit 1 of the second byte.
        let mut piece = [0; 2];
        copy_bits(&[0xff, 1], 9, 0, 8, &mut piece);
        assert_eq!(piece, [1, 0]);
        copy_bits(&[0b0101_0101, 1], 9, 9, 8, &mut piece);
        assert_eq!(piece, [0b1010_1011, 0b10]);
    }
}
