//! Which names this server answers to, and which pages are of this machine.
//!
//! A page of somebody else can have its own name resolved to this machine, and then it is this server's own page for the
//! browser (DNS rebinding). Without access control nothing else stands against that than the name in the request.

use std::net::IpAddr;

use http::header::HOST;
use http::{HeaderMap, Uri, Version};

use super::public_url::{Host, PublicUrl};

/// The names that are answered to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hosts {
    /// Every name: tokens protect, or whoever runs the server said so.
    #[default]
    Any,
    /// Names of this machine, and the one of the public URL.
    Local {
        /// The server listens for others: addresses and names without a dot are its own too.
        networked: bool,
        /// Host of the public URL.
        public: Option<String>,
    },
}

/// What is wrong with the Host of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostProblem {
    /// There is none, there are several, or it is no host (RFC 9112 §3.2).
    Malformed,
    /// It is not one of this server's names.
    Foreign,
}

impl Hosts {
    /// Names of this machine and of the public URL.
    #[must_use]
    pub fn local(networked: bool, public: Option<&PublicUrl>) -> Self {
        Self::Local {
            networked,
            public: public.and_then(|url| host_of(url.as_str()).map(|host| host.name)),
        }
    }

    /// Whether a request is meant for this server.
    ///
    /// # Errors
    /// [`HostProblem`] when it must not be answered.
    pub fn check(
        &self,
        version: Version,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(), HostProblem> {
        let mut named = headers.get_all(HOST).iter();
        let header = named.next();
        let one = version == Version::HTTP_11;
        if named.next().is_some() || (one && header.is_none()) {
            return Err(HostProblem::Malformed);
        }
        let header = header.map(|value| value.to_str().unwrap_or("?"));
        // An empty host is one that the target does not name (RFC 9112 §3.2).
        let header = header.filter(|host| !host.trim().is_empty());
        let target = uri.authority().map(http::uri::Authority::as_str);
        let mut names = header.into_iter().chain(target).peekable();
        if names.peek().is_none() && *self != Self::Any {
            return if version == Version::HTTP_10 || version == Version::HTTP_09 {
                // No browser speaks it.
                Ok(())
            } else {
                Err(HostProblem::Foreign)
            };
        }
        for name in names {
            let name = name.rsplit('@').next().unwrap_or_default();
            let host = Host::parse(name).ok_or(HostProblem::Malformed)?;
            if !self.answers(&host.name) {
                return Err(HostProblem::Foreign);
            }
        }
        Ok(())
    }

    fn answers(&self, name: &str) -> bool {
        let name = name.strip_suffix('.').unwrap_or(name);
        match self {
            Self::Any => true,
            Self::Local { networked, public } => {
                is_loopback(name)
                    || public.as_deref() == Some(name)
                    || (*networked && (address(name).is_some() || !name.contains('.')))
            }
        }
    }
}

/// Whether an origin is a page of this machine.
#[must_use]
pub fn is_local_origin(origin: &str) -> bool {
    host_of(origin).is_some_and(|host| is_loopback(&host.name))
}

/// Whether an origin has the host and port that the request was sent to.
#[must_use]
pub fn is_own_origin(origin: &str, uri: &Uri, headers: &HeaderMap) -> bool {
    let header = headers.get(HOST).and_then(|value| value.to_str().ok());
    let target = uri.authority().map(http::uri::Authority::as_str);
    let own = target.or(header).and_then(Host::parse);
    own.is_some() && own == host_of(origin)
}

/// `scheme://host[:port]` of a public URL, as browsers write an origin.
#[must_use]
pub fn origin_of(url: &PublicUrl) -> String {
    let url = url.as_str();
    let after = url.find("://").map_or(0, |at| at + 3);
    let end = url
        .get(after..)
        .and_then(|rest| rest.find('/'))
        .map_or(url.len(), |at| after + at);
    url.get(..end).unwrap_or(url).to_owned()
}

fn host_of(url: &str) -> Option<Host> {
    let (_, rest) = url.split_once("://")?;
    Host::parse(rest.split('/').next()?)
}

/// `localhost`, names below it (RFC 6761 §6.3) and loopback addresses.
fn is_loopback(name: &str) -> bool {
    name == "localhost"
        || name.ends_with(".localhost")
        || address(name).is_some_and(|address| address.to_canonical().is_loopback())
}

fn address(name: &str) -> Option<IpAddr> {
    name.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(hosts: &Hosts, host: &[&str]) -> Result<(), HostProblem> {
        let mut headers = HeaderMap::new();
        for host in host {
            headers.append(HOST, host.parse().unwrap());
        }
        hosts.check(Version::HTTP_11, &Uri::from_static("/v2/studies"), &headers)
    }

    #[test]
    fn without_access_control_only_own_names_are_answered_to() {
        let alone = Hosts::local(false, None);
        for good in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "127.0.0.1",
            "127.8.9.1:80",
            "[::1]:8080",
            "a.localhost",
            "[::ffff:127.0.0.1]",
        ] {
            assert_eq!(checked(&alone, &[good]), Ok(()), "{good}");
        }
        for foreign in [
            "evil.example",
            "rebind.evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "notlocalhost",
            "0.0.0.0",
            "10.0.0.5",
            "[2001:db8::1]",
            "stowage",
            "",
        ] {
            assert_eq!(
                checked(&alone, &[foreign]),
                Err(HostProblem::Foreign),
                "{foreign}"
            );
        }
        let url = "https://pacs.example.org:8443/dicom".parse().unwrap();
        let public = Hosts::local(false, Some(&url));
        assert_eq!(checked(&public, &["pacs.example.org"]), Ok(()));
        assert!(checked(&public, &["x.pacs.example.org"]).is_err());
        let networked = Hosts::local(true, Some(&url));
        for good in [
            "10.0.0.5:8080",
            "stowage-a:8080",
            "[2001:db8::1]",
            "pacs.example.org",
        ] {
            assert_eq!(checked(&networked, &[good]), Ok(()), "{good}");
        }
        assert!(checked(&networked, &["evil.example"]).is_err());
        let uri = Uri::from_static("http://evil.example/v2/studies");
        let mut headers = HeaderMap::new();
        headers.insert(HOST, "localhost".parse().unwrap());
        let absolute = alone.check(Version::HTTP_11, &uri, &headers);
        assert_eq!(absolute, Err(HostProblem::Foreign));
    }

    #[test]
    fn a_request_names_one_host() {
        for hosts in [Hosts::Any, Hosts::local(false, None)] {
            for wrong in [
                &[][..],
                &["localhost", "localhost"],
                &["a b"],
                &["<script>"],
                &["x:y"],
            ] {
                assert_eq!(
                    checked(&hosts, wrong),
                    Err(HostProblem::Malformed),
                    "{wrong:?}"
                );
            }
        }
        assert_eq!(checked(&Hosts::Any, &[""]), Ok(()));
        let old = Hosts::local(false, None).check(
            Version::HTTP_10,
            &Uri::from_static("/"),
            &HeaderMap::new(),
        );
        assert_eq!(old, Ok(()));
    }

    #[test]
    fn pages_of_this_machine_are_told_from_others() {
        for own in [
            "http://localhost:3000",
            "https://127.0.0.1",
            "http://[::1]:5173",
        ] {
            assert!(is_local_origin(own), "{own}");
        }
        for other in [
            "null",
            "https://evil.example",
            "http://localhost.evil.example",
            "localhost",
            "http://0.0.0.0",
        ] {
            assert!(!is_local_origin(other), "{other}");
        }
        let url = "https://pacs.example.org/dicom".parse().unwrap();
        assert_eq!(origin_of(&url), "https://pacs.example.org");
    }
}
