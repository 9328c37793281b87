//! Pixel data in odd places and files that are not quite Part 10: the right bytes all the same.

use dicom_core::{Tag, VR};
use stowage::dicom::codec::{self, DecodedFrame, EncodeOptions, FrameShape, Photometric};
use stowage::dicom::parse::{ParseOptions, parse};
use stowage::dicom::testing::{DataSet, Lengths, Syntax};

use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];
const EXPLICIT: &str = "application/dicom; transfer-syntax=1.2.840.10008.1.2.1";
const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
const PIXELS: Tag = Tag(0x7FE0, 0x0010);

fn coded(seed: u8) -> Vec<u8> {
    let shape = FrameShape {
        rows: 8,
        columns: 8,
        samples: 1,
        bits_allocated: 8,
        bits_stored: 8,
        low_bit: 0,
        overlay_bits: false,
        signed: false,
        planar: false,
        photometric: Photometric::Monochrome2,
    };
    let data = samples(seed);
    let frame = DecodedFrame::new(shape, data).expect("a frame");
    let made = codec::encode(JPEG_LS, &frame, &EncodeOptions::default());
    let mut bytes = made.expect("a codestream").bytes;
    bytes.resize(bytes.len().next_multiple_of(2), 0);
    bytes
}

fn samples(seed: u8) -> Vec<u8> {
    (0..64_u8).map(|i| i.wrapping_mul(13) ^ seed).collect()
}

/// An icon with a codestream of its own.
fn icon(codestream: &[u8]) -> DataSet {
    let mut item = DataSet::image(8, 8, 8, 1).fragments(&[], &[codestream]);
    item.0
        .retain(|(tag, ..)| tag.0 >= 0x0028 && *tag != Tag(0x0028, 0x0008));
    item
}

/// An image with an icon one and one with an icon two sequences down.
fn with_icons(name: &Name, first: &[u8], second: &[u8]) -> DataSet {
    let deep = DataSet::new().items(Tag(0x0088, 0x0200), Lengths::Undefined, vec![icon(second)]);
    name.image(8, 8, 8, 1)
        .set(
            DataSet::new()
                .items(Tag(0x0008, 0x1140), Lengths::Undefined, vec![deep])
                .items(Tag(0x0088, 0x0200), Lengths::Undefined, vec![icon(first)]),
        )
        .fragments(&[], &[&coded(7)])
}

#[test]
fn compressed_pixel_data_at_any_depth_has_its_own_bytes() {
    let server = TestApp::start(None);
    let name = Name::new(5400, 1, 1);
    let file = name.file(
        &with_icons(&name, &coded(1), &coded(2)),
        Syntax::Other(JPEG_LS),
    );
    server.store("/dicom-web", [&file]).expect(200);
    for root in ROOTS {
        for (path, wanted) in [
            ("7FE00010", coded(7)),
            ("00880200/1/7FE00010", coded(1)),
            ("00081140/1/00880200/1/7FE00010", coded(2)),
        ] {
            let target = format!("{root}{}/bulkdata/{path}", name.path());
            let answer = server.get_as(&target, "*/*").expect(200);
            let part = answer.parts().remove(0);
            assert_eq!(part.body, wanted, "{target}");
            assert!(part.content_type().contains("image/jls"), "{target}");
        }
    }
}

#[test]
fn a_codestream_within_a_native_file_goes_by_its_own_name() {
    let server = TestApp::start(None);
    for (number, syntax) in (1..).zip([Syntax::ExplicitLittle, Syntax::Deflated]) {
        let name = Name::new(5409, 1, number);
        let samples_of_it = DataSet::new().bytes(PIXELS, VR::OB, samples(7));
        let native = with_icons(&name, &coded(1), &coded(2)).set(samples_of_it);
        server
            .store("/dicom-web", [&name.file(&native, syntax)])
            .expect(200);
        for root in ROOTS {
            for (path, seed) in [
                ("00880200/1/7FE00010", 1),
                ("00081140/1/00880200/1/7FE00010", 2),
            ] {
                let target = format!("{root}{}/bulkdata/{path}", name.path());
                let part = server.get_as(&target, "*/*").expect(200).parts().remove(0);
                assert_eq!(part.body, coded(seed), "{target}");
                let kind = part.content_type();
                assert!(
                    kind.starts_with("image/jls") && kind.ends_with(JPEG_LS),
                    "{target}: {kind}"
                );
            }
            let target = format!("{root}{}/frames/1", name.path());
            let part = server.get_as(&target, "*/*").expect(200).parts().remove(0);
            assert_eq!(part.body, samples(7));
        }
    }
}

#[test]
fn icons_of_a_transcoded_instance_are_decoded_or_left_out_with_a_warning() {
    let server = TestApp::start(None);
    let (good, bad) = (Name::new(5401, 1, 1), Name::new(5401, 1, 2));
    let damaged = [0xFF, 0xD8, 0xFF, 0xF7, 0, 0, 1, 2];
    for (name, second) in [(&good, coded(2)), (&bad, damaged.to_vec())] {
        let data_set = with_icons(name, &coded(1), &second);
        let file = name.file(&data_set, Syntax::Other(JPEG_LS));
        server.store("/dicom-web", [&file]).expect(200);
    }
    for syntax in ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"] {
        let accept = format!("application/dicom; transfer-syntax={syntax}");
        let answer = server.get_as(&format!("/v2{}", good.path()), &accept);
        let answer = answer.expect(200);
        assert_eq!(answer.header("warning"), None);
        for seed in [1, 2] {
            let pixels = samples(seed);
            assert!(
                answer.body.windows(64).any(|w| w == pixels),
                "{syntax} {seed}"
            );
        }
        let answer = server.get_as(&format!("/v2{}", bad.path()), &accept);
        let answer = answer.expect(200);
        let warning = answer.header("warning").expect("a warning");
        assert!(warning.contains("IconImageSequence (00880200) was left out"));
        assert!(!answer.body.windows(8).any(|w| w == damaged));
        let parsed = parse(&answer.body.as_ref(), &ParseOptions::default());
        let text = parsed.expect("a file").metadata.text;
        assert!(text.contains("00880200") && text.contains("00081140"));
    }
}

#[test]
fn a_data_set_without_meta_information_is_served_with_it() {
    on_each_index(|server| {
        for (number, syntax) in (1..).zip([
            Syntax::ImplicitLittle,
            Syntax::ExplicitLittle,
            Syntax::ExplicitBig,
        ]) {
            let name = Name::new(5402, 1, number);
            let data_set =
                name.image(4, 4, 16, 1)
                    .bytes(PIXELS, VR::OW, (0..32).collect::<Vec<u8>>());
            let bare = data_set.behind(Vec::new(), syntax);
            server.store("/dicom-web", [&bare]).expect(200);
            for root in ROOTS {
                let target = format!("{root}{}", name.path());
                for accept in ["application/dicom; transfer-syntax=*", EXPLICIT] {
                    let answer = server.get_as(&target, accept).expect(200);
                    assert_eq!(answer.body[128..132], *b"DICM", "{target} {accept}");
                    let parsed = parse(&answer.body.as_ref(), &ParseOptions::default());
                    let parsed = parsed.expect("a Part 10 file");
                    assert!(parsed.layout.part10, "{target} {accept}");
                    let said = format!("transfer-syntax={}", parsed.layout.transfer_syntax);
                    assert!(answer.content_type().ends_with(&said), "{said}");
                    let length = answer.header("content-length").map(str::parse);
                    assert_eq!(length, Some(Ok(answer.body.len())));
                    if accept.ends_with('*') {
                        assert!(answer.body.ends_with(&bare.bytes), "{target}");
                    }
                }
            }
            // What is kept are the bytes that came.
            let kept = server
                .blob_files()
                .iter()
                .any(|path| std::fs::read(path).is_ok_and(|bytes| bytes.ends_with(&bare.bytes)));
            assert!(kept || server.setting("STOWAGE_BLOBS").is_some());
        }
    });
}

#[test]
fn one_sample_without_photometric_interpretation_is_monochrome2() {
    let server = TestApp::start(None);
    let pixels: Vec<u8> = (0..64).collect();
    let pictures: Vec<Vec<u8>> = [false, true]
        .into_iter()
        .zip(1..)
        .map(|(named, number)| {
            let name = Name::new(5403, 1, number);
            let image = name.image(8, 8, 8, 1).bytes(PIXELS, VR::OB, pixels.clone());
            let image = if named {
                image
            } else {
                image.without(Tag(0x0028, 0x0004))
            };
            let file = name.file(&image, Syntax::ExplicitLittle);
            server.store("/dicom-web", [&file]).expect(200);
            let target = format!("/v2{}", name.path());
            let coded = server.get_as(
                &target,
                "application/dicom; transfer-syntax=1.2.840.10008.1.2.4.90",
            );
            assert!(
                coded
                    .expect(200)
                    .body
                    .windows(11)
                    .any(|w| w == b"MONOCHROME2")
            );
            server
                .get_as(&format!("{target}/rendered"), "image/png")
                .expect(200)
                .body
                .to_vec()
        })
        .collect();
    assert_eq!(pictures[0], pictures[1]);
}
