//! Which receivers may be called: public ones by HTTPS, and those in networks that the settings name.
//!
//! Invariant: an address is looked at after the name was resolved and right before it is connected to, by the one resolver of
//! the client, so a name that changes its address between two looks gets nobody in; redirects are never followed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use crate::http::links::Network;

/// Longest URL of a receiver.
const MAX_URL: usize = 2048;

/// Why a receiver is not called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiverError {
    /// It is no URL of HTTP.
    #[error("it must be an https URL without user, password and fragment")]
    Url,
    /// It is not public.
    #[error(
        "its address is not public; the server's administrator can name its network in STOWAGE_WEBHOOK_NETWORKS"
    )]
    NotPublic,
    /// It is called without TLS.
    #[error("http is for networks in STOWAGE_WEBHOOK_NETWORKS alone; use https")]
    Plain,
}

/// Calls receivers that may be called.
#[derive(Debug, Clone)]
pub struct ReceiverClient {
    /// For HTTPS.
    public: reqwest::Client,
    /// For HTTP, into named networks.
    inside: reqwest::Client,
    networks: Arc<[Network]>,
}

impl ReceiverClient {
    /// A client that may call these networks too, and waits so long for an answer.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(networks: Vec<Network>, wait: Duration) -> Result<Self, reqwest::Error> {
        let networks: Arc<[Network]> = networks.into();
        let client = |reach| {
            let resolver = GuardedResolver {
                networks: Arc::clone(&networks),
                reach,
            };
            reqwest::Client::builder()
                .timeout(wait)
                .connect_timeout(wait)
                .redirect(Policy::none())
                .no_proxy()
                .https_only(reach == Reach::Public)
                .user_agent(concat!("stowage/", env!("CARGO_PKG_VERSION")))
                .dns_resolver(Arc::new(resolver))
                .build()
        };
        Ok(Self {
            public: client(Reach::Public)?,
            inside: client(Reach::Inside)?,
            networks: Arc::clone(&networks),
        })
    }

    /// A request to a receiver.
    ///
    /// # Errors
    /// [`ReceiverError`] when it must not be called.
    pub fn post(&self, url: &str) -> Result<reqwest::RequestBuilder, ReceiverError> {
        let url = self.checked(url)?;
        Ok(match url.scheme() {
            "https" => self.public.post(url),
            _ => self.inside.post(url),
        })
    }

    /// The URL, as far as it can be judged before its name is resolved.
    ///
    /// # Errors
    /// [`ReceiverError`] when it must not be called.
    pub fn checked(&self, url: &str) -> Result<Url, ReceiverError> {
        let url = Some(url).filter(|url| url.len() <= MAX_URL);
        let url = url.and_then(|url| Url::parse(url).ok());
        let url = url.ok_or(ReceiverError::Url)?;
        let host = url.host_str().ok_or(ReceiverError::Url)?;
        let plain = match url.scheme() {
            "https" => false,
            "http" => true,
            _ => return Err(ReceiverError::Url),
        };
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(ReceiverError::Url);
        }
        // Of a literal address nobody asks the resolver.
        let literal = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<IpAddr>();
        let reach = if plain { Reach::Inside } else { Reach::Public };
        match literal {
            Ok(address) if !reach.covers(&self.networks, address) => Err(if plain {
                ReceiverError::Plain
            } else {
                ReceiverError::NotPublic
            }),
            _ if plain && self.networks.is_empty() => Err(ReceiverError::Plain),
            _ => Ok(url),
        }
    }
}

/// Which addresses a client may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Public ones and named networks.
    Public,
    /// Named networks alone.
    Inside,
}

impl Reach {
    fn covers(self, networks: &[Network], address: IpAddr) -> bool {
        let address = address.to_canonical();
        let named = networks.iter().any(|network| network.contains(address));
        named || (self == Self::Public && is_public(address))
    }
}

/// Resolves names, and refuses those of which any address must not be called.
#[derive(Debug)]
struct GuardedResolver {
    networks: Arc<[Network]>,
    reach: Reach,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (networks, reach) = (Arc::clone(&self.networks), self.reach);
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let found: Vec<SocketAddr> = found.collect();
            if !found
                .iter()
                .all(|address| reach.covers(&networks, address.ip()))
            {
                let error = match reach {
                    Reach::Public => ReceiverError::NotPublic,
                    Reach::Inside => ReceiverError::Plain,
                };
                return Err(error.into());
            }
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

/// Whether an address belongs to the public internet (IANA special-purpose registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || address.is_multicast()
        || a == 0
        || a >= 240
        // Shared by carriers, of protocols, of benchmarks, relays of 6to4.
        || (a == 100 && (64..128).contains(&b))
        || (a, b, c) == (192, 0, 0)
        || (a == 198 && (18..20).contains(&b))
        || (a, b, c) == (192, 88, 99))
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, third, .., seventh, eighth] = address.segments();
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (first, second) {
        // NAT64 and 6to4 lead to the address that is in them.
        (0x64, 0xff9b) => third == 0 && v4(seventh, eighth),
        (0x2002, high) => v4(high, third),
        // Teredo, benchmarks, ORCHID, documentation.
        (0x2001, second) => {
            second != 0 && second != 2 && !(0x10..0x30).contains(&second) && second != 0xdb8
        }
        (0x3fff, second) => second >= 0x1000,
        // Global unicast.
        (first, _) => (0x2000..0x4000).contains(&first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(networks: &[&str]) -> ReceiverClient {
        let networks = networks.iter().map(|text| text.parse().unwrap()).collect();
        ReceiverClient::new(networks, Duration::from_secs(5)).unwrap()
    }

    #[test]
    fn only_public_addresses_may_be_called() {
        for address in [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "255.255.255.255",
            "224.0.0.1",
            "198.18.0.1",
            "192.0.2.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "2001:db8::1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "fec0::1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(!Reach::Public.covers(&[], address), "{address}");
        }
        for address in [
            "93.184.216.34",
            "8.8.8.8",
            "2606:4700::1111",
            "64:ff9b::808:808",
            "2a00:1450::1",
        ] {
            let address: IpAddr = address.parse().unwrap();
            assert!(Reach::Public.covers(&[], address), "{address}");
            assert!(!Reach::Inside.covers(&[], address), "{address}");
        }
    }

    #[test]
    fn urls_that_lead_inside_are_refused_however_they_are_written() {
        let none = client(&[]);
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
        ] {
            assert_eq!(
                none.checked(url).unwrap_err(),
                ReceiverError::NotPublic,
                "{url}"
            );
        }
        for url in [
            "",
            "nonsense",
            "ftp://a/",
            "file:///etc/passwd",
            "https://user:pass@a.example/",
            "https://a.example/#x",
            "gopher://a/",
            "https:///",
        ] {
            assert!(none.checked(url).is_err(), "{url}");
        }
        assert_eq!(
            none.checked("http://a.example/").unwrap_err(),
            ReceiverError::Plain
        );
        assert!(none.checked("https://a.example/hook?x=y").is_ok());
        let inside = client(&["10.0.0.0/8"]);
        assert!(inside.checked("http://10.1.2.3:8080/hook").is_ok());
        assert!(inside.checked("https://10.1.2.3/hook").is_ok());
        assert_eq!(
            inside.checked("http://8.8.8.8/").unwrap_err(),
            ReceiverError::Plain
        );
        assert!(inside.checked("https://192.168.0.1/").is_err());
    }

    #[tokio::test]
    async fn a_name_that_leads_inside_is_refused_when_it_is_called() {
        let error = client(&[])
            .post("https://localhost:1/")
            .unwrap()
            .send()
            .await
            .unwrap_err();
        let mut text = format!("{error}");
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(text.contains("not public"), "{text}");
    }
}
