//! Rendering attributes out of an instance's DICOM JSON metadata.
//!
//! Functional groups count before the instance: per-frame, shared, then top
//! level. A damaged or missing attribute reads as absent; nothing here fails.

use std::borrow::Cow;

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::dataset::{Bulk, Dataset};
use super::lut::{Lut, Modality, PresentationLut};
use super::overlay::Overlay;
use super::palette::{Channel, Palette};
use super::shutter::{MAX_VERTICES, Shutter, ShutterShape};
use super::voi::{Window, WindowFunction};

/// Windows of one frame that are kept.
const MAX_VIEWS: usize = 64;
/// VOI LUTs of one frame that are looked at until one of them can be used.
const MAX_LUTS: usize = 4;
/// Longest color profile that is passed on, in bytes.
const MAX_PROFILE: usize = 4 * 1024 * 1024;
/// Largest ratio of pixel height to width, or the reverse, that is believed.
const MAX_ASPECT: f64 = 16.0;
/// Shapes of one shutter: each of the three kinds can be given once.
const MAX_SHAPES: usize = 3;
/// Characters of one annotation line.
const MAX_LINE: usize = 128;

/// Everything but the samples that decides how a frame looks.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RenderAttributes {
    /// Modality LUT or rescale.
    pub modality: Modality,
    /// Alternative windows; the first one is used.
    pub windows: Vec<Window>,
    /// Alternative VOI LUTs; the first is used where there is no window.
    pub voi_luts: Vec<Lut>,
    /// Presentation LUT of the image.
    pub presentation_lut: PresentationLut,
    /// Palette of PALETTE COLOR images, or a supplemental one.
    pub palette: Option<Palette>,
    /// Whether the palette only colors the values it maps (PS3.3 §C.7.6.19).
    pub supplemental_palette: bool,
    /// Lowest and highest padding value, drawn black.
    pub padding: Option<(f64, f64)>,
    /// Height of a pixel over its width.
    pub aspect: Option<f64>,
    /// Display shutter of the image.
    pub shutter: Option<Shutter>,
    /// Overlay planes; drawn when a presentation state switches them on.
    pub overlays: Vec<Overlay>,
    /// ICC profile of the image.
    pub icc: Option<Vec<u8>>,
    /// Lines for the `patient` annotation.
    pub patient: Vec<String>,
    /// Lines for the `technique` annotation.
    pub technique: Vec<String>,
}

impl RenderAttributes {
    /// Reads the attributes of frame `frame`, counted from 1.
    ///
    /// `metadata` is the DICOM JSON text of one instance. `bulk` answers the bytes behind a
    /// `BulkDataURI` by tag path, items counted from 0: `00281201`,
    /// `00283000/0/00283006`.
    pub fn from_json(metadata: &str, frame: u32, bulk: &dyn Fn(&str) -> Option<Vec<u8>>) -> Self {
        let Some(root) = Dataset::root(metadata) else {
            return Self::default();
        };
        let signed = root.integer(tags::PIXEL_REPRESENTATION) == Some(1);
        let group = |tag| functional_group(&root, frame, tag);
        let transformation =
            group(tags::PIXEL_VALUE_TRANSFORMATION_SEQUENCE).unwrap_or_else(|| root.clone());
        let modality = modality(&transformation, &root, signed, bulk);
        let voi_source = group(tags::FRAME_VOILUT_SEQUENCE).unwrap_or_else(|| root.clone());
        let (windows, voi_luts) = voi(&voi_source, &modality, signed, bulk);
        let measures = group(tags::PIXEL_MEASURES_SEQUENCE).unwrap_or_else(|| root.clone());
        Self {
            modality,
            windows,
            voi_luts,
            presentation_lut: presentation_lut(&root, bulk),
            palette: palette(&root, signed, bulk),
            supplemental_palette: !root.is(tags::PHOTOMETRIC_INTERPRETATION, "PALETTE COLOR")
                && root.is(tags::PIXEL_PRESENTATION, "COLOR"),
            padding: padding(&root, signed),
            aspect: aspect(&root, &measures),
            shutter: group(tags::FRAME_DISPLAY_SHUTTER_SEQUENCE)
                .and_then(|item| shutter(&item))
                .or_else(|| shutter(&root)),
            overlays: overlays(&root, frame, bulk),
            icc: icc(&root, bulk),
            patient: patient(&root),
            technique: technique(&root, frame),
        }
    }
}

/// The item of a functional group macro that applies to a frame.
fn functional_group<'a>(root: &Dataset<'a>, frame: u32, tag: Tag) -> Option<Dataset<'a>> {
    let index = usize::try_from(frame.saturating_sub(1)).ok()?;
    let per_frame = root
        .item(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, index)
        .and_then(|groups| groups.item(tag, 0));
    per_frame.or_else(|| {
        root.item(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, 0)?
            .item(tag, 0)
    })
}

/// Rescale out of `item`, else the modality LUT out of `root`.
pub(super) fn modality(
    item: &Dataset<'_>,
    root: &Dataset<'_>,
    signed: bool,
    bulk: Bulk<'_>,
) -> Modality {
    if let Some(lut) = root
        .item(tags::MODALITY_LUT_SEQUENCE, 0)
        .and_then(|item| lut(&item, signed, bulk))
    {
        return Modality::Lut(lut);
    }
    let slope = item.float(tags::RESCALE_SLOPE).unwrap_or(1.0);
    Modality::rescale(slope, item.float(tags::RESCALE_INTERCEPT).unwrap_or(0.0))
}

/// Windows and VOI LUTs of a data set or item.
pub(super) fn voi(
    item: &Dataset<'_>,
    modality: &Modality,
    signed: bool,
    bulk: Bulk<'_>,
) -> (Vec<Window>, Vec<Lut>) {
    let function = item
        .text(tags::VOILUT_FUNCTION)
        .map_or(WindowFunction::Linear, |name| {
            WindowFunction::from_attribute(&name)
        });
    let mut explanations = item.texts(tags::WINDOW_CENTER_WIDTH_EXPLANATION);
    let windows = item
        .floats(tags::WINDOW_CENTER)
        .into_iter()
        .zip(item.floats(tags::WINDOW_WIDTH))
        .take(MAX_VIEWS)
        .filter_map(|(center, width)| {
            let explanation = explanations.next().map(Cow::into_owned);
            Window::new(center, width, function, explanation)
        })
        .collect();
    let signed = match modality {
        Modality::Identity => signed,
        Modality::Rescale { slope, intercept } => signed || *intercept < 0.0 || *slope < 0.0,
        Modality::Lut(_) => false,
    };
    // Only one is ever shown, so others are not even read.
    let mut luts = item.items(tags::VOILUT_SEQUENCE).take(MAX_LUTS);
    let lut = luts.find_map(|item| lut(&item, signed, bulk));
    (windows, lut.map(Lut::fitted).into_iter().collect())
}

fn lut(item: &Dataset<'_>, signed: bool, bulk: Bulk<'_>) -> Option<Lut> {
    let data = item.lut_data(tags::LUT_DATA, bulk)?;
    Lut::from_descriptor(&item.integers(tags::LUT_DESCRIPTOR), &data, signed)
}

/// Presentation LUT of an image or presentation state.
pub(super) fn presentation_lut(root: &Dataset<'_>, bulk: Bulk<'_>) -> PresentationLut {
    match root
        .item(tags::PRESENTATION_LUT_SEQUENCE, 0)
        .and_then(|item| lut(&item, false, bulk))
    {
        Some(lut) => PresentationLut::Lut(lut),
        None if root.is(tags::PRESENTATION_LUT_SHAPE, "INVERSE") => PresentationLut::Inverse,
        None => PresentationLut::Identity,
    }
}

fn palette(root: &Dataset<'_>, signed: bool, bulk: Bulk<'_>) -> Option<Palette> {
    let channel = |descriptor: Tag, plain: Tag, segments: Tag| {
        let segmented = !root.has(plain) && root.has(segments);
        Some(Channel {
            descriptor: root.integers(descriptor),
            data: root.lut_data(if segmented { segments } else { plain }, bulk)?,
            segmented,
        })
    };
    // All are asked for before one that is missing ends it, so that whoever fetches them can do so at once.
    let red = channel(
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    );
    let green = channel(
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    );
    let blue = channel(
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
        tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
        tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    );
    Palette::from_channels(&[red?, green?, blue?], signed)
}

/// Pixel Padding Value and Range Limit, in stored values (PS3.3 §C.7.5.1.1.2).
fn padding(root: &Dataset<'_>, signed: bool) -> Option<(f64, f64)> {
    let as_stored = |value: f64| {
        if signed && value > f64::from(i16::MAX) && value <= f64::from(u16::MAX) {
            value - 65_536.0
        } else {
            value
        }
    };
    let integral = root
        .float(tags::PIXEL_PADDING_VALUE)
        .map(|value| (as_stored(value), tags::PIXEL_PADDING_RANGE_LIMIT));
    let single = || {
        root.float(tags::FLOAT_PIXEL_PADDING_VALUE)
            .map(|value| (value, tags::FLOAT_PIXEL_PADDING_RANGE_LIMIT))
    };
    let double = || {
        root.float(tags::DOUBLE_FLOAT_PIXEL_PADDING_VALUE)
            .map(|value| (value, tags::DOUBLE_FLOAT_PIXEL_PADDING_RANGE_LIMIT))
    };
    let (value, limit) = integral.or_else(single).or_else(double)?;
    let limit = root.float(limit).map_or(value, as_stored);
    Some((value.min(limit), value.max(limit)))
}

fn aspect(root: &Dataset<'_>, measures: &Dataset<'_>) -> Option<f64> {
    // The explicit ratio excludes the spacings (PS3.3 §C.7.6.3.1.7).
    pixel_aspect(root, tags::PIXEL_ASPECT_RATIO)
        .or_else(|| pixel_aspect(measures, tags::PIXEL_SPACING))
        .or_else(|| pixel_aspect(root, tags::IMAGER_PIXEL_SPACING))
        .or_else(|| pixel_aspect(root, tags::NOMINAL_SCANNED_PIXEL_SPACING))
}

/// Pixel height over width out of a spacing or ratio, both written height \ width.
pub(super) fn pixel_aspect(item: &Dataset<'_>, tag: Tag) -> Option<f64> {
    let [height, width] = *item.floats(tag).first_chunk::<2>()?;
    let ratio = height / width;
    let believable = (1.0 / MAX_ASPECT..=MAX_ASPECT).contains(&ratio);
    (height > 0.0 && width > 0.0 && believable).then_some(ratio)
}

/// Display shutter of an image, frame or presentation state (PS3.3 §C.7.6.11).
pub(super) fn shutter(item: &Dataset<'_>) -> Option<Shutter> {
    let shapes: Vec<_> = item
        .texts(tags::SHUTTER_SHAPE)
        .take(MAX_SHAPES)
        .filter_map(|shape| shape_of(item, &shape))
        .collect();
    let [level, _] = item
        .integer(tags::SHUTTER_PRESENTATION_VALUE)
        .and_then(|value| u16::try_from(value).ok())
        .unwrap_or(0)
        .to_be_bytes();
    (!shapes.is_empty()).then_some(Shutter { shapes, level })
}

fn shape_of(item: &Dataset<'_>, shape: &str) -> Option<ShutterShape> {
    match shape {
        "RECTANGULAR" => Some(ShutterShape::Rectangle {
            left: item.float(tags::SHUTTER_LEFT_VERTICAL_EDGE)?,
            right: item.float(tags::SHUTTER_RIGHT_VERTICAL_EDGE)?,
            upper: item.float(tags::SHUTTER_UPPER_HORIZONTAL_EDGE)?,
            lower: item.float(tags::SHUTTER_LOWER_HORIZONTAL_EDGE)?,
        }),
        "CIRCULAR" => {
            let [row, column] = *item
                .floats(tags::CENTER_OF_CIRCULAR_SHUTTER)
                .first_chunk::<2>()?;
            Some(ShutterShape::Circle {
                column,
                row,
                radius: item.float(tags::RADIUS_OF_CIRCULAR_SHUTTER)?,
            })
        }
        "POLYGONAL" => {
            let numbers = item.floats(tags::VERTICES_OF_THE_POLYGONAL_SHUTTER);
            let pairs = numbers.as_chunks::<2>().0.iter().take(MAX_VERTICES);
            let vertices: Vec<_> = pairs.map(|&[row, column]| (column, row)).collect();
            (vertices.len() >= 3).then_some(ShutterShape::Polygon(vertices))
        }
        _ => None,
    }
}

/// The groups an overlay plane can have.
pub(super) fn overlay_groups() -> impl Iterator<Item = u16> {
    (0x6000..=0x601E).step_by(2)
}

/// Overlay planes of one frame, stored apart from the pixel data or, as was done long ago, in unused bits of its cells.
pub(super) fn overlays(root: &Dataset<'_>, frame: u32, bulk: Bulk<'_>) -> Vec<Overlay> {
    overlay_groups()
        .filter_map(|group| overlay(root, group, frame, bulk))
        .collect()
}

fn overlay(root: &Dataset<'_>, group: u16, frame: u32, bulk: Bulk<'_>) -> Option<Overlay> {
    let tag = |element: u16| Tag(group, element);
    let rows = u16::try_from(root.integer(tag(0x0010))?).ok()?;
    let columns = u16::try_from(root.integer(tag(0x0011))?).ok()?;
    let origin = root.integers(tag(0x0050));
    let part = |index: usize| {
        origin
            .get(index)
            .and_then(|&value| i32::try_from(value).ok())
            .unwrap_or(1)
    };
    let Some(bits) = root.bytes(tag(0x3000), bulk) else {
        // Bit Position in the cells of the pixel data (retired; PS3.3-2004 §C.9.2).
        let position = root.integer(tag(0x0102)).filter(|bit| *bit > 0)?;
        let bits = bulk(&embedded_plane(frame, u8::try_from(position).ok()?))?;
        let size = (u32::from(rows), u32::from(columns));
        return Overlay::new(group, size, (part(0), part(1)), bits);
    };
    // Planes of several frames follow each other bit by bit (PS3.5 §8.1.2).
    let frames = root.integer(tag(0x0015)).unwrap_or(1);
    let first = root.integer(tag(0x0051)).unwrap_or(1);
    let index = if frames > 1 {
        u64::try_from(i64::from(frame) - first).ok()?
    } else {
        0
    };
    let plane = u64::from(rows) * u64::from(columns);
    let start = plane.checked_mul(index)?;
    let bits = if start % 8 == 0 {
        bits.get(usize::try_from(start / 8).ok()?..)?.to_vec()
    } else {
        shifted(&bits, start)?
    };
    Overlay::new(
        group,
        (u32::from(rows), u32::from(columns)),
        (part(0), part(1)),
        bits,
    )
}

/// What a [`Bulk`] is asked for to have one bit of each cell of a frame, packed as an overlay plane; frames count from 1.
fn embedded_plane(frame: u32, bit: u8) -> String {
    format!("cells/{frame}/{bit}")
}

/// The frame and the bit that are asked for, when it is that.
#[must_use]
pub fn embedded_plane_of(path: &str) -> Option<(u32, u8)> {
    let (frame, bit) = path.strip_prefix("cells/")?.split_once('/')?;
    Some((frame.parse().ok()?, bit.parse().ok()?))
}

/// One bit of each cell of `width` bytes, little endian, packed with the first in the lowest bit; nothing when the cells are
/// too narrow.
#[must_use]
pub fn plane_of_cells(cells: &[u8], width: usize, bit: u8) -> Option<Vec<u8>> {
    let (byte, shift) = (usize::from(bit / 8), bit % 8);
    if byte >= width {
        return None;
    }
    let mut plane = vec![0_u8; (cells.len() / width).div_ceil(8)];
    for (number, cell) in cells.chunks_exact(width).enumerate() {
        if cell.get(byte)? >> shift & 1 == 1 {
            *plane.get_mut(number / 8)? |= 1 << (number % 8);
        }
    }
    Some(plane)
}

/// The bits from bit `start` on, moved to the front of their bytes.
fn shifted(bits: &[u8], start: u64) -> Option<Vec<u8>> {
    let rest = bits.get(usize::try_from(start / 8).ok()?..)?;
    let shift = start % 8;
    let next = rest.iter().skip(1).chain(std::iter::once(&0));
    Some(
        rest.iter()
            .zip(next)
            .map(|(&a, &b)| (a >> shift) | (b << (8 - shift)))
            .collect(),
    )
}

/// ICC Profile (0028,2000), of the image or of its first optical path.
fn icc(root: &Dataset<'_>, bulk: Bulk<'_>) -> Option<Vec<u8>> {
    let of_image = root.bytes(tags::ICC_PROFILE, bulk);
    of_image
        .or_else(|| {
            root.item(tags::OPTICAL_PATH_SEQUENCE, 0)?
                .bytes(tags::ICC_PROFILE, bulk)
        })
        .filter(|profile| !profile.is_empty() && profile.len() <= MAX_PROFILE)
}

fn patient(root: &Dataset<'_>) -> Vec<String> {
    let name = root
        .text(tags::PATIENT_NAME)
        .map(|name| name.replace('^', " "));
    let id = root.text(tags::PATIENT_ID).map(Cow::into_owned);
    let birth = [
        root.text(tags::PATIENT_BIRTH_DATE)
            .map(|value| date(&value)),
        root.text(tags::PATIENT_SEX).map(Cow::into_owned),
    ];
    lines([name, id, Some(joined(birth))])
}

fn technique(root: &Dataset<'_>, frame: u32) -> Vec<String> {
    let unit = |tag, unit| root.float(tag).map(|value| format!("{value} {unit}"));
    let exam = [
        root.text(tags::MODALITY).map(Cow::into_owned),
        root.text(tags::STUDY_DATE).map(|value| date(&value)),
    ];
    let exposure = [
        unit(tags::KVP, "kV"),
        unit(tags::X_RAY_TUBE_CURRENT, "mA"),
        unit(tags::EXPOSURE, "mAs"),
    ];
    let echo = [
        unit(tags::REPETITION_TIME, "ms").map(|time| format!("TR {time}")),
        unit(tags::ECHO_TIME, "ms").map(|time| format!("TE {time}")),
        unit(tags::SLICE_THICKNESS, "mm"),
    ];
    let number = root
        .integer(tags::INSTANCE_NUMBER)
        .map(|number| format!("Image {number}"));
    let multi_frame = root
        .integer(tags::NUMBER_OF_FRAMES)
        .is_some_and(|frames| frames > 1);
    let place = [number, multi_frame.then(|| format!("Frame {frame}"))];
    lines([
        Some(joined(exam)),
        root.text(tags::SERIES_DESCRIPTION).map(Cow::into_owned),
        Some(joined(exposure)),
        Some(joined(echo)),
        Some(joined(place)),
    ])
}

/// `20040119` as `2004-01-19`; anything else as it stands.
fn date(value: &str) -> String {
    match (value.get(0..4), value.get(4..6), value.get(6..8)) {
        (Some(year), Some(month), Some(day)) if value.len() == 8 => format!("{year}-{month}-{day}"),
        _ => value.to_owned(),
    }
}

fn joined<const N: usize>(parts: [Option<String>; N]) -> String {
    let present: Vec<_> = parts
        .into_iter()
        .flatten()
        .filter(|part| !part.is_empty())
        .collect();
    present.join("  ")
}

fn lines<const N: usize>(lines: [Option<String>; N]) -> Vec<String> {
    let present = lines
        .into_iter()
        .flatten()
        .filter(|line| !line.trim().is_empty());
    present
        .map(|line| line.chars().take(MAX_LINE).collect())
        .collect()
}
