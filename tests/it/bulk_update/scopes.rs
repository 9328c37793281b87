use super::*;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

const SETTINGS: [(&str, &str); 3] = [
    ("STOWAGE_JWT_SECRET", SECRET),
    ("STOWAGE_JWT_ISSUER", ISSUER),
    ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
];

fn ask(server: &Deployment, method: &str, target: &str, token: &str, body: &Value) -> Response {
    server
        .request(method, target)
        .header("Authorization", &format!("Bearer {token}"))
        .header("Content-Type", "application/json")
        .accept("*/*")
        .body(match body {
            Value::Null => String::new(),
            body => body.to_string(),
        })
        .send()
}

#[test]
fn who_may_not_see_a_study_can_neither_update_it_nor_learn_of_it() {
    on_each_index_with(&SETTINGS, |server| {
        let admin = with_secret(SECRET.as_bytes(), &claims("admin"));
        let of = |limit: &str, value: Value| {
            let limited = with(claims("admin"), limit, value);
            with_secret(SECRET.as_bytes(), &limited)
        };
        let (one, other) = (files(1), files(2));
        let all: Vec<_> = one.iter().chain(&other).collect();
        for (_, file) in all {
            server
                .request("POST", "/dicom-web/studies")
                .header("Authorization", &format!("Bearer {admin}"))
                .header("Content-Type", "application/dicom")
                .accept("application/dicom+json")
                .body(file.bytes.clone())
                .send()
                .expect(200);
        }
        let (seen, hidden) = (&one[0].0, &other[0].0);
        let by_study = of("dicom_studies", json!([seen.study]));
        let target = "/v2/studies/$bulkUpdate";
        let wait = |token: &str, answer: Response| {
            let id = answer.expect(202).json()["id"].as_str().unwrap().to_owned();
            let operation = format!("/v2/operations/{id}");
            wait_until("the update is done", || {
                ask(server, "GET", &operation, token, &Value::Null).status == 200
            });
            (
                operation.clone(),
                ask(server, "GET", &operation, token, &Value::Null).json(),
            )
        };
        // What is hidden is as what is not there.
        let mut told = Vec::new();
        for study in [hidden.study.as_str(), "1.2.999"] {
            let body = change(&[study], &patient("Evil", "P1"));
            let (_, mut done) = wait(&by_study, ask(server, "POST", target, &by_study, &body));
            for moment in ["operationId", "createdTime", "lastUpdatedTime", "resources"] {
                done[moment] = Value::Null;
            }
            told.push(done);
        }
        assert_eq!(told[0], told[1]);
        assert_eq!(told[0]["results"]["studyUpdated"], 0);
        // What is seen is updated; others do not see whose operation it was.
        let body = change(&[&seen.study], &patient("Good", "P1"));
        let (operation, done) = wait(&by_study, ask(server, "POST", target, &by_study, &body));
        assert_eq!(done["results"]["instanceUpdated"], 5);
        let stranger = of("dicom_patients", json!(["nobody"]));
        ask(server, "GET", &operation, &stranger, &Value::Null).expect(404);
        ask(server, "GET", &operation, &admin, &Value::Null).expect(200);
        // Nobody moves a study out of his own sight, or into one he does not see.
        let by_patient = of("dicom_patients", json!(["P1"]));
        let away = change(&[&seen.study], &patient("Good", "P2"));
        ask(server, "POST", target, &by_patient, &away).expect(403);
        let uid = |uid: &str| json!({ "0020000D": { "vr": "UI", "Value": [uid] } });
        let elsewhere = change(&[&seen.study], &uid(&hidden.study));
        ask(server, "POST", target, &by_study, &elsewhere).expect(403);
        let changed = change(&[&hidden.study], &patient("Other", "Q"));
        wait(&admin, ask(server, "POST", target, &admin, &changed));
        let (_, done) = wait(
            &by_patient,
            ask(server, "POST", target, &by_patient, &elsewhere),
        );
        assert_eq!(done["status"], "failed", "{done}");
        let reader = with_secret(SECRET.as_bytes(), &claims("reader"));
        ask(server, "POST", target, &reader, &away).expect(403);
    });
}
