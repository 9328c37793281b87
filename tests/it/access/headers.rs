//! Headers that protect, values that cannot end a header line, secrets that are never shown.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::Syntax;
use stowage::http::routes::ROUTES;

use crate::support::prelude::*;

#[track_caller]
fn protected(what: &str, answer: &Response) {
    assert_eq!(
        answer.header("x-content-type-options"),
        Some("nosniff"),
        "{what}"
    );
    assert_eq!(
        answer.header("referrer-policy"),
        Some("no-referrer"),
        "{what}"
    );
    let kept = answer.header("cache-control");
    assert!(
        matches!(kept, Some("no-store" | "private, no-cache")),
        "{what}: {kept:?}"
    );
    if kept == Some("no-store") {
        assert!(
            answer.header("etag").is_none(),
            "{what}: an ETag of what is not kept"
        );
    }
    let kind = answer.content_type();
    let plain = kind.split(';').next().unwrap_or_default();
    let active = !plain.is_empty() && !plain.ends_with("json");
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert_eq!(
        policy.starts_with("sandbox; default-src 'none'"),
        active,
        "{what}: {kind} {policy}"
    );
    assert!(
        answer.header("strict-transport-security").is_none(),
        "{what}: no TLS here"
    );
}

#[test]
fn every_answer_carries_the_headers_that_protect() {
    let server = TestApp::start(None);
    let name = Name::new(740, 1, 1);
    let data_set = name
        .image(8, 8, 8, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, [7; 64]);
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/v2", [&file]).expect(200);
    let mut good = 0;
    for root in ["/dicom-web", "/v2"] {
        for route in ROUTES {
            for study in [name.study.as_str(), "1.2.9", "x"] {
                let path = route.path.replace("{study}", study);
                let path = path.replace("{series}", &name.series);
                let path = path.replace("{instance}", &name.instance);
                let path = path.replace("{frames}", "1").replace("{*bulk}", "7FE00010");
                let path = path.replace("{tag}", "x").replace("{id}", "x");
                // A stream does not end.
                let path = path.replace("/events", "/events?types=x");
                if route.method == "DELETE" && study == name.study {
                    continue;
                }
                for accept in [
                    "*/*",
                    "text/html",
                    "application/dicom+xml",
                    "application/none",
                ] {
                    let target = format!("{root}{path}");
                    let answer = server.request(route.method, &target).accept(accept).send();
                    good += u32::from(answer.status == 200);
                    protected(&format!("{} {target} as {accept}", route.method), &answer);
                }
            }
        }
    }
    assert!(good > 60, "{good}");
    for target in ["/", "/health/check", "/v9/studies", "/nothing"] {
        protected(target, &server.get(target));
    }
}

#[test]
fn a_stored_page_runs_nothing_and_a_stored_type_ends_no_header() {
    let server = TestApp::start(None);
    for (number, (media, expected)) in (1..).zip([
        ("text/html", "text/html"),
        ("TEXT/HTML; charset=utf-8", "text/html"),
        ("image/svg+xml", "image/svg+xml"),
        ("text/html\r\nX-Evil: 1", "application/octet-stream"),
        (
            "text/html\nX-Evil: 1\n\n<script>",
            "application/octet-stream",
        ),
        ("text/", "application/octet-stream"),
        ("a b/c", "application/octet-stream"),
        ("text/\"html\"", "application/octet-stream"),
    ]) {
        let name = Name::new(741, 1, number);
        let page = b"<html><script>alert(document.cookie)</script></html>".to_vec();
        let data_set = name
            .data_set()
            .bytes(Tag(0x0042, 0x0011), VR::OB, page)
            .text(Tag(0x0042, 0x0012), VR::LO, media);
        let file = name.file(&data_set, Syntax::ExplicitLittle);
        let stored = server.store("/dicom-web", [&file]);
        assert!(matches!(stored.status, 200 | 202), "{}", stored.text());
        for target in [
            format!("/dicom-web{}/rendered", name.path()),
            format!("/dicom-web{}/bulkdata/00420011", name.path()),
            format!("/dicom-web/?requestType=WADO&objectUID={}", name.instance),
        ] {
            for accept in ["*/*", expected, "multipart/related; type=\"*/*\""] {
                let answer = server.request("GET", &target).accept(accept).send();
                assert!(answer.status < 500, "{target}: {}", answer.status);
                assert!(answer.header("x-evil").is_none(), "{media:?} at {target}");
                assert!(!answer.text().contains("X-Evil"), "{media:?} at {target}");
                if answer.status == 200 && !answer.content_type().starts_with("multipart/") {
                    protected(&target, &answer);
                }
            }
        }
    }
}

#[test]
fn what_a_request_says_is_not_repeated_in_headers() {
    let server = TestApp::start(None);
    for (header, value) in [
        ("X-Request-ID", "a b"),
        ("X-Request-ID", "<script>"),
        ("X-Request-ID", &"x".repeat(65)),
        ("Host", "evil.example/\"><script>"),
        ("X-Forwarded-Host", "evil.example"),
        ("Forwarded", "host=evil.example;proto=https"),
        ("X-Forwarded-Prefix", "/evil"),
    ] {
        let answer = server
            .request("GET", "/dicom-web/changefeed/latest")
            .header(header, value)
            .send();
        assert!(answer.status < 500);
        for (name, reported) in &answer.headers {
            assert!(
                !reported.contains("evil") && reported != value,
                "{name}: {reported}"
            );
        }
        assert!(!answer.text().contains("evil"), "{header}");
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let hush = "hush-hush-hush-hush-hush-hush-hush-hush";
    let url = format!("postgres://stowage:{hush}@127.0.0.1:1/stowage");
    let server = Server::with(&[("STOWAGE_JWT_SECRET", hush), ("STOWAGE_LOG", "trace")]);
    let token = server.command(&["token"]);
    assert!(token.status.success());
    server.get("/dicom-web/studies").expect(401);
    assert!(!server.log().contains(hush), "in the log");
    for arguments in [
        &["--help"][..],
        &["serve", "--help"],
        &["token", "--help"],
        &["--no-such-setting"],
        // Fails at its start, for the port is nobody's.
        &["--database-url", &url, "--database-connections", "1"],
        &["fsck", "--database-url", &url],
        &["--jwt-secret-file", "/none"],
    ] {
        let output = server.command(arguments);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(!said.contains(hush), "{arguments:?}: {said}");
        assert!(!said.is_empty());
    }
}

#[test]
fn nobody_is_let_in_by_accident() {
    let server = TestApp::start(None);
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let output = server.command(&["--listen", address]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains("STOWAGE_AUTH=off"),
            "{said}"
        );
    }
    // Access control without a key to check tokens with, or with one that signs for others too.
    for (arguments, says) in [
        (&["--auth", "jwt"][..], "no key"),
        (&["--jwt-secret", "short"], "32 bytes"),
        (&["--jwt-issuer", "https://issuer.example"], "audience"),
        (&["--jwt-issuer", "not a URL"], "no key"),
    ] {
        let output = server.command(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && said.contains(says),
            "{arguments:?}: {said}"
        );
    }
}
