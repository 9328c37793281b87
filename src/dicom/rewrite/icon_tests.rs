//! Icons at every depth, coded and native, when the file around them changes its transfer syntax.

use serde_json::Value;

use std::ops::RangeInclusive;

use dicom_core::{Tag, VR};

use super::*;
use crate::dicom::codec::{self, DecodedFrame, EncodeOptions, FrameShape, Photometric};
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::testing::{DataSet, Lengths, Syntax};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const JPEG_LS: &str = "1.2.840.10008.1.2.4.80";
const BASELINE: &str = "1.2.840.10008.1.2.4.50";
const ICONS: Tag = Tag(0x0088, 0x0200);

fn shape(samples: u16) -> FrameShape {
    FrameShape {
        rows: 6,
        columns: 5,
        samples,
        bits_allocated: 8,
        bits_stored: 8,
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

fn pixels(samples: u16, seed: u8) -> Vec<u8> {
    (0..30 * u8::try_from(samples).unwrap())
        .map(|i| i.wrapping_mul(7).wrapping_add(seed))
        .collect()
}

fn coded(syntax: &str, samples: u16, seed: u8) -> codec::Encoded {
    let frame = DecodedFrame::new(shape(samples), pixels(samples, seed)).unwrap();
    codec::encode(syntax, &frame, &EncodeOptions::default()).unwrap()
}

/// An icon item whose pixel data is this codestream, of the label given.
fn icon(photometric: &str, samples: u16, codestream: &[u8]) -> DataSet {
    let half = codestream.len() / 4 * 2;
    let colors = if samples > 1 {
        DataSet::new().us(Tag(0x0028, 0x0006), &[0])
    } else {
        DataSet::new()
    };
    DataSet::new()
        .us(Tag(0x0028, 0x0002), &[samples])
        .text(Tag(0x0028, 0x0004), VR::CS, photometric)
        .us(Tag(0x0028, 0x0010), &[6])
        .us(Tag(0x0028, 0x0011), &[5])
        .us(Tag(0x0028, 0x0100), &[8])
        .us(Tag(0x0028, 0x0101), &[8])
        .us(Tag(0x0028, 0x0102), &[7])
        .us(Tag(0x0028, 0x0103), &[0])
        .fragments(&[], &[&codestream[..half], &codestream[half..]])
        .set(colors)
}

/// An image with an icon `depth` sequences down; what stands beside the icon must stay.
fn file(depth: u32, icon: DataSet, main: &[u8], syntax: &'static str) -> Vec<u8> {
    let mut item = icon;
    for level in 0..depth {
        let sequence = if level == 0 {
            ICONS
        } else {
            Tag(0x0008, 0x1140)
        };
        let lengths = if level % 2 == 0 {
            Lengths::Undefined
        } else {
            Lengths::Defined
        };
        item = DataSet::new()
            .text(Tag(0x0008, 0x1150), VR::UI, "1.2.3")
            .items(sequence, lengths, vec![item])
            .text(Tag(0x0088, 0x0904), VR::LO, "behind");
        item.0.sort_by_key(|(tag, ..)| *tag);
    }
    let image = DataSet::image(6, 5, 8, 1).set(item).fragments(&[], &[main]);
    image.file(Syntax::Other(syntax)).bytes
}

fn planned(bytes: &[u8], edits: &Edits) -> Planned {
    let layout = parse(&bytes, &ParseOptions::default()).unwrap().layout;
    plan(&bytes, &layout, edits, ParseLimits::default()).unwrap()
}

fn written(bytes: &[u8], planned: &Planned) -> Vec<u8> {
    let mut out = Vec::new();
    let mut frames = |_: RangeInclusive<u32>, out: &mut dyn std::io::Write| out.write_all(&[9; 30]);
    write(&bytes, &planned.segments, &mut frames, &mut out).unwrap();
    assert_eq!(total_length(&planned.segments), out.len() as u64);
    out
}

fn native() -> Edits {
    Edits {
        transfer_syntax: EXPLICIT.to_owned(),
        elements: Vec::new(),
        pixels: PixelEdit::Native {
            vr: VR::OB,
            frames: 1,
            length: 30,
        },
    }
}

fn metadata(bytes: &[u8]) -> Value {
    let options = ParseOptions {
        inline_threshold: 1 << 20,
        ..ParseOptions::default()
    };
    let instance = parse(&bytes, &options).unwrap();
    serde_json::from_str(&instance.metadata.text).unwrap()
}

/// The item with the icon, below the top level.
fn find(metadata: &Value, depth: u32) -> Value {
    let mut item = metadata.clone();
    for level in (0..depth).rev() {
        let key = if level == 0 { "00880200" } else { "00081140" };
        assert_eq!(item["00880904"]["Value"][0], "behind");
        item = item[key]["Value"][0].clone();
    }
    item
}

#[test]
fn an_icon_at_any_depth_is_decoded_when_the_syntax_changes() {
    for depth in 1..=4 {
        for (samples, label, now) in [(1, "MONOCHROME2", "MONOCHROME2"), (3, "RGB", "RGB")] {
            let stream = coded(JPEG_LS, samples, 3).bytes;
            let main = coded(JPEG_LS, 1, 50).bytes;
            let bytes = file(depth, icon(label, samples, &stream), &main, JPEG_LS);
            let plan = planned(&bytes, &native());
            assert_eq!(plan.notes, None);
            let out = written(&bytes, &plan);
            let item = find(&metadata(&out), depth);
            assert_eq!(item["00280004"]["Value"][0], now);
            let wanted = pixels(samples, 3);
            assert_eq!(item["7FE00010"]["vr"], "OB");
            assert!(out.windows(wanted.len()).any(|w| w == wanted), "{depth}");
            assert!(!out.windows(stream.len()).any(|w| w == stream), "{depth}");
        }
    }
}

#[test]
fn the_attributes_of_a_decoded_icon_say_what_it_is() {
    let made = coded(BASELINE, 3, 3);
    assert_eq!(made.shape.photometric.term(), Some("YBR_FULL_422"));
    let main = coded(BASELINE, 1, 50).bytes;
    let bytes = file(2, icon("YBR_FULL_422", 3, &made.bytes), &main, BASELINE);
    // As if somebody had forgotten Planar Configuration, and said other rows than the stream.
    let item = icon("YBR_FULL_422", 3, &made.bytes)
        .without(Tag(0x0028, 0x0006))
        .set(DataSet::new().us(Tag(0x0028, 0x0010), &[9]));
    let forgetful = file(2, item, &main, BASELINE);
    for bytes in [bytes, forgetful] {
        let item = find(&metadata(&written(&bytes, &planned(&bytes, &native()))), 2);
        assert_eq!(item["00280004"]["Value"][0], "RGB");
        assert_eq!(item["00280006"]["Value"][0], 0);
        assert_eq!(item["00280010"]["Value"][0], 6);
        assert_eq!(item["7FE00010"]["vr"], "OB");
    }
}

#[test]
fn an_icon_that_cannot_be_decoded_is_left_out_with_its_reason() {
    let main = coded(JPEG_LS, 1, 50).bytes;
    let good = coded(JPEG_LS, 1, 3).bytes;
    let several =
        icon("MONOCHROME2", 1, &good).set(DataSet::new().text(Tag(0x0028, 0x0008), VR::IS, "2"));
    let large = icon("MONOCHROME2", 1, &good).set(DataSet::new().bytes(
        Tag(0x0028, 0x2000),
        VR::OB,
        vec![1; 6000],
    ));
    for (item, reason) in [
        (icon("MONOCHROME2", 1, &[1; 40]), "cannot be decoded"),
        (several, "several frames"),
        (large, "too large"),
        (
            icon("MONOCHROME2", 1, &good).without(Tag(0x0028, 0x0010)),
            "describe no picture",
        ),
    ] {
        for depth in 1..=3 {
            let bytes = file(depth, item.clone(), &main, JPEG_LS);
            let plan = planned(&bytes, &native());
            let note = plan.notes.clone().unwrap();
            assert!(
                note.contains(reason) && note.contains("IconImageSequence"),
                "{note}"
            );
            let mut outer = metadata(&written(&bytes, &plan));
            for _ in 1..depth {
                outer = outer["00081140"]["Value"][0].clone();
            }
            assert!(outer.get("00880200").is_none(), "{outer}");
            assert_eq!(outer["00880904"]["Value"][0], "behind");
        }
    }
}

#[test]
fn an_icon_stays_when_its_syntax_does() {
    let stream = coded(JPEG_LS, 1, 3).bytes;
    let main = coded(JPEG_LS, 1, 50).bytes;
    let bytes = file(2, icon("MONOCHROME2", 1, &stream), &main, JPEG_LS);
    let out = written(&bytes, &planned(&bytes, &Edits::none(JPEG_LS)));
    assert!(out.windows(stream.len() / 2).any(|w| stream.starts_with(w)));
    let item = find(&metadata(&out), 2);
    assert!(item["7FE00010"].get("BulkDataURI").is_some());
}
