//! `stowage backup` and `stowage restore-backup`, with nothing in their way.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::dicom::Name;
use crate::support::server::{Server, on_each_index_process, wait_until};

/// What a command said, on both outputs.
pub(super) fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

/// Makes a backup, which must go well.
#[track_caller]
pub(super) fn back_up(server: &Server, to: &str, more: &[&str]) -> String {
    let made = server.command(&[&["backup", "--to", to], more].concat());
    let text = said(&made);
    assert!(made.status.success(), "{text}\nlog:\n{}", server.log());
    text
}

/// Restores into a new place: a server that was never there.
#[track_caller]
pub(super) fn restored(from: &str, more: &[&str]) -> Server {
    let mut server = Server::start(None);
    restore_into(&mut server, from, more);
    server
}

/// Restores in place of what a server has in its data folder.
#[track_caller]
pub(super) fn restore_into(server: &mut Server, from: &str, more: &[&str]) {
    server.terminate();
    server.wait();
    let _ = fs::remove_dir_all(server.data());
    let back = server.command(&[&["restore-backup", "--from", from], more].concat());
    let text = said(&back);
    assert!(back.status.success(), "{text}");
    assert!(text.contains(": 0 problems, "), "{text}");
    server.restart();
}

fn changes(server: &Server) -> String {
    let feed = server.get("/v2/changefeed?limit=200&includeMetadata=true");
    feed.expect(200).text().replace(server.url(), "")
}

#[test]
fn a_backup_is_incremental_and_comes_back_whole_and_elsewhere() {
    on_each_index_process(&[], |server| {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("backup");
        let to = to.to_str().unwrap();
        let names: Vec<Name> = (1..=12).map(|n| Name::new(n % 4, 1, n)).collect();
        let files: Vec<_> = names.iter().map(|name| name.with_bulk(3000)).collect();
        server.store("/dicom-web", &files[..8]).expect(200);
        // One that goes through a file.
        let large = Name::new(50, 1, 1);
        let large_file = large.with_bulk(3 << 20);
        server.store("/dicom-web", [&large_file]).expect(200);
        let first = back_up(server, to, &["--verify"]);
        assert!(
            first.contains("9 instances, 9 blobs; 9 blobs copied"),
            "{first}"
        );
        assert!(first.contains("0 problems in the backup"), "{first}");
        server.store("/dicom-web", &files[8..]).expect(200);
        let gone = format!("/dicom-web{}", names[0].path());
        server.request("DELETE", &gone).send().expect(204);
        let second = back_up(server, to, &[]);
        // What is on the trash is in it, too.
        assert!(
            second.contains("12 instances, 13 blobs; 4 blobs copied"),
            "{second}"
        );
        let third = back_up(server, to, &[]);
        assert!(third.contains("13 blobs; 0 blobs copied"), "{third}");
        let feed = changes(server);

        // Into SQLite, whatever it came from.
        let back = restored(to, &[]);
        assert_eq!(back.stored(&names[0]), None);
        for (name, file) in names.iter().zip(&files).skip(1) {
            assert!(back.stored(name).as_ref() == Some(&file.bytes));
        }
        assert!(back.stored(&large).as_ref() == Some(&large_file.bytes));
        assert_eq!(changes(&back), feed);
        assert!(back.fsck().contains("12 instances"));
        let study = &names[0].study;
        let undone = back.command(&["restore", study]);
        assert!(undone.status.success(), "{}", said(&undone));
        // The server asks after a second whether what it knows still holds.
        wait_until("it is back", || back.stored(&names[0]).is_some());
        assert!(back.stored(&names[0]).as_ref() == Some(&files[0].bytes));

        // An earlier one by its name; the list has all of them.
        let listed = server.command(&["restore-backup", "--from", to, "--list"]);
        let listed = said(&listed);
        assert_eq!(listed.lines().count(), 3, "{listed}");
        let oldest = listed.lines().next().unwrap();
        let name = oldest.strip_prefix("backup ").unwrap();
        let name = name.split(':').next().unwrap();
        let back = restored(to, &["--name", name]);
        assert!(back.stored(&names[0]).as_ref() == Some(&files[0].bytes));
        assert_eq!(back.stored(&names[9]), None);
        back.fsck();

        // Where something is, nothing is brought back.
        let refused = server.command(&["restore-backup", "--from", to]);
        assert_eq!(refused.status.code(), Some(3), "{}", said(&refused));
        assert!(said(&refused).contains("already"), "{}", said(&refused));
        let none = server.command(&["restore-backup", "--from", "/nowhere"]);
        assert_eq!(none.status.code(), Some(3));
        assert!(!Path::new("/nowhere").exists());
    });
}

#[test]
fn a_backup_of_one_database_comes_back_in_the_other() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let database = runtime.block_on(crate::support::postgres::empty_database());
    let Some(database) = database else { return };
    let mut server = Server::start(None);
    let names: Vec<Name> = (1..=5).map(|n| Name::new(n, 1, n)).collect();
    let files: Vec<_> = names.iter().map(Name::small).collect();
    server.store("/dicom-web", &files).expect(200);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    back_up(&server, to, &[]);
    let feed = changes(&server);
    server.set("STOWAGE_DATABASE_URL", Some(&database));
    restore_into(&mut server, to, &[]);
    assert_eq!(changes(&server), feed);
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(&file.bytes));
    }
    server.fsck();
    let again = server.command(&["restore-backup", "--from", to]);
    assert_eq!(again.status.code(), Some(3), "{}", said(&again));
    assert!(said(&again).contains("holds instances already"));
}

#[test]
fn old_backups_go_with_what_only_they_name() {
    let server = Server::with(&[("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")]);
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let names: Vec<Name> = (1..=4).map(|n| Name::new(n, 1, n)).collect();
    let files: Vec<_> = names.iter().map(Name::small).collect();
    server.store("/dicom-web", &files).expect(200);
    back_up(&server, to, &[]);
    let gone = format!("/dicom-web{}", names[0].study_path());
    server.request("DELETE", &gone).send().expect(204);
    wait_until("it is swept", || server.blob_files().len() == 3);
    let second = back_up(&server, to, &["--keep", "2"]);
    assert!(!second.contains("removed"), "{second}");
    let third = back_up(&server, to, &["--keep", "2", "--verify"]);
    assert!(
        third.contains("1 old backups removed, with 1 blobs"),
        "{third}"
    );
    assert!(third.contains("0 problems in the backup"), "{third}");
    let back = restored(to, &[]);
    assert!(back.stored(&names[1]).as_ref() == Some(&files[1].bytes));
    back.fsck();
}

#[test]
fn the_commands_of_the_operations_page_run_as_printed() {
    let page = include_str!("../../../docs/operations.md");
    let printed = |command: &str| {
        let line = page.lines().find(|line| line.starts_with(command));
        let line = line.expect("the command is printed").to_owned();
        line.trim_start_matches("stowage ").to_owned()
    };
    let mut server = Server::start(None);
    let name = Name::new(1, 1, 1);
    let file = name.small();
    server.store("/dicom-web", [&file]).expect(200);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("stowage");
    let run = |server: &Server, command: &str| {
        let command = command.replace("/backup/stowage", place.to_str().unwrap());
        let arguments: Vec<&str> = command.split(' ').collect();
        let output = server.command(&arguments);
        assert!(output.status.success(), "{command}: {}", said(&output));
    };
    run(&server, &printed("stowage backup --to"));
    server.terminate();
    server.wait();
    fs::remove_dir_all(server.data()).unwrap();
    run(&server, &printed("stowage restore-backup --from"));
    server.restart();
    assert!(server.stored(&name).as_ref() == Some(&file.bytes));
}

#[cfg(feature = "cloud")]
#[test]
fn an_object_store_holds_backups_and_gives_them_back() {
    use crate::support::s3::{KEY, S3, SECRET};
    let s3 = S3::start();
    let settings = [
        ("STOWAGE_BLOB_URL", s3.url("archive")),
        ("STOWAGE_S3_ENDPOINT", s3.endpoint()),
        ("AWS_ACCESS_KEY_ID", KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
    ];
    let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let mut server = Server::with(&settings);
    let names: Vec<Name> = (1..=5).map(|n| Name::new(n, 1, n)).collect();
    let files: Vec<_> = names.iter().map(|name| name.with_bulk(400_000)).collect();
    server.store("/dicom-web", &files).expect(200);
    let large = Name::new(60, 1, 1);
    let large_file = large.with_bulk(2 << 20);
    server.store("/dicom-web", [&large_file]).expect(200);
    let to = s3.url("saved");
    let first = back_up(&server, &to, &["--verify"]);
    assert!(first.contains("6 blobs; 6 blobs copied"), "{first}");
    assert!(first.contains("0 problems in the backup"), "{first}");
    let second = back_up(&server, &to, &[]);
    assert!(second.contains("6 blobs; 0 blobs copied"), "{second}");
    // From one prefix of the bucket into another one.
    let other = s3.url("other");
    server.set("STOWAGE_BLOB_URL", Some(&other));
    restore_into(&mut server, &to, &[]);
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(&file.bytes));
    }
    assert!(server.stored(&large).as_ref() == Some(&large_file.bytes));
    server.fsck();
}
