//! Non-patient instances: their files and metadata, each in one row.
//!
//! Invariant: a row is written once and never changes.

use async_trait::async_trait;

use super::error::IndexError;
use super::micros::now_micros;
use super::model::Result;
use super::nonpatient_model::{NewNonPatient, NonPatientInserted, NonPatientRow, StoredNonPatient};
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns, digest};
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::timeouts::within;
use super::traits::NonPatient;
use super::workitems::{found_workitem, size};
use super::workitems_model::FoundWorkitem;
use crate::dicom::nonpatient::NonPatientKind;
use crate::fault;
use crate::scope::{Scope, Visible};

const WHAT: &str = "a non-patient instance";
/// What a row tells without its contents.
const COLUMNS: &str = "id, transfer_syntax, digest, cast(length(file) as bigint) as length, weight, \
     cast(length(metadata) as bigint) as packed";

/// Appends what limits rows to a resource as the scope sees it.
fn push_kind<D: Dialect>(sql: &mut Statement<D>, scope: &Scope, kind: NonPatientKind) {
    sql.push(" and partition = ").int(scope.partition.0);
    sql.push(" and kind = ").text(kind.as_str());
    if kind.names_patients() && scope.visible != Visible::All {
        sql.push(" and 1 = 0");
    }
}

#[async_trait]
impl<D: Dialect> NonPatient for SqlIndex<D> {
    async fn insert_nonpatient(
        &self,
        scope: &Scope,
        new: &NewNonPatient,
    ) -> Result<NonPatientInserted> {
        let time = self.times.insert();
        retrying!(
            D,
            "a non-patient instance",
            within(time, insert(self, scope, new))
        )
    }

    async fn nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &str,
    ) -> Result<Option<NonPatientRow>> {
        let mut sql = Statement::<D>::new("select ");
        sql.push(COLUMNS)
            .push(" from nonpatient where sop_instance_uid = ");
        sql.text(uid);
        push_kind(&mut sql, scope, kind);
        let rows = self.read(WHAT, sql).await?;
        rows.first().map(row_of::<D>).transpose()
    }

    async fn nonpatient_file(&self, id: i64) -> Result<Option<Vec<u8>>> {
        let mut sql = Statement::<D>::new("select file from nonpatient where id = ");
        sql.int(id);
        let rows = self.read(WHAT, sql).await?;
        let file = rows.first().map(|row| row.blob("file")).transpose();
        file.map_err(failed::<D>(WHAT))
    }

    async fn delete_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        uid: &str,
    ) -> Result<bool> {
        let mut sql = Statement::<D>::new("delete from nonpatient where sop_instance_uid = ");
        sql.text(uid);
        push_kind(&mut sql, scope, kind);
        Ok(self.write(WHAT, sql).await? > 0)
    }

    async fn find_nonpatient(
        &self,
        scope: &Scope,
        kind: NonPatientKind,
        before: i64,
        limit: u32,
    ) -> Result<Vec<FoundWorkitem>> {
        let mut sql = Statement::<D>::new(
            "select id, weight, cast(length(metadata) as bigint) as packed from nonpatient where id < ",
        );
        sql.int(before);
        push_kind(&mut sql, scope, kind);
        sql.push(" order by id desc").limit(i64::from(limit));
        let rows = self.read_bounded(WHAT, sql).await?;
        let found = rows.iter().map(found_workitem).collect::<Driver<Vec<_>>>();
        found.map_err(failed::<D>(WHAT))
    }

    async fn nonpatient_metadata(&self, ids: &[i64]) -> Result<Vec<(i64, Vec<u8>)>> {
        let mut sql = Statement::<D>::new("select id, metadata from nonpatient where id in ");
        sql.ints(ids.iter().copied());
        let rows = self.read(WHAT, sql).await?;
        let metadata = |row: &D::Row| Ok((row.int("id")?, row.blob("metadata")?));
        let metadata = rows.iter().map(metadata).collect::<Driver<Vec<_>>>();
        metadata.map_err(failed::<D>(WHAT))
    }

    async fn all_nonpatient(&self, after: i64, limit: u32) -> Result<Vec<StoredNonPatient>> {
        let mut sql = Statement::<D>::new("select kind, sop_instance_uid, ");
        sql.push(COLUMNS).push(" from nonpatient where id > ");
        sql.int(after).push(" order by id").limit(i64::from(limit));
        let rows = self.read(WHAT, sql).await?;
        let stored = |row: &D::Row| {
            let failed = failed::<D>(WHAT);
            Ok(StoredNonPatient {
                kind: row.text("kind").map_err(&failed)?,
                instance: row.text("sop_instance_uid").map_err(&failed)?,
                row: row_of::<D>(row)?,
            })
        };
        rows.iter().map(stored).collect()
    }
}

fn row_of<D: Dialect>(row: &D::Row) -> Result<NonPatientRow> {
    let failed = failed::<D>(WHAT);
    Ok(NonPatientRow {
        id: row.int("id").map_err(&failed)?,
        transfer_syntax: row.text("transfer_syntax").map_err(&failed)?,
        digest: digest(row).map_err(|_| IndexError::Corrupt { what: WHAT })?,
        length: size(row.int("length").map_err(&failed)?),
        weight: size(row.int("weight").map_err(&failed)?),
        packed: size(row.int("packed").map_err(&failed)?),
    })
}

async fn insert<D: Dialect>(
    index: &SqlIndex<D>,
    scope: &Scope,
    new: &NewNonPatient,
) -> Driver<NonPatientInserted> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let mut sql = Statement::<D>::new(
        "insert into nonpatient (partition, kind, sop_class_uid, sop_instance_uid, transfer_syntax, created, digest, \
         file, weight, metadata) values (",
    );
    sql.int(scope.partition.0).push(", ");
    sql.text(new.kind.as_str()).push(", ");
    sql.text(&new.sop_class).push(", ");
    sql.text(&new.instance).push(", ");
    sql.text(&new.transfer_syntax).push(", ");
    sql.int(now_micros()).push(", ").blob(&new.digest);
    sql.push(", ").blob(&new.file).push(", ");
    sql.int(i64::try_from(new.weight).unwrap_or(i64::MAX));
    sql.push(", ").blob(&new.metadata);
    sql.push(") on conflict (sop_instance_uid, partition) do nothing");
    if sql.run(&mut transaction).await? > 0 {
        fault::point("nonpatient.inserted");
        transaction.commit().await?;
        return Ok(NonPatientInserted::Stored);
    }
    let mut sql = Statement::<D>::new("select digest from nonpatient where sop_instance_uid = ");
    sql.text(&new.instance);
    sql.push(" and partition = ").int(scope.partition.0);
    let there = sql.row(&mut transaction).await?;
    let there = there.map(|row| row.blob("digest")).transpose()?;
    transaction.rollback().await?;
    Ok(match there {
        Some(digest) if digest == new.digest => NonPatientInserted::Same,
        _ => NonPatientInserted::Other,
    })
}
