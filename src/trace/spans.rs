//! Spans in the making.
//!
//! Invariant: a request has at most [`MOST`] spans for each stage, however many parts or frames it has; how many were left out
//! is said in the span of the request.

use std::collections::HashMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::Either;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{
    FutureExt as _, SpanKind, Status, TraceContextExt, TraceId, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};

use super::head::Head;
use super::stage::Stage;

/// Most spans of one stage below one request.
const MOST: u32 = 32;
/// Longest `tracestate` that is taken over (W3C Trace Context §3.3.1.5).
const MAX_STATE: usize = 512;

/// Makes all spans, once it is clear where they go.
pub(super) static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// How many spans of each stage a request has, those left out included.
#[derive(Debug, Default)]
struct SpanCounts([AtomicU32; Stage::COUNT]);

/// The span of a request; none when nobody asked for traces.
#[derive(Debug)]
pub struct RequestSpan(Option<Context>);

impl RequestSpan {
    /// Begins the span of a request, below the caller's; `head` is asked only when it is wanted.
    pub fn begin<'a>(head: impl FnOnce() -> Head<'a>) -> Self {
        Self(TRACER.get().map(|tracer| {
            let head = head();
            let parent = parent(head.caller);
            let method = head.method.unwrap_or("HTTP");
            let name = match head.route {
                Some(route) => format!("{method} {route}"),
                None => method.to_owned(),
            };
            let mut attributes = vec![
                KeyValue::new("http.request.method", head.method.unwrap_or("_OTHER")),
                KeyValue::new("url.scheme", head.scheme),
                KeyValue::new("server.address", head.host),
                KeyValue::new("server.port", i64::from(head.port)),
            ];
            let route = head.route.map(|route| ("http.route", route));
            let id = head.request_id.map(|id| ("stowage.request_id", id));
            attributes.extend(
                [route, id]
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| KeyValue::new(name, value.to_owned())),
            );
            let span = tracer
                .span_builder(name)
                .with_kind(SpanKind::Server)
                .with_attributes(attributes)
                .start_with_context(tracer, &parent);
            parent.with_span(span).with_value(SpanCounts::default())
        }))
    }

    /// No span: for what nobody wants to see.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The future, with all its stages below this span.
    pub fn within<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        match &self.0 {
            Some(context) => Either::Left(future.with_context(context.clone())),
            None => Either::Right(future),
        }
    }

    /// Runs work with its stages below this span.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.0.clone().map(Context::attach);
        work()
    }

    /// Id of the trace, to be found by.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        self.0.as_ref().and_then(id_of)
    }

    /// Ends the span with the status of the answer, none when the client went away before there was one, and the length of its body.
    pub fn end(&self, status: Option<u16>, sent: u64) {
        let Some(context) = &self.0 else {
            return;
        };
        let span = context.span();
        match status {
            Some(status) => {
                span.set_attribute(KeyValue::new(
                    "http.response.status_code",
                    i64::from(status),
                ));
                if status >= 500 {
                    span.set_attribute(KeyValue::new("error.type", status.to_string()));
                    span.set_status(Status::error(""));
                }
            }
            None => span.set_attribute(KeyValue::new("error.type", "client_gone")),
        }
        let sent = i64::try_from(sent).unwrap_or(i64::MAX);
        span.set_attribute(KeyValue::new("http.response.body.size", sent));
        let left_out: u32 = context.get::<SpanCounts>().map_or(0, |taken| {
            let counts = taken.0.iter().map(|count| count.load(Ordering::Relaxed));
            counts.map(|count| count.saturating_sub(MOST)).sum()
        });
        if left_out > 0 {
            span.set_attribute(KeyValue::new(
                "stowage.stages_left_out",
                i64::from(left_out),
            ));
        }
        span.end();
    }
}

/// The caller's span, when it names one.
fn parent([parent, state]: [Option<&str>; 2]) -> Context {
    let Some(parent) = parent else {
        return Context::new();
    };
    let state = state.filter(|state| state.len() <= MAX_STATE);
    let headers: HashMap<String, String> = [("traceparent", Some(parent)), ("tracestate", state)]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())))
        .collect();
    TraceContextPropagator::new().extract_with_context(&Context::new(), &headers)
}

/// The span of a stage, which ends when it is dropped; none outside a request that is traced.
#[derive(Debug)]
pub struct StageSpan {
    _span: Option<Span>,
}

impl Stage {
    /// Begins the stage; it ends when the value is dropped.
    #[must_use]
    pub fn begin(self) -> StageSpan {
        let span = TRACER.get().and_then(|tracer| {
            Context::map_current(|context| {
                if !context.span().span_context().is_sampled() {
                    return None;
                }
                let taken = context.get::<SpanCounts>()?.0.get(self as usize)?;
                (taken.fetch_add(1, Ordering::Relaxed) < MOST)
                    .then(|| tracer.start_with_context(self.name(), context))
            })
        });
        StageSpan { _span: span }
    }
}

/// The future, with its stages below the request it is made in: for what is spawned.
pub fn carried<F: Future>(future: F) -> impl Future<Output = F::Output> {
    if Context::map_current(TraceContextExt::has_active_span) {
        Either::Left(future.with_current_context())
    } else {
        Either::Right(future)
    }
}

/// The work, with its stages below the request it is made in: for other threads.
pub fn carried_work<T, W: FnOnce() -> T>(work: W) -> impl FnOnce() -> T {
    let context =
        Context::map_current(|context| context.has_active_span().then(|| context.clone()));
    move || {
        let _entered = context.map(Context::attach);
        work()
    }
}

/// Id of the trace that the work of this moment belongs to.
#[must_use]
pub fn current_id() -> Option<String> {
    Context::map_current(id_of)
}

fn id_of(context: &Context) -> Option<String> {
    let id = context.span().span_context().trace_id();
    (id != TraceId::INVALID).then(|| id.to_string())
}
