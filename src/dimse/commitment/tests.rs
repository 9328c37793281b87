//! Requests and reports of storage commitment.

use dicom_core::Tag;

use super::report::{CommitmentReport, elements};
use super::*;
use crate::dicom::codec::transfer_syntax::EXPLICIT_LE;
use crate::dimse::dataset::{IdentifierKey, write};

fn key(path: &[Tag], value: &str, item: usize) -> IdentifierKey {
    IdentifierKey {
        path: path.to_vec(),
        value: value.to_owned(),
        item,
    }
}

#[test]
fn a_request_names_a_transaction_and_pairs_of_class_and_instance() {
    let class = [
        tags::REFERENCED_SOP_SEQUENCE,
        tags::REFERENCED_SOP_CLASS_UID,
    ];
    let instance = [
        tags::REFERENCED_SOP_SEQUENCE,
        tags::REFERENCED_SOP_INSTANCE_UID,
    ];
    let mut keys = Identifier {
        keys: vec![
            key(&[tags::TRANSACTION_UID], "1.9", 0),
            key(&class, "1.1", 1),
            key(&instance, "1.2", 1),
            key(&class, "1.1", 2),
            key(&instance, "1.3", 2),
        ],
        terms: String::new(),
    };
    let request = CommitmentRequest::of(&keys).unwrap();
    let instances: Vec<_> = request
        .references
        .iter()
        .map(|r| r.instance.as_str())
        .collect();
    assert_eq!(instances, ["1.2", "1.3"]);
    keys.keys.truncate(1);
    assert!(CommitmentRequest::of(&keys).is_err());
    keys.keys.clear();
    assert!(CommitmentRequest::of(&keys).is_err());
}

#[test]
fn a_report_says_what_is_safe_and_why_the_rest_is_not() {
    let reference = |instance: &str| InstanceReference {
        class: "1.1".to_owned(),
        instance: instance.to_owned(),
    };
    let report = CommitmentReport {
        transaction: "1.9".to_owned(),
        committed: vec![reference("1.2")],
        failed: vec![(reference("1.3"), 0x0112)],
    };
    let written = write(elements(&report, "STOWAGE"), EXPLICIT_LE, "");
    let read = Identifier::read(&written, EXPLICIT_LE).unwrap();
    assert_eq!(read.get(tags::TRANSACTION_UID), "1.9");
    let reason = [tags::FAILED_SOP_SEQUENCE, tags::FAILURE_REASON];
    assert!(
        read.keys
            .iter()
            .any(|k| k.path == reason && k.value == "274")
    );
}
