//! Taking rows away for those that take their places, within the transaction of an insert.
//!
//! Invariant: whoever calls holds the rows of their studies locked; the counters of study and series are the insert's, which
//! counts what takes a place as no instance more.

use super::model::now_micros;
use super::sql::{Dialect, Driver, Statement};
use crate::fault;

/// Rows of one statement.
const ROWS: usize = 500;

/// Takes instances away, their blobs to the trash; returns since when those are there.
pub(super) async fn remove<D: Dialect>(
    connection: &mut D::Connection,
    watermarks: &[i64],
) -> Driver<i64> {
    let since = now_micros();
    for chunk in watermarks.chunks(ROWS) {
        let mut sql = Statement::<D>::new(
            "insert into trash (blob_key, blob_hash, since) select distinct blob_key, blob_hash, cast(",
        );
        sql.int(since)
            .push(" as bigint) from instance where watermark in ")
            .ints(chunk.iter().copied())
            .push(" order by blob_key on conflict (blob_key) do update set since = excluded.since");
        sql.run(connection).await?;
        fault::point("replace.trash");
        // What else belongs to them goes with their rows.
        for table in [
            "delete from instance_content where watermark in ",
            "delete from instance where watermark in ",
        ] {
            let mut sql = Statement::<D>::new(table);
            sql.ints(chunk.iter().copied());
            sql.run(connection).await?;
        }
        fault::point("replace.rows");
    }
    Ok(since)
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
