//! The list of blobs to remove, and what they were.
//!
//! Invariant: a blob is restored or removed, never both: the sweeper claims a row before it touches the bytes, and whoever
//! restores takes rows that nobody has claimed, in the transaction that gives the instance its row.

use std::collections::{BTreeMap, HashSet};

use async_trait::async_trait;
use time::OffsetDateTime;

use super::error::IndexError;
use super::micros::{from_micros, now_micros, to_micros};
use super::model::{Discarded, Result};
use super::originals::{push_unused, push_used};
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns, digest};
use super::rows::blob_hash;
use super::scoping::push_scope;
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::timeouts::within;
use super::traits::Trash;
use super::trash_model::{RemovalReason, TrashEntry, TrashFilter, TrashedInstance};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid, Target};
use crate::scope::{Partition, Scope};

#[async_trait]
impl<D: Dialect> Trash for SqlIndex<D> {
    async fn discard(&self, keys: &[String]) -> Result<()> {
        let now = now_micros();
        // In the order of the keys, as a delete does it: two writers of the same keys never wait for each other.
        let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        keys.sort_unstable();
        keys.dedup();
        for chunk in keys.chunks(500) {
            let mut sql = Statement::<D>::new("insert into trash (blob_key, blob_hash, since)");
            sql.values(chunk, |sql, key| {
                sql.text(key)
                    .push(", ")
                    .int(blob_hash(key))
                    .push(", ")
                    .int(now);
            });
            sql.push(" on conflict (blob_key) do nothing");
            self.write("a discard", sql).await?;
        }
        Ok(())
    }

    async fn discarded(
        &self,
        before: OffsetDateTime,
        after: Option<&Discarded>,
        limit: u32,
    ) -> Result<Vec<Discarded>> {
        let mut sql =
            Statement::<D>::new("select blob_key, since, attempts from trash where since < ");
        sql.int(to_micros(before));
        if let Some(after) = after {
            sql.push(" and (since, blob_key) > (")
                .int(to_micros(after.since));
            sql.push(", ").text(&after.key).push(")");
        }
        // A commit whose answer was lost may have given the blob its row after all.
        sql.push(" and ");
        push_unused(&mut sql);
        sql.push(" order by since, blob_key")
            .limit(i64::from(limit));
        let rows = self.read("the trash", sql).await?;
        rows.iter().map(discarded::<D>).collect()
    }

    async fn purge(&self, keys: &[String]) -> Result<()> {
        for chunk in keys.chunks(500) {
            retrying!(
                D,
                "the trash",
                within(self.times.insert(), purge(self, chunk))
            )?;
        }
        Ok(())
    }

    async fn claim(&self, keys: &[String], before: OffsetDateTime) -> Result<Vec<String>> {
        let mut claimed = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(500) {
            claimed.extend(retrying!(
                D,
                "the trash",
                within(self.times.insert(), claim(self, chunk, to_micros(before)))
            )?);
        }
        Ok(claimed)
    }

    async fn forget_entries(&self, before: OffsetDateTime, limit: u32) -> Result<u64> {
        let mut sql = Statement::<D>::new(
            "delete from deletion where id in (select deletion.id from deletion where deletion.since < ",
        );
        sql.int(to_micros(before)).push(
            " and not exists (select 1 from trash where trash.deletion = deletion.id) order by deletion.since",
        );
        sql.limit(i64::from(limit)).push(")");
        self.write("the trash", sql).await
    }

    async fn trash_entries(&self, scope: &Scope, filter: &TrashFilter) -> Result<Vec<TrashEntry>> {
        let mut sql = Statement::<D>::new(ENTRY);
        sql.push("study.instance_count > 0");
        push_scope(&mut sql, scope);
        if let Some(study) = &filter.study {
            sql.push(" and study.study_uid = ").text(study.as_str());
        }
        if let Some(before) = filter.before {
            sql.push(" and study.id < ").int(before);
        }
        sql.push(" order by study.id desc")
            .limit(i64::from(filter.limit));
        let rows = self.read("the trash", sql).await?;
        rows.iter().map(entry::<D>).collect()
    }

    async fn trash_entry(&self, scope: &Scope, id: i64) -> Result<Option<TrashEntry>> {
        let mut sql = Statement::<D>::new(ENTRY);
        sql.push("study.id = ").int(id);
        push_scope(&mut sql, scope);
        let rows = self.read("the trash", sql).await?;
        rows.first().map(entry::<D>).transpose()
    }

    async fn trashed_instances(
        &self,
        entry: &TrashEntry,
        after: i64,
        limit: u32,
    ) -> Result<Vec<TrashedInstance>> {
        let mut sql = Statement::<D>::new(
            "select blob_key, watermark, series_uid, sop_instance_uid, blob_length, digest from trash where deletion = ",
        );
        sql.int(entry.id).push(" and removing = 0 and watermark > ");
        sql.int(after)
            .push(" order by watermark")
            .limit(i64::from(limit));
        let rows = self.read("the trash", sql).await?;
        let instance = |row: &D::Row| trashed::<D>(entry.target.study(), row);
        rows.iter().map(instance).collect()
    }

    async fn retry_later(&self, key: &str) -> Result<()> {
        let mut sql =
            Statement::<D>::new("update trash set attempts = attempts + 1 where blob_key = ");
        sql.text(key);
        self.write("the trash", sql).await.map(|_| ())
    }
}

fn discarded<D: Dialect>(row: &D::Row) -> Result<Discarded> {
    let read = || -> Driver<(String, i64, i64)> {
        Ok((
            row.text("blob_key")?,
            row.int("since")?,
            row.int("attempts")?,
        ))
    };
    let (key, since, attempts) = read().map_err(failed::<D>("the trash"))?;
    let since = from_micros(since).map_err(|_| IndexError::Corrupt { what: "the trash" })?;
    Ok(Discarded {
        key,
        since,
        attempts,
    })
}

/// Reads an entry; under the name of `study`, whose columns decide who may see it.
const ENTRY: &str = "select study.id, study.partition, study.study_uid, study.series_uid, study.sop_instance_uid, \
     study.reason, study.since, study.modalities, case when length(study.attributes) <= 16384 then study.attributes \
     else '' end as attributes, study.series_count, study.instance_count, study.bytes, study.restored \
     from deletion as study where ";

fn entry<D: Dialect>(row: &D::Row) -> Result<TrashEntry> {
    const CORRUPT: IndexError = IndexError::Corrupt { what: "the trash" };
    let failed = failed::<D>("the trash");
    let int = |column| row.int(column).map_err(&failed);
    let count = |column| u64::try_from(int(column)?).map_err(|_| CORRUPT);
    let text = |column| row.text(column).map_err(&failed);
    let mut uids = vec![text("study_uid")?];
    for column in ["series_uid", "sop_instance_uid"] {
        uids.extend(row.opt_text(column).map_err(&failed)?);
    }
    Ok(TrashEntry {
        id: int("id")?,
        partition: Partition(int("partition")?),
        target: Target::of_uids(&mut uids.iter().map(String::as_str)).ok_or(CORRUPT)?,
        reason: RemovalReason::of_code(int("reason")?).ok_or(CORRUPT)?,
        since: from_micros(int("since")?).map_err(|_| CORRUPT)?,
        modalities: text("modalities")?,
        attributes: text("attributes")?,
        series: count("series_count")?,
        instances: count("instance_count")?,
        bytes: count("bytes")?,
        restored: count("restored")?,
    })
}

fn trashed<D: Dialect>(study: &StudyUid, row: &D::Row) -> Result<TrashedInstance> {
    let corrupt = || IndexError::Corrupt { what: "the trash" };
    let read = || -> Driver<_> {
        Ok((
            row.text("blob_key")?,
            row.int("watermark")?,
            row.text("series_uid")?,
            row.text("sop_instance_uid")?,
            row.int("blob_length")?,
            digest(row)?,
        ))
    };
    let (key, watermark, series, instance, length, digest) =
        read().map_err(failed::<D>("the trash"))?;
    Ok(TrashedInstance {
        key,
        watermark,
        name: InstanceName {
            study: study.clone(),
            series: SeriesUid::parse(&series).map_err(|_| corrupt())?,
            instance: InstanceUid::parse(&instance).map_err(|_| corrupt())?,
        },
        length: u64::try_from(length).map_err(|_| corrupt())?,
        digest,
    })
}

/// The entries that rows of `trash` belong to, each once.
fn entries_of<D: Dialect>(rows: &[D::Row]) -> Driver<Vec<i64>> {
    let mut entries = Vec::new();
    for row in rows {
        entries.extend(row.opt_int("deletion")?);
    }
    entries.sort_unstable();
    entries.dedup();
    Ok(entries)
}

async fn purge<D: Dialect>(index: &SqlIndex<D>, keys: &[String]) -> Driver<()> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let mut sql = Statement::<D>::new("delete from trash where blob_key in ");
    sql.texts(keys.iter().map(String::as_str));
    sql.push(" returning deletion, removing");
    let mut rows = sql.rows(&mut transaction).await?;
    // Those that were claimed count no more.
    rows.retain(|row| row.int("removing").is_ok_and(|removing| removing == 0));
    count_entries::<D>(&mut transaction, &entries_of::<D>(&rows)?).await?;
    transaction.commit().await
}

/// Marks keys whose bytes are about to be removed; returns those that still may be.
async fn claim<D: Dialect>(
    index: &SqlIndex<D>,
    keys: &[String],
    before: i64,
) -> Driver<Vec<String>> {
    let mut transaction = D::begin_write(&index.writers).await?;
    let mut sql = Statement::<D>::new("update trash set removing = 1 where blob_key in ");
    sql.texts(keys.iter().map(String::as_str));
    sql.push(" and since < ").int(before);
    // A commit whose answer was lost may have given the blob its row after all.
    sql.push(" and ");
    push_unused(&mut sql);
    sql.push(" returning blob_key, deletion");
    let rows = sql.rows(&mut transaction).await?;
    count_entries::<D>(&mut transaction, &entries_of::<D>(&rows)?).await?;
    transaction.commit().await?;
    rows.iter().map(|row| row.text("blob_key")).collect()
}

/// Takes blobs off the trash for instances that get their rows again; returns the keys that were there and are not being
/// removed.
pub(super) async fn take_back<D: Dialect>(
    connection: &mut D::Connection,
    keys: &[&str],
) -> Driver<HashSet<String>> {
    let mut taken = HashSet::new();
    for chunk in keys.chunks(500) {
        let mut sql = Statement::<D>::new("delete from trash where blob_key in ");
        sql.texts(chunk.iter().copied());
        sql.push(" and removing = 0 returning blob_key, deletion");
        let rows = sql.rows(connection).await?;
        let mut counts: BTreeMap<i64, i64> = BTreeMap::new();
        for row in &rows {
            taken.insert(row.text("blob_key")?);
            if let Some(entry) = row.opt_int("deletion")? {
                *counts.entry(entry).or_default() += 1;
            }
        }
        let entries: Vec<i64> = counts.keys().copied().collect();
        count_entries::<D>(connection, &entries).await?;
        for (entry, count) in counts {
            let mut sql = Statement::<D>::new("update deletion set restored = restored + ");
            sql.int(count).push(" where id = ").int(entry);
            sql.run(connection).await?;
        }
    }
    Ok(taken)
}

/// What is put on the trash together.
pub(super) struct Removal<'r> {
    /// Why.
    pub(super) reason: RemovalReason,
    /// Since when, in microseconds since 1970.
    pub(super) since: i64,
    /// Series and instance that were meant, where it is not the study.
    pub(super) meant: [Option<&'r str>; 2],
}

/// Puts the blobs of instances on the trash, in the order of their keys, with an entry for each study; `these` says which
/// instances, behind `where`. Returns the entries.
pub(super) async fn trash_blobs<D: Dialect>(
    connection: &mut D::Connection,
    removal: &Removal<'_>,
    these: impl Fn(&mut Statement<D>),
) -> Driver<Vec<i64>> {
    let mut sql = Statement::<D>::new(
        "insert into deletion (partition, study_uid, series_uid, sop_instance_uid, reason, since, patient_id, \
         patient_id_norm, modalities, attributes) select study.partition, study.study_uid",
    );
    for uid in removal.meant {
        sql.push(", cast(").opt_text(uid).push(" as text)");
    }
    for number in [removal.reason.code(), removal.since] {
        sql.push(", cast(").int(number).push(" as bigint)");
    }
    sql.push(
        ", study.patient_id, study.patient_id_norm, study.modalities, study.attributes from study \
         where study.id in (select instance.study_row from instance where",
    );
    these(&mut sql);
    sql.push(") order by study.study_uid returning id");
    let entries = sql.rows(connection).await?;
    let entries: Vec<i64> = entries
        .iter()
        .map(|row| row.int("id"))
        .collect::<Driver<_>>()?;
    if entries.is_empty() {
        return Ok(entries);
    }
    // A blob that several of them use is the first one's.
    let mut sql = Statement::<D>::new(
        "insert into trash (blob_key, blob_hash, since, deletion, watermark, series_uid, sop_instance_uid, blob_length, \
         digest) select instance.blob_key, instance.blob_hash, deletion.since, deletion.id, instance.watermark, \
         series.series_uid, instance.sop_instance_uid, instance.blob_length, instance.digest from instance \
         join series on series.id = instance.series_row join study on study.id = instance.study_row \
         join deletion on deletion.study_uid = study.study_uid and deletion.partition = study.partition \
         and deletion.id in ",
    );
    sql.ints(entries.iter().copied());
    sql.push(" where instance.watermark in (select min(instance.watermark) from instance where");
    these(&mut sql);
    sql.push(
        " group by instance.blob_key) order by instance.blob_key on conflict (blob_key) do update set \
         since = excluded.since, deletion = excluded.deletion, watermark = excluded.watermark, \
         series_uid = excluded.series_uid, sop_instance_uid = excluded.sop_instance_uid, \
         blob_length = excluded.blob_length, digest = excluded.digest",
    );
    sql.run(connection).await?;
    Ok(entries)
}

/// Takes those keys off the trash again that another instance still uses, and counts what the entries hold.
///
/// Only behind the feed lock is it certain that nobody else is deleting the other user at this moment.
pub(super) async fn keep_shared_blobs<D: Dialect>(
    connection: &mut D::Connection,
    entries: &[i64],
) -> Driver<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut sql = Statement::<D>::new("delete from trash where deletion in ");
    sql.ints(entries.iter().copied());
    sql.push(" and ");
    push_used(&mut sql);
    sql.run(connection).await?;
    count_entries::<D>(connection, entries).await
}

/// Counts what can be restored of entries.
pub(super) async fn count_entries<D: Dialect>(
    connection: &mut D::Connection,
    entries: &[i64],
) -> Driver<()> {
    for chunk in entries.chunks(500) {
        let mut sql = Statement::<D>::new(
            "update deletion set instance_count = (select count(*) from trash where trash.deletion = deletion.id \
             and trash.removing = 0), series_count = (select count(distinct trash.series_uid) from trash \
             where trash.deletion = deletion.id and trash.removing = 0), bytes = (select \
             coalesce(cast(sum(trash.blob_length) as bigint), 0) from trash where trash.deletion = deletion.id \
             and trash.removing = 0) where id in ",
        );
        sql.ints(chunk.iter().copied());
        sql.run(connection).await?;
    }
    Ok(())
}
