//! Hostile and damaged input: every answer is an error or a complete instance, in bounded time and memory.

use proptest::prelude::*;

use super::*;
use crate::dicom::error::ParseProblem;
use crate::dicom::inflate::{DiskRoom, Unbounded};
use crate::dicom::limits::DEPTH;

mod limits;

fn problem(bytes: &[u8]) -> ParseProblem {
    match try_parse(bytes).unwrap_err() {
        ParseError::Damaged { problem, .. } => problem,
        other => panic!("{other:?}"),
    }
}

fn limit(bytes: &[u8], options: &ParseOptions<'_>) -> Limit {
    match parse(&bytes, options).unwrap_err() {
        ParseError::Limit { limit, .. } => limit,
        other => panic!("{other:?}"),
    }
}

fn item_header(length: u32) -> Vec<u8> {
    [&[0xFE, 0xFF, 0x00, 0xE0][..], &length.to_le_bytes()].concat()
}

#[test]
fn what_is_not_dicom_is_refused_as_such() {
    let page = b"<!DOCTYPE html><html><body>404</body></html>";
    let zeros = [0; 300];
    let jpeg = [&[0xFF, 0xD8, 0xFF, 0xE0][..], &zeros].concat();
    let none: [&[u8]; 6] = [
        b"",
        b"D",
        page,
        &zeros,
        &jpeg,
        b"PK\x03\x04\x14\x00\x00\x00\x08\x00",
    ];
    for bytes in none {
        assert!(
            matches!(try_parse(bytes), Err(ParseError::NotDicom)),
            "{bytes:?}"
        );
    }
}

#[test]
fn a_prefix_followed_by_noise_is_an_error() {
    let mut state = 1_u32;
    for _ in 0..2000 {
        let mut bytes = [&[0; 128], &b"DICM"[..]].concat();
        for _ in 0..200 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.push((state >> 24) as u8);
        }
        assert!(try_parse(&bytes).is_err());
    }
}

#[test]
fn missing_and_bad_identifiers_are_named_and_the_others_reported() {
    let tags = [
        Tag(0x0008, 0x0016),
        Tag(0x0008, 0x0018),
        Tag(0x0020, 0x000D),
        Tag(0x0020, 0x000E),
    ];
    for tag in tags {
        let absent = DataSet::instance().without(tag);
        let empty = DataSet::instance().set(DataSet::new().bytes(tag, VR::UI, Vec::new()));
        let blank = DataSet::instance().set(DataSet::new().bytes(tag, VR::UI, *b" \0"));
        for data in [absent, empty, blank] {
            match try_parse(&data.file(Syntax::ExplicitLittle).bytes).unwrap_err() {
                ParseError::Missing { tag: missing, read } => {
                    assert_eq!(missing, tag);
                    let found = [&read.sop_class, &read.instance, &read.study, &read.series];
                    assert_eq!(found.iter().filter(|id| id.is_some()).count(), 3);
                }
                other => panic!("{other:?}"),
            }
        }
        // A number is no identifier, whatever its bytes look like.
        let number = DataSet::instance().set(DataSet::new().bytes(tag, VR::US, *b"1.2.3.44"));
        let error = try_parse(&number.file(Syntax::ExplicitBig).bytes).unwrap_err();
        assert!(matches!(error, ParseError::Missing { tag: missing, .. } if missing == tag));
        for bad in ["../../etc/passwd", "1.2\\1.3", "1.2.x", &"1".repeat(66)] {
            let data = DataSet::instance().set(DataSet::new().text(tag, VR::UI, bad));
            match try_parse(&data.file(Syntax::ExplicitLittle).bytes).unwrap_err() {
                ParseError::BadUid {
                    tag: wrong, read, ..
                } => {
                    assert_eq!(wrong, tag);
                    let found = [&read.sop_class, &read.instance, &read.study, &read.series];
                    assert!(found.iter().any(|id| id.as_deref() == Some(bad)));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn errors_name_element_and_place_and_carry_what_was_read() {
    let mut built = rich().file(Syntax::ExplicitLittle);
    let at = built.place("7FE00010").unwrap().offset;
    built.bytes.truncate(built.bytes.len() - 1);
    let error = try_parse(&built.bytes).unwrap_err();
    assert_eq!(
        error.identifiers().unwrap().instance.as_deref(),
        Some(crate::dicom::testing::INSTANCE)
    );
    assert_eq!(
        error.to_string(),
        format!(
            "damaged at byte {}, element (7FE0,0010): the value ends past the end of the file; send the complete, valid file",
            at - 12
        )
    );
}

#[test]
fn a_file_cut_at_any_byte_is_refused_unless_the_data_set_is_complete() {
    let encapsulated = DataSet::image(8, 8, 8, 2).fragments(&[0, 10], &[&[1, 2], &[3, 4]]);
    for (data, syntaxes) in [
        (rich(), &SYNTAXES[..]),
        (encapsulated, &[Syntax::Other("1.2.840.10008.1.2.5")]),
    ] {
        for syntax in syntaxes {
            let built = data.file(*syntax);
            let whole = instance_of(&built);
            // Cut between two top-level elements, what is left is a data set of its own.
            let mut complete = 0;
            for cut in 0..built.bytes.len() {
                match try_parse(&built.bytes[..cut]) {
                    Err(_) => {}
                    Ok(instance) => {
                        complete += 1;
                        assert_eq!(
                            *syntax == Syntax::Deflated,
                            cut + 1 == built.bytes.len(),
                            "{syntax:?} {cut}"
                        );
                        let text = instance.metadata.text.trim_end_matches('}');
                        assert!(whole.metadata.text.starts_with(text), "{cut}");
                        assert!(*syntax == Syntax::Deflated || instance.pixel.is_none());
                    }
                }
            }
            assert!(complete < 14, "{syntax:?}: {complete}");
        }
    }
}

#[test]
fn unclosed_pixel_data_is_refused() {
    let data = DataSet::image(8, 8, 8, 1).fragments(&[], &[&[1, 2]]);
    let mut built = data.file(Syntax::Other("1.2.840.10008.1.2.5"));
    built.bytes.truncate(built.bytes.len() - 8);
    assert_eq!(problem(&built.bytes), ParseProblem::NotClosed);
}

#[test]
fn lengths_of_almost_four_gigabytes_are_refused_at_once() {
    let huge = 0xFFFF_FFF0_u32.to_le_bytes();
    for vr in ["OB", "UT", "SQ", "UN", "UC", "OW"] {
        let mut built = DataSet::instance().file(Syntax::ExplicitLittle);
        built.bytes.extend([0x40, 0, 0x60, 0xA1]);
        built.bytes.extend(vr.bytes());
        built.bytes.extend([0, 0]);
        built.bytes.extend(huge);
        built.bytes.extend([0; 64]);
        assert_eq!(problem(&built.bytes), ParseProblem::PastFile, "{vr}");
    }
    let mut item = DataSet::instance()
        .items(Tag(0x0040, 0x0275), Lengths::Undefined, vec![])
        .file(Syntax::ExplicitLittle);
    item.bytes.truncate(item.bytes.len() - 8);
    item.bytes.extend(item_header(0xFFFF_FFF0));
    assert_eq!(problem(&item.bytes), ParseProblem::PastFile);
}

#[test]
fn a_value_may_not_leave_its_item_nor_an_item_its_sequence() {
    let item = DataSet::new().bytes(Tag(0x0040, 0xA160), VR::UT, vec![b'a'; 20]);
    let data = DataSet::instance()
        .items(Tag(0x0040, 0x0275), Lengths::Defined, vec![item])
        .bytes(Tag(0x0042, 0x0011), VR::OB, vec![0; 100]);
    let built = data.file(Syntax::ExplicitLittle);
    let value = usize::try_from(built.place("00400275/1/0040A160").unwrap().offset).unwrap();
    let mut value_too_long = built.bytes.clone();
    value_too_long[value - 4] = 21;
    assert_eq!(problem(&value_too_long), ParseProblem::PastParent);
    let mut item_too_long = built.bytes.clone();
    item_too_long[value - 16] += 1;
    assert_eq!(problem(&item_too_long), ParseProblem::PastParent);
    let mut item_too_short = built.bytes;
    item_too_short[value - 16] -= 8;
    assert_eq!(problem(&item_too_short), ParseProblem::PastParent);
}

#[test]
fn damaged_deflate_streams_are_refused() {
    let built = rich().file(Syntax::Deflated);
    let start = usize::try_from(built.dataset_offset).unwrap();
    let mut noise = built.bytes.clone();
    noise[start..].fill(0xFF);
    assert_eq!(problem(&noise), ParseProblem::Deflate);
    assert_eq!(
        problem(&built.bytes[..built.bytes.len() - 10]),
        ParseProblem::DeflateCut
    );
    assert_eq!(problem(&built.bytes[..start]), ParseProblem::DeflateCut);
}

fn samples() -> Vec<Vec<u8>> {
    let encapsulated = DataSet::image(8, 8, 8, 2).fragments(&[0, 10], &[&[1, 2], &[3, 4]]);
    let mut all: Vec<Vec<u8>> = SYNTAXES
        .iter()
        .map(|syntax| rich().file(*syntax).bytes)
        .collect();
    all.push(
        encapsulated
            .file(Syntax::Other("1.2.840.10008.1.2.5"))
            .bytes,
    );
    all
}

/// Whatever the parser accepts keeps its promises.
fn check(bytes: &[u8]) {
    let Ok(instance) = try_parse(bytes) else {
        return;
    };
    serde_json::from_str::<Value>(&instance.metadata.text).unwrap();
    let length = if instance.layout.deflated {
        instance.layout.dataset_length
    } else {
        bytes.len() as u64
    };
    for item in &instance.bulk {
        assert!(item.offset + item.length <= length);
    }
    for number in 1..=instance.frames.count().min(64) {
        for range in instance.frames.frame(number).unwrap().ranges {
            assert!(range.offset + range.length <= length);
        }
    }
    assert_eq!(instance.frames.frame(instance.frames.count() + 1), None);
    for attribute in &instance.attributes {
        let piece = &instance.metadata.text[attribute.json.clone()];
        serde_json::from_str::<Value>(piece).unwrap();
    }
    let packed = crate::dicom::frames::FrameTable::from_bytes(&instance.frames.to_bytes());
    assert_eq!(packed.as_ref(), Some(&instance.frames));
    let out = crate::dicom::metadata::written(&instance.metadata, "http://h", &["1.2"]);
    serde_json::from_slice::<Value>(&out).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_break_a_promise(
        which in 0..5_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = samples()[which].clone();
        // The first 128 bytes mean nothing.
        for (index, value) in changes {
            let at = 128 + index.index(bytes.len() - 128);
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        check(&bytes);
    }

    #[test]
    fn repeated_and_swapped_pieces_never_break_a_promise(
        which in 0..5_usize,
        from in any::<prop::sample::Index>(),
        to in any::<prop::sample::Index>(),
        length in 1..64_usize,
    ) {
        let mut bytes = samples()[which].clone();
        let from = from.index(bytes.len() - length);
        let to = 132 + to.index(bytes.len() - 132);
        let piece = bytes[from..from + length].to_vec();
        bytes.splice(to..to, piece);
        check(&bytes);
    }
}

#[test]
fn a_delimiter_behind_a_sequence_of_defined_length_is_harmless() {
    let sequence = |length: u32| {
        let mut element = vec![0x08, 0x00, 0x40, 0x11, b'S', b'Q', 0, 0];
        element.extend(length.to_le_bytes());
        element
    };
    let delimiter = [0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0];
    let at = |file: &[u8]| {
        // Before the first element of group 0010.
        let place = file.windows(6).position(|six| six == b"\x10\0\x10\0PN");
        place.expect("a patient name")
    };
    let plain = DataSet::instance()
        .text(Tag(0x0010, 0x0010), VR::PN, "A^B")
        .file(Syntax::ExplicitLittle)
        .bytes;
    let with = |more: &[u8]| {
        let mut file = plain.clone();
        let place = at(&file);
        file.splice(place..place, more.iter().copied());
        file
    };
    // Empty, with an empty item, and inside of another one's item.
    let empty = [&sequence(0)[..], &delimiter].concat();
    let item = [&sequence(8)[..], &item_header(0), &delimiter].concat();
    let inner = u32::try_from(empty.len()).unwrap();
    let nested = [&sequence(inner + 8)[..], &item_header(inner), &empty].concat();
    for more in [empty, item, nested] {
        let instance = try_parse(&with(&more)).unwrap();
        let name = instance
            .attributes
            .iter()
            .find(|a| a.tag == Tag(0x0010, 0x0010));
        assert_eq!(name.unwrap().values, ["A^B"]);
    }
    // Twice, or where no sequence has ended, it is damage.
    let twice = [&sequence(0)[..], &delimiter, &delimiter].concat();
    assert_eq!(problem(&with(&twice)), ParseProblem::StrayDelimiter);
    assert_eq!(problem(&with(&delimiter)), ParseProblem::StrayDelimiter);
}

#[test]
fn a_vr_that_dicom_does_not_have_is_named() {
    let mut file = DataSet::instance()
        .text(Tag(0x0010, 0x0010), VR::PN, "A^B")
        .file(Syntax::ExplicitLittle)
        .bytes;
    let place = file
        .windows(6)
        .position(|six| six == b"\x10\0\x10\0PN")
        .unwrap();
    file[place + 4..place + 6].copy_from_slice(b"XQ");
    let reported = try_parse(&file).unwrap_err().to_string();
    assert!(
        reported.contains("(0010,0010): DICOM has no value representation XQ"),
        "{reported}"
    );
}
