//! Calls that read: which connection they take, how long they may last, and that they are made twice where it was lost.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::model::Result;
use super::options::FULL_SCAN;
use super::reader_pool::ReadConnection;
use super::row_columns::Driver;
use super::sql::{Dialect, SqlIndex, Statement, failed, failed_search};
use super::timeouts::within;

/// Whose turn a reading connection is taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Anybody's.
    Any,
    /// That of a lookup by keys.
    Key,
    /// That of a search: some connections are left for others.
    Search,
}

impl<D: Dialect> SqlIndex<D> {
    /// Runs a statement on a reading connection.
    pub(super) async fn read(
        &self,
        what: &'static str,
        statement: Statement<D>,
    ) -> Result<Vec<D::Row>> {
        let time = (self.times.call, None);
        let rows = self.read_within(time, Turn::Any, statement).await;
        rows.map_err(failed::<D>(what))
    }

    /// As [`Self::read`], for what has equal keys in an index.
    pub(super) async fn read_by_key(
        &self,
        what: &'static str,
        statement: Statement<D>,
    ) -> Result<Vec<D::Row>> {
        let time = (self.times.call, None);
        let rows = self.read_within(time, Turn::Key, statement).await;
        rows.map_err(failed::<D>(what))
    }

    /// As [`Self::read`], for what looks at the whole index.
    pub(super) async fn read_all(
        &self,
        what: &'static str,
        statement: Statement<D>,
    ) -> Result<Vec<D::Row>> {
        let time = (FULL_SCAN, Some(FULL_SCAN));
        let rows = self.read_within(time, Turn::Any, statement).await;
        rows.map_err(failed::<D>(what))
    }

    /// As [`Self::read`], with the turn and the time of a search.
    pub(super) async fn read_bounded(
        &self,
        what: &'static str,
        statement: Statement<D>,
    ) -> Result<Vec<D::Row>> {
        let rows = self
            .read_within(self.search(), Turn::Search, statement)
            .await;
        rows.map_err(failed_search::<D>(what))
    }

    /// As [`Self::read`], with the time of a search but no turn: searches that are stuck hold up nobody who reads.
    pub(super) async fn read_in_time(
        &self,
        what: &'static str,
        statement: Statement<D>,
    ) -> Result<Vec<D::Row>> {
        let rows = self.read_within(self.search(), Turn::Any, statement).await;
        rows.map_err(failed_search::<D>(what))
    }

    fn search(&self) -> (Duration, Option<Duration>) {
        (self.times.whole_search(), Some(self.times.search))
    }

    /// Runs a statement on a reading connection: all of it within a time, the statement itself within another one.
    async fn read_within(
        &self,
        (all, bound): (Duration, Option<Duration>),
        turn: Turn,
        mut statement: Statement<D>,
    ) -> Driver<Vec<D::Row>> {
        let again = match D::SHARED {
            true => Some(statement.copy()?),
            false => None,
        };
        let first = within(all, self.read_once(bound, turn, statement)).await;
        // One that is taken without a question may be lost already.
        match (first, again) {
            (Err(error), Some(again)) if D::is_lost(&error) => {
                self.close_idle();
                within(all, self.read_once(bound, turn, again)).await
            }
            (read, _) => read,
        }
    }

    /// Lets the next reads have new connections.
    pub(super) fn close_idle(&self) {
        self.readers.close_idle();
        self.lookups.close_idle();
    }

    async fn read_once(
        &self,
        bound: Option<Duration>,
        turn: Turn,
        statement: Statement<D>,
    ) -> Driver<Vec<D::Row>> {
        let (_turn, mut connection) = match turn {
            Turn::Any => (None, self.readers.take().await?),
            Turn::Key => (None, self.lookups.take().await?),
            Turn::Search => {
                let (turn, connection) = self.searcher().await?;
                (Some(turn), connection)
            }
        };
        let rows = match bound {
            None => statement.rows(&mut connection).await?,
            Some(bound) => statement.bounded_rows(&mut connection, bound).await?,
        };
        connection.give_back();
        Ok(rows)
    }

    /// A reading connection for a search, once it is its turn.
    pub(super) async fn searcher(&self) -> Driver<(SemaphorePermit<'_>, ReadConnection<D>)> {
        let turn = self.turn(&self.searches).await?;
        Ok((turn, self.readers.take().await?))
    }

    /// A connection for a search by keys, once it is its turn.
    pub(super) async fn key_searcher(&self) -> Driver<(SemaphorePermit<'_>, ReadConnection<D>)> {
        let Some(searches) = &self.key_searches else {
            return self.searcher().await;
        };
        let turn = self.turn(searches).await?;
        Ok((turn, self.lookups.take().await?))
    }

    async fn turn<'s>(&self, searches: &'s Semaphore) -> Driver<SemaphorePermit<'s>> {
        let turn = tokio::time::timeout(self.times.wait, searches.acquire()).await;
        let turn = turn.map_err(|_| sqlx::Error::PoolTimedOut)?;
        turn.map_err(|_| sqlx::Error::PoolClosed)
    }
}
