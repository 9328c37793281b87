use std::io::Write;
use std::ops::RangeInclusive;

use dicom_core::{Tag, VR};
use serde_json::{Value, json};

use super::*;
use crate::dicom::limits::ParseLimits;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::parse_memory::NoParseMemory;
use crate::dicom::rewrite::FileSegment;
use crate::dicom::rewrite::made::{made, source};
use crate::dicom::source::Source;
use crate::dicom::tag;
use crate::dicom::testing::{DataSet, INSTANCE, Lengths, STUDY, Syntax};

const SYNTAXES: [Syntax; 4] = [
    Syntax::ImplicitLittle,
    Syntax::ExplicitLittle,
    Syntax::ExplicitBig,
    Syntax::Deflated,
];
const CT: &str = "1.2.840.10008.5.1.4.1.1.2";
/// Per-Frame Functional Groups: a sequence that stays.
const GROUPS: Tag = Tag(0x5200, 0x9230);
const PIXELS: Tag = Tag(0x7FE0, 0x0010);

fn profile(options: &str) -> DeidentifyProfile {
    DeidentifyProfile {
        options: options.parse().unwrap(),
        key: PseudonymKey::new("a key of sixteen bytes or more").unwrap(),
        pixels: PixelRules::default(),
        requestable: RequestableOptions::default(),
    }
}

/// The new file and its data set.
fn planned(
    bytes: &[u8],
    profile: &DeidentifyProfile,
    pixels: PixelData<'_>,
) -> Result<(Vec<u8>, Vec<u8>), DeidentifyError> {
    let parsed = parse(&bytes, &ParseOptions::default()).unwrap();
    let layout = parsed.layout;
    let source = source(&bytes, &layout);
    let source = source.as_ref();
    let limits = ParseLimits::default();
    let (facts, _) = profile.inspect(source, &layout, &parsed.sop_class, limits)?;
    let subject = DeidentifySubject {
        sop_class: &parsed.sop_class,
        name: &parsed.name,
        facts: &facts,
    };
    let granted = |_: usize| Ok(());
    let planned = plan(source, &layout, subject, profile, pixels, limits, &granted)?;
    let mut blank = |numbers: RangeInclusive<u32>, out: &mut dyn Write| {
        numbers
            .into_iter()
            .try_for_each(|_| out.write_all(b"FRAME."))
    };
    Ok(made(source, &layout, &planned.segments, &mut blank))
}

fn deidentified(set: &DataSet, syntax: Syntax, options: &str) -> (Value, Vec<u8>) {
    let made = planned(&set.file(syntax).bytes, &profile(options), PixelData::Kept);
    let (file, data) = made.unwrap();
    (metadata(&file), data)
}

fn metadata(bytes: &[u8]) -> Value {
    let parsed = parse(&bytes, &ParseOptions::default()).unwrap();
    serde_json::from_str(&parsed.metadata.text).unwrap()
}

fn holds(data: &[u8], part: &[u8]) -> bool {
    data.windows(part.len()).any(|window| window == part)
}

/// An axial CT image without pixel data.
fn ct() -> DataSet {
    let more = DataSet::new()
        .text(Tag(0x0008, 0x0008), VR::CS, r"ORIGINAL\PRIMARY\AXIAL")
        .text(Tag(0x0008, 0x0016), VR::UI, CT)
        .text(Tag(0x0008, 0x0060), VR::CS, "CT")
        .text(Tag(0x0008, 0x0070), VR::LO, "ACME");
    DataSet::image(4, 4, 16, 1).set(more)
}

fn image() -> DataSet {
    ct().set(DataSet::new().bytes(PIXELS, VR::OW, (0..32).collect::<Vec<u8>>()))
}

/// A value of a VR that can be found again.
fn marked(tag: Tag, vr: VR) -> (DataSet, Vec<u8>) {
    let set = DataSet::new();
    let text = match vr {
        VR::SQ => {
            let inner = DataSet::new().text(Tag(0x0040, 0xA123), VR::PN, "MARKER");
            let set = set.items(tag, Lengths::Undefined, vec![inner]);
            return (set, b"MARKER".to_vec());
        }
        VR::UI => "1.2.3.77777.1",
        VR::DA => "19610203",
        VR::TM => "070809.123456",
        VR::DT => "19610203070809.123456",
        VR::AS => "042Y",
        VR::DS | VR::IS => "31415926",
        VR::US | VR::SS | VR::UL | VR::SL | VR::FL | VR::FD | VR::AT | VR::OB | VR::OW | VR::UN => {
            let value = b"\x5A\x5A\xA5\xA5\x5A\x5A\xA5\xA5";
            return (set.bytes(tag, vr, *value), b"\x5A\x5A".to_vec());
        }
        _ => "MARKER",
    };
    (set.text(tag, vr, text), text.as_bytes().to_vec())
}

/// Every attribute of the table, outside and inside of a sequence that stays.
#[test]
fn nothing_that_the_table_names_is_left() {
    let rows: Vec<(Tag, VR)> = include_str!("table.txt")
        .lines()
        .filter_map(|line| tag::from_hex(line.split('\t').next()?))
        .filter(|tag| tag.0 > 0x0004)
        .map(|tag| (tag, tag::vr(tag)))
        .collect();
    assert_eq!(rows.len(), 648);
    for syntax in SYNTAXES {
        let (mut top, mut nested) = (ct(), DataSet::new());
        let mut markers = Vec::new();
        for (tag, vr) in &rows {
            let vr = if *vr == VR::UN { VR::LO } else { *vr };
            let (set, marker) = marked(*tag, vr);
            markers.push((tag, marker));
            nested.0.extend(set.0.clone());
            // What names the instance has to be valid.
            if !matches!(*tag, Tag(0x0008, 0x0018) | Tag(0x0020, 0x000D | 0x000E)) {
                top = top.set(set);
            }
        }
        let groups = DataSet::new().items(GROUPS, Lengths::Defined, vec![nested]);
        let (found, data) = deidentified(&top.set(groups), syntax, "");
        for (tag, marker) in markers {
            assert!(!holds(&data, &marker), "{syntax:?} {tag}");
        }
        // The sequence itself is still there.
        assert!(found["52009230"]["Value"][0].is_object());
    }
}

#[test]
fn what_is_no_attribute_of_the_standard_goes_at_every_level() {
    let hidden = || {
        DataSet::new()
            .text(Tag(0x0009, 0x0010), VR::LO, "MARKER")
            .text(Tag(0x0009, 0x1001), VR::UT, "MARKER")
            .text(Tag(0x0010, 0xFFF0), VR::LO, "MARKER")
            .items(
                Tag(0x0029, 0x1010),
                Lengths::Undefined,
                vec![DataSet::new().text(Tag(0x0018, 0x0015), VR::CS, "MARKER")],
            )
            .bytes(Tag(0x5000, 0x3000), VR::OW, *b"MARKER")
            .text(Tag(0x6000, 0x4000), VR::LT, "MARKER")
            .bytes(Tag(0x6002, 0x3000), VR::OW, *b"MARKER")
    };
    let deep = (0..20).fold(hidden(), |inner, _| {
        DataSet::new().items(GROUPS, Lengths::Defined, vec![inner])
    });
    for syntax in SYNTAXES {
        let set = image().set(hidden()).set(deep.clone());
        let (found, data) = deidentified(&set, syntax, "");
        assert!(!holds(&data, b"MARKER"), "{syntax:?}");
        let inline = found["7FE00010"].is_object();
        assert!(inline && found["52009230"].is_object(), "{syntax:?}");
    }
}

#[test]
fn nothing_around_the_data_set_is_left() {
    let built = image().file(Syntax::ExplicitLittle);
    let mut bytes = built.bytes.clone();
    bytes[..6].copy_from_slice(b"MARKER");
    let padding = DataSet::new().bytes(Tag(0xFFFC, 0xFFFC), VR::OB, *b"MARKER");
    bytes.extend(padding.encode(Syntax::ExplicitLittle, 0).0);
    let (file, _) = planned(&bytes, &profile(""), PixelData::Kept).unwrap();
    assert!(!holds(&file, b"MARKER"));
    assert!(!holds(&file, INSTANCE.as_bytes()));
    // Behind the last element, where no element can be.
    let mut bytes = built.bytes;
    bytes.extend(b"\0\0\0\0\0\0\0\0");
    let (file, _) = planned(&bytes, &profile(""), PixelData::Kept).unwrap();
    assert!(file.ends_with(&(0..32).collect::<Vec<u8>>()));
}

#[test]
fn a_sequence_that_stands_as_unknown_is_looked_through() {
    let inner = DataSet::new()
        .text(Tag(0x0010, 0x0010), VR::PN, "MARKER")
        .text(Tag(0x0018, 0x0015), VR::CS, "HEAD");
    let (item, _) = DataSet::new()
        .items(GROUPS, Lengths::Defined, vec![inner])
        .encode(Syntax::ImplicitLittle, 0);
    let value = item.get(8..).unwrap().to_vec();
    let set = image().set(DataSet::new().bytes(GROUPS, VR::UN, value));
    let (found, data) = deidentified(&set, Syntax::ExplicitLittle, "");
    assert!(!holds(&data, b"MARKER"));
    let item = &found["52009230"]["Value"][0];
    assert_eq!(item["00180015"]["Value"], json!(["HEAD"]));
}

#[test]
fn what_belongs_together_still_does() {
    let reference = DataSet::new().text(Tag(0x0008, 0x1150), VR::UI, CT).text(
        Tag(0x0008, 0x1155),
        VR::UI,
        INSTANCE,
    );
    let more = DataSet::new()
        .text(Tag(0x0008, 0x0020), VR::DA, "20240301")
        .text(Tag(0x0008, 0x0022), VR::DA, "20240311")
        .text(Tag(0x0008, 0x002A), VR::DT, "20240311101112.5")
        .text(Tag(0x0008, 0x0030), VR::TM, "1011")
        .items(Tag(0x0008, 0x1140), Lengths::Undefined, vec![reference])
        .text(Tag(0x0020, 0x0052), VR::UI, "1.2.840.10008.1.4.1.1");
    let set = image().set(more);
    let key = profile("").key;
    for syntax in SYNTAXES {
        let options = "retain-modified-dates,retain-uids";
        let (found, _) = deidentified(&set, syntax, options);
        let first = |tag: &str| {
            found[tag]["Value"][0]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(first("0020000D"), STUDY);
        let reference = &found["00081140"]["Value"][0]["00081155"]["Value"][0];
        assert_eq!(reference, INSTANCE);

        let (found, _) = deidentified(&set, syntax, "retain-modified-dates");
        let first = |tag: &str| {
            found[tag]["Value"][0]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        assert_eq!(first("0020000D"), key.uid(STUDY));
        assert_eq!(first("00080018"), key.uid(INSTANCE));
        assert_eq!(first("00200052"), "1.2.840.10008.1.4.1.1");
        assert_eq!(first("00100020"), key.patient("P1"));
        let name = &found["00100010"]["Value"][0]["Alphabetic"];
        assert_eq!(name, &json!(key.patient("P1")));
        // Ten days apart, as they were.
        assert_eq!(first("00080030"), "1011");
        let days = key.days("P1");
        for (tag, vr, was) in [
            ("00080020", VR::DA, "20240301"),
            ("00080022", VR::DA, "20240311"),
            ("0008002A", VR::DT, "20240311101112.5"),
        ] {
            assert_eq!(Some(first(tag)), pseudonym::moved(vr, was, days), "{tag}");
        }
        let (found, _) = deidentified(&set, syntax, "retain-full-dates");
        assert_eq!(found["00080020"]["Value"], json!(["20240301"]));
    }
}

#[test]
fn what_should_be_a_date_and_is_a_name_does_not_stay() {
    for options in ["retain-full-dates", "retain-modified-dates"] {
        let set = image().set(DataSet::new().text(Tag(0x0008, 0x0020), VR::DA, "DOE JOHN"));
        let (found, data) = deidentified(&set, Syntax::ExplicitLittle, options);
        assert!(!holds(&data, b"DOE"));
        assert_eq!(found["00080020"], json!({ "vr": "DA" }));
    }
}

#[test]
fn the_new_data_set_says_what_was_done() {
    // What it said before does not stay.
    let old = DataSet::new()
        .text(Tag(0x0012, 0x0063), VR::LO, "MARKER")
        .text(Tag(0x0028, 0x0303), VR::CS, "UNMODIFIED");
    for syntax in SYNTAXES {
        let set = image().set(old.clone());
        let (found, data) = deidentified(&set, syntax, "retain-device,retain-modified-dates");
        assert!(!holds(&data, b"MARKER"));
        assert_eq!(found["00120062"]["Value"], json!(["YES"]));
        assert_eq!(found["00280303"]["Value"], json!(["MODIFIED"]));
        let method = found["00120063"]["Value"][0].as_str().unwrap();
        assert!(method.contains("PS3.15 2026c"), "{method}");
        let codes = found["00120064"]["Value"].as_array().unwrap().iter();
        let codes: Vec<&Value> = codes.map(|item| &item["00080100"]["Value"][0]).collect();
        assert_eq!(codes, ["113100", "113107", "113109"], "{syntax:?}");
    }
}

#[test]
fn pixel_data_stays_byte_for_byte() {
    for syntax in SYNTAXES {
        let before = image().encode(syntax, 0).0;
        let (_, data) = deidentified(&image(), syntax, "");
        // Its header, too.
        let tail = before.len() - 40;
        match syntax {
            Syntax::Deflated => assert!(data.ends_with(&(0..32).collect::<Vec<u8>>())),
            _ => assert!(data.ends_with(&before[tail..]), "{syntax:?}"),
        }
    }
    let set = ct().fragments(&[0, 12], &[b"abcd", b"efghij"]);
    let rle = Syntax::Other("1.2.840.10008.1.2.5");
    let before = set.file(rle).bytes;
    let (_, data) = deidentified(&set, rle, "");
    assert!(data.ends_with(&before[before.len() - 60..]));
}

#[test]
fn frames_that_the_caller_makes_take_the_place_of_the_pixels() {
    let native = ct().set(DataSet::new().bytes(PIXELS, VR::OW, [7; 8]));
    for syntax in SYNTAXES {
        let bytes = native.file(syntax).bytes;
        let (frames, length) = (1, 6);
        let wrong = planned(&bytes, &profile(""), PixelData::Native { frames, length });
        let layout = |error: &DeidentifyError| {
            matches!(
                error,
                DeidentifyError::Refused(DeidentifyRefusal::PixelLayout)
            )
        };
        assert!(wrong.err().as_ref().is_some_and(layout), "{syntax:?}");
    }
    let native = ct().set(DataSet::new().bytes(PIXELS, VR::OW, [7; 12]));
    for syntax in SYNTAXES {
        let bytes = native.file(syntax).bytes;
        let (frames, length) = (2, 6);
        let pixels = PixelData::Native { frames, length };
        let (_, data) = planned(&bytes, &profile(""), pixels).unwrap();
        assert!(
            data.ends_with(b"FRAME.FRAME.") && !holds(&data, &[7; 6]),
            "{syntax:?}"
        );
    }
    let set = ct().fragments(&[0, 12], &[b"oldo", b"oldold"]);
    let bytes = set.file(Syntax::Other("1.2.840.10008.1.2.5")).bytes;
    let pixels = PixelData::Encapsulated(&[6, 6]);
    let (file, data) = planned(&bytes, &profile(""), pixels).unwrap();
    assert!(!holds(&data, b"old"));
    let parsed = parse(&file.as_slice(), &ParseOptions::default()).unwrap();
    assert_eq!(parsed.pixel.unwrap().rows, 4);
}

#[test]
fn a_damaged_file_ends_in_an_error_and_never_in_a_panic() {
    let set = image().items(GROUPS, Lengths::Undefined, vec![ct()]);
    let bytes = set.file(Syntax::ExplicitLittle).bytes;
    let parsed = parse(&bytes.as_slice(), &ParseOptions::default()).unwrap();
    let start = usize::try_from(parsed.layout.dataset_offset).unwrap();
    for at in start..bytes.len() {
        let mut cut = bytes.clone();
        cut.truncate(at);
        let mut other = bytes.clone();
        other[at] ^= 0x55;
        for bytes in [cut, other] {
            let source: &dyn Source = &bytes.as_slice();
            let limits = ParseLimits::default();
            let profile = profile("retain-modified-dates");
            let seen = profile.inspect(source, &parsed.layout, CT, limits);
            let Ok((facts, _)) = seen else { continue };
            let subject = DeidentifySubject {
                sop_class: CT,
                name: &parsed.name,
                facts: &facts,
            };
            let granted = |_: usize| Ok(());
            let pixels = PixelData::Kept;
            let _ = plan(
                source,
                &parsed.layout,
                subject,
                &profile,
                pixels,
                limits,
                &granted,
            );
        }
    }
}

#[test]
fn memory_that_is_not_granted_ends_it() {
    let bytes = image().file(Syntax::ExplicitLittle).bytes;
    let parsed = parse(&bytes.as_slice(), &ParseOptions::default()).unwrap();
    let source: &dyn Source = &bytes.as_slice();
    let facts = InstanceFacts::default();
    let subject = DeidentifySubject {
        sop_class: CT,
        name: &parsed.name,
        facts: &facts,
    };
    let refused = |_: usize| Err(NoParseMemory("none".into()));
    let limits = ParseLimits::default();
    let (profile, layout) = (profile(""), &parsed.layout);
    let made = plan(
        source,
        layout,
        subject,
        &profile,
        PixelData::Kept,
        limits,
        &refused,
    );
    assert!(matches!(made, Err(DeidentifyError::Parse(_))));
    let granted = |_: usize| Ok(());
    let small = ParseLimits {
        kept: 100,
        ..limits
    };
    let made = plan(
        source,
        layout,
        subject,
        &profile,
        PixelData::Kept,
        small,
        &granted,
    );
    assert!(matches!(made, Err(DeidentifyError::Parse(_))));
    let segments = plan(
        source,
        layout,
        subject,
        &profile,
        PixelData::Kept,
        limits,
        &granted,
    );
    let segments = segments.unwrap().segments;
    assert!(
        segments
            .iter()
            .any(|segment| matches!(segment, FileSegment::Bytes(_)))
    );
}
