//! Names of all scripts: found in every group, however they are composed, however they are percent-encoded.

use dicom_core::{Tag, VR};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};
use unicode_normalization::UnicodeNormalization;

use super::{ROOTS, studies};

use crate::support::prelude::*;

/// Names as stored, and what finds each of them alone.
const NAMES: [(&str, &[&str]); 9] = [
    // Latin with accents.
    (
        "Müller-Lüdenscheidt^Jörg",
        &[
            "Müller-Lüdenscheidt^Jörg",
            "MULLER-LUDENSCHEIDT^JORG",
            "müller*",
            "*lüden*",
        ],
    ),
    (
        "Dvořák^Antonín^^Ing.",
        &["dvorak^antonin^^ing.", "Dvořák*", "*TONÍN*"],
    ),
    // Greek: final sigma, tonos.
    (
        "Παπαδόπουλος^Γιώργος",
        &["παπαδοπουλος^γιωργος", "ΠΑΠΑΔΌΠΟΥΛΟΣ*", "*γιώργος"],
    ),
    // Cyrillic: й and ё.
    (
        "Королёв^Сергей",
        &["королев^сергеи", "КОРОЛЁВ*", "*сергей*"],
    ),
    // Arabic: with and without vowel signs.
    ("محمد^أحمد", &["محمد^احمد", "مُحَمَّد*", "*أحمد"]),
    // Japanese: all three groups.
    (
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        &[
            "yamada^tarou",
            "山田^太郎",
            "やまだ^たろう",
            "Yamada^Tarou=山田^太郎=やまだ^たろう",
            "山*",
            "*たろう",
            "=山田*",
            "==やまだ*",
        ],
    ),
    // Half-width and full-width kana are the same letters, か and が are not.
    ("ﾀﾅｶ^ｼﾞﾛｳ", &["タナカ^ジロウ", "タナカ*", "*ジロウ"]),
    // Korean: syllables and jamo.
    (
        "Hong^Gildong=洪^吉洞=홍^길동",
        &["hong^gildong", "洪^吉洞", "홍^길동", "홍*", "*길동"],
    ),
    // Chinese.
    (
        "Wang^XiaoDong=王^小东",
        &["wang^xiaodong", "王^小东", "王*", "*小东"],
    ),
];

fn file(number: u32, name: &str) -> BuiltFile {
    let of = Name::new(number, 1, 1);
    let data_set = of.data_set().set(
        DataSet::new()
            .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
            .text(Tag(0x0010, 0x0010), VR::PN, name),
    );
    of.file(&data_set, Syntax::ExplicitLittle)
}

/// Every byte as an escape, in capitals or not.
fn every_byte(text: &str, capitals: bool) -> String {
    let escape = |byte: u8| match capitals {
        true => format!("%{byte:02X}"),
        false => format!("%{byte:02x}"),
    };
    text.bytes().map(escape).collect()
}

#[test]
fn names_of_all_scripts_are_found_in_every_group_and_form() {
    on_each_index(|server| {
        // Stored in both forms: composed the first time, decomposed the second.
        let composed = |n: usize| u32::try_from(n).expect("small") + 100;
        let decomposed = |n: usize| u32::try_from(n).expect("small") + 200;
        let files: Vec<BuiltFile> = NAMES
            .iter()
            .enumerate()
            .flat_map(|(n, (name, _))| {
                let (nfc, nfd): (String, String) = (name.nfc().collect(), name.nfd().collect());
                [file(composed(n), &nfc), file(decomposed(n), &nfd)]
            })
            .collect();
        server.store("/dicom-web", &files).expect(200);
        for (n, (_, queries)) in NAMES.iter().enumerate() {
            let wanted = [composed(n), decomposed(n)];
            for query in *queries {
                let (nfc, nfd): (String, String) = (query.nfc().collect(), query.nfd().collect());
                for value in [
                    every_byte(&nfc, true),
                    every_byte(&nfd, false),
                    utf8_percent_encode(&nfd, NON_ALPHANUMERIC).to_string(),
                    // Only what must be: `*` and `^` as they are.
                    nfc.bytes()
                        .map(|b| match b {
                            b'*' | b'^' | b'-' | b'.' => char::from(b).to_string(),
                            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
                            b => format!("%{b:02X}"),
                        })
                        .collect(),
                ] {
                    let search = format!("PatientName={value}");
                    assert_eq!(
                        studies(server, "/dicom-web", &search),
                        wanted,
                        "{query} as {search}"
                    );
                }
            }
        }
        for root in ROOTS {
            for (words, wanted) in [
                ("jor", [100, 200]),
                ("παπ+γιώρ", [102, 202]),
                ("серг", [103, 203]),
                ("山田+太", [105, 205]),
                ("たろ", [105, 205]),
                ("홍+길", [107, 207]),
            ] {
                let words: String = words
                    .split('+')
                    .map(|word| every_byte(word, true))
                    .collect::<Vec<_>>()
                    .join("+");
                let search = format!("fuzzymatching=true&PatientName={words}");
                assert_eq!(studies(server, root, &search), wanted, "{root} {search}");
            }
        }
        // Different letters stay different.
        for other in ["タナガ*", "かまだ*", "王^小冬", "Mullar*"] {
            let search = format!("PatientName={}", every_byte(other, true));
            assert_eq!(
                studies(server, "/dicom-web", &search),
                [0_u32; 0],
                "{other}"
            );
        }
    });
}

/// A file whose name is in another character set: the term, the bytes of the name, and what finds it.
fn encoded() -> [(&'static str, Vec<u8>, &'static str); 8] {
    let one_byte = |encoding: &'static encoding_rs::Encoding, text: &str| {
        let (bytes, _, unmappable) = encoding.encode(text);
        assert!(!unmappable, "{text}");
        bytes.into_owned()
    };
    let escapes = |text: &[u8]| {
        // `~` stands for the escape character, so that the examples of PS3.5 Annexes H and I stay readable.
        text.iter()
            .map(|b| if *b == b'~' { 0x1B } else { *b })
            .collect()
    };
    [
        (
            "ISO_IR 100",
            one_byte(encoding_rs::WINDOWS_1252, "Buc^Jérôme"),
            "buc^jérôme",
        ),
        (
            "ISO_IR 101",
            one_byte(encoding_rs::ISO_8859_2, "Wałęsa^Lech"),
            "wałęsa*",
        ),
        (
            "ISO_IR 126",
            one_byte(encoding_rs::ISO_8859_7, "Διονυσιος"),
            "διονυσιος",
        ),
        (
            "ISO_IR 144",
            one_byte(encoding_rs::ISO_8859_5, "Люкceмбypг"),
            "люк*",
        ),
        (
            "ISO_IR 127",
            one_byte(encoding_rs::ISO_8859_6, "قباني^لنزار"),
            "قباني*",
        ),
        (
            "GB18030",
            one_byte(encoding_rs::GB18030, "Wang^XiaoDong=王^小东"),
            "王^小东",
        ),
        (
            "\\ISO 2022 IR 87",
            escapes(b"Yamada^Tarou=~$B;3ED~(B^~$BB@O:~(B=~$B$d$^$@~(B^~$B$?$m$&~(B"),
            "山田^太郎",
        ),
        (
            "\\ISO 2022 IR 149",
            escapes(
                b"Hong^Gildong=~$)C\xFB\xF3^~$)C\xD1\xCE\xD4\xD7=~$)C\xC8\xAB^~$)C\xB1\xE6\xB5\xBF",
            ),
            "홍^길동",
        ),
    ]
}

#[test]
fn names_in_the_character_set_of_their_file_are_found_and_come_back_in_utf_8() {
    on_each_index(|server| {
        let cases = encoded();
        let files: Vec<BuiltFile> = (300..)
            .zip(&cases)
            .map(|(number, (term, name, _))| {
                let of = Name::new(number, 1, 1);
                let data_set = of.data_set().set(
                    DataSet::new()
                        .text(Tag(0x0008, 0x0005), VR::CS, term)
                        .bytes(Tag(0x0010, 0x0010), VR::PN, name.clone()),
                );
                of.file(&data_set, Syntax::ExplicitLittle)
            })
            .collect();
        server.store("/dicom-web", &files).expect(200);
        for (number, (term, _, query)) in (300..).zip(&cases) {
            let search = format!("PatientName={}", every_byte(query, true));
            for root in ROOTS {
                assert_eq!(studies(server, root, &search), [number], "{term} {root}");
            }
            let row = &server.get(&format!("/dicom-web/studies?{search}")).json()[0];
            assert_eq!(row["00080005"]["Value"][0], "ISO_IR 192", "{term}");
            assert!(row["00100010"]["Value"][0].is_object(), "{term}: {row}");
        }
        let row = &server
            .get("/dicom-web/studies?StudyInstanceUID=1.2.3.306")
            .json()[0];
        let name = &row["00100010"]["Value"][0];
        assert_eq!(name["Ideographic"], "山田^太郎");
        assert_eq!(name["Phonetic"], "やまだ^たろう");
    });
}
