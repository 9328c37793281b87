//! Export over HTTP (dicom-service §15): files of what is stored, written to destinations of the configuration.

#[cfg(feature = "cloud")]
mod clouds;
mod crash;
mod requests;
mod scopes;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use stowage::dicom::testing::BuiltFile;
use tempfile::TempDir;

use crate::support::prelude::*;

/// A folder that exports go to, with its setting: the destination `disk`.
fn destination() -> (TempDir, String) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let setting = format!("disk=file://{}", folder.path().display());
    (folder, setting)
}

fn stored(server: &Deployment, names: &[Name]) -> Vec<BuiltFile> {
    let files: Vec<BuiltFile> = names.iter().map(|name| name.with_bulk(3000)).collect();
    server.store("/dicom-web", &files).expect(200);
    files
}

fn post(server: &Deployment, target: &str, body: &Value) -> Response {
    server
        .request("POST", target)
        .header("Content-Type", "application/json")
        .body(body.to_string())
        .send()
}

/// A request for sources, or for everything.
fn to_disk(sources: Option<&[&str]>) -> Value {
    to("disk", sources)
}

fn to(name: &str, sources: Option<&[&str]>) -> Value {
    let destination = json!({ "type": "named", "settings": { "name": name } });
    match sources {
        None => json!({ "destination": destination }),
        Some(values) => json!({
            "source": { "type": "identifiers", "settings": { "values": values } },
            "destination": destination,
        }),
    }
}

/// Waits for the end of an operation.
#[track_caller]
fn finished(server: &Deployment, id: &str) -> Value {
    let mut done = Value::Null;
    wait_until("the export is done", || {
        let answer = server.get(&format!("/v2/operations/{id}"));
        done = answer.json();
        answer.status == 200
    });
    assert_eq!(done["type"], "export");
    assert_eq!(done["percentComplete"], 100);
    done
}

/// Exports and waits for the end; returns id and results.
#[track_caller]
fn export(server: &Deployment, body: &Value) -> (String, Value) {
    let answer = post(server, "/v2/export", body).expect(202).json();
    let id = answer["id"].as_str().expect("an id").to_owned();
    let done = finished(server, &id);
    assert_eq!(done["status"], "succeeded", "{done}");
    (id, done["results"].clone())
}

/// All files below a folder, by their paths in it.
fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).into_iter().flatten().flatten() {
            let path = entry.path();
            match path.is_dir() {
                true => folders.push(path),
                false => {
                    let name = path.strip_prefix(folder).expect("a path below");
                    let name = name.to_str().expect("a plain path").to_owned();
                    found.insert(name, fs::read(&path).expect("a file"));
                }
            }
        }
    }
    found
}

/// What an export must have written.
fn expected<'a>(
    id: &str,
    instances: impl IntoIterator<Item = (&'a Name, &'a BuiltFile)>,
) -> BTreeMap<String, Vec<u8>> {
    let file = |(name, file): (&Name, &BuiltFile)| {
        let Name {
            study,
            series,
            instance,
        } = name;
        let path = format!("{id}/results/{study}/{series}/{instance}.dcm");
        (path, file.bytes.clone())
    };
    instances.into_iter().map(file).collect()
}

/// The lines of a log of errors.
fn lines(log: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(log).expect("text");
    let line = |line: &str| serde_json::from_str(line).expect("JSON");
    text.lines().map(line).collect()
}

#[test]
fn files_are_what_is_stored_at_the_places_the_service_has_for_them() {
    let (folder, setting) = destination();
    let settings = [("STOWAGE_EXPORT_DESTINATIONS", setting.as_str())];
    on_each_index_with(&settings, |server| {
        let names: Vec<Name> = (1..=3)
            .flat_map(|study| [(1, 1), (1, 2), (2, 3)].map(|(s, i)| Name::new(study, s, i)))
            .collect();
        let files = stored(server, &names);
        let all = || names.iter().zip(&files);
        let (study, series) = (&names[0].study, &names[3].series);
        let one = format!(
            "{}/{}/{}",
            names[8].study, names[8].series, names[8].instance
        );
        let sources = [
            study.as_str(),
            &format!("{}/{series}", names[3].study),
            &one,
            // Part of what is asked for anyway.
            &format!("{study}/{}", names[0].series),
            "1.2.999",
            &format!("{study}/1.2.999"),
        ];
        let answer = post(server, "/v2/export", &to_disk(Some(&sources))).expect(202);
        let told = answer.json();
        let id = told["id"].as_str().expect("an id").to_owned();
        let href = format!("{}/v2/operations/{id}", server.url());
        assert_eq!(told, json!({ "id": id, "href": href }));
        assert_eq!(answer.header("location"), Some(href.as_str()));
        let done = finished(server, &id);
        assert_eq!(done["status"], "succeeded");
        let log = format!("{id}/errors.log");
        assert_eq!(
            done["results"],
            json!({ "errorHref": log, "exported": 6, "skipped": 1 })
        );
        let mut found = files_below(folder.path());
        let errors = found.remove(&log).expect("a log of errors");
        let chosen = [0, 1, 2, 3, 4, 8].map(|i| (&names[i], &files[i]));
        assert!(found == expected(&id, chosen), "{:?}", found.keys());
        let errors = lines(&errors);
        assert_eq!(errors.len(), 1);
        assert_eq!(errors[0]["identifier"], "1.2.999");
        assert!(errors[0]["error"].as_str().unwrap().contains("not found"));
        assert!(errors[0]["timestamp"].as_str().unwrap().ends_with('Z'));
        fs::remove_dir_all(folder.path().join(&id)).unwrap();
        // Everything, and the words of each root.
        for (root, word) in [
            ("/v1", "completed"),
            ("/v2", "succeeded"),
            ("/dicom-web", "succeeded"),
        ] {
            let answer = post(server, &format!("{root}/Export"), &to_disk(None)).expect(202);
            let id = answer.json()["id"].as_str().expect("an id").to_owned();
            finished(server, &id);
            let done = server.get(&format!("{root}/operations/{id}")).expect(200);
            assert_eq!(done.json()["status"], word);
            assert_eq!(done.json()["results"]["exported"], 9);
            let mut found = files_below(&folder.path().join(&id));
            assert_eq!(found.remove("errors.log"), Some(Vec::new()));
            let all = expected("", all());
            let all: BTreeMap<_, _> = all
                .into_iter()
                .map(|(path, bytes)| (path.trim_start_matches('/').to_owned(), bytes))
                .collect();
            assert!(found == all);
            fs::remove_dir_all(folder.path().join(&id)).unwrap();
        }
        let metrics = server.get("/metrics").expect(200).text();
        for line in [
            "stowage_exported_instances_total{outcome=\"exported\"} 33",
            "stowage_exported_instances_total{outcome=\"skipped\"} 1",
        ] {
            assert!(metrics.contains(line), "{line}");
        }
    });
}

#[test]
fn what_is_damaged_is_skipped_and_told_and_the_rest_is_exported() {
    let (folder, setting) = destination();
    let settings = [("STOWAGE_EXPORT_DESTINATIONS", setting.as_str())];
    on_each_index_with(&settings, |server| {
        let names: Vec<Name> = (1..=4).map(|i| Name::new(1, 1, i)).collect();
        let files = stored(server, &names);
        for path in server.blob_files() {
            let text = path.to_str().unwrap().to_owned();
            if text.contains(&format!("/{}.", names[1].instance)) {
                let mut bytes = fs::read(&path).unwrap();
                let last = bytes.len() - 1;
                bytes[last] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
            if text.contains(&format!("/{}.", names[2].instance)) {
                fs::remove_file(&path).unwrap();
            }
        }
        let (id, results) = export(server, &to_disk(None));
        assert_eq!(
            (&results["exported"], &results["skipped"]),
            (&json!(2), &json!(2))
        );
        let mut found = files_below(folder.path());
        let errors = found.remove(&format!("{id}/errors.log")).unwrap();
        let good = [0, 3].map(|i| (&names[i], &files[i]));
        assert!(found == expected(&id, good), "{:?}", found.keys());
        let told: BTreeMap<String, String> = lines(&errors)
            .iter()
            .map(|line| {
                let text = |name: &str| line[name].as_str().unwrap().to_owned();
                (text("identifier"), text("error"))
            })
            .collect();
        let path = |i: usize| {
            format!(
                "{}/{}/{}",
                names[i].study, names[i].series, names[i].instance
            )
        };
        assert_eq!(told[&path(1)], "The stored file is damaged.");
        assert_eq!(told[&path(2)], "The stored file is missing.");
        fs::remove_dir_all(folder.path().join(&id)).unwrap();
    });
}
