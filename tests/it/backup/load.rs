//! A backup that is made while clients store and delete and the sweeper runs.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::command::{back_up, restored};
use crate::support::dicom::Name;
use crate::support::http::Request;
use crate::support::multipart;
use crate::support::server::{Server, on_each_index_process, wait_until};

/// Stores one instance at a server, by its address, from any thread.
fn store(address: &str, bytes: &[u8]) -> u16 {
    Request::new(address, "POST", "/dicom-web/studies")
        .header("Content-Type", &multipart::content_type())
        .accept("application/dicom+json")
        .body(multipart::body([bytes]))
        .send()
        .status
}

#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_before_it_began() {
    // Nothing stays on the trash: whatever is deleted is swept at once.
    let settings = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    on_each_index_process(&settings, |server| {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().to_str().unwrap();
        let begun: Vec<Name> = (1..=60).map(|n| Name::new(n, 1, n)).collect();
        let files: Vec<_> = begun.iter().map(|name| name.with_bulk(2000)).collect();
        server.store("/dicom-web", &files).expect(200);
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU32::new(1000));
        let acknowledged: Arc<Mutex<Vec<Name>>> = Arc::default();
        let deleted = Arc::new(AtomicU32::new(0));
        let clients: Vec<_> = (0..3)
            .map(|client| {
                let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
                let (acknowledged, deleted) = (Arc::clone(&acknowledged), Arc::clone(&deleted));
                let address = server.address().to_owned();
                let doomed: Vec<Name> = (1..=60_u32)
                    .filter(|n| n % 3 == client && n.is_multiple_of(2))
                    .map(|n| Name::new(n, 1, n))
                    .collect();
                thread::spawn(move || {
                    let mut doomed = doomed.into_iter();
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let name = Name::new(number, 1, number);
                        assert_eq!(store(&address, &name.with_bulk(2000).bytes), 200);
                        acknowledged.lock().unwrap().push(name.clone());
                        // Every other one of the new ones goes again, and one of the old ones with it.
                        if number.is_multiple_of(2) {
                            let both = [Some(name), doomed.next()];
                            for name in both.into_iter().flatten() {
                                let path = format!("/dicom-web{}", name.study_path());
                                let gone = Request::new(&address, "DELETE", &path).send();
                                assert_eq!(gone.status, 204);
                                deleted.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                })
            })
            .collect();
        wait_until("the load runs", || deleted.load(Ordering::Relaxed) >= 4);
        let before: Vec<Name> = acknowledged.lock().unwrap().clone();
        back_up(server, to, &["--verify"]);
        // And once more, on what is there.
        let (later, known) = {
            let stored = acknowledged.lock().unwrap();
            (stored.clone(), stored.len())
        };
        back_up(server, to, &["--verify"]);
        wait_until("the load went on", || {
            acknowledged.lock().unwrap().len() > known
        });
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        let listed = server.command(&["restore-backup", "--from", to, "--list"]);
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        let names: Vec<&str> = listed
            .lines()
            .filter_map(|line| line.strip_prefix("backup ")?.split(':').next())
            .collect();
        for (name, stored) in [(names[0], before), (names[1], later)] {
            let back = restored(to, &["--name", name]);
            back.fsck();
            let whole = |name: &Name, stayed: bool| {
                let stored = back.stored(name);
                let same = stored.as_ref() == Some(&name.with_bulk(2000).bytes);
                assert!(same || (!stayed && stored.is_none()), "{name:?}");
            };
            for name in &stored {
                let number: u32 = name.study.rsplit('.').next().unwrap().parse().unwrap();
                whole(name, number % 2 == 1);
            }
            for (number, name) in (1..).zip(&begun) {
                whole(name, number % 2 == 1);
            }
        }
        // The sweepers went on.
        wait_until("what was deleted is swept", || {
            let there = server.get("/dicom-web/instances?limit=1&includefield=00080018");
            there.expect(200);
            let instances = acknowledged.lock().unwrap();
            let left = instances.iter().filter(|name| !ends_even(name)).count() + 30;
            blobs_of(server) <= left + still_there(server, &begun)
        });
        server.fsck();
    });
}

fn ends_even(name: &Name) -> bool {
    let number: u32 = name.study.rsplit('.').next().unwrap().parse().unwrap();
    number.is_multiple_of(2)
}

fn blobs_of(server: &Server) -> usize {
    let files = server.blob_files();
    files
        .iter()
        .filter(|file| file.extension().is_some_and(|end| end == "dcm"))
        .count()
}

/// Even ones of the first instances that nobody came to delete.
fn still_there(server: &Server, begun: &[Name]) -> usize {
    begun
        .iter()
        .filter(|name| ends_even(name) && server.stored(name).is_some())
        .count()
}
