//! The connections that read: a bounded number, opened when they are first needed (ADR 8).
//!
//! The pool of the driver asks each connection that comes back whether it still lives, and may be told to ask before it is
//! used: for short statements that is more than they cost themselves. Here a connection is asked after a failure or a call
//! that was given up, and before its use where it was idle for a while.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::{Connection, Database, Pool};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::model::PoolState;
use super::row_columns::Driver;
use super::timeouts::within;

/// Opens a connection.
type Open<D> =
    Box<dyn Fn() -> BoxFuture<'static, Driver<<D as Database>::Connection>> + Send + Sync>;

/// A bounded number of connections.
pub(super) struct ReaderPool<D: Database>(Arc<SharedReaders<D>>);

struct SharedReaders<D: Database> {
    open: Open<D>,
    idle: Mutex<Vec<IdleReader<D>>>,
    room: Arc<Semaphore>,
    limit: u32,
    /// How long somebody waits for a connection.
    time_limit: Duration,
    /// None where the other end cannot go away.
    proof: Option<Proof>,
}

struct IdleReader<D: Database> {
    connection: D::Connection,
    /// None: others have failed since.
    since: Option<Instant>,
}

impl<D: Database> SharedReaders<D> {
    fn idle(&self) -> MutexGuard<'_, Vec<IdleReader<D>>> {
        // Nothing that happens under this lock can leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, connection: D::Connection) {
        let mut idle = self.idle();
        if let Some(proof) = self.proof {
            // What was not needed for so long is not needed.
            idle.retain(|reader| reader.since.is_none_or(|at| at.elapsed() < proof.unused));
        }
        idle.push(IdleReader {
            connection,
            since: Some(Instant::now()),
        });
    }

    /// A connection that lives, as far as that is known without a question.
    async fn connection(&self) -> Driver<D::Connection> {
        loop {
            // Not in the condition, where the lock would be held for as long as the connection is asked.
            let idle = self.idle().pop();
            let Some(mut idle) = idle else {
                return (self.open)().await;
            };
            let is_known = |proof: &Proof| idle.since.is_some_and(|at| at.elapsed() < proof.idle);
            match self.proof.filter(|proof| !is_known(proof)) {
                Some(proof) => {
                    if within(proof.time, idle.connection.ping()).await.is_ok() {
                        return Ok(idle.connection);
                    }
                    // Those behind it were used even longer ago, and nobody shall wait for each.
                    self.idle()
                        .retain(|reader| reader.since.is_some_and(|at| at.elapsed() < proof.idle));
                }
                None => return Ok(idle.connection),
            }
        }
    }
}

/// When a connection whose other end may go away must show that it lives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Proof {
    /// After it was idle for so long.
    pub(super) idle: Duration,
    /// Longest time for it.
    pub(super) time: Duration,
    /// It is closed after it was not used for so long.
    pub(super) unused: Duration,
}

/// A connection that is in use. One that is dropped and not given back is asked before it is used again.
pub(super) struct ReadConnection<D: Database> {
    connection: Option<D::Connection>,
    shared: Arc<SharedReaders<D>>,
    room: Option<OwnedSemaphorePermit>,
}

impl<D: Database> Clone for ReaderPool<D> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<D: Database> ReaderPool<D> {
    /// Whether both give out the same connections.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// At most `limit` connections; somebody waits for one as long as `time_limit`.
    pub(super) fn new(
        open: Open<D>,
        limit: u32,
        time_limit: Duration,
        proof: Option<Proof>,
    ) -> Self {
        Self(Arc::new(SharedReaders {
            open,
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(limit as usize)),
            limit,
            time_limit,
            proof,
        }))
    }

    /// Takes one, or waits for one.
    pub(super) async fn take(&self) -> Driver<ReadConnection<D>> {
        let shared = &self.0;
        let room = shared.room.clone().acquire_owned();
        let room = tokio::time::timeout(shared.time_limit, room).await;
        let room = room
            .map_err(|_| sqlx::Error::PoolTimedOut)?
            .map_err(|_| sqlx::Error::PoolClosed)?;
        Ok(ReadConnection {
            connection: Some(shared.connection().await?),
            shared: shared.clone(),
            room: Some(room),
        })
    }

    /// Closes those that nobody uses: the other end of one was gone, and a question may still reach what is about to end.
    pub(super) fn close_idle(&self) {
        self.0.idle().clear();
    }

    /// How many there are.
    pub(super) fn state(&self, name: &'static str) -> PoolState {
        let idle = u32::try_from(self.0.idle().len()).unwrap_or(u32::MAX);
        let free = u32::try_from(self.0.room.available_permits()).unwrap_or(u32::MAX);
        PoolState {
            name,
            open: idle.saturating_add(self.0.limit.saturating_sub(free)),
            idle,
            limit: self.0.limit,
        }
    }
}

/// How many connections a pool of the driver has.
pub(super) fn pool_state<D: Database>(pool: &Pool<D>, name: &'static str) -> PoolState {
    PoolState {
        name,
        open: pool.size(),
        idle: u32::try_from(pool.num_idle()).unwrap_or(u32::MAX),
        limit: pool.options().get_max_connections(),
    }
}

impl<D: Database> ReadConnection<D> {
    /// Gives it back after statements that have all come to their end.
    pub(super) fn give_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.shared.keep(connection);
        }
    }
}

impl<D: Database> Deref for ReadConnection<D> {
    type Target = D::Connection;

    fn deref(&self) -> &D::Connection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("only its end takes the connection"),
        }
    }
}

impl<D: Database> DerefMut for ReadConnection<D> {
    fn deref_mut(&mut self) -> &mut D::Connection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("only its end takes the connection"),
        }
    }
}

impl<D: Database> Drop for ReadConnection<D> {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        // Without a runtime the process is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        if self.shared.proof.is_some() {
            // What failed here has failed for those that are idle, too.
            self.shared
                .idle()
                .iter_mut()
                .for_each(|idle| idle.since = None);
        }
        let (shared, room) = (self.shared.clone(), self.room.take());
        runtime.spawn(async move {
            // Answered behind the statement that may still run: until then nobody gets this connection.
            let lives = match shared.proof {
                Some(proof) => within(proof.time, connection.ping()).await,
                None => connection.ping().await,
            };
            if lives.is_ok() {
                shared.keep(connection);
            }
            drop(room);
        });
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;
    use sqlx::{ConnectOptions, Sqlite, SqliteConnection};

    use super::*;

    const TIME_LIMIT: Duration = Duration::from_millis(200);
    /// Counts for many seconds.
    const ENDLESS: &str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) \
         select count(*) from n";

    fn readers(limit: u32) -> ReaderPool<Sqlite> {
        let open = || -> BoxFuture<'static, Driver<SqliteConnection>> {
            Box::pin(async { SqliteConnectOptions::new().in_memory(true).connect().await })
        };
        ReaderPool::new(Box::new(open), limit, TIME_LIMIT, None)
    }

    async fn one(reader: &mut ReadConnection<Sqlite>) -> i64 {
        let one = sqlx::query_scalar("select 1").fetch_one(&mut **reader);
        one.await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_was_given_back_is_used_again() {
        let readers = readers(3);
        for _ in 0..20 {
            let mut reader = readers.take().await.unwrap();
            assert_eq!(one(&mut reader).await, 1);
            reader.give_back();
        }
        let state = readers.state("read");
        assert_eq!((state.open, state.idle, state.limit), (1, 1, 3));
    }

    #[tokio::test]
    async fn whoever_finds_none_waits_for_a_while() {
        let readers = readers(1);
        let held = readers.take().await.unwrap();
        let begun = Instant::now();
        let refused = readers.take().await.err();
        assert!(
            matches!(refused, Some(sqlx::Error::PoolTimedOut)),
            "{refused:?}"
        );
        assert!(begun.elapsed() >= TIME_LIMIT);
        held.give_back();
        readers.take().await.unwrap();
    }

    #[tokio::test]
    async fn a_statement_that_was_given_up_keeps_nobody_waiting_but_its_connection() {
        let readers = readers(2);
        let mut given_up = readers.take().await.unwrap();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let mut handle = given_up.lock_handle().await.unwrap();
        handle.set_progress_handler(1000, move || {
            !stopped.load(std::sync::atomic::Ordering::Relaxed)
        });
        drop(handle);
        let endless = sqlx::query(ENDLESS).execute(&mut *given_up);
        assert!(tokio::time::timeout(TIME_LIMIT, endless).await.is_err());
        drop(given_up);
        let mut other = readers.take().await.unwrap();
        assert_eq!(one(&mut other).await, 1);
        assert!(
            readers.take().await.is_err(),
            "the connection is still busy"
        );
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let back = async {
            while readers.state("read").idle == 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), back)
            .await
            .expect("the connection comes back when its statement has ended");
        let mut reader = readers.take().await.unwrap();
        assert_eq!(one(&mut reader).await, 1);
    }
}
