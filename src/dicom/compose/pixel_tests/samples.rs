//! Pixel data that is no codestream: pictures of everyday formats and bare samples.

use super::*;

#[test]
fn pictures_become_native_pixels() {
    for (color, stored, samples, photometric) in [
        (png::ColorType::Grayscale, 1, 1, "MONOCHROME2"),
        (png::ColorType::Rgb, 3, 3, "RGB"),
        (png::ColorType::Rgba, 4, 3, "RGB"),
    ] {
        let bytes = png(color, stored);
        let made = parsed(&file(&silent(), &[("pixels", "image/png", &bytes)]).unwrap());
        assert_eq!(made.layout.transfer_syntax, transfer_syntax::EXPLICIT_LE);
        let pixel = made.pixel.clone().unwrap();
        assert_eq!((pixel.rows, pixel.columns, pixel.bits_stored), (9, 16, 8));
        assert_eq!(
            (pixel.samples_per_pixel, pixel.photometric.as_str()),
            (samples, photometric)
        );
        assert_eq!(made.frames.count(), 1);
        assert!(!metadata(&made).contains_key("00282110"));
    }
}

#[test]
fn pixel_data_of_an_item_is_native() {
    let icon = json!({ "7FE00010": { "vr": "OB", "BulkDataURI": "icon" } });
    let image = data_set(json!({ "00880200": { "vr": "SQ", "Value": [icon] } }));
    let jpeg = coded(BASELINE, 1, 8);
    assert!(file(&image, &[("icon", "image/jpeg", &jpeg)]).is_err());
    assert!(file(&image, &[("icon", "application/octet-stream", &[1; 64])]).is_ok());
}

/// A gray TIFF file of so many pages of 16 by 9 pixels, each of one value.
fn tiff(pages: u8) -> Vec<u8> {
    let mut out = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    for page in 0..pages {
        let data = u32::try_from(out.len()).unwrap();
        out.extend([page; 144]);
        let place = u32::try_from(out.len()).unwrap().to_le_bytes();
        out[link..link + 4].copy_from_slice(&place);
        let tags = [
            (256_u16, 16_u32),
            (257, 9),
            (258, 8),
            (259, 1),
            (262, 0),
            (273, data),
            (278, 9),
            (279, 144),
        ];
        out.extend(u16::try_from(tags.len()).unwrap().to_le_bytes());
        for (tag, value) in tags {
            out.extend(tag.to_le_bytes());
            out.extend([4, 0, 1, 0, 0, 0]);
            out.extend(value.to_le_bytes());
        }
        link = out.len();
        out.extend([0; 4]);
    }
    out
}

#[test]
fn the_pages_of_a_tiff_are_frames() {
    for pages in [1, 3] {
        let bytes = tiff(pages);
        let made = file(&silent(), &[("pixels", "image/tiff", &bytes)]).unwrap();
        let instance = parsed(&made);
        let pixel = instance.pixel.clone().unwrap();
        assert_eq!(
            (pixel.rows, pixel.columns, pixel.frames),
            (9, 16, pages.into())
        );
        assert_eq!(pixel.photometric, "MONOCHROME1");
        let value = instance.bulk.iter().find(|item| item.path == "7FE00010");
        let offset = usize::try_from(value.unwrap().offset).unwrap();
        for page in 0..usize::from(pages) {
            let frame = &made[offset + page * 144..offset + (page + 1) * 144];
            assert!(frame.iter().all(|sample| usize::from(*sample) == page));
        }
    }
    let reported = with(json!({ "00280008": { "vr": "IS", "Value": [2] } }));
    assert!(file(&reported, &[("pixels", "image/tiff", &tiff(2))]).is_ok());
    assert!(file(&reported, &[("pixels", "image/tiff", &tiff(3))]).is_err());
    assert!(file(&silent(), &[("pixels", "image/png", &tiff(1))]).is_err());
}

/// Metadata of samples: rows, columns, samples, bits, frames.
fn samples_of(rows: u16, samples: u16, bits: u16, frames: u32, term: &str) -> Map<String, Value> {
    let us = |value: u16| json!({ "vr": "US", "Value": [value] });
    with(json!({
        "00280002": us(samples), "00280004": { "vr": "CS", "Value": [term] }, "00280008": { "vr": "IS", "Value": [frames] },
        "00280010": us(rows), "00280011": us(16), "00280100": us(bits), "00280101": us(bits),
        "00280102": us(bits - 1), "00280103": us(0), "00280006": us(0),
    }))
}

#[test]
fn octets_have_the_length_that_the_header_says() {
    const OCTETS: &str = "application/octet-stream";
    for (rows, samples, bits, frames, term, length) in [
        (9, 1, 8, 1, "MONOCHROME2", 144),
        (9, 1, 16, 1, "MONOCHROME2", 288),
        (9, 3, 8, 2, "RGB", 864),
        (9, 1, 1, 3, "MONOCHROME2", 54),
        (9, 3, 8, 1, "YBR_FULL_422", 288),
        (9, 3, 8, 1, "YBR_FULL_422", 432),
        (9, 1, 32, 1, "MONOCHROME2", 576),
    ] {
        let image = samples_of(rows, samples, bits, frames, term);
        let send = |length: usize, media: &str| {
            file(&image, &[("pixels", media, &vec![7; length])]).map(|made| parsed(&made))
        };
        for media in [OCTETS, "application/octet-stream;1.2.840.10008.1.2.1"] {
            assert!(send(length, media).is_ok(), "{term} {bits} {length}");
            for other in [0, 1, length - 1, length + 2, 2 * length + 2] {
                let reported = send(other, media).unwrap_err().to_string();
                assert!(
                    reported.contains("has not as many bytes"),
                    "{other}: {reported}"
                );
            }
        }
        // Several parts are the frames.
        let half = vec![7; length / 2];
        let parts: [(&str, &str, &[u8]); 2] =
            [("pixels", OCTETS, &half), ("pixels", OCTETS, &half)];
        assert_eq!(file(&image, &parts).is_ok(), length % 2 == 0);
    }
    let reported = file(&silent(), &[("pixels", OCTETS, &[7; 144])]).unwrap_err();
    assert!(reported.to_string().contains("are needed"), "{reported}");
}

#[test]
fn octets_that_are_a_picture_are_no_samples() {
    const OCTETS: &str = "application/octet-stream";
    let baseline = coded(BASELINE, 1, 8);
    for bytes in [
        baseline.clone(),
        coded(J2K, 1, 8),
        boxed(&coded(J2K, 1, 8)),
        coded(JLS, 1, 8),
        png(png::ColorType::Grayscale, 1),
        tiff(1),
        b"GIF89a\x10\0\x09\0".to_vec(),
        b"%PDF-1.7".to_vec(),
    ] {
        assert!(file(&silent(), &[("pixels", OCTETS, &bytes)]).is_err());
        // Not even where the length happens to be that of samples.
        let mut long = bytes.clone();
        long.resize(144 * 16, 0);
        let image = samples_of(144, 1, 8, 1, "MONOCHROME2");
        let reported = file(&image, &[("pixels", OCTETS, &long)]);
        assert!(reported.is_err(), "{:?}", &bytes[..4]);
    }
    // What begins like something by chance, and fits, is what the header says.
    let image = samples_of(144, 1, 8, 1, "MONOCHROME2");
    for start in [
        &b"BM"[..],
        &[0xFF, 0x0A],
        &[0xFF, 0xD8, 0xFF],
        &[0x47; 400],
        &[0, 0, 1, 0xBA],
    ] {
        let mut samples = vec![0x47; 144 * 16];
        samples[..start.len()].copy_from_slice(start);
        let made = file(&image, &[("pixels", OCTETS, &samples)]).unwrap();
        assert_eq!(
            parsed(&made).layout.transfer_syntax,
            transfer_syntax::EXPLICIT_LE
        );
    }
}
