//! First versions of instances that a bulk update changed.
//!
//! Invariant: a first version lives as long as an instance whose row it names; it goes with it, or when a store takes its place.

use super::error::IndexError;
use super::instance_row::{instance_row, push_target};
use super::model::{ContentRow, InstanceRow, Result};
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_scope;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use crate::dicom::uid::Target;
use crate::scope::Scope;

/// Columns of an instance row that speak of its first version.
pub(super) const COLUMNS: &str = "select original.watermark as watermark, instance.partition, study.study_uid, series.series_uid, \
     instance.sop_instance_uid, original.sop_class_uid, original.layout, original.pixel, original.blob_key, \
     original.blob_offset, original.blob_length, original.digest, original.blocks";

/// Tables of [`COLUMNS`].
pub(super) const TABLES: &str = " from original join instance on instance.watermark = original.current \
     join series on series.id = instance.series_row join study on study.id = instance.study_row";

/// First versions of the instances of a target, each behind the watermark of the version that is stored now; of an instance
/// that was never updated that version itself.
pub(super) async fn first_versions<D: Dialect>(
    index: &SqlIndex<D>,
    scope: &Scope,
    target: &Target,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, InstanceRow)>> {
    let mut sql = Statement::<D>::new(
        "select instance.watermark as current, coalesce(original.watermark, instance.watermark) as watermark, \
         instance.partition, study.study_uid, series.series_uid, instance.sop_instance_uid, \
         coalesce(original.sop_class_uid, instance.sop_class_uid) as sop_class_uid, \
         coalesce(original.layout, instance.layout) as layout, \
         case when original.watermark is null then instance.pixel else original.pixel end as pixel, \
         coalesce(original.blob_key, instance.blob_key) as blob_key, \
         coalesce(original.blob_offset, instance.blob_offset) as blob_offset, \
         coalesce(original.blob_length, instance.blob_length) as blob_length, \
         coalesce(original.digest, instance.digest) as digest, \
         case when original.watermark is null then instance.blocks else original.blocks end as blocks \
         from instance join series on series.id = instance.series_row join study on study.id = instance.study_row \
         left join original on original.current = instance.watermark",
    );
    push_target(&mut sql, scope, target);
    sql.push(" and instance.watermark > ").int(after);
    sql.push(" order by instance.watermark")
        .limit(i64::from(limit));
    let rows = index.read("first versions", sql).await?;
    let read = |row: &D::Row| {
        let current = row.int("current").map_err(failed::<D>("first versions"))?;
        Ok((current, instance_row(row)?))
    };
    rows.iter().map(read).collect()
}

/// Frame and bulk tables of a first version, by its watermark.
pub(super) async fn first_content<D: Dialect>(
    index: &SqlIndex<D>,
    scope: &Scope,
    watermark: i64,
) -> Result<Option<ContentRow>> {
    let mut sql = Statement::<D>::new(COLUMNS);
    sql.push(", original.frames, original.bulk").push(TABLES);
    sql.push(" where original.watermark = ").int(watermark);
    push_scope(&mut sql, scope);
    let rows = index.read("content", sql).await?;
    let content = |row: &D::Row| -> Result<ContentRow> {
        let corrupt = |_| IndexError::Corrupt { what: "content" };
        Ok(ContentRow {
            row: instance_row(row)?,
            frames: row.blob("frames").map_err(corrupt)?,
            bulk: row.text("bulk").map_err(corrupt)?.into_bytes(),
        })
    };
    rows.first().map(content).transpose()
}

/// Forgets the first versions of instances, their blobs to the trash; `these` says which instances, behind `where`.
pub(super) async fn discard<D: Dialect>(
    connection: &mut D::Connection,
    since: i64,
    these: impl Fn(&mut Statement<D>),
) -> Driver<()> {
    let mut sql = Statement::<D>::new(
        "insert into trash (blob_key, blob_hash, since) select distinct blob_key, blob_hash, cast(",
    );
    sql.int(since).push(
        " as bigint) from original where current in (select instance.watermark from instance where",
    );
    these(&mut sql);
    sql.push(") order by blob_key on conflict (blob_key) do update set since = excluded.since");
    if sql.run(connection).await? == 0 {
        return Ok(());
    }
    let mut sql = Statement::<D>::new(
        "delete from original where current in (select instance.watermark from instance where",
    );
    these(&mut sql);
    sql.push(")");
    sql.run(connection).await.map(|_| ())
}

/// Appends the condition that a blob of the trash is used by no row.
pub(super) fn push_unused<D: Dialect>(sql: &mut Statement<D>) {
    sql.push("not ");
    push_used(sql);
}

/// Appends the condition that a blob of the trash is used by a row.
pub(super) fn push_used<D: Dialect>(sql: &mut Statement<D>) {
    sql.push(
        "(exists (select 1 from instance where instance.blob_hash = trash.blob_hash \
         and instance.blob_key = trash.blob_key) \
         or exists (select 1 from original where original.blob_hash = trash.blob_hash \
         and original.blob_key = trash.blob_key) \
         or exists (select 1 from prepared_instance where prepared_instance.blob_hash = trash.blob_hash \
         and prepared_instance.blob_key = trash.blob_key))",
    );
}
