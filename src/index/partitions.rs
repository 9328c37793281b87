//! Data partitions by name.
//!
//! Invariant: a name has one number for ever, and a number one name; both live on in blob keys and in the change feed.

use async_trait::async_trait;

use super::error::IndexError;
use super::micros::{from_micros, now_micros};
use super::model::{PartitionRow, Result};
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_visible;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::traits::Partitions;
use crate::scope::{Partition, PartitionName, ScopeSet, Visible};

const WHAT: &str = "partitions";

#[async_trait]
impl<D: Dialect> Partitions for SqlIndex<D> {
    async fn partition(&self, name: &PartitionName) -> Result<Option<Partition>> {
        let mut sql = Statement::<D>::new("select id from data_partition where name = ");
        sql.text(name.as_str());
        let rows = self.read(WHAT, sql).await?;
        let id = rows.first().map(|row| row.int("id")).transpose();
        Ok(id.map_err(failed::<D>(WHAT))?.map(Partition))
    }

    async fn partition_name(&self, partition: Partition) -> Result<Option<PartitionName>> {
        let mut sql = Statement::<D>::new("select name from data_partition where id = ");
        sql.int(partition.0);
        first_name::<D>(&self.read(WHAT, sql).await?)
    }

    async fn make_partition(&self, name: &PartitionName, most: u32) -> Result<Option<Partition>> {
        let mut sql =
            Statement::<D>::new("insert into data_partition (name, created) select cast(");
        // Typed, as there is no table to tell of which type they are.
        sql.text(name.as_str()).push(" as text), cast(");
        sql.int(now_micros()).push(" as bigint)");
        sql.push(" where (select count(*) from data_partition) < ");
        sql.int(i64::from(most))
            .push(" on conflict (name) do nothing");
        self.write(WHAT, sql).await?;
        // Whoever was faster has committed by now.
        self.partition(name).await
    }

    async fn partitions(&self, scopes: &ScopeSet) -> Result<Vec<PartitionRow>> {
        let mut sql = Statement::<D>::new(
            "select data_partition.id, data_partition.name, data_partition.created from data_partition where (1 = 0",
        );
        match &scopes.everywhere {
            None => {}
            Some(Visible::All) => {
                sql.push(" or 1 = 1");
            }
            Some(visible) => {
                sql.push(
                    " or exists (select 1 from study where study.partition = data_partition.id",
                );
                push_visible(&mut sql, visible);
                sql.push(")");
            }
        }
        if !scopes.within.is_empty() {
            let named = scopes.within.iter().map(|scope| scope.partition.0);
            sql.push(" or data_partition.id in ").ints(named);
        }
        sql.push(") order by data_partition.id");
        let rows = self.read(WHAT, sql).await?;
        let row = |row: &D::Row| -> Driver<(i64, String, i64)> {
            Ok((row.int("id")?, row.text("name")?, row.int("created")?))
        };
        let rows = rows.iter().map(row).collect::<Driver<Vec<_>>>();
        let rows = rows.map_err(failed::<D>(WHAT))?;
        rows.into_iter()
            .map(|(id, name, created)| {
                Ok(PartitionRow {
                    partition: Partition(id),
                    name,
                    created: from_micros(created)
                        .map_err(|_| IndexError::Corrupt { what: WHAT })?,
                })
            })
            .collect()
    }

    async fn used_partition(&self) -> Result<Option<PartitionName>> {
        let sql = Statement::<D>::new(
            "select name from data_partition where id <> 1 \
             and (exists (select 1 from study where study.partition = data_partition.id) \
             or exists (select 1 from workitem where workitem.partition = data_partition.id) \
             or exists (select 1 from nonpatient where nonpatient.partition = data_partition.id)) order by id limit 1",
        );
        first_name::<D>(&self.read(WHAT, sql).await?)
    }
}

fn first_name<D: Dialect>(rows: &[D::Row]) -> Result<Option<PartitionName>> {
    let name = rows.first().map(|row| row.text("name")).transpose();
    let name = name.map_err(failed::<D>(WHAT))?;
    let name = name.map(|name| PartitionName::parse(&name)).transpose();
    name.map_err(|_| IndexError::Corrupt { what: WHAT })
}
