//! Leases on caches, and the channel on which changes are announced.
//!
//! Invariants: a change gets its number after its commit, and leases are looked at after that; a node listens before it takes
//! a lease. So each lease either is seen by whoever changed something, or was taken after the commit.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::{PgListener, PgRow};
use sqlx::{Pool, Postgres};

use super::pool;
use crate::index::error::IndexError;
use crate::index::model::Result;
use crate::index::row_columns::{Driver, RowColumns};
use crate::index::sql::{SqlIndex, Statement, failed};
use crate::index::timeouts::within;
use crate::index::traits::{CacheLeases, ChangeListener, LeaseRenewal};

/// Where changes are announced.
const CHANNEL: &str = "stowage_cache_change";
/// Name of these calls in errors.
const WHAT: &str = "a lease on caches";

#[async_trait]
impl CacheLeases for SqlIndex<Postgres> {
    async fn listen(&self, node: &str) -> Result<Option<Box<dyn ChangeListener>>> {
        // Of its own: it is held for as long as there is something to hear.
        let pool = pool(&self.writers.connect_options(), 1, self.times);
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            // Who lost his connection must not believe that he heard of everything.
            listener.eager_reconnect(false);
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        let listener = within(self.times.call, listening).await;
        let listener = listener.map_err(failed::<Postgres>(WHAT))?;
        Ok(Some(Box::new(PostgresListener {
            listener,
            node: node.into(),
            call: self.times.call,
            _pool: pool,
        })))
    }

    async fn announce_change(&self) -> Result<i64> {
        let mut sql = Statement::<Postgres>::new("select change, pg_notify(");
        sql.text(CHANNEL)
            .push(", change::text) from (select nextval('cache_change') as change) as numbered");
        let announced = async {
            let mut connection = self.writers.acquire().await?;
            let row = sql.row(&mut connection).await?;
            row.ok_or(sqlx::Error::RowNotFound)?.int("change")
        };
        let announced = within(self.times.call, announced).await;
        announced.map_err(failed::<Postgres>(WHAT))
    }

    async fn lease_is_behind(&self, change: i64, node: &str) -> Result<bool> {
        let mut sql =
            Statement::<Postgres>::new("select 1 as one from cache_lease where change < ");
        sql.int(change).push(" and node <> ").text(node);
        sql.limit(1);
        let asked = async {
            let mut connection = self.writers.acquire().await?;
            sql.row(&mut connection).await
        };
        let behind = within(self.times.call, asked).await;
        Ok(behind.map_err(failed::<Postgres>(WHAT))?.is_some())
    }

    async fn revoke_leases_behind(&self, change: i64, node: &str) -> Result<u64> {
        let mut sql = Statement::<Postgres>::new("delete from cache_lease where change < ");
        sql.int(change).push(" and node <> ").text(node);
        self.write(WHAT, sql).await
    }
}

/// The connection of a node that listens.
struct PostgresListener {
    listener: PgListener,
    node: Box<str>,
    call: Duration,
    /// Where the connection is from; it is closed with it.
    _pool: Pool<Postgres>,
}

impl PostgresListener {
    async fn renewed(&mut self, heard: i64) -> Driver<LeaseRenewal> {
        let mut kept = Statement::<Postgres>::new("update cache_lease set change = ");
        kept.int(heard)
            .push(" where node = ")
            .text(&self.node)
            .push(" returning (select last_value from cache_change) as newest");
        if let Some(row) = self.row(kept).await? {
            return Ok(LeaseRenewal {
                newest: row.int("newest")?,
                is_new: false,
            });
        }
        let mut taken =
            Statement::<Postgres>::new("insert into cache_lease (node, change) select ");
        taken
            .text(&self.node)
            .push(", last_value from cache_change returning change as newest");
        let row = self.row(taken).await?.ok_or(sqlx::Error::RowNotFound)?;
        Ok(LeaseRenewal {
            newest: row.int("newest")?,
            is_new: true,
        })
    }

    async fn row(&mut self, mut statement: Statement<Postgres>) -> Driver<Option<PgRow>> {
        statement.query().fetch_optional(&mut self.listener).await
    }
}

#[async_trait]
impl ChangeListener for PostgresListener {
    async fn renew(&mut self, heard: i64) -> Result<LeaseRenewal> {
        let renewed = within(self.call, self.renewed(heard)).await;
        renewed.map_err(failed::<Postgres>(WHAT))
    }

    async fn changed(&mut self) -> Result<i64> {
        let heard = self.listener.try_recv().await;
        // None: the connection is lost, and what was announced since with it.
        let heard = heard.and_then(|heard| heard.ok_or_else(lost));
        let heard = heard.map_err(failed::<Postgres>(WHAT))?;
        let number = heard.payload().parse();
        number.map_err(|_| IndexError::Corrupt { what: WHAT })
    }

    async fn release(&mut self) -> Result<()> {
        let mut sql = Statement::<Postgres>::new("delete from cache_lease where node = ");
        sql.text(&self.node);
        let released = within(self.call, self.row(sql)).await;
        released.map(drop).map_err(failed::<Postgres>(WHAT))
    }
}

fn lost() -> sqlx::Error {
    sqlx::Error::Io(io::ErrorKind::ConnectionAborted.into())
}
