//! Backup and restore: with the commands that `docs/operations.md` prints, and with `stowage backup`.

mod broken;
mod command;
mod load;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use stowage::dicom::testing::BuiltFile;

use crate::support::dicom::Name;
use crate::support::server::{Server, on_each_index_process, run};

const PAGE: &str = include_str!("../../docs/operations.md");

/// Runs the command in the row `what` of a section, in a folder that holds `data` and `backup`.
fn printed(server: &Server, folder: &Path, section: &str, what: &str) {
    let section = PAGE
        .split(&format!("\n## {section}\n"))
        .nth(1)
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let row = section
        .lines()
        .find_map(|line| line.strip_prefix(&format!("| {what} | `")));
    let command = row
        .and_then(|row| row.split('`').next())
        .expect("the command");
    let database = server.setting("STOWAGE_DATABASE_URL").unwrap_or_default();
    // The name of the database may be a whole URL.
    let command = command.replace(" stowage ", &format!(" '{database}' "));
    run(Command::new("bash")
        .args(["-euc", &command])
        .current_dir(folder));
}

#[test]
fn a_backup_made_as_printed_brings_everything_back() {
    on_each_index_process(&[], |server| {
        let index = if server.setting("STOWAGE_DATABASE_URL").is_some() {
            "Postgres"
        } else {
            "SQLite"
        };
        let names: Vec<Name> = (1..=4).map(|study| Name::new(study, 1, 1)).collect();
        let files: Vec<BuiltFile> = names.iter().map(|name| name.with_bulk(3000)).collect();
        let kept = |server: &Server| -> Vec<bool> {
            let same = |(name, file): (&Name, &BuiltFile)| {
                server.stored(name).as_ref() == Some(&file.bytes)
            };
            names.iter().zip(&files).map(same).collect()
        };
        let folder = tempfile::tempdir().unwrap();
        let (data, backup) = (server.data(), folder.path().join("backup"));
        symlink(&data, folder.path().join("data")).unwrap();
        fs::create_dir(&backup).unwrap();

        server.store("/dicom-web", &files[..2]).expect(200);
        printed(server, folder.path(), "Backup", index);
        server.store("/dicom-web", &files[2..3]).expect(200);
        let gone = format!("/dicom-web{}", names[0].study_path());
        server.request("DELETE", &gone).send().expect(204);
        printed(server, folder.path(), "Backup", "folder");
        server.store("/dicom-web", &files[3..]).expect(200);
        assert_eq!(kept(server), [false, true, true, true]);

        server.terminate();
        server.wait();
        fs::remove_dir_all(data.join("blobs")).unwrap();
        printed(server, folder.path(), "Restore", "folder");
        printed(server, folder.path(), "Restore", index);
        let reported = server.command(&["fsck", "--digests", "--young-seconds", "0"]);
        let reported = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert!(
            reported.contains("0 problems, 1 blobs without a row"),
            "{reported}"
        );
        assert!(server.command(&["reindex"]).status.success());
        server.restart();
        assert_eq!(kept(server), [true, true, true, false]);
        assert!(server.fsck().contains("0 problems"));
    });
}
