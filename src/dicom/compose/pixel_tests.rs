//! Pixel data by its bytes: every kind of part under every label, and what the header says of it.

use serde_json::json;

use super::tests::{data_set, file, metadata, parsed};
use super::*;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::codec::{self, DecodedFrame, EncodeOptions, FrameShape, Photometric};

mod samples;

const RLE: &str = "1.2.840.10008.1.2.5";
const BASELINE: &str = "1.2.840.10008.1.2.4.50";
const EXTENDED: &str = "1.2.840.10008.1.2.4.51";
const PROGRESSIVE: &str = "1.2.840.10008.1.2.4.55";
const LOSSLESS: &str = "1.2.840.10008.1.2.4.57";
const FIRST: &str = "1.2.840.10008.1.2.4.70";
const JLS: &str = "1.2.840.10008.1.2.4.80";
const NEAR: &str = "1.2.840.10008.1.2.4.81";
const J2K: &str = "1.2.840.10008.1.2.4.90";
const J2K_LOSSY: &str = "1.2.840.10008.1.2.4.91";
const JXL: &str = "1.2.840.10008.1.2.4.110";

fn shape(samples: u16, bits: u16) -> FrameShape {
    FrameShape {
        rows: 9,
        columns: 16,
        samples,
        bits_allocated: if bits > 8 { 16 } else { 8 },
        bits_stored: bits,
        low_bit: 0,
        overlay_bits: false,
        signed: false,
        planar: false,
        photometric: if samples == 1 {
            Photometric::Monochrome2
        } else {
            Photometric::Rgb
        },
    }
}

fn coded(syntax: &str, samples: u16, bits: u16) -> Vec<u8> {
    let shape = shape(samples, bits);
    let data = (0..shape.sample_count())
        .flat_map(|i| {
            let value = u16::try_from(i * 37 % (1 << bits)).unwrap().to_le_bytes();
            value[..usize::from(shape.bits_allocated / 8)].to_vec()
        })
        .collect();
    let frame = DecodedFrame::new(shape, data).unwrap();
    let made = codec::encode(syntax, &frame, &EncodeOptions::default());
    made.unwrap().bytes
}

fn progressive() -> Vec<u8> {
    use libjpeg_turbo_rs::{Encoder, PixelFormat};
    let data: Vec<u8> = (0..9 * 16).collect();
    Encoder::new(&data, 16, 9, PixelFormat::Grayscale)
        .progressive(true)
        .encode()
        .unwrap()
}

fn png(color: png::ColorType, samples: usize) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 16, 9);
    encoder.set_color(color);
    let mut writer = encoder.write_header().unwrap();
    writer
        .write_image_data(&vec![77; 9 * 16 * samples])
        .unwrap();
    writer.finish().unwrap();
    out
}

/// JP2 boxes around a codestream.
fn boxed(codestream: &[u8]) -> Vec<u8> {
    let mut file = b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a\0\0\0\x0bjp2habc".to_vec();
    file.extend(u32::try_from(codestream.len() + 8).unwrap().to_be_bytes());
    file.extend(b"jp2c");
    file.extend(codestream);
    file
}

/// Metadata that says nothing of the pixels but where they are.
fn silent() -> Map<String, Value> {
    data_set(json!({ "7FE00010": { "vr": "OW", "BulkDataURI": "pixels" } }))
}

fn with(attributes: Value) -> Map<String, Value> {
    let mut all = silent();
    let Value::Object(more) = attributes else {
        panic!("not an object")
    };
    all.extend(more);
    all
}

#[test]
fn the_bytes_name_the_transfer_syntax_and_the_header() {
    for (media, bytes, syntax, samples, bits, photometric, lossy) in [
        (
            "image/jpeg",
            coded(BASELINE, 1, 8),
            BASELINE,
            1,
            8,
            "MONOCHROME2",
            true,
        ),
        (
            "image/jpeg",
            coded(BASELINE, 3, 8),
            BASELINE,
            3,
            8,
            "YBR_FULL_422",
            true,
        ),
        (
            "image/jpeg",
            coded(EXTENDED, 1, 12),
            EXTENDED,
            1,
            12,
            "MONOCHROME2",
            true,
        ),
        (
            "image/jpeg",
            progressive(),
            PROGRESSIVE,
            1,
            8,
            "MONOCHROME2",
            true,
        ),
        (
            "image/jpeg",
            coded(FIRST, 1, 16),
            FIRST,
            1,
            16,
            "MONOCHROME2",
            false,
        ),
        ("image/jpeg", coded(FIRST, 3, 8), FIRST, 3, 8, "RGB", false),
        (
            "image/jls",
            coded(JLS, 1, 12),
            JLS,
            1,
            12,
            "MONOCHROME2",
            false,
        ),
        (
            "image/jls",
            coded(NEAR, 1, 8),
            NEAR,
            1,
            8,
            "MONOCHROME2",
            true,
        ),
        (
            "image/jp2",
            coded(J2K, 1, 10),
            J2K,
            1,
            10,
            "MONOCHROME2",
            false,
        ),
        ("image/jp2", coded(J2K, 3, 8), J2K, 3, 8, "YBR_RCT", false),
        (
            "image/jp2",
            boxed(&coded(J2K_LOSSY, 3, 8)),
            J2K_LOSSY,
            3,
            8,
            "YBR_ICT",
            true,
        ),
        (
            "image/jxl",
            coded(JXL, 1, 8),
            JXL,
            1,
            8,
            "MONOCHROME2",
            false,
        ),
    ] {
        let parts: [(&str, &str, &[u8]); 2] =
            [("pixels", media, &bytes), ("pixels", media, &bytes)];
        let made = parsed(&file(&silent(), &parts).unwrap());
        assert_eq!(made.layout.transfer_syntax, syntax, "{media}");
        assert_eq!(made.frames.count(), 2, "{syntax}");
        let pixel = made.pixel.clone().unwrap();
        assert_eq!((pixel.rows, pixel.columns), (9, 16), "{syntax}");
        assert_eq!(
            (pixel.samples_per_pixel, pixel.bits_stored),
            (samples, bits),
            "{syntax}"
        );
        assert_eq!(pixel.high_bit, bits - 1);
        assert_eq!(pixel.photometric, photometric, "{syntax}");
        let header = metadata(&made);
        assert_eq!(header["00280008"]["Value"][0], 2);
        assert_eq!(header.contains_key("00280006"), samples == 3);
        for key in ["00282110", "00282112", "00282114"] {
            assert_eq!(header.contains_key(key), lossy, "{syntax} {key}");
        }
    }
}

#[test]
fn a_fragment_holds_the_bare_codestream() {
    let stream = coded(J2K, 1, 8);
    let made = file(&silent(), &[("pixels", "image/jp2", &boxed(&stream))]).unwrap();
    assert!(made.windows(stream.len()).any(|w| w == stream));
    assert!(!made.windows(4).any(|w| w == b"jp2h"));
}

#[test]
fn a_label_that_the_bytes_contradict_is_refused() {
    let (jpeg, jls, j2k, png) = (
        coded(BASELINE, 1, 8),
        coded(JLS, 1, 8),
        coded(J2K, 1, 8),
        png(png::ColorType::Grayscale, 1),
    );
    let cut = &jpeg[..30];
    let parts: [(&str, &[u8]); 16] = [
        ("image/png", &jpeg),
        ("image/jpeg", &png),
        ("image/jpeg", &jls),
        ("image/jpeg", b"no picture at all"),
        ("image/jpeg", cut),
        ("image/gif", b"no picture at all"),
        ("image/heic", b"\0\0\0\x18ftypheic\0\0\0\0"),
        ("image/tiff", b"II*\0\x08\0\0\0"),
        ("text/plain", b"some text"),
        ("application/pdf", b"%PDF-1.7"),
        ("image/jls", &jpeg),
        ("image/jp2", &jls),
        ("image/dicom-rle", &j2k),
        ("image/jpeg;1.2.840.10008.1.2.4.90", &jpeg),
        ("application/octet-stream;1.2.840.10008.1.2.4.80", &j2k),
        ("image/jpeg;1.2.3.4", &jpeg),
    ];
    for (media, bytes) in parts {
        let refused = file(&silent(), &[("pixels", media, bytes)]).unwrap_err();
        let text = refused.to_string();
        assert!(
            text.starts_with("the attribute 7FE00010 has a"),
            "{media}: {text}"
        );
    }
    // Another name for what they are.
    for (media, bytes, syntax) in [
        ("application/octet-stream;1.2.840.10008.1.2.4.80", &jls, JLS),
        ("image/jpeg;1.2.840.10008.1.2.4.51", &jpeg, EXTENDED),
        ("image/jp2;1.2.840.10008.1.2.4.91", &j2k, J2K_LOSSY),
        (
            "image/jpeg;1.2.840.10008.1.2.4.57",
            &coded(FIRST, 1, 8),
            LOSSLESS,
        ),
        ("image/x-dicom-rle", &coded(RLE, 1, 8), RLE),
    ] {
        // RLE tells nothing of its picture.
        let mut image = with(json!({
            "00280010": { "vr": "US", "Value": [9] }, "00280011": { "vr": "US", "Value": [16] },
            "00280100": { "vr": "US", "Value": [8] },
        }));
        image.insert("00280002".to_owned(), json!({ "vr": "US", "Value": [1] }));
        let made = parsed(&file(&image, &[("pixels", media, bytes)]).unwrap());
        assert_eq!(made.layout.transfer_syntax, syntax, "{media}");
    }
}

#[test]
fn metadata_that_the_bytes_contradict_is_refused() {
    let bytes = coded(BASELINE, 1, 8);
    let us = |value: u32| json!({ "vr": "US", "Value": [value] });
    for (key, element) in [
        ("00280010", us(10)),
        ("00280011", us(15)),
        ("00280002", us(3)),
        ("00280101", us(7)),
        ("00280101", us(12)),
        ("00280008", json!({ "vr": "IS", "Value": ["2"] })),
        ("00280004", json!({ "vr": "CS", "Value": ["RGB"] })),
        ("00282110", json!({ "vr": "CS", "Value": ["00"] })),
    ] {
        let mut image = silent();
        image.insert(key.to_owned(), element);
        let refused = file(&image, &[("pixels", "image/jpeg", &bytes)]);
        let text = refused.err().map(|error| error.to_string());
        // Seven bits in a stream of eight: a stream may hold whole cells.
        let fits = key == "00280101" && image[key]["Value"][0] == 7;
        let reported = text.is_some_and(|text| text.contains(key) && text.contains("says"));
        assert!(reported != fits, "{key}");
    }
    let same = with(json!({
        "00280010": us(9), "00280011": { "vr": "US", "Value": ["16"] }, "00280002": us(1),
        "00280004": { "vr": "CS", "Value": ["MONOCHROME1"] }, "00280100": us(16), "00280101": us(8),
    }));
    let made = parsed(&file(&same, &[("pixels", "image/jpeg", &bytes)]).unwrap());
    assert_eq!(made.pixel.unwrap().photometric, "MONOCHROME1");
    let (one, other) = (coded(J2K, 1, 8), coded(J2K, 3, 8));
    let parts: [(&str, &str, &[u8]); 2] = [
        ("pixels", "image/jp2", &one),
        ("pixels", "image/jp2", &other),
    ];
    assert!(file(&silent(), &parts).is_err());
}

#[test]
fn a_lone_part_becomes_the_pixels_or_the_document() {
    let nothing = data_set(json!({}));
    let png = png(png::ColorType::Grayscale, 1);
    for (media, bytes, syntax) in [
        ("image/jpeg", coded(BASELINE, 3, 8), BASELINE),
        ("image/png", png, transfer_syntax::EXPLICIT_LE),
        (
            "video/mp4",
            b"\0\0\0\x18ftypisom\0\0avc1".to_vec(),
            "1.2.840.10008.1.2.4.102",
        ),
        (
            "video/mpeg",
            vec![0, 0, 1, 0xBA, 0x44, 0],
            "1.2.840.10008.1.2.4.100",
        ),
    ] {
        let made = parsed(&file(&nothing, &[("", media, &bytes)]).unwrap());
        assert_eq!(made.layout.transfer_syntax, syntax, "{media}");
        assert!(metadata(&made).contains_key("7FE00010"), "{media}");
    }
    let made = parsed(&file(&nothing, &[("", "application/pdf", b"%PDF-1.7 ")]).unwrap());
    let header = metadata(&made);
    assert_eq!(header["00420012"]["Value"][0], "application/pdf");
    assert!(header.contains_key("00420011"));
    assert!(file(&nothing, &[("", "text/plain", b"text")]).is_err());
    assert!(file(&silent(), &[("", "image/jpeg", &coded(BASELINE, 1, 8))]).is_err());
}

#[test]
fn video_is_known_by_its_bytes() {
    let mut packets = vec![0; 188 * 3];
    for start in [0, 188, 376] {
        packets[start] = 0x47;
    }
    for (media, bytes, syntax) in [
        (
            "video/mp4",
            &b"\0\0\0\x18ftypisom\0\0hvc1"[..],
            "1.2.840.10008.1.2.4.107",
        ),
        (
            "video/mp4",
            &b"\0\0\0\x01\x67\x64"[..],
            "1.2.840.10008.1.2.4.102",
        ),
        (
            "video/h265",
            &b"\0\0\0\x01\x40\x01"[..],
            "1.2.840.10008.1.2.4.107",
        ),
        ("video/mpeg", &packets[..], "1.2.840.10008.1.2.4.100"),
        (
            "video/mp4;1.2.840.10008.1.2.4.104",
            &b"\0\0\0\x18ftypisom"[..],
            "1.2.840.10008.1.2.4.104",
        ),
    ] {
        let made = parsed(&file(&silent(), &[("pixels", media, bytes)]).unwrap());
        assert_eq!(made.layout.transfer_syntax, syntax, "{media}");
    }
    for (media, bytes) in [
        ("video/mp4", &b"no video"[..]),
        (
            "video/mp4;1.2.840.10008.1.2.4.50",
            &b"\0\0\0\x18ftypisom"[..],
        ),
        ("image/jpeg", &b"\0\0\0\x18ftypisom"[..]),
    ] {
        assert!(
            file(&silent(), &[("pixels", media, bytes)]).is_err(),
            "{media}"
        );
    }
}
