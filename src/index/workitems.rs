//! Workitems: rows with the keys of searches, the data set packed beside them.
//!
//! Invariant: a row is changed only by whoever names the version that was read, so of several performers who claim a
//! workitem at the same time one has it, and no change of another is lost.

use async_trait::async_trait;
use time::OffsetDateTime;

use super::error::IndexError;
use super::event_log::log_change;
use super::events_model::{InsertedWorkitem, Matched};
use super::micros::{now_micros, to_micros};
use super::model::Result;
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_workitem_visible;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::timeouts::within;
use super::traits::Workitems;
use super::workitem_events::{begin_workitem, lock, stamp, tell};
use super::workitems_model::{FoundWorkitem, NewWorkitem, WorkitemFilter, WorkitemRow};
use crate::dicom::normalize;
use crate::dicom::workitem::State;
use crate::fault;
use crate::scope::{Partition, Scope};

const ROW: &str = "select workitem.id, workitem.uid, workitem.version, workitem.state, workitem.owner, workitem.weight, \
     cast(length(workitem.content) as bigint) as packed from workitem";

#[async_trait]
impl<D: Dialect> Workitems for SqlIndex<D> {
    async fn insert_workitem(
        &self,
        partition: Partition,
        uid: &str,
        new: &NewWorkitem,
        matched: &Matched,
    ) -> Result<InsertedWorkitem> {
        let insert = async || {
            let mut transaction = D::begin_write(&self.writers).await?;
            lock::<D>(&mut transaction).await?;
            if stamp::<D>(&mut transaction, partition).await? != matched.stamp {
                transaction.rollback().await?;
                return Ok(InsertedWorkitem::Stale);
            }
            let row = insertion::<D>(partition, uid, new)
                .row(&mut transaction)
                .await?;
            let Some(row) = row else {
                transaction.rollback().await?;
                return Ok(InsertedWorkitem::Exists);
            };
            let id = row.int("id")?;
            log_change::<D>(&mut transaction, id, None).await?;
            let subscribers = &matched.subscribers;
            begin_workitem::<D>(&mut transaction, id, subscribers, &new.events).await?;
            fault::point("workitem.inserted");
            transaction.commit().await?;
            Ok(InsertedWorkitem::Stored)
        };
        let time = self.times.insert();
        retrying!(D, "a workitem", within(time, insert()))
    }

    async fn workitem(&self, scope: &Scope, uid: &str) -> Result<Option<WorkitemRow>> {
        let mut sql = Statement::<D>::new(ROW);
        sql.push(" where workitem.uid = ").text(uid);
        push_scope(&mut sql, scope);
        let rows = self.read("a workitem", sql).await?;
        rows.first().map(row).transpose()
    }

    async fn workitem_contents(&self, ids: &[i64]) -> Result<Vec<(i64, i64, Vec<u8>)>> {
        let mut sql = Statement::<D>::new("select id, version, content from workitem where id in ");
        sql.ints(ids.iter().copied());
        let rows = self.read("workitems", sql).await?;
        let content = |row: &D::Row| -> Driver<(i64, i64, Vec<u8>)> {
            Ok((row.int("id")?, row.int("version")?, row.blob("content")?))
        };
        let contents = rows.iter().map(content).collect::<Driver<Vec<_>>>();
        contents.map_err(failed::<D>("workitems"))
    }

    async fn replace_workitem(&self, id: i64, version: i64, new: &NewWorkitem) -> Result<bool> {
        let replace = async || {
            let mut transaction = D::begin_write(&self.writers).await?;
            let mut sql = Statement::<D>::new("select state from workitem where id = ");
            sql.int(id);
            let before = sql.row(&mut transaction).await?;
            let before = before.map(|row| row.int("state")).transpose()?;
            let changed = change::<D>(id, version, new).run(&mut transaction).await?;
            if changed == 0 {
                transaction.rollback().await?;
                return Ok(false);
            }
            log_change::<D>(&mut transaction, id, before).await?;
            if !new.events.is_empty() {
                lock::<D>(&mut transaction).await?;
                tell::<D>(&mut transaction, id, &new.events).await?;
            }
            fault::point("workitem.changed");
            transaction.commit().await?;
            Ok(true)
        };
        let time = self.times.insert();
        retrying!(D, "a workitem", within(time, replace()))
    }

    async fn find_workitems(
        &self,
        scope: &Scope,
        filter: &WorkitemFilter,
        before: i64,
        limit: u32,
    ) -> Result<Vec<FoundWorkitem>> {
        let mut sql = Statement::<D>::new(
            "select workitem.id, workitem.weight, cast(length(workitem.content) as bigint) as packed \
             from workitem where workitem.id < ",
        );
        sql.int(before);
        push_scope(&mut sql, scope);
        push_filter(&mut sql, filter);
        sql.push(" order by workitem.id desc")
            .limit(i64::from(limit));
        let rows = self.read_bounded("workitems", sql).await?;
        let found = rows.iter().map(found_workitem).collect::<Driver<Vec<_>>>();
        found.map_err(failed::<D>("workitems"))
    }

    async fn delete_finished_workitems(&self, before: OffsetDateTime, limit: u32) -> Result<u64> {
        let mut sql = Statement::<D>::new(
            "delete from workitem where id in (select id from workitem where state in (2, 3) and changed < ",
        );
        sql.int(to_micros(before));
        sql.push(
            " and not exists (select 1 from subscription where subscription.workitem = workitem.id \
             and subscription.deletion_lock <> 0) order by changed",
        )
        .limit(i64::from(limit))
        .push(")");
        self.write("workitems", sql).await
    }

    async fn count_workitems(&self) -> Result<[u64; 4]> {
        let sql =
            Statement::<D>::new("select state, count(*) as items from workitem group by state");
        let mut counts = [0; 4];
        for row in self.read("workitems", sql).await? {
            let count = || -> Driver<(i64, i64)> { Ok((row.int("state")?, row.int("items")?)) };
            let (state, items) = count().map_err(failed::<D>("workitems"))?;
            let slot = usize::try_from(state).ok();
            if let Some(slot) = slot.and_then(|slot| counts.get_mut(slot)) {
                *slot = u64::try_from(items).unwrap_or(0);
            }
        }
        Ok(counts)
    }
}

fn insertion<D: Dialect>(partition: Partition, uid: &str, new: &NewWorkitem) -> Statement<D> {
    let mut sql = Statement::<D>::new(
        "insert into workitem (partition, uid, version, state, owner, study_uid, patient_id, patient_id_norm, start, created, \
         changed, weight, content)",
    );
    let now = now_micros();
    sql.values([new], |sql, new| {
        sql.int(partition.0).push(", ").text(uid).push(", 1, ");
        push_columns(sql, new, [", ", ", ", ", ", ", ", ", ", ", "]);
        sql.push(", ").int(now).push(", ").int(now).push(", ");
        sql.int(number(new.weight)).push(", ").blob(&new.content);
    });
    sql.push(" on conflict (uid, partition) do nothing returning id");
    sql
}

fn change<D: Dialect>(id: i64, version: i64, new: &NewWorkitem) -> Statement<D> {
    let mut sql = Statement::<D>::new("update workitem set version = version + 1, state = ");
    let names = [
        "",
        ", owner = ",
        ", study_uid = ",
        ", patient_id = ",
        ", patient_id_norm = ",
        ", start = ",
    ];
    push_columns(&mut sql, new, names);
    sql.push(", changed = ").int(now_micros());
    sql.push(", weight = ").int(number(new.weight));
    sql.push(", content = ").blob(&new.content);
    sql.push(" where id = ").int(id);
    sql.push(" and version = ").int(version);
    sql
}

/// Appends the values of state, owner, study, Patient ID, the same folded, and start, each but the first behind its text.
fn push_columns<D: Dialect>(sql: &mut Statement<D>, new: &NewWorkitem, between: [&'static str; 6]) {
    let keys = &new.keys;
    let normalized = keys.patient.as_deref().map(normalize::text);
    let [_, owner, study, patient, norm, start] = between;
    sql.int(code(keys.state));
    sql.push(owner).opt_text(new.owner.as_deref());
    sql.push(study).opt_text(keys.study.as_deref());
    sql.push(patient).opt_text(keys.patient.as_deref());
    sql.push(norm).opt_text(normalized.as_deref());
    sql.push(start).opt_text(keys.start.as_deref());
}

fn push_filter<D: Dialect>(sql: &mut Statement<D>, filter: &WorkitemFilter) {
    if let Some(states) = &filter.states {
        sql.push(" and workitem.state in ")
            .ints(states.iter().map(|state| code(*state)));
    }
    if let Some(studies) = &filter.studies {
        sql.push(" and workitem.study_uid in ")
            .texts(studies.iter().map(String::as_str));
    }
    if let Some(patients) = &filter.patients {
        sql.push(" and workitem.patient_id_norm in ")
            .texts(patients.iter().map(String::as_str));
    }
    if let Some(from) = &filter.from {
        sql.push(" and workitem.start >= ").text(from);
    }
    if let Some(to) = &filter.to {
        sql.push(" and workitem.start <= ").text(to);
    }
}

/// Appends what limits `workitem` to those the caller may see.
fn push_scope<D: Dialect>(sql: &mut Statement<D>, scope: &Scope) {
    sql.push(" and workitem.partition = ")
        .int(scope.partition.0);
    push_workitem_visible(sql, scope, "workitem.");
}

fn row<R: RowColumns>(row: &R) -> Result<WorkitemRow> {
    read_row(row).map_err(|_| IndexError::Corrupt { what: "a workitem" })
}

fn read_row<R: RowColumns>(
    row: &R,
) -> std::result::Result<WorkitemRow, Box<dyn std::error::Error + Send + Sync>> {
    let state = row.int("state")?;
    let state = State::ALL.into_iter().find(|known| code(*known) == state);
    Ok(WorkitemRow {
        id: row.int("id")?,
        uid: row.text("uid")?,
        version: row.int("version")?,
        state: state.ok_or("an unknown state")?,
        owner: row.opt_text("owner")?,
        weight: size(row.int("weight")?),
        packed: size(row.int("packed")?),
    })
}

const fn code(state: State) -> i64 {
    match state {
        State::Scheduled => 0,
        State::InProgress => 1,
        State::Completed => 2,
        State::Canceled => 3,
    }
}

fn number(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// A row of a search: its id, and what it costs to read it.
pub(super) fn found_workitem(row: &impl RowColumns) -> Driver<FoundWorkitem> {
    Ok(FoundWorkitem {
        id: row.int("id")?,
        weight: size(row.int("weight")?),
        packed: size(row.int("packed")?),
    })
}

pub(super) fn size(bytes: i64) -> usize {
    usize::try_from(bytes).unwrap_or(0)
}
