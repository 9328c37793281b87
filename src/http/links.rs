//! Absolute URLs, made only here: `RetrieveURL`, `BulkDataURI`, Location and the links of operations.
//!
//! The base is the configured public URL, else what a trusted proxy says, else the Host of the request. Invariant:
//! scheme, host, port and path prefix are checked character by character before they reach a URL, so nothing a client
//! or proxy writes can end a header line, a JSON string or an attribute.

mod hosts;
mod proxies;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use http::header::HOST;
use http::{HeaderMap, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};

pub use hosts::{HostProblem, Hosts, is_local_origin, is_own_origin, origin_of};
pub use proxies::{Network, NetworkError, ProxyHeaders, ProxyHeadersError};

/// Longest host, port included.
const MAX_HOST: usize = 260;
/// What stands between a root and the name of a partition.
const PARTITIONS: &str = "/partitions/";
/// Longest path prefix.
const MAX_PREFIX: usize = 512;
/// Characters of a path segment that stay as they are (RFC 3986 §2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where links point, as configured.
#[derive(Debug, Clone)]
pub struct LinksConfig {
    /// Base of every link, when set; the mount is appended.
    pub public_url: Option<PublicUrl>,
    /// Peers that are believed when they say who asks for what.
    pub trusted_proxies: Vec<Network>,
    /// In which headers they say it.
    pub proxy_headers: ProxyHeaders,
    /// Port the server listens on; appended to a Host without port.
    pub listen_port: u16,
    /// Scheme the server itself speaks.
    pub scheme: Scheme,
}

impl LinksConfig {
    /// Where the root of the standard is by the public URL; none without one.
    #[must_use]
    pub fn service_base(&self) -> Option<String> {
        self.public_url.as_ref().map(PublicUrl::service)
    }
}

/// Scheme of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain HTTP.
    Http,
    /// HTTP over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") {
            Some(Self::Http)
        } else {
            None
        }
    }
}

/// A public base URL, checked: scheme, host, optional port and path, no slash at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

/// The text is not a public base URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a public URL is http:// or https://, a host, an optional port and an optional path")]
pub struct PublicUrlError;

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        let (scheme, rest) = text.trim().split_once("://").ok_or(PublicUrlError)?;
        let scheme = Scheme::parse(scheme).ok_or(PublicUrlError)?;
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let host = Host::parse(host).ok_or(PublicUrlError)?;
        let prefix = checked_prefix(path).ok_or(PublicUrlError)?;
        Ok(Self(host.base(scheme, &prefix)))
    }
}

impl PublicUrl {
    /// Where the root of the standard is below it.
    #[must_use]
    pub fn service(&self) -> String {
        format!("{}/dicom-web", self.0)
    }

    /// The URL, without a slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A host with optional port whose characters cannot leave their place in a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

impl Host {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() || text.len() > MAX_HOST {
            return None;
        }
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                let address: std::net::Ipv6Addr = address.parse().ok()?;
                (format!("[{address}]"), port)
            }
            None => {
                let (name, port) = text.find(':').map_or((text, ""), |at| text.split_at(at));
                let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
                if name.is_empty() || !name.bytes().all(sound) {
                    return None;
                }
                (name.to_ascii_lowercase(), port)
            }
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            None => return None,
            // `host:` without digits is legal and means the default (RFC 3986 §3.2.3).
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port > 0)?)
            }
            Some(_) => return None,
        };
        Some(Self { name, port })
    }

    /// `scheme://host[:port]prefix`, the port only when it is not the scheme's own.
    fn base(&self, scheme: Scheme, prefix: &str) -> String {
        let mut base = format!("{}://{}", scheme.as_str(), self.name);
        if let Some(port) = self.port.filter(|port| *port != scheme.default_port()) {
            // Writing to a String cannot fail.
            let _ = write!(base, ":{port}");
        }
        base.push_str(prefix);
        base
    }
}

/// A path prefix without slash at its end; empty for the root.
fn checked_prefix(path: &str) -> Option<String> {
    let path = path.trim().trim_end_matches('/');
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%!$&()*+,;=:@".contains(&b);
    let dots = |segment: &str| segment == "." || segment == "..";
    let usable = path.len() <= MAX_PREFIX
        && (path.is_empty() || (path.starts_with('/') && !path.starts_with("//")))
        && path.bytes().all(sound)
        && !path.split('/').any(dots);
    usable.then(|| path.to_owned())
}

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
