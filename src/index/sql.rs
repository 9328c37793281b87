//! What the two dialects have in common: a statement under construction, typed reading of rows, transactions.
//!
//! Invariant: SQL text enters a [`Statement`] only as `&'static str`; every value is bound.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::query::Query;
use sqlx::{Database, Execute, IntoArguments, Pool, QueryBuilder, Transaction};
use tokio::sync::Semaphore;

use super::error::IndexError;
use super::model::Result;
use super::pattern::Pattern;
use super::predicate::Col;
use super::reader_pool::ReaderPool;
use super::row_columns::{Driver, RowColumns};
use super::tags_model::TagLock;
use super::timeouts::{Timeouts, within};
use crate::dicom::query::SortKey;

/// A database the index can live in.
pub(super) trait Dialect:
    Database<Row: RowColumns, Arguments: Clone + IntoArguments<Self>>
{
    /// Whether several servers may work on one database.
    const SHARED: bool;
    /// Expression for a study or series version: above every version given out before.
    const NEXT_VERSION: &'static str;
    /// As [`Self::NEXT_VERSION`], in a transaction whose feed entries are written already.
    const VERSION_BEHIND_FEED: &'static str;
    /// Expression for the time now, by the clock of the database.
    const NOW: &'static str;
    /// Scalar query for the time of the next feed entries: now, but never before the newest entry.
    const FEED_TIME: &'static str;
    /// Behind a `select` that fetches rows in order to change them.
    const FOR_UPDATE: &'static str;
    /// Before a statement whose plan is asked for, and the column of the plan.
    const EXPLAIN: (&'static str, &'static str);
    /// What studies are sorted by, as their index in `migrations/*/0010_order.sql` has it: a text that is not null.
    fn sort_key(by: SortKey) -> &'static str;
    /// Makes an expression of a column, whose index must not tempt a planner that knows nothing of the data yet, or of a
    /// parameter whose value must not.
    const PLAIN: &'static str;
    /// Refreshes what the planner knows of the data.
    const ANALYZE: &'static str;
    /// Adds up what transactions appended to the statistics; none where they change them in place.
    const ADD_UP: Option<&'static str>;
    /// Counts the statistics anew, while nobody else writes.
    const RECOUNT: &'static [&'static str];
    /// Whether one call may hold several statements, each with its own values.
    const SCRIPTS: bool;
    /// Most values bound in one statement, with a margin.
    const MAX_BINDS: usize;

    /// Binds an integer or null.
    fn bind_int(builder: &mut QueryBuilder<Self>, value: Option<i64>);
    /// Binds a floating-point number or null.
    fn bind_float(builder: &mut QueryBuilder<Self>, value: Option<f64>);
    /// Binds a text or null.
    fn bind_text(builder: &mut QueryBuilder<Self>, value: Option<&str>);
    /// Binds bytes.
    fn bind_blob(builder: &mut QueryBuilder<Self>, value: &[u8]);

    /// Runs a statement and collects its rows; `keep` says that it is kept prepared, here as below.
    fn rows<'c>(
        connection: &'c mut Self::Connection,
        builder: &'c mut QueryBuilder<Self>,
        keep: bool,
    ) -> BoxFuture<'c, Driver<Vec<Self::Row>>>;
    /// As [`Dialect::rows`]; a statement that runs longer than `time` is given up, and refused as [`DatabaseRefusal::TooSlow`].
    fn bounded_rows<'c>(
        connection: &'c mut Self::Connection,
        builder: &'c mut QueryBuilder<Self>,
        keep: bool,
        time: Duration,
    ) -> BoxFuture<'c, Driver<Vec<Self::Row>>>;
    /// Runs a statement and hands its rows over one by one.
    fn stream<'c>(
        connection: &'c mut Self::Connection,
        builder: &'c mut QueryBuilder<Self>,
        keep: bool,
    ) -> BoxStream<'c, Driver<Self::Row>>;
    /// Runs a statement; returns how many rows it changed.
    fn run<'c>(
        connection: &'c mut Self::Connection,
        builder: &'c mut QueryBuilder<Self>,
        keep: bool,
    ) -> BoxFuture<'c, Driver<u64>>;

    /// Opens a transaction that writes.
    fn begin_write(pool: &Pool<Self>) -> BoxFuture<'_, Driver<Transaction<'static, Self>>>;
    /// Takes one side of the lock on the list of query tags, until the transaction ends.
    fn lock_tags(connection: &mut Self::Connection, side: TagLock) -> BoxFuture<'_, Driver<()>>;
    /// Makes this transaction the only one that may append to the feed, until it ends.
    fn lock_feed(script: &mut StatementBatch<Self>);
    /// Returns when every transaction that had taken a feed time before the call has ended.
    fn await_feed(index: &SqlIndex<Self>) -> BoxFuture<'_, Driver<()>>;

    /// The transaction was a victim of concurrency and may simply run again.
    fn is_conflict(error: &sqlx::Error) -> bool;
    /// The other end of the connection had gone away, perhaps long before the call.
    fn is_lost(error: &sqlx::Error) -> bool;
    /// What a refusal of the database means.
    fn refusal(error: &dyn sqlx::error::DatabaseError) -> DatabaseRefusal;

    /// Appends the operator and pattern that the column before it must match.
    fn push_matches(statement: &mut Statement<Self>, pattern: &Pattern);
    /// Appends a condition that a column matches a pattern that begins with a wildcard; `trigrams` says that the column
    /// is `study_name.text` and its trigram index may be used.
    fn push_contains(statement: &mut Statement<Self>, col: Col, pattern: &Pattern, trigrams: bool);
}

/// What a refusal of the database means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DatabaseRefusal {
    /// Later may work.
    Unavailable,
    /// The disk is full or read-only.
    Full,
    /// The statement ran longer than it may.
    TooSlow,
    /// Anything else.
    Other,
}

/// Up to so many rows or values in a list a statement is kept prepared. Longer lists have any length, so each would be a
/// statement of its own, and a prepared one holds memory for every value it binds.
const KEPT_LIST: usize = 4;

/// A statement under construction.
pub(super) struct Statement<D: Dialect> {
    builder: QueryBuilder<D>,
    /// Whether it is likely to come again word for word.
    keep: bool,
}

impl<D: Dialect> Statement<D> {
    /// Starts with fixed text.
    pub(super) fn new(sql: &'static str) -> Self {
        Self {
            builder: QueryBuilder::new(sql),
            keep: true,
        }
    }

    /// Appends fixed text.
    pub(super) fn push(&mut self, sql: &'static str) -> &mut Self {
        self.builder.push(sql);
        self
    }

    /// Binds an integer.
    pub(super) fn int(&mut self, value: i64) -> &mut Self {
        D::bind_int(&mut self.builder, Some(value));
        self
    }

    /// Binds an integer or null.
    pub(super) fn opt_int(&mut self, value: Option<i64>) -> &mut Self {
        D::bind_int(&mut self.builder, value);
        self
    }

    /// Binds a floating-point number or null.
    pub(super) fn opt_float(&mut self, value: Option<f64>) -> &mut Self {
        D::bind_float(&mut self.builder, value);
        self
    }

    /// Binds a text.
    pub(super) fn text(&mut self, value: &str) -> &mut Self {
        self.opt_text(Some(value))
    }

    /// Binds a text or null.
    pub(super) fn opt_text(&mut self, value: Option<&str>) -> &mut Self {
        match value {
            // Postgres refuses NUL. No text is stored with one, so none is found by this either.
            Some(text) if text.contains('\0') => {
                D::bind_text(&mut self.builder, Some(&text.replace('\0', "\u{FFFD}")));
            }
            _ => D::bind_text(&mut self.builder, value),
        }
        self
    }

    /// Binds bytes.
    pub(super) fn blob(&mut self, value: &[u8]) -> &mut Self {
        D::bind_blob(&mut self.builder, value);
        self
    }

    /// Binds bytes or null.
    pub(super) fn opt_blob(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            Some(bytes) => self.blob(bytes),
            None => self.push("null"),
        }
    }

    /// Appends ` limit ` and a number.
    ///
    /// Not as a bare parameter: `SQLite` would prepare the statement anew for whatever is bound to it.
    pub(super) fn limit(&mut self, rows: i64) -> &mut Self {
        self.push(" limit ").push(D::PLAIN).int(rows)
    }

    /// Appends `(v1, v2, …)` with each value bound.
    pub(super) fn texts<'v>(&mut self, values: impl IntoIterator<Item = &'v str>) -> &mut Self {
        self.list(values, |statement, value| {
            statement.text(value);
        })
    }

    /// Appends `(v1, v2, …)` with each value bound.
    pub(super) fn ints(&mut self, values: impl IntoIterator<Item = i64>) -> &mut Self {
        self.list(values, |statement, value| {
            statement.int(value);
        })
    }

    /// Appends `(…, …)`, each item written by `item`.
    pub(super) fn list<T>(
        &mut self,
        values: impl IntoIterator<Item = T>,
        mut item: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.push("(");
        for (i, value) in values.into_iter().enumerate() {
            if i > 0 {
                self.push(", ");
            }
            self.keep &= i < KEPT_LIST;
            item(self, value);
        }
        self.push(")")
    }

    /// Appends `(…), (…)`, each row written by `row` without its parentheses.
    pub(super) fn values<T>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
        mut row: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.push(" values ");
        for (i, value) in rows.into_iter().enumerate() {
            self.push(if i > 0 { ", (" } else { "(" });
            self.keep &= i < KEPT_LIST;
            row(self, value);
            self.push(")");
        }
        self
    }

    /// Runs it and collects the rows.
    pub(super) async fn rows(mut self, connection: &mut D::Connection) -> Driver<Vec<D::Row>> {
        D::rows(connection, &mut self.builder, self.keep).await
    }

    /// As [`Statement::rows`], given up after a while.
    pub(super) async fn bounded_rows(
        mut self,
        connection: &mut D::Connection,
        time: Duration,
    ) -> Driver<Vec<D::Row>> {
        D::bounded_rows(connection, &mut self.builder, self.keep, time).await
    }

    /// The same statement once more.
    pub(super) fn copy(&mut self) -> Driver<Self> {
        let sql = self.builder.sql().as_str().to_owned();
        let arguments = self.builder.build().take_arguments();
        let arguments = arguments.map_err(sqlx::Error::Encode)?.unwrap_or_default();
        self.builder = QueryBuilder::with_arguments(sql.clone(), arguments.clone());
        Ok(Self {
            builder: QueryBuilder::with_arguments(sql, arguments),
            keep: self.keep,
        })
    }

    /// The statement as the driver takes it.
    pub(super) fn query(&mut self) -> Query<'_, D, D::Arguments> {
        self.builder.build()
    }

    /// Runs it and hands its rows over one by one.
    pub(super) fn stream<'c>(
        &'c mut self,
        connection: &'c mut D::Connection,
    ) -> BoxStream<'c, Driver<D::Row>> {
        D::stream(connection, &mut self.builder, self.keep)
    }

    /// Runs it and returns its first row.
    pub(super) async fn row(self, connection: &mut D::Connection) -> Driver<Option<D::Row>> {
        Ok(self.rows(connection).await?.into_iter().next())
    }

    /// Runs it; returns how many rows it changed.
    pub(super) async fn run(mut self, connection: &mut D::Connection) -> Driver<u64> {
        D::run(connection, &mut self.builder, self.keep).await
    }
}

/// Statements that run one after the other and whose rows nobody needs.
///
/// A call to `SQLite` costs two changes of thread, often more than what it does: there it is one call for all of them.
pub(super) struct StatementBatch<D: Dialect>(Vec<Statement<D>>);

impl<D: Dialect> StatementBatch<D> {
    /// Without statements.
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Begins the next statement with fixed text.
    pub(super) fn then(&mut self, sql: &'static str) -> &mut Statement<D> {
        let joins = D::SCRIPTS && !self.0.is_empty();
        if !joins {
            self.0.push(Statement::new(""));
        }
        let Some(last) = self.0.last_mut() else {
            unreachable!("one was pushed");
        };
        last.push(if joins { "; " } else { "" }).push(sql)
    }

    /// Runs what there is, and is empty again.
    pub(super) async fn run(&mut self, connection: &mut D::Connection) -> Driver<()> {
        for statement in std::mem::take(&mut self.0) {
            statement.run(connection).await?;
        }
        Ok(())
    }
}

/// The index in a database of dialect `D`.
pub(super) struct SqlIndex<D: Dialect> {
    /// Connections for reading.
    pub(super) readers: ReaderPool<D>,
    /// Those for what is found by keys and by nothing else, whose plan does not depend on the values; perhaps the same.
    pub(super) lookups: ReaderPool<D>,
    /// Connections for writing; others than those for reading, so that no reader keeps a writer waiting.
    pub(super) writers: Pool<D>,
    /// Patterns that begin with a wildcard have an index.
    pub(super) trigrams: bool,
    /// How long what may take.
    pub(super) times: Timeouts,
    /// Searches at the same time: some connections for reading are left for short calls.
    pub(super) searches: Semaphore,
    /// Likewise searches by keys, where they have connections of their own.
    pub(super) key_searches: Option<Semaphore>,
}

/// The plan of a statement, in the words of the database.
pub(super) fn plan<D: Dialect>(rows: &[D::Row]) -> Driver<String> {
    let lines = rows.iter().map(|row| row.text(D::EXPLAIN.1));
    Ok(lines.collect::<Driver<Vec<String>>>()?.join("\n"))
}

/// How many of `readers` connections searches may use at a time.
pub(super) fn searches(readers: u32) -> Semaphore {
    let most = readers.saturating_sub((readers / 3).max(1)).max(1);
    Semaphore::new(most as usize)
}

/// Turns a driver error of a search into one of this layer: one that takes too long is its sender's to mend.
pub(super) fn failed_search<D: Dialect>(what: &'static str) -> impl Fn(sqlx::Error) -> IndexError {
    let other = failed::<D>(what);
    move |source| match &source {
        sqlx::Error::Database(refused)
            if D::refusal(refused.as_ref()) == DatabaseRefusal::TooSlow =>
        {
            IndexError::TooSlow { what }
        }
        _ => other(source),
    }
}

/// Turns a driver error of the call `what` into one of this layer.
pub(super) fn failed<D: Dialect>(what: &'static str) -> impl Fn(sqlx::Error) -> IndexError {
    move |source| match &source {
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_)
        | sqlx::Error::Tls(_) => IndexError::Unavailable(source),
        sqlx::Error::Database(refused) => match D::refusal(refused.as_ref()) {
            DatabaseRefusal::Unavailable | DatabaseRefusal::TooSlow => {
                IndexError::Unavailable(source)
            }
            DatabaseRefusal::Full => IndexError::Full(source),
            DatabaseRefusal::Other => IndexError::Database { what, source },
        },
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => IndexError::Corrupt { what },
        _ => IndexError::Database { what, source },
    }
}

impl<D: Dialect> SqlIndex<D> {
    /// Runs one statement in a transaction of its own; returns how many rows it changed.
    pub(super) async fn write(&self, what: &'static str, statement: Statement<D>) -> Result<u64> {
        let written = async {
            let mut transaction = D::begin_write(&self.writers).await?;
            let changed = statement.run(&mut transaction).await?;
            transaction.commit().await?;
            Ok(changed)
        };
        within(self.times.call, written)
            .await
            .map_err(failed::<D>(what))
    }
}
