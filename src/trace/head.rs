//! What is known when a request begins.

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
