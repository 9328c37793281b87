//! What holds for every resource: spelling of URLs, headers, compression, CORS, stop.

use std::io::Read;

use crate::support::prelude::*;

const ROOTS: [&str; 3] = ["/dicom-web", "/v1", "/v2"];

/// A server with one instance.
fn server_with(name: &Name) -> TestApp {
    server_set(&[], name)
}

/// A server with settings and one instance.
fn server_set(settings: &[(&str, &str)], name: &Name) -> TestApp {
    let server = TestApp::with(settings);
    server.store("/v2", [&name.small()]).expect(200);
    server
}

#[test]
fn words_of_the_path_may_be_in_any_case_and_slashes_may_follow() {
    let name = Name::new(900, 1, 1);
    let server = server_with(&name);
    let upper = |path: String| {
        path.replace("studies", "Studies")
            .replace("series", "SERIES")
            .replace("instances", "InStances")
    };
    for root in [
        "/dicom-web",
        "/DICOM-WEB",
        "/v1",
        "/V2",
        "/v1.0-Prerelease",
        "/v2.0",
        "/v1.0",
    ] {
        for path in [
            "/studies".to_owned(),
            name.path(),
            format!("{}/Metadata", name.series_path()),
            format!("{}/series", name.study_path()),
            format!("{}/INSTANCES", name.series_path()),
            "/ChangeFeed/Latest".to_owned(),
        ] {
            for path in [upper(path.clone()), format!("{path}/"), format!("{path}//")] {
                server.get(&format!("{root}{path}")).expect(200);
            }
        }
    }
}

#[test]
fn versions_that_do_not_exist_are_400_and_other_paths_404() {
    let server = TestApp::start(None);
    for path in ["/v3/studies", "/v3", "/v9.1/changefeed", "/v0/studies"] {
        let answer = server.get(path).expect(400);
        assert_eq!(answer.json()["error"]["code"], "UnsupportedApiVersion");
    }
    for path in [
        "/vx/studies",
        "/studies",
        "/v2/nothing",
        "/dicom-web/studies/1.2/nothing",
        "/x",
    ] {
        server.get(path).expect(404);
    }
    for root in ROOTS {
        for (method, path) in [
            ("PATCH", "/studies"),
            ("POST", "/series"),
            ("PATCH", "/studies/1.2"),
        ] {
            let answer = server.request(method, &format!("{root}{path}")).send();
            assert!(answer.expect(405).header("allow").is_some());
        }
    }
}

#[test]
fn every_answer_names_the_supported_versions() {
    let server = TestApp::start(None);
    for path in [
        "/v2/studies",
        "/v1/studies/1.2",
        "/v2/studies/abc",
        "/v2/nothing",
    ] {
        let answer = server.get(path);
        let versions = answer.header("api-supported-versions").expect("versions");
        assert!(
            versions.contains("1.0-prerelease") && versions.contains('2'),
            "{versions}"
        );
    }
}

#[test]
fn errors_are_a_sentence_or_a_problem() {
    let server = TestApp::start(None);
    for (root, kind) in [
        ("/dicom-web", "application/problem+json"),
        ("/v1", "text/plain; charset=utf-8"),
        ("/v2", "text/plain; charset=utf-8"),
    ] {
        for (path, status) in [
            ("/studies/1.2", 404),
            ("/studies/abc", 400),
            ("/nothing", 404),
        ] {
            let answer = server.get(&format!("{root}{path}")).expect(status);
            assert_eq!(answer.content_type(), kind, "{root}{path}");
            assert!(!answer.body.is_empty());
            if root == "/dicom-web" {
                let problem = answer.json();
                assert!(
                    problem["type"]
                        .as_str()
                        .is_some_and(|t| t.starts_with("urn:stowage:error:"))
                );
                assert_eq!(problem["status"], status);
            }
        }
    }
}

#[test]
fn a_token_that_means_nothing_is_ignored_without_access_control() {
    let name = Name::new(901, 1, 1);
    let server = server_with(&name);
    for token in ["Bearer None", "Bearer a.b.c", "Basic dTpw", "nonsense", ""] {
        let ask = |target: &str| {
            server
                .request("GET", target)
                .header("Authorization", token)
                .send()
                .status
        };
        assert_eq!(ask("/v2/studies"), 200, "{token}");
        assert_eq!(ask(&format!("/dicom-web{}", name.path())), 200, "{token}");
    }
}

#[test]
fn only_text_is_compressed_and_only_when_asked_for() {
    let server = TestApp::start(None);
    let names: Vec<Name> = (0..20).map(|number| Name::new(902, 1, number)).collect();
    let files: Vec<_> = names.iter().map(|name| name.with_bulk(10_000)).collect();
    server.store("/v2", &files).expect(200);
    let ask = |target: &str, accept: &str, encoding: &str| -> Response {
        let request = server.request("GET", target).accept(accept);
        request.header("Accept-Encoding", encoding).send()
    };
    for root in ROOTS {
        for path in [
            format!("{}/metadata", names[0].study_path()),
            "/instances".to_owned(),
            "/changefeed".to_owned(),
        ] {
            let target = format!("{root}{path}");
            let plain = ask(&target, "*/*", "identity").expect(200);
            assert_eq!(plain.header("content-encoding"), None);
            let packed = ask(&target, "*/*", "gzip, deflate, br").expect(200);
            assert_eq!(packed.header("content-encoding"), Some("gzip"), "{target}");
            // The length of the body as it was would be wrong.
            let length = packed.header("content-length").map(str::parse::<usize>);
            assert!(length.is_none_or(|length| length == Ok(packed.body.len())));
            let mut unpacked = Vec::new();
            flate2::read::GzDecoder::new(packed.body.as_slice())
                .read_to_end(&mut unpacked)
                .expect("gzip");
            assert_eq!(unpacked, plain.body, "{target}");
        }
        for (path, accept) in [
            (names[0].study_path(), "*/*"),
            (names[0].path(), "application/dicom"),
            (
                format!("{}/bulkdata/00420011", names[0].path()),
                "application/octet-stream",
            ),
        ] {
            let answer = ask(&format!("{root}{path}"), accept, "gzip").expect(200);
            assert_eq!(answer.header("content-encoding"), None, "{root}{path}");
        }
    }
}

#[test]
fn a_preflight_is_answered_for_every_url() {
    let name = Name::new(903, 1, 1);
    let server = server_set(&[("STOWAGE_CORS_ORIGINS", "*")], &name);
    for root in ROOTS {
        for path in [
            "/studies",
            &name.path(),
            "/studies/1.2/series/3/instances/4/frames/1",
        ] {
            for method in ["GET", "POST", "DELETE"] {
                let answer = server
                    .request("OPTIONS", &format!("{root}{path}"))
                    .header("Origin", "https://viewer.example.org")
                    .header("Access-Control-Request-Method", method)
                    .header(
                        "Access-Control-Request-Headers",
                        "authorization,accept,range",
                    )
                    .send();
                assert!([200, 204].contains(&answer.status), "{}", answer.status);
                let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
                assert_eq!(header("access-control-allow-origin"), "*");
                let allowed = header("access-control-allow-headers").to_lowercase();
                for name in ["authorization", "accept", "range"] {
                    assert!(allowed.contains(name), "{allowed}");
                }
                let methods = header("access-control-allow-methods");
                for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
                    assert!(methods.contains(name), "{methods}");
                }
                let age: u32 = header("access-control-max-age").parse().expect("seconds");
                assert!(age >= 600);
            }
        }
    }
}

#[test]
fn scripts_may_read_answers_and_errors() {
    let name = Name::new(904, 1, 1);
    let server = server_set(&[("STOWAGE_CORS_ORIGINS", "*")], &name);
    let ask = |method: &str, target: &str| {
        server
            .request(method, target)
            .header("Origin", "https://viewer.example.org")
            .accept("*/*")
            .send()
    };
    for root in ROOTS {
        for (method, path, status) in [
            ("GET", name.path(), 200),
            ("GET", "/studies".to_owned(), 200),
            ("GET", "/studies/1.2".to_owned(), 404),
            ("GET", "/studies/abc".to_owned(), 400),
            ("POST", "/studies".to_owned(), 415),
            ("PATCH", "/studies".to_owned(), 405),
            ("GET", "/nothing".to_owned(), 404),
        ] {
            let answer = ask(method, &format!("{root}{path}")).expect(status);
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            assert_eq!(
                answer.header("cross-origin-resource-policy"),
                Some("cross-origin")
            );
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            let exposed = answer
                .header("access-control-expose-headers")
                .expect("a list");
            for name in [
                "Content-Range",
                "Content-Location",
                "Location",
                "ETag",
                "Warning",
                "WWW-Authenticate",
            ] {
                assert!(exposed.contains(name), "{exposed}");
            }
            let vary = answer.headers("vary").join(", ").to_lowercase();
            assert!(vary.contains("origin") && vary.contains("accept"), "{vary}");
        }
    }
}

#[test]
fn origins_can_be_restricted() {
    let server = TestApp::with(&[("STOWAGE_CORS_ORIGINS", "https://viewer.example.org")]);
    let ask = |origin: &str| {
        let request = server.request("GET", "/dicom-web/studies");
        let answer = request.header("Origin", origin).send().expect(200);
        answer
            .header("access-control-allow-origin")
            .map(str::to_owned)
    };
    let allowed = "https://viewer.example.org";
    assert_eq!(ask(allowed).as_deref(), Some(allowed));
    assert_eq!(ask("https://evil.example.org"), None);
    let off = TestApp::with(&[("STOWAGE_CORS_ORIGINS", "none")]);
    let answer = off
        .request("GET", "/dicom-web/studies")
        .header("Origin", allowed);
    assert_eq!(answer.send().header("access-control-allow-origin"), None);
}

#[test]
fn links_follow_the_request_or_the_configuration() {
    let name = Name::new(905, 1, 1);
    // A server for others answers to every name.
    let public = [("STOWAGE_LISTEN", "0.0.0.0:8080"), ("STOWAGE_AUTH", "off")];
    let server = server_set(&public, &name);
    let url = |server: &Deployment, host: Option<&str>| {
        let mut request = server.request("GET", "/dicom-web/studies").accept("*/*");
        if let Some(host) = host {
            request = request.header("Host", host);
        }
        let rows = request.send().expect(200).json();
        rows[0]["00081190"]["Value"][0]
            .as_str()
            .expect("a URL")
            .to_owned()
    };
    let path = format!("/dicom-web{}", name.study_path());
    let port = server.url().rsplit(':').next().expect("a port");
    assert_eq!(url(&server, None), format!("{}{path}", server.url()));
    assert_eq!(
        url(&server, Some("pacs.example.org:81")),
        format!("http://pacs.example.org:81{path}")
    );
    // The Python client names no port.
    assert_eq!(
        url(&server, Some("localhost")),
        format!("http://localhost:{port}{path}")
    );

    let server = TestApp::with(&[("STOWAGE_PUBLIC_URL", "https://pacs.example.org/dicom")]);
    server.store("/v2", [&name.small()]).expect(200);
    let wanted = format!("https://pacs.example.org/dicom{path}");
    assert_eq!(url(&server, Some("localhost")), wanted);
}

#[test]
fn health_is_told_without_a_version() {
    let server = TestApp::start(None);
    let answer = server.get("/health/check").expect(200);
    assert_eq!(answer.json()["overallStatus"], "Healthy");
    // A browser is sent to the web page; where that is off, to what the server says of itself.
    let page = server.get_as("/", "text/html").expect(302);
    assert_eq!(page.header("Location"), Some("ui/"));
    let plain = TestApp::with(&[("STOWAGE_UI", "off")]);
    let page = plain.get_as("/", "text/html").expect(200);
    assert!(page.content_type().starts_with("text/html"));
    let process = Server::start(None);
    let output = process.command(&["health", "--listen", process.address()]);
    assert!(output.status.success());
}

#[test]
fn a_stop_lets_running_requests_end() {
    let mut server = Server::start(None);
    let name = Name::new(906, 1, 1);
    let file = name.with_bulk(60 << 20);
    server.store("/v2", [&file]).expect(200);
    // Far more than the sockets hold: the server is in the middle of it when it is told to stop.
    let answer = server
        .request("GET", &format!("/v2{}", name.path()))
        .accept("application/dicom; transfer-syntax=*")
        .open()
        .expect("an answer");
    server.terminate();
    let address = server.address().to_owned();
    wait_until("nobody is let in any more", || {
        std::net::TcpStream::connect(&address).is_err()
    });
    assert!(server.is_alive(), "it waits for the download");
    let body = answer.finish().expect("a whole answer").body;
    assert!(body == file.bytes, "other bytes");
    assert!(server.wait().success());
    server.restart();
    assert!(server.stored(&name).is_some());
}

#[test]
fn a_stop_does_not_wait_for_ever() {
    let name = Name::new(907, 1, 1);
    let file = name.with_bulk(60 << 20);
    // Two whose clients do not read on, one of which may wait for very long.
    let [(mut patient, unread), (mut server, answer)] = ["3600", "1"].map(|seconds| {
        let server = Server::with(&[("STOWAGE_SHUTDOWN_SECONDS", seconds)]);
        server.store("/v2", [&file]).expect(200);
        let answer = server
            .request("GET", &format!("/v2{}", name.path()))
            .accept("application/dicom; transfer-syntax=*")
            .open();
        (server, answer.expect("an answer"))
    });
    patient.terminate();
    server.terminate();
    assert!(server.wait().success());
    assert!(patient.is_alive(), "it waits as long as it may");
    drop((answer, unread));
    server.restart();
    server.fsck();
}
