use super::*;
use crate::support::prelude::*;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with, with_secret};

fn ask(server: &Deployment, method: &str, target: &str, token: &str, body: &str) -> Response {
    server
        .request(method, target)
        .header("Authorization", &format!("Bearer {token}"))
        .header("Content-Type", "application/json")
        .accept("*/*")
        .body(body.to_owned())
        .send()
}

fn wait(server: &Deployment, token: &str, answer: Response) -> (String, Value) {
    let id = answer.expect(202).json()["id"].as_str().unwrap().to_owned();
    let operation = format!("/v2/operations/{id}");
    let mut done = Value::Null;
    wait_until("the export is done", || {
        let answer = ask(server, "GET", &operation, token, "");
        done = answer.json();
        answer.status == 200
    });
    (id, done)
}

#[test]
fn who_is_limited_exports_what_he_may_see_and_learns_nothing_else() {
    let (folder, setting) = destination();
    let settings = [
        ("STOWAGE_JWT_SECRET", SECRET),
        ("STOWAGE_JWT_ISSUER", ISSUER),
        ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
        ("STOWAGE_EXPORT_DESTINATIONS", &setting),
    ];
    on_each_index_with(&settings, |server| {
        let admin = with_secret(SECRET.as_bytes(), &claims("admin"));
        let names = [Name::new(1, 1, 1), Name::new(2, 1, 1)];
        for name in &names {
            server
                .request("POST", "/dicom-web/studies")
                .header("Authorization", &format!("Bearer {admin}"))
                .header("Content-Type", "application/dicom")
                .accept("application/dicom+json")
                .body(name.with_bulk(3000).bytes)
                .send()
                .expect(200);
        }
        let (seen, hidden) = (&names[0], &names[1]);
        let limits = with(claims("admin"), "dicom_studies", json!([seen.study]));
        let limited = with_secret(SECRET.as_bytes(), &limits);
        let send =
            |token: &str, body: &Value| ask(server, "POST", "/v2/export", token, &body.to_string());
        let (id, done) = wait(server, &limited, send(&limited, &to_disk(None)));
        assert_eq!(done["results"]["exported"], 1);
        let mut found = files_below(folder.path());
        found.remove(&format!("{id}/errors.log")).unwrap();
        let file = seen.with_bulk(3000);
        assert!(found == expected(&id, [(seen, &file)]));
        // What is hidden is as what is not there.
        let mut told = Vec::new();
        for study in [hidden.study.as_str(), "1.2.999"] {
            let (id, done) = wait(server, &limited, send(&limited, &to_disk(Some(&[study]))));
            let log = fs::read(folder.path().join(&id).join("errors.log")).unwrap();
            let line = lines(&log)[0]["error"]
                .as_str()
                .unwrap()
                .replace(study, "X");
            assert_eq!(done["results"]["exported"], 0);
            told.push((done["results"]["skipped"].clone(), line));
        }
        assert_eq!(told[0], told[1]);
        // Nor does a stranger learn of the operation.
        let stranger = with(claims("admin"), "dicom_patients", json!(["nobody"]));
        let stranger = with_secret(SECRET.as_bytes(), &stranger);
        let operation = format!("/v2/operations/{id}");
        ask(server, "GET", &operation, &stranger, "").expect(404);
        ask(server, "GET", &operation, &admin, "").expect(200);
        for role in ["reader", "writer"] {
            let token = with_secret(SECRET.as_bytes(), &claims(role));
            send(&token, &to_disk(None)).expect(403);
        }
        fs::remove_dir_all(folder.path()).unwrap();
    });
}

#[test]
fn a_partition_is_exported_by_itself() {
    let (folder, setting) = destination();
    let settings = [
        ("STOWAGE_PARTITIONS", "on"),
        ("STOWAGE_EXPORT_DESTINATIONS", &setting),
    ];
    on_each_index_with(&settings, |server| {
        let name = Name::new(1, 1, 1);
        let files = [name.with_bulk(100), name.with_bulk(200)];
        for (partition, file) in ["north", "south"].iter().zip(&files) {
            let root = format!("/v2/partitions/{partition}");
            server.store(&root, [file]).expect(200);
        }
        let root = "/v2/partitions/south/export";
        let answer = post(server, root, &to_disk(None)).expect(202).json();
        let id = answer["id"].as_str().unwrap().to_owned();
        let done = finished(server, &id);
        assert_eq!(done["results"]["exported"], 1);
        let mut found = files_below(folder.path());
        found.remove(&format!("{id}/errors.log")).unwrap();
        assert!(found == expected(&id, [(&name, &files[1])]));
        post(server, "/v2/export", &to_disk(None)).expect(400);
        post(server, "/v2/partitions/west/export", &to_disk(None)).expect(400);
        fs::remove_dir_all(folder.path().join(&id)).unwrap();
    });
}
