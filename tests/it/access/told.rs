//! What is written down of every access, and what never is: names, queries, tokens.

use std::io::Write;

use stowage::http::routes::ROUTES;

use crate::support::http::connect;
use crate::support::prelude::*;
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

fn request(server: &Deployment, method: &str, target: &str, token: &str) -> Request {
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
            "R rest 4 404 somebody".to_owned(),
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

/// A server that writes its events to a file, and what is in it.
fn audited(more: &[(&str, &str)]) -> (TestApp, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("audit.jsonl");
    let mut settings = vec![("STOWAGE_AUDIT", file.to_str().unwrap())];
    settings.extend(more);
    (TestApp::with(&settings), folder)
}

/// The events of the file, once there are so many.
fn read(folder: &tempfile::TempDir, at_least: usize) -> Vec<Value> {
    let mut found = Vec::new();
    wait_until("all is written down", || {
        let text = std::fs::read_to_string(folder.path().join("audit.jsonl"));
        found = events(&text.unwrap_or_default());
        found.len() >= at_least
    });
    found
}

/// A detail of the request, or nothing.
fn detail<'a>(event: &'a Value, name: &str) -> &'a str {
    let details = event["entity"][0]["detail"].as_array().unwrap();
    let found = details.iter().find(|d| d["type"] == name);
    found.map_or("", |d| d["valueString"].as_str().unwrap())
}

/// Every byte of a text, percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn an_event_names_what_was_read_however_it_was_spelt() {
    let (server, folder) = audited(&[]);
    let name = Name::new(722, 1, 1);
    server.store("/v2", [&name.small()]).expect(200);
    let (study, series, instance) = (&name.study, &name.series, &name.instance);
    let all = format!("{study} {series} {instance}");
    let v2 = |tail: &str| format!("/v2/studies/{tail}");
    let asked = [
        (v2(&encoded(study)), study.clone()),
        (v2(&format!("{study}%20")), study.clone()),
        (v2(&format!("{study}%00/metadata")), study.clone()),
        (v2(&format!("{study}?studyUID=9.9.9")), study.clone()),
        (
            v2(&format!(
                "{}/series/{}/instances/{}?studyUID=9.9.9&objectUID=9.9.8",
                encoded(study),
                encoded(series),
                encoded(instance)
            )),
            all.clone(),
        ),
        (
            format!(
                "/dicom-web/wado?requestType=WADO&objectUID={}",
                encoded(instance)
            ),
            all.clone(),
        ),
        (
            format!("/dicom-web/wado?requestType=WADO&%6FbjectUID={instance}"),
            all.clone(),
        ),
        (
            format!("/v2/?requestType=WADO&OBJECTUID=+{instance}+&objectUID=9.9.9"),
            all.clone(),
        ),
        (
            format!("/wado?requestType=WADO&studyUID={study}&objectUID={instance}"),
            all.clone(),
        ),
    ];
    for (target, _) in &asked {
        server.get(target).expect(200);
    }
    let delete = format!(
        "/v2/studies/{}?studyUID=9.9.9&%6FbjectUID=9",
        encoded(study)
    );
    server.request("DELETE", &delete).send().expect(204);
    let events = read(&folder, asked.len() + 2);
    for (event, (target, uids)) in events.iter().skip(1).zip(&asked) {
        let reported = told(event);
        assert!(
            reported.ends_with(&format!(" anonymous {uids}")),
            "{target}: {reported}"
        );
        assert_eq!(event["outcome"], "0", "{target}");
    }
    let last = told(&events[asked.len() + 1]);
    assert_eq!(last, format!("D 110105 0 204 anonymous {study}"));
}

#[test]
fn what_is_not_about_instances_is_not_called_a_transfer() {
    let (server, folder) = audited(&[]);
    let body = r#"[{"path":"PatientAge","level":"Study"}]"#;
    let added = server
        .request("POST", "/v2/extendedquerytags")
        .header("Content-Type", "application/json")
        .body(body)
        .send()
        .expect(202);
    let id = added.json()["id"].as_str().unwrap_or("x").to_owned();
    let send = |method: &str, target: &str| server.request(method, target).send().status;
    send("GET", "/v2/extendedquerytags");
    send("GET", "/v2/extendedquerytags/PatientAge");
    send("GET", &format!("/v2/operations/{id}"));
    send("OPTIONS", "/dicom-web/");
    send("GET", "/dicom-web/");
    send("HEAD", "/v2/studies");
    send("BREW", "/v2/studies");
    let expected = [
        "110113", "rest", "rest", "rest", "rest", "rest", "110112", "rest",
    ];
    let events = read(&folder, expected.len());
    let codes: Vec<&str> = events
        .iter()
        .map(|event| event["type"]["code"].as_str().unwrap())
        .collect();
    assert_eq!(codes, expected);
    assert_eq!(events[0]["subtype"][0]["code"], "110131");
}

#[test]
fn an_event_is_finished_with_the_last_byte_and_an_answer_that_breaks_off_is_no_success() {
    let (server, folder) = audited(&[]);
    let name = Name::new(723, 1, 1);
    let file = name.with_bulk(24 << 20);
    server.store("/v2", [&file]).expect(200);
    let whole = server.stored(&name).unwrap();
    let target = format!("/dicom-web{}", name.path());
    let request = server.request("GET", &target);
    let answer = request
        .accept("application/dicom; transfer-syntax=*")
        .open();
    drop(answer.unwrap());
    let head = server.request("HEAD", &target);
    head.accept("application/dicom; transfer-syntax=*")
        .send()
        .expect(200);
    let events = read(&folder, 4);
    let of = |method: &str, outcome: &str| {
        let found = events
            .iter()
            .find(|event| detail(event, "method") == method && event["outcome"] == outcome);
        found.unwrap_or_else(|| panic!("no {method} {outcome} in {events:?}"))
    };
    assert_eq!(detail(of("GET", "0"), "bytes"), whole.len().to_string());
    let broken = of("GET", "12");
    assert_eq!(detail(broken, "status"), "200");
    let sent: usize = detail(broken, "bytes").parse().unwrap_or(0);
    assert!(sent < whole.len(), "{sent}");
    assert_eq!(detail(of("HEAD", "0"), "bytes"), "");
    // A blob that is cut: the answer breaks off although its client stays.
    let blobs = server.blob_files();
    let blob = std::fs::File::options()
        .write(true)
        .open(&blobs[0])
        .unwrap();
    blob.set_len(20 << 20).unwrap();
    let broken = server.request("GET", &target);
    let broken = broken.accept("application/dicom; transfer-syntax=*").open();
    // Either an honest 500 or an answer that ends early: never a whole one.
    let status = broken
        .and_then(|answer| answer.finish())
        .map(|answer| answer.status);
    assert!(status.is_err() || status.is_ok_and(|status| status >= 500));
    let events = read(&folder, 5);
    assert_eq!(events[4]["outcome"], "12", "{}", events[4]);
}

#[test]
fn strangers_cannot_fill_the_audit() {
    let (server, folder) = audited(&AUTH);
    let many = 600;
    for number in 0..many {
        server.get(&format!("/v2/studies/1.2.{number}")).expect(401);
    }
    let counted = |events: &[Value]| {
        let refusals = events.iter().map(|event| match detail(event, "refusals") {
            "" => 1,
            count => count.parse::<usize>().unwrap(),
        });
        refusals.sum::<usize>()
    };
    let mut reported = Vec::new();
    wait_until("all refusals are told", || {
        reported = read(&folder, 1);
        counted(&reported) >= many
    });
    assert_eq!(counted(&reported), many);
    // A few one by one, and then at most one for each second, as the events themselves say.
    let (single, gathered): (Vec<&Value>, Vec<&Value>) = reported
        .iter()
        .partition(|event| detail(event, "refusals").is_empty());
    assert_eq!(single.len(), 3, "{reported:?}");
    let moment = |event: &Value| {
        let text = event["recorded"].as_str().unwrap();
        time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339).unwrap()
    };
    assert!(!gathered.is_empty(), "{reported:?}");
    for pair in gathered.windows(2) {
        let apart = moment(pair[1]) - moment(pair[0]);
        assert!(apart >= time::Duration::milliseconds(900), "{apart}");
    }
    let gathered = reported.last().unwrap();
    assert_eq!(gathered["type"]["code"], "110114");
    assert_eq!(gathered["outcome"], "8");
    assert_eq!(gathered["agent"][0]["network"]["address"], "127.0.0.1");
    // Whoever is known is told one by one.
    let reader = token("reader");
    for _ in 0..50 {
        let request = request(&server, "DELETE", "/v2/studies/1.2.3", &reader);
        request.send().expect(403);
    }
    read(&folder, reported.len() + 50);
}

#[test]
fn the_file_of_events_is_moved_aside_when_it_is_large() {
    let (server, folder) = audited(&[("STOWAGE_AUDIT_ROTATE_BYTES", "4096")]);
    for _ in 0..30 {
        server.get("/v2/studies");
    }
    let mut files = Vec::new();
    wait_until("all is written down", || {
        files.clear();
        for entry in std::fs::read_dir(folder.path()).unwrap() {
            files.push(std::fs::read_to_string(entry.unwrap().path()).unwrap_or_default());
        }
        files.iter().map(|text| text.lines().count()).sum::<usize>() == 30
    });
    assert!(files.len() > 2, "{}", files.len());
    assert!(
        files
            .iter()
            .all(|text| text.len() <= 4096 && text.ends_with('\n'))
    );
}

#[test]
fn events_that_cannot_be_written_are_counted_show_in_readiness_and_can_stop_the_service() {
    for required in ["off", "on"] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        std::os::unix::fs::symlink("/dev/full", &file).unwrap();
        let settings = [
            ("STOWAGE_AUDIT", file.to_str().unwrap()),
            ("STOWAGE_AUDIT_REQUIRED", required),
        ];
        let server = Server::with(&settings);
        server.get("/health/ready").expect(200);
        // The event is written after its answer.
        server.get("/v2/studies").expect(204);
        wait_until("it shows", || server.get("/health/ready").status == 503);
        let ready = server.get("/health/ready").json();
        assert_eq!(ready["details"][1]["name"], "audit");
        server.get("/health/live").expect(200);
        server.get("/health/check").expect(200);
        let failing = "stowage_audit_failing 1";
        assert!(server.get("/metrics").text().contains(failing));
        let answer = server.get("/v2/studies");
        if required == "on" {
            let answer = answer.expect(503);
            assert!(answer.header("retry-after").is_some());
            let lost = "stowage_audit_events_total{outcome=\"lost\"} 1";
            assert!(server.get("/metrics").text().contains(lost));
        } else {
            answer.expect(204);
        }
        assert!(server.log().contains("audit events cannot be written"));
        // There is room again: what waited is written, and nobody has to start anything.
        std::fs::remove_file(&file).unwrap();
        wait_until("it is well", || server.get("/health/ready").status == 200);
        server.get("/v2/studies").expect(204);
        let written = if required == "on" { 2 } else { 3 };
        assert_eq!(read(&folder, written).len(), written);
    }
    let server = Server::start(None);
    let nowhere = server.command_with(&[("STOWAGE_AUDIT_REQUIRED", "on")], &[]);
    let said = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(
        nowhere.status.code() == Some(3) && said.contains("STOWAGE_AUDIT"),
        "{said}"
    );
}
