use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn entries_become_tags() {
    let body = json!([
        {"path": "PatientSex", "level": "study"},
        {"Path": "00180022", "VR": "cs", "Level": "Series", "privateCreator": null},
        {"PATH": "00191008", "vr": "LO", "PrivateCreator": "SIEMENS MR HEADER ", "LEVEL": "INSTANCE"},
        {"path": "00280106", "vr": "SS", "level": "Instance", "status": "ignored"},
        {"path": "00190010", "level": "Instance"},
    ]);
    let tags = parse_body(&body).unwrap();
    let seen: Vec<_> = tags
        .iter()
        .map(|t| (t.path.as_str(), t.vr, t.level))
        .collect();
    assert_eq!(
        seen,
        [
            ("00100040", VR::CS, QueryLevel::Study),
            ("00180022", VR::CS, QueryLevel::Series),
            ("00191008", VR::LO, QueryLevel::Instance),
            ("00280106", VR::SS, QueryLevel::Instance),
            ("00190010", VR::LO, QueryLevel::Instance),
        ]
    );
    assert_eq!(tags[0].tag_path(), TagPath::from(Tag(0x0010, 0x0040)));
    let step = tags[2].tag_path().0.remove(0);
    assert_eq!(
        (step.tag, step.creator.as_deref()),
        (Tag(0x0019, 0x0008), Some("SIEMENS MR HEADER"))
    );
}

#[test]
fn bad_entries_are_refused_in_the_words_of_the_service() {
    let long = "9".repeat(1000);
    for (entry, expected) in [
        (
            json!({"path": "00100040"}),
            "The field '[0].Level' in request body is invalid: The Dicom Tag Property Level must be specified and must not be null, empty or whitespace.",
        ),
        (
            json!({"path": " ", "level": "Study"}),
            "The field '[0].Path' in request body is invalid: The Dicom Tag Property Path must be specified and must not be null, empty or whitespace.",
        ),
        (
            json!({"Path": "00100040", "Level": "Studys"}),
            "The field '$[0].Level' in request body is invalid: Expected value 'Studys' to be one of the following values: ['Instance', 'Series', 'Study']",
        ),
        (
            json!({"path": 1, "level": "Study"}),
            "The field '$[0].path' in request body is invalid: A text is expected.",
        ),
        (
            json!({"path": "Foo", "level": "Study"}),
            "The extended query tag 'Foo' is invalid as it cannot be parsed into a valid Dicom Tag.",
        ),
        (
            json!({"path": "00100099", "level": "Study"}),
            "The extended query tag '00100099' is invalid as it cannot be parsed into a valid Dicom Tag.",
        ),
        (
            json!({"path": "00400275.00400009", "level": "Study"}),
            "Sequential dicom tags are currently not supported.",
        ),
        (
            json!({"path": "PatientID", "level": "Study"}),
            "The query tag 'PatientID' is already supported.",
        ),
        (
            json!({"path": "00100040", "level": "Study", "privateCreator": "X"}),
            "The private creator is not empty for standard tag '00100040'.",
        ),
        (
            json!({"path": "00190010", "level": "Study", "privateCreator": "X"}),
            "The private creator is not empty for private identification code '00190010'.",
        ),
        (
            json!({"path": "00191008", "vr": "LO", "level": "Study"}),
            "The private creator for private tag '00191008' is missing.",
        ),
        (
            json!({"path": "00191008", "vr": "LO", "level": "Study", "privateCreator": "a\u{1}"}),
            "The private creator for tag '00191008' is not a valid LO attribute.",
        ),
        (
            json!({"path": "00191008", "level": "Study", "privateCreator": "X"}),
            "The vr for tag '00191008' is missing.",
        ),
        (
            json!({"path": "00100040", "vr": "XX", "level": "Study"}),
            "The VR code 'XX' for tag '00100040' is invalid.",
        ),
        (
            json!({"path": "00100040", "vr": "LO", "level": "Study"}),
            "The VR code 'LO' is incorrectly specified for '00100040'. The expected VR code for it is 'CS'. Retry this request either with the correct VR code or without specifying it.",
        ),
        (
            json!({"path": "PatientWeight", "level": "Study"}),
            "The VR code 'DS' specified for tag 'PatientWeight' is not supported.",
        ),
        (
            json!({"path": "PixelData", "level": "Instance"}),
            "The VR code 'OW' specified for tag 'PixelData' is not supported.",
        ),
    ] {
        let problem = parse_body(&json!([entry])).unwrap_err();
        assert_eq!(problem.to_string(), expected);
    }
    for vr in [
        "LT", "ST", "UT", "UC", "UR", "SQ", "OB", "UN", "SV", "UV", "AT", "DS",
    ] {
        let entry =
            json!([{"path": "00191008", "vr": vr, "level": "Study", "privateCreator": "X"}]);
        assert!(
            matches!(
                parse_body(&entry),
                Err(QueryTagProblem::VrUnsupported { .. })
            ),
            "{vr}"
        );
    }
    assert_eq!(parse_body(&json!([])), Err(QueryTagProblem::Nothing));
    assert_eq!(parse_body(&json!({})), Err(QueryTagProblem::Body));
    assert_eq!(parse_body(&json!([1])), Err(QueryTagProblem::Body));
    let twice =
        json!([{"path": "00100040", "level": "Study"}, {"path": "PatientSex", "level": "Series"}]);
    assert_eq!(
        parse_body(&twice),
        Err(QueryTagProblem::Duplicate("PatientSex".to_owned()))
    );
    let many: Vec<_> = (0..129)
        .map(|_| json!({"path": "00100040", "level": "Study"}))
        .collect();
    assert_eq!(
        parse_body(&Value::from(many)),
        Err(QueryTagProblem::TooMany)
    );
    let problem = parse_body(&json!([{"path": long, "level": "Study"}])).unwrap_err();
    assert!(problem.to_string().len() < 200);
}

proptest! {
    #[test]
    fn any_entry_is_read_or_refused(path in "[0-9A-F]{8}|.{0,20}", vr in "[A-Z]{2}|.{0,4}", creator in ".{0,80}", level in "Study|.{0,8}") {
        let body = json!([{"path": path, "vr": vr, "privateCreator": creator, "level": level}]);
        if let Ok(tags) = parse_body(&body) {
            prop_assert!(SUPPORTED.contains(&tags[0].vr));
            prop_assert!(!tags[0].tag_path().0.is_empty());
        }
    }
}
