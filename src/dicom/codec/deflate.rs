//! Deflated Image Frame Compression (PS3.5 §8.2.16, §A.4.13): each frame deflated by itself.
//!
//! What is inside is the native little endian frame, of any width, single bits included. Inflating
//! stops one byte after the length the header asks for.

use std::io::Read;

use flate2::Compression;
use flate2::read::{DeflateDecoder, DeflateEncoder};

use super::error::CodecError;
use super::frame_codec::{EncodeOptions, Encoded, FrameCodec};
use super::native::{self, ByteOrder};
use super::shape::{DecodedFrame, FrameLimits, FrameShape};
use super::transfer_syntax::Coding;

pub(super) struct Deflate;

impl FrameCodec for Deflate {
    fn decodable(&self, _shape: &FrameShape) -> Result<(), &'static str> {
        Ok(())
    }

    fn encodable(&self, _shape: &FrameShape) -> Result<(), &'static str> {
        Ok(())
    }

    fn decoded_shape(&self, shape: &FrameShape) -> FrameShape {
        native::canonical_shape(shape)
    }

    fn is_lossy(&self, _codestream: &[u8]) -> Option<bool> {
        Some(false)
    }

    fn declared(&self, _codestream: &[u8], shape: &FrameShape) -> Result<FrameShape, CodecError> {
        Ok(*shape)
    }

    fn decode(
        &self,
        codestream: &[u8],
        shape: &FrameShape,
        limits: &FrameLimits,
    ) -> Result<DecodedFrame, CodecError> {
        // A subsampled frame is shorter than its canonical form, never longer.
        let length = shape.checked_len(limits)?;
        let mut native = Vec::with_capacity(
            length
                .saturating_add(2)
                .min(codestream.len().saturating_mul(4)),
        );
        DeflateDecoder::new(codestream)
            .take(length as u64 + 2)
            .read_to_end(&mut native)
            .map_err(|error| {
                CodecError::library(
                    Coding::DeflatedFrame,
                    "the deflate stream is damaged",
                    error,
                )
            })?;
        native::native_to_canonical(&native, shape, ByteOrder::Little)
    }

    fn encode(
        &self,
        frame: &DecodedFrame,
        _options: &EncodeOptions,
    ) -> Result<Encoded, CodecError> {
        let mut bytes = Vec::new();
        DeflateEncoder::new(frame.data.as_slice(), Compression::default())
            .read_to_end(&mut bytes)
            .map_err(|error| {
                CodecError::encoder(
                    Coding::DeflatedFrame,
                    "deflating stopped",
                    Some(error.into()),
                )
            })?;
        Ok(Encoded::lossless(bytes, frame.shape))
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::Photometric;
    use super::*;

    fn shape(bits: u16) -> FrameShape {
        FrameShape {
            rows: 5,
            columns: 5,
            samples: 1,
            bits_allocated: bits,
            bits_stored: bits,
            low_bit: 0,
            overlay_bits: false,
            signed: false,
            planar: false,
            photometric: Photometric::Monochrome2,
        }
    }

    fn round_trip(shape: FrameShape) {
        let length = u8::try_from(shape.frame_bytes()).unwrap();
        let mut data: Vec<u8> = (0..length).collect();
        if shape.bits_allocated == 1 {
            data[3] = 1;
        }
        let frame = DecodedFrame::new(shape, data).unwrap();
        let mut bytes = Deflate
            .encode(&frame, &EncodeOptions::default())
            .unwrap()
            .bytes;
        bytes.push(0);
        let decoded = Deflate
            .decode(&bytes, &shape, &FrameLimits::default())
            .unwrap();
        assert_eq!(decoded, frame);
    }

    #[test]
    fn every_width_round_trips_with_a_padding_byte() {
        for bits in [1, 8, 16, 32, 64] {
            round_trip(shape(bits));
        }
    }

    #[test]
    fn planes_inside_are_interleaved() {
        let stored = FrameShape {
            samples: 3,
            planar: true,
            photometric: Photometric::Rgb,
            ..shape(8)
        };
        let planes = DecodedFrame {
            shape: stored,
            data: [[1_u8; 25], [2; 25], [3; 25]].concat(),
        };
        let bytes = Deflate
            .encode(&planes, &EncodeOptions::default())
            .unwrap()
            .bytes;
        let decoded = Deflate
            .decode(&bytes, &stored, &FrameLimits::default())
            .unwrap();
        assert_eq!(decoded.data, [1, 2, 3].repeat(25));
    }

    #[test]
    fn a_bomb_is_cut_at_the_frame_length() {
        let bomb = DecodedFrame {
            shape: shape(8),
            data: vec![0; 1 << 20],
        };
        let bytes = Deflate
            .encode(&bomb, &EncodeOptions::default())
            .unwrap()
            .bytes;
        let result = Deflate.decode(&bytes, &shape(8), &FrameLimits::default());
        assert!(matches!(
            result,
            Err(CodecError::FrameLength {
                expected: 25,
                found: 27
            })
        ));
    }
}
