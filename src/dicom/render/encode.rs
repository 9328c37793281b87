//! Pictures as baseline JPEG, PNG or single-frame GIF.

use std::borrow::Cow;

use libjpeg_turbo_rs::{Encoder as JpegEncoder, PixelFormat, Subsampling};

use super::animation::Animation;
use super::error::{RenderError, failed};
use super::image::{Image, ImageFormat};
use super::request::Request;

/// Quality from which chrominance keeps its full resolution.
const FULL_CHROMA: u8 = 90;

/// Encodes a picture; `profile` goes into JPEG APP2 or PNG iCCP.
pub(super) fn encode(
    image: &Image,
    format: ImageFormat,
    quality: u8,
    profile: Option<&[u8]>,
) -> Result<Vec<u8>, RenderError> {
    match format {
        ImageFormat::Jpeg => jpeg(image, quality, profile),
        ImageFormat::Png => png(image, profile),
        ImageFormat::Gif => gif(image),
    }
}

fn jpeg(image: &Image, quality: u8, profile: Option<&[u8]>) -> Result<Vec<u8>, RenderError> {
    let quality = quality.clamp(1, 100);
    let (pixels, subsampling) = match image.channels {
        1 => (PixelFormat::Grayscale, Subsampling::S444),
        _ if quality >= FULL_CHROMA => (PixelFormat::Rgb, Subsampling::S444),
        _ => (PixelFormat::Rgb, Subsampling::S420),
    };
    let (width, height) = (image.width as usize, image.height as usize);
    let mut encoder = JpegEncoder::new(&image.data, width, height, pixels)
        .quality(quality)
        .subsampling(subsampling)
        .force_baseline(true);
    if let Some(profile) = profile {
        encoder = encoder.icc_profile(profile);
    }
    encoder
        .encode()
        .map_err(|error| failed(ImageFormat::Jpeg)(Box::new(error)))
}

fn png(image: &Image, profile: Option<&[u8]>) -> Result<Vec<u8>, RenderError> {
    let wrap = |error: png::EncodingError| failed(ImageFormat::Png)(Box::new(error));
    let mut info = png::Info::with_size(image.width, image.height);
    info.bit_depth = png::BitDepth::Eight;
    info.color_type = if image.channels == 1 {
        png::ColorType::Grayscale
    } else {
        png::ColorType::Rgb
    };
    info.icc_profile = profile.map(Cow::Borrowed);
    let mut bytes = Vec::with_capacity(image.data.len() / 2 + 1024);
    let mut encoder = png::Encoder::with_info(&mut bytes, info).map_err(wrap)?;
    encoder.set_compression(png::Compression::Fast);
    let mut writer = encoder.write_header().map_err(wrap)?;
    writer.write_image_data(&image.data).map_err(wrap)?;
    writer.finish().map_err(wrap)?;
    Ok(bytes)
}

fn gif(image: &Image) -> Result<Vec<u8>, RenderError> {
    let mut animation = Animation::new(Request::default(), 0);
    animation.push_image(image)?;
    animation.finish()
}
