//! Extended query tags and their values.
//!
//! Invariant: an insert reads the list of tags behind the shared side of a lock whose other side adds tags; so every
//! instance either brings its values along or was visible before the indexing of stored instances began. Whoever writes
//! values of a study holds its row.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;

use super::error::IndexError;
use super::micros::now_micros;
use super::model::{NoWorkMemory, Result, WorkMemory};
use super::operations::{insert_operation, kind_text, update_operation};
use super::operations_model::{Operation, OperationKind, OperationStatus};
use super::retry::retrying;
use super::row_columns::{Driver, RowColumns};
use super::sql::{Dialect, SqlIndex, Statement, failed};
use super::tag_rows::{COLUMNS, creator, level_number, push_errors, tag, tag_error, wanted};
use super::tag_values::{TagOutcome, findings};
use super::tag_writes::{Newer, TagExtraction, TagValues, lock_places, write_errors};
use super::tags_model::{TagIndexError, TagLock, TagRow, TagStatus, TagsAdded};
use super::timeouts::within;
use super::traits::{Audit, Operations, QueryTags};
use crate::dicom::metadata;
use crate::dicom::query_tag::{MAX_TAGS, QueryTag};
use crate::fault;
use crate::scope::ScopeSet;

/// Instances indexed in one transaction, at most.
const PORTION: i64 = 200;

/// Most bytes of their packed metadata; an instance with more is a portion of its own.
const PORTION_BYTES: usize = 4 << 20;

/// Values removed in one transaction.
const REMOVED: i64 = 5000;

/// Largest metadata of one instance that is unpacked.
const MAX_METADATA: usize = 1 << 28;

#[async_trait]
impl<D: Dialect> QueryTags for SqlIndex<D> {
    async fn add_tags(&self, tags: &[QueryTag], operation: &Operation) -> Result<TagsAdded> {
        retrying!(
            D,
            "query tags",
            within(self.times.insert(), self.add(tags, operation))
        )
    }

    async fn tags(&self) -> Result<Vec<TagRow>> {
        let mut sql = Statement::<D>::new(COLUMNS);
        sql.push(" order by id");
        let rows = self.read("query tags", sql).await?;
        rows.iter().map(tag).collect()
    }

    async fn enable_tag(&self, id: i64, enabled: bool) -> Result<bool> {
        let mut sql = Statement::<D>::new("update query_tag set query_enabled = ");
        sql.int(i64::from(enabled)).push(" where id = ").int(id);
        Ok(self.write("a query tag", sql).await? > 0)
    }

    async fn remove_tag(&self, id: i64) -> Result<bool> {
        let mut sql = Statement::<D>::new("update query_tag set status = 'deleting' where id = ");
        sql.int(id);
        if self.write("a query tag", sql).await? == 0 {
            return Ok(false);
        }
        for table in ["query_tag_value", "query_tag_error"] {
            loop {
                let (delete, select) = match table {
                    "query_tag_value" => (
                        "delete from query_tag_value where id in (",
                        "select id from query_tag_value where tag = ",
                    ),
                    _ => (
                        "delete from query_tag_error where id in (",
                        "select id from query_tag_error where tag = ",
                    ),
                };
                let mut sql = Statement::<D>::new(delete);
                sql.push(select).int(id).limit(REMOVED).push(")");
                if self.write("a query tag", sql).await? == 0 {
                    break;
                }
            }
        }
        let time = self.times.insert();
        retrying!(D, "a query tag", within(time, self.drop_tag(id)))
    }

    async fn tag_errors(
        &self,
        scopes: &ScopeSet,
        id: i64,
        skip: u64,
        limit: u32,
    ) -> Result<Vec<TagIndexError>> {
        let mut sql = Statement::<D>::new(
            "select query_tag_error.study_uid, query_tag_error.series_uid, query_tag_error.sop_instance_uid, \
             query_tag_error.created, query_tag_error.message, data_partition.name as partition_name",
        );
        push_errors(&mut sql, scopes);
        sql.push(" and query_tag_error.tag = ")
            .int(id)
            .push(" order by query_tag_error.created, query_tag_error.id")
            .limit(i64::from(limit));
        sql.push(" offset ")
            .int(i64::try_from(skip).unwrap_or(i64::MAX));
        let rows = self.read("query tag errors", sql).await?;
        let corrupt = |_| IndexError::Corrupt {
            what: "query tag errors",
        };
        rows.iter()
            .map(|row| tag_error(row).map_err(corrupt))
            .collect()
    }

    async fn tag_error_counts(&self, scopes: &ScopeSet) -> Result<BTreeMap<i64, i64>> {
        let mut sql = Statement::<D>::new("select query_tag_error.tag, count(*) as errors");
        push_errors(&mut sql, scopes);
        sql.push(" group by query_tag_error.tag");
        let rows = self.read("query tag errors", sql).await?;
        let corrupt = |_| IndexError::Corrupt {
            what: "query tag errors",
        };
        rows.iter()
            .map(|row| {
                Ok((
                    row.int("tag").map_err(corrupt)?,
                    row.int("errors").map_err(corrupt)?,
                ))
            })
            .collect()
    }

    async fn index_tags(&self, operation: &str, room: &WorkMemory) -> Result<bool> {
        let Some(mut operation) = self.operation(operation).await? else {
            return Ok(false);
        };
        if !operation.status.is_unfinished() {
            return Ok(false);
        }
        let mut tags = self.tags().await?;
        tags.retain(|tag| {
            tag.status == TagStatus::Adding && tag.operation.as_ref() == Some(&operation.id)
        });
        let portion = self.portion(operation.position).await?;
        let Some(last) = portion.last().map(|stored| stored.watermark) else {
            operation.status = OperationStatus::Completed;
            operation.percent = 100;
            let finish = || self.finish(&operation);
            retrying!(D, "query tags", within(self.times.insert(), finish()))?;
            return Ok(false);
        };
        let found = self.find(portion, &tags, room).await?;
        operation.status = OperationStatus::Running;
        operation.position = last;
        operation.percent = self.percent(last).await?;
        let write = || self.index_portion(&tags, &found, &operation);
        retrying!(D, "query tags", within(self.times.insert(), write()))?;
        Ok(true)
    }
}

/// A stored instance whose metadata is to be looked at.
struct TaggableInstance {
    watermark: i64,
    uids: [String; 3],
    /// Bytes of its packed metadata.
    bytes: usize,
}

/// Room for `bytes` bytes; none when there is less than that at all. Blocks.
fn make_room(room: &WorkMemory, bytes: usize) -> Result<Option<Box<dyn Any + Send>>> {
    match room(bytes) {
        Ok(held) => Ok(Some(held)),
        Err(NoWorkMemory::TooLarge) => Ok(None),
        Err(NoWorkMemory::Busy) => Err(IndexError::NoMemory),
    }
}

/// What packed metadata says of the tags. Blocks.
fn look(packed: Option<&[u8]>, tags: &[TagRow], room: &WorkMemory) -> Result<Vec<TagOutcome>> {
    let invalid = |reason: &str| vec![TagOutcome::Invalid(reason.to_owned()); tags.len()];
    let (unreadable, too_large) = (
        "its metadata cannot be read",
        "its metadata is larger than the memory of the server",
    );
    let Some(packed) = packed else {
        return Ok(invalid(too_large));
    };
    let Ok(bytes) = metadata::unpacked_bytes(packed) else {
        return Ok(invalid(unreadable));
    };
    let Some(_held) = make_room(room, bytes)? else {
        return Ok(invalid(too_large));
    };
    Ok(match metadata::unpack(packed, MAX_METADATA) {
        Ok(metadata) => findings(&metadata.text, tags),
        Err(_) => invalid(unreadable),
    })
}

/// Runs work on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let lost = |_| IndexError::Corrupt {
        what: "stored metadata",
    };
    tokio::task::spawn_blocking(work).await.map_err(lost)?
}

impl<D: Dialect> SqlIndex<D> {
    /// Unpacks a portion and looks, one instance after the other; off the threads that serve requests.
    async fn find(
        &self,
        portion: Vec<TaggableInstance>,
        tags: &[TagRow],
        room: &WorkMemory,
    ) -> Result<Vec<TagExtraction>> {
        let bytes = portion.iter().map(|stored| stored.bytes);
        let bytes = bytes.fold(0_usize, usize::saturating_add);
        let for_packed = room.clone();
        let held = blocking(move || make_room(&for_packed, bytes)).await?;
        let packed = match &held {
            Some(_) => self.packed(&portion).await?,
            None => HashMap::new(),
        };
        let (tags, room) = (tags.to_vec(), room.clone());
        blocking(move || {
            let _held = held;
            let found = portion.into_iter().map(|stored| {
                let packed = packed.get(&stored.watermark).map(Vec::as_slice);
                Ok(TagExtraction {
                    findings: look(packed, &tags, &room)?,
                    watermark: stored.watermark,
                    uids: stored.uids,
                })
            });
            found.collect()
        })
        .await
    }

    /// Packed metadata of a portion by watermark.
    async fn packed(&self, portion: &[TaggableInstance]) -> Result<HashMap<i64, Vec<u8>>> {
        let mut sql = Statement::<D>::new(
            "select instance_content.watermark, instance_content.metadata from instance_content \
             where instance_content.watermark in ",
        );
        sql.ints(portion.iter().map(|stored| stored.watermark));
        let rows = self.read("stored metadata", sql).await?;
        let packed = |row: &D::Row| Ok((row.int("watermark")?, row.blob("metadata")?));
        let packed: Driver<_> = rows.iter().map(packed).collect();
        packed.map_err(failed::<D>("stored metadata"))
    }

    async fn add(&self, tags: &[QueryTag], operation: &Operation) -> Driver<TagsAdded> {
        let mut transaction = D::begin_write(&self.writers).await?;
        D::lock_tags(&mut transaction, TagLock::Exclusive).await?;
        let mut sql = Statement::<D>::new("select id from operation where kind = ");
        sql.text(kind_text(OperationKind::Reindex));
        sql.push(" and status in ")
            .texts(["notStarted", "running"])
            .push(" order by created limit 1");
        if let Some(row) = sql.row(&mut transaction).await? {
            return Ok(TagsAdded::Running {
                operation: row.text("id")?,
            });
        }
        let rows = Statement::<D>::new(COLUMNS).rows(&mut transaction).await?;
        let mut known = HashSet::new();
        for row in &rows {
            known.insert((row.text("path")?, row.text("private_creator")?));
        }
        for tag in tags {
            if !known.insert((tag.path.clone(), creator(tag).to_owned())) {
                return Ok(TagsAdded::Exists {
                    path: tag.path.clone(),
                });
            }
        }
        if known.len() > MAX_TAGS {
            return Ok(TagsAdded::TooMany);
        }
        insert_operation::<D>(operation)
            .run(&mut transaction)
            .await?;
        let mut sql = Statement::<D>::new(
            "insert into query_tag (path, private_creator, vr, level, status, operation, created)",
        );
        sql.values(tags, |sql, tag| {
            sql.text(&tag.path).push(", ").text(creator(tag)).push(", ");
            sql.text(tag.vr.to_string())
                .push(", ")
                .int(level_number(tag.level));
            sql.push(", 'adding', ")
                .text(&operation.id)
                .push(", ")
                .int(now_micros());
        });
        sql.run(&mut transaction).await?;
        fault::point("tags.listed");
        transaction.commit().await?;
        fault::point("tags.added");
        Ok(TagsAdded::Added)
    }

    /// Removes a tag once no insert is under way that read it in the list; values those brought go by cascade.
    async fn drop_tag(&self, id: i64) -> Driver<bool> {
        let mut transaction = D::begin_write(&self.writers).await?;
        D::lock_tags(&mut transaction, TagLock::Exclusive).await?;
        let mut sql = Statement::<D>::new("delete from query_tag where id = ");
        sql.int(id);
        let removed = sql.run(&mut transaction).await?;
        transaction.commit().await?;
        Ok(removed > 0)
    }

    /// The next instances, as many as fit a portion.
    async fn portion(&self, after: i64) -> Result<Vec<TaggableInstance>> {
        let mut sql = Statement::<D>::new(
            "select instance.watermark, study.study_uid, series.series_uid, instance.sop_instance_uid, \
             cast(octet_length(instance_content.metadata) as bigint) as bytes from instance \
             join instance_content on instance_content.watermark = instance.watermark \
             join series on series.id = instance.series_row join study on study.id = instance.study_row \
             where instance.watermark > ",
        );
        sql.int(after)
            .push(" order by instance.watermark")
            .limit(PORTION);
        let rows = self.read("stored metadata", sql).await?;
        let mut portion = Vec::new();
        let mut bytes = 0_usize;
        for row in &rows {
            let stored = stored(row).map_err(failed::<D>("stored metadata"))?;
            bytes = bytes.saturating_add(stored.bytes);
            if bytes > PORTION_BYTES && !portion.is_empty() {
                break;
            }
            portion.push(stored);
        }
        Ok(portion)
    }

    async fn percent(&self, position: i64) -> Result<u8> {
        let newest = self.newest_watermark().await?.max(1);
        let share = position.clamp(0, newest).saturating_mul(99) / newest;
        Ok(u8::try_from(share).unwrap_or(99))
    }

    async fn index_portion(
        &self,
        tags: &[TagRow],
        found: &[TagExtraction],
        operation: &Operation,
    ) -> Driver<()> {
        let mut transaction = D::begin_write(&self.writers).await?;
        // A tag may have been removed since the portion was looked at.
        D::lock_tags(&mut transaction, TagLock::Shared).await?;
        let present: HashSet<i64> = wanted::<D>(&mut transaction)
            .await?
            .iter()
            .map(|tag| tag.id)
            .collect();
        let places = lock_places::<D>(&mut transaction, found).await?;
        let mut values = TagValues::default();
        for found in found {
            if let Some(place) = places.get(&found.watermark) {
                values.add(tags, &found.findings, *place);
            }
        }
        values.keep_tags(&present);
        values.write::<D>(&mut transaction, Newer::Kept).await?;
        fault::point("tags.values");
        for (at, tag) in tags
            .iter()
            .enumerate()
            .filter(|(_, tag)| present.contains(&tag.id))
        {
            write_errors::<D>(&mut transaction, (at, tag), found, &places).await?;
        }
        update_operation::<D>(operation)
            .run(&mut transaction)
            .await?;
        fault::point("tags.portion");
        transaction.commit().await
    }

    async fn finish(&self, operation: &Operation) -> Driver<()> {
        let mut transaction = D::begin_write(&self.writers).await?;
        let mut sql = Statement::<D>::new(
            "update query_tag set status = 'ready' where status = 'adding' and operation = ",
        );
        sql.text(&operation.id);
        sql.run(&mut transaction).await?;
        update_operation::<D>(operation)
            .run(&mut transaction)
            .await?;
        fault::point("tags.ready");
        transaction.commit().await
    }
}

/// Reads a row of [`SqlIndex::portion`].
fn stored<R: RowColumns>(row: &R) -> Driver<TaggableInstance> {
    Ok(TaggableInstance {
        watermark: row.int("watermark")?,
        uids: [
            row.text("study_uid")?,
            row.text("series_uid")?,
            row.text("sop_instance_uid")?,
        ],
        bytes: usize::try_from(row.int("bytes")?).unwrap_or(usize::MAX),
    })
}
