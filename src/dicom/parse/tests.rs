use std::io::Write;

use dicom_core::{Tag, VR};
use serde_json::{Value, json};

use super::*;
use crate::dicom::testing::{self, BuiltFile, DataSet, Lengths, Syntax};

mod damaged;
mod labels;
mod values;

const SYNTAXES: [Syntax; 4] = [
    Syntax::ImplicitLittle,
    Syntax::ExplicitLittle,
    Syntax::ExplicitBig,
    Syntax::Deflated,
];
const PIXELS: Tag = Tag(0x7FE0, 0x0010);

fn try_parse(bytes: &[u8]) -> Result<Instance, ParseError> {
    parse(&bytes, &ParseOptions::default())
}

fn instance_of(built: &BuiltFile) -> Instance {
    try_parse(&built.bytes).unwrap()
}

fn parsed(instance: &Instance) -> Value {
    serde_json::from_str(&instance.metadata.text).unwrap()
}

fn attribute(instance: &Instance, tag: Tag) -> &Attribute {
    instance
        .attributes
        .iter()
        .find(|attribute| attribute.tag == tag)
        .unwrap()
}

fn comments(instance: &Instance) -> Vec<&str> {
    instance
        .findings
        .iter()
        .map(|finding| finding.comment.as_str())
        .collect()
}

/// A data set that uses most of what there is.
fn rich() -> DataSet {
    let request = DataSet::new()
        .text(Tag(0x0040, 0x0007), VR::LO, "Step")
        .text(Tag(0x0040, 0x0009), VR::SH, "SPS1");
    let icon = DataSet::new()
        .us(Tag(0x0028, 0x0010), &[2])
        .us(Tag(0x0028, 0x0011), &[2])
        .bytes(PIXELS, VR::OW, vec![1; 4]);
    DataSet::image(4, 4, 16, 2)
        .set(DataSet::new().text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 100"))
        .set(DataSet::new().items(
            Tag(0x0040, 0x0275),
            Lengths::Undefined,
            vec![request.clone(), DataSet::new(), request],
        ))
        .set(DataSet::new().items(Tag(0x0088, 0x0200), Lengths::Defined, vec![icon]))
        .bytes(PIXELS, VR::OW, (0..64).collect::<Vec<u8>>())
}

#[test]
fn every_syntax_gives_the_same_identifiers_and_metadata() {
    for syntax in SYNTAXES {
        let built = rich().file(syntax);
        let instance = instance_of(&built);
        assert_eq!(instance.name.study.as_str(), testing::STUDY);
        assert_eq!(instance.name.series.as_str(), testing::SERIES);
        assert_eq!(instance.name.instance.as_str(), testing::INSTANCE);
        assert_eq!(instance.sop_class, testing::SOP_CLASS);
        assert_eq!(instance.layout.transfer_syntax, syntax.uid());
        assert_eq!(instance.layout.dataset_offset, built.dataset_offset);
        assert_eq!(instance.layout.deflated, syntax == Syntax::Deflated);
        assert!(instance.layout.part10);
        assert!(instance.findings.is_empty(), "{:?}", instance.findings);
        let json = parsed(&instance);
        let step = json!({"vr": "SH", "Value": ["SPS1"]});
        assert_eq!(json["00400275"]["Value"][0]["00400009"], step);
        assert_eq!(json["00400275"]["Value"][1], json!({}));
        assert_eq!(json["00280010"], json!({"vr": "US", "Value": [4]}));
        assert_eq!(
            json["00080005"],
            json!({"vr": "CS", "Value": ["ISO_IR 192"]})
        );
        assert_eq!(
            json["7FE00010"],
            json!({"vr": "OW", "BulkDataURI": "bulkdata/7FE00010"})
        );
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert!(keys.is_sorted());
    }
}

#[test]
fn bulk_places_are_those_of_the_builder() {
    for syntax in SYNTAXES {
        let built = rich().file(syntax);
        let instance = instance_of(&built);
        let paths: Vec<&str> = instance
            .bulk
            .iter()
            .map(|item| item.path.as_str())
            .collect();
        assert_eq!(paths, ["00880200/1/7FE00010", "7FE00010"]);
        for item in &instance.bulk {
            let place = built.place(&item.path).unwrap();
            assert_eq!(
                (item.offset, item.length),
                (place.offset, place.length),
                "{}",
                item.path
            );
            assert!(!item.encapsulated);
        }
        for at in &instance.metadata.uri_at {
            let at = usize::try_from(*at).unwrap();
            assert!(instance.metadata.text[at..].starts_with("bulkdata/"));
            assert!(instance.metadata.text[..at].ends_with("\"BulkDataURI\":\""));
        }
        assert_eq!(instance.metadata.uri_at.len(), 2);
    }
}

#[test]
fn the_pixel_description_is_that_of_the_image_not_of_the_icon() {
    let instance = instance_of(&rich().file(Syntax::ExplicitLittle));
    let pixel = instance.pixel.unwrap();
    assert_eq!((pixel.rows, pixel.columns, pixel.frames), (4, 4, 2));
    assert_eq!(
        (pixel.bits_allocated, pixel.bits_stored, pixel.high_bit),
        (16, 16, 15)
    );
    assert_eq!(
        (pixel.photometric.as_str(), pixel.element),
        ("MONOCHROME2", PixelElement::Integer)
    );
    assert!(!pixel.lossy);
}

#[test]
fn a_file_is_walked_like_the_same_bytes_in_memory() {
    for syntax in SYNTAXES {
        let big = DataSet::image(300, 300, 16, 1).bytes(PIXELS, VR::OW, vec![3; 180_000]);
        for data in [rich(), big] {
            let built = data.file(syntax);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&built.bytes).unwrap();
            let from_file = parse(&file, &ParseOptions::default()).unwrap();
            let from_memory = instance_of(&built);
            assert_eq!(format!("{from_file:?}"), format!("{from_memory:?}"));
        }
    }
}

#[test]
fn attributes_come_back_with_their_piece_of_json() {
    let instance = instance_of(&rich().file(Syntax::ExplicitLittle));
    let json = parsed(&instance);
    assert!(
        instance
            .attributes
            .is_sorted_by_key(|attribute| attribute.tag)
    );
    for attribute in &instance.attributes {
        let key = format!("{:04X}{:04X}", attribute.tag.0, attribute.tag.1);
        let piece: Value =
            serde_json::from_str(&instance.metadata.text[attribute.json.clone()]).unwrap();
        assert_eq!(piece, json[&key], "{key}");
    }
    assert_eq!(
        attribute(&instance, Tag(0x0010, 0x0010)).values,
        ["Doe^Jane"]
    );
    assert_eq!(attribute(&instance, Tag(0x0028, 0x0010)).values, ["4"]);
    assert_eq!(
        attribute(&instance, Tag(0x0008, 0x0005)).values,
        ["ISO_IR 192"]
    );
    let sequence = attribute(&instance, Tag(0x0040, 0x0275));
    assert_eq!((sequence.vr, sequence.values.len()), (VR::SQ, 0));
}

#[test]
fn more_attributes_are_collected_on_request_private_ones_by_creator() {
    let data = DataSet::instance()
        .text(Tag(0x0009, 0x0010), VR::LO, "OTHER")
        .text(Tag(0x0009, 0x0011), VR::LO, "ACME")
        .text(Tag(0x0009, 0x1001), VR::LO, "not this one")
        .text(Tag(0x0009, 0x1101), VR::LO, "this one")
        .text(Tag(0x0018, 0x0060), VR::DS, "120")
        .set(DataSet::new());
    let collect = [
        CollectKey {
            tag: Tag(0x0009, 0x0001),
            creator: Some("ACME".to_owned()),
        },
        CollectKey {
            tag: Tag(0x0018, 0x0060),
            creator: None,
        },
    ];
    let options = ParseOptions {
        collect: &collect,
        ..ParseOptions::default()
    };
    let built = data.file(Syntax::ExplicitLittle);
    let instance = parse(&built.bytes, &options).unwrap();
    assert_eq!(
        attribute(&instance, Tag(0x0009, 0x1101)).values,
        ["this one"]
    );
    assert_eq!(attribute(&instance, Tag(0x0018, 0x0060)).values, ["120"]);
    assert!(
        instance
            .attributes
            .iter()
            .all(|attribute| attribute.tag != Tag(0x0009, 0x1001))
    );
    assert!(
        instance
            .attributes
            .is_sorted_by_key(|attribute| attribute.tag)
    );
}

#[test]
fn a_private_block_belongs_to_its_own_data_set_only() {
    let inner = DataSet::new().text(Tag(0x0009, 0x1001), VR::LO, "unowned");
    let owned = DataSet::new()
        .text(Tag(0x0009, 0x0010), VR::LO, "INNER")
        .text(Tag(0x0009, 0x1001), VR::LO, "owned");
    let data = DataSet::instance()
        .text(Tag(0x0009, 0x0010), VR::LO, "OUTER ")
        .text(Tag(0x0009, 0x1001), VR::LO, "top")
        .text(Tag(0x0009, 0x1101), VR::LO, "unowned")
        .items(Tag(0x0040, 0x0275), Lengths::Defined, vec![inner, owned])
        .set(DataSet::new());
    let seen = std::cell::RefCell::new(Vec::new());
    let validate = |header: &ElementHeader<'_>, values: &[String], _: &[u8]| {
        if header.tag.0 == 9 && header.tag.1 > 0xFF {
            seen.borrow_mut()
                .push((values[0].clone(), header.creator.map(str::to_owned)));
        }
        None
    };
    let options = ParseOptions {
        validate: Some(&validate),
        ..ParseOptions::default()
    };
    parse(&data.file(Syntax::ExplicitLittle).bytes, &options).unwrap();
    let want = [
        ("top", Some("OUTER")),
        ("unowned", None),
        ("unowned", None),
        ("owned", Some("INNER")),
    ];
    let want = want.map(|(value, creator)| (value.to_owned(), creator.map(str::to_owned)));
    assert_eq!(seen.into_inner(), want);
}

#[test]
fn a_rejected_value_is_left_out_and_reported() {
    let item = DataSet::new()
        .text(Tag(0x0009, 0x0010), VR::LO, "ACME")
        .text(Tag(0x0009, 0x1001), VR::CS, "bad")
        .text(Tag(0x0040, 0x0009), VR::SH, "SPS1");
    let data = rich().set(DataSet::new().items(Tag(0x0040, 0x0275), Lengths::Defined, vec![item]));
    let validate = |header: &ElementHeader<'_>, values: &[String], raw: &[u8]| {
        let nested = header.creator == Some("ACME") && header.depth == 1;
        if nested {
            assert_eq!(
                (values, raw, header.vr),
                (&["bad".to_owned()][..], &b"bad "[..], VR::CS)
            );
        }
        (nested || header.tag == Tag(0x0010, 0x0020)).then(|| "no good".to_owned())
    };
    let options = ParseOptions {
        validate: Some(&validate),
        ..ParseOptions::default()
    };
    let built = data.file(Syntax::ExplicitLittle);
    let instance = parse(&built.bytes, &options).unwrap();
    assert_eq!(
        comments(&instance),
        [
            "DICOM100: (0010,0020) - no good",
            "DICOM100: (0009,1001) - no good"
        ]
    );
    let json = parsed(&instance);
    assert_eq!(json.get("00100020"), None);
    assert_eq!(json["00400275"]["Value"][0].get("00091001"), None);
    assert_eq!(json["00400275"]["Value"][0]["00400009"]["Value"][0], "SPS1");
    assert!(
        instance
            .attributes
            .iter()
            .all(|attribute| attribute.tag != Tag(0x0010, 0x0020))
    );
}

#[test]
fn group_lengths_padding_and_zeros_behind_are_left_out() {
    let mut data = DataSet::new().bytes(Tag(0x0008, 0), VR::UL, [9, 0, 0, 0]);
    data.0.extend(rich().0);
    let data = data.bytes(Tag(0xFFFC, 0xFFFC), VR::OB, vec![0xAA; 10]);
    for syntax in [
        Syntax::ImplicitLittle,
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
    ] {
        let mut built = data.file(syntax);
        let plain = instance_of(&built);
        assert_eq!(parsed(&plain).get("00080000"), None);
        assert!(plain.findings.is_empty());
        built.bytes.extend([0; 100]);
        let padded = instance_of(&built);
        assert_eq!(padded.metadata, plain.metadata);
        assert_eq!(padded.layout, plain.layout);
        assert_eq!(
            comments(&padded),
            ["DICOM100: (0000,0000) - 100 bytes behind the data set are ignored"]
        );
    }
}

#[test]
fn rubbish_behind_the_pixel_data_is_ignored_with_a_finding() {
    let mut built = rich().file(Syntax::ExplicitLittle);
    built.bytes.extend(b"<html>not found</html>");
    let instance = instance_of(&built);
    assert_eq!(
        comments(&instance),
        ["DICOM100: (0000,0000) - 22 bytes behind the data set are ignored"]
    );
}

#[test]
fn keys_out_of_order_are_put_in_order_and_the_last_of_two_wins() {
    let nested =
        DataSet::new()
            .bytes(PIXELS, VR::OW, vec![1; 4])
            .text(Tag(0x0040, 0x0009), VR::SH, "SPS1");
    let mut data = DataSet::new()
        .bytes(Tag(0x0042, 0x0011), VR::OB, vec![1; 2000])
        .items(
            Tag(0x0040, 0x0275),
            Lengths::Defined,
            vec![nested.clone(), nested],
        )
        .text(Tag(0x0010, 0x0010), VR::PN, "First^One");
    data.0.extend(DataSet::instance().0);
    let instance = instance_of(&data.file(Syntax::ExplicitLittle));
    let json = parsed(&instance);
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted(), "{keys:?}");
    assert_eq!(keys.len(), 8);
    assert_eq!(json["00100010"]["Value"][0]["Alphabetic"], "Doe^Jane");
    assert_eq!(
        attribute(&instance, Tag(0x0010, 0x0010)).values,
        ["Doe^Jane"]
    );
    assert_eq!(instance.metadata.uri_at.len(), 3);
    assert!(instance.metadata.uri_at.is_sorted());
    for at in &instance.metadata.uri_at {
        let at = usize::try_from(*at).unwrap();
        assert!(instance.metadata.text[at..].starts_with("bulkdata/"));
    }
    for attribute in &instance.attributes {
        let key = format!("{:04X}{:04X}", attribute.tag.0, attribute.tag.1);
        let piece: Value =
            serde_json::from_str(&instance.metadata.text[attribute.json.clone()]).unwrap();
        assert_eq!(piece, json[&key]);
    }
    assert_eq!(instance.findings.len(), 1);
}

#[test]
fn available_syntaxes_have_their_place_between_the_keys() {
    let stale = DataSet::new().text(Tag(0x0008, 0x3002), VR::UI, "1.2.3");
    let instance = instance_of(&rich().set(stale).file(Syntax::ExplicitLittle));
    let out = crate::dicom::metadata::written(&instance.metadata, "http://h/i", &["1.2"]);
    let json: Value = serde_json::from_slice(&out).unwrap();
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted());
    assert_eq!(json["00083002"]["Value"], json!(["1.2"]));
    assert_eq!(
        json["7FE00010"]["BulkDataURI"],
        "http://h/i/bulkdata/7FE00010"
    );
}
