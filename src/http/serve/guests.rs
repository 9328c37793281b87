//! The connections that are open: how many there may be, shared among addresses, and which of them are idle.
//!
//! Invariant: there are never more than the setting allows, so descriptors are left for what is stored and read; when there
//! is no room the connection goes that has been idle for longest, and a new one only when all others are at work.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::meters::METERS;
use crate::http::links::Network;
use crate::shares::{Lack, Share, Shares, Subject};

/// How long a connection that is sent away may take to leave.
const LEAVING: Duration = Duration::from_millis(200);

/// Connections that are open.
#[derive(Debug)]
pub(super) struct Guests {
    room: Shares,
    /// Peers that bring the connections of many.
    proxies: Vec<Network>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Guest>>>,
    /// A connection has left.
    left: Notify,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) number: u64,
    address: Subject,
    /// Whether it asked for anything yet.
    pub(super) begun: AtomicBool,
    activity: Mutex<Activity>,
    /// It is to go although it could stay.
    pub(super) sent_away: CancellationToken,
}

#[derive(Debug)]
struct Activity {
    /// Requests whose answers are not sent yet.
    running: usize,
    /// When there were none for the last time.
    since: Instant,
}

impl Guest {
    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Since when nothing has been asked for; none while something is.
    fn idle_since(&self) -> Option<Instant> {
        let activity = self.activity();
        (activity.running == 0).then_some(activity.since)
    }

    /// How long nothing has been asked for; none while something is.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.idle_since().map(|since| since.elapsed())
    }

    /// Notes a request until the value is dropped.
    pub(super) fn asks(self: &Arc<Self>) -> Asking {
        self.begun.store(true, Ordering::Relaxed);
        self.activity().running += 1;
        Asking(Arc::clone(self))
    }
}

/// A request of a connection until its answer is sent or let go.
#[derive(Debug)]
pub(super) struct Asking(Arc<Guest>);

impl Drop for Asking {
    fn drop(&mut self) {
        let mut activity = self.0.activity();
        activity.running = activity.running.saturating_sub(1);
        activity.since = Instant::now();
    }
}

/// A connection that leaves when the value is dropped.
#[derive(Debug)]
pub(super) struct Stay {
    pub(super) guest: Arc<Guest>,
    guests: Arc<Guests>,
    place: Option<Share>,
}

impl Drop for Stay {
    fn drop(&mut self) {
        METERS.open.one_less();
        self.guests.lock().remove(&self.guest.number);
        self.place = None;
        self.guests.left.notify_one();
    }
}

impl Guests {
    /// Room for so many; of `proxies` each connection counts by itself.
    pub(super) fn new(most: usize, proxies: Vec<Network>) -> Arc<Self> {
        Arc::new(Self {
            room: Shares::new(most as u64),
            proxies,
            next: AtomicU64::new(0),
            open: Mutex::default(),
            left: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Guest>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in; none when all others are at work.
    pub(super) async fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<Stay> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let is_proxy = |network: &Network| network.contains(peer.ip());
        let address = if self.proxies.iter().any(is_proxy) {
            Subject::named(&number.to_string())
        } else {
            Subject::of_address(peer.ip())
        };
        METERS.accepted.one();
        let mut place = self.room.try_take(&address, None, 1);
        if let Err(lack) = place
            && self.send_away(&address, lack)
        {
            // Its descriptor is free when it has left, and not before.
            let left = async {
                loop {
                    self.left.notified().await;
                    if let Ok(place) = self.room.try_take(&address, None, 1) {
                        return place;
                    }
                }
            };
            place = tokio::time::timeout(LEAVING, left).await.map_err(|_| lack);
        }
        let Ok(place) = place else {
            METERS.refused.one();
            return None;
        };
        METERS.open.one();
        let guest = Arc::new(Guest {
            number,
            address,
            begun: AtomicBool::new(false),
            activity: Mutex::new(Activity {
                running: 0,
                since: Instant::now(),
            }),
            sent_away: CancellationToken::new(),
        });
        self.lock().insert(number, Arc::clone(&guest));
        Some(Stay {
            guest,
            guests: Arc::clone(self),
            place: Some(place),
        })
    }

    /// Sends the connection away that has been idle for longest: of the same address when that has its share, else of all.
    fn send_away(&self, address: &Subject, lack: Lack) -> bool {
        let mut open = self.lock();
        let of = |guest: &Guest| lack == Lack::Whole || guest.address == *address;
        let longest = open
            .values()
            .filter(|guest| of(guest))
            .filter_map(|guest| Some((guest.idle_since()?, guest.number)))
            .min();
        let Some(guest) = longest.and_then(|(_, number)| open.remove(&number)) else {
            return false;
        };
        drop(open);
        METERS.evicted.one();
        guest.sent_away.cancel();
        true
    }

    /// Sends the one away that has been idle for longest, because the system has no descriptors left.
    pub(super) fn make_room(&self) {
        self.send_away(&Subject::named("all"), Lack::Whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1000))
    }

    /// Enters, and leaves when it is sent away; the number, unless it was not let in.
    async fn enter(guests: &Arc<Guests>, last: u8) -> Option<Arc<Guest>> {
        let stay = guests.enter(peer(last)).await?;
        let guest = Arc::clone(&stay.guest);
        tokio::spawn(async move {
            stay.guest.sent_away.cancelled().await;
            drop(stay);
        });
        Some(guest)
    }

    #[tokio::test]
    async fn the_one_that_was_idle_for_longest_goes_first() {
        let guests = Guests::new(4, Vec::new());
        let mut all = Vec::new();
        for last in 1..=4 {
            all.push(enter(&guests, last).await.unwrap());
        }
        let asking: Vec<Asking> = all.iter().take(2).map(Guest::asks).collect();
        all.push(enter(&guests, 5).await.unwrap());
        let gone = |guest: &Arc<Guest>| guest.sent_away.is_cancelled();
        let which: Vec<bool> = all.iter().map(gone).collect();
        assert_eq!(which, [false, false, true, false, false]);
        drop(asking);
        all.push(enter(&guests, 6).await.unwrap());
        assert!(gone(&all[3]), "the first two were at work until now");
        let at_work: Vec<Asking> = all.iter().map(Guest::asks).collect();
        assert!(enter(&guests, 7).await.is_none(), "all are at work");
        drop(at_work);
        for guest in &all {
            guest.sent_away.cancel();
        }
        while guests.room.taken() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(guests.lock().is_empty());
    }

    #[tokio::test]
    async fn one_address_cannot_have_all_of_it_and_a_proxy_can() {
        let guests = Guests::new(100, Vec::new());
        let mut at_work = Vec::new();
        while let Some(guest) = enter(&guests, 1).await {
            at_work.push(guest.asks());
        }
        assert_eq!(at_work.len(), 44);
        assert!(enter(&guests, 2).await.is_some());
        let guests = Guests::new(100, vec!["192.0.2.1".parse().unwrap()]);
        for _ in 0..100 {
            let guest = enter(&guests, 1).await.unwrap();
            at_work.push(guest.asks());
        }
        assert_eq!(guests.room.taken(), 100);
    }
}
