//! What is asked of a picture, and how large it may be.

use super::presentation::Presentation;
use super::voi::WindowFunction;

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
