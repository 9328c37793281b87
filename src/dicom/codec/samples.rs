//! Samples between their byte form and the integers that codecs work on.
//!
//! Every codec adapter meets the DICOM rules on width and sign here, and only here.

use super::error::CodecError;
use super::shape::{DecodedFrame, FrameShape};

/// Writes planes of samples as canonical bytes, one pixel after the other.
///
/// `precision` is the width the codestream declares. Samples are read as a bit pattern of that
/// width and then extended by the header's Pixel Representation, so a codestream whose sign differs
/// from the header comes out right: not every format has a sign of its own.
fn planes_to_bytes<T>(planes: &[&[T]], precision: u32, shape: &FrameShape) -> Vec<u8>
where
    T: Copy + Into<i64>,
{
    let width = shape.sample_bytes();
    let samples: usize = planes.iter().map(|plane| plane.len()).sum();
    let mut bytes = vec![0; samples * width];
    let places = bytes.len() / width.max(1);
    for (index, plane) in planes.iter().enumerate() {
        // Planes are equally long, so this is the number of planes.
        let count = places / plane.len().max(1);
        match width {
            1 => fill::<1, T>(&mut bytes, plane, index, count, precision, shape.signed),
            2 => fill::<2, T>(&mut bytes, plane, index, count, precision, shape.signed),
            4 => fill::<4, T>(&mut bytes, plane, index, count, precision, shape.signed),
            8 => fill::<8, T>(&mut bytes, plane, index, count, precision, shape.signed),
            _ => {}
        }
    }
    bytes
}

/// Writes one plane into place `index` of pixels with `count` places of `WIDTH` bytes.
fn fill<const WIDTH: usize, T>(
    bytes: &mut [u8],
    plane: &[T],
    index: usize,
    count: usize,
    precision: u32,
    signed: bool,
) where
    T: Copy + Into<i64>,
{
    let shift = 64_u32.saturating_sub(precision).min(63);
    let (cells, _) = bytes.as_chunks_mut::<WIDTH>();
    let places = cells.iter_mut().skip(index).step_by(count.max(1));
    for (cell, &sample) in places.zip(plane) {
        let pattern = sample.into() << shift;
        let value = if signed {
            pattern >> shift
        } else {
            (pattern.cast_unsigned() >> shift).cast_signed()
        };
        // WIDTH is at most eight, so the low bytes are always there.
        cell.copy_from_slice(&value.to_le_bytes()[..WIDTH]);
    }
}

/// Makes a canonical frame of samples that are already interleaved; see [`frame`].
pub(super) fn whole<T>(
    samples: &[T],
    precision: u32,
    shape: &FrameShape,
) -> Result<DecodedFrame, CodecError>
where
    T: Copy + Into<i64>,
{
    frame(&[samples], precision, shape)
}

/// Makes a canonical frame of the planes of a codestream of `precision` bits.
///
/// `shape` is what header and stream say together ([`FrameShape::told`]). A stream as narrow as Bits Stored holds the
/// samples themselves. A wider one may hold whole cells of native pixel data: then the sample is the stored bits under
/// High Bit. Where it holds more than they can, the stream decides and Bits Stored becomes its precision (PS3.5 §8.2),
/// unless the header says that overlays lie in the other bits.
pub(super) fn frame<T>(
    planes: &[&[T]],
    precision: u32,
    shape: &FrameShape,
) -> Result<DecodedFrame, CodecError>
where
    T: Copy + Into<i64>,
{
    let mut canonical = shape.canonical(shape.photometric);
    if shape.bits_allocated == 1 {
        return single_bits(planes, precision, &canonical);
    }
    let (stored, allocated) = (
        u32::from(shape.bits_stored),
        u32::from(shape.bits_allocated),
    );
    let (precision, low) = if precision <= stored {
        (precision, 0)
    } else if shape.low_bit > 0 && precision == allocated {
        (stored, u32::from(shape.low_bit))
    } else if shape.overlay_bits || fit(planes, stored, precision, shape.signed) {
        (stored, 0)
    } else {
        canonical.bits_stored = u16::try_from(precision).unwrap_or(shape.bits_allocated);
        (precision, 0)
    };
    let data = if low == 0 {
        planes_to_bytes(planes, precision, &canonical)
    } else {
        let lowered: Vec<Vec<i64>> = planes
            .iter()
            .map(|plane| plane.iter().map(|&sample| sample.into() >> low).collect())
            .collect();
        let lowered: Vec<&[i64]> = lowered.iter().map(Vec::as_slice).collect();
        planes_to_bytes(&lowered, precision, &canonical)
    };
    DecodedFrame::new(canonical, data)
}

/// Whether all samples of `precision` bits are values, or bare patterns, of `stored` bits.
fn fit<T>(planes: &[&[T]], stored: u32, precision: u32, signed: bool) -> bool
where
    T: Copy + Into<i64>,
{
    let unused = 64_u32.saturating_sub(precision).min(63);
    let limit = 1_i64 << stored.min(62);
    let mut samples = planes.iter().flat_map(|plane| plane.iter().copied());
    if !signed {
        return samples.all(|sample| {
            ((sample.into() << unused).cast_unsigned() >> unused) < limit.cast_unsigned()
        });
    }
    // Patterns that nobody extended are all below the limit; extended values lie on both sides of zero.
    let (mut values, mut patterns) = (true, true);
    samples.all(|sample| {
        let value = (sample.into() << unused) >> unused;
        values &= (-limit / 2..limit / 2).contains(&value);
        patterns &= (0..limit).contains(&value);
        values || patterns
    })
}

/// Packs single bits that a codestream holds as whole samples: zero, and one other value.
fn single_bits<T>(
    planes: &[&[T]],
    precision: u32,
    shape: &FrameShape,
) -> Result<DecodedFrame, CodecError>
where
    T: Copy + Into<i64>,
{
    let samples = planes.first().copied().unwrap_or_default();
    let mut set = samples
        .iter()
        .map(|&sample| sample.into())
        .filter(|&s| s != 0);
    let first = set.next().unwrap_or(1);
    if !set.all(|other| other == first) {
        let wide = FrameShape {
            bits_allocated: 8,
            bits_stored: u16::try_from(precision.min(8)).unwrap_or(8),
            ..*shape
        };
        return DecodedFrame::new(wide, planes_to_bytes(planes, precision, &wide));
    }
    DecodedFrame::new(
        *shape,
        pack(samples.iter().map(|&sample| sample.into() != 0)),
    )
}

/// Packs bits, the first in the lowest bit of the first byte (PS3.5 §8.1.1).
pub(super) fn pack(bits: impl ExactSizeIterator<Item = bool>) -> Vec<u8> {
    let mut packed = vec![0; bits.len().div_ceil(8)];
    for (index, bit) in bits.enumerate() {
        if let Some(byte) = packed.get_mut(index / 8) {
            *byte |= u8::from(bit) << (index % 8);
        }
    }
    packed
}

/// Turns cells of native pixel data into values: the stored bits under High Bit, extended by their sign (PS3.5 §8.1.1).
///
/// Bits of the cell outside of them (old overlay planes, an extension that a writer left out) do not count.
pub(super) fn clear_unused_bits(cells: &mut [u8], shape: &FrameShape) {
    match shape.bits_allocated {
        8 => clear_unused_bits_of::<1>(cells, shape),
        16 => clear_unused_bits_of::<2>(cells, shape),
        32 => clear_unused_bits_of::<4>(cells, shape),
        64 => clear_unused_bits_of::<8>(cells, shape),
        _ => {}
    }
}

fn clear_unused_bits_of<const WIDTH: usize>(cells: &mut [u8], shape: &FrameShape) {
    let stored = u32::from(shape.bits_stored.clamp(1, 64));
    if shape.bits_stored == shape.bits_allocated {
        return;
    }
    // The sample goes to the top of 64 bits, then down again.
    let up = 64_u32
        .saturating_sub(stored + u32::from(shape.low_bit))
        .min(63);
    let down = 64 - stored;
    let (cells, _) = cells.as_chunks_mut::<WIDTH>();
    for cell in cells {
        let mut wide = [0; 8];
        // WIDTH is at most eight.
        wide[..WIDTH].copy_from_slice(cell);
        let top = u64::from_le_bytes(wide) << up;
        let value = if shape.signed {
            (top.cast_signed() >> down).cast_unsigned()
        } else {
            top >> down
        };
        cell.copy_from_slice(&value.to_le_bytes()[..WIDTH]);
    }
}

/// The samples at one place of the pixels of a frame of at most 16 bits, as values with their sign.
pub(super) fn plane(frame: &DecodedFrame, index: usize) -> Box<dyn Iterator<Item = i32> + '_> {
    let width = frame.shape.sample_bytes();
    if width == 0 {
        return Box::new(bits(frame).map(i32::from));
    }
    let signed = frame.shape.signed;
    let samples = frame.data.chunks_exact(width);
    Box::new(
        samples
            .skip(index)
            .step_by(usize::from(frame.shape.samples).max(1))
            .map(move |sample| match (sample, signed) {
                (&[low], false) => i32::from(low),
                (&[low], true) => i32::from(low.cast_signed()),
                (&[low, high, ..], false) => i32::from(u16::from_le_bytes([low, high])),
                (&[low, high, ..], true) => i32::from(i16::from_le_bytes([low, high])),
                (&[], _) => 0,
            }),
    )
}

/// The pixels of a packed single-bit frame, 0 or 1 each.
pub(super) fn bits(frame: &DecodedFrame) -> impl Iterator<Item = u8> + '_ {
    let pixels = usize::try_from(frame.shape.sample_count()).unwrap_or(usize::MAX);
    let bytes = frame.data.iter();
    bytes
        .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1))
        .take(pixels)
}

/// The samples of an 8 or 16-bit frame as bit patterns of `precision` bits.
pub(super) fn patterns(frame: &DecodedFrame, precision: u16) -> Vec<u16> {
    let mask = u16::MAX >> (16 - precision.clamp(1, 16));
    if frame.shape.bits_allocated == 8 {
        frame
            .data
            .iter()
            .map(|&byte| u16::from(byte) & mask)
            .collect()
    } else {
        let (cells, _) = frame.data.as_chunks::<2>();
        cells
            .iter()
            .map(|&cell| u16::from_le_bytes(cell) & mask)
            .collect()
    }
}

/// Moves planes side by side into pixels; `plane_len` samples of `width` bytes in each plane.
pub(super) fn interleave(planes: &[u8], samples: usize, width: usize) -> Vec<u8> {
    let plane_bytes = planes.len() / samples.max(1);
    let mut pixels = vec![0; planes.len()];
    for (index, plane) in planes.chunks_exact(plane_bytes.max(1)).enumerate() {
        let cells = pixels.chunks_exact_mut(width.max(1) * samples);
        for (pixel, sample) in cells.zip(plane.chunks_exact(width.max(1))) {
            if let Some(cell) = pixel.get_mut(index * width..(index + 1) * width) {
                cell.copy_from_slice(sample);
            }
        }
    }
    pixels
}

#[cfg(test)]
mod tests {
    use super::super::shape::Photometric;
    use super::*;

    fn shape(bits_allocated: u16, bits_stored: u16, signed: bool) -> FrameShape {
        FrameShape {
            rows: 1,
            columns: 4,
            samples: 1,
            bits_allocated,
            bits_stored,
            low_bit: 0,
            overlay_bits: false,
            signed,
            planar: false,
            photometric: Photometric::Monochrome2,
        }
    }

    #[test]
    fn narrow_signed_patterns_are_sign_extended() {
        let bytes = planes_to_bytes(
            &[&[0x0fff_u16, 0x0800, 0x07ff, 0]],
            12,
            &shape(16, 12, true),
        );
        let expected: Vec<u8> = [-1_i16, -2048, 2047, 0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn negative_values_of_an_unsigned_header_become_patterns() {
        let bytes = planes_to_bytes(&[&[-1_i32, -2048, 2047, 0]], 12, &shape(16, 12, false));
        let expected: Vec<u8> = [0x0fff_u16, 0x0800, 0x07ff, 0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(bytes, expected);
    }

    fn cleared(shape: FrameShape, cells: [u16; 4]) -> Vec<u16> {
        let mut bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_le_bytes()).collect();
        clear_unused_bits(&mut bytes, &shape);
        let (cells, _) = bytes.as_chunks::<2>();
        cells.iter().map(|&cell| u16::from_le_bytes(cell)).collect()
    }

    #[test]
    fn bits_beside_the_sample_do_not_count() {
        let cells = [0x0800, 0xf7ff, 0x1001, 0xffff];
        assert_eq!(
            cleared(shape(16, 12, false), cells),
            [0x0800, 0x07ff, 0x0001, 0x0fff]
        );
        assert_eq!(
            cleared(shape(16, 12, true), cells),
            [0xf800, 0x07ff, 0x0001, 0xffff]
        );
        let high = FrameShape {
            low_bit: 4,
            ..shape(16, 12, true)
        };
        assert_eq!(
            cleared(high, [0x8000, 0x7fff, 0x0010, 0xfff0]),
            [0xf800, 0x07ff, 0x0001, 0xffff]
        );
        assert_eq!(cleared(shape(16, 16, false), cells), cells);
    }

    fn of_wide_stream(samples: &[i32], shape: &FrameShape) -> (u16, Vec<i32>) {
        let frame = whole(samples, 16, shape).unwrap();
        (frame.shape.bits_stored, plane(&frame, 0).collect())
    }

    #[test]
    fn a_stream_wider_than_bits_stored_is_read_by_what_it_holds() {
        let signed = shape(16, 12, true);
        // Values, and patterns that nobody extended.
        for samples in [[-2048, 2047, -1, 0], [0x0800, 0x07ff, 0x0fff, 0]] {
            assert_eq!(
                of_wide_stream(&samples, &signed),
                (12, vec![-2048, 2047, -1, 0])
            );
        }
        // More than twelve bits can hold: the stream decides.
        let wide = [-30_000, 30_000, 5, 0];
        assert_eq!(of_wide_stream(&wide, &signed), (16, wide.to_vec()));
        let unsigned = shape(16, 12, false);
        assert_eq!(
            of_wide_stream(&[0x1fff, 1, 2, 0], &unsigned),
            (16, vec![0x1fff, 1, 2, 0])
        );
        let overlays = FrameShape {
            overlay_bits: true,
            ..unsigned
        };
        assert_eq!(
            of_wide_stream(&[0x1fff, 1, 2, 0], &overlays),
            (12, vec![0x0fff, 1, 2, 0])
        );
        let high = FrameShape {
            low_bit: 4,
            ..unsigned
        };
        assert_eq!(
            of_wide_stream(&[0xffff, 0x10, 0x2f, 0], &high),
            (12, vec![0x0fff, 1, 2, 0])
        );
    }

    #[test]
    fn single_bits_are_packed_whatever_their_sample_is() {
        let bit = shape(1, 1, false);
        for one in [1, 255] {
            let frame = whole(&[one, 0, one, one], 8, &bit).unwrap();
            assert_eq!(frame.data, [0b1101]);
            assert_eq!(plane(&frame, 0).collect::<Vec<_>>(), [1, 0, 1, 1]);
        }
        let gray = whole(&[1, 0, 2, 3], 8, &bit).unwrap();
        assert_eq!(gray.shape.bits_allocated, 8);
        assert_eq!(gray.data, [1, 0, 2, 3]);
    }

    #[test]
    fn planes_of_samples_become_pixels() {
        let color = FrameShape {
            samples: 3,
            columns: 2,
            photometric: Photometric::Rgb,
            ..shape(16, 12, true)
        };
        let bytes = planes_to_bytes(&[&[1_i32, -1], &[2, -2], &[3, 0xfff]], 12, &color);
        let frame = DecodedFrame::new(color, bytes).unwrap();
        assert_eq!(plane(&frame, 0).collect::<Vec<_>>(), [1, -1]);
        assert_eq!(plane(&frame, 1).collect::<Vec<_>>(), [2, -2]);
        assert_eq!(plane(&frame, 2).collect::<Vec<_>>(), [3, -1]);
    }

    #[test]
    fn planes_become_pixels() {
        assert_eq!(
            interleave(&[1, 2, 3, 4, 5, 6], 3, 1),
            vec![1, 3, 5, 2, 4, 6]
        );
        assert_eq!(
            interleave(&[1, 10, 2, 20, 3, 30, 4, 40], 2, 2),
            vec![1, 10, 3, 30, 2, 20, 4, 40]
        );
    }
}
