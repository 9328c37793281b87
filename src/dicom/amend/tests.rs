use std::io::Write;
use std::ops::RangeInclusive;

use serde_json::{Value, json};

use super::*;
use crate::dicom::parse::{ParseOptions, parse};
use crate::dicom::parse_memory::NoParseMemory;
use crate::dicom::rewrite::made::{made, source};
use crate::dicom::testing::{DataSet, Lengths, SOP_CLASS, Syntax};

const SYNTAXES: [Syntax; 4] = [
    Syntax::ImplicitLittle,
    Syntax::ExplicitLittle,
    Syntax::ExplicitBig,
    Syntax::Deflated,
];
const NAME: Tag = Tag(0x0010, 0x0010);

fn edit(tag: Tag, vr: VR, text: &str) -> TextEdit {
    TextEdit {
        tag,
        vr,
        text: text.to_owned(),
    }
}

/// The new file, and its data set.
fn amended(bytes: &[u8], edits: &[TextEdit]) -> (Vec<u8>, Vec<u8>) {
    let layout = parse(&bytes, &ParseOptions::default()).unwrap().layout;
    let source = source(&bytes, &layout);
    let source = source.as_ref();
    let file = AmendedFile {
        sop_class: SOP_CLASS,
        instance: "9.9.9",
        edits,
    };
    let granted = |_: usize| Ok(());
    let segments = plan(source, &layout, file, ParseLimits::default(), &granted).unwrap();
    let mut none = |_: RangeInclusive<u32>, _: &mut dyn Write| Ok(());
    made(source, &layout, &segments, &mut none)
}

fn metadata(bytes: &[u8]) -> Value {
    let parsed = parse(&bytes, &ParseOptions::default()).unwrap();
    serde_json::from_str(&parsed.metadata.text).unwrap()
}

/// Sequences of both kinds, private elements, pixels.
fn rich() -> DataSet {
    let item = || {
        DataSet::new()
            .text(Tag(0x0008, 0x0104), VR::LO, "plain")
            .items(
                Tag(0x0040, 0xA730),
                Lengths::Undefined,
                vec![DataSet::new().us(Tag(0x0028, 0x0010), &[513])],
            )
    };
    let mut set = DataSet::image(4, 4, 16, 1)
        .items(Tag(0x0008, 0x1140), Lengths::Defined, vec![item(), item()])
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, (0..32).collect::<Vec<u8>>());
    set.0.sort_by_key(|(tag, ..)| *tag);
    set
}

#[test]
fn only_what_is_changed_is_written_anew_in_every_transfer_syntax() {
    for syntax in SYNTAXES {
        let before = rich().file(syntax);
        let edits = [
            edit(Tag(0x0010, 0x0020), VR::LO, "P2"),
            edit(Tag(0x0010, 0x0021), VR::LO, "issuer"),
            edit(NAME, VR::PN, "New^Name"),
            edit(Tag(0x0008, 0x0018), VR::UI, "9.9.9"),
        ];
        let (after, _) = amended(&before.bytes, &edits);
        let parsed = parse(&after.as_slice(), &ParseOptions::default()).unwrap();
        assert_eq!(parsed.layout.transfer_syntax, syntax.uid());
        assert_eq!(parsed.name.instance.as_str(), "9.9.9");
        let mut expected = metadata(&before.bytes);
        expected["00100020"]["Value"] = json!(["P2"]);
        expected["00100021"] = json!({ "vr": "LO", "Value": ["issuer"] });
        expected["00100010"]["Value"] = json!([{ "Alphabetic": "New^Name" }]);
        expected["00080018"]["Value"] = json!(["9.9.9"]);
        assert_eq!(metadata(&after), expected, "{syntax:?}");
        // Once more changes nothing.
        let (again, _) = amended(&after, &edits);
        assert_eq!(again, after, "{syntax:?}");
    }
}

#[test]
fn a_file_is_copied_byte_for_byte_but_for_the_change() {
    for syntax in [
        Syntax::ImplicitLittle,
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
    ] {
        let before = rich().file(syntax);
        // As long as the old one.
        let (_, data) = amended(&before.bytes, &[edit(NAME, VR::PN, "Roe^Jane")]);
        let start = usize::try_from(before.dataset_offset).unwrap();
        let old = &before.bytes[start..];
        assert_eq!(old.len(), data.len());
        let differs = old.iter().zip(&data).filter(|(a, b)| a != b).count();
        assert_eq!(differs, 1, "{syntax:?}");
    }
}

#[test]
fn new_text_is_in_the_character_set_of_the_file_or_all_text_becomes_utf8() {
    for syntax in SYNTAXES {
        let latin = DataSet::new()
            .bytes(Tag(0x0008, 0x0005), VR::CS, *b"ISO_IR 100")
            .bytes(Tag(0x0008, 0x0080), VR::LO, *b"Universit\xE4t ");
        let own = DataSet::new()
            .bytes(Tag(0x0008, 0x0005), VR::CS, *b"ISO_IR 144")
            .bytes(Tag(0x0008, 0x0104), VR::LO, [0xBC, 0xD8]);
        let inherited = DataSet::new().bytes(Tag(0x0008, 0x0104), VR::LO, *b"M\xFCller");
        let mut set =
            rich()
                .set(latin)
                .items(Tag(0x0008, 0x1111), Lengths::Defined, vec![own, inherited]);
        set.0.sort_by_key(|(tag, ..)| *tag);
        let before = set.file(syntax);
        let was = metadata(&before.bytes);
        for (name, charset) in [("Bär^Jo", "ISO_IR 100"), ("Łaska^山田", "ISO_IR 192")] {
            let (after, data) = amended(&before.bytes, &[edit(NAME, VR::PN, name)]);
            let mut expected = was.clone();
            expected["00100010"]["Value"] = json!([{ "Alphabetic": name }]);
            let own = data.windows(10).find(|part| part.starts_with(b"ISO_IR"));
            assert_eq!(own, Some(charset.as_bytes()), "{syntax:?} {name}");
            assert_eq!(metadata(&after), expected, "{syntax:?} {name}");
        }
        assert_eq!(was["00081111"]["Value"][0]["00080104"]["Value"][0], "Ми");
    }
}

#[test]
fn a_file_without_a_character_set_gets_one_when_it_needs_it() {
    for syntax in SYNTAXES {
        let before = rich().file(syntax);
        let (after, _) = amended(&before.bytes, &[edit(NAME, VR::PN, "Bär")]);
        let found = metadata(&after);
        assert_eq!(
            found["00080005"]["Value"],
            json!(["ISO_IR 192"]),
            "{syntax:?}"
        );
        assert_eq!(found["00100010"]["Value"][0]["Alphabetic"], "Bär");
        let (after, _) = amended(&before.bytes, &[edit(NAME, VR::PN, "Bar")]);
        assert!(metadata(&after).get("00080005").is_none());
    }
}

#[test]
fn fragments_stay_as_they_are() {
    let set = DataSet::image(2, 2, 8, 2).fragments(&[0, 12], &[b"abcd", b"efghij"]);
    let before = set.file(Syntax::Other("1.2.840.10008.1.2.5"));
    let (after, data) = amended(&before.bytes, &[edit(NAME, VR::PN, "山^X")]);
    let tail = before.bytes.len() - 60;
    assert!(data.ends_with(&before.bytes[tail..]));
    let parsed = parse(&after.as_slice(), &ParseOptions::default()).unwrap();
    assert_eq!(
        parsed.layout.transfer_syntax,
        Syntax::Other("1.2.840.10008.1.2.5").uid()
    );
}

#[test]
fn memory_that_is_not_granted_ends_it() {
    let before = rich().file(Syntax::ExplicitLittle);
    let layout = parse(&before.bytes.as_slice(), &ParseOptions::default())
        .unwrap()
        .layout;
    let edits = [edit(NAME, VR::PN, "A")];
    let file = AmendedFile {
        sop_class: SOP_CLASS,
        instance: "9",
        edits: &edits,
    };
    let refused = |_: usize| Err(NoParseMemory("none".into()));
    let source: &dyn Source = &before.bytes.as_slice();
    let planned = plan(source, &layout, file, ParseLimits::default(), &refused);
    assert!(matches!(planned, Err(ParseError::Read(_))));
}
