//! The only place that makes absolute URLs.
//!
//! The base is the configured public URL, else what a trusted proxy says, else `Host` with the listening port added when
//! it names none: some clients leave the port out (spec/clients.md rule 10). Invariant: what a client wrote gets into a
//! URL only when it is a plain host, port, scheme or path.

use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::{Extensions, HeaderMap, header};

use crate::config::HttpConfig;
use crate::dicom::uid::InstanceName;

/// Where URLs come from.
#[derive(Debug, Clone)]
pub struct LinkSource {
    public: Option<String>,
    trusted: Vec<Network>,
    listen: SocketAddr,
}

/// Absolute URLs below one root, for one request.
#[derive(Debug, Clone)]
pub struct Links {
    base: String,
}

#[derive(Debug, Clone, Copy)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text
            .split_once('/')
            .map_or((text, None), |(a, b)| (a, Some(b)));
        let address: IpAddr = address.trim().parse().ok()?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Some(most), |b| b.trim().parse().ok())?;
        (bits <= most).then_some(Self { address, bits })
    }

    fn holds(&self, peer: IpAddr) -> bool {
        let shift = |bits: u8, width: u8| u32::from(width - bits.min(width));
        match (self.address, peer.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => {
                let mask = u32::MAX.checked_shl(shift(self.bits, 32)).unwrap_or(0);
                (a.to_bits() ^ b.to_bits()) & mask == 0
            }
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                let mask = u128::MAX.checked_shl(shift(self.bits, 128)).unwrap_or(0);
                (a.to_bits() ^ b.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl LinkSource {
    /// Reads the configuration.
    ///
    /// # Errors
    /// A sentence that names the bad setting.
    pub fn new(config: &HttpConfig, listen: SocketAddr) -> Result<Self, String> {
        let public = config
            .public_url
            .as_ref()
            .map(|url| url.trim_end_matches('/').to_owned());
        if let Some(url) = public
            .as_ref()
            .filter(|u| !(u.starts_with("http://") || u.starts_with("https://")))
        {
            return Err(format!(
                "STOWAGE_PUBLIC_URL must start with http:// or https://, not be {url}"
            ));
        }
        let network = |text: &String| {
            Network::parse(text).ok_or_else(|| {
                format!("STOWAGE_TRUSTED_PROXIES: {text} is not an address or network")
            })
        };
        let trusted = config
            .trusted_proxies
            .iter()
            .filter(|t| !t.trim().is_empty())
            .map(network)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            public,
            trusted,
            listen,
        })
    }

    /// URLs for one request below `root`.
    #[must_use]
    pub fn of_request(&self, headers: &HeaderMap, extensions: &Extensions, root: &str) -> Links {
        if let Some(public) = &self.public {
            return Links {
                base: format!("{public}{root}"),
            };
        }
        let peer = extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|c| c.0.ip());
        let trusted = peer.is_some_and(|p| self.trusted.iter().any(|n| n.holds(p)));
        let told = if trusted {
            Told::read(headers)
        } else {
            Told::default()
        };
        let scheme = told.scheme.unwrap_or_else(|| "http".to_owned());
        let host = told
            .host
            .or_else(|| self.own_host(headers, &scheme))
            .unwrap_or_else(|| self.listen.to_string());
        let host = match told.port {
            Some(port) if !has_port(&host) && !is_default(&scheme, port) => {
                format!("{host}:{port}")
            }
            _ => host,
        };
        let prefix = told.prefix.unwrap_or_default();
        Links {
            base: format!("{scheme}://{host}{prefix}{root}"),
        }
    }

    fn own_host(&self, headers: &HeaderMap, scheme: &str) -> Option<String> {
        let host = checked_host(headers.get(header::HOST)?.to_str().ok()?)?;
        let port = self.listen.port();
        if has_port(&host) || is_default(scheme, port) {
            Some(host)
        } else {
            Some(format!("{host}:{port}"))
        }
    }
}

/// What a proxy says of the request it passed on.
#[derive(Debug, Default)]
struct Told {
    scheme: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    prefix: Option<String>,
}

impl Told {
    fn read(headers: &HeaderMap) -> Self {
        let first = |name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(
                value
                    .split(',')
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
            )
        };
        let mut told = Self::default();
        if let Some(forwarded) = first("forwarded") {
            for pair in forwarded.split(';') {
                let Some((name, value)) = pair.split_once('=') else {
                    continue;
                };
                let value = value.trim().trim_matches('"');
                match name.trim().to_ascii_lowercase().as_str() {
                    "proto" => told.scheme = checked_scheme(value),
                    "host" => told.host = checked_host(value),
                    _ => {}
                }
            }
        }
        told.scheme = told
            .scheme
            .or_else(|| checked_scheme(&first("x-forwarded-proto")?));
        told.host = told
            .host
            .or_else(|| checked_host(&first("x-forwarded-host")?));
        told.port = first("x-forwarded-port").and_then(|p| p.parse().ok());
        told.prefix = first("x-forwarded-prefix").and_then(|p| checked_prefix(&p));
        told
    }
}

fn checked_scheme(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    matches!(text.as_str(), "http" | "https").then_some(text)
}

fn checked_host(text: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b);
    (!text.is_empty() && text.len() <= 255 && text.bytes().all(plain)).then(|| text.to_owned())
}

fn checked_prefix(text: &str) -> Option<String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let text = text.trim_end_matches('/');
    let sound = text.starts_with('/')
        && !text.starts_with("//")
        && text.len() <= 255
        && text.bytes().all(plain);
    sound.then(|| text.to_owned())
}

fn has_port(host: &str) -> bool {
    let behind = host.rsplit(']').next().unwrap_or(host);
    behind
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn is_default(scheme: &str, port: u16) -> bool {
    matches!((scheme, port), ("http", 80) | ("https", 443))
}

impl Links {
    /// The root itself.
    #[must_use]
    pub fn root(&self) -> &str {
        &self.base
    }

    /// A study.
    #[must_use]
    pub fn study(&self, study: &str) -> String {
        format!("{}/studies/{study}", self.base)
    }

    /// A series.
    #[must_use]
    pub fn series(&self, study: &str, series: &str) -> String {
        format!("{}/studies/{study}/series/{series}", self.base)
    }

    /// An instance.
    #[must_use]
    pub fn instance(&self, name: &InstanceName) -> String {
        self.instance_text(
            name.study.as_str(),
            name.series.as_str(),
            name.instance.as_str(),
        )
    }

    /// An instance by the texts of its UIDs.
    #[must_use]
    pub fn instance_text(&self, study: &str, series: &str, instance: &str) -> String {
        format!(
            "{}/studies/{study}/series/{series}/instances/{instance}",
            self.base
        )
    }

    /// A long-running operation.
    #[must_use]
    pub fn operation(&self, id: &str) -> String {
        format!("{}/operations/{id}", self.base)
    }

    /// The errors of an extended query tag.
    #[must_use]
    pub fn query_tag_errors(&self, tag: &str) -> String {
        format!("{}/extendedquerytags/{tag}/errors", self.base)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn source(public: Option<&str>, trusted: &[&str]) -> LinkSource {
        let mut config = crate::config::Config::default().http;
        config.public_url = public.map(ToOwned::to_owned);
        config.trusted_proxies = trusted.iter().map(|t| (*t).to_owned()).collect();
        LinkSource::new(&config, "127.0.0.1:8080".parse().unwrap()).unwrap()
    }

    fn base(source: &LinkSource, peer: &str, headers: &[(&'static str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        source.of_request(&map, &extensions, "/v2").base
    }

    #[test]
    fn a_host_without_port_gets_the_listening_port() {
        let source = source(None, &[]);
        assert_eq!(
            base(&source, "127.0.0.1", &[("host", "pacs")]),
            "http://pacs:8080/v2"
        );
        assert_eq!(
            base(&source, "127.0.0.1", &[("host", "pacs:99")]),
            "http://pacs:99/v2"
        );
        assert_eq!(
            base(&source, "127.0.0.1", &[("host", "[::1]")]),
            "http://[::1]:8080/v2"
        );
        assert_eq!(base(&source, "127.0.0.1", &[]), "http://127.0.0.1:8080/v2");
        assert_eq!(
            base(&source, "127.0.0.1", &[("host", "a\"b")]),
            "http://127.0.0.1:8080/v2"
        );
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let headers = [
            ("host", "inner"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "pacs.example.org"),
            ("x-forwarded-prefix", "/dicom/"),
        ];
        let source = source(None, &["10.0.0.0/8", "fd00::/8"]);
        assert_eq!(
            base(&source, "10.1.2.3", &headers),
            "https://pacs.example.org/dicom/v2"
        );
        assert_eq!(
            base(&source, "fd00::1", &headers),
            "https://pacs.example.org/dicom/v2"
        );
        assert_eq!(base(&source, "192.0.2.1", &headers), "http://inner:8080/v2");
        let forwarded = [("forwarded", "for=1.2.3.4;proto=https;host=\"pacs:444\"")];
        assert_eq!(base(&source, "10.1.2.3", &forwarded), "https://pacs:444/v2");
    }

    #[test]
    fn the_public_url_wins() {
        let source = source(Some("https://pacs.example.org/x/"), &["0.0.0.0/0"]);
        assert_eq!(
            base(&source, "10.1.2.3", &[("x-forwarded-host", "evil")]),
            "https://pacs.example.org/x/v2"
        );
    }
}
