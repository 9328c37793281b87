use super::*;

use crate::support::prelude::*;

#[test]
fn what_cannot_be_done_is_told_and_changes_nothing() {
    let server = TestApp::start(None);
    let one = files(1);
    store(&server, &one);
    let study = one[0].0.study.as_str();
    let good = change(&[study], &patient("A", "B"));
    for (body, part) in [
        (json!({}), "studyInstanceUids"),
        (change(&[], &patient("A", "B")), "1 to 50"),
        (
            change(&["1.2.x"], &patient("A", "B")),
            "'studyInstanceUids[0]'",
        ),
        (change(&[study], &json!({})), "changeDataset"),
    ] {
        let answer = post(&server, "/v2", &body).expect(400);
        assert!(answer.content_type().starts_with("text/plain"));
        assert!(answer.text().contains(part), "{}", answer.text());
    }
    let wrong = change(
        &[study],
        &json!({ "00080060": { "vr": "CS", "Value": ["MR"] }, "00100030": { "vr": "DA", "Value": ["x"] } }),
    );
    let answer = post(&server, "/v2", &wrong).expect(400);
    assert_eq!(answer.content_type(), "application/dicom+json");
    let comment = |text: &str| json!({ "00000902": { "vr": "LO", "Value": [text] } });
    assert_eq!(
        answer.json(),
        json!({ "00741048": { "vr": "SQ", "Value": [
            comment("DICOM100: (0008,0060) - Updating the tag is not supported."),
            comment("DICOM100: (0010,0030) - Value cannot be parsed as a valid date."),
        ] } })
    );
    let send = |kind: &str, body: &str| {
        server
            .request("POST", "/v2/studies/$bulkUpdate")
            .header("Content-Type", kind)
            .body(body.to_owned())
            .send()
    };
    send("application/dicom+json", &good.to_string()).expect(415);
    send("application/json", "{").expect(400);
    let deep = "[".repeat(100_000);
    send("application/json", &deep).expect(400);
    send("application/json", &" ".repeat(2 << 20)).expect(413);
    assert!(
        metadata(&server, &one[0].0.study_path())
            .iter()
            .all(|i| i["00100020"]["Value"][0] == "P1")
    );
    let header = server
        .request("GET", &format!("/v2{}", one[0].0.path()))
        .header("msdicom-request-original", "maybe")
        .send();
    header.expect(400);
}

#[test]
fn every_root_and_spelling_begins_an_update_and_one_at_a_time_is_under_way() {
    let server = TestApp::start(None);
    let one = files(1);
    store(&server, &one);
    let body = change(&[&one[0].0.study], &patient("A", "B"));
    for path in [
        "/v1/studies/$bulkUpdate",
        "/v2/studies/$bulkupdate",
        "/dicom-web/studies/%24bulkUpdate",
    ] {
        let answer = server
            .request("POST", path)
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .send()
            .expect(202);
        finished(&server, answer.json()["id"].as_str().unwrap());
    }
    // An unknown study is no failure.
    let done = update(&server, &change(&["1.2.999"], &patient("A", "B")));
    assert_eq!(done["status"], "succeeded");
    assert_eq!(done["results"]["studyUpdated"], 0);
}
