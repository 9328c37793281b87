//! The index in Postgres 14 or later, shared by any number of nodes.
//!
//! Invariant: whoever appends to the feed holds one advisory lock from before its first entry until its commit is
//! visible; so sequence and time of the feed follow the order of commits.

use std::str::FromStr;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use sqlx::{
    ConnectOptions, Connection, Executor, PgConnection, Pool, Postgres, QueryBuilder, Transaction,
};

use super::conditions::push_col;
use super::open::IndexOptions;
use super::pattern::Pattern;
use super::sql::{Dialect, Driver, Refusal, Script, SqlIndex, Statement, columns, driver_methods};
use super::tags::TagLock;
use super::terms::Col;
use super::{IndexError, Result};

/// Key of the advisory lock on the feed.
const FEED_LOCK: i64 = 0x5374_6F77_6665_6564;

/// Key of the advisory lock on the list of query tags.
const TAGS_LOCK: i64 = 0x5374_6F77_7461_6773;

/// Key of the advisory lock on the schema.
const SCHEMA_LOCK: i64 = 0x5374_6F77_7363_6865;

/// What each connection is told first.
///
/// Plans are made for the values at hand: which index is best depends on them; and for disks without moving parts. A
/// node that hangs inside a transaction must not block the others for ever.
const SESSION: &str = "set plan_cache_mode = force_custom_plan; set jit = off; set random_page_cost = 1.1; \
     set lock_timeout = '30s'; set idle_in_transaction_session_timeout = '60s'";

columns!(PgRow);

impl Dialect for Postgres {
    const SHARED: bool = true;
    const NEXT_VERSION: &'static str = "nextval('version_number')";
    const NOW: &'static str = "(extract(epoch from clock_timestamp()) * 1000000)::bigint";
    const FEED_TIME: &'static str = "greatest((extract(epoch from clock_timestamp()) * 1000000)::bigint, \
         coalesce((select time from change order by sequence desc limit 1), 0))";
    const FOR_UPDATE: &'static str = " for update";
    const EXPLAIN: (&'static str, &'static str) = ("explain ", "QUERY PLAN");
    // Autovacuum keeps the statistics, and an expression would have none.
    const PLAIN: &'static str = "";
    const ANALYZE: &'static str = "analyze";
    const ONE_POOL: bool = true;
    const SCRIPTS: bool = false;
    const MAX_BINDS: usize = 16_000;
    type Readers = Pool<Self>;

    driver_methods!();

    fn bounded_rows<'c>(
        connection: &'c mut Self::Connection,
        builder: &'c mut QueryBuilder<Self>,
        keep: bool,
        time: Duration,
    ) -> BoxFuture<'c, Driver<Vec<Self::Row>>> {
        Box::pin(async move {
            // In a transaction, so that the limit is gone with the statement, however it ends.
            let mut transaction = connection.begin().await?;
            let limit = sqlx::query("select set_config('statement_timeout', $1, true)")
                .bind(time.as_millis().max(1).to_string());
            limit.execute(&mut *transaction).await?;
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
        Box::pin(pool.begin())
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

    fn lock_feed(script: &mut Script<Self>) {
        let lock = script.then("select pg_advisory_xact_lock(");
        lock.int(FEED_LOCK).push(")");
    }

    fn await_feed(pool: &Pool<Self>) -> BoxFuture<'_, Driver<()>> {
        Box::pin(async move {
            // Outside of a transaction the lock is gone with the statement.
            let lock = sqlx::query("select pg_advisory_xact_lock_shared($1)").bind(FEED_LOCK);
            lock.execute(pool).await.map(|_| ())
        })
    }

    fn is_conflict(error: &sqlx::Error) -> bool {
        let code = error.as_database_error().and_then(|refused| refused.code());
        matches!(code.as_deref(), Some("40001" | "40P01"))
    }

    fn refusal(error: &dyn sqlx::error::DatabaseError) -> Refusal {
        let code = error.code();
        match code.as_deref().unwrap_or("") {
            // Disk full; read-only transaction.
            "53100" | "25006" => Refusal::Full,
            // Conflicts that did not go away; lock not available.
            "40001" | "40P01" | "55P03" => Refusal::Unavailable,
            // Statement timeout, which only searches have.
            "57014" => Refusal::TooSlow,
            // Connection, resources, shutdown, system.
            code if ["08", "53", "57", "58"]
                .iter()
                .any(|class| code.starts_with(class)) =>
            {
                Refusal::Unavailable
            }
            _ => Refusal::Other,
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
    let pool = PgPoolOptions::new()
        .max_connections(options.max_connections.max(2))
        .acquire_timeout(options.acquire_timeout)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(SESSION).await.map(|_| ()) })
        })
        .connect_with(connect)
        .await
        .map_err(unopened)?;
    let mut connection = pool.acquire().await.map_err(unopened)?.detach();
    let prepared = prepare(&mut connection).await;
    // The lock goes with the connection, also after a failure.
    connection.close().await.map_err(unopened)?;
    Ok(SqlIndex {
        readers: pool.clone(),
        writers: pool,
        trigrams: prepared?,
        search_time: options.search_time,
    })
}

/// Brings the schema up to date; returns whether names have a trigram index.
async fn prepare(connection: &mut PgConnection) -> Result<bool> {
    // Several nodes may start at once, and the first one may have much to do.
    connection
        .execute("set lock_timeout = 0")
        .await
        .map_err(unopened)?;
    let lock = sqlx::query("select pg_advisory_lock($1)").bind(SCHEMA_LOCK);
    lock.execute(&mut *connection).await.map_err(unopened)?;
    let migrated = sqlx::migrate!("migrations/postgres")
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

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is the function of a map_err"
)]
fn unopened(source: sqlx::Error) -> IndexError {
    IndexError::Open {
        reason: format!("Postgres: {source}"),
    }
}
