//! Values of a Native DICOM Model.

use super::*;

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
fn what_parts_a_name_is_not_within_its_parts() {
    for (name, wanted) in [
        (
            json!({ "Alphabetic": "A^B", "Phonetic": "C" }),
            Some("A^B==C"),
        ),
        (json!({ "Ideographic": "A" }), Some("=A")),
        (json!({ "Alphabetic": null }), Some("")),
        (json!({}), Some("")),
        (json!("A^B=C"), Some("A^B=C")),
        (json!({ "Alphabetic": "A=B" }), None),
        (json!({ "Alphabetic": "A", "Phonetic": "=" }), None),
        (json!({ "Alphabetic": "A\\B" }), None),
        (json!({ "alphabetic": "A" }), None),
        (json!({ "Alphabetic": "A", "Roman": "B" }), None),
        (json!({ "Alphabetic": ["A"] }), None),
    ] {
        let written = text(VR::PN, &json!([name]));
        assert_eq!(written.ok().as_deref(), wanted, "{name}");
    }
    let family = |family: &str| {
        let attribute = format!(
            "<DicomAttribute tag=\"00100010\" vr=\"PN\"><PersonName number=\"1\"><Alphabetic><FamilyName>{family}\
             </FamilyName></Alphabetic></PersonName></DicomAttribute>"
        );
        read(model(&attribute).as_bytes())
    };
    assert!(family("A").is_ok());
    assert!(family("A^B").is_err());
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
