//! Look-ups of instances.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::delete;
use super::insert::insert;
use super::instance_row::{COLUMNS, TABLES, instance_row, push_target};
use super::model::{ContentRow, InstanceRow, MetadataRow, Result, Version};
use super::originals;
use super::row_columns::{Driver, RowColumns};
use super::rows::NewInstance;
use super::scoping::push_scope;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::traits::Instances;
use crate::dicom::uid::{InstanceName, StudyUid, Target};
use crate::scope::{Partition, Scope};

const CONTENT: &str = " join instance_content on instance_content.watermark = instance.watermark";

#[async_trait]
impl<D: Dialect> Instances for SqlIndex<D> {
    async fn insert(&self, batch: &[NewInstance]) -> Result<Vec<super::model::Inserted>> {
        insert(self, batch).await
    }

    async fn version(&self, scope: &Scope, target: &Target) -> Result<Option<Version>> {
        let mut sql = Statement::<D>::new(match target {
            Target::Study(_) => "select study.version, study.instance_count from study",
            Target::Series(..) => {
                "select series.version, series.instance_count \
                 from series join study on study.id = series.study_row"
            }
            Target::Instance(_) => {
                "select instance.watermark as version, cast(1 as bigint) as instance_count \
                 from instance join series on series.id = instance.series_row \
                 join study on study.id = instance.study_row"
            }
        });
        push_target(&mut sql, scope, target);
        let rows = self.read_by_key("a version", sql).await?;
        let version = |row: &D::Row| -> Driver<Version> {
            Ok(Version {
                version: row.int("version")?,
                instances: row.int("instance_count")?,
            })
        };
        let version = rows.first().map(version).transpose();
        version.map_err(failed::<D>("a version"))
    }

    async fn instances(
        &self,
        scope: &Scope,
        target: &Target,
        after: i64,
        limit: u32,
    ) -> Result<Vec<InstanceRow>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(TABLES);
        push_target(&mut sql, scope, target);
        push_page(&mut sql, after, limit);
        let rows = self.read_by_key("instances", sql).await?;
        rows.iter().map(instance_row).collect()
    }

    async fn metadata(
        &self,
        scope: &Scope,
        target: &Target,
        after: i64,
        limit: u32,
    ) -> Result<Vec<MetadataRow>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(", instance_content.metadata")
            .push(TABLES)
            .push(CONTENT);
        push_target(&mut sql, scope, target);
        push_page(&mut sql, after, limit);
        let rows = self.read_by_key("metadata", sql).await?;
        let metadata = |row: &D::Row| {
            Ok(MetadataRow {
                row: instance_row(row)?,
                metadata: row.blob("metadata").map_err(failed::<D>("metadata"))?,
            })
        };
        rows.iter().map(metadata).collect()
    }

    async fn content(&self, scope: &Scope, name: &InstanceName) -> Result<Option<ContentRow>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(", instance_content.frames, instance_content.bulk")
            .push(TABLES)
            .push(CONTENT);
        push_target(&mut sql, scope, &Target::Instance(name.clone()));
        let rows = self.read_by_key("content", sql).await?;
        let content = |row: &D::Row| {
            let failed = failed::<D>("content");
            Ok(ContentRow {
                row: instance_row(row)?,
                frames: row.blob("frames").map_err(&failed)?,
                bulk: row.text("bulk").map_err(&failed)?.into_bytes(),
            })
        };
        rows.first().map(content).transpose()
    }

    async fn first_versions(
        &self,
        scope: &Scope,
        target: &Target,
        after: i64,
        limit: u32,
    ) -> Result<Vec<(i64, InstanceRow)>> {
        originals::first_versions(self, scope, target, after, limit).await
    }

    async fn first_content(&self, scope: &Scope, watermark: i64) -> Result<Option<ContentRow>> {
        originals::first_content(self, scope, watermark).await
    }

    async fn changed_at(&self, scope: &Scope, target: &Target) -> Result<i64> {
        let mut sql = Statement::<D>::new("select study.changed_at from study where study_uid = ");
        sql.text(target.study().as_str());
        push_scope(&mut sql, scope);
        let rows = self.read_by_key("a version", sql).await?;
        let changed = rows.first().map_or(Ok(0), |row| row.int("changed_at"));
        changed.map_err(failed::<D>("a version"))
    }

    async fn delete(&self, scope: &Scope, target: &Target) -> Result<u64> {
        delete::delete(self, scope, target).await
    }

    async fn expired(
        &self,
        moment: OffsetDateTime,
        limit: u32,
    ) -> Result<Vec<(Partition, StudyUid)>> {
        delete::expired(self, moment, limit).await
    }

    async fn delete_expired(
        &self,
        study: &(Partition, StudyUid),
        moment: OffsetDateTime,
    ) -> Result<u64> {
        delete::delete_expired(self, study, moment).await
    }
}

fn push_page<D: Dialect>(sql: &mut Statement<D>, after: i64, limit: u32) {
    sql.push(" and instance.watermark > ").int(after);
    sql.push(" order by instance.watermark")
        .limit(i64::from(limit));
}

/// Statement for every instance of every partition, first versions of updated ones included.
pub(super) fn all_instances<D: Dialect>(after: i64, limit: u32) -> Statement<D> {
    let mut sql = Statement::<D>::new(COLUMNS);
    sql.push(TABLES)
        .push(" where instance.watermark > ")
        .int(after);
    sql.push(" union all ")
        .push(originals::COLUMNS)
        .push(originals::TABLES);
    sql.push(" where original.watermark > ").int(after);
    sql.push(" order by watermark").limit(i64::from(limit));
    sql
}
