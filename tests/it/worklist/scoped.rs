//! Callers who are limited to patients or studies: workitems of others do not exist.

use super::*;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with as claim, with_secret};

#[test]
fn a_limited_caller_sees_and_changes_the_workitems_of_its_patients_only() {
    let settings = [
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
    ];
    on_each_index_with(&settings, |server| {
        let token = |claims| with_secret(SECRET.as_bytes(), &claims);
        let admin = token(claims("admin"));
        let of_patient = token(claim(claims("admin"), "dicom_patients", json!(["P1"])));
        let of_study = token(claim(claims("admin"), "dicom_studies", json!(["1.5.1"])));
        let by = |request: Request, token: &str| {
            request.header("Authorization", &format!("Bearer {token}"))
        };
        let create = |token: &str, item: &serde_json::Value| {
            let request = by(server.request("POST", "/v2/workitems"), token);
            let request = request.header("Content-Type", "application/dicom+json");
            request.accept("*/*").body(json!([item]).to_string()).send()
        };
        let request = |study: &str| json!({ "0020000D": { "vr": "UI", "Value": [study] } });
        let two = with(
            workitem(&uid(2), "P2"),
            &json!({ "0040A370": sequence(&[request("1.5.1"), request("1.5.1")]) }),
        );
        let both = with(
            workitem(&uid(3), "P2"),
            &json!({ "0040A370": sequence(&[request("1.5.1"), request("1.5.2")]) }),
        );
        create(&of_patient, &workitem(&uid(1), "P1")).expect(201);
        create(&of_patient, &two).expect(403);
        create(&admin, &two).expect(201);
        create(&admin, &both).expect(201);
        for (token, sees) in [(&of_patient, 1), (&of_study, 2)] {
            for root in ["/v2", "/dicom-web"] {
                let all = by(server.request("GET", &format!("{root}/workitems")), token);
                let all = all
                    .accept("application/dicom+json")
                    .send()
                    .expect(200)
                    .json();
                let uids: Vec<&str> = all
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|i| i["00080018"]["Value"][0].as_str().unwrap())
                    .collect();
                assert_eq!(uids, [uid(sees)]);
                for number in 1..=3 {
                    let target = format!("{root}/workitems/{}", uid(number));
                    let read = by(server.request("GET", &target), token)
                        .accept("*/*")
                        .send();
                    assert_eq!(
                        read.status,
                        if number == sees { 200 } else { 404 },
                        "{target}"
                    );
                    if number == sees {
                        continue;
                    }
                    let write = |method: &str, target: &str, body: serde_json::Value| {
                        let request = by(server.request(method, target), token);
                        let request = request.header("Content-Type", "application/dicom+json");
                        request.body(json!([body]).to_string()).send().status
                    };
                    let missing = if root == "/v2" { 400 } else { 404 };
                    let label = json!({ "00741204": { "vr": "LO", "Value": ["x"] } });
                    assert_eq!(write("POST", &target, label), missing);
                    let claim = json!({ "00081195": { "vr": "UI", "Value": ["1.2"] }, "00741000": { "vr": "CS", "Value": ["IN PROGRESS"] } });
                    assert_eq!(write("PUT", &format!("{target}/state"), claim), 404);
                    assert_eq!(
                        write("POST", &format!("{target}/cancelrequest"), json!({})),
                        404
                    );
                }
            }
        }
    });
}
