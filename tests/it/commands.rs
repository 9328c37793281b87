//! The sub-commands that work on the stores: check, rebuild, export, import.

use std::fs;

use clap::CommandFactory;
use stowage::config::Cli;

use crate::support::dicom::Name;
use crate::support::multipart;
use crate::support::postgres;
use crate::support::server::{Server, on_each_index_process, wait_until};

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
    on_each_index_process(&[], |server| {
        let names = store(server);
        assert!(server.fsck().contains("0 problems"));
        let blobs = server.blob_files();
        let sound = fs::read(&blobs[0]).unwrap();
        let mut flipped = sound.clone();
        let last = flipped.len() - 1;
        flipped[last] ^= 1;
        fs::write(&blobs[0], flipped).unwrap();
        fs::remove_file(&blobs[1]).unwrap();
        let reported = server.command(&["fsck", "--digests", "--young-seconds", "0"]);
        let text = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert_eq!(reported.status.code(), Some(1), "{text}");
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
        // The flipped bit is remembered, and told until the bytes are back.
        let reported = server.command(&["fsck", "--young-seconds", "0"]);
        let text = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert_eq!(reported.status.code(), Some(1), "{text}");
        assert!(text.contains("other bytes than were stored"), "{text}");
        assert!(text.contains("1 problems"), "{text}");
        fs::write(&blobs[0], sound).unwrap();
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
    let reported = server.command(&["reindex"]);
    let text = String::from_utf8_lossy(&reported.stdout).into_owned();
    assert!(
        reported.status.success() && text.contains("3 instances added"),
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
    let reported = server.command(&["export", "--to", to, &study]);
    assert!(
        reported.status.success(),
        "{}",
        String::from_utf8_lossy(&reported.stderr)
    );
    fs::write(folder.path().join("notes.txt"), "no DICOM").unwrap();
    let other = Server::start(None);
    for _ in 0..2 {
        // The second time everything is found identical: an import that was broken off is started again.
        let reported = other.command(&["import", to]);
        let text = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert_eq!(
            reported.status.code(),
            Some(1),
            "one file is refused: {text}"
        );
        assert!(
            text.contains("3 instances stored or found identical, 1 files refused, 0 skipped"),
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
    on_each_index_process(&[], |server| {
        let names: Vec<Name> = (1..=12).map(|n| Name::new(901, 1, n)).collect();
        let files: Vec<_> = names.iter().map(Name::small).collect();
        server.store("/dicom-web", &files).expect(200);
        let away = tempfile::tempdir().unwrap();
        let blobs: Vec<_> = server.blob_files();
        for (number, blob) in blobs.iter().enumerate() {
            fs::rename(blob, away.path().join(number.to_string())).unwrap();
        }
        let reported = server.command(&["fsck", "--repair", "--young-seconds", "0"]);
        let text = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert_eq!(reported.status.code(), Some(1), "{text}");
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
    on_each_index_process(&[], |server| {
        let names: Vec<Name> = (1..=6).map(|n| Name::new(902, 1, n)).collect();
        let folder = tempfile::tempdir().unwrap();
        for name in &names {
            let file = folder.path().join(&name.instance);
            fs::write(file, name.small().bytes).unwrap();
        }
        let from = folder.path().to_str().unwrap();
        for fault in ["blob.synced:3", "insert.changes:1", "commit.done:1"] {
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
fn an_export_that_was_broken_off_is_simply_started_again() {
    on_each_index_process(&[], |server| {
        let names: Vec<Name> = (1..=6).map(|n| Name::new(904, 1, n)).collect();
        let files: Vec<_> = names.iter().map(|name| name.with_bulk(9000)).collect();
        server.store("/dicom-web", &files).expect(200);
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().to_str().unwrap();
        let study = names[0].study.to_string();
        let series = folder.path().join(&study).join(&names[0].series);
        let exported = |name: &Name| fs::read(series.join(format!("{}.dcm", name.instance))).ok();
        for (fault, whole) in [("export.written:1", 0), ("export.renamed:2", 2)] {
            let died =
                server.command_with(&[("STOWAGE_FAULT", fault)], &["export", "--to", to, &study]);
            assert_eq!(died.status.code(), None, "{fault}: it ends by a signal");
            let found: Vec<_> = names.iter().zip(&files).collect();
            let found = found
                .iter()
                .filter_map(|(name, file)| Some((exported(name)?, &file.bytes)));
            let found: Vec<_> = found.collect();
            assert_eq!(found.len(), whole, "{fault}");
            assert!(found.iter().all(|(got, sent)| got == *sent), "{fault}");
        }
        // Something else of the same length under the name of an instance is replaced.
        let first = series.join(format!("{}.dcm", names[0].instance));
        fs::write(first, vec![0; files[0].bytes.len()]).unwrap();
        let done = server.command(&["export", "--to", to, &study]);
        assert!(done.status.success(), "{done:?}");
        for (name, file) in names.iter().zip(&files) {
            assert!(exported(name).as_ref() == Some(&file.bytes));
        }
        assert_eq!(fs::read_dir(&series).unwrap().count(), 6, "nothing beside");
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

/// A power loss may leave a name at bytes that are not all there, and a disk may change them later.
#[test]
fn a_lost_index_gets_no_instance_whose_bytes_are_not_those_of_its_key() {
    let mut server = Server::start(None);
    let name = Name::new(904, 1, 1);
    let older = name.with_bulk(2000);
    server.store("/dicom-web", [&older]).expect(200);
    let replaced = server
        .request("PUT", "/dicom-web/studies")
        .header("Content-Type", &multipart::content_type())
        .body(multipart::body([name.with_bulk(5000).bytes.as_slice()]))
        .send();
    assert_eq!(replaced.status, 200);
    let other = Name::new(904, 2, 2);
    server
        .store("/dicom-web", [&other.with_bulk(4000)])
        .expect(200);
    server.kill();
    server.wait();
    let blobs = server.blob_files();
    let of_length = |length: usize| {
        let is_it = |path: &&std::path::PathBuf| {
            let found = fs::metadata(path).unwrap().len();
            found > length as u64 && found < length as u64 + 1000
        };
        blobs.iter().find(is_it).unwrap()
    };
    // In the middle of a value, so that both can still be parsed.
    for length in [5000, 4000] {
        let path = of_length(length);
        let mut bytes = fs::read(path).unwrap();
        let end = bytes.len();
        bytes[end - 100..].fill(0xEE);
        fs::write(path, bytes).unwrap();
    }
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = fs::remove_file(server.data().join(file));
    }
    let reported = server.command(&["reindex"]);
    let text = String::from_utf8_lossy(&reported.stdout).into_owned();
    assert!(
        text.contains("1 instances added") && text.contains("2 refused"),
        "{text}"
    );
    server.restart();
    // The version before is whole.
    assert!(server.stored(&name) == Some(older.bytes));
    assert_eq!(server.stored(&other), None);
}

/// What a reader of the archive sees: searches, metadata, tags, and the whole feed.
fn seen(server: &Server) -> Vec<String> {
    [
        "/dicom-web/studies?includefield=all",
        "/dicom-web/series?includefield=all",
        "/dicom-web/instances?includefield=all",
        "/dicom-web/studies?PatientName=*o*",
        "/v2/studies?StudyDescription=moved",
        "/v2/extendedquerytags",
        "/v2/changefeed?limit=200&includeMetadata=true",
    ]
    .iter()
    .map(|target| server.get(target).text().replace(server.url(), ""))
    .collect()
}

fn feed(server: &Server) -> Vec<(i64, String)> {
    let feed = server.get("/v2/changefeed?limit=200&includeMetadata=false");
    let entries = feed.expect(200).json();
    let entry = |entry: &serde_json::Value| {
        let instance = entry["sopInstanceUid"].as_str().unwrap().to_owned();
        (entry["sequence"].as_i64().unwrap(), instance)
    };
    entries.as_array().unwrap().iter().map(entry).collect()
}

/// An index with everything in it: names, deleted instances, a query tag, trash.
fn fill(server: &Server) -> Vec<Name> {
    let mut names: Vec<Name> = (1..=12).map(|n| Name::new(910 + n % 3, n % 4, n)).collect();
    let files: Vec<_> = names.iter().map(Name::small).collect();
    server.store("/dicom-web", &files).expect(200);
    let tag = r#"[{"path":"PatientAge","level":"Study"}]"#;
    let added = server
        .request("POST", "/v2/extendedquerytags")
        .header("Content-Type", "application/json")
        .body(tag)
        .send();
    added.expect(202);
    wait_until("the tag is ready", || {
        server
            .get("/v2/extendedquerytags")
            .text()
            .to_ascii_lowercase()
            .contains("\"ready\"")
    });
    // The newest ones are deleted: their numbers are in no table of instances any more.
    for name in names.split_off(9) {
        let deleted = server.request("DELETE", &format!("/v2{}", name.path()));
        deleted.send().expect(204);
    }
    names
}

#[test]
fn the_index_moves_to_postgres_and_back_and_nobody_sees_a_difference() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let Some(url) = runtime.block_on(postgres::empty_database()) else {
        return;
    };
    let mut server = Server::start(None);
    let names = fill(&server);
    let (stored, before, reported) = (bytes(&server, &names), seen(&server), feed(&server));
    server.terminate();
    server.wait();
    let back = format!("sqlite://{}", server.data().join("back.sqlite").display());
    let own = format!("sqlite://{}", server.data().join("index.sqlite").display());
    for (from, to) in [(&own, &url), (&url, &back)] {
        let moved = server.command(&["move-index", "--from", from, "--to", to]);
        let text = String::from_utf8_lossy(&moved.stdout).into_owned();
        let errors = String::from_utf8_lossy(&moved.stderr).into_owned();
        assert!(moved.status.success(), "{text}{errors}");
        assert!(
            text.contains("instance: 9 rows") && text.contains("moved; both agree"),
            "{text}"
        );
        server.set("STOWAGE_DATABASE_URL", Some(to));
        server.restart();
        assert_eq!(seen(&server), before);
        assert_eq!(bytes(&server, &names), stored);
        assert!(server.fsck().contains("0 problems"));
        server.terminate();
        server.wait();
    }
    // The feed goes on behind everything that was ever told, also of what is deleted.
    server.set("STOWAGE_DATABASE_URL", Some(&url));
    server.restart();
    let more = Name::new(920, 1, 1);
    server.store("/v2", [&more.small()]).expect(200);
    let after = feed(&server);
    assert_eq!(after[..reported.len()], reported);
    let [(sequence, instance)] = &after[reported.len()..] else {
        panic!("{after:?}");
    };
    assert_eq!(instance, &more.instance);
    assert!(
        *sequence
            > reported
                .iter()
                .map(|(sequence, _)| *sequence)
                .max()
                .unwrap()
    );
    assert!(server.fsck().contains("0 problems"));
}

#[test]
fn an_index_is_not_moved_over_another_and_a_difference_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let Some(url) = runtime.block_on(postgres::database()) else {
        return;
    };
    let mut server = Server::start(None);
    fill(&server);
    server.terminate();
    server.wait();
    server.set("STOWAGE_DATABASE_URL", Some(&url));
    let run = |arguments: &[&str]| {
        let output = server.command(&[&["move-index"], arguments].concat());
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let (code, said) = run(&["--check"]);
    assert!(code == Some(1) && said.contains("they differ"), "{said}");
    // Broken off in the middle, nothing is there, and it is simply started again.
    let (code, said) = run(&["--from", "sqlite:///nowhere/index.sqlite"]);
    assert!(code == Some(3) && said.contains("no file"), "{said}");
    let (code, said) = run(&[]);
    assert!(code == Some(0) && said.contains("both agree"), "{said}");
    let (code, said) = run(&["--check"]);
    assert!(code == Some(0) && said.contains("both agree"), "{said}");
    let (code, said) = run(&[]);
    assert!(
        code == Some(3) && said.contains("empty database only"),
        "{said}"
    );
    let (code, said) = run(&["--from", &url, "--to", &url]);
    assert!(code == Some(3) && said.contains("where it is"), "{said}");
}

#[test]
fn an_import_goes_on_where_its_journal_ends_and_lists_what_it_refused() {
    let server = Server::start(None);
    let names = store(&server);
    let folder = tempfile::tempdir().unwrap();
    let files = folder.path().join("files");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let study = names[0].study.clone();
    let exported = server.command(&["export", "--to", &path("files"), &study]);
    assert!(exported.status.success(), "{exported:?}");
    fs::write(files.join("a.txt"), "no DICOM").unwrap();
    fs::write(files.join("b.dcm"), "").unwrap();
    let other = Server::start(None);
    let (journal, refused) = (path("journal"), path("refused"));
    let import = |expected: &str| {
        let arguments = [
            "import",
            "--journal",
            &journal,
            "--refused",
            &refused,
            &path("files"),
        ];
        let reported = other.command(&arguments);
        let text = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert_eq!(reported.status.code(), Some(1), "{text}");
        assert!(text.contains(expected), "{text}");
        let list = fs::read_to_string(&refused).unwrap();
        let mut paths: Vec<&str> = list
            .lines()
            .map(|line| {
                let (path, reason) = line.split_once('\t').unwrap();
                assert!(reason.len() > 10, "{line}");
                path.rsplit('/').next().unwrap()
            })
            .collect();
        paths.sort_unstable();
        assert_eq!(paths, ["a.txt", "b.dcm"]);
    };
    import("3 instances stored or found identical, 2 files refused, 0 skipped");
    assert_eq!(bytes(&other, &names), bytes(&server, &names));
    import("0 instances stored or found identical, 2 files refused, 3 skipped");
    // A run that was killed may have left half a line, and one file changed since.
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, &text[..text.len() - 5]).unwrap();
    import("1 instances stored or found identical, 2 files refused, 2 skipped");
    import("0 instances stored or found identical, 2 files refused, 3 skipped");
}

#[test]
fn exit_codes_tell_what_kind_of_failure_it_was() {
    let server = Server::start(None);
    let code = |arguments: &[&str]| server.command(arguments).status.code();
    assert_eq!(code(&["fsck"]), Some(0));
    assert_eq!(code(&["import"]), Some(2));
    assert_eq!(code(&["no-such-command"]), Some(2));
    assert_eq!(code(&["export", "--to", "/tmp", "no-uid"]), Some(3));
    assert_eq!(code(&["--database-url", "ftp://x", "fsck"]), Some(3));
    // The address of the settings has port 0, where nobody answers.
    assert_eq!(code(&["health"]), Some(1));
    let address = server.address().to_owned();
    assert_eq!(code(&["health", "--listen", &address]), Some(0));
}

#[test]
fn every_command_has_a_manual_page_that_names_its_options() {
    let server = Server::start(None);
    let folder = server.data().join("man/man1");
    let page = server.command(&["man"]);
    assert!(page.status.success(), "{page:?}");
    let page = String::from_utf8_lossy(&page.stdout).into_owned();
    let title = format!(".TH stowage 1  \"stowage {}\"", env!("CARGO_PKG_VERSION"));
    for reported in [
        title.as_str(),
        "\\-\\-data\\-dir",
        "STOWAGE_DATA_DIR",
        "stowage\\-move\\-index(1)",
        "Exit codes:",
    ] {
        assert!(page.contains(reported), "{reported} in\n{page}");
    }
    let written = server.command(&["man", "--to", folder.to_str().unwrap()]);
    assert!(written.status.success() && written.stdout.is_empty());
    let of = |name: &str| fs::read_to_string(folder.join(format!("{name}.1"))).unwrap();
    assert_eq!(of("stowage"), page);
    let import = of("stowage-import");
    assert!(import.contains("\\-\\-journal"), "{import}");
    for command in Cli::command().get_subcommands() {
        let page = of(&format!("stowage-{}", command.get_name()));
        let about = command
            .get_about()
            .expect("every command says what it does");
        let first = about.to_string().replace('-', "\\-");
        assert!(page.contains(&first), "{first} in\n{page}");
    }
    let file = server.data().join("index.sqlite");
    let refused = server.command(&["man", "--to", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3));
}

#[test]
fn shells_get_completions_and_help_tells_the_exit_codes() {
    let server = Server::start(None);
    let said = |arguments: &[&str]| {
        let output = server.command(arguments);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    for shell in ["bash", "zsh", "fish"] {
        let script = said(&["completions", shell]);
        assert!(
            script.contains("move-index") && script.contains("journal"),
            "{shell}"
        );
    }
    let bash = said(&["completions", "bash"]);
    // In a file: it is longer than one argument may be.
    let script = server.data().join("completions");
    fs::write(&script, bash).unwrap();
    let checked = std::process::Command::new("bash")
        .arg("-n")
        .arg(&script)
        .status();
    assert!(checked.unwrap().success());
    let help = said(&["--help"]);
    for reported in [
        "Exit codes:",
        "Examples:",
        "STOWAGE_DATA_DIR",
        "Limits:",
        "Access:",
    ] {
        assert!(help.contains(reported), "{reported} in\n{help}");
    }
}

#[test]
fn a_check_of_the_wrong_store_notes_no_damage_and_mends_nothing() {
    on_each_index_process(&[], |server| {
        let names: Vec<Name> = (1..=12).map(|n| Name::new(903, 1, n)).collect();
        let files: Vec<_> = names.iter().map(Name::small).collect();
        server.store("/dicom-web", &files).expect(200);
        let wrong = tempfile::tempdir().unwrap();
        let foreign = wrong.path().join("aa.dcm");
        fs::write(&foreign, "of somebody else").unwrap();
        let url = format!("file://{}", wrong.path().display());
        let check = ["fsck", "--repair", "--young-seconds", "0"];
        let reported = server.command_with(&[("STOWAGE_BLOB_URL", &url)], &check);
        let text = String::from_utf8_lossy(&reported.stdout).into_owned();
        assert_eq!(reported.status.code(), Some(1), "{text}");
        assert!(text.contains("STOWAGE_BLOB_URL"), "{text}");
        assert!(text.contains("12 instances, 0 blobs: 1 problems"), "{text}");
        server.fsck();
        assert_eq!(bytes(server, &names).into_iter().flatten().count(), 12);
        assert!(foreign.exists());
    });
}
