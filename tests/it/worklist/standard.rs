//! What PS3.18 chapter 11 says, on `/dicom-web`.

use super::*;

use crate::support::prelude::*;

const ROOT: &str = "/dicom-web";

#[test]
fn what_does_not_fit_the_state_is_409_with_a_warning() {
    on_each_index(|server| {
        let uid = uid(1);
        create(server, ROOT, &workitem(&uid, "P1")).expect(201);
        let target = format!("{ROOT}/workitems/{uid}");
        let label = json!({ "00741204": { "vr": "LO", "Value": ["x"] } });
        let warned = |answer: Response, status: u16, reported: &str| {
            let answer = answer.expect(status);
            let warning = answer.header("warning").unwrap_or_default();
            assert!(warning.contains(reported), "{reported}: {warning}");
        };
        let change =
            |state: &str, transaction: &str| change_state(server, ROOT, &uid, state, transaction);
        warned(change("COMPLETED", "1.2"), 409, "inconsistent");
        change("IN PROGRESS", "1.2").expect(200);
        warned(change("IN PROGRESS", "1.2"), 409, "inconsistent");
        warned(send(server, "POST", &target, &label), 409, "is missing");
        let wrong = format!("{target}?transaction-uid=1.3");
        warned(send(server, "POST", &wrong, &label), 409, "is incorrect");
        // In the query by name or bare, or in the data set.
        for (query, body) in [
            ("?transaction-uid=1.2", json!({})),
            ("?1.2", json!({})),
            ("", json!({ "00081195": { "vr": "UI", "Value": ["1.2"] } })),
        ] {
            let body = with(label.clone(), &body);
            send(server, "POST", &format!("{target}{query}"), &body).expect(200);
        }
        warned(change("CANCELED", "1.2"), 409, "inconsistent");
        let by_transaction = format!("{target}?1.2");
        // A step that made nothing lists no output.
        let mut done = performed();
        done["00741216"]["Value"][0]["00404033"] = json!({ "vr": "SQ" });
        send(server, "POST", &by_transaction, &done).expect(200);
        warned(change("COMPLETED", "1.3"), 409, "is incorrect");
        change("COMPLETED", "1.2").expect(200);
        warned(
            change("COMPLETED", "1.2"),
            200,
            "requested state of COMPLETED",
        );
        warned(change("CANCELED", "1.2"), 409, "inconsistent");
        warned(
            send(server, "POST", &by_transaction, &label),
            409,
            "inconsistent",
        );
        let cancel = format!("{target}/cancelrequest");
        warned(
            send(server, "POST", &cancel, &json!({})),
            409,
            "inconsistent",
        );
        send(server, "POST", &format!("{ROOT}/workitems/1.9"), &label).expect(404);
        change("SCHEDULED", "1.2").expect(400);
        // No Transaction UID is kept or told.
        let item = read(server, &uid);
        assert_eq!(state(&item), "COMPLETED");
        assert!(item.get("00081195").is_none(), "{item}");
        let all = server.get(&format!("{ROOT}/workitems?includefield=all"));
        assert!(!all.text().contains("00081195"), "{}", all.text());
    });
}

#[test]
fn a_request_to_cancel_reaches_who_performs() {
    on_each_index(|server| {
        let (claimed, scheduled) = (uid(1), uid(2));
        for uid in [&claimed, &scheduled] {
            create(server, ROOT, &workitem(uid, "P1")).expect(201);
        }
        change_state(server, ROOT, &claimed, "IN PROGRESS", "1.2").expect(200);
        for (uid, then) in [(&claimed, "IN PROGRESS"), (&scheduled, "CANCELED")] {
            // Neither reasons nor a body are needed.
            let target = format!("{ROOT}/workitems/{uid}/cancelrequest");
            server.request("POST", &target).send().expect(202);
            assert_eq!(state(&read(server, uid)), then);
        }
    });
}

#[test]
fn what_a_new_workitem_lacks_is_added_with_a_warning() {
    let server = TestApp::start(None);
    let short = json!({
        "00404005": { "vr": "DT", "Value": ["20260401083000"] },
        "00404041": { "vr": "CS", "Value": ["READY"] },
        "00741200": { "vr": "CS", "Value": ["HIGH"] },
        "00741202": { "vr": "LO", "Value": ["AI"] },
        "00741204": { "vr": "LO", "Value": ["Segment"] },
    });
    let created = send(&server, "POST", "/dicom-web/workitems?1.2.3", &short).expect(201);
    let warning = created.header("warning").unwrap_or_default();
    assert!(warning.contains("created with modifications"), "{warning}");
    let item = read(&server, "1.2.3");
    assert_eq!(state(&item), "SCHEDULED");
    assert_eq!(item["00741202"]["Value"][0], "AI");
    assert_eq!(item["00100020"], json!(null));
    assert_eq!(item["00741216"], json!({ "vr": "SQ" }));
    // What belongs to the end cannot stand at the beginning.
    let done = with(with(short.clone(), &performed()), &json!({}));
    send(&server, "POST", "/dicom-web/workitems?1.2.4", &done).expect(400);
    let gone = with(short.clone(), &given_up());
    send(&server, "POST", "/dicom-web/workitems?1.2.4", &gone).expect(400);
    let complete = with(
        workitem("1.2.5", "P"),
        &json!({
            "00741000": { "vr": "CS", "Value": ["SCHEDULED"] },
            "00741202": { "vr": "LO", "Value": ["AI"] },
        }),
    );
    let created = create(&server, ROOT, &complete).expect(201);
    assert_eq!(created.header("warning"), None);
    // One data set needs no array.
    let target = format!("{ROOT}/workitems?1.2.6");
    let request = server
        .request("POST", &target)
        .header("Content-Type", "application/json");
    request.body(short.to_string()).send().expect(201);
}

#[test]
fn workitems_come_and_go_as_xml_too() {
    let server = TestApp::start(None);
    let uid = uid(1);
    create(&server, ROOT, &workitem(&uid, "P1")).expect(201);
    let target = format!("{ROOT}/workitems/{uid}");
    let xml = server.get_as(&target, "application/dicom+xml").expect(200);
    assert_eq!(xml.header("content-type"), Some("application/dicom+xml"));
    let text = xml.text();
    assert!(
        text.contains("tag=\"00741000\"") && text.contains("Segment the liver"),
        "{text}"
    );
    // It is good for creating another one.
    let copy = text.replace(&uid, "1.2.3.9");
    let copy = copy.replace(
        "<DicomAttribute tag=\"00404010\"",
        "<DicomAttribute tag=\"00404011\"",
    );
    let request = server.request("POST", &format!("{ROOT}/workitems"));
    let request = request.header("Content-Type", "application/dicom+xml");
    request.body(copy).send().expect(201);
    let other = read(&server, "1.2.3.9");
    assert_eq!(other["00404025"], read(&server, &uid)["00404025"]);
    let accept = "multipart/related; type=\"application/dicom+xml\"";
    let all = server
        .get_as(&format!("{ROOT}/workitems"), accept)
        .expect(200);
    assert_eq!(all.text().matches("<NativeDicomModel").count(), 2);
    // Under the service's roots a workitem is an object, here an array of one.
    let json = |root: &str| {
        let target = format!("{root}/workitems/{uid}");
        server
            .get_as(&target, "application/dicom+json")
            .expect(200)
            .json()
    };
    assert_eq!(json("/dicom-web")[0], json("/v2"));
}
