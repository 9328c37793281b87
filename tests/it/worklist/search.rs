//! Searching the worklist: every key matches where it stands, by the rules of every search.

use super::*;

use crate::support::prelude::*;

/// Three workitems: of two patients, one of them claimed.
fn fill(server: &Deployment) {
    let request = |accession: &str, procedure: &str| {
        json!({
            "00080050": { "vr": "SH", "Value": [accession] },
            "00401001": { "vr": "SH", "Value": [procedure] },
        })
    };
    let one = json!({
        "00404005": { "vr": "DT", "Value": ["20260401083000"] },
        "00404025": sequence(&[code("CT1"), code("CT2")]),
        "0020000D": { "vr": "UI", "Value": ["1.2.3.4"] },
        "0040A370": sequence(&[request("A1", "R1"), request("A2", "R2")]),
        "00741202": { "vr": "LO", "Value": ["AI"] },
    });
    let two = json!({
        "00404005": { "vr": "DT", "Value": ["20260402100000"] },
        "00404026": sequence(&[code("CLASS")]),
        "00741200": { "vr": "CS", "Value": ["HIGH"] },
    });
    let three = json!({
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎" }] },
        "00404027": sequence(&[code("ROOM")]),
        "00404005": { "vr": "DT", "Value": ["20260403"] },
    });
    for (number, (patient, changes)) in
        (1..).zip([("Müller-1", one), ("Müller-1", two), ("evaluate", three)])
    {
        let item = with(workitem(&uid(number), patient), &changes);
        create(server, "/dicom-web", &item).expect(201);
    }
    change_state(server, "/dicom-web", &uid(3), "IN PROGRESS", "1.9").expect(200);
}

#[test]
fn every_key_matches_by_the_rule_of_its_vr() {
    on_each_index(|server| {
        fill(server);
        #[rustfmt::skip]
        let cases: &[(&str, &[u32])] = &[
            ("", &[1, 2, 3]),
            ("ProcedureStepState=SCHEDULED", &[1, 2]),
            ("ProcedureStepState=IN%20PROGRESS", &[3]),
            ("00741000=S*", &[1, 2]),
            ("ProcedureStepState=COMPLETED", &[]),
            ("PatientID=M%C3%BCller-1", &[1, 2]),
            ("PatientID=*uat*", &[3]),
            ("PatientID=eval?ate", &[3]),
            ("PatientID=evaluat?", &[3]),
            ("PatientID=eval", &[]),
            ("PatientName=YAMADA%5Etarou", &[3]),
            ("PatientName=%E5%B1%B1%E7%94%B0*", &[3]),
            ("PatientName=m%C3%BCller&fuzzymatching=true", &[1, 2]),
            ("PatientName=uller&fuzzymatching=true", &[]),
            ("PatientName=m%C3%BCller-1&fuzzymatching=true", &[1, 2]),
            ("PatientName=unal&fuzzymatching=true", &[1, 2]),
            ("StudyInstanceUID=1.2.3.4", &[1]),
            ("StudyInstanceUID=1.2.3.4,1.2.3.5", &[1]),
            ("ScheduledProcedureStepStartDateTime=20260402", &[2]),
            ("ScheduledProcedureStepStartDateTime=20260402-", &[2, 3]),
            ("ScheduledProcedureStepStartDateTime=-2026040209", &[1]),
            ("ScheduledProcedureStepStartDateTime=20260401083000-20260402100000", &[1, 2]),
            ("ReferencedRequestSequence.AccessionNumber=A1", &[1]),
            ("0040A370.00401001=R2", &[1]),
            ("0040A370.00080050=A1&0040A370.00401001=R2", &[]),
            ("0040A370.00080050=A2&0040A370.00401001=R2", &[1]),
            ("0040A370.00080050=A*", &[1]),
            ("ScheduledStationNameCodeSequence.CodeValue=CT2", &[1]),
            ("ScheduledStationNameCodeSequence.CodeValue=STATION?", &[2, 3]),
            ("ScheduledStationClassCodeSequence.CodeValue=CLASS", &[2]),
            ("ScheduledStationGeographicLocationCodeSequence.CodeValue=ROOM", &[3]),
            ("ScheduledWorkitemCodeSequence.CodeValue=SEG&PatientID=Evaluate", &[3]),
            ("ScheduledProcedureStepPriority=HIGH", &[2]),
            ("InputReadinessState=READY&ProcedureStepState=IN%20PROGRESS", &[3]),
            ("PatientBirthDate=19700101-19701231", &[1, 2, 3]),
        ];
        for root in ["/v1", "/v2", "/dicom-web"] {
            for (query, wanted) in cases {
                // The standard tells upper from lower case in an ID.
                let folds = query.contains("Evaluate");
                let wanted: Vec<String> = match (root, folds) {
                    ("/dicom-web", true) => Vec::new(),
                    _ => wanted.iter().map(|number| uid(*number)).collect(),
                };
                assert_eq!(found(server, root, query), wanted, "{root} {query}");
            }
        }
        // The label is the service's own there.
        assert_eq!(found(server, "/dicom-web", "WorklistLabel=AI"), [uid(1)]);
        // Beside the keys of the table the standard's root matches whatever is there.
        assert_eq!(found(server, "/dicom-web", "00741204=Segment*").len(), 3);
        for root in ["/v1", "/v2"] {
            for bad in [
                "Modality=CT",
                "nonsense=1",
                "PatientID=",
                "PatientID=a&00100020=a",
                "limit=0",
                "offset=-1",
                "ScheduledProcedureStepStartDateTime=2026-",
                "ScheduledProcedureStepStartDateTime=x",
                "fuzzymatching=perhaps",
                "includefield=nonsense",
            ] {
                let bad = bad.replace("2026-", "20261301-");
                server.get(&format!("{root}/workitems?{bad}")).expect(400);
            }
        }
        server.get("/v1/workitems?limit=201").expect(400);
        server.get("/v2/workitems?limit=4000").expect(200);
        server.get("/v2/workitems?limit=4001").expect(400);
    });
}

#[test]
fn the_newest_come_first_in_pages_with_the_attributes_asked_for() {
    let server = TestApp::start(None);
    fill(&server);
    for root in ["/v2", "/dicom-web"] {
        let page = |query: &str| {
            server.get_as(
                &format!("{root}/workitems?{query}"),
                "application/dicom+json",
            )
        };
        let first = page("limit=2").expect(200);
        let warning = first.header("warning").unwrap_or_default();
        assert!(
            warning.contains("There are 1 additional results"),
            "{warning}"
        );
        let uids = |answer: &Response| {
            let items = answer.json();
            let items = items.as_array().unwrap().clone();
            let uid = |item: &serde_json::Value| {
                item["00080018"]["Value"][0].as_str().unwrap().to_owned()
            };
            items.iter().map(uid).collect::<Vec<_>>()
        };
        assert_eq!(uids(&first), [uid(3), uid(2)]);
        let second = page("limit=2&offset=2").expect(200);
        assert_eq!(uids(&second), [uid(1)]);
        assert_eq!(second.header("warning"), None);
        let item = |query: &str| {
            page(&format!("StudyInstanceUID=1.2.3.4{query}"))
                .expect(200)
                .json()[0]
                .clone()
        };
        let usual = item("");
        let mut usual = usual;
        assert!(usual["00404010"]["Value"][0].is_string(), "{usual}");
        usual["00404010"] = json!("the moment");
        assert_json_snapshot!(format!("{}_usual", &root[1..]), usual);
        let more = item("&includefield=00400400,UnifiedProcedureStepPerformedProcedureSequence");
        assert!(
            more.get("00741216").is_some() && more.get("00400400").is_some(),
            "{more}"
        );
        let all = item("&includefield=all");
        assert!(all.get("00741216").is_some(), "{all}");
        let whole = read(&server, &uid(1));
        assert_eq!(all, whole);
    }
    assert_eq!(
        server
            .get("/dicom-web/workitems?PatientID=nobody")
            .expect(200)
            .json(),
        json!([])
    );
    server.get("/v2/workitems?PatientID=nobody").expect(204);
}

#[test]
fn a_search_that_would_look_at_too_many_is_413_with_advice() {
    let server = TestApp::with(&[("STOWAGE_MAX_SCAN", "10"), ("STOWAGE_MAX_RESULTS", "20")]);
    for number in 1..=25 {
        create(&server, "/v2", &workitem(&uid(number), "P1")).expect(201);
    }
    let reported = server
        .get("/dicom-web/workitems?00741204=Nothing")
        .expect(413)
        .text();
    assert!(reported.contains("ProcedureStepState"), "{reported}");
    // What columns decide needs no look.
    server
        .get("/dicom-web/workitems?ProcedureStepState=SCHEDULED&limit=3")
        .expect(200);
    server
        .get("/dicom-web/workitems?ProcedureStepState=COMPLETED")
        .expect(200);
    server.get("/dicom-web/workitems").expect(413);
}
