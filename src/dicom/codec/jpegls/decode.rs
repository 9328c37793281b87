//! From a JPEG-LS stream to samples (T.87 Annex A, with the clauses for decoding, and Annex F).
//!
//! Invariant: nothing is allocated for samples before the caller's limit was checked, and each
//! line ends with a check that its bits were there, so damaged data costs at most one line.

use super::bits::BitReader;
use super::coding::{Arithmetic, CodingParameters};
use super::context::{ContextModel, RunEnd, apply_sign, predict};
use super::error::Error;
use super::lines::{LineView, Lines, SampleLayout};
use super::markers::{FrameHeader, MarkerReader, ScanHeader};
use super::model::{Interleave, JpegLsImage};
use super::run_index::RunIndex;

/// Decodes a JPEG-LS stream of one image.
///
/// `max_samples_bytes` bounds the length of [`JpegLsImage::samples`]. Bytes behind EOI are ignored.
///
/// # Errors
/// [`Error::TooLarge`] before anything is allocated, [`Error::Truncated`] when any part of the
/// stream up to and including EOI is missing, [`Error::Damaged`] and the other variants as named.
pub fn decode(bytes: &[u8], max_samples_bytes: usize) -> Result<JpegLsImage, Error> {
    let mut reader = MarkerReader::new(bytes)?;
    let (frame, mut scan) = reader.first_scan()?;
    let mut info = frame.info(scan.near);
    let needed = info.samples_bytes();
    let length = usize::try_from(needed)
        .ok()
        .filter(|&length| length <= max_samples_bytes)
        .ok_or(Error::TooLarge {
            needed,
            limit: max_samples_bytes,
        })?;
    // Each line of each scan takes at least one bit.
    if u64::from(frame.rows) > 8 * bytes.len() as u64 {
        return Err(Error::Truncated {
            offset: bytes.len(),
        });
    }
    let mut samples = vec![0; length];
    loop {
        let end = decode_scan(bytes, &frame, &scan, &mut samples)?;
        reader.resume(end);
        let Some(next) = reader.next_scan()? else {
            break;
        };
        scan = next;
        info.near = info.near.max(scan.near);
    }
    Ok(JpegLsImage { info, samples })
}

/// Decodes one scan into its components of `samples`; returns where its data ends.
fn decode_scan(
    bytes: &[u8],
    frame: &FrameHeader,
    scan: &ScanHeader,
    samples: &mut [u8],
) -> Result<usize, Error> {
    let mut task = DecodeTask {
        bits: BitReader::new(bytes, scan.data),
        frame,
        scan,
        samples,
    };
    match (scan.interleave, scan.members().len()) {
        (Interleave::Sample, 2) => task.run::<2>(),
        (Interleave::Sample, 3) => task.run::<3>(),
        (Interleave::Sample, 4) => task.run::<4>(),
        _ => task.run::<1>(),
    }
}

struct DecodeTask<'a> {
    bits: BitReader<'a>,
    frame: &'a FrameHeader,
    scan: &'a ScanHeader,
    samples: &'a mut [u8],
}

/// A code no encoder writes.
struct BadCode;

impl DecodeTask<'_> {
    fn run<const N: usize>(&mut self) -> Result<usize, Error> {
        let coding = CodingParameters::new(&self.scan.presets, self.scan.near);
        match coding.exact() {
            Some(exact) => self.lines::<_, N>(exact, coding),
            None => self.lines::<_, N>(coding.bounded(), coding),
        }
    }

    fn lines<A: Arithmetic, const N: usize>(
        &mut self,
        arithmetic: A,
        coding: CodingParameters,
    ) -> Result<usize, Error> {
        let width = usize::from(self.frame.columns);
        let layout = SampleLayout {
            components: self.frame.components,
            wide: self.frame.precision > 8,
        };
        let groups: Vec<&[usize]> = self.scan.members().chunks(N).collect();
        let mut planes: Vec<Lines<N>> = groups.iter().map(|_| Lines::new(width)).collect();
        let mut model = ContextModel::new(coding);
        let row_bytes = self.samples.len() / usize::from(self.frame.rows);
        let mut restarts = 0;
        let mut left = self.scan.restart_lines;
        for row in self.samples.chunks_exact_mut(row_bytes) {
            if self.scan.restart_lines > 0 {
                if left == 0 {
                    self.bits.restart(restarts)?;
                    restarts += 1;
                    left = self.scan.restart_lines;
                    model.reset();
                    planes.fill_with(|| Lines::new(width));
                }
                left -= 1;
            }
            for (plane, members) in planes.iter_mut().zip(&groups) {
                plane.advance();
                let outcome = decode_line(arithmetic, &mut model, &mut self.bits, plane.view());
                if self.bits.overrun() {
                    return Err(Error::Truncated {
                        offset: self.bits.position(),
                    });
                }
                outcome.map_err(|BadCode| Error::Damaged {
                    offset: self.bits.position(),
                })?;
                plane.store(row, layout, members);
            }
        }
        self.bits.finish()
    }
}

/// Decodes one line of `N` components that share their run mode.
fn decode_line<A: Arithmetic, const N: usize>(
    arithmetic: A,
    model: &mut ContextModel,
    bits: &mut BitReader<'_>,
    mut line: LineView<'_, N>,
) -> Result<(), BadCode> {
    let mut x = 1;
    loop {
        x = decode_stretch(arithmetic, model, bits, &mut line, x)?;
        let LineView {
            width,
            above,
            ref mut current,
            ref mut run_index,
        } = line;
        if x > width {
            return Ok(());
        }
        // Indices stay within the line: a run ends before `width` + 1, or at it without a sample.
        let mut left = current[x - 1];
        let run = decode_run(bits, run_index, width + 1 - x).ok_or(BadCode)?;
        current[x..x + run.length].fill(left);
        x += run.length;
        if run.interrupted {
            let rb = above[x];
            for i in 0..N {
                let neighbors = [left[i], rb[i]].map(i32::from);
                left[i] =
                    decode_interruption::<A, N>(arithmetic, model, bits, **run_index, neighbors)
                        .ok_or(BadCode)?;
            }
            run_index.decrement();
            current[x] = left;
            x += 1;
        }
    }
}

/// Decodes regular pixels from `x` on; returns where run mode or the end of the line is reached.
#[inline(always)]
fn decode_stretch<A: Arithmetic, const N: usize>(
    arithmetic: A,
    model: &mut ContextModel,
    bits: &mut BitReader<'_>,
    line: &mut LineView<'_, N>,
    mut x: usize,
) -> Result<usize, BadCode> {
    // Indices stay below width + 2, the length of both slices.
    let LineView {
        width,
        above,
        ref mut current,
        ..
    } = *line;
    let mut left = current[x - 1];
    // A copy that no call can see: the loop keeps it in registers.
    let mut reader = *bits;
    while x <= width {
        let (rc, rb, rd) = (above[x - 1], above[x], above[x + 1]);
        let merged: [i32; N] =
            std::array::from_fn(|i| model.context([left[i], rb[i], rc[i], rd[i]].map(i32::from)));
        if merged == [0; N] {
            break;
        }
        for i in 0..N {
            let neighbors = [left[i], rb[i], rc[i]].map(i32::from);
            let Some(sample) = decode_regular(arithmetic, model, &mut reader, merged[i], neighbors)
            else {
                *bits = reader;
                return Err(BadCode);
            };
            left[i] = sample;
        }
        current[x] = left;
        x += 1;
    }
    *bits = reader;
    Ok(x)
}

/// One sample in regular mode (T.87 §A.4 to §A.6).
#[inline(always)]
fn decode_regular<A: Arithmetic>(
    arithmetic: A,
    model: &mut ContextModel,
    bits: &mut BitReader<'_>,
    merged: i32,
    [ra, rb, rc]: [i32; 3],
) -> Option<u16> {
    let CodingParameters {
        range,
        reset,
        escape,
        error_bits,
        ..
    } = model.coding;
    let (context, sign) = model.regular(merged);
    let k = context.k();
    let prediction = arithmetic.clamp(predict(ra, rb, rc) + apply_sign(context.correction(), sign));
    let mapped = bits.golomb(k, escape, error_bits)?.cast_signed();
    if mapped > range {
        return None;
    }
    let mut error = (mapped >> 1) ^ -(mapped & 1);
    if arithmetic.near() == 0 {
        error ^= context.inversion(k);
    }
    context.update(error, arithmetic.step(), reset);
    Some(sample(
        arithmetic.reconstruct(prediction, apply_sign(error, sign)),
    ))
}

/// A reconstructed sample as it is stored.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to MAXVAL by construction"
)]
#[inline(always)]
const fn sample(value: i32) -> u16 {
    value as u16
}

struct DecodeRun {
    length: usize,
    interrupted: bool,
}

/// A run of at most `room` pixels (T.87 §A.7.1).
fn decode_run(
    bits: &mut BitReader<'_>,
    run_index: &mut RunIndex,
    room: usize,
) -> Option<DecodeRun> {
    let mut length = 0;
    while bits.take_bit() {
        let step = 1 << run_index.bits();
        if step <= room - length {
            length += step;
            run_index.increment();
        } else {
            length = room;
        }
        if length == room {
            return Some(DecodeRun {
                length,
                interrupted: false,
            });
        }
    }
    length += bits.take(run_index.bits()) as usize;
    // The sample that ends a run lies within the line.
    (length < room).then_some(DecodeRun {
        length,
        interrupted: true,
    })
}

/// The sample that ends a run (T.87 §A.7.2).
fn decode_interruption<A: Arithmetic, const N: usize>(
    arithmetic: A,
    model: &mut ContextModel,
    bits: &mut BitReader<'_>,
    run_index: RunIndex,
    [ra, rb]: [i32; 2],
) -> Option<u16> {
    let CodingParameters {
        range,
        reset,
        error_bits,
        ..
    } = model.coding;
    let escape = model.coding.run_escape(run_index);
    let RunEnd {
        context,
        prediction,
        sign,
    } = model.run_end::<N>(ra, rb);
    let k = context.k();
    let mapped = bits.golomb(k, escape, error_bits)?.cast_signed();
    if mapped > range {
        return None;
    }
    let error = context.unmap(mapped, k);
    context.update(error, mapped, reset);
    Some(sample(
        arithmetic.reconstruct(prediction, apply_sign(error, sign)),
    ))
}
