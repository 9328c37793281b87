//! Which peers are believed, and what they say about the request they received.
//!
//! Invariants: only what a trusted proxy appended is read; a value the client wrote itself stands to the left of it. A header
//! that the proxy does not write is the client's own word, so only those are read that are named.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use http::HeaderMap;

use super::LinksConfig;
use crate::http::parameters::{parse_item, split_list};

/// Longest forwarded header that is looked at.
const MAX_TEXT: usize = 8 * 1024;

/// A network such as `10.0.0.0/8`, `fd00::/8` or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: u128,
    mask: u128,
}

/// The text is not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is an address, optionally followed by / and the number of leading bits")]
pub struct NetworkError;

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let text = text.trim();
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.parse().map_err(|_| NetworkError)?;
        // IPv4 lives in the mapped part of IPv6, 96 bits down.
        let (width, offset) = if address.is_ipv4() {
            (32, 96)
        } else {
            (128, 0)
        };
        let bits = match bits {
            None => width,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= width)
                .ok_or(NetworkError)?,
        };
        let mask = match 128_u32.saturating_sub(bits + offset) {
            128 => 0,
            host => u128::MAX << host,
        };
        Ok(Self {
            address: number(address) & mask,
            mask,
        })
    }
}

impl Network {
    /// Whether the address lies in the network; IPv4 addresses mapped to IPv6 count as IPv4.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        number(address) & self.mask == self.address
    }
}

fn number(address: IpAddr) -> u128 {
    let mapped = |v4: Ipv4Addr| v4.to_ipv6_mapped();
    let address: Ipv6Addr = match address {
        IpAddr::V4(v4) => mapped(v4),
        IpAddr::V6(v6) => v6,
    };
    address.to_bits()
}

/// Headers in which a proxy can say who asked it for what.
const HEADERS: [&str; 6] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-prefix",
];

/// Which headers the proxies write; what stands in others is the client's own word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeaders([bool; HEADERS.len()]);

/// The text is not a list of headers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a header that proxies write; those are {list}", list = HEADERS.join(", "))]
pub struct ProxyHeadersError(String);

impl Default for ProxyHeaders {
    /// `X-Forwarded-*`, which most proxies write; `Forwarded` they pass on as it came.
    fn default() -> Self {
        Self(HEADERS.map(|name| name != "forwarded"))
    }
}

impl FromStr for ProxyHeaders {
    type Err = ProxyHeadersError;

    fn from_str(text: &str) -> Result<Self, ProxyHeadersError> {
        let mut believed = Self([false; HEADERS.len()]);
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            let at = HEADERS
                .iter()
                .position(|known| known.eq_ignore_ascii_case(name));
            match at.and_then(|at| believed.0.get_mut(at)) {
                Some(believed) => *believed = true,
                None => return Err(ProxyHeadersError(name.to_owned())),
            }
        }
        Ok(believed)
    }
}

impl ProxyHeaders {
    fn believes(self, name: &str) -> bool {
        let mut known = HEADERS.iter().zip(self.0);
        known.any(|(known, believed)| believed && *known == name)
    }
}

/// Whether one of the networks holds the address.
pub(super) fn is_trusted(networks: &[Network], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(address))
}

/// What the proxies say; nothing of it is checked yet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedHeaders {
    pub(super) scheme: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) prefix: Option<String>,
}

/// Reads `Forwarded` (RFC 7239), or without one `X-Forwarded-*`.
pub(super) fn said(config: &LinksConfig, headers: &HeaderMap) -> ForwardedHeaders {
    let networks = &config.trusted_proxies;
    let forwarded = all(config, headers, "forwarded");
    if forwarded.is_empty() {
        return x_forwarded(config, headers);
    }
    let mut said = ForwardedHeaders::default();
    for element in forwarded.iter().rev() {
        // Each proxy's element describes the request it received; the nearest to the client counts.
        let item = parse_item(&format!(";{element}"));
        let text = |name: &str| item.first(name).map(str::to_owned);
        said.scheme = text("proto").or(said.scheme);
        said.host = text("host").or(said.host);
        let from = item.first("for").and_then(node_address);
        if !from.is_some_and(|from| is_trusted(networks, from)) {
            break;
        }
    }
    said.prefix = x_forwarded(config, headers).prefix;
    said
}

/// The nearest address that is no trusted proxy; the farthest one when all are.
pub(super) fn client(config: &LinksConfig, headers: &HeaderMap) -> Option<IpAddr> {
    let networks = &config.trusted_proxies;
    let forwarded = all(config, headers, "forwarded");
    let addresses: Vec<Option<IpAddr>> = if forwarded.is_empty() {
        let through = all(config, headers, "x-forwarded-for");
        through.iter().map(|text| node_address(text)).collect()
    } else {
        let from = |element: &String| {
            let item = parse_item(&format!(";{element}"));
            item.first("for").and_then(node_address)
        };
        forwarded.iter().map(from).collect()
    };
    let mut client = None;
    for address in addresses.into_iter().rev() {
        // An address that cannot be read ends the chain: what stands before it is the client's own word.
        client = Some(address?);
        if !address.is_some_and(|address| is_trusted(networks, address)) {
            break;
        }
    }
    client
}

fn x_forwarded(config: &LinksConfig, headers: &HeaderMap) -> ForwardedHeaders {
    let networks = &config.trusted_proxies;
    let through = all(config, headers, "x-forwarded-for");
    let addresses = through.iter().rev().map(|text| node_address(text));
    let hops = addresses
        .take_while(|from| from.is_some_and(|from| is_trusted(networks, from)))
        .count()
        .saturating_add(1);
    // A proxy that overwrites leaves one value, one that appends leaves one per hop.
    let credible = |name: &str| {
        let mut values = all(config, headers, name);
        let at = values.len().saturating_sub(hops);
        (at < values.len()).then(|| values.swap_remove(at))
    };
    ForwardedHeaders {
        scheme: credible("x-forwarded-proto"),
        host: credible("x-forwarded-host"),
        port: credible("x-forwarded-port")
            .and_then(|text| text.parse().ok())
            .filter(|port| *port > 0),
        prefix: credible("x-forwarded-prefix"),
    }
}

/// All values of a header that is a list, in order; none of one that is not believed.
fn all(config: &LinksConfig, headers: &HeaderMap, name: &str) -> Vec<String> {
    if !config.proxy_headers.believes(name) {
        return Vec::new();
    }
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .filter(|text| text.len() <= MAX_TEXT)
        .flat_map(split_list)
        .map(str::to_owned)
        .collect()
}

/// The address of `1.2.3.4`, `1.2.3.4:5`, `2001:db8::1`, `[2001:db8::1]:5`.
fn node_address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('"');
    if let Some(rest) = text.strip_prefix('[') {
        return rest.split(']').next()?.parse().ok();
    }
    let without_port = || {
        text.rsplit_once(':')
            .and_then(|(address, _)| address.parse::<Ipv4Addr>().ok())
    };
    text.parse().ok().or_else(|| without_port().map(IpAddr::V4))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_named_and_others_are_none() {
        let some: ProxyHeaders = "X-Forwarded-For, x-forwarded-proto".parse().unwrap();
        assert!(some.believes("x-forwarded-for") && some.believes("x-forwarded-proto"));
        assert!(!some.believes("x-forwarded-host") && !some.believes("forwarded"));
        assert!(!ProxyHeaders::default().believes("forwarded"));
        assert!(ProxyHeaders::default().believes("x-forwarded-prefix"));
        let error = "X-Real-IP".parse::<ProxyHeaders>().unwrap_err();
        assert!(error.to_string().contains("x-forwarded-for"), "{error}");
    }
}
