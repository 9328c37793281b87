//! What can be seen of a running server: counts for Prometheus, health, the log.

use dicom_core::{Tag, VR};
use stowage::dicom::testing::{DataSet, Syntax};

use crate::support::dicom::noise;
use crate::support::prelude::*;

const SECRET: (&str, &str) = ("STOWAGE_JWT_SECRET", "0123456789abcdef0123456789abcdef");

fn metrics(server: &Deployment) -> String {
    let answer = server.get("/metrics").expect(200);
    let kind = answer.header("content-type");
    assert_eq!(kind, Some("text/plain; version=0.0.4"));
    answer.text()
}

/// The value of a sample, named as it stands in the text.
fn value(text: &str, sample: &str) -> f64 {
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    let found = found.unwrap_or_else(|| panic!("no {sample} in\n{text}"));
    found.parse().expect("a number")
}

fn bearer(server: &Deployment, arguments: &[&str]) -> String {
    let output = server.command(&[&["token"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    format!("Bearer {}", String::from_utf8_lossy(&output.stdout).trim())
}

#[test]
fn requests_are_counted_by_route_and_nothing_of_a_url_is_told() {
    let server = TestApp::start(None);
    let name = Name::new(901, 2, 3);
    let file = name.small();
    server.store("/v2", [&file]).expect(200);
    assert!(server.stored(&name).is_some());
    server
        .get("/dicom-web/studies?PatientName=Doe*")
        .expect(200);
    server.get("/v2/nothing/at/all").expect(404);
    server.get("/nowhere").expect(404);
    server.request("BREW", "/v2/studies").send().expect(405);
    let text = metrics(&server);
    let instance = "/dicom-web/studies/{study}/series/{series}/instances/{instance}";
    let requests = |labels: &str| value(&text, &format!("stowage_http_requests_total{{{labels}}}"));
    assert!(requests("method=\"POST\",route=\"/v2/studies\",status=\"200\"") == 1.0);
    assert!(
        requests(&format!(
            "method=\"GET\",route=\"{instance}\",status=\"200\""
        )) == 1.0
    );
    assert!(requests("method=\"GET\",route=\"-\",status=\"404\"") == 2.0);
    assert!(requests("method=\"other\",route=\"/v2/studies\",status=\"405\"") == 1.0);
    let of = |family: &str, method: &str, route: &str| {
        value(
            &text,
            &format!("stowage_http_{family}{{method=\"{method}\",route=\"{route}\"}}"),
        )
    };
    let sent = of("sent_bytes_total", "GET", instance);
    assert!(sent >= file.bytes.len() as f64, "{sent}");
    assert!(of("received_bytes_total", "POST", "/v2/studies") > file.bytes.len() as f64);
    assert!(of("request_seconds_count", "POST", "/v2/studies") == 1.0);
    assert!(of("request_seconds_sum", "POST", "/v2/studies") > 0.0);
    // Not the numbers: a time may have any digits.
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.rsplit_once(' ').map(|(name, _)| name))
        .collect();
    for reported in ["901", "1.2.3", "Doe", "nothing"] {
        assert!(
            names.iter().all(|name| !name.contains(reported)),
            "{reported} in\n{text}"
        );
    }
}

#[test]
fn the_way_of_an_instance_can_be_followed_in_the_counts() {
    let settings = [("STOWAGE_TRASH_HOURS", "0"), ("STOWAGE_SWEEP_SECONDS", "1")];
    let server = TestApp::with(&settings);
    let name = Name::new(902, 1, 1);
    let data_set = name
        .image(4, 5, 16, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise("observe", 40));
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    server.store("/dicom-web", [&file]).expect(200);
    server
        .request("POST", "/dicom-web/studies")
        .header("Content-Type", "application/dicom")
        .body(b"no DICOM".to_vec())
        .send()
        .expect(409);
    for _ in 0..3 {
        let picture = server.get_as(&format!("/dicom-web{}/rendered", name.path()), "image/png");
        picture.expect(200);
    }
    let text = metrics(&server);
    for stage in ["walk", "write", "settle", "commit"] {
        let count = format!("stowage_store_stage_seconds_count{{stage=\"{stage}\"}}");
        assert!(value(&text, &count) >= 1.0, "{stage}");
    }
    assert!(value(&text, "stowage_store_instances_total{outcome=\"stored\"}") == 1.0);
    assert!(value(&text, "stowage_store_instances_total{outcome=\"failed\"}") == 1.0);
    assert!(value(&text, "stowage_frame_cache_lookups_total{result=\"hit\"}") >= 2.0);
    assert!(value(&text, "stowage_frame_cache_lookups_total{result=\"miss\"}") >= 1.0);
    assert!(value(&text, "stowage_limit{what=\"commit_queue\"}") > 0.0);
    assert!(value(&text, "stowage_in_use{what=\"store_requests\"}") == 0.0);
    assert!(
        value(
            &text,
            "stowage_index_connections{pool=\"write\",state=\"limit\"}"
        ) == 1.0
    );
    assert!(value(&text, "stowage_spool_files") == 0.0);
    assert!(value(&text, "process_resident_memory_bytes") > 1e6);
    assert!(
        value(&text, "stowage_http_requests_running") == 1.0,
        "this one"
    );
    let study = server.request("DELETE", &format!("/v2{}", name.study_path()));
    study.send().expect(204);
    wait_until("the sweeper has come", || {
        value(
            &metrics(&server),
            "stowage_sweeper_blobs_total{outcome=\"removed\"}",
        ) == 1.0
    });
}

#[test]
fn counts_are_for_those_who_may_read_everything() {
    let server = TestApp::with(&[SECRET]);
    let asked = |token: Option<String>| {
        let request = server.request("GET", "/metrics");
        match token {
            Some(token) => request.header("Authorization", &token).send(),
            None => request.send(),
        }
    };
    assert!(asked(None).expect(401).header("www-authenticate").is_some());
    asked(Some(bearer(&server, &["--roles", "reader"]))).expect(200);
    let limited = bearer(&server, &["--roles", "reader", "--patient", "P1"]);
    asked(Some(limited)).expect(403);
    let open = TestApp::with(&[SECRET, ("STOWAGE_METRICS", "open")]);
    open.get("/metrics").expect(200);
    let off = TestApp::with(&[("STOWAGE_METRICS", "off")]);
    off.get("/metrics").expect(404);
}

#[test]
fn a_process_without_its_store_is_alive_and_not_ready() {
    let server = Server::with(&[SECRET]);
    for path in ["/health/live", "/health/ready", "/health/check"] {
        assert_eq!(
            server.get(path).expect(200).json()["overallStatus"],
            "Healthy"
        );
    }
    let spool = server.data().join("blobs/spool");
    std::fs::remove_dir_all(&spool).expect("the spool can be removed");
    server.get("/health/live").expect(200);
    server.wait_for_health(503);
    server.get("/health/ready").expect(503);
    let health = server.command(&["health", "--listen", server.address()]);
    assert_eq!(health.status.code(), Some(1));
}

#[test]
fn the_log_names_requests_and_holds_neither_patients_nor_tokens() {
    let settings = [
        SECRET,
        ("STOWAGE_LOG", "info,stowage::request=debug"),
        ("STOWAGE_LOG_FORMAT", "json"),
        ("STOWAGE_ACCESS_TOKEN_IN_QUERY", "on"),
    ];
    let server = Server::with(&settings);
    let token = bearer(&server, &[]);
    let plain = token.trim_start_matches("Bearer ").to_owned();
    let name = Name::new(90_777, 1, 1);
    let patient = DataSet::new()
        .text(Tag(0x0010, 0x0010), VR::PN, "Quince^Peter")
        .text(Tag(0x0010, 0x0020), VR::LO, "PID-4711");
    let data_set = name.data_set().set(patient);
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    let stored = server
        .request("POST", "/v2/studies")
        .header("Authorization", &token)
        .header("Content-Type", "application/dicom")
        .header("X-Request-Id", "store-1")
        .accept("application/dicom+json")
        .body(file.bytes.clone())
        .send();
    stored.expect(200);
    for target in [
        "/v2/studies?PatientName=Quince*&access_token=".to_owned() + &plain,
        format!("/v2/studies?PatientID=PID-4711&access_token={plain}"),
        format!("/dicom-web{}/metadata?access_token={plain}", name.path()),
        format!("/dicom-web{}x?access_token={plain}", name.path()),
        format!("/dicom-web{}?access_token={plain}x", name.path()),
        format!("/dicom-web/studies?Nonsense=PID-4711&access_token={plain}"),
    ] {
        server.get(&target);
    }
    // The blob is gone behind the server's back: what fails inside is logged with its cause.
    for blob in server.blob_files() {
        std::fs::remove_file(blob).expect("the blob can be removed");
    }
    let lost = server.get(&format!("/dicom-web{}?access_token={plain}", name.path()));
    assert!(lost.status >= 500, "{}", lost.status);
    let id = lost.header("x-request-id").expect("an id").to_owned();
    wait_until("the failure is logged", || server.log().contains(&id));
    let log = server.log();
    assert!(log.contains("\"store-1\""), "{log}");
    assert!(log.contains("/v2/studies"), "{log}");
    let signature = plain.rsplit('.').next().expect("a token has three parts");
    for secret in ["Quince", "PID-4711", signature, SECRET.1] {
        assert!(!log.contains(secret), "{secret} is in\n{log}");
    }
    let reported: Vec<Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let answered: Vec<&Value> = reported
        .iter()
        .filter(|line| line["target"] == "stowage::request")
        .collect();
    assert!(answered.len() >= 8, "{log}");
    for line in answered {
        let fields = &line["fields"];
        assert!(
            fields["request_id"].is_string() && fields["status"].is_u64(),
            "{line}"
        );
        let route = fields["route"].as_str().expect("a route");
        assert!(!route.contains("90777"), "{line}");
    }
}
