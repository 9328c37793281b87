//! What stands in for spans in a build without them.

use super::error::TraceError;
use super::head::Head;
use super::stage::Stage;

/// Nothing that would have to be sent.
#[derive(Debug)]
pub struct Exporting;

impl Exporting {
    /// Returns at once.
    pub async fn end(self) {}
}

/// Tells when the environment asks for what this build does not have.
///
/// # Errors
/// None.
pub fn start() -> Result<Exporting, TraceError> {
    if std::env::var_os("OTEL_EXPORTER_OTLP_ENDPOINT").is_some() {
        tracing::info!(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but this build has no traces: it was made without the feature otel"
        );
    }
    Ok(Exporting)
}

/// No span.
#[derive(Debug)]
pub struct RequestSpan;

impl RequestSpan {
    /// Asks nothing.
    pub fn begin<'a>(_: impl FnOnce() -> Head<'a>) -> Self {
        Self
    }

    /// No span.
    #[must_use]
    pub fn none() -> Self {
        Self
    }

    /// The future as it is.
    pub fn within<F: Future>(&self, future: F) -> F {
        future
    }

    /// Runs the work.
    pub fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }

    /// None.
    #[must_use]
    pub fn id(&self) -> Option<String> {
        None
    }

    /// Forgets what became of the request.
    pub fn end(&self, _: Option<u16>, _: u64) {}
}

/// No span.
#[derive(Debug)]
pub struct StageSpan;

impl Stage {
    /// No span.
    #[must_use]
    pub fn begin(self) -> StageSpan {
        StageSpan
    }
}

/// The future as it is.
pub fn carried<F: Future>(future: F) -> F {
    future
}

/// The work as it is.
pub fn carried_work<T, W: FnOnce() -> T>(work: W) -> W {
    work
}

/// None.
#[must_use]
pub fn current_id() -> Option<String> {
    None
}
