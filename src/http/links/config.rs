//! Where links point, as configured.

use super::network::Network;
use super::proxy_headers::ProxyHeaders;
use super::public_url::{PublicUrl, Scheme};

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
