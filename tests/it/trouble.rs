//! Trouble from outside: disks that are full or read-only, blobs that are lost or damaged, a database that goes away.
//! The answer is honest, nothing that was acknowledged is lost, and when the trouble is over nobody restarts anything.

mod blocks;
mod damage;
mod disks;
mod tasks;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use crate::support::postgres::Own;
use crate::support::prelude::*;
use crate::support::server::on_each_index_process;

const STORED: &str = "application/dicom; transfer-syntax=*";

/// Fails unless it is a 500 that tells the request id and nothing else.
#[track_caller]
fn expect_honest_500(answer: Response) {
    let answer = answer.expect(500);
    let problem = answer.json();
    let id = problem["request_id"].as_str().expect("a request id");
    assert_eq!(answer.header("x-request-id"), Some(id));
    assert!(problem["detail"].is_null(), "{problem}");
}

fn blob_of(server: &Deployment, name: &Name) -> std::path::PathBuf {
    let start = format!("{}.", name.instance);
    let is_it = |path: &std::path::PathBuf| {
        let file = path.file_name().and_then(|file| file.to_str());
        file.is_some_and(|file| file.starts_with(&start))
    };
    let found = server.blob_files().into_iter().find(is_it);
    found.expect("the instance has a blob")
}

#[test]
fn a_damaged_or_missing_blob_is_an_honest_500_and_never_a_whole_answer() {
    on_each_index(|server| {
        let (small, large, sound) = (Name::new(1, 1, 1), Name::new(1, 1, 2), Name::new(1, 1, 3));
        let files = [
            small.with_bulk(3000),
            large.with_bulk(3 << 20),
            sound.with_bulk(3000),
        ];
        server.store("/dicom-web", &files).expect(200);
        for (name, bytes) in [(&small, &files[0].bytes), (&large, &files[1].bytes)] {
            let target = format!("/dicom-web{}", name.path());
            let blob = blob_of(server, name);
            // A bit in the middle of the values: only the digest shows it.
            let mut flipped = bytes.clone();
            let middle = flipped.len() / 2;
            flipped[middle] ^= 4;
            fs::write(&blob, flipped).unwrap();
            match server.request("GET", &target).accept(STORED).try_send() {
                Ok(answer) => expect_honest_500(answer),
                // The head was out already: the body must end short.
                Err(_) => assert_eq!(name, &large),
            }
            let study = format!("/dicom-web{}", name.study_path());
            let whole = server
                .request("GET", &study)
                .accept("multipart/related; type=\"application/dicom\"; transfer-syntax=*")
                .try_send();
            assert!(whole.map_or(true, |answer| answer.status == 500));
            fs::remove_file(&blob).unwrap();
            expect_honest_500(server.get_as(&target, STORED));
            assert!(server.stored(&sound).as_ref() == Some(&files[2].bytes));
            server.get(&format!("{target}/metadata")).expect(200);
            server.wait_for_health(200);
            fs::write(&blob, bytes).unwrap();
            assert!(server.stored(name).as_ref() == Some(bytes), "it is back");
        }
        server.fsck();
    });
}

#[test]
fn reads_are_compared_with_their_digests_only_as_often_as_configured() {
    let server = TestApp::with(&[("STOWAGE_VERIFY_READS", "0")]);
    let name = Name::new(1, 1, 1);
    let file = name.with_bulk(3000);
    server.store("/dicom-web", [&file]).expect(200);
    let mut flipped = file.bytes.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 4;
    fs::write(blob_of(&server, &name), &flipped).unwrap();
    assert!(server.stored(&name) == Some(flipped));
}

#[test]
fn the_scrub_finds_damage_and_says_how_far_it_is() {
    let settings = [("STOWAGE_SCRUB_HOURS", "0.0001")];
    on_each_index_process(&settings, |server| {
        let (sound, damaged) = (Name::new(1, 1, 1), Name::new(1, 1, 2));
        let files = [sound.small(), damaged.with_bulk(3000)];
        server.store("/dicom-web", &files).expect(200);
        wait_until("a round is done", || {
            server.log().contains("the scrub is done") && server.log().contains("instances=2")
        });
        assert!(server.log().contains("problems=0"), "{}", server.log());
        let blob = blob_of(server, &damaged);
        let mut flipped = files[1].bytes.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        fs::write(blob, flipped).unwrap();
        wait_until("the damage is found", || {
            server.log().contains("the scrub found damage") && server.log().contains("problems=1")
        });
        let log = server.log();
        assert!(log.contains(&damaged.instance), "{log}");
        let line = log.lines().find(|line| line.contains("problems=1"));
        let operation = line.and_then(|line| line.split("operation=").nth(1));
        let id = operation.and_then(|rest| rest.split(['"', ' ']).find(|word| word.len() == 32));
        let reported = server
            .get(&format!("/v2/operations/{}", id.expect("an id")))
            .expect(200)
            .json();
        assert_eq!(reported["type"], "scrub");
        assert_eq!(reported["percentComplete"], 100);
        assert_eq!(reported["results"]["problems"], 1);
        assert_eq!(reported["results"]["instances"], 2);
    });
}

#[test]
fn a_postgres_that_crashes_again_and_again_loses_nothing() {
    let Some(mut postgres) = Own::start() else {
        return;
    };
    let server = Server::start(Some(postgres.url()));
    let acknowledged = Mutex::new(Vec::new());
    let (stop, stored, refused) = (AtomicBool::new(false), AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for client in 0..3 {
            let (server, acknowledged, stop) = (&server, &acknowledged, &stop);
            let (stored, refused) = (&stored, &refused);
            scope.spawn(move || {
                let mut instance = 0;
                while !stop.load(Ordering::Relaxed) {
                    instance += 1;
                    let name = Name::new(client + 1, 1, instance);
                    let answer = server.store("/dicom-web", [&name.with_bulk(2000)]);
                    match answer.status {
                        200 => {
                            acknowledged.lock().expect("no panic").push(name);
                            stored.fetch_add(1, Ordering::Relaxed);
                        }
                        503 => {
                            assert!(answer.header("retry-after").is_some());
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        // The connection broke in the middle: what was done is not known.
                        other => assert_eq!(other, 500, "{}", answer.text()),
                    }
                }
            });
        }
        let more = |count| {
            let before = stored.load(Ordering::Relaxed);
            wait_until("instances are stored", || {
                stored.load(Ordering::Relaxed) >= before + count
            });
        };
        more(10);
        for _ in 0..3 {
            postgres.crash();
            let before = refused.load(Ordering::Relaxed);
            wait_until("somebody is refused", || {
                refused.load(Ordering::Relaxed) > before
            });
            let down = server.get("/dicom-web/studies").expect(503);
            assert!(down.header("retry-after").is_some());
            server.wait_for_health(503);
            postgres.come_back();
            more(10);
            server.wait_for_health(200);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.into_inner().expect("no panic");
    println!(
        "{} stored, {} refused",
        acknowledged.len(),
        refused.into_inner()
    );
    for name in &acknowledged {
        assert!(
            server.stored(name) == Some(name.with_bulk(2000).bytes),
            "{name:?} is lost"
        );
    }
    server.fsck();
}
