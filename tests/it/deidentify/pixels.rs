//! Pixels of an export: refused, untouched, or blanked where the rules say so.

use std::path::Path;

use dicom_core::{Tag, VR};
use stowage::dicom::parse::{ParseOptions, parse};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use super::{KEY, files, said, write};

use crate::support::prelude::*;

const US: &str = "1.2.840.10008.5.1.4.1.1.6.1";
pub(super) const RULES: &str = r#"{"rules":[{"modality":"US","rows":8,"columns":8,
    "rectangles":[{"x":0,"y":0,"width":8,"height":2}]}]}"#;

/// An ultrasound picture of two frames, 8 × 8 of 8 bits.
pub(super) fn ultrasound(name: &Name) -> DataSet {
    name.image(8, 8, 8, 2)
        .set(DataSet::new().text(Tag(0x0008, 0x0016), VR::UI, US).text(
            Tag(0x0008, 0x0060),
            VR::CS,
            "US",
        ))
}

fn frame(value: u8) -> Vec<u8> {
    (0..64).map(|at| value ^ at).collect()
}

/// A frame whose first two rows are black.
fn blanked(value: u8) -> Vec<u8> {
    let mut frame = frame(value);
    frame[..16].fill(0);
    frame
}

pub(super) fn native(name: &Name, syntax: Syntax) -> BuiltFile {
    let pixels = DataSet::new().bytes(
        Tag(0x7FE0, 0x0010),
        VR::OB,
        [frame(0x80), frame(0xC0)].concat(),
    );
    name.file(&ultrasound(name).set(pixels), syntax)
}

/// The one instance that an export writes, if it does.
fn exported(server: &Deployment, study: &str, rules: Option<&str>) -> (Option<Vec<u8>>, String) {
    let key = write(server, "deidentify.key", KEY);
    let mut settings = vec![("STOWAGE_DEIDENTIFY_KEY_FILE", key.as_str())];
    let rules = rules.map(|rules| write(server, "pixels.json", rules));
    if let Some(rules) = &rules {
        settings.push(("STOWAGE_DEIDENTIFY_PIXELS_FILE", rules));
    }
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let done = server.command_with(&settings, &["export", "--deidentify", "--to", to, study]);
    let file = files(Path::new(to)).pop().map(|(_, bytes)| bytes);
    (file, said(&done))
}

fn frames(file: &[u8]) -> Vec<Vec<u8>> {
    let parsed = parse(&file, &ParseOptions::default()).unwrap();
    let count = parsed.frames.count();
    let slices = (1..=count).filter_map(|number| parsed.frames.frame(number));
    slices
        .map(|slices| {
            let ranges = slices.ranges.iter().map(|range| {
                let start = usize::try_from(range.offset).unwrap();
                let length = usize::try_from(range.length).unwrap();
                file[start..start + length].to_vec()
            });
            ranges.collect::<Vec<_>>().concat()
        })
        .collect()
}

#[test]
fn pictures_that_may_show_text_are_refused_unless_rules_say_where() {
    let server = TestApp::start(None);
    let name = Name::new(8801, 1, 1);
    server
        .store("/dicom-web", [&native(&name, Syntax::ExplicitLittle)])
        .expect(200);
    let (file, text) = exported(&server, &name.study, None);
    assert!(file.is_none() && text.contains("0 instances"), "{text}");
    assert!(text.contains("STOWAGE_DEIDENTIFY_PIXELS_FILE"), "{text}");
    let nothing = r#"{"rules":[{"modality":"US","rectangles":[]}]}"#;
    let (file, _) = exported(&server, &name.study, Some(nothing));
    assert_eq!(frames(&file.unwrap()), [frame(0x80), frame(0xC0)]);
    let (file, _) = exported(&server, &name.study, Some(RULES));
    assert_eq!(frames(&file.unwrap()), [blanked(0x80), blanked(0xC0)]);
}

#[test]
fn rectangles_are_blanked_in_every_native_transfer_syntax() {
    let server = TestApp::start(None);
    let syntaxes = [
        Syntax::ImplicitLittle,
        Syntax::ExplicitBig,
        Syntax::Deflated,
    ];
    for (number, syntax) in (8811..).zip(syntaxes) {
        let name = Name::new(number, 1, 1);
        server
            .store("/dicom-web", [&native(&name, syntax)])
            .expect(200);
        let (file, text) = exported(&server, &name.study, Some(RULES));
        let file = file.unwrap_or_else(|| panic!("{syntax:?}: {text}"));
        // Stored again, so that the server says what its frames are.
        let other = TestApp::start(None);
        let stored = other.request("POST", "/dicom-web/studies");
        stored
            .header("Content-Type", "application/dicom")
            .body(file.clone())
            .send()
            .expect(200);
        let instances = other.get("/dicom-web/instances").expect(200).json();
        let uid = |tag: &str| instances[0][tag]["Value"][0].as_str().unwrap().to_owned();
        let path = format!(
            "/dicom-web/studies/{}/series/{}/instances/{}/frames/2",
            uid("0020000D"),
            uid("0020000E"),
            uid("00080018")
        );
        let frame = other.get_as(&path, "application/octet-stream; transfer-syntax=*");
        assert_eq!(frame.expect(200).body, blanked(0xC0), "{syntax:?}");
    }
}

/// RLE, JPEG-LS and HTJ2K without loss are written back; what would lose something is refused.
#[test]
fn compressed_pictures_are_blanked_where_nothing_else_is_lost() {
    let server = TestApp::start(None);
    for (number, syntax, written) in [
        (8821, "1.2.840.10008.1.2.5", true),
        (8822, "1.2.840.10008.1.2.4.80", true),
        (8823, "1.2.840.10008.1.2.4.201", true),
        (8824, "1.2.840.10008.1.2.4.50", false),
    ] {
        // Compressed by the server itself, and stored again.
        let name = Name::new(number, 1, 1);
        let source = TestApp::start(None);
        source
            .store("/dicom-web", [&native(&name, Syntax::ExplicitLittle)])
            .expect(200);
        let accept = format!("application/dicom; transfer-syntax={syntax}");
        let compressed = source.get_as(&format!("/dicom-web{}", name.path()), &accept);
        let stored = server.request("POST", "/dicom-web/studies");
        stored
            .header("Content-Type", "application/dicom")
            .body(compressed.expect(200).body)
            .send()
            .expect(200);
        let (file, text) = exported(&server, &name.study, Some(RULES));
        let Some(file) = file else {
            assert!(
                !written && text.contains("transfer syntax"),
                "{syntax}: {text}"
            );
            continue;
        };
        assert!(written, "{syntax}");
        let parsed = parse(&file.as_slice(), &ParseOptions::default()).unwrap();
        assert_eq!(parsed.layout.transfer_syntax, syntax);
        let other = TestApp::start(None);
        let again = other.request("POST", "/dicom-web/studies");
        again
            .header("Content-Type", "application/dicom")
            .body(file.clone())
            .send()
            .expect(200);
        let path = format!(
            "/dicom-web/studies/{}/series/{}/instances/{}/frames/2",
            parsed.name.study, parsed.name.series, parsed.name.instance
        );
        let frame = other.get_as(
            &path,
            "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
        );
        assert_eq!(frame.expect(200).body, blanked(0xC0), "{syntax}");
    }
}
