//! The process dies at each step of an export; the next one, or another node, goes on, and nothing is lost or there twice.

use super::*;
use crate::crash_matrix::points;
use crate::crash_matrix::{Database, expect_crash, in_parallel};
use crate::support::server::on_each_index_process;

/// More than are exported in one step.
fn names() -> Vec<Name> {
    let name = |number: u32| Name::new(1 + number % 3, 1 + number % 2, number);
    (1..=40).map(name).collect()
}

/// Fails unless an export wrote everything there is, once, and a log of errors.
#[track_caller]
fn check(folder: &Path, id: &str, names: &[Name], files: &[BuiltFile], fault: &str) {
    let mut found = files_below(&folder.join(id));
    assert!(found.remove("errors.log").is_some(), "{fault}");
    let all = expected(id, names.iter().zip(files));
    let all: BTreeMap<String, Vec<u8>> = all
        .into_iter()
        .map(|(path, bytes)| (path.replace(&format!("{id}/"), ""), bytes))
        .collect();
    assert!(found == all, "{fault}: {:?}", found.keys());
}

#[test]
fn a_crash_at_any_step_of_an_export_is_taken_up_again_on_sqlite() {
    crashes(Database::Sqlite);
}

#[test]
fn a_crash_at_any_step_of_an_export_is_taken_up_again_on_postgres() {
    crashes(Database::Postgres);
}

fn crashes(database: Database) {
    let work: Vec<&str> = points::EXPORT_OPERATION
        .iter()
        .chain(points::EXPORT)
        .copied()
        .collect();
    let count = in_parallel(work, |point| {
        let fault = format!("{point}:1");
        let (folder, setting) = destination();
        let settings = [
            ("STOWAGE_EXPORT_DESTINATIONS", setting.as_str()),
            ("STOWAGE_FAULT", &fault),
        ];
        let Some(mut server) = database.server(&settings) else {
            return 0;
        };
        let names = names();
        let files = stored(&server, &names);
        let sources: Vec<&str> = vec!["1.2.3.1", "1.2.3.2", "1.2.999", "1.2.3.3"];
        let body = to_disk(Some(&sources));
        let send = |server: &Server| {
            server
                .request("POST", "/v2/export")
                .header("Content-Type", "application/json")
                .body(body.to_string())
                .try_send()
        };
        let sent = send(&server);
        expect_crash(&mut server, &fault);
        server.set("STOWAGE_FAULT", None);
        server.restart();
        // An answer that was lost is asked for again; what was begun goes on by itself.
        let answer = sent.or_else(|_| send(&server)).expect("an answer");
        let id = answer.expect(202).json()["id"].as_str().unwrap().to_owned();
        let done = finished(&server, &id);
        assert_eq!(done["status"], "succeeded", "{fault}");
        assert_eq!(done["results"]["exported"], 40, "{fault}");
        assert_eq!(done["results"]["skipped"], 1, "{fault}");
        check(folder.path(), &id, &names, &files, &fault);
        let log = fs::read(folder.path().join(&id).join("errors.log")).unwrap();
        assert_eq!(lines(&log).len(), 1, "{fault}");
        // Files beside their names are gone, too, and every other folder there is comes to its end.
        wait_until("all that was begun is whole", || {
            let folders = fs::read_dir(folder.path()).unwrap().flatten();
            let mut ids = folders.map(|e| e.file_name().into_string().unwrap());
            ids.all(|id| server.get(&format!("/v2/operations/{id}")).status == 200)
        });
        1
    });
    println!("{database:?}: {count} crashes of an export, nothing lost");
}

#[test]
fn another_node_goes_on_with_the_export_of_one_that_is_gone() {
    let (folder, setting) = destination();
    let blobs = tempfile::tempdir().unwrap();
    let settings = [
        ("STOWAGE_EXPORT_DESTINATIONS", setting.as_str()),
        ("STOWAGE_SWEEP_SECONDS", "1"),
        ("STOWAGE_FAULT", "export.advanced:1"),
    ];
    let Some(mut one) = Server::first_node(&blobs, &settings) else {
        return;
    };
    let other = one.second_node(&[]);
    let names = names();
    let files = stored(&other, &names);
    let answer = post(&one, "/v2/export", &to_disk(None)).expect(202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    expect_crash(&mut one, "export.advanced:1");
    let done = finished(&other, &id);
    assert_eq!(done["results"]["exported"], 40);
    assert_eq!(done["results"]["skipped"], 0);
    check(folder.path(), &id, &names, &files, "two nodes");
    // The rest only was exported by the node that is left.
    let metrics = other.get("/metrics").expect(200).text();
    let line = "stowage_exported_instances_total{outcome=\"exported\"} 8";
    assert!(metrics.contains(line), "{metrics}");
}

#[test]
fn what_is_stored_replaced_and_deleted_meanwhile_is_exported_once_or_not() {
    let (folder, setting) = destination();
    let settings = [("STOWAGE_EXPORT_DESTINATIONS", setting.as_str())];
    on_each_index_process(&settings, |server| {
        let names = names();
        let files = stored(server, &names);
        let answer = post(server, "/v2/export", &to_disk(None)).expect(202);
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let newer: Vec<BuiltFile> = names.iter().map(Name::small).collect();
        for (name, file) in names.iter().zip(&newer).take(10) {
            let put = server
                .request("PUT", "/dicom-web/studies")
                .header("Content-Type", "application/dicom")
                .accept("application/dicom+json")
                .body(file.bytes.clone());
            put.send().expect(200);
            let _ = name;
        }
        let gone = &names[39];
        server
            .request("DELETE", &format!("/v2{}", gone.path()))
            .send()
            .expect(204);
        let done = finished(server, &id);
        assert_eq!(done["results"]["skipped"], 0, "{done}");
        let mut found = files_below(&folder.path().join(&id));
        found.remove("errors.log").unwrap();
        assert_eq!(done["results"]["exported"], json!(found.len()));
        for (path, bytes) in &found {
            let is = |file: &BuiltFile| file.bytes == *bytes;
            assert!(files.iter().chain(&newer).any(is), "{path}");
        }
        assert!(found.len() >= 39);
        fs::remove_dir_all(folder.path().join(&id)).unwrap();
    });
}
