//! Webhooks: who is told, and the events on their way to each.
//!
//! Invariants: events become deliveries in the transaction that moves the cursor of their webhook, so none is left out or put
//! in twice; of a study only the earliest delivery that is not given up is due.

use async_trait::async_trait;

use super::error::IndexError;
use super::event_log::{EVENT, logged_event};
use super::event_log_model::{
    AfterFailure, DeliveryState, WebhookDelivery, WebhookRow, kinds_cover,
};
use super::micros::{from_micros, length_micros, to_micros};
use super::model::Result;
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::scoping::push_workitem_visible;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::subscriptions::{limits, written};
use super::timeouts::within;
use super::traits::Webhooks;
use crate::fault;
use crate::scope::{Partition, Scope, Visible};

const WHAT: &str = "webhooks";
/// Events that become deliveries in one transaction.
const PAGE: i64 = 500;

#[async_trait]
impl<D: Dialect> Webhooks for SqlIndex<D> {
    async fn webhooks(&self) -> Result<Vec<WebhookRow>> {
        let sql = Statement::<D>::new(
            "select id, name, partition, url, secret, kinds, owner, visible, origin, created, disabled, cursor from webhook \
             order by created, id",
        );
        let rows = self.read(WHAT, sql).await?;
        let read = |row: &D::Row| webhook_row(row).map_err(|_| IndexError::Corrupt { what: WHAT });
        rows.iter().map(read).collect()
    }

    async fn add_webhook(&self, new: &WebhookRow, most: u32) -> Result<bool> {
        let mut sql = Statement::<D>::new(
            "insert into webhook (id, name, partition, url, secret, kinds, owner, visible, origin, created, disabled, cursor) \
             select v.column1, v.column2, cast(v.column3 as bigint), v.column4, v.column5, v.column6, v.column7, v.column8, \
             v.column9, cast(v.column10 as bigint), v.column11, coalesce((select next - 1 from event_state), 0) from (",
        );
        sql.values([new], |sql, new| {
            sql.text(&new.id).push(", ").text(&new.name).push(", ");
            sql.int(new.partition.0)
                .push(", ")
                .text(&new.url)
                .push(", ");
            sql.text(&new.secret).push(", ").text(&new.kinds.join(","));
            sql.push(", cast(").opt_text(new.owner.as_deref());
            sql.push(" as text), cast(")
                .opt_text(written(&new.visible).as_deref());
            sql.push(" as text), ").text(&new.origin).push(", ");
            sql.int(to_micros(new.created)).push(", cast(");
            sql.opt_text(new.disabled.as_deref()).push(" as text)");
        });
        sql.push(") as v where (select count(*) from webhook) < ")
            .int(i64::from(most));
        sql.push(" on conflict (name) do nothing");
        Ok(self.write(WHAT, sql).await? > 0)
    }

    async fn change_webhook(
        &self,
        id: &str,
        url: &str,
        secret: &str,
        kinds: &[String],
    ) -> Result<()> {
        let mut sql = Statement::<D>::new("update webhook set disabled = null, url = ");
        sql.text(url).push(", secret = ").text(secret);
        sql.push(", kinds = ").text(&kinds.join(","));
        sql.push(" where id = ").text(id);
        self.write(WHAT, sql).await.map(drop)
    }

    async fn remove_webhook(&self, id: &str) -> Result<bool> {
        // In a database that does not look after references, too.
        let mut sql = Statement::<D>::new("delete from webhook_delivery where webhook = ");
        sql.text(id);
        self.write(WHAT, sql).await?;
        let mut sql = Statement::<D>::new("delete from webhook where id = ");
        sql.text(id);
        Ok(self.write(WHAT, sql).await? > 0)
    }

    async fn disable_webhook(&self, id: &str, reason: Option<&str>) -> Result<bool> {
        let mut sql = Statement::<D>::new("update webhook set disabled = ");
        sql.opt_text(reason).push(" where id = ").text(id);
        Ok(self.write(WHAT, sql).await? > 0)
    }

    async fn enqueue_deliveries(&self, webhook: &WebhookRow) -> Result<bool> {
        let time = self.times.insert();
        retrying!(D, "deliveries", within(time, enqueue::<D>(self, webhook)))
    }

    async fn due_deliveries(&self, webhook: &str, limit: u32) -> Result<Vec<WebhookDelivery>> {
        let mut sql = Statement::<D>::new("select ");
        sql.push(EVENT).push(
            ", d.attempts from webhook_delivery d join event on event.sequence = d.sequence where d.dead = 0 and d.webhook = ",
        );
        sql.text(webhook).push(" and d.due <= ").push(D::NOW);
        sql.push(
            " and exists (select 1 from webhook where webhook.id = d.webhook and webhook.disabled is null) \
             and not exists (select 1 from webhook_delivery e where e.webhook = d.webhook and e.study_uid = d.study_uid \
             and e.sequence < d.sequence and e.dead = 0) order by d.due, d.sequence",
        )
        .limit(i64::from(limit));
        let rows = self.read(WHAT, sql).await?;
        let delivery = |row: &D::Row| {
            let attempts = row.int("attempts").map_err(failed::<D>(WHAT))?;
            Ok(WebhookDelivery {
                event: logged_event(row)?,
                attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            })
        };
        rows.iter().map(delivery).collect()
    }

    async fn finish_delivery(&self, webhook: &str, sequence: i64) -> Result<()> {
        let mut sql = Statement::<D>::new("delete from webhook_delivery where webhook = ");
        sql.text(webhook).push(" and sequence = ").int(sequence);
        self.write(WHAT, sql).await.map(drop)
    }

    async fn fail_delivery(
        &self,
        webhook: &str,
        sequence: i64,
        problem: &str,
        after: AfterFailure,
    ) -> Result<()> {
        let mut sql =
            Statement::<D>::new("update webhook_delivery set attempts = attempts + 1, problem = ");
        sql.text(problem);
        match after {
            AfterFailure::Again(wait) => {
                sql.push(", due = ")
                    .push(D::NOW)
                    .push(" + ")
                    .int(length_micros(wait));
            }
            AfterFailure::Dead => {
                sql.push(", dead = 1");
            }
        }
        sql.push(" where webhook = ").text(webhook);
        sql.push(" and sequence = ").int(sequence);
        self.write(WHAT, sql).await.map(drop)
    }

    async fn open_deliveries(&self, webhook: &str, limit: u32) -> Result<Vec<DeliveryState>> {
        let mut sql = Statement::<D>::new(
            "select d.sequence, event.kind, d.attempts, d.dead, d.problem from webhook_delivery d \
             left join event on event.sequence = d.sequence where d.webhook = ",
        );
        sql.text(webhook);
        sql.push(" order by d.dead desc, d.sequence")
            .limit(i64::from(limit));
        let rows = self.read(WHAT, sql).await?;
        let state = |row: &D::Row| -> Driver<DeliveryState> {
            Ok(DeliveryState {
                sequence: row.int("sequence")?,
                kind: row.opt_text("kind")?,
                attempts: u32::try_from(row.int("attempts")?).unwrap_or(u32::MAX),
                dead: row.int("dead")? != 0,
                problem: row.opt_text("problem")?,
            })
        };
        let states = rows.iter().map(state).collect::<Driver<Vec<_>>>();
        states.map_err(failed::<D>(WHAT))
    }

    async fn count_deliveries(&self) -> Result<Vec<(String, u64, u64)>> {
        let sql = Statement::<D>::new(
            "select webhook.name, cast(coalesce(sum(1 - d.dead), 0) as bigint) as waiting, \
             cast(coalesce(sum(d.dead), 0) as bigint) as given_up from webhook \
             left join webhook_delivery d on d.webhook = webhook.id group by webhook.name order by webhook.name",
        );
        let rows = self.read(WHAT, sql).await?;
        let count = |row: &D::Row| -> Driver<(String, u64, u64)> {
            let number = |name| Ok::<_, sqlx::Error>(u64::try_from(row.int(name)?).unwrap_or(0));
            Ok((row.text("name")?, number("waiting")?, number("given_up")?))
        };
        let counts = rows.iter().map(count).collect::<Driver<Vec<_>>>();
        counts.map_err(failed::<D>(WHAT))
    }

    async fn redeliver(&self, webhook: &WebhookRow, first: i64, last: i64) -> Result<u64> {
        let mut sql = Statement::<D>::new("select ");
        sql.push(EVENT)
            .push(" from event where event.sequence >= ")
            .int(first);
        sql.push(" and event.sequence <= ")
            .int(last.min(webhook.cursor));
        push_events_of(&mut sql, webhook);
        sql.push(" order by event.sequence").limit(PAGE);
        let rows = self.read(WHAT, sql).await?;
        let mut again = 0;
        for row in rows {
            let event = logged_event(&row)?;
            if !webhook.wants(&event.kind) {
                continue;
            }
            let mut sql = Statement::<D>::new(
                "insert into webhook_delivery (webhook, sequence, study_uid, attempts, due, dead)",
            );
            sql.values([&event], |sql, event| {
                sql.text(&webhook.id)
                    .push(", ")
                    .int(event.sequence)
                    .push(", ");
                sql.opt_text(event.study.as_deref()).push(", 0, 0, 0");
            });
            sql.push(
                " on conflict (webhook, sequence) do update set attempts = 0, due = 0, dead = 0",
            );
            again += self.write(WHAT, sql).await?;
        }
        Ok(again)
    }
}

/// Appends what limits `event` to those that a webhook's owner may see.
fn push_events_of<D: Dialect>(sql: &mut Statement<D>, webhook: &WebhookRow) {
    let scope = Scope {
        partition: webhook.partition,
        visible: webhook.visible.clone(),
    };
    sql.push(" and event.partition = ").int(scope.partition.0);
    push_workitem_visible(sql, &scope, "event.");
}

/// Makes deliveries of the next events; whether there may be more at once.
async fn enqueue<D: Dialect>(index: &SqlIndex<D>, webhook: &WebhookRow) -> Driver<bool> {
    let mut sql = Statement::<D>::new(
        "select webhook.cursor, event_state.next from webhook cross join event_state where webhook.id = ",
    );
    sql.text(&webhook.id);
    let mut reader = index.writers.acquire().await?;
    let Some(row) = sql.row(&mut reader).await? else {
        return Ok(false);
    };
    drop(reader);
    if row.int("cursor")? >= row.int("next")?.saturating_sub(1) {
        return Ok(false);
    }
    let mut transaction = D::begin_write(&index.writers).await?;
    let mut sql = Statement::<D>::new("select cursor, kinds from webhook where id = ");
    sql.text(&webhook.id).push(D::FOR_UPDATE);
    let Some(row) = sql.row(&mut transaction).await? else {
        return Ok(false);
    };
    let after = row.int("cursor")?;
    let kinds = split(&row.text("kinds")?);
    // How far this page reads, whoever may see what is in it.
    let mut sql = Statement::<D>::new(
        "select coalesce(max(sequence), 0) as last, count(*) as events from (select sequence from event where sequence > ",
    );
    sql.int(after).push(" order by sequence").limit(PAGE);
    sql.push(") as page");
    let Some(row) = sql.row(&mut transaction).await? else {
        return Ok(false);
    };
    let (last, events) = (row.int("last")?, row.int("events")?);
    if events == 0 {
        // Forgotten before they were sent: the webhook was off for longer than events are kept.
        let mut sql = Statement::<D>::new(
            "update webhook set cursor = (select next - 1 from event_state) where id = ",
        );
        sql.text(&webhook.id);
        sql.run(&mut transaction).await?;
        transaction.commit().await?;
        return Ok(false);
    }
    let mut sql = Statement::<D>::new(
        "select event.sequence, event.kind, event.study_uid from event where event.sequence > ",
    );
    sql.int(after).push(" and event.sequence <= ").int(last);
    push_events_of(&mut sql, webhook);
    sql.push(" order by event.sequence");
    let mut due = Vec::new();
    for row in sql.rows(&mut transaction).await? {
        if kinds_cover(&kinds, &row.text("kind")?) {
            due.push((row.int("sequence")?, row.opt_text("study_uid")?));
        }
    }
    if !due.is_empty() {
        let mut sql = Statement::<D>::new(
            "insert into webhook_delivery (webhook, sequence, study_uid, attempts, due, dead)",
        );
        sql.values(&due, |sql, (sequence, study)| {
            sql.text(&webhook.id).push(", ").int(*sequence).push(", ");
            sql.opt_text(study.as_deref()).push(", 0, 0, 0");
        });
        sql.push(" on conflict (webhook, sequence) do nothing");
        sql.run(&mut transaction).await?;
    }
    fault::point("webhooks.enqueued");
    let mut sql = Statement::<D>::new("update webhook set cursor = ");
    sql.int(last).push(" where id = ").text(&webhook.id);
    sql.run(&mut transaction).await?;
    transaction.commit().await?;
    fault::point("webhooks.committed");
    Ok(events >= PAGE)
}

fn split(kinds: &str) -> Vec<String> {
    kinds.split(',').map(str::to_owned).collect()
}

fn webhook_row(
    row: &impl RowColumns,
) -> std::result::Result<WebhookRow, Box<dyn std::error::Error + Send + Sync>> {
    let visible = row.opt_text("visible")?;
    Ok(WebhookRow {
        id: row.text("id")?,
        name: row.text("name")?,
        partition: Partition(row.int("partition")?),
        url: row.text("url")?,
        secret: row.text("secret")?,
        kinds: split(&row.text("kinds")?),
        owner: row.opt_text("owner")?,
        visible: visible.map_or(Visible::All, |text| limits(&text)),
        origin: row.text("origin")?,
        created: from_micros(row.int("created")?)?,
        disabled: row.opt_text("disabled")?,
        cursor: row.int("cursor")?,
    })
}
