//! The ways a body can arrive.

use std::io::{Read, Write};
use std::process::Command;

use stowage::dicom::testing::{BuiltFile, Syntax};

use crate::support::http::{Answer, connect};
use crate::support::prelude::*;
use crate::support::server::run;

#[test]
fn every_spelling_of_the_content_type_is_read() {
    let server = TestApp::start(None);
    let spellings = [
        "multipart/related; type=\"application/dicom\"; boundary=BB",
        "multipart/related; type=application/dicom; boundary=BB",
        "multipart/related; boundary=\"BB\"; type=\"application/dicom\"",
        "multipart/related; boundary=BB",
        "multipart/related;boundary=BB;type=\"application/dicom\"",
        "Multipart/Related; TYPE=\"application/dicom\"; Boundary=BB",
        "multipart/related; type=\"application/dicom\"; boundary=BB; charset=utf-8",
    ];
    for (number, spelling) in (1..).zip(spellings) {
        for (root_number, root) in (1..).zip(["/dicom-web", "/v1", "/v2"]) {
            let name = Name::new(1, number, root_number);
            let answer = server
                .request("POST", &format!("{root}/studies"))
                .header("Content-Type", spelling)
                .body(multipart::body_with("BB", [name.small().bytes.as_slice()]))
                .send();
            assert_eq!(answer.status, 200, "{spelling}: {}", answer.text());
            assert_eq!(answer.content_type(), "application/dicom+json");
            assert_eq!(server.stored(&name), Some(name.small().bytes));
        }
    }
}

#[test]
fn a_form_of_curl_under_a_given_header_is_stored() {
    let server = Server::start(None);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (number, root) in (1..).zip(["/dicom-web", "/v1", "/v2"]) {
        let name = Name::new(2, number, 1);
        let file = folder.path().join("a.dcm");
        std::fs::write(&file, name.small().bytes).expect("the file can be written");
        let printed = run(Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--location"])
            .args(["--request", "POST"])
            .arg(format!("{}{root}/studies", server.url()))
            .args(["--header", "Accept: application/dicom+json"])
            .args([
                "--header",
                "Content-Type: multipart/related; type=\"application/dicom\"",
            ])
            .arg("--form")
            .arg(format!("file1=@{};type=application/dicom", file.display()))
            .arg("--trace-ascii")
            .arg(folder.path().join("trace")));
        assert!(printed.contains(&name.instance), "{printed}");
        let trace = std::fs::read_to_string(folder.path().join("trace")).expect("a trace");
        assert!(trace.contains("Content-Disposition: attachment"), "{trace}");
        assert_eq!(server.stored(&name), Some(name.small().bytes));
    }
}

#[test]
fn a_single_body_is_stored() {
    on_each_index(|server| {
        for (number, root) in (1..).zip(["/dicom-web", "/v1", "/v2"]) {
            let name = Name::new(3, number, 1);
            server
                .request("POST", &format!("{root}/studies"))
                .header("Content-Type", "application/dicom")
                .body(name.small().bytes)
                .send()
                .expect(200);
            assert_eq!(server.stored(&name), Some(name.small().bytes));
        }
    });
}

#[test]
fn a_chunked_body_is_stored_wherever_it_is_cut() {
    let server = Server::start(None);
    let body_of = |name: &Name| multipart::body([name.small().bytes.as_slice()]);
    for (number, size) in (1..).zip([1, 2, 3, 7, 64, 1 << 20]) {
        let name = Name::new(4, number, 1);
        let mut stream = connect(server.address()).expect("the server listens");
        let head = server
            .request("POST", "/v2/studies")
            .header("Content-Type", &multipart::content_type())
            .header("Transfer-Encoding", "chunked")
            .head();
        let mut sent = head.into_bytes();
        for chunk in body_of(&name).chunks(size) {
            sent.extend(format!("{:x}\r\n", chunk.len()).bytes());
            sent.extend(chunk);
            sent.extend(b"\r\n");
        }
        sent.extend(b"0\r\n\r\n");
        stream.write_all(&sent).expect("the server reads");
        let answer = Answer::read(stream, false).and_then(Answer::finish);
        answer.expect("an answer").expect(200);
        assert_eq!(server.stored(&name), Some(name.small().bytes));
    }
}

#[test]
fn expect_100_continue_is_answered_before_the_body_is_sent() {
    let server = Server::start(None);
    let name = Name::new(5, 1, 1);
    let file = name.small().bytes;
    let mut stream = connect(server.address()).expect("the server listens");
    let head = server
        .request("POST", "/v2/studies")
        .header("Content-Type", "application/dicom")
        .header("Content-Length", &file.len().to_string())
        .header("Expect", "100-continue")
        .head();
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).expect("an interim answer");
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(&file).expect("the server reads");
    let answer = Answer::read(stream, false).and_then(Answer::finish);
    answer.expect("an answer").expect(200);
}

#[test]
fn a_refused_request_does_not_ask_for_its_body() {
    let server = Server::start(None);
    let mut stream = connect(server.address()).expect("the server listens");
    let head = server
        .request("POST", "/v2/studies/not-a-uid")
        .header("Content-Type", "application/dicom")
        .header("Content-Length", "1000000000")
        .header("Expect", "100-continue")
        .head();
    stream.write_all(head.as_bytes()).expect("the server reads");
    let mut line = [0; 12];
    stream.read_exact(&mut line).expect("an answer");
    assert_eq!(&line, b"HTTP/1.1 400");
}

#[test]
fn files_come_back_as_they_were_sent_in_every_syntax() {
    on_each_index(|server| {
        let syntaxes = [
            Syntax::ImplicitLittle,
            Syntax::ExplicitLittle,
            Syntax::ExplicitBig,
            Syntax::Deflated,
            Syntax::Other("1.2.840.10008.1.2.4.50"),
            Syntax::Other("1.2.3.4.5.6"),
        ];
        let files: Vec<(Name, BuiltFile)> = (1..)
            .zip(syntaxes)
            .map(|(number, syntax)| {
                let name = Name::new(6, 1, number);
                let file = name.file(&name.data_set(), syntax);
                (name, file)
            })
            .collect();
        let answer = server.store("/dicom-web", files.iter().map(|(_, file)| file));
        answer.expect(200);
        for (name, file) in &files {
            assert_eq!(server.stored(name).as_ref(), Some(&file.bytes));
        }
        let study = server.get_as(
            &format!("/dicom-web{}", files[0].0.study_path()),
            "multipart/related; type=\"application/dicom\"; transfer-syntax=*",
        );
        let mut bodies: Vec<Vec<u8>> = study.parts().into_iter().map(|part| part.body).collect();
        let mut sent: Vec<Vec<u8>> = files.into_iter().map(|(_, file)| file.bytes).collect();
        bodies.sort();
        sent.sort();
        assert!(bodies == sent, "the study is not what was stored");
    });
}

#[test]
fn a_request_may_hold_thousands_of_instances() {
    on_each_index(|server| {
        let files: Vec<(Name, BuiltFile)> = (0..2000)
            .map(|number| {
                let name = Name::new(7, number / 500, number);
                let file = name.small();
                (name, file)
            })
            .collect();
        let answer = server
            .store("/dicom-web", files.iter().map(|(_, file)| file))
            .expect(200);
        let report = answer.json();
        let stored: Vec<&str> = report["00081199"]["Value"]
            .as_array()
            .expect("successes")
            .iter()
            .map(|item| item["00081155"]["Value"][0].as_str().expect("a UID"))
            .collect();
        let sent: Vec<&str> = files
            .iter()
            .map(|(name, _)| name.instance.as_str())
            .collect();
        assert_eq!(
            stored, sent,
            "the report is not in the order of the request"
        );
        let found = server.get("/dicom-web/instances?limit=5000").json();
        assert_eq!(found.as_array().map(Vec::len), Some(2000));
        for (name, file) in files.iter().step_by(311) {
            assert_eq!(server.stored(name).as_ref(), Some(&file.bytes));
        }
        server.fsck();
    });
}

#[test]
fn a_file_without_preamble_or_meta_group_is_stored_as_it_is() {
    let server = TestApp::start(None);
    for (number, syntax) in (1..).zip([Syntax::ImplicitLittle, Syntax::ExplicitLittle]) {
        let name = Name::new(8, 1, number);
        let file = name.data_set().behind(Vec::new(), syntax);
        server.store("/dicom-web", [&file]).expect(200);
        let mut kept = server.blob_files().into_iter().map(std::fs::read);
        assert!(kept.any(|bytes| bytes.is_ok_and(|bytes| bytes == file.bytes)));
        // What is sent is a Part 10 file all the same.
        let sent = server.stored(&name).expect("it is stored");
        assert_eq!(sent[128..132], *b"DICM");
        assert!(sent.ends_with(&file.bytes));
    }
}

#[test]
fn a_client_that_goes_away_leaves_nothing_behind() {
    let server = Server::start(None);
    let name = Name::new(9, 1, 1);
    let file = name.with_bulk(20 << 20);
    let body = multipart::body([file.bytes.as_slice()]);
    let mut stream = connect(server.address()).expect("the server listens");
    let head = server
        .request("POST", "/v2/studies")
        .header("Content-Type", &multipart::content_type())
        .header("Content-Length", &body.len().to_string())
        .head();
    stream.write_all(head.as_bytes()).expect("the server reads");
    stream
        .write_all(&body[..18 << 20])
        .expect("the server reads");
    wait_until("the upload lies in the spool", || {
        !server.blob_files().is_empty()
    });
    drop(stream);
    wait_until("the spool is empty", || server.blob_files().is_empty());
    assert_eq!(server.stored(&name), None);
    server.fsck();
}

#[test]
fn a_check_beside_a_running_server_leaves_its_uploads_alone() {
    let server = Server::start(None);
    let name = Name::new(10, 1, 1);
    let file = name.with_bulk(20 << 20);
    let mut stream = connect(server.address()).expect("the server listens");
    let head = server
        .request("POST", "/v2/studies")
        .header("Content-Type", "application/dicom")
        .header("Content-Length", &file.bytes.len().to_string())
        .head();
    let (first, second) = file.bytes.split_at(18 << 20);
    stream.write_all(head.as_bytes()).expect("the server reads");
    stream.write_all(first).expect("the server reads");
    wait_until("the upload lies in the spool", || {
        !server.blob_files().is_empty()
    });
    server.fsck();
    stream.write_all(second).expect("the server reads");
    let answer = Answer::read(stream, false).and_then(Answer::finish);
    answer.expect("an answer").expect(200);
    assert!(server.stored(&name) == Some(file.bytes), "other bytes");
    server.fsck();
}
