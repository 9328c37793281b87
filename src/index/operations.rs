//! Long-running operations: what is under way, how far it is, and where a restarted server goes on.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::error::IndexError;
use super::micros::{from_micros, now_micros, to_micros};
use super::model::Result;
use super::operations_model::{Operation, OperationKind, OperationStatus};
use super::row_columns::RowColumns;
use super::sql::{Dialect, SqlIndex, Statement};
use super::traits::Operations;

const COLUMNS: &str = "select id, kind, status, created, updated, percent, position, resources, results from operation";

#[async_trait]
impl<D: Dialect> Operations for SqlIndex<D> {
    async fn begin_operation(&self, operation: &Operation) -> Result<bool> {
        let mut sql = insert_operation(operation);
        sql.push(" on conflict (id) do nothing");
        Ok(self.write("an operation", sql).await? > 0)
    }

    async fn forget_operations(
        &self,
        kind: OperationKind,
        before: OffsetDateTime,
        limit: u32,
    ) -> Result<u64> {
        let mut sql = Statement::<D>::new(
            "delete from operation where id in (select id from operation where kind = ",
        );
        sql.text(kind_text(kind)).push(" and status in ").texts([
            "completed",
            "failed",
            "canceled",
        ]);
        sql.push(" and updated < ").int(to_micros(before));
        sql.push(" order by updated").limit(i64::from(limit));
        sql.push(")");
        self.write("old operations", sql).await
    }

    async fn operation(&self, id: &str) -> Result<Option<Operation>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(" where id = ").text(id);
        let rows = self.read("an operation", sql).await?;
        rows.first().map(operation).transpose()
    }

    async fn unfinished_operations(&self, kind: OperationKind) -> Result<Vec<Operation>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(" where kind = ").text(kind_text(kind));
        sql.push(" and status in ").texts(["notStarted", "running"]);
        sql.push(" order by created, id");
        let rows = self.read("operations", sql).await?;
        rows.iter().map(operation).collect()
    }

    async fn recent_operations(&self, limit: u32) -> Result<Vec<Operation>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(" order by created desc, id")
            .limit(i64::from(limit));
        let rows = self.read("operations", sql).await?;
        rows.iter().map(operation).collect()
    }

    async fn save_operation(&self, operation: &Operation) -> Result<bool> {
        let changed = self
            .write("an operation", update_operation(operation))
            .await?;
        Ok(changed > 0)
    }
}

/// Statement that inserts an operation.
pub(super) fn insert_operation<D: Dialect>(operation: &Operation) -> Statement<D> {
    let mut sql = Statement::<D>::new(
        "insert into operation (id, kind, status, created, updated, percent, position, resources, results)",
    );
    let resources = resources_text(operation);
    sql.values([operation], |sql, operation| {
        sql.text(&operation.id)
            .push(", ")
            .text(kind_text(operation.kind))
            .push(", ");
        sql.text(status_text(operation.status)).push(", ");
        sql.int(to_micros(operation.created))
            .push(", ")
            .int(to_micros(operation.updated));
        sql.push(", ")
            .int(i64::from(operation.percent))
            .push(", ")
            .int(operation.position);
        sql.push(", ")
            .text(&resources)
            .push(", ")
            .opt_text(operation.results.as_deref());
    });
    sql
}

/// Statement that writes the state of an operation; its time of change is now.
pub(super) fn update_operation<D: Dialect>(operation: &Operation) -> Statement<D> {
    let mut sql = Statement::<D>::new("update operation set status = ");
    sql.text(status_text(operation.status));
    sql.push(", updated = ").int(now_micros());
    sql.push(", percent = ").int(i64::from(operation.percent));
    sql.push(", position = ").int(operation.position);
    sql.push(", resources = ").text(&resources_text(operation));
    sql.push(", results = ")
        .opt_text(operation.results.as_deref());
    sql.push(" where id = ").text(&operation.id);
    sql
}

fn resources_text(operation: &Operation) -> String {
    match serde_json::to_string(&operation.resources) {
        Ok(text) => text,
        Err(error) => unreachable!("a list of texts is always written: {error}"),
    }
}

/// Text of a kind in the table.
pub(super) const fn kind_text(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Reindex => "reindex",
        OperationKind::Export => "export",
        OperationKind::Update => "update",
        OperationKind::Scrub => "scrub",
        OperationKind::Transfer => "transfer",
        OperationKind::Commitment => "commitment",
        OperationKind::Arrivals => "arrivals",
        OperationKind::Expire => "expire",
        OperationKind::Deidentify => "deidentify",
    }
}

const fn status_text(status: OperationStatus) -> &'static str {
    match status {
        OperationStatus::NotStarted => "notStarted",
        OperationStatus::Running => "running",
        OperationStatus::Completed => "completed",
        OperationStatus::Failed => "failed",
        OperationStatus::Canceled => "canceled",
    }
}

/// Reads the columns of [`COLUMNS`].
fn operation<R: RowColumns>(row: &R) -> Result<Operation> {
    read_operation(row).map_err(|_| IndexError::Corrupt {
        what: "an operation",
    })
}

fn read_operation<R: RowColumns>(
    row: &R,
) -> std::result::Result<Operation, Box<dyn std::error::Error + Send + Sync>> {
    let kinds = [
        OperationKind::Reindex,
        OperationKind::Export,
        OperationKind::Update,
        OperationKind::Scrub,
        OperationKind::Transfer,
        OperationKind::Commitment,
        OperationKind::Arrivals,
        OperationKind::Expire,
        OperationKind::Deidentify,
    ];
    let statuses = [
        OperationStatus::NotStarted,
        OperationStatus::Running,
        OperationStatus::Completed,
        OperationStatus::Failed,
        OperationStatus::Canceled,
    ];
    let (kind, status) = (row.text("kind")?, row.text("status")?);
    let kind = kinds.into_iter().find(|known| kind_text(*known) == kind);
    let status = statuses
        .into_iter()
        .find(|known| status_text(*known) == status);
    Ok(Operation {
        id: row.text("id")?,
        kind: kind.ok_or("an unknown kind")?,
        status: status.ok_or("an unknown status")?,
        created: from_micros(row.int("created")?)?,
        updated: from_micros(row.int("updated")?)?,
        percent: u8::try_from(row.int("percent")?)?,
        position: row.int("position")?,
        resources: serde_json::from_str(&row.text("resources")?)?,
        results: row.opt_text("results")?,
    })
}

impl OperationKind {
    /// Its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        kind_text(self)
    }
}

impl OperationStatus {
    /// Its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        status_text(self)
    }
}
