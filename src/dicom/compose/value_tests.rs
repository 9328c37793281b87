//! Values by the rules of their VR, from JSON and from XML.

use dicom_core::VR;
use proptest::prelude::*;
use serde_json::json;

use super::tests::{data_set, file, metadata, parsed};
use super::value::{encode, shortest};
use super::*;

mod xml;

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

/// Each VR with three values as DICOM JSON has them, and whether it can have more than one and an empty one.
fn kinds() -> Vec<(&'static str, [Value; 3], bool, bool)> {
    let name = |group: &str, text: &str| json!({ group: text });
    let long = "x".repeat(3000);
    vec![
        (
            "AE",
            [json!("A"), json!("B C"), json!("D".repeat(16))],
            true,
            true,
        ),
        (
            "AS",
            [json!("018M"), json!("001Y"), json!("007W")],
            true,
            true,
        ),
        (
            "AT",
            [json!("00180063"), json!("7FE00010"), json!("FFFFFFFF")],
            true,
            false,
        ),
        (
            "CS",
            [json!("ORIGINAL"), json!("A_B"), json!("C 9")],
            true,
            true,
        ),
        (
            "DA",
            [json!("20261129"), json!("19000101"), json!("20240229")],
            true,
            true,
        ),
        ("DS", [json!(1.5), json!(-2.0), json!(0.000_1)], true, true),
        (
            "DT",
            [
                json!("20261129101500.5+0100"),
                json!("2026"),
                json!("202611"),
            ],
            true,
            true,
        ),
        ("FD", [json!(0.1), json!(-1e300), json!(5.0)], true, false),
        ("FL", [json!(0.5), json!(-2.25), json!(1024.0)], true, false),
        (
            "IS",
            [json!(5), json!(-12), json!(2_147_483_647)],
            true,
            true,
        ),
        (
            "LO",
            [json!("ä ö"), json!("山田"), json!("c".repeat(64))],
            true,
            true,
        ),
        (
            "LT",
            [json!("a\\b\r\nc"), json!("ü"), json!(long)],
            false,
            false,
        ),
        (
            "PN",
            [
                name("Alphabetic", "A^B"),
                name("Ideographic", "山田^太郎"),
                name("Phonetic", "やまだ"),
            ],
            true,
            true,
        ),
        (
            "SH",
            [json!("a"), json!("é"), json!("s".repeat(16))],
            true,
            true,
        ),
        (
            "SL",
            [json!(-2_147_483_648_i64), json!(0), json!(7)],
            true,
            false,
        ),
        ("SS", [json!(-32768), json!(32767), json!(-1)], true, false),
        (
            "ST",
            [json!("a\\b"), json!("ü"), json!("t".repeat(1024))],
            false,
            false,
        ),
        (
            "SV",
            [json!(-9_007_199_254_740_991_i64), json!(0), json!(1)],
            true,
            false,
        ),
        (
            "TM",
            [json!("101500.25"), json!("10"), json!("235959")],
            true,
            true,
        ),
        (
            "UC",
            [json!("a"), json!("山"), json!("u".repeat(500))],
            true,
            true,
        ),
        (
            "UI",
            [json!("1.2.840"), json!("1.3"), json!("2.25.1")],
            true,
            true,
        ),
        (
            "UL",
            [json!(4_294_967_295_u64), json!(0), json!(1)],
            true,
            false,
        ),
        (
            "UR",
            [json!("http://a/b?c"), json!("urn:x"), json!("https://h")],
            false,
            false,
        ),
        ("US", [json!(65535), json!(0), json!(1)], true, false),
        (
            "UT",
            [json!("a\\b"), json!("\u{1F9E0}"), json!(long)],
            false,
            false,
        ),
        (
            "UV",
            [json!(9_007_199_254_740_991_u64), json!(0), json!(1)],
            true,
            false,
        ),
    ]
}

/// Numbers as numbers, however they are spelled.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(values) => values.iter().map(plain).collect(),
        other => other.clone(),
    }
}

#[test]
fn every_vr_with_any_number_of_values_comes_back_at_every_depth_from_json_and_xml() {
    let tag = "00091001";
    let mut tried = 0;
    for (vr, values, several, empty) in kinds() {
        let [one, two, three] = values;
        let mut lists = vec![
            vec![],
            vec![one.clone()],
            vec![two.clone()],
            vec![three.clone()],
        ];
        if several {
            lists.push(vec![one.clone(), two.clone()]);
            lists.push(vec![one.clone(), two.clone(), three.clone()]);
        }
        if several && empty {
            lists.push(vec![one.clone(), Value::Null, three.clone()]);
            lists.push(vec![Value::Null, two]);
        }
        for list in lists {
            let element = if list.is_empty() {
                json!({ "vr": vr })
            } else {
                json!({ "vr": vr, "Value": list })
            };
            for depth in 0..4 {
                let mut all =
                    json!({ "00090010": { "vr": "LO", "Value": ["STOWAGE"] }, tag: element });
                for _ in 0..depth {
                    all = json!({ "00081140": { "vr": "SQ", "Value": [{}, all] } });
                }
                let all = data_set(all);
                let xml = crate::dicom::xml::write(&all, "").into_bytes();
                let from_xml = SentMetadata::Xml(xml).read().unwrap();
                for (form, described) in [("JSON", &all), ("XML", &from_xml)] {
                    let made = parsed(&file(described, &[]).unwrap());
                    let mut reported = Value::Object(metadata(&made));
                    for _ in 0..depth {
                        reported = reported["00081140"]["Value"][1].take();
                    }
                    let about = format!("{vr} {list:?} {depth} {form}");
                    assert_eq!(reported[tag]["vr"], vr, "{about}");
                    let wanted = element.get("Value").map(plain);
                    assert_eq!(reported[tag].get("Value").map(plain), wanted, "{about}");
                    tried += 1;
                }
            }
        }
    }
    assert!(tried > 1000, "{tried}");
}

#[test]
fn binary_values_of_any_length_come_back_at_every_depth_from_json_and_xml() {
    use base64::Engine as _;
    for vr in ["OB", "OD", "OF", "OL", "OV", "OW", "UN"] {
        for length in [0, 8, 16, 800] {
            let bytes: Vec<u8> = (0..length)
                .map(|i| u8::try_from(i % 251).unwrap())
                .collect();
            let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
            let mut all = json!({ "00091001": { "vr": vr, "InlineBinary": text } });
            for _ in 0..3 {
                all = json!({ "00081140": { "vr": "SQ", "Value": [all] } });
            }
            let all = data_set(all);
            let xml = crate::dicom::xml::write(&all, "").into_bytes();
            let from_xml = SentMetadata::Xml(xml).read().unwrap();
            for described in [&all, &from_xml] {
                let made = parsed(&file(described, &[]).unwrap());
                let mut reported = Value::Object(metadata(&made));
                for _ in 0..3 {
                    reported = reported["00081140"]["Value"][0].take();
                }
                let wanted = (length > 0).then(|| json!(text));
                assert_eq!(
                    reported["00091001"].get("InlineBinary"),
                    wanted.as_ref(),
                    "{vr} {length}"
                );
            }
        }
    }
}
