//! The sub-commands that work on the stores: check, rebuild, export, import.

use std::fs;

use crate::support::dicom::Name;
use crate::support::server::{Server, on_each_index};

fn store(server: &Server) -> Vec<Name> {
    let names: Vec<Name> = (1..=3).map(|n| Name::new(900, n, n)).collect();
    let files: Vec<_> = names.iter().map(Name::small).collect();
    server.store("/dicom-web", &files).expect(200);
    names
}

fn bytes(server: &Server, names: &[Name]) -> Vec<Option<Vec<u8>>> {
    names.iter().map(|name| server.stored(name)).collect()
}

#[test]
fn fsck_finds_a_flipped_bit_and_a_missing_blob_and_mends_what_it_can() {
    on_each_index(|server| {
        let names = store(server);
        assert!(server.fsck().contains("0 problems"));
        let blobs = server.blob_files();
        let mut flipped = fs::read(&blobs[0]).unwrap();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        fs::write(&blobs[0], flipped).unwrap();
        fs::remove_file(&blobs[1]).unwrap();
        let told = server.command(&["fsck", "--digests", "--young-seconds", "0"]);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(1), "{text}");
        assert!(text.contains("other bytes than were stored"), "{text}");
        assert!(text.contains("its blob is missing"), "{text}");
        server.command(&["fsck", "--repair", "--young-seconds", "0"]);
        let left = server.get("/dicom-web/instances").expect(200).json();
        let left = left.as_array().map(Vec::len);
        assert_eq!(
            left,
            Some(names.len() - 1),
            "the row without a blob is gone"
        );
        let clean = server.command(&["fsck", "--young-seconds", "0"]);
        assert!(clean.status.success());
    });
}

#[test]
fn the_index_is_rebuilt_from_the_blobs_alone() {
    let mut server = Server::start(None);
    let names = store(&server);
    let before = bytes(&server, &names);
    server.terminate();
    server.wait();
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = fs::remove_file(server.data().join(file));
    }
    let told = server.command(&["reindex"]);
    let text = String::from_utf8_lossy(&told.stdout).into_owned();
    assert!(
        told.status.success() && text.contains("3 instances added"),
        "{text}"
    );
    server.restart();
    assert_eq!(bytes(&server, &names), before);
    let found = server.get("/dicom-web/instances").json();
    assert_eq!(found.as_array().map(Vec::len), Some(3));
    assert!(server.fsck().contains("0 problems"));
    let again = server.command(&["reindex"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("3 known"));
}

#[test]
fn what_is_exported_is_imported_again_byte_for_byte() {
    let server = Server::start(None);
    let names = store(&server);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let study = names[0].study.to_string();
    let told = server.command(&["export", "--to", to, &study]);
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    fs::write(folder.path().join("notes.txt"), "no DICOM").unwrap();
    let other = Server::start(None);
    for _ in 0..2 {
        // The second time everything is found identical: an import that was broken off is started again.
        let told = other.command(&["import", to]);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(1), "one file is refused: {text}");
        assert!(
            text.contains("3 instances stored or found identical, 1 files refused"),
            "{text}"
        );
        assert!(text.contains("notes.txt"), "{text}");
    }
    assert_eq!(bytes(&other, &names), bytes(&server, &names));
    let unknown = server.command(&["export", "--to", to, "1.2.3"]);
    assert!(!unknown.status.success());
}

#[test]
fn a_repair_does_not_take_a_store_that_is_away_for_instances_that_are_lost() {
    on_each_index(|server| {
        let names: Vec<Name> = (1..=12).map(|n| Name::new(901, 1, n)).collect();
        let files: Vec<_> = names.iter().map(Name::small).collect();
        server.store("/dicom-web", &files).expect(200);
        let away = tempfile::tempdir().unwrap();
        let blobs: Vec<_> = server.blob_files();
        for (number, blob) in blobs.iter().enumerate() {
            fs::rename(blob, away.path().join(number.to_string())).unwrap();
        }
        let told = server.command(&["fsck", "--repair", "--young-seconds", "0"]);
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        assert_eq!(told.status.code(), Some(1), "{text}");
        assert!(
            text.contains("12 of 12 blobs are missing, and no row was removed"),
            "{text}"
        );
        for (number, blob) in blobs.iter().enumerate() {
            fs::rename(away.path().join(number.to_string()), blob).unwrap();
        }
        server.fsck();
        assert_eq!(bytes(server, &names).into_iter().flatten().count(), 12);
        for blob in &blobs {
            fs::remove_file(blob).unwrap();
        }
        server.command(&["fsck", "--repair", "--force", "--young-seconds", "0"]);
        assert!(server.fsck().contains("0 instances"));
    });
}

#[test]
fn an_import_that_was_broken_off_is_simply_started_again() {
    on_each_index(|server| {
        let names: Vec<Name> = (1..=6).map(|n| Name::new(902, 1, n)).collect();
        let folder = tempfile::tempdir().unwrap();
        for name in &names {
            let file = folder.path().join(&name.instance);
            fs::write(file, name.small().bytes).unwrap();
        }
        let from = folder.path().to_str().unwrap();
        for fault in ["blob.synced:3", "insert.changes:2", "commit.done:2"] {
            let died = server.command_with(&[("STOWAGE_FAULT", fault)], &["import", from]);
            assert_eq!(died.status.code(), None, "{fault}: it ends by a signal");
            server.fsck();
        }
        let done = server.command(&["import", from]);
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(
            text.contains("6 instances stored or found identical"),
            "{text}"
        );
        assert_eq!(bytes(server, &names).into_iter().flatten().count(), 6);
        server.fsck();
    });
}

#[test]
fn a_lost_index_gets_the_newest_of_several_blobs_of_an_instance() {
    let mut server = Server::start(None);
    let name = Name::new(903, 1, 1);
    server
        .store("/dicom-web", [&name.with_bulk(2000)])
        .expect(200);
    let path = format!("/dicom-web{}", name.path());
    server.request("DELETE", &path).send().expect(204);
    let newer = name.with_bulk(3000);
    server.store("/dicom-web", [&newer]).expect(200);
    assert_eq!(server.blob_files().len(), 2, "the grace period is not over");
    server.kill();
    server.wait();
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = fs::remove_file(server.data().join(file));
    }
    assert!(server.command(&["reindex"]).status.success());
    server.restart();
    assert!(server.stored(&name) == Some(newer.bytes));
}
