//! Backups that are broken off, damaged, or made of what is damaged.

use std::fs;
use std::path::{Path, PathBuf};

use super::command::{back_up, restored, said};
use crate::support::dicom::Name;
use crate::support::server::{Server, on_each_index_process};
use crate::support::sql;

/// Files below a folder whose names end so.
fn files_ending(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_str().unwrap().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn flip(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

#[test]
fn a_backup_that_was_broken_off_goes_on_where_it_was() {
    on_each_index_process(&[], |server| {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().to_str().unwrap();
        let names: Vec<Name> = (1..=20).map(|n| Name::new(n, 1, n)).collect();
        let files: Vec<_> = names.iter().map(|name| name.with_bulk(2000)).collect();
        server.store("/dicom-web", &files).expect(200);
        for (fault, whole) in [
            ("backup.index:1", 0),
            ("backup.blob:7", 0),
            ("backup.stored:1", 0),
            ("backup.published:1", 1),
        ] {
            let died = server.command_with(&[("STOWAGE_FAULT", fault)], &["backup", "--to", to]);
            assert_eq!(died.status.code(), None, "{fault}: it ends by a signal");
            assert_eq!(files_ending(folder.path(), "manifest.json").len(), whole);
            // The right of the one that died ends by itself; a test does not wait for that.
            forget_right(server);
        }
        let made = back_up(server, to, &["--verify"]);
        assert!(made.contains("20 blobs; 0 blobs copied"), "{made}");
        assert!(made.contains("0 problems in the backup"), "{made}");
        let back = restored(to, &[]);
        for (name, file) in names.iter().zip(&files) {
            assert!(back.stored(name).as_ref() == Some(&file.bytes));
        }
        back.fsck();
        // A removal that is broken off leaves nothing that is not whole.
        let one = ["backup", "--to", to, "--keep", "1"];
        let died = server.command_with(&[("STOWAGE_FAULT", "backup.pruned:1")], &one);
        assert_eq!(died.status.code(), None);
        forget_right(server);
        let made = back_up(server, to, &["--keep", "1", "--verify"]);
        assert!(made.contains("0 problems in the backup"), "{made}");
        assert_eq!(files_ending(folder.path(), "index.sqlite").len(), 1);
    });
}

/// As if two minutes had passed.
fn forget_right(server: &Server) {
    sql::execute(server, "delete from lease where name = 'backup'");
}

#[test]
fn a_restore_that_was_broken_off_is_started_again() {
    let source = Server::start(None);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let names: Vec<Name> = (1..=6).map(|n| Name::new(n, 1, n)).collect();
    let files: Vec<_> = names.iter().map(|name| name.with_bulk(2000)).collect();
    source.store("/dicom-web", &files).expect(200);
    back_up(&source, to, &[]);
    let mut server = Server::start(None);
    server.terminate();
    server.wait();
    fs::remove_dir_all(server.data()).unwrap();
    let again = ["restore-backup", "--from", to];
    for fault in ["backup.blob:3", "restore.blobs:1"] {
        let died = server.command_with(&[("STOWAGE_FAULT", fault)], &again);
        assert_eq!(died.status.code(), None, "{fault}");
        assert!(!server.data().join("index.sqlite").exists());
    }
    let back = server.command(&again);
    let text = said(&back);
    assert!(back.status.success(), "{text}");
    assert!(
        text.contains("0 blobs copied, 0 bytes, 6 there already"),
        "{text}"
    );
    server.restart();
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(&file.bytes));
    }
}

#[test]
fn damage_in_the_archive_or_in_the_backup_is_found_and_told() {
    let server = Server::start(None);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let names: Vec<Name> = (1..=4).map(|n| Name::new(n, 1, n)).collect();
    let files: Vec<_> = names.iter().map(|name| name.with_bulk(2000)).collect();
    server.store("/dicom-web", &files).expect(200);
    let blobs = server.blob_files();
    let sound = fs::read(&blobs[0]).unwrap();
    flip(&blobs[0]);
    let lost = fs::read(&blobs[1]).unwrap();
    fs::remove_file(&blobs[1]).unwrap();
    let made = server.command(&["backup", "--to", to]);
    let text = said(&made);
    assert_eq!(made.status.code(), Some(1), "{text}");
    assert!(
        text.contains("holds other bytes than were stored")
            && text.contains("is missing in the archive"),
        "{text}"
    );
    assert!(
        text.contains("2 of them missing or damaged in the archive"),
        "{text}"
    );
    fs::write(&blobs[0], sound).unwrap();
    fs::write(&blobs[1], lost).unwrap();
    // A new place, for what was damaged is in the old one for good.
    let other = tempfile::tempdir().unwrap();
    let to = other.path().to_str().unwrap();
    back_up(&server, to, &["--verify"]);
    let saved = files_ending(&other.path().join("blobs"), ".dcm");
    flip(&saved[0]);
    fs::remove_file(&saved[1]).unwrap();
    let found = server.command(&["backup", "--to", to, "--verify"]);
    let text = said(&found);
    // The missing one is copied again; the flipped one is found.
    assert_eq!(found.status.code(), Some(1), "{text}");
    assert!(
        text.contains("has other bytes in the backup") && text.contains("1 problems"),
        "{text}"
    );
    let mut elsewhere = Server::start(None);
    elsewhere.terminate();
    elsewhere.wait();
    fs::remove_dir_all(elsewhere.data()).unwrap();
    let back = elsewhere.command(&["restore-backup", "--from", to]);
    let text = said(&back);
    assert_eq!(back.status.code(), Some(1), "{text}");
    assert!(
        text.contains("is damaged in the backup")
            && text.contains("its blob is missing")
            && text.contains("1 missing or damaged"),
        "{text}"
    );
    // A damaged index or list is not brought back at all.
    for part in ["index.sqlite", "blobs.gz"] {
        for file in files_ending(&other.path().join("index"), part) {
            flip(&file);
        }
        let mut empty = Server::start(None);
        empty.terminate();
        empty.wait();
        fs::remove_dir_all(empty.data()).unwrap();
        let back = empty.command(&["restore-backup", "--from", to]);
        let text = said(&back);
        assert_eq!(back.status.code(), Some(3), "{part}: {text}");
        assert!(text.contains("is damaged: take another"), "{part}: {text}");
        assert!(!empty.data().join("index.sqlite").exists());
        assert!(empty.wait().success());
    }
}
