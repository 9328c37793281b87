//! Extended query tags and operations over HTTP (dicom-service §11, §12).

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use crate::support::prelude::*;
use crate::support::server::on_each_index_process;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

/// An instance with a Patient's Age, an Institution Name and a private number.
fn file(study: u32, age: &str, institution: &str) -> BuiltFile {
    let name = Name::new(study, 1, 1);
    let data_set = name.data_set().set(
        DataSet::new()
            .text(Tag(0x0008, 0x0080), VR::LO, institution)
            .text(Tag(0x0009, 0x0010), VR::LO, "MAKER ONE")
            .text(Tag(0x0009, 0x1001), VR::LO, &format!("part {study}"))
            .text(Tag(0x0010, 0x1010), VR::AS, age),
    );
    name.file(&data_set, Syntax::ExplicitLittle)
}

fn post(server: &Deployment, root: &str, body: &Value) -> Response {
    server
        .request("POST", &format!("{root}/extendedquerytags"))
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .send()
}

fn patch(server: &Deployment, tag: &str, body: &Value) -> Response {
    server
        .request("PATCH", &format!("/v2/extendedquerytags/{tag}"))
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .send()
}

fn delete(server: &Deployment, tag: &str) -> Response {
    let target = format!("/v2/extendedquerytags/{tag}");
    server.request("DELETE", &target).send()
}

/// Asks for an operation until it is done; each answer on the way is one of an operation that makes progress.
#[track_caller]
fn finished(server: &Deployment, target: &str) -> Value {
    let mut percent = 0;
    let mut done = Value::Null;
    wait_until("the operation is done", || {
        let answer = server.get(target);
        let body = answer.json();
        let now = body["percentComplete"].as_u64().expect("a number");
        assert!((percent..=100).contains(&now), "{body}");
        percent = now;
        if answer.status == 202 {
            assert!(["notStarted", "running"].contains(&body["status"].as_str().unwrap_or("")));
            let location = answer
                .header("location")
                .expect("where it can be asked for");
            assert!(location.ends_with(target), "{location} {target}");
            return false;
        }
        assert_eq!(answer.status, 200, "{body}");
        done = body;
        true
    });
    assert_eq!(done["percentComplete"], 100);
    done
}

/// Adds tags and waits until they are ready.
#[track_caller]
fn add(server: &Deployment, root: &str, body: &Value) -> Value {
    let answer = post(server, root, body).expect(202);
    let url = answer.header("location").expect("a location").to_owned();
    let reported = answer.json();
    assert_eq!(reported["href"], json!(url));
    let id = reported["id"].as_str().expect("an id");
    assert_eq!(url, format!("{}{root}/operations/{id}", server.url()));
    finished(server, &format!("{root}/operations/{id}"))
}

/// Last numbers of the studies that a search finds.
#[track_caller]
fn studies(server: &Deployment, root: &str, query: &str) -> Vec<u32> {
    super::qido::numbers(&server.get(&format!("{root}/studies?{query}")), "0020000D")
}

#[test]
fn a_tag_makes_what_was_stored_before_and_after_searchable() {
    on_each_index(|server| {
        let before: Vec<BuiltFile> = (1..=5)
            .map(|n| file(n, if n < 3 { "030Y" } else { "040Y" }, "Spital Süd"))
            .collect();
        server.store("/dicom-web", &before).expect(200);
        // Before: the standard's root looks into what is stored and says so, the DICOM service refuses.
        let slow = server.get("/dicom-web/studies?PatientAge=030Y");
        assert_eq!(super::qido::numbers(&slow, "0020000D"), [1, 2]);
        assert!(
            slow.header("warning")
                .is_some_and(|w| w.contains("not indexed"))
        );
        for root in ["/v1", "/v2"] {
            server
                .get(&format!("{root}/studies?PatientAge=030Y"))
                .expect(400);
        }
        let body = json!([
            { "path": "PatientAge", "level": "study" },
            { "Path": "00080080", "VR": "LO", "Level": "Series" },
            { "path": "00091001", "vr": "LO", "privateCreator": "MAKER ONE", "level": "Instance" },
        ]);
        let operation = add(server, "/v2", &body);
        assert_eq!(operation["type"], "reindex");
        assert_eq!(operation["status"], "succeeded");
        let resources: Vec<&str> = operation["resources"]
            .as_array()
            .expect("the tags")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let url = |path: &str| format!("{}/v2/extendedquerytags/{path}", server.url());
        assert_eq!(
            resources,
            [url("00101010"), url("00080080"), url("00091001")]
        );
        // After: the same studies, without a scan.
        let after = file(6, "030Y", "Spital Nord");
        server.store("/v2", [&after]).expect(200);
        for root in ROOTS {
            let fast = server.get(&format!("{root}/studies?PatientAge=030Y"));
            assert_eq!(super::qido::numbers(&fast, "0020000D"), [1, 2, 6], "{root}");
            assert_eq!(fast.header("warning"), None, "{root}");
            assert_eq!(fast.json()[0]["00101010"]["Value"][0], "030Y", "{root}");
            assert_eq!(studies(server, root, "00101010=040Y"), [3, 4, 5]);
            for (path, wanted) in [
                ("/series?InstitutionName=Spital+Nord", vec![6]),
                ("/series?InstitutionName=Spital*d", vec![1, 2, 3, 4, 5, 6]),
                ("/instances?00091001=part+4", vec![4]),
            ] {
                let found = server.get(&format!("{root}{path}"));
                assert_eq!(
                    super::qido::numbers(&found, "0020000D"),
                    wanted,
                    "{root}{path}"
                );
                assert_eq!(found.header("warning"), None, "{root}{path}");
            }
        }
        // What is deleted is gone from the tag's index too.
        server
            .request("DELETE", "/v2/studies/1.2.3.6")
            .send()
            .expect(204);
        assert_eq!(studies(server, "/v2", "PatientAge=030Y"), [1, 2]);
    });
}

#[test]
fn tags_are_listed_shown_and_removed() {
    on_each_index(|server| {
        assert_eq!(
            server.get("/v2/extendedquerytags").expect(200).json(),
            json!([])
        );
        server.store("/v2", [&file(1, "030Y", "A")]).expect(200);
        let body = json!([
            { "path": "00101010", "level": "Study" },
            { "path": "00091001", "vr": "lo", "privateCreator": "MAKER ONE", "level": "instance" },
        ]);
        let operation = add(server, "/v1", &body);
        assert_eq!(operation["status"], "completed");
        let age = json!({
            "path": "00101010", "vr": "AS", "level": "study", "status": "ready", "queryStatus": "enabled"
        });
        for root in ROOTS {
            for path in ["00101010", "PatientAge"] {
                let one = server.get(&format!("{root}/extendedquerytags/{path}"));
                assert_eq!(one.expect(200).json(), age, "{root} {path}");
            }
        }
        let list = server.get("/v2/extendedquerytags").json();
        assert_eq!(list[0], age);
        assert_eq!(list[1]["privateCreator"], "MAKER ONE");
        assert_eq!(list.as_array().map(Vec::len), Some(2));
        let page = server.get("/v2/extendedquerytags?limit=1&offset=1").json();
        assert_eq!(page, json!([list[1]]));
        for (path, status) in [
            ("?limit=0", 400),
            ("?limit=201", 400),
            ("?offset=-1", 400),
            ("?limit=a", 400),
            ("/NoSuchKeyword", 400),
            ("/0010101", 400),
            ("/00081140.00080060", 400),
            ("/00080080", 404),
            ("/00080080/errors", 404),
            ("/00101010/errors?limit=0", 400),
        ] {
            let answer = server.get(&format!("/v2/extendedquerytags{path}"));
            assert_eq!(answer.status, status, "{path}");
        }
        assert_eq!(
            server.get("/v2/extendedquerytags/00101010/errors").json(),
            json!([])
        );
        assert_eq!(delete(server, "00080080").status, 404);
        delete(server, "PatientAge").expect(204);
        delete(server, "PatientAge").expect(404);
        server.get("/v2/studies?PatientAge=030Y").expect(400);
        // It can be added again.
        add(
            server,
            "/v2",
            &json!([{ "path": "00101010", "level": "Study" }]),
        );
        assert_eq!(studies(server, "/v2", "PatientAge=030Y"), [1]);
    });
}

#[test]
fn a_request_to_add_tags_is_refused_with_the_reason() {
    on_each_index(|server| {
        let many: Vec<Value> = (0..129)
            .map(|n| json!({ "path": format!("0018{n:04X}"), "level": "Study" }))
            .collect();
        for (body, words) in [
            (json!([]), "missing"),
            (json!({}), "array"),
            (json!([{ "level": "Study" }]), "'[0].Path'"),
            (json!([{ "path": "00101010" }]), "'[0].Level'"),
            (
                json!([{ "path": "00101010", "level": "Patient" }]),
                "The field '$[0].level' in request body is invalid: Expected value 'Patient' to be one of",
            ),
            (
                json!([{ "path": "NoSuchTag", "level": "Study" }]),
                "NoSuchTag",
            ),
            (
                json!([{ "path": "00101010", "vr": "LO", "level": "Study" }]),
                "AS",
            ),
            (
                json!([{ "path": "00101010", "vr": "XX", "level": "Study" }]),
                "XX",
            ),
            (json!([{ "path": "PatientWeight", "level": "Study" }]), "DS"),
            (json!([{ "path": "00104000", "level": "Study" }]), "LT"),
            (json!([{ "path": "00081140", "level": "Study" }]), "SQ"),
            (
                json!([{ "path": "00081140.00080060", "level": "Study" }]),
                "Sequential",
            ),
            (json!([{ "path": "00091001", "level": "Study" }]), "creator"),
            (
                json!([{ "path": "00091001", "privateCreator": "A", "level": "Study" }]),
                "vr",
            ),
            (
                json!([{ "path": "00101010", "privateCreator": "A", "level": "Study" }]),
                "creator",
            ),
            (
                json!([{ "path": "PatientAge", "level": "Study" }, { "path": "00101010", "level": "Study" }]),
                "before",
            ),
            (
                json!([{ "path": "PatientName", "level": "Study" }]),
                "already",
            ),
            (json!(many), "128"),
        ] {
            for root in ROOTS {
                let answer = post(server, root, &body);
                assert_eq!(answer.status, 400, "{root} {body}");
                assert!(answer.text().contains(words), "{words}: {}", answer.text());
            }
        }
        for content_type in ["text/plain", "application/dicom+json"] {
            server
                .request("POST", "/v2/extendedquerytags")
                .header("Content-Type", content_type)
                .body(r#"[{"path":"00101010","level":"Study"}]"#)
                .send()
                .expect(415);
        }
        server
            .request("POST", "/v2/extendedquerytags")
            .header("Content-Type", "application/json; charset=utf-8")
            .body("[{")
            .send()
            .expect(400);
        // Nothing of all this left a trace.
        assert_eq!(server.get("/v2/extendedquerytags").json(), json!([]));
        let age = json!([{ "path": "00101010", "level": "Study" }]);
        add(server, "/v2", &age);
        let again = post(server, "/v2", &age);
        assert_eq!(again.status, 409);
        assert!(again.content_type().starts_with("text/plain"));
        for (id, status) in [("0123456789abcdef0123456789abcdef", 404), ("nonsense", 404)] {
            server.get(&format!("/v2/operations/{id}")).expect(status);
        }
    });
}

#[test]
fn a_second_request_waits_for_the_operation_of_the_first() {
    on_each_index(|server| {
        let files: Vec<BuiltFile> = (0..400).map(|n| file(2000 + n, "030Y", "A")).collect();
        for files in files.chunks(100) {
            server.store("/dicom-web", files).expect(200);
        }
        let added = post(
            server,
            "/v2",
            &json!([{ "path": "00101010", "level": "Study" }]),
        );
        let operation = added.expect(202).json()["id"].as_str().map(str::to_owned);
        let operation = format!("/v2/operations/{}", operation.expect("an id"));
        // It may be done already: then nothing stands in the way.
        let second = post(
            server,
            "/v2",
            &json!([{ "path": "00080080", "level": "Study" }]),
        );
        if second.status == 409 {
            assert!(second.content_type().starts_with("text/plain"));
            let location = second.header("location").expect("which operation");
            assert_eq!(location, format!("{}{operation}", server.url()));
            let shown = server.get("/v2/extendedquerytags/00101010").json();
            if shown["status"] == "adding" {
                let href = format!("{}{operation}", server.url());
                assert_eq!(shown["operation"]["href"], json!(href));
            }
            finished(server, &operation);
        } else {
            second.expect(202);
        }
        finished(server, &operation);
        let shown = server.get("/v2/extendedquerytags/00101010").json();
        assert_eq!(shown["status"], "ready");
        assert_eq!(shown.get("operation"), None);
        assert_eq!(
            studies(server, "/v2", "PatientAge=030Y&limit=200").len(),
            200
        );
        // An id is understood as a GUID too.
        let id = operation.rsplit('/').next().expect("an id");
        let guid = format!(
            "{}-{}-{}-{}-{}",
            &id[..8],
            &id[8..12],
            &id[12..16],
            &id[16..20],
            &id[20..]
        );
        server
            .get(&format!("/v1/operations/{}", guid.to_uppercase()))
            .expect(200);
    });
}

#[test]
fn values_that_cannot_be_indexed_are_errors_until_someone_allows_the_tag() {
    on_each_index(|server| {
        let files = [
            file(1, "030Y", "A"),
            file(2, "old", "A"),
            file(3, "thirty", "A"),
        ];
        server.store("/dicom-web", &files).expect(200);
        let body = json!([{ "path": "PatientAge", "level": "Study" }]);
        add(server, "/v2", &body);
        let shown = server.get("/v2/extendedquerytags/PatientAge").json();
        assert_eq!(shown["status"], "ready");
        assert_eq!(shown["queryStatus"], "disabled");
        assert_eq!(shown["errors"]["count"], 2);
        let href = shown["errors"]["href"].as_str().expect("a link");
        let path = href.strip_prefix(server.url()).expect("an absolute link");
        let errors = server.get(path).expect(200).json();
        let failed: Vec<&str> = errors
            .as_array()
            .expect("an array")
            .iter()
            .map(|error| {
                assert!(
                    error["createdTime"]
                        .as_str()
                        .is_some_and(|t| t.contains('T'))
                );
                let message = error["errorMessage"].as_str().expect("a reason");
                // What is wrong, without the value.
                assert!(
                    !message.contains("old") && !message.contains("thirty"),
                    "{message}"
                );
                assert_eq!(error["seriesInstanceUid"].as_str().map(str::len), Some(9));
                assert_eq!(error["sopInstanceUid"].as_str().map(str::len), Some(11));
                error["studyInstanceUid"].as_str().expect("a UID")
            })
            .collect();
        assert_eq!(failed, ["1.2.3.2", "1.2.3.3"]);
        let second = server.get(&format!("{path}?limit=1&offset=1")).json();
        assert_eq!(second, json!([errors[1]]));
        for root in ["/v1", "/v2"] {
            server
                .get(&format!("{root}/studies?PatientAge=030Y"))
                .expect(400);
        }
        // The standard's root needs no tag: it looks into what is stored.
        assert_eq!(studies(server, "/dicom-web", "PatientAge=030Y"), [1]);
        for body in [
            json!({}),
            json!([]),
            json!({ "queryStatus": "perhaps" }),
            json!({ "queryStatus": 1 }),
            json!({ "queryStatus": "enabled", "vr": "LO" }),
            json!({ "level": "Study" }),
        ] {
            assert_eq!(patch(server, "PatientAge", &body).status, 400, "{body}");
        }
        let enable = json!({ "queryStatus": "Enabled" });
        assert_eq!(patch(server, "00080080", &enable).status, 404);
        let shown = patch(server, "PatientAge", &enable).expect(200).json();
        assert_eq!(shown["queryStatus"], "enabled");
        assert_eq!(shown["errors"]["count"], 2);
        for root in ROOTS {
            let found = server.get(&format!("{root}/studies?PatientAge=030Y"));
            assert_eq!(super::qido::numbers(&found, "0020000D"), [1], "{root}");
            assert_eq!(found.header("erroneous-dicom-attributes"), Some("00101010"));
        }
        let disable = json!({ "queryStatus": "disabled" });
        patch(server, "PatientAge", &disable).expect(200);
        server.get("/v2/studies?PatientAge=030Y").expect(400);
    });
}

#[test]
fn under_v1_an_instance_whose_tagged_value_cannot_be_indexed_is_refused() {
    on_each_index(|server| {
        add(
            server,
            "/v2",
            &json!([{ "path": "PatientAge", "level": "Study" }]),
        );
        let refused = server.store("/v1", [&file(1, "old", "A")]);
        assert_eq!(refused.status, 409);
        let reason = &refused.json()["00081198"]["Value"][0]["00081197"]["Value"][0];
        assert_eq!(reason, 43264);
        server.store("/v1", [&file(2, "030Y", "A")]).expect(200);
        // The others store it; it is just not found by the tag.
        server
            .store("/dicom-web", [&file(3, "old", "A")])
            .expect(200);
        let warned = server.store("/v2", [&file(4, "old", "A")]);
        assert_eq!(warned.status, 202);
        assert_eq!(studies(server, "/v2", "PatientAge=030Y"), [2]);
    });
}

#[test]
fn indexing_survives_a_crash() {
    on_each_index_process(&[], |server| {
        let files: Vec<BuiltFile> = (0..600)
            .map(|n| file(3000 + n, if n % 3 == 0 { "030Y" } else { "040Y" }, "A"))
            .collect();
        for files in files.chunks(100) {
            server.store("/dicom-web", files).expect(200);
        }
        let added = post(
            server,
            "/v2",
            &json!([{ "path": "PatientAge", "level": "Study" }]),
        );
        let id = added.expect(202).json()["id"]
            .as_str()
            .expect("an id")
            .to_owned();
        server.kill();
        server.wait();
        server.restart();
        // What is stored meanwhile counts too.
        server
            .store("/dicom-web", [&file(3600, "030Y", "A")])
            .expect(200);
        finished(server, &format!("/v2/operations/{id}"));
        let found = server.get("/dicom-web/studies?PatientAge=030Y");
        assert_eq!(found.header("warning"), None);
        let mut wanted: Vec<u32> = (0..600).step_by(3).map(|n| 3000 + n).collect();
        wanted.push(3600);
        assert_eq!(super::qido::numbers(&found, "0020000D"), wanted);
        let shown = server.get("/v2/extendedquerytags/PatientAge").json();
        assert_eq!(shown["status"], "ready");
        assert_eq!(shown.get("errors"), None);
    });
}
