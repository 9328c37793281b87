//! Samples between their byte form and the integers that codecs work on.
//!
//! Every codec adapter meets the DICOM rules on width and sign here, and only here.

use super::shape::{Frame, FrameShape};

/// Writes samples that are already interleaved as canonical bytes.
///
/// `precision` is the width the codestream declares. Samples are read as a bit pattern of that
/// width and then extended by the header's Pixel Representation, so a codestream whose sign differs
/// from the header comes out right (PS3.5 §8.2: the header rules).
pub(super) fn to_bytes<T>(samples: &[T], precision: u32, shape: &FrameShape) -> Vec<u8>
where
    T: Copy + Into<i64>,
{
    planes_to_bytes(&[samples], precision, shape)
}

/// Writes planes of samples as canonical bytes, one pixel after the other; see [`to_bytes`].
pub(super) fn planes_to_bytes<T>(planes: &[&[T]], precision: u32, shape: &FrameShape) -> Vec<u8>
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

/// The samples at one place of the pixels of an 8 or 16-bit frame, as values with their sign.
pub(super) fn plane(frame: &Frame, index: usize) -> impl Iterator<Item = i32> + '_ {
    let width = frame.shape.sample_bytes();
    let signed = frame.shape.signed;
    let samples = frame.data.chunks_exact(width.max(1));
    samples
        .skip(index)
        .step_by(usize::from(frame.shape.samples).max(1))
        .map(move |sample| match (sample, signed) {
            (&[low], false) => i32::from(low),
            (&[low], true) => i32::from(low.cast_signed()),
            (&[low, high, ..], false) => i32::from(u16::from_le_bytes([low, high])),
            (&[low, high, ..], true) => i32::from(i16::from_le_bytes([low, high])),
            (&[], _) => 0,
        })
}

/// The samples of an 8 or 16-bit frame as bit patterns of `precision` bits.
pub(super) fn patterns(frame: &Frame, precision: u16) -> Vec<u16> {
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

/// The narrowest precision a lossless codestream may declare for this 8 or 16-bit frame.
///
/// Bits Stored, unless a sample has bits above it (old overlay planes): then Bits Allocated, because
/// lossless means every bit.
pub(super) fn coding_precision(frame: &Frame) -> u16 {
    let stored = frame.shape.bits_stored;
    let unused = u32::from(16 - stored.clamp(1, 16));
    let fits = |pattern: u16| {
        let kept = pattern << unused;
        if frame.shape.signed {
            (kept.cast_signed() >> unused).cast_unsigned() == pattern
        } else {
            kept >> unused == pattern
        }
    };
    let all_fit = if stored == frame.shape.bits_allocated {
        true
    } else if frame.shape.bits_allocated == 8 {
        frame.data.iter().all(|&byte| {
            fits(if frame.shape.signed {
                i16::from(byte.cast_signed()).cast_unsigned()
            } else {
                u16::from(byte)
            })
        })
    } else {
        let (cells, _) = frame.data.as_chunks::<2>();
        cells.iter().all(|&cell| fits(u16::from_le_bytes(cell)))
    };
    if all_fit {
        stored
    } else {
        frame.shape.bits_allocated
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
            signed,
            planar: false,
            photometric: Photometric::Monochrome2,
        }
    }

    #[test]
    fn narrow_signed_patterns_are_sign_extended() {
        let bytes = to_bytes(&[0x0fff_u16, 0x0800, 0x07ff, 0], 12, &shape(16, 12, true));
        let expected: Vec<u8> = [-1_i16, -2048, 2047, 0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn negative_values_of_an_unsigned_header_become_patterns() {
        let bytes = to_bytes(&[-1_i32, -2048, 2047, 0], 12, &shape(16, 12, false));
        let expected: Vec<u8> = [0x0fff_u16, 0x0800, 0x07ff, 0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_sample_above_bits_stored_widens_the_codestream() {
        let clean = Frame::new(shape(16, 12, false), vec![0xff, 0x0f, 0, 0, 1, 0, 2, 0]).unwrap();
        assert_eq!(coding_precision(&clean), 12);
        let overlay = Frame::new(shape(16, 12, false), vec![0xff, 0x1f, 0, 0, 1, 0, 2, 0]).unwrap();
        assert_eq!(coding_precision(&overlay), 16);
        let negative = Frame::new(shape(16, 12, true), vec![0xff, 0xff, 0, 0, 1, 0, 2, 0]).unwrap();
        assert_eq!(coding_precision(&negative), 12);
        let pattern = Frame::new(shape(16, 12, true), vec![0xff, 0x0f, 0, 0, 1, 0, 2, 0]).unwrap();
        assert_eq!(coding_precision(&pattern), 16);
        let narrow = Frame::new(shape(8, 6, true), vec![0xe0, 0x1f, 0, 1]).unwrap();
        assert_eq!(coding_precision(&narrow), 6);
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
        let frame = Frame::new(color, bytes).unwrap();
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
