//! `stowage echo`, `send` and `fetch`.

use std::fs;
use std::process::Output;

use super::{data_set, folder, gateway_with, port, stored, write};
use crate::support::dicom::Name;
use crate::support::proxy::free_port;
use crate::support::server::Server;

fn said(output: &Output) -> (Option<i32>, String) {
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Two servers that know each other, by the titles OLD and NEW.
fn two() -> (tempfile::TempDir, Server, Server) {
    let own = tempfile::tempdir().expect("a folder");
    let peers = own.path().join("peers.json");
    let (old, new) = (free_port(), free_port());
    let text = format!(
        r#"[{{"aeTitle": "OLD", "host": "127.0.0.1", "port": {old}}}, {{"aeTitle": "NEW", "host": "127.0.0.1", "port": {new}}},
            {{"aeTitle": "AWAY", "host": "127.0.0.1", "port": 1}}]"#
    );
    fs::write(&peers, text).expect("written");
    let peers = peers.to_str().expect("a text");
    let start = |title, port: u16| {
        let listen = format!("127.0.0.1:{port}");
        gateway_with(&[
            ("STOWAGE_DIMSE_PEERS", peers),
            ("STOWAGE_DIMSE_AE_TITLE", title),
            ("STOWAGE_DIMSE_LISTEN", &listen),
        ])
        .0
    };
    let (old, new) = (start("OLD", old), start("NEW", new));
    (own, old, new)
}

#[test]
fn what_is_sent_and_fetched_arrives_and_a_journal_goes_on() {
    let (_own, old, new) = two();
    assert_ne!(port(&old), port(&new));
    assert_eq!(said(&new.command(&["echo", "OLD"])).0, Some(0));
    let (code, text) = said(&new.command(&["echo", "AWAY"]));
    assert!(
        code == Some(1) && text.contains("cannot be reached"),
        "{text}"
    );
    let (code, text) = said(&new.command(&["echo", "NOBODY"]));
    assert!(
        code == Some(3) && text.contains("NOBODY has no entry"),
        "{text}"
    );
    // Files and folders.
    let names = [Name::new(1, 1, 1), Name::new(1, 1, 2), Name::new(2, 1, 1)];
    let files: Vec<_> = names.iter().map(Name::small).collect();
    let inbox = folder(&new).join("inbox");
    fs::create_dir(&inbox).expect("a folder");
    for (number, file) in files.iter().enumerate() {
        fs::write(inbox.join(number.to_string()), &file.bytes).expect("written");
    }
    write(&new, "inbox/note.txt", b"no DICOM file");
    let (code, text) = said(&new.command(&["send", "OLD", "inbox", "--journal", "sent"]));
    assert!(
        code == Some(1) && text.contains("3 sent, 1 failed"),
        "{text}"
    );
    assert!(text.contains("note.txt: is no DICOM file"), "{text}");
    let (_, text) = said(&new.command(&["send", "OLD", "inbox", "--journal", "sent"]));
    assert!(text.contains("0 sent, 1 failed"), "{text}");
    for (name, file) in names.iter().zip(&files) {
        let there = stored(&old, &name.instance).expect("it arrived");
        assert!(data_set(&there) == data_set(&file.bytes));
    }
    // By keys, and again; then what is stored by its UID.
    let fetch = [
        "fetch",
        "OLD",
        "StudyInstanceUID=1.2.3.1",
        "--journal",
        "fetched",
    ];
    let (code, text) = said(&new.command(&fetch));
    assert!(
        code == Some(0) && text.contains("1 studies fetched, 0 failed"),
        "{text}"
    );
    assert!(
        stored(&new, &names[1].instance).is_some() && stored(&new, &names[2].instance).is_none()
    );
    let (_, text) = said(&new.command(&fetch));
    assert!(text.contains("0 studies fetched"), "{text}");
    let (code, text) = said(&old.command(&["send", "NEW", &names[2].study]));
    assert!(
        code == Some(0) && text.contains("1 sent, 0 failed"),
        "{text}"
    );
    let there = stored(&new, &names[2].instance).expect("it arrived");
    assert!(data_set(&there) == data_set(&files[2].bytes));
    let (code, text) = said(&new.command(&["fetch", "OLD", "Nonsense=1"]));
    assert!(
        code == Some(3) && text.contains("is no key of a search"),
        "{text}"
    );
}
