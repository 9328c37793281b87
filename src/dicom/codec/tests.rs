//! The codec layer as its callers see it: through [`decode`] and [`encode`] only.

mod bits;
mod damage;
mod golden;
mod round_trip;
mod traps;

use super::*;

const RLE: &str = "1.2.840.10008.1.2.5";
const DEFLATED: &str = "1.2.840.10008.1.2.8.1";
const BASELINE: &str = "1.2.840.10008.1.2.4.50";
const EXTENDED: &str = "1.2.840.10008.1.2.4.51";
const LOSSLESS: &str = "1.2.840.10008.1.2.4.57";
const FIRST_ORDER: &str = "1.2.840.10008.1.2.4.70";
const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
const JPEG_LS_NEAR: &str = "1.2.840.10008.1.2.4.81";
const JPEG_2000: &str = "1.2.840.10008.1.2.4.90";
const JPEG_2000_LOSSY: &str = "1.2.840.10008.1.2.4.91";
const HT_LOSSLESS: &str = "1.2.840.10008.1.2.4.201";
const HT_RPCL: &str = "1.2.840.10008.1.2.4.202";
const HT: &str = "1.2.840.10008.1.2.4.203";
const JPEG_XL: &str = "1.2.840.10008.1.2.4.110";

fn gray(rows: u32, columns: u32, allocated: u16, stored: u16, signed: bool) -> FrameShape {
    FrameShape {
        rows,
        columns,
        samples: 1,
        bits_allocated: allocated,
        bits_stored: stored,
        low_bit: 0,
        overlay_bits: false,
        signed,
        planar: false,
        photometric: Photometric::Monochrome2,
    }
}

fn rgb(rows: u32, columns: u32, bits: u16) -> FrameShape {
    FrameShape {
        samples: 3,
        photometric: Photometric::Rgb,
        ..gray(rows, columns, bits, bits, false)
    }
}

/// How the samples of a test picture run.
#[derive(Clone, Copy, PartialEq)]
enum TestContent {
    /// A slow ramp over half of the range, alike in all components.
    Smooth,
    /// Every value as likely as any other.
    Noise,
    /// Lowest and highest value in turn.
    Extreme,
}

/// A picture with values in the range of Bits Stored.
fn picture(shape: FrameShape, content: TestContent) -> DecodedFrame {
    let range = 1_u64 << shape.bits_stored;
    let low = if shape.signed {
        -((range / 2) as i64)
    } else {
        0
    };
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut data = Vec::new();
    for row in 0..u64::from(shape.rows) {
        for column in 0..u64::from(shape.columns) {
            for sample in 0..u64::from(shape.samples) {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let value = match content {
                    TestContent::Smooth => {
                        let span = u64::from(shape.rows + shape.columns + 8);
                        range / 4 + (row + column + 4 * sample) * (range / 2) / span
                    }
                    TestContent::Noise => (seed >> 33) % range,
                    TestContent::Extreme => (row + column + sample) % 2 * (range - 1),
                };
                let bytes = (low + i64::try_from(value).unwrap()).to_le_bytes();
                data.extend_from_slice(&bytes[..usize::from(shape.bits_allocated / 8)]);
            }
        }
    }
    DecodedFrame::new(shape, data).unwrap()
}

fn encoded(syntax: &str, frame: &DecodedFrame) -> Encoded {
    encode(syntax, frame, &EncodeOptions::default())
        .unwrap_or_else(|error| panic!("{syntax} {:?}: {error:?}", frame.shape))
}

fn decoded(syntax: &str, bytes: &[u8], shape: &FrameShape) -> DecodedFrame {
    decode(syntax, bytes, shape, &FrameLimits::default())
        .unwrap_or_else(|error| panic!("{syntax} {shape:?}: {error:?}"))
}

/// The largest difference of two frames of 8 or 16 bits.
fn largest_difference(a: &DecodedFrame, b: &DecodedFrame) -> u32 {
    assert_eq!(a.data.len(), b.data.len());
    let places = 0..usize::from(a.shape.samples);
    let pairs = places.flat_map(|place| samples::plane(a, place).zip(samples::plane(b, place)));
    pairs.map(|(a, b)| a.abs_diff(b)).max().unwrap_or(0)
}
