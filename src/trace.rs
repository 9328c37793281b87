//! Traces for OpenTelemetry: one span for each request, and spans below it for the stages of its work.
//!
//! Built with the feature `otel`; without it everything here does nothing and takes no room. Invariants: a span holds text of
//! the program, the template of a route, a host and a request id, never a UID, a name or a query; spans are handed to a thread
//! of their own through a queue with an end, so no request waits for a collector; a stage outside a request has no span.

mod error;
#[cfg(feature = "otel")]
mod export;
mod head;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod spans;
mod stage;

pub use error::TraceError;
#[cfg(feature = "otel")]
pub use export::{Exporting, start};
pub use head::Head;
#[cfg(not(feature = "otel"))]
pub use off::{Exporting, RequestSpan, StageSpan, carried, carried_work, current_id, start};
#[cfg(feature = "otel")]
pub use spans::{RequestSpan, StageSpan, carried, carried_work, current_id};
pub use stage::Stage;
