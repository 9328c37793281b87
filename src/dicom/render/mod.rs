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
mod draw;
mod encode;
mod error;
mod geometry;
mod gray;
mod icc;
mod icon;
mod image;
mod lut;
mod map;
mod overlay;
mod palette;
mod parameters;
mod presentation;
mod quantize;
mod request;
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
pub use error::RenderError;
pub use icon::{IconKind, icon};
pub use image::ImageFormat;
pub use lut::{Lut, Modality, PresentationLut};
pub use overlay::Overlay;
pub use palette::Palette;
pub use parameters::{
    Annotations, ParameterError, parse_annotation, parse_icc_profile, parse_quality, parse_region,
    parse_thumbnail_viewport, parse_viewport, parse_window,
};
pub use presentation::{Area, Graphic, Presentation};
pub use request::{
    Annotation, DEFAULT_QUALITY, DEFAULT_THUMBNAIL, IccRequest, MAX_PIXELS, MAX_SIDE, MAX_VIEWPORT,
    Region, Request, Viewport,
};
pub use samples::{SampleKind, SamplePhotometric, Samples};
pub use shutter::{Shutter, ShutterShape};
pub use voi::{Window, WindowFunction};

use draw::draw;

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
