//! `stowage copy`.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{BuiltFile, Syntax};

use super::peer::{Peer, PeerRequest, Reply, forward, whole};
use super::{lines, said};
use crate::support::dicom::Name;
use crate::support::multipart;
use crate::support::server::{Server, on_each_index_process, wait_until};

/// Instances of three studies of two patients, stored at a server.
fn fill(server: &Server) -> (Vec<Name>, Vec<BuiltFile>) {
    let names: Vec<Name> = (1..=30).map(|n| Name::new(n % 3, n % 2, n)).collect();
    let file = |name: &Name| {
        let patient = if name.study == "1.2.3.0" { "A" } else { "B" };
        let data_set = name
            .data_set()
            .text(Tag(0x0010, 0x0020), VR::LO, patient)
            .bytes(Tag(0x0042, 0x0011), VR::OB, name.instance.as_bytes());
        name.file(&data_set, Syntax::ExplicitLittle)
    };
    let files: Vec<BuiltFile> = names.iter().map(file).collect();
    server.store("/dicom-web", &files).expect(200);
    (names, files)
}

#[test]
fn studies_come_over_byte_for_byte_and_are_compared() {
    let source = Server::start(None);
    let (names, files) = fill(&source);
    let url = format!("{}/dicom-web", source.url());
    on_each_index_process(&[], |server| {
        let work = tempfile::tempdir().unwrap();
        let journal = work.path().join("copied.txt");
        let journal = journal.to_str().unwrap();
        // One patient first, then one study, then all.
        let some = server.command(&["copy", &url, "--query", "PatientID=A"]);
        let text = said(&some);
        assert!(some.status.success(), "{text}");
        assert!(
            text.contains(
                "1 studies with 10 instances: 10 copied, 0 copied before, 0 failed, 0 differences"
            ),
            "{text}"
        );
        let one = ["copy", &url, "--study", "1.2.3.1", "--journal", journal];
        let copied = server.command(&one);
        assert!(copied.status.success(), "{}", said(&copied));
        let all = ["copy", &url, "--journal", journal];
        let copied = server.command(&all);
        let text = said(&copied);
        assert!(copied.status.success(), "{text}");
        assert!(
            text.contains("3 studies with 30 instances: 20 copied, 10 copied before"),
            "{text}"
        );
        for (name, file) in names.iter().zip(&files) {
            assert!(server.stored(name).as_ref() == Some(&file.bytes));
        }
        assert!(server.fsck().contains("30 instances"));
        // It is an operation, as other transfers are.
        let shown = text
            .lines()
            .find_map(|line| line.strip_prefix("operation "));
        let operation = server.get(&format!("/v2/operations/{}", shown.unwrap()));
        assert!(
            operation.text().contains("\"copy\""),
            "{}",
            operation.text()
        );
        // What is not here any more although it was copied is a difference, and so are other bytes.
        let gone = format!("/dicom-web{}", names[2].path());
        server.request("DELETE", &gone).send().expect(204);
        let differs = server.command(&all);
        let text = said(&differs);
        assert_eq!(differs.status.code(), Some(1), "{text}");
        assert!(
            text.contains("it was copied, and is not here now")
                && text.contains("30 copied before, 0 failed, 1 differences"),
            "{text}"
        );
        server
            .store("/dicom-web", [&names[2].with_bulk(50)])
            .expect(200);
        let text = said(&server.command(&all));
        assert!(text.contains("here are other bytes than came"), "{text}");
        let text = said(&server.command(&["copy", &url, "--study", "1.2.3.0"]));
        assert!(
            text.contains("but other bytes is stored already")
                && text.contains("9 copied, 0 copied before, 1 failed"),
            "{text}"
        );
        let unknown = server.command(&["copy", &url, "--study", "9.9.9"]);
        assert_eq!(unknown.status.code(), Some(1));
        assert!(said(&unknown).contains("the server has no such study"));
    });
}

#[test]
fn a_copy_that_was_killed_goes_on_where_it_was() {
    let source = Server::start(None);
    let (names, files) = fill(&source);
    let open = Arc::new(AtomicBool::new(false));
    let (gate, address) = (Arc::clone(&open), source.address().to_owned());
    let series = AtomicUsize::new(0);
    let peer = Peer::start(move |request| {
        let waits =
            request.target.contains("/series/") && series.fetch_add(1, Ordering::Relaxed) >= 2;
        wait_until("the gate is open", || {
            !waits || gate.load(Ordering::Relaxed)
        });
        Reply::Raw(forward(&address, request))
    });
    let url = format!("{}/dicom-web", peer.url);
    let server = Server::start(None);
    let work = tempfile::tempdir().unwrap();
    let journal = work.path().join("copied.txt");
    let arguments = [
        "copy",
        &url,
        "--parallel",
        "1",
        "--journal",
        journal.to_str().unwrap(),
    ];
    let mut killed = server.begin_command(&arguments);
    wait_until("two series are in the journal", || lines(&journal) == 10);
    killed.kill().unwrap();
    killed.wait().unwrap();
    open.store(true, Ordering::Relaxed);
    let copied = server.command(&arguments);
    let text = said(&copied);
    assert!(copied.status.success(), "{text}");
    assert!(text.contains("20 copied, 10 copied before"), "{text}");
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(&file.bytes));
    }
    server.fsck();
}

/// One study of three instances, as a search finds it.
fn listing(request: &PeerRequest, names: &[Name]) -> Option<Reply> {
    let uid = |value: &str| serde_json::json!({ "vr": "UI", "Value": [value] });
    let first = request.target.contains("offset=0");
    let list = if request.target.starts_with("/studies?") {
        serde_json::json!([{ "0020000D": uid(&names[0].study), "00201208": { "vr": "IS", "Value": [3] } }])
    } else if request.target.contains("/instances?") {
        let item = |name: &Name| serde_json::json!({ "0020000E": uid(&name.series), "00080018": uid(&name.instance) });
        names.iter().map(item).collect()
    } else {
        return None;
    };
    // Whatever is asked for, it is told once more: the list ends all the same.
    let again = if first {
        list
    } else {
        list.as_array()?.iter().take(1).cloned().collect()
    };
    let body = again.to_string();
    Some(Reply::Raw(whole(
        "200 OK",
        "application/dicom+json",
        body.as_bytes(),
    )))
}

fn parts(files: &[&[u8]]) -> Vec<u8> {
    let body = multipart::body(files.iter().copied());
    whole("200 OK", &multipart::content_type(), &body)
}

#[test]
fn a_connection_that_breaks_costs_only_what_was_on_its_way() {
    let names: Vec<Name> = (1..=3).map(|n| Name::new(5, 1, n)).collect();
    let files: Vec<Vec<u8>> = names
        .iter()
        .map(|name| name.with_bulk(5000).bytes)
        .collect();
    let (listed, sent) = (names.clone(), files.clone());
    let peer = Peer::start(move |request| {
        if let Some(reply) = listing(request, &listed) {
            return reply;
        }
        match listed
            .iter()
            .position(|name| request.target.ends_with(&name.instance))
        {
            // The series breaks off in its second instance.
            None => {
                let mut answer = parts(&[&sent[0], &sent[1], &sent[2]]);
                answer.truncate(8000);
                Reply::Raw(answer)
            }
            Some(at) => Reply::Raw(parts(&[&sent[at]])),
        }
    });
    let server = Server::start(None);
    let copied = server.command(&["copy", &peer.url, "--retries", "1"]);
    let text = said(&copied);
    assert!(copied.status.success(), "{text}");
    assert!(text.contains("3 copied"), "{text}");
    for (name, file) in names.iter().zip(&files) {
        assert!(server.stored(name).as_ref() == Some(file));
    }
    let asked = peer.requests.lock().unwrap().clone();
    let whole = |request: &&PeerRequest| request.target.ends_with(&names[0].series);
    assert_eq!(asked.iter().filter(whole).count(), 1, "nothing comes twice");
}

#[test]
fn a_server_that_lies_is_harmless_and_found_out() {
    let names: Vec<Name> = (1..=3).map(|n| Name::new(6, 1, n)).collect();
    let files: Vec<Vec<u8>> = names.iter().map(|name| name.with_bulk(500).bytes).collect();
    let foreign = Name::new(66, 1, 1);
    let stranger = foreign.small().bytes;
    let server = Server::with(&[("STOWAGE_MAX_INSTANCE_BYTES", "1000000")]);
    let endless = {
        let mut head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: ".to_vec();
        head.extend(multipart::content_type().bytes());
        head.extend(b"\r\n\r\n");
        head
    };
    let many: Vec<&[u8]> = std::iter::repeat_n(files[0].as_slice(), 40).collect();
    type Answer = Box<dyn Fn() -> Reply + Send + Sync>;
    let raw = |bytes: Vec<u8>| -> Answer { Box::new(move || Reply::Raw(bytes.clone())) };
    let cases: Vec<(&str, Answer, &str)> = vec![
        (
            "nothing",
            raw(parts(&[])),
            "the server sent another instance",
        ),
        ("another study", raw(parts(&[&stranger])), "1.2.3.6"),
        ("no DICOM", raw(parts(&[b"hello", b"you", b""])), "3 failed"),
        (
            "a page",
            raw(whole("200 OK", "text/html", b"<html>")),
            "is neither multipart/related nor",
        ),
        (
            "one for all",
            raw(parts(&[&files[0]])),
            "the server sent another instance",
        ),
        ("too many", raw(parts(&many)), "sends more than the"),
        (
            "no boundary",
            raw(whole("200 OK", "multipart/related", b"--x")),
            "is neither multipart/related nor",
        ),
        (
            "gone",
            raw(whole("404 Not Found", "text/plain", b"")),
            "it answered 404",
        ),
        (
            "an instance without end",
            Box::new(move || {
                let mut head = endless.clone();
                head.extend(
                    format!(
                        "--{}\r\nContent-Type: application/dicom\r\n\r\n",
                        multipart::BOUNDARY
                    )
                    .bytes(),
                );
                Reply::Endless(head, vec![7; 60_000])
            }),
            "an instance may have 1000000 bytes at most",
        ),
        (
            "a drip",
            Box::new(|| Reply::Drip(parts(&[&[0; 3000]]))),
            "less than 1024 bytes moved",
        ),
    ];
    for (what, reply, reason) in cases {
        let listed = names.clone();
        let peer = Peer::start(move |request| listing(request, &listed).unwrap_or_else(&reply));
        let copied = server.command(&["copy", &peer.url, "--retries", "0", "--idle", "1s"]);
        let text = said(&copied);
        assert_ne!(copied.status.code(), Some(0), "{what}: {text}");
        assert!(copied.status.code().is_some(), "{what}: {text}");
        assert!(text.contains(reason), "{what}: {text}");
        assert!(server.stored(&foreign).is_none(), "{what}");
        server.fsck();
        let gone = format!("/dicom-web{}", names[0].study_path());
        let deleted = server.request("DELETE", &gone).send().status;
        assert!([204, 404].contains(&deleted), "{what}");
    }
    // Lists that lie.
    for (list, reason) in [
        ("{}", "is no DICOM JSON"),
        ("[{}]", "1 results of the search have no Study Instance UID"),
        ("[1,2]", "is no DICOM JSON"),
        (
            r#"[{"0020000D":{"Value":["../../etc"]}}]"#,
            "have no Study Instance UID",
        ),
    ] {
        let peer = Peer::always("200 OK", "application/dicom+json", list);
        let copied = server.command(&["copy", &peer.url, "--retries", "0"]);
        let text = said(&copied);
        assert!(
            [Some(1), Some(3)].contains(&copied.status.code()),
            "{list}: {text}"
        );
        assert!(text.contains(reason), "{list}: {text}");
    }
    let deep = "[".repeat(200_000);
    let peer = Peer::always("200 OK", "application/dicom+json", &deep);
    let copied = server.command(&["copy", &peer.url, "--retries", "0"]);
    assert_eq!(copied.status.code(), Some(3), "{}", said(&copied));
}

#[test]
fn a_difference_in_number_is_reported() {
    let names: Vec<Name> = (1..=2).map(|n| Name::new(8, 1, n)).collect();
    let files: Vec<Vec<u8>> = names.iter().map(|name| name.with_bulk(500).bytes).collect();
    let listed = names.clone();
    // It counts three and lists two.
    let peer = Peer::start(move |request| {
        let all = || Reply::Raw(parts(&[&files[0], &files[1]]));
        listing(request, &listed).unwrap_or_else(all)
    });
    let server = Server::start(None);
    let copied = server.command(&["copy", &peer.url]);
    let text = said(&copied);
    assert_eq!(copied.status.code(), Some(1), "{text}");
    assert!(
        text.contains("counts 3 instances and lists 2") && text.contains("2 copied"),
        "{text}"
    );
}

#[test]
fn a_copy_goes_into_a_partition_by_name() {
    let source = Server::start(None);
    let name = Name::new(9, 1, 1);
    source.store("/dicom-web", [&name.small()]).expect(200);
    let url = format!("{}/dicom-web", source.url());
    let server = Server::with(&[("STOWAGE_PARTITIONS", "on")]);
    let copied = server.command(&["copy", &url, "--partition", "north"]);
    assert!(copied.status.success(), "{}", said(&copied));
    let found = server.get(&format!("/dicom-web/partitions/north{}", name.path()));
    found.expect(200);
    let off = Server::start(None);
    let refused = off.command(&["copy", &url, "--partition", "north"]);
    assert_eq!(refused.status.code(), Some(3));
    assert!(fs::exists(off.data()).unwrap());
}
