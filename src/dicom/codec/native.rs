//! Native (uncompressed) pixel data into canonical frames.
//!
//! Byte order, planes, subsampled color and single bits are settled here, so nothing later has to
//! ask how the samples were stored (PS3.5 §8.1 and annex D).

use std::ops::Range;

use super::color;
use super::error::CodecError;
use super::samples;
use super::shape::{DecodedFrame, FrameShape, Photometric};

/// Order of the bytes of native pixel data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// Every little endian transfer syntax.
    Little,
    /// Explicit VR Big Endian with VR OB.
    Big,
    /// Explicit VR Big Endian with VR OW: samples of up to eight bits are swapped in pairs.
    BigWords,
}

/// Bits one frame takes in the Pixel Data value.
fn stored_bits(shape: &FrameShape) -> Option<u64> {
    let samples_per_pixel = match shape.photometric {
        Photometric::YbrFull422 | Photometric::YbrPartial422 => 2,
        _ => u64::from(shape.samples),
    };
    u64::from(shape.rows)
        .checked_mul(u64::from(shape.columns))?
        .checked_mul(samples_per_pixel)?
        .checked_mul(u64::from(shape.bits_allocated))
}

/// Whether samples are swapped in 16-bit words rather than each by itself.
fn swaps_words(shape: &FrameShape, order: ByteOrder) -> bool {
    order == ByteOrder::BigWords && shape.bits_allocated <= 8
}

/// The bytes of the Pixel Data value that hold a frame (counted from zero).
///
/// Widened to whole bytes for single-bit frames, which need not start on a byte, and to whole words
/// where words are swapped. Nothing when the position overflows.
pub fn native_frame_span(shape: &FrameShape, frame: u64, order: ByteOrder) -> Option<Range<u64>> {
    let bits = stored_bits(shape)?;
    let start = frame.checked_mul(bits)?;
    let end = start.checked_add(bits)?;
    let unit = if swaps_words(shape, order) { 16 } else { 8 };
    let bytes = unit / 8;
    Some(start / unit * bytes..end.div_ceil(unit) * bytes)
}

/// Cuts one frame out of the bytes of its [`native_frame_span`] and makes it canonical.
///
/// # Errors
/// [`CodecError::InvalidShape`], or [`CodecError::FrameLength`] when the span is short.
pub fn native_frame(
    span: &[u8],
    shape: &FrameShape,
    frame: u64,
    order: ByteOrder,
) -> Result<DecodedFrame, CodecError> {
    shape.check()?;
    let overflow = CodecError::InvalidShape {
        reason: "the frame lies beyond any pixel data",
    };
    let bits = stored_bits(shape).ok_or(overflow)?;
    let words = swaps_words(shape, order);
    let unit = if words { 16 } else { 8 };
    // Both factors are reduced first, so the product stays small and equals the offset in the unit.
    let offset = usize::try_from((frame % unit) * (bits % unit) % unit).unwrap_or(0);
    let swapped;
    let bytes = if words {
        swapped = swap::<2>(span);
        &swapped
    } else {
        span
    };
    let bytes = bytes.get(offset / 8..).unwrap_or_default();
    if shape.bits_allocated == 1 {
        let data = unpack_bits(bytes, offset % 8, shape)?;
        return DecodedFrame::new(canonical_shape(shape), data);
    }
    native_to_canonical(bytes, shape, if words { ByteOrder::Little } else { order })
}

/// Makes one native frame canonical: byte order, planes, subsampling, and the bits beside the samples.
///
/// `YBR_FULL_422` becomes `YBR_FULL`, partial-range YBR becomes RGB; one padding byte after the frame is ignored. A frame labeled
/// as subsampled that holds all three samples is taken as such.
///
/// # Errors
/// [`CodecError::InvalidShape`], or [`CodecError::FrameLength`] when the bytes do not fit the shape.
pub fn native_to_canonical(
    bytes: &[u8],
    shape: &FrameShape,
    order: ByteOrder,
) -> Result<DecodedFrame, CodecError> {
    shape.check()?;
    let canonical = canonical_shape(shape);
    let found = bytes.len() as u64;
    let fits = |length: u64| found == length || found == length.saturating_add(1);
    let stored = stored_bits(shape).map_or(u64::MAX, |bits| bits.div_ceil(8));
    let subsampled = shape.photometric.is_subsampled() && !fits(shape.frame_bytes());
    let expected = if subsampled {
        stored
    } else {
        shape.frame_bytes()
    };
    let wrong_length = CodecError::FrameLength { expected, found };
    if !fits(expected) {
        return Err(wrong_length);
    }
    let ordered = ordered(bytes, shape, order);
    let length = usize::try_from(expected).unwrap_or(usize::MAX);
    let Some(stored) = ordered.get(..length) else {
        return Err(wrong_length);
    };
    let mut data = if shape.bits_allocated == 1 {
        unpack_bits(stored, 0, shape)?
    } else if subsampled {
        expand_422(stored, shape)?
    } else if shape.planar && shape.samples > 1 {
        samples::interleave(stored, usize::from(shape.samples), shape.sample_bytes())
    } else {
        stored.to_vec()
    };
    samples::clear_unused_bits(&mut data, shape);
    if matches!(
        shape.photometric,
        Photometric::YbrPartial420 | Photometric::YbrPartial422
    ) {
        let partial = FrameShape {
            photometric: shape.photometric,
            ..canonical
        };
        return color::ybr_to_rgb(DecodedFrame {
            shape: partial,
            data,
        });
    }
    DecodedFrame::new(canonical, data)
}

/// The shape of the canonical frame that [`native_to_canonical`] makes.
pub(super) fn canonical_shape(shape: &FrameShape) -> FrameShape {
    let photometric = match shape.photometric {
        Photometric::YbrFull422 => Photometric::YbrFull,
        // The transforms of JPEG 2000 exist inside its codestreams only; a native frame with such a
        // label was decoded by software that forgot to change it.
        Photometric::YbrRct | Photometric::YbrIct => Photometric::Rgb,
        // Upsampled partial-range color has no term of its own, so it goes on to RGB.
        Photometric::YbrPartial422 | Photometric::YbrPartial420 => Photometric::Rgb,
        other => other,
    };
    shape.canonical(photometric)
}

/// The bytes in little endian order, copied only where they have to change.
fn ordered<'a>(
    bytes: &'a [u8],
    shape: &FrameShape,
    order: ByteOrder,
) -> std::borrow::Cow<'a, [u8]> {
    let big = order != ByteOrder::Little;
    match shape.bits_allocated {
        16 if big => swap::<2>(bytes).into(),
        32 if big => swap::<4>(bytes).into(),
        64 if big => swap::<8>(bytes).into(),
        1 | 8 if order == ByteOrder::BigWords => swap::<2>(bytes).into(),
        _ => bytes.into(),
    }
}

/// Reverses the bytes of each group; an incomplete last group keeps its order.
fn swap<const WIDTH: usize>(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (groups, _) = bytes.as_chunks_mut::<WIDTH>();
    for group in groups {
        group.reverse();
    }
    bytes
}

/// Repeats each pair of color differences: Y1 Y2 Cb Cr becomes two whole pixels.
fn expand_422(stored: &[u8], shape: &FrameShape) -> Result<Vec<u8>, CodecError> {
    if !shape.columns.is_multiple_of(2) {
        return Err(CodecError::InvalidShape {
            reason: "subsampled color needs an even number of columns",
        });
    }
    let width = shape.sample_bytes();
    let mut pixels = Vec::with_capacity(stored.len() / 2 * 3);
    for pair in stored.chunks_exact(4 * width) {
        let (luminance, difference) = pair.split_at(2 * width);
        for y in luminance.chunks_exact(width) {
            pixels.extend_from_slice(y);
            pixels.extend_from_slice(difference);
        }
    }
    Ok(pixels)
}

/// Takes a packed single-bit frame that starts `first_bit` bits into the bytes.
///
/// The first pixel lands in the lowest bit of the first byte (PS3.5 §8.1.1); unused bits of the last
/// byte are zero.
///
/// # Errors
/// [`CodecError::FrameLength`] when the bytes end before the frame.
pub fn unpack_bits(
    bytes: &[u8],
    first_bit: usize,
    shape: &FrameShape,
) -> Result<Vec<u8>, CodecError> {
    let bits = shape.sample_count();
    let length = usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX);
    let available = (bytes.len() as u64)
        .saturating_mul(8)
        .saturating_sub(first_bit as u64);
    if bits > available {
        return Err(CodecError::FrameLength {
            expected: bits.div_ceil(8),
            found: bytes.len() as u64,
        });
    }
    let bytes = bytes.get(first_bit / 8..).unwrap_or_default();
    let shift = first_bit % 8;
    let next = bytes.iter().skip(1).chain(std::iter::once(&0));
    let mut packed: Vec<u8> = bytes
        .iter()
        .zip(next)
        .take(length)
        .map(|(&low, &high)| {
            let [low, _] = (u16::from_le_bytes([low, high]) >> shift).to_le_bytes();
            low
        })
        .collect();
    if let (Some(last), used @ 1..) = (packed.last_mut(), bits % 8) {
        *last &= u8::MAX >> (8 - used);
    }
    Ok(packed)
}

/// The pixels of a packed single-bit frame, one byte each, 0 or 1.
///
/// Frames with whole bytes per sample are returned as they are.
pub fn expand_bits(frame: &DecodedFrame) -> Vec<u8> {
    if frame.shape.bits_allocated != 1 {
        return frame.data.clone();
    }
    samples::bits(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(samples: u16, bits: u16, photometric: Photometric) -> FrameShape {
        FrameShape {
            rows: 3,
            columns: 3,
            samples,
            bits_allocated: bits,
            bits_stored: bits,
            low_bit: 0,
            overlay_bits: false,
            signed: false,
            planar: false,
            photometric,
        }
    }

    fn gray(bits: u16) -> FrameShape {
        shape(1, bits, Photometric::Monochrome2)
    }

    #[test]
    fn big_endian_is_swapped_by_bits_allocated() {
        for (bits, count) in [(16_u16, 2_usize), (32, 4), (64, 8)] {
            let little: Vec<u8> = (0..9 * u8::try_from(count).unwrap()).collect();
            let big: Vec<u8> = little
                .chunks(count)
                .flat_map(|c| c.iter().rev().copied())
                .collect();
            for order in [ByteOrder::Big, ByteOrder::BigWords] {
                let frame = native_to_canonical(&big, &gray(bits), order).unwrap();
                assert_eq!(frame.data, little);
            }
            let frame = native_to_canonical(&little, &gray(bits), ByteOrder::Little).unwrap();
            assert_eq!(frame.data, little);
        }
    }

    #[test]
    fn eight_bit_words_of_big_endian_are_swapped_in_pairs() {
        let frame = native_to_canonical(
            &[2, 1, 4, 3, 6, 5, 8, 7, 0, 9],
            &gray(8),
            ByteOrder::BigWords,
        )
        .unwrap();
        assert_eq!(frame.data, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let bytes = native_to_canonical(&[1, 2, 3, 4, 5, 6, 7, 8, 9], &gray(8), ByteOrder::Big);
        assert_eq!(bytes.unwrap().data, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_second_odd_frame_of_swapped_words_is_found() {
        // Two frames of nine bytes, 1..=9 and 11..=19, in words of a big endian OW value.
        let mut value: Vec<u8> = (1..=9).chain(11..=19).collect();
        value = swap::<2>(&value);
        let span = native_frame_span(&gray(8), 1, ByteOrder::BigWords).unwrap();
        assert_eq!(span, 8..18);
        let frame = native_frame(&value[8..18], &gray(8), 1, ByteOrder::BigWords).unwrap();
        assert_eq!(frame.data, (11..=19).collect::<Vec<u8>>());
    }

    #[test]
    fn planes_and_padding_are_normalized() {
        let planar = FrameShape {
            planar: true,
            ..shape(3, 8, Photometric::Rgb)
        };
        let mut stored = [vec![1; 9], vec![2; 9], vec![3; 9]].concat();
        stored.push(0);
        let frame = native_to_canonical(&stored, &planar, ByteOrder::Little).unwrap();
        assert_eq!(frame.data, [1, 2, 3].repeat(9));
        assert!(!frame.shape.planar);
        assert!(native_to_canonical(&stored[..26], &planar, ByteOrder::Little).is_err());
        stored.push(0);
        assert!(native_to_canonical(&stored, &planar, ByteOrder::Little).is_err());
    }

    #[test]
    fn native_ybr_full_422_is_expanded() {
        let stored = FrameShape {
            rows: 1,
            columns: 4,
            ..shape(3, 8, Photometric::YbrFull422)
        };
        let frame =
            native_to_canonical(&[1, 2, 10, 20, 3, 4, 30, 40], &stored, ByteOrder::Little).unwrap();
        assert_eq!(frame.data, [1, 10, 20, 2, 10, 20, 3, 30, 40, 4, 30, 40]);
        assert_eq!(frame.shape.photometric, Photometric::YbrFull);
        let whole = native_to_canonical(&[7; 12], &stored, ByteOrder::Little).unwrap();
        assert_eq!(whole.data, [7; 12]);
        let odd = FrameShape {
            columns: 3,
            ..stored
        };
        assert!(native_to_canonical(&[1; 6], &odd, ByteOrder::Little).is_err());
    }

    #[test]
    fn bit_frames_that_start_inside_a_byte_are_realigned() {
        // Three frames of nine bits: all set, alternating, all clear.
        let bits: Vec<u8> = [[1_u8; 9], [1, 0, 1, 0, 1, 0, 1, 0, 1], [0; 9]].concat();
        let mut value = vec![0_u8; 4];
        for (index, bit) in bits.iter().enumerate() {
            value[index / 8] |= bit << (index % 8);
        }
        for (index, pixels) in bits.chunks(9).enumerate() {
            for order in [ByteOrder::Little, ByteOrder::BigWords] {
                let value = if order == ByteOrder::BigWords {
                    swap::<2>(&value)
                } else {
                    value.clone()
                };
                let span = native_frame_span(&gray(1), index as u64, order).unwrap();
                let span = usize::try_from(span.start).unwrap()..usize::try_from(span.end).unwrap();
                let frame = native_frame(&value[span], &gray(1), index as u64, order).unwrap();
                assert_eq!(expand_bits(&frame), pixels, "frame {index}");
                assert_eq!(frame.data.len(), 2);
            }
        }
        assert!(unpack_bits(&[0xff], 0, &gray(1)).is_err());
    }

    #[test]
    fn spans_never_overflow() {
        assert!(native_frame_span(&gray(16), u64::MAX, ByteOrder::Little).is_none());
        let short = native_frame(&[0; 3], &gray(16), 7, ByteOrder::Little);
        assert!(matches!(short, Err(CodecError::FrameLength { .. })));
    }
}
