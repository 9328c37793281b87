//! Requests for storage commitment, from when they are taken until they are reported.
//!
//! Invariant: one holder at a time looks after a request, by the clock of the database; one whose holder is gone becomes due.

use std::time::Duration;

use async_trait::async_trait;

use super::commitments_model::{CommitmentRow, NewCommitment};
use super::micros::{length_micros, now_micros};
use super::model::Result;
use super::row_columns::{Driver, RowColumns};
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::traits::Commitments;
use crate::scope::Partition;

#[async_trait]
impl<D: Dialect> Commitments for SqlIndex<D> {
    async fn add_commitment(
        &self,
        partition: Partition,
        new: &NewCommitment,
        most: u32,
        hold: Duration,
    ) -> Result<bool> {
        let mut sql = Statement::<D>::new(
            "insert into commitment (id, partition, peer, request, created, attempts, due) select ",
        );
        sql.text(&new.id).push(", ").int(partition.0).push(", ");
        sql.text(&new.peer).push(", ").text(&new.request);
        sql.push(", ").int(now_micros()).push(", 0, ");
        sql.push(D::NOW).push(" + ").int(length_micros(hold));
        sql.push(" where (select count(*) from commitment where peer = ");
        sql.text(&new.peer).push(") < ").int(i64::from(most));
        Ok(self.write("a commitment", sql).await? > 0)
    }

    async fn due_commitments(&self, limit: u32) -> Result<Vec<CommitmentRow>> {
        let mut sql = Statement::<D>::new(
            "select id, peer, attempts, due, cast(length(request) as bigint) as weight from commitment where due <= ",
        );
        sql.push(D::NOW)
            .push(" order by due")
            .limit(i64::from(limit));
        let rows = self.read("commitments", sql).await?;
        let due = |row: &D::Row| -> Driver<CommitmentRow> {
            Ok(CommitmentRow {
                id: row.text("id")?,
                peer: row.text("peer")?,
                attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
                due: row.int("due")?,
                weight: usize::try_from(row.int("weight")?).unwrap_or(usize::MAX),
            })
        };
        let due = rows.iter().map(due).collect::<Driver<Vec<_>>>();
        due.map_err(failed::<D>("commitments"))
    }

    async fn claim_commitment(&self, row: &CommitmentRow, hold: Duration) -> Result<bool> {
        let mut sql = Statement::<D>::new("update commitment set due = ");
        sql.push(D::NOW).push(" + ").int(length_micros(hold));
        sql.push(" where id = ").text(&row.id);
        sql.push(" and due = ").int(row.due);
        Ok(self.write("a commitment", sql).await? > 0)
    }

    async fn commitment_request(&self, id: &str) -> Result<Option<String>> {
        let mut sql = Statement::<D>::new("select request from commitment where id = ");
        sql.text(id);
        let rows = self.read("a commitment", sql).await?;
        let request = rows.first().map(|row| row.text("request")).transpose();
        request.map_err(failed::<D>("a commitment"))
    }

    async fn hold_commitment(&self, id: &str, hold: Duration, attempts: u32) -> Result<()> {
        let mut sql = Statement::<D>::new("update commitment set due = ");
        sql.push(D::NOW).push(" + ").int(length_micros(hold));
        sql.push(", attempts = ").int(i64::from(attempts));
        sql.push(" where id = ").text(id);
        self.write("a commitment", sql).await.map(drop)
    }

    async fn finish_commitment(&self, id: &str) -> Result<()> {
        let mut sql = Statement::<D>::new("delete from commitment where id = ");
        sql.text(id);
        self.write("a commitment", sql).await.map(drop)
    }
}
