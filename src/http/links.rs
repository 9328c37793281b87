//! Absolute URLs, made only here: `RetrieveURL`, `BulkDataURI`, Location and the links of operations.
//!
//! The base is the configured public URL, else what a trusted proxy says, else the Host of the request. Invariant:
//! scheme, host, port and path prefix are checked character by character before they reach a URL, so nothing a client
//! or proxy writes can end a header line, a JSON string or an attribute.

mod config;
mod hosts;
mod network;
mod proxies;
mod proxy_headers;
mod public_url;

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};

use public_url::{Host, checked_prefix};

pub use config::LinksConfig;
pub use hosts::{HostProblem, Hosts, is_local_origin, is_own_origin, origin_of};
pub use network::{Network, NetworkError};
pub use proxy_headers::{ProxyHeaders, ProxyHeadersError};
pub use public_url::{PublicUrl, PublicUrlError, Scheme};

/// What stands between a root and the name of a partition.
const PARTITIONS: &str = "/partitions/";
/// Characters of a path segment that stay as they are (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Makes the absolute URLs of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    base: String,
    /// The base of what is the same for all partitions.
    root: String,
}

impl Links {
    /// The links under a mount (`/dicom-web`, `/v2`, `/v2/partitions/name`) as the client of this request sees it.
    ///
    /// `peer` is the other end of the connection; without it no forwarded header is believed.
    #[must_use]
    pub fn of_request(
        config: &LinksConfig,
        mount: &str,
        uri: &Uri,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Self {
        let mut base = match &config.public_url {
            Some(url) => url.as_str().to_owned(),
            None => requested_base(config, uri, headers, peer),
        };
        let mount = checked_prefix(mount).unwrap_or_default();
        let mut root = base.clone();
        root.push_str(mount.split(PARTITIONS).next().unwrap_or_default());
        base.push_str(&mount);
        Self { base, root }
    }

    /// The links of a partition, of whichever these are; `segment` is what stands behind the root, none for nothing.
    #[must_use]
    pub fn within(&self, segment: Option<&str>) -> Self {
        let segment = segment.and_then(checked_prefix).unwrap_or_default();
        Self {
            base: format!("{}{segment}", self.root),
            root: self.root.clone(),
        }
    }

    /// Scheme, host and port of the server as the client sees it.
    #[must_use]
    pub fn server(&self) -> (&'static str, &str, u16) {
        let (scheme, rest) = self.base.split_once("://").unwrap_or_default();
        let authority = rest.split('/').next().unwrap_or_default();
        let own = if scheme == Scheme::Https.as_str() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        let port = authority
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = port.unwrap_or((authority, own.default_port()));
        (own.as_str(), host, port)
    }

    /// The base itself, without a slash at its end.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether they are those of a partition that the path names.
    #[must_use]
    pub fn is_of_partition(&self) -> bool {
        self.base != self.root
    }

    /// Another resource; each segment is percent-encoded.
    #[must_use]
    pub fn resource<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> String {
        joined(&self.base, segments)
    }

    /// Another resource that is the same for all partitions.
    fn shared<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> String {
        joined(&self.root, segments)
    }

    /// The event channel of an AE title, a WebSocket.
    #[must_use]
    pub fn channel(&self, aet: &str) -> String {
        let url = self.resource(["subscribers", aet]);
        match url.strip_prefix("http") {
            Some(rest) => format!("ws{rest}"),
            None => url,
        }
    }

    /// A search: a resource with parameters, names and values percent-encoded.
    #[must_use]
    pub fn search<'a>(
        &self,
        segments: impl IntoIterator<Item = &'a str>,
        parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> String {
        let mut url = self.resource(segments);
        for (i, (name, value)) in parameters.into_iter().enumerate() {
            url.push(if i == 0 { '?' } else { '&' });
            url.extend(utf8_percent_encode(name, SEGMENT));
            url.push('=');
            url.extend(utf8_percent_encode(value, SEGMENT));
        }
        url
    }

    /// A study.
    #[must_use]
    pub fn study(&self, study: &StudyUid) -> String {
        format!("{}/studies/{study}", self.base)
    }

    /// A series.
    #[must_use]
    pub fn series(&self, study: &StudyUid, series: &SeriesUid) -> String {
        format!("{}/studies/{study}/series/{series}", self.base)
    }

    /// An instance.
    #[must_use]
    pub fn instance(&self, name: &InstanceName) -> String {
        let InstanceName {
            study,
            series,
            instance,
        } = name;
        format!(
            "{}/studies/{study}/series/{series}/instances/{instance}",
            self.base
        )
    }

    /// A study, series or instance.
    #[must_use]
    pub fn target(&self, target: &Target) -> String {
        match target {
            Target::Study(study) => self.study(study),
            Target::Series(study, series) => self.series(study, series),
            Target::Instance(name) => self.instance(name),
        }
    }

    /// One frame of an instance, counted from one.
    #[must_use]
    pub fn frame(&self, name: &InstanceName, frame: u32) -> String {
        format!("{}/frames/{frame}", self.instance(name))
    }

    /// A bulk data value of an instance; `path` is its place in the data set, slashes between the steps.
    #[must_use]
    pub fn bulk_data(&self, name: &InstanceName, path: &str) -> String {
        let mut url = self.instance(name);
        url.push_str("/bulkdata");
        for step in path.split('/').filter(|step| !step.is_empty()) {
            url.push('/');
            url.extend(utf8_percent_encode(step, SEGMENT));
        }
        url
    }

    /// A long-running operation.
    #[must_use]
    pub fn operation(&self, id: &str) -> String {
        self.shared(["operations", id])
    }

    /// An extended query tag.
    #[must_use]
    pub fn query_tag(&self, path: &str) -> String {
        self.shared(["extendedquerytags", path])
    }

    /// The indexing errors of an extended query tag.
    #[must_use]
    pub fn query_tag_errors(&self, path: &str) -> String {
        self.shared(["extendedquerytags", path, "errors"])
    }

    /// A workitem.
    #[must_use]
    pub fn workitem(&self, uid: &InstanceUid) -> String {
        format!("{}/workitems/{uid}", self.base)
    }
}

fn joined<'a>(base: &str, segments: impl IntoIterator<Item = &'a str>) -> String {
    let mut url = base.to_owned();
    for segment in segments {
        url.push('/');
        url.extend(utf8_percent_encode(segment, SEGMENT));
    }
    url
}

/// The base as the request tells it.
fn requested_base(
    config: &LinksConfig,
    uri: &Uri,
    headers: &HeaderMap,
    peer: Option<IpAddr>,
) -> String {
    let host_header = headers.get(HOST).and_then(|value| value.to_str().ok());
    // HTTP/2 and absolute-form targets carry the authority in the URI.
    let host = uri
        .authority()
        .map(|authority| authority.as_str().rsplit('@').next().unwrap_or_default())
        .or(host_header)
        .and_then(Host::parse);
    let trusted = peer.is_some_and(|peer| proxies::is_trusted(&config.trusted_proxies, peer));
    if trusted {
        let said = proxies::said(config, headers);
        let scheme = said.scheme.as_deref().and_then(Scheme::parse);
        let forwarded_host = said.host.as_deref().and_then(Host::parse);
        if scheme.is_some() || forwarded_host.is_some() {
            let scheme = scheme.unwrap_or(config.scheme);
            let mut host = forwarded_host.or(host).unwrap_or_else(unknown_host);
            // The proxy listens elsewhere than we do, so our own port means nothing here.
            host.port = host.port.or(said.port);
            let prefix = said
                .prefix
                .as_deref()
                .and_then(checked_prefix)
                .unwrap_or_default();
            return host.base(scheme, &prefix);
        }
    }
    let mut host = host.unwrap_or_else(unknown_host);
    // The Python client sends its Host without the port it connected to.
    host.port = host.port.or(Some(config.listen_port));
    host.base(config.scheme, "")
}

/// The address of the client: the peer, or what trusted proxies say of whom they were asked by.
#[must_use]
pub fn client_address(config: &LinksConfig, headers: &HeaderMap, peer: IpAddr) -> IpAddr {
    if proxies::is_trusted(&config.trusted_proxies, peer) {
        proxies::client(config, headers).unwrap_or(peer)
    } else {
        peer
    }
}

/// What links name when the request names no usable host.
fn unknown_host() -> Host {
    Host {
        name: "localhost".to_owned(),
        port: None,
    }
}

#[cfg(test)]
mod tests;
