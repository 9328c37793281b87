//! Requests that want to harm: URLs, headers, half and slow ones.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::Siege;
use super::Verdict::{Refused, Survived};
use crate::support::app::{TestApp, on_each_index};
use crate::support::dicom::Name;
use crate::support::http::{Response, connect, send_raw};
use crate::support::server::{Server, wait_until};

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

#[test]
fn queries_without_measure_are_answered() {
    on_each_index(|server| {
        let mut siege = Siege::new(server);
        let many = |text: &str, count: usize| vec![text; count].join("&");
        let uids: Vec<String> = (0..3000).map(|n| format!("1.2.{n}")).collect();
        let queries = [
            (
                "10,000 fields in one",
                format!("includefield={}", vec!["00100010"; 6000].join(",")),
            ),
            ("5,000 fields", many("includefield=1", 4000)),
            (
                "fields inside each other",
                format!("includefield={}", vec!["00081140"; 5000].join(".")),
            ),
            ("unknown fields", many("includefield=NoSuchField", 2000)),
            ("20,000 parameters", many("a=1", 12_000)),
            ("limit 2^63", "limit=9223372036854775808".to_owned()),
            ("limit 2^64", "limit=18446744073709551616".to_owned()),
            ("limit below zero", "limit=-9223372036854775808".to_owned()),
            ("offset 2^63", "offset=9223372036854775808".to_owned()),
            ("offset 2^63-1", "offset=9223372036854775807".to_owned()),
            (
                "both",
                "offset=9223372036854775807&limit=9223372036854775807".to_owned(),
            ),
            ("no UTF-8", "PatientName=%ff%fe%c0%80".to_owned()),
            ("no UTF-8 in a name", "%ff%fe=1".to_owned()),
            ("half an escape", "PatientName=%e".to_owned()),
            ("a surrogate", "PatientName=%ed%a0%80".to_owned()),
            ("NUL", "PatientName=a%00b".to_owned()),
            ("NUL for an id", "PatientID=%00".to_owned()),
            (
                "line ends",
                "PatientName=a%0d%0aX-Evil:%201%0d%0a%0d%0a".to_owned(),
            ),
            ("SQL", "PatientID=%27;drop%20table%20instance;--".to_owned()),
            (
                "a search expression",
                "fuzzymatching=true&PatientName=a%22*%20OR%20NEAR(b)".to_owned(),
            ),
            ("stars", format!("PatientName={}", "*a".repeat(3000))),
            ("more stars", format!("PatientID={}b", "*".repeat(10_000))),
            (
                "question marks",
                format!("StudyDescription=*{}*", "?".repeat(10_000)),
            ),
            (
                "a pattern of brackets",
                "PatientID=[[[[a-z]*?%25_".to_owned(),
            ),
            ("3,000 UIDs", format!("StudyInstanceUID={}", uids.join(","))),
            (
                "3,000 UIDs with slashes",
                format!("StudyInstanceUID={}", uids.join("%5C")),
            ),
            (
                "a long value",
                format!("PatientName={}", "a".repeat(50_000)),
            ),
            (
                "a long fuzzy value",
                format!("fuzzymatching=true&PatientName={}", "a+".repeat(20_000)),
            ),
            (
                "a dot path without end",
                format!("{}=1", vec!["00081140"; 5000].join(".")),
            ),
            ("a date far off", "StudyDate=99999999-99999999".to_owned()),
            ("a year zero", "StudyDate=00000000".to_owned()),
            (
                "an attribute without an index",
                "ImageComments=*a*b*c*d*e*".to_owned(),
            ),
            ("an unknown attribute", "FFFFFFFF=1".to_owned()),
            ("a group length", "00080000=1".to_owned()),
            ("pixel data", "7FE00010=*".to_owned()),
            ("the meta group", "00020010=*".to_owned()),
            ("only separators", "&&&&&===&=&&".to_owned()),
        ];
        for root in ROOTS {
            for resource in ["studies", "instances"] {
                for (what, query) in &queries {
                    let target = format!("{root}/{resource}?{query}");
                    let what = format!("{root}/{resource}: {what}");
                    siege.attack(&what, Survived, || {
                        server.request("GET", &target).accept("*/*").try_send()
                    });
                }
            }
            for query in ["PatientName=%ff", "offset=-1", "StudyInstanceUID=a"] {
                let target = format!("{root}/studies?{query}");
                siege.attack(query, Refused, || server.request("GET", &target).try_send());
            }
        }
        assert!(siege.end(0) > 200);
    });
}

#[test]
fn paths_that_lead_elsewhere_find_nothing() {
    let server = TestApp::start(None);
    let mut siege = Siege::new(&server);
    let uid = "1.".repeat(30_000);
    for path in [
        "/../../../etc/passwd",
        "/dicom-web/../../etc/passwd",
        "/dicom-web/studies/../../../etc/passwd",
        "/dicom-web/studies/%2e%2e/%2e%2e/metadata",
        "/dicom-web/studies/..%2f..%2fetc%2fpasswd",
        "/dicom-web/studies/1.2%2f..%2f..",
        "/dicom-web/studies/%00",
        "/dicom-web/studies/%ff%fe",
        "/dicom-web/studies/%0d%0aX-Evil:1",
        "/dicom-web/studies/1.2/series/%c0%ae%c0%ae/instances/1",
        "/v2/studies/1.2/series/3/instances/4/frames/%2e%2e",
        "/v2/studies/1.2/series/3/instances/4/bulkdata/..%2f..%2f..",
        "/v2/studies/1.2/series/3/instances/4/bulkdata/../../../../../etc/passwd",
        "/v2/studies/1.2/series/3/instances/4/frames/1,2,3,4,5,a",
        "/v2/studies/1.2%",
        "/v2/studies/1.2%zz",
        "//",
        "///////////",
        "/v2//studies/1.2",
        "/%",
        &format!("/v2/studies/{uid}1"),
        &format!("/v2{}", "/studies/1".repeat(5000)),
        &format!(
            "/v2/studies/1/series/2/instances/3/frames/{}1",
            "1,".repeat(20_000)
        ),
    ] {
        for method in ["GET", "DELETE", "POST"] {
            let verdict = if path.starts_with("//") {
                Survived
            } else {
                Refused
            };
            siege.attack(&format!("{method} {path:.80}"), verdict, || {
                server
                    .request(method, path)
                    .header("Content-Type", "application/dicom")
                    .body("")
                    .try_send()
            });
        }
    }
    siege.end(0);
}

#[test]
fn headers_without_measure_are_answered() {
    let server = Server::start(None);
    let name = Name::new(2100, 1, 1);
    server
        .store("/dicom-web", [&name.with_bulk(5000)])
        .expect(200);
    let mut siege = Siege::of_process(&server);
    let long = "x".repeat(100_000);
    for (what, header, value) in [
        ("100,000 wishes", "Accept", "a/b,".repeat(20_000)),
        (
            "a wish without end",
            "Accept",
            format!("multipart/related; type=\"{long}"),
        ),
        (
            "1,000 parameters",
            "Accept",
            format!("application/dicom{}", ";a=b".repeat(10_000)),
        ),
        ("quotes", "Accept", "\"".repeat(50_000)),
        (
            "escapes",
            "Accept",
            "multipart/related; type=\"\\\\\\\\".repeat(1000),
        ),
        (
            "weights",
            "Accept",
            "*/*;q=9e999999, a/b;q=-1, c/d;q=nan".to_owned(),
        ),
        (
            "many ranges",
            "Range",
            format!("bytes={}", "0-0,".repeat(10_000)),
        ),
        (
            "a range of 2^64",
            "Range",
            "bytes=0-18446744073709551615".to_owned(),
        ),
        (
            "a range past 2^64",
            "Range",
            "bytes=99999999999999999999-".to_owned(),
        ),
        ("a range of minus", "Range", "bytes=--1".to_owned()),
        ("many tags", "If-None-Match", "\"a\",".repeat(20_000)),
        (
            "forwarded lies",
            "Forwarded",
            "host=\"evil\";proto=javascript,".repeat(1000),
        ),
        (
            "a forwarded host",
            "X-Forwarded-Host",
            "evil.example.org\", <script>".to_owned(),
        ),
        (
            "a host that is none",
            "Host",
            "<script>/../@evil:99999".to_owned(),
        ),
        ("an empty host", "Host", String::new()),
        ("a long request id", "X-Request-Id", long.clone()),
        ("an expectation", "Expect", "the-unexpected".to_owned()),
        (
            "an encoding",
            "Accept-Encoding",
            "gzip;q=9, br, *;q=0, ".repeat(2000),
        ),
        ("an origin", "Origin", "null".to_owned()),
        (
            "a method in a header",
            "X-HTTP-Method-Override",
            "DELETE".to_owned(),
        ),
        (
            "a coding",
            "Content-Encoding",
            "gzip, gzip, gzip".to_owned(),
        ),
    ] {
        for path in ["", "/metadata", "/bulkdata/00420011", "/frames/1"] {
            let target = format!("/dicom-web{}{path}", name.path());
            siege.attack(&format!("{what}: {path}"), Survived, || {
                let request = server.request("GET", &target);
                request.header(header, &value).try_send()
            });
        }
    }
    siege.attack("10,000 headers", Refused, || {
        let mut request = server.request("GET", "/v2/studies");
        for number in 0..10_000 {
            request = request.header(&format!("X-{number}"), "1");
        }
        closed_or(request.try_send())
    });
    siege.attack("a header of 4 MiB", Refused, || {
        let request = server.request("GET", "/v2/studies");
        closed_or(request.header("X-Long", &"x".repeat(4 << 20)).try_send())
    });
    siege.attack("a target of 4 MiB", Refused, || {
        let target = format!("/v2/studies?a={}", "x".repeat(4 << 20));
        closed_or(server.request("GET", &target).try_send())
    });
    assert!(siege.end(1) > 80);
}

/// The answer to bytes that may not be HTTP at all; a closed connection is an answer too.
fn raw(server: &Server, bytes: &[u8]) -> io::Result<Response> {
    closed_or(send_raw(server.address(), bytes))
}

/// A connection that the server closed counts as refused.
fn closed_or(answer: io::Result<Response>) -> io::Result<Response> {
    let closed = Response {
        status: 400,
        headers: Vec::new(),
        body: Vec::new(),
    };
    match answer {
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Ok(closed),
        answer => answer,
    }
}

#[test]
fn what_is_not_http_is_refused() {
    let server = Server::start(None);
    let mut siege = Siege::of_process(&server);
    let noise = crate::support::dicom::noise("no HTTP", 1000);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let mut garbage = preface.to_vec();
    garbage.extend(&noise);
    let requests: Vec<(&str, Vec<u8>)> = vec![
        ("random bytes", [noise.as_slice(), b"\r\n\r\n"].concat()),
        ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n".to_vec()),
        ("HTTP/0.9", b"GET /\r\n\r\n".to_vec()),
        ("HTTP/3.0", b"GET / HTTP/3.0\r\n\r\n".to_vec()),
        ("no method", b" / HTTP/1.1\r\n\r\n".to_vec()),
        ("a method of 10,000 letters", [&b"G".repeat(10_000), b" / HTTP/1.1\r\n\r\n".as_slice()].concat()),
        ("a header without a colon", b"GET / HTTP/1.1\r\nHost x\r\n\r\n".to_vec()),
        ("a header with NUL", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n".to_vec()),
        ("a folded header", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\r\n b\r\n\r\n".to_vec()),
        ("two lengths", b"POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef".to_vec()),
        ("a length below zero", b"POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n".to_vec()),
        ("a length of 2^64", b"POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551616\r\n\r\n".to_vec()),
        ("a strange coding", b"POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\nTransfer-Encoding: gzip\r\n\r\nabc".to_vec()),
        ("garbage behind the preface of HTTP/2", garbage),
    ];
    for (what, bytes) in requests {
        siege.attack(what, Refused, || raw(&server, &bytes));
    }
    siege.end(0);
}

#[test]
fn other_forms_of_the_target_are_understood_or_refused() {
    // A server for others, for one that is for its own machine answers to no other name.
    let server = Server::with(&[("STOWAGE_LISTEN", "0.0.0.0:0"), ("STOWAGE_AUTH", "off")]);
    let mut siege = Siege::of_process(&server);
    let ask = |line: &str| {
        let text = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            server.address()
        );
        send_raw(server.address(), text.as_bytes())
    };
    // A proxy asks in absolute form; the server must answer it (RFC 9112 §3.2.2).
    let absolute = ask("GET http://evil.example.org/dicom-web/studies").expect("an answer");
    assert_eq!(absolute.status, 200);
    let listed = ask(&format!("GET {}/v2/Studies/1.2/", server.url())).expect("an answer");
    assert_eq!(listed.status, 404);
    for line in [
        "GET http://evil.example.org:99999/dicom-web/studies",
        "GET http://",
        "GET ftp://x/dicom-web/studies",
        "GET evil.example.org:80",
        "CONNECT evil.example.org:80",
        "OPTIONS *",
        "GET *",
        "GET dicom-web/studies",
        "GET /dicom-web/studies#fragment",
        "GET /dicom-web/studies?#",
        "GET \\dicom-web\\studies",
        "TRACE /dicom-web/studies",
        "BREW /dicom-web/studies",
        "GET  /dicom-web/studies",
        "GET /dicom-web/stu dies",
        "GET /dicom-web/st\u{e4}dies",
    ] {
        siege.attack(line, Survived, || ask(line));
    }
    siege.end(0);
}

#[test]
fn requests_that_stop_half_way_hold_nobody_up() {
    // Half requests are not given up before the whole ones were answered.
    let patient = [
        ("STOWAGE_HEAD_SECONDS", "3600"),
        ("STOWAGE_IDLE_SECONDS", "3600"),
    ];
    let server = Server::with(&patient);
    let siege = Siege::of_process(&server);
    let heads = [
        String::new(),
        "GET".to_owned(),
        "GET /v2/studies HTTP/1.1\r\nHost: localhost\r\n".to_owned(),
        "POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\nContent-Length: 1000\r\n\r\nabc".to_owned(),
        format!("POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n--", crate::support::multipart::content_type()),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ];
    let open: Vec<TcpStream> = (0..200)
        .map(|number| {
            let mut stream = connect(server.address()).expect("the server listens");
            let head = &heads[number % heads.len()];
            stream.write_all(head.as_bytes()).expect("the server reads");
            stream
        })
        .collect();
    for _ in 0..3 {
        server.get("/v2/studies").expect(200);
        server.store("/v2", [&Name::new(2101, 1, 1).small()]);
    }
    // All of them were waited for meanwhile.
    wait_until("no others are left", || server.connections() == open.len());
    drop(open);
    siege.end(1);
}

#[test]
fn a_head_that_never_ends_is_given_up() {
    let server = Server::with(&[("STOWAGE_HEAD_SECONDS", "1")]);
    for head in [
        "",
        "GET /v2/studies HTTP/1.1\r\nHost: localhost\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        let mut stream = connect(server.address()).expect("the server listens");
        stream.write_all(head.as_bytes()).expect("the server reads");
        let mut rest = Vec::new();
        // Closed by the server, with a word or without.
        let ended = stream.read_to_end(&mut rest);
        assert!(
            ended.is_ok() || ended.is_err_and(|e| e.kind() != io::ErrorKind::WouldBlock),
            "{head:?} is still waited for"
        );
    }
    // One that comes byte by byte is not waited for longer.
    let mut stream = connect(server.address()).expect("the server listens");
    let mut bytes = "GET /v2/studies HTTP/1.1\r\nX: "
        .bytes()
        .chain(std::iter::repeat(b'x'));
    wait_until("the slow head is given up", || {
        let byte = bytes.next().unwrap_or(b'x');
        stream.write_all(&[byte]).is_err()
    });
    server.get("/v2/studies");
}

#[test]
fn two_requests_in_one_are_never_mixed_up() {
    let server = Server::start(None);
    let siege = Siege::of_process(&server);
    // Both lengths: the chunked one counts and the connection ends, or the request is refused (RFC 9112 §6.1).
    let smuggled = "POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\nContent-Length: 6\r\n\
                    Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut stream = connect(server.address()).expect("the server listens");
    stream
        .write_all(smuggled.as_bytes())
        .expect("the server reads");
    stream
        .shutdown(std::net::Shutdown::Write)
        .expect("the socket is open");
    let mut text = String::new();
    let _ = stream.read_to_string(&mut text);
    assert!(text.starts_with("HTTP/1.1 "), "{text}");
    // What was refused leaves the rest of its body unread: nothing of it may become a request.
    let unread = format!(
        "POST /v2/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: {}\r\n\r\n",
        1 << 20
    );
    let mut stream = connect(server.address()).expect("the server listens");
    stream
        .write_all(unread.as_bytes())
        .expect("the server reads");
    let body = "DELETE /v2/studies/1.2.3.9999 HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let _ = stream.write_all(body.as_bytes());
    let mut text = String::new();
    let _ = stream.take(1 << 20).read_to_string(&mut text);
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "{text}");
    siege.end(0);
}
