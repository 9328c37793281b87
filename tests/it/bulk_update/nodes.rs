//! Updates by several nodes of one archive, and archives whose index was lost.

use super::*;
use crate::crash_matrix::expect_crash;

/// The instances of a study as an index made again has them: Patient ID and Series Instance UID of each.
fn seen(server: &Server, study: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value["Value"][0].as_str().unwrap_or_default().to_owned();
    let all = metadata(server, &format!("/studies/{study}"));
    let mut seen: Vec<_> = all
        .iter()
        .map(|i| (text(&i["00100020"]), text(&i["0020000E"])))
        .collect();
    seen.sort();
    seen
}

#[test]
fn another_node_goes_on_with_the_update_of_one_that_is_gone() {
    let blobs = tempfile::tempdir().unwrap();
    let settings = [
        ("STOWAGE_SWEEP_SECONDS", "1"),
        ("STOWAGE_FAULT", "update.prepared:3"),
    ];
    let Some(mut one) = Server::first_node(&blobs, &settings) else {
        return;
    };
    let other = one.second_node(&[]);
    let files = files(1);
    store(&one, &files);
    let study = files[0].0.study.as_str();
    let body = change(&[study], &patient("New", "P2"));
    let answer = post(&one, "/v2", &body).expect(202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    expect_crash(&mut one, "update.prepared:3");
    // It is under way, whoever is asked, and readers see it as it was.
    post(&other, "/v2", &body).expect(409);
    let done = finished(&other, &id);
    assert_eq!(done["results"]["instanceUpdated"], 5, "{done}");
    assert!(seen(&other, study).iter().all(|(id, _)| id == "P2"));
    one.set("STOWAGE_FAULT", None);
    one.restart();
    assert_eq!(seen(&one, study), seen(&other, study));
    for (name, file) in &files {
        let first = original(&one, &format!("/v2{}", name.path()), FILE).expect(200);
        assert!(first.body == file.bytes);
    }
    let feed = one.get("/v2/changefeed?limit=200&includeMetadata=false");
    let feed = feed.expect(200).json();
    let updates = feed.as_array().unwrap().iter();
    assert_eq!(updates.filter(|e| e["action"] == "Update").count(), 5);
    drop(one);
    let mended = other.command(&["fsck", "--repair", "--young-seconds", "0"]);
    assert!(mended.status.success());
    assert!(other.fsck().contains(" 0 blobs without a row"));
}

#[test]
fn an_index_made_again_keeps_the_uids_that_an_update_gave() {
    let mut server = Server::start(None);
    let (moved, series, stays) = (files(1), files(2), files(3));
    for files in [&moved, &series, &stays] {
        store(&server, files);
    }
    let ui = |uid: &str| json!({ "vr": "UI", "Value": [uid] });
    let study = moved[0].0.study.as_str();
    // An update before, one that moves, one behind, and one that moves again.
    for body in [
        change(&[study], &patient("One", "P2")),
        change(&[study], &json!({ "0020000D": ui("9.8.7") })),
        change(&["9.8.7"], &patient("Two", "P3")),
        change(&["9.8.7"], &json!({ "0020000D": ui("9.8.8") })),
    ] {
        let done = update(&server, &body);
        assert_eq!(done["status"], "succeeded", "{done}");
    }
    let old_series = &series[0].0.series;
    let mut body = change(
        &[&series[0].0.study],
        &json!({ "0020000D": ui(&series[0].0.study), "0020000E": ui("9.8.9") }),
    );
    body["seriesInstanceUid"] = json!(old_series);
    let done = update(&server, &body);
    assert_eq!(done["status"], "succeeded", "{done}");
    let studies = ["9.8.8", &series[0].0.study, &stays[0].0.study];
    let before = studies.map(|study| seen(&server, study));
    // What was between is on the trash still, so it is there to be mistaken for instances.
    server.kill();
    server.wait();
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = std::fs::remove_file(server.data().join(file));
    }
    let done = server.command(&["reindex"]);
    assert!(done.status.success(), "{done:?}");
    server.restart();
    assert_eq!(studies.map(|study| seen(&server, study)), before);
    let found = server.get_as("/dicom-web/studies", "application/dicom+json");
    assert_eq!(found.json().as_array().map(Vec::len), Some(3));
    for study in [study, "9.8.7"] {
        server
            .get(&format!("/v2/studies/{study}/metadata"))
            .expect(404);
    }
}
