//! Reading and writing of data sets.

use super::*;
use crate::dicom::codec::transfer_syntax::EXPLICIT_LE;
use proptest::prelude::*;

fn elements() -> Elements {
    let mut elements = Elements::new();
    let mut put = |tag: Tag, json: &str| elements.insert(tag, json.to_owned());
    put(
        tags::QUERY_RETRIEVE_LEVEL,
        r#"{"vr":"CS","Value":["STUDY"]}"#,
    );
    put(
        tags::PATIENT_NAME,
        r#"{"vr":"PN","Value":[{"Alphabetic":"Müller^Änne","Ideographic":"x"}]}"#,
    );
    put(tags::ROWS, r#"{"vr":"US","Value":[512]}"#);
    put(tags::NUMBER_OF_FRAMES, r#"{"vr":"IS","Value":[12]}"#);
    put(
        tags::FRAME_INCREMENT_POINTER,
        r#"{"vr":"AT","Value":["00181063"]}"#,
    );
    put(tags::STUDY_DATE, r#"{"vr":"DA"}"#);
    put(
        tags::REFERENCED_STUDY_SEQUENCE,
        r#"{"vr":"SQ","Value":[{"00081150":{"vr":"UI","Value":["1.2"]}},{"00081150":{"vr":"UI","Value":["1.3"]}}]}"#,
    );
    elements
}

#[test]
fn what_is_written_is_read_back_in_both_syntaxes_and_character_sets() {
    for syntax in [IMPLICIT_LE, EXPLICIT_LE] {
        for (terms, used) in [
            ("", "ISO_IR 192"),
            ("ISO_IR 100", "ISO_IR 100"),
            ("ISO_IR 144", "ISO_IR 192"),
        ] {
            let written = write(elements(), syntax, terms);
            let read = Identifier::read(&written, syntax).unwrap();
            assert_eq!(read.terms, used, "{terms}");
            assert_eq!(read.get(tags::PATIENT_NAME), "Müller^Änne=x");
            assert_eq!(read.get(tags::ROWS), "512");
            assert_eq!(read.get(tags::NUMBER_OF_FRAMES), "12");
            assert_eq!(read.get(tags::FRAME_INCREMENT_POINTER), "00181063");
            let inner: Vec<_> = read.keys.iter().filter(|key| key.path.len() == 2).collect();
            assert_eq!(inner.len(), 2);
            assert_eq!((inner[0].item, inner[0].value.as_str()), (1, "1.2"));
            assert_eq!((inner[1].item, inner[1].value.as_str()), (2, "1.3"));
        }
    }
}

#[test]
fn sequences_of_undefined_length_and_empty_ones_are_keys() {
    let mut bytes = Vec::new();
    crate::dicom::explicit_vr::head(
        &mut bytes,
        tags::REFERENCED_STUDY_SEQUENCE,
        VR::SQ,
        UNDEFINED,
    );
    crate::dicom::explicit_vr::item(&mut bytes, ITEM, UNDEFINED);
    crate::dicom::explicit_vr::head(&mut bytes, tags::REFERENCED_SOP_CLASS_UID, VR::UI, 0);
    crate::dicom::explicit_vr::item(&mut bytes, ITEM_END, 0);
    crate::dicom::explicit_vr::item(&mut bytes, SEQUENCE_END, 0);
    crate::dicom::explicit_vr::head(&mut bytes, tags::PROCEDURE_CODE_SEQUENCE, VR::SQ, 0);
    let read = Identifier::read(&bytes, EXPLICIT_LE).unwrap();
    let paths: Vec<_> = read.keys.iter().map(|key| key.path.clone()).collect();
    let (sequence, inner) = (
        tags::REFERENCED_STUDY_SEQUENCE,
        tags::REFERENCED_SOP_CLASS_UID,
    );
    assert_eq!(
        paths,
        [vec![sequence, inner], vec![tags::PROCEDURE_CODE_SEQUENCE]]
    );
}

#[test]
fn nesting_is_bounded() {
    let mut bytes = Vec::new();
    for _ in 0..1000 {
        crate::dicom::explicit_vr::head(
            &mut bytes,
            tags::REFERENCED_STUDY_SEQUENCE,
            VR::SQ,
            UNDEFINED,
        );
        crate::dicom::explicit_vr::item(&mut bytes, ITEM, UNDEFINED);
    }
    assert!(Identifier::read(&bytes, EXPLICIT_LE).is_err());
}

proptest! {
    #[test]
    fn a_truncated_or_changed_data_set_is_an_error_or_a_value(at in 0_usize..400, byte: u8, implicit: bool) {
        let syntax = if implicit { IMPLICIT_LE } else { EXPLICIT_LE };
        let mut written = write(elements(), syntax, "");
        let _ = Identifier::read(&written[..at.min(written.len())], syntax);
        if let Some(place) = written.get_mut(at) {
            *place = byte;
        }
        let _ = Identifier::read(&written, syntax);
    }
}
