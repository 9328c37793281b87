//! Commands and DIMSE peers know partitions.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};

use super::{ON, image, names};
use crate::support::dicom::Name;
use crate::support::postgres;
use crate::support::server::Server;

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

/// The stored bytes of an instance in a partition.
fn bytes(server: &Server, partition: &str, name: &Name) -> Vec<u8> {
    let target = format!("/v2/partitions/{partition}{}", name.path());
    let answer = server.get_as(&target, "application/dicom; transfer-syntax=*");
    answer.expect(200).body
}

const HELD: [(&str, &str); 3] = [
    ("Microsoft.Default", "DEFAULT"),
    ("north", "NORTH"),
    ("south-2.b_c", "SOUTH"),
];

fn fill(server: &Server, name: &Name) {
    for (partition, seed) in HELD {
        let root = format!("/v2/partitions/{partition}");
        server.store(&root, [&image(name, seed)]).expect(200);
    }
}

#[track_caller]
fn check(server: &Server, name: &Name) {
    for (partition, seed) in HELD {
        assert!(
            bytes(server, partition, name) == image(name, seed).bytes,
            "{partition}"
        );
        let target = format!("/v2/partitions/{partition}/studies");
        let found = server.get(&target).expect(200).json();
        assert_eq!(found[0]["00100020"]["Value"], json!([seed]));
        assert_eq!(found.as_array().unwrap().len(), 1);
    }
    assert!(server.fsck().contains("3 instances, "));
}

#[test]
fn an_index_made_again_from_blobs_alone_has_every_instance_in_its_partition() {
    let mut server = Server::with(&ON);
    let name = Name::new(650, 1, 1);
    fill(&server, &name);
    server.terminate();
    server.wait();
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm"] {
        let _ = fs::remove_file(server.data().join(file));
    }
    // Also while they are switched off: what is there is there.
    let made = server.command_with(&[("STOWAGE_PARTITIONS", "off")], &["reindex"]);
    assert!(text(&made).contains("3 instances added"), "{}", text(&made));
    server.restart();
    let mut listed = names(&server);
    listed.sort();
    assert_eq!(listed, HELD.map(|(partition, _)| partition));
    check(&server, &name);
    let again = server.command(&["reindex"]);
    assert!(text(&again).contains("3 known"), "{}", text(&again));
}

#[test]
fn partitions_move_to_another_database_and_back() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let Some(url) = runtime.unwrap().block_on(postgres::empty_database()) else {
        return;
    };
    let mut server = Server::with(&ON);
    let name = Name::new(651, 1, 1);
    fill(&server, &name);
    let before: Value = server.get("/v2/partitions").json();
    server.terminate();
    server.wait();
    let own = format!("sqlite://{}", server.data().join("index.sqlite").display());
    let back = format!("sqlite://{}", server.data().join("back.sqlite").display());
    for (number, (from, to)) in (1..).zip([(&own, &url), (&url, &back)]) {
        let moved = server.command(&["move-index", "--from", from, "--to", to]);
        assert!(moved.status.success(), "{}", text(&moved));
        let reported = format!("data_partition: {} rows", number + 2);
        assert!(text(&moved).contains(&reported), "{}", text(&moved));
        server.set("STOWAGE_DATABASE_URL", Some(to));
        server.restart();
        let listed = server.get("/v2/partitions").json();
        let known = listed.as_array().unwrap();
        assert_eq!(known[..3], before.as_array().unwrap()[..3]);
        check(&server, &name);
        // Numbers go on behind those that came along.
        let more = Name::new(652, 1, 1);
        let root = format!("/v2/partitions/more-{number}");
        server.store(&root, [&more.small()]).expect(200);
        server
            .request("DELETE", &format!("{root}{}", more.study_path()))
            .send()
            .expect(204);
        server.terminate();
        server.wait();
    }
}

#[test]
fn files_come_into_a_partition_and_out_of_it() {
    let server = Server::with(&ON);
    let name = Name::new(653, 1, 1);
    fill(&server, &name);
    let out = tempfile::tempdir().unwrap();
    let folder = out.path().to_str().unwrap();
    let exported = server.command(&[
        "export",
        "--partition",
        "north",
        "--to",
        folder,
        &name.study,
    ]);
    assert!(exported.status.success(), "{}", text(&exported));
    let file = out.path().join(&name.study).join(&name.series);
    let file = file.join(format!("{}.dcm", name.instance));
    assert!(fs::read(&file).unwrap() == image(&name, "NORTH").bytes);
    let journal = out.path().join("journal");
    let import = |partition: &str, settings: &[(&str, &str)]| {
        let journal = journal.to_str().unwrap();
        let file = file.to_str().unwrap();
        let arguments = [
            "import",
            "--partition",
            partition,
            "--journal",
            journal,
            file,
        ];
        server.command_with(settings, &arguments)
    };
    for partition in ["west", "east"] {
        let imported = import(partition, &[]);
        assert!(
            text(&imported).contains("1 instances stored"),
            "{}",
            text(&imported)
        );
        assert!(bytes(&server, partition, &name) == image(&name, "NORTH").bytes);
    }
    assert!(text(&import("west", &[])).contains("1 skipped"));
    let off = import("far", &[("STOWAGE_PARTITIONS", "off")]);
    assert!(!off.status.success() && text(&off).contains("STOWAGE_PARTITIONS=on"));
    let wrong = import("a b", &[]);
    assert!(!wrong.status.success());
    let missing = server.command(&["export", "--partition", "far", "--to", folder, &name.study]);
    assert!(
        text(&missing).contains("there is no partition far"),
        "{}",
        text(&missing)
    );
    assert_eq!(names(&server).len(), 5);
}

#[test]
fn a_repair_removes_the_row_of_the_right_partition() {
    let server = Server::with(&ON);
    let name = Name::new(654, 1, 1);
    fill(&server, &name);
    let lost = server.blob_files().into_iter();
    let lost = lost.filter(|file| file.to_string_lossy().contains("/partitions/north/"));
    let lost: Vec<_> = lost.collect();
    assert_eq!(lost.len(), 1);
    fs::remove_file(&lost[0]).unwrap();
    let checked = server.command(&["fsck", "--repair"]);
    assert!(
        text(&checked).contains("in the partition north"),
        "{}",
        text(&checked)
    );
    server
        .get(&format!("/v2/partitions/north{}", name.path()))
        .expect(404);
    for (partition, seed) in [HELD[0], HELD[2]] {
        assert!(bytes(&server, partition, &name) == image(&name, seed).bytes);
    }
    assert!(server.fsck().contains("0 problems"));
}
