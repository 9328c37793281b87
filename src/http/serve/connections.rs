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
use crate::shares::{Lack, Share, ShareHolder, Shares};

/// How long a connection that is sent away may take to leave.
const LEAVING: Duration = Duration::from_millis(200);

/// Connections that are open.
#[derive(Debug)]
pub(super) struct OpenConnections {
    room: Shares,
    /// Peers that bring the connections of many.
    proxies: Vec<Network>,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<OpenConnection>>>,
    /// A connection has left.
    left: Notify,
}

/// An open connection.
#[derive(Debug)]
pub(super) struct OpenConnection {
    pub(super) number: u64,
    address: ShareHolder,
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

impl OpenConnection {
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
    pub(super) fn asks(self: &Arc<Self>) -> RequestGuard {
        self.begun.store(true, Ordering::Relaxed);
        self.activity().running += 1;
        RequestGuard(Arc::clone(self))
    }
}

/// A request of a connection until its answer is sent or let go.
#[derive(Debug)]
pub(super) struct RequestGuard(Arc<OpenConnection>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        let mut activity = self.0.activity();
        activity.running = activity.running.saturating_sub(1);
        activity.since = Instant::now();
    }
}

/// A connection that leaves when the value is dropped.
#[derive(Debug)]
pub(super) struct ConnectionGuard {
    pub(super) conn: Arc<OpenConnection>,
    conns: Arc<OpenConnections>,
    place: Option<Share>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        METERS.open.one_less();
        self.conns.lock().remove(&self.conn.number);
        self.place = None;
        self.conns.left.notify_one();
    }
}

impl OpenConnections {
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

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<OpenConnection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a connection in; none when all others are at work.
    pub(super) async fn enter(self: &Arc<Self>, peer: SocketAddr) -> Option<ConnectionGuard> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let is_proxy = |network: &Network| network.contains(peer.ip());
        let address = if self.proxies.iter().any(is_proxy) {
            ShareHolder::named(&number.to_string())
        } else {
            ShareHolder::of_address(peer.ip())
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
        let conn = Arc::new(OpenConnection {
            number,
            address,
            begun: AtomicBool::new(false),
            activity: Mutex::new(Activity {
                running: 0,
                since: Instant::now(),
            }),
            sent_away: CancellationToken::new(),
        });
        self.lock().insert(number, Arc::clone(&conn));
        Some(ConnectionGuard {
            conn,
            conns: Arc::clone(self),
            place: Some(place),
        })
    }

    /// Sends the connection away that has been idle for longest: of the same address when that has its share, else of all.
    fn send_away(&self, address: &ShareHolder, lack: Lack) -> bool {
        let mut open = self.lock();
        let of = |conn: &OpenConnection| lack == Lack::Whole || conn.address == *address;
        let longest = open
            .values()
            .filter(|conn| of(conn))
            .filter_map(|conn| Some((conn.idle_since()?, conn.number)))
            .min();
        let Some(conn) = longest.and_then(|(_, number)| open.remove(&number)) else {
            return false;
        };
        drop(open);
        METERS.evicted.one();
        conn.sent_away.cancel();
        true
    }

    /// Sends the one away that has been idle for longest, because the system has no descriptors left.
    pub(super) fn make_room(&self) {
        self.send_away(&ShareHolder::named("all"), Lack::Whole);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 1000))
    }

    /// Enters, and leaves when it is sent away; the number, unless it was not let in.
    async fn enter(conns: &Arc<OpenConnections>, last: u8) -> Option<Arc<OpenConnection>> {
        let stay = conns.enter(peer(last)).await?;
        let conn = Arc::clone(&stay.conn);
        tokio::spawn(async move {
            stay.conn.sent_away.cancelled().await;
            drop(stay);
        });
        Some(conn)
    }

    #[tokio::test]
    async fn the_one_that_was_idle_for_longest_goes_first() {
        let conns = OpenConnections::new(4, Vec::new());
        let mut all = Vec::new();
        for last in 1..=4 {
            all.push(enter(&conns, last).await.unwrap());
        }
        let asking: Vec<RequestGuard> = all.iter().take(2).map(OpenConnection::asks).collect();
        all.push(enter(&conns, 5).await.unwrap());
        let gone = |conn: &Arc<OpenConnection>| conn.sent_away.is_cancelled();
        let which: Vec<bool> = all.iter().map(gone).collect();
        assert_eq!(which, [false, false, true, false, false]);
        drop(asking);
        all.push(enter(&conns, 6).await.unwrap());
        assert!(gone(&all[3]), "the first two were at work until now");
        let at_work: Vec<RequestGuard> = all.iter().map(OpenConnection::asks).collect();
        assert!(enter(&conns, 7).await.is_none(), "all are at work");
        drop(at_work);
        for conn in &all {
            conn.sent_away.cancel();
        }
        while conns.room.taken() > 0 {
            tokio::task::yield_now().await;
        }
        assert!(conns.lock().is_empty());
    }

    #[tokio::test]
    async fn one_address_cannot_have_all_of_it_and_a_proxy_can() {
        let conns = OpenConnections::new(100, Vec::new());
        let mut at_work = Vec::new();
        while let Some(conn) = enter(&conns, 1).await {
            at_work.push(conn.asks());
        }
        assert_eq!(at_work.len(), 44);
        assert!(enter(&conns, 2).await.is_some());
        let conns = OpenConnections::new(100, vec!["192.0.2.1".parse().unwrap()]);
        for _ in 0..100 {
            let conn = enter(&conns, 1).await.unwrap();
            at_work.push(conn.asks());
        }
        assert_eq!(conns.room.taken(), 100);
    }
}
