//! Taking rows away for those that take their places, within the transaction of an insert.
//!
//! Invariant: whoever calls holds the rows of their studies locked; the counters of study and series are the insert's, which
//! counts what takes a place as no instance more.

use super::micros::now_micros;
use super::originals;
use super::row_columns::Driver;
use super::sql::{Dialect, Statement};
use super::trash::{Removal, trash_blobs};
use super::trash_model::RemovalReason;
use crate::fault;

/// Rows of one statement.
const ROWS: usize = 500;

/// Takes instances away, their blobs to the trash; returns the entries there.
pub(super) async fn remove<D: Dialect>(
    connection: &mut D::Connection,
    watermarks: &[i64],
) -> Driver<Vec<i64>> {
    let removal = Removal {
        reason: RemovalReason::Replaced,
        since: now_micros(),
        meant: [None, None],
    };
    let mut entries = Vec::new();
    for chunk in watermarks.chunks(ROWS) {
        let these = |sql: &mut Statement<D>| {
            sql.push(" watermark in ").ints(chunk.iter().copied());
        };
        entries.extend(trash_blobs::<D>(connection, &removal, these).await?);
        originals::discard::<D>(connection, removal.since, these).await?;
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
    Ok(entries)
}
