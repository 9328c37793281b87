//! `stowage upload`.

use std::fs;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::peer::{Peer, Reply, forward, whole};
use super::{lines, said, write_files};
use crate::support::dicom::Name;
use crate::support::server::{Server, wait_until};

/// Runs `upload` where no archive is, with more arguments.
fn upload(client: &Server, to: &str, folder: &Path, more: &[&str]) -> Output {
    let folder = folder.to_str().unwrap();
    client.command(&[&["upload", "--to", to, folder], more].concat())
}

#[test]
fn a_folder_arrives_whole_and_the_exit_code_says_so() {
    let (client, server) = (Server::start(None), Server::start(None));
    let url = format!("{}/dicom-web", server.url());
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<Name> = (1..=40).map(|n| Name::new(n % 3, n % 5, n)).collect();
    let files = write_files(folder.path(), &names);
    fs::write(folder.path().join("notes.txt"), "no DICOM").unwrap();
    fs::write(folder.path().join("empty"), "").unwrap();
    let work = tempfile::tempdir().unwrap();
    let journal = work.path().join("sent.txt");
    let refused = work.path().join("refused.txt");
    let more = [
        "--journal",
        journal.to_str().unwrap(),
        "--refused",
        refused.to_str().unwrap(),
    ];
    let sent = upload(&client, &url, folder.path(), &more);
    let text = said(&sent);
    assert!(sent.status.success(), "{text}");
    assert!(
        text.contains("40 instances arrived, 0 of them were there already, 0 files refused, 2 files are not DICOM"),
        "{text}"
    );
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(&file.bytes));
    }
    let list = fs::read_to_string(&refused).unwrap();
    assert!(
        list.contains("notes.txt\tis no DICOM file") && list.lines().count() == 2,
        "{list}"
    );
    // What arrived is skipped unless it changed, and so it is for another server.
    let changed = Name::new(1, 1, 1).with_bulk(1600);
    let path = folder.path().join("1.2.3.1/1.2.3.1.1.1.dcm");
    fs::write(path, &changed.bytes).unwrap();
    let again = upload(&client, &url, folder.path(), &more);
    let text = said(&again);
    assert_eq!(again.status.code(), Some(1), "{text}");
    assert!(
        text.contains("0 instances arrived") && text.contains("39 skipped by the journal"),
        "{text}"
    );
    assert!(text.contains("1 files refused"), "{text}");
    let list = fs::read_to_string(&refused).unwrap();
    assert!(
        list.contains(
            "the server refuses it (0111): an instance with this SOP Instance UID but other bytes"
        ),
        "{list}"
    );
    // Without a journal everything is found identical.
    let whole = upload(&client, &url, &folder.path().join("1.2.3.2"), &[]);
    assert!(whole.status.success(), "{}", said(&whole));
    let elsewhere = Server::start(None);
    let url = format!("{}/v2", elsewhere.url());
    let sent = upload(&client, &url, &folder.path().join("1.2.3.2"), &more);
    assert!(said(&sent).contains("0 skipped by the journal"));
    // The v2 root says of the same again that it exists.
    let sent = upload(&client, &url, &folder.path().join("1.2.3.2"), &[]);
    let text = said(&sent);
    assert!(
        sent.status.success() && text.contains("13 of them were there already"),
        "{text}"
    );
}

#[test]
fn an_upload_that_was_killed_goes_on_where_it_was() {
    let (client, server) = (Server::start(None), Server::start(None));
    let folder = tempfile::tempdir().unwrap();
    let names: Vec<Name> = (1..=90).map(|n| Name::new(7, n % 5, n)).collect();
    let files = write_files(folder.path(), &names);
    let open = Arc::new(AtomicBool::new(false));
    let (gate, address) = (Arc::clone(&open), server.address().to_owned());
    let posts = AtomicUsize::new(0);
    let peer = Peer::start(move |request| {
        let number = posts.fetch_add(1, Ordering::Relaxed);
        wait_until("the gate is open", || {
            number < 2 || gate.load(Ordering::Relaxed)
        });
        Reply::Raw(forward(&address, request))
    });
    let url = format!("{}/dicom-web", peer.url);
    let work = tempfile::tempdir().unwrap();
    let journal = work.path().join("sent.txt");
    let arguments = [
        "upload",
        "--to",
        &url,
        "--parallel",
        "1",
        "--journal",
        journal.to_str().unwrap(),
        folder.path().to_str().unwrap(),
    ];
    let mut killed = client.begin_command(&arguments);
    wait_until("two requests are in the journal", || lines(&journal) == 64);
    killed.kill().unwrap();
    killed.wait().unwrap();
    // As a crash leaves it: half a line.
    let mut text = fs::read(&journal).unwrap();
    text.extend(b"1500\t17");
    fs::write(&journal, text).unwrap();
    open.store(true, Ordering::Relaxed);
    let sent = client.command(&arguments);
    let text = said(&sent);
    assert!(sent.status.success(), "{text}");
    assert!(
        text.contains("26 instances arrived") && text.contains("64 skipped by the journal"),
        "{text}"
    );
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(&file.bytes));
    }
}

#[test]
fn a_token_comes_from_a_file_or_the_environment_and_goes_to_one_server_only() {
    let client = Server::start(None);
    let server = Server::with(&[("STOWAGE_JWT_SECRET", "a secret of thirty-two bytes or so")]);
    let url = format!("{}/dicom-web", server.url());
    let folder = tempfile::tempdir().unwrap();
    write_files(folder.path(), &[Name::new(1, 1, 1)]);
    let token = server.command(&["token"]).stdout;
    let token = String::from_utf8(token).unwrap();
    let file = folder.path().with_extension("token");
    fs::write(&file, &token).unwrap();
    let with = ["--token-file", file.to_str().unwrap()];
    let none = upload(&client, &url, folder.path(), &[]);
    let text = said(&none);
    assert_eq!(none.status.code(), Some(3), "{text}");
    assert!(text.contains("it answered 401"), "{text}");
    let sent = upload(&client, &url, folder.path(), &with);
    assert!(sent.status.success(), "{}", said(&sent));
    let path = folder.path().to_str().unwrap();
    let set = [("STOWAGE_REMOTE_TOKEN", token.trim())];
    let arguments = ["upload", "--to", &url, path];
    let sent = client.command_with(&set, &arguments);
    assert!(sent.status.success(), "{}", said(&sent));
    assert!(!said(&sent).contains("has no effect"), "{}", said(&sent));
    let both = client.command_with(&set, &[&arguments[..], &with].concat());
    assert_eq!(both.status.code(), Some(3));
    // A redirect is not followed: the token is for nobody else.
    let thief = Peer::always("200 OK", "application/dicom+json", "{}");
    let moved = format!(
        "HTTP/1.1 307 Moved\r\nLocation: {}/studies\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        thief.url
    );
    let mover = Peer::start(move |_| Reply::Raw(moved.clone().into_bytes()));
    let sent = upload(&client, &mover.url, folder.path(), &with);
    let text = said(&sent);
    assert_eq!(sent.status.code(), Some(3), "{text}");
    assert!(text.contains("redirects are not followed"), "{text}");
    assert_eq!(thief.count(), 0);
    let seen = mover.requests.lock().unwrap()[0].clone();
    let bearer = format!("Bearer {}", token.trim());
    assert!(
        seen.headers
            .iter()
            .any(|(name, value)| name.eq_ignore_ascii_case("authorization") && *value == bearer)
    );
    let secret = format!("http://me:secret@{}", server.address());
    let refused = upload(&client, &secret, folder.path(), &[]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(!said(&refused).contains("secret@"), "{}", said(&refused));
    fs::remove_file(file).unwrap();
}

#[test]
fn a_server_that_is_busy_gets_it_later_and_one_that_lies_is_not_believed() {
    let (client, server) = (Server::start(None), Server::start(None));
    let folder = tempfile::tempdir().unwrap();
    let names = [Name::new(3, 1, 1), Name::new(3, 1, 2)];
    let files = write_files(folder.path(), &names);
    // Busy, then gone, then there.
    let address = server.address().to_owned();
    let count = AtomicUsize::new(0);
    let busy = Peer::start(move |request| match count.fetch_add(1, Ordering::Relaxed) {
        0 => Reply::Raw(whole("503 Busy", "text/plain", b"later")),
        1 => Reply::Close,
        _ => Reply::Raw(forward(&address, request)),
    });
    let url = format!("{}/dicom-web", busy.url);
    let sent = upload(&client, &url, folder.path(), &[]);
    assert!(sent.status.success(), "{}", said(&sent));
    assert!(server.stored(&names[1]).as_ref() == Some(&files[1].bytes));
    // What is not named as stored has not arrived, whatever the status says.
    let other = r#"{"00081199":{"vr":"SQ","Value":[{"00081155":{"vr":"UI","Value":["9.9"]}}]}}"#;
    for (status, body, reason) in [
        ("200 OK", "{}", "does not say what became of it"),
        ("200 OK", other, "does not say what became of it"),
        ("200 OK", "<html>", "without a report in DICOM JSON"),
        (
            "400 Bad",
            r#"{"detail":"\u001b[2Jno"}"#,
            "it answered 400: [2Jno",
        ),
        ("413 Large", "", "it answered 413"),
    ] {
        let liar = Peer::always(status, "application/dicom+json", body);
        let sent = upload(&client, &liar.url, folder.path(), &["--retries", "0"]);
        let text = said(&sent);
        assert_eq!(sent.status.code(), Some(1), "{status} {body}: {text}");
        assert!(
            text.contains("2 files refused") && text.contains(reason),
            "{status} {body}: {text}"
        );
    }
    // One that is never there, or drips, or never ends is given up.
    let more = ["--retries", "0", "--idle", "1s"];
    let closing = Peer::start(|_| Reply::Close);
    let slow = whole("200 OK", "application/dicom+json", &[b' '; 4000]);
    let dripping = Peer::start(move |_| Reply::Drip(slow.clone()));
    let head =
        b"HTTP/1.1 200 OK\r\nContent-Type: application/dicom+json\r\nConnection: close\r\n\r\n["
            .to_vec();
    let endless = Peer::start(move |_| Reply::Endless(head.clone(), vec![b' '; 60_000]));
    for (peer, reason) in [
        (&closing, "the connection broke off"),
        (&dripping, "less than 1024 bytes moved within 1 seconds"),
        (&endless, "its answer has more than"),
    ] {
        let sent = upload(&client, &peer.url, folder.path(), &more);
        let text = said(&sent);
        assert_ne!(sent.status.code(), Some(0), "{text}");
        assert!(text.contains(reason), "{reason}: {text}");
    }
}
