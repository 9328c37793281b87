use super::*;

fn linear(x: f64, c: f64, w: f64) -> f64 {
    if x <= c - 0.5 - (w - 1.0) / 2.0 {
        0.0
    } else if x > c - 0.5 + (w - 1.0) / 2.0 {
        255.0
    } else {
        ((x - (c - 0.5)) / (w - 1.0) + 0.5) * 255.0
    }
}

/// Checks a rendered picture against a reference to within one level and 45 dB.
fn assert_close(reference: &[f64], picture: &DecodedPicture) {
    for (index, (&reference, &actual)) in reference.iter().zip(&picture.data).enumerate() {
        let error = (reference - f64::from(actual)).abs();
        assert!(
            error <= 0.500_001,
            "pixel {index}: {actual} for {reference}"
        );
    }
    assert!(psnr(reference, &picture.data) >= 45.0);
}

#[test]
fn linear_window_follows_the_formula_after_rescale() {
    let (values, bytes) = ct(128, 96);
    let metadata = instance(&[
        ("00280103", "US", json!([1])),
        ("00281052", "DS", json!([-24.0])),
        ("00281053", "DS", json!(["1.5 "])),
        ("00281050", "DS", json!([40, 300])),
        ("00281051", "DS", json!([400, 1500])),
    ]);
    let picture = png_of(
        &samples(128, 96, SampleKind::I16, &bytes),
        &attributes(&metadata),
        &Request::default(),
    );
    assert_eq!(
        (picture.width, picture.height, picture.channels),
        (96, 128, 1)
    );
    let reference: Vec<_> = values
        .iter()
        .map(|&v| linear(f64::from(v) * 1.5 - 24.0, 40.0, 400.0))
        .collect();
    assert_close(&reference, &picture);
}

#[test]
fn requested_windows_replace_the_image_s_and_keep_their_functions() {
    let (values, bytes) = ct(64, 64);
    let frame = samples(64, 64, SampleKind::I16, &bytes);
    let metadata = instance(&[
        ("00281050", "DS", json!([0])),
        ("00281051", "DS", json!([10])),
    ]);
    let (c, w) = (123.4, 777.7);
    let exact = |x: f64| (((x - c) / w + 0.5) * 255.0).clamp(0.0, 255.0);
    let sigmoid = |x: f64| 255.0 / (1.0 + (-4.0 * (x - c) / w).exp());
    for (function, rule) in [
        (
            WindowFunction::Linear,
            &(|x| linear(x, c, w)) as &dyn Fn(f64) -> f64,
        ),
        (WindowFunction::LinearExact, &exact),
        (WindowFunction::Sigmoid, &sigmoid),
    ] {
        let picture = png_of(&frame, &attributes(&metadata), &window(c, w, function));
        let reference: Vec<_> = values.iter().map(|&v| rule(f64::from(v))).collect();
        assert_close(&reference, &picture);
    }
}

#[test]
fn window_function_of_the_image_is_used() {
    let data = words(&[0, 100, 200, 1000]);
    let metadata = instance(&[
        ("00281050", "DS", json!([150])),
        ("00281051", "DS", json!([400])),
        ("00281056", "CS", json!(["SIGMOID"])),
    ]);
    let picture = png_of(
        &samples(1, 4, SampleKind::U16, &data),
        &attributes(&metadata),
        &Request::default(),
    );
    let reference: Vec<_> = [0.0, 100.0, 200.0, 1000.0]
        .iter()
        .map(|x: &f64| 255.0 / (1.0 + (-4.0 * (x - 150.0) / 400.0).exp()))
        .collect();
    assert_close(&reference, &picture);
}

#[test]
fn window_of_width_one_is_a_threshold() {
    let data = words(&[98, 99, 100, 101]);
    let picture = png_of(
        &samples(1, 4, SampleKind::U16, &data),
        &RenderAttributes::default(),
        &window(100.0, 1.0, WindowFunction::Linear),
    );
    assert_eq!(picture.data, [0, 0, 255, 255]);
}

#[test]
fn monochrome1_is_inverted() {
    let (values, bytes) = ct(32, 32);
    let mut frame = samples(32, 32, SampleKind::I16, &bytes);
    frame.photometric = SamplePhotometric::Monochrome1;
    let picture = png_of(
        &frame,
        &RenderAttributes::default(),
        &window(100.0, 1000.0, WindowFunction::Linear),
    );
    let reference: Vec<_> = values
        .iter()
        .map(|&v| 255.0 - linear(f64::from(v), 100.0, 1000.0))
        .collect();
    assert_close(&reference, &picture);
}

#[test]
fn monochrome1_and_inverse_shape_invert_once() {
    let mut frame = samples(1, 3, SampleKind::U8, &[0, 100, 255]);
    frame.photometric = SamplePhotometric::Monochrome1;
    let metadata = instance(&[("20500020", "CS", json!(["INVERSE"]))]);
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    assert_eq!(picture.data, [255, 155, 0]);
}

#[test]
fn presentation_lut_maps_the_windowed_value() {
    let frame = samples(1, 3, SampleKind::U8, &[0, 128, 255]);
    let metadata = instance(&[(
        "20500010",
        "SQ",
        json!([{
            "00283002": { "vr": "US", "Value": [3, 0, 8] },
            "00283006": { "vr": "US", "Value": [10, 200, 90] },
        }]),
    )]);
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    // The table's largest entry fits 8 bits, so entries are levels.
    assert_eq!(picture.data, [10, 200, 90]);
}

#[test]
fn plain_8_bit_passes_through() {
    let data: Vec<u8> = (0..=255).rev().collect();
    let frame = samples(16, 16, SampleKind::U8, &data);
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!(picture.data, data);
}

#[test]
fn fewer_than_8_bits_fill_the_range_whatever_the_frame_holds() {
    let mut frame = samples(1, 4, SampleKind::U8, &[1, 1, 1, 1]);
    frame.bits_stored = 1;
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!(picture.data, [255; 4]);
    let mut frame = samples(1, 3, SampleKind::U8, &[0, 5, 15]);
    frame.bits_stored = 4;
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!(picture.data, [0, 85, 255]);
}

#[test]
fn frame_without_voi_uses_its_own_range_and_padding_is_black() {
    let values: [i16; 6] = [-2000, -100, 0, 400, 900, -2000];
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let metadata = instance(&[
        ("00280103", "US", json!([1])),
        ("00280120", "US", json!([63536])),
        ("00281052", "DS", json!([-1024])),
        ("00281053", "DS", json!([1])),
    ]);
    let mut frame = samples(1, 6, SampleKind::I16, &data);
    let level = |v: f64| (v + 100.0) / 1000.0 * 255.0;
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    assert_close(
        &[0.0, level(-100.0), level(0.0), level(400.0), 255.0, 0.0],
        &picture,
    );

    frame.photometric = SamplePhotometric::Monochrome1;
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    assert_eq!(
        (picture.data[0], picture.data[1], picture.data[4]),
        (0, 255, 0)
    );
}

#[test]
fn padding_range_is_left_out() {
    let data = words(&[10, 20, 60_000, 60_500, 61_000]);
    let metadata = instance(&[
        ("00280120", "US", json!([61_000])),
        ("00280121", "US", json!([60_000])),
    ]);
    let picture = png_of(
        &samples(1, 5, SampleKind::U16, &data),
        &attributes(&metadata),
        &Request::default(),
    );
    assert_eq!(picture.data, [0, 255, 0, 0, 0]);
}

#[test]
fn modality_lut_comes_before_the_window() {
    let data = words(&[9, 10, 11, 12, 40]);
    let metadata = instance(&[
        (
            "00283000",
            "SQ",
            json!([{
                "00283002": { "vr": "US", "Value": [3, 10, 16] },
                "00283006": { "vr": "US", "Value": [0, 5000, 1000] },
            }]),
        ),
        ("00281050", "DS", json!([2500])),
        ("00281051", "DS", json!([5001])),
    ]);
    let picture = png_of(
        &samples(1, 5, SampleKind::U16, &data),
        &attributes(&metadata),
        &Request::default(),
    );
    let reference = [0.0, 0.0, 5000.0, 1000.0, 1000.0].map(|x| linear(x, 2500.0, 5001.0));
    assert_close(&reference, &picture);
}

#[test]
fn voi_lut_takes_signed_input_and_scales_its_output() {
    let values: [i16; 5] = [-60, -50, -49, -48, 100];
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let metadata = instance(&[
        ("00280103", "US", json!([1])),
        (
            "00283010",
            "SQ",
            json!([{
                "00283002": { "vr": "US", "Value": [3, 65_486, 12] },
                "00283006": { "vr": "US", "Value": [0, 4095, 1000] },
            }]),
        ),
    ]);
    let picture = png_of(
        &samples(1, 5, SampleKind::I16, &data),
        &attributes(&metadata),
        &Request::default(),
    );
    let third = 1000.0 / 4095.0 * 255.0;
    assert_close(&[0.0, 0.0, 255.0, third, third], &picture);
}

#[test]
fn a_voi_lut_narrower_than_its_descriptor_reaches_white() {
    // Sixteen bits announced, twelve used; and eight announced, ten used.
    for (bits, largest) in [(16, 4095_u16), (8, 1023), (12, 4095)] {
        let metadata = instance(&[(
            "00283010",
            "SQ",
            json!([{
                "00283002": { "vr": "US", "Value": [3, 0, bits] },
                "00283006": { "vr": "US", "Value": [0, largest / 2, largest] },
            }]),
        )]);
        let picture = png_of(
            &samples(1, 3, SampleKind::U8, &[0, 1, 2]),
            &attributes(&metadata),
            &Request::default(),
        );
        assert_close(&[0.0, 127.5, 255.0], &picture);
    }
}

#[test]
fn voi_lut_of_65536_entries_comes_as_bulk_data() {
    let table: Vec<u16> = (0..=u16::MAX).map(|value| value ^ 0xFFFF).collect();
    let table = words(&table);
    let metadata = instance(&[(
        "00283010",
        "SQ",
        json!([{
            "00283002": { "vr": "US", "Value": [0, 0, 16] },
            "00283006": { "vr": "OW", "BulkDataURI": "b" },
        }]),
    )]);
    let bulk = |path: &str| (path == "00283010/0/00283006").then(|| table.clone());
    let attributes = RenderAttributes::from_json(&metadata.to_string(), 1, &bulk);
    let data = words(&[0, 1000, 40_000, 65_535]);
    let picture = png_of(
        &samples(1, 4, SampleKind::U16, &data),
        &attributes,
        &Request::default(),
    );
    let reference = [0.0, 1000.0, 40_000.0, 65_535.0].map(|x| 255.0 - x / 65_535.0 * 255.0);
    assert_close(&reference, &picture);
}

#[test]
fn packed_8_bit_lut_data_is_read_inline() {
    let metadata = instance(&[(
        "00283010",
        "SQ",
        json!([{
            "00283002": { "vr": "US", "Value": [4, 0, 8] },
            "00283006": { "vr": "OW", "InlineBinary": "ChQe/w==" },
        }]),
    )]);
    let frame = samples(1, 4, SampleKind::U8, &[0, 1, 2, 3]);
    let picture = png_of(&frame, &attributes(&metadata), &Request::default());
    assert_eq!(picture.data, [10, 20, 30, 255]);
}

#[test]
fn bits_above_bits_stored_are_ignored_and_signs_extended() {
    let request = window(0.0, 4097.0, WindowFunction::Linear);
    let data = words(&[0xF7FF, 0x0800, 0x0000]);
    let mut frame = samples(1, 3, SampleKind::I16, &data);
    frame.bits_stored = 12;
    let picture = png_of(&frame, &RenderAttributes::default(), &request);
    let reference = [2047.0, -2048.0, 0.0].map(|x| linear(x, 0.0, 4097.0));
    assert_close(&reference, &picture);
}

#[test]
fn float_frames_are_windowed_and_have_no_numbers_black() {
    let values = [f32::NAN, -0.5, 0.0, 0.25, 1.5, f32::INFINITY];
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let frame = samples(1, 6, SampleKind::F32, &data);
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_close(&[0.0, 0.0, 63.75, 95.625, 255.0, 255.0], &picture);

    let doubles: Vec<u8> = values
        .iter()
        .flat_map(|v| f64::from(*v).to_le_bytes())
        .collect();
    let frame = samples(1, 6, SampleKind::F64, &doubles);
    let request = window(0.5, 1.0, WindowFunction::LinearExact);
    let picture = png_of(&frame, &RenderAttributes::default(), &request);
    assert_close(&[0.0, 0.0, 0.0, 63.75, 255.0, 255.0], &picture);
}

#[test]
fn wide_integers_keep_their_range() {
    let values = [0_u32, 1 << 30, u32::MAX];
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let picture = png_of(
        &samples(1, 3, SampleKind::U32, &data),
        &RenderAttributes::default(),
        &Request::default(),
    );
    assert_eq!(picture.data, [0, 64, 255]);
    let values = [i32::MIN, 0, i32::MAX];
    let data: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    let picture = png_of(
        &samples(1, 3, SampleKind::I32, &data),
        &RenderAttributes::default(),
        &Request::default(),
    );
    assert_eq!(picture.data, [0, 128, 255]);
}

#[test]
fn packed_bits_start_inside_a_byte() {
    // 3 × 5 pixels from bit 3 on, least significant bit first.
    let bits = [1, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 0, 0, 1, 0];
    let mut data = [0b111_u8, 0, 0];
    for (index, bit) in bits.iter().enumerate() {
        data[(index + 3) / 8] |= bit << ((index + 3) % 8);
    }
    let mut frame = samples(3, 5, SampleKind::Bits1 { first_bit: 3 }, &data);
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!(picture.data, bits.map(|bit| bit * 255));
    frame.photometric = SamplePhotometric::Monochrome1;
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!(picture.data, bits.map(|bit| 255 - bit * 255));
}

#[test]
fn one_value_frames_are_black() {
    let data = words(&[700; 4]);
    let picture = png_of(
        &samples(2, 2, SampleKind::U16, &data),
        &RenderAttributes::default(),
        &Request::default(),
    );
    assert_eq!(picture.data, [0; 4]);
}
