//! How much is stored, by partition, month of arrival and modality.
//!
//! Invariant: triggers of the database count whatever adds, moves or removes a row of study, series or instance, in the
//! transaction that does it (`migrations/*/0019_statistics.sql`), so no path can leave it out.

use async_trait::async_trait;

use super::model::Result;
use super::options::FULL_SCAN;
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::statistics_model::StatisticRow;
use super::timeouts::within;
use super::traits::Tally;

const WHAT: &str = "statistics";
/// What is kept, summed up.
const KEPT: &str = "select partition, month, modality, cast(sum(patients) as bigint) as patients, \
     cast(sum(studies) as bigint) as studies, cast(sum(series) as bigint) as series, \
     cast(sum(instances) as bigint) as instances, cast(sum(bytes) as bigint) as bytes from statistic_kept \
     group by partition, month, modality order by partition, month, modality";
/// What is kept less what there is, where they differ; one statement, so both are of one moment.
const DIFFERENCES: &str = "select partition, month, modality, cast(sum(patients) as bigint) as patients, \
     cast(sum(studies) as bigint) as studies, cast(sum(series) as bigint) as series, \
     cast(sum(instances) as bigint) as instances, cast(sum(bytes) as bigint) as bytes from ( \
     select partition, month, modality, patients, studies, series, instances, bytes from statistic_kept \
     union all select partition, month, modality, -patients, -studies, -series, -instances, -bytes from statistic_counted \
     ) as differences group by partition, month, modality \
     having sum(patients) <> 0 or sum(studies) <> 0 or sum(series) <> 0 or sum(instances) <> 0 or sum(bytes) <> 0 \
     order by partition, month, modality";

#[async_trait]
impl<D: Dialect> Tally for SqlIndex<D> {
    async fn statistics(&self) -> Result<Vec<StatisticRow>> {
        let rows = self.read(WHAT, Statement::new(KEPT)).await?;
        let rows = rows.iter().map(statistic_row).collect::<Driver<Vec<_>>>();
        let mut rows = rows.map_err(failed::<D>(WHAT))?;
        rows.retain(|row| !row.is_empty());
        Ok(rows)
    }

    async fn add_up_statistics(&self) -> Result<()> {
        match D::ADD_UP {
            None => Ok(()),
            Some(sql) => self.write(WHAT, Statement::new(sql)).await.map(|_| ()),
        }
    }

    async fn statistic_errors(&self) -> Result<Vec<StatisticRow>> {
        let rows = self.read_all(WHAT, Statement::new(DIFFERENCES)).await?;
        let rows = rows.iter().map(statistic_row).collect::<Driver<Vec<_>>>();
        rows.map_err(failed::<D>(WHAT))
    }

    async fn recount_statistics(&self) -> Result<()> {
        retrying!(D, "a recount", within(FULL_SCAN, recount::<D>(self)))
    }

    async fn count_trash(&self) -> Result<u64> {
        let sql = Statement::<D>::new("select count(*) as blobs from trash");
        let rows = self.read("the trash", sql).await?;
        let blobs = rows.first().map_or(Ok(0), |row| row.int("blobs"));
        Ok(u64::try_from(blobs.map_err(failed::<D>("the trash"))?).unwrap_or(0))
    }
}

async fn recount<D: Dialect>(index: &SqlIndex<D>) -> Driver<()> {
    let mut transaction = D::begin_write(&index.writers).await?;
    for sql in D::RECOUNT {
        Statement::<D>::new(sql).run(&mut transaction).await?;
    }
    transaction.commit().await
}

fn statistic_row(row: &impl RowColumns) -> Driver<StatisticRow> {
    Ok(StatisticRow {
        partition: row.int("partition")?,
        month: row.int("month")?,
        modality: row.text("modality")?,
        patients: row.int("patients")?,
        studies: row.int("studies")?,
        series: row.int("series")?,
        instances: row.int("instances")?,
        bytes: row.int("bytes")?,
    })
}
