//! Bits that are no sample bits: every place of the sample in its cell, in every codec (PS3.5 §8.1.1).

use super::*;

const NATIVE: &str = "1.2.840.10008.1.2.1";

/// Sample values that reach both ends of the range.
fn values(stored: u16, signed: bool) -> Vec<i64> {
    let range = 1_i64 << stored;
    let low = if signed { -range / 2 } else { 0 };
    let mut seed = 0x2545_f491_u64;
    let mut values = vec![low, low + range - 1, low + range / 2, low + range / 4];
    for _ in values.len()..56 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        values.push(low + i64::try_from((seed >> 33) % range.unsigned_abs()).unwrap());
    }
    values
}

/// What a writer left in the bits beside the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Beside {
    Clear,
    Set,
    Noise,
}

/// The cells of native pixel data that hold the values.
fn cells(values: &[i64], shape: &FrameShape, beside: Beside) -> Vec<u8> {
    let width = usize::from(shape.bits_allocated / 8);
    let mask = ((1_u64 << shape.bits_stored) - 1) << shape.low_bit;
    let cell = |(index, value): (usize, &i64)| {
        let sample = value.cast_unsigned() << shape.low_bit & mask;
        let rest = match beside {
            Beside::Clear => 0,
            Beside::Set => u64::MAX,
            Beside::Noise => (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        sample | (rest & !mask)
    };
    let cells = values.iter().enumerate().map(cell);
    cells
        .flat_map(|cell| cell.to_le_bytes()[..width].to_vec())
        .collect()
}

/// The canonical frame of the values.
fn canonical(values: &[i64], shape: &FrameShape) -> DecodedFrame {
    let width = usize::from(shape.bits_allocated / 8);
    let data = values
        .iter()
        .flat_map(|value| value.to_le_bytes()[..width].to_vec())
        .collect();
    DecodedFrame::new(shape.canonical(shape.photometric), data).unwrap()
}

/// Bits Allocated, Bits Stored and the lowest bit of the sample.
fn layouts() -> Vec<(u16, u16, u16)> {
    let mut layouts = Vec::new();
    for (allocated, stored) in [
        (8, 1),
        (8, 6),
        (8, 8),
        (16, 8),
        (16, 10),
        (16, 12),
        (16, 15),
        (16, 16),
        (32, 20),
        (32, 32),
    ] {
        for low in [0, 1, allocated - stored] {
            if low <= allocated - stored && !layouts.contains(&(allocated, stored, low)) {
                layouts.push((allocated, stored, low));
            }
        }
    }
    layouts
}

/// All shapes of the table.
fn shapes() -> impl Iterator<Item = FrameShape> {
    layouts().into_iter().flat_map(|(allocated, stored, low)| {
        [false, true].map(|signed| FrameShape {
            low_bit: low,
            ..gray(7, 8, allocated, stored, signed)
        })
    })
}

#[test]
fn the_value_is_the_stored_bits_under_high_bit_in_every_codec() {
    let mut coded = 0;
    for shape in shapes() {
        let values = values(shape.bits_stored, shape.signed);
        let wanted = canonical(&values, &shape);
        for beside in [Beside::Clear, Beside::Set, Beside::Noise] {
            let stored = cells(&values, &shape, beside);
            let frame = decoded(NATIVE, &stored, &shape);
            assert_eq!(frame, wanted, "{shape:?} {beside:?}");
            let spanned = native_frame(&stored, &shape, 0, ByteOrder::Little).unwrap();
            assert_eq!(spanned, wanted, "{shape:?} {beside:?}");
            for syntax in [
                RLE,
                DEFLATED,
                LOSSLESS,
                FIRST_ORDER,
                JPEG_LS,
                JPEG_2000,
                HT_LOSSLESS,
                JPEG_XL,
            ] {
                if !can_encode(syntax, &frame.shape) {
                    continue;
                }
                let made = encoded(syntax, &frame);
                assert_eq!(made.shape, wanted.shape, "{syntax}");
                assert_eq!(
                    decoded(syntax, &made.bytes, &made.shape),
                    wanted,
                    "{syntax} {shape:?} {beside:?}"
                );
                coded += 1;
            }
        }
    }
    assert!(coded > 700, "{coded}");
}

#[test]
fn the_precision_of_a_codestream_is_bits_stored() {
    for shape in shapes().filter(|shape| shape.bits_allocated <= 16) {
        let frame = canonical(&values(shape.bits_stored, shape.signed), &shape);
        // What a reader learns that knows nothing of the header.
        let wide = gray(7, 8, 16, 16, shape.signed);
        for syntax in [LOSSLESS, FIRST_ORDER, JPEG_LS, JPEG_2000, HT_RPCL, JPEG_XL] {
            let made = encoded(syntax, &frame);
            let declared = codestream_shape(syntax, &made.bytes, &wide).unwrap();
            let least = match syntax {
                JPEG_2000 | HT_RPCL | JPEG_XL => 1,
                // The narrowest these formats have.
                _ => 2,
            };
            assert_eq!(
                declared.bits_stored,
                shape.bits_stored.max(least),
                "{syntax}"
            );
        }
    }
}

#[test]
fn cells_coded_byte_by_byte_are_read_under_high_bit() {
    for shape in shapes() {
        let values = values(shape.bits_stored, shape.signed);
        // RLE and deflate code the cells, whatever they hold.
        let raw = FrameShape {
            bits_stored: shape.bits_allocated,
            low_bit: 0,
            signed: false,
            ..shape
        };
        let cells = DecodedFrame::new(raw, cells(&values, &shape, Beside::Noise)).unwrap();
        for syntax in [RLE, DEFLATED] {
            let bytes = encoded(syntax, &cells).bytes;
            assert_eq!(
                decoded(syntax, &bytes, &shape),
                canonical(&values, &shape),
                "{syntax} {shape:?}"
            );
        }
    }
}

#[test]
fn single_bits_go_through_jpeg_2000_and_rle() {
    for (rows, columns) in [(32, 32), (7, 9), (1, 1)] {
        let shape = gray(rows, columns, 1, 1, false);
        let bits: Vec<bool> = (0..rows * columns)
            .map(|i| i % 3 == 0 || i % 7 == 1)
            .collect();
        let frame = DecodedFrame::new(shape, samples::pack(bits.iter().copied())).unwrap();
        for syntax in [JPEG_2000, HT_LOSSLESS, HT_RPCL, RLE, DEFLATED] {
            assert!(can_encode(syntax, &shape), "{syntax}");
            let made = encoded(syntax, &frame);
            assert_eq!(decoded(syntax, &made.bytes, &made.shape), frame, "{syntax}");
        }
        // One byte for each pixel, as viewers read RLE, and what packs its bits first.
        let bytes = |data: Vec<u8>| {
            let shape = gray(1, u32::try_from(data.len()).unwrap(), 8, 8, false);
            encoded(RLE, &DecodedFrame::new(shape, data).unwrap()).bytes
        };
        let spread = bytes(bits.iter().map(|&bit| u8::from(bit)).collect());
        assert_eq!(decoded(RLE, &spread, &shape), frame);
        assert_eq!(decoded(RLE, &bytes(frame.data.clone()), &shape), frame);
    }
}
