//! From finished spans to a collector: OTLP over HTTP, as the variables of OpenTelemetry say.
//!
//! Invariants: without an endpoint nothing is started; a collector that is away is told of once in the log, and once more
//! when it is back; what cannot be sent is lost and never waited for.

use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_PROTOCOL, OTEL_EXPORTER_OTLP_TIMEOUT,
    OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
    OTEL_EXPORTER_OTLP_TRACES_TIMEOUT, Protocol, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::resource::{EnvResourceDetector, TelemetryResourceDetector};
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tokio::runtime::Handle;

use super::error::TraceError;
use super::spans::TRACER;

/// Longest time the spans of the last requests have when the server stops.
const FLUSH: Duration = Duration::from_secs(3);
/// Time a collector has for one answer when nothing else is said.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Most bytes of a collector's answer.
const MAX_ANSWER: usize = 64 * 1024;
/// What the SDK knows to sample by.
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];

/// Spans on their way; nothing when nobody asked for traces.
#[derive(Debug)]
pub struct Exporting(Option<SdkTracerProvider>);

impl Exporting {
    /// Sends what is left and makes no more spans; takes three seconds at most.
    pub async fn end(self) {
        let Some(provider) = self.0 else {
            return;
        };
        // Waits for a thread; what it could not send it has told itself.
        let _ = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(FLUSH)).await;
    }
}

/// Begins to make spans when the environment names a collector; belongs into the runtime.
///
/// # Errors
/// When the collector's address cannot be read.
pub fn start() -> Result<Exporting, TraceError> {
    let endpoint = [
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
        OTEL_EXPORTER_OTLP_ENDPOINT,
    ]
    .into_iter()
    .find_map(set);
    let off = set("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"))
        || set("OTEL_TRACES_EXPORTER").is_some_and(|name| name == "none");
    let Some(endpoint) = endpoint.filter(|_| !off) else {
        return Ok(Exporting(None));
    };
    warn_of_what_is_unknown();
    let wrong = |error: &dyn std::fmt::Display| TraceError(error.to_string());
    let client = reqwest::Client::builder()
        .timeout(timeout())
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| wrong(&error))?;
    if reqwest::Url::parse(&endpoint).is_ok_and(|url| !["http", "https"].contains(&url.scheme())) {
        return Err(TraceError(
            "the endpoint of the collector begins with http:// or https://".to_owned(),
        ));
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Client {
            client,
            runtime: Handle::current(),
        })
        // Whatever the variable says: this is what is spoken.
        .with_protocol(Protocol::HttpBinary)
        .build()
        .map_err(|error| wrong(&error))?;
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(ReportingExporter {
            exporter,
            lost: AtomicU64::new(0),
        })
        .with_resource(resource())
        .build();
    // Only the first one of a process counts, and there is only one.
    let _ = TRACER.set(provider.tracer("stowage"));
    tracing::info!("traces are sent as OTLP over HTTP");
    Ok(Exporting(Some(provider)))
}

/// A variable that is set to something.
fn set(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

/// The specification wants settings that are not understood told of and passed over.
fn warn_of_what_is_unknown() {
    if let Some(sampler) = set("OTEL_TRACES_SAMPLER")
        && !SAMPLERS.contains(&sampler.as_str())
    {
        tracing::warn!(
            "OTEL_TRACES_SAMPLER: {sampler} is not known, taken is parentbased_always_on; known are {}",
            SAMPLERS.join(", ")
        );
    }
    let protocol = [
        OTEL_EXPORTER_OTLP_TRACES_PROTOCOL,
        OTEL_EXPORTER_OTLP_PROTOCOL,
    ]
    .into_iter()
    .find_map(|name| Some((name, set(name)?)));
    if let Some((name, protocol)) = protocol.filter(|(_, value)| value != "http/protobuf") {
        tracing::warn!("{name}: {protocol} is not spoken, taken is http/protobuf");
    }
}

/// Time the collector has for one answer.
fn timeout() -> Duration {
    let reported = [
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT,
        OTEL_EXPORTER_OTLP_TIMEOUT,
    ]
    .into_iter()
    .find_map(|name| set(name)?.trim().parse().ok());
    reported.map_or(TIMEOUT, Duration::from_millis)
}

/// Who sends: the names of the environment before our own.
fn resource() -> Resource {
    let own = Resource::builder_empty()
        .with_detector(Box::new(TelemetryResourceDetector))
        .with_attributes([
            KeyValue::new("service.name", env!("CARGO_PKG_NAME")),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", instance_id()),
        ])
        .with_detector(Box::new(EnvResourceDetector::new()));
    match set("OTEL_SERVICE_NAME") {
        Some(name) => own.with_service_name(name).build(),
        None => own.build(),
    }
}

/// A new random UUID (version 4), as the convention wants to tell the nodes of a service apart.
fn instance_id() -> String {
    let random = (rand::random::<u128>() & !(0xF << 76) & !(0x3 << 62)) | (0x4 << 76) | (0x2 << 62);
    let hex = format!("{random:032x}");
    let mut id = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if [8, 12, 16, 20].contains(&at) {
            id.push('-');
        }
        id.push(digit);
    }
    id
}

/// The client of all of Stowage in the shape the exporter wants: its thread has no runtime, so what is asked runs in ours.
#[derive(Debug)]
struct Client {
    client: reqwest::Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let asked = ask(self.client.clone(), request);
        self.runtime.spawn(asked).await?
    }
}

async fn ask(
    client: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let mut answer = client.execute(request.try_into()?).await?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        *headers = std::mem::take(answer.headers_mut());
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len() + chunk.len() > MAX_ANSWER {
            return Err("the answer of the collector is too long".into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(response.body(body.freeze())?)
}

/// An exporter that tells when it begins to fail and when it works again, and nothing in between.
#[derive(Debug)]
struct ReportingExporter<E> {
    exporter: E,
    lost: AtomicU64,
}

impl<E: SpanExporter> SpanExporter for ReportingExporter<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let done = self.exporter.export(batch).await;
        match &done {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    tracing::info!(lost, "the collector of traces takes spans again");
                }
            }
            Err(error) => {
                if self.lost.fetch_add(spans, Ordering::Relaxed) == 0 {
                    tracing::warn!(
                        %error,
                        "the collector of traces does not take spans: they are lost until it does, which is told then"
                    );
                }
            }
        }
        done
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}
