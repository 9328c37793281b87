//! Tests of the codec as a whole; the images are computed, the reference streams are embedded.

mod damaged;
mod headers;
mod reference;
mod round_trip;

use super::*;

const fn image(
    columns: u32,
    rows: u32,
    components: u8,
    precision: u8,
    near: u8,
    interleave: Interleave,
) -> EncodeParams {
    EncodeParams {
        columns,
        rows,
        components,
        precision,
        near,
        interleave,
    }
}

fn info(params: &EncodeParams) -> Info {
    let &EncodeParams {
        columns,
        rows,
        components,
        precision,
        near,
        ..
    } = params;
    Info {
        columns,
        rows,
        components,
        precision,
        near,
    }
}

/// A fixed sequence of numbers without visible order.
struct TestNumbers(u32);

impl TestNumbers {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end
    }
}

/// Samples from a function of column, row, component and largest value, in the layout of the codec.
fn samples(params: &EncodeParams, mut value: impl FnMut(u32, u32, u32, u32) -> u32) -> Vec<u8> {
    let largest = u32::from(coding::maximum_for(params.precision));
    let mut bytes = Vec::new();
    for y in 0..params.rows {
        for x in 0..params.columns {
            for c in 0..u32::from(params.components) {
                let [low, high, ..] = (value(x, y, c, largest) % (largest + 1)).to_le_bytes();
                bytes.push(low);
                if params.precision > 8 {
                    bytes.push(high);
                }
            }
        }
    }
    bytes
}

/// Slopes, noise and flat parts, so that every mode of the coder has its turn.
fn pattern(params: &EncodeParams) -> Vec<u8> {
    let mut numbers = TestNumbers(0x9E37_79B9);
    samples(params, |x, y, c, largest| {
        let noise = numbers.next();
        if (y / 2) % 3 == 2 || x % 7 > 4 {
            largest / 3 + c
        } else {
            largest / 20 * x + largest / 9 * y + 40 * c + noise % (largest / 16 + 2)
        }
    })
}

fn largest_difference(a: &[u8], b: &[u8], params: &EncodeParams) -> u16 {
    assert_eq!(a.len(), b.len());
    let values = |bytes: &[u8]| -> Vec<u16> {
        if params.precision > 8 {
            bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&pair| u16::from_le_bytes(pair))
                .collect()
        } else {
            bytes.iter().map(|&byte| byte.into()).collect()
        }
    };
    values(a)
        .iter()
        .zip(values(b))
        .map(|(a, b)| a.abs_diff(b))
        .max()
        .unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: String = text.split_whitespace().collect();
    assert!(digits.len().is_multiple_of(2), "{text}");
    (0..digits.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
        .collect()
}

/// Splits a stream of one scan: before SOS, the SOS segment, its data.
fn split(stream: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let scan = stream
        .windows(2)
        .position(|pair| pair == [0xFF, 0xDA])
        .unwrap();
    let data = scan + 2 + usize::from(stream[scan + 3]);
    (
        &stream[..scan],
        &stream[scan..data],
        &stream[data..stream.len() - 2],
    )
}

const EOI: [u8; 2] = [0xFF, 0xD9];
