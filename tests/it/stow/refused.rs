//! Requests that are refused as a whole: media types, limits, malformed URLs.

use std::io::Write;

use stowage::dicom::testing::Syntax;

use crate::support::http::{Answer, connect};
use crate::support::multipart::{self, BOUNDARY, part};
use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

#[test]
fn other_media_types_are_415_and_say_what_to_send() {
    let server = TestApp::start(None);
    let file = Name::new(70, 1, 1).small().bytes;
    for root in ROOTS {
        for kind in [
            None,
            Some("application/json"),
            Some("multipart/form-data; boundary=B"),
            Some("multipart/related; type=\"application/dicom\""),
            Some("multipart/related; type=\"application/xml\"; boundary=B"),
            Some("multipart/related; type=\"image/png\"; boundary=B"),
            Some("application/dicom+octet-stream"),
            Some("nonsense"),
        ] {
            let mut request = server
                .request("POST", &format!("{root}/studies"))
                .body(file.clone());
            if let Some(kind) = kind {
                request = request.header("Content-Type", kind);
            }
            let answer = request.send();
            assert_eq!(answer.status, 415, "{root} {kind:?}");
            assert!(
                answer.text().contains("application/dicom"),
                "{}",
                answer.text()
            );
        }
    }
    assert_eq!(server.get("/dicom-web/instances").text(), "[]");
}

#[test]
fn parts_of_other_types_refuse_the_request() {
    let server = TestApp::start(None);
    let file = Name::new(71, 1, 1).small().bytes;
    let send = |content_type: &str, headers: &str| {
        let mut body = part(BOUNDARY, headers, &file);
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        server
            .request("POST", "/v2/studies")
            .header("Content-Type", content_type)
            .body(body)
            .send()
            .status
    };
    let (typed, bare) = (
        multipart::content_type(),
        format!("multipart/related; boundary={BOUNDARY}"),
    );
    assert_eq!(send(&typed, "Content-Type: image/png\r\n"), 415);
    assert_eq!(
        send(&bare, "Content-Type: application/octet-stream\r\n"),
        415
    );
    assert_eq!(send(&bare, "Content-Disposition: attachment\r\n"), 415);
    assert_eq!(send(&typed, "Content-Disposition: attachment\r\n"), 200);
    // Parameters of the type are no other type.
    let parameters = "Content-Type: application/dicom; transfer-syntax=1.2.840.10008.1.2.1\r\n";
    assert_eq!(send(&bare, parameters), 409, "it is stored already");
}

#[test]
fn a_start_parameter_is_400() {
    let server = TestApp::start(None);
    for root in ROOTS {
        server
            .request("POST", &format!("{root}/studies"))
            .header(
                "Content-Type",
                &format!("{}; start=\"<a>\"", multipart::content_type()),
            )
            .body("")
            .send()
            .expect(400);
    }
}

#[test]
fn an_accept_header_without_dicom_json_is_406() {
    let server = TestApp::start(None);
    for (number, root) in (72..).zip(ROOTS) {
        let file = Name::new(number, 1, 1).small().bytes;
        let send = |accept: Option<&str>| {
            let request = server
                .request("POST", &format!("{root}/studies"))
                .header("Content-Type", "application/dicom")
                .body(file.clone());
            match accept {
                Some(accept) => request.accept(accept).send().status,
                None => request.send().status,
            }
        };
        for accept in ["application/dicom", "application/data", "text/html"] {
            assert_eq!(send(Some(accept)), 406, "{root} {accept}");
        }
        for accept in [
            None,
            Some("*/*"),
            Some("application/*"),
            Some("application/json"),
            Some("application/dicom+json"),
            Some("text/html, application/dicom+json;q=0.5"),
        ] {
            // Stored once, refused as known afterwards; never 406.
            assert_ne!(send(accept), 406, "{root} {accept:?}");
        }
    }
}

#[test]
fn the_type_is_checked_before_accept_and_accept_before_the_uid() {
    let server = TestApp::start(None);
    let send = |kind: &str, accept: &str, study: &str| {
        server
            .request("POST", &format!("/v2/studies/{study}"))
            .header("Content-Type", kind)
            .accept(accept)
            .body("x")
            .send()
            .status
    };
    assert_eq!(send("image/png", "image/png", "bad"), 415);
    assert_eq!(send("application/dicom", "image/png", "bad"), 406);
    assert_eq!(send("application/dicom", "*/*", "bad"), 400);
    assert_eq!(send("application/dicom", "*/*", "1.2"), 409);
}

#[test]
fn bodies_and_instances_above_the_limits_are_413() {
    let server = TestApp::with(&[
        ("STOWAGE_MAX_INSTANCE_BYTES", "100000"),
        ("STOWAGE_MAX_REQUEST_BYTES", "300000"),
        ("STOWAGE_MAX_PARTS", "5"),
    ]);
    let large = Name::new(80, 1, 1).with_bulk(100_000);
    server.store("/v2", [&large]).expect(413);
    let answer = server
        .request("POST", "/v2/studies")
        .header("Content-Type", "application/dicom")
        .body(large.bytes)
        .send();
    answer.expect(413);

    let files: Vec<_> = (1..=4)
        .map(|number| Name::new(81, 1, number).with_bulk(90_000))
        .collect();
    server.store("/v2", &files).expect(413);

    let files: Vec<_> = (1..=6).map(|n| Name::new(82, 1, n).small()).collect();
    server.store("/v2", &files).expect(413);
    server.store("/v2", &files[..5]).expect(200);
    server.fsck();
}

#[test]
fn a_deflated_set_above_the_limit_is_refused_alone() {
    let server = TestApp::with(&[("STOWAGE_MAX_INFLATED_BYTES", "1000000")]);
    let (bomb, good) = (Name::new(83, 1, 1), Name::new(83, 1, 2));
    let zeros = bomb.data_set().bytes(
        dicom_core::Tag(0x7FE0, 0x0010),
        dicom_core::VR::OW,
        vec![0; 1_000_000],
    );
    let files = [bomb.file(&zeros, Syntax::Deflated), good.small()];
    let answer = server.store("/v2", &files).expect(202);
    assert_eq!(super::failures(&answer), [Some(43264)]);
    assert!(super::comments(&answer, "00081198")[0].contains("1000000"));
}

#[test]
fn one_request_too_many_is_503_and_says_when_to_come_back() {
    let server = Server::with(&[("STOWAGE_STORE_REQUESTS", "1")]);
    let mut stream = connect(server.address()).expect("the server listens");
    let file = Name::new(84, 1, 1).small().bytes;
    let head = server
        .request("POST", "/v2/studies")
        .header("Content-Type", "application/dicom")
        .header("Content-Length", &file.len().to_string())
        .header("Expect", "100-continue")
        .head();
    stream.write_all(head.as_bytes()).expect("the server reads");
    // The interim answer says that the first request has its place.
    let mut interim = [0; 25];
    std::io::Read::read_exact(&mut stream, &mut interim).expect("an interim answer");
    let refused = server
        .store("/v2", [&Name::new(84, 1, 2).small()])
        .expect(503);
    assert!(refused.header("retry-after").is_some());
    stream.write_all(&file).expect("the server reads");
    let answer = Answer::read(stream, false).and_then(Answer::finish);
    answer.expect("an answer").expect(200);
    server
        .store("/v2", [&Name::new(84, 1, 2).small()])
        .expect(200);
}

#[test]
fn a_body_that_falls_silent_is_408() {
    let server = Server::with(&[("STOWAGE_IDLE_SECONDS", "1")]);
    for kind in ["application/dicom".to_owned(), multipart::content_type()] {
        let mut stream = connect(server.address()).expect("the server listens");
        let head = server
            .request("POST", "/dicom-web/studies")
            .header("Content-Type", &kind)
            .header("Content-Length", "1000")
            .head();
        stream.write_all(head.as_bytes()).expect("the server reads");
        stream.write_all(b"--").expect("the server reads");
        let answer = Answer::read(stream, false).and_then(Answer::finish);
        answer.expect("an answer").expect(408);
    }
}
