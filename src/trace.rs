//! Traces for OpenTelemetry: one span for each request, and spans below it for the stages of its work.
//!
//! Built with the feature `otel`; without it everything here does nothing and takes no room. Invariants: a span holds text of
//! the program, the template of a route, a host and a request id, never a UID, a name or a query; spans are handed to a thread
//! of their own through a queue with an end, so no request waits for a collector; a stage outside a request has no span.

#[cfg(feature = "otel")]
mod export;
#[cfg(not(feature = "otel"))]
mod off;
#[cfg(feature = "otel")]
mod spans;

#[cfg(feature = "otel")]
pub use export::{Exporting, start};
#[cfg(not(feature = "otel"))]
pub use off::{Exporting, RequestSpan, StageSpan, carried, carried_work, current_id, start};
#[cfg(feature = "otel")]
pub use spans::{RequestSpan, StageSpan, carried, carried_work, current_id};

/// Traces cannot be sent as the environment asks.
#[derive(Debug, thiserror::Error)]
#[error("OTEL_EXPORTER_OTLP_*: {0}")]
pub struct TraceError(String);

/// What is known when a request begins.
#[derive(Debug, Clone)]
pub struct Head<'a> {
    /// Its method, one of the known ones; none for any other.
    pub method: Option<&'static str>,
    /// Template of the route, if one matched.
    pub route: Option<&'a str>,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// Name or address of the server, as the client sees it.
    pub host: String,
    /// Port, as the client sees it.
    pub port: u16,
    /// Its id in log, answer and audit.
    pub request_id: Option<&'a str>,
    /// `traceparent` and `tracestate` of the caller (W3C Trace Context).
    pub caller: [Option<&'a str>; 2],
}

/// A stage of the work for a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// A piece of a part is written to the spool.
    Spool,
    /// A part is read once.
    Walk,
    /// The blob of a part is written.
    Write,
    /// The names of a batch of blobs become durable.
    Settle,
    /// A batch gets its rows.
    Commit,
    /// The index searches.
    Search,
    /// The index counts what a search finds.
    Count,
    /// The index lists instances or metadata.
    Rows,
    /// The index tells where the frames of an instance are.
    Content,
    /// The index tells the version of something.
    Version,
    /// The index deletes.
    Delete,
    /// The index tells changes.
    Changes,
    /// The first bytes of a blob are waited for.
    Read,
    /// A frame is decoded, encoded or drawn.
    Codec,
}

impl Stage {
    /// How many there are.
    #[cfg(feature = "otel")]
    const COUNT: usize = Self::Codec as usize + 1;

    /// Name of its spans.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Spool => "store spool",
            Self::Walk => "store walk",
            Self::Write => "store write",
            Self::Settle => "store settle",
            Self::Commit => "store commit",
            Self::Search => "index search",
            Self::Count => "index count",
            Self::Rows => "index rows",
            Self::Content => "index content",
            Self::Version => "index version",
            Self::Delete => "index delete",
            Self::Changes => "index changes",
            Self::Read => "blob read",
            Self::Codec => "codec",
        }
    }

    /// Runs a future as this stage.
    pub async fn of<F: Future>(self, future: F) -> F::Output {
        let _span = self.begin();
        future.await
    }
}
