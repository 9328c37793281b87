//! What a web page of somebody else can do through a browser on this machine: nothing.

use crate::support::http::send_raw;
use crate::support::prelude::*;

const EVIL: &str = "https://evil.example";

fn send(server: &Deployment, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = server.request(method, target).accept("*/*");
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.send()
}

#[test]
fn without_access_control_pages_and_names_of_others_are_refused() {
    let server = TestApp::start(None);
    let name = Name::new(750, 1, 1);
    server.store("/v2", [&name.small()]).expect(200);
    let port = server.url().rsplit(':').next().unwrap().to_owned();
    for root in ["/dicom-web", "/v2"] {
        let study = format!("{root}{}", name.study_path());
        // Another origin: nothing is done, nothing may be read.
        for origin in [
            EVIL,
            "null",
            "http://localhost.evil.example",
            "http://10.1.2.3:8080",
        ] {
            for (method, target) in [
                ("DELETE", study.as_str()),
                ("POST", &format!("{root}/studies")),
                ("GET", &study),
                ("HEAD", &study),
                ("OPTIONS", &format!("{root}/")),
            ] {
                let answer = send(&server, method, target, &[("Origin", origin)]);
                assert_eq!(answer.status, 403, "{method} {target} from {origin}");
                assert_eq!(answer.header("access-control-allow-origin"), None);
            }
            let asked = ("Access-Control-Request-Method", "DELETE");
            let preflight = send(&server, "OPTIONS", &study, &[("Origin", origin), asked]);
            assert_eq!(preflight.header("access-control-allow-origin"), None);
            assert_eq!(preflight.header("access-control-allow-methods"), None);
        }
        let refused = send(&server, "GET", &study, &[("Origin", EVIL)]);
        assert!(
            refused.text().contains("STOWAGE_CORS_ORIGINS"),
            "{}",
            refused.text()
        );
        // Another name, as DNS rebinding has it: same origin for the browser.
        for host in [
            "rebind.evil.example",
            "localhost.evil.example",
            "10.1.2.3",
            "0.0.0.0",
        ] {
            let host = format!("{host}:{port}");
            let own = format!("http://{host}");
            for (method, headers) in [
                ("GET", &[("Host", host.as_str())][..]),
                ("DELETE", &[("Host", &host), ("Origin", &own)]),
            ] {
                let answer = send(&server, method, &study, headers);
                assert_eq!(answer.status, 421, "{method} {host}");
                assert!(
                    answer.text().contains("STOWAGE_PUBLIC_URL"),
                    "{}",
                    answer.text()
                );
                let kind = answer.content_type().to_owned();
                assert_eq!(kind.starts_with("text/plain"), root == "/v2", "{kind}");
            }
        }
        let absolute = send(&server, "GET", &format!("http://evil.example{study}"), &[]);
        assert_eq!(absolute.status, 421);
    }
    send(&server, "GET", "/metrics", &[("Host", "evil.example")]).expect(421);
    send(&server, "GET", "/health/ready", &[("Host", "evil.example")]).expect(200);
    assert!(server.stored(&name).is_some(), "it is still there");
    // A picture in a page of another site is not shown either.
    let study = format!("/dicom-web{}", name.study_path());
    let answer = send(&server, "GET", &study, &[]).expect(200);
    assert_eq!(
        answer.header("cross-origin-resource-policy"),
        Some("same-site")
    );
    // Pages and names of this machine work as ever.
    for host in ["localhost", "127.0.0.1", "[::1]", "a.localhost"] {
        let (host, origin) = (format!("{host}:{port}"), format!("http://{host}:3000"));
        let headers = [("Host", host.as_str()), ("Origin", origin.as_str())];
        let answer = send(&server, "GET", &study, &headers).expect(200);
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some(origin.as_str())
        );
        assert_eq!(
            answer.header("cross-origin-resource-policy"),
            Some("cross-origin")
        );
    }
    let own = [("Origin", server.url())];
    send(&server, "DELETE", &study, &own).expect(204);
}

#[test]
fn settings_say_which_pages_and_names_are_answered() {
    let ask = |settings: &[(&str, &str)], host: Option<&str>, origin: Option<&str>| {
        let server = TestApp::with(settings);
        let host = host.map(|host| ("Host", host));
        let origin = origin.map(|origin| ("Origin", origin));
        let headers: Vec<_> = host.into_iter().chain(origin).collect();
        let read = send(&server, "GET", "/dicom-web/studies", &headers);
        let deleted = send(&server, "DELETE", "/dicom-web/studies/1.2", &headers);
        let allowed = read
            .header("access-control-allow-origin")
            .map(str::to_owned);
        (read.status, deleted.status, allowed)
    };
    let public = [("STOWAGE_PUBLIC_URL", "https://pacs.example.org/x")];
    let pacs = Some("pacs.example.org");
    let page = Some("https://pacs.example.org");
    let allowed = page.map(str::to_owned);
    assert_eq!(ask(&public, pacs, page), (200, 404, allowed.clone()));
    assert_eq!(ask(&public, Some("evil.example"), None), (421, 421, None));
    assert_eq!(ask(&public, pacs, Some(EVIL)), (403, 403, None));
    let listed = [("STOWAGE_CORS_ORIGINS", "https://pacs.example.org")];
    assert_eq!(ask(&listed, None, page), (200, 404, allowed.clone()));
    // A listed server is read without CORS, as ever, and changed by none but those.
    assert_eq!(ask(&listed, None, Some(EVIL)), (200, 403, None));
    assert_eq!(ask(&listed, Some("evil.example"), None), (421, 421, None));
    let none = [("STOWAGE_CORS_ORIGINS", "none")];
    assert_eq!(ask(&none, None, Some(EVIL)), (200, 403, None));
    let any = [("STOWAGE_CORS_ORIGINS", "*")];
    let star = Some("*".to_owned());
    assert_eq!(
        ask(&any, Some("evil.example"), Some(EVIL)),
        (200, 404, star.clone())
    );
    let open = [("STOWAGE_LISTEN", "0.0.0.0:0"), ("STOWAGE_AUTH", "off")];
    assert_eq!(
        ask(&open, Some("pacs.hospital.example"), None),
        (200, 404, None)
    );
    assert_eq!(
        ask(&open, Some("10.0.0.5:80"), Some(EVIL)),
        (403, 403, None)
    );
    let own = Some("http://10.0.0.5:80");
    assert_eq!(ask(&open, Some("10.0.0.5:80"), own), (200, 404, None));
    let container = [open[0], open[1], public[0]];
    assert_eq!(
        ask(&container, Some("stowage-a:8080"), None),
        (200, 404, None)
    );
    assert_eq!(ask(&container, Some("10.0.0.5"), None), (200, 404, None));
    assert_eq!(
        ask(&container, Some("evil.example"), None),
        (421, 421, None)
    );
    let tokens = [("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef")];
    assert_eq!(
        ask(&tokens, Some("evil.example"), Some(EVIL)),
        (401, 401, star)
    );
}

#[test]
fn a_request_names_one_host() {
    let tokens = ("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef");
    for settings in [&[][..], &[tokens]] {
        let server = Server::with(settings);
        let raw = |head: &str| {
            let bytes = format!("{head}Connection: close\r\n\r\n");
            send_raw(server.address(), bytes.as_bytes()).unwrap().status
        };
        let host = format!("Host: {}\r\n", server.address());
        for target in ["/", "/health/live", "/v2/studies"] {
            let line = format!("GET {target} HTTP/1.1\r\n");
            assert_eq!(raw(&line), 400, "{target} without a host");
            assert_eq!(
                raw(&format!("{line}{host}{host}")),
                400,
                "{target} with two"
            );
            assert_eq!(raw(&format!("{line}Host: a b\r\n")), 400, "{target}");
        }
        let well = raw(&format!("GET / HTTP/1.1\r\n{host}"));
        assert_eq!(well, 200);
        assert_eq!(raw("GET / HTTP/1.0\r\n"), 200);
    }
}
