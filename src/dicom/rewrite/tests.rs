use std::io::Write;
use std::ops::RangeInclusive;

use dicom_object::DefaultDicomObject;
use proptest::prelude::*;
use serde_json::{Value, json};

use dicom_core::{Tag, VR};

use super::*;
use crate::dicom::endian::swap;
use crate::dicom::error::Limit;
use crate::dicom::inflate::inflate;
use crate::dicom::instance::Instance;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::testing::{self, BuiltFile, DataSet, Lengths, Syntax};

const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const PIXELS: Tag = Tag(0x7FE0, 0x0010);
const SYNTAXES: [Syntax; 4] = [
    Syntax::ImplicitLittle,
    Syntax::ExplicitLittle,
    Syntax::ExplicitBig,
    Syntax::Deflated,
];

fn parsed(bytes: &[u8]) -> Instance {
    parse(&bytes, &ParseOptions::default()).unwrap()
}

fn metadata(instance: &Instance) -> Value {
    serde_json::from_str(&instance.metadata.text).unwrap()
}

/// Plans and writes; checks the length. Frames are `number` repeated.
fn try_rewrite(bytes: &[u8], edits: &Edits) -> Result<Vec<u8>, ParseError> {
    let layout = parse(&bytes, &ParseOptions::default())?.layout;
    let mut inflated = None;
    if layout.deflated {
        inflated = Some(inflate(&bytes, layout.dataset_offset, 1 << 30, None)?);
    }
    let source: &dyn Source = match &inflated {
        Some(inflated) => inflated,
        None => &bytes,
    };
    let segments = plan(source, &layout, edits, ParseLimits::default())?.segments;
    let mut out = Vec::new();
    let lengths: Vec<(RangeInclusive<u32>, u64)> = segments
        .iter()
        .filter_map(|segment| match segment {
            FileSegment::Frames { numbers, length } => Some((numbers.clone(), *length)),
            _ => None,
        })
        .collect();
    let mut frames = |numbers: RangeInclusive<u32>, out: &mut dyn Write| {
        let length = lengths.iter().find(|(n, _)| *n == numbers).unwrap().1;
        out.write_all(&vec![
            u8::try_from(*numbers.start()).unwrap();
            usize::try_from(length).unwrap()
        ])
    };
    let written = write(source, &segments, &mut frames, &mut out)?;
    assert_eq!(written, out.len() as u64);
    assert_eq!(total_length(&segments), written);
    Ok(out)
}

fn rewrite(built: &BuiltFile, edits: &Edits) -> Vec<u8> {
    try_rewrite(&built.bytes, edits).unwrap()
}

/// Every width, nesting both ways, long values, a private block.
fn rich() -> DataSet {
    let item = DataSet::new()
        .text(Tag(0x0008, 0x1150), VR::UI, "1.2.3")
        .bytes(Tag(0x0028, 0x3002), VR::US, [1, 0, 2, 0, 16, 0])
        .items(
            Tag(0x0040, 0xA730),
            Lengths::Defined,
            vec![DataSet::new().us(Tag(0x0028, 0x0010), &[513])],
        );
    DataSet::image(5, 5, 16, 2)
        .set(DataSet::new().bytes(Tag(0x0008, 0x0008), VR::CS, *b"ODD"))
        .bytes(Tag(0x0028, 0x0009), VR::AT, [0x18, 0, 0x63, 0x10])
        .bytes(
            Tag(0x0028, 0x1201),
            VR::OW,
            (0..=255_u8).cycle().take(8000).collect::<Vec<u8>>(),
        )
        .items(
            Tag(0x0040, 0x0275),
            Lengths::Undefined,
            vec![item.clone(), DataSet::new()],
        )
        .items(Tag(0x0040, 0x0260), Lengths::Defined, vec![item])
        .text(Tag(0x0041, 0x0010), VR::LO, "ACME")
        .bytes(Tag(0x0041, 0x1001), VR::UN, vec![1, 2, 3, 4])
        .bytes(Tag(0x0066, 0x0016), VR::OF, 1.5_f32.to_le_bytes())
        .bytes(Tag(0x0066, 0x0022), VR::OD, 2.5_f64.to_le_bytes())
        .bytes(Tag(0x0066, 0x0040), VR::OL, 7_u32.to_le_bytes())
        .bytes(Tag(0x0070, 0x0022), VR::FL, 0.5_f32.to_le_bytes())
        .bytes(Tag(0x0072, 0x0074), VR::FD, 0.25_f64.to_le_bytes())
        .bytes(Tag(0x0072, 0x0083), VR::UV, 9_u64.to_le_bytes())
        .bytes(PIXELS, VR::OW, (0..100).collect::<Vec<u8>>())
        .bytes(Tag(0xFFFC, 0xFFFC), VR::OB, vec![0; 40])
        .set(DataSet::new())
}

#[test]
fn every_syntax_becomes_the_same_explicit_file() {
    let rewritten: Vec<Vec<u8>> = SYNTAXES
        .iter()
        .map(|syntax| rewrite(&rich().file(*syntax), &Edits::none(EXPLICIT)))
        .collect();
    for (bytes, syntax) in rewritten.iter().zip(SYNTAXES) {
        let (before, after) = (parsed(&rich().file(syntax).bytes), parsed(bytes));
        assert!(after.layout.part10);
        assert_eq!(after.layout.transfer_syntax, EXPLICIT);
        assert!(after.findings.is_empty(), "{:?}", after.findings);
        let mut wanted = metadata(&before);
        wanted.as_object_mut().unwrap().remove("FFFCFFFC");
        let found = metadata(&after);
        assert_eq!(found, wanted, "{syntax:?}");
        assert!(bytes == &rewritten[1], "{syntax:?}");
        assert_eq!(after.frames.count(), 2);
    }
}

#[test]
fn dicom_object_reads_the_new_file() {
    for syntax in SYNTAXES {
        let bytes = rewrite(&rich().file(syntax), &Edits::none(EXPLICIT));
        let object: DefaultDicomObject = dicom_object::from_reader(&bytes[..]).unwrap();
        assert_eq!(object.meta().transfer_syntax(), EXPLICIT);
        assert_eq!(
            object.meta().media_storage_sop_instance_uid(),
            testing::INSTANCE
        );
        assert_eq!(
            object.meta().implementation_class_uid(),
            IMPLEMENTATION_CLASS
        );
        let pixels = object.element(PIXELS).unwrap().to_bytes().unwrap();
        assert_eq!(pixels.as_ref(), (0..100).collect::<Vec<u8>>());
        let nested = object
            .element(Tag(0x0040, 0x0275))
            .unwrap()
            .items()
            .unwrap();
        assert_eq!(
            nested[0]
                .element(Tag(0x0008, 0x1150))
                .unwrap()
                .to_str()
                .unwrap(),
            "1.2.3"
        );
        assert_eq!(
            object
                .element(Tag(0x0008, 0x0008))
                .unwrap()
                .to_str()
                .unwrap(),
            "ODD"
        );
        assert_eq!(
            object
                .element(Tag(0x0072, 0x0083))
                .unwrap()
                .uint64()
                .unwrap(),
            9
        );
    }
}

#[test]
fn large_values_are_planned_as_runs_of_the_source() {
    let data = DataSet::image(300, 300, 16, 1)
        .bytes(Tag(0x0066, 0x0022), VR::OD, vec![1; 8000])
        .bytes(PIXELS, VR::OW, vec![3; 180_000]);
    let count = |syntax| {
        let built = data.file(syntax);
        let layout = parsed(&built.bytes).layout;
        let segments = plan(
            &built.bytes,
            &layout,
            &Edits::none(EXPLICIT),
            ParseLimits::default(),
        )
        .unwrap()
        .segments;
        let memory: usize = segments
            .iter()
            .map(|s| {
                if let FileSegment::Bytes(bytes) = s {
                    bytes.len()
                } else {
                    0
                }
            })
            .sum();
        assert!(memory < 1000);
        let swaps: Vec<u8> = segments
            .iter()
            .filter_map(|s| {
                if let FileSegment::Swap { width, .. } = s {
                    Some(*width)
                } else {
                    None
                }
            })
            .collect();
        let copies = segments
            .iter()
            .filter(|s| matches!(s, FileSegment::Copy { .. }))
            .count();
        (copies, swaps)
    };
    assert_eq!(count(Syntax::ExplicitLittle), (2, vec![]));
    assert_eq!(count(Syntax::ImplicitLittle), (2, vec![]));
    assert_eq!(count(Syntax::ExplicitBig), (0, vec![8, 2]));
}

#[test]
fn big_endian_pixels_come_out_little() {
    let data = DataSet::image(1, 1, 32, 1).bytes(PIXELS, VR::OW, [1, 2, 3, 4]);
    let built = data.file(Syntax::ExplicitBig);
    assert!(built.bytes.ends_with(&[2, 1, 4, 3]));
    assert!(rewrite(&built, &Edits::none(EXPLICIT)).ends_with(&[1, 2, 3, 4]));
    // Bytes stay.
    let data = DataSet::image(2, 2, 8, 1).bytes(PIXELS, VR::OB, [1, 2, 3, 4]);
    assert!(
        rewrite(&data.file(Syntax::ExplicitBig), &Edits::none(EXPLICIT)).ends_with(&[1, 2, 3, 4])
    );
}

#[test]
fn thirty_two_bit_cells_with_the_high_word_first_are_recognized() {
    let cells = (0..10_000_u32).map(|i| 1_249_000 + i * 37 % 5000);
    let little: Vec<u8> = cells.clone().flat_map(u32::to_le_bytes).collect();
    // The builder swaps words, so that the file has the big endian numbers.
    let mut high_first: Vec<u8> = cells.flat_map(u32::to_be_bytes).collect();
    swap(&mut high_first, 2);
    for (stored, width) in [(high_first, 4), (little.clone(), 2)] {
        let built = DataSet::image(100, 100, 32, 1)
            .bytes(PIXELS, VR::OW, stored)
            .file(Syntax::ExplicitBig);
        assert!(rewrite(&built, &Edits::none(EXPLICIT)).ends_with(&little));
        assert_eq!(parsed(&built.bytes).frames.frame(1).unwrap().swap, width);
    }
}

#[test]
fn a_value_too_long_for_a_short_vr_goes_out_as_unknown() {
    let long = vec![b'7'; 70_000];
    let data = DataSet::instance()
        .bytes(Tag(0x0040, 0xA130), VR::LO, long.clone())
        .bytes(Tag(0x3006, 0x0050), VR::DS, long);
    let bytes = rewrite(&data.file(Syntax::ImplicitLittle), &Edits::none(EXPLICIT));
    let header = [
        0x06, 0x30, 0x50, 0x00, b'U', b'N', 0, 0, 0x70, 0x11, 0x01, 0x00,
    ];
    assert!(bytes.windows(12).any(|window| window == header));
    let instance = parsed(&bytes);
    assert_eq!(metadata(&instance)["30060050"]["vr"], "DS");
    assert_eq!(instance.bulk.last().unwrap().length, 70_000);
}

#[test]
fn odd_values_are_padded_and_group_lengths_left_out() {
    let mut data = DataSet::new().bytes(Tag(0x0008, 0), VR::UL, [9, 0, 0, 0]);
    data.0.extend(rich().0);
    let bytes = rewrite(&data.file(Syntax::ExplicitLittle), &Edits::none(EXPLICIT));
    assert_eq!(
        bytes,
        rewrite(&rich().file(Syntax::ExplicitLittle), &Edits::none(EXPLICIT))
    );
    assert!(
        bytes
            .windows(12)
            .any(|window| window == b"\x08\x00\x08\x00CS\x04\x00ODD ")
    );
}

#[test]
fn top_level_elements_are_set_removed_and_added() {
    let set = |tag, vr, value: &[u8]| Edit {
        tag,
        value: Some((vr, value.to_vec())),
    };
    let edits = Edits {
        transfer_syntax: EXPLICIT.to_owned(),
        elements: vec![
            set(Tag(0x0028, 0x2110), VR::CS, b"01"),
            Edit {
                tag: Tag(0x0040, 0x0275),
                value: None,
            },
            set(Tag(0x0008, 0x0001), VR::UL, &[1, 0, 0, 0]),
            set(Tag(0x0028, 0x0004), VR::CS, b"RGB"),
            set(Tag(0xFFFA, 0xFFFA), VR::LO, b"last"),
            Edit {
                tag: Tag(0x0010, 0x4000),
                value: None,
            },
            Edit {
                tag: PIXELS,
                value: None,
            },
        ],
        pixels: PixelEdit::Keep,
    };
    for syntax in SYNTAXES {
        let after = parsed(&rewrite(&rich().file(syntax), &edits));
        let json = metadata(&after);
        assert!(json.as_object().unwrap().keys().is_sorted() && after.findings.is_empty());
        assert_eq!(json["00282110"], json!({"vr": "CS", "Value": ["01"]}));
        assert_eq!(json["00280004"], json!({"vr": "CS", "Value": ["RGB"]}));
        assert_eq!(json["00080001"], json!({"vr": "UL", "Value": [1]}));
        assert_eq!(json["FFFAFFFA"], json!({"vr": "LO", "Value": ["last"]}));
        assert_eq!((json.get("00400275"), json.get("7FE00010")), (None, None));
        assert_eq!(
            json["00400260"]["Value"][0]["00081150"]["Value"],
            json!(["1.2.3"])
        );
    }
}

#[test]
fn native_pixels_replace_fragments_and_their_tables() {
    let data = DataSet::image(3, 3, 8, 2)
        .bytes(Tag(0x7FE0, 0x0001), VR::OV, vec![0; 16])
        .bytes(Tag(0x7FE0, 0x0002), VR::OV, vec![0; 16])
        .fragments(&[0, 10], &[&[1, 2], &[3, 4]])
        .text(Tag(0x7FE1, 0x0010), VR::LO, "BEHIND");
    let built = data.file(Syntax::Other("1.2.840.10008.1.2.5"));
    let edits = Edits {
        pixels: PixelEdit::Native {
            vr: VR::OB,
            frames: 2,
            length: 17,
        },
        ..Edits::none(EXPLICIT)
    };
    let bytes = rewrite(&built, &edits);
    let instance = parsed(&bytes);
    let json = metadata(&instance);
    assert_eq!((json.get("7FE00001"), json.get("7FE00002")), (None, None));
    assert_eq!(json["7FE10010"]["Value"], json!(["BEHIND"]));
    let item = &instance.bulk[0];
    assert_eq!((item.length, item.encapsulated), (18, false));
    let at = usize::try_from(item.offset).unwrap();
    assert_eq!(bytes[at..at + 18], [&[1; 17][..], &[0]].concat());
    let too_long = Edits {
        pixels: PixelEdit::Native {
            vr: VR::OB,
            frames: 2,
            length: 1 << 32,
        },
        ..edits
    };
    assert!(matches!(
        try_rewrite(&built.bytes, &too_long),
        Err(ParseError::Limit {
            limit: Limit::Value,
            ..
        })
    ));
}

#[test]
fn encapsulated_frames_replace_native_pixels() {
    let edits = Edits {
        pixels: PixelEdit::Encapsulated {
            lengths: vec![5, 8],
        },
        ..Edits::none("1.2.840.10008.1.2.4.80")
    };
    for syntax in SYNTAXES {
        let bytes = rewrite(&rich().file(syntax), &edits);
        let instance = parsed(&bytes);
        assert!(instance.findings.is_empty(), "{:?}", instance.findings);
        assert_eq!(instance.layout.transfer_syntax, "1.2.840.10008.1.2.4.80");
        assert_eq!(instance.frames.count(), 2);
        for (number, want) in [(1, vec![1, 1, 1, 1, 1, 0]), (2, vec![2; 8])] {
            let range = instance.frames.frame(number).unwrap().ranges[0];
            let at = usize::try_from(range.offset).unwrap();
            assert_eq!(bytes[at..at + usize::try_from(range.length).unwrap()], want);
        }
    }
}

#[test]
fn encapsulated_pixels_stay_as_they_are() {
    let data = DataSet::image(8, 8, 8, 2).fragments(&[0, 10], &[&[1, 2], &[3, 4]]);
    for syntax in [
        Syntax::Other("1.2.840.10008.1.2.5"),
        Syntax::ImplicitLittle,
        Syntax::ExplicitBig,
    ] {
        let bytes = rewrite(&data.file(syntax), &Edits::none("1.2.840.10008.1.2.5"));
        let want = data.file(Syntax::Other("1.2.840.10008.1.2.5"));
        let tail =
            want.bytes.len() - usize::try_from(want.place("7FE00010#0").unwrap().offset).unwrap();
        if syntax == Syntax::ExplicitBig {
            // The offset table is bytes to the builder, not numbers.
            assert_eq!(parsed(&bytes).frames.count(), 2);
        } else {
            assert_eq!(
                bytes[bytes.len() - tail..],
                want.bytes[want.bytes.len() - tail..]
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_accepted_can_be_rewritten(
        which in 0..4_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let mut bytes = rich().file(SYNTAXES[which]).bytes;
        for (index, value) in changes {
            let at = 128 + index.index(bytes.len() - 128);
            bytes[at] = value;
        }
        if let Ok(before) = parse(&bytes, &ParseOptions::default()) {
            let after = parsed(&try_rewrite(&bytes, &Edits::none(EXPLICIT)).unwrap());
            prop_assert_eq!(after.name, before.name);
        }
    }
}
