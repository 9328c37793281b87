//! Which color the components have, whatever the labels say.

use super::*;

/// Components coded as they are, with ids 1, 2, 3 and neither JFIF nor Adobe segment.
fn raw_components(frame: &DecodedFrame) -> Vec<u8> {
    let bytes = Encoder::new(&frame.data, 24, 16, PixelFormat::Rgb)
        .quality(95)
        .subsampling(Subsampling::S444)
        .colorspace(libjpeg_turbo_rs::ColorSpace::Rgb)
        .encode()
        .unwrap();
    let bare = jpeg_header::without_color_claim(&bytes);
    let header = jpeg_header::JpegHeader::read(&bare, Coding::JpegBaseline).unwrap();
    assert_eq!(header.is_rgb(), None);
    bare
}

#[test]
fn rgb_jpeg_without_adobe_marker_is_not_transformed() {
    let frame = patches();
    let again = decoded(BASELINE, &raw_components(&frame), &frame.shape);
    assert!(largest_difference(&again, &frame) <= 4);
}

#[test]
fn unmarked_components_labeled_ybr_are_transformed() {
    let ybr = FrameShape {
        photometric: Photometric::YbrFull,
        ..rgb(16, 24, 8)
    };
    // The patch 76, 85, 255 is red when read as YBR.
    let data = [76, 85, 255].repeat(16 * 24);
    let frame = DecodedFrame::new(rgb(16, 24, 8), data).unwrap();
    let again = decoded(BASELINE, &raw_components(&frame), &ybr);
    assert_eq!(again.shape.photometric, Photometric::Rgb);
    assert!(again.data[0] > 245 && again.data[1] < 10 && again.data[2] < 10);
}

#[test]
fn a_jfif_marker_overrules_a_header_that_says_rgb() {
    let frame = patches();
    let jfif = Encoder::new(&frame.data, 24, 16, PixelFormat::Rgb)
        .quality(95)
        .subsampling(Subsampling::S444)
        .encode()
        .unwrap();
    assert!(jfif.windows(5).any(|w| w == b"JFIF\0"));
    for photometric in [Photometric::Rgb, Photometric::YbrFull422] {
        let shape = FrameShape {
            photometric,
            ..frame.shape
        };
        assert!(largest_difference(&decoded(BASELINE, &jfif, &shape), &frame) <= 6);
    }
}

#[test]
fn palette_indices_are_never_approximated() {
    let palette = FrameShape {
        photometric: Photometric::PaletteColor,
        ..gray(8, 8, 8, 8, false)
    };
    for syntax in [BASELINE, JPEG_LS_NEAR, JPEG_2000_LOSSY] {
        assert!(!can_encode(syntax, &palette), "{syntax}");
    }
    for syntax in [RLE, FIRST_ORDER, JPEG_LS, JPEG_2000, HT_LOSSLESS, JPEG_XL] {
        let frame = picture(palette, TestContent::Noise);
        let encoded = encoded(syntax, &frame);
        assert_eq!(decoded(syntax, &encoded.bytes, &encoded.shape), frame);
    }
}

#[test]
fn lossy_color_under_a_lossless_syntax_keeps_the_promised_colors() {
    let frame = patches();
    let bytes = Encoder::new(&frame.data, 24, 16, PixelFormat::Rgb)
        .quality(95)
        .subsampling(Subsampling::S444)
        .encode()
        .unwrap();
    assert!(largest_difference(&decoded(FIRST_ORDER, &bytes, &frame.shape), &frame) <= 6);
    let ybr = FrameShape {
        photometric: Photometric::YbrFull,
        ..frame.shape
    };
    let again = decoded(FIRST_ORDER, &bytes, &ybr);
    assert_eq!(again.shape, ybr);
    assert!(largest_difference(&ybr_to_rgb(again).unwrap(), &frame) <= 6);
}

#[test]
fn a_native_frame_still_labeled_with_a_codestream_transform_is_rgb() {
    let shape = FrameShape {
        photometric: Photometric::YbrRct,
        ..rgb(2, 2, 8)
    };
    let frame = decoded("1.2.840.10008.1.2.1", &[7; 12], &shape);
    assert_eq!(frame.shape.photometric, Photometric::Rgb);
    assert_eq!(
        decoded_shape("1.2.840.10008.1.2.1", &shape),
        Some(frame.shape)
    );
}

#[test]
fn subsampled_jpeg_labeled_rgb_without_a_mark_is_ybr() {
    let frame = picture(rgb(32, 32, 8), TestContent::Smooth);
    let of = |subsampling| {
        let bytes = Encoder::new(&frame.data, 32, 32, PixelFormat::Rgb)
            .quality(95)
            .subsampling(subsampling)
            .encode()
            .unwrap();
        // Without its JFIF segment nothing in the stream speaks of color.
        assert_eq!(bytes[2..4], [0xff, 0xe0]);
        let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
        [&bytes[..2], &bytes[4 + length..]].concat()
    };
    for subsampling in [Subsampling::S422, Subsampling::S420] {
        let again = decoded(BASELINE, &of(subsampling), &frame.shape);
        assert!(largest_difference(&again, &frame) <= 8, "{subsampling:?}");
    }
    let raw = decoded(BASELINE, &of(Subsampling::S444), &frame.shape);
    assert!(largest_difference(&raw, &frame) > 40);
}
