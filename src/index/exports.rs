//! Exports: what is exported, how far it is, what could not be exported.
//!
//! Invariant: a step is counted once, whoever did it: it moves the cursor from where it began, or changes nothing.

use async_trait::async_trait;

use super::error::IndexError;
use super::exports_model::{
    DeidentifiedCopy, ExportCursor, ExportStep, ExportTask, NewExport, SkippedExport,
};
use super::instance_row::{COLUMNS, TABLES, instance_row, push_target};
use super::micros::{from_micros, to_micros};
use super::model::{InstanceRow, Result};
use super::operations::{insert_operation, update_operation};
use super::operations_model::Operation;
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_scope;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::subscriptions::{limits, written};
use super::timeouts::within;
use super::traits::Exports;
use crate::dicom::uid::{StudyUid, Target};
use crate::fault;
use crate::scope::{Partition, Scope, Visible};

/// What is read, for messages.
const WHAT: &str = "an export";
/// Sources written by one statement.
const TOGETHER: usize = 200;

#[async_trait]
impl<D: Dialect> Exports for SqlIndex<D> {
    async fn begin_export(&self, new: &NewExport) -> Result<()> {
        let time = self.times.insert();
        retrying!(D, "an export", within(time, begin(self, new)))
    }

    async fn export(&self, operation: &str) -> Result<Option<ExportTask>> {
        let mut sql = Statement::<D>::new(
            "select partition, visible, destination, sources, source, study_uid, series_uid, sop_instance_uid, \
             expected, done, exported, skipped, copy_partition, copy_options, copy_key from export where operation = ",
        );
        sql.text(operation);
        let rows = self.read(WHAT, sql).await?;
        let task = |row: &D::Row| -> Driver<ExportTask> {
            let visible = row.opt_text("visible")?;
            Ok(ExportTask {
                partition: Partition(row.int("partition")?),
                visible: visible.map_or(Visible::All, |text| limits(&text)),
                destination: row.text("destination")?,
                sources: row.opt_int("sources")?,
                cursor: ExportCursor {
                    source: row.int("source")?,
                    study: row.text("study_uid")?,
                    series: row.text("series_uid")?,
                    instance: row.text("sop_instance_uid")?,
                },
                expected: row.int("expected")?,
                done: row.int("done")?,
                exported: row.int("exported")?,
                skipped: row.int("skipped")?,
                copy: copy::<D>(row)?,
            })
        };
        let task = rows.first().map(task).transpose();
        task.map_err(failed::<D>(WHAT))
    }

    async fn export_sources(
        &self,
        operation: &str,
        first: i64,
        limit: u32,
    ) -> Result<Vec<(i64, String)>> {
        let mut sql =
            Statement::<D>::new("select number, identifier from export_source where operation = ");
        sql.text(operation).push(" and number >= ").int(first);
        sql.push(" order by number").limit(i64::from(limit));
        let rows = self.read(WHAT, sql).await?;
        let source = |row: &D::Row| Ok((row.int("number")?, row.text("identifier")?));
        let sources = rows.iter().map(source).collect::<Driver<_>>();
        sources.map_err(failed::<D>(WHAT))
    }

    async fn count_instances(&self, scope: &Scope) -> Result<i64> {
        let mut sql = Statement::<D>::new(
            "select cast(coalesce(sum(study.instance_count), 0) as bigint) as instances from study where 1 = 1",
        );
        push_scope(&mut sql, scope);
        let rows = self.read(WHAT, sql).await?;
        let count = rows.first().map_or(Ok(0), |row| row.int("instances"));
        count.map_err(failed::<D>(WHAT))
    }

    async fn next_study(&self, scope: &Scope, after: &str) -> Result<Option<StudyUid>> {
        let mut sql = Statement::<D>::new("select study.study_uid from study where study_uid > ");
        sql.text(after);
        push_scope(&mut sql, scope);
        sql.push(" order by study.study_uid").limit(1);
        let rows = self.read(WHAT, sql).await?;
        let Some(row) = rows.first() else {
            return Ok(None);
        };
        let uid = row.text("study_uid").map_err(failed::<D>(WHAT))?;
        let uid = StudyUid::parse(&uid).map_err(|_| IndexError::Corrupt { what: "a study" })?;
        Ok(Some(uid))
    }

    async fn instances_by_uid(
        &self,
        scope: &Scope,
        target: &Target,
        after: &ExportCursor,
        limit: u32,
    ) -> Result<Vec<InstanceRow>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(TABLES);
        push_target(&mut sql, scope, target);
        sql.push(" and (series.series_uid > ").text(&after.series);
        sql.push(" or (series.series_uid = ").text(&after.series);
        sql.push(" and instance.sop_instance_uid > ")
            .text(&after.instance);
        sql.push(")) order by series.series_uid, instance.sop_instance_uid")
            .limit(i64::from(limit));
        let rows = self.read("instances", sql).await?;
        rows.iter().map(instance_row).collect()
    }

    async fn advance_export(
        &self,
        operation: &Operation,
        from: &ExportTask,
        step: &ExportStep,
    ) -> Result<bool> {
        let time = self.times.insert();
        let advance = || advance(self, operation, from, step);
        retrying!(D, "an export", within(time, advance()))
    }

    async fn skipped_exports(
        &self,
        operation: &str,
        skip: i64,
        limit: u32,
    ) -> Result<Vec<SkippedExport>> {
        let mut sql = Statement::<D>::new(
            "select created, identifier, message from export_error where operation = ",
        );
        sql.text(operation).push(" and number >= ").int(skip);
        sql.push(" order by number").limit(i64::from(limit));
        let rows = self.read(WHAT, sql).await?;
        let skipped = |row: &D::Row| {
            let failed = failed::<D>(WHAT);
            let corrupt = |_| IndexError::Corrupt { what: WHAT };
            Ok(SkippedExport {
                identifier: row.text("identifier").map_err(&failed)?,
                message: row.text("message").map_err(&failed)?,
                created: from_micros(row.int("created").map_err(&failed)?).map_err(corrupt)?,
            })
        };
        rows.iter().map(skipped).collect()
    }

    async fn end_export(&self, operation: &Operation) -> Result<()> {
        let time = self.times.insert();
        retrying!(D, "an export", within(time, end(self, operation)))
    }
}

/// Where a de-identified copy goes.
fn copy<D: Dialect>(row: &D::Row) -> Driver<Option<DeidentifiedCopy>> {
    let Some(partition) = row.opt_int("copy_partition")? else {
        return Ok(None);
    };
    Ok(Some(DeidentifiedCopy {
        partition: Partition(partition),
        options: row.opt_text("copy_options")?.unwrap_or_default(),
        key: row.opt_text("copy_key")?.unwrap_or_default(),
    }))
}

async fn begin<D: Dialect>(index: &SqlIndex<D>, new: &NewExport) -> Driver<()> {
    let mut transaction = D::begin_write(&index.writers).await?;
    insert_operation::<D>(&new.operation)
        .run(&mut transaction)
        .await?;
    let sources = new.sources.as_deref();
    let count = sources.map(|sources| i64::try_from(sources.len()).unwrap_or(i64::MAX));
    let mut sql = Statement::<D>::new(
        "insert into export (operation, partition, visible, destination, sources, source, study_uid, series_uid, \
         sop_instance_uid, expected, done, exported, skipped, copy_partition, copy_options, copy_key) values (",
    );
    sql.text(&new.operation.id).push(", ");
    sql.int(new.partition.0).push(", ");
    sql.opt_text(written(&new.visible).as_deref()).push(", ");
    sql.text(&new.destination).push(", ").opt_int(count);
    sql.push(", 0, '', '', '', 0, 0, 0, 0, ");
    let copy = new.copy.as_ref();
    sql.opt_int(copy.map(|copy| copy.partition.0)).push(", ");
    sql.opt_text(copy.map(|copy| copy.options.as_str()));
    sql.push(", ").opt_text(copy.map(|copy| copy.key.as_str()));
    sql.push(")");
    sql.run(&mut transaction).await?;
    let mut first = 0_i64;
    for some in sources.unwrap_or_default().chunks(TOGETHER) {
        let mut sql =
            Statement::<D>::new("insert into export_source (operation, number, identifier)");
        sql.values((first..).zip(some), |sql, (number, identifier)| {
            sql.text(&new.operation.id).push(", ").int(number);
            sql.push(", ").text(identifier);
        });
        sql.run(&mut transaction).await?;
        first = first.saturating_add(i64::try_from(some.len()).unwrap_or(i64::MAX));
    }
    fault::point("export.begun");
    transaction.commit().await
}

async fn advance<D: Dialect>(
    index: &SqlIndex<D>,
    operation: &Operation,
    from: &ExportTask,
    step: &ExportStep,
) -> Driver<bool> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let mut sql = Statement::<D>::new("update export set source = ");
    let (old, new) = (&from.cursor, &step.cursor);
    sql.int(new.source).push(", study_uid = ").text(&new.study);
    sql.push(", series_uid = ").text(&new.series);
    sql.push(", sop_instance_uid = ").text(&new.instance);
    sql.push(", expected = ").int(step.expected);
    sql.push(", done = ").int(step.done);
    sql.push(", exported = exported + ").int(step.exported);
    sql.push(", skipped = skipped + ").int(step.skipped_count());
    sql.push(" where operation = ").text(&operation.id);
    sql.push(" and source = ").int(old.source);
    sql.push(" and study_uid = ").text(&old.study);
    sql.push(" and series_uid = ").text(&old.series);
    sql.push(" and sop_instance_uid = ").text(&old.instance);
    if sql.run(&mut transaction).await? == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    if !step.skipped.is_empty() {
        let mut sql = Statement::<D>::new(
            "insert into export_error (operation, number, created, identifier, message)",
        );
        let skipped = (from.skipped..).zip(&step.skipped);
        sql.values(skipped, |sql, (number, skipped)| {
            sql.text(&operation.id).push(", ").int(number).push(", ");
            sql.int(to_micros(skipped.created)).push(", ");
            sql.text(&skipped.identifier).push(", ");
            sql.text(&skipped.message);
        });
        sql.run(&mut transaction).await?;
    }
    update_operation::<D>(operation)
        .run(&mut transaction)
        .await?;
    fault::point("export.counted");
    transaction.commit().await?;
    fault::point("export.advanced");
    Ok(true)
}

async fn end<D: Dialect>(index: &SqlIndex<D>, operation: &Operation) -> Driver<()> {
    let mut transaction = D::begin_write(&index.writers).await?;
    update_operation::<D>(operation)
        .run(&mut transaction)
        .await?;
    for table in [
        "delete from export_source where operation = ",
        "delete from export_error where operation = ",
    ] {
        let mut sql = Statement::<D>::new(table);
        sql.text(&operation.id);
        sql.run(&mut transaction).await?;
    }
    fault::point("export.ended");
    transaction.commit().await
}
