//! The process dies at each step of an update; the next one goes on, and nothing is lost or there twice.

use super::*;
use crate::crash_matrix::points;
use crate::crash_matrix::{Database, expect_crash, in_parallel};

#[test]
fn a_crash_at_any_step_of_a_bulk_update_is_taken_up_again_on_sqlite() {
    crashes(Database::Sqlite);
}

#[test]
fn a_crash_at_any_step_of_a_bulk_update_is_taken_up_again_on_postgres() {
    crashes(Database::Postgres);
}

fn crashes(database: Database) {
    let moved = [
        "update.levels",
        "update.rows",
        "update.changes",
        "update.committed",
    ];
    let changed = points::BULK_UPDATE.iter().map(|point| (*point, false));
    let work: Vec<(&str, bool)> = changed.chain(moved.map(|point| (point, true))).collect();
    let count = in_parallel(work, |(point, moves)| {
        let fault = format!("{point}:1");
        let Some(mut server) = database.server(&[("STOWAGE_FAULT", &fault)]) else {
            return 0;
        };
        let one = files(1);
        let study = one[0].0.study.clone();
        store(&server, &one);
        let (body, new) = match moves {
            false => (change(&[&study], &patient("New", "P2")), study.as_str()),
            true => {
                let uid = json!({ "0020000D": { "vr": "UI", "Value": ["9.8.7"] } });
                (change(&[&study], &uid), "9.8.7")
            }
        };
        let sent = server
            .request("POST", "/v2/studies/$bulkUpdate")
            .header("Content-Type", "application/json")
            .body(body.to_string())
            .try_send();
        expect_crash(&mut server, &fault);
        server.fsck();
        server.set("STOWAGE_FAULT", None);
        server.restart();
        // An answer that was lost is asked for again; an operation that was begun goes on by itself.
        let id = match sent {
            Ok(answer) => answer.json()["id"].as_str().map(str::to_owned),
            Err(_) => {
                let again = post(&server, "/v2", &body);
                match again.status {
                    202 => again.json()["id"].as_str().map(str::to_owned),
                    status => {
                        assert_eq!(status, 409, "{fault}");
                        None
                    }
                }
            }
        };
        match id {
            Some(id) => {
                finished(&server, &id);
            }
            None => wait_until("the update is done", || {
                post(&server, "/v2", &body).status == 202
            }),
        }
        let path = format!("/v2/studies/{new}/metadata");
        wait_until("every instance is updated", || {
            let found = server.get_as(&path, "application/dicom+json");
            found.status == 200 && found.json().as_array().map(Vec::len) == Some(5) && {
                let all = found.json();
                let all = all.as_array().unwrap().clone();
                all.iter().all(|i| match moves {
                    true => i["0020000D"]["Value"][0] == "9.8.7",
                    false => i["00100020"]["Value"][0] == "P2",
                })
            }
        });
        assert_eq!(
            server
                .get_as("/dicom-web/instances", "application/dicom+json")
                .json()
                .as_array()
                .map(Vec::len),
            Some(5),
            "{fault}"
        );
        for (name, file) in &one {
            let path = format!(
                "/v2/studies/{new}/series/{}/instances/{}",
                name.series, name.instance
            );
            let first = original(&server, &path, FILE).expect(200);
            assert!(first.body == file.bytes, "{fault} {moves}");
        }
        server.kill();
        server.wait();
        let mended = server.command(&["fsck", "--repair", "--young-seconds", "0"]);
        assert!(mended.status.success(), "{fault}");
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{fault}: {said}");
        1
    });
    println!("{database:?}: {count} crashes of a bulk update, nothing lost");
}
