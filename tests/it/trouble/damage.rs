//! Damage is found, remembered and told once; it ends when the same instance is stored or imported again, or its bytes are
//! put back.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{STORED, blob_of};
use crate::support::prelude::*;
use crate::support::server::on_each_index_process;

const PAGE: &str = include_str!("../../../docs/operations.md");

/// A sample of the counts of a server.
fn count(server: &Deployment, sample: &str) -> u64 {
    let text = server.get("/metrics").expect(200).text();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    found.parse().expect("a number")
}

fn wait_for_damaged(server: &Deployment, damaged: u64) {
    wait_until("the damage is counted", || {
        count(server, "stowage_damaged_instances") == damaged
    });
}

/// Ways to damage a blob; the last one shows only to who compares digests.
const DAMAGES: [fn(&Path); 3] = [
    |blob| fs::remove_file(blob).unwrap(),
    |blob| {
        let bytes = fs::read(blob).unwrap();
        fs::write(blob, &bytes[..bytes.len() / 2]).unwrap();
    },
    flip,
];

fn flip(blob: &Path) {
    let mut bytes = fs::read(blob).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(blob, bytes).unwrap();
}

#[test]
fn an_instance_whose_blob_is_lost_is_whole_again_when_it_is_stored_again() {
    on_each_index_process(&[], |server| {
        for (root, series) in [("/dicom-web", 1), ("/v2", 2)] {
            let names = [1, 2].map(|instance| Name::new(1, series, instance));
            for (name, damage) in names.iter().zip(&DAMAGES[..2]) {
                let file = name.with_bulk(3000);
                server.store("/dicom-web", [&file]).expect(200);
                damage(&blob_of(server, name));
                // Nobody has read it: the store itself looks.
                server.store(root, [&file]).expect(200);
                assert!(server.stored(name).as_ref() == Some(&file.bytes));
                let frames = format!("/dicom-web{}/metadata", name.path());
                server.get(&frames).expect(200);
            }
        }
        assert_eq!(count(server, "stowage_healed_instances_total"), 4);
        let said = server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
        assert!(!server.log().contains("is damaged"), "{}", server.log());
    });
}

#[test]
fn damage_that_a_read_finds_is_remembered_told_once_and_ends_with_the_next_store() {
    on_each_index_process(&[], |server| {
        let names = [1, 2, 3].map(|instance| Name::new(1, 1, instance));
        let files = names.each_ref().map(|name| name.with_bulk(3000));
        server.store("/dicom-web", &files).expect(200);
        for (name, damage) in names.iter().zip(DAMAGES) {
            damage(&blob_of(server, name));
            for _ in 0..3 {
                let target = format!("/dicom-web{}", name.path());
                server.get_as(&target, STORED).expect(500);
            }
        }
        wait_for_damaged(server, 3);
        let log = server.log();
        for name in &names {
            let reported =
                |line: &&str| line.contains("is damaged") && line.contains(&name.instance);
            assert_eq!(log.lines().filter(reported).count(), 1, "{log}");
        }
        // It is remembered by the index, not by the process.
        server.terminate();
        server.wait();
        server.restart();
        wait_for_damaged(server, 3);
        server.store("/dicom-web", &files).expect(200);
        for (name, file) in names.iter().zip(&files) {
            assert!(server.stored(name).as_ref() == Some(&file.bytes));
        }
        wait_for_damaged(server, 0);
        server.fsck();
    });
}

#[test]
fn fsck_remembers_damage_until_the_bytes_are_back_or_the_instance_is_deleted() {
    on_each_index(|server| {
        let names = [1, 2].map(|instance| Name::new(1, instance, 1));
        let files = names.each_ref().map(|name| name.with_bulk(3000));
        server.store("/dicom-web", &files).expect(200);
        let fsck = |arguments: &[&str]| {
            let output = server.command(&[&["fsck", "--young-seconds", "0"], arguments].concat());
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            (output.status.code(), said)
        };
        for name in &names {
            flip(&blob_of(server, name));
        }
        let (code, said) = fsck(&["--digests"]);
        assert!(code == Some(1) && said.contains("2 problems"), "{said}");
        wait_for_damaged(server, 2);
        // Those that are known to be damaged are looked at whole without being told to.
        let (code, said) = fsck(&[]);
        assert!(code == Some(1) && said.contains("2 problems"), "{said}");
        fs::write(blob_of(server, &names[0]), &files[0].bytes).unwrap();
        let (code, said) = fsck(&[]);
        assert!(code == Some(1) && said.contains("1 problems"), "{said}");
        wait_for_damaged(server, 1);
        let path = format!("/dicom-web{}", names[1].study_path());
        server.request("DELETE", &path).send().expect(204);
        wait_for_damaged(server, 0);
        server.fsck();
    });
}

#[test]
fn an_import_mends_what_is_damaged() {
    on_each_index(|server| {
        let name = Name::new(1, 1, 1);
        let file = name.with_bulk(3000);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("again.dcm"), &file.bytes).unwrap();
        let from = folder.path().to_str().expect("a plain path");
        assert!(server.command(&["import", from]).status.success());
        fs::remove_file(blob_of(server, &name)).unwrap();
        assert!(server.command(&["import", from]).status.success());
        assert!(server.stored(&name).as_ref() == Some(&file.bytes));
        server.fsck();
    });
}

#[test]
fn fsck_says_how_many_blobs_were_too_young_to_judge() {
    let server = TestApp::start(None);
    let files = [1, 2].map(|instance| Name::new(1, 1, instance).small());
    server.store("/dicom-web", &files).expect(200);
    let output = server.command(&["fsck"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(said.contains("2 instances, 0 blobs"), "{said}");
    assert!(said.contains("2 more blobs are younger than"), "{said}");
    assert!(!server.fsck().contains("younger"));
}

/// Runs the command below the comment `what` of the section about damage, in a folder that holds `data` and `backup`;
/// returns the exit code and what was printed.
fn printed(server: &Deployment, folder: &Path, what: &str) -> (Option<i32>, String) {
    let section = PAGE
        .split("\n## Damage was found: what now\n")
        .nth(1)
        .expect("the section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut lines = section.lines();
    let command = lines
        .find(|line| line.strip_prefix("# ") == Some(what))
        .and_then(|_| lines.next())
        .expect("the command");
    let program: PathBuf = env!("CARGO_BIN_EXE_stowage").into();
    let programs = program.parent().expect("it lies in a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut shell = Command::new("bash");
    shell
        .args([
            "-euc",
            &command.replace("http://127.0.0.1:8080", server.url()),
        ])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("STOWAGE_DATA_DIR", server.data())
        .current_dir(folder);
    if let Some(url) = server.setting("STOWAGE_DATABASE_URL") {
        shell.env("STOWAGE_DATABASE_URL", url);
    }
    let output = shell.output().expect("bash can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), format!("{said}{errors}"))
}

#[test]
fn what_the_page_prints_mends_damage() {
    on_each_index_process(&[], |server| {
        let names = [1, 2, 3].map(|instance| Name::new(1, 1, instance));
        let files = names.each_ref().map(|name| name.with_bulk(3000));
        server.store("/dicom-web", &files).expect(200);
        let folder = tempfile::tempdir().unwrap();
        symlink(server.data(), folder.path().join("data")).unwrap();
        fs::create_dir(folder.path().join("backup")).unwrap();
        let (code, said) = printed(server, folder.path(), "a backup as above");
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = printed(server, folder.path(), "see what is damaged");
        assert!(code == Some(0) && said.contains(" 0 problems"), "{said}");

        // From the backup: a bit, without a trace in size or time.
        let blob = blob_of(server, &names[0]);
        let times = fs::metadata(&blob).unwrap().modified().unwrap();
        flip(&blob);
        fs::File::options()
            .write(true)
            .open(&blob)
            .unwrap()
            .set_modified(times)
            .unwrap();
        let (code, said) = printed(server, folder.path(), "see what is damaged");
        assert!(code == Some(1) && said.contains(" 1 problems"), "{said}");
        let (code, said) = printed(server, folder.path(), "put blobs back from the backup");
        assert_eq!(code, Some(0), "{said}");
        let (code, said) = printed(server, folder.path(), "look again");
        assert!(code == Some(0) && said.contains(" 0 problems"), "{said}");
        assert!(server.stored(&names[0]).as_ref() == Some(&files[0].bytes));

        // By sending it again.
        fs::remove_file(blob_of(server, &names[1])).unwrap();
        fs::write(folder.path().join("again.dcm"), &files[1].bytes).unwrap();
        let (code, said) = printed(server, folder.path(), "or send an instance again");
        assert_eq!(code, Some(0), "{said}");
        assert!(server.stored(&names[1]).as_ref() == Some(&files[1].bytes));

        // Gone for good.
        fs::remove_file(blob_of(server, &names[2])).unwrap();
        let (_, said) = printed(server, folder.path(), "give up what is missing for good");
        assert!(said.contains(" 1 mended"), "{said}");
        assert_eq!(server.stored(&names[2]), None);
        let (code, said) = printed(server, folder.path(), "look again");
        assert!(code == Some(0) && said.contains(" 0 problems"), "{said}");
        wait_for_damaged(server, 0);
    });
}
