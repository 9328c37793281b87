use super::*;
use crate::dicom::render::image::Image;

const TAGS: [(&str, &str); 44] = [
    ("00280103", "US"),
    ("00280120", "US"),
    ("00280121", "US"),
    ("00280122", "FL"),
    ("00281050", "DS"),
    ("00281051", "DS"),
    ("00281052", "DS"),
    ("00281053", "DS"),
    ("00281056", "CS"),
    ("00283000", "SQ"),
    ("00283002", "US"),
    ("00283006", "OW"),
    ("00283010", "SQ"),
    ("00281101", "US"),
    ("00281102", "US"),
    ("00281103", "US"),
    ("00281201", "OW"),
    ("00281202", "OW"),
    ("00281203", "OW"),
    ("00281221", "OW"),
    ("00281222", "OW"),
    ("00281223", "OW"),
    ("00280034", "IS"),
    ("00280030", "DS"),
    ("00181600", "CS"),
    ("00181602", "IS"),
    ("00181604", "IS"),
    ("00181606", "IS"),
    ("00181608", "IS"),
    ("00181610", "IS"),
    ("00181612", "IS"),
    ("00181620", "IS"),
    ("60000010", "US"),
    ("60000011", "US"),
    ("60000050", "SS"),
    ("60003000", "OW"),
    ("60001001", "CS"),
    ("0070005A", "SQ"),
    ("00700042", "US"),
    ("00700001", "SQ"),
    ("00282000", "OB"),
    ("20500010", "SQ"),
    ("20500020", "CS"),
    ("00089205", "CS"),
];

fn value(random: &mut PseudoRandom) -> Value {
    match random.below(14) {
        0 => json!(random.below(65_536)),
        1 => json!(random.next() as i64 - (1 << 40)),
        2 => json!(0),
        3 => json!(-1.5e300),
        4 => json!("NaN"),
        5 => json!("inf"),
        6 => json!("1e308"),
        7 => json!(
            [
                "RECTANGULAR",
                "CIRCULAR",
                "POLYGONAL",
                "COLOR",
                "INVERSE",
                "SIGMOID"
            ][random.below(6) as usize]
        ),
        8 => json!(null),
        9 => json!([1, 2]),
        10 => json!({ "Alphabetic": "x" }),
        _ => json!(random.below(300)),
    }
}

fn element(random: &mut PseudoRandom, vr: &str) -> Value {
    let binary = ["", "AAAA", "AQIDBAUGBwgJCgsM", "////////", "!"][random.below(5) as usize];
    match random.below(6) {
        0 => json!({ "vr": vr }),
        1 => json!({ "vr": vr, "InlineBinary": binary }),
        2 => json!({ "vr": vr, "BulkDataURI": "b" }),
        3 => json!(random.below(9)),
        _ => {
            let count = random.below(9);
            json!({ "vr": vr, "Value": (0..count).map(|_| value(random)).collect::<Vec<_>>() })
        }
    }
}

fn data_set(random: &mut PseudoRandom, depth: u32) -> Value {
    let mut set = json!({});
    for _ in 0..random.below(20) {
        let (tag, vr) = TAGS[random.below(TAGS.len() as u64) as usize];
        set[tag] = if vr == "SQ" && depth < 3 && random.below(4) > 0 {
            let count = random.below(3);
            let items: Vec<_> = (0..count).map(|_| data_set(random, depth + 1)).collect();
            json!({ "vr": "SQ", "Value": items })
        } else {
            element(random, vr)
        };
    }
    set
}

#[test]
fn random_attributes_give_a_picture_or_an_error() {
    let mut random = PseudoRandom(99);
    let data: Vec<u8> = (0..400).map(|_| random.below(256) as u8).collect();
    let kinds = [
        SampleKind::U8,
        SampleKind::I8,
        SampleKind::U16,
        SampleKind::I16,
        SampleKind::U32,
        SampleKind::I32,
        SampleKind::F32,
        SampleKind::F64,
        SampleKind::Bits1 { first_bit: 5 },
        SampleKind::Bits1 { first_bit: 200 },
    ];
    let photometrics = [
        SamplePhotometric::Monochrome1,
        SamplePhotometric::Monochrome2,
        SamplePhotometric::PaletteColor,
        SamplePhotometric::Rgb,
        SamplePhotometric::YbrFull422,
        SamplePhotometric::YbrPartial420,
    ];
    let mut pictures = 0;
    for round in 0..3000_u32 {
        let metadata = data_set(&mut random, 0);
        let bytes: Vec<u8> = data
            .iter()
            .copied()
            .take(random.below(300) as usize)
            .collect();
        let bulk = |_: &str| Some(bytes.clone());
        let attributes = RenderAttributes::from_json(&metadata.to_string(), round % 4, &bulk);
        let presentation = (round % 3 == 0)
            .then(|| Presentation::from_json(&metadata.to_string(), "1.2", round % 4, &bulk));
        let frame = Samples {
            rows: random.below(9) as u32,
            columns: random.below(9) as u32,
            samples: [1, 1, 1, 3, 3, 0, 4][random.below(7) as usize],
            kind: kinds[random.below(10) as usize],
            bits_stored: [8, 16, 12, 0, 1, 99][random.below(6) as usize],
            photometric: photometrics[random.below(6) as usize],
            data: &data[..random.below(401) as usize],
        };
        let request = Request {
            presentation,
            annotation: vec![Annotation::Patient, Annotation::Technique],
            icc: IccRequest::Srgb,
            viewport: (round % 5 == 0).then_some(Viewport {
                width: Some(f64::from(round % 100)),
                height: [None, Some(1e9), Some(f64::NAN), Some(-4.0)][random.below(4) as usize],
                region: Region::Pixels {
                    x: f64::from(round % 7) - 1.0,
                    y: 0.5,
                    width: Some([0.0, 1e-9, 2.5, f64::INFINITY][random.below(4) as usize]),
                    height: None,
                    flip_horizontal: true,
                    flip_vertical: false,
                },
            }),
            ..Request::default()
        };
        if let Ok(bytes) = render(&frame, &attributes, &request, ImageFormat::Png) {
            let picture = read_png(&bytes);
            assert!(u64::from(picture.width) * u64::from(picture.height) <= MAX_PIXELS);
            pictures += 1;
        }
    }
    assert!(pictures > 300, "{pictures}");
}

#[test]
fn short_and_empty_frames_are_errors() {
    let attributes = RenderAttributes::default();
    let try_render = |frame: &Samples<'_>| {
        render(frame, &attributes, &Request::default(), ImageFormat::Png).unwrap_err()
    };
    let short = try_render(&samples(2, 2, SampleKind::U16, &[0; 7]));
    assert!(matches!(
        short,
        RenderError::ShortFrame {
            actual: 7,
            needed: 8
        }
    ));
    let empty = try_render(&samples(0, 2, SampleKind::U8, &[0; 7]));
    assert!(matches!(
        empty,
        RenderError::NoPixels {
            rows: 0,
            columns: 2
        }
    ));
    let huge = try_render(&samples(u32::MAX, u32::MAX, SampleKind::F64, &[0; 7]));
    assert!(matches!(huge, RenderError::ShortFrame { .. }));
    let four = Samples {
        samples: 4,
        ..samples(1, 1, SampleKind::U8, &[0; 4])
    };
    assert!(matches!(try_render(&four), RenderError::Unsupported { .. }));
    let float = Samples {
        kind: SampleKind::F32,
        ..rgb(1, 1, &[0; 12])
    };
    assert!(matches!(
        try_render(&float),
        RenderError::Unsupported { .. }
    ));
}

#[test]
fn windows_built_by_hand_cannot_be_impossible() {
    for (center, width) in [
        (f64::NAN, 1.0),
        (0.0, f64::INFINITY),
        (0.0, 0.0),
        (0.0, -1.0),
    ] {
        assert!(Window::new(center, width, WindowFunction::Linear, None).is_none());
        let request = window(center, width, WindowFunction::Sigmoid);
        let frame = samples(1, 2, SampleKind::U8, &[3, 4]);
        assert_eq!(
            png_of(&frame, &RenderAttributes::default(), &request).data,
            [3, 4]
        );
    }
    let extreme = window(1e300, 1e-300, WindowFunction::LinearExact);
    let frame = samples(1, 2, SampleKind::U8, &[3, 4]);
    assert_eq!(
        png_of(&frame, &RenderAttributes::default(), &extreme).data,
        [0, 0]
    );
}

#[test]
fn damaged_color_profiles_are_passed_over() {
    let profile = moxcms::ColorProfile::new_adobe_rgb().encode().unwrap();
    let mut random = PseudoRandom(5);
    let data = [10, 200, 30].repeat(16);
    for round in 0..2000 {
        let mut damaged = profile.clone();
        for _ in 0..=random.below(6) {
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] = random.below(256) as u8;
        }
        if round % 3 == 0 {
            damaged.truncate(random.below(damaged.len() as u64) as usize);
        }
        let attributes = RenderAttributes {
            icc: Some(damaged),
            ..RenderAttributes::default()
        };
        for icc in [IccRequest::Yes, IccRequest::Srgb] {
            let request = Request {
                icc,
                ..Request::default()
            };
            assert_eq!(
                png_of(&rgb(4, 4, &data), &attributes, &request).data.len(),
                48
            );
        }
    }
}

#[test]
fn giant_graphics_and_shutters_cost_little() {
    let mut random = PseudoRandom(21);
    let mut far = || (random.below(1 << 40) as f64 - 1e11) * [1.0, 1e25][random.below(2) as usize];
    let points: Vec<f64> = (0..40_000).map(|_| far()).collect();
    let object = json!({
        "00700005": { "vr": "CS", "Value": ["PIXEL"] },
        "00700023": { "vr": "CS", "Value": ["POLYLINE"] },
        "00700022": { "vr": "FL", "Value": points },
    });
    let zigzag: Vec<i32> = (0..8192).map(|i| if i % 4 < 2 { 1 } else { 400 }).collect();
    let metadata = instance(&[
        (
            "00700001",
            "SQ",
            json!([{ "00700009": { "vr": "SQ", "Value": vec![object; 20] } }]),
        ),
        ("00181600", "CS", json!(vec!["POLYGONAL"; 1000])),
        ("00181620", "IS", json!(zigzag)),
    ]);
    let presentation = Presentation::from_json(&metadata.to_string(), "1", 1, &|_| None);
    assert_eq!(presentation.graphics.len(), 20);
    assert_eq!(presentation.shutter.as_ref().unwrap().shapes.len(), 3);
    let request = Request {
        presentation: Some(presentation),
        ..Request::default()
    };
    let data = vec![9; 400 * 400];
    let frame = samples(400, 400, SampleKind::U8, &data);
    let picture = png_of(&frame, &RenderAttributes::default(), &request);
    assert!(picture.data.contains(&0));
}

#[test]
fn lines_are_cut_to_the_picture() {
    let mut image = Image {
        width: 9,
        height: 5,
        channels: 1,
        data: vec![0; 45],
    };
    let steps = annotate::draw_line(&mut image, (-1e12, 2.5), (1e12, 2.5), 1, 7);
    assert!(steps < 60);
    assert_eq!(image.data[18..27], [7; 9]);
    assert_eq!(image.data.iter().filter(|&&level| level == 7).count(), 9);
    for (from, to) in [
        ((f64::NAN, 0.0), (1.0, 1.0)),
        ((0.0, f64::INFINITY), (1.0, f64::NEG_INFINITY)),
        ((f64::MAX, f64::MIN), (f64::MIN, f64::MAX)),
        ((100.0, 0.0), (100.0, 4.0)),
    ] {
        assert!(annotate::draw_line(&mut image, from, to, 1, 1) < 100);
    }
}
