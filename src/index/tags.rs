//! Extended query tags and their values.
//!
//! Invariant: an insert reads the list of tags behind the shared side of a lock whose other side adds tags; so every
//! instance either brings its values along or was visible before the indexing of stored instances began. Whoever writes
//! values of a study holds its row.

use std::any::Any;
use std::collections::{BTreeMap, HashMap, HashSet};

use async_trait::async_trait;
use dicom_core::VR;

use super::error::IndexError;
use super::model::{
    NoWorkMemory, Operation, OperationKind, OperationStatus, Result, TagIndexError, TagRow,
    TagStatus, TagsAdded, WorkMemory, from_micros, now_micros,
};
use super::operations::{insert_operation, kind_text, update_operation};
use super::retry::retrying;
use super::scoping::push_scopes;
use super::sql::{Dialect, Driver, RowColumns, SqlIndex, Statement, TagLock, failed, within};
use super::tag_values::{TagOutcome, TagValue, findings};
use super::traits::{Audit, Operations, QueryTags};
use crate::dicom::attributes::QueryLevel;
use crate::dicom::metadata;
use crate::dicom::query_tag::{MAX_TAGS, QueryTag, SUPPORTED};
use crate::dicom::uid::{InstanceName, InstanceUid, SeriesUid, StudyUid};
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

const COLUMNS: &str = "select id, path, private_creator, vr, level, status, query_enabled, error_count, operation \
     from query_tag";

/// Appends `from … where …`: the errors of the studies that exist in the scope.
fn push_errors<D: Dialect>(sql: &mut Statement<D>, scopes: &ScopeSet) {
    sql.push(
        " from query_tag_error join study on study.study_uid = query_tag_error.study_uid \
         and study.partition = query_tag_error.partition \
         join data_partition on data_partition.id = query_tag_error.partition where 1 = 1",
    );
    push_scopes(sql, scopes);
}

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

/// What a stored instance says of the tags.
struct TagExtraction {
    watermark: i64,
    uids: [String; 3],
    findings: Vec<TagOutcome>,
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
        values.0.retain(|(tag, _), _| present.contains(tag));
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

/// The tags whose values an insert brings along.
pub(super) async fn wanted<D: Dialect>(connection: &mut D::Connection) -> Driver<Vec<TagRow>> {
    let mut sql = Statement::<D>::new(COLUMNS);
    sql.push(" where status in ")
        .texts(["adding", "ready"])
        .push(" order by id");
    let rows = sql.rows(connection).await?;
    // A tag that cannot be read back must not stop inserts.
    Ok(rows.iter().filter_map(|row| tag(row).ok()).collect())
}

/// Rows of an instance, its study and its series.
#[derive(Debug, Clone, Copy)]
pub(super) struct TagPlace {
    /// Partition of all of them.
    pub(super) partition: i64,
    /// Row of the study.
    pub(super) study: i64,
    /// Row of the series.
    pub(super) series: i64,
    /// The instance.
    pub(super) watermark: i64,
}

/// What happens to a value that came from a newer instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Newer {
    /// It stays.
    Kept,
    /// There is none.
    Impossible,
}

/// Values to write: the latest per tag and row.
#[derive(Default)]
pub(super) struct TagValues(BTreeMap<(i64, RowOf), (TagPlace, Vec<TagValue>)>);

/// The row a value belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum RowOf {
    Study(i64),
    Series(i64),
    Instance(i64),
}

impl TagValues {
    /// Takes the values of one instance; instances come in the order of their watermarks.
    pub(super) fn add(&mut self, tags: &[TagRow], findings: &[TagOutcome], place: TagPlace) {
        for (tag, finding) in tags.iter().zip(findings) {
            let row = match tag.tag.level {
                QueryLevel::Study => RowOf::Study(place.study),
                QueryLevel::Series => RowOf::Series(place.series),
                QueryLevel::Instance => RowOf::Instance(place.watermark),
            };
            if let TagOutcome::Values(values) = finding {
                self.0.insert((tag.id, row), (place, values.clone()));
            }
        }
    }

    /// Writes them, in the place of older ones.
    pub(super) async fn write<D: Dialect>(
        mut self,
        connection: &mut D::Connection,
        newer: Newer,
    ) -> Driver<()> {
        let keys: Vec<(i64, RowOf)> = self.0.keys().copied().collect();
        for level in [QueryLevel::Study, QueryLevel::Series, QueryLevel::Instance] {
            let of_level: Vec<(i64, RowOf)> = keys
                .iter()
                .copied()
                .filter(|(_, row)| row.level() == level)
                .collect();
            for chunk in of_level.chunks(200) {
                if newer == Newer::Kept {
                    self.leave_newer::<D>(connection, level, chunk).await?;
                }
                let keys: Vec<_> = chunk
                    .iter()
                    .filter(|key| self.0.contains_key(key))
                    .collect();
                if !keys.is_empty() {
                    let mut sql = Statement::<D>::new("delete from query_tag_value where ");
                    push_keys(&mut sql, level, keys.into_iter());
                    sql.run(connection).await?;
                }
            }
        }
        let rows: Vec<(i64, RowOf, TagPlace, &TagValue)> = self
            .0
            .iter()
            .flat_map(|((tag, row), (place, values))| {
                values.iter().map(|value| (*tag, *row, *place, value))
            })
            .collect();
        for chunk in rows.chunks(500) {
            let mut sql = Statement::<D>::new(
                "insert into query_tag_value (tag, partition, study_row, series_row, watermark, part, source, text, \
                 text_norm, number)",
            );
            sql.values(chunk, |sql, (tag, row, place, value)| {
                sql.int(*tag)
                    .push(", ")
                    .int(place.partition)
                    .push(", ")
                    .int(place.study)
                    .push(", ");
                let below_study = (row.level() >= QueryLevel::Series).then_some(place.series);
                let below_series = (row.level() == QueryLevel::Instance).then_some(place.watermark);
                sql.opt_int(below_study)
                    .push(", ")
                    .opt_int(below_series)
                    .push(", ");
                sql.int(value.part)
                    .push(", ")
                    .int(place.watermark)
                    .push(", ");
                let (text, norm) = match &value.text {
                    Some((text, norm)) => (Some(text.as_str()), Some(norm.as_str())),
                    None => (None, None),
                };
                sql.opt_text(text)
                    .push(", ")
                    .opt_text(norm)
                    .push(", ")
                    .opt_float(value.number);
            });
            sql.run(connection).await?;
        }
        Ok(())
    }

    /// Forgets those of `keys` for which a value from a newer instance is stored.
    async fn leave_newer<D: Dialect>(
        &mut self,
        connection: &mut D::Connection,
        level: QueryLevel,
        keys: &[(i64, RowOf)],
    ) -> Driver<()> {
        let mut sql = Statement::<D>::new(match level {
            QueryLevel::Study => {
                "select tag, study_row as place, source from query_tag_value where "
            }
            QueryLevel::Series => {
                "select tag, series_row as place, source from query_tag_value where "
            }
            QueryLevel::Instance => {
                "select tag, watermark as place, source from query_tag_value where "
            }
        });
        push_keys(&mut sql, level, keys.iter());
        for row in sql.rows(connection).await? {
            let place = row.int("place")?;
            let key = (
                row.int("tag")?,
                match level {
                    QueryLevel::Study => RowOf::Study(place),
                    QueryLevel::Series => RowOf::Series(place),
                    QueryLevel::Instance => RowOf::Instance(place),
                },
            );
            let source = row.int("source")?;
            if self
                .0
                .get(&key)
                .is_some_and(|(place, _)| place.watermark < source)
            {
                self.0.remove(&key);
            }
        }
        Ok(())
    }
}

impl RowOf {
    const fn level(self) -> QueryLevel {
        match self {
            Self::Study(_) => QueryLevel::Study,
            Self::Series(_) => QueryLevel::Series,
            Self::Instance(_) => QueryLevel::Instance,
        }
    }

    const fn id(self) -> i64 {
        match self {
            Self::Study(id) | Self::Series(id) | Self::Instance(id) => id,
        }
    }
}

/// Appends the condition that a value belongs to one of the keys, all of one level.
fn push_keys<'k, D: Dialect>(
    sql: &mut Statement<D>,
    level: QueryLevel,
    keys: impl Iterator<Item = &'k (i64, RowOf)>,
) {
    sql.push(match level {
        QueryLevel::Study => "series_row is null and (study_row, tag) in (",
        QueryLevel::Series => "watermark is null and (series_row, tag) in (",
        QueryLevel::Instance => "(watermark, tag) in (",
    });
    sql.values(keys, |sql, (tag, row)| {
        sql.int(row.id()).push(", ").int(*tag);
    });
    sql.push(")");
}

/// Locks the studies of these instances and finds the rows of those that still exist.
async fn lock_places<D: Dialect>(
    connection: &mut D::Connection,
    found: &[TagExtraction],
) -> Driver<HashMap<i64, TagPlace>> {
    let watermarks = || found.iter().map(|found| found.watermark);
    let mut sql = Statement::<D>::new(
        "select id from study where id in (select study_row from instance where watermark in ",
    );
    sql.ints(watermarks())
        .push(") order by study_uid, partition")
        .push(D::FOR_UPDATE);
    sql.rows(connection).await?;
    let mut sql = Statement::<D>::new(
        "select watermark, partition, study_row, series_row from instance where watermark in ",
    );
    sql.ints(watermarks());
    let mut places = HashMap::new();
    for row in sql.rows(connection).await? {
        let place = TagPlace {
            partition: row.int("partition")?,
            study: row.int("study_row")?,
            series: row.int("series_row")?,
            watermark: row.int("watermark")?,
        };
        places.insert(place.watermark, place);
    }
    Ok(places)
}

/// Writes down which values of the tag at a place in the list could not be indexed; searches by it are forbidden until
/// somebody allows them.
async fn write_errors<D: Dialect>(
    connection: &mut D::Connection,
    (at, tag): (usize, &TagRow),
    found: &[TagExtraction],
    places: &HashMap<i64, TagPlace>,
) -> Driver<()> {
    fn error<'f>(
        found: &'f TagExtraction,
        at: usize,
        places: &HashMap<i64, TagPlace>,
    ) -> Option<(&'f TagExtraction, i64, &'f str)> {
        match (found.findings.get(at), places.get(&found.watermark)) {
            (Some(TagOutcome::Invalid(message)), Some(place)) => {
                Some((found, place.partition, message.as_str()))
            }
            _ => None,
        }
    }
    let errors: Vec<(&TagExtraction, i64, &str)> = found
        .iter()
        .filter_map(|found| error(found, at, places))
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    let mut sql = Statement::<D>::new(
        "insert into query_tag_error (tag, created, partition, watermark, study_uid, series_uid, sop_instance_uid, \
         message)",
    );
    sql.values(errors, |sql, (found, partition, message)| {
        let [study, series, instance] = &found.uids;
        sql.int(tag.id)
            .push(", ")
            .int(now_micros())
            .push(", ")
            .int(partition)
            .push(", ");
        sql.int(found.watermark)
            .push(", ")
            .text(study)
            .push(", ")
            .text(series)
            .push(", ");
        sql.text(instance).push(", ").text(message);
    });
    sql.push(" on conflict (tag, watermark) do nothing");
    let new = i64::try_from(sql.run(connection).await?).unwrap_or(0);
    let mut sql =
        Statement::<D>::new("update query_tag set query_enabled = 0, error_count = error_count + ");
    sql.int(new).push(" where id = ").int(tag.id);
    sql.run(connection).await.map(|_| ())
}

fn creator(tag: &QueryTag) -> &str {
    tag.private_creator.as_deref().unwrap_or("")
}

const fn level_number(level: QueryLevel) -> i64 {
    match level {
        QueryLevel::Study => 0,
        QueryLevel::Series => 1,
        QueryLevel::Instance => 2,
    }
}

/// Reads the columns of [`COLUMNS`].
fn tag<R: RowColumns>(row: &R) -> Result<TagRow> {
    read_tag(row).map_err(|_| IndexError::Corrupt {
        what: "a query tag",
    })
}

type UnreadableMetadata = Box<dyn std::error::Error + Send + Sync>;

fn read_tag<R: RowColumns>(row: &R) -> std::result::Result<TagRow, UnreadableMetadata> {
    let path = row.text("path")?;
    let number = u32::from_str_radix(&path, 16)?;
    let creator = row.text("private_creator")?;
    let vr = row.text("vr")?;
    let vr: Option<&VR> = SUPPORTED.iter().find(|known| known.to_string() == vr);
    Ok(TagRow {
        id: row.int("id")?,
        tag: QueryTag {
            tag: dicom_core::Tag(
                u16::try_from(number >> 16)?,
                u16::try_from(number & 0xFFFF)?,
            ),
            path,
            vr: *vr.ok_or("an unknown VR")?,
            private_creator: Some(creator).filter(|creator| !creator.is_empty()),
            level: match row.int("level")? {
                0 => QueryLevel::Study,
                1 => QueryLevel::Series,
                2 => QueryLevel::Instance,
                _ => return Err("an unknown level".into()),
            },
        },
        status: match row.text("status")?.as_str() {
            "adding" => TagStatus::Adding,
            "ready" => TagStatus::Ready,
            "deleting" => TagStatus::Deleting,
            _ => return Err("an unknown status".into()),
        },
        enabled: row.int("query_enabled")? != 0,
        errors: row.int("error_count")?,
        operation: row.opt_text("operation")?,
    })
}

fn tag_error<R: RowColumns>(row: &R) -> std::result::Result<TagIndexError, UnreadableMetadata> {
    Ok(TagIndexError {
        partition: row.text("partition_name")?,
        name: InstanceName {
            study: StudyUid::parse(&row.text("study_uid")?)?,
            series: SeriesUid::parse(&row.text("series_uid")?)?,
            instance: InstanceUid::parse(&row.text("sop_instance_uid")?)?,
        },
        created: from_micros(row.int("created")?)?,
        message: row.text("message")?,
    })
}
