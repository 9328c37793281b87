//! Burned-in text and graphics: an 8 × 8 bitmap font and thin lines.
//!
//! Everything is clipped to the picture; nothing here fails.

use font8x8::{BASIC_FONTS, GREEK_FONTS, HIRAGANA_FONTS, LATIN_FONTS, UnicodeFonts};

use super::attributes::RenderAttributes;
use super::geometry::CropPlan;
use super::image::Image;
use super::presentation::Graphic;

/// Width and height of a character before it is enlarged.
const CELL: i64 = 8;
/// Points set for the lines of one picture, so that hostile graphics cost little.
const MAX_STEPS: i64 = 4_000_000;

/// Writes the patient's lines into the top left corner.
pub(super) fn patient(image: &mut Image, attributes: &RenderAttributes) {
    let scale = text_scale(image);
    for (line, text) in (0_i64..).zip(&attributes.patient) {
        draw_text(
            image,
            text,
            (scale * 2, scale * (2 + line * (CELL + 2))),
            scale,
        );
    }
}

/// Writes the technique lines into the bottom left corner.
pub(super) fn technique(image: &mut Image, attributes: &RenderAttributes) {
    let scale = text_scale(image);
    for (line, text) in (1_i64..).zip(attributes.technique.iter().rev()) {
        let top = i64::from(image.height) - scale * line * (CELL + 2);
        draw_text(image, text, (scale * 2, top), scale);
    }
}

/// Draws the graphics of a presentation state.
pub(super) fn graphics(image: &mut Image, plan: &CropPlan, graphics: &[Graphic]) {
    let scale = text_scale(image);
    let size = (f64::from(image.width), f64::from(image.height));
    let place = |&(x, y): &(f64, f64), in_pixels: bool| {
        if in_pixels {
            plan.place(x, y)
        } else {
            (x * size.0, y * size.1)
        }
    };
    let mut left = MAX_STEPS;
    for graphic in graphics {
        match graphic {
            Graphic::Polyline { points, in_pixels } => {
                let points: Vec<_> = points
                    .iter()
                    .map(|point| place(point, *in_pixels))
                    .collect();
                let next = points.iter().skip(1).chain(points.last());
                for (&from, &to) in points.iter().zip(next) {
                    if left > 0 {
                        left -= draw_line(image, from, to, scale, 255);
                    }
                }
            }
            Graphic::Text {
                at,
                in_pixels,
                text,
            } => {
                let (x, y) = place(at, *in_pixels);
                for (line, text) in (0_i64..).zip(text.lines()) {
                    let top = to_i64(y) + scale * line * (CELL + 2);
                    draw_text(image, text, (to_i64(x), top), scale);
                }
            }
        }
    }
}

/// Writes one line of text, white with a black rim, from its top left corner.
pub(super) fn draw_text(image: &mut Image, text: &str, (left, top): (i64, i64), scale: i64) {
    let rim = [(-1, 0), (1, 0), (0, -1), (0, 1)].map(|(x, y)| (x, y, 0_u8));
    for (dx, dy, level) in rim.into_iter().chain([(0, 0, 255)]) {
        draw_letters(image, text, (left + dx, top + dy), scale, level);
    }
}

/// Writes one line of text in one gray level.
pub(super) fn draw_letters(
    image: &mut Image,
    text: &str,
    (left, top): (i64, i64),
    scale: i64,
    level: u8,
) {
    let lefts = (0_i64..).map(|index| left.saturating_add(index * scale * CELL));
    for (character, left) in text.chars().zip(lefts) {
        if left >= i64::from(image.width) {
            break;
        }
        for (row, bits) in (0_i64..).zip(glyph(character)) {
            for column in (0..CELL).filter(|column| (bits >> column) & 1 == 1) {
                let (x, y) = (left + column * scale, top.saturating_add(row * scale));
                fill(image, (x, y), (scale, scale), level);
            }
        }
    }
}

fn glyph(character: char) -> [u8; 8] {
    BASIC_FONTS
        .get(character)
        .or_else(|| LATIN_FONTS.get(character))
        .or_else(|| GREEK_FONTS.get(character))
        .or_else(|| HIRAGANA_FONTS.get(character))
        .or_else(|| BASIC_FONTS.get('?'))
        .unwrap_or_default()
}

/// Fills a rectangle, clipped to the picture.
pub(super) fn fill(image: &mut Image, (x, y): (i64, i64), (width, height): (i64, i64), level: u8) {
    let clip = |from: i64, length: i64, limit: u32| {
        let within = |value: i64| usize::try_from(value.clamp(0, i64::from(limit))).unwrap_or(0);
        within(from)..within(from.saturating_add(length))
    };
    let columns = clip(x, width, image.width);
    let stride = image.width as usize * image.channels;
    let bytes = columns.start * image.channels..columns.end * image.channels;
    for row in clip(y, height, image.height) {
        let line = image.data.get_mut(row * stride..(row + 1) * stride);
        if let Some(part) = line.and_then(|line| line.get_mut(bytes.clone())) {
            part.fill(level);
        }
    }
}

/// Draws a line `thick` pixels wide between two points of the picture.
///
/// Answers how many points it set.
pub(super) fn draw_line(
    image: &mut Image,
    from: (f64, f64),
    to: (f64, f64),
    thick: i64,
    level: u8,
) -> i64 {
    let Some((from, to)) = clipped(image, from, to) else {
        return 1;
    };
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let steps = to_i64(dx.abs().max(dy.abs()).ceil()).max(1);
    for step in 0..=steps {
        #[expect(clippy::cast_precision_loss, reason = "steps are at most a side")]
        let part = step as f64 / steps as f64;
        let at = (to_i64(from.0 + dx * part), to_i64(from.1 + dy * part));
        fill(image, at, (thick, thick), level);
    }
    steps + 1
}

/// The part of a line inside the picture and a rim around it.
fn clipped(image: &Image, from: (f64, f64), to: (f64, f64)) -> Option<((f64, f64), (f64, f64))> {
    const RIM: f64 = 16.0;
    let (mut first, mut last) = (0.0_f64, 1.0_f64);
    let axes = [(from.0, to.0, image.width), (from.1, to.1, image.height)];
    for (start, end, side) in axes {
        let (low, high) = (-RIM, f64::from(side) + RIM);
        let length = end - start;
        if length == 0.0 {
            if start < low || start > high {
                return None;
            }
            continue;
        }
        let (enter, leave) = ((low - start) / length, (high - start) / length);
        first = first.max(enter.min(leave));
        last = last.min(enter.max(leave));
    }
    let along = |part: f64| {
        let x = from.0 + (to.0 - from.0) * part;
        let y = from.1 + (to.1 - from.1) * part;
        (x.is_finite() && y.is_finite()).then_some((x, y))
    };
    if first <= last {
        Some((along(first)?, along(last)?))
    } else {
        None
    }
}

/// How much larger than 8 × 8 characters are, for a readable size.
fn text_scale(image: &Image) -> i64 {
    i64::from((image.width.min(image.height) / 320).clamp(1, 12))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "float to integer casts saturate"
)]
fn to_i64(value: f64) -> i64 {
    value.clamp(-1e9, 1e9).floor() as i64
}
