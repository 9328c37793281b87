//! Everyday pictures beside metadata: what the bytes are counts, not what they are called.

use crate::support::multipart::{self, BOUNDARY};
use crate::support::prelude::*;

use super::{comments, failures};

fn post(
    server: &Deployment,
    metadata: &Value,
    media: &str,
    location: &str,
    bytes: &[u8],
) -> Response {
    let text = json!([metadata]).to_string();
    let mut body = multipart::part(
        BOUNDARY,
        "Content-Type: application/dicom+json\r\n",
        text.as_bytes(),
    );
    let place = if location.is_empty() {
        String::new()
    } else {
        format!("Content-Location: {location}\r\n")
    };
    let head = format!("Content-Type: {media}\r\n{place}");
    body.extend(multipart::part(BOUNDARY, &head, bytes));
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let content_type =
        format!("multipart/related; type=\"application/dicom+json\"; boundary={BOUNDARY}");
    server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", &content_type)
        .body(body)
        .send()
}

/// Metadata that says who the instance is, and not a word of its pixels.
fn metadata(name: &Name) -> Value {
    let uid = |value: &str| json!({ "vr": "UI", "Value": [value] });
    json!({
        "00080016": uid("1.2.840.10008.5.1.4.1.1.77.1.4"),
        "00080018": uid(&name.instance),
        "0020000D": uid(&name.study),
        "0020000E": uid(&name.series),
        "00100020": { "vr": "LO", "Value": ["P1"] },
    })
}

fn with_pixels(name: &Name) -> Value {
    let mut metadata = metadata(name);
    metadata["7FE00010"] = json!({ "vr": "OW", "BulkDataURI": "pixels" });
    metadata
}

fn png(alpha: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 8, 4);
    let channels = if alpha {
        encoder.set_color(png::ColorType::Rgba);
        4
    } else {
        encoder.set_color(png::ColorType::Rgb);
        3
    };
    encoder.set_depth(png::BitDepth::Eight);
    let mut data = Vec::new();
    for pixel in pixels().chunks(3) {
        data.extend(pixel);
        data.extend(vec![9; channels - 3]);
    }
    let mut writer = encoder.write_header().expect("a header");
    writer.write_image_data(&data).expect("pixels");
    writer.finish().expect("an end");
    out
}

fn pixels() -> Vec<u8> {
    (0..96_u8).map(|i| i.wrapping_mul(7)).collect()
}

#[test]
fn a_png_is_stored_as_its_pixels_whatever_the_metadata_leaves_out() {
    let server = TestApp::start(None);
    for (number, alpha, location) in [
        (1, false, "pixels"),
        (2, true, "pixels"),
        // Alone it needs no place.
        (3, false, ""),
    ] {
        let name = Name::new(5600, 1, number);
        let described = if location.is_empty() {
            metadata(&name)
        } else {
            with_pixels(&name)
        };
        post(&server, &described, "image/png", location, &png(alpha)).expect(200);
        let target = format!("/dicom-web{}", name.path());
        let frame = server.get_as(
            &format!("{target}/frames/1"),
            "application/octet-stream; transfer-syntax=*",
        );
        assert_eq!(frame.expect(200).body, pixels());
        let reported = server.get_as(&format!("{target}/metadata"), "application/dicom+json");
        let reported = &reported.expect(200).json()[0];
        for (key, value) in [
            ("00280002", json!(3)),
            ("00280004", json!("RGB")),
            ("00280006", json!(0)),
            ("00280010", json!(4)),
            ("00280011", json!(8)),
            ("00280100", json!(8)),
            ("00280101", json!(8)),
            ("00280102", json!(7)),
            ("00280103", json!(0)),
        ] {
            assert_eq!(reported[key]["Value"][0], value, "{key}");
        }
        let drawn = server.get_as(&format!("{target}/rendered"), "image/png");
        drawn.expect(200);
    }
}

#[test]
fn what_is_no_pixel_data_is_refused_with_a_reason() {
    let server = TestApp::start(None);
    for (number, media, bytes) in [
        (1, "image/jpeg", png(false)),
        (2, "image/png", b"no picture".to_vec()),
        (3, "image/heic", b"\0\0\0\x18ftypheic\0\0\0\0".to_vec()),
        (4, "text/plain", b"a text".to_vec()),
        (5, "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.90", {
            let mut cut = png(false);
            cut.truncate(40);
            cut
        }),
        (6, "image/png", {
            let mut cut = png(false);
            cut.truncate(60);
            cut
        }),
    ] {
        let name = Name::new(5601, 1, number);
        let answer = post(&server, &with_pixels(&name), media, "pixels", &bytes);
        let answer = answer.expect(409);
        assert_eq!(failures(&answer).len(), 1, "{media}");
        let reported = comments(&answer, "00081198").join(" ");
        assert!(reported.contains("7FE00010 has"), "{media}: {reported}");
        server
            .get(&format!("/dicom-web{}", name.path()))
            .expect(404);
    }
}
