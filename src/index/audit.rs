//! Walks over the whole index, for `fsck` and the health check.

use std::collections::HashSet;

use async_trait::async_trait;

use super::instance_row::instance_row;
use super::instances::all_instances;
use super::model::{InstanceRow, PoolState, Result};
use super::options::FULL_SCAN;
use super::reader_pool::pool_state;
use super::row_columns::{Driver, RowColumns};
use super::rows::blob_hash;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::timeouts::within;
use super::traits::Audit;

/// Studies whose maintained columns differ from what lies below them.
const STUDY_ERRORS: &str = "\
    select study.study_uid, study.instance_count, study.series_count, study.newest, \
    coalesce(cast(sum(series.instance_count) as bigint), 0) as instances, count(series.id) as series, \
    coalesce(max(series.newest), 0) as last \
    from study left join series on series.study_row = study.id \
    group by study.id, study.study_uid, study.instance_count, study.series_count, study.newest \
    having study.instance_count <> coalesce(sum(series.instance_count), 0) or study.series_count <> count(series.id) \
    or study.newest <> coalesce(max(series.newest), 0) or count(series.id) = 0 \
    order by study.study_uid limit ";

/// Likewise series.
const SERIES_ERRORS: &str = "\
    select series.series_uid, series.instance_count, count(instance.watermark) as instances \
    from series left join instance on instance.series_row = series.id \
    group by series.id, series.series_uid, series.instance_count, series.newest \
    having series.instance_count <> count(instance.watermark) or count(instance.watermark) = 0 \
    or series.newest <> coalesce(max(instance.watermark), 0) \
    order by series.series_uid limit ";

/// Studies whose modalities are not those of their series.
const MODALITY_ERRORS: &str = "\
    select study.study_uid from study left join (\
    select distinct_modality.study_row, \
    string_agg(distinct_modality.modality, '\\' order by distinct_modality.modality) as modalities \
    from (select distinct study_row, modality from series where modality is not null) as distinct_modality \
    group by distinct_modality.study_row) as found on found.study_row = study.id \
    where study.modalities <> coalesce(found.modalities, '') \
    order by study.study_uid limit ";

#[async_trait]
impl<D: Dialect> Audit for SqlIndex<D> {
    async fn all_instances(&self, after: i64, limit: u32) -> Result<Vec<InstanceRow>> {
        let rows = self
            .read("all instances", all_instances(after, limit))
            .await?;
        rows.iter().map(instance_row).collect()
    }

    async fn newest_watermark(&self) -> Result<i64> {
        let sql = Statement::<D>::new("select coalesce(max(watermark), 0) as newest from instance");
        let rows = self.read("instances", sql).await?;
        let newest = rows.first().map_or(Ok(0), |row| row.int("newest"));
        newest.map_err(failed::<D>("instances"))
    }

    async fn known_keys(&self, keys: &[String]) -> Result<Vec<bool>> {
        let mut known = HashSet::new();
        for chunk in keys.chunks(500) {
            let texts = || chunk.iter().map(String::as_str);
            let mut sql = Statement::<D>::new("select blob_key from instance where blob_hash in ");
            sql.ints(chunk.iter().map(|key| blob_hash(key)));
            sql.push(" and blob_key in ").texts(texts());
            for table in [
                " union select blob_key from original where blob_hash in ",
                " union select blob_key from prepared_instance where blob_hash in ",
            ] {
                sql.push(table).ints(chunk.iter().map(|key| blob_hash(key)));
                sql.push(" and blob_key in ").texts(texts());
            }
            sql.push(" union select blob_key from trash where blob_key in ")
                .texts(texts());
            for row in self.read("blob keys", sql).await? {
                known.insert(row.text("blob_key").map_err(failed::<D>("blob keys"))?);
            }
        }
        Ok(keys.iter().map(|key| known.contains(key)).collect())
    }

    async fn counter_errors(&self, limit: u32) -> Result<Vec<String>> {
        let mut errors = Vec::new();
        for (text, sentence) in [
            (
                STUDY_ERRORS,
                study_error::<D> as fn(&D::Row) -> Driver<String>,
            ),
            (SERIES_ERRORS, series_error::<D>),
            (MODALITY_ERRORS, modality_error::<D>),
        ] {
            let mut sql = Statement::<D>::new(text);
            sql.int(i64::from(limit));
            for row in self.read_all("counters", sql).await? {
                errors.push(sentence(&row).map_err(failed::<D>("counters"))?);
            }
        }
        errors.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(errors)
    }

    async fn analyze(&self) -> Result<()> {
        let analyzed = async {
            let mut connection = self.writers.acquire().await?;
            let analyze = Statement::<D>::new(D::ANALYZE);
            analyze.bounded_rows(&mut connection, FULL_SCAN).await
        };
        within(FULL_SCAN, analyzed)
            .await
            .map(|_| ())
            .map_err(failed::<D>("an analysis"))
    }

    async fn ping(&self) -> Result<()> {
        let mut sql = Statement::<D>::new("select 1 as one where 1 = ");
        sql.int(1);
        self.read("a ping", sql).await.map(|_| ())
    }

    fn is_shared(&self) -> bool {
        D::SHARED
    }

    fn pools(&self) -> Vec<PoolState> {
        let mut pools = vec![
            self.readers.state("read"),
            pool_state(&self.writers, "write"),
        ];
        if !self.lookups.is(&self.readers) {
            pools.push(self.lookups.state("lookup"));
        }
        pools
    }
}

fn study_error<D: Dialect>(row: &D::Row) -> Driver<String> {
    Ok(format!(
        "study {} counts {} instances in {} series up to {} and has {} in {} up to {}",
        row.text("study_uid")?,
        row.int("instance_count")?,
        row.int("series_count")?,
        row.int("newest")?,
        row.int("instances")?,
        row.int("series")?,
        row.int("last")?,
    ))
}

fn series_error<D: Dialect>(row: &D::Row) -> Driver<String> {
    Ok(format!(
        "series {} counts {} instances and has {}, or names the wrong one as its newest",
        row.text("series_uid")?,
        row.int("instance_count")?,
        row.int("instances")?,
    ))
}

fn modality_error<D: Dialect>(row: &D::Row) -> Driver<String> {
    Ok(format!(
        "study {} lists other modalities than its series have",
        row.text("study_uid")?,
    ))
}
