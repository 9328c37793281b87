//! Networks, by address and number of leading bits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

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
