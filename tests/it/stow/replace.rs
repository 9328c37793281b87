//! PUT: what is stored takes the places of what has its UIDs (dicom-service-current §1).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, SOP_CLASS, Syntax};

use super::{failures, items};

use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

/// A file that says something of its own.
fn file(name: &Name, description: &str) -> Vec<u8> {
    let data_set = name
        .data_set()
        .set(DataSet::new().text(Tag(0x0010, 0x0020), VR::LO, "P1"))
        .set(DataSet::new().text(Tag(0x0008, 0x1030), VR::LO, description));
    name.file(&data_set, Syntax::ExplicitLittle).bytes
}

fn send(
    server: &Deployment,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    files: &[&[u8]],
) -> Response {
    let mut request = server
        .request(method, target)
        .header("Content-Type", &multipart::content_type())
        .accept("application/dicom+json");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(multipart::body(files.iter().copied())).send()
}

fn feed(server: &Deployment) -> Vec<(String, String, String)> {
    let entries = server
        .get("/v2/changefeed?limit=200&includeMetadata=false")
        .expect(200)
        .json();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entries = entries.as_array().cloned().unwrap_or_default();
    let entry = |entry: &Value| {
        let [action, instance, state] =
            ["action", "sopInstanceUid", "state"].map(|name| text(&entry[name]));
        (action, instance, state)
    };
    entries.iter().map(entry).collect()
}

#[test]
fn put_creates_and_replaces_with_the_answer_of_post() {
    on_each_index(|server| {
        for (number, root) in (1500..).zip(ROOTS) {
            let (known, new) = (Name::new(number, 1, 1), Name::new(number, 2, 1));
            let old = file(&known, "old");
            send(server, "POST", &format!("{root}/studies"), &[], &[&old]).expect(200);
            let tag = server
                .get(&format!("{root}{}/metadata", known.study_path()))
                .expect(200);
            let tag = tag.header("etag").unwrap().to_owned();

            let (changed, added) = (file(&known, "new"), file(&new, "new"));
            let target = format!("{root}{}", known.study_path());
            let answer = send(server, "PUT", &target, &[], &[&changed, &added]).expect(200);
            // Nothing tells what was replaced from what was created.
            let mut wanted: Vec<Value> = Vec::new();
            for name in [&known, &new] {
                let mut item = json!({
                    "00081150": { "vr": "UI", "Value": [SOP_CLASS] },
                    "00081155": { "vr": "UI", "Value": [name.instance] },
                    "00081190": { "vr": "UR", "Value": [format!("{}{root}{}", server.url(), name.path())] },
                });
                if root == "/v2" {
                    item["00741048"] = json!({ "vr": "SQ" });
                }
                wanted.push(item);
            }
            assert_eq!(items(&answer.json(), "00081199"), wanted);

            assert_eq!(server.stored(&known).as_ref(), Some(&changed));
            assert_eq!(server.stored(&new).as_ref(), Some(&added));
            let metadata = server
                .request("GET", &format!("{root}{}/metadata", known.study_path()))
                .accept("application/dicom+json")
                .header("If-None-Match", &tag)
                .send()
                .expect(200);
            assert!(!metadata.text().contains("\"old\""), "{}", metadata.text());
            assert_eq!(metadata.json().as_array().map(Vec::len), Some(2));
            let counts = server.get(&format!(
                "/dicom-web/studies?StudyInstanceUID={}&includefield=00201208,00201206,00081030",
                known.study
            ));
            let counts = counts.json()[0].clone();
            assert_eq!(counts["00201208"]["Value"][0], 2);
            assert_eq!(counts["00201206"]["Value"][0], 2);
            assert_eq!(counts["00081030"]["Value"][0], "new");

            let mine = |(action, instance, state): &(String, String, String)| {
                (*instance == known.instance).then(|| format!("{action} {state}").to_lowercase())
            };
            let told: Vec<_> = feed(server).iter().filter_map(mine).collect();
            assert_eq!(told, ["create replaced", "update current"]);
        }
        server.fsck();
    });
}

#[test]
fn what_cannot_replace_leaves_what_is_stored() {
    on_each_index(|server| {
        for (number, root) in (1510..).zip(ROOTS) {
            let name = Name::new(number, 1, 1);
            let other = Name::new(number + 40, 1, 1);
            let old = file(&name, "old");
            let target = format!("{root}{}", name.study_path());
            send(server, "PUT", &target, &[], &[&old]).expect(200);
            // The same twice in one request: in order, each with its success.
            let (one, two) = (file(&name, "one"), file(&name, "two"));
            let answer = send(server, "PUT", &target, &[], &[&one, &two]).expect(200);
            assert_eq!(items(&answer.json(), "00081199").len(), 2);
            assert_eq!(server.stored(&name).as_ref(), Some(&two));
            // Of another study; no DICOM.
            let answer = send(server, "PUT", &target, &[], &[&file(&other, "x")]).expect(409);
            assert_eq!(failures(&answer), [Some(43264)]);
            let mut broken = two.clone();
            broken.truncate(200);
            send(server, "PUT", &target, &[], &[&broken]).expect(409);
            assert_eq!(server.stored(&name).as_ref(), Some(&two));
            // POST is as it was.
            let answer = send(server, "POST", &target, &[], &[&one]).expect(409);
            let expected = if root == "/dicom-web" { 0x0111 } else { 45070 };
            assert_eq!(failures(&answer), [Some(expected)]);
            assert_eq!(server.stored(&name).as_ref(), Some(&two));
            assert!(server.stored(&other).is_none());
        }
        server.fsck();
    });
}

#[test]
fn a_store_happens_only_when_the_study_is_as_the_request_says() {
    on_each_index(|server| {
        let name = Name::new(1520, 1, 1);
        let target = format!("/dicom-web{}", name.study_path());
        let tag = |accept: &str| {
            let answer = server
                .get_as(&format!("{target}/metadata"), accept)
                .expect(200);
            answer.header("etag").unwrap().to_owned()
        };
        let put = |headers: &[(&str, &str)], text: &str| {
            send(server, "PUT", &target, headers, &[&file(&name, text)])
        };
        put(&[("If-Match", "*")], "a").expect(412);
        put(&[("If-None-Match", "*")], "a").expect(200);
        put(&[("If-None-Match", "*")], "b").expect(412);
        let first = tag("application/dicom+json");
        put(&[("If-Match", &first)], "b").expect(200);
        let refused = put(&[("If-Match", &first)], "c").expect(412);
        assert_eq!(
            refused.json()["type"],
            "urn:stowage:error:precondition-failed"
        );
        assert_eq!(server.stored(&name), Some(file(&name, "b")));
        // A weak tag, as that of a multipart answer, names no version.
        let weak = tag("multipart/related; type=\"application/dicom+xml\"");
        assert!(weak.starts_with("W/"), "{weak}");
        put(&[("If-Match", &weak)], "c").expect(412);
        let read = tag("application/dicom+json");
        put(&[("If-Match", &format!("\"x\", {read}"))], "c").expect(200);
        put(&[("If-Match", "*")], "d").expect(200);
        put(&[("If-None-Match", "\"1-1\"")], "d").expect(400);
        send(
            server,
            "PUT",
            "/dicom-web/studies",
            &[("If-Match", "*")],
            &[&file(&name, "d")],
        )
        .expect(412);
        // The other roots have no such thing.
        let other = format!("/v2{}", name.study_path());
        send(
            server,
            "PUT",
            &other,
            &[("If-Match", "\"1-1\"")],
            &[&file(&name, "e")],
        )
        .expect(200);

        // Of many who have read the same version one wins.
        let read = tag("application/dicom+json");
        let texts: Vec<String> = (0..6).map(|number| format!("racer {number}")).collect();
        let statuses: Vec<u16> = thread::scope(|scope| {
            let racers: Vec<_> = texts
                .iter()
                .map(|text| scope.spawn(|| put(&[("If-Match", &read)], text).status))
                .collect();
            racers
                .into_iter()
                .map(|racer| racer.join().unwrap())
                .collect()
        });
        let won: Vec<_> = statuses
            .iter()
            .zip(&texts)
            .filter(|(status, _)| **status == 200)
            .collect();
        assert_eq!(won.len(), 1, "{statuses:?}");
        assert!(
            statuses.iter().all(|status| matches!(status, 200 | 412)),
            "{statuses:?}"
        );
        assert_eq!(server.stored(&name), Some(file(&name, won[0].1)));
    });
}

#[test]
fn readers_see_the_old_one_or_the_new_one_whole() {
    on_each_index(|server| {
        let name = Name::new(1530, 1, 1);
        let versions = [
            file(&name, "the old one"),
            file(&name, "the new one, which is longer"),
        ];
        server
            .request("PUT", "/dicom-web/studies")
            .header("Content-Type", "application/dicom")
            .body(versions[0].clone())
            .send()
            .expect(200);
        let done = AtomicBool::new(false);
        let server = &*server;
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let bytes = server.stored(&name).expect("it is always there");
                        assert!(versions.contains(&bytes), "{} bytes", bytes.len());
                        let metadata = server
                            .get(&format!("/dicom-web{}/metadata", name.path()))
                            .expect(200)
                            .json();
                        let text = metadata[0]["00081030"]["Value"][0]
                            .as_str()
                            .unwrap()
                            .to_owned();
                        assert!(
                            text == "the old one" || text == "the new one, which is longer",
                            "{text}"
                        );
                        let found = server.get(&format!(
                            "/dicom-web/instances?SOPInstanceUID={}",
                            name.instance
                        ));
                        assert_eq!(found.json().as_array().map(Vec::len), Some(1));
                    }
                });
            }
            for round in 1..30 {
                let bytes = &versions[round % 2];
                send(server, "PUT", "/v2/studies", &[], &[bytes]).expect(200);
                assert_eq!(server.stored(&name).as_ref(), Some(bytes));
            }
            done.store(true, Ordering::Relaxed);
        });
        server.fsck();
    });
}

#[test]
fn the_blob_of_what_was_replaced_goes_through_the_trash() {
    let settings = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    on_each_index_with(&settings, |server| {
        let name = Name::new(1540, 1, 1);
        for text in ["a", "b", "c"] {
            send(
                server,
                "PUT",
                "/dicom-web/studies",
                &[],
                &[&file(&name, text)],
            )
            .expect(200);
        }
        wait_until("only what is stored is left", || {
            server.blob_files().len() == 1
        });
        assert_eq!(server.stored(&name), Some(file(&name, "c")));
        let counted = server.get("/metrics").text();
        assert!(
            counted.contains("stowage_replaced_instances_total 2"),
            "{counted}"
        );
        // A lost index is rebuilt from what is left.
        assert!(server.fsck().contains(" 0 blobs without a row"));
    });
}

#[test]
fn a_policy_lets_post_replace_what_has_other_bytes() {
    on_each_index_with(&[("STOWAGE_EXISTING", "replace")], |server| {
        for (number, root) in (1550..).zip(ROOTS) {
            let name = Name::new(number, 1, 1);
            let post = |text: &str| {
                send(
                    server,
                    "POST",
                    &format!("{root}/studies"),
                    &[],
                    &[&file(&name, text)],
                )
            };
            post("a").expect(200);
            post("b").expect(200);
            // Whoever sends the same again changes nothing.
            post("b").expect(200);
            assert_eq!(server.stored(&name), Some(file(&name, "b")));
            let told: Vec<_> = feed(server)
                .into_iter()
                .filter(|(_, instance, _)| *instance == name.instance)
                .collect();
            assert_eq!(told.len(), 2, "{told:?}");
        }
    });
}
