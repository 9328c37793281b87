//! The index in Postgres 14 or later, shared by any number of nodes.
//!
//! Invariant: whoever appends to the feed holds one advisory lock from before its first entry until its commit is
//! visible; so sequence and time of the feed follow the order of commits.

use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, Pool, Postgres,
    QueryBuilder, Transaction,
};

use super::conditions::push_col;
use super::driver_methods::driver_methods;
use super::error::IndexError;
use super::model::Result;
use super::options::IndexOptions;
use super::pattern::Pattern;
use super::predicate::Col;
use super::reader_pool::{Proof, ReaderPool};
use super::row_columns::{Driver, columns};
use super::sql::{DatabaseRefusal, Dialect, SqlIndex, Statement, StatementBatch, searches};
use super::tags_model::TagLock;
use super::timeouts::{Timeouts, within};
use crate::dicom::query::SortKey;

mod cache_leases;

/// Key of the advisory lock on the feed.
const FEED_LOCK: i64 = 0x5374_6F77_6665_6564;

/// Key of the advisory lock on the list of query tags.
const TAGS_LOCK: i64 = 0x5374_6F77_7461_6773;

/// Key of the advisory lock on the schema.
const SCHEMA_LOCK: i64 = 0x5374_6F77_7363_6865;

/// What each connection is told first; `$1` is the time of a call, `$2` that of a delete, in ms.
///
/// Plans are made for the values at hand: which index is best depends on them; and for disks without moving parts. A
/// node that hangs or is gone must not hold locks for longer than its own calls wait: the server ends a transaction in
/// which nothing happens, notices a connection that was closed also in the middle of a statement, and asks whether the
/// other end of a silent one is still there.
const SESSION: &str = "select set_config('plan_cache_mode', 'force_custom_plan', false), \
     set_config('jit', 'off', false), set_config('random_page_cost', '1.1', false), \
     set_config('lock_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $1, false), \
     set_config('statement_timeout', $2, false), set_config('client_connection_check_interval', '5s', false), \
     set_config('tcp_keepalives_idle', '15', false), set_config('tcp_keepalives_interval', '5', false), \
     set_config('tcp_keepalives_count', '3', false), set_config('tcp_user_timeout', $1, false)";

/// What connections for lookups by keys are told: one plan for all values, for to make it costs four times as much as to run
/// it; and always by indexes, for the plan stays when the tables have grown.
const BY_KEY: &str = "set plan_cache_mode = force_generic_plan; set enable_seqscan = off; \
     set enable_hashjoin = off; set enable_mergejoin = off";

/// How long a reading connection that was used is believed to live: whoever asks much does not ask twice as much for it.
const KNOWN: Duration = Duration::from_millis(100);

/// How long a reading connection is kept that nobody needs.
const UNUSED: Duration = Duration::from_mins(10);

/// How often a transaction begins again that found its connection lost.
const TRIES: u32 = 3;

/// Longest time for a connection to show that it is still there; it needs one packet each way.
const PROOF: Duration = Duration::from_secs(3);

columns!(PgRow);

impl Dialect for Postgres {
    const SHARED: bool = true;
    const NEXT_VERSION: &'static str = "nextval('version_number')";
    const VERSION_BEHIND_FEED: &'static str = Self::NEXT_VERSION;
    const NOW: &'static str = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";
    const FEED_TIME: &'static str = "greatest((extract(epoch from clock_timestamp()) * 1000000)::bigint, \
         coalesce((select time from change order by sequence desc limit 1), 0))";
    const FOR_UPDATE: &'static str = " for update";
    const EXPLAIN: (&'static str, &'static str) = ("explain ", "QUERY PLAN");
    fn sort_key(by: SortKey) -> &'static str {
        match by {
            SortKey::StudyDate => {
                "coalesce(study.study_date || coalesce(study.study_time, ''), '')"
            }
            SortKey::PatientName => "coalesce(study.patient_name_norm, '')",
            SortKey::PatientId => "coalesce(study.patient_id_norm, '')",
            SortKey::AccessionNumber => "coalesce(study.accession_number_norm, '')",
        }
    }

    // Autovacuum keeps the statistics, and an expression would have none.
    const PLAIN: &'static str = "";
    const ANALYZE: &'static str = "analyze";
    const ADD_UP: Option<&'static str> = Some("select statistic_add_up()");
    const RECOUNT: &'static [&'static str] = &[
        "lock table study, series, instance in share mode",
        "delete from statistic_change",
        "delete from statistic_patient_change",
        "delete from statistic",
        "delete from statistic_patient",
        "insert into statistic (partition, month, modality, patients, studies, series, instances, bytes) \
         select partition, month, modality, sum(patients), sum(studies), sum(series), sum(instances), sum(bytes) \
         from statistic_counted group by partition, month, modality",
        "insert into statistic_patient (partition, patient_id, patient_id_norm) \
         select partition, patient_id, min(patient_id_norm) from study where patient_id is not null \
         group by partition, patient_id",
    ];
    const SCRIPTS: bool = false;
    const MAX_BINDS: usize = 16_000;
    driver_methods!();

    fn bounded_rows<'c>(
        connection: &'c mut Self::Connection,
        builder: &'c mut QueryBuilder<Self>,
        keep: bool,
        time: Duration,
    ) -> BoxFuture<'c, Driver<Vec<Self::Row>>> {
        Box::pin(async move {
            // In a transaction, so that the limit is gone with the statement, however it ends.
            let time = time.as_millis().max(1);
            let begin = format!("begin; set local statement_timeout = {time}");
            let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
            let rows = builder
                .build()
                .persistent(keep)
                .fetch_all(&mut *transaction)
                .await?;
            transaction.commit().await?;
            Ok(rows)
        })
    }

    fn begin_write(pool: &Pool<Self>) -> BoxFuture<'_, Driver<Transaction<'static, Self>>> {
        Box::pin(async move {
            // A connection may be lost between its proof and the first statement, of which nothing is left then.
            let mut tries = 0;
            loop {
                match pool.begin().await {
                    Err(error) if tries < TRIES && Self::is_lost(&error) => tries += 1,
                    begun => return begun,
                }
            }
        })
    }

    fn lock_tags(connection: &mut Self::Connection, side: TagLock) -> BoxFuture<'_, Driver<()>> {
        let sql = match side {
            TagLock::Shared => "select pg_advisory_xact_lock_shared($1)",
            TagLock::Exclusive => "select pg_advisory_xact_lock($1)",
        };
        Box::pin(async move {
            let lock = sqlx::query(sql).bind(TAGS_LOCK);
            lock.execute(connection).await.map(|_| ())
        })
    }

    fn lock_feed(script: &mut StatementBatch<Self>) {
        let lock = script.then("select pg_advisory_xact_lock(");
        lock.int(FEED_LOCK).push(")");
    }

    fn await_feed(index: &SqlIndex<Self>) -> BoxFuture<'_, Driver<()>> {
        Box::pin(async move {
            // Whoever waits here waits for writers, so he must not take their connections.
            let (_turn, mut connection) = index.searcher().await?;
            // Outside of a transaction the lock is gone with the statement.
            let lock = sqlx::query("select pg_advisory_xact_lock_shared($1)").bind(FEED_LOCK);
            lock.execute(&mut *connection).await.map(|_| ())
        })
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|refused| refused.code());
        matches!(code.as_deref(), Some("40001" | "40P01"))
    }

    fn is_lost(error: &sqlx::Error) -> bool {
        use std::io::ErrorKind;
        match error {
            sqlx::Error::Io(error) => matches!(
                error.kind(),
                ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::UnexpectedEof
            ),
            // Ended by an administrator, or with the server.
            sqlx::Error::Database(refused) => {
                matches!(refused.code().as_deref(), Some("57P01" | "57P02" | "57P03"))
            }
            _ => false,
        }
    }

    fn refusal(error: &dyn sqlx::error::DatabaseError) -> DatabaseRefusal {
        let code = error.code();
        match code.as_deref().unwrap_or("") {
            // Disk full; read-only transaction.
            "53100" | "25006" => DatabaseRefusal::Full,
            // Conflicts that did not go away; lock not available.
            "40001" | "40P01" | "55P03" => DatabaseRefusal::Unavailable,
            // Statement timeout.
            "57014" => DatabaseRefusal::TooSlow,
            // Connection, resources, shutdown, system.
            code if ["08", "53", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                DatabaseRefusal::Unavailable
            }
            _ => DatabaseRefusal::Other,
        }
    }

    fn push_matches(statement: &mut Statement<Self>, pattern: &Pattern) {
        statement
            .push(" like ")
            .text(&pattern.like())
            .push(" escape '\\'");
    }

    fn push_contains(statement: &mut Statement<Self>, col: Col, pattern: &Pattern, _: bool) {
        push_col(statement, col);
        Self::push_matches(statement, pattern);
    }
}

/// Connects and brings the schema up to date.
pub(super) async fn open(url: &str, options: &IndexOptions) -> Result<SqlIndex<Postgres>> {
    let connect = PgConnectOptions::from_str(url).map_err(|_| IndexError::Open {
        // The error would quote the URL, and the URL holds a password.
        reason: "the Postgres URL is not of the form postgres://user:password@host:port/database"
            .to_owned(),
    })?;
    let connect = connect
        .application_name("stowage")
        .statement_cache_capacity(256)
        .disable_statement_logging();
    // The pool would go on trying where nobody listens, and say in the end only that it took too long.
    let first = within(options.acquire_timeout, connect.connect());
    let mut connection = first.await.map_err(unopened)?;
    let trigrams = match options.make || has_schema(&mut connection).await? {
        true => prepare(&mut connection).await,
        false => Err(IndexError::Absent),
    };
    // The lock goes with the connection, also after a failure.
    connection.close().await.map_err(unopened)?;
    let trigrams = trigrams?;
    let (readers, lookups, writers) = shares(options.max_connections);
    let times = Timeouts::new(options);
    Ok(SqlIndex {
        readers: reader_pool(&connect, readers, times, ""),
        lookups: reader_pool(&connect, lookups, times, BY_KEY),
        writers: pool(&connect, writers, times),
        trigrams,
        times,
        searches: searches(readers),
        key_searches: Some(searches(lookups)),
    })
}

/// Connections for reading, for lookups by keys, which are short, and for writing: writes are one transaction after the other
/// for the most part.
fn shares(all: u32) -> (u32, u32, u32) {
    let writers = (all / 3).max(1);
    let lookups = (all.saturating_sub(writers) / 2).max(1);
    let readers = all.saturating_sub(writers + lookups).max(1);
    (readers, lookups, writers)
}

/// Connections that read.
fn reader_pool(
    connect: &PgConnectOptions,
    most: u32,
    times: Timeouts,
    plans: &'static str,
) -> ReaderPool<Postgres> {
    let connect = connect.clone();
    let open = move || -> BoxFuture<'static, Driver<PgConnection>> {
        let connect = connect.clone();
        Box::pin(within(times.wait, async move {
            let mut connection = connect.connect().await?;
            begin_session(&mut connection, times).await?;
            if !plans.is_empty() {
                connection.execute(plans).await?;
            }
            Ok(connection)
        }))
    };
    let proof = Proof {
        idle: KNOWN,
        time: PROOF,
        unused: UNUSED,
    };
    ReaderPool::new(Box::new(open), most, times.wait, Some(proof))
}

/// A pool that opens its connections when they are first needed.
///
/// A connection whose other end is silent is found out when it comes back and before it is used again, and closed: the
/// driver would wait for it for ever.
fn pool(connect: &PgConnectOptions, most: u32, times: Timeouts) -> Pool<Postgres> {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(times.wait)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            let is_known = meta.idle_for < KNOWN;
            Box::pin(async move { Ok(is_known || within(PROOF, connection.ping()).await.is_ok()) })
        })
        .after_release(|connection, _| {
            Box::pin(async move { within(PROOF, connection.ping()).await.map(|()| true) })
        })
        .after_connect(move |connection, _| Box::pin(begin_session(connection, times)))
        .connect_lazy_with(connect.clone())
}

async fn begin_session(connection: &mut PgConnection, times: Timeouts) -> Driver<()> {
    let millis = |time: Duration| time.as_millis().max(1).to_string();
    let session = sqlx::query(SESSION)
        .bind(millis(times.call))
        .bind(millis(times.delete()));
    session.execute(connection).await.map(|_| ())
}

/// Whether migrations were run in the database.
async fn has_schema(connection: &mut PgConnection) -> Result<bool> {
    let found = sqlx::query("select to_regclass('_sqlx_migrations') is not null as there")
        .fetch_one(connection);
    let found = found.await.map_err(unopened)?;
    sqlx::Row::try_get(&found, "there").map_err(unopened)
}

/// Brings the schema up to date; returns whether names have a trigram index.
async fn prepare(connection: &mut PgConnection) -> Result<bool> {
    // Several nodes may start at once, and the first one may have much to do.
    connection
        .execute("set lock_timeout = 0; set statement_timeout = 0")
        .await
        .map_err(unopened)?;
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(SCHEMA_LOCK);
    lock.execute(&mut *connection).await.map_err(unopened)?;
    let migrated = crate::index::migrations::postgres()
        .run(&mut *connection)
        .await;
    migrated.map_err(|error| IndexError::Open {
        reason: format!("its schema cannot be brought up to date: {error}"),
    })?;
    Ok(make_trigrams(connection).await)
}

/// Makes the trigram index of names, if the extension is there or may be created.
async fn make_trigrams(connection: &mut PgConnection) -> bool {
    for statement in [
        "create extension if not exists pg_trgm",
        "create index if not exists study_name_by_trigram on study_name using gin (text gin_trgm_ops)",
    ] {
        if let Err(error) = connection.execute(statement).await {
            tracing::warn!(
                %error,
                "the extension pg_trgm cannot be used: searching for a part of a name will be slow; \
                 let an administrator run `create extension pg_trgm` in this database"
            );
            return false;
        }
    }
    true
}

fn unopened(source: sqlx::Error) -> IndexError {
    let reason = match source {
        // What the system says, not that it was the system that said it.
        sqlx::Error::Io(error) => format!("Postgres: {error}"),
        source => format!("Postgres: {source}"),
    };
    IndexError::Open { reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_and_writers_have_connections_of_their_own() {
        assert_eq!(shares(20), (7, 7, 6));
        assert_eq!(shares(6), (2, 2, 2));
        assert_eq!(shares(3), (1, 1, 1));
        assert_eq!(shares(0), (1, 1, 1));
    }
}
