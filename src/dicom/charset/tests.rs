use proptest::prelude::*;

use super::*;

fn decode(terms: &str, vr: VR, bytes: &[u8]) -> String {
    let (charset, problem) = Charset::from_terms(terms.as_bytes());
    assert_eq!(problem, None, "{terms}");
    charset.decode(vr, bytes).into_owned()
}

/// The names of PS3.5 Annexes H, I, J and K, and one per single-byte term.
#[test]
fn person_names_of_the_standard_are_read() {
    let names: &[(&str, &[u8], &str)] = &[
        (
            "\\ISO 2022 IR 87",
            b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
        ),
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J=\x1b$B$d$^$@\x1b(J^\x1b$B$?$m$&\x1b(J",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        // The same with ESC ( B where the standard asks for ESC ( J: frequent in files.
        (
            "ISO 2022 IR 13\\ISO 2022 IR 87 ",
            b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
        ),
        (
            "\\ISO 2022 IR 149",
            b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
            "Hong^Gildong=洪^吉洞=홍^길동",
        ),
        ("ISO_IR 192", b"Wang^XiaoDong=\xe7\x8e\x8b^\xe5\xb0\x8f\xe6\x9d\xb1=", "Wang^XiaoDong=王^小東="),
        ("GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
        ("GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab=", "Wang^XiaoDong=王^小东="),
        (
            "\\ISO 2022 IR 58",
            b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
            "Zhang^XiaoDong=张^小东=",
        ),
        ("\\ISO 2022 IR 159", b"\x1b$(D0!0\"\x1b(B^A", "丂丄^A"),
        ("ISO_IR 6", b"Adams^John", "Adams^John"),
        ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
        ("ISO_IR 101", b"Wa\xb3\xeasa", "Wałęsa"),
        ("ISO_IR 109", b"\xa1amrun", "Ħamrun"),
        ("ISO_IR 110", b"B\xe7rzi\xf2\xb9", "Bįrziōš"),
        ("ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
        ("ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
        ("ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
        ("ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
        ("ISO_IR 148", b"\xc7avu\xfeo\xf0lu", "Çavuşoğlu"),
        ("ISO_IR 166", b"\xca\xc1\xaa\xd2\xc2", "สมชาย"),
        ("ISO_IR 203", b"\xbcuvre \xa4", "Œuvre €"),
        ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
        // Two single-byte sets by escape sequences; Latin-1 again behind each delimiter.
        (
            "ISO 2022 IR 100\\ISO 2022 IR 144\\ISO 2022 IR 126",
            b"\xc4\x1b-L\xbb\xee\xda^\xc4\x1b-F\xc4\xe9=\xc4",
            "ÄЛюк^ÄΔι=Ä",
        ),
    ];
    for (terms, bytes, expected) in names {
        assert_eq!(decode(terms, VR::PN, bytes), *expected, "{terms}");
        let mut padded = bytes.to_vec();
        padded.push(b' ');
        assert_eq!(
            decode(terms, VR::PN, &padded),
            format!("{expected} "),
            "{terms}"
        );
    }
}

#[test]
fn code_elements_return_to_the_start_at_delimiters() {
    // PS3.5 §H.3.3 and §K.3: each line designates again; a line that does not is in the first set.
    let text = b"\x1b$)A\xb5\xda\xd2\xbb\xd0\xd0\r\n\xe9\tx\x0c\xe9";
    assert_eq!(
        decode("ISO 2022 IR 100\\ISO 2022 IR 58", VR::LT, text),
        "第一行\r\né\tx\u{c}é"
    );
    // `^` and `=` are delimiters only in person names, the backslash only where there are several values.
    let bytes = b"\x1b-L\xbb^\xbb=\xbb\\\xbb";
    let terms = "ISO 2022 IR 100\\ISO 2022 IR 144";
    assert_eq!(decode(terms, VR::LO, bytes), "Л^Л=Л\\»");
    assert_eq!(decode(terms, VR::PN, bytes), "Л^»=»\\»");
    assert_eq!(decode(terms, VR::ST, bytes), "Л^Л=Л\\Л");
}

#[test]
fn a_backslash_inside_a_character_separates_nothing() {
    let cases: &[(&str, &[u8], &[&str])] = &[
        // 0x5C is the second byte of both characters.
        ("GBK", b"\x81\x5c\\\x95\x5cB", &["乗", "昞B"]),
        ("GB18030", b"\x81\x5c\\\x81\x30\x81\x30", &["乗", "\u{80}"]),
        // JIS X 0208 between escape sequences holds the byte 0x5C too.
        (
            "\\ISO 2022 IR 87",
            b"\x1b$B\x30\x5c\x5c\x21\x1b(B\\B",
            &["移棔", "B"],
        ),
        ("ISO_IR 192", "表\\B".as_bytes(), &["表", "B"]),
        ("ISO_IR 100", b"A\\\\B\\", &["A", "", "B", ""]),
    ];
    for (terms, bytes, expected) in cases {
        let (charset, _) = Charset::from_terms(terms.as_bytes());
        let values = charset.decode_values(VR::LO, bytes);
        assert_eq!(values, *expected, "{terms}");
    }
    // Shift JIS is no defined term, but devices write it.
    let (charset, problem) = Charset::from_terms(b"Shift_JIS");
    assert_eq!(problem, Some(CharsetProblem::Spelling));
    assert_eq!(charset.decode_values(VR::LO, b"\x95\x5c\\B"), ["表", "B"]);
    let (charset, _) = Charset::from_terms(b"ISO_IR 13");
    assert_eq!(
        charset.decode_values(VR::LO, b"\x95\x5c\\\xb1"),
        ["表", "ｱ"]
    );
}

#[test]
fn yen_of_jis_x_0201_separates_where_there_are_several_values() {
    let (charset, _) = Charset::from_terms(b"ISO_IR 13");
    assert_eq!(charset.decode_values(VR::LO, b"\xb1\\\xb2"), ["ｱ", "ｲ"]);
    assert_eq!(charset.decode_values(VR::CS, b"A\\B"), ["A", "B"]);
    assert_eq!(charset.decode_values(VR::ST, b"100\\ ~"), ["100¥ ‾"]);
}

#[test]
fn other_representations_ignore_the_character_set() {
    let (charset, _) = Charset::from_terms(b"ISO_IR 144");
    assert_eq!(charset.decode(VR::CS, b"\xbb"), "»");
    assert_eq!(charset.decode(VR::UI, b"1.2\0"), "1.2\0");
    assert_eq!(charset.decode(VR::UC, b"\xbb"), "Л");
    assert_eq!(
        charset.decode_values(VR::UR, b"http://a\\b"),
        ["http://a\\b"]
    );
    assert_eq!(charset.decode_values(VR::DS, b"1\\2"), ["1", "2"]);
    assert!(charset.decode_values(VR::LO, b"").is_empty());
    assert!(matches!(charset.decode(VR::LO, b"plain"), Cow::Borrowed(_)));
}

#[test]
fn misspelled_terms_are_understood_and_reported() {
    for (terms, bytes, expected) in [
        ("ISO IR 100", &b"\xe9"[..], "é"),
        ("ISO_IR_100", b"\xe9", "é"),
        ("iso_ir 100", b"\xe9", "é"),
        ("ISO-IR 101", b"\xb3", "ł"),
        ("ISO-8859-1", b"\xe9", "é"),
        ("ISO 8859-5", b"\xbb", "Л"),
        ("8859_1", b"\xe9", "é"),
        ("latin1", b"\xe9", "é"),
        ("UTF-8", "é".as_bytes(), "é"),
        ("utf8", "é".as_bytes(), "é"),
        ("ISO_IR_192", "é".as_bytes(), "é"),
        ("ISO 2022 IR 192", "é".as_bytes(), "é"),
        ("ISO2022IR144", b"\xbb", "Л"),
        ("windows-1251", b"\xcb", "Л"),
        ("ISO 2022 GBK", b"\xcd\xf5", "王"),
        ("EUC-KR", b"\xc8\xab", "홍"),
        ("ISO_IR 149", b"\xc8\xab", "홍"),
        ("ISO-2022-JP", b"\x1b$B;3\x1b(B", "山"),
        ("x-user-defined", b"\xe9", "é"),
    ] {
        let (charset, problem) = Charset::from_terms(terms.as_bytes());
        let unknown = matches!(terms, "x-user-defined" | "8859_1");
        let expected_problem = if unknown {
            CharsetProblem::Unknown
        } else {
            CharsetProblem::Spelling
        };
        assert_eq!(problem, Some(expected_problem), "{terms}");
        assert_eq!(charset.decode(VR::LO, bytes), expected, "{terms}");
    }
}

#[test]
fn an_unknown_term_reads_utf8_or_latin1() {
    for terms in [
        "KLINGON",
        "UTF-16LE",
        "ISO_IR 999",
        "\u{e9}",
        &"x".repeat(10_000),
    ] {
        let (charset, problem) = Charset::from_terms(terms.as_bytes());
        assert_eq!(problem, Some(CharsetProblem::Unknown), "{terms:.20}");
        assert_eq!(charset.decode(VR::PN, "Müller".as_bytes()), "Müller");
        assert_eq!(charset.decode(VR::PN, b"M\xfcller"), "Müller");
    }
    assert_eq!(
        Charset::from_terms(b"\xff\xfe").1,
        Some(CharsetProblem::Unknown)
    );
    assert_eq!(
        Charset::from_terms(b""),
        (Charset::default_repertoire(), None)
    );
    assert_eq!(
        Charset::from_terms(b"ISO_IR 6 ")
            .0
            .decode(VR::PN, b"M\xfcller"),
        "Müller"
    );
}

#[test]
fn sets_that_stand_alone_are_not_combined() {
    let (charset, problem) = Charset::from_terms(b"ISO_IR 192\\ISO 2022 IR 87");
    assert_eq!(
        (charset, problem),
        (Charset::utf8(), Some(CharsetProblem::Combination))
    );
    let (charset, problem) = Charset::from_terms(b"\\ISO_IR 192");
    assert_eq!(
        (charset, problem),
        (Charset::utf8(), Some(CharsetProblem::Combination))
    );
    let (charset, problem) = Charset::from_terms(b"ISO 2022 IR 100\\GB18030");
    assert_eq!(problem, Some(CharsetProblem::Combination));
    assert_eq!(charset.decode(VR::LO, b"\xe9"), "é");
}

#[test]
fn what_cannot_be_read_is_replaced() {
    for (terms, vr, bytes, expected) in [
        ("ISO_IR 192", VR::LO, &b"a\xffb"[..], "a\u{fffd}b"),
        ("ISO_IR 126", VR::LO, b"a\xd2b", "a\u{fffd}b"),
        ("\\ISO 2022 IR 87", VR::LO, b"\x1b$B;", "\u{fffd}"),
        ("\\ISO 2022 IR 87", VR::LO, b"\x1b$B;\r\nA", "\u{fffd}\r\nA"),
        ("\\ISO 2022 IR 87", VR::LO, b"a\x1b", "a\u{fffd}"),
        ("\\ISO 2022 IR 87", VR::LO, b"a\x1b$", "a\u{fffd}$"),
        ("\\ISO 2022 IR 87", VR::LO, b"a\x1b(Qb", "a\u{fffd}(Qb"),
        ("\\ISO 2022 IR 87", VR::LO, b"a\xe9", "a\u{fffd}"),
        ("\\ISO 2022 IR 149", VR::LO, b"\x1b$)C\xc8", "\u{fffd}"),
        ("ISO_IR 13", VR::LO, b"\xff", "\u{fffd}"),
    ] {
        assert_eq!(decode(terms, vr, bytes), expected, "{terms} {bytes:?}");
    }
    // A Korean name whose device forgot to designate again behind the delimiter.
    let korean = decode(
        "\\ISO 2022 IR 149",
        VR::PN,
        b"\x1b$)C\xc8\xab^\xb1\xe6\xb5\xbf",
    );
    assert_eq!(korean, "홍^길동");
}

proptest! {
    #[test]
    fn any_bytes_decode_under_any_terms(
        terms in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..60),
            proptest::sample::select(vec![
                "ISO_IR 192", "GB18030", "GBK", "ISO_IR 13", "\\ISO 2022 IR 87\\ISO 2022 IR 159", "shift_jis",
                "ISO 2022 IR 13\\ISO 2022 IR 87", "\\ISO 2022 IR 149", "\\ISO 2022 IR 58", "ISO_IR 166", "big5",
            ]).prop_map(|s| s.as_bytes().to_vec()),
        ],
        bytes in proptest::collection::vec(
            prop_oneof![any::<u8>(), proptest::sample::select(b"\x1b$()-BCDAJIL\\^=".to_vec())], 0..80),
        vr in proptest::sample::select(vec![VR::PN, VR::LO, VR::ST, VR::CS, VR::UI]),
    ) {
        let (charset, _) = Charset::from_terms(&terms);
        let text = charset.decode(vr, &bytes);
        prop_assert!(text.len() <= bytes.len() * 3 + 8);
        let values = charset.decode_values(vr, &bytes);
        prop_assert_eq!(values.join("\\"), text.as_ref());
    }
}
