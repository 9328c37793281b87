use super::*;
use crate::dicom::codec::transfer_syntax;
use crate::dicom::instance::Instance;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::testing::{DataSet, Lengths, Syntax};
use dicom_core::VR;
use proptest::prelude::*;
use serde_json::json;

pub(super) fn parsed(bytes: &[u8]) -> Instance {
    parse(&bytes, &ParseOptions::default()).unwrap()
}

pub(super) fn metadata(instance: &Instance) -> Map<String, Value> {
    serde_json::from_str(&instance.metadata.text).unwrap()
}

pub(super) fn data_set(attributes: Value) -> Map<String, Value> {
    let Value::Object(mut data_set) = attributes else {
        panic!("not an object")
    };
    for (tag, value) in [
        ("00080016", "1.2.840.10008.5.1.4.1.1.7"),
        ("00080018", "1.2.3.4"),
        ("0020000D", "1.2.3"),
        ("0020000E", "1.2.3.1"),
    ] {
        let uid = json!({ "vr": "UI", "Value": [value] });
        data_set.entry(tag).or_insert(uid);
    }
    data_set
}

/// The file with the parts put in.
pub(super) fn file(
    attributes: &Map<String, Value>,
    parts: &[(&str, &str, &[u8])],
) -> Result<Vec<u8>, ComposeError> {
    let described = parts.iter().map(|(location, media, bytes)| {
        let (media, syntax) = match media.split_once(';') {
            Some((media, syntax)) => (media, Some(syntax.to_owned())),
            None => (*media, None),
        };
        let mut part = BulkPart {
            location: (*location).to_owned(),
            media: media.to_owned(),
            transfer_syntax: syntax,
            length: bytes.len() as u64,
            content: PartContent::default(),
        };
        part.look(bytes);
        part
    });
    let pieces = compose(attributes, &BulkParts::new(described.collect()))?;
    let mut file = Vec::new();
    for piece in pieces {
        match piece {
            FilePiece::Bytes(bytes) => file.extend(bytes),
            FilePiece::Bulk(number) => file.extend(parts[number].2),
            FilePiece::Part {
                number,
                offset,
                length,
            } => {
                let place = usize::try_from(offset).unwrap()..;
                let bytes = &parts[number].2[place];
                file.extend(&bytes[..usize::try_from(length).unwrap()]);
            }
            FilePiece::Picture(number, picture) => {
                file.extend(picture.pixels(parts[number].2).unwrap());
            }
        }
    }
    Ok(file)
}

fn refusal(attributes: Value) -> String {
    file(&data_set(attributes), &[]).unwrap_err().to_string()
}

/// Values of every kind that a data set can hold.
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
        .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192")
        .text(Tag(0x0008, 0x0008), VR::CS, "ORIGINAL\\\\AXIAL")
        .text(
            Tag(0x0010, 0x0010),
            VR::PN,
            "Müller^Jörg=山田^太郎=やまだ^たろう",
        )
        .text(Tag(0x0010, 0x1030), VR::DS, "72.5")
        .text(Tag(0x0020, 0x0013), VR::IS, "7")
        .text(Tag(0x0010, 0x4000), VR::LT, "two\\lines stay one")
        .bytes(Tag(0x0028, 0x0009), VR::AT, [0x18, 0, 0x63, 0x10])
        .items(
            Tag(0x0040, 0x0275),
            Lengths::Undefined,
            vec![item.clone(), DataSet::new()],
        )
        .items(Tag(0x0040, 0x0260), Lengths::Defined, vec![item])
        .text(Tag(0x0041, 0x0010), VR::LO, "ACME")
        .bytes(Tag(0x0041, 0x1001), VR::UN, vec![1, 2, 3, 4])
        .bytes(Tag(0x0041, 0x1002), VR::SS, (-5_i16).to_le_bytes())
        .bytes(Tag(0x0041, 0x1003), VR::SL, (-70_000_i32).to_le_bytes())
        .bytes(Tag(0x0041, 0x1004), VR::SV, i64::MIN.to_le_bytes())
        .bytes(Tag(0x0041, 0x1005), VR::UV, u64::MAX.to_le_bytes())
        .bytes(Tag(0x0041, 0x1006), VR::UL, u32::MAX.to_le_bytes())
        .bytes(Tag(0x0066, 0x0016), VR::OF, 1.5_f32.to_le_bytes())
        .bytes(Tag(0x0070, 0x0022), VR::FL, f32::NAN.to_le_bytes())
        .bytes(Tag(0x0072, 0x0074), VR::FD, 0.25_f64.to_le_bytes())
}

#[test]
fn what_the_walk_writes_is_read_back() {
    let stored = parsed(&rich().file(Syntax::ExplicitLittle).bytes);
    let json = metadata(&stored);
    let made = file(&json, &[]).unwrap();
    assert_eq!(metadata(&parsed(&made)), json);
}

#[test]
fn a_native_model_is_read_like_json() {
    let json = metadata(&parsed(&rich().file(Syntax::ExplicitLittle).bytes));
    let text = crate::dicom::xml::write(&json, "");
    let model = SentMetadata::Xml(text.into_bytes()).read().unwrap();
    let made = file(&model, &[]).unwrap();
    assert_eq!(metadata(&parsed(&made)), json);
}

#[test]
fn bulk_data_is_found_by_its_location_relative_or_absolute() {
    let json = data_set(json!({
        "00420011": { "vr": "OB", "BulkDataURI": "http://host:1/a/b" },
        "00660016": { "vr": "OF", "BulkDataURI": "c" },
    }));
    let parts: [(&str, &str, &[u8]); 2] = [
        ("./c", "application/octet-stream", &[0, 0, 128, 63]),
        ("/a/b", "application/pdf", b"%PDF-"),
    ];
    let made = parsed(&file(&json, &parts).unwrap());
    let text = metadata(&made);
    assert_eq!(text["00420011"]["InlineBinary"], "JVBERi0A");
    assert_eq!(text["00660016"]["InlineBinary"], "AACAPw==");
    assert_eq!(made.layout.transfer_syntax, transfer_syntax::EXPLICIT_LE);
}

#[test]
fn what_cannot_be_encoded_is_refused_by_name() {
    for (attributes, reported) in [
        (json!({ "x": {} }), "the attribute x is not named"),
        (json!({ "00100010": {} }), "00100010 has no vr"),
        (
            json!({ "00280010": { "vr": "US", "Value": [70_000] } }),
            "00280010 has a value",
        ),
        (
            json!({ "00280010": { "vr": "US", "Value": [null] } }),
            "00280010 has a value",
        ),
        (
            json!({ "00100020": { "vr": "LO", "Value": "x" } }),
            "00100020 has a value",
        ),
        (
            json!({ "00100020": { "vr": "LO", "Value": [{}] } }),
            "00100020 has a value",
        ),
        (
            json!({ "00420011": { "vr": "OB", "InlineBinary": "%" } }),
            "00420011 has an InlineBinary",
        ),
        (
            json!({ "00420011": { "vr": "OB", "BulkDataURI": "nowhere" } }),
            "00420011 has a BulkDataURI",
        ),
        (
            json!({ "00400275": { "vr": "SQ", "Value": [{ "00280010": { "vr": "US", "Value": [-1] } }] } }),
            "00400275.00280010 has a value",
        ),
        (json!({ "00080018": { "vr": "UI" } }), "no SOPInstanceUID"),
    ] {
        let refused = refusal(attributes);
        assert!(refused.contains(reported), "{refused}");
    }
}

#[test]
fn metadata_that_is_none_is_refused() {
    for text in ["", "[1", "7", "[{}", "\"x\""] {
        assert!(SentMetadata::split(text.as_bytes(), 9).is_err(), "{text}");
    }
    let deep = format!("[{}1{}]", "[".repeat(100_000), "]".repeat(100_000));
    for metadata in SentMetadata::split(deep.as_bytes(), 9).unwrap_or_default() {
        assert!(metadata.read().is_err());
    }
    for text in [
        "",
        "<a/>",
        "<NativeDicomModel>",
        "<NativeDicomModel><DicomAttribute/></NativeDicomModel>",
        "<!DOCTYPE x [<!ENTITY e \"v\">]><NativeDicomModel/>",
        "<NativeDicomModel><DicomAttribute tag=\"00100020\" vr=\"LO\"><Value>&e;</Value></DicomAttribute></NativeDicomModel>",
        &"<NativeDicomModel><DicomAttribute tag=\"00400275\" vr=\"SQ\"><Item>".repeat(100_000),
    ] {
        let metadata = SentMetadata::Xml(text.as_bytes().to_vec());
        assert!(metadata.read().is_err(), "{text:.100}");
    }
}

proptest! {
    #[test]
    fn any_metadata_is_composed_or_refused(
        tag in "[0-9A-F]{8}", vr in "[A-Z]{2}",
        value in prop_oneof![Just(json!(null)), any::<f64>().prop_map(|f| json!(f)), any::<i64>().prop_map(|i| json!(i)), ".{0,8}".prop_map(|s| json!(s))],
    ) {
        let attributes = data_set(json!({ tag: { "vr": vr, "Value": [value] } }));
        if let Ok(made) = file(&attributes, &[]) {
            let _ = parse(&made.as_slice(), &ParseOptions::default());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = SentMetadata::split(&bytes, 9);
        let _ = SentMetadata::Xml(bytes).read();
    }
}
