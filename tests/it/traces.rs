//! Traces: what a collector gets of a running server, and that nobody waits for the collector. Built with the feature `otel`.

use dicom_core::{Tag, VR};
use serde_json::Value;
use stowage::dicom::testing::{DataSet, Syntax};

use crate::support::collector::{Collector, Mood, Span};
use crate::support::dicom::{Name, noise};
use crate::support::multipart;
use crate::support::server::{Server, wait_until};

const CALLER: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SERVER_KIND: u64 = 2;

fn traced(collector: &Collector, more: &[(&str, &str)]) -> Server {
    let settings = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()),
        ("STOWAGE_LOG", "info,stowage::request=debug"),
        ("STOWAGE_LOG_FORMAT", "json"),
    ];
    Server::with(&[&settings, more].concat())
}

fn stopped(mut server: Server) -> Server {
    server.terminate();
    assert!(server.wait().success(), "{}", server.log());
    server
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn below<'a>(spans: &'a [Span], parent: &Span) -> Vec<&'a str> {
    let children = spans.iter().filter(|span| span.parent == parent.id);
    let mut names: Vec<&str> = children.map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    names
}

fn lines<'a>(log: &'a str, message: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(message)).collect()
}

#[test]
fn requests_are_spans_of_the_callers_trace_and_tell_nothing_of_patients() {
    let collector = Collector::start(Mood::Takes);
    let named = [
        ("OTEL_SERVICE_NAME", "images"),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "deployment.environment.name=test",
        ),
    ];
    let server = traced(&collector, &named);
    let name = Name::new(90_778, 1, 1);
    let patient = DataSet::new()
        .text(Tag(0x0010, 0x0010), VR::PN, "Quince^Peter")
        .text(Tag(0x0010, 0x0020), VR::LO, "PID-4711");
    let data_set = name
        .image(4, 5, 16, 1)
        .bytes(Tag(0x7FE0, 0x0010), VR::OW, noise("traces", 40))
        .set(patient);
    let file = name.file(&data_set, Syntax::ExplicitLittle);
    let caller = |method: &str, target: &str| {
        let request = server.request(method, target);
        request.header("traceparent", CALLER).accept("*/*")
    };
    caller("POST", "/v2/studies")
        .header("Content-Type", &multipart::content_type())
        .header("X-Request-Id", "store-1")
        .body(multipart::body([file.bytes.as_slice()]))
        .send()
        .expect(200);
    let path = format!("/dicom-web{}", name.path());
    caller("GET", &path).send().expect(200);
    caller("GET", &format!("{path}/rendered"))
        .send()
        .expect(200);
    caller(
        "GET",
        "/dicom-web/studies?PatientName=Quince*&PatientID=PID-4711",
    )
    .send()
    .expect(200);
    caller("GET", "/dicom-web/PID-4711/Quince")
        .send()
        .expect(404);
    caller("QUINCE", "/dicom-web/studies").send().expect(405);
    caller("DELETE", &format!("/v2{}", name.study_path()))
        .send()
        .expect(204);
    // Ends before the next batch is due: what is left is sent when the server stops.
    let server = stopped(server);
    let spans = collector.spans();
    // What the server does of itself, such as the scrub at its start, has no span.
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");

    let stored = only(&spans, "POST /v2/studies");
    assert_eq!(stored.parent, "b7ad6b7169203331");
    assert_eq!(stored.kind, SERVER_KIND);
    assert!(stored.nanoseconds > 0 && !stored.failed);
    let (host, port) = server.address().rsplit_once(':').expect("a port");
    for (attribute, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v2/studies"),
        ("http.response.status_code", "200"),
        ("server.address", host),
        ("server.port", port),
        ("url.scheme", "http"),
        ("stowage.request_id", "store-1"),
    ] {
        assert_eq!(stored.attributes[attribute], value, "{attribute}");
    }
    for (attribute, value) in [
        ("service.name", "images"),
        ("service.version", env!("CARGO_PKG_VERSION")),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(stored.resource[attribute], value, "{attribute}");
    }
    let node: Vec<usize> = stored.resource["service.instance.id"]
        .split('-')
        .map(str::len)
        .collect();
    assert_eq!(node, [8, 4, 4, 4, 12], "a UUID");
    let stages = ["store commit", "store settle", "store walk", "store write"];
    assert_eq!(below(&spans, stored), stages);

    let instance = "/dicom-web/studies/{study}/series/{series}/instances/{instance}";
    let retrieved = only(&spans, &format!("GET {instance}"));
    let sent = retrieved.attributes["http.response.body.size"].parse::<usize>();
    assert!(sent.expect("a number") >= file.bytes.len());
    assert!(
        below(&spans, retrieved).contains(&"blob read"),
        "{spans:#?}"
    );
    let rendered = only(&spans, &format!("GET {instance}/rendered"));
    assert!(below(&spans, rendered).contains(&"codec"), "{spans:#?}");
    let searched = only(&spans, "GET /dicom-web/studies");
    assert!(
        below(&spans, searched).contains(&"index search"),
        "{spans:#?}"
    );
    let deleted = only(&spans, "DELETE /v2/studies/{study}");
    assert_eq!(below(&spans, deleted), ["index delete"]);
    // Nothing of what is no route or no method.
    assert_eq!(
        only(&spans, "GET").attributes["http.response.status_code"],
        "404"
    );
    let strange = only(&spans, "HTTP /dicom-web/studies");
    assert_eq!(strange.attributes["http.request.method"], "_OTHER");

    let reported = String::from_utf8_lossy(&collector.bytes()).into_owned();
    assert!(reported.contains("store walk"));
    for secret in ["Quince", "QUINCE", "PID-4711", "90778", "1.2.840"] {
        assert!(!reported.contains(secret), "{secret} was sent: {spans:#?}");
    }
    let log = server.log();
    let line = lines(&log, "store-1")[0];
    let line: Value = serde_json::from_str(line).expect("a line is JSON");
    assert_eq!(line["fields"]["trace_id"], TRACE);
}

#[test]
fn what_is_no_trace_context_begins_a_trace_of_its_own() {
    let collector = Collector::start(Mood::Takes);
    let server = traced(&collector, &[]);
    let asked = |parent: &str, state: &str| {
        let request = server.request("GET", "/dicom-web/studies");
        let request = request.header("traceparent", parent);
        request.header("tracestate", state).send().expect(200);
    };
    for parent in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        asked(parent, "vendor=opaque");
    }
    asked(CALLER, "vendor=opaque");
    asked(CALLER, &format!("vendor={}", "x".repeat(600)));
    stopped(server);
    let mut spans = collector.spans();
    spans.retain(|span| span.kind == SERVER_KIND);
    assert_eq!(spans.len(), 6, "{spans:#?}");
    let (own, continued) = spans.split_at(4);
    for span in own {
        assert!(span.trace != TRACE && span.parent.is_empty() && span.state.is_empty());
    }
    let states: Vec<&str> = continued.iter().map(|span| span.state.as_str()).collect();
    assert_eq!(states, ["vendor=opaque", ""]);
    assert!(continued.iter().all(|span| span.trace == TRACE));
}

#[test]
fn a_request_of_many_parts_has_few_spans_and_says_how_many_are_missing() {
    let collector = Collector::start(Mood::Takes);
    let server = traced(&collector, &[]);
    let files: Vec<_> = (1..=40).map(|n| Name::new(903, 1, n).small()).collect();
    server.store("/dicom-web", &files).expect(200);
    stopped(server);
    let spans = collector.spans();
    let stored = only(&spans, "POST /dicom-web/studies");
    assert!(stored.parent.is_empty(), "nobody called");
    let stages = below(&spans, stored);
    let walks = stages.iter().filter(|name| **name == "store walk").count();
    let writes = stages.iter().filter(|name| **name == "store write").count();
    assert_eq!((walks, writes), (32, 32));
    assert_eq!(stored.attributes["stowage.stages_left_out"], "16");
}

#[test]
fn a_collector_that_takes_nothing_is_told_of_once_and_nobody_waits_for_it() {
    let collector = Collector::start(Mood::Refuses);
    let at_once = [("OTEL_BSP_SCHEDULE_DELAY", "20")];
    let server = traced(&collector, &at_once);
    let name = Name::new(904, 1, 1);
    server.store("/v2", [&name.small()]).expect(200);
    wait_until("the collector has refused several times", || {
        assert!(server.stored(&name).is_some());
        collector.refused() >= 4
    });
    collector.be(Mood::Takes);
    wait_until("the collector has taken spans", || {
        assert!(server.stored(&name).is_some());
        !collector.spans().is_empty()
    });
    wait_until("that is told", || {
        !lines(&server.log(), "takes spans again").is_empty()
    });
    let log = server.log();
    assert_eq!(lines(&log, "does not take spans").len(), 1, "{log}");
    assert_eq!(lines(&log, "takes spans again").len(), 1, "{log}");
    assert_eq!(lines(&log, "opentelemetry").len(), 0, "{log}");
}

#[test]
fn a_collector_that_never_answers_holds_up_neither_requests_nor_the_end() {
    let collector = Collector::start(Mood::Silent);
    let patient = [
        ("OTEL_BSP_SCHEDULE_DELAY", "1"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1"),
        // Longer than the test waits for anything.
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "600000"),
    ];
    let server = traced(&collector, &patient);
    let name = Name::new(905, 1, 1);
    server.store("/v2", [&name.small()]).expect(200);
    for _ in 0..50 {
        assert!(server.stored(&name).is_some());
    }
    stopped(server);
}

#[test]
fn what_nobody_wants_to_see_is_not_sent() {
    let collector = Collector::start(Mood::Takes);
    for (variable, value) in [
        ("OTEL_SDK_DISABLED", "true"),
        ("OTEL_TRACES_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER", "always_off"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ] {
        let server = traced(&collector, &[(variable, value)]);
        let asked = server.request("GET", "/dicom-web/studies");
        asked.header("traceparent", CALLER).send().expect(200);
        stopped(server);
        assert!(collector.spans().is_empty(), "{variable}");
    }
    let server = traced(&collector, &[]);
    // Nor what machines ask every few seconds.
    server.get("/health/ready").expect(200);
    server.get("/metrics").expect(200);
    let not_sampled = CALLER.replace("-01", "-00");
    let asked = server.request("GET", "/dicom-web/studies");
    asked.header("traceparent", &not_sampled).send().expect(200);
    stopped(server);
    assert!(collector.spans().is_empty());
}

#[test]
fn settings_of_opentelemetry_that_are_not_understood_are_told() {
    let collector = Collector::start(Mood::Takes);
    let strange = [
        ("OTEL_TRACES_SAMPLER", "often"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
    ];
    let server = traced(&collector, &strange);
    server.get("/dicom-web/studies").expect(200);
    let server = stopped(server);
    let log = server.log();
    assert_eq!(lines(&log, "OTEL_TRACES_SAMPLER: often").len(), 1, "{log}");
    assert_eq!(
        lines(&log, "OTEL_EXPORTER_OTLP_PROTOCOL: grpc").len(),
        1,
        "{log}"
    );
    // Taken is what is known.
    only(&collector.spans(), "GET /dicom-web/studies");
    for address in ["collector:4318", "not an address"] {
        let wrong = [("OTEL_EXPORTER_OTLP_ENDPOINT", address)];
        let refused = server.command_with(&wrong, &["serve"]);
        assert_eq!(refused.status.code(), Some(3), "{address}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(said.contains("OTEL_EXPORTER_OTLP"), "{said}");
    }
}
