//! Requests counted by the template of their route, and `/metrics` for Prometheus.
//!
//! Invariants: a label is the template of a route, a method or a status, never a part of the URL, so that no UID and no
//! query gets out and the number of series is bounded; a request is counted once, when the last byte of its answer is
//! handed over or its client has gone.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::Extension;
use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::access::{AuthState, guard};
use super::audit::sink::AuditLog;
use super::error::{ErrorFormat as ErrorFace, HttpError};
use super::layers::{RequestId, errors};
use super::links::{Links, LinksConfig};
use super::serve::meters::write_meters;
use super::state::App;
use crate::auth::{Action, Caller};
use crate::config::MetricsAccess;
use crate::meter::{Counter, Exposition, Histogram, MetricKind, process};
use crate::scope::Visible;
use crate::trace::{Head, RequestSpan};

/// Status a request is counted under whose client went away before there was one.
const GONE: u16 = 499;
/// Label of what no route matched.
const NO_ROUTE: &str = "-";
/// Routes that machines ask every few seconds.
const PROBES: [&str; 4] = ["/health/check", "/health/ready", "/health/live", "/metrics"];
/// Label of methods that nobody uses.
const OTHER: &str = "other";
/// Methods that are told apart; others are one.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", OTHER,
];

/// Counts of all requests.
#[derive(Debug)]
pub(super) struct Requests {
    routes: RwLock<HashMap<String, Arc<RouteMeters>>>,
    running: Counter,
    links: LinksConfig,
}

/// Sums over all routes that people and their programs use.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RequestTotals {
    /// Requests that have their answer.
    pub(super) answered: u64,
    /// Those of them that only read.
    pub(super) reads: u64,
    /// Bytes of bodies that were read.
    pub(super) received: u64,
    /// Bytes of answers.
    pub(super) sent: u64,
}

/// Counts of one method on one route.
#[derive(Debug)]
struct RouteMeters {
    method: &'static str,
    route: String,
    statuses: Mutex<BTreeMap<u16, u64>>,
    seconds: Histogram,
    received: Counter,
    sent: Counter,
}

impl Requests {
    /// No requests yet; `links` says how clients see this server.
    pub(super) fn new(links: LinksConfig) -> Self {
        Self {
            routes: RwLock::default(),
            running: Counter::default(),
            links,
        }
    }

    /// The span of a request whose meters are `route`; none for probes, unless whoever asks is traced.
    fn span(&self, request: &Request, route: &RouteMeters) -> RequestSpan {
        let is_called = request.headers().contains_key("traceparent");
        if PROBES.contains(&route.route.as_str()) && !is_called {
            return RequestSpan::none();
        }
        RequestSpan::begin(|| {
            let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
            let headers = request.headers();
            let links = Links::of_request(
                &self.links,
                "",
                request.uri(),
                headers,
                peer.map(|peer| peer.0.ip()),
            );
            let (scheme, host, port) = links.server();
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
            let id = request.extensions().get::<RequestId>();
            Head {
                method: Some(route.method).filter(|method| *method != OTHER),
                route: Some(route.route.as_str()).filter(|route| *route != NO_ROUTE),
                scheme,
                host: host.to_owned(),
                port,
                request_id: id.map(RequestId::as_str),
                caller: [header("traceparent"), header("tracestate")],
            }
        })
    }

    fn of(&self, method: &Method, route: &str) -> Arc<RouteMeters> {
        let known = METHODS.iter().find(|name| **name == method.as_str());
        let method = known.copied().unwrap_or(OTHER);
        let key = format!("{method} {route}");
        // What panicked while it held the lock left whole numbers behind.
        let found = self
            .routes
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        found.unwrap_or_else(|| {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            let made = routes.entry(key).or_insert_with(|| {
                Arc::new(RouteMeters {
                    method,
                    route: route.to_owned(),
                    statuses: Mutex::default(),
                    seconds: Histogram::seconds(),
                    received: Counter::default(),
                    sent: Counter::default(),
                })
            });
            made.clone()
        })
    }

    /// What there was since the start, but for what machines ask every few seconds.
    pub(super) fn totals(&self) -> RequestTotals {
        let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
        let mut totals = RequestTotals::default();
        for route in routes.values() {
            let probe = PROBES.contains(&route.route.as_str()) || route.route.starts_with("/ui");
            if probe {
                continue;
            }
            let statuses = route.statuses.lock();
            let statuses = statuses.unwrap_or_else(PoisonError::into_inner);
            let answered: u64 = statuses.values().sum();
            totals.answered += answered;
            if matches!(route.method, "GET" | "HEAD") {
                totals.reads += answered;
            }
            totals.received += route.received.get();
            totals.sent += route.sent.get();
        }
        totals
    }

    fn write(&self, out: &mut Exposition) {
        let mut routes: Vec<Arc<RouteMeters>> = {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.values().cloned().collect()
        };
        routes.sort_by(|a, b| (&a.route, a.method).cmp(&(&b.route, b.method)));
        out.family(
            "stowage_http_requests_total",
            MetricKind::Counter,
            "Requests by method, route and status; 499: the client went away.",
        );
        for route in &routes {
            let statuses = route
                .statuses
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for (status, count) in &*statuses {
                let status = status.to_string();
                out.sample(
                    &[
                        ("method", route.method),
                        ("route", &route.route),
                        ("status", &status),
                    ],
                    *count,
                );
            }
        }
        out.family(
            "stowage_http_request_seconds",
            MetricKind::Histogram,
            "Time from the head of a request to the last byte of its answer.",
        );
        for route in &routes {
            out.histogram(&route.labels(), &route.seconds);
        }
        out.family(
            "stowage_http_received_bytes_total",
            MetricKind::Counter,
            "Bytes of request bodies that were read.",
        );
        for route in &routes {
            out.sample(&route.labels(), route.received.get());
        }
        out.family(
            "stowage_http_sent_bytes_total",
            MetricKind::Counter,
            "Bytes of answer bodies that were handed over.",
        );
        for route in &routes {
            out.sample(&route.labels(), route.sent.get());
        }
        let help = "Requests that have not had the last byte of their answer.";
        out.single(
            "stowage_http_requests_running",
            MetricKind::Gauge,
            help,
            self.running.get(),
        );
    }
}

impl RouteMeters {
    fn labels(&self) -> [(&'static str, &str); 2] {
        [("method", self.method), ("route", &self.route)]
    }
}

/// A request under way; counted when it is dropped.
struct Running {
    requests: Arc<Requests>,
    route: Arc<RouteMeters>,
    id: Option<RequestId>,
    span: RequestSpan,
    begun: Instant,
    status: u16,
    sent: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        let route = &self.route;
        self.requests.running.one_less();
        route.seconds.took(self.begun.elapsed());
        route.sent.add(self.sent);
        let mut statuses = route
            .statuses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *statuses.entry(self.status).or_default() += 1;
        drop(statuses);
        let status = Some(self.status).filter(|status| *status != GONE);
        self.span.end(status, self.sent);
        tracing::debug!(
            target: "stowage::request",
            request_id = self.id.as_ref().map(RequestId::as_str),
            trace_id = self.span.id(),
            method = route.method,
            route = route.route,
            status = self.status,
            bytes = self.sent,
            milliseconds = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            "answered"
        );
    }
}

/// Counts every request; belongs around everything but the request id.
pub(super) async fn measure(
    State(requests): State<Arc<Requests>>,
    request: Request,
    next: Next,
) -> Response {
    let matched = request.extensions().get::<MatchedPath>();
    // What is below a root but no route has a template that the router made up.
    let template = matched
        .map(MatchedPath::as_str)
        .filter(|path| !path.contains("__private"));
    let route = requests.of(request.method(), template.unwrap_or(NO_ROUTE));
    requests.running.one();
    let mut running = Running {
        id: request.extensions().get().cloned(),
        span: requests.span(&request, &route),
        requests,
        route: route.clone(),
        begun: Instant::now(),
        status: GONE,
        sent: 0,
    };
    let request = request.map(|body| {
        Body::new(CountedBody {
            body,
            count: Count::Received(route),
        })
    });
    let response = running.span.within(next.run(request)).await;
    running.status = response.status().as_u16();
    response.map(|body| {
        Body::new(CountedBody {
            body,
            count: Count::Sent(running),
        })
    })
}

enum Count {
    Received(Arc<RouteMeters>),
    Sent(Running),
}

/// A body whose bytes are counted as they pass.
struct CountedBody {
    body: Body,
    count: Count,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, count } = &mut *self;
        let polled = match count {
            Count::Received(_) => Pin::new(body).poll_frame(cx),
            Count::Sent(running) => running.span.enter(|| Pin::new(body).poll_frame(cx)),
        };
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let bytes = data.len() as u64;
            match &mut self.count {
                Count::Received(route) => route.received.add(bytes),
                Count::Sent(running) => running.sent += bytes,
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// `/metrics`, for whoever may see it; none when nobody may.
pub(super) fn metrics_routes(
    access: MetricsAccess,
    gate: &AuthState,
    requests: Arc<Requests>,
) -> Option<Router<Arc<App>>> {
    let route = Router::new().route("/metrics", get(metrics).layer(Extension(requests)));
    // A scrape every few seconds is no access to images.
    let gate = AuthState {
        audit: AuditLog::default(),
        ..gate.clone()
    };
    match access {
        MetricsAccess::Off => None,
        MetricsAccess::Open => Some(route),
        MetricsAccess::Token => {
            let route = guard(route.route_layer(from_fn(reads_everything)), gate);
            Some(route.layer(from_fn_with_state(ErrorFace::Text, errors)))
        }
    }
}

/// Lets in who may read everything there is: the counts are of all patients.
pub(super) async fn reads_everything(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Arc<Caller>>();
    let grant = caller.and_then(|caller| caller.grant(Action::Read));
    match grant {
        Some(grant) if grant.everywhere == Some(Visible::All) => next.run(request).await,
        _ => HttpError::forbidden("read, without a limit to patients, studies or partitions")
            .into_response(),
    }
}

async fn metrics(
    State(app): State<Arc<App>>,
    Extension(requests): Extension<Arc<Requests>>,
) -> Response {
    let text = written(&app, &requests);
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4")];
    (StatusCode::OK, kind, text).into_response()
}

fn written(app: &App, requests: &Requests) -> String {
    let mut out = Exposition::default();
    out.family("stowage_info", MetricKind::Gauge, "What runs here.");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    requests.write(&mut out);
    write_meters(&mut out);
    app.archive.write_meters(&mut out);
    app.audit.write_meters(&mut out);
    process(&mut out);
    out.finish()
}
