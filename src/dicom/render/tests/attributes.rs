use super::*;

fn frame_group(center: f64, width: f64, intercept: f64) -> Value {
    json!({
        "00289132": { "vr": "SQ", "Value": [{
            "00281050": { "vr": "DS", "Value": [center] },
            "00281051": { "vr": "DS", "Value": [width] },
        }] },
        "00289145": { "vr": "SQ", "Value": [{
            "00281052": { "vr": "DS", "Value": [intercept] },
            "00281053": { "vr": "DS", "Value": [2] },
        }] },
    })
}

#[test]
fn per_frame_groups_come_before_shared_ones_and_the_instance() {
    let metadata = instance(&[
        ("00281050", "DS", json!([1])),
        ("00281051", "DS", json!([1])),
        ("52009229", "SQ", json!([frame_group(500.0, 1000.0, 0.0)])),
        (
            "52009230",
            "SQ",
            json!([
                frame_group(50.0, 101.0, -10.0),
                frame_group(100.0, 201.0, 5.0),
                {}
            ]),
        ),
    ]);
    let data = words(&[0, 30, 60, 90]);
    let frame = samples(1, 4, SampleKind::U16, &data);
    for (number, c, w, b) in [
        (1, 50.0, 101.0, -10.0),
        (2, 100.0, 201.0, 5.0),
        (3, 500.0, 1000.0, 0.0),
        (9, 500.0, 1000.0, 0.0),
        (0, 50.0, 101.0, -10.0),
    ] {
        let attributes = RenderAttributes::from_json(&metadata.to_string(), number, &|_| None);
        let picture = png_of(&frame, &attributes, &Request::default());
        for (stored, &actual) in [0.0, 30.0, 60.0, 90.0].iter().zip(&picture.data) {
            let x = stored * 2.0 + b;
            let level = (((x - (c - 0.5)) / (w - 1.0) + 0.5) * 255.0_f64).clamp(0.0, 255.0);
            assert!((level - f64::from(actual)).abs() <= 0.5, "frame {number}");
        }
    }
}

#[test]
fn impossible_windows_are_passed_over() {
    let metadata = instance(&[
        ("00281050", "DS", json!([40, "nan", "x", 50])),
        ("00281051", "DS", json!([0, 10, 20, 300])),
        ("00281055", "LO", json!(["A", "B", "C", "D"])),
    ]);
    let attributes = attributes(&metadata);
    // "x" is no number, so the third center pairs with the third width.
    assert_eq!(attributes.windows.len(), 1);
    assert!(attributes.windows[0].explanation().is_some());
}

#[test]
fn identity_rescale_is_none() {
    let plain = attributes(&instance(&[
        ("00281052", "DS", json!([0])),
        ("00281053", "DS", json!(["1.0"])),
    ]));
    assert_eq!(plain.modality, Modality::Identity);
    let zero = attributes(&instance(&[
        ("00281053", "DS", json!([0])),
        ("00281052", "DS", json!([5])),
    ]));
    assert_eq!(zero.modality, Modality::Identity);
}

#[test]
fn nested_bulk_data_is_asked_for_by_path() {
    let metadata = instance(&[
        (
            "00283000",
            "SQ",
            json!([{
                "00283002": { "vr": "US", "Value": [2, 0, 16] },
                "00283006": { "vr": "OW", "BulkDataURI": "x" },
            }]),
        ),
        (
            "00480105",
            "SQ",
            json!([{ "00282000": { "vr": "OB", "BulkDataURI": "y" } }]),
        ),
    ]);
    let asked = std::cell::RefCell::new(Vec::new());
    let bulk = |path: &str| {
        asked.borrow_mut().push(path.to_owned());
        Some(words(&[7, 8]))
    };
    let attributes = RenderAttributes::from_json(&metadata.to_string(), 1, &bulk);
    assert_eq!(
        *asked.borrow(),
        ["00283000/0/00283006", "00480105/0/00282000"]
    );
    assert!(matches!(attributes.modality, Modality::Lut(_)));
    assert_eq!(attributes.icc, Some(words(&[7, 8])));
}

#[test]
fn overlay_planes_of_several_frames_are_told_apart() {
    // Three planes of 1 × 3 bits: 100, 011, 101 (first bit first).
    let mut metadata = instance(&[
        ("60000010", "US", json!([1])),
        ("60000011", "US", json!([3])),
        ("60000015", "IS", json!([3])),
        ("60000050", "SS", json!([1, 1])),
    ]);
    metadata["60003000"] = json!({ "vr": "OW", "InlineBinary": "cQE=" });
    let frame = samples(1, 3, SampleKind::U8, &[0; 3]);
    let on = instance(&[("60001001", "CS", json!(["L"]))]);
    for (number, expected) in [
        (1, [255, 0, 0]),
        (2, [0, 255, 255]),
        (3, [255, 0, 255]),
        (4, [0, 0, 0]),
    ] {
        let attributes = RenderAttributes::from_json(&metadata.to_string(), number, &|_| None);
        let presentation = Presentation::from_json(&on.to_string(), "1", number, &|_| None);
        let request = Request {
            presentation: Some(presentation),
            ..Request::default()
        };
        assert_eq!(
            png_of(&frame, &attributes, &request).data,
            expected,
            "frame {number}"
        );
    }
}

#[test]
fn annotation_lines_are_readable() {
    let metadata = instance(&[
        ("00100010", "PN", json!([{ "Alphabetic": "Doe^Jane" }])),
        ("00100020", "LO", json!(["ID 7"])),
        ("00100030", "DA", json!(["19700131"])),
        ("00100040", "CS", json!(["F"])),
        ("00080060", "CS", json!(["CT"])),
        ("00080020", "DA", json!(["20240229"])),
        ("0008103E", "LO", json!(["Thorax"])),
        ("00180060", "DS", json!([120])),
        ("00280008", "IS", json!([5])),
    ]);
    let attributes = RenderAttributes::from_json(&metadata.to_string(), 4, &|_| None);
    assert_eq!(attributes.patient, ["Doe Jane", "ID 7", "1970-01-31  F"]);
    assert_eq!(
        attributes.technique,
        ["CT  2024-02-29", "Thorax", "120 kV", "Frame 4"]
    );
}
