//! Scheduled procedure steps over the web: PS3.18 chapter 14, with the entries that DIMSE lists.

use super::*;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with as claim, with_secret};

const STEPS: &str = "/dicom-web/modality-scheduled-procedure-steps";
const JSON: &str = "application/dicom+json";

/// A workitem that a modality shall do.
fn scheduled(number: u32, patient: &str, modality: &str, start: &str) -> Value {
    let changes = json!({
        "00404005": { "vr": "DT", "Value": [start] },
        "00404025": sequence(&[code(&format!("{modality}1"))]),
        "00404026": sequence(&[code(modality)]),
        "0040A370": sequence(&[json!({
            "00080050": { "vr": "SH", "Value": [format!("A{number}")] },
            "0020000D": { "vr": "UI", "Value": [format!("1.2.3.{number}")] },
        })]),
    });
    with(workitem(&uid(number), patient), &changes)
}

fn accessions(answer: &Response) -> Vec<String> {
    let found = answer.json();
    let found = found.as_array().unwrap().iter();
    found
        .map(|entry| entry["00080050"]["Value"][0].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn scheduled_steps_are_searched_over_the_web() {
    on_each_index(|server| {
        for (number, patient, modality, start) in [
            (1, "P1", "CT", "20260401083000"),
            (2, "P2", "MR", "20260402093000"),
            (3, "P1", "CT", "20260403103000"),
            (4, "P3", "CT", "20260404113000"),
        ] {
            let item = scheduled(number, patient, modality, start);
            create(server, "/dicom-web", &item).expect(201);
        }
        // What works on images that are there is no modality's, and what is finished is nobody's.
        let works = json!({ "00404021": sequence(&[json!({ "0020000D": { "vr": "UI", "Value": ["1.2"] } })]) });
        let works = with(scheduled(5, "P1", "CT", "20260401083000"), &works);
        create(server, "/dicom-web", &works).expect(201);
        let canceled = format!("/dicom-web/workitems/{}/cancelrequest", uid(4));
        send(server, "POST", &canceled, &json!({})).expect(202);
        change_state(server, "/dicom-web", &uid(3), "IN PROGRESS", "1.9").expect(200);
        let step = "ScheduledProcedureStepSequence";
        for (query, expected) in [
            (String::new(), &["A3", "A2", "A1"][..]),
            (format!("?{step}.Modality=CT"), &["A3", "A1"]),
            ("?00400100.00080060=MR".to_owned(), &["A2"]),
            (
                format!("?{step}.ScheduledProcedureStepStartDate=20260402-20260403"),
                &["A3", "A2"],
            ),
            (
                format!("?{step}.Modality=CT&{step}.ScheduledProcedureStepStartDate=20260401"),
                &["A1"],
            ),
            (format!("?{step}.ScheduledStationAETitle=MR1"), &["A2"]),
            (
                format!("?{step}.ScheduledProcedureStepStatus=STARTED"),
                &["A3"],
            ),
            ("?PatientID=P1".to_owned(), &["A3", "A1"]),
            ("?PatientName=p2*".to_owned(), &["A2"]),
            ("?AccessionNumber=A2&includefield=all".to_owned(), &["A2"]),
            (
                "?StudyInstanceUID=1.2.3.1,1.2.3.2".to_owned(),
                &["A2", "A1"],
            ),
            ("?limit=1&offset=1".to_owned(), &["A2"]),
            ("?limit=5&offset=3".to_owned(), &[]),
            ("?limit=0".to_owned(), &[]),
            ("?unknown=1".to_owned(), &["A3", "A2", "A1"]),
        ] {
            for root in ["/dicom-web", "/v2"] {
                let target = format!("{root}/modality-scheduled-procedure-steps{query}");
                let answer = server.get_as(&target, JSON).expect(200);
                assert_eq!(accessions(&answer), expected, "{target}");
            }
        }
        let page = server.get_as(&format!("{STEPS}?limit=1"), JSON).expect(200);
        let left = page.header("warning").unwrap_or_default();
        assert!(left.contains("There are 2 additional results"), "{left}");
        let whole = server.get_as(STEPS, JSON).expect(200);
        assert!(whole.header("warning").is_none());
        // Return keys of type 2 of which nothing is known are there too.
        assert_json_snapshot!("step", whole.json()[2]);
        let xml = "multipart/related; type=\"application/dicom+xml\"";
        let parts = server.get_as(STEPS, xml).expect(200).parts();
        assert_eq!(parts.len(), 3);
        assert!(String::from_utf8_lossy(&parts[2].body).contains("20260401"));
        let refused = |target: &str, accept: &str| server.get_as(target, accept).status;
        assert_eq!(refused(STEPS, "image/png"), 406);
        assert_eq!(refused(&format!("{STEPS}?limit=x"), JSON), 400);
        assert_eq!(refused(&format!("{STEPS}?PatientBirthDate=x"), JSON), 400);
        assert_eq!(refused(&format!("{STEPS}/1.2"), JSON), 404);
        assert_eq!(send(server, "POST", STEPS, &json!({})).status, 405);
    });
}

#[test]
fn a_limited_caller_finds_the_scheduled_steps_of_its_patients_only() {
    let settings = [
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ("STOWAGE_MAX_RESULTS", "2"),
    ];
    on_each_index_with(&settings, |server| {
        let token = |claims| with_secret(SECRET.as_bytes(), &claims);
        let admin = token(claims("admin"));
        let limited = token(claim(claims("admin"), "dicom_patients", json!(["P1"])));
        let by = |request: Request, token: &str| {
            request.header("Authorization", &format!("Bearer {token}"))
        };
        for number in 1..=4 {
            let patient = if number == 2 { "P1" } else { "P2" };
            let item = scheduled(number, patient, "CT", "20260401083000");
            let request = by(server.request("POST", "/dicom-web/workitems"), &admin);
            let request = request.header("Content-Type", JSON);
            request.body(json!([item]).to_string()).send().expect(201);
        }
        let ask = |target: &str, token: &str| {
            let request = by(server.request("GET", target), token);
            request.accept(JSON).send()
        };
        assert_eq!(accessions(&ask(STEPS, &limited).expect(200)), ["A2"]);
        let others = format!("{STEPS}?PatientID=P2");
        assert_eq!(accessions(&ask(&others, &limited).expect(200)), [""; 0]);
        // Too many for one answer, unless they are asked for in pages.
        ask(STEPS, &admin).expect(413);
        let page = ask(&format!("{STEPS}?limit=1"), &admin).expect(200);
        assert_eq!(accessions(&page), ["A4"]);
        let left = page.header("warning").unwrap_or_default();
        assert!(left.contains("There are more than 1 additional"), "{left}");
        let nobody = token(claims("nobody"));
        ask(STEPS, &nobody).expect(403);
    });
}
