//! Instances that a bulk update has prepared and not yet exchanged.

use super::bulk_update_model::UpdatePlace;
use super::micros::now_micros;
use super::row_columns::Driver;
use super::sql::{Dialect, Statement};

/// That an instance is not prepared.
pub(super) const UNPREPARED: &str = " and not exists (select 1 from prepared_instance \
     where prepared_instance.replaces = instance.watermark)";

/// Appends what is true of the prepared instances of a study.
pub(super) fn push_place<D: Dialect>(sql: &mut Statement<D>, place: UpdatePlace<'_>) {
    sql.push("prepared_instance.operation = ")
        .text(place.operation);
    sql.push(" and prepared_instance.number = ")
        .int(place.number);
}

/// Forgets prepared instances, their blobs to the trash; `and` limits them further.
pub(super) async fn discard_prepared<D: Dialect>(
    connection: &mut D::Connection,
    place: UpdatePlace<'_>,
    and: &'static str,
) -> Driver<()> {
    let mut sql = Statement::<D>::new(
        "insert into trash (blob_key, blob_hash, since) select distinct blob_key, blob_hash, cast(",
    );
    sql.int(now_micros())
        .push(" as bigint) from prepared_instance where ");
    push_place(&mut sql, place);
    sql.push(and)
        .push(" order by blob_key on conflict (blob_key) do update set since = excluded.since");
    sql.run(connection).await?;
    let mut sql = Statement::<D>::new("delete from prepared_instance where ");
    push_place(&mut sql, place);
    sql.push(and);
    sql.run(connection).await.map(|_| ())
}
