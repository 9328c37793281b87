//! The connections that read an `SQLite` file.
//!
//! The pool of the driver asks each connection that comes back whether it still lives: two changes of thread more than the
//! statement itself needs. A file does not go away, so that is asked here only after a failure or a call that was given up.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::index::model::PoolState;
use crate::index::row_columns::Driver;
use crate::index::sql::Readers;

/// A bounded number of connections, opened when they are first needed.
pub(in crate::index) struct FileReaders(Arc<SharedReaders>);

struct SharedReaders {
    connect: SqliteConnectOptions,
    idle: Mutex<Vec<SqliteConnection>>,
    room: Arc<Semaphore>,
    limit: u32,
    /// How long somebody waits for a connection.
    time_limit: Duration,
}

impl SharedReaders {
    fn idle(&self) -> MutexGuard<'_, Vec<SqliteConnection>> {
        // Nothing that happens under this lock can leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is in use.
pub(in crate::index) struct FileReader {
    connection: Option<SqliteConnection>,
    shared: Arc<SharedReaders>,
    room: Option<OwnedSemaphorePermit>,
}

impl FileReaders {
    /// Opens the first of at most `limit` connections.
    pub(super) async fn open(
        connect: SqliteConnectOptions,
        limit: u32,
        time_limit: Duration,
    ) -> Driver<Self> {
        let shared = SharedReaders {
            connect,
            idle: Mutex::default(),
            room: Arc::new(Semaphore::new(limit as usize)),
            limit,
            time_limit,
        };
        let readers = Self(Arc::new(shared));
        Self::give_back(readers.take().await?);
        Ok(readers)
    }
}

impl Readers<Sqlite> for FileReaders {
    type Reader = FileReader;

    fn take(&self) -> BoxFuture<'_, Driver<FileReader>> {
        Box::pin(async move {
            let shared = &self.0;
            let room = shared.room.clone().acquire_owned();
            let room = tokio::time::timeout(shared.time_limit, room).await;
            let room = room
                .map_err(|_| sqlx::Error::PoolTimedOut)?
                .map_err(|_| sqlx::Error::PoolClosed)?;
            let idle = shared.idle().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => shared.connect.connect().await?,
            };
            Ok(FileReader {
                connection: Some(connection),
                shared: shared.clone(),
                room: Some(room),
            })
        })
    }

    fn give_back(mut reader: FileReader) {
        let idle = reader.connection.take();
        reader.shared.idle().extend(idle);
    }

    fn state(&self, name: &'static str) -> PoolState {
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

impl Deref for FileReader {
    type Target = SqliteConnection;

    fn deref(&self) -> &SqliteConnection {
        match &self.connection {
            Some(connection) => connection,
            None => unreachable!("only its end takes the connection"),
        }
    }
}

impl DerefMut for FileReader {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        match &mut self.connection {
            Some(connection) => connection,
            None => unreachable!("only its end takes the connection"),
        }
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        // Without a runtime the process is ending.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (shared, room) = (self.shared.clone(), self.room.take());
        runtime.spawn(async move {
            // Answered behind the statement that may still run: until then nobody gets this connection.
            if connection.ping().await.is_ok() {
                shared.idle().push(connection);
            }
            drop(room);
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    const TIME_LIMIT: Duration = Duration::from_millis(200);
    /// Counts for many seconds.
    const ENDLESS: &str = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 1000000000) \
         select count(*) from n";

    async fn readers(limit: u32) -> FileReaders {
        let connect = SqliteConnectOptions::new().in_memory(true);
        FileReaders::open(connect, limit, TIME_LIMIT).await.unwrap()
    }

    async fn one(reader: &mut FileReader) -> i64 {
        let one = sqlx::query_scalar("select 1").fetch_one(&mut **reader);
        one.await.unwrap()
    }

    #[tokio::test]
    async fn a_connection_that_was_given_back_is_used_again() {
        let readers = readers(3).await;
        for _ in 0..20 {
            let mut reader = readers.take().await.unwrap();
            assert_eq!(one(&mut reader).await, 1);
            FileReaders::give_back(reader);
        }
        let state = readers.state("read");
        assert_eq!((state.open, state.idle, state.limit), (1, 1, 3));
    }

    #[tokio::test]
    async fn whoever_finds_none_waits_for_a_while() {
        let readers = readers(1).await;
        let held = readers.take().await.unwrap();
        let begun = Instant::now();
        let refused = readers.take().await.err();
        assert!(
            matches!(refused, Some(sqlx::Error::PoolTimedOut)),
            "{refused:?}"
        );
        assert!(begun.elapsed() >= TIME_LIMIT);
        FileReaders::give_back(held);
        readers.take().await.unwrap();
    }

    #[tokio::test]
    async fn a_statement_that_was_given_up_keeps_nobody_waiting_but_its_connection() {
        let readers = readers(2).await;
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
