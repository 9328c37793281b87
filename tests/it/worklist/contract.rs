//! What the DICOM service's pages print, on `/v1` and `/v2`.

use super::*;
use crate::support::prelude::*;

const ROOTS: [&str; 2] = ["/v1", "/v2"];

#[test]
fn a_workitem_is_created_read_claimed_updated_and_completed() {
    on_each_index(|server| {
        for (number, root) in (1..).zip(ROOTS) {
            let uid = uid(number);
            let item = workitem(&uid, "P1");
            let created = create(server, root, &item).expect(201);
            let url = format!("{}{root}/workitems/{uid}", server.url());
            assert_eq!(created.header("location"), Some(url.as_str()));
            assert_eq!(created.header("content-location"), Some(url.as_str()));
            create(server, root, &item).expect(409);
            let read = server.get_as(&format!("{root}/workitems/{uid}"), "application/dicom+json");
            let read = read.expect(200).json();
            assert_eq!(state(&read), "SCHEDULED");
            // Whole but for its name and the moment: what was sent, what a new one gets, and no transaction.
            let mut read = read;
            assert_eq!(read["00080018"]["Value"][0], uid);
            read["00080018"] = json!("its UID");
            assert!(read["00404010"]["Value"][0].is_string(), "{read}");
            read["00404010"] = json!("the moment");
            assert_json_snapshot!("created", read);

            let transaction = format!("1.2.840.77.{number}");
            let target = format!("{root}/workitems/{uid}");
            let label = json!({ "00741204": { "vr": "LO", "Value": ["Segment it again"] } });
            let updated = send(server, "POST", &target, &label).expect(200);
            assert_eq!(updated.header("content-location"), Some(url.as_str()));
            send(server, "POST", &format!("{target}?{transaction}"), &label).expect(400);
            for state in ["COMPLETED", "CANCELED", "SCHEDULED"] {
                change_state(server, root, &uid, state, &transaction).expect(400);
            }
            change_state(server, root, &uid, "IN PROGRESS", &transaction).expect(200);
            change_state(server, root, &uid, "IN PROGRESS", &transaction).expect(400);
            change_state(server, root, &uid, "IN PROGRESS", "1.2.840.77.99").expect(400);
            send(server, "POST", &target, &label).expect(400);
            send(server, "POST", &format!("{target}?1.2.3"), &label).expect(400);
            // Not before the final state has what it needs.
            let early = change_state(server, root, &uid, "COMPLETED", &transaction).expect(400);
            assert!(early.text().contains("0074,1216"), "{}", early.text());
            let by_transaction = format!("{target}?{transaction}");
            send(server, "POST", &by_transaction, &performed()).expect(200);
            change_state(server, root, &uid, "COMPLETED", "1.2.3").expect(400);
            change_state(server, root, &uid, "COMPLETED", &transaction).expect(200);
            let again = change_state(server, root, &uid, "COMPLETED", &transaction).expect(200);
            let warning = again.header("warning").unwrap_or_default();
            assert!(
                warning.contains("requested state of COMPLETED"),
                "{warning}"
            );
            send(server, "POST", &by_transaction, &label).expect(400);
            change_state(server, root, &uid, "CANCELED", &transaction).expect(400);
        }
    });
}

#[test]
fn the_log_names_no_transaction() {
    let server = Server::with(&[("STOWAGE_LOG", "stowage=trace,hyper=trace,info")]);
    let (uid, transaction) = (uid(1), "1.2.840.77.1");
    create(&server, "/v2", &workitem(&uid, "P1")).expect(201);
    change_state(&server, "/v2", &uid, "IN PROGRESS", transaction).expect(200);
    let target = format!("/v2/workitems/{uid}");
    let by_transaction = format!("{target}?{transaction}");
    send(&server, "POST", &by_transaction, &performed()).expect(200);
    send(&server, "POST", &format!("{target}?1.2.3"), &performed()).expect(400);
    change_state(&server, "/v2", &uid, "COMPLETED", transaction).expect(200);
    assert!(!server.log().contains(transaction), "{}", server.log());
}

#[test]
fn a_request_to_cancel_is_answered_by_the_state() {
    on_each_index(|server| {
        for (number, root) in (10..).zip(ROOTS) {
            let (scheduled, claimed) = (uid(number), uid(number + 10));
            for uid in [&scheduled, &claimed] {
                create(server, root, &workitem(uid, "P1")).expect(201);
            }
            let reason = json!({ "00741238": { "vr": "LT", "Value": ["not needed"] } });
            let cancel = |uid: &str| {
                let target = format!("{root}/workitems/{uid}/cancelrequest");
                send(server, "POST", &target, &reason)
            };
            cancel(&scheduled).expect(202);
            let item = read(server, &scheduled);
            assert_eq!(state(&item), "CANCELED");
            let progress = &item["00741002"]["Value"][0];
            let code = &progress["0074100E"]["Value"][0];
            assert_eq!(code["00741238"]["Value"][0], "not needed");
            assert!(progress["00404052"]["Value"][0].is_string());
            let again = cancel(&scheduled).expect(409);
            let warning = again.header("warning").unwrap_or_default();
            assert!(warning.contains("requested state of CANCELED"), "{warning}");
            let label = json!({ "00741204": { "vr": "LO", "Value": ["x"] } });
            send(
                server,
                "POST",
                &format!("{root}/workitems/{scheduled}"),
                &label,
            )
            .expect(409);

            change_state(server, root, &claimed, "IN PROGRESS", "1.2.3").expect(200);
            cancel(&claimed).expect(400);
            let target = format!("{root}/workitems/{claimed}?1.2.3");
            send(server, "POST", &target, &given_up()).expect(200);
            change_state(server, root, &claimed, "CANCELED", "1.2.3").expect(200);
            cancel(&uid(99)).expect(404);
            change_state(server, root, &uid(99), "IN PROGRESS", "1.2.3").expect(404);
            send(
                server,
                "POST",
                &format!("{root}/workitems/{}", uid(99)),
                &label,
            )
            .expect(400);
        }
    });
}

#[test]
fn what_breaks_the_contract_is_refused_with_the_attribute() {
    let server = TestApp::start(None);
    let good = workitem(&uid(1), "P1");
    let refused = |item: &Value, status: u16, reported: &str| {
        for root in ROOTS {
            let answer = create(&server, root, item).expect(status);
            assert!(
                answer.text().contains(reported),
                "{reported}: {}",
                answer.text()
            );
        }
    };
    for tag in ["00741200", "00741204", "00404005", "00404041"] {
        let mut item = good.clone();
        item[tag] = json!({ "vr": good[tag]["vr"] });
        refused(&item, 400, &format!("{},{}", &tag[..4], &tag[4..]));
        item.as_object_mut().unwrap().remove(tag);
        refused(&item, 400, "with a value");
    }
    for tag in [
        "00741210", "0040A370", "00100010", "00081195", "00741216", "00380014",
    ] {
        let mut item = good.clone();
        item.as_object_mut().unwrap().remove(tag);
        refused(&item, 400, &format!("{},{}", &tag[..4], &tag[4..]));
    }
    let changed = |changes: Value| with(good.clone(), &changes);
    refused(
        &changed(json!({ "00081195": { "vr": "UI", "Value": ["1.2"] } })),
        400,
        "no value",
    );
    refused(
        &changed(json!({ "00100020": { "vr": "LO" } })),
        400,
        "0010,0020",
    );
    refused(
        &changed(json!({ "0020000D": { "vr": "UI" } })),
        400,
        "0020,000D",
    );
    let state = json!({ "00741000": { "vr": "CS", "Value": ["COMPLETED"] } });
    refused(&changed(state), 400, "SCHEDULED");
    let mut meaningless = code("A");
    meaningless.as_object_mut().unwrap().remove("00080104");
    refused(
        &changed(json!({ "00404018": sequence(&[meaningless]) })),
        400,
        "Code Meaning",
    );
    refused(
        &changed(json!({ "00080018": { "vr": "UI", "Value": ["a.b"] } })),
        400,
        "UID",
    );
    refused(
        &changed(json!({ "00741200": { "vr": "CS", "Value": [{}] } })),
        400,
        "00741200",
    );
    refused(
        &changed(json!({ "7FE00010": { "vr": "OW", "BulkDataURI": "x" } })),
        400,
        "7FE00010",
    );
    for root in ROOTS {
        let target = format!("{root}/workitems");
        let post = |target: &str, media: &str, body: &str| {
            let request = server
                .request("POST", target)
                .accept("application/dicom+json");
            request.header("Content-Type", media).body(body).send()
        };
        for body in ["[]", "{}", "[{},{}]", "nonsense", "", &good.to_string()] {
            post(&target, "application/dicom+json", body).expect(400);
        }
        post(&target, "application/dicom+xml", "<a/>").expect(415);
        post(&target, "application/dicom", "").expect(415);
        post(
            &format!("{target}?1.2.3"),
            "application/dicom+json",
            &json!([good]).to_string(),
        )
        .expect(400);
        let deep = "[{\"00081084\":{\"vr\":\"SQ\",\"Value\":".repeat(100);
        post(&target, "application/dicom+json", &deep).expect(400);
        server
            .get_as(&format!("{target}/x"), "application/dicom+json")
            .expect(400);
        server
            .get_as(&format!("{target}/1.2"), "application/dicom+json")
            .expect(404);
        server
            .get_as(&format!("{target}/1.2"), "image/png")
            .expect(406);
        server.get_as(&target, "application/dicom+json").expect(204);
    }
    // The UID may stand in the URL alone.
    let mut unnamed = good.clone();
    unnamed.as_object_mut().unwrap().remove("00080018");
    create(&server, "/v2", &unnamed).expect(400);
    send(&server, "POST", "/v2/workitems?1.2.3.4", &unnamed).expect(201);
    server.get("/v2/workitems/1.2.3.4").expect(200);
}

#[test]
fn an_update_changes_no_identity_and_replaces_sequences_as_a_whole() {
    let server = TestApp::start(None);
    let uid = uid(1);
    create(&server, "/v2", &workitem(&uid, "P1")).expect(201);
    let target = format!("/v2/workitems/{uid}");
    for (tag, element) in [
        ("00741000", json!({ "vr": "CS", "Value": ["COMPLETED"] })),
        ("00080018", json!({ "vr": "UI", "Value": ["1.2"] })),
        ("00080016", json!({ "vr": "UI", "Value": ["1.2"] })),
        ("00100020", json!({ "vr": "LO", "Value": ["P2"] })),
        (
            "00100010",
            json!({ "vr": "PN", "Value": [{ "Alphabetic": "Q" }] }),
        ),
        ("0040A370", json!({ "vr": "SQ" })),
        ("00741200", json!({ "vr": "CS" })),
    ] {
        let refused = send(&server, "POST", &target, &json!({ tag: element })).expect(400);
        let reported = format!("{},{}", &tag[..4], &tag[4..]);
        assert!(refused.text().contains(&reported), "{}", refused.text());
    }
    let stations = json!({ "00404025": sequence(&[code("A"), code("B")]) });
    send(&server, "POST", &target, &stations).expect(200);
    let item = read(&server, &uid);
    assert_eq!(item["00404025"]["Value"].as_array().unwrap().len(), 2);
    assert_eq!(item["00404018"]["Value"].as_array().unwrap().len(), 1);
}
