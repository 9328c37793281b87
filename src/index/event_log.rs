//! The log of events: made of the change feed and of workitems that changed, read by everybody who is told of them.
//!
//! Invariants: whoever makes events holds the row of `event_state` until its end, so each entry of the feed is read once and
//! numbers of events have no gaps; nothing is quiet while entries of the feed are unread.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::error::IndexError;
use super::event_log_model::{LoggedEvent, SERVICE_KINDS, kinds_cover};
use super::event_maker::{
    FeedEntryRow, FollowedStudy, MadeEvent, StudyKey, events_of, quiet_event, workitem_event,
};
use super::micros::{from_micros, length_micros, to_micros};
use super::model::Result;
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns, lost_row};
use super::scoping::push_workitem_visible;
use super::sql::{Dialect, SqlIndex, Statement, StatementBatch, failed};
use super::timeouts::within;
use super::traits::EventLog;
use crate::fault;
use crate::scope::{Partition, Scope};

const WHAT: &str = "events";
/// Entries of the feed read in one transaction.
const PAGE: i64 = 1000;
/// Quiet studies told of in one transaction.
const QUIET: i64 = 200;
/// Rows of one statement.
const ROWS: usize = 300;

pub(super) const EVENT: &str =
    "event.sequence, event.time, event.partition, event.kind, event.study_uid, event.data";

#[async_trait]
impl<D: Dialect> EventLog for SqlIndex<D> {
    async fn make_events(&self, quiet: Duration) -> Result<bool> {
        // A look costs no transaction that writes.
        let mut sql = Statement::<D>::new(
            "select 1 as due where not exists (select 1 from event_state) \
             or exists (select 1 from change where sequence > (select feed from event_state)) \
             or exists (select 1 from workitem_change) \
             or exists (select 1 from event_study where waits = 1 and changed < ",
        );
        sql.push(D::NOW).push(" - ").int(length_micros(quiet));
        sql.push(")");
        if self.read(WHAT, sql).await?.is_empty() {
            return Ok(false);
        }
        let time = self.times.insert();
        retrying!(D, "events", within(time, make::<D>(self, quiet)))
    }

    async fn logged_events(
        &self,
        scope: &Scope,
        after: i64,
        limit: u32,
    ) -> Result<Vec<LoggedEvent>> {
        let mut sql = Statement::<D>::new("select ");
        sql.push(EVENT)
            .push(" from event where event.sequence > ")
            .int(after);
        sql.push(" and event.partition = ").int(scope.partition.0);
        push_workitem_visible(&mut sql, scope, "event.");
        sql.push(" order by event.sequence").limit(i64::from(limit));
        let rows = self.read(WHAT, sql).await?;
        rows.iter().map(logged_event).collect()
    }

    async fn logged_bounds(&self) -> Result<(i64, i64)> {
        let sql = Statement::<D>::new(
            "select coalesce((select min(sequence) from event), (select next from event_state), 1) as oldest, \
             coalesce((select next - 1 from event_state), 0) as newest",
        );
        let rows = self.read(WHAT, sql).await?;
        let bounds = rows
            .first()
            .map(|row| Ok((row.int("oldest")?, row.int("newest")?)));
        let bounds: Option<(i64, i64)> = bounds.transpose().map_err(failed::<D>(WHAT))?;
        bounds.ok_or(IndexError::Corrupt { what: WHAT })
    }

    async fn forget_logged_events(&self, before: OffsetDateTime, limit: u32) -> Result<u64> {
        let mut sql = Statement::<D>::new(
            "delete from event where sequence in (select sequence from event where time < ",
        );
        sql.int(to_micros(before));
        // What is still on its way is kept.
        sql.push(
            " and not exists (select 1 from webhook_delivery where webhook_delivery.sequence = event.sequence \
             and webhook_delivery.dead = 0) order by sequence",
        )
        .limit(i64::from(limit));
        sql.push(")");
        self.write(WHAT, sql).await
    }
}

/// Writes down that a workitem came or left a state, for the events that are made later.
pub(super) async fn log_change<D: Dialect>(
    connection: &mut D::Connection,
    id: i64,
    before: Option<i64>,
) -> Driver<()> {
    let mut sql = Statement::<D>::new(
        "insert into workitem_change (time, partition, uid, state, study_uid, patient_id) select changed, partition, uid, \
         state, study_uid, patient_id from workitem where id = ",
    );
    sql.int(id);
    if let Some(before) = before {
        sql.push(" and state <> ").int(before);
    }
    sql.run(connection).await.map(|_| ())
}

/// Reads an event whose columns are [`EVENT`].
pub(super) fn logged_event<R: RowColumns>(row: &R) -> Result<LoggedEvent> {
    let read = || -> std::result::Result<LoggedEvent, Box<dyn std::error::Error + Send + Sync>> {
        Ok(LoggedEvent {
            sequence: row.int("sequence")?,
            time: from_micros(row.int("time")?)?,
            partition: Partition(row.int("partition")?),
            kind: row.text("kind")?,
            study: row.opt_text("study_uid")?,
            data: row.text("data")?,
        })
    };
    read().map_err(|_| IndexError::Corrupt { what: WHAT })
}

/// One transaction; whether there may be more at once.
async fn make<D: Dialect>(index: &SqlIndex<D>, quiet: Duration) -> Driver<bool> {
    let mut transaction = D::begin_write(&index.writers).await?;
    begin::<D>(&mut transaction).await?;
    let mut sql = Statement::<D>::new("select feed, next, ");
    sql.push(D::NOW)
        .push(" as now from event_state where id = 1")
        .push(D::FOR_UPDATE);
    let state = sql.row(&mut transaction).await?.ok_or_else(lost_row)?;
    let (mut feed, next, now) = (state.int("feed")?, state.int("next")?, state.int("now")?);

    let entries = read_feed::<D>(&mut transaction, feed).await?;
    let full = i64::try_from(entries.len()).unwrap_or(PAGE) >= PAGE;
    let mut studies = followed::<D>(&mut transaction, &entries).await?;
    let with_instances = wants_instances::<D>(&mut transaction).await?;
    let mut events = events_of(&entries, &mut studies, with_instances);
    if let Some(last) = entries.last() {
        feed = last.sequence;
        save_studies::<D>(&mut transaction, &studies).await?;
        fault::point("events.studies");
    }
    let changed = workitems::<D>(&mut transaction).await?;
    events.extend(changed);
    let mut quiets = 0;
    if !full {
        let cutoff = now.saturating_sub(length_micros(quiet));
        let found = quiet_studies::<D>(&mut transaction, cutoff).await?;
        quiets = i64::try_from(found.len()).unwrap_or(QUIET);
        events.extend(
            found
                .iter()
                .map(|(key, study)| quiet_event(key, study, now)),
        );
    }
    let next = write_events::<D>(&mut transaction, next, &events).await?;
    if !events.is_empty() {
        fault::point("events.written");
    }
    let mut sql = Statement::<D>::new("update event_state set feed = ");
    sql.int(feed)
        .push(", next = ")
        .int(next)
        .push(" where id = 1");
    sql.run(&mut transaction).await?;
    transaction.commit().await?;
    if !events.is_empty() {
        fault::point("events.committed");
    }
    Ok(full || quiets >= QUIET)
}

/// Begins at the end of the feed, with the studies that are there, unless that was done before.
async fn begin<D: Dialect>(connection: &mut D::Connection) -> Driver<()> {
    let sql = Statement::<D>::new("select id from event_state");
    if sql.row(connection).await?.is_some() {
        return Ok(());
    }
    // Nobody adds to the feed between the two.
    let mut lock = StatementBatch::<D>::new();
    D::lock_feed(&mut lock);
    lock.run(connection).await?;
    for sql in [
        "insert into event_state (id, feed, next) select 1, coalesce(max(sequence), 0), 1 from change \
         where not exists (select 1 from event_state)",
        "insert into event_study (partition, study_uid, patient_id, instances, changed, waits) \
         select partition, study_uid, patient_id, instance_count, 0, 0 from study where true \
         on conflict (partition, study_uid) do nothing",
    ] {
        Statement::<D>::new(sql).run(connection).await?;
    }
    Ok(())
}

async fn read_feed<D: Dialect>(
    connection: &mut D::Connection,
    after: i64,
) -> Driver<Vec<FeedEntryRow>> {
    let mut sql = Statement::<D>::new(
        "select sequence, time, partition, action, study_uid, series_uid, sop_instance_uid, patient_id from change \
         where sequence > ",
    );
    sql.int(after).push(" order by sequence").limit(PAGE);
    let rows = sql.rows(connection).await?;
    let entry = |row: &D::Row| {
        Ok(FeedEntryRow {
            sequence: row.int("sequence")?,
            time: row.int("time")?,
            partition: row.int("partition")?,
            action: row.int("action")?,
            study: row.text("study_uid")?,
            series: row.text("series_uid")?,
            instance: row.text("sop_instance_uid")?,
            patient: row.opt_text("patient_id")?,
        })
    };
    rows.iter().map(entry).collect()
}

/// What is known of the studies of these entries.
async fn followed<D: Dialect>(
    connection: &mut D::Connection,
    entries: &[FeedEntryRow],
) -> Driver<BTreeMap<StudyKey, FollowedStudy>> {
    let mut uids: Vec<&str> = entries.iter().map(|entry| entry.study.as_str()).collect();
    uids.sort_unstable();
    uids.dedup();
    let mut studies = BTreeMap::new();
    for chunk in uids.chunks(ROWS) {
        let mut sql = Statement::<D>::new(
            "select partition, study_uid, patient_id, instances, changed from event_study where study_uid in ",
        );
        sql.texts(chunk.iter().copied());
        for row in sql.rows(connection).await? {
            let (key, study) = followed_study(&row)?;
            studies.insert(key, study);
        }
    }
    Ok(studies)
}

fn followed_study(row: &impl RowColumns) -> Driver<(StudyKey, FollowedStudy)> {
    let study = FollowedStudy {
        instances: row.int("instances")?,
        changed: row.int("changed")?,
        patient: row.opt_text("patient_id")?,
    };
    Ok(((row.int("partition")?, row.text("study_uid")?), study))
}

async fn save_studies<D: Dialect>(
    connection: &mut D::Connection,
    studies: &BTreeMap<StudyKey, FollowedStudy>,
) -> Driver<()> {
    let all: Vec<_> = studies.iter().collect();
    for chunk in all.chunks(ROWS) {
        let mut sql = Statement::<D>::new(
            "insert into event_study (partition, study_uid, patient_id, instances, changed, waits)",
        );
        sql.values(chunk, |sql, ((partition, uid), study)| {
            sql.int(*partition).push(", ").text(uid).push(", ");
            sql.opt_text(study.patient.as_deref()).push(", ");
            sql.int(study.instances).push(", ").int(study.changed);
            sql.push(", ").int(i64::from(study.instances > 0));
        });
        sql.push(
            " on conflict (partition, study_uid) do update set patient_id = excluded.patient_id, \
             instances = excluded.instances, changed = excluded.changed, waits = excluded.waits",
        );
        sql.run(connection).await?;
    }
    let gone = all.iter().filter(|(_, study)| study.instances == 0);
    for (partition, uid) in gone.map(|(key, _)| key) {
        let mut sql = Statement::<D>::new("delete from event_study where partition = ");
        sql.int(*partition).push(" and study_uid = ").text(uid);
        sql.run(connection).await?;
    }
    Ok(())
}

/// Studies in which nothing changed since; they wait no longer.
async fn quiet_studies<D: Dialect>(
    connection: &mut D::Connection,
    cutoff: i64,
) -> Driver<Vec<(StudyKey, FollowedStudy)>> {
    let mut sql = Statement::<D>::new(
        "select partition, study_uid, patient_id, instances, changed from event_study where waits = 1 and changed < ",
    );
    sql.int(cutoff).push(" order by changed").limit(QUIET);
    let rows = sql.rows(connection).await?;
    let found = rows
        .iter()
        .map(followed_study)
        .collect::<Driver<Vec<_>>>()?;
    for ((partition, uid), _) in &found {
        let mut sql = Statement::<D>::new("update event_study set waits = 0 where partition = ");
        sql.int(*partition).push(" and study_uid = ").text(uid);
        sql.run(connection).await?;
    }
    Ok(found)
}

async fn wants_instances<D: Dialect>(connection: &mut D::Connection) -> Driver<bool> {
    let sql = Statement::<D>::new("select kinds from webhook where disabled is null");
    for row in sql.rows(connection).await? {
        let kinds = row.text("kinds")?;
        let kinds: Vec<String> = kinds.split(',').map(str::to_owned).collect();
        let mut of_instances = SERVICE_KINDS.iter().map(|(kind, _)| kind);
        if of_instances.any(|kind| kinds_cover(&kinds, kind)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Workitems that changed, in the order in which they did.
async fn workitems<D: Dialect>(connection: &mut D::Connection) -> Driver<Vec<MadeEvent>> {
    let sql = Statement::<D>::new(
        "delete from workitem_change returning time, partition, uid, state, study_uid, patient_id",
    );
    let mut events = Vec::new();
    for row in sql.rows(connection).await? {
        let about = (row.opt_text("study_uid")?, row.opt_text("patient_id")?);
        let uid = row.text("uid")?;
        let state = row.int("state")?;
        let event = workitem_event(row.int("time")?, row.int("partition")?, &uid, state, about);
        events.push((state, event));
    }
    // Of one moment the earlier state comes first.
    events.sort_by_key(|(state, event)| (event.time, *state));
    Ok(events.into_iter().map(|(_, event)| event).collect())
}

/// Writes events; returns the number of the next one.
async fn write_events<D: Dialect>(
    connection: &mut D::Connection,
    first: i64,
    events: &[MadeEvent],
) -> Driver<i64> {
    let mut next = first;
    for chunk in events.chunks(ROWS) {
        let mut sql = Statement::<D>::new(
            "insert into event (sequence, time, partition, kind, study_uid, patient_id, data)",
        );
        sql.values(chunk, |sql, event| {
            sql.int(next).push(", ").int(event.time).push(", ");
            sql.int(event.partition)
                .push(", ")
                .text(event.kind)
                .push(", ");
            sql.opt_text(event.study.as_deref()).push(", ");
            sql.opt_text(event.patient.as_deref()).push(", ");
            sql.text(&event.data);
            next = next.saturating_add(1);
        });
        sql.run(connection).await?;
    }
    Ok(next)
}
