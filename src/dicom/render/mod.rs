//! Rendering: decoded samples and attributes to JPEG, PNG or GIF bytes.
//!
//! Pure and synchronous. The order is that of PS3.4 §N.2: modality LUT, VOI LUT
//! or window, presentation LUT, shutter and overlays, then crop, rotation and
//! flip, viewport, annotation, color profile, encoding.
//!
//! Invariants: attributes are hostile, so whatever they say the answer is a
//! picture or an error; no picture exceeds [`MAX_PIXELS`]; a frame is mapped row
//! by row, so that memory follows the picture asked for and not the frame.

mod animation;
mod annotate;
mod attributes;
mod color;
mod dataset;
mod encode;
mod geometry;
mod gray;
mod icc;
mod icon;
mod lut;
mod map;
mod overlay;
mod palette;
mod parameters;
mod presentation;
mod quantize;
mod resample;
mod rows;
mod samples;
mod shutter;
#[cfg(test)]
mod tests;
pub mod text;
mod voi;

pub use animation::{Animation, AnimationFrame, render_animation};
pub use attributes::{RenderAttributes, embedded_plane_of, plane_of_cells};
pub use icon::{IconKind, icon};
pub use lut::{Lut, Modality};
pub use overlay::Overlay;
pub use palette::Palette;
pub use parameters::{
    Annotations, ParameterError, parse_annotation, parse_icc_profile, parse_quality, parse_region,
    parse_thumbnail_viewport, parse_viewport, parse_window,
};
pub use presentation::{Area, Graphic, Presentation, PresentationLut};
pub use samples::{SampleKind, SamplePhotometric, Samples};
pub use shutter::{Shutter, ShutterShape};
pub use voi::{Window, WindowFunction};

/// Most pixels of any picture made here (8192 × 8192).
pub const MAX_PIXELS: u64 = 8192 * 8192;
/// Longest side of a picture scaled to a viewport.
pub const MAX_VIEWPORT: u32 = 8192;
/// Longest side of a picture at its own size, a limit of JPEG and GIF.
pub const MAX_SIDE: u32 = 65_000;
/// Side of the square box a thumbnail fits into when no viewport was asked for.
pub const DEFAULT_THUMBNAIL: u32 = 128;
/// JPEG quality used when a request names none.
pub const DEFAULT_QUALITY: u8 = 90;

/// Why no picture could be made.
///
/// Messages never hold attribute values, so they are safe for logs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The frame has no rows or no columns.
    #[error("the frame has {rows} rows and {columns} columns; both must be at least 1")]
    NoPixels {
        /// Rows of the frame.
        rows: u32,
        /// Columns of the frame.
        columns: u32,
    },
    /// The frame has fewer bytes than its shape needs.
    #[error("the decoded frame has {actual} bytes where its shape needs {needed}")]
    ShortFrame {
        /// Bytes that are there.
        actual: usize,
        /// Bytes that rows, columns and samples ask for.
        needed: u64,
    },
    /// A combination of photometric interpretation and sample kind with no rule.
    #[error("frames of {what} cannot be rendered; retrieve the frame itself instead")]
    Unsupported {
        /// The combination, in words.
        what: &'static str,
    },
    /// A PALETTE COLOR frame whose lookup tables are missing or damaged.
    #[error("the palette color lookup tables are missing or damaged")]
    Palette,
    /// The region asked for holds no pixel of the image.
    #[error("the source region lies outside the image of {width} × {height} pixels")]
    EmptyRegion {
        /// Width of the image the region refers to, in pixels.
        width: u32,
        /// Height of the image the region refers to, in pixels.
        height: u32,
    },
    /// The picture would exceed a limit.
    #[error("the picture would exceed {limit}; ask for a smaller viewport or fewer frames")]
    TooLarge {
        /// The limit, in words.
        limit: &'static str,
    },
    /// An animation was asked for but there was no frame.
    #[error("an animation needs at least one frame")]
    NoFrames,
    /// The encoder of the picture format failed.
    #[error("encoding the picture as {format} failed")]
    Encode {
        /// Media type that was being written.
        format: &'static str,
        /// What the encoder said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The crop of a viewport, in the image that a presentation state shows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Region {
    /// All of it.
    Full,
    /// Pixels: left, top, width, height; `None` reaches to the far edge.
    Pixels {
        /// Left edge.
        x: f64,
        /// Top edge.
        y: f64,
        /// Width.
        width: Option<f64>,
        /// Height.
        height: Option<f64>,
        /// A negative width was asked for: mirror left to right.
        flip_horizontal: bool,
        /// A negative height was asked for: mirror top to bottom.
        flip_vertical: bool,
    },
    /// Fractions 0 to 1 of the image: left, top, right, bottom (PS3.18 §9.5).
    Fraction {
        /// Left edge.
        left: f64,
        /// Top edge.
        top: f64,
        /// Right edge.
        right: f64,
        /// Bottom edge.
        bottom: f64,
    },
}

/// The box a picture is fitted into, PS3.18 §8.3.5.1.3.
///
/// The region is scaled as large as the box allows with its aspect ratio kept; a
/// missing side leaves that direction free.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Viewport {
    /// Width in pixels.
    pub width: Option<f64>,
    /// Height in pixels.
    pub height: Option<f64>,
    /// Part of the image to show.
    pub region: Region,
}

/// Texts that may be burned into a picture, PS3.18 §8.3.5.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Annotation {
    /// Name, identifier, birth date and sex.
    Patient,
    /// Modality, dates, series description, exposure.
    Technique,
    /// The overlay planes of the image (60xx,3000), all of them; not a keyword of the standard's own.
    Overlay,
}

/// Which color profile a picture carries, PS3.18 §8.3.5.1.5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IccRequest {
    /// None.
    #[default]
    No,
    /// That of the image, or sRGB where it has none.
    Yes,
    /// Colors converted to sRGB.
    Srgb,
    /// Colors converted to Adobe RGB.
    AdobeRgb,
    /// Colors converted to ROMM RGB.
    RommRgb,
    /// Colors converted to Display P3.
    DisplayP3,
}

/// What a request asks of a rendered picture.
#[derive(Debug, Clone)]
pub struct Request {
    /// Window that replaces the one of the image: center, width, function.
    pub window: Option<(f64, f64, WindowFunction)>,
    /// Box and crop.
    pub viewport: Option<Viewport>,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Texts to burn in.
    pub annotation: Vec<Annotation>,
    /// Color profile.
    pub icc: IccRequest,
    /// Presentation state to apply.
    pub presentation: Option<Presentation>,
}

impl Default for Request {
    fn default() -> Self {
        Self {
            window: None,
            viewport: None,
            quality: DEFAULT_QUALITY,
            annotation: Vec::new(),
            icc: IccRequest::No,
            presentation: None,
        }
    }
}

/// Media type of a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// Baseline JPEG.
    Jpeg,
    /// PNG, 8 bit.
    Png,
    /// GIF.
    Gif,
}

impl ImageFormat {
    /// The media type, as it stands in `Content-Type`.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
        }
    }
}

/// An 8-bit picture: rows top to bottom, 1 (gray) or 3 (RGB) bytes per pixel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    width: u32,
    height: u32,
    channels: usize,
    data: Vec<u8>,
}

/// Renders one frame.
///
/// The size is that of the frame, or the largest that fits the viewport.
///
/// # Errors
/// See [`RenderError`]; damaged optional attributes are passed over instead.
pub fn render(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    request: &Request,
    format: ImageFormat,
) -> Result<Vec<u8>, RenderError> {
    let (image, _) = draw(samples, attributes, request, None)?;
    let (image, profile) = icc::apply(image, attributes.icc.as_deref(), request.icc);
    encode::encode(&image, format, request.quality, profile.as_deref())
}

/// Bytes that are needed at most to draw and encode the picture of a frame.
///
/// # Errors
/// As [`render`].
pub fn cost(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    request: &Request,
) -> Result<u64, RenderError> {
    let plan = geometry::plan(samples, attributes, request)?;
    let color = samples.samples > 1 || attributes.palette.is_some();
    let pixels = u64::from(plan.width).saturating_mul(u64::from(plan.height));
    // The picture, the planes of the encoder, and what it writes, in memory that doubles when it is full.
    let bytes = pixels.saturating_mul(if color { 12 } else { 4 });
    Ok(bytes.saturating_add(TABLES))
}

/// Bytes of the tables that samples are mapped by, and of rows under way.
const TABLES: u64 = 1 << 20;

/// Renders one frame into a small picture (PS3.18 §8.3.5.2).
///
/// `viewport` is width and height of the box in pixels, 128 × 128 by default.
///
/// # Errors
/// As [`render`]; the caller answers with [`icon`] instead.
pub fn thumbnail(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    viewport: Option<(u32, u32)>,
    format: ImageFormat,
) -> Result<Vec<u8>, RenderError> {
    let (width, height) = viewport.unwrap_or((DEFAULT_THUMBNAIL, DEFAULT_THUMBNAIL));
    let request = Request {
        viewport: Some(Viewport {
            width: Some(f64::from(width)),
            height: Some(f64::from(height)),
            region: Region::Full,
        }),
        ..Request::default()
    };
    render(samples, attributes, &request, format)
}

/// Draws a frame up to, but not including, color profile and encoding.
///
/// `range` is the gray range to use where the attributes have no VOI; the range
/// used comes back, so that frames of an animation share one.
fn draw(
    samples: &Samples<'_>,
    attributes: &RenderAttributes,
    request: &Request,
    range: Option<(f64, f64)>,
) -> Result<(Image, Option<(f64, f64)>), RenderError> {
    let rows = rows::DisplayRows::new(samples, attributes, request, range)?;
    let plan = geometry::plan(samples, attributes, request)?;
    let mut image = resample::draw(&rows, &plan);
    if let Some(presentation) = &request.presentation {
        annotate::graphics(&mut image, &plan, &presentation.graphics);
    }
    for annotation in &request.annotation {
        match annotation {
            Annotation::Patient => annotate::patient(&mut image, attributes),
            Annotation::Technique => annotate::technique(&mut image, attributes),
            // Drawn with the rows, before they are cut and scaled.
            Annotation::Overlay => {}
        }
    }
    Ok((image, rows.range()))
}
