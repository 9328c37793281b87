//! Where each pixel of the picture comes from: crop, rotation, flip, viewport.
//!
//! The order is presentation state, then source region, then viewport (PS3.18
//! §8.3.5.1). Without a viewport a picture has one pixel for each pixel shown;
//! pixels that are not square are only evened out where there is a scale anyway.

use super::attributes::RenderAttributes;
use super::error::RenderError;
use super::presentation::{Area, Presentation};
use super::request::{MAX_PIXELS, MAX_SIDE, MAX_VIEWPORT, Region, Request};
use super::samples::Samples;

/// Largest magnification of a presentation state that is followed.
const MAX_MAGNIFICATION: f64 = 64.0;

/// A stretch of one axis of the frame, in pixels from its first edge.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct AxisSpan {
    pub(super) start: f64,
    pub(super) length: f64,
}

/// How the picture is cut out of the frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CropPlan {
    /// Columns of the frame that are shown.
    pub(super) columns: AxisSpan,
    /// Rows of the frame that are shown.
    pub(super) rows: AxisSpan,
    /// Size of the picture before `transpose`, at least 1 × 1.
    pub(super) width: u32,
    pub(super) height: u32,
    /// Mirror along the frame's columns and rows.
    pub(super) flip_columns: bool,
    pub(super) flip_rows: bool,
    /// Swap both axes, last.
    pub(super) transpose: bool,
}

impl CropPlan {
    /// Where a point of the frame lies in the picture, both in pixels from the edge.
    pub(super) fn place(&self, column: f64, row: f64) -> (f64, f64) {
        let along = |at: f64, span: AxisSpan, size: u32, flip: bool| {
            let fraction = (at - span.start) / span.length;
            (if flip { 1.0 - fraction } else { fraction }) * f64::from(size)
        };
        let x = along(column, self.columns, self.width, self.flip_columns);
        let y = along(row, self.rows, self.height, self.flip_rows);
        if self.transpose { (y, x) } else { (x, y) }
    }
}

/// Works out the plan for a frame.
pub(super) fn plan(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    request: &Request,
) -> Result<CropPlan, RenderError> {
    let frame = [f64::from(samples.columns), f64::from(samples.rows)];
    let presentation = request.presentation.as_ref();
    let area = presentation.and_then(|presentation| presentation.area);
    // Indices 0 and 1 are the axes: columns and rows of the frame here.
    let mut spans = shown_area(frame, area)?;
    let (transpose, mut flips) = presentation.map_or((false, [false; 2]), orientation);

    let viewport = request.viewport.as_ref();
    // From here the axes are those of the viewer: across and down.
    let axes = if transpose { [1, 0] } else { [0, 1] };
    if let Some(viewport) = viewport {
        let shown = axes.map(|axis| spans[axis].length);
        let (region, mirrored) = region_spans(viewport.region, shown)?;
        for (viewer, axis) in axes.into_iter().enumerate() {
            let AxisSpan { start, length } = region[viewer];
            let from_start = if flips[axis] {
                shown[viewer] - start - length
            } else {
                start
            };
            spans[axis] = AxisSpan {
                start: spans[axis].start + from_start,
                length,
            };
            flips[axis] ^= mirrored[viewer];
        }
    }

    let cut = axes.map(|axis| spans[axis].length);
    let stated = area
        .and_then(|area| area.aspect)
        .or(attributes.aspect)
        .unwrap_or(1.0);
    let aspect = if transpose { 1.0 / stated } else { stated };
    let boxed = viewport
        .map(|v| [v.width, v.height])
        .filter(|v| v.iter().any(Option::is_some));
    let size = match (boxed, area.and_then(|area| area.magnification)) {
        (Some(boxed), _) => fit(square(cut, aspect), boxed),
        (None, Some(ratio)) if ratio > 0.0 => {
            square(cut, aspect).map(|side| side * ratio.min(MAX_MAGNIFICATION))
        }
        _ => cut,
    };
    let size = limited(size).map(whole);
    let [width, height] = if transpose { [size[1], size[0]] } else { size };
    Ok(CropPlan {
        columns: spans[0],
        rows: spans[1],
        width,
        height,
        flip_columns: flips[0],
        flip_rows: flips[1],
        transpose,
    })
}

/// The displayed area, cut to the frame.
fn shown_area(frame: [f64; 2], area: Option<Area>) -> Result<[AxisSpan; 2], RenderError> {
    let Some(area) = area else {
        return Ok(frame.map(|length| AxisSpan { start: 0.0, length }));
    };
    let cut = |start: f64, length: f64, limit: f64| {
        let first = start.max(0.0);
        AxisSpan {
            start: first,
            length: (start + length).min(limit) - first,
        }
    };
    let spans = [
        cut(area.left, area.width, frame[0]),
        cut(area.top, area.height, frame[1]),
    ];
    if spans.iter().all(|span| span.length > 0.0) {
        Ok(spans)
    } else {
        Err(empty(frame))
    }
}

/// Whether the axes change places, and which axis of the frame is mirrored.
fn orientation(presentation: &Presentation) -> (bool, [bool; 2]) {
    let (transpose, mut flips) = match presentation.quarter_turns % 4 {
        0 => (false, [false, false]),
        1 => (true, [false, true]),
        2 => (false, [true, true]),
        _ => (true, [true, false]),
    };
    if presentation.flip {
        // The mirror acts across the turned image, hence on its rows after a quarter turn.
        flips[usize::from(transpose)] ^= true;
    }
    (transpose, flips)
}

/// The source region across and down, and whether it is mirrored.
fn region_spans(
    region: Region,
    shown: [f64; 2],
) -> Result<([AxisSpan; 2], [bool; 2]), RenderError> {
    let (starts, ends, mirrored) = match region {
        Region::Full => ([0.0; 2], shown, [false; 2]),
        Region::Pixels {
            x,
            y,
            width,
            height,
            flip_horizontal,
            flip_vertical,
        } => {
            let ends = [
                width.map_or(shown[0], |w| x + w),
                height.map_or(shown[1], |h| y + h),
            ];
            ([x, y], ends, [flip_horizontal, flip_vertical])
        }
        Region::Fraction {
            left,
            top,
            right,
            bottom,
        } => (
            [left * shown[0], top * shown[1]],
            [right * shown[0], bottom * shown[1]],
            [false; 2],
        ),
    };
    let span = |axis: usize| {
        let start = starts[axis].max(0.0);
        AxisSpan {
            start,
            length: ends[axis].min(shown[axis]) - start,
        }
    };
    let spans = [span(0), span(1)];
    // A sliver thinner than this has no pixel, only rounding.
    if spans.iter().all(|span| span.length > 1e-6) {
        Ok((spans, mirrored))
    } else {
        Err(empty(shown))
    }
}

fn empty(shown: [f64; 2]) -> RenderError {
    RenderError::EmptyRegion {
        width: whole(shown[0]),
        height: whole(shown[1]),
    }
}

/// The size at which pixels are square, never smaller than the pixels there are.
fn square([width, height]: [f64; 2], aspect: f64) -> [f64; 2] {
    if aspect >= 1.0 {
        [width, height * aspect]
    } else {
        [width / aspect, height]
    }
}

/// The largest size of the same shape inside a box; a free side only has the cap.
fn fit(size: [f64; 2], boxed: [Option<f64>; 2]) -> [f64; 2] {
    let limit = f64::from(MAX_VIEWPORT);
    // `max` also turns a side that is no number into 1.
    let scale = |axis: usize| boxed[axis].unwrap_or(limit).max(1.0).min(limit) / size[axis];
    let scale = scale(0).min(scale(1));
    size.map(|side| side * scale)
}

/// The same shape within what any picture may have, and at least one pixel.
fn limited(size: [f64; 2]) -> [f64; 2] {
    let [width, height] = size.map(|side| side.max(1.0));
    #[expect(clippy::cast_precision_loss, reason = "2^26 is exact")]
    let pixels = (MAX_PIXELS as f64 / (width * height)).sqrt();
    let scale = pixels.min(f64::from(MAX_SIDE) / width.max(height));
    // Rounding up would pass the limit again.
    if scale < 1.0 {
        [width, height].map(|side| (side * scale).floor())
    } else {
        [width, height]
    }
}

/// A side in whole pixels, at least one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float to integer casts saturate"
)]
fn whole(side: f64) -> u32 {
    (side.round().min(f64::from(MAX_SIDE)) as u32).max(1)
}
