//! The list of blobs to remove.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::error::IndexError;
use super::model::{Discarded, Result, from_micros, now_micros, to_micros};
use super::rows::blob_hash;
use super::sql::{Dialect, Driver, RowColumns, SqlIndex, Statement, failed};
use super::traits::Trash;

#[async_trait]
impl<D: Dialect> Trash for SqlIndex<D> {
    async fn discard(&self, keys: &[String]) -> Result<()> {
        let now = now_micros();
        // In the order of the keys, as a delete does it: two writers of the same keys never wait for each other.
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        for chunk in keys.chunks(500) {
            let mut sql = Statement::<D>::new("insert into trash (blob_key, blob_hash, since)");
            sql.values(chunk, |sql, key| {
                sql.text(key)
                    .push(", ")
                    .int(blob_hash(key))
                    .push(", ")
                    .int(now);
            });
            sql.push(" on conflict (blob_key) do nothing");
            self.write("a discard", sql).await?;
        }
        Ok(())
    }

    async fn discarded(
        &self,
        before: OffsetDateTime,
        after: Option<&Discarded>,
        limit: u32,
    ) -> Result<Vec<Discarded>> {
        let mut sql =
            Statement::<D>::new("select blob_key, since, attempts from trash where since < ");
        sql.int(to_micros(before));
        if let Some(after) = after {
            sql.push(" and (since, blob_key) > (")
                .int(to_micros(after.since));
            sql.push(", ").text(&after.key).push(")");
        }
        // A commit whose answer was lost may have given the blob its row after all.
        sql.push(
            " and not exists (select 1 from instance where instance.blob_hash = trash.blob_hash \
             and instance.blob_key = trash.blob_key)",
        );
        sql.push(" order by since, blob_key")
            .limit(i64::from(limit));
        let rows = self.read("the trash", sql).await?;
        rows.iter().map(discarded::<D>).collect()
    }

    async fn purge(&self, keys: &[String]) -> Result<()> {
        for chunk in keys.chunks(500) {
            let mut sql = Statement::<D>::new("delete from trash where blob_key in ");
            sql.texts(chunk.iter().map(String::as_str));
            self.write("the trash", sql).await?;
        }
        Ok(())
    }

    async fn retry_later(&self, key: &str) -> Result<()> {
        let mut sql =
            Statement::<D>::new("update trash set attempts = attempts + 1 where blob_key = ");
        sql.text(key);
        self.write("the trash", sql).await.map(|_| ())
    }
}

fn discarded<D: Dialect>(row: &D::Row) -> Result<Discarded> {
    let read = || -> Driver<(String, i64, i64)> {
        Ok((
            row.text("blob_key")?,
            row.int("since")?,
            row.int("attempts")?,
        ))
    };
    let (key, since, attempts) = read().map_err(failed::<D>("the trash"))?;
    let since = from_micros(since).map_err(|_| IndexError::Corrupt { what: "the trash" })?;
    Ok(Discarded {
        key,
        since,
        attempts,
    })
}

/// Puts the blobs of instances on the trash, in the order of their keys; `these` says which instances, behind `where`.
pub(super) async fn trash_blobs<D: Dialect>(
    connection: &mut D::Connection,
    since: i64,
    these: impl FnOnce(&mut Statement<D>),
) -> Driver<()> {
    let mut sql = Statement::<D>::new(
        "insert into trash (blob_key, blob_hash, since) select distinct blob_key, blob_hash, cast(",
    );
    sql.int(since).push(" as bigint) from instance where");
    these(&mut sql);
    sql.push(" order by blob_key on conflict (blob_key) do update set since = excluded.since");
    sql.run(connection).await.map(|_| ())
}

/// Takes those keys off the trash again that another instance still uses.
///
/// Only behind the feed lock is it certain that nobody else is deleting the other user at this moment.
pub(super) async fn keep_shared_blobs<D: Dialect>(
    connection: &mut D::Connection,
    since: i64,
) -> Driver<()> {
    let mut sql = Statement::<D>::new("delete from trash where since = ");
    sql.int(since).push(
        " and exists (select 1 from instance where instance.blob_hash = trash.blob_hash \
         and instance.blob_key = trash.blob_key)",
    );
    sql.run(connection).await.map(|_| ())
}
