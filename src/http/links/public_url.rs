//! The parts of a URL, checked character by character: scheme, host, path prefix.

use std::fmt::Write as _;
use std::str::FromStr;

/// Longest host, port included.
const MAX_HOST: usize = 260;

/// Longest path prefix.
const MAX_PREFIX: usize = 512;

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

    pub(super) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
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
pub(super) struct Host {
    pub(super) name: String,
    pub(super) port: Option<u16>,
}

impl Host {
    pub(super) fn parse(text: &str) -> Option<Self> {
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
    pub(super) fn base(&self, scheme: Scheme, prefix: &str) -> String {
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
pub(super) fn checked_prefix(path: &str) -> Option<String> {
    let path = path.trim().trim_end_matches('/');
    let sound = |b: u8| b.is_ascii_alphanumeric() || b"-._~/%!$&()*+,;=:@".contains(&b);
    let dots = |segment: &str| segment == "." || segment == "..";
    let usable = path.len() <= MAX_PREFIX
        && (path.is_empty() || (path.starts_with('/') && !path.starts_with("//")))
        && path.bytes().all(sound)
        && !path.split('/').any(dots);
    usable.then(|| path.to_owned())
}
