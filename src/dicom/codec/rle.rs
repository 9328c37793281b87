//! RLE Lossless (PS3.5 annex G), both directions, 8 to 64 bits per sample.
//!
//! A frame is a header of sixteen 32-bit words and one segment per byte plane, most significant byte
//! first. Reading stays inside the frame's bytes, and a plane never grows past its length.

use super::error::CodecError;
use super::frame_codec::{EncodeOptions, Encoded, FrameCodec, interleaved_shape};
use super::samples;
use super::shape::{DecodedFrame, FrameLimits, FrameShape};
use super::transfer_syntax::Coding;

/// The header: the segment count and fifteen offsets.
const HEADER_BYTES: usize = 64;
/// Longest run or literal of one packet.
const MAX_PACKET: usize = 128;

pub(super) struct Rle;

impl FrameCodec for Rle {
    fn decodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        match planes_of(shape) {
            1..=15 => Ok(()),
            _ => Err("a frame has at most fifteen segments"),
        }
    }

    fn encodable(&self, shape: &FrameShape) -> Result<(), &'static str> {
        self.decodable(shape)
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
        let length = shape.checked_len(limits)?;
        let planes = planes_of(shape);
        let offsets = segment_offsets(codestream, planes)?;
        if shape.bits_allocated == 1 {
            let start = offsets.first().copied().unwrap_or(HEADER_BYTES);
            return single_bits(codestream.get(start..).unwrap_or_default(), shape);
        }
        let width = shape.sample_bytes();
        let mut data = vec![0; length];
        let mut plane = vec![0; length / planes.max(1)];
        for (index, &start) in offsets.iter().enumerate() {
            let end = offsets
                .get(index + 1)
                .copied()
                .filter(|&end| end > start)
                .unwrap_or(codestream.len());
            let segment = codestream.get(start..end).unwrap_or_default();
            if unpack(segment, &mut plane) < plane.len() {
                return Err(short());
            }
            // Segment order is by sample, then from the high byte down; the frame is little endian.
            let position = index / width * width + (width - 1 - index % width);
            for (cell, &byte) in data.chunks_exact_mut(planes).zip(&plane) {
                if let Some(cell) = cell.get_mut(position) {
                    *cell = byte;
                }
            }
        }
        samples::clear_unused_bits(&mut data, shape);
        DecodedFrame::new(interleaved_shape(shape), data)
    }

    fn encode(
        &self,
        frame: &DecodedFrame,
        _options: &EncodeOptions,
    ) -> Result<Encoded, CodecError> {
        let shape = frame.shape;
        let expanded: Vec<u8>;
        // Single bits are one byte for each pixel in here.
        let (data, width) = if shape.bits_allocated == 1 {
            expanded = samples::bits(frame).collect();
            (&expanded, 1)
        } else {
            (&frame.data, shape.sample_bytes())
        };
        let planes = planes_of(&shape);
        let columns = usize::try_from(shape.columns).unwrap_or(usize::MAX);
        let mut bytes = vec![0; HEADER_BYTES];
        let mut offsets = vec![u32::try_from(planes).unwrap_or(u32::MAX)];
        for index in 0..planes {
            let offset = u32::try_from(bytes.len()).map_err(|_| {
                CodecError::encoder(Coding::Rle, "segments beyond 4 GB have no offset", None)
            })?;
            offsets.push(offset);
            let position = index / width * width + (width - 1 - index % width);
            let plane: Vec<u8> = data
                .iter()
                .skip(position)
                .step_by(planes)
                .copied()
                .collect();
            // Each row is coded by itself (PS3.5 §G.3.1).
            for row in plane.chunks(columns) {
                pack(row, &mut bytes);
            }
            if !bytes.len().is_multiple_of(2) {
                bytes.push(0);
            }
        }
        let (header, _) = bytes.as_chunks_mut::<4>();
        for (word, offset) in header.iter_mut().zip(&offsets) {
            *word = offset.to_le_bytes();
        }
        Ok(Encoded::lossless(bytes, shape))
    }
}

/// Reads the header: exactly as many segments as the shape has byte planes.
fn segment_offsets(codestream: &[u8], planes: usize) -> Result<Vec<usize>, CodecError> {
    let error = |reason| CodecError::codestream(Coding::Rle, reason);
    let header = codestream
        .get(..HEADER_BYTES)
        .ok_or_else(|| error("the header is cut short"))?;
    let (words, _) = header.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    let segments = words.next().unwrap_or(0);
    if u64::from(segments) != planes as u64 {
        return Err(CodecError::Mismatch {
            what: "the number of RLE segments",
            header: planes as u64,
            stream: u64::from(segments),
        });
    }
    words
        .take(planes)
        .map(|offset| {
            usize::try_from(offset)
                .ok()
                .filter(|&offset| (HEADER_BYTES..codestream.len()).contains(&offset))
                .ok_or_else(|| error("a segment lies outside the frame"))
        })
        .collect()
}

/// Byte planes of a frame; single bits are in one.
fn planes_of(shape: &FrameShape) -> usize {
    usize::from(shape.samples) * shape.sample_bytes().max(1)
}

fn short() -> CodecError {
    CodecError::codestream(Coding::Rle, "a segment ends before its plane is full")
}

/// Single bits: a byte for each pixel, or the packed frame, whichever the segment holds.
///
/// Writers differ; a segment with room for all pixels is not packed.
fn single_bits(segment: &[u8], shape: &FrameShape) -> Result<DecodedFrame, CodecError> {
    let pixels = usize::try_from(shape.sample_count()).unwrap_or(usize::MAX);
    // As long as the bytes can be, whatever the header says.
    let mut bytes = vec![0; pixels.min(segment.len().saturating_mul(MAX_PACKET))];
    let filled = unpack(segment, &mut bytes);
    if filled == pixels {
        return samples::whole(&bytes, 8, shape);
    }
    let packed = pixels.div_ceil(8);
    if filled < packed {
        return Err(short());
    }
    bytes.truncate(packed);
    let bits = super::native::unpack_bits(&bytes, 0, shape)?;
    DecodedFrame::new(interleaved_shape(shape), bits)
}

/// Fills a plane from a segment and tells how far it got; what follows a full plane is padding.
fn unpack(segment: &[u8], plane: &mut [u8]) -> usize {
    let mut rest = segment;
    let mut filled = 0;
    while filled < plane.len() {
        let Some((&control, after)) = rest.split_first() else {
            break;
        };
        let place = plane.get_mut(filled..).unwrap_or_default();
        match control.cast_signed() {
            -128 => rest = after,
            literal @ 0.. => {
                let count = usize::from(literal.unsigned_abs()) + 1;
                let wanted = count.min(place.len());
                let (Some(source), Some(target)) = (after.get(..wanted), place.get_mut(..wanted))
                else {
                    break;
                };
                target.copy_from_slice(source);
                filled += wanted;
                rest = after.get(count..).unwrap_or_default();
            }
            run => {
                let count = usize::from(run.unsigned_abs()) + 1;
                let wanted = count.min(place.len());
                let (Some((&value, after)), Some(target)) =
                    (after.split_first(), place.get_mut(..wanted))
                else {
                    break;
                };
                target.fill(value);
                filled += wanted;
                rest = after;
            }
        }
    }
    filled
}

/// Appends one row in packets: runs of three and more, literals in between.
fn pack(row: &[u8], bytes: &mut Vec<u8>) {
    let mut rest = row;
    let mut literal: &[u8] = &[];
    let mut start = row;
    while let Some((&first, _)) = rest.split_first() {
        let run = rest
            .iter()
            .take(MAX_PACKET)
            .take_while(|&&byte| byte == first)
            .count();
        // A run of two only pays when no literal is open.
        if run >= 3 || (run == 2 && literal.is_empty()) {
            write_literals(literal, bytes);
            // 257 - run fits a byte for runs of 2 to 128.
            bytes.push(u8::try_from(257 - run).unwrap_or(u8::MAX));
            bytes.push(first);
            rest = rest.get(run..).unwrap_or_default();
            start = rest;
            literal = &[];
        } else {
            let length = literal.len() + run;
            literal = start.get(..length).unwrap_or_default();
            rest = rest.get(run..).unwrap_or_default();
        }
    }
    write_literals(literal, bytes);
}

fn write_literals(literal: &[u8], bytes: &mut Vec<u8>) {
    for packet in literal.chunks(MAX_PACKET) {
        // Chunks hold 1 to 128 bytes.
        bytes.push(u8::try_from(packet.len() - 1).unwrap_or(0));
        bytes.extend_from_slice(packet);
    }
}

#[cfg(test)]
mod tests {
    use super::super::shape::Photometric;
    use super::*;

    fn gray(columns: u32, bits: u16) -> FrameShape {
        FrameShape {
            rows: 1,
            columns,
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

    fn stream(segments: &[&[u8]]) -> Vec<u8> {
        let mut bytes = vec![0; HEADER_BYTES];
        bytes[0] = u8::try_from(segments.len()).unwrap();
        for (index, segment) in segments.iter().enumerate() {
            let offset = u32::try_from(bytes.len()).unwrap().to_le_bytes();
            bytes[4 + 4 * index..8 + 4 * index].copy_from_slice(&offset);
            bytes.extend_from_slice(segment);
        }
        bytes
    }

    fn decode(bytes: &[u8], shape: &FrameShape) -> Result<Vec<u8>, CodecError> {
        Rle.decode(bytes, shape, &FrameLimits::default())
            .map(|frame| frame.data)
    }

    #[test]
    fn packets_are_read_and_padding_is_ignored() {
        // The example of PackBits: run, no-op, literal, then padding of both kinds.
        let segment = [0xfe, 0xaa, 0x80, 0x02, 1, 2, 3, 0x00];
        assert_eq!(
            decode(&stream(&[&segment]), &gray(6, 8)).unwrap(),
            [0xaa, 0xaa, 0xaa, 1, 2, 3]
        );
    }

    #[test]
    fn the_first_segment_is_the_most_significant_byte() {
        let bytes = stream(&[&[1, 0x12, 0x56], &[1, 0x34, 0x78]]);
        assert_eq!(
            decode(&bytes, &gray(2, 16)).unwrap(),
            [0x34, 0x12, 0x78, 0x56]
        );
        let four = stream(&[&[0, 1], &[0, 2], &[0, 3], &[0, 4]]);
        assert_eq!(decode(&four, &gray(1, 32)).unwrap(), [4, 3, 2, 1]);
    }

    #[test]
    fn color_segments_become_pixels_whatever_planar_configuration_says() {
        let shape = FrameShape {
            samples: 3,
            planar: true,
            photometric: Photometric::Rgb,
            ..gray(2, 8)
        };
        let bytes = stream(&[&[1, 1, 2], &[1, 3, 4], &[1, 5, 6]]);
        assert_eq!(decode(&bytes, &shape).unwrap(), [1, 3, 5, 2, 4, 6]);
    }

    #[test]
    fn a_packet_longer_than_the_plane_is_cut() {
        assert_eq!(decode(&stream(&[&[0x81, 7]]), &gray(3, 8)).unwrap(), [7; 3]);
        assert_eq!(
            decode(&stream(&[&[3, 1, 2, 3, 4]]), &gray(3, 8)).unwrap(),
            [1, 2, 3]
        );
    }

    #[test]
    fn short_and_contradicting_streams_are_errors() {
        let shape = gray(6, 8);
        for bytes in [
            vec![],
            vec![0; 63],
            stream(&[&[0xfe, 0xaa]]),
            stream(&[&[5, 1, 2]]),
            stream(&[&[0xfe]]),
            stream(&[&[0xfb, 1], &[0xfb, 1]]),
        ] {
            assert!(decode(&bytes, &shape).is_err());
        }
        let mut outside = stream(&[&[0xfb, 1]]);
        outside[4] = 200;
        assert!(decode(&outside, &shape).is_err());
    }

    #[test]
    fn rows_are_coded_separately_and_segments_are_even() {
        let shape = FrameShape {
            rows: 2,
            ..gray(3, 8)
        };
        let frame = DecodedFrame::new(shape, vec![9; 6]).unwrap();
        let encoded = Rle.encode(&frame, &EncodeOptions::default()).unwrap();
        assert_eq!(encoded.bytes[HEADER_BYTES..], [0xfe, 9, 0xfe, 9]);
        assert!(encoded.lossy.is_none());
    }

    #[test]
    fn long_runs_and_literals_round_trip() {
        let runs = [1_usize, 2, 3, 127, 128, 129, 130, 256, 257];
        let mut data: Vec<u8> = Vec::new();
        for (index, &run) in runs.iter().enumerate() {
            data.extend(std::iter::repeat_n(u8::try_from(index).unwrap(), run));
            data.extend((0..run).map(|i| u8::try_from(i * 7 % 251).unwrap()));
        }
        for split in [1, data.len() / 2, data.len()] {
            let shape = gray(u32::try_from(split).unwrap(), 8);
            let frame = DecodedFrame::new(shape, data[..split].to_vec()).unwrap();
            let encoded = Rle.encode(&frame, &EncodeOptions::default()).unwrap();
            assert_eq!(encoded.bytes.len() % 2, 0);
            assert_eq!(decode(&encoded.bytes, &shape).unwrap(), frame.data);
        }
    }
}
