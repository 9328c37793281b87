use super::*;

fn state(metadata: &Value) -> Request {
    let presentation = Presentation::from_json(&metadata.to_string(), "1.2.3", 1, &|_| None);
    Request {
        presentation: Some(presentation),
        ..Request::default()
    }
}

fn turned(degrees: u32, flip: &str, extra: &[(&str, &str, Value)]) -> Value {
    let mut elements = vec![
        ("00700042", "US", json!([degrees])),
        ("00700041", "CS", json!([flip])),
    ];
    elements.extend_from_slice(extra);
    instance(&elements)
}

#[test]
fn rotation_comes_before_the_flip() {
    // 1 2 3
    // 4 5 6
    let data = [1, 2, 3, 4, 5, 6];
    let frame = samples(2, 3, SampleKind::U8, &data);
    for (degrees, flip, width, expected) in [
        (0, "N", 3, [1, 2, 3, 4, 5, 6]),
        (90, "N", 2, [4, 1, 5, 2, 6, 3]),
        (180, "N", 3, [6, 5, 4, 3, 2, 1]),
        (270, "N", 2, [3, 6, 2, 5, 1, 4]),
        (0, "Y", 3, [3, 2, 1, 6, 5, 4]),
        (90, "Y", 2, [1, 4, 2, 5, 3, 6]),
        (180, "Y", 3, [4, 5, 6, 1, 2, 3]),
        (270, "Y", 2, [6, 3, 5, 2, 4, 1]),
    ] {
        let request = state(&turned(degrees, flip, &[]));
        let picture = png_of(&frame, &RenderAttributes::default(), &request);
        assert_eq!(
            (picture.width, &picture.data[..]),
            (width, &expected[..]),
            "{degrees} {flip}"
        );
    }
}

#[test]
fn source_region_refers_to_the_turned_image() {
    let data: Vec<u8> = (0..12).collect();
    let frame = samples(3, 4, SampleKind::U8, &data);
    // Turned by 90 degrees: rows are 8 4 0 / 9 5 1 / 10 6 2 / 11 7 3.
    for (region, expected) in [
        (",,1,2,2,1", vec![6, 2]),
        (",,1,2,-2,1", vec![2, 6]),
        (",,0,1,1,-3", vec![11, 10, 9]),
    ] {
        let mut request = state(&turned(90, "N", &[]));
        request.viewport = viewport(region).viewport;
        let picture = png_of(&frame, &RenderAttributes::default(), &request);
        assert_eq!(picture.data, expected, "{region}");
    }
    // Flipped after the turn: rows are 0 4 8 / 1 5 9 / 2 6 10 / 3 7 11.
    let mut request = state(&turned(90, "Y", &[]));
    request.viewport = viewport(",,1,2,2,1").viewport;
    let picture = png_of(&frame, &RenderAttributes::default(), &request);
    assert_eq!(picture.data, [6, 10]);
}

#[test]
fn presentation_state_equals_window_and_crop_by_parameters() {
    let (_, bytes) = ct(40, 50);
    let frame = samples(40, 50, SampleKind::I16, &bytes);
    let of_image = instance(&[
        ("00281050", "DS", json!([1])),
        ("00281051", "DS", json!([2])),
        ("00281052", "DS", json!([-24])),
        ("00281053", "DS", json!([1])),
    ]);
    let reference = json!([{ "00081155": { "vr": "UI", "Value": ["1.2.3"] } }]);
    let other = json!([{ "00081155": { "vr": "UI", "Value": ["9.9"] } }]);
    let voi = |image: &Value, center: f64| {
        json!({
            "00081140": { "vr": "SQ", "Value": image },
            "00281050": { "vr": "DS", "Value": [center] },
            "00281051": { "vr": "DS", "Value": [700] },
        })
    };
    let area = json!([{
        "00081140": { "vr": "SQ", "Value": reference },
        "00700052": { "vr": "SL", "Value": [11, 6] },
        "00700053": { "vr": "SL", "Value": [30, 35] },
        "00700100": { "vr": "CS", "Value": ["SCALE TO FIT"] },
    }]);
    let metadata = instance(&[
        ("00281052", "DS", json!([-24])),
        ("00281053", "DS", json!([1])),
        (
            "00283110",
            "SQ",
            json!([voi(&other, 0.0), voi(&reference, 90.0)]),
        ),
        ("0070005A", "SQ", area),
        ("20500020", "CS", json!(["IDENTITY"])),
    ]);
    let by_state = png_of(&frame, &attributes(&of_image), &state(&metadata));
    let mut request = viewport("20,30,10,5,20,30");
    request.window = Some((90.0, 700.0, WindowFunction::Linear));
    let by_parameters = png_of(&frame, &attributes(&of_image), &request);
    assert_eq!((by_state.width, by_state.height), (20, 30));
    assert_eq!(by_state, by_parameters);
}

#[test]
fn presentation_lut_shape_replaces_the_photometric_polarity() {
    let mut frame = samples(1, 2, SampleKind::U8, &[0, 200]);
    frame.photometric = SamplePhotometric::Monochrome1;
    let identity = state(&instance(&[("20500020", "CS", json!(["IDENTITY"]))]));
    assert_eq!(
        png_of(&frame, &RenderAttributes::default(), &identity).data,
        [0, 200]
    );
    let inverse = state(&instance(&[("20500020", "CS", json!(["INVERSE"]))]));
    assert_eq!(
        png_of(&frame, &RenderAttributes::default(), &inverse).data,
        [255, 55]
    );
}

#[test]
fn shutters_hide_what_lies_outside() {
    let data = [9; 25];
    let frame = samples(5, 5, SampleKind::U8, &data);
    let visible = |elements: &[(&str, &str, Value)]| {
        let mut all = vec![("00181622", "US", json!([0x8000]))];
        all.extend_from_slice(elements);
        let picture = png_of(
            &frame,
            &RenderAttributes::default(),
            &state(&instance(&all)),
        );
        let of_image = png_of(&frame, &attributes(&instance(&all)), &Request::default());
        assert_eq!(picture, of_image);
        assert!(picture.data.iter().all(|&level| level == 9 || level == 128));
        let text: String = picture
            .data
            .iter()
            .map(|&v| if v == 9 { '#' } else { '.' })
            .collect();
        text.as_bytes()
            .chunks(5)
            .map(|row| String::from_utf8_lossy(row).into_owned())
            .collect::<Vec<_>>()
    };
    let rectangle = visible(&[
        ("00181600", "CS", json!(["RECTANGULAR"])),
        ("00181602", "IS", json!([2])),
        ("00181604", "IS", json!([4])),
        ("00181606", "IS", json!([1])),
        ("00181608", "IS", json!([3])),
    ]);
    assert_eq!(rectangle, [".###.", ".###.", ".###.", ".....", "....."]);
    let circle = visible(&[
        ("00181600", "CS", json!(["CIRCULAR"])),
        ("00181610", "IS", json!([3, 3])),
        ("00181612", "IS", json!([2])),
    ]);
    assert_eq!(circle, ["..#..", ".###.", "#####", ".###.", "..#.."]);
    let polygon = visible(&[
        ("00181600", "CS", json!(["POLYGONAL"])),
        ("00181620", "IS", json!([1, 1, 5, 1, 5, 5])),
    ]);
    assert_eq!(polygon[0], "#....");
    assert_eq!(polygon[2], "###..");
    assert_eq!(polygon[3], "####.");
}

#[test]
fn overlays_are_drawn_when_a_presentation_state_switches_them_on() {
    let data = [0; 12];
    let frame = samples(3, 4, SampleKind::U8, &data);
    // 2 × 3 bits at row 2, column 2: 1 0 1 / 0 1 1.
    let mut image = instance(&[
        ("60020010", "US", json!([2])),
        ("60020011", "US", json!([3])),
        ("60020050", "SS", json!([2, 2])),
    ]);
    image["60023000"] = json!({ "vr": "OW", "InlineBinary": "NQA=" });
    let attributes = attributes(&image);
    assert_eq!(png_of(&frame, &attributes, &Request::default()).data, data);
    let on = state(&instance(&[("60021001", "CS", json!(["LAYER"]))]));
    let expected = [0, 0, 0, 0, 0, 255, 0, 255, 0, 0, 255, 255];
    assert_eq!(png_of(&frame, &attributes, &on).data, expected);
    // Or when the request does.
    let asked = Request {
        annotation: crate::dicom::render::parse_annotation("overlay")
            .unwrap()
            .known,
        ..Request::default()
    };
    assert_eq!(png_of(&frame, &attributes, &asked).data, expected);
}

#[test]
fn graphics_and_text_are_drawn_where_they_belong() {
    let data = vec![0; 100 * 100];
    let frame = samples(100, 100, SampleKind::U8, &data);
    let annotation = |objects: Value, texts: Value| {
        instance(&[(
            "00700001",
            "SQ",
            json!([{
                "00700009": { "vr": "SQ", "Value": objects },
                "00700008": { "vr": "SQ", "Value": texts },
            }]),
        )])
    };
    let line = json!([{
        "00700005": { "vr": "CS", "Value": ["PIXEL"] },
        "00700023": { "vr": "CS", "Value": ["POLYLINE"] },
        "00700022": { "vr": "FL", "Value": [10.5, 20.5, 30.5, 20.5] },
    }]);
    let picture = png_of(
        &frame,
        &RenderAttributes::default(),
        &state(&annotation(line, json!([]))),
    );
    let lit: Vec<_> = (0..10_000_usize).filter(|&i| picture.data[i] > 0).collect();
    assert_eq!(lit, (2010..=2030).collect::<Vec<_>>());

    let circle = json!([{
        "00700005": { "vr": "CS", "Value": ["DISPLAY"] },
        "00700023": { "vr": "CS", "Value": ["CIRCLE"] },
        "00700022": { "vr": "FL", "Value": [0.5, 0.5, 0.5, 0.9] },
    }]);
    let picture = png_of(
        &frame,
        &RenderAttributes::default(),
        &state(&annotation(circle, json!([]))),
    );
    let lit = (0..10_000_usize).filter(|&i| picture.data[i] > 0);
    for index in lit {
        let (x, y) = ((index % 100) as f64 - 49.5, (index / 100) as f64 - 49.5);
        assert!((x.hypot(y) - 40.0).abs() < 2.0);
    }

    let text = json!([{
        "00700004": { "vr": "CS", "Value": ["PIXEL"] },
        "00700014": { "vr": "FL", "Value": [40, 40] },
        "00700006": { "vr": "ST", "Value": ["Hi"] },
    }]);
    let picture = png_of(
        &frame,
        &RenderAttributes::default(),
        &state(&annotation(json!([]), text)),
    );
    let lit: Vec<_> = (0..10_000_usize)
        .filter(|&i| picture.data[i] == 255)
        .collect();
    assert!(lit.len() > 20);
    assert!(
        lit.iter()
            .all(|i| (40..56).contains(&(i % 100)) && (40..48).contains(&(i / 100)))
    );
}

#[test]
fn magnification_enlarges_without_a_viewport() {
    let frame = samples(2, 3, SampleKind::U8, &[5; 6]);
    let area = json!([{
        "00700052": { "vr": "SL", "Value": [1, 1] },
        "00700053": { "vr": "SL", "Value": [3, 2] },
        "00700100": { "vr": "CS", "Value": ["MAGNIFY"] },
        "00700103": { "vr": "FL", "Value": [4.0] },
    }]);
    let request = state(&instance(&[("0070005A", "SQ", area)]));
    let picture = png_of(&frame, &RenderAttributes::default(), &request);
    assert_eq!((picture.width, picture.height), (12, 8));
}
