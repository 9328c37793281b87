//! Refusals of one address, gathered: whoever has no token cannot fill the disk with events.
//!
//! Invariant: the first refusals of an address are events of their own; as long as it goes on, the others are one event a
//! second that counts them. An address costs a bounded number of bytes, and so do all addresses together.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use time::OffsetDateTime;

/// Refusals of an address that are told one by one before they are gathered.
const SINGLE: u8 = 3;
/// Seconds of quiet after which an address is forgotten.
const QUIET: u8 = 10;
/// Most addresses that are told apart.
const MAX_SOURCES: usize = 4096;

/// Whose refusals are counted together: an IPv4 address, or the /64 network of an IPv6 address; none for the rest.
pub(super) type RefusalSource = Option<IpAddr>;

/// What one address did.
#[derive(Debug)]
struct SourceRefusals {
    /// How many are told one by one still.
    single: u8,
    count: u64,
    since: OffsetDateTime,
    quiet: u8,
}

/// What was gathered of one address.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct RefusalSummary {
    /// Whose refusals they are.
    pub(super) source: RefusalSource,
    /// How many.
    pub(super) count: u64,
    /// When the first of them was.
    pub(super) since: OffsetDateTime,
}

/// The refusals that are not written yet.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    sources: HashMap<RefusalSource, SourceRefusals>,
}

impl Refusals {
    /// Counts a refusal of an address; whether it is told with others and so is no event of its own.
    pub(super) fn gather(&mut self, address: Option<IpAddr>, now: OffsetDateTime) -> bool {
        let mut source = address.map(network);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            source = None;
        }
        let bucket = self.sources.entry(source).or_insert(SourceRefusals {
            single: SINGLE,
            count: 0,
            since: now,
            quiet: 0,
        });
        bucket.quiet = 0;
        if bucket.single > 0 {
            bucket.single -= 1;
            return false;
        }
        if bucket.count == 0 {
            bucket.since = now;
        }
        bucket.count = bucket.count.saturating_add(1);
        true
    }

    /// What was gathered since the last call; addresses that have been quiet are forgotten. To be called once a second.
    pub(super) fn take(&mut self) -> Vec<RefusalSummary> {
        let mut taken = Vec::new();
        self.sources.retain(|source, bucket| {
            if bucket.count > 0 {
                taken.push(RefusalSummary {
                    source: *source,
                    count: std::mem::take(&mut bucket.count),
                    since: bucket.since,
                });
                return true;
            }
            bucket.quiet = bucket.quiet.saturating_add(1);
            bucket.quiet < QUIET
        });
        taken
    }
}

/// The address, or of IPv6 the network that one customer has.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(second).unwrap()
    }

    #[test]
    fn the_first_refusals_of_an_address_are_single_and_the_rest_is_one_count_a_second() {
        let mut refusals = Refusals::default();
        let (one, other): (IpAddr, IpAddr) =
            ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let gathered = (0..1000).filter(|_| refusals.gather(Some(one), at(5)));
        assert_eq!(gathered.count(), 1000 - usize::from(SINGLE));
        assert!(!refusals.gather(Some(other), at(5)), "another address");
        let expected = RefusalSummary {
            source: Some(one),
            count: 1000 - u64::from(SINGLE),
            since: at(5),
        };
        assert_eq!(refusals.take(), [expected]);
        assert_eq!(refusals.take(), []);
        assert!(refusals.gather(Some(one), at(7)), "it goes on");
        for _ in 0..=QUIET {
            refusals.take();
        }
        assert!(refusals.sources.is_empty(), "and ends");
    }

    #[test]
    fn many_addresses_cost_a_bounded_number_of_events() {
        let mut refusals = Refusals::default();
        for number in 0..100_000_u32 {
            refusals.gather(Some(IpAddr::V4(number.into())), at(1));
        }
        assert!(refusals.sources.len() <= MAX_SOURCES + 1);
        let host = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        let mut refusals = Refusals::default();
        for last in 0..10 {
            refusals.gather(host(&format!("2001:db8::{last}")), at(1));
        }
        assert_eq!(refusals.take().len(), 1, "one network of IPv6");
        refusals.gather(host("::ffff:192.0.2.1"), at(1));
        refusals.gather(host("192.0.2.1"), at(1));
        assert_eq!(refusals.sources.len(), 2, "a mapped address is its own");
    }
}
