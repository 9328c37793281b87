//! Deleting a target: one transaction that leaves no empty series or study, exact counters, and the blobs on the trash.
//!
//! Invariant: the locks are those of an insert, in the same order: the study's row, then the feed.

use time::OffsetDateTime;

use super::error::IndexError;
use super::feed_model::ChangeAction;
use super::level_rows::{action_code, study_modalities};
use super::micros::{now_micros, to_micros};
use super::model::Result;
use super::originals;
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_scope;
use super::sql::{Dialect, SqlIndex, Statement, StatementBatch};
use super::timeouts::within;
use super::trash::{Removal, keep_shared_blobs, trash_blobs};
use super::trash_model::RemovalReason;
use crate::dicom::uid::{InstanceUid, SeriesUid, StudyUid, Target};
use crate::fault;
use crate::scope::{Partition, Scope, Visible};

/// What must hold of a study in the transaction that deletes it, or a part of it.
#[derive(Debug, Clone, Copy)]
pub(super) enum DeleteIf {
    /// Nothing: it was asked for.
    Asked,
    /// Its time was over at a moment, in µs.
    Expired(i64),
    /// It is what it was.
    Version(i64),
}

/// Deletes all instances of a target; returns how many there were.
pub(super) async fn delete<D: Dialect>(
    index: &SqlIndex<D>,
    scope: &Scope,
    target: &Target,
) -> Result<u64> {
    let time = index.times.delete();
    retrying!(
        D,
        "a delete",
        within(time, run::<D>(index, scope, target, DeleteIf::Asked))
    )
}

/// Deletes a study whose time was over at a moment, unless a store has given it another one.
pub(super) async fn delete_expired<D: Dialect>(
    index: &SqlIndex<D>,
    (partition, study): &(Partition, StudyUid),
    moment: OffsetDateTime,
) -> Result<u64> {
    let scope = Scope {
        partition: *partition,
        visible: Visible::All,
    };
    let target = Target::Study(study.clone());
    let (time, still) = (index.times.delete(), DeleteIf::Expired(to_micros(moment)));
    retrying!(
        D,
        "a delete",
        within(time, run::<D>(index, &scope, &target, still))
    )
}

/// Deletes a study, unless it is another version now.
pub(super) async fn delete_unchanged<D: Dialect>(
    index: &SqlIndex<D>,
    partition: Partition,
    study: &StudyUid,
    version: i64,
) -> Result<u64> {
    let scope = Scope {
        partition,
        visible: Visible::All,
    };
    let target = Target::Study(study.clone());
    let (time, still) = (index.times.delete(), DeleteIf::Version(version));
    retrying!(
        D,
        "a delete",
        within(time, run::<D>(index, &scope, &target, still))
    )
}

/// Studies whose time was over at a moment, those first whose was over first.
pub(super) async fn expired<D: Dialect>(
    index: &SqlIndex<D>,
    moment: OffsetDateTime,
    limit: u32,
) -> Result<Vec<(Partition, StudyUid)>> {
    let mut sql = Statement::<D>::new(
        "select study.partition, study.study_uid from study where study.expires <= ",
    );
    sql.int(to_micros(moment))
        .push(" order by study.expires")
        .limit(i64::from(limit));
    let rows = index.read("studies whose time is over", sql).await?;
    let corrupt = || IndexError::Corrupt {
        what: "a study whose time is over",
    };
    let read = |row: &D::Row| {
        let (partition, study) = (row.int("partition").ok()?, row.text("study_uid").ok()?);
        Some((Partition(partition), StudyUid::parse(&study).ok()?))
    };
    rows.iter()
        .map(|row| read(row).ok_or_else(corrupt))
        .collect()
}

/// The rows a target means.
pub(super) struct TargetRows<'t> {
    study: i64,
    series: Option<i64>,
    instance: Option<&'t str>,
}

impl TargetRows<'_> {
    /// Appends the condition that a row of `instance` belongs to the target.
    pub(super) fn push<D: Dialect>(&self, sql: &mut Statement<D>) {
        match self.series {
            None => sql.push(" instance.study_row = ").int(self.study),
            Some(series) => sql.push(" instance.series_row = ").int(series),
        };
        if let Some(instance) = self.instance {
            sql.push(" and instance.sop_instance_uid = ").text(instance);
        }
    }
}

async fn run<D: Dialect>(
    index: &SqlIndex<D>,
    scope: &Scope,
    target: &Target,
    still: DeleteIf,
) -> Driver<u64> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let Some(rows) = target_rows::<D>(&mut transaction, scope, target, still).await? else {
        transaction.rollback().await?;
        return Ok(0);
    };
    let removal = Removal {
        reason: match still {
            DeleteIf::Asked => RemovalReason::Deleted,
            DeleteIf::Expired(_) | DeleteIf::Version(_) => RemovalReason::Expired,
        },
        since: now_micros(),
        meant: [
            target.series().map(SeriesUid::as_str),
            target.instance().map(InstanceUid::as_str),
        ],
    };
    let entries = trash_blobs::<D>(&mut transaction, &removal, |sql| rows.push(sql)).await?;
    originals::discard::<D>(&mut transaction, removal.since, |sql| rows.push(sql)).await?;
    fault::point("delete.trash");
    let mut sql = Statement::<D>::new(
        "delete from instance_content where watermark in (select instance.watermark from instance where",
    );
    rows.push(&mut sql);
    sql.push(")");
    sql.run(&mut transaction).await?;
    fault::point("delete.content");
    let mut changes = StatementBatch::<D>::new();
    D::lock_feed(&mut changes);
    append_changes(&mut changes, &rows);
    changes.run(&mut transaction).await?;
    fault::point("delete.changes");
    let mut sql = Statement::<D>::new("delete from instance where");
    rows.push(&mut sql);
    let deleted = sql.run(&mut transaction).await?;
    fault::point("delete.rows");
    keep_shared_blobs::<D>(&mut transaction, &entries).await?;
    if deleted > 0 {
        update_levels::<D>(&mut transaction, &rows).await?;
    }
    fault::point("delete.levels");
    transaction.commit().await?;
    fault::point("delete.committed");
    Ok(deleted)
}

/// Locks the study and finds the rows of the target; none when it does not exist.
pub(super) async fn target_rows<'t, D: Dialect>(
    connection: &mut D::Connection,
    scope: &Scope,
    target: &'t Target,
    still: DeleteIf,
) -> Driver<Option<TargetRows<'t>>> {
    let mut sql = Statement::<D>::new("select study.id from study where study.study_uid = ");
    sql.text(target.study().as_str());
    push_scope(&mut sql, scope);
    match still {
        DeleteIf::Asked => {}
        DeleteIf::Expired(moment) => {
            sql.push(" and study.expires <= ").int(moment);
        }
        DeleteIf::Version(version) => {
            sql.push(" and study.version = ").int(version);
        }
    }
    sql.push(D::FOR_UPDATE);
    let Some(study) = sql.row(connection).await? else {
        return Ok(None);
    };
    let mut rows = TargetRows {
        study: study.int("id")?,
        series: None,
        instance: target.instance().map(InstanceUid::as_str),
    };
    if let Some(uid) = target.series() {
        let mut sql = Statement::<D>::new("select id from series where series_uid = ");
        sql.text(uid.as_str())
            .push(" and study_row = ")
            .int(rows.study);
        let Some(series) = sql.row(connection).await? else {
            return Ok(None);
        };
        rows.series = Some(series.int("id")?);
    }
    Ok(Some(rows))
}

fn append_changes<D: Dialect>(changes: &mut StatementBatch<D>, rows: &TargetRows<'_>) {
    let sql = changes.then("with t as materialized (select ");
    sql.push(D::FEED_TIME).push(
        " as time) insert into change (time, partition, action, watermark, study_uid, series_uid, sop_instance_uid, patient_id) \
         select t.time, instance.partition, ",
    );
    sql.int(action_code(ChangeAction::Delete)).push(
        ", instance.watermark, study.study_uid, series.series_uid, instance.sop_instance_uid, study.patient_id \
         from instance join series on series.id = instance.series_row join study on study.id = instance.study_row \
         cross join t where",
    );
    rows.push(sql);
    sql.push(" order by instance.watermark");
}

/// Removes what has become empty and recounts the rest.
async fn update_levels<D: Dialect>(
    connection: &mut D::Connection,
    rows: &TargetRows<'_>,
) -> Driver<()> {
    let series = rows.series.unwrap_or(0);
    let mut sql = Statement::<D>::new("update series set version = ");
    sql.push(D::VERSION_BEHIND_FEED).push(
        ", instance_count = (select count(*) from instance where instance.series_row = series.id), \
         newest = coalesce((select max(watermark) from instance where instance.series_row = series.id), 0) \
         where series.id = ",
    );
    sql.int(series);
    sql.run(connection).await?;
    let mut sql = Statement::<D>::new("delete from series where study_row = ");
    sql.int(rows.study);
    if rows.series.is_some() {
        sql.push(" and id = ")
            .int(series)
            .push(" and instance_count = 0");
    }
    let emptied = sql.run(connection).await?;

    let mut sql = Statement::<D>::new(
        "delete from study where not exists (select 1 from series where series.study_row = study.id) and study.id = ",
    );
    sql.int(rows.study);
    if sql.run(connection).await? > 0 {
        return Ok(());
    }
    let mut sql = Statement::<D>::new("update study set version = ");
    sql.push(D::VERSION_BEHIND_FEED).push(
        ", instance_count = (select cast(sum(instance_count) as bigint) from series where series.study_row = study.id), \
         series_count = (select count(*) from series where series.study_row = study.id), \
         newest = (select max(newest) from series where series.study_row = study.id)",
    );
    if emptied > 0 {
        let modalities = study_modalities::<D>(connection, &[rows.study]).await?;
        sql.push(", modalities = ");
        sql.text(modalities.get(&rows.study).map_or("", String::as_str));
    }
    sql.push(" where id = ").int(rows.study);
    sql.run(connection).await.map(|_| ())
}

/// Recounts studies after an exchange of instances and removes what has become empty; the rows are the caller's.
pub(super) async fn recount<D: Dialect>(
    connection: &mut D::Connection,
    studies: &[i64],
) -> Driver<()> {
    let these = || studies.iter().copied();
    let mut sql = Statement::<D>::new("update series set version = ");
    sql.push(D::NEXT_VERSION).push(
        ", instance_count = (select count(*) from instance where instance.series_row = series.id), \
         newest = coalesce((select max(watermark) from instance where instance.series_row = series.id), 0) \
         where (instance_count <> (select count(*) from instance where instance.series_row = series.id) \
         or newest <> coalesce((select max(watermark) from instance where instance.series_row = series.id), 0)) \
         and study_row in ",
    );
    sql.ints(these());
    sql.run(connection).await?;
    let mut sql =
        Statement::<D>::new("delete from series where instance_count = 0 and study_row in ");
    sql.ints(these());
    sql.run(connection).await?;
    let mut sql = Statement::<D>::new(
        "delete from study where not exists (select 1 from series where series.study_row = study.id) and study.id in ",
    );
    sql.ints(these());
    sql.run(connection).await?;
    let modalities = study_modalities::<D>(connection, studies).await?;
    for study in these() {
        let mut sql = Statement::<D>::new("update study set version = ");
        sql.push(D::NEXT_VERSION)
            .push(", changed_at = ")
            .push(D::NEXT_VERSION)
            .push(
                ", instance_count = (select cast(sum(instance_count) as bigint) from series where series.study_row = study.id), \
                 series_count = (select count(*) from series where series.study_row = study.id), \
                 newest = (select max(newest) from series where series.study_row = study.id), modalities = ",
            );
        sql.text(modalities.get(&study).map_or("", String::as_str));
        sql.push(" where id = ").int(study);
        sql.run(connection).await?;
    }
    Ok(())
}
