//! Studies that rules may delete because of their age, and deleting them.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::delete::delete_unchanged;
use super::error::IndexError;
use super::micros::{from_micros, to_micros};
use super::model::Result;
use super::retention_model::AgedStudy;
use super::row_columns::RowColumns;
use super::sql::{Dialect, SqlIndex, Statement};
use super::traits::Retention;
use crate::dicom::uid::StudyUid;
use crate::scope::Partition;

#[async_trait]
impl<D: Dialect> Retention for SqlIndex<D> {
    async fn aged_studies(
        &self,
        arrived_before: OffsetDateTime,
        after: i64,
        limit: u32,
    ) -> Result<Vec<AgedStudy>> {
        let mut sql = Statement::<D>::new(
            "select study.id, study.partition, study.study_uid, study.version, study.created, study.study_date, \
             study.modalities, study.instance_count from study where study.id > ",
        );
        sql.int(after)
            .push(" and study.created <= ")
            .int(to_micros(arrived_before))
            .push(" order by study.id")
            .limit(i64::from(limit));
        let rows = self.read("studies by age", sql).await?;
        let corrupt = || IndexError::Corrupt {
            what: "a study and its age",
        };
        rows.iter()
            .map(|row| aged::<D>(row).ok_or_else(corrupt))
            .collect()
    }

    async fn delete_aged(&self, study: &AgedStudy) -> Result<u64> {
        delete_unchanged(self, study.partition, &study.uid, study.version).await
    }
}

fn aged<D: Dialect>(row: &D::Row) -> Option<AgedStudy> {
    let modalities = row.opt_text("modalities").ok()?.unwrap_or_default();
    Some(AgedStudy {
        id: row.int("id").ok()?,
        partition: Partition(row.int("partition").ok()?),
        uid: StudyUid::parse(&row.text("study_uid").ok()?).ok()?,
        version: row.int("version").ok()?,
        arrived: from_micros(row.int("created").ok()?).ok()?,
        study_date: row.opt_text("study_date").ok()?,
        modalities: modalities
            .split('\\')
            .filter(|modality| !modality.is_empty())
            .map(str::to_owned)
            .collect(),
        instances: u64::try_from(row.int("instance_count").ok()?).ok()?,
    })
}
