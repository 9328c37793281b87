//! The index in one `SQLite` file: WAL, one writer, any number of readers.
//!
//! Invariant: an acknowledged write survives a power loss (`synchronous = full`: the log is synced with each commit).

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::migrate::{Migrate, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, Pool, QueryBuilder, Sqlite, SqliteConnection, Transaction};

use super::conditions::push_col;
use super::driver_methods::driver_methods;
use super::error::IndexError;
use super::model::Result;
use super::options::IndexOptions;
use super::pattern::Pattern;
use super::predicate::Col;
use super::reader_pool::ReaderPool;
use super::row_columns::{Driver, columns};
use super::sql::{DatabaseRefusal, Dialect, SqlIndex, Statement, StatementBatch, searches};
use super::tags_model::TagLock;
use super::timeouts::Timeouts;
use super::traits::{CacheLeases, ChangeListener};
use crate::dicom::query::SortKey;

/// Shortest text a trigram index can look for.
const TRIGRAM: usize = 3;

/// Steps of the virtual machine between two looks at the clock.
const STEPS: i32 = 20_000;

/// Whether a deadline counts; it no longer does when the search that set it is dropped, for the connection lives on.
#[derive(Default)]
struct DeadlineFlag(Arc<AtomicBool>);

impl Drop for DeadlineFlag {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

columns!(SqliteRow);

impl Dialect for Sqlite {
    const SHARED: bool = false;
    // A change row follows in the same transaction, so the next transaction sees a greater one.
    const NEXT_VERSION: &'static str =
        "coalesce((select seq from sqlite_sequence where name = 'change'), 0) + 1";
    const VERSION_BEHIND_FEED: &'static str =
        "(select seq from sqlite_sequence where name = 'change')";
    const NOW: &'static str = "cast(unixepoch('subsec') * 1000000 as integer)";
    const FEED_TIME: &'static str = "max(cast(unixepoch('subsec') * 1000000 as integer), \
         coalesce((select time from change order by sequence desc limit 1), 0))";
    const FOR_UPDATE: &'static str = "";
    const EXPLAIN: (&'static str, &'static str) = ("explain query plan ", "detail");
    fn sort_key(by: SortKey) -> &'static str {
        match by {
            SortKey::StudyDate => "study.date_order",
            SortKey::PatientName => "study.name_order",
            SortKey::PatientId => "study.patient_order",
            SortKey::AccessionNumber => "study.accession_order",
        }
    }

    // Nobody analyses a new file while it grows: without statistics an index by partition looks as good as any.
    const PLAIN: &'static str = "+";
    const ANALYZE: &'static str = "pragma optimize = 0x10002";
    const ADD_UP: Option<&'static str> = None;
    const RECOUNT: &'static [&'static str] = &[
        "delete from statistic",
        "insert into statistic (partition, month, modality, patients, studies, series, instances, bytes) \
         select partition, month, modality, sum(patients), sum(studies), sum(series), sum(instances), sum(bytes) \
         from statistic_counted group by partition, month, modality",
    ];
    const SCRIPTS: bool = true;
    const MAX_BINDS: usize = 8_000;

    driver_methods!();

    fn bounded_rows<'c>(
        connection: &'c mut Self::Connection,
        builder: &'c mut QueryBuilder<Self>,
        keep: bool,
        time: Duration,
    ) -> BoxFuture<'c, Driver<Vec<Self::Row>>> {
        Box::pin(async move {
            let deadline = Instant::now() + time;
            let armed = DeadlineFlag::default();
            let watched = armed.0.clone();
            let go_on = move || !watched.load(Ordering::Relaxed) || Instant::now() < deadline;
            armed.0.store(true, Ordering::Relaxed);
            connection
                .lock_handle()
                .await?
                .set_progress_handler(STEPS, go_on);
            let rows = builder
                .build()
                .persistent(keep)
                .fetch_all(&mut *connection)
                .await;
            drop(armed);
            connection.lock_handle().await?.remove_progress_handler();
            rows
        })
    }

    fn begin_write(pool: &Pool<Self>) -> BoxFuture<'_, Driver<Transaction<'static, Self>>> {
        // Not deferred: two processes that both begin by reading could never both go on to write.
        Box::pin(pool.begin_with("begin immediate"))
    }

    fn lock_tags(_connection: &mut Self::Connection, _side: TagLock) -> BoxFuture<'_, Driver<()>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn lock_feed(_script: &mut StatementBatch<Self>) {
        // Whoever writes is alone from the start.
    }

    fn await_feed(index: &SqlIndex<Self>) -> BoxFuture<'_, Driver<()>> {
        Box::pin(async move { Self::begin_write(&index.writers).await?.rollback().await })
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        let refused = error.as_database_error();
        refused
            .and_then(primary_code)
            .is_some_and(|code| matches!(code, 5 | 6))
    }

    fn is_lost(_: &sqlx::Error) -> bool {
        false
    }

    fn refusal(error: &dyn sqlx::error::DatabaseError) -> DatabaseRefusal {
        match primary_code(error) {
            // BUSY, LOCKED, IOERR, CANTOPEN
            Some(5 | 6 | 10 | 14) => DatabaseRefusal::Unavailable,
            // READONLY, FULL
            Some(8 | 13) => DatabaseRefusal::Full,
            // INTERRUPT
            Some(9) => DatabaseRefusal::TooSlow,
            _ => DatabaseRefusal::Other,
        }
    }

    fn push_matches(statement: &mut Statement<Self>, pattern: &Pattern) {
        statement.push(" glob ").text(&pattern.glob());
    }

    fn push_contains(statement: &mut Statement<Self>, col: Col, pattern: &Pattern, trigrams: bool) {
        if trigrams && pattern.longest_text() >= TRIGRAM {
            statement.push("study_name.id in (select rowid from study_name_trigram where text");
            Self::push_matches(statement, pattern);
            statement.push(")");
        } else {
            push_col(statement, col);
            Self::push_matches(statement, pattern);
        }
    }
}

/// The primary result code of `SQLite`.
fn primary_code(error: &dyn sqlx::error::DatabaseError) -> Option<i32> {
    let code: i32 = error.code()?.parse().ok()?;
    Some(code & 0xFF)
}

/// Opens the file, makes it when it is missing, and brings its schema up to date.
pub(super) async fn open(path: &Path, options: &IndexOptions) -> Result<SqlIndex<Sqlite>> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(options.acquire_timeout)
        .pragma("temp_store", "memory")
        .pragma("mmap_size", options.sqlite_mapped_bytes.to_string())
        .pragma("journal_size_limit", "67108864")
        .pragma("wal_autocheckpoint", "4000")
        .disable_statement_logging();
    let writer = connect
        .clone()
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .pragma("cache_size", kibibytes(options.sqlite_cache_bytes))
        // Without a limit it takes samples of the values too, and with samples every statement is prepared anew for
        // every value that is bound to it.
        .pragma("analysis_limit", "10000")
        .optimize_on_close(true, None);
    let writers = writers(path, &writer, options).await?;
    migrate(&writers, path).await?;
    let reader = connect
        .read_only(true)
        .pragma("cache_size", kibibytes(options.sqlite_cache_bytes / 4));
    let limit = options.sqlite_readers.max(1);
    let open = move || -> BoxFuture<'static, Driver<SqliteConnection>> {
        let reader = reader.clone();
        Box::pin(async move { reader.connect().await })
    };
    let readers = ReaderPool::<Sqlite>::new(Box::new(open), limit, options.acquire_timeout, None);
    // That it cannot be read is said now.
    let first = readers.take().await;
    first.map_err(|source| unopened(path, &source))?.give_back();
    Ok(SqlIndex {
        lookups: readers.clone(),
        readers,
        writers,
        trigrams: true,
        times: Timeouts::new(options),
        searches: searches(limit),
        key_searches: None,
    })
}

#[async_trait]
impl CacheLeases for SqlIndex<Sqlite> {
    async fn listen(&self, _: &str) -> Result<Option<Box<dyn ChangeListener>>> {
        Ok(None)
    }

    async fn announce_change(&self) -> Result<i64> {
        Ok(0)
    }

    async fn lease_is_behind(&self, _: i64, _: &str) -> Result<bool> {
        Ok(false)
    }

    async fn revoke_leases_behind(&self, _: i64, _: &str) -> Result<u64> {
        Ok(0)
    }
}

/// Opens the connection that writes.
///
/// Where several processes make one new file, all but one find it locked while it changes to WAL: the busy time-out does
/// not count there, so it is kept here.
async fn writers(
    path: &Path,
    connect: &SqliteConnectOptions,
    options: &IndexOptions,
) -> Result<Pool<Sqlite>> {
    let deadline = Instant::now() + options.acquire_timeout;
    loop {
        let made = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(options.acquire_timeout)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .after_release(|connection, _| Box::pin(is_whole(connection)))
            .connect_with(connect.clone());
        match made.await {
            Err(error) if Sqlite::is_conflict(&error) && Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            made => return made.map_err(|source| unopened(path, &source)),
        }
    }
}

/// A cache size as the pragma takes it: negative, it counts KiB and not pages.
fn kibibytes(bytes: u64) -> String {
    format!("-{}", (bytes >> 10).clamp(64, 1 << 30))
}

/// Whether a connection may be used again.
///
/// `SQLite` itself takes a transaction back that meets a full disk. The driver's own rollback fails then and leaves the
/// connection in what it believes to be a transaction, for ever: such a connection is replaced.
async fn is_whole(connection: &mut SqliteConnection) -> Driver<bool> {
    if connection.is_in_transaction() {
        // Behind the rollback, which nobody waits for.
        connection.ping().await?;
    }
    Ok(!connection.is_in_transaction())
}

/// Runs what is missing of the migrations, all of it or nothing.
///
/// Of several processes that come at once the first one does the work. The lock is not asked for when nothing is missing:
/// a sub-command shall not wait for its turn at a server that writes all the time.
async fn migrate(pool: &Pool<Sqlite>, path: &Path) -> Result<()> {
    let migrations = super::migrations::sqlite();
    if is_current(pool, &migrations).await {
        return Ok(());
    }
    let mut transaction = Sqlite::begin_write(pool)
        .await
        .map_err(|source| unopened(path, &source))?;
    let run = migrations.run(&mut *transaction).await;
    run.map_err(|error| IndexError::Open {
        reason: format!(
            "the schema of {} cannot be brought up to date: {error}",
            path.display()
        ),
    })?;
    let commit = transaction.commit().await;
    commit.map_err(|source| unopened(path, &source))
}

/// Whether exactly these migrations were run; a new file, for one, has no table of them.
async fn is_current(pool: &Pool<Sqlite>, migrations: &Migrator) -> bool {
    let Ok(mut connection) = pool.acquire().await else {
        return false;
    };
    let done = connection.list_applied_migrations(&migrations.table_name);
    let Ok(done) = done.await else {
        return false;
    };
    let done = done.iter().map(|one| (one.version, &one.checksum));
    done.eq(migrations.iter().map(|one| (one.version, &one.checksum)))
}

fn unopened(path: &Path, source: &sqlx::Error) -> IndexError {
    IndexError::Open {
        reason: format!("{}: {source}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::index::traits::Trash;

    async fn opened(folder: &tempfile::TempDir) -> SqlIndex<Sqlite> {
        let path = folder.path().join("index.sqlite");
        open(&path, &IndexOptions::default()).await.unwrap()
    }

    #[tokio::test]
    async fn a_full_disk_is_told_from_other_failures() {
        let folder = tempfile::tempdir().unwrap();
        let index = opened(&folder).await;
        let limit = sqlx::query("pragma max_page_count = 1").execute(&index.writers);
        limit.await.unwrap();
        let keys: Vec<String> = (0..20_000).map(|i| format!("{i:0100}")).collect();
        for _ in 0..3 {
            let refused = index.discard(&keys).await;
            assert!(matches!(refused, Err(IndexError::Full(_))), "{refused:?}");
        }
        let room = sqlx::query("pragma max_page_count = 1000000").execute(&index.writers);
        room.await.unwrap();
        index.discard(&keys).await.unwrap();
    }

    #[tokio::test]
    async fn a_read_only_database_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let index = opened(&folder).await;
        let lock = sqlx::query("pragma query_only = on").execute(&index.writers);
        lock.await.unwrap();
        let refused = index.discard(&["key".to_owned()]).await;
        assert!(matches!(refused, Err(IndexError::Full(_))), "{refused:?}");
    }

    #[tokio::test]
    async fn a_writer_that_is_busy_for_too_long_is_unavailable() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("index.sqlite");
        let options = IndexOptions {
            acquire_timeout: Duration::from_millis(50),
            ..IndexOptions::default()
        };
        let index = open(&path, &options).await.unwrap();
        let held = Sqlite::begin_write(&index.writers).await.unwrap();
        let refused = index.discard(&["key".to_owned()]).await;
        assert!(
            matches!(refused, Err(IndexError::Unavailable(_))),
            "{refused:?}"
        );
        drop(held);
    }
}
