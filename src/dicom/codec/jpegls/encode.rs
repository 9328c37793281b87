//! From samples to a JPEG-LS stream (T.87 Annex A, Annex C).
//!
//! Invariant: [`encode()`] uses the default coding parameters of T.87, so every reader of the standard
//! reads its streams; the samples it decodes to differ by at most NEAR from the input.

use super::bits::BitWriter;
use super::coding::{Arithmetic, CodingParameters, Presets, RawPresets, largest_near, maximum_for};
use super::context::{ContextModel, RunEnd, apply_sign, predict};
use super::error::Error;
use super::lines::{LineView, Lines, SampleLayout};
use super::markers::{EOI, LSE, SOF55, SOI, SOS};
use super::model::{EncodeParams, Info, Interleave};
use super::run_index::RunIndex;

/// Encodes interleaved samples, laid out like [`super::JpegLsImage::samples`], as a JPEG-LS stream.
///
/// # Errors
/// [`Error::Parameters`] outside the ranges of [`EncodeParams`], [`Error::SampleLength`] and
/// [`Error::SampleRange`] when the samples do not fit them.
pub fn encode(samples: &[u8], params: &EncodeParams) -> Result<Vec<u8>, Error> {
    encode_with(samples, params, RawPresets::default())
}

/// Encodes with other coding parameters than the defaults where `presets` is not 0.
pub(super) fn encode_with(
    samples: &[u8],
    params: &EncodeParams,
    presets: RawPresets,
) -> Result<Vec<u8>, Error> {
    let (columns, rows) = check(samples, params)?;
    let explicit = presets != RawPresets::default();
    let presets = presets
        .resolve(params.precision, params.near)
        .map_err(|reason| Error::Parameters { reason })?;
    // Half the raw size is typical of lossless images; the vector grows where that is too little.
    let mut bytes = Vec::with_capacity(samples.len() / 2 + 64);
    write_frame(&mut bytes, params, columns, rows);
    // Some readers compute other defaults than T.87 above 12 bits: tell them.
    if explicit || params.precision > 12 {
        write_presets(&mut bytes, &presets);
    }
    let interleave = if params.components == 1 {
        Interleave::None
    } else {
        params.interleave
    };
    let mut scan = |first: u8, last: u8| {
        write_scan(&mut bytes, first, last, params.near, interleave);
        let task = EncodeTask {
            samples,
            width: usize::from(columns),
            layout: SampleLayout {
                components: usize::from(params.components),
                wide: params.precision > 8,
            },
            maximum: presets.maximum,
            members: usize::from(first) - 1..usize::from(last),
        };
        let bits = BitWriter::new(std::mem::take(&mut bytes));
        let coding = CodingParameters::new(&presets, params.near);
        bytes = match (interleave, params.components) {
            (Interleave::Sample, 2) => task.run::<2>(bits, coding),
            (Interleave::Sample, 3) => task.run::<3>(bits, coding),
            (Interleave::Sample, 4) => task.run::<4>(bits, coding),
            _ => task.run::<1>(bits, coding),
        }?;
        Ok(())
    };
    if interleave == Interleave::None {
        for component in 1..=params.components {
            scan(component, component)?;
        }
    } else {
        scan(1, params.components)?;
    }
    bytes.extend_from_slice(&[0xFF, EOI]);
    Ok(bytes)
}

/// Checks geometry and length; returns columns and rows.
fn check(samples: &[u8], params: &EncodeParams) -> Result<(u16, u16), Error> {
    let refuse = |reason| Err(Error::Parameters { reason });
    let &EncodeParams {
        columns,
        rows,
        components,
        precision,
        near,
        ..
    } = params;
    if !(1..=4).contains(&components) {
        return refuse("components must be 1 to 4");
    }
    if !(2..=16).contains(&precision) {
        return refuse("precision must be 2 to 16 bits");
    }
    if u16::from(near) > largest_near(maximum_for(precision)) {
        return refuse("near must be at most 255 and half the largest sample");
    }
    let dimension = |value: u32| u16::try_from(value).ok().filter(|&value| value > 0);
    let (Some(width), Some(height)) = (dimension(columns), dimension(rows)) else {
        return refuse("columns and rows must be 1 to 65,535");
    };
    let expected = Info {
        columns,
        rows,
        components,
        precision,
        near,
    }
    .samples_bytes();
    if samples.len() as u64 != expected {
        return Err(Error::SampleLength {
            expected,
            actual: samples.len(),
        });
    }
    Ok((width, height))
}

/// Appends SOI and SOF55.
fn write_frame(bytes: &mut Vec<u8>, params: &EncodeParams, columns: u16, rows: u16) {
    let length = 8 + 3 * params.components;
    bytes.extend_from_slice(&[0xFF, SOI, 0xFF, SOF55, 0, length, params.precision]);
    bytes.extend_from_slice(&rows.to_be_bytes());
    bytes.extend_from_slice(&columns.to_be_bytes());
    bytes.push(params.components);
    for identifier in 1..=params.components {
        bytes.extend_from_slice(&[identifier, 0x11, 0]);
    }
}

/// Appends LSE with all coding parameters.
fn write_presets(bytes: &mut Vec<u8>, presets: &Presets) {
    let [t1, t2, t3] = presets.thresholds;
    bytes.extend_from_slice(&[0xFF, LSE, 0, 13, 1]);
    for value in [presets.maximum, t1, t2, t3, presets.reset] {
        bytes.extend_from_slice(&value.to_be_bytes());
    }
}

/// Appends SOS for the components `first` to `last`, counted from 1.
fn write_scan(bytes: &mut Vec<u8>, first: u8, last: u8, near: u8, interleave: Interleave) {
    let count = last - first + 1;
    bytes.extend_from_slice(&[0xFF, SOS, 0, 6 + 2 * count, count]);
    for identifier in first..=last {
        bytes.extend_from_slice(&[identifier, 0]);
    }
    let mode = match interleave {
        Interleave::None => 0,
        Interleave::Line => 1,
        Interleave::Sample => 2,
    };
    bytes.extend_from_slice(&[near, mode, 0]);
}

struct EncodeTask<'a> {
    samples: &'a [u8],
    width: usize,
    layout: SampleLayout,
    maximum: u16,
    /// Components of this scan.
    members: std::ops::Range<usize>,
}

impl EncodeTask<'_> {
    fn run<const N: usize>(
        &self,
        bits: BitWriter,
        coding: CodingParameters,
    ) -> Result<Vec<u8>, Error> {
        match coding.exact() {
            Some(exact) => self.lines::<_, N>(exact, bits, coding),
            None => self.lines::<_, N>(coding.bounded(), bits, coding),
        }
    }

    fn lines<A: Arithmetic, const N: usize>(
        &self,
        arithmetic: A,
        mut bits: BitWriter,
        coding: CodingParameters,
    ) -> Result<Vec<u8>, Error> {
        let mut planes: Vec<(usize, Lines<N>)> = self
            .members
            .clone()
            .step_by(N)
            .map(|first| (first, Lines::new(self.width)))
            .collect();
        let mut model = ContextModel::new(coding);
        let row_bytes = self.width * self.layout.components * if self.layout.wide { 2 } else { 1 };
        for (row, samples) in (0_u32..).zip(self.samples.chunks_exact(row_bytes)) {
            for (first, plane) in &mut planes {
                plane.advance();
                if plane.load(samples, self.layout, *first) > self.maximum {
                    return Err(Error::SampleRange {
                        row,
                        maximum: self.maximum,
                    });
                }
                encode_line(arithmetic, &mut model, &mut bits, plane.view());
            }
        }
        Ok(bits.finish())
    }
}

/// Encodes one line of `N` components that share their run mode.
///
/// In near-lossless coding the line is replaced by what the decoder will see.
fn encode_line<A: Arithmetic, const N: usize>(
    arithmetic: A,
    model: &mut ContextModel,
    bits: &mut BitWriter,
    line: LineView<'_, N>,
) {
    // Indices stay below width + 2, the length of both slices.
    let LineView {
        width,
        above,
        current,
        run_index,
    } = line;
    let mut x = 1;
    let mut left = current[0];
    while x <= width {
        let (rc, rb, rd) = (above[x - 1], above[x], above[x + 1]);
        let merged: [i32; N] =
            std::array::from_fn(|i| model.context([left[i], rb[i], rc[i], rd[i]].map(i32::from)));
        if merged != [0; N] {
            for i in 0..N {
                let neighbors = [left[i], rb[i], rc[i]].map(i32::from);
                left[i] =
                    encode_regular(arithmetic, model, bits, merged[i], neighbors, current[x][i]);
            }
            current[x] = left;
            x += 1;
            continue;
        }
        let alike = |pixel: &[u16; N]| {
            pixel
                .iter()
                .zip(left)
                .all(|(&a, b)| (i32::from(a) - i32::from(b)).abs() <= arithmetic.near())
        };
        let length = current[x..=width]
            .iter()
            .take_while(|pixel| alike(pixel))
            .count();
        current[x..x + length].fill(left);
        x += length;
        let interrupted = x <= width;
        encode_run(bits, run_index, length, interrupted);
        if interrupted {
            let rb = above[x];
            for i in 0..N {
                let neighbors = [left[i], rb[i]].map(i32::from);
                left[i] = encode_interruption::<A, N>(
                    arithmetic,
                    model,
                    bits,
                    *run_index,
                    neighbors,
                    current[x][i],
                );
            }
            run_index.decrement();
            current[x] = left;
            x += 1;
        }
    }
}

/// One sample in regular mode (T.87 §A.4 to §A.6); returns what the decoder reconstructs.
#[inline(always)]
fn encode_regular<A: Arithmetic>(
    arithmetic: A,
    model: &mut ContextModel,
    bits: &mut BitWriter,
    merged: i32,
    [ra, rb, rc]: [i32; 3],
    value: u16,
) -> u16 {
    let CodingParameters {
        reset,
        escape,
        error_bits,
        ..
    } = model.coding;
    let (context, sign) = model.regular(merged);
    let k = context.k();
    let prediction = arithmetic.clamp(predict(ra, rb, rc) + apply_sign(context.correction(), sign));
    let error = arithmetic.quantize(apply_sign(i32::from(value) - prediction, sign));
    let inversion = if arithmetic.near() == 0 {
        context.inversion(k)
    } else {
        0
    };
    let signed = error ^ inversion;
    let mapped = ((signed << 1) ^ (signed >> 31)).cast_unsigned();
    bits.put_golomb(mapped, k, escape, error_bits);
    context.update(error, arithmetic.step(), reset);
    seen(arithmetic, value, prediction, apply_sign(error, sign))
}

/// The sample the decoder reconstructs.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "0 to MAXVAL by construction"
)]
#[inline(always)]
fn seen<A: Arithmetic>(arithmetic: A, value: u16, prediction: i32, error: i32) -> u16 {
    if arithmetic.near() == 0 {
        value
    } else {
        arithmetic.reconstruct(prediction, error) as u16
    }
}

/// A run of `length` pixels (T.87 §A.7.1).
fn encode_run(bits: &mut BitWriter, run_index: &mut RunIndex, length: usize, interrupted: bool) {
    let mut rest = length;
    while rest >> run_index.bits() > 0 {
        bits.put(1, 1);
        rest -= 1 << run_index.bits();
        run_index.increment();
    }
    if interrupted {
        // A zero bit, then the rest, which is below 2 to the number of its bits (at most 15).
        #[expect(clippy::cast_possible_truncation, reason = "below 2 to the 15th")]
        bits.put(rest as u32, run_index.bits() + 1);
    } else if rest > 0 {
        bits.put(1, 1);
    }
}

/// The sample that ends a run (T.87 §A.7.2); returns what the decoder reconstructs.
fn encode_interruption<A: Arithmetic, const N: usize>(
    arithmetic: A,
    model: &mut ContextModel,
    bits: &mut BitWriter,
    run_index: RunIndex,
    [ra, rb]: [i32; 2],
    value: u16,
) -> u16 {
    let CodingParameters {
        reset, error_bits, ..
    } = model.coding;
    let escape = model.coding.run_escape(run_index);
    let RunEnd {
        context,
        prediction,
        sign,
    } = model.run_end::<N>(ra, rb);
    let k = context.k();
    let error = arithmetic.quantize(apply_sign(i32::from(value) - prediction, sign));
    let mapped = context.map(error, k);
    bits.put_golomb(mapped.cast_unsigned(), k, escape, error_bits);
    context.update(error, mapped, reset);
    seen(arithmetic, value, prediction, apply_sign(error, sign))
}
