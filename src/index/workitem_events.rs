//! Writing events of workitems, in the transaction of what they tell of.
//!
//! Invariant: whoever writes events holds the lock of the feed until the end, so sequences grow in the order of commits.

use super::micros::now_micros;
use super::row_columns::{Driver, RowColumns, lost_row};
use super::sql::{Dialect, Statement, StatementBatch};
use crate::dicom::workitem_events::Event;
use crate::scope::Partition;

/// Takes the lock of the feed until the transaction ends.
pub(super) async fn lock<D: Dialect>(connection: &mut D::Connection) -> Driver<()> {
    let mut lock = StatementBatch::<D>::new();
    D::lock_feed(&mut lock);
    lock.run(connection).await
}

pub(super) const ABOUT: &str =
    "select partition, uid, study_uid, patient_id from workitem where id = ";

/// What an event is about.
pub(super) struct EventSubject {
    pub(super) partition: i64,
    pub(super) uid: Option<String>,
    pub(super) study: Option<String>,
    pub(super) patient: Option<String>,
}

impl EventSubject {
    pub(super) fn of<R: RowColumns>(row: &R) -> Driver<Self> {
        Ok(Self {
            partition: row.int("partition")?,
            uid: row.opt_text("uid")?,
            study: row.opt_text("study_uid")?,
            patient: row.opt_text("patient_id")?,
        })
    }
}

/// Subscribes those who subscribe to all to a new workitem, and writes its events for them.
pub(super) async fn begin_workitem<D: Dialect>(
    connection: &mut D::Connection,
    id: i64,
    subscribers: &[(String, bool)],
    events: &[Event],
) -> Driver<()> {
    if subscribers.is_empty() {
        return Ok(());
    }
    let mut sql = Statement::<D>::new("insert into subscription (workitem, aet, deletion_lock)");
    sql.values(subscribers, |sql, (aet, deletion_lock)| {
        sql.int(id).push(", ").text(aet).push(", ");
        sql.int(i64::from(*deletion_lock));
    });
    // Whoever has two subscriptions to all has one to each.
    sql.push(" on conflict (workitem, aet) do nothing");
    sql.run(connection).await?;
    tell::<D>(connection, id, events).await
}

/// Writes events of a workitem for those who subscribe to it; the lock is held.
pub(super) async fn tell<D: Dialect>(
    connection: &mut D::Connection,
    id: i64,
    events: &[Event],
) -> Driver<()> {
    let mut sql = Statement::<D>::new("select aet from subscription where workitem = ");
    sql.int(id).push(" order by aet");
    let rows = sql.rows(connection).await?;
    let aets = rows.iter().map(|row| row.text("aet"));
    let aets = aets.collect::<Driver<Vec<String>>>()?;
    if aets.is_empty() {
        return Ok(());
    }
    let mut sql = Statement::<D>::new(ABOUT);
    sql.int(id);
    let row = sql.row(connection).await?.ok_or_else(lost_row)?;
    push_events::<D>(connection, &EventSubject::of(&row)?, events, &aets).await
}

pub(super) async fn push_events<D: Dialect>(
    connection: &mut D::Connection,
    about: &EventSubject,
    events: &[Event],
    aets: &[String],
) -> Driver<()> {
    for event in events {
        let mut sql = Statement::<D>::new(
            "insert into workitem_event (time, partition, kind, uid, study_uid, patient_id, content)",
        );
        sql.values([event], |sql, event| {
            sql.int(now_micros()).push(", ").int(about.partition);
            sql.push(", ").int(event.kind.id()).push(", ");
            sql.opt_text(about.uid.as_deref()).push(", ");
            sql.opt_text(about.study.as_deref()).push(", ");
            sql.opt_text(about.patient.as_deref()).push(", ");
            sql.text(&event.content);
        });
        sql.push(" returning sequence");
        let row = sql.row(connection).await?.ok_or_else(lost_row)?;
        let sequence = row.int("sequence")?;
        let mut sql = Statement::<D>::new("insert into workitem_delivery (aet, sequence)");
        sql.values(aets, |sql, aet| {
            sql.text(aet).push(", ").int(sequence);
        });
        sql.run(connection).await?;
    }
    Ok(())
}

/// Count and sum of the ids of a partition's subscriptions to all workitems.
pub(super) async fn stamp<D: Dialect>(
    connection: &mut D::Connection,
    partition: Partition,
) -> Driver<(i64, i64)> {
    let mut sql = Statement::<D>::new(
        "select count(*) as items, cast(coalesce(sum(id), 0) as bigint) as total from global_subscription where partition = ",
    );
    sql.int(partition.0);
    let row = sql.row(connection).await?.ok_or_else(lost_row)?;
    Ok((row.int("items")?, row.int("total")?))
}
