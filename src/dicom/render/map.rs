//! Which way the samples of a frame become gray levels or colors.
//!
//! Up to 16 bits the whole pipeline is one table, filled once per frame.

use super::attributes::RenderAttributes;
use super::color::Ybr;
use super::error::RenderError;
use super::gray::{Display, Grayscale};
use super::lut::{Modality, PresentationLut};
use super::palette::Palette;
use super::request::Request;
use super::samples::{SampleKind, SamplePhotometric, Samples};
use super::voi::{Voi, Window};

/// How the bytes of a row become gray levels or colors.
#[derive(Debug)]
pub(super) enum Map {
    /// Gray, one byte per sample, through a table of 256.
    Gray8(Vec<u8>),
    /// Gray, two bytes per sample, through a table of 65,536.
    Gray16(Vec<u8>),
    /// Color, one byte per sample, through a table of 256.
    Color8(Vec<[u8; 3]>),
    /// Color, two bytes per sample, through a table of 65,536.
    Color16(Vec<[u8; 3]>),
    /// Gray, computed per sample.
    Wide(Grayscale),
    /// Gray levels of a clear and a set bit.
    Bits([u8; 2]),
    /// Three bytes per pixel, converted where `Some`.
    Rgb8(Option<Ybr>),
    /// Three 16-bit samples per pixel, shifted right.
    Rgb16(u32, Option<Ybr>),
    /// Three 32-bit samples per pixel, shifted right.
    Rgb32(u32, Option<Ybr>),
    /// Y Y CB CR for each two pixels.
    Ybr422(Ybr),
}

impl Map {
    /// Chooses the way of a frame, and the value range that stands in for a VOI.
    ///
    /// `range` is the range to use where the attributes have no VOI; without one
    /// it is that of the frame.
    pub(super) fn choose(
        samples: &Samples<'_>,
        attributes: &RenderAttributes,
        request: &Request,
        range: Option<(f64, f64)>,
    ) -> Result<(Self, Option<(f64, f64)>), RenderError> {
        match (samples.samples, samples.photometric) {
            (1, SamplePhotometric::PaletteColor) => {
                let palette = attributes.palette.as_ref().ok_or(RenderError::Palette)?;
                Ok((palette_map(samples, palette)?, None))
            }
            (1, _) => gray_map(samples, attributes, request, range),
            (3, photometric) => Ok((color_map(samples, photometric)?, None)),
            _ => Err(RenderError::Unsupported {
                what: "other than 1 or 3 samples",
            }),
        }
    }
}

fn color_map(samples: &Samples<'_>, photometric: SamplePhotometric) -> Result<Map, RenderError> {
    let ybr = match photometric {
        SamplePhotometric::YbrFull | SamplePhotometric::YbrFull422 => Some(Ybr::Full),
        SamplePhotometric::YbrPartial422 | SamplePhotometric::YbrPartial420 => Some(Ybr::Partial),
        // A monochrome term on three samples is a slip of the writer.
        SamplePhotometric::Rgb
        | SamplePhotometric::YbrIct
        | SamplePhotometric::YbrRct
        | SamplePhotometric::PaletteColor
        | SamplePhotometric::Monochrome1
        | SamplePhotometric::Monochrome2 => None,
    };
    match (samples.kind, ybr) {
        (SampleKind::U8, Some(ybr)) if samples.is_native_422() => Ok(Map::Ybr422(ybr)),
        (SampleKind::U8, ybr) => Ok(Map::Rgb8(ybr)),
        (SampleKind::U16, ybr) => {
            let stored = samples.bits_stored.clamp(8, 16);
            Ok(Map::Rgb16(u32::from(stored) - 8, ybr))
        }
        (SampleKind::U32, ybr) => {
            let stored = samples.bits_stored.clamp(8, 32);
            Ok(Map::Rgb32(u32::from(stored) - 8, ybr))
        }
        _ => Err(RenderError::Unsupported {
            what: "signed or float color",
        }),
    }
}

fn palette_map(samples: &Samples<'_>, palette: &Palette) -> Result<Map, RenderError> {
    let values = samples.stored_values().ok_or(RenderError::Unsupported {
        what: "palette color wider than 16 bits",
    })?;
    let table: Vec<_> = values.into_iter().map(|value| palette.at(value)).collect();
    Ok(if table.len() == 256 {
        Map::Color8(table)
    } else {
        Map::Color16(table)
    })
}

fn gray_map(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    request: &Request,
    range: Option<(f64, f64)>,
) -> Result<(Map, Option<(f64, f64)>), RenderError> {
    let presentation = request.presentation.as_ref();
    let modality = presentation.map_or(&attributes.modality, |p| &p.modality);
    let inverse = samples.photometric == SamplePhotometric::Monochrome1;
    let display = match presentation.map_or(&attributes.presentation_lut, |p| &p.presentation_lut) {
        PresentationLut::Lut(lut) => Display::Lut(lut.clone()),
        PresentationLut::Inverse => Display::Inverse,
        // In a presentation state the shape says it all; in an image it repeats the polarity.
        PresentationLut::Identity if presentation.is_none() && inverse => Display::Inverse,
        PresentationLut::Identity => Display::Identity,
    };
    if let SampleKind::Bits1 { .. } = samples.kind {
        let levels = if display == Display::Inverse {
            [255, 0]
        } else {
            [0, 255]
        };
        return Ok((Map::Bits(levels), None));
    }
    let chosen = chosen_voi(attributes, request);
    let stored = samples.stored_values();
    let padding = attributes.padding;
    let (voi, range) = match (chosen, level_range(samples, modality)) {
        (Some(voi), _) => (voi, None),
        (None, Some((low, high))) => (Voi::Range(low, high), None),
        (None, None) => {
            let of_frame = || value_range(samples, stored.as_deref(), modality, padding);
            let (low, high) = range.unwrap_or_else(of_frame);
            (Voi::Range(low, high), Some((low, high)))
        }
    };
    let grayscale = Grayscale {
        modality: modality.clone(),
        voi,
        display,
        padding,
    };
    let Some(stored) = stored else {
        return Ok((Map::Wide(grayscale), range));
    };
    let table = grayscale.table(stored.iter().map(|&value| f64::from(value)));
    if let Some(palette) = attributes
        .palette
        .as_ref()
        .filter(|_| attributes.supplemental_palette)
    {
        // PS3.3 §C.7.6.19: values the palette maps are color, the rest stay gray.
        let colors: Vec<_> = stored
            .iter()
            .zip(&table)
            .map(|(&value, &level)| palette.mapped(value).unwrap_or([level; 3]))
            .collect();
        let map = if colors.len() == 256 {
            Map::Color8(colors)
        } else {
            Map::Color16(colors)
        };
        return Ok((map, range));
    }
    Ok((
        if table.len() == 256 {
            Map::Gray8(table)
        } else {
            Map::Gray16(table)
        },
        range,
    ))
}

/// The possible range of samples that already are gray levels: unsigned, to 8 bit.
fn level_range(samples: &Samples<'_>, modality: &Modality) -> Option<(f64, f64)> {
    if samples.kind != SampleKind::U8 || *modality != Modality::Identity {
        return None;
    }
    let highest = match samples.bits_stored {
        bits @ 1..8 => (1_u8 << bits) - 1,
        _ => u8::MAX,
    };
    Some((0.0, f64::from(highest)))
}

/// The window of the request, else the first window, else the first VOI LUT.
fn chosen_voi(attributes: &RenderAttributes, request: &Request) -> Option<Voi> {
    if let Some((center, width, function)) = request.window
        && let Some(window) = Window::new(center, width, function, None)
    {
        return Some(Voi::Window(window));
    }
    let (windows, luts) = match &request.presentation {
        Some(presentation) => (&presentation.windows, &presentation.voi_luts),
        None => (&attributes.windows, &attributes.voi_luts),
    };
    let window = windows.first().cloned().map(Voi::Window);
    window.or_else(|| luts.first().cloned().map(Voi::Lut))
}

/// Lowest and highest modality value of a frame, padding and non-numbers apart.
fn value_range(
    samples: &Samples<'_>,
    stored: Option<&[i32]>,
    modality: &Modality,
    padding: Option<(f64, f64)>,
) -> (f64, f64) {
    let counted = |value: &f64| {
        value.is_finite() && !padding.is_some_and(|(low, high)| *value >= low && *value <= high)
    };
    let fold = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
    let nothing = (f64::INFINITY, f64::NEG_INFINITY);
    let pixels = samples.rows as usize * samples.columns as usize;
    let range = match stored {
        Some(stored) => {
            let mut seen = vec![false; stored.len()];
            mark_values(samples, pixels, &mut seen);
            let present = stored.iter().zip(&seen).filter(|(_, seen)| **seen);
            let values = present.map(|(&value, _)| f64::from(value)).filter(counted);
            values
                .map(|value| modality.apply(value))
                .fold(nothing, fold)
        }
        None => {
            let size = usize::from(samples.kind.bytes().unwrap_or(1));
            let data = samples.data.get(..pixels * size).unwrap_or(samples.data);
            samples
                .kind
                .values(data)
                .filter(counted)
                .map(|value| modality.apply(value))
                .filter(|value| value.is_finite())
                .fold(nothing, fold)
        }
    };
    if range.0 <= range.1 {
        range
    } else {
        (0.0, 0.0)
    }
}

fn mark_values(samples: &Samples<'_>, pixels: usize, seen: &mut [bool]) {
    let mut mark = |index: usize| {
        if let Some(seen) = seen.get_mut(index) {
            *seen = true;
        }
    };
    if samples.kind.bytes() == Some(1) {
        samples
            .data
            .iter()
            .take(pixels)
            .for_each(|&byte| mark(usize::from(byte)));
    } else {
        let words = samples.data.as_chunks::<2>().0.iter().take(pixels);
        words.for_each(|&word| mark(usize::from(u16::from_le_bytes(word))));
    }
}
