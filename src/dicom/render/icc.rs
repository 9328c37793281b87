//! Color profiles: conversion between RGB spaces and the profile to embed.
//!
//! Only color pictures take part. A profile that is not a readable RGB profile
//! counts as absent, and an absent one as sRGB.

use moxcms::{ColorProfile, DataColorSpace, Layout, TransformOptions};

use super::image::Image;
use super::request::IccRequest;

/// Converts the picture as asked and answers the profile to embed.
pub(super) fn apply(
    mut image: Image,
    of_image: Option<&[u8]>,
    request: IccRequest,
) -> (Image, Option<Vec<u8>>) {
    if image.channels != 3 {
        return (image, None);
    }
    let target = match request {
        IccRequest::No => return (image, None),
        IccRequest::Yes => {
            let own = of_image.filter(|bytes| rgb_profile(bytes).is_some());
            let profile = own.map(<[u8]>::to_vec).or_else(|| srgb().encode().ok());
            return (image, profile);
        }
        IccRequest::Srgb => srgb(),
        IccRequest::AdobeRgb => ColorProfile::new_adobe_rgb(),
        IccRequest::RommRgb => ColorProfile::new_pro_photo_rgb(),
        IccRequest::DisplayP3 => ColorProfile::new_display_p3(),
    };
    let own = of_image.and_then(rgb_profile);
    if own.is_none() && request == IccRequest::Srgb {
        return (image, target.encode().ok());
    }
    match convert(&image.data, &own.unwrap_or_else(srgb), &target) {
        Some(data) => image.data = data,
        None => return (image, of_image.map(<[u8]>::to_vec)),
    }
    (image, target.encode().ok())
}

fn srgb() -> ColorProfile {
    ColorProfile::new_srgb()
}

/// Reads a profile, if it is one for RGB.
fn rgb_profile(bytes: &[u8]) -> Option<ColorProfile> {
    let profile = ColorProfile::new_from_slice(bytes).ok()?;
    (profile.color_space == DataColorSpace::Rgb).then_some(profile)
}

fn convert(data: &[u8], from: &ColorProfile, to: &ColorProfile) -> Option<Vec<u8>> {
    let options = TransformOptions::default();
    let transform = from
        .create_transform_8bit(Layout::Rgb, to, Layout::Rgb, options)
        .ok()?;
    let mut converted = vec![0; data.len()];
    transform.transform(data, &mut converted).ok()?;
    Some(converted)
}
