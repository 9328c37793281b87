//! Drawing a plan: area averaging when shrinking, linear when enlarging.
//!
//! Rows are read once, in order, and at most two resampled rows are held, so
//! memory follows the picture and not the frame.

use std::ops::Range;

use super::geometry::{AxisSpan, CropPlan};
use super::image::Image;
use super::rows::DisplayRows;

/// Draws the picture of a plan.
pub(super) fn draw(rows: &DisplayRows<'_>, plan: &CropPlan) -> Image {
    let copied = is_whole(plan.columns, plan.width) && is_whole(plan.rows, plan.height);
    let image = if copied {
        copy(rows, plan)
    } else {
        scale(rows, plan)
    };
    if plan.transpose {
        transposed(&image)
    } else {
        image
    }
}

/// Whether a span begins on a pixel and keeps its length.
fn is_whole(span: AxisSpan, size: u32) -> bool {
    span.start.fract() == 0.0 && span.length == f64::from(size)
}

fn blank(plan: &CropPlan, channels: usize) -> Image {
    let pixels = plan.width as usize * plan.height as usize;
    Image {
        width: plan.width,
        height: plan.height,
        channels,
        data: vec![0; pixels * channels],
    }
}

fn copy(rows: &DisplayRows<'_>, plan: &CropPlan) -> Image {
    let channels = rows.channels();
    let mut image = blank(plan, channels);
    let columns = pixels_of(plan.columns);
    let first = pixels_of(plan.rows).start;
    let lines = image.data.chunks_exact_mut(plan.width as usize * channels);
    let source = |line: u32| {
        first
            + if plan.flip_rows {
                plan.height - 1 - line
            } else {
                line
            }
    };
    for (line, number) in lines.zip(0_u32..) {
        rows.fill(source(number), columns.clone(), line);
        if plan.flip_columns {
            mirror(line, channels);
        }
    }
    image
}

fn mirror(line: &mut [u8], channels: usize) {
    line.reverse();
    if channels == 3 {
        line.as_chunks_mut::<3>()
            .0
            .iter_mut()
            .for_each(|pixel| pixel.reverse());
    }
}

/// The pixels a span touches.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "spans lie inside a frame, whose sides are u32"
)]
fn pixels_of(span: AxisSpan) -> Range<u32> {
    let first = span.start.floor() as u32;
    // Rounding in the plan may leave the end a hair past a pixel edge.
    let end = (span.start + span.length - 1e-9).ceil() as u32;
    first..end.max(first + 1)
}

fn scale(rows: &DisplayRows<'_>, plan: &CropPlan) -> Image {
    let channels = rows.channels();
    let mut image = blank(plan, channels);
    let across = Weights::new(plan.columns, plan.width);
    let down = Weights::new(plan.rows, plan.height);
    let stride = plan.width as usize * channels;
    let mut window = RowWindow {
        rows,
        across: &across,
        source: vec![0; across.pixels.len() * channels],
        held: [(None, vec![0.0; stride]), (None, vec![0.0; stride])],
    };
    let mut sum = vec![0.0_f32; stride];
    for number in 0..plan.height {
        sum.fill(0.0);
        for (row, weight) in down.of(number) {
            for (sum, value) in sum.iter_mut().zip(window.row(row)) {
                *sum += weight * value;
            }
        }
        let target = if plan.flip_rows {
            plan.height - 1 - number
        } else {
            number
        };
        let start = target as usize * stride;
        let line = image
            .data
            .get_mut(start..start + stride)
            .unwrap_or_default();
        for (out, &sum) in line.iter_mut().zip(&sum) {
            *out = narrow_level(sum);
        }
        if plan.flip_columns {
            mirror(line, channels);
        }
    }
    image
}

/// The last two rows, scaled across.
struct RowWindow<'a> {
    rows: &'a DisplayRows<'a>,
    across: &'a Weights,
    source: Vec<u8>,
    held: [(Option<u32>, Vec<f32>); 2],
}

impl RowWindow<'_> {
    fn row(&mut self, row: u32) -> &[f32] {
        let slot = usize::from(row % 2 == 1);
        if self.held[slot].0 != Some(row) {
            self.rows
                .fill(row, self.across.pixels.clone(), &mut self.source);
            self.held[slot].0 = Some(row);
            let channels = self.rows.channels();
            if channels == 1 {
                self.across.apply::<1>(&self.source, &mut self.held[slot].1);
            } else {
                self.across.apply::<3>(&self.source, &mut self.held[slot].1);
            }
        }
        &self.held[slot].1
    }
}

/// For each pixel of one axis of the picture, the source pixels and their weights.
struct Weights {
    /// Source pixels of the whole axis.
    pixels: Range<u32>,
    /// First source pixel of each output pixel.
    firsts: Vec<u32>,
    /// `per_pixel` weights of each output pixel, adding up to 1.
    weights: Vec<f32>,
    per_pixel: usize,
}

impl Weights {
    fn new(span: AxisSpan, size: u32) -> Self {
        let pixels = pixels_of(span);
        let step = span.length / f64::from(size);
        let per_pixel = if step > 1.0 { ceil(step) + 1 } else { 2 };
        // Never reach past the span: a crop shows nothing of its surroundings.
        let per_pixel = per_pixel.min(pixels.len());
        let last_first = f64::from(pixels.end) - to_f64(per_pixel);
        let mut firsts = Vec::with_capacity(size as usize);
        let mut weights = Vec::with_capacity(size as usize * per_pixel);
        for index in 0..size {
            let from = span.start + f64::from(index) * step;
            let middle = from + step / 2.0 - 0.5;
            let start = if step > 1.0 {
                from.floor()
            } else {
                middle.floor()
            };
            let first = start.clamp(f64::from(pixels.start), last_first);
            let raw = (0..per_pixel).map(|offset| {
                let pixel = first + to_f64(offset);
                if step > 1.0 {
                    ((from + step).min(pixel + 1.0) - from.max(pixel)).max(0.0)
                } else {
                    // Beyond the outermost middles the outermost pixels stand alone.
                    let at = middle.clamp(f64::from(pixels.start), f64::from(pixels.end) - 1.0);
                    (1.0 - (at - pixel).abs()).max(0.0)
                }
            });
            let begin = weights.len();
            weights.extend(raw.map(narrow));
            normalize(weights.get_mut(begin..).unwrap_or_default());
            firsts.push(ceil_u32(first));
        }
        Self {
            pixels,
            firsts,
            weights,
            per_pixel,
        }
    }

    /// Source pixels and weights of one output pixel.
    fn of(&self, index: u32) -> impl Iterator<Item = (u32, f32)> {
        let start = index as usize * self.per_pixel;
        let weights = self
            .weights
            .get(start..start + self.per_pixel)
            .unwrap_or(&[]);
        let first = self
            .firsts
            .get(index as usize)
            .copied()
            .unwrap_or(self.pixels.start);
        (first..)
            .zip(weights.iter().copied())
            .filter(|&(_, weight)| weight > 0.0)
    }

    /// Scales one row of `N`-channel pixels that begins at the first source pixel.
    fn apply<const N: usize>(&self, source: &[u8], out: &mut [f32]) {
        let source = source.as_chunks::<N>().0;
        let out = out.as_chunks_mut::<N>().0;
        let weights = self.weights.chunks_exact(self.per_pixel);
        for ((out, weights), &first) in out.iter_mut().zip(weights).zip(&self.firsts) {
            let start = (first - self.pixels.start) as usize;
            let pixels = source.get(start..start + self.per_pixel).unwrap_or(&[]);
            let mut sum = [0.0_f32; N];
            for (&weight, pixel) in weights.iter().zip(pixels) {
                for (sum, &value) in sum.iter_mut().zip(pixel) {
                    *sum += weight * f32::from(value);
                }
            }
            *out = sum;
        }
    }
}

fn normalize(weights: &mut [f32]) {
    let sum: f32 = weights.iter().sum();
    if sum > 0.0 {
        weights.iter_mut().for_each(|weight| *weight /= sum);
    } else if let Some(first) = weights.first_mut() {
        *first = 1.0;
    }
}

#[expect(clippy::cast_precision_loss, reason = "a number of pixels, below 2^32")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

/// The nearest level; weights add up to 1, so a sum is a level but for rounding.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate"
)]
fn narrow_level(sum: f32) -> u8 {
    (sum + 0.5) as u8
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a weight needs no more precision"
)]
fn narrow(weight: f64) -> f32 {
    weight as f32
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a number of pixels of a frame, whose sides are u32"
)]
fn ceil_u32(value: f64) -> u32 {
    value.ceil() as u32
}

fn ceil(value: f64) -> usize {
    ceil_u32(value) as usize
}

/// The picture with its axes swapped.
fn transposed(image: &Image) -> Image {
    let (width, height, channels) = (image.width as usize, image.height as usize, image.channels);
    let mut data = Vec::with_capacity(image.data.len());
    for x in 0..width {
        for y in 0..height {
            let start = (y * width + x) * channels;
            data.extend_from_slice(image.data.get(start..start + channels).unwrap_or(&[0; 3]));
        }
    }
    Image {
        width: image.height,
        height: image.width,
        channels,
        data,
    }
}
