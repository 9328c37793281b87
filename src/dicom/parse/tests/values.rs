//! Value representations: what is resolved, what is left unknown, character sets, thresholds.

use super::*;

fn json_of(data: &DataSet, syntax: Syntax) -> Value {
    parsed(&instance_of(&data.file(syntax)))
}

#[test]
fn an_unknown_sequence_of_undefined_length_is_read_as_implicit() {
    // CP-246: content of UN is Implicit VR Little Endian, whatever is around it.
    let item = DataSet::new().text(Tag(0x0008, 0x1150), VR::UI, "1.2.3");
    for outer in [Syntax::ExplicitLittle, Syntax::ExplicitBig] {
        let mut built = DataSet::instance().file(outer);
        let (sequence, _) = DataSet::new()
            .items(Tag(0x0029, 0x1010), Lengths::Undefined, vec![item.clone()])
            .encode(Syntax::ImplicitLittle, 0);
        let head: &[u8] = if outer == Syntax::ExplicitBig {
            &[0x00, 0x29, 0x10, 0x10, b'U', b'N', 0, 0]
        } else {
            &[0x29, 0x00, 0x10, 0x10, b'U', b'N', 0, 0]
        };
        built.bytes.extend(head);
        built.bytes.extend(&sequence[4..]);
        let json = parsed(&instance_of(&built));
        assert_eq!(json["00291010"]["vr"], "SQ");
        assert_eq!(
            json["00291010"]["Value"][0]["00081150"],
            json!({"vr": "UI", "Value": ["1.2.3"]})
        );
    }
}

#[test]
fn an_unknown_value_is_resolved_when_it_can_be() {
    let item = DataSet::new().text(Tag(0x0008, 0x1150), VR::UI, "1.2.3");
    let (implicit, _) = DataSet::new()
        .items(Tag(0, 0), Lengths::Undefined, vec![item.clone(), item])
        .encode(Syntax::ImplicitLittle, 0);
    let content = &implicit[8..implicit.len() - 8];
    let data = DataSet::instance()
        .bytes(Tag(0x0008, 0x1140), VR::UN, content)
        .bytes(Tag(0x0008, 0x114A), VR::UN, *b"no sequence.")
        .bytes(Tag(0x0009, 0x1001), VR::UN, *b"priv")
        .bytes(Tag(0x0010, 0x1030), VR::UN, *b"80.5")
        .bytes(Tag(0x0028, 0x0010), VR::UN, [4, 0])
        .bytes(Tag(0x0028, 0x0011), VR::UN, [4, 0, 0])
        .set(DataSet::new());
    for syntax in [Syntax::ExplicitLittle, Syntax::ExplicitBig] {
        let json = json_of(&data, syntax);
        assert_eq!(json["00081140"]["Value"].as_array().unwrap().len(), 2);
        assert_eq!(
            json["00081140"]["Value"][1]["00081150"]["Value"],
            json!(["1.2.3"])
        );
        assert_eq!(
            json["0008114A"],
            json!({"vr": "UN", "InlineBinary": "bm8gc2VxdWVuY2Uu"})
        );
        assert_eq!(
            json["00091001"],
            json!({"vr": "UN", "InlineBinary": "cHJpdg=="})
        );
        assert_eq!(json["00101030"], json!({"vr": "DS", "Value": [80.5]}));
        assert_eq!(json["00280010"], json!({"vr": "US", "Value": [4]}));
        assert_eq!(
            json["00280011"],
            json!({"vr": "UN", "InlineBinary": "BAAA"})
        );
    }
}

#[test]
fn private_elements_keep_their_vr_only_where_the_file_names_it() {
    let data = DataSet::instance()
        .text(Tag(0x0029, 0x0010), VR::LO, "ACME")
        .text(Tag(0x0029, 0x1001), VR::CS, "YES");
    assert_eq!(
        json_of(&data, Syntax::ExplicitLittle)["00291001"],
        json!({"vr": "CS", "Value": ["YES"]})
    );
    let implicit = json_of(&data, Syntax::ImplicitLittle);
    assert_eq!(implicit["00290010"], json!({"vr": "LO", "Value": ["ACME"]}));
    assert_eq!(
        implicit["00291001"],
        json!({"vr": "UN", "InlineBinary": "WUVTIA=="})
    );
}

#[test]
fn ambiguous_representations_follow_the_context_in_implicit_vr() {
    for (signed, vr, value) in [(0, "US", json!([65535])), (1, "SS", json!([-1]))] {
        let lut = |entries: u16| {
            DataSet::new()
                .us(Tag(0x0028, 0x3002), &[entries, 0, 16])
                .bytes(Tag(0x0028, 0x3006), VR::OW, [1, 2])
        };
        let icon = DataSet::new()
            .us(Tag(0x0028, 0x0103), &[0])
            .us(Tag(0x0028, 0x0106), &[65535]);
        let data = DataSet::image(1, 1, 16, 1)
            .set(DataSet::new().us(Tag(0x0028, 0x0103), &[signed]))
            .us(Tag(0x0028, 0x0106), &[65535])
            .items(
                Tag(0x0028, 0x3000),
                Lengths::Undefined,
                vec![lut(1), lut(2)],
            )
            .items(Tag(0x0088, 0x0200), Lengths::Undefined, vec![icon])
            .bytes(Tag(0x5400, 0x0110), VR::OW, [1, 2])
            .bytes(Tag(0x6000, 0x3000), VR::OW, [3, 4])
            .set(DataSet::new());
        let json = json_of(&data, Syntax::ImplicitLittle);
        assert_eq!(json["00280106"], json!({"vr": vr, "Value": value}));
        let luts = &json["00283000"]["Value"];
        assert_eq!(luts[0]["00283002"]["vr"], vr);
        assert_eq!(luts[0]["00283006"], json!({"vr": "US", "Value": [513]}));
        assert_eq!(
            luts[1]["00283006"],
            json!({"vr": "OW", "InlineBinary": "AQI="})
        );
        assert_eq!(
            json["00880200"]["Value"][0]["00280106"]["Value"],
            json!([65535])
        );
        assert_eq!(
            json["60003000"],
            json!({"vr": "OW", "InlineBinary": "AwQ="})
        );
        assert_eq!(json["54000110"]["vr"], "OW");
    }
}

#[test]
fn elements_without_vr_in_an_explicit_data_set_are_read_as_implicit() {
    let mut built = DataSet::instance().file(Syntax::ExplicitLittle);
    let (implicit, _) = DataSet::new()
        .us(Tag(0x0028, 0x0010), &[7])
        .encode(Syntax::ImplicitLittle, 0);
    built.bytes.extend(implicit);
    let (explicit, _) = DataSet::new()
        .us(Tag(0x0028, 0x0011), &[8])
        .encode(Syntax::ExplicitLittle, 0);
    built.bytes.extend(explicit);
    let json = parsed(&instance_of(&built));
    assert_eq!(json["00280010"]["Value"], json!([7]));
    assert_eq!(json["00280011"]["Value"], json!([8]));
}

#[test]
fn odd_lengths_are_tolerated() {
    let data = DataSet::new()
        .bytes(
            Tag(0x0008, 0x0016),
            VR::UI,
            crate::dicom::testing::SOP_CLASS,
        )
        .bytes(Tag(0x0008, 0x0018), VR::UI, *b"1.2.3")
        .bytes(Tag(0x0020, 0x000D), VR::UI, *b"1.2.4")
        .bytes(Tag(0x0020, 0x000E), VR::UI, *b"1.2.5")
        .bytes(Tag(0x0020, 0x0013), VR::IS, *b"7");
    for syntax in SYNTAXES {
        let instance = instance_of(&data.file(syntax));
        assert_eq!(instance.name.instance.as_str(), "1.2.3");
        assert_eq!(attribute(&instance, Tag(0x0020, 0x0013)).values, ["7"]);
    }
}

#[test]
fn stray_delimiters_in_sequences_of_defined_length_are_skipped() {
    let delimiters = [
        0xFE, 0xFF, 0x0D, 0xE0, 0, 0, 0, 0, 0xFE, 0xFF, 0xDD, 0xE0, 0, 0, 0, 0,
    ];
    let (item, _) = DataSet::new()
        .us(Tag(0x0028, 0x0010), &[7])
        .encode(Syntax::ExplicitLittle, 0);
    let mut value = vec![0xFE, 0xFF, 0, 0xE0, 18, 0, 0, 0];
    value.extend(item);
    value.extend(delimiters);
    let data = DataSet::instance().bytes(Tag(0x0040, 0x0275), VR::SQ, value);
    let json = json_of(&data, Syntax::ExplicitLittle);
    assert_eq!(
        json["00400275"]["Value"],
        json!([{"00280010": {"vr": "US", "Value": [7]}}])
    );
}

#[test]
fn a_character_set_holds_for_its_item_only() {
    let name = |bytes: &[u8]| DataSet::new().bytes(Tag(0x0010, 0x0010), VR::PN, bytes);
    let latin = DataSet::new()
        .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 100")
        .bytes(Tag(0x0010, 0x0010), VR::PN, [b'\xC4', b' ']);
    let inner = DataSet::new().items(
        Tag(0x0040, 0x0275),
        Lengths::Undefined,
        vec![name("Ж".as_bytes())],
    );
    let cyrillic_item = DataSet::new()
        .text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 144")
        .items(
            Tag(0x0040, 0x0275),
            Lengths::Defined,
            vec![name(&[0xB6, b' '])],
        )
        .bytes(Tag(0x0040, 0xA123), VR::PN, [0xB6, b' ']);
    let data = DataSet::instance()
        .set(DataSet::new().text(Tag(0x0008, 0x0005), VR::CS, "ISO_IR 192"))
        .set(DataSet::new().bytes(Tag(0x0010, 0x0010), VR::PN, "Ä".as_bytes()))
        .items(
            Tag(0x0040, 0x0100),
            Lengths::Undefined,
            vec![latin, name("Ü".as_bytes()), cyrillic_item, inner],
        )
        .bytes(Tag(0x0040, 0xA123), VR::PN, "Ö".as_bytes());
    for syntax in SYNTAXES {
        let json = json_of(&data, syntax);
        let items = &json["00400100"]["Value"];
        let alphabetic = |value: &Value| value["00100010"]["Value"][0]["Alphabetic"].clone();
        assert_eq!(alphabetic(&json), "Ä");
        assert_eq!(alphabetic(&items[0]), "Ä");
        assert_eq!(items[0]["00080005"]["Value"], json!(["ISO_IR 192"]));
        assert_eq!(alphabetic(&items[1]), "Ü");
        assert_eq!(alphabetic(&items[2]["00400275"]["Value"][0]), "Ж");
        assert_eq!(items[2]["0040A123"]["Value"][0]["Alphabetic"], "Ж");
        assert_eq!(alphabetic(&items[3]["00400275"]["Value"][0]), "Ж");
        assert_eq!(json["0040A123"]["Value"][0]["Alphabetic"], "Ö");
    }
}

#[test]
fn text_beyond_ascii_without_a_character_set_gets_one_declared() {
    let data = rich()
        .without(Tag(0x0008, 0x0005))
        .set(DataSet::new().bytes(Tag(0x0010, 0x0010), VR::PN, "Müller".as_bytes()));
    let instance = instance_of(&data.file(Syntax::ExplicitLittle));
    let json = parsed(&instance);
    assert_eq!(
        json["00080005"],
        json!({"vr": "CS", "Value": ["ISO_IR 192"]})
    );
    assert!(json.as_object().unwrap().keys().is_sorted());
    assert_eq!(json["00100010"]["Value"][0]["Alphabetic"], "Müller");
    for attribute in &instance.attributes {
        let key = format!("{:04X}{:04X}", attribute.tag.0, attribute.tag.1);
        let piece: Value =
            serde_json::from_str(&instance.metadata.text[attribute.json.clone()]).unwrap();
        assert_eq!(piece, json[&key]);
    }
    let at = usize::try_from(*instance.metadata.uri_at.last().unwrap()).unwrap();
    assert!(instance.metadata.text[at..].starts_with("bulkdata/7FE00010"));
    let at = usize::try_from(instance.metadata.available_syntax_at).unwrap();
    assert!(instance.metadata.text[at..].starts_with("\"00100010\""));
}

#[test]
fn large_values_of_any_vr_are_served_by_uri() {
    let data = DataSet::instance()
        .bytes(Tag(0x0028, 0x1201), VR::OW, vec![1; 1024])
        .bytes(Tag(0x0028, 0x1202), VR::OW, vec![1; 1026])
        .bytes(Tag(0x0040, 0xA160), VR::UT, vec![b'a'; 65_538])
        .bytes(Tag(0x0066, 0x0016), VR::OF, Vec::new())
        .items(
            Tag(0x5400, 0x0100),
            Lengths::Defined,
            vec![
                DataSet::new(),
                DataSet::new().bytes(Tag(0x5400, 0x1010), VR::OW, vec![5; 3000]),
            ],
        );
    let built = data.file(Syntax::ExplicitLittle);
    let instance = instance_of(&built);
    let json = parsed(&instance);
    assert!(json["00281201"].get("InlineBinary").is_some());
    assert_eq!(json["00281202"]["BulkDataURI"], "bulkdata/00281202");
    assert_eq!(json["0040A160"]["BulkDataURI"], "bulkdata/0040A160");
    assert_eq!(json["00660016"], json!({"vr": "OF"}));
    let waveform = &json["54000100"]["Value"][1]["54001010"];
    assert_eq!(
        waveform,
        &json!({"vr": "OW", "BulkDataURI": "bulkdata/54000100/2/54001010"})
    );
    for item in &instance.bulk {
        let place = built.place(&item.path).unwrap();
        assert_eq!((item.offset, item.length), (place.offset, place.length));
    }
    assert_eq!(instance.bulk.len(), 3);
}

#[test]
fn long_numbers_are_values_as_far_as_there_is_room() {
    let decimals = |count: usize| vec!["1"; count].join("\\");
    let long = |length: usize, elements: u16| {
        let contour = DataSet::new().text(Tag(0x3006, 0x0050), VR::DS, &decimals(length / 2));
        let contours = vec![contour; usize::from(elements)];
        let data = DataSet::instance().items(Tag(0x3006, 0x0040), Lengths::Undefined, contours);
        // In Explicit VR such lengths have no room.
        let file = data.file(Syntax::ImplicitLittle);
        try_parse(&file.bytes).unwrap()
    };
    assert_eq!(long(1 << 20, 3).bulk.len(), 0);
    // Too long alone, and too long together.
    assert_eq!(long(5 << 20, 1).bulk.len(), 1);
    assert_eq!(long(3 << 20, 7).bulk.len(), 2);
}
