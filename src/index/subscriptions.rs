//! Subscriptions to workitems, and the events that subscribers are sent.
//!
//! Invariants: an event and whom it goes to are written in the transaction of the change; whoever writes events, or changes who
//! subscribes, holds the lock of the feed until the end, so sequences are given out in the order of commits and a subscription
//! begins at a place between two events.

use std::collections::BTreeMap;

use async_trait::async_trait;
use time::OffsetDateTime;

use super::error::IndexError;
use super::events_model::{Entered, EventRow, GlobalSubscription, Globals, NewSubscription};
use super::micros::{now_micros, to_micros};
use super::model::Result;
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns, lost_row};
use super::scoping::push_workitem_visible;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::timeouts::within;
use super::traits::Subscriptions;
use super::workitem_events::{ABOUT, EventSubject, lock, push_events, stamp};
use crate::dicom::workitem_events::Event;
use crate::scope::{Partition, Scope, Visible};

/// Most subscriptions to all workitems.
const MOST_GLOBAL: i64 = 256;

#[async_trait]
impl<D: Dialect> Subscriptions for SqlIndex<D> {
    async fn enter_subscriber(
        &self,
        partition: Partition,
        aet: &str,
        owner: Option<&str>,
    ) -> Result<Entered> {
        let enter = async || {
            let mut transaction = begin(self).await?;
            let mut sql = Statement::<D>::new(
                "insert into subscriber (aet, partition, owner, sent, seen) select ",
            );
            // Typed, as there is no table to tell of which type they are.
            sql.push("cast(").text(aet).push(" as text), cast(");
            sql.int(partition.0).push(" as bigint), cast(");
            sql.opt_text(owner).push(" as text), ");
            sql.push("coalesce((select max(sequence) from workitem_event), 0), cast(");
            sql.int(now_micros()).push(" as bigint) where true");
            sql.push(" on conflict (aet, partition) do update set seen = excluded.seen, ");
            sql.push("owner = coalesce(subscriber.owner, excluded.owner)");
            sql.run(&mut transaction).await?;
            let mut sql = Statement::<D>::new("select owner, sent from subscriber where aet = ");
            sql.text(aet).push(" and partition = ").int(partition.0);
            let row = sql.row(&mut transaction).await?.ok_or_else(lost_row)?;
            transaction.commit().await?;
            let known = row.opt_text("owner")?;
            // Without access control there are no names, and everybody may do everything.
            let may = owner.is_none() || known.as_deref() == owner;
            Ok(if may {
                Entered::Known(row.int("sent")?)
            } else {
                Entered::Foreign
            })
        };
        let time = self.times.insert();
        retrying!(D, "a subscriber", within(time, enter()))
    }

    async fn global_subscriptions(&self, partition: Partition) -> Result<Globals> {
        let mut sql = Statement::<D>::new(
            "select id, aet, deletion_lock, filter, visible from global_subscription where partition = ",
        );
        sql.int(partition.0).push(" order by id");
        let rows = self.read("subscriptions", sql).await?;
        let mut globals = Globals {
            stamp: (0, 0),
            list: Vec::new(),
        };
        for row in &rows {
            let read = || -> Driver<(i64, GlobalSubscription)> {
                let visible = row.opt_text("visible")?;
                let subscription = GlobalSubscription {
                    aet: row.text("aet")?,
                    deletion_lock: row.int("deletion_lock")? != 0,
                    filter: row.opt_text("filter")?,
                    visible: visible.map_or(Visible::All, |text| limits(&text)),
                };
                Ok((row.int("id")?, subscription))
            };
            let (id, subscription) = read().map_err(failed::<D>("subscriptions"))?;
            globals.stamp.0 += 1;
            globals.stamp.1 += id;
            globals.list.push(subscription);
        }
        Ok(globals)
    }

    async fn subscribe_globally(
        &self,
        partition: Partition,
        target: &str,
        new: &GlobalSubscription,
    ) -> Result<bool> {
        let subscribe = async || {
            let mut transaction = begin(self).await?;
            remove_global::<D>(&mut transaction, partition, &new.aet, target).await?;
            let (count, _) = stamp::<D>(&mut transaction, partition).await?;
            if count >= MOST_GLOBAL {
                transaction.rollback().await?;
                return Ok(false);
            }
            let mut sql = Statement::<D>::new(
                "insert into global_subscription (partition, aet, target, deletion_lock, filter, visible)",
            );
            let visible = written(&new.visible);
            sql.values([new], |sql, new| {
                sql.int(partition.0).push(", ").text(&new.aet);
                sql.push(", ").text(target).push(", ");
                sql.int(i64::from(new.deletion_lock)).push(", ");
                sql.opt_text(new.filter.as_deref()).push(", ");
                sql.opt_text(visible.as_deref());
            });
            sql.run(&mut transaction).await?;
            transaction.commit().await?;
            Ok(true)
        };
        let time = self.times.insert();
        retrying!(D, "a subscription", within(time, subscribe()))
    }

    async fn suspend_subscription(
        &self,
        partition: Partition,
        aet: &str,
        target: &str,
    ) -> Result<bool> {
        let suspend = async || {
            let mut transaction = begin(self).await?;
            let removed = remove_global::<D>(&mut transaction, partition, aet, target).await?;
            transaction.commit().await?;
            Ok(removed > 0)
        };
        let time = self.times.insert();
        retrying!(D, "a subscription", within(time, suspend()))
    }

    async fn unsubscribe_globally(
        &self,
        partition: Partition,
        aet: &str,
        target: &str,
    ) -> Result<bool> {
        let unsubscribe = async || {
            let mut transaction = begin(self).await?;
            let removed = remove_global::<D>(&mut transaction, partition, aet, target).await?;
            let mut sql = Statement::<D>::new("delete from subscription where aet = ");
            sql.text(aet).push(
                " and exists (select 1 from workitem where workitem.id = subscription.workitem and workitem.partition = ",
            );
            sql.int(partition.0).push(")");
            let single = sql.run(&mut transaction).await?;
            transaction.commit().await?;
            Ok(removed + single > 0)
        };
        let time = self.times.insert();
        retrying!(D, "a subscription", within(time, unsubscribe()))
    }

    async fn subscribe_workitems(
        &self,
        aet: &str,
        deletion_lock: bool,
        items: &[NewSubscription],
        new_only: bool,
    ) -> Result<Vec<i64>> {
        let subscribe = async || {
            let mut transaction = begin(self).await?;
            let mut stale = Vec::new();
            for item in items {
                let done = subscribe_one::<D>(&mut transaction, aet, deletion_lock, item, new_only);
                if !done.await? {
                    stale.push(item.id);
                }
            }
            transaction.commit().await?;
            Ok(stale)
        };
        let time = self.times.insert();
        retrying!(D, "subscriptions", within(time, subscribe()))
    }

    async fn unsubscribe_workitem(&self, aet: &str, id: i64) -> Result<bool> {
        let mut sql = Statement::<D>::new("delete from subscription where workitem = ");
        sql.int(id).push(" and aet = ").text(aet);
        Ok(self.write("a subscription", sql).await? > 0)
    }

    async fn workitem_events(
        &self,
        scope: &Scope,
        aet: &str,
        after: i64,
        limit: u32,
    ) -> Result<Vec<EventRow>> {
        let mut sql = Statement::<D>::new(
            "select workitem_event.sequence, workitem_event.kind, workitem_event.uid, workitem_event.content \
             from workitem_delivery join workitem_event on workitem_event.sequence = workitem_delivery.sequence \
             where workitem_delivery.aet = ",
        );
        sql.text(aet).push(" and workitem_delivery.sequence > ");
        sql.int(after).push(" and workitem_event.partition = ");
        sql.int(scope.partition.0);
        if scope.visible != Visible::All {
            sql.push(" and (workitem_event.uid is null or (1 = 1");
            push_workitem_visible(&mut sql, scope, "workitem_event.");
            sql.push("))");
        }
        sql.push(" order by workitem_delivery.sequence")
            .limit(i64::from(limit));
        let rows = self.read("events", sql).await?;
        let event = |row: &D::Row| -> Driver<EventRow> {
            Ok(EventRow {
                sequence: row.int("sequence")?,
                kind: row.int("kind")?,
                uid: row.opt_text("uid")?,
                content: row.text("content")?,
            })
        };
        let events = rows.iter().map(event).collect::<Driver<Vec<_>>>();
        events.map_err(failed::<D>("events"))
    }

    async fn event_bounds(&self) -> Result<(i64, i64)> {
        let sql = Statement::<D>::new(
            "select coalesce((select min(sequence) from workitem_event), 0) as oldest, \
             coalesce((select max(sequence) from workitem_event), 0) as newest",
        );
        let rows = self.read("events", sql).await?;
        let row = rows.first().ok_or(IndexError::Corrupt { what: "events" })?;
        let bounds = || -> Driver<(i64, i64)> { Ok((row.int("oldest")?, row.int("newest")?)) };
        bounds().map_err(failed::<D>("events"))
    }

    async fn note_sent(&self, partition: Partition, aet: &str, sequence: i64) -> Result<()> {
        let mut sql = Statement::<D>::new("update subscriber set sent = ");
        sql.int(sequence).push(", seen = ").int(now_micros());
        sql.push(" where aet = ").text(aet);
        sql.push(" and partition = ").int(partition.0);
        sql.push(" and sent <= ").int(sequence);
        self.write("a subscriber", sql).await.map(drop)
    }

    async fn announce(&self, event: &Event) -> Result<()> {
        let announce = async || {
            let mut transaction = begin(self).await?;
            let sql = Statement::<D>::new(
                "select distinct aet, partition from (select aet, partition from global_subscription \
                 union all select subscription.aet, workitem.partition from subscription \
                 join workitem on workitem.id = subscription.workitem) as subscribed order by partition, aet",
            );
            let mut subscribed = BTreeMap::<i64, Vec<String>>::new();
            for row in &sql.rows(&mut transaction).await? {
                let aets = subscribed.entry(row.int("partition")?).or_default();
                aets.push(row.text("aet")?);
            }
            for (partition, aets) in subscribed {
                let about = EventSubject {
                    partition,
                    uid: None,
                    study: None,
                    patient: None,
                };
                let events = std::slice::from_ref(event);
                push_events::<D>(&mut transaction, &about, events, &aets).await?;
            }
            transaction.commit().await
        };
        let time = self.times.insert();
        retrying!(D, "an event", within(time, announce()))
    }

    async fn forget_events(&self, before: OffsetDateTime, limit: u32) -> Result<u64> {
        let before = to_micros(before);
        let mut sql = Statement::<D>::new(
            "delete from workitem_event where sequence in (select sequence from workitem_event where time < ",
        );
        sql.int(before);
        sql.push(" and sequence < (select max(sequence) from workitem_event) order by time")
            .limit(i64::from(limit))
            .push(")");
        let forgotten = self.write("events", sql).await?;
        let mut sql = Statement::<D>::new("delete from subscriber where seen < ");
        sql.int(before);
        sql.push(
            " and not exists (select 1 from subscription where subscription.aet = subscriber.aet) \
             and not exists (select 1 from global_subscription where global_subscription.aet = subscriber.aet \
             and global_subscription.partition = subscriber.partition)",
        );
        self.write("subscribers", sql).await?;
        Ok(forgotten)
    }
}

/// Begins a transaction that may write events.
async fn begin<D: Dialect>(index: &SqlIndex<D>) -> Driver<sqlx::Transaction<'static, D>> {
    let mut transaction = D::begin_write(&index.writers).await?;
    lock::<D>(&mut transaction).await?;
    Ok(transaction)
}

async fn remove_global<D: Dialect>(
    connection: &mut D::Connection,
    partition: Partition,
    aet: &str,
    target: &str,
) -> Driver<u64> {
    let mut sql = Statement::<D>::new("delete from global_subscription where aet = ");
    sql.text(aet).push(" and target = ").text(target);
    sql.push(" and partition = ").int(partition.0);
    sql.run(connection).await
}

/// Subscribes to a workitem; false when it has another version.
async fn subscribe_one<D: Dialect>(
    connection: &mut D::Connection,
    aet: &str,
    deletion_lock: bool,
    item: &NewSubscription,
    new_only: bool,
) -> Driver<bool> {
    let mut sql = Statement::<D>::new(ABOUT);
    sql.int(item.id).push(" and version = ").int(item.version);
    let Some(row) = sql.row(connection).await? else {
        return Ok(false);
    };
    let about = EventSubject::of(&row)?;
    let mut sql = Statement::<D>::new("insert into subscription (workitem, aet, deletion_lock)");
    sql.values([item], |sql, item| {
        sql.int(item.id).push(", ").text(aet).push(", ");
        sql.int(i64::from(deletion_lock));
    });
    sql.push(" on conflict (workitem, aet) ");
    sql.push(if new_only {
        "do nothing"
    } else {
        "do update set deletion_lock = excluded.deletion_lock"
    });
    let inserted = sql.run(connection).await?;
    if let Some(report) = item.report.as_ref().filter(|_| inserted > 0) {
        let aets = [aet.to_owned()];
        push_events::<D>(connection, &about, std::slice::from_ref(report), &aets).await?;
    }
    Ok(true)
}

/// Limits as they are kept; none for no limits. One item a line: the kind of it, a blank, the value.
pub(super) fn written(visible: &Visible) -> Option<String> {
    let Visible::Only { patients, studies } = visible else {
        return None;
    };
    let patients = patients.iter().map(|id| format!("patient {id}\n"));
    let studies = studies.iter().map(|uid| format!("study {uid}\n"));
    Some(patients.chain(studies).collect())
}

/// Reads what [`written`] made.
pub(super) fn limits(text: &str) -> Visible {
    let of = |kind: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let of_kind = lines.filter(|(known, _)| *known == kind);
        of_kind.map(|(_, value)| value.to_owned()).collect()
    };
    Visible::Only {
        patients: of("patient"),
        studies: of("study"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_they_were_written() {
        assert_eq!(written(&Visible::All), None);
        let only = Visible::Only {
            patients: vec!["A B".to_owned(), "Ünal".to_owned()],
            studies: vec!["1.2.3".to_owned()],
        };
        assert_eq!(limits(&written(&only).unwrap()), only);
        let nothing = Visible::Only {
            patients: Vec::new(),
            studies: Vec::new(),
        };
        assert_eq!(limits(&written(&nothing).unwrap()), nothing);
    }
}
