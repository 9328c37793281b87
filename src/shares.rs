//! Fair shares of something limited: whoever comes finds some of it, however much others have taken.
//!
//! Invariants: all shares together never exceed the whole; a subject never has more than what is left for all others, an
//! eighth of the whole not counted, which is kept for those who have little; a connection never has more than what it leaves to
//! the others of its subject; a share is given back when it is dropped.
//!
//! So one subject alone gets almost half, two less than a third each, and so on (dynamic thresholds, Choudhury and Hahne
//! 1998): no number has to be set for each of them, and there is room for the next.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// A whole up to this is not shared: the first to come may have all of it.
const SMALL: u64 = 16;
/// Part of the whole that is kept for those who have little.
const KEPT: u64 = 8;
/// What is little.
const LITTLE: u64 = 4;
/// How often room is looked for once somebody was told to make way, and the pause between.
const LOOKS: (u32, Duration) = (20, Duration::from_millis(5));

/// Lets somebody go who could make way, of the same subject when that lacks its share; false when there is nobody.
pub type MakeWay = dyn Fn(Lack) -> bool + Send + Sync;

/// Who takes a share: a person or program by its token, else the address it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ShareHolder(Arc<str>);

impl ShareHolder {
    /// Whom a token names.
    #[must_use]
    pub fn of_token(issuer: Option<&str>, subject: &str) -> Self {
        let issuer = issuer.unwrap_or_default();
        Self(Arc::from(format!("token {issuer} {subject}")))
    }

    /// Whoever is at an address; of IPv6 the first 64 bits, which one host has to itself.
    #[must_use]
    pub fn of_address(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self(Arc::from(format!("address {address}"))),
            IpAddr::V6(address) => {
                let network = address.to_bits() >> 64;
                Self(Arc::from(format!("network {network:x}")))
            }
        }
    }

    /// A part of the program itself, or a proxy that is believed.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self(Arc::from(format!("own {name}")))
    }
}

/// Why a share was not to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// There is none left.
    Whole,
    /// Its subject, or the connection, has as much as it may.
    Subject,
}

/// Something of which there is a certain amount.
#[derive(Debug, Clone)]
pub struct Shares(Arc<SharesInner>);

#[derive(Debug)]
struct SharesInner {
    whole: u64,
    taken: Mutex<TakenShares>,
}

#[derive(Debug, Default)]
struct TakenShares {
    all: u64,
    subjects: HashMap<ShareHolder, BySubject>,
}

#[derive(Debug, Default)]
struct BySubject {
    all: u64,
    connections: HashMap<u64, u64>,
}

impl SharesInner {
    fn lock(&self) -> MutexGuard<'_, TakenShares> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shares {
    /// Shares of `whole`, at least one.
    #[must_use]
    pub fn new(whole: u64) -> Self {
        Self(Arc::new(SharesInner {
            whole: whole.max(1),
            taken: Mutex::default(),
        }))
    }

    /// How much there is.
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.0.whole
    }

    /// How much of it is taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.lock().all
    }

    /// Takes a share for a subject, and for one of its connections.
    ///
    /// # Errors
    /// [`Lack`] when there is none, or none for this subject or connection.
    pub fn try_take(
        &self,
        subject: &ShareHolder,
        connection: Option<u64>,
        amount: u64,
    ) -> Result<Share, Lack> {
        let mut taken = self.0.lock();
        let all = taken.all.saturating_add(amount);
        let left = self.0.whole.checked_sub(all).ok_or(Lack::Whole)?;
        let before = taken.subjects.get(subject);
        let of_subject = before.map_or(0, |by| by.all).saturating_add(amount);
        if self.0.whole > SMALL && of_subject > LITTLE {
            let most = left.saturating_sub(self.0.whole / KEPT);
            let left = most.checked_sub(of_subject).ok_or(Lack::Subject)?;
            let of_connection = connection.and_then(|number| before?.connections.get(&number));
            let of_connection = of_connection.copied().unwrap_or(0).saturating_add(amount);
            if connection.is_some() && of_connection > left {
                return Err(Lack::Subject);
            }
        }
        taken.all = all;
        let by_subject = taken.subjects.entry(subject.clone()).or_default();
        by_subject.all += amount;
        if let Some(number) = connection {
            *by_subject.connections.entry(number).or_default() += amount;
        }
        drop(taken);
        Ok(Share {
            of: self.clone(),
            subject: subject.clone(),
            connection,
            amount,
        })
    }

    /// As [`Self::try_take`]; when there is none, somebody else is asked once to make way.
    ///
    /// # Errors
    /// As [`Self::try_take`].
    pub async fn take(
        &self,
        subject: &ShareHolder,
        connection: Option<u64>,
        make_way: &(dyn Fn(Lack) -> bool + Send + Sync),
    ) -> Result<Share, Lack> {
        let mut taken = self.try_take(subject, connection, 1);
        let Err(lack) = taken else {
            return taken;
        };
        if make_way(lack) {
            // It may be busy with going.
            for _ in 0..LOOKS.0 {
                taken = self.try_take(subject, connection, 1);
                if taken.is_ok() {
                    break;
                }
                tokio::time::sleep(LOOKS.1).await;
            }
        }
        taken
    }
}

/// A share, until it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Shares,
    subject: ShareHolder,
    connection: Option<u64>,
    amount: u64,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut taken = self.of.0.lock();
        taken.all = taken.all.saturating_sub(self.amount);
        let Some(by_subject) = taken.subjects.get_mut(&self.subject) else {
            return;
        };
        by_subject.all = by_subject.all.saturating_sub(self.amount);
        if let Some(number) = self.connection
            && let Some(amount) = by_subject.connections.get_mut(&number)
        {
            *amount = amount.saturating_sub(self.amount);
            if *amount == 0 {
                by_subject.connections.remove(&number);
            }
        }
        if by_subject.all == 0 {
            taken.subjects.remove(&self.subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(number: usize) -> ShareHolder {
        ShareHolder::of_token(None, &number.to_string())
    }

    /// Takes as many as there are for a subject, on connections in turn.
    fn take_all(shares: &Shares, subject: &ShareHolder, connections: u64) -> Vec<Share> {
        let mut held = Vec::new();
        loop {
            let before = held.len();
            for connection in 0..connections {
                held.extend(shares.try_take(subject, Some(connection), 1).ok());
            }
            if held.len() == before {
                return held;
            }
        }
    }

    #[test]
    fn however_many_take_all_they_can_the_next_one_finds_some() {
        let shares = Shares::new(1024);
        let mut held: Vec<Share> = Vec::new();
        for number in 0..30 {
            let newcomer = shares.try_take(&subject(number), None, 1);
            assert!(newcomer.is_ok(), "{number}");
            held.extend(newcomer);
            held.extend(take_all(&shares, &subject(number), 8));
            assert!(shares.taken() < 1024, "{number}");
        }
        drop(held);
        assert_eq!(shares.taken(), 0);
        assert!(shares.0.lock().subjects.is_empty());
    }

    #[test]
    fn one_subject_has_almost_half_and_one_connection_of_it_less() {
        let shares = Shares::new(1024);
        let held = take_all(&shares, &subject(1), 1);
        assert_eq!(held.len(), 298);
        // Another connection of the same subject finds some.
        assert!(shares.try_take(&subject(1), Some(9), 1).is_ok());
        drop(held);
        let held = take_all(&shares, &subject(1), 8);
        assert!(held.len() > 400 && held.len() <= 448, "{}", held.len());
        assert!(shares.try_take(&subject(1), Some(9), 1).is_ok());
        assert!(shares.try_take(&subject(2), Some(1), 1).is_ok());
    }

    #[test]
    fn little_is_not_shared_and_never_more_than_there_is() {
        let shares = Shares::new(4);
        let held = take_all(&shares, &subject(1), 1);
        assert_eq!(held.len(), 4);
        let more = shares.try_take(&subject(2), None, 1);
        assert_eq!(more.unwrap_err(), Lack::Whole);
        let shares = Shares::new(100);
        let most = shares.try_take(&subject(1), None, u64::MAX);
        assert_eq!(most.unwrap_err(), Lack::Whole);
        assert_eq!(
            shares.try_take(&subject(1), None, 60).unwrap_err(),
            Lack::Subject
        );
        assert_eq!(shares.taken(), 0);
    }

    #[test]
    fn addresses_of_one_host_are_one_subject() {
        let of = |text: &str| ShareHolder::of_address(text.parse().unwrap());
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
    }
}
