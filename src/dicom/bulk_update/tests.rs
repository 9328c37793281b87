use serde_json::json;

use super::*;

fn refused(body: &Value) -> String {
    match parse_body(body) {
        Err(BulkUpdateProblem::Body(text)) => text,
        Err(BulkUpdateProblem::Attributes(list)) => {
            let each = |(tag, reason): &(Tag, String)| format!("{} {reason}", tag::hex(*tag));
            list.iter().map(each).collect::<Vec<_>>().join("|")
        }
        Ok(update) => format!("accepted: {update:?}"),
    }
}

#[test]
fn a_request_is_read_in_any_case_and_survives_its_text() {
    let body = json!({
        "StudyInstanceUIDs": ["1.2", "1.3", "1.2"],
        "changedataset": {
            "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "New^Name" }] },
            "00100020": { "vr": "LO", "Value": ["P2 "] },
            "00081030": { "Value": ["Größe"] },
        },
        "unknown": 1,
    });
    let update = parse_body(&body).unwrap();
    assert_eq!(update.studies.len(), 2);
    let texts: Vec<_> = update
        .change
        .edits
        .iter()
        .map(|e| e.text.as_str())
        .collect();
    assert_eq!(texts, ["Größe", "New^Name", "P2"]);
    let text = update.change.to_text().unwrap();
    assert_eq!(InstanceChange::from_text(&text), Some(update.change));
    assert_eq!(UPDATABLE.len(), 36);
    assert!(UPDATABLE.windows(2).all(|two| two[0].0 < two[1].0));
}

#[test]
fn a_body_that_is_wrong_is_told_what_to_send() {
    let change = json!({ "00100020": { "vr": "LO", "Value": ["P"] } });
    let many: Vec<String> = (0..51).map(|n| format!("1.{n}")).collect();
    for (body, part) in [
        (json!([]), "must be a JSON object"),
        (
            json!({ "changeDataset": change }),
            "'studyInstanceUids' in request body is missing",
        ),
        (
            json!({ "studyInstanceUids": [], "changeDataset": change }),
            "has 0 studies",
        ),
        (
            json!({ "studyInstanceUids": many, "changeDataset": change }),
            "has 51 studies",
        ),
        (
            json!({ "studyInstanceUids": ["1.2", "x"], "changeDataset": change }),
            "'studyInstanceUids[1]'",
        ),
        (
            json!({ "studyInstanceUids": [5], "changeDataset": change }),
            "'studyInstanceUids[0]'",
        ),
        (
            json!({ "studyInstanceUids": ["1.2"] }),
            "'changeDataset' in request body is missing",
        ),
        (
            json!({ "studyInstanceUids": ["1.2"], "changeDataset": {} }),
            "at least one attribute",
        ),
        (
            json!({ "studyInstanceUids": ["1.2"], "changeDataset": { "PatientID": {} } }),
            "eight hexadecimal digits",
        ),
        (
            json!({ "studyInstanceUids": ["1.2"], "seriesInstanceUid": "1", "changeDataset": change }),
            "whole studies only",
        ),
        (
            json!({ "studyInstanceUids": ["1.2"], "seriesInstanceUid": "a", "changeDataset": change }),
            "'seriesInstanceUid'",
        ),
    ] {
        let text = refused(&body);
        assert!(text.contains(part), "{body}: {text}");
    }
}

#[test]
fn attributes_that_cannot_be_changed_are_named() {
    for (name, element, reason) in [
        (
            "00080060",
            json!({ "vr": "CS", "Value": ["MR"] }),
            "Updating the tag is not supported.",
        ),
        (
            "00100010",
            json!({ "vr": "LO", "Value": ["A"] }),
            "Value representation must be PN.",
        ),
        (
            "00100030",
            json!({ "vr": "DA", "Value": ["2024"] }),
            "Value cannot be parsed as a valid date.",
        ),
        (
            "00100020",
            json!({ "vr": "LO", "Value": ["A", "B"] }),
            "Attribute has several values but may have only one.",
        ),
        (
            "00100020",
            json!({ "vr": "LO" }),
            "An attribute cannot be set to null: send a value.",
        ),
        (
            "00100020",
            json!({ "vr": "LO", "Value": [" "] }),
            "An attribute cannot be set to null: send a value.",
        ),
        (
            "00100020",
            json!({ "vr": "LO", "Value": ["A\\B"] }),
            "Value contains invalid character.",
        ),
        (
            "00100020",
            json!({ "vr": "LO", "Value": [{}] }),
            "Value cannot be one of LO.",
        ),
        (
            "00100020",
            json!("x"),
            "It must be an object with 'vr' and 'Value'.",
        ),
    ] {
        let body = json!({ "studyInstanceUids": ["1.2"], "changeDataset": { name: element } });
        assert_eq!(refused(&body), format!("{name} {reason}"));
    }
    let body = json!({ "studyInstanceUids": ["1.2"], "changeDataset": {
        "00100040": { "vr": "CS", "Value": ["ABCDEFGHIJKLMNOPQ"] }, "00080005": {} } });
    let text = refused(&body);
    assert!(text.starts_with("00080005 Updating"), "{text}");
    assert!(text.contains("|00100040 Value length exceeds"), "{text}");
}

#[test]
fn uids_change_at_one_level_with_those_above() {
    let ui = |uid: &str| json!({ "vr": "UI", "Value": [uid] });
    let (study, series, sop) = ("0020000D", "0020000E", "00080018");
    let body = |scope: &Value, change: Value| {
        let mut body = json!({ "studyInstanceUids": ["1.2"], "changeDataset": change });
        for (name, value) in scope.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let (of_series, of_instance) = (
        json!({ "seriesInstanceUid": "1.2.1" }),
        json!({ "seriesInstanceUid": "1.2.1", "sopInstanceUid": "1.2.1.1" }),
    );
    let none = json!({});
    for (scope, change) in [
        (&none, json!({ study: ui("2.1") })),
        (&of_series, json!({ study: ui("2.1"), series: ui("2.2") })),
        (
            &of_instance,
            json!({ study: ui("2.1"), series: ui("2.2"), sop: ui("2.3") }),
        ),
    ] {
        let update = parse_body(&body(scope, change)).unwrap();
        assert!(update.change.moves());
        assert_eq!(update.change.new_study(), Some("2.1"));
    }
    for (scope, change, part) in [
        (
            &none,
            json!({ study: ui("2.1"), series: ui("2.2") }),
            "0020000D alone",
        ),
        (&none, json!({ sop: ui("2.1") }), "0020000D alone"),
        (
            &of_series,
            json!({ study: ui("2.1") }),
            "0020000D and 0020000E",
        ),
        (
            &of_series,
            json!({ study: ui("2.1"), series: ui("2.2"), sop: ui("2.3") }),
            "name 'sopInstanceUid'",
        ),
        (
            &of_instance,
            json!({ sop: ui("2.3") }),
            "0020000D, 0020000E and 00080018",
        ),
        (
            &json!({ "sopInstanceUid": "1.2.1.1" }),
            json!({ sop: ui("2.3") }),
            "'seriesInstanceUid' in request body is missing",
        ),
        (
            &none,
            json!({ study: ui("2.1"), "00100020": { "vr": "LO", "Value": ["P"] } }),
            "in one request",
        ),
        (&none, json!({ study: ui("not a uid") }), "not a valid UID"),
    ] {
        let text = refused(&body(scope, change.clone()));
        assert!(text.contains(part), "{change}: {text}");
    }
    let two = json!({ "studyInstanceUids": ["1.2", "1.3"], "changeDataset": { study: ui("2.1") } });
    assert!(refused(&two).contains("one study at a time"));
}
