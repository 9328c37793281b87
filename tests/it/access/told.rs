//! What is written down of every access, and what never is: names, queries, tokens.

use std::io::Write;

use serde_json::Value;
use stowage::http::routes::ROUTES;

use crate::support::dicom::Name;
use crate::support::http::{Request, connect};
use crate::support::server::{Server, wait_until};
use crate::support::signer::{
    AUDIENCE, ISSUER, SECRET, claims, seconds_from_now, with, with_secret,
};

const AUTH: [(&str, &str); 3] = [
    ("STOWAGE_JWT_SECRET", SECRET),
    ("STOWAGE_JWT_ISSUER", ISSUER),
    ("STOWAGE_JWT_AUDIENCE", AUDIENCE),
];

fn token(role: &str) -> String {
    with_secret(SECRET.as_bytes(), &claims(role))
}

fn request(server: &Server, method: &str, target: &str, token: &str) -> Request {
    server
        .request(method, target)
        .header("Authorization", &format!("Bearer {token}"))
}

/// The events among the lines of a text.
fn events(text: &str) -> Vec<Value> {
    let lines = text.lines().filter(|line| line.contains("AuditEvent"));
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

/// Action, kind, outcome, status, who and which UIDs, in one line.
fn told(event: &Value) -> String {
    let detail = |name: &str| {
        let details = event["entity"][0]["detail"].as_array().unwrap();
        let found = details.iter().find(|d| d["type"] == name);
        found
            .map_or("-", |d| d["valueString"].as_str().unwrap())
            .to_owned()
    };
    let mut uids = String::new();
    for entity in event["entity"].as_array().unwrap().iter().skip(1) {
        let uid = entity["what"]["identifier"]["value"].as_str().unwrap();
        uids.push(' ');
        uids.push_str(uid.trim_start_matches("urn:oid:"));
    }
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    format!(
        "{} {} {} {} {}{uids}",
        text(&event["action"]),
        text(&event["type"]["code"]),
        text(&event["outcome"]),
        detail("status"),
        text(&event["agent"][0]["who"]["identifier"]["value"]),
    )
}

#[test]
fn every_access_leaves_one_event_in_the_file_failures_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let mut settings = AUTH.to_vec();
    settings.push(("STOWAGE_AUDIT", file.to_str().unwrap()));
    settings.push(("STOWAGE_TRUSTED_PROXIES", "127.0.0.1"));
    let mut server = Server::with(&settings);
    let (name, hidden) = (Name::new(720, 1, 1), Name::new(721, 1, 1));
    let (admin, reader) = (token("admin"), token("reader"));
    let limited = with(claims("writer"), "dicom_studies", name.study.as_str());
    let limited = with_secret(SECRET.as_bytes(), &limited);
    let expired = with(claims("admin"), "exp", seconds_from_now(-60));
    let expired = with_secret(SECRET.as_bytes(), &expired);
    let store = |token: &str, name: &Name| {
        let request = request(&server, "POST", "/v2/studies", token);
        let request = request.header("Content-Type", "application/dicom");
        request.body(name.small().bytes).send().status
    };
    let get = |target: String, token: &str| request(&server, "GET", &target, token).send().status;
    let asked = [
        (
            store(&admin, &name),
            200,
            format!("C 110104 0 200 somebody {}", name.study),
        ),
        (
            store(&limited, &hidden),
            409,
            "C 110104 4 409 somebody".to_owned(),
        ),
        (
            store(&reader, &name),
            403,
            "C 110104 8 403 somebody".to_owned(),
        ),
        (
            get(
                "/dicom-web/studies?PatientName=DOE^JANE".to_owned(),
                &reader,
            ),
            200,
            "R 110112 0 200 somebody".to_owned(),
        ),
        (
            get(format!("/dicom-web{}/metadata", name.path()), &reader),
            200,
            format!(
                "R 110103 0 200 somebody {} {} {}",
                name.study, name.series, name.instance
            ),
        ),
        (
            get(format!("/v2{}", hidden.study_path()), &limited),
            404,
            format!("R 110104 4 404 somebody {}", hidden.study),
        ),
        (
            get("/v2/nothing".to_owned(), &reader),
            404,
            "R 110104 4 404 somebody".to_owned(),
        ),
        (
            get(format!("/v2{}", name.study_path()), &expired),
            401,
            format!("R 110104 8 401 anonymous {}", name.study),
        ),
        (
            server
                .request(
                    "GET",
                    &format!("/v2/?requestType=WADO&studyUID={}", name.study),
                )
                .send()
                .status,
            401,
            format!("R 110104 8 401 anonymous {}", name.study),
        ),
        (
            request(
                &server,
                "DELETE",
                &format!("/v2{}", name.study_path()),
                &reader,
            )
            .send()
            .status,
            403,
            format!("D 110105 8 403 somebody {}", name.study),
        ),
        (
            request(
                &server,
                "DELETE",
                &format!("/v2{}", name.study_path()),
                &admin,
            )
            .header("X-Forwarded-For", "203.0.113.7, 10.1.2.3")
            .send()
            .status,
            204,
            format!("D 110105 0 204 somebody {}", name.study),
        ),
    ];
    // One that goes away before it has said everything.
    let mut gone = connect(server.address()).unwrap();
    let head = format!(
        "POST /v2/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin}\r\nContent-Type: application/dicom\r\nContent-Length: 9999\r\n\r\nabc"
    );
    gone.write_all(head.as_bytes()).unwrap();
    drop(gone);
    let expected = asked.len() + 1;
    let read = || std::fs::read_to_string(&file).unwrap_or_default();
    wait_until("all is written down", || read().lines().count() >= expected);
    server.terminate();
    assert!(server.wait().success());
    let text = read();
    let events = events(&text);
    assert_eq!(events.len(), expected, "{text}");
    for (event, (status, expected, line)) in events.iter().zip(&asked) {
        assert_eq!((status, told(event)), (expected, line.clone()));
        assert_eq!(event["resourceType"], "AuditEvent");
        let recorded = event["recorded"].as_str().unwrap();
        assert!(
            time::OffsetDateTime::parse(recorded, &time::format_description::well_known::Rfc3339)
                .is_ok()
        );
    }
    let source = |at: usize| events[at]["agent"][0]["network"]["address"].clone();
    assert_eq!(source(0), "127.0.0.1");
    assert_eq!(
        source(asked.len() - 1),
        "10.1.2.3",
        "only what the trusted proxy saw"
    );
    assert!(told(&events[asked.len()]).starts_with("C 110104 "));
    for secret in [
        "DOE",
        "JANE",
        "Doe",
        admin.as_str(),
        expired.as_str(),
        "PatientName",
    ] {
        assert!(!text.contains(secret), "{secret} is in the events");
        assert!(!server.log().contains(secret), "{secret} is in the log");
    }
}

#[test]
fn events_go_to_standard_output_for_every_route() {
    let mut settings = AUTH.to_vec();
    settings.push(("STOWAGE_AUDIT", "stdout"));
    let mut server = Server::with(&settings);
    let nobody = token("nobody");
    for route in ROUTES {
        request(
            &server,
            route.method,
            &format!("/v2{}", route.path),
            &nobody,
        )
        .send()
        .expect(403);
    }
    // Health and the page for people are about nobody's data.
    server.get("/health/check").expect(200);
    server.terminate();
    assert!(server.wait().success());
    let events = events(&server.log());
    assert_eq!(events.len(), ROUTES.len());
    for (event, route) in events.iter().zip(ROUTES) {
        let details = event["entity"][0]["detail"].to_string();
        assert!(details.contains(route.path), "{details}");
        assert_eq!(event["outcome"], "8");
    }
}
