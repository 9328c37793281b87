//! Why traces cannot be sent.

/// Traces cannot be sent as the environment asks.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_*: {0}")]
pub struct TraceError(pub(super) String);
