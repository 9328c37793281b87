//! Bulk updates: what is to be changed, what of it is prepared, how far it is.
//!
//! Invariant: a prepared instance has its blob, and belongs to a study that waits; when the study no longer does, it is gone.

use async_trait::async_trait;

use super::bulk_update_commit::commit;
use super::bulk_update_model::{
    BulkUpdateBegun, BulkUpdateTask, NewBulkUpdate, PreparedInstance, UpdateCommit, UpdatePlace,
    UpdateProgress, UpdateState, UpdatedStudy,
};
use super::error::IndexError;
use super::instance_row::{COLUMNS, TABLES, instance_row, push_target};
use super::level_rows::{push_cells, push_columns};
use super::model::{InstanceRow, Result};
use super::operations::insert_operation;
use super::prepared::{UNPREPARED, discard_prepared, push_place};
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::rows::blob_hash;
use super::scoping::push_scope;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::subscriptions::{limits, written};
use super::timeouts::within;
use super::traits::BulkUpdates;
use crate::checksum::BlockChecksums;
use crate::dicom::attributes::QueryLevel;
use crate::dicom::uid::{StudyUid, Target};
use crate::fault;
use crate::scope::{Partition, Scope, Visible};

#[async_trait]
impl<D: Dialect> BulkUpdates for SqlIndex<D> {
    async fn begin_bulk_update(&self, new: &NewBulkUpdate) -> Result<BulkUpdateBegun> {
        let time = self.times.insert();
        retrying!(D, "a bulk update", within(time, begin(self, new)))
    }

    async fn bulk_update(&self, operation: &str) -> Result<Option<BulkUpdateTask>> {
        let mut sql = Statement::<D>::new(
            "select partition, visible, request from bulk_update where operation = ",
        );
        sql.text(operation);
        let rows = self.read("a bulk update", sql).await?;
        let task = |row: &D::Row| -> Driver<BulkUpdateTask> {
            let visible = row.opt_text("visible")?;
            Ok(BulkUpdateTask {
                partition: Partition(row.int("partition")?),
                visible: visible.map_or(Visible::All, |text| limits(&text)),
                request: row.text("request")?,
            })
        };
        let task = rows.first().map(task).transpose();
        task.map_err(failed::<D>("a bulk update"))
    }

    async fn updated_studies(&self, operation: &str) -> Result<Vec<UpdatedStudy>> {
        let mut sql = Statement::<D>::new(
            "select number, study_uid, state, instances from bulk_update_study where operation = ",
        );
        sql.text(operation).push(" order by number");
        let rows = self.read("a bulk update", sql).await?;
        let corrupt = || IndexError::Corrupt {
            what: "a bulk update",
        };
        let study = |row: &D::Row| {
            Some(UpdatedStudy {
                number: row.int("number").ok()?,
                study: StudyUid::parse(&row.text("study_uid").ok()?).ok()?,
                state: state(row.int("state").ok()?)?,
                instances: row.int("instances").ok()?,
            })
        };
        rows.iter()
            .map(|row| study(row).ok_or_else(corrupt))
            .collect()
    }

    async fn unprepared(
        &self,
        scope: &Scope,
        target: &Target,
        limit: u32,
    ) -> Result<Vec<InstanceRow>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(TABLES);
        push_target(&mut sql, scope, target);
        sql.push(UNPREPARED);
        sql.push(" order by instance.watermark")
            .limit(i64::from(limit));
        let rows = self.read("instances", sql).await?;
        rows.iter().map(instance_row).collect()
    }

    async fn update_progress(
        &self,
        scope: &Scope,
        target: &Target,
        place: UpdatePlace<'_>,
    ) -> Result<UpdateProgress> {
        let mut sql = Statement::<D>::new(
            "select count(*) as instances, (select count(*) from prepared_instance where ",
        );
        push_place(&mut sql, place);
        sql.push(") as prepared").push(TABLES);
        push_target(&mut sql, scope, target);
        let rows = self.read("a bulk update", sql).await?;
        let count = |column| {
            let count = rows.first().map_or(Ok(0), |row| row.int(column));
            let count = count.map_err(failed::<D>("a bulk update"))?;
            Ok::<_, IndexError>(u64::try_from(count).unwrap_or(0))
        };
        Ok(UpdateProgress {
            prepared: count("prepared")?,
            all: count("instances")?,
        })
    }

    async fn keep_prepared(
        &self,
        place: UpdatePlace<'_>,
        partition: Partition,
        levels: &str,
        prepared: &[PreparedInstance],
    ) -> Result<Vec<bool>> {
        let time = self.times.insert();
        let keep = || keep(self, place, partition, levels, prepared);
        retrying!(D, "a bulk update", within(time, keep()))
    }

    async fn commit_update(
        &self,
        scope: &Scope,
        target: &Target,
        place: UpdatePlace<'_>,
    ) -> Result<UpdateCommit> {
        let time = self.times.delete();
        retrying!(
            D,
            "a bulk update",
            within(time, commit(self, scope, target, place))
        )
    }

    async fn end_update(&self, place: UpdatePlace<'_>, state: UpdateState) -> Result<()> {
        let time = self.times.insert();
        retrying!(D, "a bulk update", within(time, end(self, place, state)))
    }
}

const fn number(state: UpdateState) -> i64 {
    match state {
        UpdateState::Waiting => 0,
        UpdateState::Updated => 1,
        UpdateState::Failed => 2,
        UpdateState::Unknown => 3,
    }
}

fn state(number: i64) -> Option<UpdateState> {
    Some(match number {
        0 => UpdateState::Waiting,
        1 => UpdateState::Updated,
        2 => UpdateState::Failed,
        3 => UpdateState::Unknown,
        _ => return None,
    })
}

async fn begin<D: Dialect>(index: &SqlIndex<D>, new: &NewBulkUpdate) -> Driver<BulkUpdateBegun> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let uids = || new.studies.iter().map(StudyUid::as_str);
    let scope = Scope {
        partition: new.partition,
        visible: new.visible.clone(),
    };
    // Whoever may not see a study learns neither that it is there nor that it is being updated.
    let mut sql =
        Statement::<D>::new("select study.study_uid from study where study.study_uid in ");
    sql.texts(uids());
    push_scope(&mut sql, &scope);
    let mut there = Vec::new();
    for row in sql.rows(&mut transaction).await? {
        there.push(row.text("study_uid")?);
    }
    insert_operation::<D>(&new.operation)
        .run(&mut transaction)
        .await?;
    let mut sql = Statement::<D>::new(
        "insert into bulk_update (operation, partition, visible, request) values (",
    );
    sql.text(&new.operation.id).push(", ");
    sql.int(new.partition.0).push(", ");
    sql.opt_text(written(&new.visible).as_deref()).push(", ");
    sql.text(&new.request).push(")");
    sql.run(&mut transaction).await?;
    let mut sql = Statement::<D>::new(
        "insert into bulk_update_study (operation, number, partition, study_uid, state)",
    );
    let studies = (0_i64..).zip(uids());
    sql.values(studies, |sql, (at, uid)| {
        let state = match there.iter().any(|known| known == uid) {
            true => UpdateState::Waiting,
            false => UpdateState::Unknown,
        };
        sql.text(&new.operation.id).push(", ").int(at).push(", ");
        sql.int(new.partition.0).push(", ").text(uid).push(", ");
        sql.int(number(state));
    });
    sql.push(" on conflict do nothing");
    let written = sql.run(&mut transaction).await?;
    if written < new.studies.len() as u64 {
        transaction.rollback().await?;
        return Ok(BulkUpdateBegun::Running);
    }
    fault::point("update.begun");
    transaction.commit().await?;
    Ok(BulkUpdateBegun::Begun)
}

async fn keep<D: Dialect>(
    index: &SqlIndex<D>,
    place: UpdatePlace<'_>,
    partition: Partition,
    levels: &str,
    prepared: &[PreparedInstance],
) -> Driver<Vec<bool>> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let mut sql = Statement::<D>::new("update bulk_update_study set levels = ");
    sql.text(levels);
    sql.push(" where state = 0 and operation = ")
        .text(place.operation);
    sql.push(" and number = ").int(place.number);
    if sql.run(&mut transaction).await? == 0 {
        transaction.rollback().await?;
        return Ok(vec![false; prepared.len()]);
    }
    let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let mut kept = Vec::with_capacity(prepared.len());
    // One after the other: each is large beside its statement.
    for new in prepared {
        let packed = &new.packed;
        let findings = packed.findings_text();
        let findings = findings.map_err(|error| sqlx::Error::Encode(error.into()))?;
        let mut sql = Statement::<D>::new(
            "insert into prepared_instance (replaces, operation, number, partition, study_uid, series_uid, \
             sop_instance_uid, sop_class_uid, transfer_syntax, blob_offset, blob_length, blob_hash, digest, blocks, \
             blob_key, layout, pixel, findings, bulk, frames, metadata, attributes",
        );
        push_columns(&mut sql, QueryLevel::Instance);
        sql.push(") values (").int(new.replaces).push(", ");
        sql.text(place.operation).push(", ").int(place.number);
        sql.push(", ").int(partition.0).push(", ");
        sql.text(packed.name.study.as_str()).push(", ");
        sql.text(packed.name.series.as_str()).push(", ");
        sql.text(packed.name.instance.as_str()).push(", ");
        sql.text(&packed.sop_class).push(", ");
        sql.text(&packed.transfer_syntax).push(", ");
        sql.int(number(new.place.offset)).push(", ");
        sql.int(number(new.place.length)).push(", ");
        sql.int(blob_hash(&new.place.key)).push(", ");
        let blocks = new.place.blocks.as_ref().map(BlockChecksums::to_bytes);
        sql.blob(&new.digest).push(", ");
        sql.opt_blob(blocks.as_deref()).push(", ");
        sql.text(&new.place.key);
        sql.push(", ").text(&packed.layout).push(", ");
        sql.opt_text(packed.pixel.as_deref()).push(", ");
        sql.text(&findings).push(", ").text(&packed.bulk);
        sql.push(", ").blob(&packed.frames).push(", ");
        sql.blob(&packed.metadata).push(", ");
        push_cells(&mut sql, QueryLevel::Instance, &packed.instance);
        sql.push(") on conflict (replaces) do nothing");
        kept.push(sql.run(&mut transaction).await? > 0);
    }
    fault::point("update.kept");
    transaction.commit().await?;
    fault::point("update.prepared");
    Ok(kept)
}

async fn end<D: Dialect>(
    index: &SqlIndex<D>,
    place: UpdatePlace<'_>,
    state: UpdateState,
) -> Driver<()> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let mut sql = Statement::<D>::new("update bulk_update_study set state = ");
    sql.int(number(state));
    sql.push(" where state = 0 and operation = ")
        .text(place.operation);
    sql.push(" and number = ").int(place.number);
    if sql.run(&mut transaction).await? == 0 {
        transaction.rollback().await?;
        return Ok(());
    }
    discard_prepared::<D>(&mut transaction, place, "").await?;
    fault::point("update.ended");
    transaction.commit().await
}
