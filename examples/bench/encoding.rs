//! HTJ2K frames a second beside JPEG 2000 of `openjp2`, on the same picture and without a server.

use std::io::Error;
use std::time::Instant;

use stowage::dicom::codec::{DecodedFrame, EncodeOptions, FrameShape, Photometric, encode};

use super::table::{self, Actor, Done, Task};
use super::{Arguments, Outcome};

/// HTJ2K lossless RPCL, then JPEG 2000 lossless as the limit.
const CODECS: [(&str, &str); 2] = [
    ("HTJ2K", "1.2.840.10008.1.2.4.202"),
    ("openjp2 JPEG 2000", "1.2.840.10008.1.2.4.90"),
];

/// Measures when the group `encode` is asked for.
pub(crate) fn run(arguments: &Arguments) -> Outcome<()> {
    if !arguments.wants("encode") {
        return Ok(());
    }
    for (what, bits, samples) in [("12 bit gray", 12, 1), ("8 bit color", 8, 3)] {
        let frame = slice(bits, samples)?;
        let mut actors = CODECS.map(|(name, syntax)| {
            let frame = &frame;
            let run = move |_| {
                let (start, mut count) = (Instant::now(), 0.0);
                while start.elapsed().as_millis() < u128::from(arguments.millis) {
                    let encoded = encode(syntax, frame, &EncodeOptions::default());
                    encoded.map_err(Error::other)?;
                    count += 1.0;
                }
                Ok(Done {
                    work: count,
                    seconds: start.elapsed().as_secs_f64(),
                })
            };
            Actor {
                name: name.to_owned(),
                cpu: Some(Box::new(|| Ok(0.0))),
                run: Box::new(run),
            }
        });
        let task = Task {
            what: &format!("Encode a frame of 512×512, {what}"),
            unit: "frames/s",
            goal: 5.0,
            rounds: arguments.rounds,
        };
        table::measure(task, &mut actors)?;
    }
    Ok(())
}

/// A disk with a ring in it on an empty background, with the noise of a CT slice.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped to the range of a sample"
)]
fn slice(bits: u16, samples: u16) -> Outcome<DecodedFrame> {
    const SIDE: u32 = 512;
    let highest = f64::from((1_u32 << bits) - 1);
    let mut seed = 1_u64;
    let mut noise = || {
        let mut sum = 0.0;
        for _ in 0..6 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            sum += f64::from((seed >> 33) as u32) / f64::from(1_u32 << 31) - 0.5;
        }
        // Of a standard deviation of one.
        sum * std::f64::consts::SQRT_2
    };
    let mut data = Vec::new();
    for (row, column) in (0..SIDE).flat_map(|row| (0..SIDE).map(move |column| (row, column))) {
        let place = |at: u32| f64::from(at) / f64::from(SIDE) - 0.5;
        let (x, y) = (place(column), place(row));
        let radius = x.hypot(y);
        let level = if (radius - 0.2).abs() < 0.02 {
            0.7
        } else if radius < 0.4 {
            0.35 + 0.1 * (x * 20.0).sin() * (y * 15.0).cos()
        } else {
            0.02
        };
        let deviation = if radius < 0.42 { 0.006 } else { 0.001 };
        for sample in 0..samples {
            let value = level + 0.05 * f64::from(sample) + noise() * deviation;
            let value = (value * highest).clamp(0.0, highest) as u16;
            let bytes = value.to_le_bytes();
            data.extend_from_slice(if bits > 8 { &bytes } else { &bytes[..1] });
        }
    }
    let shape = FrameShape {
        rows: SIDE,
        columns: SIDE,
        samples,
        bits_allocated: if bits > 8 { 16 } else { 8 },
        bits_stored: bits,
        low_bit: 0,
        overlay_bits: false,
        signed: false,
        planar: false,
        photometric: match samples {
            3 => Photometric::Rgb,
            _ => Photometric::Monochrome2,
        },
    };
    Ok(DecodedFrame::new(shape, data)?)
}
