//! Bulk update over HTTP (dicom-service §13): attributes of whole studies and UIDs, changed in the stored instances.

mod crash;
mod nodes;
mod requests;
mod scopes;
mod uids;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, DataSet, Syntax};

use crate::support::dicom::noise;
use crate::support::prelude::*;
use crate::support::server::on_each_index_process;

const JPEG: Syntax = Syntax::Other("1.2.840.10008.1.2.4.50");

/// Instances of a study in every encoding there is.
fn files(study: u32) -> Vec<(Name, BuiltFile)> {
    let syntaxes = [
        Syntax::ImplicitLittle,
        Syntax::ExplicitLittle,
        Syntax::ExplicitBig,
        Syntax::Deflated,
        JPEG,
    ];
    let file = |(number, syntax): (u32, Syntax)| {
        let name = Name::new(study, 1 + number % 2, number);
        let own = DataSet::new()
            .text(Tag(0x0008, 0x1030), VR::LO, "Before")
            .text(Tag(0x0008, 0x0060), VR::CS, "CT")
            .text(Tag(0x0010, 0x1010), VR::AS, "030Y");
        let data_set = name.image(8, 8, 16, 1).set(own);
        let data_set = match syntax {
            JPEG => data_set.fragments(&[], &[b"not a picture, but bytes"]),
            _ => data_set.bytes(Tag(0x7FE0, 0x0010), VR::OW, noise(&name.instance, 128)),
        };
        (name.clone(), name.file(&data_set, syntax))
    };
    (1_u32..).zip(syntaxes).map(file).collect()
}

fn store(server: &Deployment, files: &[(Name, BuiltFile)]) {
    server
        .store("/dicom-web", files.iter().map(|(_, file)| file))
        .expect(200);
}

fn post(server: &Deployment, root: &str, body: &Value) -> Response {
    server
        .request("POST", &format!("{root}/studies/$bulkUpdate"))
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .send()
}

/// Updates and waits for the end; returns the operation.
#[track_caller]
fn update(server: &Deployment, body: &Value) -> Value {
    let answer = post(server, "/v2", body).expect(202);
    let url = answer.header("location").expect("a location").to_owned();
    let told = answer.json();
    assert_eq!(told["href"], json!(url));
    let id = told["id"].as_str().expect("an id");
    assert_eq!(url, format!("{}/v2/operations/{id}", server.url()));
    finished(server, id)
}

/// Waits for the end of an operation.
#[track_caller]
fn finished(server: &Deployment, id: &str) -> Value {
    let mut done = Value::Null;
    wait_until("the update is done", || {
        let answer = server.get(&format!("/v2/operations/{id}"));
        done = answer.json();
        answer.status == 200
    });
    assert_eq!(done["type"], "update");
    assert_eq!(done["percentComplete"], 100);
    done
}

fn change(studies: &[&str], change: &Value) -> Value {
    json!({ "studyInstanceUids": studies, "changeDataset": change })
}

/// A new patient.
fn patient(name: &str, id: &str) -> Value {
    json!({
        "00100010": { "vr": "PN", "Value": [{ "Alphabetic": name }] },
        "00100020": { "vr": "LO", "Value": [id] },
    })
}

fn metadata(server: &Deployment, path: &str) -> Vec<Value> {
    let answer = server.get_as(&format!("/v2{path}/metadata"), "application/dicom+json");
    answer.expect(200).json().as_array().unwrap().clone()
}

fn original(server: &Deployment, target: &str, accept: &str) -> Response {
    server
        .request("GET", target)
        .header("msdicom-request-original", "true")
        .accept(accept)
        .send()
}

const FILE: &str = "application/dicom; transfer-syntax=*";
const FILES: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

#[test]
fn a_study_is_updated_and_everything_knows_it_at_once() {
    on_each_index_process(&[], |server| {
        let (one, other) = (files(1), files(2));
        store(server, &one);
        store(server, &other);
        let tag = json!([{ "path": "PatientAge", "level": "study" }]);
        let tagged = server
            .request("POST", "/v2/extendedquerytags")
            .header("Content-Type", "application/json")
            .body(tag.to_string())
            .send()
            .expect(202);
        let id = tagged.json()["id"].as_str().unwrap().to_owned();
        wait_until("the tag is indexed", || {
            server.get(&format!("/v2/operations/{id}")).status == 200
        });
        let study = &one[0].0;
        let frames = |name: &Name| {
            let accept = "multipart/related; type=\"application/octet-stream\"; transfer-syntax=*, \
                          multipart/related; type=\"image/jpeg\"; transfer-syntax=*";
            let target = format!("/dicom-web{}/frames/1", name.path());
            let mut parts = server.get_as(&target, accept).expect(200).parts();
            parts.remove(0).body
        };
        let pixels: Vec<_> = one.iter().map(|(name, _)| frames(name)).collect();
        let before = metadata(server, &study.study_path());
        let etag = |path: &str| {
            let answer = server.get_as(&format!("/v2{path}/metadata"), "application/dicom+json");
            answer.header("etag").unwrap().to_owned()
        };
        let old = (etag(&study.study_path()), etag(&study.path()));
        let mut new = patient("Größe^山田", "P 7");
        new["00081030"] = json!({ "vr": "LO", "Value": ["After"] });
        new["00101010"] = json!({ "vr": "AS", "Value": ["031Y"] });
        let done = update(server, &change(&[&study.study], &new));
        assert_eq!(done["status"], "succeeded", "{done}");
        assert_eq!(
            done["results"],
            json!({ "studyProcessed": 1, "studyUpdated": 1, "studyFailed": 0, "instanceUpdated": 5 })
        );
        assert_eq!(
            done["resources"],
            json!([format!("{}/v2/studies/{}", server.url(), study.study)])
        );
        // Searches, by what is indexed and by a tag.
        for (query, expected) in [
            ("PatientID=P+7", vec![1]),
            ("PatientID=P1", vec![2]),
            ("PatientName=Gr%C3%B6%C3%9Fe*", vec![1]),
            ("StudyDescription=After", vec![1]),
            ("StudyDescription=Before", vec![2]),
            ("PatientAge=031Y", vec![1]),
            ("PatientAge=030Y", vec![2]),
        ] {
            let found = server.get(&format!("/dicom-web/studies?{query}"));
            assert_eq!(
                super::qido::numbers(&found, "0020000D"),
                expected,
                "{query}"
            );
        }
        // Metadata: nothing else changed.
        let after = metadata(server, &study.study_path());
        let changed: Vec<Value> = before
            .iter()
            .map(|instance| {
                let mut instance = instance.clone();
                for (name, value) in new.as_object().unwrap() {
                    instance[name] = value.clone();
                }
                instance["00080005"] = json!({ "vr": "CS", "Value": ["ISO_IR 192"] });
                instance
            })
            .collect();
        assert_eq!(after, changed);
        for ((name, file), pixels) in one.iter().zip(&pixels) {
            // The data set of the file, its transfer syntax, its pixels.
            let now = server
                .get_as(&format!("/v2{}", name.path()), FILE)
                .expect(200);
            let parsed = stowage::dicom::parse::parse(
                &now.body.as_slice(),
                &stowage::dicom::parse::ParseOptions::default(),
            )
            .unwrap();
            let was = stowage::dicom::parse::parse(
                &file.bytes.as_slice(),
                &stowage::dicom::parse::ParseOptions::default(),
            )
            .unwrap();
            assert_eq!(parsed.layout.transfer_syntax, was.layout.transfer_syntax);
            assert!(parsed.metadata.text.contains("Größe^山田"));
            assert_eq!(&frames(name), pixels);
            // The first version, byte for byte.
            let first = original(server, &format!("/v2{}", name.path()), FILE).expect(200);
            assert!(first.body == file.bytes, "{}", name.instance);
            assert!(
                first
                    .headers("vary")
                    .concat()
                    .contains("msdicom-request-original")
            );
        }
        assert_ne!((etag(&study.study_path()), etag(&study.path())), old);
        for path in [study.study_path(), study.series_path()] {
            let all = original(server, &format!("/v2{path}"), FILES).expect(200);
            for part in all.parts() {
                assert!(one.iter().any(|(_, file)| file.bytes == part.body));
            }
        }
        let firsts = original(
            server,
            &format!("/v2{}/metadata", study.study_path()),
            "application/dicom+json",
        );
        assert_eq!(firsts.expect(200).json().as_array().unwrap(), &before);
        // The feed, and once more: the first version stays.
        let feed = server.get("/v2/changefeed?includeMetadata=false").json();
        let of_study = |action: &str, state: &str| {
            let entries = feed.as_array().unwrap().iter();
            let matching = entries.filter(|e| {
                e["studyInstanceUid"] == json!(study.study)
                    && e["action"] == action
                    && e["state"] == state
            });
            matching.count()
        };
        assert_eq!(
            (
                of_study("Update", "Current"),
                of_study("Create", "Replaced")
            ),
            (5, 5),
            "{feed}"
        );
        update(server, &change(&[&study.study], &patient("Third", "P3")));
        let first = original(server, &format!("/v2{}", study.path()), FILE).expect(200);
        assert!(first.body == one[0].1.bytes);
        assert_eq!(
            super::qido::numbers(&server.get("/v2/studies?PatientID=P3"), "0020000D"),
            [1]
        );
        // Another one was never updated: its first version is the one that is stored.
        let first = original(server, &format!("/v2{}", other[0].0.path()), FILE).expect(200);
        assert!(first.body == other[0].1.bytes);
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
        // What goes, goes with its first version.
        let delete = format!("/v2{}", study.study_path());
        server.request("DELETE", &delete).send().expect(204);
        original(server, &format!("/v2{}", study.path()), FILE).expect(404);
        server.fsck();
    });
}

#[test]
fn an_upsert_ends_the_first_version_and_the_index_can_be_made_anew() {
    on_each_index(|server| {
        let one = files(1);
        store(server, &one);
        let name = &one[1].0;
        update(server, &change(&[&name.study], &patient("New", "P2")));
        let replaced = name.with_bulk(300);
        let body = multipart::body([replaced.bytes.as_slice()]);
        server
            .request("PUT", "/v2/studies")
            .header("Content-Type", &multipart::content_type())
            .accept("application/dicom+json")
            .body(body)
            .send()
            .expect(200);
        let first = original(server, &format!("/v2{}", name.path()), FILE).expect(200);
        assert!(first.body == replaced.bytes);
        let other = original(server, &format!("/v2{}", one[0].0.path()), FILE).expect(200);
        assert!(other.body == one[0].1.bytes);
        server.fsck();
    });
}

#[test]
fn an_instance_that_cannot_be_changed_fails_its_study_alone() {
    on_each_index(|server| {
        let (one, other) = (files(1), files(2));
        store(server, &one);
        let damaged: Vec<_> = server.blob_files();
        store(server, &other);
        let bytes = std::fs::read(&damaged[0]).unwrap();
        let mut wrong = bytes.clone();
        *wrong.last_mut().unwrap() ^= 1;
        std::fs::write(&damaged[0], &wrong).unwrap();
        let studies = [
            one[0].0.study.as_str(),
            other[0].0.study.as_str(),
            "1.2.999",
        ];
        let done = update(server, &change(&studies, &patient("New", "P9")));
        assert_eq!(done["status"], "failed");
        assert_eq!(
            done["results"],
            json!({ "studyProcessed": 3, "studyUpdated": 1, "studyFailed": 1, "instanceUpdated": 5,
                "errors": [format!("Failed to update instances for study {}", studies[0])] })
        );
        assert_eq!(
            super::qido::numbers(&server.get("/v2/studies?PatientID=P9"), "0020000D"),
            [2]
        );
        std::fs::write(&damaged[0], &bytes).unwrap();
        // Whole again, it can be updated; what the failure left is on the trash.
        let done = update(server, &change(&studies[..1], &patient("New", "P9")));
        assert_eq!(done["results"]["studyUpdated"], 1);
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
    });
}

#[test]
fn what_is_stored_and_deleted_meanwhile_is_updated_or_gone_and_never_half() {
    on_each_index(|server| {
        let name = |number| Name::new(1, 1, number);
        let first: Vec<_> = (1..=40)
            .map(|n| (name(n), name(n).with_bulk(2000)))
            .collect();
        store(server, &first);
        let answer = post(
            server,
            "/v2",
            &change(&[&name(1).study], &patient("New", "P2")),
        );
        let id = answer.expect(202).json()["id"].as_str().unwrap().to_owned();
        let study = format!("/v2{}/metadata", name(1).study_path());
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for number in 41..=60 {
                    let file = name(number).with_bulk(2000);
                    server.store("/dicom-web", [&file]).expect(200);
                    let gone = format!("/v2{}", name(number - 40).path());
                    server.request("DELETE", &gone).send().expect(204);
                }
            });
            // Every look shows the study before, or after; an instance that comes behind the end is as it was sent.
            loop {
                let running = server.get(&format!("/v2/operations/{id}")).status == 202;
                let seen = server.get_as(&study, "application/dicom+json");
                if seen.status == 200 && running {
                    let seen = seen.json();
                    let ids: Vec<_> = seen
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|i| i["00100020"]["Value"][0].as_str().unwrap().to_owned())
                        .collect();
                    let new = ids.iter().filter(|id| *id == "P2").count();
                    let old: Vec<_> = ids.iter().skip_while(|id| *id == "P2").collect();
                    assert!(new == 0 || old.iter().all(|id| *id == "P1"), "{ids:?}");
                }
                if !running {
                    break;
                }
            }
        });
        let done = finished(server, &id);
        assert_eq!(done["status"], "succeeded");
        let found = server
            .get_as(&study, "application/dicom+json")
            .expect(200)
            .json();
        assert_eq!(found.as_array().unwrap().len(), 40);
        update(server, &change(&[&name(1).study], &patient("New", "P2")));
        let found = server
            .get_as(&study, "application/dicom+json")
            .expect(200)
            .json();
        let all = found.as_array().unwrap();
        assert!(all.iter().all(|i| i["00100020"]["Value"][0] == "P2"));
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
    });
}
