//! Counters that never give a number twice: how they are read, and how they are raised in another database.
//!
//! They stand above every row: numbers of rows that were deleted since live on in blob keys, feeds and `ETags`.

use futures_util::future::BoxFuture;
use sqlx::{Executor, Pool, Postgres, Sqlite, Transaction};

use super::super::row_columns::{Driver, RowColumns};
use super::super::sql::{Dialect, Statement};

/// Counters of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counters {
    /// Highest numbers given out, as [`NAMES`].
    pub(super) given: [i64; 8],
    /// Highest version given out.
    pub(super) version: i64,
}

/// Tables whose numbers are never given out twice.
const NAMES: [&str; 8] = [
    "study",
    "series",
    "instance",
    "change",
    "query_tag",
    "query_tag_error",
    "global_subscription",
    "workitem_event",
];
/// Place of the change feed in [`NAMES`].
const CHANGE: usize = 3;

/// Highest versions of studies and series that are there.
const VERSIONS: &str = "select coalesce(max(version), 0) as highest from (\
     select max(version) as version from study union all select max(version) as version from series) as versions";

/// A database an index can be moved out of and into.
pub(in crate::index) trait Moves: Dialect {
    /// Begins to read one moment of it, while others go on writing.
    fn begin_snapshot(pool: &Pool<Self>) -> BoxFuture<'_, Driver<Transaction<'static, Self>>>;
    /// Keeps everybody else from writing until the transaction ends.
    fn hold(connection: &mut Self::Connection) -> BoxFuture<'_, Driver<()>>;
    /// Reads the counters.
    fn counters(connection: &mut Self::Connection) -> BoxFuture<'_, Driver<Counters>>;
    /// Raises the counters at least to these.
    fn raise(connection: &mut Self::Connection, to: Counters) -> BoxFuture<'_, Driver<()>>;
}

async fn highest_version<D: Dialect>(connection: &mut D::Connection) -> Driver<i64> {
    let row = Statement::<D>::new(VERSIONS).row(connection).await?;
    row.map_or(Ok(0), |row| row.int("highest"))
}

impl Moves for Sqlite {
    fn begin_snapshot(pool: &Pool<Self>) -> BoxFuture<'_, Driver<Transaction<'static, Self>>> {
        Box::pin(pool.begin_with("begin"))
    }

    fn hold(_connection: &mut Self::Connection) -> BoxFuture<'_, Driver<()>> {
        // Whoever writes is alone from the start.
        Box::pin(std::future::ready(Ok(())))
    }

    fn counters(connection: &mut Self::Connection) -> BoxFuture<'_, Driver<Counters>> {
        Box::pin(async move {
            let mut counters = Counters::default();
            let all = Statement::<Self>::new("select name, seq from sqlite_sequence");
            for row in all.rows(connection).await? {
                let name = row.text("name")?;
                if let Some(at) = NAMES.iter().position(|known| *known == name) {
                    counters.given[at] = row.int("seq")?;
                }
            }
            let highest = highest_version::<Self>(connection).await?;
            // Versions are made from the counter of the feed.
            counters.version = highest.max(counters.given[CHANGE]);
            Ok(counters)
        })
    }

    fn raise(connection: &mut Self::Connection, to: Counters) -> BoxFuture<'_, Driver<()>> {
        Box::pin(async move {
            let mut given = to.given;
            given[CHANGE] = given[CHANGE].max(to.version);
            for (name, value) in NAMES.into_iter().zip(given) {
                let mut raise =
                    Statement::<Self>::new("update sqlite_sequence set seq = max(seq, ");
                raise.int(value).push(") where name = ").text(name);
                if raise.run(connection).await? == 0 {
                    let mut make =
                        Statement::<Self>::new("insert into sqlite_sequence (name, seq) values (");
                    make.text(name).push(", ").int(value).push(")");
                    make.run(connection).await?;
                }
            }
            Ok(())
        })
    }
}

/// Waits for those who write and keeps further ones out; a move may take longer than a transaction of the server may idle.
const HOLD: &str = "set local idle_in_transaction_session_timeout = 0; set local statement_timeout = 0; \
     lock table data_partition, study, series, instance, instance_content, damage, study_name, study_name_word, change, trash, deletion, operation, \
     query_tag, query_tag_value, query_tag_error, workitem, subscriber, global_subscription, \
     subscription, workitem_event, workitem_delivery, commitment, event_state, event_study, \
     workitem_change, event, webhook, webhook_delivery in share row exclusive mode";

/// In the order of [`NAMES`], then the versions.
const GIVEN: &str = "select \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('study', 'id')::regclass), 0) as c0, \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('series', 'id')::regclass), 0) as c1, \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('instance', 'watermark')::regclass), 0) as c2, \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('change', 'sequence')::regclass), 0) as c3, \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('query_tag', 'id')::regclass), 0) as c4, \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('query_tag_error', 'id')::regclass), 0) as c5, \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('global_subscription', 'id')::regclass), 0) as c6, \
     coalesce(pg_sequence_last_value(pg_get_serial_sequence('workitem_event', 'sequence')::regclass), 0) as c7, \
     coalesce(pg_sequence_last_value('version_number'::regclass), 0) as version";
const COLUMNS: [&str; 8] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7"];

/// As [`NAMES`]; what stands in the table counts too, for it may hold numbers that came from elsewhere.
const RAISE: [&str; 8] = [
    "select setval(pg_get_serial_sequence('study', 'id'), greatest(1, (select max(id) from study), ",
    "select setval(pg_get_serial_sequence('series', 'id'), greatest(1, (select max(id) from series), ",
    "select setval(pg_get_serial_sequence('instance', 'watermark'), greatest(1, (select max(watermark) from instance), ",
    "select setval(pg_get_serial_sequence('change', 'sequence'), greatest(1, (select max(sequence) from change), ",
    "select setval(pg_get_serial_sequence('query_tag', 'id'), greatest(1, (select max(id) from query_tag), ",
    "select setval(pg_get_serial_sequence('query_tag_error', 'id'), greatest(1, (select max(id) from query_tag_error), ",
    "select setval(pg_get_serial_sequence('global_subscription', 'id'), greatest(1, (select max(id) from global_subscription), ",
    "select setval(pg_get_serial_sequence('workitem_event', 'sequence'), greatest(1, (select max(sequence) from workitem_event), ",
];
/// Numbers that only need to be free.
const RAISE_FREE: [&str; 5] = [
    "select setval(pg_get_serial_sequence('data_partition', 'id'), greatest(1, (select max(id) from data_partition), ",
    "select setval(pg_get_serial_sequence('deletion', 'id'), greatest(1, (select max(id) from deletion), ",
    "select setval(pg_get_serial_sequence('workitem', 'id'), greatest(1, (select max(id) from workitem), ",
    "select setval(pg_get_serial_sequence('study_name', 'id'), greatest(1, (select max(id) from study_name), ",
    "select setval(pg_get_serial_sequence('query_tag_value', 'id'), greatest(1, (select max(id) from query_tag_value), ",
];

/// A copy may take longer than a transaction of the server may idle.
const PATIENT: &str =
    "set local idle_in_transaction_session_timeout = 0; set local statement_timeout = 0";

impl Moves for Postgres {
    fn begin_snapshot(pool: &Pool<Self>) -> BoxFuture<'_, Driver<Transaction<'static, Self>>> {
        Box::pin(async move {
            let begin = "begin isolation level repeatable read read only";
            let mut transaction = pool.begin_with(begin).await?;
            (*transaction).execute(PATIENT).await?;
            Ok(transaction)
        })
    }

    fn hold(connection: &mut Self::Connection) -> BoxFuture<'_, Driver<()>> {
        Box::pin(async move { connection.execute(HOLD).await.map(|_| ()) })
    }

    fn counters(connection: &mut Self::Connection) -> BoxFuture<'_, Driver<Counters>> {
        Box::pin(async move {
            let mut counters = Counters::default();
            if let Some(row) = Statement::<Self>::new(GIVEN).row(connection).await? {
                for (given, column) in counters.given.iter_mut().zip(COLUMNS) {
                    *given = row.int(column)?;
                }
                counters.version = row.int("version")?;
            }
            let highest = highest_version::<Self>(connection).await?;
            counters.version = counters.version.max(highest);
            Ok(counters)
        })
    }

    fn raise(connection: &mut Self::Connection, to: Counters) -> BoxFuture<'_, Driver<()>> {
        Box::pin(async move {
            let free = RAISE_FREE.into_iter().map(|sql| (sql, 1));
            let version = ("select setval('version_number', greatest(1, ", to.version);
            for (sql, value) in RAISE.into_iter().zip(to.given).chain(free).chain([version]) {
                let mut raise = Statement::<Self>::new(sql);
                raise.int(value).push("))");
                raise.run(connection).await?;
            }
            Ok(())
        })
    }
}
