//! Reading the change feed.
//!
//! Invariant: sequence and time are given out in commit order (the writers hold the feed lock from there to the end of
//! their transaction), so what one statement sees is always a prefix of the feed.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::error::IndexError;
use super::feed_model::{Change, ChangeAction, ChangeState, FeedRange};
use super::micros::{from_micros, to_micros};
use super::model::Result;
use super::row_columns::RowColumns;
use super::scoping::{push_any, push_scopes};
use super::sql::{Dialect, SqlIndex, Statement, failed, plan};
use super::timeouts::within;
use super::traits::ChangeFeed;
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
use crate::scope::{Partition, ScopeSet, Visible};

#[async_trait]
impl<D: Dialect> ChangeFeed for SqlIndex<D> {
    async fn changes(&self, scopes: &ScopeSet, range: &FeedRange) -> Result<Vec<Change>> {
        if let FeedRange::Window { to: Some(to), .. } = range {
            self.close_window(*to).await?;
        }
        let sql = changes::<D>(scopes, range, "");
        let rows = self.read_bounded("the change feed", sql).await?;
        rows.iter().map(change).collect()
    }

    async fn change_plan(&self, scopes: &ScopeSet, range: &FeedRange) -> Result<String> {
        let rows = self
            .read("a plan", changes::<D>(scopes, range, D::EXPLAIN.0))
            .await?;
        plan::<D>(&rows).map_err(failed::<D>("a plan"))
    }

    async fn latest_change(&self, scopes: &ScopeSet) -> Result<Option<Change>> {
        let mut sql = page::<D>(scopes, "");
        sql.push(" order by change.sequence desc limit 1");
        push_entries(&mut sql, scopes);
        let rows = self.read_bounded("the change feed", sql).await?;
        rows.first().map(change).transpose()
    }
}

impl<D: Dialect> SqlIndex<D> {
    /// Makes sure that no entry before `to` is still to come.
    ///
    /// Times never decrease, so an entry at or behind `to` proves it; otherwise whoever has taken a time already is
    /// waited for.
    async fn close_window(&self, to: OffsetDateTime) -> Result<()> {
        let mut sql =
            Statement::<D>::new("select change.sequence from change where change.time >= ");
        sql.int(to_micros(to)).push(" limit 1");
        if self.read("the change feed", sql).await?.is_empty() {
            let waited = within(self.times.call, D::await_feed(self)).await;
            waited.map_err(failed::<D>("the change feed"))?;
        }
        Ok(())
    }
}

/// Entries of a range in order; `explain` stands before the statement.
fn changes<D: Dialect>(
    scopes: &ScopeSet,
    range: &FeedRange,
    explain: &'static str,
) -> Statement<D> {
    let mut sql = page::<D>(scopes, explain);
    let mut order = " order by change.sequence";
    match range {
        FeedRange::Sequence { after, through } => {
            sql.push(" and change.sequence > ").int(*after);
            sql.push(" and change.sequence <= ").int(*through);
            sql.push(" order by change.sequence");
        }
        FeedRange::Following { after, limit } => {
            sql.push(" and change.sequence > ").int(*after);
            sql.push(" order by change.sequence")
                .limit(i64::from(*limit));
        }
        FeedRange::Window {
            from,
            to,
            skip,
            limit,
        } => {
            for (operator, bound) in [(" and change.time >= ", from), (" and change.time < ", to)] {
                if let Some(bound) = bound {
                    sql.push(operator).int(to_micros(*bound));
                }
            }
            order = " order by change.time, change.sequence";
            sql.push(order).limit(i64::from(*limit));
            sql.push(" offset ")
                .int(i64::try_from(*skip).unwrap_or(i64::MAX));
        }
    }
    push_entries(&mut sql, scopes);
    sql.push(order);
    sql
}

/// The beginning of a statement whose page holds entries of the scope: nothing else is read of those that are skipped.
fn page<D: Dialect>(scopes: &ScopeSet, explain: &'static str) -> Statement<D> {
    let mut sql = Statement::<D>::new(explain);
    sql.push("with page as (select change.sequence from change where 1 = 1");
    push_any(&mut sql, scopes, "change.partition = ", push_reported);
    sql
}

/// Appends what limits `change` to entries the caller may see.
fn push_reported<D: Dialect>(sql: &mut Statement<D>, visible: &Visible) {
    let Visible::Only { patients, studies } = visible else {
        return;
    };
    sql.push(" and (1 = 0");
    if !studies.is_empty() {
        sql.push(" or change.study_uid in ")
            .texts(studies.iter().map(String::as_str));
    }
    if !patients.is_empty() {
        sql.push(" or change.patient_id in ")
            .texts(patients.iter().map(String::as_str));
    }
    sql.push(")");
}

/// Appends what is read of the entries of the page, each with the watermark stored now under its UIDs.
fn push_entries<D: Dialect>(sql: &mut Statement<D>, scopes: &ScopeSet) {
    sql.push(
        ") select change.sequence, change.time, change.partition, change.action, change.watermark, change.study_uid, change.series_uid, \
         change.sop_instance_uid, instance.watermark as stored, data_partition.name as partition_name \
         from page join change on change.sequence = page.sequence \
         left join data_partition on data_partition.id = change.partition \
         left join study on study.study_uid = change.study_uid and study.partition = change.partition",
    );
    // The entry may be older than the patient the study has now; then what is stored now is not the caller's to see.
    push_scopes(sql, scopes);
    sql.push(
        " left join series on series.series_uid = change.series_uid and series.study_row = study.id \
         left join instance on instance.sop_instance_uid = change.sop_instance_uid \
         and instance.series_row = series.id",
    );
}

fn change<R: RowColumns>(row: &R) -> Result<Change> {
    read_change(row).map_err(|_| IndexError::Corrupt {
        what: "the change feed",
    })
}

fn read_change<R: RowColumns>(
    row: &R,
) -> std::result::Result<Change, Box<dyn std::error::Error + Send + Sync>> {
    let stored = row.opt_int("stored")?;
    Ok(Change {
        sequence: row.int("sequence")?,
        timestamp: from_micros(row.int("time")?)?,
        action: match row.int("action")? {
            0 => ChangeAction::Create,
            1 => ChangeAction::Delete,
            2 => ChangeAction::Update,
            other => return Err(format!("action {other}").into()),
        },
        partition: Partition(row.int("partition")?),
        partition_name: row.opt_text("partition_name")?,
        name: InstanceName {
            study: StudyUid::parse(&row.text("study_uid")?)?,
            series: SeriesUid::parse(&row.text("series_uid")?)?,
            instance: InstanceUid::parse(&row.text("sop_instance_uid")?)?,
        },
        state: match stored {
            Some(watermark) if watermark == row.int("watermark")? => ChangeState::Current,
            Some(_) => ChangeState::Replaced,
            None => ChangeState::Deleted,
        },
        stored,
    })
}
