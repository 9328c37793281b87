use super::*;

fn ct_jpeg(quality: u8) -> (Vec<u8>, Vec<u8>) {
    let (_, bytes) = ct(128, 128);
    let frame = samples(128, 128, SampleKind::I16, &bytes);
    let request = Request {
        quality,
        ..window(100.0, 1500.0, WindowFunction::Linear)
    };
    let jpeg = render(
        &frame,
        &RenderAttributes::default(),
        &request,
        ImageFormat::Jpeg,
    )
    .unwrap();
    (
        jpeg,
        png_of(&frame, &RenderAttributes::default(), &request).data,
    )
}

#[test]
fn jpeg_grows_and_improves_with_quality() {
    let mut last = (0, 0.0);
    for quality in [1, 10, 30, 50, 75, 90, 100] {
        let (jpeg, exact) = ct_jpeg(quality);
        let picture = read_jpeg(&jpeg);
        assert_eq!(
            (picture.width, picture.height, picture.channels),
            (128, 128, 1)
        );
        let reference: Vec<_> = exact.iter().map(|&level| f64::from(level)).collect();
        let decibel = psnr(&reference, &picture.data);
        assert!(jpeg.len() > last.0 && decibel > last.1, "quality {quality}");
        last = (jpeg.len(), decibel);
    }
    assert!(last.1 >= 45.0);
}

#[test]
fn jpeg_is_baseline_at_every_quality() {
    for quality in [1, 50, 100] {
        let (jpeg, _) = ct_jpeg(quality);
        assert!(jpeg.windows(2).any(|marker| marker == [0xFF, 0xC0]));
        assert_eq!(jpeg[..2], [0xFF, 0xD8]);
    }
}

#[test]
fn jpeg_of_color_decodes_to_the_same_colors() {
    let data: Vec<u8> = (0..64 * 64)
        .flat_map(|i| [(i % 64) as u8 * 4, (i / 64) as u8 * 4, 90])
        .collect();
    let frame = rgb(64, 64, &data);
    for quality in [80, 95] {
        let request = Request {
            quality,
            ..Request::default()
        };
        let jpeg = render(
            &frame,
            &RenderAttributes::default(),
            &request,
            ImageFormat::Jpeg,
        )
        .unwrap();
        let picture = read_jpeg(&jpeg);
        let reference: Vec<_> = data.iter().map(|&v| f64::from(v)).collect();
        assert!(psnr(&reference, &picture.data) > 35.0);
    }
}

/// Frames of a GIF: width, height, delay, RGB.
fn read_gif(bytes: &[u8]) -> Vec<(u16, u16, u16, Vec<u8>)> {
    let mut options = gif::DecodeOptions::new();
    options.set_color_output(gif::ColorOutput::RGBA);
    let mut decoder = options.read_info(bytes).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = decoder.read_next_frame().unwrap() {
        let rgb = frame
            .buffer
            .chunks(4)
            .flat_map(|p| [p[0], p[1], p[2]])
            .collect();
        frames.push((frame.width, frame.height, frame.delay, rgb));
    }
    frames
}

#[test]
fn gif_of_gray_is_exact() {
    let data: Vec<u8> = (0..=255).collect();
    let frame = samples(16, 16, SampleKind::U8, &data);
    let gif = render(
        &frame,
        &RenderAttributes::default(),
        &Request::default(),
        ImageFormat::Gif,
    )
    .unwrap();
    let frames = read_gif(&gif);
    assert_eq!(frames.len(), 1);
    let expected: Vec<u8> = data.iter().flat_map(|&level| [level; 3]).collect();
    assert_eq!((frames[0].0, &frames[0].3), (16, &expected));
}

#[test]
fn gif_of_few_colors_is_exact_and_of_many_is_close() {
    let few: Vec<u8> = (0..=255_u8).flat_map(|i| [i, 255 - i, i / 2]).collect();
    let gif = render(
        &rgb(16, 16, &few),
        &RenderAttributes::default(),
        &Request::default(),
        ImageFormat::Gif,
    );
    assert_eq!(read_gif(&gif.unwrap())[0].3, few);

    let many: Vec<u8> = (0..128 * 128_u32)
        .flat_map(|i| {
            [
                (i % 128) as u8 * 2,
                (i / 128) as u8 * 2,
                ((i % 128 + i / 128) / 2) as u8,
            ]
        })
        .collect();
    let gif = render(
        &rgb(128, 128, &many),
        &RenderAttributes::default(),
        &Request::default(),
        ImageFormat::Gif,
    );
    let reference: Vec<_> = many.iter().map(|&v| f64::from(v)).collect();
    let decibel = psnr(&reference, &read_gif(&gif.unwrap())[0].3);
    assert!(decibel > 30.0, "{decibel}");
}

fn frame_of(level: u16, rows: u32) -> AnimationFrame {
    AnimationFrame {
        rows,
        columns: 2,
        samples: 1,
        kind: SampleKind::U16,
        bits_stored: 16,
        photometric: SamplePhotometric::Monochrome2,
        data: words(&vec![level; rows as usize * 2]),
        attributes: RenderAttributes::default(),
    }
}

#[test]
fn animation_has_every_frame_and_its_time() {
    let first = AnimationFrame {
        data: words(&[0, 1000]),
        ..frame_of(0, 1)
    };
    let frames = [first, frame_of(500, 1), frame_of(250, 1)].map(Ok::<_, RenderError>);
    let gif = render_animation(frames.into_iter(), Request::default(), 40.0).unwrap();
    let frames = read_gif(&gif);
    // Later frames are shown in the range of the first, not each in its own.
    let reds: Vec<_> = frames.iter().map(|frame| frame.3[3]).collect();
    assert_eq!(reds, [255, 128, 64]);
    assert!(
        frames
            .iter()
            .all(|frame| (frame.0, frame.1, frame.2) == (2, 1, 4))
    );
    assert!(gif.windows(11).any(|part| part == b"NETSCAPE2.0"));
}

#[test]
fn animation_times_stay_what_browsers_follow() {
    for (asked, delay) in [
        (0.0, 2),
        (33.3, 3),
        (-5.0, 2),
        (f64::NAN, 10),
        (1e12, 65_535),
    ] {
        let frames = [frame_of(1, 1)].map(Ok::<_, RenderError>);
        let gif = render_animation(frames.into_iter(), Request::default(), asked).unwrap();
        assert_eq!(read_gif(&gif)[0].2, delay, "{asked}");
    }
}

#[test]
fn animation_stops_at_the_first_error() {
    let frames = vec![
        Ok(frame_of(1, 1)),
        Err(RenderError::Palette),
        Ok(frame_of(1, 1)),
    ];
    let result = render_animation(frames.into_iter(), Request::default(), 10.0);
    assert!(matches!(result, Err(RenderError::Palette)));
    let none = render_animation(
        std::iter::empty::<Result<_, RenderError>>(),
        Request::default(),
        10.0,
    );
    assert!(matches!(none, Err(RenderError::NoFrames)));
}

#[test]
fn thumbnails_fit_their_box() {
    let data = vec![77; 300 * 200];
    let frame = samples(200, 300, SampleKind::U8, &data);
    for (asked, size) in [
        (None, (128, 85)),
        (Some((64, 256)), (64, 43)),
        (Some((1, 1)), (1, 1)),
    ] {
        let bytes = thumbnail(
            &frame,
            &RenderAttributes::default(),
            asked,
            ImageFormat::Jpeg,
        )
        .unwrap();
        let picture = read_jpeg(&bytes);
        assert_eq!((picture.width, picture.height), size);
    }
}

#[test]
fn every_kind_has_its_own_icon() {
    use IconKind::{Contour, Document, Image, Report, Unknown, Video, Waveform};
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for kind in [Report, Document, Video, Waveform, Contour, Image, Unknown] {
        for viewport in [None, Some((256, 300)), Some((1, 1)), Some((5, 900))] {
            let picture = read_png(&icon(kind, viewport, ImageFormat::Png).unwrap());
            let (width, height) = viewport.unwrap_or((128, 128));
            assert_eq!(
                (picture.width, picture.height),
                (width.min(height), width.min(height))
            );
            if viewport.is_none() {
                assert!(!seen.contains(&picture.data), "{kind:?}");
                seen.push(picture.data);
            }
        }
    }
    assert_eq!(
        read_jpeg(&icon(Report, Some((u32::MAX, 20)), ImageFormat::Jpeg).unwrap()).width,
        20
    );
}

#[test]
fn sop_classes_choose_icons() {
    for (uid, kind) in [
        ("1.2.840.10008.5.1.4.1.1.88.33", IconKind::Report),
        ("1.2.840.10008.5.1.4.1.1.11.1", IconKind::Report),
        ("1.2.840.10008.5.1.4.1.1.104.1", IconKind::Document),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", IconKind::Waveform),
        ("1.2.840.10008.5.1.4.1.1.77.1.4.1", IconKind::Video),
        ("1.2.840.10008.5.1.4.1.1.66.4", IconKind::Contour),
        ("1.2.840.10008.5.1.4.1.1.481.3", IconKind::Contour),
        ("1.2.840.10008.5.1.4.1.1.2", IconKind::Image),
        ("1.2.840.10008.5.1.4.34.6.1", IconKind::Unknown),
        ("1.2.840.10008.5.1.4.1.1.880", IconKind::Image),
        ("", IconKind::Unknown),
    ] {
        assert_eq!(IconKind::from_sop_class(uid), kind, "{uid}");
    }
}
