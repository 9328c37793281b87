use moxcms::ColorProfile;

use super::*;

fn palette_frame(kind: SampleKind, data: &[u8], columns: u32) -> Samples<'_> {
    Samples {
        photometric: SamplePhotometric::PaletteColor,
        ..samples(1, columns, kind, data)
    }
}

fn palette(descriptor: &Value, tables: [Value; 3]) -> Value {
    let [red, green, blue] = tables;
    let mut metadata = instance(&[
        ("00280004", "CS", json!(["PALETTE COLOR"])),
        ("00281101", "US", descriptor.clone()),
        ("00281102", "US", descriptor.clone()),
        ("00281103", "US", descriptor.clone()),
    ]);
    metadata["00281201"] = red;
    metadata["00281202"] = green;
    metadata["00281203"] = blue;
    metadata
}

fn us(values: &[u16]) -> Value {
    json!({ "vr": "US", "Value": values })
}

#[test]
fn palette_of_8_bits_clamps_to_its_ends() {
    let tables = [us(&[1, 2, 3]), us(&[10, 20, 30]), us(&[100, 150, 200])];
    let metadata = palette(&json!([3, 5, 8]), tables);
    let frame = palette_frame(SampleKind::U8, &[0, 5, 6, 7, 255], 5);
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    assert_eq!(picture.channels, 3);
    let (first, middle, last) = ([1, 10, 100], [2, 20, 150], [3, 30, 200]);
    assert_eq!(picture.data, [first, first, middle, last, last].concat());
}

#[test]
fn palette_of_16_bits_and_65536_entries_uses_the_high_byte() {
    let ramp: Vec<u16> = (0..=u16::MAX).collect();
    let reversed: Vec<u16> = ramp.iter().rev().copied().collect();
    let tables = [words(&ramp), words(&reversed), words(&vec![0xFF00; 65_536])];
    let bulk = |path: &str| match path {
        "00281201" => Some(tables[0].clone()),
        "00281202" => Some(tables[1].clone()),
        "00281203" => Some(tables[2].clone()),
        _ => None,
    };
    let uri = || json!({ "vr": "OW", "BulkDataURI": "b" });
    let metadata = palette(&json!([0, 0, 16]), [uri(), uri(), uri()]);
    let attributes = RenderAttributes::from_json(&metadata.to_string(), 1, &bulk);
    let data = words(&[0, 0x1234, 0xFFFF]);
    let picture = png_of(
        &palette_frame(SampleKind::U16, &data, 3),
        &attributes,
        &Request::default(),
    );
    assert_eq!(picture.data, [0, 255, 255, 0x12, 0xED, 255, 255, 0, 255]);
}

#[test]
fn palette_takes_signed_indices() {
    let tables = [us(&[1, 2, 3, 4]), us(&[0; 4]), us(&[9; 4])];
    let mut metadata = palette(&json!([4, 65_534, 8]), tables);
    metadata["00280103"] = us(&[1]);
    let data: Vec<u8> = [-3_i16, -2, -1, 0, 1]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let frame = palette_frame(SampleKind::I16, &data, 5);
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    let reds: Vec<_> = picture.data.iter().step_by(3).copied().collect();
    assert_eq!(reds, [1, 1, 2, 3, 4]);
}

#[test]
fn palette_with_8_bit_entries_in_16_bit_words_is_not_black() {
    let tables = [us(&[0, 128, 255]), us(&[0, 64, 1]), us(&[7, 8, 9])];
    let metadata = palette(&json!([3, 0, 16]), tables);
    let frame = palette_frame(SampleKind::U8, &[1, 2], 2);
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    assert_eq!(picture.data, [128, 64, 8, 255, 1, 9]);
}

/// Builds metadata whose three tables are the same segments.
fn segmented(descriptor: &Value, segments: &Value) -> Value {
    let mut metadata = palette(descriptor, [us(&[]), us(&[]), us(&[])]);
    for (plain, tag) in [
        ("00281201", "00281221"),
        ("00281202", "00281222"),
        ("00281203", "00281223"),
    ] {
        metadata.as_object_mut().unwrap().remove(plain);
        metadata[tag] = segments.clone();
    }
    metadata
}

fn reds(metadata: &Value, entries: u8) -> Vec<u8> {
    let data: Vec<u8> = (0..entries).collect();
    let frame = palette_frame(SampleKind::U8, &data, u32::from(entries));
    let picture = png_of(&frame, &attributes(metadata), &Request::default());
    picture.data.iter().step_by(3).copied().collect()
}

#[test]
fn segmented_palette_expands_discrete_linear_and_indirect() {
    // Discrete 0, 65280; linear to 0 in 4; then both again from byte 0; then discrete 256 × 3.
    let segments = us(&[
        0, 2, 0, 0xFF00, // entries 0-1
        1, 4, 0, // entries 2-5
        2, 2, 0, 0, // entries 6-11: the two segments above
        0, 1, 0x0300, // entry 12
    ]);
    let metadata = segmented(&json!([13, 0, 16]), &segments);
    let line = [191, 127, 63, 0];
    let expected = [&[0, 255][..], &line, &[0, 255], &line, &[3]].concat();
    assert_eq!(reds(&metadata, 13), expected);
}

#[test]
fn segmented_palette_of_8_bits_has_byte_segments() {
    // discrete 3 values, linear 5 to 250, indirect: 1 segment at byte offset 5 (the linear one).
    let bytes = [0, 3, 10, 20, 200, 1, 5, 250, 2, 1, 5, 0, 0, 0];
    let inline = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let segments = json!({ "vr": "OW", "InlineBinary": inline });
    let metadata = segmented(&json!([13, 0, 8]), &segments);
    let expected = [
        10, 20, 200, 210, 220, 230, 240, 250, 250, 250, 250, 250, 250,
    ];
    assert_eq!(reds(&metadata, 13), expected);
}

#[test]
fn damaged_palettes_are_refused() {
    let frame = palette_frame(SampleKind::U8, &[0], 1);
    let refused = |metadata: &Value| {
        let error = render(
            &frame,
            &attributes(metadata),
            &Request::default(),
            ImageFormat::Png,
        );
        assert!(matches!(error, Err(RenderError::Palette)), "{error:?}");
    };
    refused(&json!({}));
    refused(&palette(&json!([3]), [us(&[1]), us(&[1]), us(&[1])]));
    for segments in [
        us(&[1, 4, 0]),                  // linear first
        us(&[0, 9, 1]),                  // discrete past the end
        us(&[7, 1, 1]),                  // unknown opcode
        us(&[0, 1, 5, 2, 9, 6, 0]),      // indirect into itself
        us(&[0, 1, 5, 2, 1, 0xFFFF, 9]), // indirect past the end
        us(&[0, 1, 5, 2, 1, 1, 0]),      // indirect between two words
    ] {
        refused(&segmented(&json!([100, 0, 16]), &segments));
    }
}

#[test]
fn supplemental_palette_colors_only_what_it_maps() {
    let tables = [us(&[200, 201]), us(&[0, 0]), us(&[50, 51])];
    let mut metadata = palette(&json!([2, 250, 8]), tables);
    metadata["00280004"] = json!({ "vr": "CS", "Value": ["MONOCHROME2"] });
    metadata["00089205"] = json!({ "vr": "CS", "Value": ["COLOR"] });
    let frame = samples(1, 4, SampleKind::U8, &[0, 249, 250, 251]);
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    assert_eq!(
        picture.data,
        [0, 0, 0, 249, 249, 249, 200, 0, 50, 201, 0, 51]
    );
}

#[test]
fn rgb_passes_through() {
    let data: Vec<u8> = (0..60).map(|i| i * 4).collect();
    let picture = png_of(
        &rgb(4, 5, &data),
        &RenderAttributes::default(),
        &Request::default(),
    );
    assert_eq!(picture.data, data);
}

#[test]
fn wide_rgb_keeps_its_high_bits() {
    let data = words(&[0x0FFF, 0x0800, 0x0010]);
    let mut frame = rgb(1, 1, &data);
    (frame.kind, frame.bits_stored) = (SampleKind::U16, 12);
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!(picture.data, [255, 128, 1]);

    let data: Vec<u8> = [u32::MAX, 1 << 31, 0]
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    let mut frame = rgb(1, 1, &data);
    (frame.kind, frame.bits_stored) = (SampleKind::U32, 32);
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!(picture.data, [255, 128, 0]);
}

/// The inverse of the matrices of PS3.3 §C.7.6.3.1.2, solved here once more.
fn reference_rgb(photometric: SamplePhotometric, [y, cb, cr]: [u8; 3]) -> [f64; 3] {
    let (y, cb, cr) = (f64::from(y), f64::from(cb) - 128.0, f64::from(cr) - 128.0);
    let rgb = if photometric == SamplePhotometric::YbrPartial422 {
        let y = (y - 16.0) / (0.2568 + 0.5041 + 0.0979);
        [
            y + cr / 0.4392 * 0.701,
            y - 0.3917 * cb - 0.8130 * cr,
            y + cb / 0.4392 * 0.886,
        ]
    } else {
        [
            y + 1.402 * cr,
            y - 0.344_14 * cb - 0.714_14 * cr,
            y + 1.772 * cb,
        ]
    };
    rgb.map(|value| value.clamp(0.0, 255.0))
}

#[test]
fn luminance_and_chrominance_become_rgb() {
    let mut random = PseudoRandom(3);
    let data: Vec<u8> = (0..3 * 1000).map(|_| random.below(256) as u8).collect();
    for photometric in [
        SamplePhotometric::YbrFull,
        SamplePhotometric::YbrFull422,
        SamplePhotometric::YbrPartial422,
    ] {
        let frame = Samples {
            photometric,
            ..rgb(10, 100, &data)
        };
        let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
        for (pixel, actual) in data.chunks(3).zip(picture.data.chunks(3)) {
            let reference = reference_rgb(photometric, [pixel[0], pixel[1], pixel[2]]);
            for (reference, &actual) in reference.iter().zip(actual) {
                assert!(
                    (reference - f64::from(actual)).abs() <= 1.0,
                    "{reference} {actual}"
                );
            }
        }
    }
}

#[test]
fn native_422_shares_chrominance_between_two_pixels() {
    let data = [50, 200, 90, 240, 10, 30, 128, 128];
    let frame = Samples {
        photometric: SamplePhotometric::YbrFull422,
        ..rgb(2, 2, &data)
    };
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    let pixels = [
        [50, 90, 240],
        [200, 90, 240],
        [10, 128, 128],
        [30, 128, 128],
    ];
    for (pixel, actual) in pixels.iter().zip(picture.data.chunks(3)) {
        let reference = reference_rgb(SamplePhotometric::YbrFull, *pixel);
        for (reference, &actual) in reference.iter().zip(actual) {
            assert!((reference - f64::from(actual)).abs() <= 1.0);
        }
    }
    // A crop that begins on the second pixel of a pair still finds its chrominance.
    let picture = png_of(&frame, &RenderAttributes::default(), &viewport(",,1,0,1,1"));
    let reference = reference_rgb(SamplePhotometric::YbrFull, [200, 90, 240]);
    assert!((reference[0] - f64::from(picture.data[0])).abs() <= 1.0);
}

#[test]
fn jpeg_2000_color_terms_mean_rgb_after_decoding() {
    for photometric in [SamplePhotometric::YbrRct, SamplePhotometric::YbrIct] {
        let frame = Samples {
            photometric,
            ..rgb(1, 1, &[9, 8, 7])
        };
        let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
        assert_eq!(picture.data, [9, 8, 7]);
    }
}

fn with_profile(icc: IccRequest, profile: Option<&ColorProfile>) -> (DecodedPicture, Vec<u8>) {
    let data = [200, 30, 60].repeat(64);
    let attributes = RenderAttributes {
        icc: profile.map(|profile| profile.encode().unwrap()),
        ..RenderAttributes::default()
    };
    let request = Request {
        icc,
        ..Request::default()
    };
    let frame = rgb(8, 8, &data);
    let jpeg = render(&frame, &attributes, &request, ImageFormat::Jpeg).unwrap();
    (png_of(&frame, &attributes, &request), jpeg)
}

fn has_profile(jpeg: &[u8]) -> bool {
    jpeg.windows(12).any(|part| part == b"ICC_PROFILE\0")
}

#[test]
fn icc_profile_is_embedded_only_when_asked() {
    let adobe = ColorProfile::new_adobe_rgb();
    let (picture, jpeg) = with_profile(IccRequest::No, Some(&adobe));
    assert!(picture.profile.is_none() && !has_profile(&jpeg));
    assert_eq!(picture.data[..3], [200, 30, 60]);

    let (picture, jpeg) = with_profile(IccRequest::Yes, Some(&adobe));
    assert_eq!(picture.profile, Some(adobe.encode().unwrap()));
    assert!(has_profile(&jpeg));
    assert_eq!(picture.data[..3], [200, 30, 60]);

    let (picture, _) = with_profile(IccRequest::Yes, None);
    let profile = ColorProfile::new_from_slice(&picture.profile.unwrap()).unwrap();
    assert_eq!(profile.color_space, moxcms::DataColorSpace::Rgb);
}

/// XYZ of a color in a space of pure gamma or sRGB, by the published matrices (D65).
fn xyz(matrix: [[f64; 3]; 3], linear: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row.iter().zip(linear).map(|(m, c)| m * c).sum())
}

const SRGB: [[f64; 3]; 3] = [
    [0.4124, 0.3576, 0.1805],
    [0.2126, 0.7152, 0.0722],
    [0.0193, 0.1192, 0.9505],
];
const ADOBE: [[f64; 3]; 3] = [
    [0.5767, 0.1856, 0.1882],
    [0.2973, 0.6274, 0.0753],
    [0.0270, 0.0707, 0.9911],
];

fn srgb_linear(value: u8) -> f64 {
    let c = f64::from(value) / 255.0;
    if c <= 0.04045 {
        c / 12.92
    } else {
        ((c + 0.055) / 1.055).powf(2.4)
    }
}

#[test]
fn icc_profile_srgb_converts_adobe_rgb() {
    let (picture, _) = with_profile(IccRequest::Srgb, Some(&ColorProfile::new_adobe_rgb()));
    let converted = [picture.data[0], picture.data[1], picture.data[2]];
    assert_ne!(converted, [200, 30, 60]);
    // Adobe RGB reds lie outside sRGB: compare the luminance-carrying channels that do not clip.
    let wanted = xyz(
        ADOBE,
        [200.0, 30.0, 60.0].map(|c: f64| (c / 255.0).powf(563.0 / 256.0)),
    );
    let got = xyz(SRGB, converted.map(srgb_linear));
    for (wanted, got) in wanted.iter().zip(got) {
        assert!((wanted - got).abs() < 0.02, "{wanted} {got}");
    }
}

#[test]
fn icc_profile_adobergb_converts_from_srgb_where_the_image_has_none() {
    let (picture, jpeg) = with_profile(IccRequest::AdobeRgb, None);
    assert!(has_profile(&jpeg));
    let converted = [picture.data[0], picture.data[1], picture.data[2]];
    let wanted = xyz(SRGB, [200, 30, 60].map(srgb_linear));
    let got = xyz(
        ADOBE,
        converted.map(|c| (f64::from(c) / 255.0).powf(563.0 / 256.0)),
    );
    for (wanted, got) in wanted.iter().zip(got) {
        assert!((wanted - got).abs() < 0.005, "{wanted} {got}");
    }
    for icc in [IccRequest::RommRgb, IccRequest::DisplayP3] {
        let (picture, _) = with_profile(icc, None);
        assert!(picture.profile.is_some());
        assert_ne!(picture.data[..3], [200, 30, 60]);
    }
}

#[test]
fn gray_pictures_carry_no_profile() {
    let request = Request {
        icc: IccRequest::Yes,
        ..Request::default()
    };
    let frame = samples(1, 2, SampleKind::U8, &[1, 2]);
    assert!(
        png_of(&frame, &RenderAttributes::default(), &request)
            .profile
            .is_none()
    );
}
