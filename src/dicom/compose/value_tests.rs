//! Values by the rules of their VR, from JSON and from XML.

use proptest::prelude::*;
use serde_json::json;

use super::tests::{data_set, file, metadata, parsed};
use super::value::{encode, shortest};
use super::*;

fn text(vr: VR, values: &Value) -> Result<String, ComposeProblem> {
    encode(vr, values.as_array().unwrap()).map(|bytes| String::from_utf8(bytes).unwrap())
}

#[test]
fn a_decimal_takes_sixteen_characters_at_most() {
    for (value, wanted) in [
        (json!(0.1), "0.1"),
        (json!(3), "3"),
        (json!(-1.5), "-1.5"),
        (json!(1e300), "1e300"),
        (json!(0.000_000_1), "0.0000001"),
        (json!(1e-17), "1e-17"),
        (json!(0.123_456_789_012_345_68), "0.12345678901235"),
        (json!(-0.123_456_789_012_345_68), "-0.1234567890123"),
        (json!("0.12345678901234567890123"), "0.12345678901235"),
        (json!(" 1.50 "), "1.50"),
        (json!("0.97656250000000"), "0.97656250000000"),
        (json!("0.97656250000000000000000"), "0.9765625"),
        (json!(12_345_678_901_234_567_890_u64), "1.2345678901e19"),
    ] {
        let written = text(VR::DS, &json!([value])).unwrap();
        assert!(written.len() <= 16, "{written}");
        let (read, wanted_number): (f64, f64) = (written.parse().unwrap(), wanted.parse().unwrap());
        assert!(
            (read - wanted_number).abs() <= wanted_number.abs() * 1e-10,
            "{written} {wanted}"
        );
        if wanted.len() < 14 || value.is_string() {
            assert_eq!(written, wanted);
        }
    }
    for bad in [
        json!("1,5"),
        json!("NaN"),
        json!("abc"),
        json!(true),
        json!("1e999"),
    ] {
        assert!(text(VR::DS, &json!([bad])).is_err(), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_decimal_reads_back_as_near_as_sixteen_characters_allow(number in prop::num::f64::NORMAL) {
        let text = shortest(number).unwrap();
        prop_assert!(text.len() <= 16, "{text}");
        prop_assert!(crate::dicom::validate::written(VR::DS, &text).is_none(), "{text}");
        let read: f64 = text.parse().unwrap();
        let exact = [format!("{number}"), format!("{number:e}")];
        if exact.iter().any(|text| text.len() <= 16) {
            prop_assert_eq!(read, number);
        }
        // Sign, point, exponent and its sign take seven characters at most.
        prop_assert!((read - number).abs() <= number.abs() * 1e-8, "{text} {number}");
    }
}

#[test]
fn an_integer_has_no_fraction() {
    for (value, wanted) in [
        (json!(5), Some("5")),
        (json!(5.0), Some("5")),
        (json!("-12"), Some("-12")),
        (json!(" +7 "), Some("+7")),
        (json!(-2_147_483_648_i64), Some("-2147483648")),
        (json!(2_147_483_648_i64), None),
        (json!(5.5), None),
        (json!("5.0"), None),
        (json!("5.5"), None),
        (json!("x"), None),
        (json!(1e20), None),
    ] {
        let written = text(VR::IS, &json!([value]));
        assert_eq!(written.ok().as_deref(), wanted, "{value}");
    }
}

#[test]
fn every_vr_keeps_its_length_and_its_characters() {
    let long = |count: usize| "A".repeat(count);
    for (vr, good, bad) in [
        (
            VR::AE,
            vec![long(16), "A b".to_owned()],
            vec![long(17), "a\u{e4}".to_owned(), "a\\b".to_owned()],
        ),
        (
            VR::AS,
            vec!["018M".to_owned()],
            vec!["18M".to_owned(), "018X".to_owned()],
        ),
        (
            VR::CS,
            vec!["A_B 9".to_owned()],
            vec!["lower".to_owned(), long(17), "A\\B".to_owned()],
        ),
        (
            VR::DA,
            vec!["20261129".to_owned()],
            vec!["2026-11-29".to_owned(), "20261301".to_owned()],
        ),
        (
            VR::DT,
            vec!["20261129101500.5+0100".to_owned()],
            vec!["yesterday".to_owned()],
        ),
        (
            VR::LO,
            vec![long(64)],
            vec![long(65), "a\\b".to_owned(), "a\u{7}".to_owned()],
        ),
        (
            VR::LT,
            vec!["a\\b\r\n".to_owned(), long(10_240)],
            vec![long(10_241)],
        ),
        (
            VR::PN,
            vec!["A^B=C".to_owned()],
            vec!["A=B=C=D".to_owned(), "A^B^C^D^E^F".to_owned(), long(65)],
        ),
        (VR::SH, vec![long(16)], vec![long(17), "a\\b".to_owned()]),
        (VR::ST, vec!["a\\b".to_owned()], vec![long(1025)]),
        (
            VR::TM,
            vec!["101500.25".to_owned()],
            vec!["25".to_owned(), "10:15".repeat(4)],
        ),
        (VR::UC, vec![long(300)], vec!["a\\b".to_owned()]),
        (
            VR::UI,
            vec!["1.2.3".to_owned()],
            vec!["1.2.x".to_owned(), "1.".repeat(33)],
        ),
        (
            VR::UR,
            vec!["http://h/p".to_owned()],
            vec!["http://h/ p".to_owned()],
        ),
        (VR::UT, vec!["a\\b".to_owned()], vec![]),
    ] {
        for value in good {
            // One value and, where the VR has several, two of them.
            let single = matches!(vr, VR::LT | VR::ST | VR::UT | VR::UR);
            assert_eq!(
                text(vr, &json!([value])).as_deref(),
                Ok(value.as_str()),
                "{vr}"
            );
            let two = text(vr, &json!([value, value]));
            assert_eq!(two.is_err(), single, "{vr}");
            if let Ok(two) = two {
                assert_eq!(two, format!("{value}\\{value}"));
            }
        }
        for value in bad {
            assert!(text(vr, &json!([value])).is_err(), "{vr} {value}");
            assert!(text(vr, &json!([null, value])).is_err(), "{vr} {value}");
        }
    }
    assert!(encode(VR::FL, &[json!(1e300)]).is_err());
    assert!(encode(VR::FL, &[json!("Infinity")]).is_ok());
}

#[test]
fn odd_values_are_filled_as_their_vr_wants() {
    let json = data_set(json!({
        "00080008": { "vr": "CS", "Value": ["ABC"] },
        "0020000E": { "vr": "UI", "Value": ["1.2.3"] },
        "00420011": { "vr": "OB", "InlineBinary": "AQID" },
        "00204000": { "vr": "LT", "Value": ["abc"] },
    }));
    let made = file(&json, &[]).unwrap();
    for wanted in [&b"ABC "[..], b"1.2.3\0", &[1, 2, 3, 0], b"abc "] {
        assert!(
            made.windows(wanted.len()).any(|w| w == wanted),
            "{wanted:?}"
        );
    }
}

const HEAD: &str = "<NativeDicomModel><DicomAttribute tag=\"00080016\" vr=\"UI\"><Value number=\"1\">1.2</Value></DicomAttribute>\
    <DicomAttribute tag=\"00080018\" vr=\"UI\"><Value number=\"1\">1.2.3</Value></DicomAttribute>\
    <DicomAttribute tag=\"0020000D\" vr=\"UI\"><Value number=\"1\">1.2.4</Value></DicomAttribute>\
    <DicomAttribute tag=\"0020000E\" vr=\"UI\"><Value number=\"1\">1.2.5</Value></DicomAttribute>";

fn model(attributes: &str) -> String {
    format!("{HEAD}{attributes}</NativeDicomModel>")
}

fn read(text: &[u8]) -> Result<Map<String, Value>, ComposeError> {
    SentMetadata::Xml(text.to_vec()).read()
}

#[test]
fn numbered_values_of_xml_are_in_their_places() {
    let attributes = "<DicomAttribute tag=\"00080008\" vr=\"CS\"><Value number=\"3\">C</Value>\
        <Value number=\"1\">A</Value></DicomAttribute>\
        <DicomAttribute tag=\"00081070\" vr=\"PN\"><PersonName number=\"2\"><Alphabetic><FamilyName>B</FamilyName></Alphabetic>\
        </PersonName></DicomAttribute>";
    let json = read(model(attributes).as_bytes()).unwrap();
    assert_eq!(json["00080008"]["Value"], json!(["A", null, "C"]));
    assert_eq!(
        json["00081070"]["Value"],
        json!([null, { "Alphabetic": "B" }])
    );
    let made = metadata(&parsed(&file(&json, &[]).unwrap()));
    assert_eq!(made["00080008"]["Value"], json!(["A", null, "C"]));
    for number in ["0", "-1", "x", "99999999999", "70000"] {
        let bad = format!(
            "<DicomAttribute tag=\"00080008\" vr=\"CS\"><Value number=\"{number}\">C</Value></DicomAttribute>"
        );
        assert!(read(model(&bad).as_bytes()).is_err(), "{number}");
    }
    let twice = "<DicomAttribute tag=\"00080008\" vr=\"CS\"><Value number=\"1\">A</Value><Value number=\"1\">B</Value></DicomAttribute>";
    assert!(read(model(twice).as_bytes()).is_err());
}

#[test]
fn xml_is_read_in_the_encoding_it_declares() {
    let attributes = "<DicomAttribute tag=\"00100020\" vr=\"LO\"><Value number=\"1\">M\u{fc}ller</Value></DicomAttribute>";
    let utf8 = model(attributes);
    let words = |bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let text = format!("<?xml version=\"1.0\" encoding=\"UTF-16\"?>{utf8}");
        text.encode_utf16().flat_map(bytes).collect()
    };
    let latin: Vec<u8> = format!("<?xml version='1.0' encoding='ISO-8859-1'?>{utf8}")
        .chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect();
    for document in [
        utf8.clone().into_bytes(),
        [&[0xEF, 0xBB, 0xBF][..], utf8.as_bytes()].concat(),
        format!("<?xml version=\"1.0\" encoding=\"utf-8\"?>{utf8}").into_bytes(),
        latin.clone(),
        words(u16::to_le_bytes),
        words(u16::to_be_bytes),
        [&[0xFF, 0xFE][..], &words(u16::to_le_bytes)].concat(),
        [&[0xFE, 0xFF][..], &words(u16::to_be_bytes)].concat(),
    ] {
        let json = read(&document).unwrap();
        assert_eq!(json["00100020"]["Value"][0], "M\u{fc}ller");
    }
    // Latin-1 bytes that say they are UTF-8, and an encoding nobody knows.
    let undeclared = latin[latin.iter().position(|byte| *byte == b'>').unwrap() + 1..].to_vec();
    assert!(read(&undeclared).is_err());
    assert!(read(format!("<?xml version=\"1.0\" encoding=\"x-none\"?>{utf8}").as_bytes()).is_err());
}
