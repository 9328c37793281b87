//! Requests as clients send them: parts without header lines, bodies in a content coding, what the report begins with.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::multipart::{self, BOUNDARY};
use crate::support::prelude::*;

use super::comments;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

fn send(server: &Deployment, target: &str, root: &str, body: Vec<u8>) -> Response {
    let content_type = format!("multipart/related; type=\"{root}\"; boundary={BOUNDARY}");
    server
        .request("POST", target)
        .header("Content-Type", &content_type)
        .body(body)
        .send()
}

/// Metadata of an instance without pixels.
fn described(name: &Name) -> Value {
    let uid = |value: &str| json!({ "vr": "UI", "Value": [value] });
    json!({
        "00080016": uid("1.2.840.10008.5.1.4.1.1.7"), "00080018": uid(&name.instance),
        "0020000D": uid(&name.study), "0020000E": uid(&name.series),
        "00100020": { "vr": "LO", "Value": ["P1"] },
    })
}

#[test]
fn a_part_without_header_lines_is_of_the_type_of_the_request() {
    let server = TestApp::start(None);
    for (number, root) in (1..).zip(ROOTS) {
        let target = format!("{root}/studies");
        let names = [Name::new(5700, number, 1), Name::new(5700, number, 2)];
        let mut body = Vec::new();
        // Bare lines and others, in one body.
        for (name, head) in names.iter().zip(["", "Content-Location: x\r\n"]) {
            body.extend(multipart::part(BOUNDARY, head, &name.small().bytes));
        }
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        send(&server, &target, "application/dicom", body).expect(200);
        for name in &names {
            assert_eq!(server.stored(name), Some(name.small().bytes));
        }
        let name = Name::new(5701, number, 1);
        let text = json!([described(&name)]).to_string();
        let mut body = multipart::part(BOUNDARY, "", text.as_bytes());
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        send(&server, &target, "application/dicom+json", body).expect(200);
        assert!(server.stored(&name).is_some());
    }
    // Where the request says nothing either, nothing is guessed.
    let mut body = multipart::part(BOUNDARY, "", &Name::new(5702, 1, 1).small().bytes);
    body.extend(format!("--{BOUNDARY}--\r\n").bytes());
    let answer = server
        .request("POST", "/dicom-web/studies")
        .header(
            "Content-Type",
            &format!("multipart/related; boundary={BOUNDARY}"),
        )
        .body(body)
        .send();
    assert!(answer.expect(415).text().contains("application/dicom"));
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn a_body_in_a_content_coding_is_read_as_what_it_holds() {
    let server = TestApp::start(None);
    let post = |root: &str, coding: &str, body: Vec<u8>| {
        server
            .request("POST", &format!("{root}/studies"))
            .header("Content-Type", &multipart::content_type())
            .header("Content-Encoding", coding)
            .body(body)
            .send()
    };
    let zstd = |data: &[u8]| zstd::bulk::compress(data, 3).expect("memory");
    for (number, root) in (1..).zip(ROOTS) {
        for (instance, coding) in (1..).zip(["gzip", "x-gzip", "zstd", "identity"]) {
            let name = Name::new(5710, number, instance);
            let file = name.with_bulk(300_000);
            let body = multipart::body([file.bytes.as_slice()]);
            let body = match coding {
                "zstd" => zstd(&body),
                "identity" => body,
                _ => gzip(&body),
            };
            post(root, coding, body).expect(200);
            assert!(server.stored(&name) == Some(file.bytes), "{root} {coding}");
        }
        for coding in ["br", "deflate", "gzip, zstd"] {
            let refused = post(root, coding, b"x".to_vec()).expect(415);
            assert_eq!(refused.header("Accept-Encoding"), Some("gzip, zstd"));
        }
        // What is no gzip is told as such, and nothing of it is stored.
        let reported = post(root, "gzip", b"plain".to_vec()).expect(400).text();
        assert!(reported.contains("Content-Encoding"), "{reported}");
        let name = Name::new(5711, number, 1);
        let mut cut = gzip(&multipart::body([name.with_bulk(300_000).bytes.as_slice()]));
        cut.truncate(cut.len() / 2);
        let failed = post(root, "gzip", cut);
        assert!([400, 409].contains(&failed.status), "{}", failed.status);
        assert!(
            failed.text().contains("Content-Encoding"),
            "{}",
            failed.text()
        );
        assert_eq!(server.stored(&name), None);
    }
    // Other bodies than instances too.
    let tags = json!([{ "Path": "00200011", "Level": "Series" }]).to_string();
    let answer = server
        .request("POST", "/v2/extendedquerytags")
        .header("Content-Type", "application/json")
        .header("Content-Encoding", "gzip")
        .body(gzip(tags.as_bytes()))
        .send();
    answer.expect(202);
    // A frame of zstd whose window is 128 MiB, with a block of 1,000 times one byte (RFC 8878 §3.1.1).
    let wide = b"\x28\xB5\x2F\xFD\x00\x88\x43\x1F\x00\x20";
    for (target, kind, reason) in [
        ("/v2/extendedquerytags", "application/json", "8 MiB"),
        ("/dicom-web/workitems", "application/dicom+json", "8 MiB"),
        ("/dicom-web/studies", "application/dicom", "8 MiB"),
    ] {
        for (coding, body, reason) in [
            ("zstd", wide.to_vec(), reason),
            ("gzip", b"plain".to_vec(), "Content-Encoding"),
        ] {
            let answer = server
                .request("POST", target)
                .header("Content-Type", kind)
                .header("Content-Encoding", coding)
                .body(body)
                .send()
                .expect(400);
            assert!(
                answer.text().contains(reason),
                "{target}: {}",
                answer.text()
            );
        }
    }
}

#[test]
fn the_report_of_the_standard_begins_with_the_study() {
    let server = TestApp::start(None);
    let [one, two, other] = [(1, 1), (1, 2), (2, 1)].map(|(a, b)| Name::new(5720 + a, 1, b));
    let url = |answer: &Response| answer.json()["00081190"].clone();
    let answer = server.store("/dicom-web", [&one.small(), &two.small()]);
    let wanted = format!("{}/dicom-web{}", server.url(), one.study_path());
    assert_eq!(
        url(&answer.expect(200)),
        json!({ "vr": "UR", "Value": [wanted] })
    );
    // Of several studies there is no one URL; the attribute stays.
    let answer = server.store("/dicom-web", [&one.small(), &other.small()]);
    assert_eq!(url(&answer.expect(200)), json!({ "vr": "UR" }));
    let answer = server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", "application/dicom")
        .body(b"nothing".to_vec())
        .send();
    assert_eq!(url(&answer.expect(409)), json!({ "vr": "UR" }));
}

#[test]
fn a_vr_that_dicom_does_not_have_is_named() {
    let server = TestApp::start(None);
    let name = Name::new(5730, 1, 1);
    for (vr, reported) in [
        (json!("XX"), "the vr 'XX'"),
        (json!("lo"), "the vr 'lo'"),
        (json!("LONG"), "no vr that DICOM knows"),
        (json!(7), "no vr that DICOM knows"),
    ] {
        let mut metadata = described(&name);
        metadata["00081030"] = json!({ "vr": vr, "Value": ["x"] });
        let text = json!([metadata]).to_string();
        let head = "Content-Type: application/dicom+json\r\n";
        let mut body = multipart::part(BOUNDARY, head, text.as_bytes());
        body.extend(format!("--{BOUNDARY}--\r\n").bytes());
        let answer = send(
            &server,
            "/dicom-web/studies",
            "application/dicom+json",
            body,
        );
        let found = comments(&answer.expect(409), "00081198").join(" ");
        assert!(
            found.contains(reported) && found.contains("00081030"),
            "{found}"
        );
    }
}
