use super::*;

/// A frame whose pixels tell where they come from.
fn numbered(rows: u32, columns: u32) -> Vec<u8> {
    (0..rows * columns)
        .map(|i| ((i / columns) * 16 + i % columns) as u8)
        .collect()
}

fn shown(rows: u32, columns: u32, data: &[u8], request: &Request) -> DecodedPicture {
    png_of(
        &samples(rows, columns, SampleKind::U8, data),
        &RenderAttributes::default(),
        request,
    )
}

#[test]
fn without_a_viewport_the_size_is_that_of_the_frame() {
    let data = numbered(7, 11);
    let picture = shown(7, 11, &data, &Request::default());
    assert_eq!((picture.width, picture.height), (11, 7));
    assert_eq!(picture.data, data);
}

#[test]
fn crop_at_its_own_size_is_exact() {
    let data = numbered(12, 14);
    let picture = shown(12, 14, &data, &viewport("4,3,5,6,4,3"));
    assert_eq!((picture.width, picture.height), (4, 3));
    let expected: Vec<u8> = (6..9)
        .flat_map(|y| (5..9).map(move |x| y * 16 + x))
        .collect();
    assert_eq!(picture.data, expected);
}

#[test]
fn negative_sizes_mirror_the_region() {
    let data = numbered(12, 14);
    let horizontal = shown(12, 14, &data, &viewport("4,3,5,6,-4,3"));
    let expected: Vec<u8> = (6..9)
        .flat_map(|y| (5..9).rev().map(move |x| y * 16 + x))
        .collect();
    assert_eq!(horizontal.data, expected);
    let vertical = shown(12, 14, &data, &viewport("4,3,5,6,4,-3"));
    let expected: Vec<u8> = (6..9)
        .rev()
        .flat_map(|y| (5..9).map(move |x| y * 16 + x))
        .collect();
    assert_eq!(vertical.data, expected);
}

#[test]
fn mirrored_colors_keep_their_channels() {
    let frame_data = [1, 2, 3, 4, 5, 6];
    let frame = rgb(1, 2, &frame_data);
    let picture = png_of(&frame, &RenderAttributes::default(), &viewport("2,1,,,-2,"));
    assert_eq!(picture.data, [4, 5, 6, 1, 2, 3]);
}

#[test]
fn viewport_keeps_the_aspect_ratio_and_fills_one_side() {
    let data = numbered(10, 15);
    for (asked, size) in [
        ("30,30", (30, 20)),
        ("300,20", (30, 20)),
        ("5,100", (5, 3)),
        ("15,10", (15, 10)),
        (",5", (8, 5)),
        ("7.6,100", (8, 5)),
    ] {
        let picture = shown(10, 15, &data, &viewport(asked));
        assert_eq!((picture.width, picture.height), size, "{asked}");
    }
}

#[test]
fn region_reaches_to_the_far_edge_by_default_and_is_cut_to_the_image() {
    let data = numbered(8, 8);
    let picture = shown(8, 8, &data, &viewport(",,6,5"));
    assert_eq!((picture.width, picture.height), (2, 3));
    assert_eq!(picture.data, [86, 87, 102, 103, 118, 119]);
    let picture = shown(8, 8, &data, &viewport(",,6,5,100,100"));
    assert_eq!(picture.data, [86, 87, 102, 103, 118, 119]);
}

#[test]
fn region_outside_the_image_is_an_error() {
    let frame_data = numbered(8, 8);
    let frame = samples(8, 8, SampleKind::U8, &frame_data);
    let request = viewport("10,10,8,0,2,2");
    let error = render(
        &frame,
        &RenderAttributes::default(),
        &request,
        ImageFormat::Png,
    );
    assert!(matches!(
        error,
        Err(RenderError::EmptyRegion {
            width: 8,
            height: 8
        })
    ));
}

#[test]
fn region_of_the_uri_service_is_a_fraction() {
    let data = numbered(8, 8);
    let region = parse_region("0.25,0.5,0.75,1").unwrap();
    let viewport = Some(Viewport {
        width: None,
        height: None,
        region,
    });
    let picture = shown(
        8,
        8,
        &data,
        &Request {
            viewport,
            ..Request::default()
        },
    );
    assert_eq!((picture.width, picture.height), (4, 4));
    assert_eq!(picture.data[..4], [66, 67, 68, 69]);
}

#[test]
fn shrinking_averages_areas() {
    let data = [0, 100, 10, 20, 50, 250, 30, 40, 7, 7, 7, 7, 7, 7, 7, 11];
    let picture = shown(4, 4, &data, &viewport("2,2"));
    assert_eq!(picture.data, [100, 25, 7, 8]);
}

#[test]
fn enlarging_interpolates_and_does_not_reach_past_the_crop() {
    let picture = shown(1, 2, &[0, 100], &viewport("8,4"));
    assert_eq!((picture.width, picture.height), (8, 4));
    assert_eq!(picture.data[..8], [0, 0, 13, 38, 63, 88, 100, 100]);
    let picture = shown(1, 4, &[255, 0, 100, 255], &viewport("8,4,1,0,2,1"));
    assert_eq!(picture.data[..8], [0, 0, 13, 38, 63, 88, 100, 100]);
}

#[test]
fn any_scale_agrees_with_a_slow_reference() {
    let mut random = PseudoRandom(11);
    let data: Vec<u8> = (0..60 * 47).map(|_| random.below(256) as u8).collect();
    let at = |x: f64, y: f64| {
        // Area under the box of one output pixel, by fine sampling.
        f64::from(data[(y.floor() as usize) * 47 + x.floor() as usize])
    };
    let (sx, sy, sw, sh) = (3.5, 7.25, 38.0, 44.5);
    let picture = shown(60, 47, &data, &viewport("19,1000,3.5,7.25,38,44.5"));
    let (w, h) = (picture.width, picture.height);
    assert_eq!((w, h), (19, 22));
    let mut reference = Vec::new();
    for y in 0..h {
        for x in 0..w {
            let mut sum = 0.0;
            for j in 0..40 {
                for i in 0..40 {
                    let u = sx + (f64::from(x) + (f64::from(i) + 0.5) / 40.0) * sw / f64::from(w);
                    let v = sy + (f64::from(y) + (f64::from(j) + 0.5) / 40.0) * sh / f64::from(h);
                    sum += at(u, v);
                }
            }
            reference.push(sum / 1600.0);
        }
    }
    assert!(psnr(&reference, &picture.data) >= 45.0);
}

#[test]
fn pixels_that_are_not_square_are_evened_out_in_a_viewport_only() {
    let data = numbered(10, 10);
    let frame = samples(10, 10, SampleKind::U8, &data);
    for (tag, values, size) in [
        ("00280034", json!([2, 1]), (50, 100)),
        ("00280030", json!([0.5, 1.0]), (100, 50)),
        ("00181164", json!(["0.2", "0.1"]), (50, 100)),
        ("00280034", json!([0, 1]), (100, 100)),
    ] {
        let attributes = attributes(&instance(&[(tag, "DS", values)]));
        let picture = png_of(&frame, &attributes, &viewport("100,100"));
        assert_eq!((picture.width, picture.height), size, "{tag}");
        let picture = png_of(&frame, &attributes, &Request::default());
        assert_eq!((picture.width, picture.height), (10, 10));
    }
}

#[test]
fn huge_viewports_are_capped() {
    let data = numbered(2, 4);
    let picture = shown(2, 4, &data, &viewport("1000000,1000000"));
    assert_eq!((picture.width, picture.height), (8192, 4096));
}

#[test]
fn frames_larger_than_the_cap_are_scaled_down() {
    let data = vec![0x55; 70_000 * 2];
    let frame = samples(16, 70_000, SampleKind::Bits1 { first_bit: 0 }, &data);
    let picture = png_of(&frame, &RenderAttributes::default(), &Request::default());
    assert_eq!((picture.width, picture.height), (MAX_SIDE, 14));
    for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
        let attributes = RenderAttributes::default();
        assert!(render(&frame, &attributes, &Request::default(), format).is_ok());
    }

    let frame = samples(8000, 9000, SampleKind::U8, &[]);
    let plan =
        super::super::geometry::plan(&frame, &RenderAttributes::default(), &Request::default())
            .unwrap();
    assert!(u64::from(plan.width) * u64::from(plan.height) <= MAX_PIXELS);
    assert!(plan.width > 8600 && plan.height > 7600);
}
