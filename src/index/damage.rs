//! Which stored instances are damaged, and giving one its bytes back.
//!
//! Invariant: a row of `damage` lives as long as its instance; it ends with the instance or when the bytes are whole again.

use std::collections::HashSet;

use async_trait::async_trait;

use super::error::IndexError;
use super::instance_row::{COLUMNS, TABLES, instance_row};
use super::micros::{from_micros, now_micros};
use super::model::{BlobPlace, Damage, InstanceRow, Result};
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::rows::blob_hash;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::timeouts::within;
use super::traits::Damages;
use crate::checksum::BlockChecksums;
use crate::fault;

#[async_trait]
impl<D: Dialect> Damages for SqlIndex<D> {
    async fn note_damage(&self, watermark: i64, problem: &str) -> Result<bool> {
        let mut sql = Statement::<D>::new(
            "insert into damage (watermark, problem, found) select watermark, cast(",
        );
        sql.text(problem).push(" as text), cast(").int(now_micros());
        sql.push(" as bigint) from instance where watermark = ")
            .int(watermark);
        sql.push(
            " on conflict (watermark) do update set problem = excluded.problem \
             where damage.problem <> excluded.problem",
        );
        Ok(self.write("damage", sql).await? > 0)
    }

    async fn clear_damage(&self, watermarks: &[i64]) -> Result<u64> {
        let mut forgotten = 0;
        for chunk in watermarks.chunks(500) {
            let mut sql = Statement::<D>::new("delete from damage where watermark in ");
            sql.ints(chunk.iter().copied());
            forgotten += self.write("damage", sql).await?;
        }
        Ok(forgotten)
    }

    async fn keep_blocks(&self, watermark: i64, blocks: &BlockChecksums) -> Result<()> {
        let mut sql = Statement::<D>::new("update instance set blocks = ");
        sql.blob(&blocks.to_bytes());
        sql.push(" where blocks is null and watermark = ")
            .int(watermark);
        self.write("checksums", sql).await?;
        Ok(())
    }

    async fn damages(&self, after: i64, limit: u32) -> Result<Vec<Damage>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(", damage.problem, damage.found").push(TABLES);
        sql.push(" join damage on damage.watermark = instance.watermark where damage.watermark > ")
            .int(after);
        sql.push(" order by damage.watermark")
            .limit(i64::from(limit));
        let rows = self.read("damage", sql).await?;
        let damage = |row: &D::Row| {
            let failed = failed::<D>("damage");
            let found = from_micros(row.int("found").map_err(&failed)?);
            Ok(Damage {
                row: instance_row(row)?,
                problem: row.text("problem").map_err(&failed)?,
                found: found.map_err(|_| IndexError::Corrupt { what: "damage" })?,
            })
        };
        rows.iter().map(damage).collect()
    }

    async fn damaged_among(&self, watermarks: &[i64]) -> Result<HashSet<i64>> {
        let mut found = HashSet::new();
        for chunk in watermarks.chunks(500) {
            let mut sql = Statement::<D>::new("select watermark from damage where watermark in ");
            sql.ints(chunk.iter().copied());
            for row in self.read("damage", sql).await? {
                found.insert(row.int("watermark").map_err(failed::<D>("damage"))?);
            }
        }
        Ok(found)
    }

    async fn count_damaged(&self) -> Result<u64> {
        let sql = Statement::<D>::new("select count(*) as damaged from damage");
        let rows = self.read("damage", sql).await?;
        let damaged = rows.first().map_or(Ok(0), |row| row.int("damaged"));
        let damaged = damaged.map_err(failed::<D>("damage"))?;
        Ok(u64::try_from(damaged).unwrap_or(0))
    }

    async fn instances_of_blob(&self, key: &str) -> Result<Vec<InstanceRow>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(TABLES).push(" where instance.blob_hash = ");
        sql.int(blob_hash(key)).push(" and instance.blob_key = ");
        sql.text(key)
            .push(" order by instance.watermark")
            .limit(500);
        let rows = self.read("instances", sql).await?;
        rows.iter().map(instance_row).collect()
    }

    async fn replace_blob(&self, watermark: i64, old: &str, new: &BlobPlace) -> Result<bool> {
        let time = self.times.insert();
        retrying!(
            D,
            "a repair",
            within(time, replace(self, watermark, old, new))
        )
    }
}

async fn replace<D: Dialect>(
    index: &SqlIndex<D>,
    watermark: i64,
    old: &str,
    new: &BlobPlace,
) -> Driver<bool> {
    let mut transaction = D::begin_write(&index.writers).await?;
    // Whoever deletes the instance meanwhile must put the blob onto the trash that it has in the end.
    let mut sql = Statement::<D>::new(
        "select study.id from study where study.id = (select study_row from instance where watermark = ",
    );
    sql.int(watermark).push(")").push(D::FOR_UPDATE);
    sql.rows(&mut transaction).await?;
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut sql = Statement::<D>::new("update instance set blob_key = ");
    sql.text(&new.key).push(", blob_hash = ");
    sql.int(blob_hash(&new.key)).push(", blob_offset = ");
    sql.int(number(new.offset)).push(", blob_length = ");
    sql.int(number(new.length)).push(" where watermark = ");
    sql.int(watermark).push(" and blob_key = ").text(old);
    if sql.run(&mut transaction).await? == 0 {
        transaction.rollback().await?;
        return Ok(false);
    }
    let mut sql = Statement::<D>::new("delete from damage where watermark = ");
    sql.int(watermark);
    sql.run(&mut transaction).await?;
    // What is left of the old blob goes, unless another instance still uses it: the sweeper looks.
    let mut sql = Statement::<D>::new("insert into trash (blob_key, blob_hash, since)");
    sql.values([old], |sql, old| {
        sql.text(old).push(", ").int(blob_hash(old)).push(", ");
        sql.int(now_micros());
    });
    sql.push(" on conflict (blob_key) do update set since = excluded.since");
    sql.run(&mut transaction).await?;
    fault::point("heal.row");
    transaction.commit().await?;
    fault::point("heal.committed");
    Ok(true)
}
