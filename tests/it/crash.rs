//! Crashes: what was acknowledged is there byte for byte, what was not is there whole or not at all.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use stowage::dicom::testing::BuiltFile;

use crate::support::dicom::Name;
use crate::support::multipart;
use crate::support::server::{Server, on_each_index_process, wait_until};

/// Uploads of one round, all at the same time.
const UPLOADS: u32 = 100;

/// The instances of one upload: small ones in one request, some larger, few that go through the spool.
fn upload(round: u32, number: u32) -> Vec<(Name, BuiltFile)> {
    let study = 4000 + round * 1000 + number % 10;
    let name = |instance| Name::new(study, number, instance);
    let file = |instance, length| {
        let name = name(instance);
        let file = name.with_bulk(length);
        (name, file)
    };
    match number % 20 {
        0 => vec![file(1, 17 << 20)],
        n if n % 4 == 0 => vec![file(1, 300_000), file(2, 10)],
        _ => (1..=5).map(|instance| file(instance, 2000)).collect(),
    }
}

#[test]
fn a_crash_in_the_middle_of_uploads_loses_nothing_that_was_acknowledged() {
    on_each_index_process(&[], |server| {
        let mut all: Vec<(Name, Vec<u8>)> = Vec::new();
        let mut acknowledged: BTreeSet<Name> = BTreeSet::new();
        // Killed early, in the middle and late.
        for (round, answers) in (0..).zip([1, 30, 70]) {
            let uploads: Vec<Vec<(Name, BuiltFile)>> =
                (0..UPLOADS).map(|number| upload(round, number)).collect();
            let answered = AtomicUsize::new(0);
            let stored = Mutex::new(Vec::new());
            thread::scope(|scope| {
                for files in &uploads {
                    let (server, answered, stored) = (&*server, &answered, &stored);
                    let request = server
                        .request("POST", "/v1/studies")
                        .header("Content-Type", &multipart::content_type());
                    scope.spawn(move || {
                        let bodies = files.iter().map(|(_, file)| file.bytes.as_slice());
                        let answer = request.body(multipart::body(bodies)).try_send();
                        if let Ok(answer) = answer
                            && answer.status == 200
                        {
                            let report = answer.json();
                            let items = report["00081199"]["Value"].as_array();
                            assert_eq!(items.map(Vec::len), Some(files.len()));
                            let names = files.iter().map(|(name, _)| name.clone());
                            stored.lock().expect("no panic").extend(names);
                            answered.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                wait_until("some uploads are acknowledged", || {
                    answered.load(Ordering::Relaxed) >= answers
                });
                server.kill();
            });
            server.wait();
            let fresh = stored.into_inner().expect("no panic");
            println!("round {round}: {} instances were acknowledged", fresh.len());
            assert!(!fresh.is_empty());
            acknowledged.extend(fresh);
            let files = uploads.into_iter().flatten();
            all.extend(files.map(|(name, file)| (name, file.bytes)));
            server.restart();
            let mut present = 0;
            for (name, bytes) in &all {
                match server.stored(name) {
                    Some(stored) => {
                        present += 1;
                        assert!(stored == *bytes, "{} is damaged", name.path());
                    }
                    None => assert!(!acknowledged.contains(name), "{} is lost", name.path()),
                }
            }
            let found = server.get("/dicom-web/instances").expect(200).json();
            assert_eq!(found.as_array().map(Vec::len), Some(present));
            check_feed(server, present);
            server.fsck();
        }
        // What the crashes left behind can be cleared away.
        let output = server.command(&["fsck", "--repair", "--young-seconds", "0"]);
        assert!(output.status.success());
        assert!(server.fsck().contains(" 0 blobs without a row"));
    });
}

/// The feed tells of each stored instance once, and of no other.
fn check_feed(server: &Server, instances: usize) {
    let mut reported = BTreeSet::new();
    let mut offset = 0;
    loop {
        let target = format!("/v2/changefeed?offset={offset}&limit=200&includeMetadata=false");
        let page = server.get(&target).expect(200).json();
        let page = page.as_array().expect("an array").clone();
        if page.is_empty() {
            break;
        }
        offset += page.len();
        for entry in page {
            assert_eq!(
                (&entry["action"], &entry["state"]),
                (&"Create".into(), &"Current".into())
            );
            let fresh = reported.insert(entry["sopInstanceUid"].as_str().map(str::to_owned));
            assert!(fresh, "{entry} twice");
        }
    }
    assert_eq!(reported.len(), instances);
}

#[test]
fn a_crash_in_the_middle_of_deletes_brings_nothing_back() {
    on_each_index_process(&[], |server| {
        let names: Vec<Name> = (0..60)
            .map(|number| Name::new(5000 + number, 1, 1))
            .collect();
        let files: Vec<BuiltFile> = names.iter().map(|name| name.with_bulk(3000)).collect();
        server.store("/v2", &files).expect(200);
        let deleted = Mutex::new(BTreeSet::new());
        thread::scope(|scope| {
            for names in names.chunks(10) {
                let (server, deleted) = (&*server, &deleted);
                scope.spawn(move || {
                    for name in names {
                        let target = format!("/v2{}", name.study_path());
                        match server.request("DELETE", &target).try_send() {
                            Ok(answer) if answer.status == 204 => {
                                deleted.lock().expect("no panic").insert(name.clone());
                            }
                            _ => return,
                        }
                    }
                });
            }
            wait_until("half is deleted", || {
                deleted.lock().expect("no panic").len() >= names.len() / 2
            });
            server.kill();
        });
        server.wait();
        let deleted = deleted.into_inner().expect("no panic");
        server.restart();
        let mut left = 0;
        for (name, file) in names.iter().zip(&files) {
            match server.stored(name) {
                Some(stored) => {
                    left += 1;
                    assert!(!deleted.contains(name), "{} is back", name.path());
                    assert!(stored == file.bytes);
                }
                // The answer was lost, the delete was not.
                None => assert!(deleted.len() < names.len()),
            }
        }
        let found = server.get("/dicom-web/instances").expect(200).json();
        assert_eq!(found.as_array().map(Vec::len), Some(left));
        assert!(server.fsck().contains(" 0 blobs without a row"));
    });
}
