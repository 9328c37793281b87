//! Which peers are believed, and what they say about the request they received.
//!
//! Invariants: only what a trusted proxy appended is read; a value the client wrote itself stands to the left of it. A header
//! that the proxy does not write is the client's own word, so only those are read that are named.

use std::net::{IpAddr, Ipv4Addr};

use http::HeaderMap;

use super::config::LinksConfig;
use super::network::Network;
use crate::http::parameters::{parse_item, split_list};

/// Longest forwarded header that is looked at.
const MAX_TEXT: usize = 8 * 1024;

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
