//! Grayscale softcopy presentation states (PS3.3 §A.33.1, PS3.4 §N.2).
//!
//! What a presentation state says replaces what the image says, also where it
//! says nothing: PS3.4 §N.2 makes an absent stage an identity.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::{
    attributes,
    dataset::{Bulk, Dataset},
    lut::{Lut, Modality},
    overlay::Overlay,
    shutter::Shutter,
    voi::Window,
};

use super::lut::PresentationLut;

/// Graphic objects drawn at most for one image.
const MAX_GRAPHICS: usize = 1024;
/// Points of one graphic object that are looked at.
const MAX_POINTS: usize = 16_384;
/// Characters of one text object that are drawn.
const MAX_TEXT: usize = 1024;

/// Displayed area, in pixels of the untransformed image, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Area {
    /// First column.
    pub left: f64,
    /// First row.
    pub top: f64,
    /// Columns.
    pub width: f64,
    /// Rows.
    pub height: f64,
    /// Height of a pixel over its width, where stated.
    pub aspect: Option<f64>,
    /// Presentation Pixel Magnification Ratio (0070,0103), where stated.
    pub magnification: Option<f64>,
}

/// One object of Graphic Annotation Sequence (0070,0001).
///
/// Points are (column, row): image pixels from the outer corner of the first one,
/// or fractions of the displayed area.
#[derive(Debug, Clone, PartialEq)]
pub enum Graphic {
    /// Open or closed lines through the points; filled ones are only outlined.
    Polyline {
        /// The points.
        points: Vec<(f64, f64)>,
        /// Whether the points are image pixels.
        in_pixels: bool,
    },
    /// Text whose top left corner is the point.
    Text {
        /// The point.
        at: (f64, f64),
        /// Whether the point is an image pixel.
        in_pixels: bool,
        /// The text.
        text: String,
    },
}

/// What a presentation state says about one frame of one image.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Presentation {
    /// Modality stage.
    pub modality: Modality,
    /// Windows of Softcopy VOI LUT Sequence (0028,3110).
    pub windows: Vec<Window>,
    /// VOI LUTs of that sequence.
    pub voi_luts: Vec<Lut>,
    /// Presentation LUT.
    pub presentation_lut: PresentationLut,
    /// Displayed area.
    pub area: Option<Area>,
    /// Image Rotation (0070,0042) in quarter turns clockwise, 0 to 3.
    pub quarter_turns: u8,
    /// Image Horizontal Flip (0070,0041), done after the rotation.
    pub flip: bool,
    /// Display shutter.
    pub shutter: Option<Shutter>,
    /// Overlays of the presentation state itself.
    pub overlays: Vec<Overlay>,
    /// Groups of the overlays, here or in the image, that are switched on.
    pub overlay_groups: Vec<u16>,
    /// Graphic annotations.
    pub graphics: Vec<Graphic>,
}

impl Presentation {
    /// Reads a presentation state for frame `frame` (from 1) of image `instance`.
    ///
    /// `metadata` is the text of its DICOM JSON object; `bulk` answers a tag path such as
    /// `00283110/0/00283010/0/00283006`. Damaged parts read as absent.
    pub fn from_json(metadata: &str, instance: &str, frame: u32, bulk: Bulk<'_>) -> Self {
        let Some(root) = Dataset::root(metadata) else {
            return Self::default();
        };
        let applies = |item: &Dataset<'_>| refers_to(item, instance, frame);
        let signed = root.integer(tags::PIXEL_REPRESENTATION) == Some(1);
        let modality = attributes::modality(&root, &root, signed, bulk);
        let mut presentation = Self {
            presentation_lut: attributes::presentation_lut(&root, bulk),
            area: root
                .items(tags::DISPLAYED_AREA_SELECTION_SEQUENCE)
                .find(applies)
                .and_then(|item| displayed_area(&item)),
            quarter_turns: root.integer(tags::IMAGE_ROTATION).map_or(0, quarter_turns),
            flip: root.is(tags::IMAGE_HORIZONTAL_FLIP, "Y"),
            shutter: attributes::shutter(&root),
            overlays: attributes::overlays(&root, frame, bulk),
            overlay_groups: activated_groups(&root),
            ..Self::default()
        };
        if let Some(voi) = root.items(tags::SOFTCOPY_VOILUT_SEQUENCE).find(applies) {
            (presentation.windows, presentation.voi_luts) =
                attributes::voi(&voi, &modality, signed, bulk);
        }
        presentation.modality = modality;
        for item in root
            .items(tags::GRAPHIC_ANNOTATION_SEQUENCE)
            .filter(applies)
        {
            read_graphics(&item, &mut presentation.graphics);
        }
        presentation
    }
}

/// Whether an item's Referenced Image Sequence (0008,1140) names the frame.
fn refers_to(item: &Dataset<'_>, instance: &str, frame: u32) -> bool {
    let mut references = item.items(tags::REFERENCED_IMAGE_SEQUENCE).peekable();
    references.peek().is_none()
        || references.any(|reference| {
            let frames = reference.integers(tags::REFERENCED_FRAME_NUMBER);
            reference.is(tags::REFERENCED_SOP_INSTANCE_UID, instance)
                && (frames.is_empty() || frames.contains(&i64::from(frame)))
        })
}

fn displayed_area(item: &Dataset<'_>) -> Option<Area> {
    let [x0, y0] = *item
        .floats(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER)
        .first_chunk::<2>()?;
    let [x1, y1] = *item
        .floats(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER)
        .first_chunk::<2>()?;
    // The corners are those after rotation and flip, so either may come first.
    let (left, right) = (x0.min(x1) - 1.0, x0.max(x1));
    let (top, bottom) = (y0.min(y1) - 1.0, y0.max(y1));
    let spacing = attributes::pixel_aspect(item, tags::PRESENTATION_PIXEL_SPACING);
    let aspect =
        spacing.or_else(|| attributes::pixel_aspect(item, tags::PRESENTATION_PIXEL_ASPECT_RATIO));
    let magnified = item.is(tags::PRESENTATION_SIZE_MODE, "MAGNIFY");
    let magnification = item
        .float(tags::PRESENTATION_PIXEL_MAGNIFICATION_RATIO)
        .filter(|_| magnified);
    let area = Area {
        left,
        top,
        width: right - left,
        height: bottom - top,
        aspect,
        magnification,
    };
    (area.width.is_finite() && area.height.is_finite()).then_some(area)
}

fn quarter_turns(degrees: i64) -> u8 {
    u8::try_from(degrees.rem_euclid(360) / 90).unwrap_or(0)
}

/// Overlay groups with an Overlay Activation Layer (60xx,1001).
fn activated_groups(root: &Dataset<'_>) -> Vec<u16> {
    attributes::overlay_groups()
        .filter(|group| {
            root.text(Tag(*group, 0x1001))
                .is_some_and(|layer| !layer.is_empty())
        })
        .collect()
}

fn read_graphics(item: &Dataset<'_>, graphics: &mut Vec<Graphic>) {
    for object in item.items(tags::GRAPHIC_OBJECT_SEQUENCE) {
        if graphics.len() >= MAX_GRAPHICS {
            return;
        }
        let in_pixels = object.is(tags::GRAPHIC_ANNOTATION_UNITS, "PIXEL");
        let numbers = object.floats(tags::GRAPHIC_DATA);
        let points: Vec<_> = numbers
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&[x, y]| (x, y))
            .collect();
        let points = match object.text(tags::GRAPHIC_TYPE).as_deref() {
            Some("CIRCLE") => ellipse(&points, true),
            Some("ELLIPSE") => ellipse(&points, false),
            _ => points.into_iter().take(MAX_POINTS).collect(),
        };
        if !points.is_empty() {
            graphics.push(Graphic::Polyline { points, in_pixels });
        }
    }
    for object in item.items(tags::TEXT_OBJECT_SEQUENCE) {
        if graphics.len() >= MAX_GRAPHICS {
            return;
        }
        let anchor = object.floats(tags::ANCHOR_POINT);
        let corner = object.floats(tags::BOUNDING_BOX_TOP_LEFT_HAND_CORNER);
        let (place, units) = if corner.len() >= 2 {
            (corner, tags::BOUNDING_BOX_ANNOTATION_UNITS)
        } else {
            (anchor, tags::ANCHOR_POINT_ANNOTATION_UNITS)
        };
        if let (Some(&[x, y]), Some(text)) = (
            place.first_chunk::<2>(),
            object.text(tags::UNFORMATTED_TEXT_VALUE),
        ) {
            let in_pixels = object.is(units, "PIXEL");
            graphics.push(Graphic::Text {
                at: (x, y),
                in_pixels,
                text: text.chars().take(MAX_TEXT).collect(),
            });
        }
    }
}

/// A closed line along a circle (center, rim) or an ellipse (ends of two axes).
fn ellipse(points: &[(f64, f64)], circle: bool) -> Vec<(f64, f64)> {
    let half = |a: (f64, f64), b: (f64, f64)| ((b.0 - a.0) / 2.0, (b.1 - a.1) / 2.0);
    let (center, major, minor) = match *points {
        [center, rim, ..] if circle => {
            let (dx, dy) = (rim.0 - center.0, rim.1 - center.1);
            (center, (dx, dy), (-dy, dx))
        }
        [a, b, c, d, ..] if !circle => (
            ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0),
            half(a, b),
            half(c, d),
        ),
        _ => return Vec::new(),
    };
    (0..=72)
        .map(|step| {
            let (sin, cos) = (f64::from(step) * std::f64::consts::PI / 36.0).sin_cos();
            (
                center.0 + major.0 * cos + minor.0 * sin,
                center.1 + major.1 * cos + minor.1 * sin,
            )
        })
        .collect()
}
