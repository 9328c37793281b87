//! Query parameters of rendered resources, parsed (PS3.18 §8.3.5, §9.5).
//!
//! Values arrive percent-decoded. Errors name the parameter and what it takes.

use super::request::{Annotation, IccRequest, MAX_VIEWPORT, Region, Viewport};
use super::voi::WindowFunction;

/// A query parameter whose value cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the parameter {name} must be {allowed}")]
pub struct ParameterError {
    /// Name of the parameter.
    pub name: &'static str,
    /// What it takes, in words.
    pub allowed: &'static str,
}

const WINDOW: ParameterError = ParameterError {
    name: "window",
    allowed: "center,width,function: two numbers and linear, linear-exact or sigmoid, the width \
              above 0 (at least 1 for linear)",
};
const VIEWPORT: ParameterError = ParameterError {
    name: "viewport",
    allowed: "vw,vh[,sx,sy,sw,sh]: decimal numbers, vw and vh above 0, sx and sy not negative, \
              sw and sh not 0; a part left empty takes its default",
};
const THUMBNAIL: ParameterError = ParameterError {
    name: "viewport",
    allowed: "vw,vh: two decimal numbers above 0",
};
const QUALITY: ParameterError = ParameterError {
    name: "quality",
    allowed: "an integer from 1 to 100",
};
const ICC_PROFILE: ParameterError = ParameterError {
    name: "iccprofile",
    allowed: "no, yes, srgb, adobergb, rommrgb or displayp3",
};
const ANNOTATION: ParameterError = ParameterError {
    name: "annotation",
    allowed: "a comma-separated list of patient, technique and overlay",
};
const REGION: ParameterError = ParameterError {
    name: "region",
    allowed: "xmin,ymin,xmax,ymax: four decimal numbers from 0 to 1, each minimum below its maximum",
};

/// Reads `window=center,width,function`; a missing function is linear.
///
/// # Errors
/// A malformed or impossible window.
pub fn parse_window(value: &str) -> Result<(f64, f64, WindowFunction), ParameterError> {
    let mut parts = value.split(',');
    let mut next = || number(parts.next()).flatten().ok_or(WINDOW);
    let (center, width) = (next()?, next()?);
    let function = match parts
        .next()
        .map(|name| name.trim().to_ascii_lowercase())
        .as_deref()
    {
        None | Some("" | "linear") => WindowFunction::Linear,
        Some("linear-exact") => WindowFunction::LinearExact,
        Some("sigmoid") => WindowFunction::Sigmoid,
        Some(_) => return Err(WINDOW),
    };
    let least_linear = function != WindowFunction::Linear || width >= 1.0;
    if width > 0.0 && least_linear && parts.next().is_none() {
        Ok((center, width, function))
    } else {
        Err(WINDOW)
    }
}

/// Reads `viewport=vw,vh[,sx,sy,sw,sh]`.
///
/// Negative `sw` and `sh` mirror the region (PS3.18 §8.3.5.1.3).
///
/// # Errors
/// Anything that is not such a list.
pub fn parse_viewport(value: &str) -> Result<Viewport, ParameterError> {
    let parts: Vec<_> = value.splitn(7, ',').collect();
    // What places the region comes in pairs.
    if !matches!(parts.len(), 2 | 4 | 6) {
        return Err(VIEWPORT);
    }
    let part = |index: usize| number(parts.get(index).copied()).ok_or(VIEWPORT);
    let (vw, vh) = (part(0)?, part(1)?);
    let (sx, sy, sw, sh) = (part(2)?, part(3)?, part(4)?, part(5)?);
    let positive = |side: Option<f64>| side.is_none_or(|side| side > 0.0);
    let starts = |start: Option<f64>| start.is_none_or(|start| start >= 0.0);
    let extends = |side: Option<f64>| side.is_none_or(|side| side != 0.0);
    if !positive(vw) || !positive(vh) || !starts(sx) || !starts(sy) || !extends(sw) || !extends(sh)
    {
        return Err(VIEWPORT);
    }
    let negative = |side: Option<f64>| side.is_some_and(|side| side < 0.0);
    let region = if [sx, sy, sw, sh].iter().all(Option::is_none) {
        Region::Full
    } else {
        Region::Pixels {
            x: sx.unwrap_or(0.0),
            y: sy.unwrap_or(0.0),
            width: sw.map(f64::abs),
            height: sh.map(f64::abs),
            flip_horizontal: negative(sw),
            flip_vertical: negative(sh),
        }
    };
    Ok(Viewport {
        width: vw,
        height: vh,
        region,
    })
}

/// Reads the `viewport=vw,vh` of a thumbnail (PS3.18 §8.3.5.2); a side beyond [`MAX_VIEWPORT`] comes out as one more.
///
/// # Errors
/// Anything but two sizes.
pub fn parse_thumbnail_viewport(value: &str) -> Result<(u32, u32), ParameterError> {
    let (width, height) = value.split_once(',').ok_or(THUMBNAIL)?;
    let side = |text| {
        let side = number(Some(text))
            .flatten()
            .filter(|side| *side > 0.0)
            .ok_or(THUMBNAIL)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and what the caller finds too large"
        )]
        Ok(side.round().clamp(1.0, f64::from(MAX_VIEWPORT) + 1.0) as u32)
    };
    Ok((side(width)?, side(height)?))
}

/// Reads `quality`.
///
/// # Errors
/// Anything but an integer from 1 to 100.
pub fn parse_quality(value: &str) -> Result<u8, ParameterError> {
    value
        .trim()
        .parse()
        .ok()
        .filter(|quality| (1..=100).contains(quality))
        .ok_or(QUALITY)
}

/// Reads `iccprofile`.
///
/// # Errors
/// An unknown keyword.
pub fn parse_icc_profile(value: &str) -> Result<IccRequest, ParameterError> {
    Ok(match value.trim().to_ascii_lowercase().as_str() {
        "no" => IccRequest::No,
        "yes" => IccRequest::Yes,
        "srgb" => IccRequest::Srgb,
        "adobergb" => IccRequest::AdobeRgb,
        "rommrgb" => IccRequest::RommRgb,
        "displayp3" => IccRequest::DisplayP3,
        _ => return Err(ICC_PROFILE),
    })
}

/// What `annotation` asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Annotations {
    /// The known keywords, each once.
    pub known: Vec<Annotation>,
    /// How many keywords are unknown: they are passed over with a Warning.
    pub unknown: usize,
}

/// Reads `annotation`; unknown keywords are counted (PS3.18 §8.3.5.1.1).
///
/// # Errors
/// An empty list.
pub fn parse_annotation(value: &str) -> Result<Annotations, ParameterError> {
    let mut annotations = Annotations::default();
    for keyword in value
        .split(',')
        .map(str::trim)
        .filter(|keyword| !keyword.is_empty())
    {
        let annotation = match keyword.to_ascii_lowercase().as_str() {
            "patient" => Annotation::Patient,
            "technique" => Annotation::Technique,
            "overlay" => Annotation::Overlay,
            _ => {
                annotations.unknown += 1;
                continue;
            }
        };
        if !annotations.known.contains(&annotation) {
            annotations.known.push(annotation);
        }
    }
    if annotations == Annotations::default() {
        Err(ANNOTATION)
    } else {
        Ok(annotations)
    }
}

/// Reads `region` of the URI service: fractions of the image (PS3.18 §9.5).
///
/// # Errors
/// Anything but a rectangle inside the image.
pub fn parse_region(value: &str) -> Result<Region, ParameterError> {
    let parts: Option<Vec<f64>> = value.split(',').map(|part| number(Some(part))?).collect();
    let parts = parts.ok_or(REGION)?;
    let [left, top, right, bottom] = *parts.first_chunk::<4>().ok_or(REGION)?;
    let inside = parts.iter().all(|part| (0.0..=1.0).contains(part));
    if parts.len() == 4 && inside && left < right && top < bottom {
        Ok(Region::Fraction {
            left,
            top,
            right,
            bottom,
        })
    } else {
        Err(REGION)
    }
}

/// A part of a list: `None` if malformed, `Some(None)` if missing or empty.
fn number(part: Option<&str>) -> Option<Option<f64>> {
    let Some(text) = part.map(str::trim).filter(|text| !text.is_empty()) else {
        return Some(None);
    };
    text.parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
        .map(Some)
}
