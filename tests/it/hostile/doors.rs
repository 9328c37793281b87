//! Hostile requests at a closed door: with access control on, by strangers and by somebody who may do everything.
//!
//! No failure of the server, nothing found, nothing changed, and nothing outside of the data folder touched.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use stowage::http::routes::ROUTES;

use crate::support::dicom::Name;
use crate::support::http::{Request, connect};
use crate::support::server::Server;
use crate::support::signer::{AUDIENCE, ISSUER, SECRET, claims, with_secret};

/// A server with access control, one study, and a file beside the data folder that is nobody's business.
struct Door {
    server: Server,
    admin: String,
    before: BTreeMap<PathBuf, Option<Vec<u8>>>,
    asked: usize,
}

const CANARY: &str = "canary-that-nobody-may-see";

impl Door {
    fn new() -> Self {
        let server = Server::with(&[
            ("STOWAGE_JWT_SECRET", SECRET),
            ("STOWAGE_JWT_ISSUER", ISSUER),
            ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
            ("STOWAGE_ACCESS_TOKEN_IN_QUERY", "on"),
        ]);
        let admin = with_secret(SECRET.as_bytes(), &claims("admin"));
        let stored = server.request("POST", "/v2/studies");
        let stored = stored.header("Authorization", &format!("Bearer {admin}"));
        let stored = stored.header("Content-Type", "application/dicom");
        stored
            .body(Name::new(750, 1, 1).small().bytes)
            .send()
            .expect(200);
        let data = server.data();
        fs::write(data.parent().unwrap().join("canary"), CANARY).unwrap();
        let before = files(data.parent().unwrap());
        Self {
            server,
            admin,
            before,
            asked: 0,
        }
    }

    fn by_admin(&self, method: &str, target: &str) -> Request {
        let request = self.server.request(method, target).accept("*/*");
        request.header("Authorization", &format!("Bearer {}", self.admin))
    }

    /// Sends bytes, reads all that comes back until the server closes; each answer in it is looked at.
    #[track_caller]
    fn raw(&mut self, what: &str, bytes: &[u8]) -> String {
        self.asked += 1;
        let mut stream = connect(self.server.address()).expect("the server listens");
        // The server may close before it has read everything.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let ended = (&mut stream).take(1 << 22).read_to_end(&mut answer);
        assert!(
            ended.is_ok() || ended.is_err_and(|e| e.kind() != std::io::ErrorKind::WouldBlock),
            "{what}: the server is silent"
        );
        let text = String::from_utf8_lossy(&answer).into_owned();
        self.check(what, &text);
        text
    }

    #[track_caller]
    fn check(&self, what: &str, answer: &str) {
        for status in answer.split("HTTP/1.1 ").skip(1) {
            assert!(!status.starts_with('5'), "{what}: {answer}");
        }
        for tell in [
            CANARY, "root:x:", "\nX-Evil", "\nx-evil", "panicked", "sqlite", "src/",
        ] {
            assert!(!answer.contains(tell), "{what}: {answer}");
        }
    }

    #[track_caller]
    fn end(self) {
        let found = self
            .by_admin("GET", "/v2/instances")
            .send()
            .expect(200)
            .json();
        assert_eq!(
            found.as_array().map(Vec::len),
            Some(1),
            "nothing came, nothing went"
        );
        self.server
            .request("GET", "/v2/instances")
            .send()
            .expect(401);
        let said = self.server.fsck();
        assert!(said.contains(" 0 blobs without a row"), "{said}");
        assert_eq!(self.server.blob_files().len(), 1);
        assert!(
            !self.server.log().contains("panicked"),
            "{}",
            self.server.log()
        );
        let data = self.server.data();
        assert_eq!(
            files(data.parent().unwrap()),
            self.before,
            "outside of the data folder"
        );
        println!("{} hostile requests", self.asked);
    }
}

/// Everything below a folder but the data folder and the log, with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.ends_with("data") || path.ends_with("log") {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        }
        found.insert(path.clone(), fs::read(path).ok());
    }
    found
}

/// What stands for a segment of a path.
const SEGMENTS: [&str; 16] = [
    "..",
    "...",
    "%2e%2e",
    "%252e%252e",
    "%252e%252e%252fcanary",
    "..%2f..%2f..%2f..%2fetc%2fpasswd",
    "..%5c..%5ccanary",
    "%2e%2e/%2e%2e/%2e%2e/canary",
    "../../../../../../etc/passwd",
    "%2fetc%2fpasswd",
    "%00",
    "1.2.3%00.dcm",
    "%0d%0aX-Evil:%201",
    "%c0%ae%c0%ae%c0%af",
    "1.2.3;/../canary",
    "'%20or%20'1'='1",
];

#[test]
fn no_segment_of_any_path_leads_out() {
    let mut door = Door::new();
    for route in ROUTES {
        let segments: Vec<&str> = route.path.split('/').collect();
        for (at, segment) in segments
            .iter()
            .enumerate()
            .filter(|(_, s)| s.starts_with('{'))
        {
            for evil in SEGMENTS {
                let path: Vec<&str> = segments
                    .iter()
                    .enumerate()
                    .map(|(place, known)| match *known {
                        _ if place == at => evil,
                        "{study}" => "1.2.3.750",
                        "{series}" => "1.2.3.750.1",
                        "{instance}" => "1.2.3.750.1.1",
                        "{frames}" => "1",
                        other => other.trim_matches(['{', '}']),
                    })
                    .collect();
                let target = format!("/v2{}", path.join("/"));
                let what = format!("{} {target} ({segment})", route.method);
                door.asked += 2;
                let file = Name::new(751, 1, 1).small().bytes;
                let send = |request: Request| match route.method {
                    "POST" => request
                        .header("Content-Type", "application/dicom")
                        .body(file.clone())
                        .send(),
                    _ => request.send(),
                };
                let stranger = send(door.server.request(route.method, &target));
                assert_eq!(stranger.status, 401, "{what}");
                let answer = send(door.by_admin(route.method, &target));
                door.check(&what, &answer.text());
                assert!(answer.header("x-evil").is_none(), "{what}");
                assert!(
                    (400..500).contains(&answer.status),
                    "{what}: {} {}",
                    answer.status,
                    answer.text()
                );
            }
        }
    }
    assert!(door.asked > 2000, "{}", door.asked);
    door.end();
}

/// Heads that a server must not take at their word; `{a}` stands for the credentials of an administrator.
fn heads() -> Vec<(&'static str, String)> {
    let target = "/v2/studies/1.2.3.750";
    let get = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n")
    };
    let long = "a".repeat(200_000);
    let many: String = (0..2000).map(|n| format!("X-{n}: {n}\r\n")).collect();
    vec![
        (
            "CR LF in the target",
            get("GET /v2/studies\r\nX-Evil: 1", "{a}"),
        ),
        ("CR in the target", get("GET /v2/stu\rdies", "{a}")),
        (
            "LF in a header",
            get("GET /v2/studies", "{a}X: a\nX-Evil: 1\r\n"),
        ),
        (
            "CR in a header",
            get("GET /v2/studies", "{a}X: a\rX-Evil: 1\r\n"),
        ),
        ("NUL in a header", get("GET /v2/studies", "{a}X: a\0b\r\n")),
        (
            "a folded header",
            get("GET /v2/studies", "{a}X: a\r\n X-Evil: 1\r\n"),
        ),
        (
            "CR LF in the request id",
            get("GET /v2/studies", "{a}X-Request-ID: a%0d%0aX-Evil: 1\r\n"),
        ),
        (
            "CR LF in a query",
            get("GET /v2/studies?PatientID=%0d%0aX-Evil:%201", "{a}"),
        ),
        (
            "CR LF in accept",
            get("GET /v2/studies?accept=%0d%0aX-Evil:%201", "{a}"),
        ),
        (
            "an oversized header",
            get("GET /v2/studies", &format!("{{a}}X: {long}\r\n")),
        ),
        (
            "an oversized name",
            get("GET /v2/studies", &format!("{{a}}{long}: x\r\n")),
        ),
        (
            "an oversized target",
            get(&format!("GET /v2/studies/{long}"), "{a}"),
        ),
        (
            "an oversized query",
            get(&format!("GET /v2/studies?PatientID={long}"), "{a}"),
        ),
        (
            "an oversized cookie",
            get("GET /v2/studies", &format!("{{a}}Cookie: {long}\r\n")),
        ),
        (
            "an oversized token",
            get(
                "GET /v2/studies",
                &format!("Authorization: Bearer {long}\r\n"),
            ),
        ),
        (
            "a token of 20 KB",
            get(
                "GET /v2/studies",
                &format!("Authorization: Bearer {}\r\n", &long[..20_000]),
            ),
        ),
        (
            "a token of dots",
            get("GET /v2/studies", "Authorization: Bearer ......\r\n"),
        ),
        (
            "a token that is no text",
            get("GET /v2/studies", "Authorization: Bearer \u{ff}\u{fe}\r\n"),
        ),
        ("two credentials", get("GET /v2/studies", "{a}{a}")),
        (
            "credentials and none",
            get("GET /v2/studies", "Authorization: Bearer x\r\n{a}"),
        ),
        (
            "another scheme",
            get(
                "GET /v2/studies",
                "Authorization: Basic YWRtaW46YWRtaW4=\r\n",
            ),
        ),
        (
            "a token in a cookie",
            get("GET /v2/studies", "Cookie: access_token=x\r\n"),
        ),
        (
            "a broken token in the query",
            get("GET /v2/studies?access_token=%ff%00", ""),
        ),
        (
            "tokens without end in the query",
            get(
                &format!("GET /v2/studies?{}", "access_token=x&".repeat(2000)),
                "",
            ),
        ),
        (
            "2000 headers",
            get("GET /v2/studies", &format!("{{a}}{many}")),
        ),
        (
            "two hosts",
            get("GET /v2/studies", "{a}Host: evil.example\r\n"),
        ),
        (
            "an absolute target",
            get("GET http://evil.example/v2/studies", "{a}"),
        ),
        (
            "an absolute target with credentials",
            get("GET http://a:b@evil.example/v2/studies", "{a}"),
        ),
        (
            "an absolute target of a file",
            get("GET file:///etc/passwd", "{a}"),
        ),
        (
            "an absolute target with dots",
            get("GET http://x/v2/../../../etc/passwd", "{a}"),
        ),
        (
            "a target of two slashes",
            get("GET //evil.example/v2/studies", "{a}"),
        ),
        (
            "an authority as target",
            get("CONNECT evil.example:80", "{a}"),
        ),
        ("an authority to read", get("GET evil.example:80", "{a}")),
        (
            "a target in backslashes",
            get("GET \\..\\..\\canary", "{a}"),
        ),
        ("a target without a slash", get("GET ../../canary", "{a}")),
        (
            "another method in a header",
            get(
                &format!("GET {target}"),
                "X-HTTP-Method-Override: DELETE\r\n{a}",
            ),
        ),
        (
            "another method in the query",
            get(&format!("GET {target}?_method=DELETE"), "{a}"),
        ),
        (
            "another path in a header",
            get(
                "GET /health/check",
                "X-Original-URL: /v2/studies\r\nX-Rewrite-URL: /v2/studies\r\n",
            ),
        ),
        ("TRACE", get(&format!("TRACE {target}"), "{a}X-Evil: 1\r\n")),
        ("an unknown method", get(&format!("PURGE {target}"), "{a}")),
        (
            "a range of everything",
            get(
                &format!("GET {target}"),
                "{a}Range: bytes=0-,0-,0-,0-,0-,0-,0-\r\n",
            ),
        ),
        (
            "an upgrade",
            get(
                "GET /v2/studies",
                "{a}Upgrade: websocket\r\nConnection: upgrade\r\n",
            ),
        ),
        (
            "HTTP/2 by upgrade",
            get(
                "GET /v2/studies",
                "{a}Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
            ),
        ),
        (
            "forwarded by a stranger",
            get(
                "GET /v2/changefeed",
                "{a}Forwarded: for=\"_x\";host=\"evil\r\n",
            ),
        ),
    ]
}

/// Ways to disagree about where a request ends; each carries a second request that would delete the study.
fn smuggling() -> Vec<(&'static str, String)> {
    let post = "POST /v2/studies HTTP/1.1\r\nHost: x\r\nContent-Type: application/dicom\r\n{a}";
    let second = "DELETE /v2/studies/1.2.3.750 HTTP/1.1\r\nHost: x\r\n{a}\r\n";
    let length = second.replace("{a}", "").len();
    let chunked = |codings: &str| format!("{post}{codings}\r\n0\r\n\r\n");
    let with_both =
        format!("{post}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{second}");
    vec![
        ("length, then chunks", with_both.clone()),
        (
            "chunks, then length",
            format!(
                "{post}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{second}"
            ),
        ),
        (
            "chunks, then a short length",
            format!(
                "{post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n5c\r\n{second}\r\n0\r\n\r\n"
            ),
        ),
        (
            "two lengths",
            format!("{post}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{second}"),
        ),
        (
            "two lengths in one",
            format!("{post}Content-Length: 0, {length}\r\n\r\n{second}"),
        ),
        (
            "a length with a sign",
            format!("{post}Content-Length: +0\r\n\r\n{second}"),
        ),
        (
            "a length in hex",
            format!("{post}Content-Length: 0x0\r\n\r\n{second}"),
        ),
        (
            "a length with a blank",
            format!("{post}Content-Length : 0\r\n\r\n{second}"),
        ),
        (
            "a length of letters",
            format!("{post}Content-Length: zero\r\n\r\n{second}"),
        ),
        (
            "a length of nothing",
            format!("{post}Content-Length: \r\n\r\n{second}"),
        ),
        (
            "an unknown coding",
            chunked("Transfer-Encoding: xchunked\r\n") + second,
        ),
        (
            "chunks that are not last",
            chunked("Transfer-Encoding: chunked, identity\r\n") + second,
        ),
        (
            "chunks twice",
            chunked("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n") + second,
        ),
        (
            "chunks with a blank",
            chunked("Transfer-Encoding : chunked\r\n") + second,
        ),
        (
            "chunks behind a tab",
            chunked("Transfer-Encoding:\tchunked\r\n") + second,
        ),
        (
            "chunks behind a control",
            chunked("Transfer-Encoding: \x0bchunked\r\n") + second,
        ),
        (
            "chunks in a folded line",
            chunked("Transfer-Encoding:\r\n chunked\r\n") + second,
        ),
        (
            "chunks in quotes",
            chunked("Transfer-Encoding: \"chunked\"\r\n") + second,
        ),
        (
            "chunks in HTTP/1.0",
            with_both.replace("POST /v2/studies HTTP/1.1", "POST /v2/studies HTTP/1.0"),
        ),
        (
            "a chunk of 2^64",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n{second}"),
        ),
        (
            "a chunk below zero",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n-1\r\n{second}"),
        ),
        (
            "a chunk of letters",
            format!("{post}Transfer-Encoding: chunked\r\n\r\nxyz\r\n{second}"),
        ),
        (
            "chunks that end in LF",
            format!("{post}Transfer-Encoding: chunked\r\n\r\n0\n\n{second}"),
        ),
        (
            "an endless extension",
            format!(
                "{post}Transfer-Encoding: chunked\r\n\r\n0;{}\r\n\r\n{second}",
                "x".repeat(100_000)
            ),
        ),
        (
            "a trailer that allows",
            format!(
                "{post}Transfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n0\r\n{{a}}\r\n"
            ),
        ),
        (
            "a body where none is",
            format!(
                "GET /v2/studies HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{second}"
            ),
        ),
    ]
}

#[test]
fn a_hundred_lies_about_requests_get_nobody_in() {
    let mut door = Door::new();
    let admin = format!("Authorization: Bearer {}\r\n", door.admin);
    for (what, head) in heads() {
        for credentials in ["", admin.as_str()] {
            let answer = door.raw(what, head.replace("{a}", credentials).as_bytes());
            let open = head.contains("/health/check");
            if credentials.is_empty() && !open {
                assert!(!answer.contains("HTTP/1.1 20"), "{what}: {answer}");
            }
        }
    }
    for (what, request) in smuggling() {
        // By a stranger nothing is done at all, and what follows the first request is his as well.
        let answer = door.raw(what, request.replace("{a}", "").as_bytes());
        assert!(!answer.contains("HTTP/1.1 20"), "{what}: {answer}");
    }
    // The same where the first half is allowed and the second has no credentials of its own.
    for (what, request) in smuggling() {
        let request = request.replacen("{a}", &admin, 1).replace("{a}", "");
        let answer = door.raw(what, request.as_bytes());
        assert!(!answer.contains("HTTP/1.1 204"), "{what}: {answer}");
    }
    assert!(door.asked >= 100, "{}", door.asked);
    door.end();
}
