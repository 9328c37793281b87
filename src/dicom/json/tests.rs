use super::*;
use proptest::prelude::*;

const TAG: Tag = Tag(0x0040, 0xA160);

/// The JSON of one element.
fn written(vr: VR, big: bool, bytes: &[u8]) -> String {
    let mut writer = JsonWriter::default();
    writer.open_data_set(true);
    writer.open_element(TAG, vr);
    writer.value(TAG, vr, big, bytes, &Charset::utf8());
    writer.close_element(false);
    writer.close_data_set();
    let text = writer.finish(|_, _| {}).text;
    serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let start = format!("\"0040A160\":{{\"vr\":\"{}\"", vr.to_string());
    let rest = text
        .split_once(&start)
        .unwrap()
        .1
        .strip_suffix("}}")
        .unwrap();
    rest.strip_prefix(",\"Value\":").unwrap_or(rest).to_owned()
}

fn text(vr: VR, value: &str) -> String {
    written(vr, false, value.as_bytes())
}

#[test]
fn decimal_strings_are_numbers_when_they_are() {
    for (value, want) in [
        ("1.10", "[1.10]"),
        (" 42 ", "[42]"),
        ("+5", "[5]"),
        (".5", "[0.5]"),
        ("-.5", "[-0.5]"),
        ("5.", "[5]"),
        ("01", "[1]"),
        ("-007.50", "[-7.50]"),
        ("000", "[0]"),
        ("1e5", "[1e5]"),
        ("+1.E-5", "[1e-5]"),
        ("1E+05", "[1E+05]"),
        ("0", "[0]"),
        ("-0", "[-0]"),
        ("1.5\0", "[1.5]"),
        ("1e999", "[\"1e999\"]"),
        ("abc", "[\"abc\"]"),
        ("1,5", "[\"1,5\"]"),
        ("1.2.3", "[\"1.2.3\"]"),
        (".", "[\".\"]"),
        ("-", "[\"-\"]"),
        ("1e", "[\"1e\"]"),
        ("1e+", "[\"1e+\"]"),
        ("NaN", "[\"NaN\"]"),
        ("inf", "[\"inf\"]"),
        ("0x10", "[\"0x10\"]"),
        ("1.25\\-0.5\\ 100 ", "[1.25,-0.5,100]"),
        ("1\\\\2", "[1,null,2]"),
        ("", ""),
        ("  ", ""),
    ] {
        assert_eq!(text(VR::DS, value), want, "{value}");
        assert_eq!(text(VR::IS, value), want, "{value}");
    }
}

#[test]
fn text_is_split_trimmed_and_escaped_by_its_vr() {
    for (vr, value, want) in [
        (VR::LO, " A \\\\B ", "[\"A\",null,\"B\"]"),
        (VR::CS, "ORIGINAL\\PRIMARY ", "[\"ORIGINAL\",\"PRIMARY\"]"),
        (VR::LO, "\\", "[null,null]"),
        (VR::UI, "1.2.3\0", "[\"1.2.3\"]"),
        (VR::UI, "1.2\\1.3\0", "[\"1.2\",\"1.3\"]"),
        (
            VR::LT,
            "  a\\b\r\n\t\"x\" ",
            "[\"  a\\\\b\\r\\n\\t\\\"x\\\"\"]",
        ),
        (VR::ST, "a\\b", "[\"a\\\\b\"]"),
        (VR::UT, " a\\b ", "[\" a\\\\b\"]"),
        (VR::UR, "http://h/a\\b ", "[\"http://h/a\\\\b\"]"),
        (VR::UC, " a\\b ", "[\" a\",\"b\"]"),
        (VR::SH, "\u{1}\u{7f}", "[\"\\u0001\u{7f}\"]"),
        (VR::LO, "NUL\0", "[\"NUL\"]"),
        (VR::LT, "NUL \0\0", "[\"NUL\"]"),
        (VR::PN, "A^B\0", "[{\"Alphabetic\":\"A^B\"}]"),
        (VR::LO, "日本", "[\"日本\"]"),
        (VR::DA, "20240131", "[\"20240131\"]"),
        (VR::LT, "   ", ""),
    ] {
        assert_eq!(text(vr, value), want, "{vr} {value:?}");
    }
}

#[test]
fn names_have_their_groups_and_empty_ones_are_left_out() {
    for (value, want) in [
        ("Doe^Jane ", r#"[{"Alphabetic":"Doe^Jane"}]"#),
        (
            "A=B=C",
            r#"[{"Alphabetic":"A","Ideographic":"B","Phonetic":"C"}]"#,
        ),
        ("=B", r#"[{"Ideographic":"B"}]"#),
        ("A==C", r#"[{"Alphabetic":"A","Phonetic":"C"}]"#),
        ("A \\\\B", r#"[{"Alphabetic":"A"},null,{"Alphabetic":"B"}]"#),
        ("==", "[null]"),
        ("", ""),
    ] {
        assert_eq!(text(VR::PN, value), want, "{value}");
    }
}

#[test]
fn binary_numbers_are_written_in_both_byte_orders() {
    let cases: [(VR, &[u8], &str); 12] = [
        (VR::US, &[0xFF, 0xFF, 1, 0], "[65535,1]"),
        (VR::SS, &[0xFF, 0xFF], "[-1]"),
        (VR::UL, &[1, 0, 0, 0x80], "[2147483649]"),
        (VR::SL, &[0xFE, 0xFF, 0xFF, 0xFF], "[-2]"),
        (VR::UV, &[0, 0, 0, 0, 0, 0, 0x20, 0], "[9007199254740992]"),
        (VR::UV, &[0xFF; 8], "[\"18446744073709551615\"]"),
        (VR::SV, &[0xFF; 8], "[-1]"),
        (
            VR::SV,
            &[1, 0, 0, 0, 0, 0, 0, 0x80],
            "[\"-9223372036854775807\"]",
        ),
        (VR::FL, &0.1_f32.to_le_bytes(), "[0.1]"),
        (
            VR::FD,
            &221.364_006_400_108_34_f64.to_le_bytes(),
            "[221.36400640010834]",
        ),
        (VR::US, &[1], ""),
        (VR::FD, &1e300_f64.to_le_bytes(), "[1e300]"),
    ];
    for (vr, little, want) in cases {
        assert_eq!(written(vr, false, little), want, "{vr}");
        let width = usize::try_from(width(vr)).unwrap();
        let big: Vec<u8> = little
            .chunks(width)
            .flat_map(|chunk| chunk.iter().rev().copied())
            .collect();
        assert_eq!(written(vr, true, &big), want, "{vr}");
    }
    assert_eq!(
        written(VR::AT, false, &[0x10, 0, 0x20, 0, 0xFE, 0xFF, 0, 0xE0]),
        "[\"00100020\",\"FFFEE000\"]"
    );
    assert_eq!(written(VR::AT, true, &[0, 0x10, 0, 0x20]), "[\"00100020\"]");
}

#[test]
fn numbers_json_does_not_know_are_words() {
    for (value, want) in [
        (f64::NAN, "\"NaN\""),
        (f64::INFINITY, "\"Infinity\""),
        (f64::NEG_INFINITY, "\"-Infinity\""),
    ] {
        assert_eq!(
            written(VR::FD, false, &value.to_le_bytes()),
            format!("[{want}]")
        );
        #[expect(clippy::cast_possible_truncation, reason = "infinity stays infinity")]
        let single = value as f32;
        assert_eq!(
            written(VR::FL, false, &single.to_le_bytes()),
            format!("[{want}]")
        );
    }
}

#[test]
fn binary_is_base64_of_little_endian() {
    for (vr, big, bytes, want) in [
        (VR::OB, true, &[1, 2, 3, 4][..], "AQIDBA=="),
        (VR::UN, true, &[1, 2, 3, 4], "AQIDBA=="),
        (VR::OW, true, &[2, 1, 4, 3], "AQIDBA=="),
        (VR::OL, true, &[4, 3, 2, 1], "AQIDBA=="),
        (VR::OF, true, &[4, 3, 2, 1], "AQIDBA=="),
        (VR::OD, true, &[8, 7, 6, 5, 4, 3, 2, 1], "AQIDBAUGBwg="),
        (VR::OV, true, &[8, 7, 6, 5, 4, 3, 2, 1], "AQIDBAUGBwg="),
        (VR::OW, false, &[1, 2, 3, 4], "AQIDBA=="),
    ] {
        assert_eq!(
            written(vr, big, bytes),
            format!(",\"InlineBinary\":\"{want}\""),
            "{vr}"
        );
    }
    assert_eq!(written(VR::OB, false, &[]), "");
}

#[test]
fn values_for_the_index_are_trimmed_text() {
    let charset = Charset::utf8();
    let of = |vr, bytes: &[u8]| values(vr, false, bytes, &charset);
    assert_eq!(of(VR::PN, b"Doe^Jane=X "), ["Doe^Jane=X"]);
    assert_eq!(of(VR::LO, b"A\0\\ B\\\\"), ["A", "B", "", ""]);
    assert_eq!(of(VR::UI, b"1.2\0"), ["1.2"]);
    assert_eq!(of(VR::LT, b" a\\b "), [" a\\b"]);
    assert_eq!(of(VR::US, &[1, 0, 2, 0]), ["1", "2"]);
    assert_eq!(of(VR::AT, &[0x10, 0, 0x20, 0]), ["00100020"]);
    assert_eq!(of(VR::FD, &f64::NAN.to_le_bytes()), ["NaN"]);
    assert_eq!(of(VR::OB, &[1]), [""; 0]);
    assert_eq!(of(VR::LO, b""), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_value_of_any_vr_is_valid_json(bytes in prop::collection::vec(any::<u8>(), 0..40), big: bool) {
        for vr in [VR::AE, VR::AT, VR::DS, VR::FD, VR::FL, VR::IS, VR::LT, VR::OB, VR::OV, VR::OW, VR::PN, VR::SL, VR::SS, VR::SV, VR::UI, VR::UL, VR::UN, VR::US, VR::UT, VR::UV] {
            written(vr, big, &bytes);
            prop_assert!(values(vr, big, &bytes, &Charset::default_repertoire()).len() <= bytes.len() + 1);
        }
    }

    #[test]
    fn what_looks_like_a_number_is_the_same_number(value in "[-+]?[0-9]{0,8}\\.?[0-9]{0,8}([eE][-+]?[0-9]{1,2})?") {
        if let Some(number) = json_number(&value) {
            let ours: f64 = number.parse().unwrap();
            prop_assert_eq!(ours.to_bits(), value.parse::<f64>().unwrap().to_bits());
            prop_assert!(serde_json::from_str::<serde_json::Number>(&number).is_ok());
        }
    }
}
